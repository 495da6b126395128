"""Compiles CUDA text for the host and runs its kernels; shim.h has the words of CUDA, and fibers.

    module = build('extern "C" __global__ void twice(float *x) { x[threadIdx.x] *= 2; }')
    module.launch("twice", (1, 1, 1), (8, 1, 1), 0, [struct.pack("P", x.ctypes.data)])

Kernels are the functions that the text declares as `extern "C" __global__ void name(`.
"""

import ctypes
import hashlib
import os
import platform
import re
import shlex
import subprocess
import threading
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "cuda_shim"  # git ignores build/
HEADER = Path(__file__).with_name("shim.h")
CXX = shlex.split(os.environ.get("CXX", "g++"))
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=off",
         "-fno-math-errno", "-fno-strict-aliasing", "-w")  # fmt: skip
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
            "--param=asan-use-after-return=0", "-DSHIM_SANITIZE")  # fmt: skip
ORDERS = ("forward", "reverse", "random")

KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^()]*\)\s*)?(\w+)\s*\('
)
DYNAMIC = re.compile(r"extern\s+__shared__\s+((?:unsigned\s+)?\w+)\s+(\w+)\s*\[\s*\]\s*;")


class CompileError(RuntimeError):
    """The text is not C++, or not of the kind that the shim takes."""


class LaunchError(RuntimeError):
    """A launch that a GPU would refuse, or whose result would be undefined."""


class _Config(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("order", ctypes.c_int),
    )


class Module:
    """Kernels of one text. One launch at a time: they share their __shared__ variables."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path = path
        self.names = names
        self._library = ctypes.CDLL(str(path))
        self._lock = threading.Lock()
        self._sizes = {name: self._read_sizes(name) for name in names}

    def _read_sizes(self, name: str) -> tuple[int, ...]:
        sizes = (ctypes.c_size_t * 256)()
        n = self._library[f"shim_sizes_{name}"](sizes)
        return tuple(sizes[:n])

    def parameter_sizes(self, name: str) -> tuple[int, ...]:
        """Bytes of each parameter of a kernel, as its text declares them."""
        if name not in self._sizes:
            raise LaunchError(f"kernel: expected one of {', '.join(self.names)}, got {name}")
        return self._sizes[name]

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared_bytes: int,
        argument_bytes: list[bytes],
        order: str = "forward",
        seed: int = 0,
    ) -> None:
        """Run a kernel. LaunchError: wrong arguments, or a barrier that some threads skip."""
        given = tuple(map(len, argument_bytes))
        if given != self.parameter_sizes(name):
            raise LaunchError(
                f"{name}: expected arguments of {self._sizes[name]} bytes, got {given}"
            )
        if max(map(len, (grid, block))) > 3 or min(grid) < 1 or min(block) < 1:
            raise LaunchError(f"{name}: expected sizes from 1, got {grid} blocks of {block}")
        config = _Config(
            (*grid, 1, 1)[:3], (*block, 1, 1)[:3], shared_bytes, seed, ORDERS.index(order)
        )
        buffers = [ctypes.create_string_buffer(data, len(data)) for data in argument_bytes]
        pointers = (ctypes.c_void_p * (len(buffers) + 1))(*map(ctypes.addressof, buffers))
        function = self._library[f"shim_launch_{name}"]
        function.restype = ctypes.c_char_p
        with self._lock:
            error = function(ctypes.byref(config), pointers)
        if error:
            raise LaunchError(f"{name}: {error.decode()}")


@cache
def compiler() -> str:
    """Which compiler this is, for the key of the cache."""
    return subprocess.check_output([*CXX, "--version"], text=True)


def flags_of(options: tuple[str, ...]) -> list[str]:
    """Of the options for NVRTC those that g++ understands: macros."""
    return [option for option in options if option.startswith(("-D", "-U"))]


def build(code: str, options: tuple[str, ...] = (), *, sanitize: bool = False) -> Module:
    """Compile the text, or take what an earlier call has compiled.

    A sanitized module loads only into a process that has preloaded the sanitizer's library.
    """
    names = tuple(dict.fromkeys(KERNEL.findall(code)))
    if not names:
        raise CompileError('expected text with extern "C" __global__ functions, got none')
    text = DYNAMIC.sub(r"\1 *const \2 = reinterpret_cast<\1 *>(shim::dynamic_shared);", code)
    text = f'#line 1 "kernel.cu"\n{text}\n' + "".join(f"SHIM_KERNEL({name})\n" for name in names)
    fused = ["-mfma"] if platform.machine() in ("x86_64", "AMD64") else []
    flags = [*FLAGS, *fused, *flags_of(options), *(SANITIZE if sanitize else ())]
    key = repr((compiler(), flags, HEADER.read_text(), text)).encode()
    library = CACHE / f"{hashlib.sha256(key).hexdigest()[:32]}.so"
    if not library.exists():
        compile_text(text, flags, library)
    return Module(library, names)


def compile_text(text: str, flags: list[str], library: Path) -> None:
    """Write the shared object; another process may be writing the same one."""
    library.parent.mkdir(parents=True, exist_ok=True)
    part = library.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
    command = [*CXX, *flags, "-x", "c++", "-include", str(HEADER), "-", "-o", str(part)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        part.unlink(missing_ok=True)
        raise CompileError(f"{shlex.join(command)}\n{done.stderr}")
    part.replace(library)


def sanitizer_environment() -> dict[str, str]:
    """Variables for a process that loads sanitized modules."""
    libraries = [
        subprocess.check_output([*CXX, f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }

"""The C library in the installed package: what is there, what it exports, how to link with it."""

import ctypes
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from compiling import CC, PROGRAMS, STRICT, need, run, words

import fastfa

HEADER = Path(fastfa.get_include(), "fastfa.h")
LIB = Path(fastfa.get_library_dir())
ARCHIVE = LIB / "libfastfa.a"
MAJOR_MINOR = ".".join(fastfa.__version__.split(".")[:2])
SHARED = LIB / f"libfastfa.so.{MAJOR_MINOR}"
PUBLIC = set(re.findall(r"^FA_API [^(]*?(\w+)\(", HEADER.read_text(), re.M))


def names(*options):
    listing = run(need("nm"), "--defined-only", *options)
    return {line.split()[-1] for line in listing.splitlines() if len(line.split()) == 3}


def test_shared_library_exports_what_the_header_declares():
    assert "fa_net_create" in PUBLIC
    assert names("-D", SHARED) == PUBLIC


def test_library_cannot_print_or_end_the_process():
    listing = run(need("nm"), "-D", "--undefined-only", SHARED)
    wanted = {line.split()[-1].split("@")[0] for line in listing.splitlines()}
    assert {"pthread_rwlock_rdlock", "memcpy"} <= wanted
    never = {"stdout", "stderr", "printf", "vprintf", "puts", "putchar", "perror"}
    assert not wanted & (never | {"__printf_chk", "exit", "_exit", "abort", "__assert_fail"})


def test_archive_brings_no_names_but_ours_into_a_program():
    assert names("-g", ARCHIVE) >= PUBLIC
    assert {name for name in names("-g", ARCHIVE) if not name.startswith("fa_")} == set()


def test_shared_library_is_small_and_has_a_versioned_name():
    assert SHARED.stat().st_size <= 1_500_000
    assert f"[{SHARED.name}]" in run(need("readelf"), "-d", SHARED)


def test_shared_library_is_this_version_and_finds_the_vendored_blas():
    library = ctypes.CDLL(str(SHARED))
    library.fa_build_info.restype = ctypes.c_char_p
    info = json.loads(library.fa_build_info().decode())
    assert info == fastfa.build_info()


@pytest.fixture(scope="module")
def from_archive(tmp_path_factory):
    program = tmp_path_factory.mktemp("archive") / "bits"
    run(*CC, PROGRAMS / "bits.c", *words("--cflags", "--libs", "--static"), "-o", program)
    return re.findall("hash .*", run(program))


@pytest.mark.parametrize("static", ["", "--static"])
@pytest.mark.parametrize("name", ["plain", "a space", "two  spaces\tand [a-z] 'quotes' \u00e9"])
def test_documented_line_wherever_the_package_lies(name, static, tmp_path, from_archive):
    """`cc program.c $(python -m fastfa --cflags --libs)`: a shell looks at no quotes there."""
    package = tmp_path / name / "fastfa"
    ignore = shutil.ignore_patterns("_vendor", "__pycache__")
    shutil.copytree(Path(fastfa.__file__).parent, package, ignore=ignore)
    shutil.copy(PROGRAMS / "bits.c", tmp_path)
    flags = f"{shlex.quote(sys.executable)} -m fastfa --cflags --libs {static}"
    for line in (f"cc bits.c $({flags}) -o bits", f'eval "cc bits.c $({flags}) -o bits"'):
        run("sh", "-c", f"cd '{tmp_path}' && {line}", PYTHONPATH=str(package.parent))
        assert re.findall("hash .*", run(tmp_path / "bits")) == from_archive
        (tmp_path / "bits").unlink()


@pytest.mark.parametrize("how", ["python -m fastfa", "pkgconf"])
def test_program_linked_with_the_shared_library(how, tmp_path, from_archive):
    ask = [sys.executable, "-m", "pkgconf", "fastfa"] if how == "pkgconf" else words
    options = ["--cflags", "--libs"]
    flags = shlex.split(run(*ask, *options)) if how == "pkgconf" else words(*options)
    run(*CC, PROGRAMS / "bits.c", *flags, "-o", tmp_path / "bits")
    assert re.findall("hash .*", run(tmp_path / "bits")) == from_archive
    assert len(from_archive) > 20
    assert SHARED.name in run(need("readelf"), "-d", tmp_path / "bits")


def test_pkgconf_names_what_the_archive_needs():
    flags = run(sys.executable, "-m", "pkgconf", "--static", "--libs", "fastfa").split()
    assert {"-lfastfa", "-lm", "-lpthread", "-ldl"} <= set(flags)
    version = run(sys.executable, "-m", "pkgconf", "--modversion", "fastfa")
    assert version.strip() == fastfa.__version__


@pytest.mark.slow
def test_cmake_targets(tmp_path, from_archive):
    cmake = need("cmake")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\n"
        "project(embed C)\n"
        "find_package(fastfa CONFIG REQUIRED)\n"
        + "".join(
            f"add_executable({kind} {PROGRAMS / 'bits.c'})\n"
            f"target_link_libraries({kind} PRIVATE fastfa::{kind})\n"
            for kind in ("fastfa", "static")
        )
    )
    run(cmake, "-S", tmp_path, "-B", tmp_path / "prefix", f"-DCMAKE_PREFIX_PATH={LIB.parent}")
    run(cmake, "-S", tmp_path, "-B", tmp_path / "build", f"-Dfastfa_DIR={LIB}/cmake/fastfa")
    run(cmake, "--build", tmp_path / "build")
    for kind in ("fastfa", "static"):
        assert re.findall("hash .*", run(tmp_path / "build" / kind)) == from_archive


@pytest.mark.parametrize("language", ["c99", "c11", "c++11", "c++17"])
def test_header_is_clean(language, tmp_path):
    compiler = [need("g++")] if "++" in language else CC
    source = tmp_path / f"use.{'cc' if '++' in language else 'c'}"
    source.write_text(
        '#include "fastfa.h"\n#include "fastfa.h"\n'
        "int main(void) { return fa_net_defaults().n_threads + (fa_version() == 0); }\n"
    )
    flags = (*STRICT, "-Wshadow", "-Wconversion", f"-std={language}")
    run(*compiler, *flags, source, *words("--cflags", "--libs"), "-o", tmp_path / "use")
    run(tmp_path / "use")

"""csrc/amalgamate.py: the engine as two files, by every compiler here, gives the same bits."""

import itertools
import re
import subprocess
from pathlib import Path

import pytest
from compiling import CC, PROGRAMS, STRICT, USABLE, Engine, need, run, words

import fastfa

pytestmark = pytest.mark.slow

VENDORED = Path(fastfa.__file__).parent / "_vendor/libscipy_openblas-fastfa.so"


def hashes(*program, **environment):
    found = re.findall("hash .*", run(*program, **environment))
    assert len(found) > 20
    return found


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The same program on the installed library."""
    program = tmp_path_factory.mktemp("library") / "bits"
    run(*CC, PROGRAMS / "bits.c", *words("--cflags", "--libs"), "-o", program)
    return program


def compiled_by(*commands):
    """The test gets fastfa.c as compiled by these commands: pairs of a compiler and its flags."""
    ids = [" ".join((*compiler, *flags)) for compiler, flags in commands]
    return pytest.mark.parametrize("engine", commands, ids=ids, indirect=True)


def build(folder, tmp_path, engine, libraries=()):
    program = tmp_path / "bits"
    sources = (f"-I{folder}", PROGRAMS / "bits.c", engine.object)
    run(*engine.compiler, *sources, *libraries, "-lm", "-lpthread", "-o", program)
    return program


COMPILERS, LEVELS = (("gcc",), ("clang",)), (("-O0",), ("-O3",))


@compiled_by(*itertools.product(COMPILERS, LEVELS))
def test_same_bits_as_the_library(folder, engine, library, tmp_path):
    program = build(folder, tmp_path, engine)
    for isa in USABLE:
        own = {"FASTFA_CPU": isa, "FASTFA_GEMM": "own"}
        assert hashes(program, **own) == hashes(library, **own)


@compiled_by((CC, ("-O0", "-DFASTFA_PORTABLE")))
def test_plain_c_where_there_is_no_x86(folder, engine, library, tmp_path):
    program = build(folder, tmp_path, engine)
    assert '"isa": "c"' in run(program)
    assert hashes(program) == hashes(library, FASTFA_CPU="v2", FASTFA_GEMM="own")


@pytest.mark.skipif("v3" not in USABLE, reason="needs fused multiply-add here too")
@compiled_by((("aarch64-linux-gnu-gcc",), ("-O2",)))
def test_64_bit_arm_has_the_bits_of_avx2(folder, engine, library, tmp_path):
    emulator = need("qemu-aarch64")
    program = build(folder, tmp_path, engine, ("-static",))
    assert '"isa": "neon"' in run(emulator, program)
    assert hashes(emulator, program) == hashes(library, FASTFA_CPU="v3", FASTFA_GEMM="own")


@compiled_by((("musl-gcc",), ("-O0",)))
def test_static_program_of_musl_trains_on_a_small_stack(folder, engine, tmp_path):
    source, program = PROGRAMS / "small_stack.c", tmp_path / "program"
    flags = ("-static", f"-I{folder}", engine.object, "-lm", "-lpthread")
    run(*engine.compiler, *STRICT, source, *flags, "-o", program)
    for isa in USABLE:
        little, plenty = run(program, FASTFA_CPU=isa, FASTFA_GEMM="own").split()
        assert little == plenty


PREFIX = tuple(f"-Dcblas_{x}gemm=scipy_cblas_{x}gemm" for x in "sd")


@pytest.mark.skipif(not VENDORED.exists(), reason="built with FASTFA_NO_BLAS=1")
@compiled_by((CC, ("-O0", "-DFASTFA_PORTABLE", "-DFASTFA_CBLAS", *PREFIX)))
def test_with_a_cblas(folder, engine, library, tmp_path):
    program = build(folder, tmp_path, engine, (VENDORED, f"-Wl,-rpath,{VENDORED.parent}"))
    blas = {"FASTFA_GEMM": "blas", "OPENBLAS_NUM_THREADS": "1"}
    assert '"blas": "CBLAS"' in run(program, **blas)
    assert hashes(program, **blas) == hashes(library, FASTFA_CPU="v2", **blas)
    assert hashes(program, FASTFA_GEMM="own") == hashes(library, FASTFA_CPU="v2", FASTFA_GEMM="own")


@compiled_by((CC, ("-O0",)))
def test_exports_nothing_of_its_own(folder, engine, tmp_path):
    shared = tmp_path / "libfastfa.so"
    run(*CC, "-shared", engine.object, "-lm", "-lpthread", "-o", shared)
    header = (folder / "fastfa.h").read_text()
    listing = run(need("nm"), "-D", "--defined-only", shared)
    public = set(re.findall(r"^FA_API [^(]*?(\w+)\(", header, re.M))
    assert {line.split()[-1] for line in listing.splitlines()} == public


FAST = (
    "-ffast-math",
    "-Ofast",
    "-funsafe-math-optimizations",
    "-ffinite-math-only",
    "-fno-signed-zeros",
    "-freciprocal-math",
    "-fassociative-math -fno-signed-zeros -fno-trapping-math",
    "-ffp-contract=fast",
    "-fsingle-precision-constant",
)


@pytest.mark.parametrize("flags", FAST)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_flags_that_change_results(compiler, flags, folder, library, tmp_path):
    """They are refused, by the compiler or when a network is created, or they change nothing."""
    made = tmp_path / "fastfa.o"
    command = [need(compiler), "-std=gnu11", "-w", "-Wfatal-errors", "-O1", *flags.split()]
    command += ["-c", str(folder / "fastfa.c"), "-o", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        assert "fastfa: compile without -f" in done.stderr
        return
    said = run(build(folder, tmp_path, Engine([compiler], made)), FASTFA_GEMM="own")
    if "build without -ffast-math" not in said:
        assert re.findall("hash .*", said) == hashes(library, FASTFA_GEMM="own")

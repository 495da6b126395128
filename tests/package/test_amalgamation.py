"""csrc/amalgamate.py: the engine as two files, by every compiler here, gives the same bits."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from compiling import CC, PROGRAMS, ROOT, STRICT, USABLE, need, run, words

import fastfa

pytestmark = pytest.mark.slow

VENDORED = Path(fastfa.__file__).parent / "_vendor/libscipy_openblas-fastfa.so"


def hashes(program, **environment):
    found = re.findall("hash .*", run(program, **environment))
    assert len(found) > 20
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The two files, far from everything they were made of."""
    made = tmp_path_factory.mktemp("amalgamation")
    run(sys.executable, ROOT / "csrc/amalgamate.py", made)
    assert sorted(os.listdir(made)) == ["fastfa.c", "fastfa.h"]
    return made


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The same program on the installed library."""
    program = tmp_path_factory.mktemp("library") / "bits"
    run(*CC, PROGRAMS / "bits.c", *words("--cflags", "--libs"), "-o", program)
    return program


@pytest.fixture(scope="module")
def engine(folder, tmp_path_factory):
    """Compiles fastfa.c, once for each compiler and flags: that takes a while."""
    objects, made = tmp_path_factory.mktemp("objects"), {}

    def compiled(compiler, *flags):
        key = (os.path.realpath(need(compiler[0])), *compiler[1:], *flags)  # cc may be gcc
        if key not in made:
            made[key] = objects / f"{len(made)}.o"
            strict = ("-std=c11", *STRICT, "-fPIC")
            run(*compiler, *strict, *flags, "-c", folder / "fastfa.c", "-o", made[key])
        return made[key]

    return compiled


def build(folder, tmp_path, compiler, engine, libraries=()):
    program = tmp_path / "bits"
    sources = (f"-I{folder}", PROGRAMS / "bits.c", engine)
    run(*compiler, *sources, *libraries, "-lm", "-lpthread", "-o", program)
    return program


@pytest.mark.parametrize("optimise", ["-O0", "-O3"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_same_bits_as_the_library(compiler, optimise, folder, engine, library, tmp_path):
    command = [need(compiler)]
    program = build(folder, tmp_path, command, engine(command, optimise))
    for isa in USABLE:
        own = {"FASTFA_CPU": isa, "FASTFA_GEMM": "own"}
        assert hashes(program, **own) == hashes(library, **own)


def test_plain_c_where_there_is_no_x86(folder, engine, library, tmp_path):
    program = build(folder, tmp_path, CC, engine(CC, "-O0", "-DFASTFA_PORTABLE"))
    assert '"isa": "c"' in run(program)
    assert hashes(program) == hashes(library, FASTFA_CPU="v2", FASTFA_GEMM="own")


def test_static_program_of_musl_trains_on_a_small_stack(folder, engine, tmp_path):
    musl = [need("musl-gcc")]
    source, program = PROGRAMS / "small_stack.c", tmp_path / "program"
    flags = ("-static", f"-I{folder}", engine(musl, "-O1"), "-lm", "-lpthread")
    run(*musl, *STRICT, source, *flags, "-o", program)
    for isa in USABLE:
        little, plenty = run(program, FASTFA_CPU=isa, FASTFA_GEMM="own").split()
        assert little == plenty


def test_with_a_cblas(folder, engine, library, tmp_path):
    if not VENDORED.exists():
        pytest.skip("built with FASTFA_NO_BLAS=1")
    prefix = [f"-Dcblas_{x}gemm=scipy_cblas_{x}gemm" for x in "sd"]
    link = (VENDORED, f"-Wl,-rpath,{VENDORED.parent}")
    program = build(folder, tmp_path, CC, engine(CC, "-O0", "-DFASTFA_CBLAS", *prefix), link)
    blas = {"FASTFA_GEMM": "blas", "OPENBLAS_NUM_THREADS": "1"}
    assert '"blas": "CBLAS"' in run(program, **blas)
    assert hashes(program, **blas) == hashes(library, **blas)
    assert hashes(program, FASTFA_GEMM="own") == hashes(library, FASTFA_GEMM="own")


def test_exports_nothing_of_its_own(folder, engine, tmp_path):
    shared = tmp_path / "libfastfa.so"
    run(*CC, "-shared", engine(CC, "-O0"), "-lm", "-lpthread", "-o", shared)
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
    said = run(build(folder, tmp_path, [need(compiler)], made), FASTFA_GEMM="own")
    if "build without -ffast-math" not in said:
        assert re.findall("hash .*", said) == hashes(library, FASTFA_GEMM="own")

"""The engine as two files, compiled once for all tests that want it alike."""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from compiling import ROOT, STRICT, Engine, need, run


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The two files, far from everything they were made of."""
    made = tmp_path_factory.mktemp("amalgamation")
    run(sys.executable, ROOT / "csrc/amalgamate.py", made)
    assert sorted(os.listdir(made)) == ["fastfa.c", "fastfa.h"]
    return made


def alike(compiler, flags):
    """The same for two names of one compiler: cc may be gcc."""
    name, *options = compiler
    return (os.path.realpath(shutil.which(name) or name), *options, *flags)


@pytest.fixture(scope="session")
def engines(folder, tmp_path_factory, request):
    """Compiles fastfa.c by a compiler with some flags, once.

    What the chosen tests want is begun at once, as many at a time as there are processors. Each
    takes up to a minute of one processor, those with -O3 the longest.
    """
    objects = tmp_path_factory.mktemp("objects")
    given = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    commands = [parameters["engine"] for parameters in given if "engine" in parameters]
    begun = {}

    def compiled(made, compiler, flags):
        need(compiler[0])
        strict = ("-std=c11", *STRICT, "-fPIC")
        run(*compiler, *strict, *flags, "-c", folder / "fastfa.c", "-o", made)
        return made

    def begin(compiler, flags):
        name = alike(compiler, flags)
        if name not in begun:
            made = objects / f"{len(begun)}.o"
            begun[name] = pool.submit(compiled, made, compiler, flags)
        return begun[name]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for compiler, flags in sorted(commands, key=lambda command: "-O3" not in command[1]):
            begin(compiler, flags)
        yield lambda compiler, flags: Engine(compiler, begin(compiler, flags).result())


@pytest.fixture
def engine(engines, request):
    """A compiler and the object that it made of fastfa.c."""
    return engines(*request.param)

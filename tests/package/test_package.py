"""The installed package: what it holds, what it exports, what importing it does to the process."""

import ctypes
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import run_python

import fastfa
from fastfa import _core

ROOT = Path(__file__).parents[2]
VENDOR = Path(_core.__file__).parent / "_vendor"


def test_one_version():
    """Distribution, module, engine and citation agree; the truth is FASTFA_VERSION in fastfa.h."""
    cited = re.search(r'^version: "(.*)"$', (ROOT / "CITATION.cff").read_text(), re.M)
    versions = {importlib.metadata.version("fastfa"), fastfa.__version__, cited[1]}
    assert versions == {_core.build_info()["version"]}


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm (binutils)")
def test_extension_exports_its_init_function_only():
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", _core.__file__], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1] for line in listing.stdout.splitlines()}
    assert names == {"PyInit__core"}


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf (binutils)")
@pytest.mark.parametrize("library", ["_core", "libfastfa"])
def test_libraries_are_hardened_and_name_no_folder_of_the_builder(library):
    path = _core.__file__
    if library == "libfastfa":
        (path,) = Path(fastfa.get_library_dir()).glob("libfastfa.so.*")
    listing = subprocess.run(
        ["readelf", "-W", "--dynamic", "--segments", "--dyn-syms", path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "RUNPATH" not in listing
    assert "RPATH" not in listing
    assert "BIND_NOW" in listing
    assert "GNU_RELRO" in listing
    assert "__stack_chk_fail" in listing
    (stack,) = (line for line in listing.splitlines() if "GNU_STACK" in line)
    assert "E" not in stack.split()[-2]  # no code is executed there


def test_source_distributions_are_the_same_bytes(tmp_path):
    """Whoever makes them, when, and with which modes and times of their files."""
    made = []
    for name, mode, time in ("one", 0o640, 10**9), ("other", 0o600, 1_500_000_000):
        source = tmp_path / name
        ignore = shutil.ignore_patterns(
            ".git", "build", "*.so*", "*.a", "*.egg-info", "__pycache__"
        )
        shutil.copytree(ROOT, source, ignore=ignore)
        for path in source.rglob("*.[cp][hy]*"):
            path.chmod(mode)
            os.utime(path, (time, time))
        command = [sys.executable, "setup.py", "--quiet", "sdist"]
        subprocess.run(command, cwd=source, check=True, capture_output=True)
        (archive,) = (source / "dist").iterdir()
        made.append((archive.name, archive.read_bytes()))
    assert made[0] == made[1]


def test_vendored_blas_comes_with_its_licences():
    library = VENDOR / "libscipy_openblas-fastfa.so"
    if not library.exists():
        pytest.skip("built with FASTFA_NO_BLAS=1")
    licences = (VENDOR / "LICENSE-openblas.txt").read_text()
    assert "OpenBLAS" in licences
    assert "GCC RUNTIME LIBRARY EXCEPTION" in licences.upper()
    assert ctypes.CDLL(str(library)).scipy_openblas_get_parallel() == 1  # pthreads, as expected


def test_vendored_blas_has_a_name_of_its_own():
    """Otherwise the loader would hand us a copy that NumPy or SciPy loaded, and its threads."""
    library = VENDOR / "libscipy_openblas-fastfa.so"
    if not library.exists():
        pytest.skip("built with FASTFA_NO_BLAS=1")
    assert library.name.encode() + b"\0" in library.read_bytes()


def test_vendored_blas_has_one_thread_and_numpys_keeps_its_own():
    if not (VENDOR / "libscipy_openblas-fastfa.so").exists():
        pytest.skip("built with FASTFA_NO_BLAS=1")
    code = (
        "import json, numpy, threadpoolctl as t;"
        "threads = lambda: {lib['filepath']: lib['num_threads'] for lib in t.threadpool_info()};"
        "t.threadpool_limits(2); before = threads();"
        "import fastfa; fastfa.build_info(); print(json.dumps([before, threads()]))"
    )
    before, after = json.loads(run_python(code))
    ours = {path: n for path, n in after.items() if path not in before}
    assert {Path(path).name for path in ours} == {
        "libscipy_openblas-fastfa.so",
        Path(_core.__file__).name,
    }
    assert [n for path, n in ours.items() if "openblas" in path] == [1]
    assert {path: after[path] for path in before} == before

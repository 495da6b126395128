"""How many threads there are: the environment's word, and threadpoolctl's."""

import os
import shutil
import sys

import pytest
from processes import run_python

import fastfa as fa
from fastfa import _core

SHOW = "import fastfa as fa; print(fa.get_num_threads())"
LIMITS = "from threadpoolctl import threadpool_limits, threadpool_info\n"
MINE = "mine = lambda: [t['num_threads'] for t in threadpool_info() if t['user_api'] == 'fastfa']\n"


def clean(**environment):
    """These variables and no other that says how many."""
    return {"FASTFA_NUM_THREADS": "", "OMP_NUM_THREADS": "", **environment}


@pytest.fixture(scope="module")
def default():
    """What is shown without any variable."""
    return run_python(SHOW, **clean())


# ------------------------------------------------------------------------------------- environment


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"OMP_NUM_THREADS": " 3 "}, "3"),
        ({"OMP_NUM_THREADS": "4,2"}, "4"),
        ({"OMP_NUM_THREADS": "999"}, "64"),
        ({"OMP_NUM_THREADS": "99999999999999999999"}, "64"),
        ({"OMP_NUM_THREADS": "5", "FASTFA_NUM_THREADS": "3"}, "3"),
        ({"FASTFA_NUM_THREADS": "64"}, "64"),
    ],
)
def test_variable_that_is_a_number(environment, expected):
    code = f"import warnings; warnings.simplefilter('error')\n{SHOW}"
    assert run_python(code, **clean(**environment)) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("OMP_NUM_THREADS", value) for value in ("0", "-1", "abc", "1.5", "3x", ",2", " ")),
        *(("FASTFA_NUM_THREADS", value) for value in ("0", "65", "4,2", "two", "2\x1b[2J", "é")),
    ],
)
def test_variable_that_is_none_is_said_and_ignored(name, value, default):
    code = (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    warnings.simplefilter('always')\n"
        "    import fastfa as fa; n = fa.get_num_threads(), fa.get_num_threads()\n"
        "print(*n, *[ascii(str(w.message)) for w in said], sep='|')"
    )
    *numbers, message = run_python(code, **clean(**{name: value})).split("|")
    assert numbers == [default] * 2
    assert f"{name}: expected 1 to 64, got '" in message
    assert "ignored" in message
    assert "x1b" not in message


def test_warning_that_is_an_error_stops_nothing(default):
    code = f"import warnings; warnings.simplefilter('error')\n{SHOW}"
    assert run_python(code, **clean(OMP_NUM_THREADS="two")) == default


# ----------------------------------------------------------------------------------- threadpoolctl


@pytest.mark.parametrize("first", ["fastfa", "threadpoolctl"])
def test_threadpoolctl_sees_and_limits_the_pool(first):
    pytest.importorskip("threadpoolctl")
    imports = {
        "fastfa": f"import fastfa as fa\n{LIMITS}",
        "threadpoolctl": f"{LIMITS}import fastfa as fa\n",
    }
    code = (
        imports[first]
        + MINE
        + (
            "seen = [mine(), fa.get_num_threads()]\n"
            "with threadpool_limits(1): seen += [mine(), fa.get_num_threads()]\n"
            "with threadpool_limits(2, user_api='fastfa'): seen += [fa.get_num_threads()]\n"
            "with threadpool_limits({'fastfa': 2}): seen += [fa.get_num_threads()]\n"
            "with threadpool_limits(1, user_api='blas'): seen += [fa.get_num_threads()]\n"
            "with threadpool_limits(1000): seen += [fa.get_num_threads()]\n"
            "seen += [fa.get_num_threads()]\n"
            "print(*seen)"
        )
    )
    assert run_python(code, **clean(FASTFA_NUM_THREADS="3")) == "[3] 3 [1] 1 2 2 3 64 3"


def test_threadpoolctl_does_not_take_the_core_of_others_for_ours(tmp_path):
    """Other packages have an extension of that name as well."""
    pytest.importorskip("threadpoolctl")
    other = tmp_path / "other"
    other.mkdir()
    (other / "__init__.py").touch()
    shutil.copy(_core.__file__, other)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"import ctypes, fastfa\nctypes.CDLL({str(other / os.path.basename(_core.__file__))!r})\n"
        f"{LIMITS}{MINE}print(len(mine()))"
    )
    assert run_python(code) == "1"


def test_threadpoolctl_sees_the_c_library_too():
    pytest.importorskip("threadpoolctl")
    code = (
        "import ctypes, glob, fastfa as fa\n"
        "c = ctypes.CDLL(glob.glob(fa.get_library_dir() + '/libfastfa.so.*')[0])\n"
        f"{LIMITS}{MINE}"
        "with threadpool_limits(1): print(len(mine()), c.fa_get_num_threads(), end=' ')\n"
        "print(c.fa_get_num_threads())"
    )
    assert run_python(code, **clean(FASTFA_NUM_THREADS="3")) == "2 1 3"


def test_fastfa_does_without_threadpoolctl():
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'threadpoolctl': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent)\n"
        "import fastfa as fa\n"
        "try: import threadpoolctl\n"
        "except ImportError: print(fa.get_num_threads(), 'threadpoolctl' in sys.modules)"
    )
    assert run_python(code, **clean(FASTFA_NUM_THREADS="3")) == "3 False"
    assert "threadpoolctl" not in run_python("import sys, fastfa; print(*sys.modules)").split()


@pytest.mark.skipif(sys.platform != "linux", reason="binds a thread to a processor")
def test_threads_of_a_bound_thread_are_those_of_the_process(default):
    code = (
        "import os, threading\n"
        "def bound():\n"
        "    os.sched_setaffinity(threading.get_native_id(), {min(os.sched_getaffinity(0))})\n"
        "    import fastfa as fa\n"
        "    print(fa.get_num_threads())\n"
        "t = threading.Thread(target=bound); t.start(); t.join()"
    )
    assert run_python(code, **clean()) == default
    assert fa.get_num_threads() >= 1

"""What importing and using fastfa does to a process: as little as possible."""

import sys

import numpy as np
import pytest
from networks import dense, description, samples
from processes import run_python

from fastfa import _core

SUBNORMAL = 5e-324


def subnormals_survive():
    tiny, small = np.array([SUBNORMAL, 1e-310]), np.array([1e-45, 1e-40], np.float32)
    whole = np.array([2.0**-1022]) / 4 * np.ones(1)
    return bool((tiny * 1.0 != 0).all() and (small * np.float32(1) != 0).all() and whole[0] > 0)


# -------------------------------------------------------------------------------------- subnormals


def test_subnormals_survive_import():
    """A library linked with -ffast-math would flush them to zero in the whole process."""
    code = (
        "import numpy as np, fastfa\n"
        "tiny, small = np.array([5e-324, 1e-310]), np.array([1e-45, 1e-40], np.float32)\n"
        "print((tiny * 1.0 != 0).all(), (small * np.float32(1) != 0).all(), 2.0**-1060 / 4 > 0)"
    )
    assert run_python(code) == "True True True"


@pytest.mark.parametrize("n_threads", [1, 2])
def test_subnormals_survive_every_call(n_threads):
    """They are flushed inside a call and come back after it, also after one that failed."""
    desc = description([dense(9, "tanh"), dense(3)], 4, "fa", n_threads=n_threads)
    net, data = _core.Network(desc), samples(desc, 200)
    calls = {
        "train_batch": lambda: net.train_batch(*data),
        "train_steps": lambda: net.train_steps(*data, None, 32, 0, 7),
        "predict": lambda: net.predict(data[0]),
        "evaluate": lambda: net.evaluate(*data),
        "gradients": lambda: net.gradients(*data),
        "alignment": lambda: net.alignment(*data),
        "reset": net.reset,
        "state": lambda: net.restore(net.state()),
    }
    assert subnormals_survive()
    for name, call in calls.items():
        call()
        assert subnormals_survive(), name
    net.parameters["0.weight"][...] = np.nan
    for name in ("train_batch", "train_steps", "gradients", "alignment"):
        with pytest.raises(FloatingPointError):
            calls[name]()
        assert subnormals_survive(), name


def test_subnormals_survive_where_training_calls_back():
    """A poll runs the user's code in the user's floating-point mode, the rest in ours."""
    desc = description([dense(300, "tanh"), dense(3)], 100, dtype="float32")
    net, data = _core.Network(desc), samples(desc, 20_000)
    seen = []
    net.train_steps(
        *data, None, 32, 0, 625, None, lambda step: seen.append(subnormals_survive()), 0
    )
    assert seen
    assert all(seen)
    assert subnormals_survive()


def test_subnormals_are_flushed_inside_a_call():
    """Training must not crawl on them: a weight that small counts as zero."""
    desc = description([dense(1)], 1, loss="mse", dtype="float64")
    net = _core.Network(desc)
    net.parameters["0.weight"][...] = SUBNORMAL
    net.parameters["0.bias"][...] = 0
    assert net.predict(np.ones((1, 1)))[0, 0] == 0


# ---------------------------------------------------------------------------------------- modules


def modules_of(statement):
    return set(run_python(f"import sys\n{statement}\nprint(*sys.modules)").split())


def test_import_loads_numpy_and_little_else():
    """The cost of an import is what it loads; nothing else here depends on the machine's speed."""
    added = modules_of("import fastfa") - modules_of("import numpy")
    outside = {
        name for name in added if not name.startswith(("fastfa", "_cython", "cython_runtime"))
    }
    allowed = {"__future__", "copy", "dataclasses", "json", "threading"}
    assert {name.split(".")[0].lstrip("_") for name in outside} <= {a.lstrip("_") for a in allowed}
    mine = {name for name in added if name.startswith("fastfa")}
    assert mine.isdisjoint(
        {"fastfa.backends.reference", "fastfa.datasets", "fastfa.experiments", "fastfa.plot"}
    )


def test_neither_import_nor_training_loads_what_is_optional():
    optional = {"tqdm", "matplotlib", "scipy", "pandas", "torch", "sklearn", "scipy_openblas32"}
    train = (
        "import fastfa as fa, numpy as np\n"
        "net = fa.Sequential([fa.Dense(3)], input_shape=2, rng=0)\n"
        "net.fit(np.ones((4, 2)), np.arange(4) % 3, verbose=False)\n"
        "net.predict(np.ones((4, 2)))"
    )
    assert modules_of("import fastfa").isdisjoint(optional)
    assert modules_of(train).isdisjoint(optional)


def test_import_prints_nothing_and_leaves_the_random_state():
    code = (
        "import numpy as np\n"
        "np.random.seed(1); first = np.random.get_state()[1].tolist()\n"
        "import fastfa\n"
        "assert np.random.get_state()[1].tolist() == first"
    )
    assert run_python(code) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_threads_start_when_they_are_first_needed():
    """Import opens no BLAS, whose threads would start with it; the pool waits for its first job."""
    code = (
        "import os, numpy as np\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count()\n"
        "import fastfa as fa\n"
        "after_import = count()\n"
        "net = fa.Sequential([fa.Dense(9), fa.Dense(3)], input_shape=4, n_threads=3, rng=0)\n"
        "after_making = count()\n"
        "net.train_batch(np.ones((200, 4)), np.zeros(200, int))\n"
        "print(after_import - before, after_making - before, count() - before)"
    )
    assert run_python(code, FASTFA_GEMM="own") == "0 0 2"

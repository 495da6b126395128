"""The GPU kernels, run on the host: the bits of the engine in C, its own products on v3 or v4.

A covering set of cases: every pair of choices occurs in one of them. FASTFA_CUDA_ALL=1 adds every
rule x optimizer x loss x {dropout, bytes, weights, short batch, batch of one}.
"""

import itertools
import os

import numpy as np
import pytest
from cases import CLIPPED, FACTORS, FEW, LEARNED, LOSSES, OPTIMIZERS, TAUGHT, Case, covering
from driver import HostNetwork, NoMemory, compile_all, state_of

from fastfa import _core
from fastfa.backends.cuda import kernels
from fastfa.backends.cuda.plan import Plan
from fastfa.backends.cuda.steps import Batch

# A case of four has another tile than the smallest, another one of four the other type.
TILE_OF = {3: "32x32", 7: "64x64", 11: "128x128"}
COVERING = [
    Case(
        **choices,
        dtype="float64" if i % 4 == 2 else "float32",
        tile=TILE_OF.get(i % 12, "16x32"),
    )
    for factors in (FACTORS, FEW)
    for i, choices in enumerate(covering(factors, lambda choices: Case(**choices).possible))
]
LONG = [
    Case(taught, optimizer, loss, layers, drops, weighted=weighted, m=9, dtype=dtype)
    for taught, optimizer, loss, layers, drops, weighted, dtype in (
        ("backprop", "sgd", "softmax", "tile + 1", "no", False, "float32"),
        ("dfa", "momentum", "softmax", "primes", "hidden", True, "float32"),
        ("fa", "adam", "mse", "tile", "no", False, "float32"),
        ("mixed", "nesterov", "sigmoid", "tile + 1", "twice", True, "float32"),
        ("sdfa", "rmsprop", "softmax", "tile - 1", "no", False, "float32"),
        ("drtp", "adamw", "softmax rows", "primes", "no", False, "float32"),
        ("ternary", "sgd decay", "sigmoid one", "tile + 1", "input", False, "float32"),
        ("backprop", "adam", "softmax", "tile + 1", "hidden", True, "float64"),
        ("dfa", "sgd", "mse preact", "primes", "no", False, "float64"),
        ("fa", "rmsprop centered", "softmax", "tile + 1", "no", False, "float32"),
        ("dfa", "adagrad", "softmax", "primes", "no", True, "float64"),
        ("backprop", "nadam", "mse", "tile - 1", "no", False, "float32"),
        ("dfa", "radam", "softmax", "tile + 1", "no", False, "float32"),
        ("fa", "lion", "sigmoid", "primes", "no", True, "float32"),
        ("backprop", "sgd clip", "softmax", "several tiles", "no", True, "float32"),
        ("kp", "adamw clip", "mse", "several tiles", "no", False, "float64"),
        ("brsf", "adam", "softmax", "tile + 1", "hidden", False, "float32"),
        ("kp below dkp", "momentum", "softmax", "tile + 1", "hidden", True, "float32"),
        ("local", "sgd", "softmax", "primes", "no", True, "float32"),
        ("pepita", "rmsprop unclipped", "sigmoid", "tile + 1", "twice", False, "float32"),
    )
]
EXTRAS = (
    {"drops": "hidden"},
    {"samples": "bytes"},
    {"weighted": True},
    {"m": 16},  # its last batch is short
    {"m": 1},
)
if os.environ.get("FASTFA_CUDA_ALL"):
    every = (
        Case(taught, optimizer, loss, **{"layers": "tile - 1", "m": 8, **extra}, dtype=dtype)
        for taught, optimizer, loss in itertools.product(
            TAUGHT | LEARNED, OPTIMIZERS | CLIPPED, LOSSES
        )
        for extra, dtype in itertools.product(EXTRAS, ("float32", "float64"))
    )
    COVERING += [case for case in every if case.possible]


def parametrized(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.words)


def network_of(case):
    """The network of a case, trained by the kernels."""
    tile = kernels.TILES[case.dtype][case.tile]
    return HostNetwork(case.description(), case.order, tile=tile)


def wanted_by(case):
    """The kernels of a case's steps."""
    tile = kernels.TILES[case.dtype][case.tile]
    desc = case.description()
    plan = Plan(desc, _core.Network(desc).layers)
    x, labels, *_ = case.data()
    samples = "bytes" if x.dtype == np.uint8 else "numbers"
    sizes = {min(case.m, len(x) - i) for i in range(0, len(x), case.m)}
    batches = [Batch(m, samples, labels is not None, case.weighted) for m in sizes]
    return [k for b in batches for k in plan.step("train", b, NoMemory(), tile=tile).kernels]


pytestmark = pytest.mark.skipif(
    _core.build_info()["isa"] not in ("v3", "v4"), reason="other instruction sets have other bits"
)


@pytest.fixture(autouse=True, scope="module")
def own_products():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTFA_GEMM", "own")
        yield


@pytest.fixture(scope="module")
def compiled(request):
    """Compiles what the chosen tests need, many kernels at a time."""
    items = [item for item in request.session.items if item.path == request.path]
    cases = [item.callspec.params["case"] for item in items if "case" in item.fixturenames]
    compile_all(kernel for case in cases for kernel in wanted_by(case))


def assert_same_bits(gpu, net):
    for key, expected in state_of(net).items():
        found = gpu.state()[key]
        assert np.isfinite(expected).all(), f"{key} is not finite: the case shows nothing"
        assert found.tobytes() == expected.tobytes(), (
            f"{key}: largest error {error(found, expected)}"
        )


def error(found, expected):
    return np.abs(found.astype(float) - expected).max()


def assert_same_steps(gpu, net, data, m, count, first=0):
    """Some steps by both: equal bits of the state, equal losses and hits."""
    x, labels, y, weights, order = data
    lrs = net.lr * np.linspace(1, 0.5, count)
    loss, hits, *_ = net.train_steps(x, labels, y, weights, order, m, first, count, lrs)
    found = gpu.train_steps(x, labels, y, weights, order, m, first, count, lrs)
    assert found[0] == pytest.approx(loss, rel=1e-12, abs=0)
    assert np.isnan(hits) or found[1] == hits
    assert gpu.steps == net.steps
    assert_same_bits(gpu, net)


@parametrized(COVERING)
def test_steps_have_the_bits_of_the_engine(case, compiled):
    net, gpu = _core.Network(case.description()), network_of(case)
    data = case.data()
    assert_same_steps(gpu, net, data, case.m, 1)
    assert_same_steps(gpu, net, data, case.m, -(-len(data[0]) // case.m) - 1, first=1)


@parametrized(LONG)
def test_fifty_steps_have_the_bits_of_the_engine(case, compiled):
    net, gpu = _core.Network(case.description()), network_of(case)
    before = {key: array.copy() for key, array in net.parameters.items()}
    for epoch in range(17):
        data = case.data(epoch)
        assert_same_steps(gpu, net, data, case.m, -(-len(data[0]) // case.m))
    assert net.steps == 51
    changed = [key for key, array in net.parameters.items() if (array != before[key]).any()]
    assert changed == list(before)

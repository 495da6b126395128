"""Tiles, barriers, maps, other calls, numbers that are not finite, checks of data.

The GPU kernels run on the host, against the engine in C.
"""

import numpy as np
import pytest
from cases import LEARNED, TAUGHT, Case
from driver import ENTRIES, HostNetwork, NoMemory, address, compile_all, launch, state_of
from networks import (
    ACTIVATIONS,
    FLATTEN,
    conv,
    dense,
    description,
    digest,
    optimizer,
    recurrent,
    rule,
)
from shim import ORDERS, ROOT, LaunchError

from fastfa import _core
from fastfa.backends.cuda import kernels
from fastfa.backends.cuda.plan import Plan
from fastfa.backends.cuda.steps import Batch, choose_tile
from fastfa.backends.cuda.support import check_supported

pytestmark = pytest.mark.skipif(
    _core.build_info()["isa"] not in ("v3", "v4"), reason="other instruction sets have other bits"
)


@pytest.fixture(autouse=True, scope="module")
def own_products():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTFA_GEMM", "own")
        yield


# --------------------------------------------------------------------------------- tiles, barriers


def test_no_tile_changes_a_bit(dtype):
    case = Case("mixed", "momentum", layers="tile + 1", m=70, weighted=True, dtype=dtype)
    net, data = _core.Network(case.description()), case.data()
    x, labels, y, weights, order = data
    net.train_steps(x, labels, y, weights, order, 70, 0, 2)
    for name, tile in kernels.TILES[dtype].items():
        if not name.startswith("head"):
            gpu = HostNetwork(case.description(), "random", tile=tile)
            gpu.train_steps(x, labels, y, weights, order, 70, 0, 2)
            assert digest(gpu.state()) == digest(state_of(net)), name


def test_the_largest_tile_that_occupies_the_gpu_is_chosen():
    tiles = kernels.TILES["float32"]
    for size, name in ((32, 128), "16x32"), ((512, 512), "32x32"), ((1024, 1024), "64x64"):
        assert choose_tile([size], "float32", 132) is tiles[name]
    assert choose_tile([(4096, 4096)], "float32", 132) is tiles["128x128"]
    assert choose_tile([(4096, 4096)], "float64", 132) is kernels.TILES["float64"]["64x64"]
    assert choose_tile([(256, 1024)] * 4, "float32", 132) is tiles["64x64"]


BARRIER = "__syncthreads();"
BARRIERS = [
    (path.name, n)
    for path in sorted(kernels.FOLDER.glob("*.cu*"))
    if path.name != "replica.cu"  # in test_gpu_replicas.py
    for n in range(path.read_text().count(BARRIER))
]


def scan(what, values, blocks=3, compiled=ENTRIES, order="forward", **fields):
    """The first wrong index, or None."""
    dtype = "float64" if values.dtype == np.float64 and what != "weights" else "float32"
    kernel = kernels.scan(dtype, what)
    first = np.full(blocks, -7)
    n = len(values)
    at = {"values": address(values), "first": address(first), "n": n, "part": -(-n // blocks)}
    launch(kernel, blocks, kernel.record(**at, **fields), order, compiled=compiled)
    return min((int(i) for i in first if i >= 0), default=None)


def needs_barriers(compiled, order):
    """A digest of a step with several parts of products and of rows, and of a scan."""
    case = Case("dfa", "adam", "softmax", "tile + 1", m=133)
    gpu = HostNetwork(case.description(), order, compiled, tile=kernels.TILES["float32"]["32x32"])
    x, labels, *_ = case.data()
    loss = gpu.train_batch(x[:133], labels[:133], None, None)
    clipped = HostNetwork(Case("fa", "sgd clip").description(), order, compiled)
    clipped.train_batch(x[:17], labels[:17], None, None)
    values = np.where(np.arange(1000) % 700 == 699, np.inf, 1).astype(np.float32)
    return digest(
        gpu.state(),
        clipped.state(),
        loss,
        -1 if (i := scan("finite", values, 1, compiled, order)) is None else i,
    )


def test_threads_and_blocks_may_run_in_any_order():
    assert len({needs_barriers(ENTRIES, order) for order in ORDERS}) == 1


@pytest.mark.parametrize(("file", "n"), BARRIERS, ids=str)
def test_every_barrier_is_needed(file, n, monkeypatch):
    expected, part, compiled = needs_barriers(ENTRIES, "forward"), kernels.part, {}

    def without(name):
        pieces = part(name).split(BARRIER)
        return (
            part(name)
            if name != file
            else ";".join([BARRIER.join(pieces[: n + 1]), BARRIER.join(pieces[n + 1 :])])
        )

    monkeypatch.setattr(kernels, "part", without)
    assert any(needs_barriers(compiled, order) != expected for order in ORDERS)


# -------------------------------------------------------------------------------------------- maps

ZEROS = {"name": "zeros", "scale": 1.0}
STEPS = ("sign", "threshold")
FEW_VALUES = {"linear": 1, "relu": 2, "leaky_relu": 2, "sign": 3, "threshold": 2,
              "hardtanh": 2, "hard_sigmoid": 2}  # fmt: skip


def identity(dtype):
    return {"values": np.eye(32, dtype=dtype), "scale": 1.0}


def mapped(activation, dtype, out):
    """A network whose units get 32 multiples of its input."""
    rng = np.random.default_rng(3)
    weights = np.concatenate([np.logspace(-38, 20, 24), rng.uniform(0.1, 3, 8)]).astype(dtype)
    layers = [
        dense(32, activation, weight_init={"values": weights[None], "scale": 1.0}, bias_init=ZEROS),
        dense(32, weight_init=out, bias_init=ZEROS),
    ]
    inject = "pre" if activation in STEPS else "post"
    teaching = {"name": "dfa", "inject": inject, "feedback": identity(dtype)}
    return description(layers, 1, teaching, loss="mse", dtype=dtype)


def inputs(dtype):
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.uniform(-1, 1, 900), rng.uniform(-90, 90, 900), [0.0, -0.0, 1, -1]])
    return x.astype(dtype)[:, None]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_have_the_bits_of_the_engine(activation, dtype):
    desc = mapped(activation, dtype, identity(dtype))
    x = inputs(dtype)
    found, expected = HostNetwork(desc).predict(x), _core.Network(desc).predict(x)
    assert np.array_equal(found, expected, equal_nan=True)
    assert len(np.unique(found)) >= (FEW_VALUES[activation] if activation in STEPS else 1000)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in STEPS])
def test_derivatives_have_the_bits_of_the_engine(activation, dtype):
    desc = mapped(activation, dtype, ZEROS)
    x = inputs(dtype)
    y = np.full((len(x), 32), -1, dtype)
    found, *_ = HostNetwork(desc).deltas(x, None, y, None)
    expected, *_ = _core.Network(desc).deltas(x, None, y, None)
    assert np.array_equal(found, expected, equal_nan=True)
    assert len(np.unique(found)) >= FEW_VALUES.get(activation, 1000)


def test_softmax_and_the_log_of_its_loss_over_many_magnitudes(dtype):
    desc = description([dense(7, bias_init=ZEROS)], 7, dtype=dtype)
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((500, 7)) * np.logspace(-30, 3, 500)[:, None]).astype(dtype)
    desc["layers"][0]["weight_init"] = {"values": np.eye(7, dtype=dtype), "scale": 1.0}
    labels = rng.integers(0, 7, 500)
    net, gpu = _core.Network(desc), HostNetwork(desc)
    assert np.array_equal(gpu.predict(x), net.predict(x))
    loss, hits = gpu.evaluate(x, labels, None, None) / 500
    assert (loss, hits) == (pytest.approx(net.evaluate(x, labels, None, None)[0], rel=1e-12), hits)
    assert hits == net.evaluate(x, labels, None, None)[1]


# ------------------------------------------------------------------------------------- other calls

CALLS = [
    Case(taught, loss=loss, layers=layers, drops=drops, samples=samples, weighted=True, dtype=dtype)
    for taught, loss, layers, drops, samples, dtype in (
        ("mixed", "softmax", "tile + 1", "hidden", "numbers", "float32"),
        ("backprop", "mse preact wide", "primes", "twice", "bytes", "float32"),
        ("drtp", "sigmoid one", "tile", "no", "scaled", "float64"),
        ("frozen", "mse labels", "tile - 1", "input", "numbers", "float64"),
        ("dfa", "softmax wide", "none", "no", "scaled bytes", "float32"),
        ("dfa pre", "sigmoid rows wide", "steps", "no", "numbers", "float32"),
        ("sdfa", "mse preact", "one", "no", "numbers", "float32"),
    )
]


@pytest.fixture(params=CALLS, ids=lambda case: case.words)
def both(request):
    """The network of a case on either side, and its samples."""
    desc = request.param.description()
    return _core.Network(desc), HostNetwork(desc, "random"), request.param.data()[:4]


def test_outputs_are_those_of_the_engine(both):
    net, gpu, (x, *_) = both
    for logits in (False, True):
        assert gpu.predict(x, logits).tobytes() == net.predict(x, logits).tobytes()


def test_evaluations_are_those_of_the_engine(both):
    net, gpu, samples = both
    loss, accuracy = net.evaluate(*samples)
    found = gpu.evaluate(*samples) / len(samples[0])
    assert found[0] == pytest.approx(loss, rel=1e-12, abs=0)
    assert np.isnan(accuracy) or found[1] == accuracy


def test_gradients_and_deltas_are_those_of_the_engine(both):
    net, gpu, samples = both
    before = digest(gpu.state())
    loss, gradients = net.gradients(*samples)
    found_loss, found = gpu.gradients(*samples)
    assert found_loss == pytest.approx(loss, rel=1e-12, abs=0)
    for key, expected in gradients.items():
        assert found[key].tobytes() == expected.tobytes(), key
    for delta, expected in zip(gpu.deltas(*samples), net.deltas(*samples), strict=True):
        assert (delta is None) == (expected is None)
        assert delta is None or delta.tobytes() == expected.tobytes()
    assert digest(gpu.state()) == before


# ------------------------------------------------------------------- numbers that are not finite


def train_both(desc, data, m, count, **options):
    """Train until something is not finite; the engine's error."""
    net, gpu = _core.Network(desc), HostNetwork(desc, "random")
    with pytest.raises(FloatingPointError) as error:
        net.train_steps(*data, m, 0, count)
    gpu.train_steps(*data, m, 0, count, **options)
    assert gpu.steps == net.steps
    for key, expected in state_of(net).items():
        assert np.array_equal(gpu.state()[key], expected, equal_nan=True), key
    return gpu, str(error.value)


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adam"])
def test_training_stops_where_the_engine_stops(name):
    case = Case("dfa", name, "mse", "tile", m=4)
    desc = case.description()
    desc["optimizer"] |= {"lr": 1e19}
    desc["layers"][0]["activation"] = desc["layers"][1]["activation"] = "leaky_relu"
    x, _, y, *_ = case.data()
    data = (np.tile(x, (4, 1)), None, np.tile(y, (4, 1)), None, None)
    gpu, message = train_both(desc, data, 4, 10)
    assert 0 < gpu.steps < 10
    stopped = {name for name in ("halt", "suspect", "ruined") if gpu.control[name]}
    assert stopped, message


def test_a_sample_that_is_not_finite_stops_before_its_step():
    case = Case("dfa", layers="tile", m=5)
    x, labels, y, weights, order = case.data()
    x[order[7], 3] = np.nan
    desc = case.description()
    gpu, _ = train_both(desc, (x, labels, y, weights, order), 5, 3)
    assert gpu.steps == 1
    assert gpu.control["bad_input"] == 1
    assert gpu.control["stopped"] == 1


def test_a_loss_that_is_not_finite_changes_nothing_and_is_reported():
    desc = description(
        [dense(2, bias_init={"name": "zeros", "scale": 1})], 1, loss="mse", dtype="float32"
    )
    x, y = np.full((3, 1), 1e30, np.float32), np.zeros((3, 2), np.float32)
    y[1] = 3e38
    desc["layers"][0]["weight_init"] = {"values": np.full((1, 2), -1e9, np.float32), "scale": 1.0}
    gpu, message = train_both(desc, (x, None, y, None, None), 3, 1)
    assert gpu.steps == 0
    assert gpu.control["halt"] == 1
    assert str(gpu.control["stopped_loss"]) in message


def test_a_norm_that_is_not_finite_changes_nothing():
    """The loss is finite and so are the gradients; the sum of their squares is not."""
    optimizer_ = optimizer("sgd", lr=1e-9, clip_norm=1.0)
    desc = description([dense(2)], 1, loss="mse", dtype="float64", optimizer=optimizer_)
    x, y = np.full((3, 1), 1e154), np.zeros((3, 2))
    desc["layers"][0]["weight_init"] = {"values": np.full((1, 2), 1e-8), "scale": 1.0}
    gpu, message = train_both(desc, (x, None, y, None, None), 3, 1)
    assert "gradient norm is not finite (inf); nothing was updated" in message
    assert (gpu.steps, gpu.control["bad_norm"], gpu.control["halt"]) == (0, 1, 0)


@pytest.mark.parametrize("taught", ["dkp", "kp", "ldfa"])
def test_learned_feedback_that_overflows_is_found(taught):
    """The host then looks at all tensors, as the engine does."""
    case = Case(taught, "sgd", "softmax", "tile", m=4)
    desc = case.description()
    net, gpu = _core.Network(desc), HostNetwork(desc)
    key = "0.feedback.Q" if taught == "ldfa" else "0.feedback"
    net.feedback[key][:] = gpu.memory.arrays[key][:] = np.inf
    x, labels, *_ = case.data()
    before = digest(gpu.state())
    with pytest.raises(FloatingPointError, match=key):
        net.train_batch(x[:4], labels[:4], None, None)
    gpu.train_batch(x[:4], labels[:4], None, None)
    assert (gpu.control["suspect"], gpu.steps, digest(gpu.state())) == (1, 0, before)


def test_a_head_that_overflows_stops_before_any_update():
    case = Case("local", "sgd", "mse", "tile", m=4)
    desc = case.description()
    desc["layers"][0]["rule"] = rule("local", values=np.full((3, 16), 3e38, np.float32))
    x, _, y, *_ = case.data()
    gpu, message = train_both(desc, (x, None, y, None, None), 4, 1)
    assert "loss is not finite (inf)" in message
    assert (gpu.steps, gpu.control["halt"]) == (0, 1)


def test_a_product_that_overflows_waits_until_the_tensors_are_checked():
    """The unit saturates, so that the loss is finite, and so are all tensors: the step is made."""
    layers = [
        dense(3, "tanh", weight_init={"values": np.full((1, 3), 10, np.float32), "scale": 1.0}),
        dense(2),
    ]
    desc = description(layers, 1, "dfa", dtype="float32")
    x, labels = np.full((4, 1), 3e38, np.float32), np.array([0, 1, 0, 1])
    net, gpu = _core.Network(desc), HostNetwork(desc)
    before = digest(gpu.state())
    net.train_steps(x, labels, None, None, None, 2, 0, 2)
    gpu.train_steps(x, labels, None, None, None, 2, 0, 2)
    assert (gpu.steps, gpu.control["suspect"], digest(gpu.state())) == (0, 1, before)
    gpu.train_steps(x, labels, None, None, None, 2, 0, 2, checked=1)
    assert (gpu.steps, digest(gpu.state())) == (2, digest(state_of(net)))


# ------------------------------------------------------------------------------- checks of the data


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("wrong", [(), (0,), (999,), (500, 400), (332, 333), (700, 10, 999)])
def test_the_first_number_that_is_not_finite_is_found(wrong, order, dtype):
    x = np.ones(1000, dtype)
    x[list(wrong)] = [np.nan, np.inf, -np.inf][: len(wrong)]
    assert scan("finite", x, order=order) == min(wrong, default=None)


def test_wrong_labels_and_weights_are_found():
    labels = np.arange(1000) % 10
    assert scan("labels", labels, most=9) is None
    assert scan("labels", labels, most=8) == 9
    labels[700] = -1
    assert scan("labels", labels, most=9) == 700
    weights = np.linspace(0, 1, 1000)
    assert scan("weights", weights, most=1) is None
    assert scan("weights", weights, most=0.5) == 500
    for wrong in (np.nan, np.inf, -1e-300):
        assert scan("weights", np.where(np.arange(1000) == 30, wrong, weights), most=1e9) == 30


def test_wrong_target_rows_are_found(dtype):
    rows = np.full((100, 4), 0.25, dtype)
    assert scan("shares", rows, cols=4) is None
    assert scan("unit", rows, cols=4) is None
    rows[50, 1] = 0.26
    assert scan("shares", rows, cols=4) == 50
    assert scan("unit", rows, cols=4) is None
    for wrong in (np.nan, 1.001, -0.001):
        rows[20, 3] = wrong
        assert scan("unit", rows, cols=4) == scan("shares", rows, cols=4) == 20


# ----------------------------------------------------------------------------------- the interface


def test_the_shared_text_is_that_of_the_engine():
    shared = [path for path in kernels.FOLDER.iterdir() if path.suffix in (".inc", ".def")]
    assert {path.name for path in shared} == {
        name for name in (*kernels.PARTS, "activations.def") if not name.endswith(".cuh")
    }
    for path in shared:
        assert path.read_text() == (ROOT / "csrc/kernels" / path.name).read_text(), "build again"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("rule", {"name": "new"}), "layer 0: rule: expected one of backprop, .*, got new"),
        (("optimizer", {"name": "new"}), "optimizer: expected one of sgd, .*, got new"),
        (("loss", "new"), "loss: expected one of softmax_cross_entropy, .*, got new"),
    ],
    ids=str,
)
def test_what_has_no_kernels_is_refused_by_its_name(change, message):
    """The engine may learn it first."""
    desc = description([dense(3, "tanh"), dense(2)], 4)
    with pytest.raises(ValueError, match=message):
        check_supported(desc | dict([change]))


def test_layers_and_activations_without_kernels_are_refused():
    for layer in (dense(3, "new"), dense(3) | {"type": "new"}):
        desc = description([layer, dense(2)], 4)
        with pytest.raises(ValueError, match=r"layer 0: .*: expected one of .* on a GPU, got new"):
            check_supported(desc)
    for layer in (conv(3, (1, 1)), FLATTEN, recurrent(3)):
        message = f"layer 0: type: expected one of dense, dropout on a GPU, got {layer['type']}"
        with pytest.raises(ValueError, match=message):
            check_supported(description([layer, dense(2)], 4))


def test_only_uniform_numbers_are_drawn_in_every_step():
    desc = description([dense(3, "tanh"), dense(2)], 4, rule("brsf", distribution="normal"))
    with pytest.raises(ValueError, match="layer 0: feedback: expected uniform for brsf on a GPU"):
        HostNetwork(desc)
    HostNetwork(description([dense(3, "tanh"), dense(2)], 4, rule("frsf", distribution="normal")))


def test_the_feedback_of_late_steps_is_that_of_the_engine():
    """The step has more than 32 bits."""
    case = Case("brsf", m=5)
    net, gpu = _core.Network(case.description()), HostNetwork(case.description())
    state = bytearray(net.state())
    state[:8] = (2**33 + 5).to_bytes(8, "little")
    net.restore(bytes(state))
    gpu.steps = net.steps
    data = case.data()
    before = digest(gpu.state())
    net.train_steps(*data, 5, 0, 2)
    gpu.train_steps(*data, 5, 0, 2)
    assert before != digest(gpu.state()) == digest(state_of(net))


@pytest.mark.parametrize("taught", [*TAUGHT, *LEARNED])
def test_a_plan_knows_all_tensors_of_the_engine(taught):
    """Their sizes decide on the tiles of a norm."""
    net = _core.Network(Case(taught).description())
    plan = Plan(net.description, net.layers)
    found = {each.key: each.rows * each.cols for each in plan.parameters}
    assert found == {key: a.size for key, a in (net.parameters | net.feedback).items()}
    trained = {each.key for each in plan.trained}
    slots = set(_core.Network(Case(taught, "momentum").description()).slots)
    assert trained == slots


def test_matrices_that_need_larger_indices_are_refused():
    desc = description([dense(3, "tanh"), dense(2)], 4)
    plan = HostNetwork(desc).plan
    plan.step("predict", Batch(2**32 // 3), NoMemory())
    with pytest.raises(ValueError, match=r"batch: expected rows x units below 2\^32"):
        plan.step("predict", Batch(2**32 // 3 + 1), NoMemory())
    layers = _core.Network(desc).layers
    desc["n_in"] = 2**31
    with pytest.raises(ValueError, match=r"layer 0: units: expected inputs x units below 2\^32"):
        Plan(desc, layers)


def test_unknown_modes_are_refused():
    gpu = HostNetwork(description([dense(2)], 4))
    with pytest.raises(ValueError, match=r"mode: expected one of train, .*, got 'fit'"):
        gpu.plan.step("fit", None, gpu.memory)


def test_records_have_the_layout_of_the_compiler_and_refuse_unknown_fields(dtype):
    every = [
        kernels.tail(dtype),
        kernels.advance(dtype),
        kernels.weigh(dtype),
        kernels.loss(dtype, "mse"),
        kernels.forward(dtype, "tanh", kernels.TILES[dtype]["16x32"]),
    ]
    compile_all(every)
    for kernel in every:
        (size,) = ENTRIES[kernel].parameter_sizes(kernel.entry)
        assert kernel.record().dtype.itemsize == size
    with pytest.raises(KeyError, match="rows: expected one of"):
        kernels.tail(dtype).record(rows=3)
    with pytest.raises(LaunchError, match="expected arguments"):
        ENTRIES[every[0]].launch(every[0].entry, (1, 1, 1), (128, 1, 1), 0, [b"1234"])

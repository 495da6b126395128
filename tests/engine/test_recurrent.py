"""Recurrent layers in the engine against the oracle: sequences, streams, threads, files."""

import numpy as np
import pytest
from networks import (
    ADAM,
    DTYPES,
    FLATTEN,
    LOSSES,
    SGD,
    assert_all_close,
    assert_close,
    conv,
    copies,
    dense,
    description,
    digest,
    dropout,
    optimizer,
    pair,
    recurrent,
    rule,
)

from fastfa import _core

TIMES = ("bptt", "kp", "fa", "sign", "diagonal", "leak", "none", "broadcast", "frozen")
STREAMING = ("diagonal", "leak", "none", "frozen")
RULES = ("backprop", "fa", "dfa", "sdfa", "usf", "frsf", "brsf", "kp", "dkp", "ternary", "ldfa",
         "frozen")  # fmt: skip
REFUSED = ("drtp", "ifa", "local", "pepita")


def net(time="bptt", name="backprop", leak=0.4, activation="tanh", **changes):
    layers = [
        dropout(0.1),
        recurrent(11, activation, leak=leak, time=time, time_decay=0.01 * (time == "kp")),
        dropout(0.2),
        dense(7, "tanh"),
        recurrent(6, "tanh", time=time),
        dense(3),
    ]
    return description(layers, 4, name, **changes)


def batch(desc, m=5, steps=7, targets="labels", seed=0):
    """x, labels, y, weights; of every step where the name says so, with gaps."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((m, steps, desc["n_in"])).astype(desc["dtype"])
    every = targets.endswith("s at every step")
    shape = (m, steps) if every else (m,)
    gaps = rng.random(shape) < 0.4 if every else np.zeros(shape, bool)
    gaps[0] = False
    labels = rng.integers(0, 3, shape)
    y = rng.dirichlet(np.ones(3), shape).astype(desc["dtype"])
    labels[gaps], y[gaps] = -1, np.nan
    weights = rng.uniform(0.1, 2, m)
    return (x, labels, None, weights) if targets.startswith("label") else (x, None, y, weights)


KINDS = ("labels", "rows", "labels at every step", "rows at every step")


def trained(desc, n=3, **how):
    engines = pair(desc)
    for seed in range(n):
        data = batch(desc, seed=seed, **how)
        losses = [engine.train_batch(*data) for engine in engines]
        assert_close(*losses, desc["dtype"])
    return engines


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("time", TIMES)
def test_every_time_trains_as_the_oracle(time, dtype):
    core, ref = trained(net(time, dtype=dtype, optimizer=ADAM), targets="rows at every step")
    assert_all_close(core.parameters, ref.parameters, dtype, 5)
    assert_all_close(core.feedback, ref.feedback, dtype, 5)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_in_space(name):
    core, ref = trained(net("bptt", rule(name), dtype="float64"))
    assert_all_close(core.parameters, ref.parameters, "float64", 10)
    assert_all_close(core.feedback, ref.feedback, "float64", 10)


@pytest.mark.parametrize("name", REFUSED)
def test_rules_that_do_not_fit_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"layer 1: rule: expected .*, got '{name}'"):
        _core.Network(net("bptt", rule(name)))


@pytest.mark.parametrize("leak", [1.0, 0.3])
@pytest.mark.parametrize("activation", ["relu", "softplus", "gelu", "sigmoid", "linear"])
def test_activations_and_leaks(activation, leak):
    core, ref = trained(net(leak=leak, activation=activation, dtype="float64"))
    assert_all_close(core.parameters, ref.parameters, "float64", 5)


@pytest.mark.parametrize("option", [("leaky_relu", "slope", 0.3), ("elu", "alpha", 0.4)])
def test_options_of_activations(option):
    activation, name, value = option
    layers = [recurrent(11, activation, leak=0.4, **{name: value}), dense(3)]
    core, ref = trained(description(layers, 4, dtype="float64"))
    assert_all_close(core.parameters, ref.parameters, "float64", 5)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss):
    core, ref = trained(net(dtype="float64", loss=loss), targets="rows at every step")
    assert_all_close(core.parameters, ref.parameters, "float64", 5)


@pytest.mark.parametrize("name", ["backprop", "fa", "dfa", "kp", "usf"])
def test_steps_can_be_images(name):
    layers = [conv(3, (2, 2), "elu"), FLATTEN, recurrent(5, leak=0.5, time="kp"), dense(3)]
    desc = description(layers, (4, 3, 2), name, dtype="float64")
    core, ref = trained(desc, targets="labels at every step")
    assert_all_close(core.parameters, ref.parameters, "float64", 5)
    assert_all_close(core.feedback, ref.feedback, "float64", 5)
    data = batch(desc, targets="labels at every step")
    for got, expected in zip(core.deltas(*data), ref.deltas(*data), strict=True):
        assert got.shape == expected.shape
        assert_close(got, expected, "float64")
    for row, expected in zip(data[0][0], core.predict(data[0])[0], strict=True):
        assert_close(core.stream_step(row, -1, None)[0], expected, "float64")


@pytest.mark.parametrize("targets", KINDS)
@pytest.mark.parametrize("time", ["bptt", "leak"])
def test_targets(time, targets):
    desc = net(time, dtype="float64")
    core, ref = pair(desc)
    data = batch(desc, targets=targets)
    for call in ("gradients", "evaluate"):
        got, expected = getattr(core, call)(*data), getattr(ref, call)(*data)
        assert_close(got[0], expected[0], "float64")
        if call == "gradients":
            assert_all_close(got[1], expected[1], "float64")
        else:
            assert_close(got[1], expected[1], "float64")
    for got, expected in zip(core.deltas(*data), ref.deltas(*data), strict=True):
        assert_close(got.reshape(expected.shape), expected, "float64")
    for got, expected in zip(core.alignment(*data), ref.alignment(*data), strict=True):
        for name in ("delta_angle", "gradient_angle", "norm_ratio"):
            assert_close(got[name], expected[name], "float64", 1e6)  # arccos near 1


def test_predictions_of_every_step_and_of_the_last():
    desc = net(dtype="float64")
    core, ref = pair(desc)
    x = batch(desc, m=70, steps=3)[0]
    assert_close(core.predict(x), ref.predict(x), "float64")
    last = np.empty((70, 3))
    assert np.array_equal(core.predict(x, False, last), core.predict(x)[:, -1])
    assert_close(core.predict(x, logits=True), ref.predict(x, logits=True), "float64")


def test_lengths_differ_between_calls_and_epochs_are_shuffled():
    desc = net("kp", optimizer=SGD, dtype="float64")
    core, ref = pair(desc)
    for steps in (1, 9, 4):
        data = batch(desc, m=13, steps=steps, targets="labels at every step")
        orders = core.shuffle(13), ref.shuffle(13)
        sums = [e.train_steps(*data, o, 4, 0, 4) for e, o in zip((core, ref), orders, strict=True)]
        assert_close(sums[0], sums[1], "float64")
    assert_all_close(core.parameters, ref.parameters, "float64", 5)


@pytest.mark.parametrize("changes", [{"optimizer": optimizer("sgd", lr=0.1, clip_norm=0.05)},
                                     {"optimizer": optimizer("sgd", lr=0.1, momentum=0.9)},
                                     {"optimizer": optimizer("adam", lr=0.01, l1=0.05)},
                                     {"input_scale": 0.3}])  # fmt: skip
def test_settings_of_a_step(changes):
    core, ref = trained(net("bptt", dtype="float64", **changes))
    assert_all_close(core.parameters, ref.parameters, "float64", 5)


@pytest.mark.parametrize("time", TIMES)
def test_threads_and_chunks_change_no_bit(time):
    desc = net(time, optimizer=ADAM)
    bits = set()
    for threads in (1, 2, 3):
        core = _core.Network(desc | {"n_threads": threads})
        for seed in range(2):
            core.train_batch(*batch(desc, m=150, steps=5, seed=seed))
        data = batch(desc, m=150, steps=5)
        bits.add(digest(core.parameters, core.predict(data[0]), core.gradients(*data)[1]))
    assert len(bits) == 1


def stream_net(time, leak=0.4, name="dfa", f="tanh", **changes):
    layers = [recurrent(9, f, leak=leak, time=time, alpha=0.4), dense(5, "relu"), dense(3)]
    return description(layers, 4, name, **{"dtype": "float64", "optimizer": SGD, **changes})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("leak", "f"), [(1.0, "tanh"), (0.3, "tanh"), (0.6, "elu")])
@pytest.mark.parametrize("time", STREAMING)
def test_a_stream_adds_up_to_the_gradient_of_the_sequence(time, leak, f, dtype):
    """With lr so small that weights stay: the sum of its updates is the batch's gradient."""
    lr = 1e-3 if dtype == "float32" else 1e-9
    desc = stream_net(time, leak, f=f, dtype=dtype, optimizer=optimizer("sgd", lr=0.0))
    core = _core.Network(desc)
    x, labels, _, _ = batch(desc, m=1, steps=9, targets="labels at every step", seed=4)
    labels[0, 3] = -1
    grads = core.gradients(x, labels, None, None)[1]
    total = {key: np.zeros_like(g, np.float64) for key, g in grads.items()}
    start = copies(core.parameters)
    for row, label in zip(x[0], labels[0], strict=True):
        core.lr = lr if label >= 0 else 0.0
        core.stream_step(row, label, None)
        for key in grads:
            total[key] += (start[key] - core.parameters[key]) / lr
            core.parameters[key][...] = start[key]
    n = (labels >= 0).sum()
    for key, g in grads.items():
        loose = 1e4 if dtype == "float64" else 30  # the difference of weights is rounded
        assert_close(total[key] / n, g, dtype, loose, key)


@pytest.mark.parametrize("how", [ADAM, optimizer("sgd", lr=0.1, clip_norm=0.1)])
@pytest.mark.parametrize("time", STREAMING)
def test_traces_do_not_depend_on_the_optimizer(time, how):
    desc = stream_net(time, optimizer=how | {"lr": 0.0})
    core, plain = _core.Network(desc), _core.Network(stream_net(time) | {"optimizer": SGD})
    plain.lr = 0.0
    for row in batch(desc, m=1, steps=6)[0][0]:
        core.stream_step(row, 1, None)
        plain.stream_step(row, -1, None)
    assert core.stream.keys() == plain.stream.keys()
    for key in core.stream:
        assert np.array_equal(core.stream[key], plain.stream[key])


@pytest.mark.parametrize("time", TIMES)
def test_a_stream_without_targets_predicts_what_a_sequence_does(time):
    desc = net(time, dtype="float64")
    core = _core.Network(desc | {"layers": [x for x in desc["layers"] if x["type"] != "dropout"]})
    x = batch(desc, m=1, steps=6)[0]
    for row, expected in zip(x[0], core.predict(x)[0], strict=True):
        before = digest(core.state())
        alone = core.predict_one_direct(np.ascontiguousarray(row))
        assert digest(core.state()) == before
        out, loss = core.stream_step(np.ascontiguousarray(row), -1, None)
        assert loss is None
        assert np.array_equal(out, alone)
        assert_close(out, expected, "float64")
    core.reset_stream()
    assert all(not values.any() for values in core.stream.values())


@pytest.mark.parametrize("time", sorted(set(TIMES) - set(STREAMING)))
def test_rules_that_need_the_future_refuse_and_change_nothing(time):
    core = _core.Network(stream_net(time))
    before = digest(core.state())
    match = f"time: expected diagonal, leak, none or frozen .*, got '{time}'"
    with pytest.raises(ValueError, match=match):
        core.stream_step(np.zeros(4), 1, None)
    assert digest(core.state()) == before


def test_a_step_that_fails_changes_nothing():
    core = _core.Network(stream_net("leak"))
    core.stream_step(np.ones(4), 1, None)
    before = digest(core.state())
    for x, label in ((np.full(4, np.nan), 1), (np.ones(4), 3), (np.full(4, 1e308), -1)):
        if label == -1:
            continue
        with pytest.raises(ValueError, match="expected"):
            core.stream_step(x, label, None)
    assert digest(core.state()) == before


def test_a_saved_stream_goes_on_bit_for_bit():
    desc = stream_net("diagonal", dtype="float32", optimizer=ADAM)
    core = _core.Network(desc)
    x = batch(desc, m=1, steps=12)[0][0]
    for row in x[:5]:
        core.stream_step(row, 2, None)
    other = _core.Network.load(core.dumps(), None)
    state = core.state()
    results = []
    for engine in (core, other):
        results.append([engine.stream_step(row, t % 3, None)[1] for t, row in enumerate(x[5:])])
    assert results[0] == results[1]
    assert digest(core.state()) == digest(other.state())
    core.restore(state)
    assert [core.stream_step(row, t % 3, None)[1] for t, row in enumerate(x[5:])] == results[0]


def test_samples_that_are_not_sequences_are_refused():
    core = _core.Network(stream_net("leak"))
    data = np.zeros((2, 0, 4)), np.zeros(2, np.int64), None, None
    with pytest.raises(ValueError, match="time_steps: expected 1 to"):
        core.train_batch(*data)
    plain = _core.Network(description([dense(3)], 4))
    with pytest.raises(ValueError, match="recurrent layer"):
        plain.stream_step(np.zeros(4), 1, None)

"""Networks with recurrent layers in Python: data, training, streams, files, what is refused."""

import io
import pickle

import numpy as np
import pytest

import fastfa as fa
from fastfa._internal.metrics import f1
from fastfa._internal.samples import Batch
from fastfa._internal.subsets import split
from fastfa.rules.base import RuleWarning


def net(*layers, time="bptt", loss="softmax_cross_entropy", rule="dfa", **how):
    layers = layers or (fa.Recurrent(12, leak=0.5, time=time), fa.Dense(3))
    return fa.Sequential(layers, input_shape=2, loss=loss, rule=rule, rng=0, **how)


def memory_task(m=200, steps=6, seed=0):
    """Which of three signs came first."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, steps, 2)).astype(np.float32) * 0.1
    y = rng.integers(0, 3, m)
    X[:, 0] += np.array([[2, 0], [0, 2], [-2, -2]])[y]
    return X, y


def test_fit_learns_to_remember():
    X, y = memory_task()
    n = net(optimizer=fa.Adam(0.01))
    history = n.fit(X, y, epochs=15, batch_size=20, validation_data=memory_task(seed=1))
    assert history.history["val_accuracy"][-1] > 0.95
    assert n.evaluate(X, y)["accuracy"] > 0.95
    frozen = net(time="frozen", optimizer=fa.Adam(0.01))
    frozen.fit(X, y, epochs=15, batch_size=20)
    assert frozen.evaluate(X, y)["loss"] > n.evaluate(X, y)["loss"]


def test_shapes_of_predictions():
    X = memory_task(5)[0]
    n = net()
    assert n.predict(X).shape == (5, 6, 3)
    assert np.array_equal(n.predict(X, last=True), n.predict(X)[:, -1])
    assert n.predict(X[:, :2], output="logits").shape == (5, 2, 3)


@pytest.mark.parametrize("shape", [2, (2,), (None, 2), (6, 2)])
def test_input_shapes_mean_the_same(shape):
    layers = [fa.Recurrent(4), fa.Dense(3)]
    a = fa.Sequential(layers, input_shape=shape, rng=1)
    assert a.predict(memory_task(3)[0]).shape == (3, 6, 3)


def test_targets_of_every_step_labels_floats_and_rows():
    X, _ = memory_task(8)
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, (8, 6))
    labels[1:, 2:5] = -1
    floats = np.where(labels < 0, np.nan, labels)
    rows = np.where((labels < 0)[..., None], np.nan, np.eye(3)[labels])
    losses = {net().train_batch(X, y) for y in (labels, floats, rows)}
    assert len(losses) == 1
    n, every = net(), np.full((8, 6), -1)
    every[:, -1] = labels[:, -1]
    assert n.evaluate(X, labels[:, -1]) == n.evaluate(X, every)


def test_values_of_one_output():
    X, _ = memory_task(8)
    y = np.random.default_rng(0).standard_normal((8, 6))
    n = net(fa.Recurrent(5), fa.Dense(1), loss="mse")
    assert n.evaluate(X, y[:, -1:]) == n.evaluate(X, y[:, -1])
    assert n.evaluate(X, y) == n.evaluate(X, y[..., None]) != n.evaluate(X, y[:, -1])


def test_bytes_are_scaled():
    X = np.random.default_rng(0).integers(0, 256, (4, 5, 2)).astype(np.uint8)
    n = net(dtype="float64")
    np.testing.assert_allclose(n.predict(X), n.predict(X / 255), rtol=1e-12)
    np.testing.assert_allclose(n.step_one(X[0, 0]), n.predict(X)[0, 0], rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((3, 2)), [0, 1, 2], r"[Xx]: expected sequences \(m, T, 2\).*one sequence is"),
        (np.zeros((3, 0, 2)), [0, 1, 2], r"[Xx]: expected sequences .* got shape \(3, 0, 2\)"),
        (np.zeros((3, 4, 3)), [0, 1, 2], r"[Xx]: expected sequences .* got shape \(3, 4, 3\)"),
        (np.zeros((3, 4, 2)), [0, 1], r"y: expected labels \(m,\).*got shape \(2,\) for 3"),
        (np.zeros((3, 4, 2)), np.zeros((3, 5), int), r"y: expected .* 3 sequences of 4 steps"),
        (np.zeros((3, 4, 2)), [0, 1, 3], "y: expected labels in 0..2, got 3 at index 2"),
        (np.full((3, 4, 2), np.nan), [0, 1, 2], "X: expected finite numbers, got nan at row 0"),
        (np.zeros((3, 4, 2)), np.full((3, 4), 0.5), "y: expected integer labels from 0 to 2"),
        (np.zeros((3, 4, 2)), np.full((3, 4), -2), "y: expected labels in 0..2, got -2"),
    ],
)
def test_bad_input(x, y, message):
    n = net()
    before = n.to_bytes()
    for call in (n.train_batch, n.fit, n.evaluate):
        with pytest.raises(ValueError, match=message):
            call(x, y)
    assert n.to_bytes() == before


class Sparse:
    """What a sparse matrix looks like."""

    nnz, shape = 0, (3, 2)

    def tocsr(self):
        raise AssertionError("it is refused before")


def test_a_sparse_X_is_refused_by_name():
    n = net()
    message = (
        "[Xx]: expected a dense array for a network with a Recurrent layer, got a sparse Sparse"
    )
    for call in (n.predict, *(lambda X, f=f: f(X, [0, 1, 2]) for f in (n.fit, n.train_batch))):
        with pytest.raises(TypeError, match=message):
            call(Sparse())


@pytest.mark.parametrize("shape", [(4, 3, 2), (None, 4, 3, 2), (5, 4, 3, 2)])
def test_sequences_of_images(shape):
    layers = [fa.Conv2D(3, 2, "relu"), fa.Flatten(), fa.Recurrent(5, leak=0.5), fa.Dense(3)]
    nets = [fa.Sequential(layers, input_shape=shape, rule="dfa", rng=0) for _ in range(2)]
    X = np.random.default_rng(0).standard_normal((6, 5, 4, 3, 2)).astype(np.float32)
    y = np.array([0, 1, 2, 0, 1, 2])
    for n, given in zip(nets, (X, X.reshape(6, 5, 24)), strict=True):
        n.fit(given, y, epochs=2, batch_size=4, verbose=False)
    assert nets[0].to_bytes() == nets[1].to_bytes()
    n = nets[0]
    assert n.predict(X).shape == (6, 5, 3)
    np.testing.assert_allclose(n.step_one(X[0, 0]), n.predict(X)[0, 0], rtol=1e-5)
    assert [row.layer for row in n.alignment(X, y)] == [0, 2]
    assert "3x2x3" in n.summary()
    message = (
        r"X: expected sequences \(m, T, 4, 3, 2\) .*, got shape \(6, 4, 3, 2\); one sequence is"
    )
    with pytest.raises(ValueError, match=message):
        n.predict(X[:, 0])


@pytest.mark.parametrize("shape", [(0, 2), (5, 0), (2, 3, 4, 5, 6), (2.5, 2)])
def test_bad_input_shapes(shape):
    with pytest.raises((TypeError, ValueError), match="input_shape"):
        fa.Sequential([fa.Recurrent(4), fa.Dense(3)], input_shape=shape)


def test_a_row_of_y_that_is_partly_missing_is_refused():
    y = np.zeros((3, 4, 2))
    y[1, 2, 0] = np.nan
    n = net(fa.Recurrent(3), fa.Dense(2), loss="mse")
    with pytest.raises(ValueError, match="y: expected finite numbers, got nan at row 6, column 0"):
        n.train_batch(np.zeros((3, 4, 2)), y)


def test_what_is_not_for_sequences_says_so(tmp_path):
    X, y = memory_task(9)
    n = net()
    with pytest.raises(ValueError, match="learn_one for each step"):
        n.learn_many(X, y)
    with pytest.raises(ValueError, match=r"layer 0: expected dense or dropout, got recurrent"):
        n.to_c(tmp_path / "n.c")
    with pytest.raises(ValueError, match="layer 1: the last layer: expected dense, got recurrent"):
        net(fa.Dense(3), fa.Recurrent(3))
    with pytest.raises(ValueError, match=r"time: expected .*bptt"):
        fa.Recurrent(3, time="future")
    with pytest.raises(ValueError, match=r"leak: expected .*0"):
        fa.Recurrent(3, leak=0)
    with pytest.raises(ValueError, match="recurrent_init: expected shape"):
        net(fa.Recurrent(3, recurrent_init=np.zeros((2, 3))), fa.Dense(2))
    with pytest.raises(ValueError, match="layer 0: inject: expected 'post' in a recurrent layer"):
        net(rule=fa.DFA(inject="pre"))
    plain = fa.Sequential([fa.Dense(3)], input_shape=2)
    plain.reset_state()
    assert plain.state == {}
    with pytest.raises(ValueError, match="Recurrent layer"):
        plain.step_one([0, 0])
    with pytest.raises(ValueError, match="y: expected a target, got None"):
        plain.learn_one([0.0, 0.0])


def test_a_layer_that_trains_no_memory_warns():
    with pytest.warns(RuleWarning, match="trains no memory"):
        net(fa.Recurrent(4, time="rflo"), fa.Dense(2))


def test_aliases_and_descriptions():
    assert fa.Recurrent(3, time="snap1") == fa.Recurrent(3, time="diagonal")
    assert fa.Recurrent(3, time="eprop").time == "leak"
    layer = fa.Recurrent(3, "relu", leak=0.2, time="kp", time_decay=0.1)
    assert eval(repr(layer), {"Recurrent": fa.Recurrent}) == layer
    layers = (fa.Recurrent(3, "elu", alpha=0.5), layer, fa.Dense(2, "linear"))
    assert fa.load(net(*layers).to_bytes()).layers == layers
    with pytest.raises(ValueError, match="slope with activation 'tanh'"):
        fa.Recurrent(3, slope=0.2)


# ------------------------------------------------------------------------------------- streams


def stream(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2)).astype(np.float32), rng.integers(0, 3, n)


def test_the_methods_of_a_stream():
    n = net(time="leak")
    x, y = stream(6)
    state = n.state
    assert set(state) == {"0.state", "0.trace.weight", "0.trace.recurrent", "0.trace.bias"}
    assert not any(value.any() for value in state.values())
    answer = n.predict_one(x[0])
    assert all(np.array_equal(state[key], value) for key, value in n.state.items())
    assert np.array_equal(n.step_one(x[0], y[0]), answer)
    assert n.steps == 1
    assert n.learn_one(x[1]) is None
    assert n.steps == 1
    assert n.state["0.state"].any()
    assert isinstance(n.learn_one(x[2], y[2]), float)
    n.reset_state()
    assert not n.state["0.trace.weight"].any()


def test_conversions_of_a_stream_change_nothing():
    x, y = stream(5)
    n, other = net(time="diagonal"), net(time="diagonal")
    for row, label in zip(x, y, strict=True):
        a = n.step_one(row, label), n.step_one(row, np.eye(3)[label])
        b = other.step_one(row.tolist(), float(label)), other.step_one(row, np.eye(3)[label])
        assert np.array_equal(a, b)
    assert n.to_bytes() == other.to_bytes()


def test_the_state_is_saved_assigned_and_cloned():
    x, y = stream(9)
    n = net(time="leak", optimizer=fa.SGD(0.1, momentum=0.9))
    for row, label in zip(x[:4], y, strict=False):
        n.learn_one(row, label)
    file, state = io.BytesIO(), n.state
    n.save(file)
    copies = fa.load(io.BytesIO(file.getvalue())), pickle.loads(pickle.dumps(n))
    ends = []
    for each in (n, *copies):
        losses = [each.learn_one(row, label) for row, label in zip(x[4:], y[4:], strict=True)]
        ends.append((losses, each.to_bytes()))
    assert ends[0] == ends[1] == ends[2]
    n.state = state
    assert np.array_equal(n.state["0.state"], state["0.state"])
    for bad in ({}, state | {"0.state": np.zeros(5)}, state | {"0.state": np.full(12, np.nan)}):
        with pytest.raises(ValueError, match="state"):
            n.state = bad


def test_a_stream_learns_a_rhythm():
    """The error falls well below that of the reservoir."""
    errors = {}
    for time in ("leak", "frozen"):
        n = fa.Sequential(
            [fa.Recurrent(20, leak=0.3, time=time), fa.Dense(1)],
            input_shape=1, loss="mse", rule="dfa", optimizer=fa.SGD(0.02), rng=3,
        )  # fmt: skip
        t = np.arange(3000)
        wave = np.sin(t / 5) * np.sin(t / 13)
        losses = [n.learn_one(wave[i : i + 1], wave[i + 4]) for i in range(2900)]
        errors[time] = np.mean(losses[-500:])
    assert errors["leak"] < 0.8 * errors["frozen"]


def test_learning_needs_a_time_that_streams():
    n = net(time="bptt")
    x, y = stream(2)
    assert n.step_one(x[0]).shape == (3,)
    with pytest.raises(ValueError, match="layer 0: time: expected diagonal, leak, none or frozen"):
        n.learn_one(x[1], y[1])


def test_freezing_summary_and_alignment():
    X, y = memory_task(30)
    n = net(fa.Recurrent(8), fa.Dense(6, "tanh"), fa.Dense(3))
    assert "Recurrent(8)" in n.summary()
    rows = n.alignment(X, y)
    assert [row.layer for row in rows] == [0, 1]
    assert all(0 < row.delta_angle < 120 for row in rows)
    exact = net(fa.Recurrent(8), fa.Dense(3), rule="backprop").alignment(X, y)[0]
    assert exact.delta_angle == pytest.approx(0, abs=1e-3)
    n.freeze(0)
    before = n.parameters["0.recurrent"].copy()
    n.train_batch(X, y)
    assert np.array_equal(n.parameters["0.recurrent"], before)


# ---- metrics, weights, splits and batches of sequences ----


def step_labels(m=20, steps=6, seed=3):
    """Labels of every step; of the first sequence none, and of the others not all."""
    labels = np.random.default_rng(seed).integers(0, 3, (m, steps))
    labels[1:, 2:5] = -1
    return labels


def test_metrics_are_those_of_the_steps_with_a_target():
    X, y = memory_task(20)
    n = net()
    seen = {}

    def keep(name):
        return lambda y, prediction: seen.setdefault(name, (y, prediction)) and 0.5

    n.evaluate(X, y, metrics={"last": keep("last")})
    assert np.array_equal(seen["last"][0], y)
    assert np.array_equal(seen["last"][1], n.predict(X, last=True))
    labels = step_labels()
    logs = n.evaluate(X, labels, metrics={"every": keep("every"), "f1": "f1"})
    has = labels >= 0
    assert np.array_equal(seen["every"][0], labels[has])
    assert np.array_equal(seen["every"][1], n.predict(X)[has])
    guess = n.predict(X)[has].argmax(axis=1)[:, None] == np.arange(3)
    assert logs["f1"] == f1(labels[has][:, None] == np.arange(3), guess)


def test_metrics_of_values_leave_out_nan():
    X = memory_task(20)[0]
    n = net(fa.Recurrent(5), fa.Dense(1), loss="mse")
    y = np.random.default_rng(0).normal(size=(20, 6)).astype("f4")
    y[:, 1:3] = np.nan
    found = n.evaluate(X, y, metrics=["rmse", "mae"])
    has, predicted = ~np.isnan(y), n.predict(X)[..., 0]
    error = (predicted - y)[has].astype(float)
    assert found["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-6)
    history = n.fit(X, y, epochs=2, metrics=["rmse"], validation_data=(X, y), train_metrics=True)
    assert history.history["val_rmse"][-1] == n.evaluate(X, y, metrics=["rmse"])["rmse"]
    assert history.history["rmse"] == history.history["val_rmse"]


def test_many_sequences_are_measured_in_parts(monkeypatch):
    X, labels = memory_task(20)[0], step_labels()
    n = net()
    whole = n.evaluate(X, labels, metrics=["f1", "auc"])
    monkeypatch.setattr("fastfa._internal.metrics.ROWS_AT_ONCE", 25)
    assert n.evaluate(X, labels, metrics=["f1", "auc"]) == whole


def test_class_weights_are_sample_weights():
    X, y = memory_task(40)
    table, share = np.array([2.0, 1.0, 0.5]), np.bincount(y) / 40
    for of_class, weights in (({0: 2.0, 2: 0.5}, table[y]), ("balanced", 1 / (3 * share)[y])):
        given, weighed = net(), net()
        given.fit(X, y, epochs=1, batch_size=16, class_weight=of_class)
        weighed.fit(X, y, epochs=1, batch_size=16, sample_weight=weights)
        for key, values in weighed.parameters.items():
            np.testing.assert_allclose(given.parameters[key], values, rtol=1e-6, atol=1e-7)


def test_labels_of_every_step_have_no_class_weights():
    X = memory_task(40)[0]
    layers = fa.Recurrent(4), fa.Dense(1)
    ones = net(*layers, loss="sigmoid_cross_entropy")
    y = np.where(step_labels(40) < 0, np.nan, 1.0)
    for n, target in ((net(), step_labels(40)), (ones, y)):
        before = n.to_bytes()
        with pytest.raises(ValueError, match="class_weight: expected None for y of every step"):
            n.fit(X, target, class_weight={1: 2.0})
        assert n.to_bytes() == before
    ones.fit(X, y, epochs=1, validation_split=0.25, metrics=["f1"])


@pytest.mark.parametrize("every", [False, True])
def test_a_share_of_the_sequences_validates(every):
    X, y = memory_task(40)
    y = step_labels(40) if every else y
    n, again = net(), net()
    history = n.fit(X, y, epochs=2, batch_size=7, validation_split=0.25, metrics=["f1"])
    assert set(history.history) >= {"val_loss", "val_accuracy", "val_f1"}
    rows, held = split(0.25, Batch(X, y, None, None), n.loss, n.seed)
    assert len(held) == 10
    if not every:
        shares = np.bincount(y[held]) / np.bincount(y)
        np.testing.assert_allclose(shares, 0.25, atol=0.08)
    assert history.history["val_loss"][-1] == n.evaluate(X[held], y[held])["loss"]
    again.fit(X[rows], y[rows], epochs=2, batch_size=7)
    assert np.array_equal(again.parameters["0.weight"], n.parameters["0.weight"])


def test_batches_of_sequences_of_any_length():
    X, y = memory_task(12)
    n, by_hand = net(), net()
    parts = [(X[:5], y[:5]), (X[5:, :4], y[5:]), (X[:3], y[:3], np.array([1.0, 0.0, 2.0]))]
    history = n.fit(batches=parts, epochs=2, validation_data=(X, y), metrics=["f1"])
    for _ in range(2):
        losses = [by_hand.train_batch(*part) for part in parts]
    assert np.array_equal(n.parameters["0.recurrent"], by_hand.parameters["0.recurrent"])
    assert history.history["loss"][-1] == pytest.approx(np.average(losses, weights=[5, 7, 3]))
    with pytest.raises(ValueError, match="batch 2 of epoch 3: x: expected sequences"):
        n.fit(batches=[(X, y), (X[0], y)], epochs=1)

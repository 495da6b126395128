"""What the public Python API promises: names, shapes, conversions, the same bits by any path."""

import subprocess
import sys
import threading

import numpy as np
import pytest

import fastfa as fa
from fastfa import _core
from fastfa.optimizers import OPTIMIZERS
from fastfa.rules import RULES

N_IN, N_OUT = 6, 3


def samples(m=50, dtype=np.float32):
    """A small problem whose classes depend on the inputs."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(m, N_IN)).astype(dtype)
    return X, (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)


def network(**changes):
    arguments = {
        "layers": [fa.Dense(8, "tanh"), fa.Dropout(0.2), fa.Dense(5, "relu"), fa.Dense(N_OUT)],
        "input_shape": N_IN,
        "rule": "dfa",
        "optimizer": fa.SGD(0.1, momentum=0.9),
        "rng": 7,
    }
    return fa.Sequential(**(arguments | changes))


def copies(net):
    return {key: value.copy() for key, value in net.parameters.items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


# ---------------------------------------------------------------------------------- the package


def test_importing_fastfa_imports_numpy_only():
    code = "import sys, fastfa; print(*[m for m in ('tqdm', 'matplotlib') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


def test_every_public_name_exists_and_is_documented():
    for name in fa.__all__:
        assert getattr(fa, name).__doc__, name
    assert fa.__version__ == fa.build_info()["version"]


def test_datasets_are_imported_when_asked_for():
    assert fa.datasets.__name__ == "fastfa.datasets"
    assert "datasets" in dir(fa)
    with pytest.raises(AttributeError, match="no attribute 'dataset'"):
        fa.dataset  # noqa: B018  # the access is the test


def test_threads_can_be_set_and_read():
    before = fa.get_num_threads()
    try:
        fa.set_num_threads(1)
        assert fa.get_num_threads() == 1
    finally:
        fa.set_num_threads(before)
    assert fa.get_num_threads() == before


def test_python_and_engine_know_the_same_names():
    assert {*RULES, "custom"} == set(_core.NAMES["rule"])  # custom: a class of one's own
    assert set(OPTIMIZERS) == set(_core.NAMES["optimizer"])


# --------------------------------------------------------------------------------- descriptions


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (fa.Dense(8), "Dense(8)"),
        (fa.Dense(8, "tanh", use_bias=False), "Dense(8, activation='tanh', use_bias=False)"),
        (fa.Dense(8, weight_init="he_normal"), "Dense(8, weight_init='he_normal')"),
        (fa.Dense(2, weight_init=np.ones((3, 2))), "Dense(2, weight_init=<array 3x2>)"),
        (fa.Dense(8, rule=fa.FA()), "Dense(8, rule=FA())"),
        (fa.Dropout(0.5), "Dropout(0.5)"),
        (fa.DFA(inject="pre"), "DFA(inject='pre')"),
        (fa.Feedback("normal", scale=2), "Feedback(distribution='normal', scale=2.0)"),
        (fa.DRTP(fa.Feedback(scale=2)), "DRTP(feedback=Feedback(scale=2.0))"),
        (fa.Init("normal", 0.1), "Init('normal', scale=0.1)"),
        (fa.SGD(0.5, momentum=0.9), "SGD(lr=0.5, momentum=0.9)"),
        (fa.Adam(), "Adam()"),
        (fa.EarlyStopping(patience=2), "EarlyStopping(monitor='val_loss', patience=2)"),
        (fa.Checkpoint("net-{epoch}"), "Checkpoint('net-{epoch}', every=1, monitor=None)"),
    ],
)
def test_descriptions_print_as_the_call_that_makes_them(thing, text):
    assert repr(thing) == text


@pytest.mark.parametrize(
    "thing", [fa.Dense(8), fa.Dropout(0.1), fa.DFA(), fa.SGD(), fa.Init("zeros")]
)
def test_descriptions_cannot_be_changed(thing):
    for name in ("units", "rate", "inject", "lr", "scale"):
        with pytest.raises(AttributeError):
            setattr(thing, name, 3)


def test_given_arrays_are_copied():
    values = np.ones((N_IN, N_OUT))
    net = fa.Sequential([fa.Dense(N_OUT, weight_init=values)], input_shape=N_IN)
    values[:] = 5
    np.testing.assert_array_equal(net.parameters["0.weight"], 1)
    np.testing.assert_array_equal(net.layers[0].weight_init, 1)


def test_optimizer_defaults_are_those_of_pytorch():
    assert fa.SGD().describe() == {
        "name": "sgd", "lr": 1e-3, "momentum": 0.0, "nesterov": False,
        "weight_decay": 0.0, "clip_norm": 0.0, "decay_bias": True,
    }  # fmt: skip
    assert fa.RMSprop().describe() == {
        "name": "rmsprop", "lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0,
        "weight_decay": 0.0, "clip_norm": 0.0, "decay_bias": True,
    }  # fmt: skip
    adam = {
        "lr": 1e-3,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "clip_norm": 0.0,
        "decay_bias": True,
    }
    assert fa.Adam().describe() == adam | {"name": "adam", "weight_decay": 0.0}
    assert fa.AdamW().describe() == adam | {"name": "adamw", "weight_decay": 1e-2}


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw"])
def test_optimizers_by_name(name):
    net = network(optimizer=name)
    assert net.optimizer.name == name
    assert net.lr == net.optimizer.lr


def test_rng_int_generator_and_none():
    assert network(rng=5).seed == 5
    assert network(rng=2**64 - 1).seed == 2**64 - 1
    drawn = network(rng=np.random.default_rng(1))
    assert drawn.seed == network(rng=np.random.default_rng(1)).seed
    assert_same(copies(drawn), copies(network(rng=drawn.seed)))
    assert network(rng=None).seed != network(rng=None).seed


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float32, np.dtype(np.float64)])
def test_dtype(dtype):
    net = network(dtype=dtype)
    X, y = samples()
    assert net.dtype == np.dtype(dtype).name
    assert {a.dtype for a in net.parameters.values()} == {np.dtype(dtype)}
    assert net.predict(X).dtype == np.dtype(dtype)
    assert {g.dtype for g in net.gradients(X, y).values()} == {np.dtype(dtype)}


def test_input_shape_may_be_a_tuple_of_one():
    assert_same(copies(network(input_shape=(N_IN,))), copies(network()))


# ------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("rule", sorted(RULES))
def test_train_batch_gives_the_bits_of_fit(rule):
    X, y = samples()
    fitted, stepped, twin = network(rule=rule), network(rule=rule), network(rule=rule)
    history = fitted.fit(X, y, epochs=2, batch_size=16, verbose=False)
    for epoch in range(2):
        order = twin._engine.shuffle(len(X))
        batches = [order[i : i + 16] for i in range(0, len(X), 16)]
        assert len(batches[-1]) == 2  # the short last batch is part of the test
        losses = [stepped.train_batch(X[b], y[b]) for b in batches]
        mean = np.average(losses, weights=[len(b) for b in batches])
        assert history.history["loss"][epoch] == pytest.approx(mean, rel=1e-12)
    assert fitted.steps == stepped.steps == 8
    assert_same(copies(fitted), copies(stepped))


def test_fit_again_goes_on():
    X, y = samples()
    once, twice = network(), network()
    once.fit(X, y, epochs=3, batch_size=16, verbose=False)
    first = twice.fit(X, y, epochs=1, batch_size=16, verbose=False)
    second = twice.fit(X, y, epochs=2, batch_size=16, verbose=False)
    assert first.epoch == [1]
    assert second.epoch == [2, 3]
    assert twice.epochs == 3
    assert_same(copies(once), copies(twice))


def test_reset_starts_over():
    X, y = samples()
    net = network()
    start = copies(net)
    net.fit(X, y, epochs=2, verbose=False)
    end = copies(net)
    net.lr = 5.0
    net.reset()
    assert_same(start, copies(net))
    assert (net.steps, net.epochs, net.lr) == (0, 0, 0.1)
    net.fit(X, y, epochs=2, verbose=False)
    assert_same(end, copies(net))


def test_a_batch_larger_than_X_is_one_short_batch():
    X, y = samples()
    large, exact = network(), network()
    large.fit(X, y, epochs=2, batch_size=10_000, verbose=False)
    exact.fit(X, y, epochs=2, batch_size=len(X), verbose=False)
    assert large.steps == 2
    assert_same(copies(large), copies(exact))


def test_without_shuffle_batches_come_in_order():
    X, y = samples()
    fitted, stepped = network(), network()
    fitted.fit(X, y, epochs=1, batch_size=20, shuffle=False, verbose=False)
    for i in range(0, len(X), 20):
        stepped.train_batch(X[i : i + 20], y[i : i + 20])
    assert_same(copies(fitted), copies(stepped))


def test_shuffle_takes_another_order_each_epoch():
    X, y = samples()
    shuffled, plain = network(), network()
    shuffled.fit(X, y, epochs=1, batch_size=20, verbose=False)
    plain.fit(X, y, epochs=1, batch_size=20, shuffle=False, verbose=False)
    assert (shuffled.parameters["0.weight"] != plain.parameters["0.weight"]).any()


def test_batches_of_one_train():
    X, y = samples(5)
    net = network(layers=[fa.Dense(1, "tanh"), fa.Dense(N_OUT)])
    history = net.fit(X, y, epochs=30, batch_size=1, verbose=False)
    assert net.steps == 150
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_history_has_one_entry_an_epoch():
    X, y = samples()
    history = network().fit(X, y, epochs=3, validation_data=(X, y), verbose=False)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy", "time"}
    assert all(len(values) == 3 for values in history.history.values())
    assert all(seconds > 0 for seconds in history.history["time"])
    assert repr(history).startswith("History(3 epochs; last: loss ")


def test_validation_is_evaluate_at_the_end_of_the_epoch():
    X, y = samples()
    w = np.linspace(0, 1, len(X))
    net = network()
    history = net.fit(X, y, epochs=1, validation_data=(X, y, w), verbose=False)
    expected = net.evaluate(X, y, sample_weight=w)
    assert history.history["val_loss"] == [expected["loss"]]
    assert history.history["val_accuracy"] == [expected["accuracy"]]


def test_training_learns_the_problem():
    X, y = samples(300)
    net = network(layers=[fa.Dense(16, "tanh"), fa.Dense(N_OUT)])
    net.fit(X, y, epochs=40, verbose=False)
    assert net.evaluate(X, y)["accuracy"] > 0.95


def test_sample_weight_two_counts_as_two_rows():
    X, y = samples(20, np.float64)
    net = network(layers=[fa.Dense(4, "tanh"), fa.Dense(N_OUT)], dtype="float64")
    weights = np.ones(20)
    weights[:5] = 2
    twice = np.r_[np.arange(20), np.arange(5)]
    weighted, repeated = net.gradients(X, y, weights), net.gradients(X[twice], y[twice])
    for key, gradient in weighted.items():
        np.testing.assert_allclose(gradient * 20, repeated[key] * 25, atol=1e-12, err_msg=key)
    assert net.evaluate(X, y, weights)["loss"] * 20 == pytest.approx(
        net.evaluate(X[twice], y[twice])["loss"] * 25
    )


def test_sample_weights_of_one_change_nothing():
    X, y = samples()
    plain, weighted = network(), network()
    plain.fit(X, y, epochs=2, verbose=False)
    weighted.fit(X, y, epochs=2, sample_weight=[1] * len(X), verbose=False)
    for key, value in plain.parameters.items():
        np.testing.assert_allclose(weighted.parameters[key], value, rtol=1e-5, atol=1e-6)


def test_sample_weights_follow_their_samples_through_the_shuffle():
    X, y = samples()
    w = np.linspace(0.5, 2, len(X))
    fitted, stepped, twin = network(), network(), network()
    fitted.fit(X, y, epochs=1, batch_size=20, sample_weight=w, verbose=False)
    order = twin._engine.shuffle(len(X))
    for i in range(0, len(X), 20):
        b = order[i : i + 20]
        stepped.train_batch(X[b], y[b], sample_weight=w[b])
    assert_same(copies(fitted), copies(stepped))


def test_loss_of_train_batch_is_the_one_before_the_update():
    X, y = samples()
    net = network(layers=[fa.Dense(4, "tanh"), fa.Dense(N_OUT)])
    before = net.evaluate(X, y)["loss"]
    assert net.train_batch(X, y) == pytest.approx(before, rel=1e-5)
    assert net.evaluate(X, y)["loss"] < before


# -------------------------------------------------------------------------------- learning rate


def test_a_schedule_is_asked_for_each_step():
    X, y = samples()
    asked = []

    def lr(step):
        asked.append(step)
        return 0.1 / (1 + step)

    scheduled, by_hand = network(optimizer=fa.SGD(lr)), network(optimizer=fa.SGD(0.1))
    asked.clear()
    scheduled.fit(X, y, epochs=2, batch_size=25, shuffle=False, verbose=False)
    assert asked == [0, 1, 2, 3]
    for step in range(4):
        by_hand.lr = 0.1 / (1 + step)
        rows = slice(0, 25) if step % 2 == 0 else slice(25, 50)
        by_hand.train_batch(X[rows], y[rows])
    assert_same(copies(scheduled), copies(by_hand))
    assert scheduled.lr == 0.1 / 5


def test_train_batch_follows_the_schedule():
    X, y = samples()
    fitted, stepped = (network(optimizer=fa.Adam(lambda step: 0.01 * 0.5**step)) for _ in range(2))
    fitted.fit(X, y, epochs=4, batch_size=len(X), shuffle=False, verbose=False)
    for _ in range(4):
        stepped.train_batch(X, y)
    assert_same(copies(fitted), copies(stepped))


def test_writing_lr_replaces_the_schedule_until_reset():
    net = network(optimizer=fa.SGD(lambda step: 0.5))
    assert net.lr == 0.5
    net.lr = 0.25
    net.train_batch(*samples())
    assert net.lr == 0.25
    net.reset()
    assert net.lr == 0.5


def test_lr_zero_changes_nothing():
    net = network(optimizer=fa.SGD(0.0, momentum=0.9))
    start = copies(net)
    net.fit(*samples(), epochs=1, verbose=False)
    assert_same(start, copies(net))


# --------------------------------------------------------------------------------------- arrays


KINDS = {
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "big-endian": lambda a: a.astype(">f4"),
    "list": lambda a: a.tolist(),
    "read-only": lambda a: np.lib.stride_tricks.as_strided(a, writeable=False),
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
}


@pytest.mark.parametrize("convert", KINDS.values(), ids=KINDS)
def test_inputs_of_any_kind_are_converted(convert):
    X, y = samples()
    X = X.astype(np.float16).astype(np.float32)  # exact in every dtype tried here
    plain, converted = network(), network()
    plain.train_batch(X, y)
    converted.train_batch(convert(X), y)
    assert_same(copies(plain), copies(converted))
    np.testing.assert_array_equal(plain.predict(X), converted.predict(convert(X)))


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, np.bool_])
def test_integers_and_booleans_become_floats(dtype):
    X = np.random.default_rng(0).integers(0, 2, (10, N_IN)).astype(dtype)
    net = network()
    np.testing.assert_array_equal(net.predict(X), net.predict(X.astype(np.float32)))


def test_an_array_of_the_right_kind_is_used_in_place():
    X, y = samples()
    batch = network()._door.batch(X, y, np.ones(len(X)))
    assert batch.x is X
    assert batch.labels is y
    rows = np.eye(N_OUT, dtype=np.float32)[y]
    assert network()._door.batch(X, rows, None).y is rows
    pixels = np.zeros((4, N_IN), np.uint8)
    assert network()._door.inputs(pixels) is pixels


def test_uint8_is_divided_by_255():
    pixels = np.random.default_rng(0).integers(0, 256, (20, N_IN), dtype=np.uint8)
    net = network()
    np.testing.assert_allclose(net.predict(pixels), net.predict(pixels / 255), rtol=1e-5)
    assert "uint8 divided by 255" in net.summary()


def test_input_scale_multiplies_every_input():
    X, _ = samples()
    scaled, plain = network(input_scale=0.5), network()
    np.testing.assert_allclose(scaled.predict(X), plain.predict(X * np.float32(0.5)), rtol=1e-6)
    pixels = np.arange(12, dtype=np.uint8).reshape(2, N_IN)
    np.testing.assert_allclose(scaled.predict(pixels), plain.predict(pixels * 0.5), rtol=1e-5)
    assert "multiplied by 0.5" in scaled.summary()


def test_images_are_flattened():
    X, _ = samples()
    net = network()
    np.testing.assert_array_equal(net.predict(X.reshape(-1, 2, 3)), net.predict(X))


@pytest.mark.parametrize(
    "convert", [list, np.uint8, np.int32, np.float64, lambda y: y.astype(">i8")]
)
def test_labels_of_any_kind_are_converted(convert):
    X, y = samples()
    plain, converted = network(), network()
    plain.train_batch(X, y)
    converted.train_batch(X, convert(y))
    assert_same(copies(plain), copies(converted))


def targets(kind, n_out, m=40):
    labels = np.arange(m) % n_out
    return {
        "labels": labels,
        "rows": np.eye(n_out)[labels],
        "vector": np.arange(m) % 2,
        "column": (np.arange(m) % 2)[:, None],
        "booleans": np.arange(m) % 2 == 1,
    }[kind]


@pytest.mark.parametrize(
    ("loss", "n_out", "kind", "metric"),
    [
        ("softmax_cross_entropy", 3, "labels", "accuracy"),
        ("softmax_cross_entropy", 3, "rows", "accuracy"),
        ("sigmoid_cross_entropy", 1, "vector", "accuracy"),
        ("sigmoid_cross_entropy", 1, "column", "accuracy"),
        ("sigmoid_cross_entropy", 1, "booleans", "accuracy"),
        ("sigmoid_cross_entropy", 3, "labels", "accuracy"),
        ("sigmoid_cross_entropy", 3, "rows", "binary_accuracy"),
        ("mse", 1, "vector", None),
        ("mse", 1, "column", None),
        ("mse", 3, "labels", "accuracy"),
        ("mse", 3, "rows", None),
    ],
)
def test_targets_and_metrics_by_the_table(loss, n_out, kind, metric):
    X, _ = samples(40)
    y = targets(kind, n_out)
    net = network(layers=[fa.Dense(4, "tanh"), fa.Dense(n_out)], loss=loss)
    expected = {"loss"} if metric is None else {"loss", metric}
    assert set(net.evaluate(X, y)) == expected
    history = net.fit(X, y, epochs=1, validation_data=(X, y), verbose=False)
    assert set(history.history) == expected | {f"val_{key}" for key in expected} | {"time"}
    assert all(np.isfinite(values).all() for values in history.history.values())


def test_metrics_are_what_their_names_say():
    X, _ = samples(40)
    labels, rows = targets("labels", 3), targets("rows", 3)
    layers = [fa.Dense(4, "tanh"), fa.Dense(3)]
    softmax = network(layers=layers)
    argmax = np.mean(softmax.predict(X).argmax(axis=1) == labels)
    assert softmax.evaluate(X, labels)["accuracy"] == pytest.approx(argmax)
    assert softmax.evaluate(X, rows)["accuracy"] == pytest.approx(argmax)
    sigmoid = network(layers=layers, loss="sigmoid_cross_entropy")
    binary = np.mean((sigmoid.predict(X) > 0.5) == rows)
    assert sigmoid.evaluate(X, rows)["binary_accuracy"] == pytest.approx(binary)


@pytest.mark.parametrize("loss", ["sigmoid_cross_entropy", "mse"])
def test_labels_mean_their_one_hot_rows(loss):
    X, _ = samples(40)
    first, second = (network(loss=loss, rule="drtp") for _ in range(2))
    first.train_batch(X, targets("labels", 3))
    second.train_batch(X, targets("rows", 3))
    for key, value in first.parameters.items():
        np.testing.assert_allclose(second.parameters[key], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", ["sigmoid_cross_entropy", "mse"])
def test_a_vector_means_its_column_where_there_is_one_output(loss):
    X, _ = samples(40)
    layers = [fa.Dense(4, "tanh"), fa.Dense(1)]
    first, second = (network(layers=layers, loss=loss) for _ in range(2))
    first.train_batch(X, targets("vector", 1))
    second.train_batch(X, targets("column", 1))
    assert_same(copies(first), copies(second))


def test_mse_carries_one_half_and_sums_over_outputs():
    X, _ = samples(40)
    y = np.random.default_rng(1).normal(size=(40, 2))
    net = network(layers=[fa.Dense(2)], loss="mse", dtype="float64")
    expected = 0.5 * ((net.predict(X) - y) ** 2).sum(axis=1).mean()
    assert net.evaluate(X, y)["loss"] == pytest.approx(expected)


# ------------------------------------------------------------------------------- looking inside


def test_predict_probabilities_logits_and_values():
    X, _ = samples()
    net = network()
    logits = net.predict(X, output="logits")
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(net.predict(X), e / e.sum(axis=1, keepdims=True), rtol=1e-5)
    sigmoid = network(loss="sigmoid_cross_entropy")
    expected = 1 / (1 + np.exp(-sigmoid.predict(X, output="logits")))
    np.testing.assert_allclose(sigmoid.predict(X), expected, rtol=1e-5)
    values = network(layers=[fa.Dense(2, "tanh")], loss="mse")
    expected = np.tanh(X @ values.parameters["0.weight"] + values.parameters["0.bias"])
    for output in ("probabilities", "logits"):  # values are values
        np.testing.assert_allclose(values.predict(X, output), expected, rtol=1e-5, atol=1e-6)


def test_predict_and_evaluate_take_any_number_of_samples():
    X, y = samples(3001)
    net = network()
    whole = net.predict(X)
    assert whole.shape == (3001, N_OUT)
    np.testing.assert_allclose(whole[1234:1235], net.predict(X[1234:1235]), rtol=1e-5)
    losses = [net.evaluate(X[i : i + 1000], y[i : i + 1000])["loss"] for i in (0, 1000, 2000)]
    first = np.average(
        [*losses, net.evaluate(X[3000:], y[3000:])["loss"]], weights=[1000] * 3 + [1]
    )
    assert net.evaluate(X, y)["loss"] == pytest.approx(first, rel=1e-6)


def test_gradients_are_what_sgd_subtracts_and_change_nothing():
    X, y = samples()
    net = network(optimizer=fa.SGD(0.5), dtype="float64")
    start = copies(net)
    gradients = net.gradients(X, y)
    assert_same(start, copies(net))
    assert net.steps == 0
    net.train_batch(X, y)
    assert gradients.keys() == start.keys()
    for key, gradient in gradients.items():
        np.testing.assert_allclose(net.parameters[key], start[key] - 0.5 * gradient, atol=1e-12)


def test_gradients_leave_out_what_does_not_train():
    X, y = samples()
    layers = [fa.Dense(4, "tanh"), fa.Dense(4, "tanh", trainable=False), fa.Dense(N_OUT)]
    assert list(network(layers=layers).gradients(X, y)) == [
        "0.weight", "0.bias", "2.weight", "2.bias",
    ]  # fmt: skip
    assert list(network(rule="frozen").gradients(X, y)) == ["3.weight", "3.bias"]


def test_parameters_are_live_writable_views():
    X, y = samples()
    net = network()
    assert list(net.parameters) == [
        "0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias",
    ]  # fmt: skip
    assert net.parameters["0.weight"].shape == (N_IN, 8)
    assert net.parameters["0.bias"].shape == (8,)
    view, before = net.parameters["3.weight"], net.parameters["3.weight"].copy()
    net.train_batch(X, y)
    assert (view != before).any()
    view[...] = 0
    net.parameters["3.bias"] = np.log([0.2, 0.3, 0.5])
    np.testing.assert_allclose(net.predict(X), np.tile([0.2, 0.3, 0.5], (len(X), 1)), rtol=1e-5)


def test_views_outlive_the_network():
    net = network()
    view, expected = net.parameters["0.weight"], net.parameters["0.weight"].copy()
    del net
    np.testing.assert_array_equal(view, expected)


def test_assignment_reads_overlapping_views_rightly():
    net = network(layers=[fa.Dense(N_IN, "tanh"), fa.Dense(N_OUT)])
    expected = net.parameters["0.weight"].T.copy()
    net.parameters["0.weight"] = net.parameters["0.weight"].T
    np.testing.assert_array_equal(net.parameters["0.weight"], expected)


def test_feedback_is_live_and_used():
    X, y = samples()
    net = network(rule=fa.FA())
    assert {key: a.shape for key, a in net.feedback.items()} == {
        "0.feedback": (5, 8),
        "2.feedback": (N_OUT, 5),
    }
    for key, upper in (("0.feedback", "2.weight"), ("2.feedback", "3.weight")):
        net.feedback[key] = net.parameters[upper].T
    exact = network(rule="backprop")
    for key, gradient in exact.gradients(X, y).items():
        np.testing.assert_allclose(net.gradients(X, y)[key], gradient, rtol=1e-4, atol=1e-6)


def test_feedback_given_as_an_array():
    B = np.arange(N_OUT * 8, dtype=np.float64).reshape(N_OUT, 8)
    layers = [fa.Dense(8, "tanh", rule=fa.DFA(fa.Feedback(B, scale=0.5))), fa.Dense(N_OUT)]
    net = network(layers=layers, rule="backprop")
    np.testing.assert_array_equal(net.feedback["0.feedback"], 0.5 * B)
    np.testing.assert_array_equal(net.feedback_matrix(0), 0.5 * B)


@pytest.mark.parametrize(
    ("rule", "sources"),
    [("backprop", (5, 3)), ("fa", (5, 3)), ("dfa", (3, 3)), ("sdfa", (3, 3)), ("drtp", (3, 3))],
)
def test_feedback_matrix_for_any_rule(rule, sources):
    net = network(rule=rule)
    for index, n_source, units in ((0, sources[0], 8), (2, sources[1], 5)):
        matrix = net.feedback_matrix(index)
        assert matrix.shape == (n_source, units)
        if rule == "backprop":
            upper = {0: "2.weight", 2: "3.weight"}[index]
            np.testing.assert_array_equal(matrix, net.parameters[upper].T)
        else:
            np.testing.assert_array_equal(matrix, net.feedback[f"{index}.feedback"])
        matrix[:] = 99  # a copy: this must reach nothing
        assert not (net.feedback_matrix(index) == 99).any()


def test_alignment():
    X, y = samples()
    exact = network(rule="backprop").alignment(X, y)
    assert [row.layer for row in exact] == [0, 2]
    for row in exact:
        assert row.delta_angle == pytest.approx(0, abs=1e-3)
        assert row.gradient_angle == pytest.approx(0, abs=1e-3)
        assert row.norm_ratio == pytest.approx(1, rel=1e-5)
    for row in network(rule="dfa").alignment(X, y):
        assert 0 < row.delta_angle < 180
        assert 0 < row.weight_angle < 180
    for row in network(rule="frozen").alignment(X, y):
        assert np.isnan(row.delta_angle)
        assert row.weight_angle is None
    assert all(row.weight_angle is None for row in network(rule="drtp").alignment(X, y))


def test_summary_and_repr_show_which_rule_runs():
    layers = [
        fa.Dense(8, "tanh", rule=fa.FA(fa.Feedback("normal"))),
        fa.Dropout(0.1),
        fa.Dense(5, "sign", rule=fa.DFA(inject="pre")),
        fa.Dense(4, "relu", trainable=False),
        fa.Dense(N_OUT),
    ]
    net = network(layers=layers, rule="drtp")
    text = net.summary()
    assert repr(text) == str(text)  # a prompt shows the line breaks
    rows = [line.split() for line in text.splitlines()[2:7]]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4"]
    assert "fa" in rows[0]
    assert rows[0][-2:] == ["normal", "5x8"]
    assert rows[2][-5:] == ["dfa,", "inject", "pre", "uniform", "3x5"]
    assert "no" in rows[3]
    assert "drtp" in rows[3]
    assert rows[4][-2:] == ["exact", "error"]
    total = sum(a.size for a in net.parameters.values())
    assert f"{total:,} ({total - 24} trained)" in text
    for fact in ("softmax_cross_entropy", "SGD(lr=0.1, momentum=0.9)", "float32, 7", "threads"):
        assert fact in text
    line = repr(net)
    assert "\n" not in line
    for fact in ("fa normal 5x8", "dfa uniform 3x5, inject pre", "drtp uniform 3x4", "seed=7"):
        assert fact in line


def test_summary_shows_the_scale_of_the_feedback():
    net = network(rule=fa.DFA(fa.Feedback("normal", scale=0.25)))
    assert "normal 3x8, scale 0.25" in net.summary()
    assert "[dfa normal 3x8, scale 0.25]" in repr(net)


def test_summary_of_frozen_layers_says_so():
    text = network(rule="frozen").summary()
    rows = [line.split() for line in text.splitlines()[2:6]]
    assert "frozen" in rows[0]
    assert "no" in rows[0]
    assert "frozen" in rows[2]


def test_two_networks_in_two_threads_do_not_disturb_each_other():
    X, y = samples(200)
    expected = network()
    expected.fit(X, y, epochs=5, verbose=False)
    nets = [network(), network()]
    runs = [
        threading.Thread(target=net.fit, args=(X, y, 5), kwargs={"verbose": False}) for net in nets
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    for net in nets:
        assert_same(copies(expected), copies(net))

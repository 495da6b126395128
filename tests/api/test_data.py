"""What X and y may be, what the metrics mean, and what predict returns."""

import numpy as np
import pytest
from small import N_IN, N_OUT, assert_same, copies, network, samples

import fastfa as fa


def unaligned(array):
    """A copy whose elements begin one byte late."""
    return np.frombuffer(b"x" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)


KINDS = {
    "float64": lambda array: array.astype(np.float64),
    "float16": lambda array: array.astype(np.float16),
    "fortran": np.asfortranarray,
    "strided": lambda array: np.repeat(array, 2, axis=0)[::2],
    "big-endian": lambda array: array.astype(">f4"),
    "list": lambda array: array.tolist(),
    "read-only": lambda array: np.lib.stride_tricks.as_strided(array, writeable=False),
    "unaligned": unaligned,
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
    validator = network()._validator
    batch = validator.read(validator.unread(X, y, np.ones(len(X))))
    assert batch.x is X
    assert batch.labels is y
    rows = np.eye(N_OUT, dtype=np.float32)[y]
    assert validator.read(validator.unread(X, rows, None)).y is rows
    pixels = np.full((4, N_IN), 99, np.uint8)
    assert validator.read_inputs(validator.unread_inputs(pixels)) is pixels


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
    assert set(history.history) == expected | {f"val_{key}" for key in expected} | {"lr", "time"}
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


# ----------------------------------------------------------------------- bytes that are no pixels


def bits(m=50, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 2, (m, N_IN)).astype(dtype)


CALLS = {
    "fit": lambda net, X, y: net.fit(X, y, verbose=False),
    "train_batch": lambda net, X, y: net.train_batch(X, y),
    "learn_one": lambda net, X, y: net.learn_one(X[0], y[0]),
    "learn_many": lambda net, X, y: net.learn_many(X, y),
    "predict": lambda net, X, y: net.predict(X),
    "predict_one": lambda net, X, y: net.predict_one(X[0]),
    "evaluate": lambda net, X, y: net.evaluate(X, y),
    "gradients": lambda net, X, y: net.gradients(X, y),
    "alignment": lambda net, X, y: net.alignment(X, y),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("greatest", [1, 16, 63])
def test_small_bytes_are_warned_of_once(call, greatest):
    _, y = samples()
    X = bits()
    X[0, 0], X[0, 1] = greatest, 1
    net = network()
    with pytest.warns(UserWarning, match=rf"no value above {greatest}.*input_scale=1\.0") as seen:
        call(net, X, y)
    assert seen[0].filename == __file__  # the caller's line
    assert len(seen) == 1
    call(net, X, y)  # warnings are errors here


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("X", "options"),
    [
        (bits() * 255, {}),
        (bits() * 64, {}),
        (bits(), {"input_scale": 1.0}),
        (bits(dtype=np.bool_), {}),
        (bits(dtype=np.int8), {}),
        (bits(dtype=np.float32), {}),
        (np.zeros((50, N_IN), np.uint8), {}),
    ],
    ids=["pixels", "dark pixels", "scale", "bool", "int8", "float32", "black"],
)
def test_other_inputs_are_not_warned_of(call, X, options):
    X[0, 0] = X.max()
    call(network(**options), X, samples()[1])


def test_a_warning_that_is_an_error_changes_nothing():
    _, y = samples()
    net = network()
    before = net._engine.state()
    for _ in range(2):
        with pytest.raises(UserWarning, match="input_scale"):
            net.train_batch(bits(), y)
    assert net._engine.state() == before
    net.train_batch(bits(dtype=np.float32), y)
    with pytest.raises(UserWarning, match="input_scale"):
        net.predict(bits())


def test_pixels_end_the_looking():
    _, y = samples()
    net = network()
    net.train_batch(np.zeros((50, N_IN), np.uint8), y)
    net.train_batch(bits() * 255, y)
    net.train_batch(bits(), y)  # a dark picture among others


def test_summary_says_how_inputs_are_scaled():
    assert 'input_scale="auto": uint8 divided by 255' in network().summary()
    assert "input_scale=0.5: multiplied by 0.5" in network(input_scale=0.5).summary()


NO_NUMBERS = {
    "floats": np.full((4, N_IN), np.nan, np.float32),
    "pieces": np.broadcast_to(np.float64(np.nan), (1 << 20, N_IN)),
    "objects": np.full((4, N_IN), None),
}
GOOD = (np.zeros((4, N_IN), np.float32), np.zeros(4, np.int64))
CALLS_WITH_TARGETS = {
    "train_batch": lambda net, X, y: net.train_batch(X, y),
    "learn_many": lambda net, X, y: net.learn_many(X, y),
    "fit": lambda net, X, y: net.fit(X, y),
    "validation_data": lambda net, X, y: net.fit(*GOOD, validation_data=(X, y)),
    "after X": lambda net, X, y: net.fit(X, np.zeros(len(X)), validation_data=(GOOD[0], y)),
    "evaluate": lambda net, X, y: net.evaluate(X, y),
    "gradients": lambda net, X, y: net.gradients(X, y),
    "alignment": lambda net, X, y: net.alignment(X, y),
    "sample_weight": lambda net, X, y: net.train_batch(X, np.zeros(len(X)), y),
}


@pytest.mark.parametrize("X", NO_NUMBERS.values(), ids=NO_NUMBERS)
@pytest.mark.parametrize("call", CALLS_WITH_TARGETS.values(), ids=CALLS_WITH_TARGETS)
def test_lengths_are_compared_before_values_are_read(call, X):
    with pytest.raises(ValueError, match=r"expected one entry for each of the \d+ rows"):
        call(network(), X, [0, 1])


@pytest.mark.parametrize("X", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_settings_and_dtypes_are_checked_before_values_are_read(X):
    y = np.zeros(len(X), np.int64)
    with pytest.raises(ValueError, match="epochs: expected"):
        network().fit(X, y, epochs=-1)
    with pytest.raises(TypeError, match="callbacks"):
        network().fit(X, y, callbacks=[3])
    with pytest.raises(TypeError, match="y: expected real numbers, got dtype <U1"):
        network().train_batch(X, y.astype("U1"))
    with pytest.raises(ValueError, match=r"y: expected .*, got float64 \(m,\)"):
        network(loss="mse").evaluate(X, y.astype(np.float64))


@pytest.mark.parametrize(
    "call",
    [
        lambda net, X, y: net.predict(X),
        lambda net, X, y: net.train_batch(X, np.broadcast_to(np.float32(np.nan), (len(X), N_OUT))),
        lambda net, X, y: net.evaluate(X, y),
    ],
    ids=["predict", "train_batch", "evaluate"],
)
def test_too_many_rows_are_refused_before_values_are_read(call):
    huge = 1 << 53  # rows: no address space holds an array of so many numbers
    X = np.broadcast_to(np.float32(np.nan), (huge, N_IN))
    with pytest.raises(MemoryError):
        call(network(), X, np.broadcast_to(np.int64(0), huge))


def test_one_sample_is_measured_before_its_values_are_read():
    objects = np.full(N_IN + 1, None)
    with pytest.raises(ValueError, match="x: expected shape"):
        network().predict_one(objects)
    with pytest.raises(ValueError, match="x: expected shape"):
        network().learn_one(objects, 0)
    with pytest.raises(ValueError, match="y: expected one number or"):
        network().learn_one(GOOD[0][0], objects)
    with pytest.raises(ValueError, match=": expected shape"):
        network().parameters["0.bias"] = objects

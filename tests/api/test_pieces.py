"""Large arrays of other dtypes and layouts: converted in pieces, with the bits of the whole."""

import threading
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from small import assert_same, copies

import fastfa as fa
from fastfa import _core
from fastfa._internal import samples, validation

M, N_IN, N_OUT = 700, 6, 3
RNG = np.random.default_rng(0)
X = RNG.integers(-100, 100, (M, N_IN)).astype(np.float64)
Y = RNG.integers(0, N_OUT, M)
WEIGHTS = RNG.random(M)
WHOLE = validation.LARGE


def set_limit(monkeypatch, size):
    """Arrays of more bytes than this are converted in pieces."""
    monkeypatch.setattr(validation, "LARGE", size)
    monkeypatch.setattr(validation, "LARGE_BY_COLUMNS", size)


@pytest.fixture
def pieces(monkeypatch):
    """Every array counts as large, and pieces are small."""
    set_limit(monkeypatch, 0)
    monkeypatch.setattr(samples, "ELEMENTS_AT_ONCE", 50 * N_IN)
    monkeypatch.setattr(fa._core, "PART_BYTES", 100 * N_IN * 4)


def network(**options):
    layers = [fa.Dense(8, "tanh"), fa.Dropout(0.2), fa.Dense(N_OUT)]
    options = {"rule": "dfa", "rng": 3} | options
    return fa.Sequential(layers, input_shape=N_IN, **options)


def without_time(history):
    return {key: values for key, values in history.history.items() if key != "time"}


def everything(x, y, *, labels=True, **options):
    """All that a network computes from the samples."""
    net = network(**options)
    history = net.fit(
        x, y, epochs=2, batch_size=30, sample_weight=WEIGHTS, validation_data=(x, y), verbose=False
    )
    in_order = net.fit(x, y, batch_size=64, shuffle=False, verbose=False)
    results = [without_time(history), without_time(in_order), net.evaluate(x, y, WEIGHTS)]
    results += [net.learn_many(x, y), net.predict(x), net.predict(x, "logits")]
    results += [net.train_batch(x, y), net.gradients(x, y), net.alignment(x, y)]
    return copies(net), results


LAYOUTS = {
    "float64": lambda array: array,
    "float64, Fortran": np.asfortranarray,
    "float32, Fortran": lambda array: np.asfortranarray(array.astype(np.float32)),
    "float32, big-endian": lambda array: array.astype(">f4"),
    "float32, strided": lambda array: np.repeat(array.astype(np.float32), 2, axis=1)[:, ::2],
    "float16": lambda array: array.astype(np.float16),
    "int64": lambda array: array.astype(np.int64),
    "int8": lambda array: array.astype(np.int8),
    "longdouble": lambda array: array.astype(np.longdouble),
    "images": lambda array: array.reshape(M, 2, 3),
    "images, Fortran": lambda array: np.asfortranarray(array.reshape(M, 2, 3)),
    "read-only": lambda array: np.lib.stride_tricks.as_strided(array, writeable=False),
    "frame": pd.DataFrame,
}


@pytest.mark.parametrize("convert", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("optimizer", ["adam", fa.SGD(lambda step: 0.01 / (1 + step))])
def test_pieces_have_the_bits_of_the_whole(convert, optimizer, pieces, monkeypatch):
    seen = everything(convert(X), Y, optimizer=optimizer)
    set_limit(monkeypatch, WHOLE)
    expected = everything(X.astype(np.float32), Y, optimizer=optimizer)
    assert_same(seen[0], expected[0])
    np.testing.assert_equal(seen[1], expected[1])


def test_bytes_of_any_layout(pieces, monkeypatch):
    pixels = RNG.integers(0, 256, (M, N_IN), dtype=np.uint8)
    seen = everything(np.asfortranarray(pixels), Y)
    set_limit(monkeypatch, WHOLE)
    np.testing.assert_equal(seen, everything(pixels, Y))


@pytest.mark.parametrize("loss", [name for name in _core.NAMES["loss"] if name != "custom"])
def test_rows_of_targets_come_in_pieces_too(loss, pieces, monkeypatch):
    rows = np.eye(N_OUT)[Y]
    seen = everything(X.astype(np.float32), rows, loss=loss, optimizer=fa.SGD(1e-3))
    set_limit(monkeypatch, WHOLE)
    expected = everything(X, rows.astype(np.float32), loss=loss, optimizer=fa.SGD(1e-3))
    np.testing.assert_equal(seen, expected)


@pytest.mark.parametrize(
    ("x", "y", "loss", "words"),
    [
        (
            (650, 2, np.nan),
            None,
            "mse",
            r"X: expected finite values in float32, got nan at row 650, column 2",
        ),
        (
            (650, 2, 1e300),
            None,
            "mse",
            r"X: expected finite values .* got 1e\+300 at row 650, column 2",
        ),
        (
            None,
            (651, 1, np.inf),
            "mse",
            r"y: expected finite values .* got inf at row 651, column 1",
        ),
        (
            None,
            (652, 1, 2.0),
            "sigmoid_cross_entropy",
            "y: expected values within 0..1.*row 652, column 1",
        ),
        (None, (653, 1, 0.5), "softmax_cross_entropy", "y: expected rows that sum to 1.*row 653"),
    ],
)
def test_a_wrong_value_is_found_before_training(x, y, loss, words, pieces):
    inputs, rows = X.copy(), np.eye(N_OUT)[Y]
    for array, change in ((inputs, x), (rows, y)):
        if change is not None:
            array[change[:2]] = change[2] if change[2] != 0.5 else array[change[:2]] + 0.5
    net = network(loss=loss)
    before = net._engine.state()
    for call in (net.fit, net.evaluate):
        with pytest.raises(ValueError, match=words):
            call(inputs, rows)
    assert net._engine.state() == before


def test_a_column_of_a_table_is_named(pieces):
    table = pd.DataFrame(X, columns=list("abcdef"))
    table.loc[600, "c"] = np.nan
    with pytest.raises(ValueError, match='row 600, column "c"'):
        network().predict(table)


def test_training_stops_between_pieces(pieces):
    net = network()

    class Stop(fa.Callback):
        def on_batch_end(self, net, step, logs):
            if step == 5:
                net.stop()

    net.fit(X, Y, batch_size=30, callbacks=[Stop()], verbose=False)
    assert net.steps == 5


def test_training_is_stopped_from_another_thread(pieces):
    net = network()
    timer = threading.Timer(0.2, net.stop)
    timer.start()
    net.fit(X, Y, epochs=10**6, batch_size=1, verbose=False)
    timer.join()
    assert 0 < net.epochs < 10**6


def test_a_loss_that_is_not_finite_names_the_same_batch(pieces, monkeypatch):
    said = []
    for large in (0, WHOLE):
        set_limit(monkeypatch, large)
        net = network(loss="mse", optimizer=fa.SGD(1e15))
        with pytest.raises(FloatingPointError, match=r"at epoch 1, batch \d+") as caught:
            net.fit(X, np.eye(N_OUT)[Y], batch_size=30, verbose=False)
        said.append((str(caught.value), net.steps))
    assert said[0] == said[1]


# ---- memory


def peak(call):
    """Bytes that Python and NumPy held at most during a call, beyond what there was."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def mapped(tmp_path):
    """Samples of 64 MB, half of that in float32."""
    x = np.memmap(tmp_path / "x", np.float64, "w+", shape=(10_000, 800))
    x[:] = RNG.standard_normal(800)
    return x


@pytest.mark.parametrize("kind", ["float64", "int64", "Fortran", "frame"])
def test_memory_does_not_grow_with_the_samples(kind, mapped, monkeypatch):
    set_limit(monkeypatch, WHOLE)
    x = {
        "float64": lambda: mapped,
        "int64": lambda: mapped.view(np.int64) % 7,
        "Fortran": lambda: mapped.reshape(800, 10_000).T,
        "frame": lambda: pd.DataFrame(mapped, copy=False),
    }[kind]()
    y = np.arange(len(x)) % 2
    net = fa.Sequential([fa.Dense(2)], input_shape=800, rng=0)
    few, cut = (x[:50], y[:50]), [slice(i, i + 500) for i in range(0, len(x), 500)]
    for call in (
        lambda: net.fit(x, y, batch_size=500, validation_data=(x, y), verbose=False),
        lambda: net.fit(batches=((x[r], y[r]) for r in cut), validation_data=(x, y), verbose=False),
        lambda: net.evaluate(x, y),
        lambda: net.predict(x),
        lambda: net.learn_many(x, y),
    ):
        net.fit(*few, verbose=False)
        assert peak(call) < 16 << 20


def test_targets_in_memory(mapped):
    layers = [fa.Dense(4, "tanh"), fa.Dense(800)]
    net = fa.Sequential(layers, input_shape=800, loss="mse", rng=0)
    assert peak(lambda: net.fit(mapped, mapped, batch_size=500, verbose=False)) < 16 << 20

"""A loss that is a function: as the engine's own of the same formula, under every rule."""

import threading

import numpy as np
import pytest
from networks import RULES

import fastfa as fa
from fastfa.backends import reference as _ref


def half_squares(logits, y):
    """Mean squared error, for labels too."""
    rows = np.eye(logits.shape[1], dtype=logits.dtype)[y] if y.ndim == 1 else y
    error = logits - rows
    return (error.astype(float) ** 2).sum(axis=1) / 2, error


def network(loss, rule="backprop", dtype="float32", activation="linear", **options):
    layers = [fa.Dense(9, "tanh"), fa.Dropout(0.2), fa.Dense(7, "relu"), fa.Dense(3, activation)]
    options = {"optimizer": fa.SGD(0.05), "rng": 3} | options
    return fa.Sequential(layers, input_shape=5, loss=loss, rule=rule, dtype=dtype, **options)


def data(n=70, dtype="float32"):
    rng = np.random.default_rng(2)
    return rng.standard_normal((n, 5)).astype(dtype), rng.integers(0, 3, n)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("rows", [False, True], ids=("labels", "rows"))
def test_it_has_the_bits_of_the_engine(rule, rows, dtype):
    x, y = data(300, dtype)
    y = np.eye(3, dtype=dtype)[y] if rows else y
    weight = np.linspace(0.5, 2, 300)
    own, built_in = (network(loss, rule, dtype) for loss in (half_squares, "mse"))
    own.n_threads = 2
    for _ in range(3):
        found, expected = own.train_batch(x, y, weight), built_in.train_batch(x, y, weight)
        assert found == pytest.approx(expected, rel=1e-6)  # the sum of squares in another order
    for net in (own, built_in):
        net.fit(x, y, epochs=2, batch_size=32, verbose=False)
        net.learn_one(x[0], y[0])
    for key, value in built_in.parameters.items():
        np.testing.assert_array_equal(own.parameters[key], value, err_msg=key)
    assert own.evaluate(x, y) == pytest.approx(built_in.evaluate(x, y), rel=1e-6)
    np.testing.assert_array_equal(own.predict(x), built_in.predict(x))
    for key, value in built_in.gradients(x, y).items():
        np.testing.assert_array_equal(own.gradients(x, y)[key], value, err_msg=key)


def test_any_number_of_threads_and_a_derivative_at_the_output():
    x, y = data(1000)
    states = []
    for threads in (1, 2, 3):
        net = network(half_squares, "dfa", activation="tanh", n_threads=threads)
        net.fit(x, y, epochs=2, batch_size=500, verbose=False)
        states.append(net.parameters["0.weight"].tobytes())
    other = network("mse", "dfa", activation="tanh")
    other.fit(x, y, epochs=2, batch_size=500, verbose=False)
    assert set(states) == {other.parameters["0.weight"].tobytes()}


def test_it_agrees_with_the_oracle_and_alignment_is_that_of_mse():
    x, y = data(40, "float64")
    rows = np.eye(3)[y]
    net = network(half_squares, "dfa", "float64")
    oracle = _ref.Network(net._engine.description)
    for _ in range(3):
        assert net.train_batch(x, rows) == pytest.approx(oracle.train_batch(x, None, rows, None))
    mse = network("mse", "dfa", "float64")
    assert network(half_squares, "dfa", "float64").alignment(x, rows) == mse.alignment(x, rows)


@pytest.mark.parametrize("every", [False, True], ids=("last step", "every step"))
def test_of_sequences_it_is_asked_for_steps_with_a_target(every, dtype):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((12, 5, 4)).astype(dtype)
    y = rng.integers(-1, 3, (12, 5)) if every else rng.integers(0, 3, 12)
    rows = 0

    def loss(logits, labels):
        nonlocal rows
        rows += len(labels)
        return half_squares(logits, labels)

    own, built_in = (
        fa.Sequential(
            [fa.Recurrent(6, leak=0.5, time="leak"), fa.Dense(3)],
            input_shape=4, loss=each, rule="dfa", optimizer=fa.SGD(0.05), dtype=dtype, rng=3,
        )
        for each in (loss, "mse")
    )  # fmt: skip
    for _ in range(3):
        assert own.train_batch(x, y) == pytest.approx(built_in.train_batch(x, y), rel=1e-6)
    assert rows == 3 * (y >= 0).sum()
    assert own.evaluate(x, y) == pytest.approx(built_in.evaluate(x, y), rel=1e-6)
    for t, label in enumerate((1, None, 2)):
        np.testing.assert_array_equal(
            own.step_one(x[0, t], label), built_in.step_one(x[0, t], label)
        )
    for key, value in built_in.parameters.items():
        np.testing.assert_array_equal(own.parameters[key], value, err_msg=key)


def test_what_goes_wrong_in_a_stream_comes_out():
    net = fa.Sequential(
        [fa.Recurrent(6, leak=0.5, time="leak"), fa.Dense(3)], input_shape=4, rng=0,
        loss=lambda z, y: 1 / 0,
    )  # fmt: skip
    x = np.ones(4, np.float32)
    net.step_one(x)
    before = net.to_bytes()
    for call in (net.step_one, net.learn_one):
        for label in (1, np.eye(3)[1]):
            with pytest.raises(ZeroDivisionError):
                call(x, label)
    assert net.to_bytes() == before


def test_validation_metrics_and_callbacks_see_it():
    x, y = data()
    seen = []

    def loss(logits, y):
        seen.append((logits.shape, logits.dtype, y.shape, y.dtype))
        return half_squares(logits, y)

    history = network(loss).fit(
        x, y, epochs=3, batch_size=35, validation_data=(x, y), verbose=False,
        callbacks=[fa.EarlyStopping(monitor="val_loss", patience=5)],
    )  # fmt: skip
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(history.history)
    assert seen[0] == ((35, 3), np.float32, (35,), np.int64)


WRONG = [
    (lambda z, y: None, TypeError, r"a pair .losses, errors. of shapes \(70,\) and \(70, 3\), got"),
    (lambda z, y: (z, z), ValueError, r"losses: expected shape \(70,\) .* \(70, 3\) of float32"),
    (lambda z, y: (z[:, 0], z[:, 0]), ValueError, r"errors: expected shape \(70, 3\) of real"),
    (lambda z, y: (z[:, 0] * 1j, z), ValueError, r"losses: expected .* \(70,\) of complex64"),
    (lambda z, y: (z[:, 0], z * np.nan), FloatingPointError, "errors are not finite in float32"),
    (lambda z, y: (z[:, 0] * np.inf, z), FloatingPointError, "not finite"),
    (lambda z, y: 1 / 0, ZeroDivisionError, "division by zero"),
]


@pytest.mark.parametrize(("loss", "kind", "message"), WRONG)
@pytest.mark.parametrize("call", ["train_batch", "fit", "evaluate", "gradients", "alignment"])
@pytest.mark.parametrize("rule", ["backprop", "local", "pepita"])
def test_what_goes_wrong_comes_out_and_changes_nothing(loss, kind, message, call, rule):
    x, y = data()
    net = network(loss, rule)
    before = net.to_bytes()
    how = {"batch_size": 70, "verbose": False} if call == "fit" else {}
    if call == "evaluate" and message == "not finite":
        return  # an infinite loss is an answer
    with np.errstate(all="ignore"), pytest.raises(kind, match=message.replace("70", r"\d+")):
        getattr(net, call)(x, y, **how)
    if call != "fit":  # which has begun an epoch
        assert net.to_bytes() == before
    for key, value in fa.load(before, loss=loss).parameters.items():
        np.testing.assert_array_equal(net.parameters[key], value)
    assert net.steps == 0


def test_a_file_keeps_the_name_and_asks_for_the_function():
    x, y = data()
    net = network(half_squares)
    net.train_batch(x, y)
    file = net.to_bytes()
    with pytest.raises(ValueError, match=r"loss: expected the function half_squares, got None"):
        fa.load(file)
    again = fa.load(file, loss=half_squares)
    assert again.loss is half_squares
    assert again.steps == 1
    assert net.train_batch(x, y) == again.train_batch(x, y)
    assert again.to_bytes() == net.to_bytes()
    other = fa.load(file, loss="mse")
    assert (other.loss, other.steps) == ("mse", 0)
    assert fa.load(other.to_bytes(), loss=half_squares).loss is half_squares
    net.set_optimizer("adam")
    assert net.loss is half_squares
    net.train_batch(x, y)
    assert "the function half_squares" in net.summary()


def test_a_loss_may_use_other_networks_but_not_its_own():
    x, y = data()
    other = network("mse")

    def loss(logits, y):
        other.predict(x)
        net.train_batch(x, y)
        return half_squares(logits, y)

    net = network(loss)
    with pytest.raises(RuntimeError, match="a call from inside its own training"):
        net.train_batch(x, y)
    assert net.steps == 0


def test_threads_get_their_own_exceptions():
    x, y = data()
    net = network(lambda logits, y: 1 / 0)
    caught = []

    def evaluate():
        try:
            net.evaluate(x, y)
        except ZeroDivisionError as error:
            caught.append(error)

    threads = [threading.Thread(target=evaluate) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(map(id, caught))) == 4


def test_exports_and_gpus_refuse_it(tmp_path):
    net = network(half_squares)
    with pytest.raises(ValueError, match=r"loss: expected .* in Python"):
        net.to_c(tmp_path / "net.c", learn=True)

"""An update that leaves the range of numbers: said at that call or the next, and mended."""

from __future__ import annotations

import numpy as np
import pytest

import fastfa as fa
from fastfa import _core

X = np.full((6, 4), 1e38, np.float32)
X[::2] *= -1
Y = np.array([0, 1, 2] * 2)
FINE = np.ones((6, 4), np.float32)
SGD = fa.SGD(1e-3)
LOST = r"0\.\w+(\.slot\d)?: not finite .* after \d+ steps: an update left the range of float32"


def network(optimizer=SGD, rule="dfa"):
    layers = [fa.Dense(8, "relu"), fa.Dense(3)]
    return fa.Sequential(layers, input_shape=4, rule=rule, optimizer=optimizer, loss="mse", rng=0)


def ruined(optimizer=SGD, rule="dfa"):
    """A network after a step with a finite loss; the step may have raised."""
    net = network(optimizer, rule)
    x, y = X * np.float32(1e-13), np.eye(3, dtype=np.float32)[Y]
    try:
        assert np.isfinite(net.train_batch(x, y))
    except FloatingPointError as error:
        said = str(error)
    else:
        said = "not finite: to go on, reset"
    assert "not finite" in said
    assert "to go on, reset" in said
    return net


@pytest.mark.parametrize("rule", ["backprop", "dfa", "kp", "local"])
@pytest.mark.parametrize("optimizer", [fa.SGD(1e-3), "adam", "rmsprop"], ids=str)
def test_the_next_call_says_so(optimizer, rule, tmp_path):
    y = np.eye(3, dtype=np.float32)[Y]
    for call in (
        lambda net: net.train_batch(FINE, y),
        lambda net: net.fit(FINE, y, verbose=False),
        lambda net: net.learn_one(FINE[0], y[0]),
        lambda net: net.learn_many(FINE, y),
        lambda net: net.save(tmp_path / "net"),
    ):
        with pytest.raises(FloatingPointError, match=r"not finite .*to go on, reset"):
            call(ruined(optimizer, rule))
    assert not (tmp_path / "net").exists()


def test_a_good_file_is_not_replaced(tmp_path):
    net = network()
    net.save(tmp_path / "net")
    before = (tmp_path / "net").read_bytes()
    net.parameters["0.weight"][1, 2] = np.inf
    with pytest.raises(FloatingPointError, match=r"0\.weight: not finite \(inf at row 1, column 2"):
        net.save(tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == before


@pytest.mark.parametrize("call", ["predict", "evaluate"])
def test_predictions_are_refused_too(call):
    net = ruined()
    arguments = (FINE,) if call == "predict" else (FINE, np.eye(3, dtype=np.float32)[Y])
    with pytest.raises(FloatingPointError, match=LOST):
        getattr(net, call)(*arguments)


def test_fit_says_where_and_does_not_claim_that_nothing_was_updated():
    net = ruined()
    with pytest.raises(FloatingPointError, match=LOST) as caught:
        net.fit(FINE, np.eye(3, dtype=np.float32)[Y], 3, 2, verbose=False)
    assert "(seen at epoch 1, batch 1)" in str(caught.value)
    assert "as it was" not in str(caught.value)


def test_mended_by_hand_and_by_reset():
    y = np.eye(3, dtype=np.float32)[Y]
    for mend in (
        lambda net: [a.fill(0.01) for a in net.parameters.values()],
        lambda net: net.reset(),
    ):
        net = ruined()
        mend(net)
        net.lr = 1e-6
        assert np.isfinite(net.train_batch(FINE, y))
        assert np.isfinite(net.predict(FINE)).all()


def test_sample_weights_that_the_dtype_cannot_hold():
    net = network()
    before = net.parameters["0.weight"].copy()
    with pytest.raises(ValueError, match=r"sample_weight.*float32.*1e\+300"):
        net.train_batch(FINE, Y, sample_weight=[1e300, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(net.parameters["0.weight"], before)


def spoilt(activation, loss, key, value):
    layers = [fa.Dense(8, activation), fa.Dense(3)]
    rule = fa.DFA(inject="pre")  # which trains units without a derivative too
    net = fa.Sequential(layers, input_shape=4, rule=rule, loss=loss, rng=0)
    net.parameters[key].flat[0] = value
    return net


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "mse"])
@pytest.mark.parametrize("activation", _core.NAMES["activation"])
def test_predict_one_refuses_every_nan_in_a_parameter(activation, loss):
    for key in ("0.weight", "0.bias", "1.weight", "1.bias"):
        net = spoilt(activation, loss, key, np.nan)
        for x in (FINE[0], np.zeros(4, np.float32), FINE[0].tolist()):
            with pytest.raises(FloatingPointError, match=rf"^{key}: not finite"):
                net.predict_one(x)


def test_predict_one_refuses_infinite_outputs_of_infinite_parameters_only():
    net = spoilt("relu", "mse", "1.bias", np.inf)
    with pytest.raises(FloatingPointError, match=r"1\.bias: not finite"):
        net.predict_one(FINE[0])
    hidden = spoilt("relu", "mse", "0.bias", -np.inf)  # as its docstring says
    assert np.isfinite(hidden.predict_one(FINE[0])).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_one_returns_what_overflows_with_finite_parameters(dtype):
    net = fa.Sequential([fa.Dense(3)], input_shape=4, loss="mse", dtype=dtype, rng=0)
    net.parameters["0.weight"].fill(np.finfo(dtype).max / 2)
    expected = net.predict(FINE)[0]
    assert np.isinf(expected).all()
    np.testing.assert_array_equal(net.predict_one(FINE[0].astype(dtype)), expected)


@pytest.mark.parametrize("kind", ["floats", "bytes"])
def test_inputs_that_a_large_scale_makes_infinite_stop_before_their_step(kind):
    """A unit of tanh hides them from the loss. Values are looked at before they are scaled."""
    net = fa.Sequential(
        [fa.Dense(4, "tanh"), fa.Dense(2)], input_shape=1, rule="dfa", rng=0,
        optimizer=fa.SGD(0.1), input_scale=1e38 if kind == "bytes" else 1e20,
    )  # fmt: skip
    x = np.full((6, 1), 200, np.uint8) if kind == "bytes" else np.full((6, 1), 1e20, np.float32)
    y = np.arange(6) % 2
    before = net._engine.state()
    for train in (
        lambda: net.fit(x, y, batch_size=3, verbose=False),
        lambda: net.learn_many(x, y),
        lambda: net.train_batch(x, y),
        lambda: net.learn_one(x[0], 1),
    ):
        with pytest.raises(FloatingPointError, match="loss is not finite"):
            train()
        assert net._engine.state()[24:] == before[24:]  # after the counters and the rate
        assert net.steps == 0


def test_negative_weights_are_refused_in_many_steps():
    net = fa.Sequential([fa.Dense(2)], input_shape=1, rng=0)
    x, y = np.ones((6, 1), np.float32), np.arange(6) % 2
    before = net._engine.state()
    with pytest.raises(ValueError, match="sample_weight: expected finite numbers >= 0, got -1"):
        net._engine.train_steps(x, y, None, np.array([1.0] * 5 + [-1.0]), None, 3, 0, 2)
    assert net._engine.state() == before

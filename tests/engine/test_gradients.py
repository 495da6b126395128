"""Gradients of the C engine against central differences, and rules against their own words."""

import numpy as np
import pytest
from networks import (
    DIFFERENTIABLE,
    LOSSES,
    RULES,
    SGD,
    assert_all_close,
    copies,
    dense,
    description,
    dropout,
    rule,
    samples,
    with_options,
)

from fastfa import _core

STEP = 1e-5
# Every activation, each with one of the losses in turn
EACH = [(name, LOSSES[i % len(LOSSES)]) for i, name in enumerate(DIFFERENTIABLE)]


def loss_of(net, data):
    """The loss of the next step: with its dropout masks."""
    return net.gradients(*data)[0]


def differences(net, view, data):
    """Central differences of the loss by each entry of a live view."""
    slopes = np.empty_like(view)
    for at in np.ndindex(view.shape):
        value = view[at]
        view[at] = value + STEP
        above = loss_of(net, data)
        view[at] = value - STEP
        slopes[at] = (above - loss_of(net, data)) / (2 * STEP)
        view[at] = value
    return slopes


def assert_is_the_gradient(desc, data):
    net = _core.Network(desc)
    gradients = net.gradients(*data)[1]
    assert gradients
    for key, gradient in gradients.items():
        slopes = differences(net, net.parameters[key], data)
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=2e-9, err_msg=key)


def distance_to_kinks(desc, x):
    """How near to zero a hidden pre-activation comes."""
    closest = np.inf
    for i, layer in enumerate(desc["layers"][:-1]):
        up_to = [*desc["layers"][:i], layer | {"activation": "linear"}]
        closest = min(
            closest, np.abs(_core.Network(desc | {"layers": up_to}).predict(x, True)).min()
        )
    return closest


def away_from_kinks(desc, **how):
    """Samples on which no step of a central difference crosses the kink of a relu."""
    for seed in range(50):
        data = samples(desc, 4, seed=seed, **how)
        if distance_to_kinks(desc, data[0]) > 1e-3:
            return data
    raise AssertionError("no samples away from the kinks")


# ---------------------------------------------------------------------------------------- backprop


@pytest.mark.parametrize(("activation", "loss"), [*EACH, *(("tanh", loss) for loss in LOSSES)])
@pytest.mark.parametrize("rows", [False, True], ids=("labels", "rows"))
def test_backprop_is_the_gradient(activation, loss, rows):
    layers = [dense(6, activation), dense(5, activation), dense(3)]
    desc = description(layers, 4, loss=loss)
    assert_is_the_gradient(desc, away_from_kinks(desc, rows=rows, weights=True))


@pytest.mark.parametrize("activation", DIFFERENTIABLE)
@pytest.mark.parametrize("n_out", [1, 3])
def test_the_output_activation_of_mse_is_in_the_gradient(activation, n_out):
    desc = description([dense(5, "tanh"), dense(n_out, activation)], 4, loss="mse", seed=3)
    assert_is_the_gradient(desc, samples(desc, 4, rows=True))


def test_one_output_of_sigmoid_cross_entropy():
    desc = description([dense(5, "tanh"), dense(1)], 4, loss="sigmoid_cross_entropy")
    assert_is_the_gradient(desc, samples(desc, 6, weights=True))


def test_fixed_layers_pass_the_gradient_through():
    for fixed in range(3):
        layers = [dense(5, "tanh", trainable=i != fixed, use_bias=i != 1) for i in range(3)]
        desc = description([*layers, dense(3)], 4)
        assert_is_the_gradient(desc, samples(desc, 4))
    layers = [dense(5, "tanh"), dense(5, "tanh", rule=rule("frozen")), dense(3)]
    desc = description(layers, 4)
    assert_is_the_gradient(desc, samples(desc, 4))


def test_bytes_and_input_scale_are_in_the_gradient(rng):
    x, labels = rng.integers(0, 256, (5, 4), np.uint8), rng.integers(0, 3, 5)
    for scale in ("auto", 0.02):
        desc = description([dense(5, "tanh"), dense(3)], 4, input_scale=scale)
        assert_is_the_gradient(desc, (x, labels, None, None))


@pytest.mark.parametrize("rates", [(0.5, 0.0), (0.0, 0.5), (0.3, 0.3)])
def test_dropout_is_in_the_gradient(rates):
    layers = [
        dropout(rates[0]),
        dense(8, "tanh"),
        dropout(rates[1]),
        dense(6, "gelu"),
        dropout(0.2),
        dense(3),
    ]
    desc = description(layers, 7)
    assert_is_the_gradient(desc, samples(desc, 5))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_direction_through_a_deep_network_with_dropout(loss, rng):
    """All parameters at once, many samples, several tasks and tiles."""
    layers = []
    for units, activation in ((120, "tanh"), (90, "gelu"), (60, "softplus")):
        layers += [dense(units, activation), dropout(0.3)]
    desc = description([*layers, dense(7)], 50, loss=loss, n_threads=2)
    data = samples(desc, 170, weights=True)
    net = _core.Network(desc)
    net.train_batch(*data)  # masks of a step that is not the first
    gradients, first = net.gradients(*data)[1], copies(net.parameters)
    for _ in range(5):
        direction = {k: rng.standard_normal(g.shape) for k, g in gradients.items()}
        losses = []
        for step in (1e-6, -1e-6):
            for key, view in net.parameters.items():
                view[...] = first[key] + step * direction[key]
            losses.append(loss_of(net, data))
        slope = (losses[0] - losses[1]) / 2e-6
        expected = sum((gradients[k] * direction[k]).sum() for k in gradients)
        np.testing.assert_allclose(slope, expected, rtol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_float32_gradients_are_the_rounded_ones(name):
    layers = [dense(40, "tanh"), dropout(0.2), dense(30, "sigmoid"), dense(5)]
    wide = description(layers, 20, name)
    data = samples(wide, 64)
    x32 = data[0].astype(np.float32)
    double = _core.Network(wide)
    single = _core.Network(wide | {"dtype": "float32"})
    for key, view in double.parameters.items():
        view[...] = single.parameters[key]
    for key, view in double.feedback.items():
        view[...] = single.feedback[key]
    exact = double.gradients(x32.astype(np.float64), *data[1:])[1]
    assert_all_close(single.gradients(x32, *data[1:])[1], exact, "float32")


# ------------------------------------------------------------------------ the rules, in their words


def set_feedback_to_transposed_weights(net):
    keys = list(net.feedback)
    above = [key for key in net.parameters if key.endswith("weight")][1:]
    for key, weight in zip(keys, above, strict=True):
        net.feedback[key][...] = net.parameters[weight].T


@pytest.mark.parametrize(
    ("activation", "loss"),
    [(name, LOSSES[i % len(LOSSES)]) for i, name in enumerate(DIFFERENTIABLE)],
)
def test_fa_through_transposed_weights_is_backprop(activation, loss):
    layers = [
        dense(9, activation),
        dropout(0.2),
        dense(7, activation),
        dense(5, activation),
        dense(3),
    ]
    desc = description(layers, 6, "fa", loss=loss)
    data = samples(desc, 20, weights=True)
    fa, backprop = _core.Network(desc), _core.Network(desc | {"rule": rule("backprop")})
    set_feedback_to_transposed_weights(fa)
    assert_all_close(fa.gradients(*data)[1], backprop.gradients(*data)[1], "float64", loose=1e-3)
    for row in fa.alignment(*data):
        np.testing.assert_allclose([row["delta_angle"], row["weight_angle"]], 0, atol=1e-5)
        np.testing.assert_allclose(row["norm_ratio"], 1)


@pytest.mark.parametrize("loss", LOSSES)
def test_dfa_through_the_product_of_the_weights_is_backprop_of_a_linear_network(loss):
    layers = [dense(9), dense(7), dense(5), dense(3)]
    desc = description(layers, 6, "dfa", loss=loss)
    data = samples(desc, 20)
    dfa, backprop = _core.Network(desc), _core.Network(desc | {"rule": rule("backprop")})
    path = np.eye(3)
    for i in (2, 1, 0):
        path = path @ dfa.parameters[f"{i + 1}.weight"].T
        dfa.feedback[f"{i}.feedback"][...] = path
    assert_all_close(dfa.gradients(*data)[1], backprop.gradients(*data)[1], "float64")


@pytest.mark.parametrize("inject", ["post", "pre"])
@pytest.mark.parametrize("name", ["dfa", "sdfa", "drtp"])
def test_broadcast_rules_in_their_own_words(name, inject):
    desc = description(
        [dense(9, "tanh"), dense(7, "tanh"), dense(3)], 6, rule(name, inject), n_threads=2
    )
    net = _core.Network(desc)
    x, labels, _, w = data = samples(desc, 30, weights=True)
    W, B = net.parameters, net.feedback
    H1 = np.tanh(x @ W["0.weight"] + W["0.bias"])
    H2 = np.tanh(H1 @ W["1.weight"] + W["1.bias"])
    Y = np.eye(3)[labels]
    e = net.predict(x) - Y
    source = {"dfa": e, "sdfa": np.sign(e), "drtp": Y}[name]
    D = {2: e}
    for index, H in ((0, H1), (1, H2)):
        D[index] = source @ B[f"{index}.feedback"] * (1 - H**2 if inject == "post" else 1)
    expected = {}
    for index, H in ((0, x), (1, H1), (2, H2)):
        weighted = D[index] * w[:, None] / 30
        expected |= {f"{index}.weight": H.T @ weighted, f"{index}.bias": weighted.sum(axis=0)}
    assert_all_close(net.gradients(*data)[1], expected, "float64")


def test_fa_in_its_own_words():
    desc = description([dense(9, "tanh"), dense(7, "tanh"), dense(3)], 6, "fa")
    net = _core.Network(desc)
    x, labels, _, _ = data = samples(desc, 30)
    W, B = net.parameters, net.feedback
    H1 = np.tanh(x @ W["0.weight"] + W["0.bias"])
    H2 = np.tanh(H1 @ W["1.weight"] + W["1.bias"])
    e = net.predict(x) - np.eye(3)[labels]
    d2 = e @ B["1.feedback"] * (1 - H2**2)
    d1 = d2 @ B["0.feedback"] * (1 - H1**2)
    expected = {}
    for index, (H, d) in enumerate(((x, d1), (H1, d2), (H2, e))):
        expected |= {f"{index}.weight": H.T @ d / 30, f"{index}.bias": d.mean(axis=0)}
    assert_all_close(net.gradients(*data)[1], expected, "float64")


def test_frozen_trains_the_output_alone():
    desc = description([dense(9, "tanh"), dense(7, "tanh"), dense(3)], 6, "frozen")
    data = samples(desc, 20)
    frozen, backprop = _core.Network(desc), _core.Network(desc | {"rule": rule("backprop")})
    exact = backprop.gradients(*data)[1]
    assert_all_close(
        frozen.gradients(*data)[1], {k: exact[k] for k in ("2.weight", "2.bias")}, "float64"
    )
    first = copies(frozen.parameters)
    for _ in range(3):
        frozen.train_batch(*data)
    for key in ("0.weight", "0.bias", "1.weight", "1.bias"):
        np.testing.assert_array_equal(frozen.parameters[key], first[key])
    assert (frozen.parameters["2.weight"] != first["2.weight"]).any()


@pytest.mark.parametrize("name", RULES)
def test_sample_weights_scale_a_sample_and_nothing_else(name):
    """Also for rules that are not linear in the error: a weight inside sign() would vanish."""
    desc = description([dense(9, "tanh"), dense(3)], 6, name)
    net = _core.Network(desc)
    x, labels, _, w = data = samples(desc, 5, weights=True)
    total = {}
    for i in range(5):
        one = net.gradients(x[i : i + 1], labels[i : i + 1], None, None)[1]
        total = {k: total.get(k, 0) + w[i] / 5 * g for k, g in one.items()}
    assert_all_close(net.gradients(*data)[1], total, "float64")


@pytest.mark.parametrize("name", RULES)
def test_gradients_are_what_plain_sgd_subtracts(name, dtype):
    layers = [dense(60, "tanh"), dropout(0.2), dense(3)]
    for optimizer in (SGD, SGD | {"clip_norm": 1e9}):  # the product in place, and through a buffer
        how = with_options(rule(name), decay=0.0, lr_scale=1.0)
        desc = description(layers, 6, how, dtype=dtype, optimizer=optimizer)
        net = _core.Network(desc)
        data = samples(desc, 20)
        before, (loss, gradients) = copies(net.parameters), net.gradients(*data)
        assert net.train_batch(*data) == loss
        for key, value in net.parameters.items():
            step = 0.1 * gradients.get(key, np.zeros_like(value))
            np.testing.assert_allclose(value, before[key] - step, rtol=1e-5, atol=1e-6)

"""PEPITA straight from its equations, written out here, and the rules that it refuses."""

import numpy as np
import pytest
from networks import (
    ENGINES,
    SGD,
    assert_close,
    copies,
    dense,
    description,
    dropout,
    pair,
    rule,
    samples,
)

import fastfa as fa
from fastfa import _core

LAYERS = [dense(9, "tanh"), dense(7, "sigmoid"), dense(3)]


def outputs(net, x):
    """H_1, H_2 and the error against one-hot targets, as a function of targets."""
    W = net.parameters
    H1 = np.tanh(x @ W["0.weight"] + W["0.bias"])
    H2 = 1 / (1 + np.exp(-(H1 @ W["1.weight"] + W["1.bias"])))
    t = np.exp(H2 @ W["2.weight"] + W["2.bias"])
    return H1, H2, t / t.sum(axis=1, keepdims=True)


@ENGINES
def test_pepita_is_its_equation(which):
    desc = description(LAYERS, 6, "pepita")
    net, data = pair(desc)[which], samples(desc, 30, weights=True)
    x, labels, _, w = data
    F, Y, W = net.feedback["input.feedback"], np.eye(3)[labels], copies(net.parameters)
    assert F.shape == (6, 3)
    H1, H2, P = outputs(net, x)
    X2 = x + (P - Y) @ F.T
    G1, G2, P2 = outputs(net, X2)
    D1, D2, D3 = (w[:, None] * d for d in (H1 - G1, H2 - G2, P2 - Y))
    want = {
        "0.weight": X2.T @ D1, "1.weight": G1.T @ D2, "2.weight": G2.T @ D3,
        "0.bias": D1.sum(axis=0), "1.bias": D2.sum(axis=0), "2.bias": D3.sum(axis=0),
    }  # fmt: skip
    loss, got = net.gradients(*data)
    assert_close(loss, np.mean(w * -np.log(P[np.arange(30), labels])), "float64")
    for key, g in want.items():
        assert_close(got[key], g / 30, "float64", what=key)
    for mine, expected in zip(net.deltas(*data), (D1, D2, D3), strict=True):
        assert_close(mine, expected, "float64")
    net.train_batch(*data)
    for key, g in want.items():
        assert_close(net.parameters[key], W[key] - 0.1 * g / 30, "float64", what=key)


@ENGINES
def test_both_passes_share_their_masks(which):
    """A unit that is dropped is dropped in both: its column of D is zero, others are doubled."""
    desc = description([dense(40, "tanh"), dropout(0.5), dense(3)], 6, "pepita")
    net, data = pair(desc)[which], samples(desc, 25)
    first = net.deltas(*data)[0]
    whole = pair(desc | {"layers": [LAYERS[0] | {"units": 40}, LAYERS[2]]})[which]
    for key, index in (("0", "0"), ("2", "1")):
        for part in ("weight", "bias"):
            whole.write(f"{index}.{part}", net.parameters[f"{key}.{part}"])
    dropped = first == 0
    assert 0.4 < dropped.mean() < 0.6
    assert not np.array_equal(dropped[0], dropped[1])


def test_the_drawn_matrix_is_the_published_one():
    rule_object = fa.PEPITA()
    net = fa.Sequential([fa.Dense(9, "relu"), fa.Dense(10)], input_shape=784, rule=rule_object)
    F = net.feedback["input.feedback"]
    assert F.shape == (784, 10)
    limit = 0.05 * np.sqrt(6 / 784)
    assert abs(F).max() == pytest.approx(limit, rel=1e-2)
    assert abs(F).max() <= np.float32(limit)
    assert "784x10" in str(net.summary())
    for distribution in ("uniform", "normal", "glorot_normal"):
        how = rule("pepita", distribution=distribution)
        mine, ref = pair(description(LAYERS, 50, how))
        key = "input.feedback"
        assert_close(mine.feedback[key], ref.feedback[key], "float64", loose=0.05)


def test_the_matrix_may_be_given_and_replaced():
    seen = []

    def made(n_0, n_L):
        seen.append((n_0, n_L))
        return np.ones((n_0, n_L))

    layers = [fa.Dense(7, "tanh"), fa.Dense(5, "tanh"), fa.Dense(3)]
    net = fa.Sequential(layers, input_shape=4, rule=fa.PEPITA(fa.Feedback(made, scale=0.5)))
    assert seen == [(4, 3)]  # once: all layers share it
    assert (net.feedback["input.feedback"] == 0.5).all()
    net.feedback["input.feedback"] = np.zeros((4, 3))
    x, y = np.ones((2, 4), np.float32), np.array([0, 1])
    before = net.parameters["0.weight"].copy()
    net.train_batch(x, y)  # nothing modulates: both passes are the same
    np.testing.assert_array_equal(net.parameters["0.weight"], before)
    with pytest.raises(ValueError, match=r"layer 0.*\(4, 3\).*\(3, 4\)"):
        fa.Sequential(layers, input_shape=4, rule=fa.PEPITA(fa.Feedback(np.ones((3, 4)))))


@pytest.mark.parametrize("activation", ["sign", "threshold"])
@ENGINES
def test_units_without_a_derivative_learn(activation, which):
    net = pair(description([dense(30, activation), dense(3)], 6, "pepita"))[which]
    data, before = samples(net.description, 40), net.parameters["0.weight"].copy()
    for _ in range(20):
        net.train_batch(*data)
    assert (net.parameters["0.weight"] != before).any()


def test_mixtures_are_refused_by_layer():
    for own, common in (("pepita", "fa"), ("pepita", "pepita"), ("dfa", "pepita")):
        layers = [LAYERS[0], LAYERS[1] | {"rule": rule(own)}, LAYERS[2]]
        with pytest.raises(ValueError, match=r"layer 1.*pepita"):
            _core.Network(description(layers, 6, common))


@ENGINES
def test_a_layer_may_be_frozen(which):
    frozen = [LAYERS[0], LAYERS[1] | {"rule": rule("frozen")}, LAYERS[2]]
    net = pair(description(frozen, 6, "pepita"))[which]
    data, before = samples(net.description, 20), copies(net.parameters)
    net.train_batch(*data)
    np.testing.assert_array_equal(net.parameters["1.weight"], before["1.weight"])
    assert (net.parameters["0.weight"] != before["0.weight"]).any()


@pytest.mark.parametrize(("options", "message"), [
    ({"sparsity": 0.5}, r"layer 0: feedback: expected .*; rule 'pepita'"),
    ({"rank": 2}, r"layer 0: feedback: expected .*; rule 'pepita'"),
    ({"distribution": "forward"}, r"layer 0: feedback: expected .*; rule 'pepita'"),
    ({"distribution": "orthogonal"}, r"layer 0: feedback: expected .*; rule 'pepita'"),
    ({"scale": np.inf}, r"layer 0: feedback: .*scale"),
])  # fmt: skip
def test_bad_settings_name_the_layer(options, message):
    how = rule("pepita")
    how["feedback"] |= options
    with pytest.raises(ValueError, match=message):
        _core.Network(description(LAYERS, 6, how))
    with pytest.raises(ValueError, match=r"layer 0: inject='pre'"):
        _core.Network(description(LAYERS, 6, rule("pepita", "pre")))


@ENGINES
def test_a_second_pass_that_overflows_updates_nothing(which):
    desc = description([dense(5), dense(3)], 4, rule("pepita", scale=1e12), dtype="float32",
                       optimizer=SGD | {"momentum": 0.9})  # fmt: skip
    net = pair(desc)[which]
    net.write("0.weight", np.full((4, 5), 1e28, np.float32))
    data, before = samples(desc, 8), net.state()
    with pytest.raises(FloatingPointError, match="not finite"):
        net.train_batch(*data)
    assert net.state() == before
    assert np.isfinite(net.evaluate(*data)[0])  # the first pass is fine

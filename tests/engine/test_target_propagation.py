"""Difference target propagation (dtp) straight from its equations."""

import numpy as np
import pytest
from networks import (
    ADAM,
    ENGINES,
    SGD,
    assert_close,
    copies,
    dense,
    description,
    dropout,
    pair,
    recurrent,
    rule,
    samples,
)

from fastfa import _core
from fastfa.backends.reference.draws import NOISE, Stream, uniforms

LAYERS = [dense(9, "tanh"), dense(7, "sigmoid"), dense(3)]
M = 30


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def noise(desc, ordinal, width, deviation):
    drawn = uniforms(Stream(desc["seed"], NOISE, ordinal), M * width)
    return deviation * np.sqrt(3) * (2 * drawn - 1).reshape(M, width)


@ENGINES
@pytest.mark.parametrize("train", [True, False])
def test_dtp_is_its_equation(train, which):
    how = rule("dtp") | {"step": 0.3, "noise": 0.2, "lr_scale": 0.7, "train_feedback": train}
    desc = description(LAYERS, 6, how)
    net, data = pair(desc)[which], samples(desc, M, weights=True)
    net.write("0.feedback.q", np.linspace(-1, 1, 9)[None])
    x, labels, _, w = data
    W, Q = copies(net.parameters), copies(net.feedback)
    H1 = np.tanh(x @ W["0.weight"] + W["0.bias"])
    H2 = sigmoid(H1 @ W["1.weight"] + W["1.bias"])
    z = H2 @ W["2.weight"] + W["2.bias"]
    e = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - np.eye(3)[labels]

    def g1(h):
        return np.tanh(h @ Q["0.feedback"] + Q["0.feedback.q"])

    def g2(h):
        return sigmoid(h @ Q["1.feedback"] + Q["1.feedback.q"])

    T2 = H2 - g2(z) + g2(z - 0.3 * e)
    T1 = H1 - g1(H2) + g1(T2)
    d1, d2 = (H1 - T1) * (1 - H1**2), (H2 - T2) * H2 * (1 - H2)
    gradients = net.gradients(*data)[1]
    assert_close(gradients["0.weight"], x.T @ (w[:, None] * d1) / M, "float64")
    assert_close(gradients["1.weight"], H1.T @ (w[:, None] * d2) / M, "float64")

    net.train_batch(*data)
    C1, C2 = H1 + noise(desc, 0, 9, 0.2), H2 + noise(desc, 1, 7, 0.2)
    U1, U2 = sigmoid(C1 @ W["1.weight"] + W["1.bias"]), C2 @ W["2.weight"] + W["2.bias"]
    R1, R2 = (g1(U1) - C1) * (1 - g1(U1) ** 2), (g2(U2) - C2) * g2(U2) * (1 - g2(U2))
    for i, (U, R) in enumerate(((U1, R1), (U2, R2))):
        lr = 0.07 * train / M
        want = Q[f"{i}.feedback"] - lr * U.T @ R
        assert_close(net.feedback[f"{i}.feedback"], want, "float64", what=str(i))
        want = Q[f"{i}.feedback.q"] - lr * R.sum(axis=0)
        assert_close(net.feedback[f"{i}.feedback.q"], want, "float64", what=str(i))


def test_the_inverses_learn_to_undo_the_layer_above():
    """On fixed weights the distance between g_l(f_{l+1}(H)) and H falls."""
    layers = [dense(8, "tanh"), dense(12, "tanh"), dense(3)]
    desc = description(layers, 6, rule("dtp") | {"noise": 0.05, "lr_scale": 1.0}, optimizer=SGD)
    net, data = _core.Network(desc), samples(desc, M)
    W = copies(net.parameters)
    H1 = np.tanh(data[0] @ W["0.weight"] + W["0.bias"])
    H2 = np.tanh(H1 @ W["1.weight"] + W["1.bias"])

    def distance():
        Q = net.feedback
        return ((np.tanh(H2 @ Q["0.feedback"] + Q["0.feedback.q"]) - H1) ** 2).mean()

    first = distance()
    for _ in range(400):
        net.train_batch(*data)
        for key, value in W.items():
            net.write(key, value)
    assert distance() < first / 10


def test_other_rules_above_and_masks_are_the_oracles(dtype):
    layers = [
        dense(9, "tanh"), dropout(0.3), dense(8, "gelu"), dropout(0.2),
        dense(6, "relu", rule=rule("dfa", "pre")), dense(7, "softplus"), dense(4),
    ]  # fmt: skip
    desc = description(layers, 6, "dtp", dtype=dtype, optimizer=ADAM)
    mine, ref = pair(desc)
    data = samples(desc, 270, weights=True)
    for _ in range(3):
        mine.train_batch(*data)
        ref.train_batch(*data)
    for key, value in (ref.parameters | ref.feedback).items():
        found = mine.parameters[key] if key in mine.parameters else mine.feedback[key]
        assert_close(found, value, dtype, loose=20.0, what=key)
    assert mine.counts == ref.counts


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"layer 0: rule: .*got 'dtp'"):
        _core.Network(description([recurrent(4), dense(3)], 6, "dtp"))
    with pytest.raises(ValueError, match=r"rule 'dtp': step: expected .*got 0"):
        _core.Network(description(LAYERS, 6, rule("dtp") | {"step": 0.0}))

"""Rules whose feedback learns from noise (fdfa, wm) or through a product (pfa), by their equations.

The noise is drawn by the oracle's streams; what the rules make of it is written out here.
"""

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
from fastfa.backends.reference.draws import NOISE, Stream, normals, uniforms

LAYERS = [dense(9, "tanh"), dense(7, "tanh"), dense(3)]
M = 30


def uniform(desc, ordinal, width, step=0):
    """Numbers in (-1, 1), one for each row of the batch and unit."""
    drawn = uniforms(Stream(desc["seed"], NOISE, ordinal, step), M * width)
    return (2 * drawn - 1).reshape(M, width)


def forward(net, x):
    """H_1, H_2 and the output of LAYERS."""
    W = net.parameters
    H1 = np.tanh(x @ W["0.weight"] + W["0.bias"])
    H2 = np.tanh(H1 @ W["1.weight"] + W["1.bias"])
    return H1, H2, H2 @ W["2.weight"] + W["2.bias"]


# --------------------------------------------------------------------------------------------- fdfa


@ENGINES
@pytest.mark.parametrize("normal", [False, True])
def test_fdfa_is_its_equation(normal, which):
    desc = description(LAYERS, 6, rule("fdfa") | {"share": 0.25, "normal": normal})
    net, (x, labels, *rest) = pair(desc)[which], samples(desc, M, weights=True)
    B, W = copies(net.feedback), copies(net.parameters)
    H1, H2, z = forward(net, x)
    P1, P2 = (np.sign(uniform(desc, i, n)) for i, n in ((0, 9), (1, 7)))
    if normal:
        streams = [Stream(desc["seed"], NOISE, i) for i in (0, 1)]
        P1, P2 = (normals(s, M * n).reshape(M, n) for s, n in zip(streams, (9, 7), strict=True))
    J = ((P1 @ W["1.weight"]) * (1 - H2**2) + P2) @ W["2.weight"]
    e = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - np.eye(3)[labels]
    d1 = rest[-1][:, None] * (e @ B["0.feedback"]) * (1 - H1**2)
    assert_close(net.gradients(x, labels, *rest)[1]["0.weight"], x.T @ d1 / M, "float64")
    net.train_batch(x, labels, *rest)
    for key, P in (("0.feedback", P1), ("1.feedback", P2)):  # without sample weights
        want = 0.75 * B[key] + 0.25 * J.T @ P / M
        assert_close(net.feedback[key], want, "float64", what=key)


def test_fdfa_learns_the_mean_jacobian():
    """While the weights stay, B goes to the mean of dA_L/dH_l: here by finite differences."""
    desc = description(LAYERS, 6, rule("fdfa") | {"share": 0.002}, optimizer=SGD | {"lr": 0.0})
    net, data = _core.Network(desc), samples(desc, M)
    for _ in range(3000):
        net.train_batch(*data)
    W, H1 = net.parameters, forward(net, data[0])[0]

    def top(h):
        return np.tanh(h @ W["1.weight"] + W["1.bias"]) @ W["2.weight"]

    for j in range(9):
        step = 1e-6 * np.eye(9)[j]
        column = (top(H1 + step) - top(H1 - step)).mean(axis=0) / 2e-6
        np.testing.assert_allclose(net.feedback["0.feedback"][:, j], column, atol=0.05)
    np.testing.assert_allclose(net.feedback["1.feedback"], W["2.weight"].T, atol=0.05)
    assert max(row["weight_angle"] for row in net.alignment(*data)[1:]) < 8


def test_fdfa_by_the_optimizer_takes_its_step():
    """`share` 0: Adam trains B on gB = B - J^T P / m, at lr * lr_scale."""
    how = rule("fdfa") | {"share": 0.0, "lr_scale": 3.0}
    desc = description(LAYERS, 6, how, optimizer=ADAM)
    for net in pair(desc):
        B, data = copies(net.feedback), samples(desc, M)
        gradients = net.gradients(*data, feedback=True)[1]
        net.train_batch(*data)
        for key, b in B.items():
            g = gradients[key]  # the first step of Adam is lr * sign(g), up to eps
            want = b - 3 * ADAM["lr"] * g / (abs(g) + ADAM["eps"])
            assert_close(net.feedback[key], want, "float64", what=key)
            assert len(net.slots[key]) == 2


@pytest.mark.parametrize("name", ["fdfa", "wm"])
def test_feedback_that_learns_apart_has_no_slots_and_no_part_in_clipping(name):
    """Its gradient is far larger than the limit, and the weights take the same step without it."""
    limit = ADAM | {"clip_norm": 1e-3}
    desc = description(LAYERS, 6, rule(name), optimizer=limit)
    net, data = _core.Network(desc), samples(desc, M)
    fixed = _core.Network(desc | {"rule": rule("dfa" if name == "fdfa" else "fa")})
    for key, value in net.feedback.items():
        fixed.write(key, value)
    net.train_batch(*data)
    fixed.train_batch(*data)
    for key, value in fixed.parameters.items():
        np.testing.assert_array_equal(net.parameters[key], value, err_msg=key)
    assert not {"0.feedback", "1.feedback"} & net.slots.keys()
    assert (net.feedback["0.feedback"] != fixed.feedback["0.feedback"]).all()


def test_tangents_pass_layers_of_other_rules():
    """The lowest and the highest layer learn so; between them tangents pass masks, f' and all."""
    layers = [
        dense(9, "tanh"), dropout(0.3), dense(8, "gelu", rule=rule("dfa", "pre")),
        dense(5, "relu", trainable=False), dropout(0.2), dense(7, "sigmoid"), dense(3),
    ]  # fmt: skip
    desc = description(layers, 6, "fdfa")
    mine, ref = pair(desc)
    data = samples(desc, 70, weights=True)
    first = copies(mine.feedback)
    for _ in range(3):
        mine.train_batch(*data)
        ref.train_batch(*data)
    for key, value in ref.feedback.items():
        assert_close(mine.feedback[key], value, "float64", what=key)
    moved = {key for key, value in first.items() if (mine.feedback[key] != value).any()}
    assert moved == {"0.feedback", "5.feedback"}
    assert mine.counts == ref.counts


# ----------------------------------------------------------------------------------------------- wm


@ENGINES
def test_wm_is_its_equation(which):
    desc = description(LAYERS, 6, rule("wm") | {"rate": 0.25, "noise": 0.3})
    net, data = pair(desc)[which], samples(desc, M, weights=True)
    B, W = copies(net.feedback), copies(net.parameters)
    net.train_batch(*data)
    for i, n in ((0, 9), (1, 7)):
        N = 0.3 * uniform(desc, i, n)
        seen = (N @ W[f"{i + 1}.weight"]).T @ N / (M * 0.3**2 / 3)
        want = 0.75 * B[f"{i}.feedback"] + 0.25 * seen
        assert_close(net.feedback[f"{i}.feedback"], want, "float64", what=str(i))


@ENGINES
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "mse"])
def test_wm_as_published_is_its_equation(loss, which):
    layers = [LAYERS[0], dense(7, "tanh", use_bias=False), LAYERS[2]]
    how = rule("wm") | {"rate": 0.01, "noise": 0.3, "normalize": False}
    desc = description(layers, 6, how, loss=loss)
    net, data = pair(desc)[which], samples(desc, M)
    B, W = copies(net.feedback), copies(net.parameters)
    net.train_batch(*data)
    N1, N2 = 0.3 * uniform(desc, 0, 9), 0.3 * uniform(desc, 1, 7)
    out = N2 @ W["2.weight"] + W["2.bias"]
    if loss == "softmax_cross_entropy":
        out = np.exp(out) / np.exp(out).sum(axis=1, keepdims=True)
    elif loss == "sigmoid_cross_entropy":
        out = 1 / (1 + np.exp(-out))
    Z1 = np.tanh(N1 @ W["1.weight"])
    assert_close(net.feedback["0.feedback"], B["0.feedback"] + 0.01 * Z1.T @ N1, "float64")
    assert_close(net.feedback["1.feedback"], B["1.feedback"] + 0.01 * out.T @ N2, "float64")


def test_the_mirror_comes_as_near_as_its_rate_says():
    """At lr 0 only B learns; its angle to W^T tends to arctan sqrt(rate n / (2 m))."""
    layers = [dense(100, "relu"), dense(10)]
    for rate in (0.02, 0.1):
        desc = description(layers, 6, rule("wm") | {"rate": rate}, optimizer=SGD | {"lr": 0.0})
        net, data = _core.Network(desc), samples(desc, M)
        W, angles = copies(net.parameters), []
        for step in range(400):
            net.train_batch(*data)
            if step >= 300 and step % 10 == 0:
                angles.append(net.alignment(*data)[0]["weight_angle"])
        assert np.mean(angles) == pytest.approx(
            np.degrees(np.arctan(np.sqrt(rate * 100 / (2 * M)))), rel=0.1
        )
        for key, value in W.items():
            np.testing.assert_array_equal(net.parameters[key], value, err_msg=key)


# ---------------------------------------------------------------------------------------------- pfa


@ENGINES
@pytest.mark.parametrize("rank", [2, 0, 20])
def test_product_feedback_is_its_equation(rank, which):
    how = rule("pfa") | {"rank": rank, "decay": 0.05, "lr_scale": 0.7}
    desc = description(LAYERS, 6, how)
    net, data = pair(desc)[which], samples(desc, M, weights=True)
    x, labels, _, w = data
    P1, R1 = net.feedback["0.feedback.P"].copy(), net.feedback["0.feedback.R"].copy()
    P2, R2 = net.feedback["1.feedback.P"].copy(), net.feedback["1.feedback.R"].copy()
    assert (P1.shape, R1.shape) == ((7, rank or 7), (rank or 7, 9))
    assert (P2.shape, R2.shape) == ((3, rank or 3), (rank or 3, 7))
    for P in (P1, P2):
        small = P if P.shape[0] <= P.shape[1] else P.T
        assert_close(small @ small.T, np.eye(len(small)), "float64")
    H1, H2, z = forward(net, x)
    e = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - np.eye(3)[labels]
    d2 = e @ P2 @ R2 * (1 - H2**2)
    d1 = d2 @ P1 @ R1 * (1 - H1**2)
    D1, D2, E = (w[:, None] * d for d in (d1, d2, e))
    assert_close(net.feedback_matrix(0), P1 @ R1, "float64")
    assert_close(net.gradients(*data)[1]["0.weight"], x.T @ D1 / M, "float64")
    net.train_batch(*data)
    assert_close(net.feedback["0.feedback.R"], 0.95 * R1 - 0.07 * (D2 @ P1).T @ H1 / M, "float64")
    assert_close(net.feedback["1.feedback.R"], 0.95 * R2 - 0.07 * (E @ P2).T @ H2 / M, "float64")
    np.testing.assert_array_equal(net.feedback["0.feedback.P"], P1)


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("fdfa", {"share": 1.5}, r"layer 1: rule 'fdfa': share: expected .*got 1.5"),
        ("wm", {"rate": 0.0}, r"layer 1: rule 'wm': rate: expected .*got 0"),
        ("wm", {"noise": 0.0}, r"layer 1: rule 'wm': noise: expected .*got 0"),
        ("pfa", {"rank": -1}, r"layer 1: rule 'pfa': rank: expected .*got -1"),
        ("fdfa", {"inject": "pre"}, r"layer 1: inject='pre': expected .*got 'fdfa'"),
    ],
)
def test_bad_settings_name_the_layer(name, changes, message):
    layers = [LAYERS[0], dense(7, "tanh", rule=rule(name) | changes), LAYERS[2]]
    with pytest.raises(ValueError, match=message):
        _core.Network(description(layers, 6, "fa"))


@pytest.mark.parametrize("name", ["fdfa", "wm"])
def test_networks_of_sequences_are_refused(name):
    with pytest.raises(ValueError, match=rf"layer 0: rule: .*got '{name}'"):
        _core.Network(description([recurrent(4), dense(3)], 6, name))


@pytest.mark.parametrize("name", ["fdfa", "dtp"])
def test_layers_that_are_no_masks_are_refused_above(name):
    layers = [LAYERS[0], LAYERS[1], {"type": "activation", "activation": "tanh"}, LAYERS[2]]
    with pytest.raises(ValueError, match=rf"layer 0: rule '{name}': .* got activation in layer 2"):
        _core.Network(description(layers, 6, name))

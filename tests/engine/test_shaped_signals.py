"""Options of dfa that change its signal or f', by their equations."""

import numpy as np
import pytest
from networks import (
    ADAM,
    ENGINES,
    assert_close,
    conv,
    dense,
    description,
    dropout,
    pair,
    recurrent,
    rule,
    samples,
)

from fastfa import _core
from fastfa.backends.cuda.support import check_supported

SLOPES = {
    "tanh": lambda a: 1 - np.tanh(a) ** 2,
    "relu": lambda a: 1.0 * (a > 0),
    "softplus": lambda a: 1 / (1 + np.exp(-a)),  # from A, not from H
    "leaky_relu": lambda a: np.where(a > 0, 1, 0.01),
}


@ENGINES
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("derivative", SLOPES)
@pytest.mark.parametrize("activation", ["sign", "relu"])
def test_signal_and_derivative_are_their_equations(activation, derivative, normalize, which):
    layers = [dense(9, activation), dense(7, activation), dense(3)]
    how = rule("dfa", scale=3.0) | {"derivative": derivative, "normalize": normalize}
    net = pair(description(layers, 6, how))[which]
    x, labels, _, w = data = samples(net.description, 30, weights=True)
    W, B = net.parameters, net.feedback
    f = np.sign if activation == "sign" else lambda a: np.maximum(a, 0)
    A1 = x @ W["0.weight"] + W["0.bias"]
    A2 = f(A1) @ W["1.weight"] + W["1.bias"]
    z = f(A2) @ W["2.weight"] + W["2.bias"]
    e = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - np.eye(3)[labels]
    gradients = net.gradients(*data)[1]
    for i, (below, A) in enumerate(((x, A1), (f(A1), A2))):
        S = e @ B[f"{i}.feedback"]
        if normalize:
            length = np.sqrt((S**2).sum(axis=1, keepdims=True))
            S = S / length * np.sqrt((e**2).mean(axis=1, keepdims=True))
        D = w[:, None] * S * SLOPES[derivative](A)
        assert_close(gradients[f"{i}.weight"], below.T @ D / 30, "float64", what=str(i))


def test_an_error_of_zero_has_a_signal_of_zero():
    desc = description([dense(5, "tanh"), dense(3)], 4, rule("dfa") | {"normalize": True},
                       loss="mse")  # fmt: skip
    for net in pair(desc):
        x, labels, y, w = samples(desc, 10, rows=True)
        y = net.predict(x)  # no error, 0 / 0 in the factor
        assert not net.gradients(x, labels, y, w)[1]["0.weight"].any()


def test_dropout_alignment_and_chunks_are_the_oracles(dtype):
    """Alignment compares with f' itself; predictions, masks and several chunks take part."""
    layers = [dense(20, "tanh"), dropout(0.3), dense(13, "relu"), dense(5)]
    how = rule("dfa") | {"derivative": "gelu", "normalize": True}
    mine, ref = pair(description(layers, 8, how, dtype=dtype, optimizer=ADAM, n_threads=2))
    data = samples(mine.description, 300, weights=True)
    for net in (mine, ref):
        net.train_batch(*data)
    for key, value in ref.parameters.items():
        assert_close(mine.parameters[key], value, dtype, loose=5.0, what=key)
    for a, b in zip(mine.alignment(*data), ref.alignment(*data), strict=True):
        assert a["delta_angle"] == pytest.approx(b["delta_angle"], rel=1e-3)
    assert_close(mine.predict(data[0]), ref.predict(data[0]), dtype, loose=5.0)


def test_normalized_signals_do_not_know_the_scale_of_feedback():
    nets = []
    for scale in (1.0, 1024.0):
        how = rule("dfa", scale=scale) | {"normalize": True}
        nets.append(_core.Network(description([dense(9, "tanh"), dense(3)], 6, how)))
    data = samples(nets[0].description, 20)
    got = [net.gradients(*data)[1]["0.weight"] for net in nets]
    assert_close(got[0], got[1], "float64")


@pytest.mark.parametrize(
    ("layers", "changes", "message"),
    [
        ([dense(5, "tanh"), dense(3)], {"derivative": "sine"}, "an activation that has one"),
        ([dense(5, "tanh"), dense(3)], {"derivative": "sign"}, "an activation that has one"),
        ([dense(5, "tanh"), dense(3)], {"inject": "pre"}, "with inject='pre'"),
        ([recurrent(5), dense(3)], {}, "images or sequences"),
    ],
)
def test_derivatives_that_are_refused(layers, changes, message):
    how = rule("dfa") | {"derivative": "tanh"} | changes
    with pytest.raises(ValueError, match=rf"layer 0: rule 'dfa': derivative: .*{message}"):
        _core.Network(description(layers, 6, how))


def test_derivatives_are_refused_in_networks_of_images():
    layers = [conv(2, (2, 2), "tanh"), {"type": "flatten"}, dense(3)]
    with pytest.raises(ValueError, match="derivative: expected 'own' in a network of images"):
        _core.Network(description(layers, (4, 4, 1), rule("dfa") | {"derivative": "tanh"}))
    normalized = description(layers, (4, 4, 1), rule("dfa") | {"normalize": True})
    mine, ref = pair(normalized)
    data = samples(normalized, 20)
    assert_close(mine.gradients(*data)[1]["0.weight"],
                 ref.gradients(*data)[1]["0.weight"], "float64")  # fmt: skip


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (rule("dfa") | {"normalize": True}, "rule 'dfa': normalize: expected False on a GPU"),
        (rule("local") | {"square": True}, "rule 'local': square: expected False on a GPU"),
        *((rule(name), f"rule: .* got {name}") for name in ("fdfa", "wm", "pfa", "cdni")),
    ],
)
def test_gpus_refuse_them_by_name(how, message):
    with pytest.raises(ValueError, match=f"layer 0: {message}"):
        check_supported(description([dense(3, "tanh"), dense(2)], 4, how))

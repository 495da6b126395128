"""Synthetic gradients (cdni) straight from their equations."""

import numpy as np
import pytest
from networks import (
    ADAM,
    ENGINES,
    FLATTEN,
    assert_close,
    conv,
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

LAYERS = [dense(9, "tanh"), dense(7, "tanh"), dense(3)]


def written(desc, which):
    """A network whose models are not zero."""
    net, rng = pair(desc)[which], np.random.default_rng(0)
    for key, value in net.feedback.items():
        net.write(key, 0.3 * rng.standard_normal(value.shape))
    return net


@ENGINES
@pytest.mark.parametrize("rows", [False, True], ids=("labels", "rows"))
def test_cdni_is_its_equation(rows, which):
    desc = description(LAYERS, 6, rule("cdni") | {"decay": 0.05, "lr_scale": 0.7})
    net = written(desc, which)
    x, labels, y, w = data = samples(desc, 30, rows=rows, weights=True)
    Y, W, M = y if rows else np.eye(3)[labels], copies(net.parameters), copies(net.feedback)
    H1 = np.tanh(x @ W["0.weight"] + W["0.bias"])
    H2 = np.tanh(H1 @ W["1.weight"] + W["1.bias"])
    z = H2 @ W["2.weight"] + W["2.bias"]
    e = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - Y
    S1, S2 = (
        H @ M[f"{i}.feedback.M"] + Y @ M[f"{i}.feedback.N"] + M[f"{i}.feedback.c"]
        for i, H in enumerate((H1, H2))
    )
    d1, d2 = S1 * (1 - H1**2), S2 * (1 - H2**2)
    r, gradients = w[:, None] / 30, net.gradients(*data)[1]
    assert_close(gradients["0.weight"], x.T @ (r * d1), "float64")
    assert_close(gradients["1.weight"], H1.T @ (r * d2), "float64")
    net.train_batch(*data)
    lacks = ((H1, S1 - d2 @ W["1.weight"].T), (H2, S2 - e @ W["2.weight"].T))
    for i, (H, R) in enumerate(lacks):
        for part, g in (("M", H.T @ (r * R)), ("N", Y.T @ (r * R)), ("c", (r * R).sum(axis=0))):
            key = f"{i}.feedback.{part}"
            assert_close(net.feedback[key], 0.95 * M[key] - 0.07 * g, "float64", what=key)


def test_at_first_hidden_layers_wait_for_the_models():
    desc = description(LAYERS, 6, "cdni")
    net, data = _core.Network(desc), samples(desc, 30)
    assert not any(value.any() for value in net.feedback.values())
    first = copies(net.parameters)
    net.train_batch(*data)
    np.testing.assert_array_equal(net.parameters["0.weight"], first["0.weight"])
    net.train_batch(*data)
    assert (net.parameters["1.weight"] != first["1.weight"]).any()
    net.reset()
    assert not any(value.any() for value in net.feedback.values())


def test_the_model_of_a_layer_that_does_not_train_serves_those_below():
    layers = [LAYERS[0], dense(7, "tanh", trainable=False), LAYERS[2]]
    for net in pair(description(layers, 6, "cdni")):
        first, data = copies(net.parameters), samples(net.description, 30)
        for _ in range(4):
            net.train_batch(*data)
        np.testing.assert_array_equal(net.parameters["1.weight"], first["1.weight"])
        assert (net.parameters["0.weight"] != first["0.weight"]).any()
    layers = [dense(9, "tanh", trainable=False), dense(7, "tanh", trainable=False), dense(3)]
    for net in pair(description(layers, 6, "cdni")):
        net.train_batch(*data)
        assert not any(value.any() for value in net.feedback.values())  # nobody needs them


def test_images_and_other_rules_around(dtype):
    layers = [
        conv(3, (3, 3), "relu"), dropout(0.2), FLATTEN, dense(8, "gelu", rule=rule("fa")),
        dense(6, "tanh"), dense(4),
    ]  # fmt: skip
    desc = description(layers, (6, 6, 2), "cdni", optimizer=ADAM, dtype=dtype)
    mine, ref = pair(desc)
    data = samples(desc, 40, weights=True)
    for _ in range(3):
        mine.train_batch(*data)
        ref.train_batch(*data)
    for key, value in ref.feedback.items():
        assert_close(mine.feedback[key], value, dtype, loose=20.0, what=key)
    assert mine.counts == ref.counts


def test_networks_of_sequences_are_refused():
    with pytest.raises(ValueError, match=r"layer 0: rule: .*got 'cdni'"):
        _core.Network(description([recurrent(4), dense(3)], 6, "cdni"))

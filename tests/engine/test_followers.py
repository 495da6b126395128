"""Layers without weights behind those that have them: activations of their own, Dropout2D."""

import numpy as np
import pytest
from networks import (
    ADAM,
    BROADCAST,
    DIFFERENTIABLE,
    FLATTEN,
    PER_LAYER,
    assert_all_close,
    conv,
    dense,
    description,
    digest,
    dropout,
    pool,
    rule,
    samples,
)
from test_engine import assert_agrees

from fastfa import _core


def activation(name, **options):
    return {"type": "activation", "activation": name, "slope": 0.01, "alpha": 1.0, **options}


def dropout2d(rate):
    return {"type": "dropout2d", "rate": rate}


# --------------------------------------------------------------------------------- Activation


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_activations_agree_with_the_oracle(name):
    layers = [dense(6), dropout(0.3), activation(name), dense(5, "tanh"), activation(name)]
    desc = description([*layers, dense(3)], 7, "dfa")
    assert_agrees(desc, samples(desc, 9, weights=True), steps=2)


@pytest.mark.parametrize(
    ("name", "inject"),
    [(name, "post") for name in PER_LAYER]
    + [(name, inject) for name in BROADCAST for inject in ("before_pool", "pre")],
)
def test_rules_agree_with_the_oracle(name, inject):
    layers = [
        dense(6),
        dropout(0.3),
        activation("gelu"),
        dense(5),
        activation("leaky_relu"),
        dense(3),
    ]
    desc = description(layers, 7, rule(name, inject))
    assert_agrees(desc, samples(desc, 9, weights=True), steps=2)


@pytest.mark.parametrize("name", ["backprop", "fa", "dfa", "kp", "local", "pepita"])
def test_an_activation_apart_is_that_of_the_layer(name):
    own = [dense(9, "tanh"), dense(8, "relu"), dense(3)]
    apart = [dense(9), activation("tanh"), dense(8), activation("relu"), dense(3)]
    a = _core.Network(description(own, 7, name, optimizer=ADAM))
    b = _core.Network(description(apart, 7, name, optimizer=ADAM))
    keys = {"0": "0", "1": "2", "2": "4"}
    for of, to in ((a.parameters, b.parameters), (a.feedback, b.feedback)):
        for key, values in of.items():
            place, _, part = key.partition(".")
            to[f"{keys.get(place, place)}.{part}"][...] = values
    data = samples(a.description, 33, weights=True)
    for _ in range(3):
        assert a.train_batch(*data) == b.train_batch(*data)
    mine, theirs = ([v.tobytes() for v in net.parameters.values()] for net in (a, b))
    assert mine == theirs


def test_options_of_activations():
    layers = [dense(6), activation("leaky_relu", slope=0.3), dense(5), activation("elu", alpha=0.4)]
    desc = description([*layers, dense(3)], 7)
    assert_agrees(desc, samples(desc, 9), steps=1)


def test_an_activation_without_derivative():
    layers = [dense(6), activation("sign"), dense(3)]
    for teaching in ("fa", rule("dfa", "before_pool")):
        with pytest.raises(ValueError, match="layer 1: activation: expected one without zero"):
            _core.Network(description(layers, 5, teaching))
    desc = description(layers, 5, rule("dfa", "pre"))
    assert_agrees(desc, samples(desc, 4), steps=1)
    layers = [conv(2, (1, 1), "tanh"), pool("max"), activation("sign"), FLATTEN, dense(3)]
    desc = description(layers, (4, 4, 1), rule("dfa", "before_pool"))  # its signal does not pass it
    assert_agrees(desc, samples(desc, 4), steps=1)


def test_wide_layers_by_columns_have_the_same_bits():
    layers = [dense(700), activation("tanh"), dense(650), activation("relu"), dense(9)]
    desc = description(layers, 300, "fa", dtype="float32")
    data, nets = samples(desc, 8), []
    for threads in (1, 2):
        nets.append(_core.Network(desc | {"n_threads": threads}))
        for _ in range(2):
            nets[-1].train_batch(*data)
    assert_all_close(nets[0].parameters, nets[1].parameters, "float32", 0)


def test_unknown_activations_are_refused():
    with pytest.raises(ValueError, match=r"layer 1: activation: expected one of .*'step'"):
        _core.Network(description([dense(3), activation("step"), dense(2)], 5))
    with pytest.raises(ValueError, match="layer 1: type 'activation': slope: expected"):
        _core.Network(description([dense(3), activation("relu", slope=-1.0), dense(2)], 5))
    with pytest.raises(ValueError, match="the last layer: expected dense, got activation"):
        _core.Network(description([dense(3), activation("relu")], 5))


# ---------------------------------------------------------------------------------- Dropout2D


def dropped(teaching="backprop", **changes):
    layers = [
        dropout2d(0.4),
        conv(5, (3, 3), "tanh"),
        dropout2d(0.3),
        pool("max"),
        dropout2d(0.5),
        FLATTEN,
        dense(3),
    ]
    return description(layers, (6, 5, 3), teaching, **changes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("inject", ["post", "before_pool", "pre"])
def test_dropped_channels_agree_with_the_oracle(inject, dtype):
    desc = dropped(rule("dfa", inject), dtype=dtype)
    assert_agrees(desc, samples(desc, 9, weights=True), steps=2, loose=3)


def test_channels_are_dropped_whole():
    layers = [dropout2d(0.5), FLATTEN, dense(4)]
    net = _core.Network(description(layers, (3, 5, 40), loss="mse"))
    x = np.ones((50, 600))
    _, gradients = net.gradients(x, None, np.full((50, 4), 1e9), None)
    # gW is the sum over rows of x times errors that are about -1e9: how often a number was kept
    kept = np.rint(gradients["2.weight"][:, 0] * -50 / 1e9).reshape(15, 40)
    assert (kept == kept[0]).all()
    assert len(np.unique(kept[0])) > 5
    np.testing.assert_allclose(kept.mean(), 50, rtol=0.1)  # those that are kept count double


def test_threads_change_no_mask():
    desc = dropped("fa", dtype="float32")
    data, found = samples(desc, 70), set()
    for threads in (1, 3):
        net = _core.Network(desc | {"n_threads": threads})
        for _ in range(2):
            net.train_batch(*data)
        found.add(digest(net.parameters, net.predict(data[0])))
    assert len(found) == 1


def test_rows_have_no_channels():
    with pytest.raises(ValueError, match="layer 1: dropout2d: expected images of shape"):
        _core.Network(description([dense(4), dropout2d(0.1), dense(2)], 5))
    with pytest.raises(ValueError, match=r"layer 0: type 'dropout2d': rate: expected .* < 1"):
        _core.Network(description([dropout2d(1.0), FLATTEN, dense(2)], (2, 2, 2)))

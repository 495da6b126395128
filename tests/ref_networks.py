"""Networks, data and comparisons that the tests of the oracle share."""

import numpy as np

from fastfa import _ref

SMOOTH = ("linear", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "gelu")
LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mse")
RULES = ("backprop", "fa", "dfa", "sdfa", "drtp", "frozen")
COMMON = {"weight_decay": 0.0, "clip_norm": 0.0, "decay_bias": True}
SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False, **COMMON}
RMSPROP = {"name": "rmsprop", "lr": 0.02, "alpha": 0.9, "eps": 1e-8, "momentum": 0.0, **COMMON}
ADAM = {"name": "adam", "lr": 0.05, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, **COMMON}
ADAMW = {**ADAM, "name": "adamw"}


def dense(units, activation="linear", **changes):
    layer = {
        "type": "dense", "units": units, "activation": activation, "use_bias": True,
        "trainable": True, "lr_scale": 1.0, "bias_lr_scale": 1.0, "rule": None,
        "weight_init": {"name": "glorot_normal", "scale": 1.0},
        "bias_init": {"name": "normal", "scale": 0.3},
    }  # fmt: skip
    return {**layer, **changes}


def dropout(rate):
    return {"type": "dropout", "rate": rate}


def rule(name, inject="post", distribution="uniform", scale=1.0, values=None):
    feedback = {"distribution": distribution} if values is None else {"values": values}
    return {"name": name, "inject": inject, "feedback": {**feedback, "scale": scale}}


def network(layers, name="backprop", **changes):
    description = {
        "n_in": 5, "dtype": "float64", "seed": 2**40 + 7, "loss": "softmax_cross_entropy",
        "input_scale": "auto", "n_threads": 0, "optimizer": SGD,
        "rule": rule(name) if isinstance(name, str) else name, "layers": layers,
    }  # fmt: skip
    return _ref.Network({**description, **changes})


def hidden_net(name="backprop", activation="tanh", **changes):
    return network([dense(6, activation), dense(4, activation), dense(3)], name, **changes)


def batch(m=7, n_in=5, n_out=3, loss="softmax_cross_entropy", seed=0):
    """x, labels, y, weights with row targets that every loss accepts."""
    rng = np.random.default_rng(seed)
    y = rng.random((m, n_out))
    if loss == "softmax_cross_entropy":
        y /= y.sum(axis=1, keepdims=True)
    return rng.standard_normal((m, n_in)), None, y, rng.random(m) + 0.5


def labelled(m=7, n_in=5, n_out=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, n_in)), rng.integers(0, n_out, m), None, None


def assert_same(a, b, rtol=1e-12, atol=1e-14):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], rtol, atol, err_msg=key)


def name_of(optimizer):
    extras = ("momentum", "nesterov", "weight_decay")
    return "-".join([optimizer["name"], *(key for key in extras if optimizer.get(key))])

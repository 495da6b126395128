"""Descriptions of small networks, data for them, and comparisons: what the engine's tests share."""

import hashlib
from collections.abc import Mapping

import numpy as np
import pytest

from fastfa import _core, _ref

SIGNS = ("usf", "frsf", "brsf")  # rules whose matrix has the signs of the weights
RULES = ("backprop", "fa", "dfa", "sdfa", "drtp", "frozen", *SIGNS, "kp", "dkp", "ternary",
         "ifa", "ldfa", "local", "pepita")  # fmt: skip
PER_LAYER = tuple(name for name in RULES if name != "pepita")  # may be one layer's alone
STORED = tuple(name for name in RULES if name not in ("backprop", "frozen"))  # take a Feedback
BROADCAST = (
    "dfa",
    "sdfa",
    "drtp",
    "dkp",
    "ternary",
    "local",
)  # rules that can inject before the activation
LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mse")
SMOOTH = ("linear", "tanh", "sigmoid", "softplus", "gelu")
DIFFERENTIABLE = (*SMOOTH, "relu", "leaky_relu")
ACTIVATIONS = (*DIFFERENTIABLE, "sign", "threshold")
DTYPES = ("float32", "float64")
TAUGHT = tuple((name, "post") for name in RULES) + tuple((name, "pre") for name in BROADCAST)

COMMON = {"lr": 0.1, "weight_decay": 0.0, "clip_norm": 0.0, "decay_bias": True}
SGD = {**COMMON, "name": "sgd", "momentum": 0.0, "nesterov": False}
RMSPROP = {**COMMON, "name": "rmsprop", "lr": 0.01, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0}
ADAM = {**COMMON, "name": "adam", "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
ADAMW = {**ADAM, "name": "adamw", "weight_decay": 0.01}


# ---------------------------------------------------------------------------------- descriptions


def dense(units, activation="linear", **changes):
    return {
        "type": "dense",
        "units": units,
        "activation": activation,
        "use_bias": True,
        "trainable": True,
        "lr_scale": 1.0,
        "bias_lr_scale": 1.0,
        "weight_init": {"name": "glorot_uniform", "scale": 1.0},
        "bias_init": {"name": "uniform", "scale": 0.3},
        "rule": None,
        **changes,
    }


def dropout(rate):
    return {"type": "dropout", "rate": rate}


def rule(name, inject="post", distribution="uniform", scale=1.0, values=None):
    how = {"name": name, "inject": inject}
    if name in STORED:
        drawn = {"distribution": distribution} if values is None else {"values": values}
        how["feedback"] = {**drawn, "scale": scale}
    if name == "pepita":  # as published but larger: what it adds must be seen
        how["feedback"] |= {"distribution": "he_uniform"} if values is None else {}
        how["feedback"]["scale"] = 0.3 * scale
    if name in ("kp", "dkp", "ldfa"):
        how["decay"] = 0.01
    if name in ("dkp", "ldfa", "local"):
        how["lr_scale"] = 0.7
    if name == "ldfa":
        how["oja"] = 0.3
    if name == "ternary":
        how["threshold"] = 0.05
    return how


def description(layers, n_in, teaching="backprop", **changes):
    return {
        "n_in": n_in,
        "dtype": "float64",
        "seed": 2**40 + 7,
        "loss": "softmax_cross_entropy",
        "input_scale": "auto",
        "n_threads": 1,
        "optimizer": SGD,
        "rule": rule(teaching) if isinstance(teaching, str) else teaching,
        "layers": layers,
        **changes,
    }


# ------------------------------------------------------------------------------------------ data


def samples(desc, m, *, rows=False, weights=False, seed=0):
    """x, labels, y, weights that the description's loss takes: labels, or rows of targets."""
    rng = np.random.default_rng((seed, m))
    dtype, n_out = desc["dtype"], desc["layers"][-1]["units"]
    x = rng.standard_normal((m, desc["n_in"])).astype(dtype)
    one_column = n_out == 1 and desc["loss"] != "softmax_cross_entropy"
    labels, y = rng.integers(0, 2 if one_column else n_out, m), None
    if rows:
        y = rng.uniform(0.05, 1.0, (m, n_out))
        if desc["loss"] == "softmax_cross_entropy":
            y /= y.sum(axis=1, keepdims=True)
        labels, y = None, y.astype(dtype)
    return x, labels, y, rng.uniform(0.1, 2.0, m) if weights else None


def pair(desc):
    """The network in C and its oracle."""
    return _core.Network(desc), _ref.Network(desc)


def threaded(name="dfa", **changes):
    """A description with dropout, of several tiles, on two threads."""
    layers = [dense(64, "tanh"), dropout(0.2), dense(32, "gelu"), dense(5)]
    return description(layers, 20, name, **{"optimizer": ADAM, "n_threads": 2, **changes})


ENGINES = pytest.mark.parametrize("which", [0, 1], ids=("core", "ref"))  # of a pair


# ----------------------------------------------------------------------------------- comparisons


def assert_close(actual, expected, dtype, loose=1.0, what=""):
    """Equal up to the rounding of sums as long as these tests have them."""
    rtol, atol = (2e-4, 2e-5) if np.dtype(dtype) == np.float32 else (1e-9, 1e-11)
    rtol, atol = rtol * loose, atol * loose
    # The criterion of assert_allclose for finite numbers, without its preparations for a message
    if np.shape(actual) == np.shape(expected):
        with np.errstate(invalid="ignore"):
            if (np.abs(actual - expected) <= atol + rtol * np.abs(expected)).all():
                return
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=what)


def assert_all_close(actual, expected, dtype, loose=1.0):
    assert actual.keys() == expected.keys()
    for key in actual:
        assert_close(actual[key], expected[key], dtype, loose, key)


def copies(arrays):
    return {key: array.copy() for key, array in arrays.items()}


def digest(*parts):
    """One short text for the bits of arrays, bytes, numbers and mappings of them."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Mapping):
            part = digest(*part, *part.values()).encode()
        elif isinstance(part, str):
            part = part.encode()
        elif not isinstance(part, bytes):
            part = np.asarray(part)
            assert part.dtype.kind in "biuf"
            part = part.tobytes()
        sha.update(part)
    return sha.hexdigest()[:16]

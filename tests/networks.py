"""Descriptions of small networks, data for them, and comparisons: what the engine's tests share."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import pytest

import fastfa.optimizers
import fastfa.rules
from fastfa import _core
from fastfa.backends import reference as _ref

DTYPES = ("float32", "float64")

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
        "slope": 0.01,
        "alpha": 1.0,
        "weight_init": {"name": "glorot_uniform", "scale": 1.0},
        "bias_init": {"name": "uniform", "scale": 0.3},
        "rule": None,
        **changes,
    }


def conv(filters, size, activation="linear", *, strides=(1, 1), padding="valid", **changes):
    how = dense(filters, activation, **changes) | {"type": "conv2d", "filters": filters}
    del how["units"]
    return how | {"kernel_size": size, "strides": strides, "padding": padding}


FLATTEN = {"type": "flatten"}
GLOBAL = {"type": "global_avg_pool2d"}


def pool(kind, size=(2, 2), *, strides=None, padding="valid"):
    """kind: "max" or "avg"."""
    how = {"type": f"{kind}_pool2d", "pool_size": size}
    return how | {"strides": strides or size, "padding": padding}


def dropout(rate):
    return {"type": "dropout", "rate": rate}


def recurrent(units, activation="tanh", **changes):
    return dense(units, activation) | {
        "type": "recurrent",
        "leak": 1.0,
        "time": "bptt",
        "time_decay": 0.0,
        "recurrent_init": {"name": "glorot_uniform", "scale": 1.0},
        **changes,
    }


# Options of a rule whose defaults would hide them. A rule gets those that it has.
OPTIONS = {"decay": 0.01, "lr_scale": 0.7, "oja": 0.3, "threshold": 0.05}


def rule(name, inject="post", distribution="uniform", scale=1.0, values=None):
    options = [field.name for field in fields(fastfa.rules.RULES[name])]
    spec = fastfa.rules.RULES[name]().describe() | {"inject": inject}
    del spec["feedback"]
    if "feedback" in options or "scale" in options:
        drawn = {"distribution": distribution} if values is None else {"values": values}
        spec["feedback"] = {**drawn, "scale": scale}
    if name == "pepita":  # as published but larger: the effect of the second pass must be seen
        spec["feedback"] |= {"distribution": "he_uniform"} if values is None else {}
        spec["feedback"]["scale"] = 0.3 * scale
    return with_options(spec, **OPTIONS)


def with_options(spec, **options):
    """A rule with those of these options that it has."""
    return spec | {name: value for name, value in options.items() if name in spec}


def optimizer(name, **changes):
    rate = {"lr": 1e-3} if name == "sgd" else {}  # the others have a default
    return fastfa.optimizers.OPTIMIZERS[name](**rate).describe() | changes


SGD = optimizer("sgd", lr=0.1)
RMSPROP = optimizer("rmsprop", lr=0.01)
ADAM = optimizer("adam", lr=0.01)
ADAMW = optimizer("adamw", lr=0.01)


def description(layers, n_in, teaching="backprop", **changes):
    """n_in is the number of inputs, or the shape of an image."""
    image = {} if isinstance(n_in, int) else {"input_shape": n_in}
    return {
        "n_in": int(np.prod(n_in)),
        **image,
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


# --------------------------------------------------------------------------- asked of the library


def accepts(layers, teaching="backprop", **changes):
    """Whether the engine builds such a network."""
    try:
        _core.Network(description(layers, 3, teaching, **changes))
    except ValueError:
        return False
    return True


def is_smooth(activation):
    """Whether the derivative has no jump."""
    f, derivative = _ref.ACTIVATIONS[activation]
    a = np.linspace(-5, 5, 2001)
    slopes = derivative(a, f(a)) * 1.0
    return np.abs(np.diff(slopes)).max() < 0.1


RULES = tuple(name for name in _core.NAMES["rule"] if name != "custom")  # custom: a user's class
PER_LAYER = tuple(n for n in RULES if accepts([dense(2, "tanh", rule=rule(n)), dense(2)], "fa"))
BROADCAST = tuple(n for n in RULES if accepts([dense(2, "tanh"), dense(2)], rule(n, "pre")))
TAUGHT = tuple((name, "post") for name in RULES) + tuple((name, "pre") for name in BROADCAST)
LOSSES = tuple(name for name in _core.NAMES["loss"] if name != "custom")  # custom: a function
ACTIVATIONS = tuple(_core.NAMES["activation"])
DIFFERENTIABLE = tuple(n for n in ACTIVATIONS if accepts([dense(2, n), dense(2)]))
SMOOTH = tuple(filter(is_smooth, DIFFERENTIABLE))


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
    actual, expected = np.asarray(actual), np.asarray(expected)
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

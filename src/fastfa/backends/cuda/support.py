"""What a GPU runs; the rest is refused by name when a network is made or moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._internal.checks import mismatch
from .kernels import ACTIVATIONS, LOSSES

__all__ = ["CHAIN", "RULES", "check_supported"]

# The rules, and the kind of their signal
RULES = {
    "backprop": "transposed",
    "frozen": "transposed",
    "fa": "product",
    "usf": "signs",
    "frsf": "signs",
    "brsf": "signs",
    "kp": "product",
    "ldfa": "product",
    "dfa": "product",
    "sdfa": "sign",
    "ternary": "ternary",
    "drtp": "label",
    "dkp": "product",
    "ifa": "product",
    "local": "transposed",
    "pepita": "",
}
# Options that must have these values
_DEFAULTS_ONLY: dict[str, dict[str, Any]] = {
    "dfa": {"derivative": "own", "normalize": False},
    "local": {"bias": True, "square": False, "blocks": False},
}
CHAIN = ("backprop", "frozen", "fa", "usf", "frsf", "brsf", "kp", "ldfa")  # read the delta above
LAYERS = ("dense", "dropout")
OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw", "adagrad", "nadam", "radam", "lion")

_STAY = 'keep the network on the CPU: device="cpu"'
_LATER = f"its kernels are not written yet; {_STAY}"


def check_supported(description: Mapping[str, Any]) -> None:
    """ValueError for the first thing in a description that a GPU does not run."""
    layers = description["layers"]
    for i, layer in enumerate(layers):
        _check(f"layer {i}: type", layer["type"], LAYERS)
        if layer["type"] == "dense":
            _check(f"layer {i}: activation", layer["activation"], ACTIVATIONS)
    _check("loss", description["loss"], LOSSES)
    _check("optimizer", description["optimizer"]["name"], OPTIMIZERS)
    l1 = description["optimizer"].get("l1", 0.0)
    if l1:
        raise ValueError(mismatch("optimizer: l1", "0 on a GPU", f"{l1:g}", _LATER))
    hidden = [i for i, layer in enumerate(layers) if layer["type"] == "dense"][:-1]
    for i in hidden:
        _check_rule(f"layer {i}", layers[i].get("rule") or description["rule"])
    _check("compute", description.get("compute", "float32"), ("float32",))
    smoothing = (description.get("loss_options") or {}).get("smoothing")
    if smoothing:
        raise ValueError(mismatch("loss", "no smoothing on a GPU", smoothing, _LATER))


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(mismatch(what, f"one of {', '.join(known)} on a GPU", name, _LATER))


def _check_rule(place: str, rule: Mapping[str, Any]) -> None:
    if rule["name"] == "custom":
        raise ValueError(
            mismatch(
                f"{place}: rule",
                "one of fastfa's own on a GPU",
                f"{type(rule['custom']).__name__}, which is written in Python",
                f"its NumPy code cannot run there; {_STAY}",
            )
        )
    _check(f"{place}: rule", rule["name"], tuple(RULES))
    for option, default in _DEFAULTS_ONLY.get(rule["name"], {}).items():
        if rule.get(option, default) != default:
            what = f"{place}: rule '{rule['name']}': {option}"
            raise ValueError(mismatch(what, f"{default} on a GPU", rule[option], _LATER))
    distribution = rule.get("feedback", {}).get("distribution", "uniform")
    if rule["name"] == "brsf" and distribution != "uniform":
        raise ValueError(
            mismatch(
                f"{place}: feedback",
                "uniform for brsf on a GPU",
                distribution,
                f"a GPU draws it in every step and has the bits of uniform numbers alone; {_STAY}",
            )
        )

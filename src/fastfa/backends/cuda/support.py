"""What a GPU does not run yet: refused by name when a network is made or moved."""

from __future__ import annotations

from typing import Any

from ..._internal.checks import mismatch
from .plan import RULES

__all__ = ["check_supported"]

_STAY = 'keep the network on the CPU: device="cpu"'


def check_supported(description: dict[str, Any]) -> None:
    """ValueError for the first thing in a description that a GPU does not run."""
    layers = description["layers"]
    for i, layer in enumerate(layers):
        if layer["type"] not in ("dense", "dropout"):
            raise ValueError(
                mismatch(
                    f"layer {i}",
                    "dense or dropout on a GPU",
                    layer["type"],
                    f"its kernels are not written yet; {_STAY}",
                )
            )
    hidden = [i for i, layer in enumerate(layers) if layer["type"] == "dense"][:-1]
    for i in hidden:
        _check_rule(f"layer {i}", layers[i].get("rule") or description["rule"])
    if description["optimizer"].get("clip_norm"):
        raise ValueError(
            mismatch(
                "optimizer",
                "no clip_norm on a GPU",
                f"clip_norm={description['optimizer']['clip_norm']:g}",
                f"its kernels are not written yet; {_STAY}, or use a smaller lr",
            )
        )


def _check_rule(place: str, rule: dict[str, Any]) -> None:
    name = rule["name"]
    if name == "custom":
        raise ValueError(
            mismatch(
                f"{place}: rule",
                "one of fastfa's own on a GPU",
                f"{type(rule['custom']).__name__}, which is written in Python",
                f"its NumPy code cannot run there; {_STAY}",
            )
        )
    if name not in RULES:
        raise ValueError(
            mismatch(
                f"{place}: rule",
                f"one of {', '.join(RULES)} on a GPU",
                name,
                f"its kernels are not written yet; {_STAY}",
            )
        )

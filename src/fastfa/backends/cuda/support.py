"""What a GPU does not run yet: refused by name when a network is made or moved."""

from __future__ import annotations

from typing import Any

from ..._internal.checks import mismatch
from .plan import LOSSES, RULES

__all__ = ["check_supported"]

_STAY = 'keep the network on the CPU: device="cpu"'


def check_supported(description: dict[str, Any]) -> None:
    """ValueError for the first thing in a description that a GPU does not run."""
    layers = description["layers"]
    hidden = [i for i, layer in enumerate(layers) if layer["type"] == "dense"][:-1]
    for i in hidden:
        _check_rule(f"layer {i}", layers[i].get("rule") or description["rule"])
    if description["loss"] not in LOSSES:
        raise ValueError(
            mismatch("loss", f"one of {', '.join(LOSSES)} on a GPU", description["loss"],
                     f"its kernels are not written yet; {_STAY}")
        )  # fmt: skip
    if (description.get("loss_options") or {}).get("smoothing"):
        raise ValueError(
            mismatch("loss", "no smoothing on a GPU", str(description["loss_options"]["smoothing"]),
                     f"its kernels are not written yet; {_STAY}")
        )  # fmt: skip
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

"""The entry of the logs that a callback monitors, and which of its values are better."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .checks import choice, plain, quote, show

GREATER_IS_BETTER = ("f1", "auc", "r2")  # besides accuracies
WORST = {"min": math.inf, "max": -math.inf}


def direction(monitor: str, mode: str) -> str:
    """Whether small or large values of `monitor` are better: "min" or "max"."""
    if not isinstance(monitor, str):
        raise TypeError(f"monitor: expected a str, got {show(monitor)}")
    choice("mode", mode, ("auto", "min", "max"))
    if mode != "auto":
        return mode
    greater = "accuracy" in monitor or monitor.removeprefix("val_") in GREATER_IS_BETTER
    return "max" if greater else "min"


def gain(mode: str, value: float, best: float) -> float:
    """By how much `value` is better than `best`."""
    return best - value if mode == "min" else value - best


def entry(what: str, key: str, logs: Mapping[str, float]) -> float:
    """The entry `key` of the logs, or a ValueError that begins with `what`."""
    if key not in logs:
        unseen = key.startswith("val_") and "val_loss" not in logs
        raise ValueError(
            f"{what}: expected one of the logs, {plain(', '.join(logs))}, got {quote(key)}"
            + ("; fit was given no validation_data" if unseen else "")
        )
    return logs[key]

"""The entry of the logs that a callback monitors, and which of its values are better."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .checks import choice, mismatch, plain, quote, show

GREATER_IS_BETTER = ("f1", "auc", "r2")  # besides accuracies
SMALLER_IS_BETTER = ("rmse", "mae", "time", "lr")  # besides losses
WORST = {"min": math.inf, "max": -math.inf, "auto": math.nan}


def direction(monitor: str, mode: str) -> str:
    """Whether small or large values of `monitor` are better: "min" or "max".

    "auto" where nobody can know: then `check_monitor` refuses it before the first step.
    """
    if not isinstance(monitor, str):
        raise TypeError(f"monitor: expected a str, got {show(monitor)}")
    choice("mode", mode, ("auto", "min", "max"))
    if mode != "auto":
        return mode
    name = monitor.removeprefix("val_")
    if "accuracy" in name or name in GREATER_IS_BETTER:
        return "max"
    return "min" if name.endswith("loss") or name in SMALLER_IS_BETTER else "auto"


def check_monitor(monitor: str, mode: str, logs: Mapping[str, float], where: str = "") -> None:
    """Before training: refuse a monitor that no epoch logs, or whose better values are unknown."""
    entry(f"{where}monitor", monitor, logs)
    if mode == "auto":
        expected = f'"min" or "max" for monitor={quote(monitor)}'
        hint = "a name of one's own does not say whether smaller or greater is better"
        raise ValueError(mismatch(f"{where}mode", expected, '"auto"', hint))


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

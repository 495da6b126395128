"""What one call of `Sequential.fit` recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .checks import plain


class History:
    """What one call of ``fit`` recorded.

    Attributes
    ----------
    history : dict of str to list of float
        One entry for each complete epoch: "loss" (mean over the epoch's batches, before each
        update); "accuracy" or "binary_accuracy" if the task has one; the same names with "val_"
        for the validation data at the end of the epoch; the metrics that ``fit`` was asked for,
        measured then too; what callbacks added; "lr", the learning rate of the epoch's last step;
        "time" in seconds.
    epoch : list of int
        Numbers of those epochs, counted over all calls of ``fit`` from 1.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def add(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Record a complete epoch."""
        for key, value in logs.items():
            self.history.setdefault(key, []).append(value)
        self.epoch.append(epoch)  # last: Ctrl-C may interrupt between any two of these lines

    def extend(self, logs: Mapping[str, float]) -> None:
        """Record more of the epoch that was added last."""
        for key, value in logs.items():
            self.history.setdefault(key, []).append(value)

    def _cut(self) -> None:
        """Make all entries as long as the epochs, if an `add` or `extend` was interrupted."""
        for values in self.history.values():
            del values[len(self.epoch) :]
            values += [math.nan] * (len(self.epoch) - len(values))

    def __repr__(self) -> str:
        last = ", ".join(f"{plain(key)} {values[-1]:.4g}" for key, values in self.history.items())
        return f"History({len(self.epoch)} epochs{'; last: ' if last else ''}{last})"

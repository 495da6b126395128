"""What `Sequential.fit` reports: its history, and the hooks that run beside the training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ._checks import choice, flag, integer, number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .sequential import Sequential

__all__ = ["Callback", "EarlyStopping", "History"]


class Callback:
    """Base of all callbacks: override the hooks you need.

    A hook may predict, evaluate, read and write parameters and ``net.lr``, and call ``net.stop()``.
    What it raises comes out of ``fit``. Overriding `on_batch_end` makes ``fit`` return to Python
    after every step, which costs time and changes no bit of the result.
    """

    def on_train_begin(self, net: Sequential) -> None:
        """Called once, before the first step."""

    def on_batch_end(self, net: Sequential, step: int, logs: Mapping[str, float]) -> None:
        """Called after each step.

        Parameters
        ----------
        net : Sequential
        step : int
            Steps taken so far by the network, this one included.
        logs : mapping
            "loss" of the batch before the update, and its accuracy where there is one.
        """

    def on_epoch_end(self, net: Sequential, epoch: int, logs: Mapping[str, float]) -> None:
        """Called after each complete epoch.

        Parameters
        ----------
        net : Sequential
        epoch : int
            Number of the epoch, from 1, counted over all calls of ``fit``.
        logs : mapping
            What the history got for it: "loss", "accuracy", "val_loss", "val_accuracy" where they
            exist, and "time" in seconds.
        """

    def on_train_end(self, net: Sequential) -> None:
        """Called once, after the last epoch or a stop; not when an exception ends the training."""


class EarlyStopping(Callback):
    """Stop when a value has not improved for some epochs.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Which entry of the epoch's logs to watch.
    patience : int >= 1, default 5
        Epochs without improvement after which training stops.
    min_delta : float >= 0, default 0.0
        What counts as an improvement must be greater than this.
    mode : {"auto", "min", "max"}, default "auto"
        Whether smaller or greater is better; "auto": greater for accuracies, else smaller.
    restore_best : bool, default True
        At the end, unless by an exception, put back parameters and feedback as they were after
        the best epoch. Optimizer state and counters stay as they are.

    Attributes
    ----------
    best : float
        Best value of the last training.
    best_epoch, stopped_epoch : int
        Number of the best epoch, and of the one after which it stopped; 0: none.

    Raises
    ------
    ValueError
        From ``fit``, when the logs have no such entry (no validation data, for example).
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be a str, got {monitor!r}")
        self.monitor = monitor
        self.patience = integer("patience", patience, 1)
        self.min_delta = number("min_delta", min_delta, low=0.0)
        choice("mode", mode, ("auto", "min", "max"))
        self.mode = ("max" if "accuracy" in monitor else "min") if mode == "auto" else mode
        self.restore_best = flag("restore_best", restore_best)
        self._snapshot: tuple[dict[str, NDArray[Any]], ...] = ()
        self._begin()

    def __repr__(self) -> str:
        return f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience})"

    def on_train_begin(self, net: Sequential) -> None:
        """Forget the last training."""
        self._begin()

    def on_epoch_end(self, net: Sequential, epoch: int, logs: Mapping[str, float]) -> None:
        """Compare with the best epoch; stop when patience runs out."""
        if self.monitor not in logs:
            raise ValueError(f'monitor "{self.monitor}" is not in the logs, which have '
                             f"{', '.join(logs)}")  # fmt: skip
        value = logs[self.monitor]
        if self._improves(value):
            self.best, self.best_epoch, self._waited = value, epoch, 0
            if self.restore_best:
                self._snapshot = _copies(net)
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.stopped_epoch = epoch
            net.stop()

    def on_train_end(self, net: Sequential) -> None:
        """Put the best epoch's parameters and feedback back."""
        for live, copies in zip((net.parameters, net.feedback), self._snapshot, strict=False):
            for key, value in copies.items():
                live[key] = value
        self._snapshot = ()

    def _begin(self) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch = self.stopped_epoch = self._waited = 0
        self._snapshot = ()

    def _improves(self, value: float) -> bool:
        gain = self.best - value if self.mode == "min" else value - self.best
        return gain > self.min_delta  # False for nan


def _copies(net: Sequential) -> tuple[dict[str, NDArray[Any]], ...]:
    return tuple(
        {key: value.copy() for key, value in live.items()}
        for live in (net.parameters, net.feedback)
    )


class History:
    """What one call of ``fit`` recorded.

    Attributes
    ----------
    history : dict of str to list of float
        One entry for each complete epoch: "loss" (mean over the epoch's batches, before each
        update), "accuracy" or "binary_accuracy" where there is one, the same after "val_" from the
        validation data at the end of the epoch, and "time" in seconds.
    epoch : list of int
        Numbers of those epochs, counted over all calls of ``fit`` from 1.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def add(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Record a complete epoch."""
        self.epoch.append(epoch)
        for key, value in logs.items():
            self.history.setdefault(key, []).append(value)

    def __repr__(self) -> str:
        last = ", ".join(f"{key} {values[-1]:.4g}" for key, values in self.history.items())
        return f"History({len(self.epoch)} epochs{'; last: ' if last else ''}{last})"

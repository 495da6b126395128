"""Stopping when a value has not improved for some epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._internal.attributes import hints_keywords
from .._internal.checks import flag, integer, number
from .._internal.monitoring import WORST, check_monitor, direction, entry, gain
from .base import RecordingCallback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .._internal.model import Model


class EarlyStopping(RecordingCallback):
    """Stop when a value has not improved for some epochs.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Which entry of the epoch's logs to watch.
    patience : int >= 1, default 5
        Epochs without improvement after which training stops.
    min_delta : float >= 0, default 0.0
        An improvement must be greater than this.
    mode : {"auto", "min", "max"}, default "auto"
        Whether smaller or greater is better. "auto": smaller for losses, rmse and mae, greater for
        accuracies, f1, auc and r2; a name of your own needs "min" or "max".
    restore_best : bool, default True
        At the end of training, also by Ctrl-C or another exception, restore parameters and feedback
        of the best epoch. Optimizer state and counters do not change.

    Attributes
    ----------
    best : float
        Best value of the last training.
    best_epoch, stopped_epoch : int
        Number of the best epoch, and of the one after which it stopped; 0: none.
    best_weights, best_feedback : dict of str to ndarray, or None
        Copies of ``net.parameters`` and ``net.feedback`` after the best epoch of the last training,
        with any `restore_best`; ``net.parameters[key] = best_weights[key]`` restores them. None
        before the first epoch.

    Raises
    ------
    ValueError
        From ``fit``, before its first step: the logs will have no such entry, for example without
        validation data. Or nothing says which of its values are better.
    """

    _SETTINGS = ("monitor", "patience", "min_delta", "mode", "restore_best")

    @hints_keywords("EarlyStopping")
    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        self.monitor = monitor
        self.mode = direction(monitor, mode)
        self.patience = integer("patience", patience, 1)
        self.min_delta = number("min_delta", min_delta, low=0.0)
        self.restore_best = flag("restore_best", restore_best)
        self._begin()

    def _begin(self) -> None:
        self.best = WORST[self.mode]
        self.best_epoch = self.stopped_epoch = self._waited = 0
        self.best_weights: dict[str, NDArray[Any]] | None = None
        self.best_feedback: dict[str, NDArray[Any]] | None = None
        self._snapshot: tuple[dict[str, NDArray[Any]], ...] = ()  # to be restored at the end

    def __repr__(self) -> str:
        return f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience})"

    def _check_logs(self, logs: Mapping[str, float]) -> None:
        check_monitor(self.monitor, self.mode, logs)

    def on_train_begin(self, net: Model) -> None:
        """Start a new record."""
        self._begin()

    def on_epoch_end(self, net: Model, epoch: int, logs: Mapping[str, float]) -> None:
        """Compare with the best epoch; stop when patience runs out."""
        value = entry("monitor", self.monitor, logs)
        if gain(self.mode, value, self.best) > self.min_delta:  # False for nan
            copies = _copies(net)  # first, as it takes time: Ctrl-C must find all of these or none
            self.best, self.best_epoch, self._waited = value, epoch, 0
            self.best_weights, self.best_feedback = copies
            self._snapshot = copies if self.restore_best else ()
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.stopped_epoch = epoch
            net.stop()

    def on_train_end(self, net: Model) -> None:
        """Restore parameters and feedback of the best epoch."""
        self._on_exception(net)

    def _on_exception(self, net: Model) -> None:
        for live, copies in zip((net.parameters, net.feedback), self._snapshot, strict=False):
            for key, value in copies.items():
                live[key] = value
        self._snapshot = ()


def _copies(net: Model) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Copies of the parameters and of the feedback."""
    parameters, feedback = (
        {key: value.copy() for key, value in live.items()}
        for live in (net.parameters, net.feedback)
    )
    return parameters, feedback

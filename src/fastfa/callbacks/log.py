"""Handing the logs to a function: that of Weights & Biases, MLflow, or one of your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .._internal.checks import choice, integer, show
from .base import Callback

if TYPE_CHECKING:
    from .._internal.model import Model


class Log(Callback):
    """Call a function with the logs of each epoch, as a dict, and with their number.

    Parameters
    ----------
    function : callable
        Called as ``function(logs, step=n)``, where n counts epochs, or steps, over all calls of
        ``fit`` from 1. ``wandb.log`` and ``mlflow.log_metrics`` are such functions.
    every : int >= 1, default 1
        Number of epochs, or steps, between calls.
    unit : {"epoch", "step"}, default "epoch"
        "step" hands over loss and accuracy of single batches. It makes ``fit`` return to Python
        after every step, which takes time.

    Examples
    --------
    >>> import fastfa as fa
    >>> log = fa.callbacks.Log(lambda logs, step: print(step, sorted(logs)))
    >>> X, y, _, _ = fa.datasets.load("digits")
    >>> net = fa.Sequential([fa.Dense(10)], input_shape=64, rng=0)
    >>> _ = net.fit(X, y, epochs=1, callbacks=[log], verbose=False)
    1 ['accuracy', 'loss', 'lr', 'time']
    """

    _SETTINGS = ("function", "every", "unit")

    def __init__(
        self, function: Callable[..., object], every: int = 1, unit: str = "epoch"
    ) -> None:
        if not callable(function):
            raise TypeError(f"function: expected a function (logs, step), got {show(function)}")
        self.function = function
        self.every = integer("every", every, 1)
        self.unit = choice("unit", unit, ("epoch", "step"))
        if unit == "step":  # on the object: with the hook in the class, `fit` would always call it
            self.on_batch_end = self._hand_over  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"Log({show(self.function)}, every={self.every}, unit={self.unit!r})"

    def on_epoch_end(self, net: Model, epoch: int, logs: Mapping[str, float]) -> None:
        """Call the function if it is time."""
        if self.unit == "epoch":
            self._hand_over(net, epoch, logs)

    def _hand_over(self, net: Model, step: int, logs: Mapping[str, float]) -> None:
        if step % self.every == 0:
            self.function(dict(logs), step=step)

"""The base of all callbacks, and of those that keep a record."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from .._internal.attributes import check_callback

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

# A `Sequential`: its module imports this one. Subclasses may annotate `net: fa.Sequential`.
Net: TypeAlias = Any


class Callback:
    """Base of all callbacks: override the hooks you need.

    A hook may predict, evaluate, save, read and write parameters, feedback and ``net.lr``, read
    ``net.history`` and call ``net.stop()``. ``fit`` raises its exceptions. Overriding
    `on_batch_end` makes ``fit`` return to Python after every step, which takes time but does not
    change the result.

    The callbacks of fastfa keep records, so only one ``fit`` at a time may use such an object; a
    second one that runs at the same time is refused.

    Examples
    --------
    Replacing the feedback during training, here by the weights that it stands for:

    >>> import fastfa as fa
    >>> class Transport(fa.Callback):
    ...     def on_epoch_end(self, net, epoch, logs):
    ...         net.feedback["0.feedback"] = net.parameters["1.weight"].T
    >>> X, y, _, _ = fa.datasets.load("digits")
    >>> layers = [fa.Dense(32, "tanh"), fa.Dense(10)]
    >>> net = fa.Sequential(layers, input_shape=64, rule="fa", rng=0)
    >>> _ = net.fit(X, y, epochs=2, callbacks=[Transport()], verbose=False)
    >>> round(net.alignment(X[:500], y[:500])[0].delta_angle, 1)
    0.0
    """

    _SETTINGS: ClassVar[tuple[str, ...]] = ()  # attributes that only `__init__` may set

    if not TYPE_CHECKING:  # or else type checkers would allow any assignment

        def __setattr__(self, name: str, value: object) -> None:
            """Refuse an assignment that would have no effect, or only part of it."""
            check_callback(self, name, self._SETTINGS)
            object.__setattr__(self, name, value)

    def _check_logs(self, logs: Mapping[str, float]) -> None:
        """Before training: raise an error if the settings do not fit the logs of its epochs."""

    def _resources(self) -> dict[Hashable, str]:
        """What no other ``fit`` may use at the same time: keys, and their names in messages."""
        return {}

    def _on_exception(self, net: Net) -> None:
        """Called instead of the remaining hooks if an exception ends the training."""

    def on_train_begin(self, net: Net) -> None:
        """Called once, before the first step."""

    def on_batch_end(self, net: Net, step: int, logs: Mapping[str, float]) -> None:
        """Called after each step.

        Parameters
        ----------
        net : Sequential
        step : int
            Steps taken so far by the network, this one included.
        logs : mapping
            "loss" of the batch before the update, and its accuracy if the task has one.
        """

    def on_epoch_end(self, net: Net, epoch: int, logs: Mapping[str, float]) -> None:
        """Called after each complete epoch.

        Parameters
        ----------
        net : Sequential
        epoch : int
            Number of the epoch, from 1, counted over all calls of ``fit``.
        logs : mapping
            The epoch's entries in the history: "loss", "accuracy", "val_loss", "val_accuracy" if
            they exist, and "time" in seconds.
        """

    def on_train_end(self, net: Net) -> None:
        """Called once, after the last epoch or a stop; not when an exception ends the training."""


class RecordingCallback(Callback):
    """Base of the callbacks that keep records of a training."""

    def _resources(self) -> dict[Hashable, str]:
        return {id(self): repr(self)}


def file_key(path: str) -> dict[Hashable, str]:
    """The entry of `_resources` for a file that a callback writes."""
    return {("file", os.path.realpath(path)): f"the file {path!r}"}

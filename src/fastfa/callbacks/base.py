"""The base of all callbacks, and of those that keep a record."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from .._internal.attributes import check_callback

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

# A `Sequential`. Its module imports this one, and a callback of yours may say `net: fa.Sequential`.
Net: TypeAlias = Any


class Callback:
    """Base of all callbacks: override the hooks you need.

    A hook may predict, evaluate, save, read and write parameters, feedback and ``net.lr``, read
    ``net.history`` and call ``net.stop()``. What it raises comes out of ``fit``. Overriding
    `on_batch_end` makes ``fit`` return to Python after every step, which costs time and changes no
    bit of the result.

    fastfa's own callbacks keep what they saw, so one object serves one ``fit`` at a time: two that
    run at once are refused. One after another they may share it.

    Examples
    --------
    Feedback that is replaced while the network trains, here by the weights it stands for:

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

    _SETTINGS: ClassVar[tuple[str, ...]] = ()  # what `__init__` checks and derives others from

    if not TYPE_CHECKING:  # which would take it for leave to assign anything

        def __setattr__(self, name: str, value: object) -> None:
            """Refuse what would be taken and do nothing, or half of what it says."""
            check_callback(self, name, self._SETTINGS)
            object.__setattr__(self, name, value)

    def _expect(self, logs: Mapping[str, float]) -> None:
        """Refuse settings that do not fit the logs which epochs will have; nothing has begun."""

    def _holds(self) -> dict[Hashable, str]:
        """What no other ``fit`` may use while one uses this callback, with words for it."""
        return {}

    def _give_up(self, net: Net) -> None:
        """Called instead of the hooks that are left when an exception ends the training."""

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
            "loss" of the batch before the update, and its accuracy where there is one.
        """

    def on_epoch_end(self, net: Net, epoch: int, logs: Mapping[str, float]) -> None:
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

    def on_train_end(self, net: Net) -> None:
        """Called once, after the last epoch or a stop; not when an exception ends the training."""


class RecordingCallback(Callback):
    """A callback that keeps what it saw of a training."""

    def _holds(self) -> dict[Hashable, str]:
        return {id(self): repr(self)}


def file_key(path: str) -> dict[Hashable, str]:
    """What `_holds` says of a file that a callback writes."""
    return {("file", os.path.realpath(path)): f"the file {path!r}"}

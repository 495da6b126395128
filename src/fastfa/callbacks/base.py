"""The base of all callbacks, and of those that keep a record."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from .._internal.attributes import check_callback

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

# A `Sequential`: its module imports this one. Subclasses may annotate `net: fa.Sequential`.
Net: TypeAlias = Any


class Callback:
    """Base of all callbacks: override the hooks you need, or give functions for them.

    A hook may predict, evaluate, save, read and write parameters, feedback and ``net.lr``, read
    ``net.history`` and call ``net.stop()``. ``fit`` raises its exceptions. Overriding
    `on_batch_end` makes ``fit`` return to Python after every step, which takes time but does not
    change the result.

    In `on_epoch_end` a callback may add entries to ``logs``, numbers under the names in its
    attribute ``adds``. They reach the history, the progress bar, and the callbacks after it in the
    list, such as an `EarlyStopping` that monitors one of them. An entry that it does not add in an
    epoch is nan. It cannot change the entries of others.

    The callbacks of fastfa keep records, so only one ``fit`` at a time may use such an object; a
    second one that runs at the same time is refused.

    Parameters
    ----------
    on_train_begin, on_epoch_begin, on_batch_end, on_epoch_end, on_train_end : callable, optional
        Functions with the arguments of the methods below.

    Attributes
    ----------
    adds : sequence of str
        Names of the logs that `on_epoch_end` adds.

    Examples
    --------
    >>> import fastfa as fa
    >>> say = fa.Callback(on_epoch_begin=lambda net, epoch: print("epoch", epoch))

    Replacing the feedback during training, here by the weights that it stands for:

    >>> class Transport(fa.Callback):
    ...     def on_epoch_end(self, net, epoch, logs):
    ...         net.feedback["0.feedback"] = net.parameters["1.weight"].T
    >>> X, y, _, _ = fa.datasets.load("digits")
    >>> layers = [fa.Dense(32, "tanh"), fa.Dense(10)]
    >>> net = fa.Sequential(layers, input_shape=64, rule="fa", rng=0)
    >>> _ = net.fit(X, y, epochs=2, callbacks=[Transport()], verbose=False)
    >>> round(net.alignment(X[:500], y[:500])[0].delta_angle, 1)
    0.0

    A log of one's own, here the norm of the weights, which stops the training:

    >>> class Norm(fa.Callback):
    ...     adds = ["norm"]
    ...     def on_epoch_end(self, net, epoch, logs):
    ...         logs["norm"] = (net.parameters["0.weight"] ** 2).sum() ** 0.5
    >>> stop = fa.EarlyStopping("norm", patience=1, mode="min")
    >>> history = net.fit(X, y, epochs=2, callbacks=[Norm(), stop], verbose=False)
    >>> len(history.history["norm"])
    2
    """

    _SETTINGS: ClassVar[tuple[str, ...]] = ()  # attributes that only `__init__` may set

    adds: Sequence[str] = ()

    def __init__(
        self,
        *,
        on_train_begin: Callable[[Net], object] | None = None,
        on_epoch_begin: Callable[[Net, int], object] | None = None,
        on_batch_end: Callable[[Net, int, dict[str, float]], object] | None = None,
        on_epoch_end: Callable[[Net, int, dict[str, float]], object] | None = None,
        on_train_end: Callable[[Net], object] | None = None,
    ) -> None:
        hooks = {
            "on_train_begin": on_train_begin,
            "on_epoch_begin": on_epoch_begin,
            "on_batch_end": on_batch_end,
            "on_epoch_end": on_epoch_end,
            "on_train_end": on_train_end,
        }
        for name, function in hooks.items():  # on the object: they take no `self`
            if function is not None:
                setattr(self, name, function)

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

    def on_epoch_begin(self, net: Net, epoch: int) -> None:
        """Called before the first step of each epoch.

        After ``net.stop()`` here the epoch does not begin, and `on_epoch_end` is not called.

        Parameters
        ----------
        net : Sequential
        epoch : int
            Number of the epoch, from 1, counted over all calls of ``fit``.
        """

    def on_batch_end(self, net: Net, step: int, logs: dict[str, float]) -> None:
        """Called after each step.

        Parameters
        ----------
        net : Sequential
        step : int
            Steps taken so far by the network, this one included.
        logs : dict
            "loss" of the batch before the update, and its accuracy if the task has one.
        """

    def on_epoch_end(self, net: Net, epoch: int, logs: dict[str, float]) -> None:
        """Called after each complete epoch.

        Parameters
        ----------
        net : Sequential
        epoch : int
            Number of the epoch, from 1, counted over all calls of ``fit``.
        logs : dict
            The epoch's entries in the history (see `History`), and what earlier callbacks added.
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

"""Saving a network while it trains."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._internal.attributes import hints_keywords
from .._internal.checks import flag, integer, show
from .._internal.monitoring import WORST, check_monitor, direction, entry, gain
from .._internal.paths import check_folder, file_name
from .base import RecordingCallback, file_key

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from .._internal.model import Model


class Checkpoint(RecordingCallback):
    """Save the network during training, so that an interrupted run can continue from its file.

    `load` makes a network that continues from the end of that epoch, with the bits of an
    uninterrupted run. Put this callback last: the file does not have what later callbacks change.
    If two of them would write to one path at the same time, the second is refused.

    Parameters
    ----------
    path : path-like
        May have the epoch's number and its logs as format fields: "net-{epoch:03d}.safetensors",
        "{val_loss:.4f}.safetensors". Without a field each file replaces the last one atomically: a
        run that is killed leaves a complete file.
    every : int >= 1, default 1
        Number of epochs between checks, counted over all calls of ``fit``.
    monitor : str, optional
        With save_best_only: which entry of the epoch's logs to watch.
    mode : {"auto", "min", "max"}, default "auto"
        As for `EarlyStopping`.
    save_best_only : bool, default False
        Save only if `monitor` is better than at all earlier saves.

    Attributes
    ----------
    best : float
        Best value of all calls of ``fit`` with this object, also for several networks. A new object
        has none: set it when training continues from a file.
    saved : str or None
        The last file that was written.

    Raises
    ------
    OSError
        From ``fit``: the file cannot be written. The training ends, because hours without a file
        would be worse; the network, ``net.history`` and the last file are there.
    ValueError
        From ``fit``, before its first step: the logs will have no such entry, or nothing says which
        of its values are better.

    Examples
    --------
    >>> import fastfa as fa
    >>> X, y, _, _ = fa.datasets.load("digits")
    >>> net = fa.Sequential([fa.Dense(32, "tanh"), fa.Dense(10)], input_shape=64, rng=0)
    >>> keep = fa.Checkpoint("net.safetensors")
    >>> net.fit(X, y, epochs=10, callbacks=[keep])  # doctest: +SKIP

    After a crash at any time, also while a file was written or after the last epoch:

    >>> net = fa.load("net.safetensors")  # doctest: +SKIP
    >>> net.fit(X, y, epochs=10 - net.epochs, callbacks=[keep])  # doctest: +SKIP
    """

    _SETTINGS = ("path", "every", "monitor", "mode", "save_best_only")

    @hints_keywords("Checkpoint")
    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int = 1,
        monitor: str | None = None,
        mode: str = "auto",
        save_best_only: bool = False,
    ) -> None:
        self.path = os.fsdecode(file_name(path))
        self._fields = _fields(self.path)
        self.every = integer("every", every, 1)
        self.monitor = monitor
        self.mode = direction("" if monitor is None else monitor, mode)
        self.save_best_only = flag("save_best_only", save_best_only)
        if self.save_best_only != (monitor is not None):
            raise ValueError(
                "monitor: expected it together with save_best_only=True or neither, "
                f"got monitor={show(monitor)}, save_best_only={self.save_best_only}"
            )
        self.best = WORST[self.mode]
        self.saved: str | None = None

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r}, every={self.every}, monitor={self.monitor!r})"

    def _resources(self) -> dict[Hashable, str]:
        return super()._resources() | file_key(self.path)

    def _check_logs(self, logs: Mapping[str, float]) -> None:
        self._name(1, logs)
        if self.monitor is not None:
            check_monitor(self.monitor, self.mode, logs)
        if not self._fields and os.path.isdir(self.path):
            raise IsADirectoryError(
                f"path: expected the name of a file, got the folder {self.path}"
            )
        folder = os.path.dirname(self.path)
        if "{" not in folder:
            check_folder(self.path)

    def _name(self, epoch: int, logs: Mapping[str, float]) -> str:
        """The file of an epoch."""
        known = {"epoch": epoch, **logs}
        return self.path.format(**{f: entry("path: field", f, known) for f in self._fields})

    def on_epoch_end(self, net: Model, epoch: int, logs: Mapping[str, float]) -> None:
        """Save if it is time; in any case raise an error if the path or the monitor is wrong."""
        name = self._name(epoch, logs)
        value = None if self.monitor is None else entry("monitor", self.monitor, logs)
        if epoch % self.every:
            return
        if value is None:
            net.save(name)
        elif gain(self.mode, value, self.best) > 0:  # False for nan
            net.save(name)
            self.best = value
        else:
            return
        self.saved = name


def _fields(path: str) -> set[str]:
    """The names in the format fields of a path, which must take numbers."""
    from string import Formatter  # here, so that importing fastfa imports NumPy only

    try:
        names = {name for _, name, _, _ in Formatter().parse(path) if name is not None}
        path.format(**{name: 1 if name == "epoch" else 1.0 for name in names})
        odd = sorted(name for name in names if not name.isidentifier())
        reason = f'"{odd[0]}" is not a name' if odd else ""
    except (ValueError, LookupError, AttributeError) as error:
        reason = str(error)
    if reason:
        raise ValueError(
            "path: expected braces only around the epoch and names of logs, such as {epoch:03d} "
            f"or {{val_loss:.4f}}, others doubled, got {show(path)}; {reason}"
        )
    return names

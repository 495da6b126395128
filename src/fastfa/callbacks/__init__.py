"""What `Sequential.fit` reports: its history, and the hooks that run beside the training."""

from __future__ import annotations

import math
import os
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

from .._internal import diagnostics
from .._internal.attributes import check_callback
from .._internal.checks import choice, flag, integer, number, plain, quote, show
from .._internal.files import check_folder, file_name
from .._internal.progress import warn
from .._internal.text_files import append_lines, first_line

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from ..sequential import Sequential

__all__ = [
    "Alignment",
    "AlignmentWarning",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
]

_WORST = {"min": math.inf, "max": -math.inf}


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

    def _give_up(self, net: Sequential) -> None:
        """Called instead of the hooks that are left when an exception ends the training."""

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


class _Keeping(Callback):
    """A callback that keeps what it saw of a training."""

    def _holds(self) -> dict[Hashable, str]:
        return {id(self): repr(self)}


class EarlyStopping(_Keeping):
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
        At the end, however it comes, also by Ctrl-C or another exception, put back parameters and
        feedback as they were after the best epoch. Optimizer state and counters stay as they are.

    Attributes
    ----------
    best : float
        Best value of the last training.
    best_epoch, stopped_epoch : int
        Number of the best epoch, and of the one after which it stopped; 0: none.
    best_weights, best_feedback : dict of str to ndarray, or None
        Copies of ``net.parameters`` and ``net.feedback`` after the best epoch of the last training,
        whatever `restore_best` is, so that ``net.parameters[key] = best_weights[key]`` takes them.
        None: no epoch yet.

    Raises
    ------
    ValueError
        From ``fit``, before its first step: the logs will have no such entry (no validation data,
        for example).
    """

    _SETTINGS = ("monitor", "patience", "min_delta", "mode", "restore_best")

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        self.monitor = monitor
        self.mode = _direction(monitor, mode)
        self.patience = integer("patience", patience, 1)
        self.min_delta = number("min_delta", min_delta, low=0.0)
        self.restore_best = flag("restore_best", restore_best)
        self._begin()

    def _begin(self) -> None:
        self.best = _WORST[self.mode]
        self.best_epoch = self.stopped_epoch = self._waited = 0
        self.best_weights: dict[str, NDArray[Any]] | None = None
        self.best_feedback: dict[str, NDArray[Any]] | None = None
        self._snapshot: tuple[dict[str, NDArray[Any]], ...] = ()  # what is still to be put back

    def __repr__(self) -> str:
        return f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience})"

    def _expect(self, logs: Mapping[str, float]) -> None:
        _entry("monitor", self.monitor, logs)

    def on_train_begin(self, net: Sequential) -> None:
        """Forget the last training."""
        self._begin()

    def on_epoch_end(self, net: Sequential, epoch: int, logs: Mapping[str, float]) -> None:
        """Compare with the best epoch; stop when patience runs out."""
        value = _entry("monitor", self.monitor, logs)
        if _gain(self.mode, value, self.best) > self.min_delta:  # False for nan
            copies = _copies(net)  # all that takes time comes first: Ctrl-C must find both or none
            self.best, self.best_epoch, self._waited = value, epoch, 0
            self.best_weights, self.best_feedback = copies
            self._snapshot = copies if self.restore_best else ()
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.stopped_epoch = epoch
            net.stop()

    def on_train_end(self, net: Sequential) -> None:
        """Put the best epoch's parameters and feedback back."""
        self._give_up(net)

    def _give_up(self, net: Sequential) -> None:
        for live, copies in zip((net.parameters, net.feedback), self._snapshot, strict=False):
            for key, value in copies.items():
                live[key] = value
        self._snapshot = ()


class Checkpoint(_Keeping):
    """Save the network while it trains, so that a run that dies can go on from its last file.

    `load` gives a network that trains on to the bits of an uninterrupted run, from the end of the
    epoch that it was saved after. Put it last among the callbacks: what those after it change is
    not in the file. Of two that would write one path while both train, the second is refused.

    Parameters
    ----------
    path : path-like
        May hold the epoch's number and its logs as format fields: "net-{epoch:03d}.safetensors",
        "{val_loss:.4f}.safetensors". Without a field each file takes the place of the one before,
        at once: a run that is killed leaves the last one whole.
    every : int >= 1, default 1
        Look after so many epochs, counted over all calls of ``fit``.
    monitor : str, optional
        With save_best_only: which entry of the epoch's logs to watch.
    mode : {"auto", "min", "max"}, default "auto"
        Whether smaller or greater is better; "auto": greater for accuracies, else smaller.
    save_best_only : bool, default False
        Save only when `monitor` is better than at every save before.

    Attributes
    ----------
    best : float
        Best value of this object's life, all calls of ``fit`` together, also of several networks.
        A new object knows none: set it when going on with the file of another.
    saved : str or None
        The file that was written last.

    Raises
    ------
    OSError
        From ``fit``: the file cannot be written. Nobody should find out after hours that nothing
        was kept; network, ``net.history`` and the last file are there.
    ValueError
        From ``fit``, before its first step: the logs will have no such entry.

    Examples
    --------
    >>> import fastfa as fa
    >>> X, y, _, _ = fa.datasets.load("digits")
    >>> net = fa.Sequential([fa.Dense(32, "tanh"), fa.Dense(10)], input_shape=64, rng=0)
    >>> keep = fa.Checkpoint("net.safetensors")
    >>> net.fit(X, y, epochs=10, callbacks=[keep])  # doctest: +SKIP

    After a crash, wherever it came, also while a file was written or after the last epoch:

    >>> net = fa.load("net.safetensors")  # doctest: +SKIP
    >>> net.fit(X, y, epochs=10 - net.epochs, callbacks=[keep])  # doctest: +SKIP
    """

    _SETTINGS = ("path", "every", "monitor", "mode", "save_best_only")

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
        self.mode = _direction("" if monitor is None else monitor, mode)
        self.save_best_only = flag("save_best_only", save_best_only)
        if self.save_best_only != (monitor is not None):
            raise ValueError(
                "monitor and save_best_only=True need each other, "
                f"got monitor={show(monitor)}, save_best_only={self.save_best_only}"
            )
        self.best = _WORST[self.mode]
        self.saved: str | None = None

    def __repr__(self) -> str:
        return f"Checkpoint({self.path!r}, every={self.every}, monitor={self.monitor!r})"

    def _holds(self) -> dict[Hashable, str]:
        return super()._holds() | _file(self.path)

    def _expect(self, logs: Mapping[str, float]) -> None:
        self._name(1, logs)
        if self.monitor is not None:
            _entry("monitor", self.monitor, logs)
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
        return self.path.format(**{f: _entry("path: field", f, known) for f in self._fields})

    def on_epoch_end(self, net: Sequential, epoch: int, logs: Mapping[str, float]) -> None:
        """Save if it is time; find out in any case whether that is possible."""
        name = self._name(epoch, logs)
        value = None if self.monitor is None else _entry("monitor", self.monitor, logs)
        if epoch % self.every:
            return
        if value is None:
            net.save(name)
        elif _gain(self.mode, value, self.best) > 0:  # False for nan
            net.save(name)
            self.best = value
        else:
            return
        self.saved = name


class AlignmentWarning(UserWarning):
    """A hidden layer is taught nothing, or the wrong thing; `Alignment` gives it."""


class Alignment(_Keeping):
    """Record how close each hidden layer's signal is to backpropagation's while the net trains.

    Measures before the first step, then regularly. Warns once, with `AlignmentWarning`, of a
    layer whose deltas are zero, more than 95 degrees from backprop's, or more than 1000 times the
    size of the error in three measurements in a row; the one before the first step does not count.

    Parameters
    ----------
    batch : tuple
        (x, y) or (x, y, sample_weight) to measure on, as for ``net.alignment``. A few hundred
        samples are enough.
    every : int >= 1, default 1
        Measure after so many epochs, or steps.
    unit : {"epoch", "step"}, default "epoch"
        "step" makes ``fit`` return to Python after every step, which costs time.

    Attributes
    ----------
    step : list of int
        Steps the network had taken at each measurement, all calls of ``fit`` together. Another
        network, or one that was reset, begins new lists, here and below.
    epoch : list of int
        Epochs it had begun.
    history : dict of int to dict of str to list of float
        By index of the hidden layer, then by field of ``fa.Alignment`` ("delta_angle", ...): one
        entry for each measurement, nan where there is none.

    Examples
    --------
    >>> import fastfa as fa
    >>> X, y, _, _ = fa.datasets.load("digits")
    >>> net = fa.Sequential([fa.Dense(32, "tanh"), fa.Dense(10)], input_shape=64, rule="dfa", rng=0)
    >>> angles = fa.callbacks.Alignment(batch=(X[:500], y[:500]))
    >>> _ = net.fit(X, y, epochs=3, callbacks=[angles], verbose=False)
    >>> len(angles.history[0]["delta_angle"])
    4
    """

    _SETTINGS = ("batch", "every", "unit")

    def __init__(self, batch: tuple[ArrayLike, ...], every: int = 1, unit: str = "epoch") -> None:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise ValueError(f"batch must be (x, y) or (x, y, sample_weight), got {show(batch)}")
        self.batch = tuple(batch)
        self.every = integer("every", every, 1)
        self.unit = choice("unit", unit, ("epoch", "step"))
        self._begin(None)
        if unit == "step":  # on the object: a class that has the hook is called after each batch
            self.on_batch_end = self._on_batch_end  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"Alignment(every={self.every}, unit={self.unit!r})"

    def _begin(self, seed: int | None) -> None:
        self.step: list[int] = []
        self.epoch: list[int] = []
        self.history: dict[int, dict[str, list[float]]] = {}
        self._watch = diagnostics.Watch()
        self._seed = seed  # of the network that all this is about

    def __copy__(self) -> Alignment:
        return deepcopy(self, {id(self.batch): self.batch})  # with lists of its own

    def on_train_begin(self, net: Sequential) -> None:
        """Measure where the training starts."""
        goes_on = self.step and net.seed == self._seed and net.steps >= self.step[-1]
        if not goes_on:
            self._begin(net.seed)
        if not self.step or self.step[-1] != net.steps:
            self._measure(net)

    def on_epoch_end(self, net: Sequential, epoch: int, logs: Mapping[str, float]) -> None:
        """Measure if it is time."""
        if self.unit == "epoch" and epoch % self.every == 0:
            self._measure(net)

    def _on_batch_end(self, net: Sequential, step: int, logs: Mapping[str, float]) -> None:
        if step % self.every == 0:
            self._measure(net)

    def _measure(self, net: Sequential) -> None:
        rows = net.alignment(*self.batch)
        self.step.append(net.steps)
        self.epoch.append(net.epochs)
        for row in rows:
            fields = row._asdict()
            of_layer = self.history.setdefault(fields.pop("layer"), {})
            for name, value in fields.items():
                of_layer.setdefault(name, []).append(math.nan if value is None else value)
        for message in self._watch.look(net, rows):
            warn(message, AlignmentWarning, raises=True)


class CSVLogger(_Keeping):
    """Write one line of comma-separated values for each epoch: its number, then its logs.

    The file is complete after every epoch, so that a training that dies leaves what it did. Should
    it become impossible to write, on a full disk for example, a warning says so, training goes on,
    and the lines follow as soon as they can.

    Parameters
    ----------
    path : path-like
        Started anew by the first ``fit`` that this object sees; later ones go on.
    append : bool, default False
        Go on in a file that is there already. A last line that a killed training left incomplete is
        taken away.

    Raises
    ------
    OSError
        From ``fit``, before its first step: the file cannot be written.
    ValueError
        From ``fit``, before its first step: the file has other columns.
    """

    _SETTINGS = ("path",)

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path = os.fsdecode(file_name(path))
        self.append = flag("append", append)
        self._columns: list[str] = []
        self._rows: list[list[float]] = []  # that are not in the file
        self._warned = False

    def __repr__(self) -> str:
        return f"CSVLogger({self.path!r})"

    def _holds(self) -> dict[Hashable, str]:
        return super()._holds() | _file(self.path)

    def _expect(self, logs: Mapping[str, float]) -> None:
        check_folder(self.path)
        self._columns = ["epoch", *logs]
        found = first_line(self.path) if self.append else ""
        if not _line(self._columns).startswith(found):  # it may be torn
            raise ValueError(
                f"{self.path}: expected the columns {', '.join(self._columns)}, "
                f"got {show(', '.join(found.rstrip().split(',')))[1:-1]}"
            )

    def on_train_begin(self, net: Sequential) -> None:
        """Start the file, before hours of work that could not be written."""
        self._warned = False
        if not self.append:
            with open(self.path, "wb"):
                self.append = True
        self._write()

    def on_epoch_end(self, net: Sequential, epoch: int, logs: Mapping[str, float]) -> None:
        """Write the epoch's line."""
        self._rows = [*self._rows, [epoch, *logs.values()]]
        try:
            self._write()
        except OSError as error:
            if not self._warned:
                self._warned = True
                warn(
                    f"CSVLogger: {self.path!r} cannot be written, its lines are kept and tried "
                    f"again after each epoch; training goes on: {error}"
                )

    def _write(self) -> None:
        """All rows that the file does not have yet, or none."""
        head = "" if first_line(self.path).endswith("\n") else _line(self._columns)
        append_lines(self.path, head + "".join(map(_line, self._rows)), self._is_whole)
        self._rows = []

    def _is_whole(self, line: str) -> bool:
        return line.count(",") == len(self._columns) - 1 and line != _line(self._columns)[:-1]


def _line(cells: Sequence[object]) -> str:
    import csv  # here, so that importing fastfa imports NumPy and little else
    from io import StringIO

    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _file(path: str) -> dict[Hashable, str]:
    return {("file", os.path.realpath(path)): f"the file {path!r}"}


def _direction(monitor: str, mode: str) -> str:
    """Which values of `monitor` are better: "min" or "max"."""
    if not isinstance(monitor, str):
        raise TypeError(f"monitor must be a str, got {show(monitor)}")
    choice("mode", mode, ("auto", "min", "max"))
    return ("max" if "accuracy" in monitor else "min") if mode == "auto" else mode


def _gain(mode: str, value: float, best: float) -> float:
    return best - value if mode == "min" else value - best


def _entry(what: str, key: str, logs: Mapping[str, float]) -> float:
    if key not in logs:
        unseen = key.startswith("val_") and "val_loss" not in logs
        raise ValueError(
            f"{what} {quote(key)} is not in the logs, which have {plain(', '.join(logs))}"
            + ("; fit was given no validation_data" if unseen else "")
        )
    return logs[key]


def _fields(path: str) -> set[str]:
    """The names in a path's format fields, which must be those of numbers."""
    from string import Formatter  # here, so that importing fastfa imports NumPy only

    try:
        names = {name for _, name, _, _ in Formatter().parse(path) if name is not None}
        path.format(**{name: 1 if name == "epoch" else 1.0 for name in names})
        odd = sorted(name for name in names if not name.isidentifier())
        reason = f'"{odd[0]}" is no name' if odd else ""
    except (ValueError, LookupError, AttributeError) as error:
        reason = str(error)
    if reason:
        raise ValueError(
            "path must have braces only around the epoch and names of logs, such as {epoch:03d} "
            f"or {{val_loss:.4f}}, others doubled, got {show(path)}: {reason}"
        )
    return names


def _copies(net: Sequential) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Of the parameters, and of the feedback."""
    parameters, feedback = (
        {key: value.copy() for key, value in live.items()}
        for live in (net.parameters, net.feedback)
    )
    return parameters, feedback


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
        for key, value in logs.items():
            self.history.setdefault(key, []).append(value)
        self.epoch.append(epoch)  # last: Ctrl-C may come between any two of these lines

    def _cut(self) -> None:
        """Take away what has no number: of an epoch that `add` had not done with."""
        for values in self.history.values():
            del values[len(self.epoch) :]

    def __repr__(self) -> str:
        last = ", ".join(f"{plain(key)} {values[-1]:.4g}" for key, values in self.history.items())
        return f"History({len(self.epoch)} epochs{'; last: ' if last else ''}{last})"

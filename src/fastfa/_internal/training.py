"""One call of ``fit``: epochs, callbacks, validation, history and the progress bar.

The engine runs the steps of an epoch in one call with the GIL released. Every 10 ms it calls back
to move the bar and to ask whether ``net.stop()`` was called.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from ..callbacks import Callback
from ..callbacks.hooks import logs_added, names_added
from .exclusive import Holder
from .history import History
from .progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..backends.protocol import Engine, Sums
    from .metrics import Metrics
    from .model import Model
    from .samples import Batch, Columns

NO_SUMS = (0.0, 0.0, 0, 0)


class Task(NamedTuple):
    """The data of a training, checked, and its settings."""

    data: Batch  # no samples where batches come one by one: see `batches`
    columns: Columns
    metric: str | None
    validation: Batch | None
    validation_metric: str | None
    epochs: int
    batch_size: int
    shuffle: bool
    rows: NDArray[np.int64] | None = None  # the samples that train; None: all
    metrics: Metrics | None = None
    train_metrics: bool = False  # whether they are measured on the training data too
    measured: tuple[Batch, Batch | None] | None = None  # what metrics read; None: data, validation
    augment: tuple[bool, int] | None = None  # flip and crop of an `Augment`

    @property
    def n(self) -> int:
        """Samples of an epoch."""
        return len(self.data.x if self.rows is None else self.rows)

    @property
    def steps(self) -> int:
        """Steps of an epoch; the last batch may be shorter."""
        return math.ceil(self.n / self.batch_size)

    def order(self, shuffled: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """The order of an epoch's samples, where `shuffled` is one of 0..n-1; None: as they are."""
        if self.rows is None:
            return shuffled if self.shuffle else None
        return self.rows[shuffled] if self.shuffle else self.rows


class Training:
    """The state of one call of ``fit``.

    Parameters
    ----------
    net : Sequential
        Passed to the callbacks; gets the history and the columns of the task.
    engine : Engine
    task : Task
    callbacks : sequence of Callback
    rates : callable
        ``rates(count)``: learning rates (count,) of the next steps; None: the engine has one.
    stopped : callable
        ``stopped()``: whether ``net.stop()`` was called.
    """

    def __init__(
        self,
        net: Model,
        engine: Engine,
        task: Task,
        callbacks: Sequence[Callback],
        rates: Callable[[int], NDArray[np.float64] | None],
        stopped: Callable[[], bool],
    ) -> None:
        self.net = net
        self.engine = engine
        self.task = task
        self.callbacks = callbacks
        self.each_batch = [c for c in callbacks if _overrides_batch_end(c)]
        self.rates = rates
        self.stopped = stopped
        self.history = History()
        self.added: list[list[str]] = []  # by each callback: the names of the logs that it adds
        self.rate = engine.lr  # of the last step
        self.shown = 0  # value of engine.steps that the bar shows

    def run(self, holder: Holder, verbose: bool) -> History:
        """Train until the epochs are done or it is stopped."""
        known = self._log_names()
        if self.net._plateau is not None:
            self.net._plateau.check(known)
        for i, callback in enumerate(self.callbacks):
            callback._check_logs(known)
            self.added.append(names_added(callback, known, f"callbacks[{i}]"))
            known = known | dict.fromkeys(self.added[-1], math.nan)
            _hold(holder, callback, f"callbacks[{i}]")
        self.net._history = self.history
        self.net._validator.columns = self.task.columns
        with Progress(self._total(), "step", verbose) as self.bar:
            try:
                self._epochs()
            except BaseException:
                for callback in self.callbacks:
                    callback._on_exception(self.net)
                raise
            finally:
                self.history._cut()
        return self.history

    def _total(self) -> int | None:
        """Steps of all epochs, for the bar; None: nobody knows."""
        return self.task.epochs * self.task.steps

    def _epochs(self) -> None:
        self._call_hooks("on_train_begin")
        self.bar.start()
        for number in range(1, self.task.epochs + 1):
            if not self.stopped():
                self._call_hooks("on_epoch_begin", self.engine.epochs + 1)
            if self.stopped():
                break
            logs = self._epoch(f"epoch {number}/{self.task.epochs}")
            if logs is None:
                break
            self._end_epoch(self.engine.epochs, logs)
        self._call_hooks("on_train_end")

    def _end_epoch(self, epoch: int, logs: dict[str, float]) -> None:
        """Record and show the logs; each callback gets a copy, to which it may add its own.

        The rate of the next epoch comes first, so that a callback that saves has it too.
        """
        if self.net._plateau is not None:
            self.engine.lr = self.net._plateau.next_rate(self.engine.lr, logs)
        self.history.add(epoch, logs)
        self._show(logs)
        for callback, names in zip(self.callbacks, self.added, strict=True):
            own = dict(logs)
            self._call_hook(callback, "on_epoch_end", epoch, own)
            added = logs_added(callback, names, own, logs)
            logs |= added
            self.history.extend(added)
        if any(self.added):
            self._show(logs)

    def _show(self, logs: dict[str, float]) -> None:
        self.bar.show({key: logs[key] for key in logs if key not in ("lr", "time")})

    def _call_hooks(self, hook: str, *arguments: object) -> None:
        """Call a hook of all callbacks."""
        for callback in self.callbacks:
            self._call_hook(callback, hook, *arguments)

    def _call_hook(self, callback: Callback, hook: str, *arguments: object) -> None:
        result = getattr(callback, hook)(self.net, *arguments)
        if inspect.iscoroutine(result) or inspect.isgenerator(result):
            result.close()
            raise TypeError(
                f"{type(callback).__name__}.{hook}: expected work when it is called, got "
                f"{result!r}, which nobody runs"
            )

    def _log_names(self) -> dict[str, float]:
        """The names that the logs of every epoch will have; the values are nan."""
        task, nan = self.task, math.nan
        own = [] if task.metrics is None else task.metrics.names()
        logs = _logs(nan, nan, task.metric) | dict.fromkeys(own if task.train_metrics else [], nan)
        if task.validation is not None:
            logs |= _logs(nan, nan, task.validation_metric, "val_")
            logs |= {f"val_{name}": nan for name in own}
        return {**logs, "lr": nan, "time": nan}

    def _epoch(self, label: str) -> dict[str, float] | None:
        """The logs of one epoch, or None if it was stopped before its end."""
        task, start = self.task, perf_counter()
        self.bar.describe(label)
        sums = self._steps()
        if sums is None:
            return None
        loss_sum, hit_sum, rows, _ = sums
        logs = _logs(loss_sum / rows, hit_sum / rows, task.metric)
        measured = task.measured or (task.data, task.validation)
        if task.metrics and task.train_metrics:
            logs |= task.metrics.measure(self.engine, measured[0], task.rows)
        if task.validation is not None:
            loss, accuracy = self.engine.evaluate(*task.validation, checked=True)
            logs |= _logs(loss, accuracy, task.validation_metric, "val_")
            if task.metrics:
                logs |= task.metrics.measure(self.engine, measured[1], prefix="val_")
        logs["lr"] = self.rate
        logs["time"] = perf_counter() - start
        return logs

    def _order(self) -> NDArray[np.int64] | None:
        """The order of the samples in this epoch; None: as they are."""
        return self.task.order(self.engine.shuffle(self.task.n))  # also if unused: it counts epochs

    def _steps(self) -> Sums | None:
        """All steps of an epoch: in one call, or one by one if a callback needs each.

        None if it was stopped before its end.
        """
        order = self._order()
        if not self.each_batch:
            sums = self._call(order, 0, self.task.steps)
            return sums if sums[3] == self.task.steps else None
        sums = NO_SUMS
        while sums[3] < self.task.steps:
            if self.stopped():
                return None
            sums = self._add_step(sums, self._call(order, sums[3], 1))
        return sums

    def _add_step(self, sums: Sums, step: Sums) -> Sums:
        """The sums with those of one more step, which the callbacks get."""
        loss, hits, rows, _ = step
        logs = _logs(loss / rows, hits / rows, self.task.metric)
        for callback in self.each_batch:
            self._call_hook(callback, "on_batch_end", self.engine.steps, dict(logs))
        return sums[0] + loss, sums[1] + hits, sums[2] + rows, sums[3] + 1

    def _call(self, order: NDArray[np.int64] | None, first: int, count: int) -> Sums:
        """Steps first..first+count-1 of the epoch in the engine."""
        data, size = self.task.data, self.task.batch_size
        train = partial(self.engine.train_steps, checked=True, augment=self.task.augment)

        def steps(rates: NDArray[np.float64] | None) -> Sums:
            if order is None or self.task.rows is None:
                return train(*data, order, size, first, count, rates, self._poll)
            from .subsets import train_on_rows  # here, so that importing fastfa stays short

            return train_on_rows(train, data, order, (size, first, count), rates, self._poll)

        return self._guarded(steps, first, count)

    def _guarded(
        self, train: Callable[[NDArray[np.float64] | None], Sums], first: int, count: int
    ) -> Sums:
        """The result of a call of the engine, whose errors name the epoch and the batch."""
        self.shown = begin = self.engine.steps
        rates = self.rates(count)
        self.rate = self.engine.lr if rates is None else float(rates[-1])
        try:
            result = train(rates)
        except FloatingPointError as error:
            batch = first + self.engine.steps - begin + 1
            if "nothing was updated" not in str(error):  # an update overflowed
                raise FloatingPointError(
                    f"{error} (seen at epoch {self.engine.epochs}, batch {batch})"
                ) from error
            # the text before it: "loss is not finite (nan)", or the gradient norm
            reason = str(error).partition(";")[0]
            raise FloatingPointError(
                f"{reason} at epoch {self.engine.epochs}, "
                f"batch {batch}; the network is as it was before that batch; try a smaller lr"
            ) from None
        self._move_bar()
        return result

    def _poll(self, _: int) -> bool:
        """Called by the engine between steps; True stops the training."""
        self._move_bar()
        return self.stopped()

    def _move_bar(self) -> None:
        steps = self.engine.steps
        self.bar.update(steps - self.shown)
        self.shown = steps


def _hold(holder: Holder, callback: Callback, name: str) -> None:
    """Refuse a callback, or a file that it writes, if another ``fit`` is using it."""
    for key, what in callback._resources().items():
        if holder.take(key):
            continue
        if holder.holds(key):
            raise ValueError(f"{name}: expected {what} once, got it twice; make one for each use")
        raise RuntimeError(
            f"{name}: {what} is in use by another fit that is running; make one for each network"
        )


def _logs(loss: float, accuracy: float, metric: str | None, prefix: str = "") -> dict[str, float]:
    logs = {f"{prefix}loss": loss}
    if metric is not None:
        logs[prefix + metric] = accuracy
    return logs


def _overrides_batch_end(callback: Callback) -> bool:
    method = callback.on_batch_end  # of the object: it may define the hook for itself alone
    return getattr(method, "__func__", method) is not Callback.on_batch_end

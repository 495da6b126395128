"""One call of ``fit``: epochs, callbacks, validation, history and the progress bar.

The engine runs the steps of an epoch in one call with the GIL released. Every 10 ms it calls back
to move the bar and to ask whether ``net.stop()`` was called.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from ..callbacks import Callback
from .exclusive import Holder
from .history import History
from .progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..backends.protocol import Engine, Sums
    from .model import Model
    from .validation import Batch, Columns


class Task(NamedTuple):
    """The data of a training and its settings."""

    data: Batch
    columns: Columns
    metric: str | None
    validation: Batch | None
    validation_metric: str | None
    epochs: int
    batch_size: int
    shuffle: bool

    @property
    def steps(self) -> int:
        """Steps of an epoch; the last batch may be shorter."""
        return math.ceil(len(self.data.x) / self.batch_size)


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
        self.shown = 0  # value of engine.steps that the bar shows

    def run(self, holder: Holder, verbose: bool) -> History:
        """Train until the epochs are done or it is stopped."""
        for i, callback in enumerate(self.callbacks):
            callback._check_logs(self._log_names())
            _hold(holder, callback, f"callbacks[{i}]")
        self.net._history = self.history
        self.net._validator.columns = self.task.columns
        with Progress(self.task.epochs * self.task.steps, "step", verbose) as self.bar:
            try:
                self._epochs()
            except BaseException:
                for callback in self.callbacks:
                    callback._on_exception(self.net)
                raise
            finally:
                self.history._cut()
        return self.history

    def _epochs(self) -> None:
        self._call_hooks("on_train_begin")
        self.bar.start()
        for number in range(1, self.task.epochs + 1):
            if self.stopped():
                break
            logs = self._epoch(f"epoch {number}/{self.task.epochs}")
            if logs is None:
                break
            self.history.add(self.engine.epochs, logs)
            self.bar.show({key: value for key, value in logs.items() if key != "time"})
            self._call_hooks("on_epoch_end", self.engine.epochs, logs)
        self._call_hooks("on_train_end")

    def _call_hooks(self, hook: str, *number_and_logs: object) -> None:
        """Call a hook of all callbacks; each gets its own copy of the logs."""
        for callback in self.callbacks if hook != "on_batch_end" else self.each_batch:
            own = (dict(x) if isinstance(x, dict) else x for x in number_and_logs)
            result = getattr(callback, hook)(self.net, *own)
            if inspect.iscoroutine(result) or inspect.isgenerator(result):
                result.close()
                raise TypeError(
                    f"{type(callback).__name__}.{hook}: expected work when it is called, got "
                    f"{result!r}, which nobody runs"
                )

    def _log_names(self) -> dict[str, float]:
        """The names that the logs of every epoch will have; the values are nan."""
        logs = _logs(math.nan, math.nan, self.task.metric)
        if self.task.validation is not None:
            logs |= _logs(math.nan, math.nan, self.task.validation_metric, "val_")
        return {**logs, "time": math.nan}

    def _epoch(self, label: str) -> dict[str, float] | None:
        """The logs of one epoch, or None if it was stopped before its end."""
        task, start = self.task, perf_counter()
        self.bar.describe(label)
        loss_sum, hit_sum, rows, steps = self._steps(self._order())
        if steps < task.steps:
            return None
        logs = _logs(loss_sum / rows, hit_sum / rows, task.metric)
        if task.validation is not None:
            loss, accuracy = self.engine.evaluate(*task.validation)
            logs |= _logs(loss, accuracy, task.validation_metric, "val_")
        logs["time"] = perf_counter() - start
        return logs

    def _order(self) -> NDArray[np.int64] | None:
        """The order of the samples in this epoch; None: as they are."""
        order = self.engine.shuffle(len(self.task.data.x))  # also if unused: it counts epochs
        return order if self.task.shuffle else None

    def _steps(self, order: NDArray[np.int64] | None) -> Sums:
        """All steps of an epoch: in one call, or one by one if a callback needs each."""
        if not self.each_batch:
            return self._call(order, 0, self.task.steps)
        loss_sum, hit_sum, rows, steps = 0.0, 0.0, 0, 0
        while steps < self.task.steps and not self.stopped():
            loss, hits, m, _ = self._call(order, steps, 1)
            loss_sum, hit_sum, rows, steps = loss_sum + loss, hit_sum + hits, rows + m, steps + 1
            logs = _logs(loss / m, hits / m, self.task.metric)
            self._call_hooks("on_batch_end", self.engine.steps, logs)
        return loss_sum, hit_sum, rows, steps

    def _call(self, order: NDArray[np.int64] | None, first: int, count: int) -> Sums:
        """Steps first..first+count-1 of the epoch in the engine."""
        self.shown = begin = self.engine.steps
        size, rates = self.task.batch_size, self.rates(count)
        try:
            result = self.engine.train_steps(
                *self.task.data, order, size, first, count, rates, self._poll
            )
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

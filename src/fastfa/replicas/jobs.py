"""What a sweep trains: the arguments that all networks share, and one job a setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .._internal.checks import mismatch, show
from ..callbacks import Callback, History
from ..sequential import Sequential
from .results import Replica

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Job", "Plan"]


@dataclass(frozen=True)
class Plan:
    """The arguments of `fit_replicas` that all networks share."""

    build: Callable[..., Sequential]
    callbacks: Callable[[], Sequence[Callback]]
    X: ArrayLike
    y: ArrayLike
    fit: Mapping[str, Any]
    record: bool
    result: Callable[[Sequential, History], Any] | None
    device: str | None = None

    def goes_on(self, error: BaseException) -> bool:
        """Whether the other networks continue after an error."""
        return self.record and isinstance(error, Exception)

    def network(self, job: Job) -> Sequential:
        """The network of a setting, as `build` makes it."""
        if not isinstance(job.setting, Mapping):
            raise TypeError(mismatch(job.name, "a mapping of build's arguments", show(job.setting)))
        net = self.build(**job.setting)
        if not isinstance(net, Sequential):
            raise TypeError(mismatch("build()", "a Sequential", show(net)))
        return net

    def train(self, job: Job, extra: Callback, is_over: Callable[[], bool]) -> None:
        """Train a job's network on one thread; then it has its own number of threads again."""
        net = cast("Sequential", job.net)
        before, threads = net.history, net._threads
        try:
            net.n_threads = 1
            callbacks = [*job.callbacks, extra]
            net.fit(self.X, self.y, verbose=False, callbacks=callbacks, **self.fit)
            job.finished = not (is_over() and net._stopping)
        finally:
            if net.history is not None and net.history is not before:
                job.history = net.history
            net.n_threads = threads
        if job.finished and self.result is not None:
            job.finished = False  # until `result` has not failed
            job.result = self.result(net, job.history)
            job.net, job.finished = None, True


class Job:
    """One setting and its training."""

    def __init__(self, i: int, setting: Mapping[str, Any]) -> None:
        self.number, self.name = i, f"settings[{i}]"
        self.setting = setting
        self.net: Sequential | None = None
        self.callbacks: list[Callback] = []
        self.history = History()
        self.result: Any = None
        self.error: BaseException | None = None
        self.running = self.finished = False

    def replica(self, otherwise: BaseException | None = None) -> Replica:
        """What is returned; `otherwise` is its error if it did not finish and has none."""
        replica = Replica(self.setting, cast("Sequential", self.net), self.history)
        replica.result = self.result
        if not self.finished:
            replica.error = self.error or otherwise
        return replica

    def take(self, replica: Replica) -> None:
        """Become what another process trained, or an earlier call."""
        _, self.net, self.history = replica
        self.result, self.error = replica.result, replica.error
        self.finished = self.error is None

    def fail(self, error: BaseException) -> None:
        """Keep an error, and name the setting in its message or in a note."""
        self.error = error
        where = f"{self.name}, {show(self.setting)}"
        if len(error.args) == 1 and isinstance(error.args[0], str):
            if not error.args[0].startswith("settings["):
                error.args = (f"{where}: {error.args[0]}",)
            elif not error.args[0].startswith(self.name):  # one error of several
                error.add_note(where)
        else:
            error.add_note(where)

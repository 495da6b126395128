"""Networks that train in threads of this process, one network a thread."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from threading import Lock
from time import sleep
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from .._internal.checks import mismatch
from .._internal.progress import Progress
from ..callbacks import Callback
from ..callbacks.hooks import callback_list
from ..sequential import Sequential
from .jobs import Job, Plan

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from ..backends.protocol import Together

__all__ = ["ThreadSweep"]

AHEAD = 2  # networks that are built and wait, for each one that may train


class ThreadSweep:
    """The networks of one call, and what they share.

    Parameters
    ----------
    plan : Plan
    bar : Progress
    done : callable
        ``done(job)`` is called for each job that is finished or has failed, one at a time.
    """

    def __init__(self, plan: Plan, bar: Progress, done: Callable[[Job], None]) -> None:
        self.plan, self.bar, self.done = plan, bar, done
        self.networks: WeakKeyDictionary[Sequential, Job] = WeakKeyDictionary()
        self.held: dict[Hashable, Job] = {}  # by the resources of their callbacks
        self.over = self.began = False
        self.together: Together | None = None  # what the device of the call makes of its networks
        self.lock = Lock()  # one for each call, so that no forked child inherits it locked

    def run(self, pool: Executor, workers: int, jobs: Sequence[Job]) -> None:
        """Build and train all; the first ones train while others are built."""
        waiting = iter(jobs)
        futures = self._submit(pool, waiting, workers * (1 + AHEAD))
        while futures:
            from concurrent.futures import FIRST_COMPLETED, wait

            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                job, failure = futures.pop(future), future.exception()
                if failure is not None and not self.plan.goes_on(failure):
                    raise failure
                self._end(job)
            futures |= self._submit(pool, waiting, workers * (1 + AHEAD) - len(futures))

    def _submit(self, pool: Executor, waiting: Iterator[Job], n: int) -> dict[Future[None], Job]:
        """Build and hand over up to n networks, fewer if one has failed."""
        futures: dict[Future[None], Job] = {}
        while len(futures) < n and not self.over:
            job = next(waiting, None)
            if job is None:
                break
            try:
                self._prepare(job)
                futures[pool.submit(self._train, job)] = job
            except Exception as error:
                job.fail(error)
                if not self.plan.goes_on(error):
                    raise
                self._end(job)
        return futures

    def _end(self, job: Job) -> None:
        """Report a job; another thread may be drawing the bar."""
        if job.net is None:  # `result` has replaced it: only the files of its callbacks count on
            for callback in job.callbacks:
                self.held.pop(id(callback), None)
            job.callbacks = []
        with self.lock:
            self.done(job)
            self.bar.update()

    def _prepare(self, job: Job) -> None:
        net = self.plan.network(job)
        if (other := self.networks.setdefault(net, job)) is not job:
            raise ValueError(
                mismatch("build()", "a new network each time", f"that of {other.name}")
            )
        job.net = net
        job.callbacks = callback_list(self.plan.callbacks())
        for callback in job.callbacks:
            for key, what in callback._resources().items():
                if self.held.setdefault(key, job) is not job:
                    raise ValueError(
                        f"callbacks: expected new ones for each network, got {what}, which serves "
                        f"{self.held[key].name} already"
                    )

    def _train(self, job: Job) -> None:
        job.running = True  # first: either `stop` waits for it, or it sees that all is over
        try:
            if not self.over:
                with self._on_device(job):
                    self.plan.train(job, _Begin(self.bar, self.lock), lambda: self.over)
        except BaseException as error:
            job.fail(error)
            self.over = self.over or not self.plan.goes_on(error)
            raise
        finally:
            job.running = False

    @contextmanager
    def _on_device(self, job: Job) -> Iterator[None]:
        """While a job's network is on the device of the call, where it trains with the others."""
        net = job.net
        if self.plan.device is None or net is None:
            yield
            return
        before = net.device
        net.to(self.plan.device)
        with self.lock:
            if not self.began:
                self.together, self.began = net._backend.together(), True
        group = self.together
        try:
            with group.with_member(net._engine) if group else nullcontext():
                yield
        finally:
            net.to(before)

    def stop(self, jobs: Sequence[Job]) -> None:
        """Keep waiting networks from starting, and stop running ones after their current step."""
        self.over = True
        while running := [job for job in jobs if job.running]:
            for job in running:
                if job.net is not None:
                    job.net.stop()  # repeatedly: a `fit` that is just starting clears the first one
            sleep(0.01)


class _Begin(Callback):
    """Draws the bar once the arguments of the first network are checked."""

    def __init__(self, bar: Progress, lock: Lock) -> None:
        self.bar, self.lock = bar, lock

    def on_train_begin(self, net: Sequential) -> None:
        with self.lock:
            self.bar.start()

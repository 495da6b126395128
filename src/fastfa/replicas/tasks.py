"""Networks that train in the workers of an executor: other processes, or other machines.

A task is a few settings. The data go to each worker about once: the first tasks bring them, a
worker keeps them, and a worker that has none says so and gets its task again with the data.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .._internal.checks import mismatch, show
from .._internal.progress import Progress
from ..callbacks import Callback
from ..callbacks.hooks import callback_list
from .jobs import Job, Plan
from .results import Replica

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from ..sequential import Sequential

__all__ = ["TaskSweep"]

TASKS_PER_WORKER = 8  # few enough to cost little, enough to even out the work
MOST_SETTINGS = 100  # of a task
KEPT = 2  # plans that a worker keeps
CLOUD = ("distributed", "joblib", "loky")  # executors that send functions by cloudpickle

Answer = tuple[list[tuple[int, Replica]], "BaseException | None"]


class TaskSweep:
    """The networks of one call, trained by an executor; the interface of `ThreadSweep`."""

    def __init__(self, plan: Plan, bar: Progress, done: Callable[[Job], None]) -> None:
        self.plan, self.bar, self.done = plan, bar, done
        self.futures: dict[Future[Answer | None], list[Job]] = {}

    def run(self, executor: Executor, jobs: Sequence[Job]) -> None:
        """Train all jobs; their results come as tasks are finished."""
        from concurrent.futures import FIRST_COMPLETED, wait

        dumps = _pickler(executor)
        data = _dumped(dumps, self.plan, jobs)
        from uuid import uuid4  # here, so that importing fastfa imports NumPy only

        workers, key = _workers(executor), uuid4().hex
        self.bar.start()

        def submit(part: list[Job], with_data: bytes | None) -> None:
            settings = dumps([(job.number, job.setting) for job in part])
            self.futures[executor.submit(train_task, key, with_data, settings)] = part

        for i, part in enumerate(_parts(jobs, workers)):
            submit(part, data if i < workers else None)
        while self.futures:
            done = wait(self.futures, return_when=FIRST_COMPLETED).done
            for future in sorted(done, key=_failed):  # first what can be kept
                part, answer = self.futures.pop(future), future.result()
                if answer is None:
                    submit(part, data)
                else:
                    self._take(part, answer)

    def _take(self, part: Sequence[Job], answer: Answer) -> None:
        replicas, error = answer
        by_number = {job.number: job for job in part}
        for number, replica in replicas:
            job = by_number[number]
            job.take(replica)
            self.done(job)
            self.bar.update()
        if error is not None:
            raise error

    def stop(self, jobs: Sequence[Job]) -> None:
        """Cancel the tasks that have not begun; others end by themselves."""
        for future in self.futures:
            future.cancel()


def _failed(future: Future[Answer | None]) -> bool:
    return future.cancelled() or future.exception() is not None


def _parts(jobs: Sequence[Job], workers: int) -> Iterator[list[Job]]:
    size = -(-len(jobs) // (TASKS_PER_WORKER * workers))
    size = min(max(size, 1), MOST_SETTINGS)
    for i in range(0, len(jobs), size):
        yield list(jobs[i : i + size])


def _workers(executor: Executor) -> int:
    """How many workers an executor has, or about as many."""
    for name in ("_max_workers", "num_workers"):
        n = getattr(executor, name, None)
        if isinstance(n, int) and n > 0:
            return n
    return os.cpu_count() or 1


# ---- what is sent ------------------------------------------------------------------------------


def _pickler(executor: Executor) -> Callable[[Any], bytes]:
    """The function by which this executor's library turns functions into bytes."""
    if type(executor).__module__.partition(".")[0] in CLOUD:
        try:
            from cloudpickle import dumps
        except ImportError:
            from joblib.externals.cloudpickle import dumps
        return dumps  # type: ignore[no-any-return]
    return pickle.dumps


def _dumped(dumps: Callable[[Any], bytes], plan: Plan, jobs: Sequence[Job]) -> bytes:
    """The plan in bytes; an error names what cannot be sent, before anything starts."""
    for job in jobs:
        _check(dumps, job.name, job.setting)
    try:
        return dumps(plan)
    except Exception:
        named = {"build": plan.build, "callbacks": plan.callbacks, "result": plan.result}
        for name, value in {**named, "X": plan.X, "y": plan.y, **plan.fit}.items():
            _check(dumps, name, value)
        raise


def _check(dumps: Callable[[Any], bytes], name: str, value: object) -> None:
    try:
        dumps(value)
    except Exception as error:
        hint = f"it cannot be pickled: {error}"
        if callable(value):
            hint += "; define the function at the top level of a module"
        raise TypeError(
            mismatch(name, "an object that can be sent to the workers", show(value), hint)
        ) from error


# ---- in a worker -------------------------------------------------------------------------------

_plans: dict[str, Plan] = {}  # by the key of the call


def train_task(key: str, data: bytes | None, settings: bytes) -> Answer | None:
    """Train some settings; None if this worker has no data. Called in a worker.

    Returns
    -------
    replicas : list of (int, Replica)
        By the number of the setting.
    error : BaseException or None
        What ended the task, if errors are not recorded.
    """
    if data is not None:
        _plans[key] = pickle.loads(data)
        while len(_plans) > KEPT:
            del _plans[next(iter(_plans))]
    if key not in _plans:
        return None
    plan, replicas = _plans[key], []
    for number, setting in pickle.loads(settings):
        job = Job(number, setting)
        try:
            job.net = plan.network(job)
            job.callbacks = callback_list(plan.callbacks())
            plan.train(job, Callback(), lambda: False)
        except Exception as error:
            job.fail(error)
            job.error = error = _sendable(error)
            job.net = _sendable_network(job.net)
            replicas.append((number, job.replica()))
            if not plan.goes_on(error):
                return replicas, error
        else:
            replicas.append((number, job.replica()))
    return replicas, None


def _sendable(error: Exception) -> Exception:
    """An error that arrives in the calling process as it is here."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = None
    if type(copy) is type(error) and copy.args == error.args:
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def _sendable_network(net: Sequential | None) -> Sequential | None:
    """A network, or None where its values are not finite: then it cannot be pickled."""
    try:
        pickle.dumps(net)
    except FloatingPointError:
        return None
    return net

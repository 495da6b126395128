"""`fit_replicas`: its arguments, and the choice between threads and an executor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .._internal.checks import choice, entries, flag, integer, mismatch, show
from .._internal.progress import Progress, shows_bar
from .._internal.threads import get_num_threads
from ..backends import choose
from ..callbacks import Callback, History
from ..sequential import Sequential
from .jobs import Job, Plan
from .results import Replicas
from .store import Finished
from .tasks import TaskSweep
from .threads import ThreadSweep

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import ArrayLike

__all__ = ["fit_replicas"]


def fit_replicas(
    build: Callable[..., Sequential],
    settings: Sequence[Mapping[str, Any]],
    X: ArrayLike,
    y: ArrayLike,
    *,
    callbacks: Callable[[], Sequence[Callback]] = tuple,
    n_workers: int | None = None,
    verbose: bool | None = None,
    on_error: str = "raise",
    executor: Executor | None = None,
    device: str | None = None,
    result: Callable[[Sequential, History], Any] | None = None,
    path: str | os.PathLike[str] | None = None,
    **fit: Any,
) -> Replicas:
    """Train one network a setting over the same data, several at a time.

    Each network trains in its own thread, on that thread alone. They share the data in memory, and
    each has the bits of a training alone. Small networks gain more from this than from several
    threads each.

    Parameters
    ----------
    build : callable
        ``build(**setting)`` returns a new `Sequential`. It is called in the calling thread in the
        order of the settings, while the first networks train already.
    settings : sequence of mappings
        Arguments of `build`, such as ``[{"rng": seed, "lr": 0.1} for seed in range(64)]``.
    X, y : array_like
        As for `Sequential.fit`. Pass arrays of the networks' dtype, contiguous, to share them.
    callbacks : callable, optional
        Makes the callbacks of one network, ``lambda: [EarlyStopping()]``. It is called once for
        each network, in the order of the settings, because callbacks keep records. They run in the
        network's thread. Each network needs its own path for a `Checkpoint` or `CSVLogger`:
        ``names = iter(...)``, ``lambda: [Checkpoint(next(names))]``.
    n_workers : int, optional
        Networks at a time; by default `get_num_threads()`.
    verbose : bool, optional
        Show one progress bar over all networks, as `Sequential.fit` does.
    on_error : {"raise", "record"}, default "raise"
        What to do if a network cannot be built, diverges, or fails otherwise. "raise": stop the
        others after their current step and raise. "record": continue; the exception is the
        ``error`` of its `Replica`.
    executor : concurrent.futures.Executor, optional
        Trains the networks in its workers: processes of this machine or others, such as a
        ``ProcessPoolExecutor``, that of loky, Dask's ``client.get_executor()``, or mpi4py's
        ``MPIPoolExecutor``. A task is up to 100 settings, and each network trains on one thread.
        All arguments must be such that pickle can send them to the workers; the data are sent to
        each about once. `build` and `callbacks` are called there. The executor is not shut down.
    device : str, optional
        Where the networks train: each is moved there for its training, and back. On a GPU,
        "cuda" or "cuda:1", they train at the same time, each on one multiprocessor; up to
        512 of them, or `n_workers`, in threads that launch their steps together.
    result : callable, optional
        ``result(net, history)`` is called after each training, where the network is; its value is
        the ``result`` of the `Replica`, and the network is not kept. For sweeps of thousands.
    path : path-like, optional
        A file to which each finished network adds a line: setting, history and result. Called
        again with the same settings, `fit_replicas` trains only those that the file has not, so a
        sweep that was killed goes on. Networks themselves are not in it; failed ones train again.
        Settings and results must be numbers, texts, lists and mappings, or the network counts as
        failed; rules and the like are kept as text. The file does not know the data, nor what
        `result` computes: take another one for others.
    **fit
        Passed on to `Sequential.fit`: epochs, batch_size, validation_data, sample_weight, shuffle,
        metrics, train_metrics, class_weight, validation_split, augment.

    Returns
    -------
    Replicas
        A list of `Replica`, in the order of the settings.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        Building or training a network failed; the message or a note names the setting.
    KeyboardInterrupt
        Ctrl-C: every network stops after its current step.

    Notes
    -----
    An exception that is raised while networks train has an attribute ``replicas``: the list that
    would have been returned. Of networks that did not finish, ``error`` is the exception that ended
    the sweep, and ``net`` and ``history`` are in their last state.

    Examples
    --------
    >>> import fastfa as fa
    >>> def build(seed, rule):
    ...     layers = [fa.Dense(32, "tanh"), fa.Dense(10)]
    ...     return fa.Sequential(layers, input_shape=64, rule=rule, rng=seed)
    >>> X, y, *_ = fa.datasets.load("digits")
    >>> settings = [{"seed": s, "rule": r} for r in ("fa", "dfa") for s in range(2)]
    >>> replicas = fa.fit_replicas(build, settings, X, y, epochs=1, verbose=False)
    >>> [replica.setting["rule"] for replica in replicas]
    ['fa', 'fa', 'dfa', 'dfa']
    """
    show_bar, record = shows_bar(verbose), choice("on_error", on_error, _ON_ERROR) == "record"
    _check(build, settings, callbacks, fit)
    _check_executor(executor, n_workers, result, device)
    on_gpu = device is not None and choose(device).device != "cpu"
    workers = MOST_ON_GPU if on_gpu else get_num_threads()
    workers = workers if n_workers is None else integer("n_workers", n_workers, 1)
    jobs = [Job(i, each) for i, each in enumerate(entries("settings", settings, _SETTINGS))]
    finished = None if path is None else Finished(path, fit)
    todo = [job for job in jobs if finished is None or not finished.take(job)]

    def done(job: Job) -> None:
        if finished is not None and job.finished:
            try:
                finished.add(job)
            except TypeError as error:  # of a setting or a result that JSON cannot hold
                job.finished = False
                job.fail(error)
                if not record:
                    raise

    with Progress(len(jobs), "net", show_bar) as bar:
        bar.update(len(jobs) - len(todo))
        plan = Plan(build, callbacks, X, y, fit, record, result, device)
        kind = ThreadSweep if _in_threads(executor) else TaskSweep
        sweep = kind(plan, bar, done)
        try:
            _run(sweep, executor, workers, todo)
        except BaseException as error:
            try:
                sweep.stop(todo)
            finally:
                with suppress(AttributeError):
                    error.replicas = Replicas(job.replica(error) for job in jobs)  # type: ignore[attr-defined]
            raise
    return Replicas(job.replica() for job in jobs)


def _run(
    sweep: ThreadSweep | TaskSweep, executor: Executor | None, workers: int, jobs: Sequence[Job]
) -> None:
    if isinstance(sweep, TaskSweep):
        assert executor is not None
        return sweep.run(executor, jobs)
    if executor is not None:
        return sweep.run(executor, max(1, getattr(executor, "_max_workers", 1)), jobs)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        try:
            return sweep.run(pool, workers, jobs)
        except BaseException:
            sweep.stop(jobs)  # before the pool waits for its threads
            raise


def _in_threads(executor: Executor | None) -> bool:
    from concurrent.futures import ThreadPoolExecutor

    return executor is None or isinstance(executor, ThreadPoolExecutor)


MOST_ON_GPU = 512  # networks at a time, of which each has a thread that waits

_ON_ERROR = ("raise", "record")
_SETTINGS = "a list of mappings of build's arguments"
_FIT = (
    "epochs", "batch_size", "validation_data", "sample_weight", "shuffle", "metrics",
    "train_metrics", "class_weight", "validation_split", "augment",
)  # fmt: skip


def _check(build: object, settings: object, callbacks: object, fit: Mapping[str, Any]) -> None:
    """Check the arguments that do not belong to one setting."""
    if not callable(callbacks):
        raise TypeError(
            "callbacks: expected a function that makes the callbacks of one network, such as "
            f"lambda: [EarlyStopping()], got {show(callbacks)}"
        )
    if not callable(build):
        raise TypeError(f"build: expected a function that makes a Sequential, got {show(build)}")
    if not isinstance(settings, Iterable) or isinstance(settings, (str, Mapping)):
        raise TypeError(f"settings: expected {_SETTINGS}, got {show(settings)}")
    for name in fit:
        if name not in _FIT:
            raise TypeError(f'fit: expected one of {", ".join(_FIT)}, got "{name}"')
    integer("epochs", fit.get("epochs", 1), 0)
    integer("batch_size", fit.get("batch_size", 1), 1)
    flag("shuffle", fit.get("shuffle", True))


def _check_executor(
    executor: object, n_workers: int | None, result: object, device: object
) -> None:
    if result is not None and not callable(result):
        raise TypeError(mismatch("result", "a function of a network and its history", show(result)))
    if executor is None:
        return
    from concurrent.futures import Executor

    if not isinstance(executor, Executor):
        hint = "Dask has one in client.get_executor(), joblib in joblib.externals.loky"
        raise TypeError(mismatch("executor", "a concurrent.futures.Executor", show(executor), hint))
    if device is not None and not _in_threads(executor):
        hint = "let build make networks with device="
        raise ValueError(mismatch("device", "None with executor=", show(device), hint))
    if n_workers is not None:
        raise ValueError(
            mismatch(
                "n_workers", "None with executor=", n_workers, "the executor has its own number"
            )
        )

"""Many networks on one data set: seeds, learning rates, feedback scales; one network a core."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from time import sleep
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ._internal.checks import choice, entries, flag, integer, kind, show
from ._internal.html import html_table
from ._internal.progress import Progress, shows_bar
from ._internal.threads import get_num_threads
from .callbacks import Callback, History
from .callbacks.hooks import callback_list
from .sequential import Sequential

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from numpy.typing import ArrayLike

__all__ = ["Replica", "Replicas", "fit_replicas"]

MAX_SHOWN = 50  # rows of the table that a notebook shows


class _Fields(NamedTuple):
    setting: Mapping[str, Any]
    net: Sequential
    history: History


class Replica(_Fields):
    """One of the networks that `fit_replicas` trained: ``setting, net, history = replica``.

    Attributes
    ----------
    setting : mapping
        The arguments of `build`.
    net : Sequential
        None if it could not be built.
    history : History
        The complete epochs.
    error : BaseException or None
        The exception that ended its training early; None: it finished.
    """

    error: BaseException | None = None

    def __repr__(self) -> str:
        failed = "" if self.error is None else f", error={self.error!r}"
        return f"{super().__repr__()[:-1]}{failed})"


class Replicas(list[Replica]):
    """The list that `fit_replicas` returns; a notebook shows it as a table.

    The table has a row for each network: its setting, epochs, last logs and error.
    """

    def _repr_html_(self) -> str:
        shown = self[:MAX_SHOWN]
        given = [each.setting if isinstance(each.setting, Mapping) else {} for each in shown]
        settings = list(dict.fromkeys(key for setting in given for key in setting))
        logs = list(dict.fromkeys(key for each in shown for key in each.history.history))
        failed = ["error"] * any(each.error is not None for each in shown)
        header = ["#", *map(str, settings), "epochs", *logs, *failed]
        rows = []
        for i, each in enumerate(shown):
            own = [show(given[i][key]) if key in given[i] else "" for key in settings]
            history = each.history.history
            last = [f"{history[key][-1]:.4g}" if history.get(key) else "" for key in logs]
            error = ["" if each.error is None else f"{kind(each.error)}: {each.error}"]
            rows.append([str(i), *own, str(len(each.history.epoch)), *last, *error[: len(failed)]])
        numbers = [0, *range(len(settings) + 1, len(settings) + 2 + len(logs))]
        more = len(self) - len(shown)
        return html_table(header, rows, numbers) + (f"<p>{more} more</p>" if more else "")


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
    **fit
        Passed on to `Sequential.fit`: epochs, batch_size, validation_data, sample_weight, shuffle,
        metrics, train_metrics, class_weight, validation_split.

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
    from concurrent.futures import ThreadPoolExecutor

    workers = get_num_threads() if n_workers is None else integer("n_workers", n_workers, 1)
    show_bar, record = shows_bar(verbose), choice("on_error", on_error, _ON_ERROR) == "record"
    _check(build, settings, callbacks, fit)
    jobs = [_Job(i, each) for i, each in enumerate(entries("settings", settings, _SETTINGS))]
    with ThreadPoolExecutor(workers) as pool, Progress(len(jobs), "net", show_bar) as bar:
        sweep = _Sweep(build, callbacks, (X, y), fit, record, bar)
        try:
            sweep.run(pool, jobs)
        except BaseException as error:
            try:
                sweep.stop(jobs)
            finally:
                with suppress(AttributeError):
                    error.replicas = Replicas(job.replica(error) for job in jobs)  # type: ignore[attr-defined]
            raise
    return Replicas(job.replica() for job in jobs)


_ON_ERROR = ("raise", "record")
_SETTINGS = "a list of mappings of build's arguments"
_FIT = (
    "epochs", "batch_size", "validation_data", "sample_weight", "shuffle", "metrics",
    "train_metrics", "class_weight", "validation_split",
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


class _Job:
    """One setting and its training."""

    def __init__(self, i: int, setting: Mapping[str, Any]) -> None:
        self.name = f"settings[{i}]"
        self.setting = setting
        self.net: Sequential | None = None
        self.callbacks: list[Callback] = []
        self.history = History()
        self.error: BaseException | None = None
        self.running = self.finished = False
        self.future: Future[None] | None = None

    def replica(self, otherwise: BaseException | None = None) -> Replica:
        """The result; `otherwise` is its error if it did not finish and has none."""
        replica = Replica(self.setting, cast("Sequential", self.net), self.history)
        if not self.finished:
            replica.error = self.error or otherwise
        return replica

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


class _Sweep:
    """The state that all networks of one call share."""

    def __init__(
        self,
        build: Callable[..., Sequential],
        callbacks: Callable[[], Sequence[Callback]],
        data: tuple[ArrayLike, ArrayLike],
        fit: Mapping[str, Any],
        record: bool,
        bar: Progress,
    ) -> None:
        self.build, self.callbacks = build, callbacks
        self.data, self.fit, self.record, self.bar = data, fit, record, bar
        self.held: dict[Hashable, _Job] = {}  # by the resources of their callbacks
        self.over = False
        self.lock = Lock()  # one for each call, so that no forked child inherits it locked

    def run(self, pool: Executor, jobs: Sequence[_Job]) -> None:
        """Build and train all; the first ones train while others are built."""
        from concurrent.futures import as_completed

        for job in jobs:
            if self.over:
                break  # one has failed already
            try:
                self._prepare(job)
                job.future = pool.submit(self._train, job)
            except Exception as error:
                job.fail(error)
                if not self._goes_on(error):
                    raise
                self._move_bar()
        futures = {job.future: job for job in jobs if job.future is not None}
        for future in as_completed(futures):
            failure = future.exception()
            if failure is not None and not self._goes_on(failure):
                raise failure
            self._move_bar()

    def _move_bar(self) -> None:
        with self.lock:  # a worker may be drawing it
            self.bar.update()

    def _goes_on(self, error: BaseException) -> bool:
        """Whether the other networks continue."""
        return self.record and isinstance(error, Exception)

    def _prepare(self, job: _Job) -> None:
        if not isinstance(job.setting, Mapping):
            raise TypeError(
                f"{job.name}: expected a mapping of build's arguments, got {show(job.setting)}"
            )
        net = self.build(**job.setting)
        if not isinstance(net, Sequential):
            raise TypeError(f"build(): expected a Sequential, got {show(net)}")
        if (other := self.held.setdefault(("network", id(net)), job)) is not job:
            raise ValueError(f"build(): expected a new network each time, got that of {other.name}")
        job.net = net
        job.callbacks = callback_list(self.callbacks())
        for callback in job.callbacks:
            for key, what in callback._resources().items():
                if self.held.setdefault(key, job) is not job:
                    raise ValueError(
                        f"callbacks: expected new ones for each network, got {what}, which serves "
                        f"{self.held[key].name} already"
                    )

    def _train(self, job: _Job) -> None:
        """Train on one thread; afterwards the network has its own number of threads again."""
        net = cast("Sequential", job.net)
        before, threads = net.history, net._threads
        job.running = True  # first: either `stop` waits for it, or it sees that all is over
        try:
            if self.over:
                return
            net.n_threads = 1
            callbacks = [*job.callbacks, _Begin(self.bar, self.lock)]
            net.fit(*self.data, verbose=False, callbacks=callbacks, **self.fit)
            job.finished = not (self.over and net._stopping)
        except BaseException as error:
            job.fail(error)
            self.over = self.over or not self._goes_on(error)
            raise
        finally:
            if net.history is not None and net.history is not before:
                job.history = net.history
            net.n_threads = threads
            job.running = False

    def stop(self, jobs: Sequence[_Job]) -> None:
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

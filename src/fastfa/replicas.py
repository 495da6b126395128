"""Many networks over one data set: seeds, learning rates, feedback scales, one network a core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ._checks import flag, integer, show
from ._threads import get_num_threads
from .callbacks import Callback, History
from .sequential import Sequential

if TYPE_CHECKING:
    from concurrent.futures import Future

    from numpy.typing import ArrayLike

__all__ = ["Replica", "fit_replicas"]


class Replica(NamedTuple):
    """One of the networks that `fit_replicas` trained.

    Attributes
    ----------
    setting : mapping
        What its network was built from.
    net : Sequential
    history : History
    """

    setting: Mapping[str, Any]
    net: Sequential
    history: History


def fit_replicas(
    build: Callable[..., Sequential],
    settings: Sequence[Mapping[str, Any]],
    X: ArrayLike,
    y: ArrayLike,
    *,
    callbacks: Callable[[], Sequence[Callback]] = tuple,
    n_workers: int | None = None,
    verbose: bool = True,
    **fit: Any,
) -> list[Replica]:
    """Train one network a setting over the same data, several at a time.

    Each network trains on one thread, in a thread of its own: they share the data in memory, and
    each gives bit for bit what it gives when trained alone. Small networks gain more from this
    than from several threads each.

    Parameters
    ----------
    build : callable
        ``build(**setting)`` returns a new `Sequential`; called in the order of the settings, here,
        while the first networks train already.
    settings : sequence of mappings
        Arguments of `build`, such as ``[{"rng": seed, "lr": 0.1} for seed in range(64)]``.
    X, y : array_like
        As for `Sequential.fit`. Pass arrays of the networks' dtype, contiguous, to share them.
    callbacks : callable, optional
        Makes the callbacks of one network, ``lambda: [EarlyStopping()]``; called once for each,
        because a callback keeps what it saw. They run in the network's thread.
    n_workers : int, optional
        Networks at a time; by default `get_num_threads()`.
    verbose : bool, default True
        Show one progress bar over all networks on stderr.
    **fit
        Passed on to `Sequential.fit`: epochs, batch_size, validation_data, sample_weight, shuffle.

    Returns
    -------
    list of Replica
        In the order of the settings.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        What building or training a network raises; the others stop after their current step.
    KeyboardInterrupt
        Ctrl-C: every network stops after its current step.

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
    from concurrent.futures import ThreadPoolExecutor, as_completed

    workers = get_num_threads() if n_workers is None else integer("n_workers", n_workers, 1)
    show_bar = flag("verbose", verbose)
    if not callable(callbacks):
        raise TypeError(
            "callbacks must be a function that makes the callbacks of one network, such as "
            f"lambda: [EarlyStopping()], got {show(callbacks)}"
        )
    if not callable(build):
        raise TypeError(f"build must be a function that makes a Sequential, got {show(build)}")
    if not isinstance(settings, Iterable) or isinstance(settings, (str, Mapping)):
        raise TypeError(
            f"settings must be a list of mappings of build's arguments, got {show(settings)}"
        )
    settings = list(settings)
    nets: list[Sequential] = []
    futures: list[Future[History]] = []
    with ThreadPoolExecutor(workers) as pool, _bar(len(settings), show_bar) as tick:
        try:
            for i, setting in enumerate(settings):  # the first ones train while others are built
                nets.append(_build(build, i, setting))
                task = fit | {"callbacks": callbacks()}
                futures.append(pool.submit(_fit, nets[-1], X, y, task))
            for future in as_completed(futures):
                future.result()  # raises what its network raised
                tick()
        except BaseException:
            _stop(futures, nets)
            raise
    histories = [future.result() for future in futures]
    return list(map(Replica, settings, nets, histories))


def _build(build: Callable[..., Sequential], i: int, setting: Mapping[str, Any]) -> Sequential:
    if not isinstance(setting, Mapping):
        raise TypeError(
            f"settings[{i}] must be a mapping of build's arguments, got {show(setting)}"
        )
    net = build(**setting)
    if not isinstance(net, Sequential):
        raise TypeError(f"build must return a Sequential, got {show(net)} for settings[{i}]")
    return net


def _fit(net: Sequential, X: ArrayLike, y: ArrayLike, fit: Mapping[str, Any]) -> History:
    """Train on one thread; the network's own number is in force again afterwards."""
    threads = net._threads
    net.n_threads = 1
    try:
        return net.fit(X, y, verbose=False, **fit)
    finally:
        net.n_threads = threads


def _stop(futures: Sequence[Future[History]], nets: Sequence[Sequential]) -> None:
    """Let waiting networks not begin and running ones end after their current step."""
    for future in futures:
        future.cancel()
    while not all(future.done() for future in futures):
        for future, net in zip(futures, nets, strict=True):
            if not future.done():
                net.stop()  # again and again: one that is just beginning clears the first
        _wait(futures)


def _wait(futures: Sequence[Future[History]]) -> None:
    from concurrent.futures import wait

    wait(futures, timeout=0.01)


@contextmanager
def _bar(total: int, verbose: bool) -> Iterator[Callable[[], object]]:
    """A function that moves a progress bar by one network."""
    if not verbose:
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="net", dynamic_ncols=True) as bar:
        yield bar.update

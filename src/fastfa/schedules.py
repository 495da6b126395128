"""Learning rates that change, as plain data: ``fa.SGD(fa.schedules.Cosine(0.1, epochs=50))``.

A schedule takes the place of the number ``lr`` of an optimizer. It says in which unit it counts:
``steps=`` or ``epochs=``, exactly one of them. Steps are all steps that the network has taken;
epochs are those that ``fit`` has begun, so that the rate is the same in a whole epoch, and a step
outside of ``fit`` has the rate of the epoch that began last. Files and pickles hold the schedule,
and a loaded network goes on with it bit for bit. In C such a file has the current rate alone.

``net.lr`` is the rate of the next step, the entry "lr" of the logs that of an epoch's last one.
Setting ``net.lr`` replaces the schedule until ``reset()``. A schedule is a function too: ``s(t)``
is the rate of step or epoch t, counted from 0 (not that of `Plateau`, which follows the logs).

Formulas: docs/MATH.md, "Learning rates".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from ._internal.attributes import fix
from ._internal.checks import Described, integer, mismatch, number, show
from ._internal.monitoring import WORST, check_monitor, direction, entry, gain

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Cosine", "Exponential", "OneCycle", "Plateau", "Schedule", "Step", "Warmup"]


class Schedule(Described):
    """Base of all schedules that are functions of the step or epoch; use one of its subclasses."""

    name: ClassVar[str]

    lr: Any
    steps: int | None
    epochs: int | None

    def __call__(self, t: int) -> float:
        """The learning rate of step or epoch `t` (0: the first)."""
        return self.at(t, t)

    def at(self, step: int, epoch: int) -> float:
        """The learning rate of a step, which is in this epoch; both counted from 0."""
        return float(self.lr) * self._factor(step if self.epochs is None else epoch)

    def _factor(self, t: int) -> float:
        raise NotImplementedError

    @property
    def length(self) -> int:
        """`steps` or `epochs`."""
        return int((self.steps if self.epochs is None else self.epochs) or 0)

    def describe(self) -> dict[str, Any]:
        """Plain data, from which `schedule_from` makes it."""
        return _describe(self)

    def _check(self, **more: float) -> None:
        if (self.steps is None) == (self.epochs is None):
            got = "neither" if self.steps is None else "both"
            raise TypeError(mismatch("steps, epochs", "exactly one of them", got))
        for name in ("steps", "epochs"):
            if getattr(self, name) is not None:
                self._set(**{name: integer(name, getattr(self, name), 1)})
        if not isinstance(self.lr, Schedule):
            self._set(lr=number("lr", self.lr, low=0.0))
        self._set(**{name: number(name, value, low=0.0) for name, value in more.items()})


@dataclass(frozen=True, eq=False, repr=False)
class Cosine(Schedule):
    """From lr down to a floor along half a cosine, and at the floor from then on.

    floor + (lr - floor) (1 + cos(pi t / T)) / 2, T the length: SGDR without restarts, PyTorch's
    ``CosineAnnealingLR``.

    Parameters
    ----------
    lr : float >= 0
        The first rate.
    floor : float >= 0, default 0.0
    steps, epochs : int >= 1
        The length, in one of the two units.

    References
    ----------
    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR (2017).
    """

    name: ClassVar[str] = "cosine"

    lr: float
    floor: float = 0.0
    steps: int | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        self._check(floor=self.floor)

    def at(self, step: int, epoch: int) -> float:
        """The learning rate of a step in an epoch."""
        share = min(step if self.epochs is None else epoch, self.length) / self.length
        return self.floor + (self.lr - self.floor) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True, eq=False, repr=False)
class Step(Schedule):
    """lr times a factor after every so many steps or epochs: lr factor^floor(t / T).

    PyTorch's ``StepLR``.

    Parameters
    ----------
    lr : float >= 0
    factor : float in [0, 1], default 0.1
    steps, epochs : int >= 1
        T, in one of the two units.
    """

    name: ClassVar[str] = "step"

    lr: float
    factor: float = 0.1
    steps: int | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        self._check(factor=number("factor", self.factor, low=0.0, high=1.0))

    def _factor(self, t: int) -> float:
        return float(self.factor ** (t // self.length))


@dataclass(frozen=True, eq=False, repr=False)
class Exponential(Schedule):
    """lr times a factor in so many steps or epochs, a little in each: lr factor^(t / T).

    With T = 1 it is PyTorch's ``ExponentialLR``.

    Parameters
    ----------
    lr : float >= 0
    factor : float in (0, 1]
    steps, epochs : int >= 1
        T, in one of the two units.
    """

    name: ClassVar[str] = "exponential"

    lr: float
    factor: float
    steps: int | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        self._check(factor=number("factor", self.factor, above=0.0, high=1.0))

    def _factor(self, t: int) -> float:
        return float(self.factor ** (t / self.length))


@dataclass(frozen=True, eq=False, repr=False)
class Warmup(Schedule):
    """A rate or another schedule, times a factor that first rises along a line to 1.

    The factor is start + (1 - start) min(t, T) / T, PyTorch's ``LinearLR``. The other schedule
    counts from the first step on, and in its own unit.

    Parameters
    ----------
    lr : float >= 0 or Schedule
        ``Warmup(Cosine(0.1, epochs=50), steps=500)``.
    start : float in [0, 1], default 0.1
        The factor of the first step or epoch.
    steps, epochs : int >= 1
        T, in one of the two units.

    References
    ----------
    Goyal et al., Accurate, large minibatch SGD, arXiv:1706.02677 (2017).
    """

    name: ClassVar[str] = "warmup"

    lr: float | Schedule
    start: float = 0.1
    steps: int | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        self._check(start=number("start", self.start, low=0.0, high=1.0))

    def at(self, step: int, epoch: int) -> float:
        """The learning rate of a step in an epoch."""
        share = min(step if self.epochs is None else epoch, self.length) / self.length
        rate = self.lr.at(step, epoch) if isinstance(self.lr, Schedule) else self.lr
        return rate * (self.start + (1 - self.start) * share)


@dataclass(frozen=True, eq=False, repr=False)
class OneCycle(Schedule):
    """Up to lr and down to almost nothing, both along half a cosine; then as at the end.

    From start lr to lr until t = rise T - 1, to end lr at t = T - 1: PyTorch's ``OneCycleLR`` with
    its defaults. The momentum does not change.

    Parameters
    ----------
    lr : float >= 0
        The largest rate.
    rise : float in [0, 1], default 0.3
        Share of the length in which the rate rises.
    start, end : float >= 0, default 0.04, 4e-6
        First and last rate, as a share of lr.
    steps, epochs : int >= 1
        T, in one of the two units.

    References
    ----------
    Smith and Topin, Super-convergence, arXiv:1708.07120 (2017).
    """

    name: ClassVar[str] = "one_cycle"

    lr: float
    rise: float = 0.3
    start: float = 0.04
    end: float = 4e-6
    steps: int | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        rise = number("rise", self.rise, low=0.0, high=1.0)
        self._check(rise=rise, start=self.start, end=self.end)

    def _factor(self, t: int) -> float:
        top, last = self.rise * self.length - 1, self.length - 1
        if t <= top:
            return _arc(self.start, 1.0, t / top if top > 0 else 1.0)
        share = (t - top) / (last - top) if t < last else 1.0
        return _arc(1.0, self.end, share)


@dataclass(frozen=True, eq=False, repr=False)
class Plateau(Described):
    """lr times a factor whenever an entry of the logs has not improved for some epochs.

    ``fit`` compares after each epoch, before the callbacks; steps outside of ``fit`` take the rate
    as it is. A file has the record too: the best value, and for how long there was no better one.
    PyTorch's ``ReduceLROnPlateau`` with patience - 1 and an absolute threshold.

    Parameters
    ----------
    lr : float >= 0
        The first rate.
    factor : float in [0, 1], default 0.1
    patience : int >= 1, default 10
        Epochs without improvement after which the rate falls.
    monitor : str, default "val_loss"
        Which entry of the epoch's logs to watch. Those that callbacks add come too late: give
        ``fit`` a function by ``metrics=``.
    mode : {"auto", "min", "max"}, default "auto"
        As for `EarlyStopping`.
    min_delta : float >= 0, default 0.0
        An improvement must be greater than this.
    cooldown : int >= 0, default 0
        Epochs after a fall that do not count.
    floor : float >= 0, default 0.0
        The lowest rate.
    """

    name: ClassVar[str] = "plateau"

    lr: float
    factor: float = 0.1
    patience: int = 10
    monitor: str = "val_loss"
    mode: str = "auto"
    min_delta: float = 0.0
    cooldown: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        direction(self.monitor, self.mode)
        self._set(
            lr=number("lr", self.lr, low=0.0),
            factor=number("factor", self.factor, low=0.0, high=1.0),
            patience=integer("patience", self.patience, 1),
            min_delta=number("min_delta", self.min_delta, low=0.0),
            cooldown=integer("cooldown", self.cooldown, 0),
            floor=number("floor", self.floor, low=0.0),
        )

    def describe(self) -> dict[str, Any]:
        """Plain data, from which `schedule_from` makes it."""
        return _describe(self)


class PlateauRecord:
    """How far a network has come with its `Plateau`."""

    def __init__(self, of: Plateau, record: Sequence[float | None] = (None, 0, 0)) -> None:
        self.of = of
        self.mode = direction(of.monitor, of.mode)
        best, waited, rest = record
        self._state = (WORST[self.mode] if best is None else float(best), int(waited or 0),
                       int(rest or 0))  # fmt: skip

    def as_list(self) -> list[float | None]:
        """Plain data: the best value, epochs without a better one, epochs that will not count."""
        best, waited, rest = self._state
        return [best if math.isfinite(best) else None, waited, rest]

    def check(self, logs: Mapping[str, float]) -> None:
        """ValueError if the logs will have no such entry, or nobody knows which value is better."""
        check_monitor(self.of.monitor, self.mode, logs, where="lr: ")

    def next_rate(self, rate: float, logs: Mapping[str, float]) -> float:
        """The rate after an epoch with these logs."""
        best, waited, rest = self._state
        value = entry("lr: monitor", self.of.monitor, logs)
        better = gain(self.mode, value, best) > self.of.min_delta  # False for nan
        best, waited = (value, 0) if better else (best, waited + 1)
        if rest > 0:
            waited, rest = 0, rest - 1
        falls = waited >= self.of.patience
        if falls:
            waited, rest = 0, self.of.cooldown
        self._state = best, waited, rest
        return min(rate, max(rate * self.of.factor, self.of.floor)) if falls else rate


def _arc(first: float, last: float, share: float) -> float:
    """Half a cosine from one value to another."""
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))


# --------------------------------------------------------------------------------- as plain data

SCHEDULES: dict[str, type[Schedule] | type[Plateau]] = {
    each.name: each for each in (Cosine, Step, Exponential, Warmup, OneCycle, Plateau)
}
fix(Schedule, *SCHEDULES.values())


def _describe(schedule: Schedule | Plateau) -> dict[str, Any]:
    values = {each.name: getattr(schedule, each.name) for each in fields(schedule)}  # type: ignore[arg-type]
    inner = values["lr"]
    values["lr"] = inner.describe() if isinstance(inner, Schedule) else inner
    return {"name": schedule.name} | values


def schedule_from(how: object) -> Schedule | Plateau:
    """The schedule that plain data stands for; TypeError or ValueError if none could have."""
    if not isinstance(how, Mapping) or how.get("name") not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {show(how)}")
    values = {key: value for key, value in how.items() if key != "name"}
    if isinstance(values.get("lr"), Mapping):
        values["lr"] = schedule_from(values["lr"])
    return SCHEDULES[how["name"]](**values)


# ------------------------------------------------------------------------------- rates of a network

Rates = Callable[[int], float]


def rate_at(schedule: Rates, step: int, epochs: int) -> float:
    """The checked learning rate of a step; `epochs`: how many `fit` has begun, with this one."""
    if isinstance(schedule, Schedule):
        return schedule.at(step, max(epochs - 1, 0))
    return number(f"lr({step})", schedule(step), low=0.0)


def first_rate(lr: float | Rates | Plateau) -> float:
    """The rate of a new network's first step."""
    if isinstance(lr, Plateau):
        return lr.lr
    return rate_at(lr, 0, 0) if callable(lr) else lr

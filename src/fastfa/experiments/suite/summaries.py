"""One row for each rule on each task: medians, pairs, gap closed, and what is suspicious."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .cost import multiply_adds
from .entries import BACKPROP, FROZEN
from .running import Runs

__all__ = ["Summary", "gap_closed", "sign_test", "summarize"]

MARGIN = 2.0  # points above frozen that a rule must reach
EXPLODED = 50.0  # growth from a layer to the next
NO_GRADIENT = 1e-8  # norm of the reference gradient, below which an angle says nothing
NEAR = 1.0  # points from the best trial


@dataclass
class Summary:
    """The runs of one rule on one task in numbers.

    Attributes
    ----------
    task, rule : str
    reason : str
        Why it does not run; then the numbers are None.
    seeds, diverged : int
    lr : float or None
        The chosen learning rate.
    score, low, high : float or None
        Median, least and greatest score.
    gap_closed : float or None
        (rule - frozen) / (backprop - frozen) of the medians, in %; None if backprop is less than
        `MARGIN` points above frozen.
    above_frozen : float or None
        Median of the differences from frozen, seed by seed.
    wins : int or None
        Seeds on which it beats frozen.
    sign_test : float or None
        Two-sided p of the sign test against frozen.
    angle : float or None
        Of the weights' gradients to the exact ones, the median over seeds of the largest of a
        network, in degrees.
    growth, reference : float or None
        The largest growth, and the least norm of the reference gradient, of all seeds.
    near_best : float or None
        Share of the tried rates within `NEAR` points of the best, on the validation data.
    multiply_adds : int or None
        Of a training step, for one sample.
    seconds : float or None
        Of the training, median.
    suspicious : list of str
        What tells against the rule, however high its score.
    """

    task: str
    rule: str
    reason: str = ""
    seeds: int = 0
    diverged: int = 0
    lr: float | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    gap_closed: float | None = None
    above_frozen: float | None = None
    wins: int | None = None
    sign_test: float | None = None
    angle: float | None = None
    growth: float | None = None
    reference: float | None = None
    near_best: float | None = None
    multiply_adds: int | None = None
    seconds: float | None = None
    suspicious: list[str] | None = None


def summarize(runs: Sequence[Runs]) -> list[Summary]:
    """A summary of each entry on each task, in the order of the runs."""
    by_key = {(each.task, each.entry.text): each for each in runs}
    return [_summary(each, by_key[each.task, BACKPROP], by_key[each.task, FROZEN]) for each in runs]


def gap_closed(score: float, exact: float, floor: float) -> float | None:
    """(rule - frozen) / (backprop - frozen) in %; None if the gap is too small to measure."""
    return 100 * (score - floor) / (exact - floor) if exact - floor >= MARGIN else None


def sign_test(differences: Sequence[float]) -> float:
    """Two-sided p of as many signs or more on one side; zeros do not count."""
    signs = [d > 0 for d in differences if d != 0]
    n, more = len(signs), max(sum(signs), len(signs) - sum(signs))
    tail = sum(math.comb(n, k) for k in range(more, n + 1))
    return min(1.0, tail / float(2 ** (n - 1))) if n else 1.0


def _summary(runs: Runs, exact: Runs, floor: Runs) -> Summary:
    found = Summary(runs.task.name, runs.entry.text, runs.reason)
    if runs.reason:
        return found
    scores = _scores(runs)
    found.seeds, found.lr = len(scores), runs.lr
    found.diverged = sum(final["diverged"] for final in runs.finals)
    found.score, found.low, found.high = median(scores), min(scores), max(scores)
    found.gap_closed = gap_closed(found.score, median(_scores(exact)), median(_scores(floor)))
    differences = [a - b for a, b in zip(scores, _scores(floor), strict=True)]  # the same seeds
    found.above_frozen = median(differences)
    found.wins = sum(d > 0 for d in differences)
    found.sign_test = sign_test(differences)
    found.angle = _middle(max(_numbers(f.get("angles", [])), default=None) for f in runs.finals)
    found.growth = max(_numbers(f.get("growth") for f in runs.finals), default=None)
    found.reference = min(_numbers(f.get("reference") for f in runs.finals), default=None)
    best = max(trial["score"] for trial in runs.trials)
    near = [trial["score"] >= best - NEAR for trial in runs.trials]
    found.near_best = sum(near) / len(near)
    found.multiply_adds = multiply_adds(runs.task(), runs.entry)
    found.seconds = _middle(f.get("seconds") for f in runs.finals)
    found.suspicious = _suspicions(found, runs)
    return found


def _suspicions(of: Summary, runs: Runs) -> list[str]:
    said = []
    if of.diverged:
        said.append(f"{of.diverged} of {of.seeds} diverged")
    is_floor = runs.entry.rule == FROZEN
    if not is_floor and of.above_frozen is not None and of.above_frozen < MARGIN:
        said.append("not 2 points above frozen")
    if of.growth is not None and of.growth > EXPLODED:
        said.append(f"outputs grow {of.growth:.0f} times in a layer")
    if not is_floor and of.reference is not None and of.reference < NO_GRADIENT:
        said.append("the reference gradient vanished, so its angle says nothing")
    rates = sorted(trial["lr"] for trial in runs.trials)
    if not is_floor and len(rates) > 2 and of.lr in (rates[0], rates[-1]):
        said.append(f"best at the {'lowest' if of.lr == rates[0] else 'highest'} rate")
    return said


def _scores(runs: Runs) -> list[float]:
    return [final["score"] for final in runs.finals]


def _numbers(values: Any) -> list[float]:
    return [value for value in values if value is not None]


def _middle(values: Any) -> float | None:
    numbers = _numbers(values)
    return median(numbers) if numbers else None

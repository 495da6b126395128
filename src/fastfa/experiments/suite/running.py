"""Runs the suite: trials of learning rates, the choice, and the runs that count."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..._internal.checks import choice
from ..._internal.progress import shows_bar
from ..._internal.threads import get_num_threads
from ...replicas import Replicas, fit_replicas
from ...rules import RuleWarning
from ...sequential import Sequential
from .entries import Entry, entries_of, find_task
from .measures import Final, Trial
from .tasks import Task, load

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["TIERS", "Runs", "Tier", "best_rate", "estimate", "run"]

TRIAL_SEED = 10_000  # of all trials; runs that count have seeds from 0
TIMED_BATCHES = 8


@dataclass(frozen=True)
class Tier:
    """How much is run.

    Parameters
    ----------
    name : str
    tasks : tuple of str
    trials : int
        Learning rates that every rule may try.
    seeds : int
        Runs at the chosen rate.
    effort : float
        Share of each task's epochs.
    """

    name: str
    tasks: tuple[str, ...]
    trials: int
    seeds: int
    effort: float = 1.0

    def epochs(self, task: type[Task]) -> int:
        """Epochs of a task, the same for all rules."""
        return max(1, round(task.epochs * self.effort))


_SMALL = ("digits", "digits-deep", "digits-image", "digits-rows", "add")
TIERS = {
    tier.name: tier
    for tier in (
        Tier("smoke", ("digits", "add"), trials=3, seeds=2, effort=0.1),
        Tier("quick", _SMALL, trials=6, seeds=10),
        Tier("full", (*_SMALL, "mnist-narrow", "mnist-wide", "mnist-rows"), trials=6, seeds=10),
    )
}


@dataclass
class Runs:
    """The runs of one entry on one task.

    Attributes
    ----------
    task : type of Task
    entry : Entry
    trials : list of dict
        "lr" and "score" on the validation data, for each learning rate.
    lr : float or None
        The chosen rate.
    finals : list of dict
        "seed", "score" on the test data, "diverged", and what `measures.Final` measures.
    reason : str
        Why the entry cannot run on the task; "" if it can.
    """

    task: type[Task]
    entry: Entry
    trials: list[dict[str, Any]] = field(default_factory=list)
    lr: float | None = None
    finals: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""


def run(
    tier: str | Tier = "quick",
    *,
    folder: str | os.PathLike[str],
    tasks: Sequence[str] = (),
    rules: Sequence[str] = (),
    executor: Executor | None = None,
    n_workers: int | None = None,
    verbose: bool | None = None,
) -> list[Runs]:
    """Run the suite, or what is left of it.

    Every rule trains at the same learning rates from one seed; the validation data choose. Then it
    trains from seeds 0, 1, ... at that rate, and the test data are read once.

    Parameters
    ----------
    tier : {"smoke", "quick", "full"} or Tier
    folder : path-like
        Keeps finished runs; the same call goes on from them.
    tasks : sequence of str, optional
        Names, or "module:Class"; by default those of the tier.
    rules : sequence of str, optional
        See `Entry`; by default all. Backprop and frozen always run.
    executor, n_workers
        As for `fit_replicas`.
    verbose : bool, optional
        Show bars and what runs, on stderr.

    Returns
    -------
    list of Runs
        Task by task, in each the rules in their order.
    """
    chosen = tier if isinstance(tier, Tier) else TIERS[choice("tier", tier, TIERS)]
    kinds = [find_task(each) for each in tasks or chosen.tasks]
    entries = {kind: entries_of(kind, rules) for kind in kinds}  # before hours of work
    said = shows_bar(verbose)
    for kind in kinds:
        load(kind)  # its errors, too
    kept = Path(folder)
    kept.mkdir(parents=True, exist_ok=True)
    if said:
        total, workers = estimate(chosen, entries), n_workers or get_num_threads()
        _say(f"about {_minutes(total / workers)} with {workers} at a time; finished runs are kept")
    found = []
    for kind in kinds:
        how = {"executor": executor, "n_workers": n_workers, "verbose": said}
        found += _run_task(chosen, kind, entries[kind], kept, how)
    return found


def _run_task(
    tier: Tier, task: type[Task], entries: Sequence[Entry], folder: Path, how: Mapping[str, Any]
) -> list[Runs]:
    runs = [Runs(task, entry, reason=_refusal(task, entry)) for entry in entries]
    able = [each for each in runs if not each.reason]
    rates = task().tried_rates(tier.trials)
    sweep = partial(_sweep, tier, task, folder, how)
    asked = [(each, lr, TRIAL_SEED) for each in able for lr in rates]
    for (each, lr, _), row in zip(asked, sweep("trial", asked), strict=True):
        each.trials.append({"lr": lr, **row})
    for each in able:
        each.lr = best_rate(each.trials)
    chosen = [(each, each.lr, seed) for seed in range(tier.seeds) for each in able]
    for (each, _, seed), row in zip(chosen, sweep("final", chosen), strict=True):
        each.finals.append({"seed": seed, **row})
    return runs


def best_rate(trials: Sequence[Mapping[str, Any]]) -> float:
    """The rate with the best validation score; the lower of two that are equal."""
    return float(max(trials, key=lambda trial: (trial["score"], -trial["lr"]))["lr"])


def _sweep(
    tier: Tier,
    task: type[Task],
    folder: Path,
    how: Mapping[str, Any],
    part: str,
    asked: Sequence[tuple[Runs, float | None, int]],
) -> list[dict[str, Any]]:
    """Train networks; what was measured of each, in the order that was asked."""
    common = {"task": task.name, "version": task.version, "part": part}
    settings = [
        {**common, "entry": each.entry.text, "lr": lr, "seed": seed} for each, lr, seed in asked
    ]
    if how["verbose"]:
        _say(f"{task.name}: {len(settings)} {part} runs of {tier.epochs(task)} epochs")
    data = load(task)
    found = fit_replicas(
        partial(build, task),
        settings,
        data.X,
        data.y,
        epochs=tier.epochs(task),
        batch_size=task.batch_size,
        result=Trial(task) if part == "trial" else Final(task),
        path=folder / f"{tier.name}-{task.name}.jsonl",
        on_error="record",
        **how,
    )
    return _rows(task, found)


def _rows(task: type[Task], found: Replicas) -> list[dict[str, Any]]:
    """What was measured. A run that diverged has the score of a guess; other errors are raised."""
    rows: list[dict[str, Any]] = []
    for replica in found:
        if replica.error is None:
            rows.append({**replica.result, "diverged": False})
        elif isinstance(replica.error, FloatingPointError):
            rows.append({"score": task.guess, "diverged": True})
        else:
            raise replica.error
    return rows


def build(task: type[Task], /, *, entry: str, lr: float, seed: int, **_: Any) -> Sequential:
    """The network of a run, from the setting that `fit_replicas` keeps."""
    asked = Entry.of(entry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuleWarning)  # the page says what is wrong with a rule
        return task().build(asked.make_rule(), asked.time, lr, seed)


def _refusal(task: type[Task], entry: Entry) -> str:
    """Why a network refuses the entry, or ""."""
    try:
        build(task, entry=entry.text, lr=0.01, seed=0)
    except ValueError as error:
        return str(error)
    return ""


# ---- estimate ----


def estimate(tier: Tier, entries: Mapping[type[Task], Sequence[Entry]]) -> float:
    """Seconds of one core for all runs, from some timed steps of each rule on each task."""
    total = 0.0
    for task, of_task in entries.items():
        data, n = load(task), TIMED_BATCHES * task.batch_size
        measuring = 0.0  # of one network; about the same for all rules
        for entry in of_task:
            if _refusal(task, entry):
                continue
            begin = perf_counter()
            net = build(task, entry=entry.text, lr=1e-4, seed=0)
            net.n_threads = 1
            building = perf_counter() - begin
            history = net.fit(data.X[:n], data.y[:n], 3, task.batch_size, verbose=False)
            training = median(history.history["time"]) * len(data.X) / min(n, len(data.X))
            if not measuring:
                begin = perf_counter()
                Final(task)(net, history)
                measuring = perf_counter() - begin
            one = building + training * tier.epochs(task) + measuring
            total += one * (tier.trials + tier.seeds)
    return total


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _say(text: str) -> None:
    if sys.stderr is not None:
        print(f"suite: {text}", file=sys.stderr, flush=True)

"""The demo: one network, several learning rules, real digits, one table.

For each seed all rules start from the same weights and get the same batches, so they differ in the
rule alone. The baseline is "frozen", whose hidden layers do not learn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from .. import datasets
from .. import plot as drawing
from .._internal.progress import Progress
from ..callbacks import Callback
from ..layers import Dense
from ..optimizers import SGD
from ..sequential import Sequential

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DEFAULT_RULES", "Run", "Settings", "report", "run", "table", "verdict"]

DEFAULT_RULES = ("backprop", "fa", "dfa", "drtp", "frozen")
BASELINE = "frozen"
PROBE_ROWS = 1000  # training samples that the angles are measured on
LEGEND = """\
accuracy: % of the test images, median over seeds. seconds: of training, median over seeds.
angle: degrees from the true gradient in hidden layer 1, 2, ... after training, median."""


@dataclass(frozen=True)
class Settings:
    """The settings of the demo.

    Parameters
    ----------
    rules : tuple of str
        Names of the rules to compare.
    data : str
        "digits", or the path of MNIST as `datasets.load` takes it.
    hidden : tuple of int
        Units of the hidden layers, which are tanh.
    seeds : int
        Seeds 0 .. seeds - 1.
    epochs, batch_size : int
    lr, momentum : float
        Of SGD.
    """

    rules: tuple[str, ...] = DEFAULT_RULES
    data: str = "digits"
    hidden: tuple[int, ...] = (32, 16)
    seeds: int = 5
    epochs: int = 60
    batch_size: int = 32
    lr: float = 0.1
    momentum: float = 0.9


@dataclass
class Run:
    """One rule trained from one seed.

    Attributes
    ----------
    rule : str
    seed : int
    accuracy : float
        On the test set at the end, 0..1.
    seconds : float
        Time of the training, without the measurements.
    samples : int
        Number of samples in that time; each counts once an epoch.
    angles : list of float
        Degrees between the rule's weight gradient and backprop's at the end, one for each hidden
        layer; nan if the layer does not learn.
    accuracy_by_epoch, angles_by_epoch : list
        The same after each epoch, with `by_epoch`.
    """

    rule: str
    seed: int
    accuracy: float = math.nan
    seconds: float = 0.0
    samples: int = 0
    angles: list[float] = field(default_factory=list)
    accuracy_by_epoch: list[float] = field(default_factory=list)
    angles_by_epoch: list[list[float]] = field(default_factory=list)


def run(settings: Settings, *, by_epoch: bool = False, progress: bool = True) -> list[Run]:
    """Train every rule from every seed.

    Parameters
    ----------
    settings : Settings
    by_epoch : bool
        Measure accuracy and angles after each epoch too.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    list of Run
        Rule by rule in the order of the settings, seed by seed.
    """
    data = _load(settings.data)
    runs = [Run(rule, seed) for rule in settings.rules for seed in range(settings.seeds)]
    with Progress(len(runs) * settings.epochs, "epoch", progress) as bar:
        for one in runs:
            bar.describe(f"{one.rule}, seed {one.seed}")
            _train(one, settings, data, by_epoch, bar)
    return runs


def report(settings: Settings, *, plot: str | None = None, progress: bool = True) -> str:
    """Run the demo, draw the plot into a file if asked, and return the table and verdict."""
    if plot is None:
        runs = run(settings, progress=progress)
    else:
        drawing.check(plot)  # before minutes of work
        runs = run(settings, by_epoch=True, progress=progress)
        rules = _by_rule(runs)
        drawing.learning(
            plot,
            accuracy={rule: [one.accuracy_by_epoch for one in of] for rule, of in rules.items()},
            angles={rule: [one.angles_by_epoch for one in of] for rule, of in rules.items()},
        )
    return f"{table(runs)}\n\n{verdict(runs)}"


def table(runs: list[Run]) -> str:
    """One line for each rule: test accuracy, time, speed, angle of each hidden layer."""
    angles = [f"angle {i + 1}" for i in range(len(runs[0].angles))]
    rows = [["rule", "accuracy", "min", "max", "seconds", "samples/s", *angles]]
    rows += [[rule, *_cells(of_rule)] for rule, of_rule in _by_rule(runs).items()]
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [
        "  ".join(
            [rule.ljust(first), *(cell.rjust(n) for cell, n in zip(cells, others, strict=True))]
        )
        for rule, *cells in rows
    ]
    return "\n".join([*lines, "", LEGEND])


def verdict(runs: list[Run]) -> str:
    """Say in one line whether every rule beat the frozen hidden layers from every seed."""
    rules = _by_rule(runs)
    if BASELINE not in rules or len(rules) == 1:
        return f"Nothing to compare: give --rule {BASELINE}, the baseline, and another rule."
    floor = {one.seed: one.accuracy for one in rules.pop(BASELINE)}
    wins = {rule: sum(one.accuracy > floor[one.seed] for one in of) for rule, of in rules.items()}
    n = len(floor)
    if all(won == n for won in wins.values()):
        return f"Every rule beat {BASELINE} on every seed ({n} of {n})."
    below = ", ".join(f"{rule} on {won} of {n}" for rule, won in wins.items() if won < n)
    return f"Not every rule beat {BASELINE} on every seed: {below}."


# ---- one run ----


def _load(data: str) -> datasets.Split:
    return datasets.load("digits") if data == "digits" else datasets.load("mnist", path=data)


def _train(
    one: Run,
    settings: Settings,
    data: datasets.Split,
    by_epoch: bool,
    bar: Progress,
) -> None:
    x_train, y_train, x_test, y_test = data
    net = Sequential(
        [*(Dense(n, "tanh") for n in settings.hidden), Dense(_n_classes(y_train, y_test))],
        input_shape=x_train.shape[1],
        rule=one.rule,
        optimizer=SGD(settings.lr, momentum=settings.momentum),
        rng=one.seed,
    )
    history = net.fit(
        x_train,
        y_train,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        callbacks=[_EveryEpoch(one, data, by_epoch, bar)],
        verbose=False,
    )
    one.seconds = sum(history.history["time"])
    one.samples = settings.epochs * len(x_train)
    one.accuracy = net.evaluate(x_test, y_test)["accuracy"]
    one.angles = _angles(net, data)


class _EveryEpoch(Callback):
    """Moves the bar and measures, if asked. `fit` does not count this as training time."""

    def __init__(self, one: Run, data: datasets.Split, by_epoch: bool, bar: Progress) -> None:
        self.one, self.data, self.by_epoch, self.bar = one, data, by_epoch, bar

    def on_train_begin(self, net: Sequential) -> None:
        self.bar.start()

    def on_epoch_end(self, net: Sequential, epoch: int, logs: Mapping[str, float]) -> None:
        if self.by_epoch:
            _, _, x_test, y_test = self.data
            self.one.accuracy_by_epoch.append(net.evaluate(x_test, y_test)["accuracy"])
            self.one.angles_by_epoch.append(_angles(net, self.data))
        self.bar.update()


def _angles(net: Sequential, data: datasets.Split) -> list[float]:
    x_train, y_train, _, _ = data
    rows = net.alignment(x_train[:PROBE_ROWS], y_train[:PROBE_ROWS])
    return [row.gradient_angle for row in rows]


def _n_classes(*labels: NDArray[np.int64]) -> int:
    return 1 + max(int(y.max()) for y in labels)


# ---- small things ----


def _by_rule(runs: list[Run]) -> dict[str, list[Run]]:
    rules: dict[str, list[Run]] = {}
    for one in runs:
        rules.setdefault(one.rule, []).append(one)
    return rules


def _cells(of_rule: list[Run]) -> list[str]:
    """The cells of the table for one rule."""
    accuracy = [100 * one.accuracy for one in of_rule]
    seconds = [one.seconds for one in of_rule]
    angles = zip(*(one.angles for one in of_rule), strict=True)
    return [
        *(f"{value:.2f}" for value in (median(accuracy), min(accuracy), max(accuracy))),
        f"{median(seconds):.2f}",
        f"{sum(one.samples for one in of_rule) / sum(seconds):,.0f}",
        *("-" if math.isnan(middle) else f"{middle:.1f}" for middle in map(median, angles)),
    ]

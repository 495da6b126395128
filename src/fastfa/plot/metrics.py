"""Learning curves: the metrics that `fit` recorded, over the epochs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import callbacks
from .._internal.arrays import quiet
from .._internal.checks import choice, entries, flag, mismatch, show
from .panels import add_legend, bands, finish, given_panels, row_of_panels, write
from .recorded import by_name, stack

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

METRICS = {  # that are drawn unless the caller names others: the label, and a factor
    "accuracy": ("accuracy (%)", 100.0),
    "binary_accuracy": ("binary accuracy (%)", 100.0),
    "loss": ("loss", 1.0),
}


@quiet()
def curves(
    histories: callbacks.History | Mapping[str, Any],
    *,
    metrics: Sequence[str] | None = None,
    error: bool = False,
    ax: Axes | Sequence[Axes] | NDArray[Any] | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Learning curves: loss, and accuracy if there is one, over the epochs.

    Parameters
    ----------
    histories : History, or mapping of str to History or sequence of History
        The result of ``fit``, or several by name. A sequence is one setting with several seeds: its
        median is a line and its range a band, over 1, 2, ... If there is validation data, only its
        curves are drawn; of a single History both are, over the network's epochs.
    metrics : sequence of str, optional
        Names of entries of the histories, without "val_": one panel for each. Default: accuracy and
        loss.
    error : bool, default False
        Draw accuracies as errors, 100 % - accuracy, on a logarithmic axis: it shows the difference
        between 98 and 99 % as well as that between 80 and 90 %.
    ax : Axes, or sequence of Axes, optional
        Panels of your own to draw into, one for each metric; a single one where there is one.
    figsize : tuple of two floats, optional
        Width and height of the new figure in inches.
    title : str, optional
        Above the panels of the new figure.
    path : path-like, optional
        A file to write as well; its suffix (.png, .svg, .pdf, ...) gives the format.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, or that of `ax`.
    """
    epochs = None
    if isinstance(histories, callbacks.History):
        epochs = histories.epoch
        named: dict[str, list[callbacks.History]] = {"": [histories]}
        parts: tuple[str, ...] = ("training", "validation")
    else:
        named = by_name("histories", histories, callbacks.History)
        parts = ("best",)
    logs = [one.history for of in named.values() for one in of]
    if not all(log and all(log.values()) for log in logs) or not logs:
        raise ValueError("histories: expected at least one complete epoch in each, got none")
    names = _chosen(metrics, logs)
    as_error = flag("error", error)
    if ax is None:
        figure, panels = row_of_panels(len(names), figsize=figsize, title=title)
    else:
        figure, panels = given_panels(ax, names, figsize, title)
    for axes, metric in zip(panels, names, strict=True):
        inverted = as_error and metric.endswith("accuracy")
        bands(axes, _metric_lines(named, metric, parts, inverted), x=epochs)
        held_out = parts == ("best",) and "val_" + metric in logs[0]
        _label(axes, metric, held_out, inverted)
    if ax is None:
        return finish(figure, path)
    add_legend(panels[0])
    return write(figure, path)


def _chosen(metrics: object, logs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics to draw, of those that all histories have."""
    common = [name for name in logs[0] if all(name in log for log in logs)]
    if metrics is None:
        return [name for name in METRICS if name in common]
    expected = "a list of names of metrics"
    if isinstance(metrics, str) or not isinstance(metrics, Sequence) or not metrics:
        hint = f"did you mean [{show(metrics)}]?" if isinstance(metrics, str) else ""
        raise TypeError(mismatch("metrics", expected, show(metrics), hint))
    known = list(dict.fromkeys(name.removeprefix("val_") for name in common))
    names: list[Any] = entries("metrics", metrics, expected)
    return [choice(f"metrics[{i}]", name, known) for i, name in enumerate(names)]


def _label(axes: Axes, metric: str, held_out: bool, inverted: bool) -> None:
    label, _ = METRICS.get(metric, (metric, 1.0))
    if inverted:
        label = label.replace("accuracy", "error")
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel=("validation " if held_out else "") + label)
    axes.locator_params(axis="x", integer=True)


def _metric_lines(
    named: Mapping[str, Sequence[callbacks.History]],
    metric: str,
    parts: Sequence[str],
    inverted: bool,
) -> dict[str, NDArray[Any]]:
    """The curves of a metric by label; each has a row for each seed."""
    _, factor = METRICS.get(metric, (metric, 1.0))
    lines = {}
    for name, histories in named.items():
        for part in parts:
            key = _key(histories[0].history, metric, part)
            if key is not None:
                rows = stack([np.array(one.history[key]) for one in histories])
                lines[name or part] = factor * (1 - rows if inverted else rows)
    return lines


def _key(log: Mapping[str, Any], metric: str, part: str) -> str | None:
    """The entry of a history for a part of the metric; "best" prefers validation."""
    held_out = "val_" + metric
    if part == "training" or (part == "best" and held_out not in log):
        return metric if metric in log else None
    return held_out if held_out in log else None

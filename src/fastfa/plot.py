"""Plots: learning curves, alignment of the learning signals, and feedback matrices.

Plots need matplotlib, which fastfa does not install: ``pip install matplotlib``. Figures are made
without pyplot, so they do not change the caller's figures, backend or windows. A notebook shows the
figure that a function returns; ``figure.savefig("curves.pdf")`` writes it.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart; for print, every
line also has its own dashes.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import callbacks
from ._internal.arrays import quiet
from ._internal.checks import choice, entries, show
from ._internal.paths import check_folder, file_name
from .sequential import Sequential

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "alignment",
    "bands",
    "chance",
    "check",
    "curves",
    "feedback",
    "finish",
    "learning",
    "row_of_panels",
    "share_y",
]

PANEL = (3.5, 2.7)  # inches
MAX_LAYERS = 4  # of one network that `feedback` draws
FIXED = {"backprop": ("#000000", "-"), "frozen": ("#8c8c8c", (0, (1, 1)))}
STYLES = (
    ("#0072b2", "-"),
    ("#d55e00", (0, (5, 1.5))),
    ("#009e73", (0, (3, 1, 1, 1))),
    ("#cc79a7", "-"),
    ("#e69f00", (0, (5, 1.5))),
    ("#56b4e9", (0, (3, 1, 1, 1))),
)
FIELDS = {  # that `alignment` can draw: the label, and the value that chance has
    "delta_angle": ("delta: angle to backprop (°)", 90.0),
    "gradient_angle": ("angle to the gradient (°)", 90.0),
    "weight_angle": ("angle of B to weights (°)", 90.0),
    "norm_ratio": ("norm of delta over backprop's", None),
    "descent": ("descent: cosine of eB and eWᵀ", 0.0),
    "effective_rank": ("effective rank of deltas", None),
    "error_ratio": ("size of delta over the error's", None),
}
LOGARITHMIC = ("norm_ratio", "error_ratio")
METRICS = {
    "accuracy": ("accuracy (%)", 100.0),
    "binary_accuracy": ("binary accuracy (%)", 100.0),
    "loss": ("loss", 1.0),
}


# ---- the three plots ----


@quiet()
def curves(
    histories: callbacks.History | Mapping[str, Any], *, path: str | os.PathLike[str] | None = None
) -> Figure:
    """Learning curves: loss, and accuracy if there is one, over the epochs.

    Parameters
    ----------
    histories : History, or mapping of str to History or sequence of History
        The result of ``fit``, or several by name. A sequence is one setting with several seeds: its
        median is a line and its range a band, over 1, 2, ... If there is validation data, only its
        curves are drawn; of a single History both are, over the network's epochs.
    path : path-like, optional
        A file to write as well; its suffix (.png, .svg, .pdf, ...) gives the format.

    Returns
    -------
    matplotlib.figure.Figure
    """
    epochs = None
    if isinstance(histories, callbacks.History):
        epochs = histories.epoch
        named: dict[str, list[callbacks.History]] = {"": [histories]}
        parts: tuple[str, ...] = ("training", "validation")
    else:
        named = _named("histories", histories, callbacks.History)
        parts = ("best",)
    logs = [one.history for of in named.values() for one in of]
    if not all(log and all(log.values()) for log in logs) or not logs:
        raise ValueError("histories: expected at least one complete epoch in each, got none")
    metrics = [name for name in METRICS if all(name in log for log in logs)]
    figure, panels = row_of_panels(len(metrics))
    for axes, metric in zip(panels, metrics, strict=True):
        bands(axes, _metric_lines(named, metric, parts), x=epochs)
        held_out = parts == ("best",) and "val_" + metric in logs[0]
        axes.set(xlabel="epoch", ylabel=("validation " if held_out else "") + METRICS[metric][0])
        axes.locator_params(axis="x", integer=True)
    return finish(figure, path)


@quiet()
def alignment(
    recorded: callbacks.Alignment | Mapping[str, Any],
    field: str = "delta_angle",
    *,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """A field of ``net.alignment`` in each hidden layer during training.

    Parameters
    ----------
    recorded : callbacks.Alignment, or mapping of str to callbacks.Alignment or sequence of them
        The records: of one network, in one panel with a line for each layer; or of several by
        name, one panel for each layer. A sequence is drawn as its median and range.
    field : str, default "delta_angle"
        A field of `fastfa.Alignment`.
    path : path-like, optional
        A file to write too.

    Returns
    -------
    matplotlib.figure.Figure
    """
    choice("field", field, FIELDS)
    if isinstance(recorded, callbacks.Alignment):
        _check_recorded([recorded])
        layers = list(recorded.history)
        figure, panels = row_of_panels(1)
        one_net = {
            f"hidden layer {n}": [recorded.history[i][field]] for n, i in enumerate(layers, 1)
        }
        _field_panel(panels[0], field, recorded, one_net)
        return finish(figure, path)
    named = _named("recorded", recorded, callbacks.Alignment)
    every = [one for of in named.values() for one in of]
    _check_recorded(every)
    layers = list(every[0].history)
    if any(list(one.history) != layers for one in every):
        raise ValueError("recorded: expected networks with the same hidden layers, got others")
    figure, panels = row_of_panels(len(layers))
    for i, (axes, layer) in enumerate(zip(panels, layers, strict=True)):
        lines = {
            name: _stack([np.array(one.history[layer][field]) for one in of])
            for name, of in named.items()
        }
        _field_panel(axes, field, every[0], lines)
        axes.set_title(f"hidden layer {i + 1}")
    share_y(panels)
    return finish(figure, path)


@quiet()
def feedback(net: Sequential, *, path: str | os.PathLike[str] | None = None) -> Figure:
    """The feedback matrix of each hidden layer, above the weights that it stands for.

    Units are sorted by the source with their strongest feedback, so that the feedback looks like a
    staircase. If the weights below it have the same staircase, they have aligned.

    Parameters
    ----------
    net : Sequential
        At most its four lowest hidden layers that get a signal are drawn.
    path : path-like, optional
        A file to write too.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not isinstance(net, Sequential):
        raise TypeError(f"net: expected a Sequential, got {show(net)}")
    pairs = list(_feedback_pairs(net))[:MAX_LAYERS]
    if not pairs:
        raise ValueError(
            "net: expected a hidden layer with feedback, got none; frozen and pepita ones have none"
        )
    figure = _figure(PANEL[0] * len(pairs), 1.9 * PANEL[1])
    grid = figure.subplots(2, len(pairs), squeeze=False)
    for number, ((source, b, w), (above, below)) in enumerate(zip(pairs, grid.T, strict=True), 1):
        order = np.lexsort((-np.abs(b).max(axis=0), np.argmax(b, axis=0)))
        picture = _matrix(above, b[:, order])
        figure.colorbar(picture, ax=above, shrink=0.85, pad=0.02)
        above.set(title=f"hidden layer {number}: feedback", ylabel=source)
        if w is None:
            below.set_axis_off()
            above.set_xlabel("units, sorted")
            continue
        picture = _matrix(below, w[:, order])
        figure.colorbar(picture, ax=below, shrink=0.85, pad=0.02)
        below.set(title=_weights_title(b, w), xlabel="units, in the same order", ylabel=source)
    return finish(figure, path)


@quiet()
def learning(
    path: str | os.PathLike[str],
    accuracy: Mapping[str, ArrayLike],
    angles: Mapping[str, ArrayLike],
) -> None:
    """Draw accuracy and angles over the epochs into a file: the plot of the demo.

    Parameters
    ----------
    path : path-like
        Its suffix (.png, .svg, .pdf, ...) says what is written.
    accuracy : mapping of str to array_like of shape (n_seeds, n_epochs)
        Test accuracy after each epoch, 0..1, by rule.
    angles : mapping of str to array_like of shape (n_seeds, n_epochs, n_hidden)
        Degrees between the rule's gradient and backprop's, by rule; nan is not drawn.

    Raises
    ------
    ImportError, ValueError, OSError
        As `check`, or the file cannot be written.
    """
    degrees = {rule: np.asarray(values, float) for rule, values in angles.items()}
    n_hidden = next(iter(degrees.values())).shape[2]
    figure, panels = row_of_panels(1 + n_hidden)
    first, *others = panels
    bands(first, {rule: 100 * np.asarray(values) for rule, values in accuracy.items()})
    first.set(xlabel="epoch", ylabel="test accuracy (%)")
    label, _ = FIELDS["gradient_angle"]
    for i, axes in enumerate(others):
        bands(axes, {rule: values[:, :, i] for rule, values in degrees.items()})
        chance(axes, 90)
        axes.set(title=f"hidden layer {i + 1}", xlabel="epoch", ylabel=label)
        axes.set_ylim(bottom=-2)
    share_y(others)
    finish(figure, path)


def check(path: str | os.PathLike[str]) -> None:
    """Raise the errors that writing a plot would raise later.

    Raises
    ------
    ImportError
        matplotlib is missing; the message says how to install it.
    ValueError
        A kind of file that matplotlib does not write.
    FileNotFoundError
        The directory does not exist.
    """
    kinds = _figure().canvas.get_supported_filetypes()
    kind = _kind(path)
    if kind not in kinds:
        raise ValueError(
            f"plot: expected a file name ending in one of .{', .'.join(sorted(kinds))}, "
            f"got {str(path)!r}"
        )
    check_folder(path)


def _kind(path: str | os.PathLike[str]) -> str:
    return Path(os.fsdecode(file_name(path))).suffix.lstrip(".").lower()


# ---- parts ----


@quiet()
def bands(axes: Axes, lines: Mapping[str, ArrayLike], x: ArrayLike | None = None) -> None:
    """Draw, for each name, the median over seeds as a line and the range as a band.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    lines : mapping of str to array_like of shape (n_seeds, n_points)
        nan is not drawn. "backprop" is black and "frozen" grey in every plot.
    x : array_like of shape (n_points,), optional
        Default: 1, 2, ..., the epochs.
    """
    others = cycle(STYLES)
    for name, rows in lines.items():
        color, dashes = FIXED[name] if name in FIXED else next(others)
        array = np.asarray(rows, float)
        at = np.arange(1, array.shape[1] + 1) if x is None else np.asarray(x)[: array.shape[1]]
        middle = np.median(array, axis=0)
        marker = "o" if array.shape[1] == 1 else None
        axes.plot(at, middle, label=name, color=color, ls=dashes, marker=marker, lw=1.6)
        low, high = array.min(axis=0), array.max(axis=0)
        axes.fill_between(at, low, high, color=color, alpha=0.18, linewidth=0)


def _named(argument: str, value: object, kind: type) -> dict[str, list[Any]]:
    """Lists of one or several of a kind, by name."""
    if not isinstance(value, Mapping):
        hint = '; name them: {"a name": [...]}' if isinstance(value, Sequence) else ""
        raise TypeError(
            f"{argument}: expected one {kind.__name__} or a mapping of names to them, "
            f"got {show(value)}{hint}"
        )
    named = {}
    expected = f"one {kind.__name__} or a list of them"
    for name, of in value.items():
        where = f"{argument}[{show(name)}]"
        named[name] = entries(where, of, expected) if isinstance(of, Sequence) else [of]
        if not named[name] or not all(isinstance(one, kind) for one in named[name]):
            raise TypeError(f"{where}: expected {expected}, got {show(of)}")
    return named


def _metric_lines(
    named: Mapping[str, Sequence[callbacks.History]], metric: str, parts: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """The curves of a metric by label; each has a row for each seed."""
    factor, lines = METRICS[metric][1], {}
    for name, histories in named.items():
        for part in parts:
            key = _key(histories[0].history, metric, part)
            if key is not None:
                rows = [factor * np.array(one.history[key]) for one in histories]
                lines[name or part] = _stack(rows)
    return lines


def _key(log: Mapping[str, Any], metric: str, part: str) -> str | None:
    """The entry of a history for a part of the metric; "best" prefers validation."""
    held_out = "val_" + metric
    if part == "training" or (part == "best" and held_out not in log):
        return metric
    return held_out if held_out in log else None


def _stack(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Rows of different lengths (early stopping) as one array; short ones end in nan."""
    array = np.full((len(rows), max(map(len, rows))), math.nan)
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return array


def _check_recorded(recorded: Sequence[callbacks.Alignment]) -> None:
    if not recorded or not all(one.history for one in recorded):
        raise ValueError(
            "recorded: expected a measurement, got none; train with the callback first"
        )


def _field_panel(
    axes: Axes, field: str, recorded: callbacks.Alignment, lines: Mapping[str, ArrayLike]
) -> None:
    label, level = FIELDS[field]
    bands(axes, lines, x=recorded.step if recorded.unit == "step" else recorded.epoch)
    axes.set(xlabel=recorded.unit, ylabel=label)
    axes.margins(x=0.02)
    if level is not None:
        chance(axes, level)
    if level == 90:
        axes.set_ylim(bottom=-2)
    if field in LOGARITHMIC:
        axes.set_yscale("log")


def chance(axes: Axes, value: float) -> None:
    """Draw the line of a signal without information.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    value : float
    """
    axes.axhline(value, color="#8c8c8c", linewidth=0.8, zorder=0)
    axes.text(
        0.99, value, "chance", color="#6e6e6e", fontsize="x-small", ha="right", va="bottom",
        transform=axes.get_yaxis_transform(),
    )  # fmt: skip


def _feedback_pairs(net: Sequential) -> Iterator[Any]:
    """Of each hidden layer the name of the source, B, and the weights that B stands for or None."""
    layers = net._engine.layers
    keys = [f"{layer['index']}.weight" for layer in layers]
    weights = [net._backend.on_host(key, net.parameters[key]) for key in keys]
    for i, layer in enumerate(layers[:-1]):
        last = {"above": i + 1, "error": len(layers) - 1}.get(layer["source"])
        if layer["source"] in ("", "input"):  # frozen, or pepita
            continue
        path = None
        if last is not None and layer["rule"] != "backprop":
            path = weights[i + 1].T
            for weight in weights[i + 2 : last + 1]:
                path = weight.T @ path
        source = {
            "above": "unit of the layer above",
            "below": "unit of the layer below",
        }.get(layer["source"], "output")
        yield source, net.feedback_matrix(layer["index"]), path


def _weights_title(b: NDArray[Any], w: NDArray[Any]) -> str:
    norms = np.linalg.norm(b) * np.linalg.norm(w)
    if norms == 0:
        return "weights it stands for"
    degrees = math.degrees(math.acos(np.clip((b * w).sum(dtype=float) / norms, -1, 1)))
    return f"weights it stands for, {degrees:.0f}°"


def _matrix(axes: Axes, matrix: NDArray[Any]) -> Any:
    """A picture of a matrix: white at zero, saturated for the largest 1 %."""
    limit = float(np.quantile(np.abs(matrix), 0.99)) or 1.0
    axes.set(xticks=[], yticks=range(len(matrix)) if len(matrix) <= 10 else [])
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    axes.tick_params(length=0, labelsize="small")
    return axes.imshow(
        matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
    )


# ---- figures ----


def row_of_panels(n: int) -> tuple[Figure, list[Axes]]:
    """A figure with n panels side by side.

    Parameters
    ----------
    n : int

    Returns
    -------
    figure : matplotlib.figure.Figure
    panels : list of matplotlib.axes.Axes
    """
    figure = _figure(PANEL[0] * n, PANEL[1])
    panels = list(figure.subplots(1, n, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    return figure, panels


def share_y(panels: Sequence[Axes]) -> None:
    """Give panels of one quantity the same scale, with labels at the first panel only.

    Parameters
    ----------
    panels : sequence of matplotlib.axes.Axes
        Already drawn: the scale covers the limits of all of them.
    """
    limits = [limit for axes in panels for limit in axes.get_ylim()]
    for axes in panels[1:]:
        axes.sharey(panels[0])
        axes.tick_params(labelleft=False)
        axes.set_ylabel("")
    for axes in panels[:1]:
        axes.set_ylim(min(limits), max(limits))


@quiet()
def finish(figure: Figure, path: str | os.PathLike[str] | None = None) -> Figure:
    """Add the legend of the first panel next to the panels; write the file.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path-like, optional

    Returns
    -------
    matplotlib.figure.Figure
        The same one.
    """
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, frameon=False, loc="outside right center")
    if path is not None:
        check(path)
        drawn = io.BytesIO()  # first: an error in drawing must not damage an old file
        figure.savefig(drawn, dpi=200, format=_kind(path))
        Path(os.fsdecode(path)).write_bytes(drawn.getvalue())
    return figure


def _figure(width: float = PANEL[0], height: float = PANEL[1]) -> Figure | Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib, which is not installed: pip install matplotlib"
        ) from error
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    around = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)  # inches around each panel
    return Figure(figsize=(width + 1.0, height), layout=around)

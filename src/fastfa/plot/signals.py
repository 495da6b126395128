"""How close learning signals are to backpropagation's while a network trains."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import callbacks
from .._internal.arrays import quiet
from .._internal.checks import choice, mismatch, quote
from ..alignment import field_names
from .panels import (
    add_legend,
    bands,
    chance,
    finish,
    given_panels,
    row_of_panels,
    share_y,
    write,
)
from .recorded import by_name, stack

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

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


@quiet()
def alignment(
    recorded: callbacks.Alignment | Mapping[str, Any],
    field: str = "delta_angle",
    *,
    ax: Axes | Sequence[Axes] | NDArray[Any] | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
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
    ax : Axes, or sequence of Axes, optional
        Panels of your own to draw into; a single one where there is one.
    figsize : tuple of two floats, optional
        Width and height of the new figure in inches.
    title : str, optional
        Above the panels of the new figure.
    path : path-like, optional
        A file to write too.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, or that of `ax`.
    """
    choice("field", field, FIELDS)
    _check_field(recorded, field)
    alone = isinstance(recorded, callbacks.Alignment)
    record, lines = _of_one(recorded, field) if alone else _of_several(recorded, field)
    if ax is None:
        figure, panels = row_of_panels(len(lines), figsize=figsize, title=title)
    else:
        figure, panels = given_panels(ax, list(lines), figsize, title)
    for axes, (name, of_panel) in zip(panels, lines.items(), strict=True):
        _field_panel(axes, field, record, of_panel)
        if not alone:
            axes.set_title(name)
    if ax is None:
        share_y(panels)
        return finish(figure, path)
    add_legend(panels[0])
    return write(figure, path)


def _check_field(recorded: object, field: str) -> None:
    """Refuse records that were told to leave the field out."""
    named = recorded.values() if isinstance(recorded, Mapping) else [recorded]
    for of in named:
        for one in of if isinstance(of, (list, tuple)) else [of]:
            if isinstance(one, callbacks.Alignment) and field not in field_names(one.fields):
                hint = "that record left it out"
                raise ValueError(
                    mismatch("field", "one of the fields recorded", quote(field), hint)
                )


def _of_one(recorded: Any, field: str) -> tuple[callbacks.Alignment, dict[str, dict[str, Any]]]:
    """One panel with a line for each layer."""
    _check_recorded([recorded])
    layers = enumerate(recorded.history.values(), 1)
    return recorded, {field: {f"hidden layer {n}": [layer[field]] for n, layer in layers}}


def _of_several(
    recorded: object, field: str
) -> tuple[callbacks.Alignment, dict[str, dict[str, Any]]]:
    """One panel for each layer with a line for each name."""
    named = by_name("recorded", recorded, callbacks.Alignment)
    every = [one for of in named.values() for one in of]
    _check_recorded(every)
    layers = list(every[0].history)
    if any(list(one.history) != layers for one in every):
        raise ValueError("recorded: expected networks with the same hidden layers, got others")
    return every[0], {
        f"hidden layer {n}": {
            name: stack([np.array(one.history[layer][field]) for one in of])
            for name, of in named.items()
        }
        for n, layer in enumerate(layers, 1)
    }


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

"""Pictures of feedback matrices and of the weights that they stand for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._internal.arrays import quiet
from .._internal.checks import show
from ..sequential import Sequential
from .panels import LEGEND, PANEL, given_panels, new_figure, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MAX_LAYERS = 4  # of one network that `feedback` draws


@quiet()
def feedback(
    net: Sequential,
    *,
    ax: Sequence[Axes] | NDArray[Any] | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """The feedback matrix of each hidden layer, above the weights that it stands for.

    Units are sorted by the source with their strongest feedback, so that the feedback looks like a
    staircase. If the weights below it have the same staircase, they have aligned.

    Parameters
    ----------
    net : Sequential
        At most its four lowest hidden layers that get a signal are drawn.
    ax : sequence of Axes, optional
        Panels of your own to draw into: two rows, as ``plt.subplots(2, layers)`` returns them.
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
    if not isinstance(net, Sequential):
        raise TypeError(f"net: expected a Sequential, got {show(net)}")
    pairs = list(_feedback_pairs(net))[:MAX_LAYERS]
    if not pairs:
        raise ValueError(
            "net: expected a hidden layer with feedback, got none; frozen and pepita ones have none"
        )
    count = len(pairs)
    figure: Figure
    if ax is None:
        figure = new_figure((PANEL[0] * count + LEGEND, 1.9 * PANEL[1]), figsize, title)
        panels = list(figure.subplots(2, count, squeeze=False).ravel())
    else:
        names = [f"{what} {n}" for what in ("feedback", "weights") for n in range(1, count + 1)]
        figure, panels = given_panels(ax, names, figsize, title)
    above, below = panels[:count], panels[count:]
    for number, (pair, upper, lower) in enumerate(zip(pairs, above, below, strict=True), 1):
        _draw_pair(figure, number, pair, upper, lower)
    return write(figure, path)


def _draw_pair(
    figure: Figure, number: int, pair: tuple[str, Any, Any], above: Axes, below: Axes
) -> None:
    """B of a hidden layer, and the weights that it stands for, if there are any."""
    source, b, w = pair
    order = np.lexsort((-np.abs(b).max(axis=0), np.argmax(b, axis=0)))
    picture = _matrix(above, b[:, order])
    figure.colorbar(picture, ax=above, shrink=0.85, pad=0.02)
    above.set(title=f"hidden layer {number}: feedback", ylabel=source)
    if w is None:
        below.set_axis_off()
        above.set_xlabel("units, sorted")
        return
    picture = _matrix(below, w[:, order])
    figure.colorbar(picture, ax=below, shrink=0.85, pad=0.02)
    below.set(title=_weights_title(b, w), xlabel="units, in the same order", ylabel=source)


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

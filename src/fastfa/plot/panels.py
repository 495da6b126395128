"""Figures, their panels, and what every plot has: bands, the line of chance, legend, file."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._internal.arrays import quiet
from .._internal.checks import entries, mismatch, number, show
from .._internal.paths import check_folder, file_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from . import notebook

PANEL = (3.5, 2.7)  # inches
LEGEND = 1.0  # inches for a legend next to the panels
MAX_INSIDE = 4  # entries of a legend that is drawn inside a single panel
FIXED = {"backprop": ("#000000", "-"), "frozen": ("#8c8c8c", (0, (1, 1)))}
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = (  # none is that of "backprop" or "frozen"
    (0, (5, 1.5)),
    (0, (3, 1, 1, 1)),
    (0, (8, 2)),
    (0, (2, 1)),
    (0, (8, 2, 1, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (1, 2.5)),
)


@quiet()
def bands(axes: Axes, lines: Mapping[str, ArrayLike], x: ArrayLike | None = None) -> None:
    """Draw, for each name, the median over seeds as a line and the range as a band.

    Where there are several seeds, the legend says of how many the bands are the range.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    lines : mapping of str to array_like of shape (n_seeds, n_points)
        nan is not drawn. "backprop" is black and "frozen" grey in every plot.
    x : array_like of shape (n_points,), optional
        Default: 1, 2, ..., the epochs.
    """
    colors, dashes = cycle(COLORS), cycle(DASHES if "backprop" in lines else ("-", *DASHES))
    arrays = {name: np.asarray(rows, float) for name, rows in lines.items()}
    for name, array in arrays.items():
        color, dash = FIXED[name] if name in FIXED else (next(colors), next(dashes))
        at = np.arange(1, array.shape[1] + 1) if x is None else np.asarray(x)[: array.shape[1]]
        middle = np.median(array, axis=0)
        marker = "o" if array.shape[1] == 1 else None
        axes.plot(at, middle, label=name, color=color, ls=dash, marker=marker, lw=1.6)
        low, high = array.min(axis=0), array.max(axis=0)
        axes.fill_between(at, low, high, color=color, alpha=0.18, linewidth=0)
    _explain_bands(axes, {len(array) for array in arrays.values()} - {1})


def _explain_bands(axes: Axes, seeds: set[int]) -> None:
    """Give the legend an entry that says what the bands are; it draws nothing."""
    if not seeds:
        return
    count = " to ".join(map(str, sorted({min(seeds), max(seeds)})))
    label = f"range of {count} seeds"
    if label not in axes.get_legend_handles_labels()[1]:
        axes.fill_between([], [], color="#8c8c8c", alpha=0.3, linewidth=0, label=label)


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


# ---- figures ----


def row_of_panels(
    n: int, *, figsize: tuple[float, float] | None = None, title: str | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure with n panels side by side.

    Parameters
    ----------
    n : int
    figsize : tuple of two floats, optional
        Width and height in inches, the legend included; default 3.5 x 2.7 for each panel.
    title : str, optional
        Above all panels.

    Returns
    -------
    figure : matplotlib.figure.Figure
    panels : list of matplotlib.axes.Axes
    """
    figure = new_figure((PANEL[0] * n, PANEL[1]), figsize, title)
    panels = list(figure.subplots(1, n, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    return figure, panels


def given_panels(
    ax: object, names: Sequence[str], figsize: object, title: object
) -> tuple[Figure, list[Axes]]:
    """The caller's panels, one for each name, and the figure that they are in."""
    from matplotlib.axes import Axes

    for argument, value in (("figsize", figsize), ("title", title)):
        if value is not None:
            hint = "a figure of your own has both already"
            raise ValueError(mismatch(argument, "None together with ax", show(value), hint))
    what = f"{len(names)} Axes, one for each of {', '.join(names)}"
    expected = "one Axes" if len(names) == 1 else what
    panels: list[Any] = [ax] if isinstance(ax, Axes) else _flat(ax, expected)
    if len(panels) != len(names):
        raise ValueError(mismatch("ax", expected, str(len(panels))))
    for i, axes in enumerate(panels):
        if not isinstance(axes, Axes):
            raise TypeError(mismatch(f"ax[{i}]", "an Axes of matplotlib", show(axes)))
    return panels[0].figure.figure, panels  # the whole figure, also of a panel in a subfigure


def _flat(ax: object, expected: str) -> list[Any]:
    """The entries of a list of Axes, or of the array that `plt.subplots` returns."""
    if isinstance(ax, np.ndarray):
        return list(ax.ravel())
    if not isinstance(ax, (list, tuple)):
        raise TypeError(mismatch("ax", expected, show(ax)))
    return entries("ax", ax, expected)


@quiet()
def finish(figure: Figure, path: str | os.PathLike[str] | None = None) -> Figure:
    """Add the legend of the first panel; write the file.

    The legend is inside a single panel with few lines, and otherwise next to the panels.

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
    if labels and len(figure.axes) == 1 and len(labels) <= MAX_INSIDE:
        add_legend(figure.axes[0])
    elif labels:
        if getattr(figure, "grows", False):
            figure.set_figwidth(figure.get_figwidth() + LEGEND)
        figure.legend(handles, labels, frameon=False, loc="outside right center")
    return write(figure, path)


def add_legend(axes: Axes) -> None:
    """Draw a legend inside a panel, where there is room; none if no line has a name."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize="small")


def write(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Write a figure into a file, if there is one."""
    if path is not None:
        check(path)
        drawn = io.BytesIO()  # first: an error in drawing must not damage an old file
        figure.savefig(drawn, dpi=200, format=_kind(path))
        Path(os.fsdecode(path)).write_bytes(drawn.getvalue())
    return figure


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
    kinds = new_figure(PANEL).canvas.get_supported_filetypes()
    kind = _kind(path)
    if kind not in kinds:
        raise ValueError(
            f"plot: expected a file name ending in one of .{', .'.join(sorted(kinds))}, "
            f"got {str(path)!r}"
        )
    check_folder(path)


def _kind(path: str | os.PathLike[str]) -> str:
    return Path(os.fsdecode(file_name(path))).suffix.lstrip(".").lower()


def new_figure(
    size: tuple[float, float], figsize: object = None, title: str | None = None
) -> notebook.Figure:
    """A figure of `size` inches, or of the caller's `figsize`; one without grows for a legend."""
    try:
        import matplotlib.figure  # noqa: F401  # first, for the message
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib, which is not installed: pip install matplotlib"
        ) from error
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from .notebook import Figure

    around = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)  # inches around each panel
    figure = Figure(figsize=size if figsize is None else _inches(figsize), layout=around)
    figure.grows = figsize is None
    if title is not None:
        if not isinstance(title, str):
            raise TypeError(mismatch("title", "a str", show(title)))
        figure.suptitle(title)
    return figure


def _inches(figsize: object) -> tuple[float, float]:
    expected = "a pair (width, height) in inches"
    if not isinstance(figsize, (tuple, list)) or len(figsize) != 2:
        raise TypeError(mismatch("figsize", expected, show(figsize)))
    width, height = entries("figsize", figsize, expected)
    return number("figsize[0]", width, above=0.0), number("figsize[1]", height, above=0.0)

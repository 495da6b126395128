"""Plots of training: learning curves, and how close a rule's gradient is to the true one.

Needs matplotlib, which fastfa does not install by itself: ``pip install "fastfa[plot]"``. Figures
are made without pyplot, so nothing here touches the caller's figures, backend or windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

__all__ = ["check", "curves", "learning"]


def check(path: str | os.PathLike[str]) -> None:
    """Raise now what `learning` would raise at the end.

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
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in kinds:
        raise ValueError(
            f"plot: expected a file name ending in one of .{', .'.join(sorted(kinds))}, "
            f"got {str(path)!r}"
        )
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"plot: no directory {str(Path(path).parent)!r}")


def learning(
    path: str | os.PathLike[str],
    accuracy: Mapping[str, ArrayLike],
    angles: Mapping[str, ArrayLike],
) -> None:
    """Draw accuracy and angles over the epochs into a file.

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
    figure = _figure(width=4.5 * (1 + n_hidden))
    first, *others = figure.subplots(1, 1 + n_hidden, squeeze=False)[0]
    curves(first, {rule: 100 * np.asarray(values) for rule, values in accuracy.items()})
    first.set(title="test accuracy", ylabel="%")
    first.legend(frameon=False)
    for i, axes in enumerate(others):
        curves(axes, {rule: values[:, :, i] for rule, values in degrees.items()})
        axes.set(title=f"hidden layer {i + 1}: angle to the gradient", ylabel="degrees")
        axes.axhline(90, color="gray", linestyle="--", linewidth=1)  # no better than chance
        axes.set_ylim(bottom=0)
    figure.savefig(path)


def curves(axes: Axes, values: Mapping[str, ArrayLike]) -> None:
    """Draw, for each name, the median over seeds as a line and the range as a band.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    values : mapping of str to array_like of shape (n_seeds, n_epochs)
    """
    for name, rows in values.items():
        array = np.asarray(rows, float)
        epochs = np.arange(1, array.shape[1] + 1)
        (line,) = axes.plot(epochs, np.median(array, axis=0), label=name)
        low, high = array.min(axis=0), array.max(axis=0)
        axes.fill_between(epochs, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel="epoch")
    axes.grid(alpha=0.3)


def _figure(width: float = 4.5) -> Figure | Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'plots need matplotlib, which is not installed: pip install "fastfa[plot]"'
        ) from error
    return Figure(figsize=(width, 3.6), layout="constrained")

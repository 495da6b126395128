"""The scores that stop a training: accuracy and R2, as scikit-learn's metrics define them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["accuracy", "classes_of", "r2"]


def classes_of(outputs: NDArray[Any]) -> NDArray[np.intp]:
    """The class numbers of outputs (m, n): of one output by 0.5, of several the greatest."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > 0.5).astype(np.intp)
    classes: NDArray[np.intp] = outputs.argmax(axis=1)
    return classes


def accuracy(
    outputs: NDArray[Any], labels: NDArray[Any], weights: NDArray[np.float64] | None
) -> float:
    """The share of samples that are right; of several labels all must be right."""
    if labels.ndim == 2:
        right = ((outputs > 0.5) == (labels > 0.5)).all(axis=1)
    else:
        right = classes_of(outputs) == labels
    return float(np.average(right, weights=weights))


def r2(outputs: NDArray[Any], y: NDArray[Any], weights: NDArray[np.float64] | None) -> float:
    """The coefficient of determination, averaged over the outputs."""
    outputs, y = outputs.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
    w = np.ones(len(y)) if weights is None else weights
    residual = w @ (y - outputs) ** 2
    total = w @ (y - np.average(y, axis=0, weights=w)) ** 2
    score = np.where(residual > 0, 0.0, 1.0)  # where all values of y are equal
    np.divide(residual, total, out=score, where=total > 0)
    return float(np.where(total > 0, 1.0 - score, score).mean())

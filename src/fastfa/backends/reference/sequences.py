"""Batches of sequences as rows, and which rows have a target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .base import Array, Doubles, Maybe


@dataclass
class Rows:
    """A batch as rows: row i T + t is step t of sequence i; without sequences T = 1."""

    x: Array
    labels: Maybe  # 0 where there is no target
    y: Maybe  # 0 where there is no target
    weights: Doubles  # of its sequence
    has_target: npt.NDArray[np.bool_]
    times: int

    def only(self, rows: Array) -> Array:
        """The rows that have a target; 0 in place of the others."""
        return np.where(self.has_target.reshape(-1, *[1] * (rows.ndim - 1)), rows, 0)


def flat_rows(x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> Rows:
    """The rows of x (m, n_in) or x (m, T, n_in), with their targets and weights."""
    times = x.shape[1] if len(x.shape) == 3 else 1
    m = len(x)
    rows = np.repeat(np.ones(m) if weights is None else weights, times)
    if len(x.shape) == 2:
        return Rows(x, labels, y, rows, np.ones(m, bool), 1)
    if labels is not None:
        labels = every_step(labels, labels.ndim == 2, times, -1)
        has_target = labels >= 0
        labels = np.where(has_target, labels, 0)
    elif y is not None:
        y = every_step(y, y.ndim == 3, times, np.nan).reshape(m * times, -1)
        has_target = ~np.isnan(y.sum(axis=1))
        y = np.where(has_target[:, None], y, 0)
    else:
        has_target = np.ones(m * times, bool)
    return Rows(x.reshape(m * times, -1), labels, y, rows, has_target, times)


def every_step(targets: Array, complete: bool, times: int, none: float) -> Array:
    """Targets of all steps as rows, from those of all steps or of the last."""
    if not complete:
        last = targets
        targets = np.full((len(last), times, *last.shape[1:]), none, last.dtype)
        targets[:, -1] = last
    return targets.reshape(len(targets) * times, *targets.shape[2:])

"""Products in bfloat16: which matrices, and how their operands are rounded."""

from __future__ import annotations

import numpy as np

from .base import Array

MIN_SIDE, MIN_ENTRIES = 32, 16384  # of a matrix; products with smaller ones stay in float32


def pays(rows: int, cols: int) -> bool:
    """Whether products with a matrix of this size round their operands."""
    return min(rows, cols) >= MIN_SIDE and rows * cols >= MIN_ENTRIES


def round_operand(x: Array) -> Array:
    """The nearest numbers of 8 significant bits, ties to even; subnormals are zero."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    nearest = np.ldexp(np.rint(np.ldexp(mantissa, 8)), exponent - 8)
    flushed = np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(0, x), nearest)
    return np.asarray(flushed.astype(np.float32))

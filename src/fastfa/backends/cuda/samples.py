"""Samples on the GPU: copies of arrays of the CPU, and their addresses for the control block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..._internal.samples import Batch, Pieces
from .arrays import Array, upload
from .launches import Shape
from .steps import Batch as Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GPUSamples", "place", "placed_array"]

PIECE = 1 << 22  # elements of a large array that are converted and copied at a time


class GPUSamples(NamedTuple):
    """Samples in the memory of the GPU; see `Batch`."""

    x: Array
    labels: Array | None
    y: Array | None
    weights: Array | None

    def fields(self) -> dict[str, int]:
        """Addresses for the control block."""
        return {
            name: 0 if array is None else int(array.data.ptr)
            for name, array in zip(self._fields, self, strict=True)
        }

    def shape(self, mode: str, rows: int) -> Shape:
        """What decides on the kernels for some rows of them."""
        kind = "bytes" if self.x.dtype == np.uint8 else "numbers"
        labels, weighted = self.labels is not None, self.weights is not None
        return Shape(mode, Rows(rows, kind, labels, weighted))


def place(cupy: Any, batch: Batch) -> GPUSamples:
    """Samples on the current GPU; what lies there already is not copied."""
    return GPUSamples(*(None if array is None else placed_array(cupy, array) for array in batch))


def placed_array(cupy: Any, values: NDArray[Any] | Pieces | Array) -> Array:
    """One array on the current GPU; itself if it is there."""
    if isinstance(values, np.ndarray):
        return upload(cupy, values)
    if not isinstance(values, Pieces):
        return values
    array = cupy.empty(values.shape, values.dtype)
    rows = max(1, PIECE // values.shape[1])
    for start in range(0, len(values), rows):
        piece = values[start : start + rows]
        array[start : start + len(piece)].set(piece)
    return array

"""Samples on their way to the engine: as they were given, and as it takes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from .arrays import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

    from .sparse import SparseRows

ELEMENTS_AT_ONCE = 1 << 20  # of `in_turn`: what looks at them needs no large temporary


class Pieces:
    """A large array of another dtype or layout, converted piece by piece when it is used.

    Parameters
    ----------
    source : ndarray of shape (m, ...)
    dtype : dtype
        The dtype of the network.
    width : int
        Number of entries in a row of `source`.
    """

    __slots__ = ("dtype", "shape", "source")

    def __init__(self, source: NDArray[Any], dtype: DTypeLike, width: int) -> None:
        self.source = source
        self.dtype = np.dtype(dtype)
        self.shape = (len(source), width)

    def __len__(self) -> int:
        return len(self.source)

    @quiet()
    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        source = self.source
        if isinstance(rows, slice):
            piece = source[rows]
        elif source.flags.f_contiguous:  # along columns, which are contiguous
            piece = source.T.take(rows, axis=-1).T
        else:
            piece = source.take(rows, axis=0)
        return np.require(piece.reshape(len(piece), self.shape[1]), self.dtype, ("C", "A", "E"))


Samples: TypeAlias = "NDArray[Any] | Pieces"
Inputs: TypeAlias = "NDArray[Any] | Pieces | SparseRows"  # X; targets are never sparse


class Unread(NamedTuple):
    """An array whose shape and kind of dtype are right, and whose values are not checked yet."""

    array: Any  # an ndarray; of a sparse X `SparseRows`
    name: str  # in errors
    columns: tuple[str | int, ...] | None = None  # the names of its columns


class UnreadBatch(NamedTuple):
    """Samples that fit each other by their shapes; `InputValidator.read` converts them."""

    x: Unread
    y: Unread | None = None
    weights: Unread | None = None


class Batch(NamedTuple):
    """Samples in the engine's order of arguments; exactly one of labels and y is None."""

    x: Inputs
    labels: NDArray[np.int64] | None
    y: Samples | None
    weights: NDArray[np.float64] | None


class Columns(NamedTuple):
    """Names of the columns of X, and of y if it is a table of rows; None without names."""

    x: tuple[str | int, ...] | None = None
    y: tuple[str | int, ...] | None = None

    def that_fit(self, n_in: int, n_out: int) -> Columns:
        """The names, without those whose number is not that of the inputs, or outputs."""
        x, y = self.x or (), self.y or ()
        return Columns(x if len(x) == n_in else None, y if len(y) == n_out else None)


def in_turn(samples: Samples) -> Iterator[tuple[int, NDArray[Any]]]:
    """Parts of the samples, each with the number of its first row."""
    rows = max(1, ELEMENTS_AT_ONCE // max(1, math.prod(samples.shape[1:])))
    for start in range(0, len(samples), rows):
        yield start, samples[start : start + rows]

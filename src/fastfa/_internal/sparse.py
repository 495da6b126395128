"""Sparse X: compressed rows (CSR) of SciPy or another library, as the engine takes them.

SciPy is not imported: an object is sparse if it has ``tocsr`` and ``nnz``. Other formats than CSR
are converted by their own ``tocsr``. The entries of a row are sorted by column and those in one
place are added up, in a copy, if they are not so already. Nothing here has the size of a dense X.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import check_kind, quiet
from .checks import kind, mismatch

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["SparseRows", "check_entries", "is_sparse", "sparse_rows"]


class SparseRows:
    """Rows of a sparse matrix; a slice of rows has the same entries in memory.

    Parameters
    ----------
    data : ndarray of shape (n_entries,)
    indices : ndarray of shape (n_entries,)
        Of int32 or int64: the column of each entry, ascending in each row.
    indptr : ndarray of shape (m + 1,)
        Of the same dtype: row i has the entries ``indptr[i]`` to ``indptr[i + 1] - 1``.
    width : int
        Number of columns.
    """

    __slots__ = ("data", "indices", "indptr", "shape")

    def __init__(
        self, data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], width: int
    ) -> None:
        self.data, self.indices, self.indptr = data, indices, indptr
        self.shape = (len(indptr) - 1, width)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the values."""
        return self.data.dtype

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> SparseRows:
        width = self.shape[1]
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            indptr = self.indptr[start : max(start, stop) + 1]
            return SparseRows(self.data, self.indices, indptr, width)
        begin = self.indptr[rows].astype(np.int64)
        counts = self.indptr[rows + 1] - begin
        indptr = np.zeros(len(counts) + 1, self.indptr.dtype)
        np.cumsum(counts, out=indptr[1:])
        chosen = np.arange(indptr[-1]) + np.repeat(begin - indptr[:-1], counts)
        return SparseRows(self.data[chosen], self.indices[chosen], indptr, width)

    @quiet()  # a value too large for float32 becomes inf, which the engine refuses
    def astype(self, dtype: DTypeLike) -> SparseRows:
        """The same with values of another dtype."""
        data = np.require(self.data, dtype, ("C", "A", "E"))
        return SparseRows(data, self.indices, self.indptr, self.shape[1])

    def toarray(self) -> NDArray[Any]:
        """A dense copy."""
        dense = np.zeros(self.shape, self.dtype)
        counts = np.diff(self.indptr)
        used = slice(self.indptr[0], self.indptr[-1])
        dense[np.repeat(np.arange(len(self)), counts), self.indices[used]] = self.data[used]
        return dense


def is_sparse(value: object) -> bool:
    """Whether a value is a sparse matrix or array of SciPy, or looks like one."""
    return not isinstance(value, np.ndarray) and hasattr(value, "tocsr") and hasattr(value, "nnz")


def sparse_rows(value: Any, name: str, hint: str = "") -> SparseRows:
    """The rows of a sparse matrix, whose values have the dtype that they came in."""
    shape = tuple(value.shape)
    if len(shape) != 2:
        raise ValueError(mismatch(name, "a sparse matrix of 2 axes", f"shape {shape}"))
    csr = value if getattr(value, "format", "") == "csr" else value.tocsr()
    data = np.asarray(csr.data)
    check_kind(data, name, hint)
    common = np.int32 if csr.indices.dtype == csr.indptr.dtype == np.int32 else np.int64
    indices = np.require(csr.indices, common, ("C", "A", "E"))
    indptr = np.require(csr.indptr, common, ("C", "A", "E"))
    rows = SparseRows(np.ascontiguousarray(data), indices, indptr, shape[1])
    _check_structure(rows, shape[0], name, kind(value))
    return rows if _is_canonical(rows) else _canonical(rows)


def check_entries(rows: SparseRows, dtype: DTypeLike, name: str) -> None:
    """Refuse a value that is not finite in `dtype`."""
    start = int(rows.indptr[0])
    with np.errstate(all="ignore"):
        finite = np.isfinite(rows.data[start : rows.indptr[-1]].astype(dtype, copy=False))
    if finite.all():
        return
    at = start + int(np.argmin(finite))
    row = int(np.searchsorted(rows.indptr, at, "right")) - 1
    got = f"{rows.data[at]} at row {row}, column {rows.indices[at]}"
    raise ValueError(mismatch(name, f"finite values in {np.dtype(dtype)}", got))


def _check_structure(rows: SparseRows, m: int, name: str, what: str) -> None:
    """Refuse a matrix whose arrays do not fit each other, which NumPy may have changed."""
    indices, indptr, width = rows.indices, rows.indptr, rows.shape[1]
    if len(rows.data) != len(indices) or indptr.shape != (m + 1,):
        got = f"{len(rows.data)}, {len(indices)} and {len(indptr)}"
        expected = f"data and indices of one length, and {m + 1} row starts in indptr"
        raise ValueError(mismatch(f"{name}: {what}", expected, got))
    if indptr[0] < 0 or indptr[-1] > len(indices) or (indptr[1:] < indptr[:-1]).any():
        expected = f"an indptr from 0 to {len(indices)} that does not decrease"
        raise ValueError(mismatch(f"{name}: {what}", expected, "another"))
    used = indices[indptr[0] : indptr[-1]]
    wrong = used if len(used) and (used.min() < 0 or used.max() >= width) else used[:0]
    if len(wrong):
        at = int(indptr[0]) + int(np.argmax((used < 0) | (used >= width)))
        row = int(np.searchsorted(indptr, at, "right")) - 1
        expected = f"columns from 0 to {width - 1} in indices"
        raise ValueError(mismatch(f"{name}: {what}", expected, f"{indices[at]} in row {row}"))


def _is_canonical(rows: SparseRows) -> bool:
    """Whether columns ascend in each row, without two entries in one place."""
    start, stop = int(rows.indptr[0]), int(rows.indptr[-1])
    wrong = rows.indices[start + 1 : stop] <= rows.indices[start : max(start, stop - 1)]
    ends = rows.indptr[(rows.indptr > start) & (rows.indptr < stop)]
    wrong[ends - start - 1] = False  # where the next row begins
    return not wrong.any()


def _canonical(rows: SparseRows) -> SparseRows:
    """A copy that is sorted, with the sum of what was in one place."""
    used = slice(rows.indptr[0], rows.indptr[-1])
    number = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
    order = np.lexsort((rows.indices[used], number))
    indices, number, data = rows.indices[used][order], number[order], rows.data[used][order]
    first = np.ones(len(indices), bool)
    first[1:] = (indices[1:] != indices[:-1]) | (number[1:] != number[:-1])
    with np.errstate(all="ignore"):
        data = np.add.reduceat(data, np.flatnonzero(first), dtype=data.dtype)
    indptr = np.zeros(len(rows) + 1, rows.indptr.dtype)
    np.cumsum(np.bincount(number[first], minlength=len(rows)), out=indptr[1:])
    return SparseRows(data, np.ascontiguousarray(indices[first]), indptr, rows.shape[1])

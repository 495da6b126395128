"""The door for arrays: whatever a caller brings becomes what the engine takes, or a clear error.

X leaves as (m, n_in) in the network's dtype, or as uint8; y as integer labels (m,) or as rows
(m, n_out). Which of the two, and which accuracy goes with it, is decided by the loss, the number of
outputs and the shape and dtype of y, never by its values: the table is in `Sequential.fit`.
A C-contiguous array of the right dtype is used in place, whoever owns it (PyTorch, JAX, a memmap);
anything else is copied, except from a GPU: that is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._checks import as_array, show

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

FIT_NAMES = ("X", "y", "sample_weight")
STEP_NAMES = ("x", "y", "sample_weight")
VALIDATION_NAMES = ("validation_data[0]", "validation_data[1]", "validation_data[2]")

ROW_SUM_TOLERANCE = 1e-3
ELEMENTS_AT_ONCE = 1 << 20  # the finite check scans in pieces, so that it needs no large temporary


class Batch(NamedTuple):
    """Checked samples, in the order in which the engine takes them; exactly one of labels and y."""

    x: NDArray[Any]
    labels: NDArray[np.int64] | None
    y: NDArray[Any] | None
    weights: NDArray[np.float64] | None


class Door:
    """Converts and checks arrays for one network."""

    def __init__(self, n_in: int, n_out: int, loss: str, dtype: DTypeLike) -> None:
        self.n_in = n_in
        self.n_out = n_out
        self.loss = loss
        self.dtype = np.dtype(dtype)

    def batch(
        self,
        x: ArrayLike,
        y: ArrayLike,
        weights: ArrayLike | None,
        names: tuple[str, str, str] = FIT_NAMES,
    ) -> Batch:
        """Samples with their targets and weights; `names` are what errors call the three."""
        inputs = self.inputs(x, names[0])
        labels, rows = self._targets(y, len(inputs), names[1], names[0])
        return Batch(inputs, labels, rows, self._weights(weights, len(inputs), names[2], names[0]))

    def metric(self, batch: Batch) -> str | None:
        """Name of the accuracy that the table above defines for these targets, or None."""
        if self.loss == "softmax_cross_entropy" or batch.labels is not None:
            return "accuracy"
        if self.loss == "sigmoid_cross_entropy":
            return "accuracy" if self.n_out == 1 else "binary_accuracy"
        return None

    def inputs(self, x: ArrayLike, name: str = "X") -> NDArray[Any]:
        """X as (m, n_in); (m, ...) is flattened when its product fits."""
        array = numeric(x, name)
        expected = f"{name} must have shape (m, {self.n_in})"
        if array.ndim < 2:
            hint = "; one sample is X[None, :]" if array.shape == (self.n_in,) else ""
            raise ValueError(f"{expected}, got shape {array.shape}{hint}")
        if len(array) == 0:
            raise ValueError(f"{expected} with m >= 1, got no rows: shape {array.shape}")
        flat = array if array.ndim == 2 else array.reshape(len(array), -1)
        if flat.shape[1] != self.n_in:
            raise ValueError(f"{expected}, got shape {array.shape}")
        return convert(flat, array.dtype if array.dtype == np.uint8 else self.dtype, name)

    def sample(self, x: ArrayLike) -> NDArray[Any]:
        """One x as a batch of one; (h, w) is flattened when h w = n_in."""
        array = numeric(x, "x")
        if array.ndim == 0 or array.size != self.n_in:
            raise ValueError(f"x must have shape ({self.n_in},), got shape {array.shape}")
        return array.reshape(1, -1)

    def target(self, y: ArrayLike) -> NDArray[Any]:
        """One y as a batch of one."""
        array = numeric(y, "y")
        if array.shape not in ((), (self.n_out,)):
            expected = f"one number, or have shape ({self.n_out},)"
            raise ValueError(f"y must be {expected}, got shape {array.shape}")
        return array[None]

    def _targets(
        self, y: ArrayLike, m: int, name: str, of: str
    ) -> tuple[NDArray[np.int64] | None, NDArray[Any] | None]:
        array = numeric(y, name)
        if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != self.n_out):
            hint = f"; use {name}.ravel()" if array.shape == (m, 1) else ""
            raise ValueError(f"{name} must be {self._expected()}, got shape {array.shape}{hint}")
        _check_length(array, m, name, of)
        one_column = self.n_out == 1
        if array.ndim == 1 and not one_column:
            return self._labels(array, name), None
        rows = convert(array if array.ndim == 2 else array[:, None], self.dtype, name)
        self._check_rows(rows, name)
        return None, rows

    def _expected(self) -> str:
        """What y may be for this loss and number of outputs, in words."""
        rows = f"rows (m, {self.n_out})"
        if self.n_out == 1 and self.loss == "sigmoid_cross_entropy":
            return "0 or 1 as (m,) or (m, 1)"
        if self.n_out == 1 and self.loss == "mse":
            return "values as (m,) or (m, 1)"
        return f"integer labels (m,) or {rows}"

    def _labels(self, array: NDArray[Any], name: str) -> NDArray[np.int64]:
        """Class numbers as int64; floats pass when whole, but mse wants an integer dtype."""
        expected = f"{name} must hold integer labels from 0 to {self.n_out - 1}"
        if array.dtype.kind == "f":
            if self.loss == "mse":
                raise ValueError(f"{name} must be {self._expected()}, got {array.dtype} (m,)")
            _refuse(array != np.rint(array), array, expected)
        _refuse((array < 0) | (array >= self.n_out), array, expected)
        return np.require(array, np.int64, ("C", "A", "E"))

    def _check_rows(self, rows: NDArray[Any], name: str) -> None:
        if self.loss == "sigmoid_cross_entropy" and self.n_out == 1:
            _refuse((rows != 0) & (rows != 1), rows, f"{name} must be 0 or 1")
        elif self.loss == "sigmoid_cross_entropy":
            _refuse((rows < 0) | (rows > 1), rows, f"{name} must be within 0..1")
        elif self.loss == "softmax_cross_entropy":
            _refuse(rows < 0, rows, f"{name} must hold probabilities >= 0")
            sums = rows.sum(axis=1, dtype=np.float64)
            wrong = np.abs(sums - 1) > ROW_SUM_TOLERANCE
            _refuse(wrong, sums, f"each row of {name} must sum to 1")

    def _weights(
        self, weights: ArrayLike | None, m: int, name: str, of: str
    ) -> NDArray[np.float64] | None:
        if weights is None:
            return None
        array = numeric(weights, name)
        if array.ndim != 1:
            raise ValueError(f"{name} must have shape ({m},), got shape {array.shape}")
        _check_length(array, m, name, of)
        converted = convert(array, np.float64, name)
        _refuse(converted < 0, converted, f"{name} must be >= 0")
        return converted


def numeric(value: ArrayLike, name: str) -> NDArray[Any]:
    """`value` as an array of real numbers of any dtype."""
    try:
        array = as_array(name, value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array with rows of one length: {error}") from error
    if array.dtype.kind not in "biuf":
        hint = ": number the classes 0, 1, 2, ..." if array.dtype.kind in "US" else ""
        got = f"dtype {array.dtype}" if array.ndim else show(value)
        raise TypeError(f"{name} must hold real numbers, got {got}{hint}")
    return array


def convert(array: NDArray[Any], dtype: DTypeLike, name: str) -> NDArray[Any]:
    """A finite, C-contiguous array of `dtype`: `array` itself where it is one already."""
    with np.errstate(over="ignore"):  # a value too large for float32 turns into inf, refused below
        converted = np.require(array, dtype, ("C", "A", "E"))
    if converted.dtype.kind == "f":
        _check_finite(converted, array, name)
    return converted


def _check_finite(converted: NDArray[Any], array: NDArray[Any], name: str) -> None:
    width = max(1, converted.size // len(converted))
    rows = max(1, ELEMENTS_AT_ONCE // width)
    for start in range(0, len(converted), rows):
        finite = np.isfinite(converted[start : start + rows])
        if not finite.all():
            expected = f"{name} must be finite in {converted.dtype}"
            _refuse(~finite, array[start : start + rows], expected, start)


def _check_length(array: NDArray[Any], m: int, name: str, of: str) -> None:
    if len(array) != m:
        expected = f"one entry for each of the {m} rows of {of}"
        raise ValueError(f"{name} must have {expected}, got {len(array)}")


def _refuse(wrong: NDArray[np.bool_], array: NDArray[Any], expected: str, start: int = 0) -> None:
    """Raise for the first wrong entry of `array`, whose first row is number `start`."""
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        where = f"row {at[0] + start}" + (f", column {at[1]}" if len(at) > 1 else "")
        raise ValueError(f"{expected}, got {array[at]} at {where}")

"""Which value of the samples the engine has refused, in the caller's terms.

The engine checks values (csrc/api/validate.c): it sees converted arrays and calls them X, y and
sample_weight. After it has refused some, `refusal` looks for the same fault in the arrays that were
given, and names the argument, the row, the column and the value as the caller does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import FEATURES, LABELS, numbers, place, quiet
from .checks import mismatch
from .loss_kinds import SIDES
from .samples import in_turn
from .sparse import SparseRows, check_entries

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from .samples import Unread, UnreadBatch

ROW_SUM_TOLERANCE = 1e-3


class Naming:
    """A context in which the engine is called: its ValueError for a value becomes a `refusal`."""

    __slots__ = ("dtype", "given", "loss", "n_out")

    def __init__(self, given: UnreadBatch, loss: str, n_out: int, dtype: np.dtype[Any]) -> None:
        self.given, self.loss, self.n_out, self.dtype = given, loss, n_out, dtype

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is ValueError:
            refused = refusal(self.given, self.loss, self.n_out, self.dtype)
            if refused is not None:
                raise refused from None


@quiet()
def refusal(given: UnreadBatch, loss: str, n_out: int, dtype: np.dtype[Any]) -> ValueError | None:
    """The error for the first value that a network does not take, targets first; or None."""
    try:
        if given.y is not None:
            _check_targets(given.y, loss, n_out, dtype)
        if given.weights is not None:
            _check_weights(given.weights, dtype)
        if isinstance(given.x.array, SparseRows):
            check_entries(given.x.array, dtype, given.x.name)
            return None
        array = numbers(given.x.array, given.x.name, FEATURES)
        if array.dtype != np.uint8:
            check_finite(array, dtype, given.x.name, given.x.columns)
    except ValueError as error:
        return error.with_traceback(None)
    return None


def _check_targets(y: Unread, loss: str, n_out: int, dtype: np.dtype[Any]) -> None:
    array, name, names = y
    array = numbers(array, name, LABELS)
    if array.ndim == 1 and n_out > 1:
        refuse((array < 0) | (array >= n_out), array, name, labels_expected(n_out))
        return
    check_finite(array, dtype, name, names)
    for start, rows in in_turn(array):
        if loss in SIDES:
            refuse((rows < 0) | (rows > 1), rows, name, "values within 0..1", start)
        elif loss == "poisson":
            refuse(rows < 0, rows, name, "values >= 0", start)
        elif loss == "softmax_cross_entropy":
            refuse(rows < 0, rows, name, "probabilities >= 0", start)
            sums = rows.sum(axis=1, dtype=np.float64)
            wrong = np.abs(sums - 1) > ROW_SUM_TOLERANCE
            refuse(wrong, sums, name, "rows that sum to 1", start)


def _check_weights(weights: Unread, dtype: np.dtype[Any]) -> None:
    array, name, _ = weights
    array = numbers(array, name)
    check_finite(array, np.float64, name)
    refuse(array < 0, array, name, "weights >= 0")
    refuse(array > np.finfo(dtype).max, array, name, f"weights that {dtype} holds")


def labels_expected(n_out: int) -> str:
    """For messages: which labels there are."""
    return f"integer labels from 0 to {n_out - 1}"


@quiet()  # a value too large for float32 becomes inf, which is refused
def check_finite(
    array: NDArray[Any], dtype: DTypeLike, name: str, names: tuple[str | int, ...] | None = None
) -> None:
    """Refuse a value that is not finite in `dtype`; `names` are those of the columns."""
    expected = f"finite values in {np.dtype(dtype)}"
    for start, part in in_turn(array):
        finite = np.isfinite(part.astype(dtype, copy=False))
        if not finite.all():
            rows = part.reshape(len(part), -1) if part.ndim > 2 else part
            refuse(~finite.reshape(rows.shape), rows, name, expected, start, names)


def refuse(
    wrong: NDArray[np.bool_],
    array: NDArray[Any],
    name: str,
    expected: str,
    start: int = 0,
    names: tuple[str | int, ...] | None = None,
) -> None:
    """Raise an error for the first wrong entry of `array`; its rows count from `start`."""
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        missing = names is not None and array[at] != array[at]
        hint = "fill in missing values or leave those rows out" if missing else ""
        got = f"{array[at]} at {place(at, names, start)}"
        raise ValueError(mismatch(name, expected, got, hint))

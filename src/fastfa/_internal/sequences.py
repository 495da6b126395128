"""Validation of sequences: X (m, T, n_in), and targets of the last step or of every step.

The engine gets X (m, T, n_in), and labels (m,) or (m, T), or rows (m, n_out) or (m, T, n_out); a
step without a target has the label -1, or a row of NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import FEATURES, LABELS, numbers, quiet
from .checks import kind, mismatch
from .loss_kinds import SIDES
from .refusals import Naming, labels_expected, refuse
from .samples import Columns, Unread, UnreadBatch
from .sparse import is_sparse
from .validation import FIT_NAMES, InputValidator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from .samples import Samples


class _AsItCame(Naming):
    """The engine's own message: it names the row of a step."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        pass


class SequenceValidator(InputValidator):
    """Converts and checks sequences for one network with recurrent layers."""

    takes_sparse = False

    def naming(self, given: UnreadBatch) -> Naming:
        """A context that keeps the engine's messages."""
        return _AsItCame(given, self.loss, self.n_out, self.dtype)

    def unread(
        self,
        x: ArrayLike,
        y: ArrayLike,
        weights: ArrayLike | None,
        names: tuple[str, str, str] = FIT_NAMES,
        columns: Columns | None = None,
    ) -> UnreadBatch:
        """As `InputValidator.unread`; y is checked with the number of steps of x."""
        inputs = self.unread_inputs(x, names[0], columns)
        m, steps = inputs.array.shape[:2]
        targets = self._targets_of(y, m, steps, names[1])
        return UnreadBatch(inputs, targets, self._unread_weights(weights, m, names[2], names[0]))

    def unread_inputs(
        self, x: ArrayLike, name: str = "X", columns: Columns | None = None
    ) -> Unread:
        """X of shape (m, T, n_in), or (m, T, ...) with the shape of an image."""
        if is_sparse(x):
            expected = "a dense array for a network with a Recurrent layer"
            raise TypeError(mismatch(name, expected, f"a sparse {kind(x)}"))
        array = self._unread(x, name, FEATURES)
        shapes = self._sample_shapes
        expected = f"sequences (m, T, {', '.join(map(str, self.sample_shape))}) with m, T >= 1"
        if array.shape[2:] not in shapes or 0 in array.shape:
            one = array.ndim > 1 and array.shape[1:] in shapes
            hint = f"one sequence is {name}[None]" if one else self._other_format(array.shape[2:])
            raise ValueError(mismatch(name, expected, f"shape {array.shape}", hint))
        return Unread(array, name)

    @quiet()
    def read_inputs(self, x: Unread, whole: bool = False) -> Samples:
        """X as (m, T, n_in), converted as a whole."""
        array = numbers(x.array, x.name, FEATURES)
        if array.dtype == np.uint8:
            self._warn_of_small_bytes(array, x.name)
        rows = self.channels_last(array, 2).reshape(*array.shape[:2], self.n_in)
        return np.require(rows, self._dtype_for(array), ("C", "A", "E"))

    def outputs(self, inputs: Unread) -> NDArray[Any] | None:
        """Where `predict` writes its outputs of every step."""
        return np.empty((*inputs.array.shape[:2], self.n_out), self.dtype)

    def one_target(self, y: ArrayLike) -> tuple[NDArray[np.int64] | None, NDArray[Any] | None]:
        """The target of one step of a stream: labels (1,) or rows (1, n_out)."""
        array = self.target(y)
        if array.ndim == 1 and self.n_out > 1:
            return self._labels(array, "y"), None
        rows = np.require(array.reshape(1, self.n_out), self.dtype, ("C", "A", "E"))
        return None, rows

    @quiet()
    def _targets_of(self, y: ArrayLike, m: int, steps: int, name: str) -> Unread:
        array = self._unread(y, name, LABELS)
        good = ((m,), (m, self.n_out), (m, steps), (m, steps, self.n_out))
        if array.shape not in good:
            got = f"shape {array.shape} for {m} sequences of {steps} steps"
            raise ValueError(mismatch(name, self._expected(), got))
        return Unread(array, name)

    def _expected(self) -> str:
        one = "values" if self.n_out == 1 else "labels"
        last = f"{one} (m,) or rows (m, {self.n_out}) for the last step"
        return f"{last}, or (m, T) and (m, T, {self.n_out}) for every step"

    def _holds_labels(self, y: NDArray[Any]) -> bool:
        """(m,) or (m, T) with several outputs; (m, n_out) of floats are rows."""
        if self.n_out == 1 or y.ndim == 3:
            return False
        return y.ndim == 1 or y.shape[1] != self.n_out or y.dtype.kind in "iu"

    def _read_targets(
        self, y: Unread, whole: bool
    ) -> tuple[NDArray[np.int64] | None, Samples | None]:
        array = numbers(y.array, y.name, LABELS)
        if self._holds_labels(array):
            return self._step_labels(array, y.name), None
        if self.n_out == 1 and array.ndim < 3 and array.shape != (len(array), 1):
            array = array[..., None]
        rows = np.require(array, self.dtype, ("C", "A", "E"))
        if self.loss in SIDES and self.n_out == 1:
            refuse(~np.isnan(rows) & (rows != 0) & (rows != 1), rows, y.name, "0 or 1")
        return None, rows

    def _step_labels(self, array: NDArray[Any], name: str) -> NDArray[np.int64]:
        """Class numbers; NaN becomes -1."""
        self._check_label_kind(array, name)
        if array.dtype.kind == "f":
            blank = np.isnan(array) & (array.ndim == 2)
            wrong = ~blank & (array != np.rint(array))
            refuse(wrong, array, name, labels_expected(self.n_out))
            array = np.where(blank, -1, array)
        return np.require(array, np.int64, ("C", "A", "E"))

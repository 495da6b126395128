"""Validation of samples: conversion of all inputs to the arrays that the engine takes, or an error.

Kinds, shapes and lengths are checked here, values by the engine: see `refusals`.

X becomes (m, n_in) in the network's dtype, or uint8; y becomes integer labels (m,) or rows
(m, n_out). The loss, the number of outputs and the shape and dtype of y decide which of the two,
and which accuracy is reported; the values never do. The table is in `Sequential.fit`.
Shapes, lengths and dtypes are compared before any value is read, which takes long for a large X.
A C-contiguous array of the right dtype is used in place, also if it belongs to PyTorch, JAX or a
memory map. Other arrays are copied: large ones (a memory map) piece by piece when they are used, up
to 256 MiB at once if columns are contiguous. Arrays on a GPU are for networks there: they have an
`InputValidator` of their own. A network that is trained
on a table with named columns refuses tables with other names or another order from then on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import (
    FEATURES,
    LABELS,
    check_names,
    column_names,
    numbers,
    quiet,
    row_names,
    show_name,
    unread,
)
from .checks import kind, mismatch, warn
from .loss_kinds import NO_CLASSES, SIDES, VALUES
from .refusals import Naming, check_finite, labels_expected, refuse
from .samples import Batch, Columns, Inputs, Pieces, Samples, Unread, UnreadBatch, in_turn
from .sparse import SparseRows, is_sparse, sparse_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

FIT_NAMES = ("X", "y", "sample_weight")
STEP_NAMES = ("x", "y", "sample_weight")
VALIDATION_NAMES = ("validation_data[0]", "validation_data[1]", "validation_data[2]")

SMALL_BYTE = 64  # a quarter of the range; images have greater values
LARGE = 1 << 23  # bytes; arrays that are larger after conversion are converted in pieces
LARGE_BY_COLUMNS = 1 << 28  # the same if rows are not contiguous: gathering them is slow


class InputValidator:
    """Converts and checks arrays for one network.

    Attributes
    ----------
    columns : Columns
        Names in the first tables that the network was trained on.
    bytes_checked : bool
        Whether bytes need no more checks: they are not scaled by 1/255, were found to be pixels, or
        a warning was given.
    takes_sparse : bool
        Whether X may be sparse.
    channels_first : bool
        Whether images are given as (channels, height, width), also as flat rows.
    """

    takes_sparse = True
    channels_first = False

    def __init__(
        self,
        given: int | tuple[int, ...],
        n_out: int,
        loss: str,
        dtype: DTypeLike,
        input_scale: str | float = "auto",
    ) -> None:
        # the shape of a sample: (n,), or that of an image
        self.given = (given,) if isinstance(given, int) else given
        self.n_in = math.prod(self.given)
        self.n_out = n_out
        self.loss = loss
        self.dtype = np.dtype(dtype)
        self.columns = Columns()
        self.bytes_checked = input_scale != "auto"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of a sample as it is given."""
        if not self.channels_first:
            return self.given
        height, width, channels = self.given
        return channels, height, width

    @property
    def _sample_shapes(self) -> tuple[tuple[int, ...], ...]:
        """All shapes that a sample of an image network may have."""
        one_channel = len(self.given) == 3 and self.given[2] == 1
        plain = self.given[:2] if one_channel else self.given
        return self.sample_shape, plain if one_channel else self.sample_shape, (self.n_in,)

    def channels_last(self, samples: NDArray[Any], axes: int = 1) -> NDArray[Any]:
        """Samples in the engine's order; they have `axes` axes of their own in front."""
        if not self.channels_first:
            return samples
        planes = samples.reshape(*samples.shape[:axes], *self.sample_shape)
        return np.moveaxis(planes, axes, -1)

    @quiet()
    def unread(
        self,
        x: ArrayLike,
        y: ArrayLike,
        weights: ArrayLike | None,
        names: tuple[str, str, str] = FIT_NAMES,
        columns: Columns | None = None,
    ) -> UnreadBatch:
        """Samples with their targets and weights; `names` are the three names in errors.

        Tables must have the `columns`, by default those of training. Everything is checked that
        needs no look at the values of an array, which may take hours.
        """
        known = self.columns if columns is None else columns
        inputs = self.unread_inputs(x, names[0], known)
        m = len(inputs.array)
        targets = self._unread_targets(y, m, names[1], names[0], known)
        return UnreadBatch(inputs, targets, self._unread_weights(weights, m, names[2], names[0]))

    @quiet()
    def read(self, batch: UnreadBatch, whole: bool = False) -> Batch:
        """The samples for the engine; if they are needed `whole`, without `Pieces`.

        The targets come first: there are fewer of them.
        """
        labels, rows = (None, None) if batch.y is None else self._read_targets(batch.y, whole)
        weights = None if batch.weights is None else self._read_weights(batch.weights)
        return Batch(self.read_inputs(batch.x, whole), labels, rows, weights)

    def naming(self, given: UnreadBatch) -> Naming:
        """The context of an engine's call on samples: names a value that it refuses."""
        return Naming(given, self.loss, self.n_out, self.dtype)

    def columns_with(self, x: ArrayLike, y: ArrayLike, one: bool = False) -> Columns:
        """The columns of training, or else those of these samples; `one`: of a single row."""
        if type(x) is np.ndarray and type(y) is np.ndarray:
            return self.columns
        names = row_names if one else column_names
        return Columns(self.columns.x or names(x), self.columns.y or names(y)).that_fit(
            self.n_in, self.n_out
        )

    def metric(self, batch: Batch) -> str | None:
        """The name of the accuracy for these targets, by the table in `Sequential.fit`, or None."""
        if self.loss == "softmax_cross_entropy" or batch.labels is not None:
            return "accuracy"
        if self.loss in SIDES:
            return "accuracy" if self.n_out == 1 else "binary_accuracy"
        return None

    @quiet()
    def unread_inputs(
        self, x: ArrayLike, name: str = "X", columns: Columns | None = None
    ) -> Unread:
        """X of the right shape, (m, n_in) or (m, ...) with the same product."""
        given = column_names(x)
        check_names(given, (self.columns if columns is None else columns).x, name)
        array: Any
        if is_sparse(x):
            if not self.takes_sparse:
                hint = f'keep the network on the CPU: device="cpu", or use {name}.toarray()'
                raise TypeError(
                    mismatch(name, "a dense array on a GPU", f"a sparse {kind(x)}", hint)
                )
            if self.channels_first:
                expected = 'a dense array with data_format="channels_first"'
                raise TypeError(mismatch(name, expected, f"a sparse {kind(x)}"))
            array = sparse_rows(x, name, FEATURES)
        else:
            array = self._unread(x, name, FEATURES)
        return self._with_shape(array, name, given)

    def _with_shape(self, array: Any, name: str, given: tuple[str | int, ...] | None) -> Unread:
        expected = f"shape (m, {', '.join(map(str, self.sample_shape))})"
        if len(array.shape) < 2:
            hint = "; one sample is X[None, :]" if array.shape == (self.n_in,) else ""
            raise ValueError(f"{name}: expected {expected}, got shape {array.shape}{hint}")
        if len(array) == 0:
            raise ValueError(f"{name}: expected {expected} with m >= 1, got shape {array.shape}")
        self._check_shape(array.shape[1:], name, expected, array.shape)
        return Unread(array, name, given)

    def _check_shape(
        self, shape: tuple[int, ...], name: str, expected: str, got: tuple[int, ...]
    ) -> None:
        """Refuse a sample of another shape; rows of numbers may have any with the right product."""
        if len(self.given) == 1:
            fits = math.prod(shape) == self.n_in
        else:
            fits = shape in self._sample_shapes
        if not fits:
            raise ValueError(mismatch(name, expected, f"shape {got}", self._other_format(shape)))

    def _other_format(self, shape: tuple[int, ...]) -> str:
        """A hint for a sample whose channels are not where they are declared to be."""
        if len(self.given) != 3:
            return ""
        height, width, channels = self.given
        if self.channels_first:
            last = 'it looks like channels last: declare data_format="channels_last"'
            return last if shape == self.given else ""
        if shape != (channels, height, width):
            return ""
        declared = f'data_format="channels_first", input_shape={shape}'
        return f"it looks like channels first: declare them, {declared}"

    @quiet()
    def read_inputs(self, x: Unread, whole: bool = False) -> Inputs:
        """X as (m, n_in)."""
        if isinstance(x.array, SparseRows):
            if x.array.dtype == np.uint8:
                self._warn_of_small_bytes(x.array.data, x.name)
            return x.array.astype(self._dtype_for(x.array))
        array = numbers(x.array, x.name, FEATURES)
        if array.dtype == np.uint8:
            self._warn_of_small_bytes(array, x.name)
        given = x._replace(array=self.channels_last(array))
        return _samples(given, self._dtype_for(array), self.n_in, whole)

    def outputs(self, inputs: Unread) -> NDArray[Any] | None:
        """Where `predict` writes its outputs for these inputs; None: the engine makes the array."""
        return np.empty((len(inputs.array), self.n_out), self.dtype)

    def _warn_of_small_bytes(self, array: Any, name: str) -> None:
        """Warn once of bytes that are not pixels: divided by 255 they almost vanish."""
        if self.bytes_checked:
            return
        greatest = 0
        for _, part in in_turn(array):
            greatest = max(greatest, int(part.max()))
            if greatest >= SMALL_BYTE:  # images have one in the first piece
                self.bytes_checked = True
                return
        if greatest > 0:
            warn(
                f'{name} is of dtype uint8 with no value above {greatest}, and input_scale="auto" '
                "divides bytes by 255 as pixels; if they are not (counts, categories, one-hot), "
                f"make the network with input_scale=1.0 or convert them: {name}.astype("
                f'"{self.dtype}"); if they are pixels, give input_scale=1/255'
            )
            self.bytes_checked = True

    @quiet()
    def sample(self, x: ArrayLike) -> NDArray[Any]:
        """One x as a batch of one, as it was given; (h, w) is flattened when h w = n_in."""
        names = row_names(x)
        check_names(names, self.columns.x, "x")
        array = self._unread(x, "x", FEATURES, names)
        shape = self.sample_shape
        expected = f"shape ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
        if array.ndim == 0 or (array.size != self.n_in or len(self.given) == 3):
            self._check_shape(array.shape if array.ndim else (), "x", expected, array.shape)
        row = numbers(array, "x", FEATURES, names).reshape(1, -1)
        return row if names is None else convert(row, self._dtype_for(row), "x", names)

    def _dtype_for(self, array: NDArray[Any] | SparseRows) -> np.dtype[Any]:
        """The dtype that the engine gets: uint8 for bytes, the network's for all others."""
        return array.dtype if array.dtype == np.uint8 else self.dtype

    @quiet()
    def target(self, y: ArrayLike) -> NDArray[Any]:
        """One y as a batch of one."""
        check_names(row_names(y), self.columns.y, "y")
        array = self._unread(y, "y", LABELS)
        if array.shape not in ((), (self.n_out,)):
            expected = f"one number or shape ({self.n_out},)"
            raise ValueError(f"y: expected {expected}, got shape {array.shape}")
        return numbers(array, "y", LABELS)[None]

    def _unread(
        self,
        value: ArrayLike,
        name: str,
        hint: str = "",
        names: tuple[str | int, ...] | None = None,
    ) -> NDArray[Any]:
        """`arrays.unread`: where other kinds of arrays come in, see `backends.cuda.inputs`."""
        return unread(value, name, hint, names)

    def _unread_targets(self, y: ArrayLike, m: int, name: str, of: str, columns: Columns) -> Unread:
        given = column_names(y)
        check_names(given, columns.y, name)
        array = self._unread(y, name, LABELS)
        if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != self.n_out):
            column = f"{name}.ravel()" if given is None else f"{name}[{show_name(given[0])}]"
            hint = f"; use {column}" if array.shape == (m, 1) else ""
            raise ValueError(f"{name}: expected {self._expected()}, got shape {array.shape}{hint}")
        _check_length(array, m, name, of)
        self._check_label_kind(array, name)
        return Unread(array, name, given)

    def _unread_weights(
        self, weights: ArrayLike | None, m: int, name: str, of: str
    ) -> Unread | None:
        if weights is None:
            return None
        array = self._unread(weights, name)
        if array.ndim != 1:
            raise ValueError(f"{name}: expected shape ({m},), got shape {array.shape}")
        _check_length(array, m, name, of)
        return Unread(array, name)

    def _read_weights(self, weights: Unread) -> NDArray[np.float64]:
        return _as_rows(numbers(weights.array, weights.name), np.float64)

    def _read_targets(
        self, y: Unread, whole: bool
    ) -> tuple[NDArray[np.int64] | None, Samples | None]:
        array = numbers(y.array, y.name, LABELS)
        if self._holds_labels(array):
            return self._labels(array, y.name), None
        rows = _samples(y._replace(array=array), self.dtype, self.n_out, whole)
        if self.loss in SIDES and self.n_out == 1:  # the engine takes 0.5 too
            for start, part in in_turn(rows):
                refuse((part != 0) & (part != 1), part, y.name, "0 or 1", start)
        return None, rows

    def _holds_labels(self, y: NDArray[Any]) -> bool:
        return y.ndim == 1 and self.n_out > 1

    def _expected(self) -> str:
        """For messages: what y may be for this loss and number of outputs."""
        rows = f"rows (m, {self.n_out})"
        if self.n_out == 1 and self.loss in SIDES:
            return "0 or 1 as (m,) or (m, 1)"
        if self.n_out == 1 and self.loss in NO_CLASSES:
            return "values as (m,) or (m, 1)"
        return f"integer labels (m,) or {rows}"

    def _check_label_kind(self, array: NDArray[Any], name: str) -> None:
        """Refuse labels in floats for mse and the like: they would be values of one output."""
        if self.loss in VALUES and array.dtype.kind == "f" and self._holds_labels(array):
            raise ValueError(f"{name}: expected {self._expected()}, got {array.dtype} (m,)")

    def _labels(self, array: NDArray[Any], name: str) -> NDArray[np.int64]:
        """Class numbers as int64; whole floats pass, except for mse and the like."""
        self._check_label_kind(array, name)  # again: objects may have become floats
        if array.dtype.kind == "f":
            refuse(array != np.rint(array), array, name, labels_expected(self.n_out))
        return np.require(array, np.int64, ("C", "A", "E"))


def _samples(given: Unread, dtype: np.dtype[Any], width: int, whole: bool) -> Samples:
    """Rows of `width` entries, converted if necessary; large arrays become `Pieces`.

    Unless they are needed `whole`: then one that is too large for the memory is refused.
    """
    array = given.array
    as_is = array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned
    by_columns = array.strides[-1] != array.itemsize
    limit = LARGE_BY_COLUMNS if by_columns else LARGE
    if whole or as_is or len(array) * width * dtype.itemsize <= limit:
        return _as_rows(array if array.ndim == 2 else array.reshape(len(array), width), dtype)
    return Pieces(array, dtype, width)


@quiet()  # a value too large for float32 becomes inf, which the engine refuses
def _as_rows(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """A C-contiguous array of `dtype`: `array` itself if it is one."""
    return np.require(array, dtype, ("C", "A", "E"))


def convert(
    array: NDArray[Any],
    dtype: DTypeLike,
    name: str,
    names: tuple[str | int, ...] | None = None,
) -> NDArray[Any]:
    """A finite, C-contiguous array of `dtype`: `array` itself if it is one.

    `names` are the names of its columns.
    """
    if np.dtype(dtype).kind == "f":
        check_finite(array, dtype, name, names)
    return _as_rows(array, dtype)


def _check_length(array: NDArray[Any], m: int, name: str, of: str) -> None:
    if len(array) != m:
        expected = f"one entry for each of the {m} rows of {of}"
        raise ValueError(f"{name}: expected {expected}, got {len(array)}")

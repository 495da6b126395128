"""Arrays and tables of other libraries as NumPy arrays, or an error that names the bad entry.

Nothing here imports those libraries. Tables of pandas, Polars and PyArrow are recognised by their
attributes and read column by column.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from numbers import Complex, Integral, Number, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .checks import kind, mismatch, quote, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

LABELS = "number the classes 0, 1, 2, ..., as np.unique(y, return_inverse=True)[1] does"
FEATURES = (
    "turn text and categories into numbers, by pandas.get_dummies or another encoder, and "
    "numbers written as text by float()"
)
_HINTS = {  # by kind of dtype
    "M": "turn dates into numbers, such as days since the first one",
    "m": "turn time spans into numbers, such as seconds",
    "c": "give real and imaginary parts as columns of their own",
    "V": "take its fields apart: numpy.lib.recfunctions.structured_to_unstructured",
}
MAX_NAMES = 12  # of columns in a message
_NUMBERS = "biuf"  # kinds of dtype
_MISSING = ("NoneType", "NAType", "NaTType")  # types of missing values
# Device types of DLPack whose memory the CPU can read: plain, and pinned for CUDA or ROCm.
_HOST_MEMORY = (1, 3, 11)
_WAYS = ("__array__", "__array_interface__", "__array_struct__")
_UNREADABLE = (ArithmeticError, AttributeError, BufferError, LookupError, RuntimeError, TypeError)

quiet = partial(np.errstate, all="ignore")  # the caller's `numpy.seterr` must not apply here


class Table(NamedTuple):
    """A table of another library: names and columns, in order."""

    names: tuple[str | int, ...]
    columns: Callable[[], Sequence[Any]]
    dtypes: Sequence[Any]


# ---- arrays ----


def as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """`value` as an array, without a copy if possible.

    It may support DLPack, the buffer protocol, ``__array_interface__`` or ``__array__``, or be a
    list. An array on a GPU is refused: the caller must ask for the copy.
    """
    if isinstance(value, np.ndarray):
        if type(value) is not np.ndarray and np.any(getattr(value, "mask", False)):
            raise TypeError(
                f"{name}: expected no masked entries, got some; fill them: {name}.filled(0.0)"
            )
        return np.asarray(value)
    if hasattr(value, "toarray") and hasattr(value, "nnz"):  # of SciPy
        got = f"a sparse {kind(value)} of shape {getattr(value, 'shape', '?')}"
        raise TypeError(mismatch(name, "a dense array", got, f"use {name}.toarray()"))
    try:
        elsewhere = hasattr(value, "__cuda_array_interface__") or _device(value) not in _HOST_MEMORY
        array = None if elsewhere else _host_array(value)
    except _UNREADABLE as error:
        raise TypeError(f"{name}: expected an array, got {kind(value)}; {error}") from error
    if array is None:
        raise TypeError(
            f"{name}: expected an array in the memory of the CPU, got one on another device; move "
            'the network to it with net.to("cuda"), or copy the array with .cpu() (PyTorch), '
            ".get() (CuPy) or jax.device_get(...)"
        )
    return array


def _device(value: object) -> int:
    """The device type of an array as a number of DLPack; 1 (CPU) if the array does not say."""
    ask = getattr(value, "__dlpack_device__", None)
    try:
        return int(ask()[0]) if ask else _HOST_MEMORY[0]
    except ValueError as error:  # a device without memory, such as PyTorch's "meta"
        raise TypeError(error) from error


def _host_array(value: Any) -> NDArray[Any]:
    if hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError, ValueError, Warning):
            # a dtype that DLPack lacks, or a warning that is turned into an error
            if not hasattr(value, "__array__"):
                raise
    return np.asarray(_items(value) if _has_only_items(value) else value)


def _has_only_items(value: Any) -> bool:
    """Whether NumPy would read entries one by one until an error, possibly forever."""
    kind = type(value)
    if hasattr(kind, "__iter__") or not (hasattr(kind, "__getitem__") and hasattr(kind, "__len__")):
        return False
    try:
        memoryview(value)
    except TypeError:
        return not any(hasattr(value, way) for way in _WAYS)
    return False


def _items(value: Any) -> list[Any]:
    """The entries of a sequence, as many as its length says."""
    items: list[Any] = [None] * len(value)
    for i in range(len(items)):
        items[i] = value[i]
    return items


@quiet()
def constant_array(name: str, value: ArrayLike, ndim: int) -> NDArray[np.float64]:
    """A read-only float64 copy of values for a tensor: finite numbers with `ndim` axes."""
    array = unread(value, name)
    if array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} axes, got shape {array.shape}")
    constant = np.empty(array.shape, np.float64)  # first: it may be too large for the memory
    constant[...] = numbers(array, name)
    if not np.isfinite(constant).all():
        raise ValueError(f"{name}: expected finite values, got NaN or infinity")
    constant.setflags(write=False)
    return constant


# ---- numbers ----


def unread(
    value: ArrayLike, name: str, hint: str = "", names: tuple[str | int, ...] | None = None
) -> NDArray[Any]:
    """`value` as an array of real numbers, or of objects, which `numbers` reads.

    Its caller checks the shape in between: reading all objects of a large array takes long.
    `hint` says what to do if it holds text or categories. With `names` of its entries, a vector
    becomes one row of a table.
    """
    table = as_table(value)
    if table is not None:
        return _from_table(value, table, name, hint)
    try:
        array = as_array(name, value)
    except ValueError as error:
        got = kind(value)
        raise ValueError(mismatch(name, "rows of one length", got, str(error))) from error
    if names is not None and array.ndim == 1:
        array = array[None]
    check_kind(array, name, hint, names, value)
    return array


def numbers(
    array: NDArray[Any], name: str, hint: str = "", names: tuple[str | int, ...] | None = None
) -> NDArray[Any]:
    """An array of `unread` as an array of real numbers."""
    return _from_objects(array, name, hint, names) if array.dtype.kind == "O" else array


def check_kind(
    array: NDArray[Any],
    name: str,
    hint: str,
    names: tuple[str | int, ...] | None = None,
    given: object = None,
) -> None:
    """Refuse an array whose entries are not numbers, nor objects that may be."""
    kind = array.dtype.kind
    if kind in _NUMBERS or (kind == "O" and (array.ndim or isinstance(given, Number))):
        return
    got = f"dtype {array.dtype}" if array.ndim else show(given)
    what = _HINTS.get(kind, hint if kind in "STU" else "")
    raise TypeError(mismatch(name, "real numbers", got + _in(array, names), what))


def _in(array: NDArray[Any], names: tuple[str | int, ...] | None) -> str:
    """For messages: the column that a vector stands for."""
    return "" if names is None or array.ndim > 1 else f" in column {show_name(names[0])}"


def _from_objects(
    array: NDArray[Any], name: str, hint: str, names: tuple[str | int, ...] | None
) -> NDArray[Any]:
    """Objects, all numbers or booleans, in the simplest dtype that holds them."""
    kinds = set(map(type, array.flat))
    if not all(map(_is_real, kinds)):
        _refuse_object(array, name, hint, names)
    try:
        if kinds and kinds <= {bool, np.bool_}:
            return array.astype(np.bool_)
        if kinds and all(issubclass(kind, Integral) or kind is np.bool_ for kind in kinds):
            return _integers(array)
        return array.astype(np.float64)
    except (ArithmeticError, TypeError, ValueError) as error:
        got = "others" + _in(array, names)
        expected = "numbers that a float can hold"
        raise ValueError(mismatch(name, expected, got, str(error))) from error


def _integers(array: NDArray[Any]) -> NDArray[Any]:
    try:
        return array.astype(np.int64)
    except OverflowError:
        return array.astype(np.float64)


def _is_real(kind: type) -> bool:
    """Whether objects of a type are real numbers or booleans; `Decimal` is a `Number` only."""
    if issubclass(kind, (Real, np.bool_)):
        return not issubclass(kind, np.timedelta64)
    return issubclass(kind, Number) and not issubclass(kind, (Complex, np.generic))


def _refuse_object(
    array: NDArray[Any], name: str, hint: str, names: tuple[str | int, ...] | None
) -> None:
    """Raise an error for the first entry that is not a number."""
    index, entry = next((i, each) for i, each in enumerate(array.flat) if not _is_real(type(each)))
    where = place(tuple(map(int, np.unravel_index(index, array.shape))), names)
    if type(entry).__name__ in _MISSING:
        raise ValueError(
            f"{name}: expected no missing values, got {show(entry)} at {where}; fill them in or "
            "leave those rows out"
        )
    kind = "m" if hasattr(entry, "total_seconds") else "M" if hasattr(entry, "year") else ""
    what = _HINTS.get("c" if isinstance(entry, Complex) else kind, hint)
    raise TypeError(mismatch(name, "real numbers", f"{show(entry)} at {where}", what))


# ---- tables ----


def as_table(value: Any) -> Table | None:
    """Names and columns of a table of pandas, Polars or PyArrow, or None for anything else."""
    if isinstance(value, (np.ndarray, list, tuple)) or not hasattr(value, "columns"):
        return None
    if hasattr(value, "iloc"):  # pandas: names may repeat, so columns are taken by number
        names = getattr(value.columns, "tolist", lambda: None)()
        count = len(names) if isinstance(names, list) else 0
        columns = lambda: [value.iloc[:, i] for i in range(count)]  # noqa: E731
    elif hasattr(value, "get_columns"):  # Polars
        names, columns = value.columns, value.get_columns
    else:  # PyArrow
        names, columns = getattr(value, "column_names", None), lambda: value.columns
    if not isinstance(names, list):
        return None
    return Table(tuple(map(_plain, names)), columns, getattr(value, "dtypes", ()))


def _plain(name: object) -> str | int:
    """A column's name as a value that can be compared and stored in a file."""
    return name if type(name) in (str, int) else show(name)  # type: ignore[return-value]


def column_names(value: Any) -> tuple[str | int, ...] | None:
    """The names of the columns of a table; None if the value is not a table."""
    table = as_table(value)
    return None if table is None else table.names


def row_names(value: Any) -> tuple[str | int, ...] | None:
    """The names of the entries of one sample: a table of one row, or a row of a pandas table.

    None if the entries have no names.
    """
    names = column_names(value)
    if names is not None:
        return names
    labels = getattr(value, "index", None) if hasattr(value, "iloc") else None
    if labels is None or not all(type(label) is str for label in labels):
        return None  # numbers and dates label the rows of a series, not columns
    return tuple(labels)


def _from_table(value: Any, table: Table, name: str, hint: str) -> NDArray[Any]:
    dtypes = set(table.dtypes) if all(isinstance(d, np.dtype) for d in table.dtypes) else ()
    if len(dtypes) == 1 and next(iter(dtypes)).kind in _NUMBERS:
        return np.asarray(value)  # one block of memory, perhaps without a copy
    columns = table.columns()
    if not isinstance(columns, Sequence) or len(columns) != len(table.names):
        raise TypeError(f"{name}: expected a column for each name, got {kind(columns)}")
    parts = [_column(*each, name, hint) for each in zip(table.names, columns, strict=True)]
    if len({part.shape for part in parts}) > 1 or any(part.ndim != 1 for part in parts):
        raise ValueError(f"{name}: expected columns of one length, got different ones")
    kinds = {part.dtype for part in parts}
    common = np.result_type(*kinds) if kinds else np.dtype(np.float64)
    if common == np.uint8 and len(kinds) > 1:  # not the bytes of an image, which would be scaled
        common = np.dtype(np.int16)
    array = np.empty((len(parts[0]) if parts else len(value), len(parts)), common)
    for i, part in enumerate(parts):
        array[:, i] = part
    return array


def _column(of: str | int, column: Any, name: str, hint: str) -> NDArray[Any]:
    if hasattr(getattr(column, "dtype", None), "categories"):
        got = f"categories in column {show_name(of)}"
        raise TypeError(mismatch(name, "real numbers", got, hint))
    array = as_array(f"{name}: column {show_name(of)}", column)
    check_kind(array, name, hint, (of,))
    return numbers(array, name, hint, (of,))


def check_names(
    given: tuple[str | int, ...] | None, known: tuple[str | int, ...] | None, name: str
) -> None:
    """Refuse a table whose columns differ from those of training, also in order.

    Numbers 0, 1, 2, ... do not count as names: the columns of such a table go by position.
    """
    if given is None or known is None or given == known or _counts(given):
        return
    if _counts(known) and not all(isinstance(each, int) for each in given):
        return
    if len(given) == len(known) and sorted(map(str, given)) == sorted(map(str, known)):
        problem = "in the order of training"
        fix = f"reorder them: {name}[{_listed(known)}]"
    else:
        problem = "as in training"
        missing = [each for each in known if each not in set(given)]
        unknown = [each for each in given if each not in set(known)]
        fix = "; ".join(
            f"{word} {_listed(names)}"
            for word, names in (("missing:", missing), ("not known:", unknown))
            if names
        )
    raise ValueError(
        f"{name}: expected the columns {problem}, {_listed(known)}, got {_listed(given)}"
        + (f"; {fix}" if fix else "")
        + f"; for columns by position give {name}.to_numpy()"
    )


def _counts(names: tuple[str | int, ...]) -> bool:
    return names == tuple(range(len(names)))


def _listed(names: Sequence[str | int]) -> str:
    """A list of names for a message, shortened if it is long."""
    more = [f"... ({len(names)} in all)"] if len(names) > MAX_NAMES else []
    return f"[{', '.join([*map(show, names[: MAX_NAMES - len(more)]), *more])}]"


def show_name(name: str | int) -> str:
    """The name of a column for a message."""
    return quote(name) if isinstance(name, str) else str(name)


def place(at: tuple[int, ...], names: Sequence[str | int] | None = None, start: int = 0) -> str:
    """The position of an entry for a message; rows are numbered from `start`."""
    where = [f"row {at[0] + start}"] if at else ["the only entry"]
    if len(at) == 1 and names:
        where.append(f"column {show_name(names[0])}")
    elif len(at) > 1:
        named = names is not None and at[1] < len(names)
        where.append(f"column {show_name(names[at[1]]) if named else at[1]}")  # type: ignore[index]
    return ", ".join(where)

"""The mappings behind ``net.parameters`` and ``net.feedback``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .arrays import numbers, unread
from .checks import choice
from .validation import convert

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Tensors(Mapping[str, "NDArray[Any]"]):
    """Live arrays of a network by key, "0.weight"; assignment copies values into them.

    An array is a writable view of the network's memory, on a GPU a CuPy array, and stays valid as
    long as it is referenced. ``tensors[key] = a`` first checks shape and finiteness, and changes
    nothing if they are wrong. The keys are fixed.
    """

    __slots__ = ("_arrays", "_kind", "_on_host", "_write")

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        kind: str,
        write: Callable[[str, NDArray[Any]], None],
        on_host: Callable[[str, Any], Any],
    ) -> None:
        self._arrays = dict(arrays)
        self._kind = kind
        self._on_host = on_host  # copies an array from the network's GPU
        self._write = write  # the engine's method: it waits for training in another thread

    def __getitem__(self, key: str) -> NDArray[Any]:
        if key in self._arrays or not isinstance(key, str):  # `5 in tensors` is False, no error
            return self._arrays[key]
        return self._find(key)

    def _find(self, key: str) -> NDArray[Any]:
        if not self._arrays:
            raise KeyError(f"no {self._kind} {key!r}: this network stores none")
        try:
            return self._arrays[choice(f"{self._kind} key", key, self._arrays)]
        except ValueError as error:
            raise KeyError(str(error)) from None

    def __setitem__(self, key: str, value: ArrayLike) -> None:
        view = self._find(key)
        name = f'{self._kind}["{key}"]'
        array = unread(self._on_host(name, value), name)
        if array.shape != view.shape:
            raise ValueError(f"{name}: expected shape {view.shape}, got {array.shape}")
        self._write(key, convert(numbers(array, name), view.dtype, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        rows = (f"{key!r}: {a.dtype} {a.shape}" for key, a in self._arrays.items())
        return f"{{{', '.join(rows)}}}"

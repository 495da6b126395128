"""All tensors of a network in one piece of GPU memory, and copies to and from its twin in C."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._core import Network as Twin

__all__ = ["Arena"]

ALIGNMENT = 256  # bytes


class Arena:
    """The tensors by key, as CuPy arrays: live views for users and kernels.

    Attributes
    ----------
    parameters, feedback : dict of str to cupy.ndarray
    slots : dict of str to list of cupy.ndarray
    tensors : dict of str to cupy.ndarray
        All of them; slots as "0.weight.slot0".
    memory : cupy.ndarray of uint8
        What they lie in.
    """

    def __init__(self, cupy: Any, twin: Twin) -> None:
        places, size = [], 0
        for array in _tensors(twin):
            places.append(size)
            size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        self.memory = cupy.empty(size, np.uint8)
        self._host = np.zeros(size, np.uint8)
        self._places = places
        views = iter(
            [self._view(cupy, at, a) for at, a in zip(places, _tensors(twin), strict=True)]
        )
        self.parameters: dict[str, Array] = {key: next(views) for key in twin.parameters}
        self.feedback: dict[str, Array] = {key: next(views) for key in twin.feedback}
        self.slots: dict[str, list[Array]] = {
            key: [next(views) for _ in arrays] for key, arrays in twin.slots.items()
        }
        slots = {
            f"{k}.slot{i}": one for k, all_ in self.slots.items() for i, one in enumerate(all_)
        }
        self.tensors: dict[str, Array] = {**self.parameters, **self.feedback, **slots}

    def _view(self, cupy: Any, at: int, like: NDArray[Any]) -> Array:
        return cupy.ndarray(like.shape, like.dtype, self.memory.data + at)

    def push(self, twin: Twin) -> None:
        """Copy all tensors from the twin, by the current stream."""
        for at, array in zip(self._places, _tensors(twin), strict=True):
            self._host[at : at + array.nbytes] = _bytes(array)
        self.memory.set(self._host)

    def pull(self, twin: Twin) -> None:
        """Copy all tensors into the twin, after the work of the current stream."""
        self.memory.get(out=self._host)
        for at, array in zip(self._places, _tensors(twin), strict=True):
            _bytes(array)[:] = self._host[at : at + array.nbytes]


def _tensors(twin: Twin) -> Iterator[NDArray[Any]]:
    yield from twin.parameters.values()
    yield from twin.feedback.values()
    for arrays in twin.slots.values():
        yield from arrays


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)

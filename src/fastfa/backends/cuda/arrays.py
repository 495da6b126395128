"""Arrays on a GPU, of CuPy or another library, as CuPy arrays without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._internal.checks import kind, mismatch
from .gpu import on_gpu

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Array", "as_gpu_array", "is_gpu_array", "to_host", "upload"]

Array = Any  # a cupy.ndarray: CuPy need not be installed where types are checked
_CUDA = (2, 13)  # device types of DLPack: memory of a GPU, and managed memory
_UNREADABLE = (AttributeError, BufferError, LookupError, RuntimeError, TypeError, ValueError)


def is_gpu_array(value: object) -> bool:
    """Whether `value` is an array of CuPy, or says that it lies on a GPU."""
    if isinstance(value, (np.ndarray, list, tuple, int, float)):
        return False
    if hasattr(value, "__cuda_array_interface__"):
        return True
    ask = getattr(value, "__dlpack_device__", None)
    try:
        return ask is not None and int(ask()[0]) in _CUDA
    except _UNREADABLE:  # `_internal.arrays` says what is wrong with it
        return False


def as_gpu_array(name: str, value: Any, gpu: int) -> Array:
    """The memory of an array on this GPU as a CuPy array.

    Work that the caller's current CuPy stream gets from now on comes after the work that makes the
    array: CuPy tells its stream to the other library, or waits for the library's.
    """
    with on_gpu(gpu) as cupy:
        if not isinstance(value, cupy.ndarray):
            try:
                value = _foreign(cupy, value)
            except _UNREADABLE as error:
                got = f"{kind(value)}; {error}"
                raise TypeError(mismatch(name, "an array that CuPy can read", got)) from error
        where = int(value.device.id)
    if where != gpu:
        raise ValueError(
            mismatch(
                name,
                f"an array on the network's GPU, cuda:{gpu}",
                f"one on cuda:{where}",
                f'copy the array, or move the network: net.to("cuda:{where}")',
            )
        )
    return value


def _foreign(cupy: Any, value: Any) -> Array:
    if hasattr(value, "__dlpack__"):
        kind_and_number = value.__dlpack_device__()
        with cupy.cuda.Device(int(kind_and_number[1])):
            return cupy.from_dlpack(value)
    return cupy.asarray(value)


def to_host(array: Array) -> NDArray[Any]:
    """A copy in the memory of the CPU, made after the work that the current stream has queued."""
    with on_gpu(int(array.device.id)):
        copied: NDArray[Any] = array.get()
    return copied


def upload(cupy: Any, values: NDArray[Any]) -> Array:
    """A copy on the current GPU, made by the current stream."""
    array = cupy.empty(values.shape, values.dtype)
    array.set(np.ascontiguousarray(values))
    return array

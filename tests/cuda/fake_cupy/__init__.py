"""A `cupy` without a GPU, for tests: the part of CuPy 14 that the package uses, and no more.

Kernels are compiled by the host shim (`shim.py`) and read real addresses. What a GPU or CuPy
refuses is refused: a pointer of the host, an argument of the wrong width, copies from and to the
host, waiting and allocation while a graph is captured, freed memory, memory of another device.
Fresh and freed memory is poisoned. Work waits in its stream until something waits for it.

`install` puts it into ``sys.modules`` as `cupy`.
"""

import contextlib
import sys

import numpy as np

from fake_cupy import cuda
from fake_cupy.arrays import Capsule, MemoryPointer, ndarray
from fake_cupy.launch import RawModule
from fake_cupy.machine import MACHINE

__version__ = "14.2.0"
__all__ = [
    "RawModule",
    "asarray",
    "asnumpy",
    "cuda",
    "empty",
    "from_dlpack",
    "get_default_memory_pool",
    "ndarray",
    "zeros",
]


@contextlib.contextmanager
def install(**machine):
    """A new machine behind the name `cupy`; see `Machine.reset`."""
    MACHINE.reset(**machine)
    here = sys.modules[__name__]
    modules = {
        "cupy": here,
        "cupy.cuda": cuda,
        "cupy.cuda.runtime": cuda.runtime,
        "cupy.cuda.memory": cuda.memory,
    }
    names = [name for name in sys.modules if name.partition(".")[0] == "cupy"]
    before = {name: sys.modules.pop(name) for name in names}
    sys.modules.update(modules)
    try:
        yield MACHINE
        MACHINE.check_guards()
    finally:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype)


def zeros(shape, dtype=float, order="C"):
    array = ndarray(shape, dtype)
    array.data.memset_async(0, array.nbytes)
    return array


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    """The array itself, a view of one with `__cuda_array_interface__`, or a copy of host data."""
    if isinstance(a, ndarray):
        return a if dtype is None else a.astype(dtype, copy=False)
    if hasattr(a, "__cuda_array_interface__"):
        array = _of_interface(a)
        return array if dtype is None else array.astype(dtype, copy=False)
    values = np.asarray(a, dtype)
    array = ndarray(values.shape, values.dtype)
    array.set(np.ascontiguousarray(values).reshape(values.shape))
    return array


def _of_interface(a):
    how = a.__cuda_array_interface__
    address, _ = how["data"]
    if how.get("stream") is not None:
        if how["stream"] == 0:
            raise ValueError("stream 0 is not allowed in __cuda_array_interface__")
        from fake_cupy.streams import stream_of

        known = MACHINE.find(address, "array")
        stream_of(how["stream"], known.device).synchronize()
    pointer = MemoryPointer(_Foreign(a, address, MACHINE.find(address, "array").device), 0)
    return ndarray(how["shape"], np.dtype(how["typestr"]), pointer, how["strides"])


class _Foreign:
    """Memory that another object keeps alive."""

    def __init__(self, owner, ptr, device):
        self.owner, self.ptr, self.device = owner, ptr, device


def from_dlpack(array, *, device=None, copy=None):
    """A view of another library's array, ordered after its work by the current stream."""
    kind, number = array.__dlpack_device__()
    if kind != 2:
        raise RuntimeError("CuPy is built against CUDA, different from the backend of the tensor")
    stream = cuda.get_current_stream(number)
    capsule = array.__dlpack__(stream=stream.ptr or 1)
    if not isinstance(capsule, Capsule):
        raise ValueError("this fake takes the tensors of its own arrays only")
    given = capsule.array
    pointer = MemoryPointer(_Foreign(array, given.data.ptr, number), 0)
    return ndarray(given.shape, given.dtype, pointer, given.strides)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    if isinstance(a, ndarray):
        return a.get(stream=stream, order=order, out=out, blocking=blocking)
    return np.asarray(a)


class _Pool:
    """The memory pool: what is in use, and a limit."""

    def used_bytes(self):
        return MACHINE.used[MACHINE.current.device]

    total_bytes = used_bytes

    def set_limit(self, size=None, fraction=None):
        MACHINE.limit = size or 0

    def get_limit(self):
        return MACHINE.limit

    def free_all_blocks(self, stream=None):
        """Nothing is kept here."""


def get_default_memory_pool():
    return _Pool()

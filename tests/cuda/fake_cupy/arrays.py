"""Arrays in the memory of a device: NumPy's bytes behind a class that NumPy cannot read."""

import ctypes
import math
from functools import partial

import numpy as np

from fake_cupy.errors import refused_in_capture
from fake_cupy.machine import MACHINE
from fake_cupy.streams import get_current_stream, stream_of


class MemoryPointer:
    """An address, and the block that it keeps alive."""

    def __init__(self, mem, offset):
        self.mem, self.ptr = mem, mem.ptr + offset
        self.offset = offset
        self.device_id = mem.device

    def __add__(self, offset):
        return MemoryPointer(self.mem, self.offset + offset)

    def __int__(self):
        return self.ptr

    def memset_async(self, value, size, stream=None):
        """Set bytes; may be captured."""
        to = MACHINE.bytes_at(self.ptr, size, "memset")
        _stream(stream)._add(partial(_assign, to, value), _check(self.ptr, "memset"))

    def copy_from_device_async(self, src, size, stream=None):
        """Copy bytes within the device; may be captured."""
        to, of = (MACHINE.bytes_at(at, size, "copy") for at in (self.ptr, src.ptr))
        _stream(stream)._add(partial(_assign, to, of), _check(self.ptr, "copy", src.ptr))

    def copy_from_host_async(self, mem, size, stream=None):
        """Copy from an address of the host; it must not change before the copy is done."""
        stream = _stream(stream)
        stream._refuse_capture("copy from the host")
        stream._add(partial(_assign, MACHINE.bytes_at(self.ptr, size, "copy"), _host(mem, size)))

    def copy_to_host_async(self, mem, size, stream=None):
        """Copy to an address of the host, which has the bytes once the stream was waited for."""
        stream = _stream(stream)
        stream._refuse_capture("copy to the host")
        stream._add(partial(_assign, _host(mem, size), MACHINE.bytes_at(self.ptr, size, "copy")))


class PinnedMemoryPointer(bytearray):
    """Host memory for asynchronous copies."""

    def __init__(self, size):
        super().__init__(b"\xff" * max(size, 1))
        self.ptr = np.frombuffer(self, np.uint8).ctypes.data


def alloc_pinned_memory(size):
    MACHINE.require()
    if MACHINE.current.capturing is not None:
        raise refused_in_capture("allocation")
    return PinnedMemoryPointer(size)


def alloc(size):
    """A pointer to fresh memory of the current device."""
    return MemoryPointer(MACHINE.allocate(size, get_current_stream()), 0)


def _stream(stream):
    return get_current_stream() if stream is None else stream


def _check(*addresses_and_name):
    """What a graph looks at before each launch: whether its memory is still there."""
    name, *addresses = sorted(addresses_and_name, key=lambda each: isinstance(each, int))
    return lambda: [MACHINE.find(address, name) for address in addresses]


def _host(address, size):
    return np.frombuffer((ctypes.c_uint8 * size).from_address(int(address)), np.uint8)


def _assign(to, values):
    with np.errstate(all="ignore"):
        to[...] = values


class ndarray:
    """An array in device memory."""

    __array_priority__ = 100

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        self.shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(map(int, shape))
        self.dtype = np.dtype(dtype)
        self.size = math.prod(self.shape)
        self.strides = _c_strides(self.shape, self.dtype.itemsize) if strides is None else strides
        self.data = alloc(self.nbytes) if memptr is None else memptr

    ndim = property(lambda self: len(self.shape))
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    @property
    def device(self):
        from fake_cupy.cuda import Device

        return Device(self.data.device_id)

    @property
    def flags(self):
        return np.lib.stride_tricks.as_strided(
            np.empty(1, self.dtype), self.shape, self.strides
        ).flags

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    # ---- what NumPy may not do with it

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to "
            "construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        raise TypeError(f"numpy.{ufunc.__name__} of an array on a GPU, which this fake lacks")

    def __array_function__(self, function, types, args, keywords):
        raise TypeError(f"numpy.{function.__name__} of an array on a GPU, which this fake lacks")

    def __iter__(self):
        raise TypeError("reading entries one by one, which this fake lacks")

    # ---- views

    def _like_numpy(self, change):
        """The view that `change` makes of a NumPy array of this shape, as an array here."""
        at = np.lib.stride_tricks.as_strided(
            np.empty(1, self.dtype), self.shape, self.strides, writeable=False
        )
        view = change(at)
        if not isinstance(view, np.ndarray):
            view = np.lib.stride_tricks.as_strided(at[(0,) * at.ndim], (), ())
        offset = view.__array_interface__["data"][0] - at.__array_interface__["data"][0]
        return ndarray(view.shape, view.dtype, self.data + offset, view.strides)

    def __getitem__(self, key):
        if isinstance(key, np.ndarray) and key.dtype.kind == "i" and key.ndim == 1:
            return self._taken(key)
        parts = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(p, (int, np.integer, slice)) or p is None for p in parts):
            raise TypeError(
                "only slices, integers and NumPy integers of rows index an array of this fake"
            )
        if any(isinstance(p, (int, np.integer)) for p in parts):
            parts = tuple(
                slice(p, p + 1 or None) if isinstance(p, (int, np.integer)) else p for p in parts
            )
            view = self._like_numpy(lambda a: a[parts])
            drop = {i for i, p in enumerate(key if isinstance(key, tuple) else (key,))
                    if isinstance(p, (int, np.integer))}  # fmt: skip
            keep = [i for i in range(view.ndim) if i not in drop]
            return ndarray([view.shape[i] for i in keep], view.dtype, view.data,
                           tuple(view.strides[i] for i in keep))  # fmt: skip
        return self._like_numpy(lambda a: a[key])

    def _taken(self, rows):
        """Some rows, copied on the current device, which must be that of the array."""
        if MACHINE.current.device != self.data.device_id:
            raise RuntimeError("an index on another device than the array")
        made = ndarray((len(rows), *self.shape[1:]), self.dtype)
        of, to = self._numpy(), made._numpy()
        get_current_stream()._add(lambda: _assign(to, of[rows]))
        return made

    def reshape(self, *shape):
        shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        if not self.flags.c_contiguous:
            return self.copy().reshape(shape)
        at = np.broadcast_to(np.empty(1, np.uint8), self.size).reshape(shape)
        return ndarray(at.shape, self.dtype, self.data)

    def ravel(self):
        return self.reshape(-1)

    def view(self, dtype=None):
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        *outer, last = self.shape
        shape = (*outer, last * self.itemsize // dtype.itemsize)
        return ndarray(shape, dtype, self.data)

    T = property(lambda self: self._like_numpy(lambda a: a.T))

    # ---- values

    def _numpy(self):
        """A NumPy view of the memory, for queued work; it does not keep the block alive."""
        if self.size == 0:
            return np.empty(self.shape, self.dtype)
        size = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        raw = MACHINE.bytes_at(self.data.ptr, size + self.itemsize, "array")
        return np.ndarray(self.shape, self.dtype, raw, 0, self.strides)

    def get(self, stream=None, order="C", out=None, blocking=True):
        stream = _stream(stream)
        stream._refuse_capture("copy to the host")
        out = np.empty(self.shape, self.dtype, order) if out is None else out
        stream._add(partial(_assign, out, self._numpy()))
        if blocking:
            stream.synchronize()
        return out

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self.flags.c_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")
        stream = _stream(stream)
        stream._refuse_capture("copy from the host")
        stream._add(partial(_assign, self._numpy(), np.array(arr)))  # the driver makes a copy too

    def copy(self):
        return self.astype(self.dtype)

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if not copy and self.dtype == np.dtype(dtype):
            return self
        made = ndarray(self.shape, dtype)
        get_current_stream()._add(partial(_assign, made._numpy(), self._numpy()))
        return made

    def fill(self, value):
        get_current_stream()._add(partial(_assign, self._numpy(), value))

    # ---- how other libraries see it

    @property
    def __cuda_array_interface__(self):
        contiguous = self.flags.c_contiguous
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "strides": None if contiguous else self.strides,
            "data": (self.data.ptr if self.size else 0, False),
            "version": 3,
            "stream": get_current_stream(self.data.device_id).ptr or 1,  # 0 is not allowed
        }

    def __dlpack_device__(self):
        return (2, self.data.device_id)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("this fake exports to its own device only")
        here = get_current_stream(self.data.device_id)
        if stream != -1:
            stream_of(1 if stream is None else stream, self.data.device_id).wait_event(
                here.record()
            )
        return Capsule(self)


class Capsule:
    """What `__dlpack__` returns: an array that may be taken once."""

    def __init__(self, array):
        self.array = array


def _c_strides(shape, itemsize):
    strides = []
    for n in reversed(shape):
        strides.insert(0, itemsize)
        itemsize *= max(n, 1)
    return tuple(strides)

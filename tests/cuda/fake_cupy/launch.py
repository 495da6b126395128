"""Compiling kernels for the host, and launching them through raw bytes of their arguments."""

import re
from functools import partial

import numpy as np
import shim

from fake_cupy.arrays import ndarray
from fake_cupy.errors import CUDARuntimeError, illegal_address
from fake_cupy.machine import MACHINE
from fake_cupy.streams import get_current_stream

MAX_THREADS = 1024  # of a block
MOST_UNASKED = 48 << 10  # bytes of shared memory that a launch gets without asking before

_NUMPY = {np.dtype(code).type for code in "?bhilqBHILQefdFD"}


def argument_bytes(value):
    """The bytes that CuPy hands to the driver for an argument, by its rules.

    Arrays are pointers; NumPy scalars and NumPy arrays of size 1 go by value; an int has 8 bytes,
    a float is a double.
    """
    if value is None:
        return bytes(8)
    if isinstance(value, ndarray):
        if value.data.device_id != MACHINE.current.device:
            raise illegal_address(f"an array of device {value.data.device_id}")
        return np.uintp(value.data.ptr).tobytes()
    if isinstance(value, np.ndarray) and value.size == 1:
        return value.tobytes()
    if type(value) in _NUMPY:
        return value.tobytes()
    if isinstance(value, bool):
        return np.bool_(value).tobytes()
    if isinstance(value, int):
        return np.int64(value).tobytes()
    if isinstance(value, float):
        return np.float64(value).tobytes()
    raise TypeError(f"Unsupported type {type(value)}")


class RawModule:
    """Kernels of a text, compiled when the first is asked for."""

    def __init__(self, code=None, *, path=None, options=(), backend="nvrtc", **others):
        if code is None or backend != "nvrtc" or any(others.values()):
            raise ValueError("this fake compiles text by NVRTC only")
        if not isinstance(options, tuple):
            raise TypeError("options: expected a tuple")
        self.code, self.options, self.module = code, options, None

    def compile(self, log_stream=None):
        if self.module is None:
            MACHINE.require()
            self.module = shim.build(self.code, self.options)
            MACHINE.compiled += 1

    def get_function(self, name):
        self.compile()
        if name not in self.module.names:
            raise CUDARuntimeError("CUDA_ERROR_NOT_FOUND", f"named symbol not found: {name}")
        return Kernel(self.module, name, self.code)


class Kernel:
    """A kernel; calling it queues a launch in the current stream, or records it in a graph."""

    def __init__(self, module, name, code):
        self.module, self.name = module, name
        self.sizes = module.parameter_sizes(name)
        self.pointers = _pointers(code, name, len(self.sizes))
        self.shared_size_bytes = 1024  # of variables of a fixed size, about
        self._asked = MOST_UNASKED

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._asked

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        if size + self.shared_size_bytes > MACHINE.shared:
            raise CUDARuntimeError("cudaErrorInvalidValue", "invalid argument")
        self._asked = size

    def __call__(self, grid, block, args, *, shared_mem=0):
        stream = get_current_stream()
        if MACHINE.current.device != stream.device_id:
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle", "invalid resource handle")
        given = [argument_bytes(value) for value in args]  # frozen, as in a launch
        inner = [address for value in args for address in _inner(value)]
        if tuple(map(len, given)) != self.sizes:
            raise AssertionError(
                f"{self.name}: the kernel reads arguments of {self.sizes} bytes, it was given "
                f"{tuple(map(len, given))}"
            )
        grid, block = ((*sizes, 1, 1)[:3] for sizes in (grid, block))
        if not 1 <= np.prod(block) <= MAX_THREADS or min(grid) < 1 or shared_mem > self._asked:
            raise CUDARuntimeError("cudaErrorInvalidConfiguration", "invalid configuration")
        check = partial(self._check_pointers, given, inner)
        check()
        stream._add(partial(self._run, grid, block, shared_mem, given), check)

    def _check_pointers(self, given, inner):
        pointers = [(f"argument {i}", int.from_bytes(given[i], "little")) for i in self.pointers]
        for what, address in pointers + inner:
            if address:
                memory = MACHINE.find(address, f"{self.name}: {what}")
                if memory.device != MACHINE.current.device:
                    raise illegal_address(f"{self.name}: {what} is of another device")

    def _run(self, grid, block, shared_mem, given):
        MACHINE.log.append(self.name)
        order = MACHINE.orders[len(MACHINE.log) % len(MACHINE.orders)]
        self.module.launch(self.name, grid, block, shared_mem, given, order, len(MACHINE.log))


def _inner(value, name=""):
    """Names and values of the addresses in a record: its fields of type uint64."""
    kind = value.dtype if isinstance(value, (np.ndarray, np.void)) else None
    if kind is None or kind.names is None:
        return [(name, int(np.ravel(value)[0]))] if kind == np.uint64 and name else []
    return [each for field in kind.names for each in _inner(value[field], f"{name}.{field}")]


def _pointers(code, name, count):
    """Which parameters of a kernel are pointers, by its text."""
    found = re.search(rf"__global__[^;{{]*?\b{name}\s*\(([^)]*)\)", code)
    parameters = found[1].split(",")
    if len(parameters) != count:
        raise AssertionError(f"{name}: its parameters cannot be read from the text: {found[1]}")
    return [i for i, parameter in enumerate(parameters) if "*" in parameter]

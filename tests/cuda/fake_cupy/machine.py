"""The pretended machine: devices, the blocks of their memory, streams and what waits in them.

Work is queued and runs as late as the program allows: when something waits for it. So a missing
wait between two streams reads poison, as does a host buffer that is changed too early. With
`eager` it runs at once, which finds the opposite mistakes.
"""

import bisect
import os
import threading

import numpy as np

from fake_cupy.errors import (
    CUDARuntimeError,
    OutOfMemoryError,
    illegal_address,
    refused_in_capture,
)

POISON = 0xFF  # NaN as a float, -1 as an integer, no address
GUARD = 256  # bytes behind each block that nobody may write
ALIGNMENT = 512  # of blocks, as in CuPy's pool


class Block:
    """A block of the memory of a device; the garbage collector frees it."""

    def __init__(self, machine, size, device, stream):
        self.machine, self.size, self.device, self.stream = machine, size, device, stream
        room = np.full(max(size, 1) + GUARD + ALIGNMENT, POISON, np.uint8)
        start = -room.ctypes.data % ALIGNMENT
        self.bytes = room[start : start + max(size, 1) + GUARD]
        self.ptr = self.bytes.ctypes.data
        self.alive = True

    def __del__(self):
        if self.alive:
            self.machine.free(self)

    def check_guard(self):
        if (self.bytes[max(self.size, 1) :] != POISON).any():
            raise AssertionError(f"a kernel wrote behind a block of {self.size} bytes")


class Memory:
    """What is known of a block without keeping it alive."""

    def __init__(self, block):
        self.ptr, self.size, self.device = block.ptr, block.size, block.device
        self.bytes = block.bytes
        self.alive = True


class Current(threading.local):
    """What is current in a thread."""

    def __init__(self):
        self.device = 0
        self.streams = {}  # of each device; absent: the default stream
        self.capturing = None  # the stream that records a graph
        self.stack = []  # devices and streams outside of ``with``


class Machine:
    """All state of the fake; `reset` makes it a new machine."""

    def __init__(self):
        self.lock = threading.RLock()  # of what waits in streams
        self.reset()

    def reset(self, devices=2, capacity=1 << 30, eager=False):
        """A new machine; 0 devices: one without a driver."""
        self.devices = devices
        self.capacity, self.limit = capacity, 0
        self.shared = 227 << 10  # bytes that a block of an H100 can ask for
        self.eager = eager
        self.pid = os.getpid()
        self.current = Current()
        self.streams = {}  # by device and handle
        self.blocks = {}  # Memory by address
        self.starts = []  # sorted addresses
        self.used = dict.fromkeys(range(devices), 0)
        self.allocations = 0
        self.log = []  # names of kernels in the order in which they ran, also from graphs
        self.compiled = 0  # modules
        self.orders = ("forward", "reverse", "random")  # of threads, in turn

    # ---- the driver

    def require(self):
        """Raise what CuPy raises without a driver, or in a forked child."""
        if self.devices == 0:
            raise CUDARuntimeError(
                "cudaErrorInsufficientDriver",
                "CUDA driver version is insufficient for CUDA runtime version",
            )
        if os.getpid() != self.pid:
            raise CUDARuntimeError("cudaErrorInitializationError", "initialization error")

    def require_device(self, device):
        self.require()
        if not 0 <= device < self.devices:
            raise CUDARuntimeError("cudaErrorInvalidDevice", "invalid device ordinal")

    # ---- memory

    def allocate(self, size, stream):
        self.require()
        if self.current.capturing is not None:
            raise refused_in_capture("allocation; the pool may reuse that memory before a replay")
        device = self.current.device
        limit = min(self.limit or self.capacity, self.capacity)
        if self.used[device] + size > limit:
            raise OutOfMemoryError(size, self.used[device], self.limit)
        block = Block(self, size, device, stream)
        self.used[device] += size
        self.allocations += 1
        self.blocks[block.ptr] = Memory(block)
        bisect.insort(self.starts, block.ptr)
        return block

    def free(self, block):
        """Poison the memory after the work that its stream has queued before."""
        block.alive = False
        memory = self.blocks.get(block.ptr)
        if memory is None or memory.bytes is not block.bytes:  # of an earlier machine
            return
        self.used[block.device] -= block.size
        memory.alive = False
        block.check_guard()

        def poison():
            memory.bytes[:] = POISON

        if self.current.capturing is None and block.stream is not None:
            block.stream._queue(poison)
        else:
            poison()

    def check_guards(self):
        for memory in self.blocks.values():
            if memory.alive and (memory.bytes[max(memory.size, 1) :] != POISON).any():
                raise AssertionError(f"a kernel wrote behind a block of {memory.size} bytes")

    def find(self, address, what):
        """The live block around an address of the current device, or the error of a GPU."""
        i = bisect.bisect_right(self.starts, address) - 1
        memory = self.blocks[self.starts[i]] if i >= 0 else None
        if memory is None or address >= memory.ptr + max(memory.size, 1):
            raise illegal_address(f"{what}: {address:#x} is no address of a device")
        if not memory.alive:
            raise illegal_address(f"{what}: its memory was freed")
        return memory

    def bytes_at(self, address, size, what):
        """The bytes of a range of device memory, which must lie in one live block."""
        memory = self.find(address, what)
        start = address - memory.ptr
        if start + size > memory.size:
            raise illegal_address(f"{what}: {size} bytes at {start} of a block of {memory.size}")
        return memory.bytes[start : start + size]


MACHINE = Machine()

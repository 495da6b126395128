"""What stands for `cupy.cuda`."""

from types import ModuleType

from fake_cupy.arrays import MemoryPointer, PinnedMemoryPointer, alloc, alloc_pinned_memory
from fake_cupy.errors import CUDARuntimeError, OutOfMemoryError
from fake_cupy.machine import MACHINE
from fake_cupy.streams import Event, ExternalStream, Graph, Stream, get_current_stream

__all__ = [
    "Device",
    "Event",
    "ExternalStream",
    "Graph",
    "MemoryPointer",
    "PinnedMemoryPointer",
    "Stream",
    "alloc",
    "alloc_pinned_memory",
    "get_current_stream",
    "is_available",
]


def is_available():
    """Whether there is a device; raises nothing."""
    return MACHINE.devices > 0


class Device:
    """A device; current within ``with``."""

    def __init__(self, device=None):
        if device is None:
            MACHINE.require()
        self.id = MACHINE.current.device if device is None else int(device)

    def use(self):
        MACHINE.require_device(self.id)
        MACHINE.current.device = self.id

    def __enter__(self):
        MACHINE.current.stack.append(MACHINE.current.device)
        self.use()
        return self

    def __exit__(self, *error):
        MACHINE.current.device = MACHINE.current.stack.pop()

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return self.id

    def synchronize(self):
        MACHINE.require_device(self.id)
        for (device, _), stream in tuple(MACHINE.streams.items()):
            if device == self.id:
                stream.synchronize()

    @property
    def attributes(self):
        MACHINE.require_device(self.id)
        return {"MultiProcessorCount": 4, "MaxSharedMemoryPerBlockOptin": MACHINE.shared}

    @property
    def compute_capability(self):
        MACHINE.require_device(self.id)
        return "90"


def _runtime():
    runtime = ModuleType("cupy.cuda.runtime")
    runtime.CUDARuntimeError = CUDARuntimeError
    runtime.getDeviceCount = _device_count
    runtime.getDevice = _current
    runtime.setDevice = lambda device: Device(device).use()
    return runtime


def _device_count():
    MACHINE.require()
    return MACHINE.devices


def _current():
    MACHINE.require()
    return MACHINE.current.device


runtime = _runtime()
memory = ModuleType("cupy.cuda.memory")
memory.OutOfMemoryError = OutOfMemoryError

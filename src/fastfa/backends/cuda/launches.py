"""The launches of a plan on one GPU, the memory that they work in, and graphs of them."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import kernels, one_block
from .arena import Arena
from .arrays import Array, upload
from .control import Control
from .modules import compiled
from .plan import Plan
from .program import Program
from .steps import Batch, Launch, at_step

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Launches", "Place", "Shape"]

_capturing = Lock()  # one capture at a time in a process

Call = tuple[Any, tuple[int], tuple[int], tuple["NDArray[np.void]"]]


class Shape(NamedTuple):
    """What decides which kernels run, with which arguments."""

    mode: str  # one of `steps.MODES`
    batch: Batch


@dataclass(frozen=True)
class Place:
    """Where a network lies: a GPU, and what all its launches share."""

    cupy: Any
    gpu: int
    multiprocessors: int
    arena: Arena
    control: Control


class _Memory:
    """Addresses for a plan: see `plan.Memory`. It keeps the row buffers and tables of a shape."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.arrays: dict[str, Array] = {}
        self.tables: list[tuple[NDArray[Any], Array]] = []  # on the CPU and on the GPU

    def address(self, key: str) -> int:
        """Of a tensor of the network, of its control block, or of what a mode writes."""
        if key == "control":
            return int(self._place.control.array.data.ptr)
        if key == "sums":
            return self.reserve(key, (2,), "float64")
        if key.endswith(".gradient"):
            like = self._place.arena.tensors[key.removesuffix(".gradient")]
            return self.reserve(key, like.shape, str(like.dtype))
        return int(self._place.arena.tensors[key].data.ptr)

    def reserve(self, name: str, shape: tuple[int, ...], dtype: str) -> int:
        """Of the buffer of a name."""
        if name not in self.arrays:
            self.arrays[name] = self._place.cupy.empty(shape, dtype)
        array = self.arrays[name]
        if array.shape != shape or array.dtype != dtype:
            raise AssertionError(f"{name} is {array.dtype} {array.shape}, not {dtype} {shape}")
        return int(array.data.ptr)

    def upload(self, array: NDArray[Any]) -> int:
        """Of a copy of a table."""
        on_gpu = upload(self._place.cupy, array.reshape(-1).view(np.uint8))
        self.tables.append((array, on_gpu))
        return int(on_gpu.data.ptr)


class Launches:
    """What a plan does with batches of one shape.

    Attributes
    ----------
    arrays : dict of str to cupy.ndarray
        Row buffers by the names of the plan.
    seconds : float
        How long a step took when it was last measured; 0 before.

    `together`: the network trains with others, by `program`; kernels are compiled when they run.
    """

    def __init__(self, place: Place, plan: Plan, shape: Shape, *, together: bool = False) -> None:
        self._place, self._rows = place, shape.batch.m
        self._memory = _Memory(place)
        self.arrays = self._memory.arrays
        self.seconds = 0.0
        self.held: list[Array] = []  # what the last launch of many networks reads
        self._graphs: dict[int, Any] = {}
        self._once: list[Call] = []
        self._plan, self._shape = plan, shape
        step = plan.step(
            shape.mode, shape.batch, self._memory, multiprocessors=place.multiprocessors
        )
        self._launches: list[Launch] = step.all
        advance = kernels.advance(plan.dtype)
        self._advance = advance
        if not together:
            for kernel in (*step.kernels, advance):
                compiled(place.cupy, place.gpu, kernel)

    @cached_property
    def program(self) -> Program:
        """The same launches for one block, with its tiles."""
        memory = _Memory(self._place)
        memory.arrays |= self.arrays
        step = self._plan.step(
            self._shape.mode, self._shape.batch, memory,
            tile=one_block.tile_of(self._plan.dtype), heads=one_block.HEADS,
        )  # fmt: skip
        place = self._place
        self._kept_by_program = memory
        return Program(place.cupy, step, memory.tables, place.control.array, place.arena.memory)

    def run(self) -> None:
        """Launch everything once, for the step of the control block; it does not move on."""
        if not self._once:
            self._once = [self._call(launch, 0) for launch in self._launches]
        _send(self._once)

    def step(self) -> None:
        """Make one step."""
        _send(self._sequence(1))

    def replay(self, steps: int, times: int, stream: Any) -> None:
        """Replay a graph of several steps, several times."""
        graph = self._graphs.get(steps) or self._capture(steps, stream)
        for _ in range(times):
            graph.launch(stream)

    def _call(self, launch: Launch, ahead: int) -> Call:
        function = compiled(self._place.cupy, self._place.gpu, launch.kernel)
        argument = at_step(launch, ahead)
        return function, (launch.blocks,), (launch.kernel.threads,), (argument,)

    def _sequence(self, steps: int) -> list[Call]:
        """The launches of some steps in a row, and of the advance after them."""
        control = int(self._place.control.array.data.ptr)
        advance = self._advance.record(control=control, rows=steps * self._rows, steps=steps)
        function = compiled(self._place.cupy, self._place.gpu, self._advance)
        return [
            *(self._call(launch, t) for t in range(steps) for launch in self._launches),
            (function, (1,), (self._advance.threads,), (advance,)),
        ]

    def _capture(self, steps: int, stream: Any) -> Any:
        """The graph of some steps. Nothing is allocated: all memory is there since `__init__`."""
        calls = self._sequence(steps)
        with _capturing:
            stream.begin_capture()
            try:
                _send(calls)
            except BaseException:
                with suppress(RuntimeError):  # the capture is lost; the stream goes on
                    stream.end_capture()
                raise
            graph = stream.end_capture()
        self._graphs[steps] = graph
        return graph


def _send(calls: Iterable[Call]) -> None:
    """Launch kernels in order.

    No Python code runs in between, so no KeyboardInterrupt comes between an update and the count
    of its step.
    """
    deque(map(operator.call, *zip(*calls, strict=True)), maxlen=0)

"""Networks of one GPU that train at the same time, each by one block of the same launch.

Each network trains in a thread of its own, as it does alone. Where it would launch its next steps,
it waits until all others want steps too, or have ended; then one of the threads launches for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..._internal.samples import Batch, Pieces
from . import kernels, one_block
from .arrays import Array, upload
from .modules import compiled_together
from .samples import GPUSamples, placed_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .launches import Launches
    from .program import Program

__all__ = ["Together"]


class Member(Protocol):
    """The part of a network on a GPU that is used here."""

    gpu: int
    stream: Any
    together: Together | None


@dataclass(eq=False)
class _Request:
    """Steps that a network waits for."""

    net: Member
    program: Program
    steps: int
    done: bool = False
    error: BaseException | None = None
    held: list[Array] = field(default_factory=list)  # what the launch reads


@dataclass(eq=False)
class _Copy:
    """An array of the CPU on the GPU, for all networks that read it."""

    source: NDArray[Any]  # so that no other array gets its address
    array: Array
    made: Any  # an event
    users: set[Member] = field(default_factory=set)


class Together:
    """The networks that train at the moment."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._copies: dict[Any, _Copy] = {}
        self._members = 0
        self._waiting: list[_Request] = []

    @contextmanager
    def with_member(self, net: Member) -> Iterator[None]:
        """While a network trains."""
        with self._changed:
            self._members += 1
            net.together = self
        try:
            yield
        finally:
            with self._changed:
                self._members -= 1
                net.together = None
                for key, copy in list(self._copies.items()):
                    copy.users.discard(net)
                    if not copy.users:
                        del self._copies[key]
                self._changed.notify_all()

    def place(self, cupy: Any, net: Member, batch: Batch) -> GPUSamples:
        """Samples on the GPU, copied once for all networks; within a call of one."""
        return GPUSamples(
            *(None if array is None else self._placed(cupy, net, array) for array in batch)
        )

    def _placed(self, cupy: Any, net: Member, values: Any) -> Array:
        source = values.source if isinstance(values, Pieces) else values
        if not isinstance(source, np.ndarray):
            return values
        at = source.__array_interface__["data"][0], source.shape, source.strides, source.dtype
        key = (net.gpu, *at, values.dtype)
        with self._changed:
            copy = self._copies.get(key)
            if copy is None:
                array = placed_array(cupy, values)
                copy = self._copies[key] = _Copy(source, array, net.stream.record())
            copy.users.add(net)
        net.stream.wait_event(copy.made)
        return copy.array

    def launch(self, cupy: Any, net: Member, launches: Launches, steps: int) -> None:
        """Queue steps of a network, in its stream; within a call of it."""
        request = _Request(net, launches.program, steps)
        with self._changed:
            self._waiting.append(request)
            self._changed.notify_all()
            self._changed.wait_for(lambda: request.done or len(self._waiting) == self._members)
            if request.done:
                batch = []
            else:
                batch, self._waiting = self._waiting, []
        if batch:
            self._launch(cupy, batch)
            with self._changed:
                for each in batch:
                    each.done = True
                self._changed.notify_all()
        launches.held = request.held
        if request.error is not None:
            raise request.error

    def _launch(self, cupy: Any, batch: Sequence[_Request]) -> None:
        """One launch for all networks that have the same kernels, in the stream of one of them."""
        groups: dict[Any, list[_Request]] = {}
        for each in batch:
            groups.setdefault((each.net.gpu, each.program.packed.kernels), []).append(each)
        for (gpu, chosen), group in groups.items():
            try:
                with cupy.cuda.Device(gpu), group[0].net.stream:
                    _launch_group(cupy, gpu, chosen, group)
            except BaseException as error:
                for each in group:
                    each.error = error


def _launch_group(cupy: Any, gpu: int, chosen: Any, group: Sequence[_Request]) -> None:
    stream = group[0].net.stream
    for each in group[1:]:
        stream.wait_event(each.net.stream.record())
    dtype = chosen[0].dtype
    function, most = compiled_together(cupy, gpu, chosen)
    work = one_block.workspace(dtype)
    sizes = [each.program.tensor_bytes for each in group]
    fits = [work + size <= most for size in sizes]
    shared = work + max([size for size, own in zip(sizes, fits, strict=True) if own], default=0)
    table = np.concatenate(
        [each.program.record(each.steps, own, work) for each, own in zip(group, fits, strict=True)]
    )
    on_gpu = upload(cupy, table.view(np.uint8))
    argument = kernels.record("replica_arguments", dtype, networks=on_gpu.data.ptr)
    function((len(group),), (one_block.THREADS,), (argument,), shared_mem=shared)
    made = stream.record()
    for each in group:
        each.held.append(on_gpu)
        if each is not group[0]:
            each.net.stream.wait_event(made)

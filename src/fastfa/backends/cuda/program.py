"""The launches of a network's step, in GPU memory, for a block that makes them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import kernels, one_block
from .arrays import Array, upload
from .steps import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Program"]


class Program:
    """A step of one network as `replica.cu` reads it.

    Parameters
    ----------
    cupy : module
    step : Step
        Made with the tiles of `one_block`.
    tables : list of (ndarray, cupy.ndarray)
        What the step reads besides: on the CPU and on the GPU.
    control, tensors : cupy.ndarray
        The control block, and all tensors of the network.

    Attributes
    ----------
    packed : Packed
    tensor_bytes : int
    """

    def __init__(
        self,
        cupy: Any,
        step: Step,
        tables: list[tuple[NDArray[Any], Array]],
        control: Array,
        tensors: Array,
    ) -> None:
        self.packed = one_block.Packed(step)
        self.tensor_bytes = int(tensors.nbytes)
        low, high = int(tensors.data.ptr), int(tensors.data.ptr) + self.tensor_bytes
        self._arguments = upload(cupy, self.packed.arguments)
        self._launches = upload(cupy, self.packed.launches.view(np.uint8))
        at = [int(self._arguments.data.ptr) + i for i in self.packed.pointers(low, high)]
        for table, on_gpu in tables:
            at += [int(on_gpu.data.ptr) + i for i in one_block.addresses_in(table, low, high)]
        self._n_pointers = len(at)
        self._pointers = upload(cupy, np.array(at or [0], np.uint64))
        self._control, self._tensors = control, tensors

    def record(self, steps: int, shared: bool, workspace: int) -> NDArray[np.void]:
        """`replica` for some steps; `shared`: the tensors fit into shared memory."""
        return kernels.record(
            "replica",
            "float32",
            control=int(self._control.data.ptr),
            launches=int(self._launches.data.ptr),
            arguments=int(self._arguments.data.ptr),
            tensors=int(self._tensors.data.ptr),
            pointers=int(self._pointers.data.ptr),
            words=self.tensor_bytes // 8 if shared else 0,
            workspace=workspace // 8,
            n_launches=len(self.packed.launches),
            n_pointers=self._n_pointers if shared else 0,
            steps=steps,
        )

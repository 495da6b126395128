"""The control block of a network: what changes from step to step, in GPU memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import kernels
from .arrays import Array, upload

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Control"]


class Control:
    """The block on the GPU, and a copy of it on the CPU."""

    def __init__(self, cupy: Any, dtype: str) -> None:
        self.host: NDArray[np.void] = np.zeros(1, kernels.layout("control_block", dtype))
        self.array: Array = upload(cupy, self.host.view(np.uint8))

    def write(self, **values: Any) -> None:
        """Set all fields, those without a value to 0, by the current stream."""
        self.host[...] = np.zeros(1, self.host.dtype)
        kernels.fill(self.host, values)
        self.array.set(self.host.view(np.uint8))

    def read(self) -> np.void:
        """The block after the work of the current stream."""
        self.array.get(out=self.host.view(np.uint8))
        block: np.void = self.host[0]
        return block

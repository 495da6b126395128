"""Looking at values on a GPU by a kernel."""

from __future__ import annotations

from . import kernels
from .arrays import Array
from .gpu import on_gpu
from .modules import compiled

__all__ = ["all_finite"]

BLOCKS = 264  # two for each multiprocessor of the largest GPU today


def all_finite(array: Array, gpu: int) -> bool:
    """Whether no number of a contiguous array is NaN or infinite; waits for the answer."""
    scan = kernels.scan(str(array.dtype), "finite")
    with on_gpu(gpu) as cupy:
        blocks = min(BLOCKS, -(-array.size // scan.threads))
        first = cupy.empty(blocks, "int64")
        arguments = scan.record(
            values=array.data.ptr, first=first.data.ptr, n=array.size, part=-(-array.size // blocks)
        )
        compiled(cupy, gpu, scan)((blocks,), (scan.threads,), (arguments,))
        return bool((first.get() < 0).all())

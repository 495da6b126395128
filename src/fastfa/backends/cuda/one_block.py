"""The text of kernels that train many networks at a time, each by one block. Needs no CuPy.

The kernels are those of `kernels.py`, as functions: a block calls them for each block of their
launches. So a network has the bits that it has alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from . import kernels
from .kernels import Kernel, Tile
from .steps import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HEADS", "THREADS", "Packed", "addresses_in", "entry", "source", "tile_of", "workspace"]

THREADS = 128  # as in replica.cu
_ENTRY = re.compile(r'extern "C" __global__ void(?: __launch_bounds__\(.*?\))?\s+(\w+)\((\w+) a\)')
_SHARED = "__shared__ __align__(16) T shared[TILE::shared];"
_DYNAMIC = "T *const shared = (T *)shared_of_launch();"
_SINGLE = Tile(32, 32, 16, 2, 4)
_DOUBLE = Tile(32, 32, 8, 2, 4)
# For 16, 32 and 64 outputs
HEADS = (Tile(8, 16, 16, 1, 1), Tile(4, 32, 16, 1, 1), Tile(4, 64, 8, 1, 2))


def tile_of(dtype: str) -> Tile:
    """The tile of all products."""
    return _SINGLE if dtype == "float32" else _DOUBLE


def workspace(dtype: str) -> int:
    """Bytes of shared memory that the products work in."""
    size = np.dtype(dtype).itemsize
    padding = 16 // size
    tiles = (tile_of(dtype), *HEADS)
    most = max(2 * tile.depth * (tile.rows + tile.cols + 2 * padding) for tile in tiles)
    return -(-most * size // 16) * 16


def entry(dtype: str) -> str:
    """The name of the entry point."""
    return f"fa_replicas_{'f32' if dtype == 'float32' else 'f64'}"


def source(chosen: Sequence[Kernel]) -> str:
    """The text of a module that runs these kernels, all of one dtype; `Packed` numbers them so."""
    dtype = chosen[0].dtype
    text = _ENTRY.sub(_function, kernels.source(chosen))
    text = text.replace(_SHARED, _DYNAMIC).replace("blockIdx.x", "fa_block")
    once, _, body = kernels.part("replica.cu").partition(kernels.MARK)
    calls = "".join(_call(i, kernel) for i, kernel in enumerate(chosen))
    cases = "".join(f"    case {i}: launch_{i}({_NAMES}); break;\n" for i in range(len(chosen)))
    choice = f"FA_INLINE void run_launch(int kernel, {_PARAMETERS})"
    text += f"{once}{calls}\n{choice}\n{{\n    switch (kernel) {{\n{cases}    }}\n}}\n"
    return text + body.replace("KERNEL", entry(dtype))


def _function(found: re.Match[str]) -> str:
    name, struct = found.groups()
    return f"FA_INLINE void {name}({struct} a, int fa_block)"


_PARAMETERS = "const unsigned char *argument, int ahead, int block"
_NAMES = "argument, ahead, block"


def _call(number: int, kernel: Kernel) -> str:
    """A function that is not inlined, so that each kernel has all registers."""
    ahead = "".join(f"    a.{path} = ahead;\n" for path in _aheads(kernel.struct, kernel.dtype))
    return (
        f"\nstatic __device__ __noinline__ void launch_{number}({_PARAMETERS})\n{{\n"
        f"    {kernel.struct} a = *(const {kernel.struct} *)argument;\n{ahead}"
        f"    {kernel.entry}(a, block);\n}}\n"
    )


@cache
def _aheads(struct: str, dtype: str) -> tuple[str, ...]:
    """Where the argument of a kernel has the number of the step."""
    kind, found = kernels.layout(struct, dtype), []
    for name in kind.names or ():
        inner = kind[name].names or ()
        found += ["ahead"] if name == "ahead" else []
        found += [f"{name}.ahead"] if "ahead" in inner else []
    return tuple(found)


class Packed:
    """The launches of a step as bytes, and where the tensors' addresses are in them.

    Attributes
    ----------
    kernels : tuple of Kernel
        The n-th has the number n.
    launches : ndarray
        Of `replica_launch`.
    arguments : ndarray of uint8
    """

    def __init__(self, step: Step) -> None:
        self.kernels = tuple(step.kernels)
        self.launches = np.zeros(len(step.all), kernels.layout("replica_launch", "float32"))
        self._records: list[tuple[int, NDArray[np.void]]] = []
        at = 0
        for row, launch in zip(self.launches, step.all, strict=True):
            row["kernel"], row["blocks"] = self.kernels.index(launch.kernel), launch.blocks
            row["at"] = at
            self._records.append((at, launch.record))
            at += -(-launch.record.nbytes // 16) * 16
        self.arguments = np.zeros(at, np.uint8)
        for begin, record in self._records:
            self.arguments[begin : begin + record.nbytes] = record.view(np.uint8)

    def pointers(self, low: int, high: int) -> list[int]:
        """Offsets in `arguments` of addresses from `low` on and below `high`."""
        return [
            begin + offset
            for begin, record in self._records
            for offset in addresses_in(record, low, high)
        ]


def addresses_in(table: NDArray[np.void], low: int, high: int) -> list[int]:
    """Offsets in an array of records of addresses from `low` on and below `high`."""
    return [
        row * table.itemsize + offset
        for offset, values in _pointer_fields(table, 0)
        for row in np.flatnonzero((values >= low) & (values < high)).tolist()
    ]


def _pointer_fields(table: NDArray[Any], offset: int) -> list[tuple[int, NDArray[np.uint64]]]:
    if table.dtype.names is None:
        return [(offset, table)] if table.dtype == np.uint64 else []
    return [
        each
        for name in table.dtype.names
        for each in _pointer_fields(table[name], offset + table.dtype.fields[name][1])  # type: ignore[index]
    ]

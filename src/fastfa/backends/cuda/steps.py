"""Launches of a step, the memory that they ask for, and the choice of tiles. Needs no CuPy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .kernels import TILES, Kernel, Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MODES", "Batch", "Launch", "Memory", "Step", "at_step", "choose_tile"]

MODES = ("train", "gradients", "deltas", "evaluate", "predict", "logits")


@dataclass(frozen=True)
class Batch:
    """The samples of a step.

    m rows, "numbers" of the network's dtype or "bytes"; whether their targets are labels (or else
    rows), and whether they have weights.
    """

    m: int
    samples: str = "numbers"
    labels: bool = True
    weighted: bool = False


class Memory(Protocol):
    """Device memory, as a plan sees it. Addresses are integers."""

    def address(self, key: str) -> int:
        """Of a tensor of the network: "0.weight", "0.weight.slot1", "0.feedback".

        For gradients also "0.weight.gradient". And "control": the control block.
        """

    def reserve(self, name: str, shape: tuple[int, ...], dtype: str) -> int:
        """Of a row buffer, which may be shared by all steps that ask for the same name."""

    def upload(self, array: NDArray[Any]) -> int:
        """Of a copy of a small table, which lives as long as the step."""


@dataclass(frozen=True)
class Launch:
    """A kernel, the number of its blocks, and its argument, an array of shape (1,)."""

    kernel: Kernel
    blocks: int
    record: NDArray[np.void]


@dataclass
class Step:
    """The launches of a step, each after the one before; `tail` may run beside the last of them."""

    launches: list[Launch] = field(default_factory=list)
    tail: Launch | None = None

    @property
    def all(self) -> list[Launch]:
        """In an order that is right too."""
        return self.launches + ([self.tail] if self.tail else [])

    @property
    def kernels(self) -> list[Kernel]:
        """What must be compiled."""
        return list(dict.fromkeys(launch.kernel for launch in self.all))


def at_step(launch: Launch, t: int) -> NDArray[np.void]:
    """A copy of a launch's argument for the step `t` after that of the control block."""
    made = launch.record.copy()
    for part in (made, *(made[name] for name in made.dtype.names or ())):
        if part.dtype.names is not None and "ahead" in part.dtype.names:
            part["ahead"] = t
    return made


def choose_tile(sizes: Iterable[tuple[int, int]], dtype: str, multiprocessors: int) -> Tile:
    """The largest tile that still has work for all multiprocessors, or the smallest one."""
    sizes = list(sizes)
    tiles = TILES[dtype]
    for tile in (tiles[name] for name in ("128x128", "64x64", "32x32") if name in tiles):
        if sum(tile.blocks(m, n) for m, n in sizes) >= multiprocessors:
            return tile
    return tiles["16x32"]

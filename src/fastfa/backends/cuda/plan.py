"""Which kernels a network runs on a batch, in which order, with which arguments. Needs no CuPy.

    plan = Plan(twin.description, twin.layers)
    step = plan.step("train", Batch(32, labels=True), memory, multiprocessors=132)
    module = compile(kernels.source(step.kernels))
    for launch in step.launches: ...

A plan asks `Memory` for addresses; it never looks at numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from .blocks import Model
from .kernels import Tile
from .steps import MODES, Batch, Memory, Step
from .updates import UpdateBuilder

__all__ = ["Plan"]


class Plan(Model):
    """A network, and the launches of its steps."""

    def step(
        self,
        mode: str,
        batch: Batch,
        memory: Memory,
        *,
        multiprocessors: int = 1,
        tile: Tile | None = None,
        heads: Sequence[Tile] = (),
    ) -> Step:
        """The launches for a batch.

        Parameters
        ----------
        mode : str
            "train", "gradients", "deltas", "evaluate", "predict" or "logits". The outputs of the
            last two are in the row buffer "output", the deltas in "0.delta", ..., the gradients at
            the addresses "0.weight.gradient", ...
        batch : Batch
            What the samples are.
        memory : Memory
            Where everything lies.
        multiprocessors : int
            Of the GPU, for the choice of tiles.
        tile : Tile, optional
            Of all products, in place of that choice.
        heads : sequence of Tile, optional
            For last layers of up to 16, 32 and 64 outputs, in place of those of `TILES`.
        """
        if mode not in MODES:
            raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
        builder = UpdateBuilder(self, mode, batch, memory, multiprocessors, tile, heads)
        for block in self.blocks[:-1]:
            builder.add_forward(block)
        if mode in ("predict", "logits"):
            builder.add_output()
            return builder.made
        builder.add_loss()
        if builder.trains:
            builder.add_signals()
        if mode in ("train", "gradients"):
            builder.add_update()
        if mode == "deltas" and batch.weighted:
            builder.add_weights()
        builder.add_sums()
        return builder.made

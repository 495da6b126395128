"""The launches of a step's signals and deltas, by the rules of the blocks. Needs no CuPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import kernels
from .blocks import Block
from .forward import ForwardBuilder
from .support import CHAIN, RULES

__all__ = ["SignalBuilder"]

FEEDBACK = 3 << 28  # the purpose of its random numbers: FA_RNG_FEEDBACK
SECOND = "second."  # the pass of pepita whose input the error has modulated


class SignalBuilder(ForwardBuilder):
    """Adds the launches of signals."""

    def kind_of(self, block: Block) -> str:
        """The kind of a hidden block's signal."""
        kind = RULES[block.rule]
        return "product" if kind == "label" and not self.has_labels else kind

    def source_of(self, block: Block) -> tuple[str, int]:
        """The row buffer that a signal is made of, and its width."""
        if block.rule == "ldfa":
            return block.name("projected"), self.model.rank(block)
        if block.source == "head":
            return block.name("head_error"), self.model.n_out
        if block.source == "target":
            return "target", self.model.n_out
        neighbours = {"above": self.model.above, "below": self.model.below}
        of = neighbours[block.source](block) if block.source in neighbours else self.last
        return of.name("delta"), of.n_out

    def matrix_of(self, block: Block) -> int:
        """The address of what carries the source to a block; 0: signs without sizes."""
        above = self.model.above(block)
        keys = {"backprop": above.name("weight"), "frozen": above.name("weight"),
                "local": block.name("head.weight"), "ldfa": block.name("feedback.Q")}  # fmt: skip
        if block.source == "below":
            keys["ifa"] = block.name("weight")
        if block.rule == "usf":
            return 0
        if block.rule == "brsf":
            shape = (above.n_out, block.n_out)
            return self.memory.reserve(block.name("drawn"), shape, self.dtype)
        return self.memory.address(keys.get(block.rule, block.name("feedback")))

    def signal_fields(self, block: Block) -> dict[str, Any]:
        """The fields of `signal` of a hidden block."""
        source, width = self.source_of(block)
        kind = self.kind_of(block)
        fields = {
            "source": self.buffer(source, width),
            "matrix": self.matrix_of(block),
            "x": self.buffer(block.name("preact" if block.preact else "out"), block.n_out),
            "delta": self.buffer(block.name("delta"), block.n_out),
            **self.dropout_table(block.dropouts),
            "k": width,
            "n": block.n_out,
            "kind": kernels.SIGNALS.index(kind),
            "activation": kernels.ACTIVATIONS.index(block.activation),
            "exact": int(block.exact),
            "learns": int(block.learns),
            "threshold": block.options.get("threshold", 0.0),
            "option": block.option,
        }
        if kind == "label":
            fields["label"] = self.buffer("label", 1, "int32")
        if kind == "signs":
            fields["weight"] = self.memory.address(self.model.above(block).name("weight"))
            fields["size"] = self.model.sign_size(block) if block.rule == "usf" else 0
        return fields

    def add_signal(self, blocks: Sequence[Block]) -> None:
        """The deltas of some blocks, in one launch."""
        if not blocks:
            return
        rows = [self.signal_fields(block) for block in blocks]
        kinds = {self.kind_of(block) for block in blocks}
        activations = {block.activation for block in blocks}
        drops = any(block.dropouts for block in blocks)
        learns = any(block.learns for block in blocks)
        self.add_products(rows, kinds, activations, drops=drops, learns=learns)

    def add_products(
        self, rows: Sequence[dict[str, Any]], kinds: set[str], activations: set[str], **options: Any
    ) -> None:
        """A launch of `signal`."""
        sizes = [(self.m, row["n"]) for row in rows]
        tile = self.tile_for(*sizes)
        table = np.concatenate([kernels.record("signal", self.dtype, **row) for row in rows])
        tiles = kernels.tile_table(tile, [(m, n, False) for m, n in sizes])
        kernel = kernels.signal(self.dtype, kinds, activations, tile, **options)
        at = {"layers": self.memory.upload(table), "tiles": self.memory.upload(tiles)}
        self.add(kernel, len(tiles), control=self.control, **at, m=self.m)

    def add_product_of(
        self, kind: str, source: tuple[str, int], matrix: int, to: tuple[str, int], **fields: Any
    ) -> None:
        """A product alone, without f'; see `struct signal` for the fields."""
        row = {"source": self.buffer(*source), "k": source[1], "matrix": matrix}
        row |= {"delta": self.buffer(*to), "n": to[1], "kind": kernels.SIGNALS.index(kind)}
        drops, learns = fields.get("n_dropouts", 0) > 0, fields.get("learns", 0) > 0
        self.add_products([row | fields], {kind}, {"linear"}, drops=drops, learns=learns)

    # ---- all signals

    def add_signals(self) -> None:
        """All deltas that the step needs: first those that wait for no other delta."""
        hidden = [block for block in self.model.blocks[:-1] if block.needed]
        if self.model.two_passes:
            self.add_second_pass(hidden)
            return
        for block in hidden:
            if block.rule == "brsf":
                self.add_draw(block)
            if block.rule == "local":
                self.add_local_head(block)
        waiting = [b for b in hidden if b.rule in CHAIN or b.source == "below"]
        self.add_signal([block for block in hidden if block not in waiting])
        for block in waiting:
            if block.source == "below":
                self.add_signal([block])
        for block in reversed(waiting):
            if block.rule == "ldfa":
                self.add_factors(block)
            if block.rule in CHAIN:
                self.add_signal([block])

    def add_draw(self, block: Block) -> None:
        """The sizes of the entries of brsf's feedback in this step."""
        kernel, n = kernels.draw(self.dtype), self.model.above(block).n_out * block.n_out
        limit = block.options["feedback"]["scale"] / np.sqrt(float(block.n_out))
        ordinal = FEEDBACK | (block.ordinal & 0xFFF) << 16
        at = {"control": self.control, "out": self.matrix_of(block)}
        blocks = -(-n // (2 * kernel.threads))
        self.add(kernel, blocks, **at, n=n, limit=limit, ordinal=ordinal, **self.seed)

    def add_local_head(self, block: Block) -> None:
        """The error of a block's own prediction."""
        n = self.model.n_out
        at = {"control": self.control, "m": self.m, "k": block.n_out}
        at["left"] = self.output_of(block)
        weights = self.weights(block, "head.")
        fields = self.more_loss_fields(self.buffer(block.name("head_error"), n))
        if tile := self.fitting_head():
            self.add_head(tile, at, weights, fields, "linear")
            return
        z = self.buffer(block.name("head_out"), n)
        self.add_product({"in": at, **weights, "out": z, "n": n}, "linear")
        kernel = kernels.loss(self.dtype, self.model.loss)
        self.add(kernel, kernels.loss_blocks(self.m), loss=fields, z=z, x=z)

    def add_factors(self, block: Block) -> None:
        """T = d P of ldfa, and what Oja's rule learns from: T P^T - d."""
        above = self.model.above(block)
        d, t = (above.name("delta"), above.n_out), self.source_of(block)
        p = self.memory.address(block.name("feedback.P"))
        self.add_product_of("product", d, p, t, learns=1)
        if block.options["oja"]:
            residual = (block.name("residual"), above.n_out)
            self.add_product_of("plus", t, p, residual, x=self.buffer(*d), add=-1)

    def add_second_pass(self, hidden: Sequence[Block]) -> None:
        """Pepita: the error modulates the input of a second pass; deltas are the differences."""
        model, first = self.model, self.model.blocks[0]
        error = (self.last.name("delta"), model.n_out)
        x = self.buffer("raw" if model.input_dropouts else "input", first.n_in)
        matrix = self.memory.address("input.feedback")
        fields = self.dropout_table(model.input_dropouts)
        to = (f"{SECOND}input", first.n_in)
        self.add_product_of("plus", error, matrix, to, x=x, add=1, **fields)
        for block in model.blocks[:-1]:
            self.add_forward(block, SECOND)
        self.add_loss(SECOND)
        kernel = kernels.subtract(self.dtype)
        for block in hidden:
            n = self.m * block.n_out
            at = {"first": self.output_of(block), "second": self.output_of(block, SECOND)}
            at["out"] = self.buffer(block.name("delta"), block.n_out)
            self.add(kernel, -(-n // kernel.threads), **at, n=n)

"""The launches of forward passes and losses. Needs no CuPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import kernels
from .blocks import MOST_NUMBERS, Block, Model
from .kernels import NEEDS_PREACT, TILES, Kernel, Tile
from .steps import Batch, Launch, Memory, Step, choose_tile

__all__ = ["DROPOUT", "ForwardBuilder"]

DROPOUT = 4 << 28  # the purpose of its random numbers: FA_RNG_DROPOUT


class ForwardBuilder:
    """The launches of one step, one after the other: those of forward passes.

    A pass has row buffers of its own: "0.out", "second.0.out".
    """

    def __init__(
        self,
        model: Model,
        mode: str,
        batch: Batch,
        memory: Memory,
        multiprocessors: int,
        tile: Tile | None,
        heads: Sequence[Tile] = (),
    ) -> None:
        self.model, self.mode, self.batch, self.memory = model, mode, batch, memory
        self.multiprocessors, self.tile = multiprocessors, tile
        usual = [TILES[model.dtype][name] for name in ("head16", "head32", "head64")]
        self.heads = heads or usual
        self.dtype, self.m, self.last = model.dtype, batch.m, model.blocks[-1]
        self.trains = mode in ("train", "gradients", "deltas")
        self.made = Step()

    # ---- what the launches share

    def launch(self, kernel: Kernel, blocks: int, **values: Any) -> Launch:
        """A launch, not yet one of the step."""
        return Launch(kernel, blocks, kernel.record(**values))

    def add(self, kernel: Kernel, blocks: int, **values: Any) -> None:
        """The next launch of the step."""
        self.made.launches.append(self.launch(kernel, blocks, **values))

    def buffer(self, name: str, width: int, dtype: str | None = None) -> int:
        """The address of a row buffer."""
        if self.m * width >= MOST_NUMBERS:
            raise ValueError(
                f"batch: expected rows x units below 2^32 on a GPU, got {self.m} x {width}; "
                "take smaller batches"
            )
        return self.memory.reserve(name, (self.m, width), dtype or self.dtype)

    @property
    def control(self) -> int:
        """The address of the control block."""
        return self.memory.address("control")

    @property
    def seed(self) -> dict[str, int]:
        """The key of random numbers."""
        seed = int(self.model.description["seed"])
        return {"key0": seed & 0xFFFFFFFF, "key1": seed >> 32 & 0xFFFFFFFF}

    def tile_for(self, *sizes: tuple[int, int]) -> Tile:
        """The tile of a launch with matrices of these sizes."""
        return self.tile or choose_tile(sizes, self.dtype, self.multiprocessors)

    def dropout_table(self, dropouts: Sequence[tuple[int, float]]) -> dict[str, int]:
        """Address and length of a table of dropouts; none unless the mode trains."""
        if not dropouts or not self.trains:
            return {"dropouts": 0, "n_dropouts": 0}
        table = np.zeros(len(dropouts), kernels.layout("dropout", self.dtype))
        for name, word in self.seed.items():
            table[name] = word
        for row, (index, rate) in zip(table, dropouts, strict=True):
            row["drop"] = int(rate * 4294967296.0)
            row["ordinal"] = DROPOUT | (index & 0xFFF) << 16
            row["scale"] = 1 / (1 - rate)
        return {"dropouts": self.memory.upload(table), "n_dropouts": len(dropouts)}

    # ---- layers

    def layer_input(self, block: Block, pass_: str = "") -> dict[str, Any]:
        """The fields of `layer_input`."""
        at: dict[str, Any] = {"control": self.control, "m": self.m, "k": block.n_in}
        if block.ordinal:
            return at | {"left": self.output_of(self.model.below(block), pass_)}
        if pass_:
            return at | {"left": self.buffer(f"{pass_}input", block.n_in)}
        at["scale"] = self.model.input_scale(self.batch.samples)
        at |= self.dropout_table(self.model.input_dropouts)
        if self.trains:
            at["kept"] = self.buffer("input", block.n_in)
            if self.model.two_passes and self.model.input_dropouts:
                at["raw"] = self.buffer("raw", block.n_in)
        return at

    def input_options(self, block: Block, pass_: str = "") -> dict[str, Any]:
        """The options of kernels that depend on a layer's input."""
        first = block.ordinal == 0 and not pass_
        drops = first and self.trains and bool(self.model.input_dropouts)
        return {"samples": self.batch.samples if first else None, "drops_input": drops}

    def output_of(self, block: Block, pass_: str = "") -> int:
        """The buffer that the layer above reads."""
        name = block.output if self.trains else block.name("out")
        return self.buffer(pass_ + name, block.n_out)

    def weights(self, block: Block, name: str = "") -> dict[str, int]:
        """The addresses of weight and bias, of a layer or of its head."""
        found = {f"{block.index}.{name}{what}": what for what in ("weight", "bias")}
        return {
            found[each.key]: self.memory.address(each.key)
            for each in self.model.parameters
            if each.key in found
        }

    def add_forward(
        self, block: Block, pass_: str = "", activation: str | None = None, out: str = ""
    ) -> None:
        """A layer's output; `activation` in place of the layer's own."""
        activation, n = activation or block.activation, block.n_out
        dropouts = self.dropout_table(block.dropouts)
        values = {
            "in": self.layer_input(block, pass_),
            **self.weights(block),
            "out": self.buffer(out or pass_ + block.name("out"), n),
            **dropouts,
            "n": n,
            "option": block.option,
        }
        if activation in NEEDS_PREACT and self.trains:
            values["preact"] = self.buffer(pass_ + block.name("preact"), n)
        if dropouts["n_dropouts"]:
            values["dropped"] = self.output_of(block, pass_)
        options = {**self.input_options(block, pass_), "drops": dropouts["n_dropouts"] > 0}
        self.add_product(values, activation, **options)

    def add_product(self, values: dict[str, Any], activation: str, **options: Any) -> None:
        """A launch of `forward`."""
        size = (self.m, values["n"])
        tile = self.tile_for(size)
        kernel = kernels.forward(self.dtype, activation, tile, **options)
        self.add(kernel, tile.blocks(*size), **values)

    def add_output(self) -> None:
        """What predict returns."""
        loss, link = self.model.loss, self.mode == "predict"
        sigmoid = link and loss == "sigmoid_cross_entropy"
        self.add_forward(self.last, "", "sigmoid" if sigmoid else None, "output")
        if link and loss == "softmax_cross_entropy":
            at = self.buffer("output", self.last.n_out)
            fields = {"control": self.control, "error": at, "m": self.m, "n": self.last.n_out}
            kernel = kernels.loss(self.dtype, "softmax")
            self.add(kernel, kernels.loss_blocks(self.m), loss=fields, z=at, x=at)

    # ---- losses

    def loss_fields(self) -> dict[str, Any]:
        """The fields of `loss_arguments` of the output."""
        n, hidden = self.model.n_out, self.model.blocks[:-1]
        fields = {
            "control": self.control,
            "error": self.buffer(self.last.name("delta"), n),
            "row_loss": self.buffer("row_loss", 1, "float64"),
            "row_hit": self.buffer("row_hit", 1, "float64"),
            "m": self.m,
            "n": n,
            "option": self.last.option,
        }
        if self.trains and self.batch.weighted:
            fields["row_weight"] = self.buffer("row_weight", 1)
        if self.trains and any(block.rule == "drtp" for block in hidden):
            fields["target"] = self.buffer("target", n)
            if self.has_labels:
                fields["label"] = self.buffer("label", 1, "int32")
        return fields

    @property
    def has_labels(self) -> bool:
        """Whether drtp looks up rows in place of a product."""
        return self.batch.labels and self.model.n_out > 1

    def more_loss_fields(self, error: int) -> dict[str, Any]:
        """The same of a further loss, which stops a step but is not reported."""
        fields: dict[str, Any]
        fields = {"control": self.control, "error": error, "m": self.m, "n": self.model.n_out}
        fields["option"] = self.last.option  # a head is linear and reads none
        for name in ("row_loss", "row_hit"):
            fields[name] = self.buffer(f"other_{name}", 1, "float64")
        return fields

    def fitting_head(self) -> Tile | None:
        """The tile whose columns hold all outputs."""
        return next((tile for tile in self.heads if tile.cols >= self.model.n_out), None)

    def add_loss(self, pass_: str = "") -> None:
        """The last layer, its error and losses."""
        last = self.last
        fields = self.loss_fields()
        fields = self.more_loss_fields(fields["error"]) if pass_ else fields
        if tile := self.fitting_head():
            options = self.input_options(last, pass_)
            self.add_head(tile, self.layer_input(last, pass_), self.weights(last), fields,
                          last.activation, **options)  # fmt: skip
            return
        self.add_forward(last, pass_)
        z = self.buffer(pass_ + last.name("out"), last.n_out)
        reads_preact = last.preact and self.trains
        x = self.buffer(pass_ + last.name("preact"), last.n_out) if reads_preact else z
        kernel = kernels.loss(self.dtype, self.model.loss, last.activation)
        self.add(kernel, kernels.loss_blocks(self.m), loss=fields, z=z, x=x)

    def add_head(
        self,
        tile: Tile,
        at: dict[str, Any],
        weights: dict[str, int],
        fields: dict[str, Any],
        activation: str,
        **options: Any,
    ) -> None:
        """A launch of `head`."""
        kernel = kernels.head(self.dtype, self.model.loss, activation, tile, **options)
        self.add(kernel, tile.blocks(self.m, fields["n"]), loss=fields, **{"in": at}, **weights)

    def add_sums(self) -> None:
        """The sum of the losses: of a step, or of an evaluation so far."""
        at = {name: self.buffer(name, 1, "float64") for name in ("row_loss", "row_hit")}
        if self.mode == "evaluate":
            sums = self.memory.address("sums")
            self.add(kernels.sum_rows(self.dtype), 1, sums=sums, **at, m=self.m)
        else:
            kernel = kernels.tail(self.dtype)
            self.made.tail = self.launch(kernel, 1, control=self.control, **at, m=self.m)

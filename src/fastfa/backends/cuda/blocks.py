"""A network as its kernels see it: blocks, their rules, and the tensors that a step changes.

As `csrc/model/plan.c` and the `plan` functions of `csrc/rules`; needs no CuPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .factors import Group
from .kernels import NEEDS_PREACT, OPTION_OF
from .support import check_supported

__all__ = ["MOST_NUMBERS", "Block", "Model", "Parameter"]

MOST_NUMBERS = 2**32  # of a matrix: kernels have indices of 32 bits (`at` in common.cuh)


@dataclass(frozen=True)
class Parameter:
    """A tensor of the network, and what its gradient is made of.

    Attributes
    ----------
    group : Group or None
        Of its factors; None: it does not train.
    left, right : str
        The row buffers whose product is the gradient; left "": ones, of a bias.
    weighs_left : bool
        Whether sample weights multiply the left factor.
    coupled : str
        The key of feedback that gets each step too, transposed.
    coupled_decay : float
        The share that both lose in a step.
    """

    key: str
    rows: int
    cols: int
    group: Group | None = None
    left: str = ""
    right: str = ""
    weighs_left: bool = False
    coupled: str = ""
    coupled_decay: float = 0.0

    @property
    def is_feedback(self) -> bool:
        """Whether it is no weight and no bias."""
        return ".feedback" in self.key


@dataclass(frozen=True)
class Block:
    """A dense layer with the dropouts behind it, as `fa_block` in csrc/model/model.h."""

    index: int
    ordinal: int
    n_in: int
    n_out: int
    activation: str
    option: float  # of the activation, if it has one
    rule: str
    source: str  # "above", "below", "error", "target", "head", "input"
    options: Mapping[str, Any]  # of the rule
    exact: bool
    trainable: bool
    needed: bool
    dropouts: tuple[tuple[int, float], ...]

    @property
    def preact(self) -> bool:
        """Whether f' is computed from A."""
        return self.activation in NEEDS_PREACT

    def name(self, what: str) -> str:
        """Of a row buffer or a tensor."""
        return f"{self.index}.{what}"

    @property
    def output(self) -> str:
        """The row buffer that the layer above reads in a training step."""
        return self.name("dropped" if self.dropouts else "out")

    @property
    def learns(self) -> bool:
        """Whether training changes the feedback of its signal."""
        return self.rule in ("kp", "ldfa") or (self.rule == "dkp" and self.trainable)


class Model:
    """The blocks and parameters of a network.

    `description` and `layers` are those of a network of the engine in C. What the kernels do not
    have is a ValueError.

    Attributes
    ----------
    parameters : list of Parameter
        All tensors, feedback that does not learn too, in the order of the engine.
    trained : list of Parameter
        Those that train.
    groups : list of Group
        Whose factors are in the table of a step.
    """

    def __init__(self, description: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> None:
        check_supported(description)
        self.description = description
        self.dtype: str = description["dtype"]
        self.loss: str = description["loss"]
        self.optimizer: Mapping[str, Any] = description["optimizer"]
        self.input_dropouts: tuple[tuple[int, float], ...] = ()
        self.blocks = self._read_blocks(layers)
        self.two_passes = any(block.rule == "pepita" for block in self.blocks)
        self.parameters = [*self._layer_parameters(), *self._rule_parameters()]
        for parameter in self.parameters:
            if parameter.rows * parameter.cols >= MOST_NUMBERS:
                raise ValueError(
                    f"layer {parameter.key.partition('.')[0]}: units: expected inputs x units "
                    f"below 2^32 on a GPU, got {parameter.rows} x {parameter.cols}"
                )
        self.trained = [each for each in self.parameters if each.group is not None]
        groups = [each.group for each in self.trained if each.group]
        self.groups = list(dict.fromkeys(groups)) or [Group(1.0, False)]

    @property
    def n_in(self) -> int:
        """Inputs of the network."""
        return self.blocks[0].n_in

    @property
    def n_out(self) -> int:
        """Outputs of the network."""
        return self.blocks[-1].n_out

    def above(self, block: Block) -> Block:
        """The block that reads a block's output."""
        return self.blocks[block.ordinal + 1]

    def below(self, block: Block) -> Block:
        """The block whose output a block reads."""
        return self.blocks[block.ordinal - 1]

    def input_scale(self, samples: str) -> float:
        """What samples are multiplied by, bytes divided by."""
        scale = self.description["input_scale"]
        given = scale if isinstance(scale, (int, float)) and scale != 0 else None
        if samples == "bytes":
            return 255.0 if given is None else 1 / given
        return 1.0 if given is None else float(given)

    # ---- blocks

    def _read_blocks(self, layers: Sequence[Mapping[str, Any]]) -> list[Block]:
        described = self.description["layers"]
        facts = {int(layer["index"]): layer for layer in layers}
        starts = [i for i, layer in enumerate(described) if layer["type"] == "dense"]
        width = int(self.description["n_in"])
        self.input_dropouts = self._dropouts(range(starts[0]))
        blocks: list[Block] = []
        for start, end in zip(starts, [*starts[1:], len(described)], strict=True):
            layer, fact = described[start], facts[start]
            hidden = end < len(described)
            options = layer["rule"] or self.description["rule"] if hidden else {}
            blocks.append(
                Block(
                    index=start,
                    ordinal=len(blocks),
                    n_in=width,
                    n_out=layer["units"],
                    activation=layer["activation"],
                    option=layer.get(OPTION_OF.get(layer["activation"], ""), 0.0),
                    rule=fact["rule"],
                    source=fact["source"] or "above",
                    options=options,
                    exact=fact["inject"] != "pre",
                    trainable=fact["trainable"],
                    needed=fact["needed"],
                    dropouts=self._dropouts(range(start + 1, end)),
                )
            )
            width = layer["units"]
        return blocks

    def _dropouts(self, indices: Iterable[int]) -> tuple[tuple[int, float], ...]:
        return tuple((i, self.description["layers"][i]["rate"]) for i in indices)

    # ---- parameters

    def _group(self, lr_scale: float, *, bias: bool = False) -> Group:
        decays = self.optimizer["weight_decay"] != 0
        return Group(lr_scale, decays and (not bias or self.optimizer["decay_bias"]))

    def _layer_parameters(self) -> Iterator[Parameter]:
        for block in self.blocks:
            layer = self.description["layers"][block.index]
            left = self.below(block).output if block.ordinal else "input"
            left = f"second.{left}" if self.two_passes else left
            right, scale = block.name("delta"), layer["lr_scale"]
            weight = Parameter(block.name("weight"), block.n_in, block.n_out, None, left, right)
            bias = Parameter(block.name("bias"), 1, block.n_out, None, "", right)
            if block.trainable:
                weight = replace(weight, group=self._group(scale))
                group = self._group(scale * layer["bias_lr_scale"], bias=True)
                bias = replace(bias, group=group)
            below = self.below(block) if block.ordinal else None
            if below is not None and below.rule == "kp":
                decay = below.options["decay"]
                weight = replace(weight, coupled=below.name("feedback"), coupled_decay=decay)
            yield from (weight, bias) if layer["use_bias"] else (weight,)

    def _rule_parameters(self) -> Iterator[Parameter]:
        drawn = False  # pepita has one matrix for all layers
        for block in self.blocks[:-1]:
            if block.rule == "ldfa":
                yield from self._factors(block)
            elif block.rule == "local":
                yield from self._head(block)
            elif block.rule == "pepita":
                if not drawn:
                    yield Parameter("input.feedback", self.n_in, self.n_out)
                drawn = True
            elif self.stores_feedback(block):
                yield self._feedback(block)

    def stores_feedback(self, block: Block) -> bool:
        """Whether there is a tensor "0.feedback" of a hidden block."""
        if block.rule == "ifa":
            return block.ordinal == 0
        return block.rule not in ("backprop", "frozen", "usf", "brsf", "ldfa", "local", "pepita")

    def _feedback(self, block: Block) -> Parameter:
        rows = self.above(block).n_out if block.source == "above" else self.n_out
        made = Parameter(block.name("feedback"), rows, block.n_out)
        if block.rule != "dkp" or not block.trainable:
            return made
        group = Group(block.options["lr_scale"], False, block.options["decay"], learned=True)
        error = self.blocks[-1].name("delta")
        return replace(made, group=group, left=error, right=block.output, weighs_left=True)

    def rank(self, block: Block) -> int:
        """Of the factors of ldfa."""
        most = min(self.above(block).n_out, block.n_out)
        return int(block.options["rank"] or 0) or min(self.n_out, most)

    def _factors(self, block: Block) -> Iterator[Parameter]:
        rank, o = self.rank(block), block.options
        t = block.name("projected")
        p = Parameter(block.name("feedback.P"), self.above(block).n_out, rank)
        q = Parameter(block.name("feedback.Q"), rank, block.n_out)
        if block.trainable:
            group = Group(o["lr_scale"], False, o["decay"], learned=True)
            q = replace(q, group=group, left=t, right=block.output, weighs_left=True)
            if o["oja"]:
                group = Group(o["oja"], False, learned=True)
                p = replace(p, group=group, left=block.name("residual"), right=t)
        yield from (p, q)

    def _head(self, block: Block) -> Iterator[Parameter]:
        error, scale = block.name("head_error"), block.options["lr_scale"]
        weight = Parameter(block.name("head.weight"), block.n_out, self.n_out)
        bias = Parameter(block.name("head.bias"), 1, self.n_out)
        if block.trainable and block.options["train_head"]:
            group = self._group(scale)
            weight = replace(weight, group=group, left=block.output, right=error)
            bias = replace(bias, group=self._group(scale, bias=True), right=error)
        yield from (weight, bias)

    # ---- signals

    def sign_size(self, block: Block) -> float:
        """The size of the entries of feedback of usf."""
        widths = block.n_out + self.above(block).n_out
        return float(block.options["feedback"]["scale"] * math.sqrt(2.0 / widths))

    # ---- clipping

    def norm_tiles(self) -> list[tuple[Parameter, int, int, int, int]]:
        """The tiles by which the engine sums the squares of gradients, in its order.

        Parameter, first row, rows, first column, columns: `partition_param` in
        csrc/model/plan_tiles.c.
        """
        entries = sum(each.rows * each.cols for each in self.parameters)
        area = int(min(max(2048, entries / 16), 16384))
        found = []
        for each in self.trained:
            parts = -(-each.cols // 256)
            unit = 16 if each.coupled else 8
            height = -(-max(area // -(-each.cols // parts), unit) // unit) * unit
            for part in range(parts):
                begin, end = (_partition(each.cols, p, parts) for p in (part, part + 1))
                for row in range(0, each.rows, height):
                    rows = min(height, each.rows - row)
                    found.append((each, row, rows, begin, end - begin))
        return found


def _partition(cols: int, i: int, parts: int) -> int:
    """The first column of part i: `fa_partition` in csrc/core/partition.c."""
    column = (cols * i // parts + 8) // 16 * 16
    return cols if i == parts else min(column, cols)

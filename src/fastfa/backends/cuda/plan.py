"""Which kernels a network runs on a batch, in which order, with which arguments. Needs no CuPy.

    plan = Plan(twin.description, twin.layers)
    step = plan.step("train", Batch(32, labels=True), memory, multiprocessors=132)
    module = compile(kernels.source(step.kernels))
    for launch in step.launches: ...

A plan asks `Memory` for addresses; it never looks at numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from . import kernels
from .factors import Group, kernel_of, n_slots
from .kernels import NEEDS_PREACT, OPTION_OF, TILES, Kernel, Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "RULES",
    "Batch",
    "Block",
    "Launch",
    "Memory",
    "Plan",
    "Step",
    "at_step",
    "choose_tile",
]

# The rules that these kernels have, and the kind of their signal
RULES = {
    "backprop": "transposed",
    "frozen": "transposed",
    "fa": "product",
    "dfa": "product",
    "sdfa": "sign",
    "ternary": "ternary",
    "drtp": "label",
}
CHAIN = ("backprop", "frozen", "fa")  # they read the delta of the block above
MOST_NUMBERS = 2**32  # of a matrix: kernels have indices of 32 bits (`at` in common.cuh)
MODES = ("train", "gradients", "deltas", "evaluate", "predict", "logits")
DROPOUT = 4 << 28  # the purpose of its random numbers


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


@dataclass(frozen=True)
class Block:
    """A dense layer with the dropouts behind it, as `fa_block` in csrc/model/model.h."""

    index: int
    n_in: int
    n_out: int
    activation: str
    option: float
    rule: str
    exact: bool
    threshold: float
    trainable: bool
    needed: bool
    parameters: tuple[tuple[str, Group], ...]
    dropouts: tuple[tuple[int, float], ...]

    @property
    def preact(self) -> bool:
        """Whether f' is computed from A."""
        return self.activation in NEEDS_PREACT

    def name(self, what: str) -> str:
        """Of a row buffer."""
        return f"{self.index}.{what}"


def _parameters(index: int, layer: Mapping[str, Any], optimizer: Mapping[str, Any]) -> Any:
    decays = optimizer["weight_decay"] != 0
    scale = layer["lr_scale"]
    found = [(f"{index}.weight", Group(scale, decays))]
    if layer["use_bias"]:
        group = Group(scale * layer["bias_lr_scale"], decays and optimizer["decay_bias"])
        found.append((f"{index}.bias", group))
    return tuple(found)


LOSSES = tuple(name for name in kernels.LOSSES if name != "softmax")  # which is a link


class Plan:
    """The blocks of a network, and the launches of a step.

    `description` and `layers` are those of a network of the engine in C. A rule or an option that
    these kernels do not have is a ValueError.
    """

    def __init__(self, description: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> None:
        self.description = description
        self.dtype: str = description["dtype"]
        self.loss: str = description["loss"]
        self.optimizer: Mapping[str, Any] = description["optimizer"]
        if self.optimizer["clip_norm"]:
            raise ValueError("clip_norm: expected 0 on a GPU, got another; train on the CPU")
        self.input_dropouts: tuple[tuple[int, float], ...] = ()
        self.blocks = self._read_blocks(layers)
        for block in self.blocks:
            if block.n_in * block.n_out >= MOST_NUMBERS:
                raise ValueError(
                    f"layer {block.index}: units: expected inputs x units below 2^32 on a GPU, got "
                    f"{block.n_in} x {block.n_out}"
                )
        groups = (group for block in self.blocks for _, group in block.parameters)
        self.groups = list(dict.fromkeys(groups))

    def _read_blocks(self, layers: Sequence[Mapping[str, Any]]) -> list[Block]:
        described = self.description["layers"]
        facts = {int(layer["index"]): layer for layer in layers}
        starts = [i for i, layer in enumerate(described) if layer["type"] == "dense"]
        width = int(self.description["n_in"])
        self.input_dropouts = self._dropouts(range(starts[0]))
        blocks = []
        for start, end in zip(starts, [*starts[1:], len(described)], strict=True):
            layer, fact = described[start], facts[start]
            rule = layer["rule"] or self.description["rule"]
            hidden = end < len(described)
            if hidden and fact["rule"] not in RULES:
                raise ValueError(
                    f"layer {start}: rule: expected one of {', '.join(RULES)} on a GPU, "
                    f"got {fact['rule']!r}; train on the CPU"
                )
            blocks.append(
                Block(
                    index=start,
                    n_in=width,
                    n_out=layer["units"],
                    activation=layer["activation"],
                    option=layer.get(OPTION_OF.get(layer["activation"], ""), 0.0),
                    rule=fact["rule"] if hidden else "output",
                    exact=fact["inject"] == "post",
                    threshold=rule.get("threshold", 0.0) if hidden else 0.0,
                    trainable=fact["trainable"],
                    needed=fact["needed"],
                    parameters=_parameters(start, layer, self.optimizer),
                    dropouts=self._dropouts(range(start + 1, end)),
                )
            )
            width = layer["units"]
        return blocks

    def _dropouts(self, indices: Iterable[int]) -> tuple[tuple[int, float], ...]:
        return tuple((i, self.description["layers"][i]["rate"]) for i in indices)

    @property
    def n_in(self) -> int:
        """Inputs of the network."""
        return self.blocks[0].n_in

    @property
    def n_out(self) -> int:
        """Outputs of the network."""
        return self.blocks[-1].n_out

    def input_scale(self, samples: str) -> float:
        """What samples are multiplied by, bytes divided by."""
        scale = self.description["input_scale"]
        given = scale if isinstance(scale, (int, float)) and scale != 0 else None
        if samples == "bytes":
            return 255.0 if given is None else 1 / given
        return 1.0 if given is None else float(given)

    def step(
        self,
        mode: str,
        batch: Batch,
        memory: Memory,
        *,
        multiprocessors: int = 1,
        tile: Tile | None = None,
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
        """
        if mode not in MODES:
            raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
        return _Builder(self, mode, batch, memory, multiprocessors, tile).build()


class _Builder:
    """The launches of one step, one after the other."""

    def __init__(
        self,
        plan: Plan,
        mode: str,
        batch: Batch,
        memory: Memory,
        multiprocessors: int,
        tile: Tile | None,
    ) -> None:
        self.plan, self.mode, self.batch, self.memory = plan, mode, batch, memory
        self.multiprocessors, self.tile = multiprocessors, tile
        self.dtype, self.m = plan.dtype, batch.m
        self.trains = mode in ("train", "gradients", "deltas")
        self.made = Step()

    def build(self) -> Step:
        """All launches of the mode."""
        for block in self.plan.blocks[:-1]:
            self.add_forward(block)
        if self.mode in ("predict", "logits"):
            self.add_output()
            return self.made
        self.add_loss()
        if self.trains:
            self.add_signals()
        if self.mode in ("train", "gradients"):
            self.add_update()
        if self.mode == "deltas" and self.batch.weighted:
            self.add_weights()
        self.add_sums()
        return self.made

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

    def tile_for(self, *sizes: tuple[int, int]) -> Tile:
        """The tile of a launch with matrices of these sizes."""
        return self.tile or choose_tile(sizes, self.dtype, self.multiprocessors)

    def dropout_table(self, dropouts: Sequence[tuple[int, float]]) -> tuple[int, int]:
        """Address and length of a table of dropouts; none unless the mode trains."""
        if not dropouts or not self.trains:
            return 0, 0
        seed = int(self.plan.description["seed"])
        table = np.zeros(len(dropouts), kernels.layout("dropout", self.dtype))
        table["key0"], table["key1"] = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
        for row, (index, rate) in zip(table, dropouts, strict=True):
            row["drop"] = int(rate * 4294967296.0)
            row["ordinal"] = DROPOUT | (index & 0xFFF) << 16
            row["scale"] = 1 / (1 - rate)
        return self.memory.upload(table), len(dropouts)

    # ---- forward

    def layer_input(self, block: Block) -> dict[str, Any]:
        """The fields of `layer_input`."""
        at: dict[str, Any] = {"control": self.control, "m": self.m, "k": block.n_in}
        if block is not self.plan.blocks[0]:
            return at | {"left": self.output_of(self.below(block))}
        at["scale"] = self.plan.input_scale(self.batch.samples)
        at["dropouts"], at["n_dropouts"] = self.dropout_table(self.plan.input_dropouts)
        if self.trains:
            at["kept"] = self.buffer("input", block.n_in)
        return at

    def input_options(self, block: Block) -> dict[str, Any]:
        """The options of kernels that depend on a layer's input."""
        first = block is self.plan.blocks[0]
        drops = first and self.trains and bool(self.plan.input_dropouts)
        return {"samples": self.batch.samples if first else None, "drops_input": drops}

    def below(self, block: Block) -> Block:
        """The block whose output a block reads."""
        return self.plan.blocks[self.plan.blocks.index(block) - 1]

    def output_of(self, block: Block) -> int:
        """The buffer that the layer above reads."""
        dropped = self.trains and block.dropouts
        return self.buffer(block.name("dropped" if dropped else "out"), block.n_out)

    def weights_of(self, block: Block) -> dict[str, int]:
        """The addresses of a layer's weight and bias."""
        return {key.rpartition(".")[2]: self.memory.address(key) for key, _ in block.parameters}

    def add_forward(self, block: Block, activation: str | None = None, out: str = "out") -> None:
        """A layer's output; `activation` in place of the layer's own."""
        activation = activation or block.activation
        tile = self.tile_for((self.m, block.n_out))
        dropouts, n_dropouts = self.dropout_table(block.dropouts)
        kernel = kernels.forward(
            self.dtype, activation, tile, **self.input_options(block), drops=n_dropouts > 0
        )
        keeps_preact = activation in NEEDS_PREACT and self.trains
        values = {
            "in": self.layer_input(block),
            **self.weights_of(block),
            "preact": self.buffer(block.name("preact"), block.n_out) if keeps_preact else 0,
            "out": self.buffer(out if out == "output" else block.name(out), block.n_out),
            "dropped": self.output_of(block) if n_dropouts else 0,
            "dropouts": dropouts,
            "n_dropouts": n_dropouts,
            "n": block.n_out,
            "option": block.option,
        }
        self.add(kernel, tile.blocks(self.m, block.n_out), **values)

    def add_output(self) -> None:
        """What predict returns."""
        last, loss = self.plan.blocks[-1], self.plan.loss
        link = self.mode == "predict"
        sigmoid = link and loss == "sigmoid_cross_entropy"
        self.add_forward(last, "sigmoid" if sigmoid else last.activation, "output")
        if link and loss == "softmax_cross_entropy":
            at = self.buffer("output", last.n_out)
            fields = {"control": self.control, "error": at, "m": self.m, "n": last.n_out}
            kernel = kernels.loss(self.dtype, "softmax")
            self.add(kernel, kernels.loss_blocks(self.m), loss=fields, z=at, x=at)

    # ---- loss

    def loss_fields(self) -> dict[str, Any]:
        """The fields of `loss_arguments`."""
        last = self.plan.blocks[-1]
        fields = {
            "control": self.control,
            "error": self.buffer(last.name("delta"), last.n_out),
            "row_loss": self.buffer("row_loss", 1, "float64"),
            "row_hit": self.buffer("row_hit", 1, "float64"),
            "m": self.m,
            "n": last.n_out,
            "option": last.option,
        }
        if self.trains and self.batch.weighted:
            fields["row_weight"] = self.buffer("row_weight", 1)
        if self.trains and any(self.kind_of(block) == "label" for block in self.plan.blocks[:-1]):
            fields["label"] = self.buffer("label", 1, "int32")
        if self.trains and any(block.rule == "drtp" for block in self.plan.blocks):
            fields["target"] = self.buffer("target", last.n_out)
        return fields

    def add_loss(self) -> None:
        """The last layer, its error and losses."""
        last = self.plan.blocks[-1]
        tiles = [TILES[self.dtype][name] for name in ("head16", "head32", "head64")]
        fitting = [tile for tile in tiles if tile.cols >= last.n_out]
        if fitting:
            tile = fitting[0]
            kernel = kernels.head(
                self.dtype, self.plan.loss, last.activation, tile, **self.input_options(last)
            )
            fields = {"in": self.layer_input(last), **self.weights_of(last)}
            self.add(kernel, tile.blocks(self.m, last.n_out), **fields, loss=self.loss_fields())
            return
        self.add_forward(last)
        z = self.buffer(last.name("out"), last.n_out)
        x = self.buffer(last.name("preact"), last.n_out) if last.preact and self.trains else z
        kernel = kernels.loss(self.dtype, self.plan.loss, last.activation)
        self.add(kernel, kernels.loss_blocks(self.m), loss=self.loss_fields(), z=z, x=x)

    # ---- signals

    def kind_of(self, block: Block) -> str:
        """The kind of a hidden block's signal."""
        kind = RULES[block.rule]
        by_row = kind == "label" and not (self.batch.labels and self.plan.n_out > 1)
        return "product" if by_row else kind

    def signal_fields(self, block: Block) -> dict[str, Any]:
        """The fields of `signal` of a hidden block."""
        above = self.plan.blocks[self.plan.blocks.index(block) + 1]
        kind = self.kind_of(block)
        n_source = above.n_out if block.rule in CHAIN else self.plan.n_out
        source = above if block.rule in CHAIN else self.plan.blocks[-1]
        dropouts, n_dropouts = self.dropout_table(block.dropouts)
        fields = {
            "source": self.buffer(source.name("delta"), n_source),
            "matrix": self.memory.address(
                f"{above.index}.weight" if kind == "transposed" else f"{block.index}.feedback"
            ),
            "x": self.buffer(block.name("preact" if block.preact else "out"), block.n_out),
            "delta": self.buffer(block.name("delta"), block.n_out),
            "dropouts": dropouts,
            "n_dropouts": n_dropouts,
            "k": n_source,
            "n": block.n_out,
            "kind": kernels.SIGNALS.index(kind),
            "activation": kernels.ACTIVATIONS.index(block.activation),
            "exact": int(block.exact),
            "threshold": block.threshold,
            "option": block.option,
        }
        if block.rule == "drtp":
            fields["source"] = self.buffer("target", n_source)
        if kind == "label":
            fields["label"] = self.buffer("label", 1, "int32")
        return fields

    def add_signal(self, blocks: Sequence[Block]) -> None:
        """The deltas of some blocks, in one launch."""
        if not blocks:
            return
        sizes = [(self.m, block.n_out) for block in blocks]
        tile = self.tile_for(*sizes)
        table = np.concatenate(
            [kernels.record("signal", self.dtype, **self.signal_fields(b)) for b in blocks]
        )
        tiles = kernels.tile_table(tile, [(m, n, False) for m, n in sizes])
        kernel = kernels.signal(
            self.dtype,
            {self.kind_of(block) for block in blocks},
            {block.activation for block in blocks},
            tile,
            drops=any(block.dropouts for block in blocks),
        )
        at = {"layers": self.memory.upload(table), "tiles": self.memory.upload(tiles)}
        self.add(kernel, len(tiles), control=self.control, **at, m=self.m)

    def add_signals(self) -> None:
        """All deltas that the step needs: first those that wait for no other delta."""
        hidden = [block for block in self.plan.blocks[:-1] if block.needed]
        self.add_signal([block for block in hidden if block.rule not in CHAIN])
        for block in reversed(hidden):
            if block.rule in CHAIN:
                self.add_signal([block])

    # ---- update

    def parameter_fields(self, block: Block, key: str, group: Group) -> dict[str, Any]:
        """The fields of `parameter`."""
        weight = key.endswith(".weight")
        first = block is self.plan.blocks[0]
        left = self.buffer("input", block.n_in) if first else self.output_of(self.below(block))
        fields = {
            "value": self.memory.address(key if self.mode == "train" else f"{key}.gradient"),
            "left": left if weight else 0,
            "right": self.buffer(block.name("delta"), block.n_out),
            "rows": block.n_in if weight else 1,
            "cols": block.n_out,
            "group": self.plan.groups.index(group),
        }
        if self.mode == "train":
            fields |= {
                f"slot{i}": self.memory.address(f"{key}.slot{i}")
                for i in range(n_slots(self.plan.optimizer))
            }
        return fields

    def add_update(self) -> None:
        """The step of all trained parameters, or their gradients."""
        trained = [
            (block, key, group)
            for block in self.plan.blocks
            if block.trainable
            for key, group in block.parameters
        ]
        if not trained:
            return
        rows = [self.parameter_fields(*each) for each in trained]
        table = np.concatenate([kernels.record("parameter", self.dtype, **row) for row in rows])
        sizes = [(row["rows"], row["cols"], row["left"] == 0) for row in rows]
        tile = self.tile_for(*[(m, n) for m, n, bias in sizes if not bias])
        tiles = kernels.tile_table(tile, sizes)
        name = kernel_of(self.plan.optimizer) if self.mode == "train" else "gradient"
        kernel = kernels.update(self.dtype, name, tile, weighted=self.batch.weighted)
        at = {"parameters": self.memory.upload(table), "tiles": self.memory.upload(tiles)}
        if self.batch.weighted:
            at["row_weight"] = self.buffer("row_weight", 1)
        counts = {"m": self.m, "groups": len(self.plan.groups)}
        self.add(kernel, len(tiles), control=self.control, **at, **counts)

    def add_weights(self) -> None:
        """Deltas times sample weights."""
        kernel = kernels.weigh(self.dtype)
        weight = self.buffer("row_weight", 1)
        for block in self.plan.blocks:
            if block.needed:
                at = self.buffer(block.name("delta"), block.n_out)
                blocks = -(-self.m * block.n_out // kernel.threads)
                self.add(kernel, blocks, d=at, row_weight=weight, m=self.m, n=block.n_out)

    def add_sums(self) -> None:
        """The sum of the losses: of a step, or of an evaluation so far."""
        at = {name: self.buffer(name, 1, "float64") for name in ("row_loss", "row_hit")}
        if self.mode == "evaluate":
            sums = self.memory.address("sums")
            self.add(kernels.sum_rows(self.dtype), 1, sums=sums, **at, m=self.m)
        else:
            kernel = kernels.tail(self.dtype)
            self.made.tail = self.launch(kernel, 1, control=self.control, **at, m=self.m)

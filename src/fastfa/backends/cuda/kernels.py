"""The CUDA kernels: which variants there are, their text, their arguments. Needs no CuPy.

A `Kernel` is one variant of a file of `kernels/`, for one dtype: its entry point has a name of its
own, and takes ONE argument, a struct by value. The struct is declared in the file; `record` reads
it from there and makes a NumPy record of it, an array of shape (1,), which CuPy passes by value:

    update = kernels.update("float32", "adam", kernels.TILES["float32"]["32x32"])
    module = RawModule(code=kernels.source([update]), options=kernels.OPTIONS)
    arguments = update.record(control=control.ptr, parameters=..., tiles=..., m=32, groups=2)
    module.get_function(update.entry)((len(tiles),), (update.threads,), (arguments,))

Every grid and block has one dimension. Pointers in a record are integers; 0 is NULL. Matrices are
row-major without gaps. Shapes: m rows of the batch, k inputs and n outputs of a layer.

============  ===================  ==================================================  ===========
kernel        struct               blocks                                              in a step
============  ===================  ==================================================  ===========
`forward`     `forward_arguments`  `tile.blocks(m, n)`                                 each layer
`head`        `head_arguments`     `tile.blocks(m, n)`; n <= `tile.cols`               last layer
`loss`        `rows_arguments`     `loss_blocks(m)`, after `forward`, for a wider one  last layer
`signal`      `signal_arguments`   `len(tiles)`, see `tile_table`                      hidden ones
`draw`        `draw_arguments`     n / 2 / threads, rounded up                         brsf: start
`subtract`    `subtract_arguments` n / threads, rounded up                             pepita
`update`      `update_arguments`   `len(tiles)`                                        all
`norm`        `norm_arguments`     one for each tile of `Model.norm_tiles`             clipping
`clip`        `clip_arguments`     1                                                   clipping
`apply`       `apply_arguments`    `len(tiles)`, of `APPLY_TILE`                       clipping
`tail`        `tail_arguments`     1                                                   the end
`advance`     `advance_arguments`  1                                                   end of graph
`sum_rows`    `sum_arguments`      1                                                   evaluate
`loss`        with "softmax": turns logits into probabilities                          predict
`weigh`       `weigh_arguments`    m n / threads, rounded up                           deltas
`scan`        `scan_arguments`     any; each block has `part` values                   checks
============  ===================  ==================================================  ===========

**Order of a step.** forward of each layer; head, or forward and loss; signal of each chain rule
from the top down and one signal for all other rules (signals.py has what some rules need besides);
then update, and beside it tail. Where gradients are clipped, update writes them, and norm, clip and
apply follow. All of a step ends before the next step begins. Only update, tail and those three look
at the flags of the control block, and return at once where the step may not be made; a kernel that
sets a flag does so in an earlier launch of the step, or, for `ruined`, for the steps after this
one.

**The control block** (struct `control_block` in `kernels/common.cuh`) is one record,
`layout("control_block", dtype)`, in device memory. The host writes it before the first launch of a
call: pointers to samples, targets, weights, order (int64) and factors (`factors.py`), `row` of the
first batch, `step` (steps that the network has taken), and 0 in all other fields. In a call of
steps of m rows each, launch number t passes `ahead` = t; a captured graph of u steps has `ahead` =
0 .. u - 1 and ends with `advance(rows=u * m, steps=u)`. A short last batch has another m: first
advance the block (or write it), then launch with `ahead` = 0. After a chunk the host reads the
block: `counted` steps were made, with `loss` and `hits`; if `halt` (a loss is not finite),
`bad_input`, `bad_norm`, `ruined` (a parameter) or `suspect` is set, no later step was made.
`suspect`: a product was not finite; the host looks at all tensors, as the engine in C does. If they
are finite, it writes suspect = 0 and checked = 1, and makes that step again, alone; then checked =
0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ACTIVATIONS",
    "APPLY_TILE",
    "LOSSES",
    "MARK",
    "NEEDS_PREACT",
    "OPTIMIZERS",
    "OPTIONS",
    "OPTION_OF",
    "SIGNALS",
    "TILES",
    "Kernel",
    "Tile",
    "advance",
    "apply",
    "clip",
    "draw",
    "forward",
    "head",
    "layout",
    "loss",
    "loss_blocks",
    "norm",
    "record",
    "scan",
    "signal",
    "source",
    "subtract",
    "sum_rows",
    "tail",
    "tile_table",
    "update",
    "weigh",
]

FOLDER = Path(__file__).with_name("kernels")
# Parts of every module, in this order. The .inc and .def files are csrc's: setup.py copies them.
PARTS = ("one_lane.cuh", "math.inc", "activation.inc", "signs.inc", "optimizer.inc",
         "loss_row.inc", "common.cuh", "product.cuh", "input.cuh", "loss.cuh", "step.cuh",
         "sums.cuh")  # fmt: skip
MARK = "/* ==== once for each variant ==== */"

# For NVRTC. CuPy adds the architecture, -ftz=true and --device-as-default-execution-space itself.
# Nothing may be contracted, and divisions and roots round correctly: the bits are the engine's.
OPTIONS = ("-std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true")

# adamw is adam with another `keep`, radam with other factors
OPTIMIZERS = ("gradient", "plain", "sgd", "rmsprop", "adam", "rmsprop_centered", "adagrad", "nadam",
              "lion")  # fmt: skip
LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mse", "softmax")
SIGNALS = ("product", "sign", "ternary", "label", "transposed", "signs", "plus")
SCANS = ("finite", "labels", "weights", "unit", "shares")
SAMPLES = (None, "numbers", "bytes")


# -------------------------------------------------------------------------------------- the text


@cache
def part(name: str) -> str:
    """A file of the folder; its includes are replaced by their text, for there is no path."""
    text = (FOLDER / name).read_text()
    return re.sub(r'#include "(.*)"\n', lambda found: part(found[1]), text)


@cache
def _flags() -> dict[str, str]:
    """The activations with their flags, in the order of their numbers."""
    rows = r"^FA_(?:ACTIVATION|WITH_OPTION)\((\w+), (\w+),"
    return dict(re.findall(rows, part("activations.def"), re.M))


OPTION_OF = dict(re.findall(r'^FA_WITH_OPTION\((\w+),.*"(\w+)"\)', part("activations.def"), re.M))


ACTIVATIONS = tuple(_flags())
NEEDS_PREACT = frozenset(name for name, flags in _flags().items() if "FA_NEEDS_PREACT" in flags)


def source(kernels: Iterable[Kernel]) -> str:
    """The text of a module with these kernels, all of one dtype."""
    chosen = list(dict.fromkeys(kernels))
    (dtype,) = {kernel.dtype for kernel in chosen}
    pieces = [f"#define FA_SINGLE {int(dtype == 'float32')}\n", *map(part, PARTS)]
    for file in dict.fromkeys(kernel.file for kernel in chosen):
        once, _, body = part(file).partition(MARK)
        pieces.append(once)
        pieces += [kernel.instance(body) for kernel in chosen if kernel.file == file]
    return "".join(pieces)


# ----------------------------------------------------------------------------------- the structs

_NUMBERS = {"int": "i4", "unsigned": "u4", "double": "f8", "int64_t": "i8"}
_NUMBERS["unsigned long long"] = "u8"
_FIELD = re.compile(r"(?:const\s+)?((?:unsigned long long|\w+))\s+(\**)(\w+);")


@cache
def _structs() -> dict[str, str]:
    """The declarations in all files, by name, without comments."""
    files = [*PARTS, *sorted(path.name for path in FOLDER.glob("*.cu"))]
    text = re.sub(r"/\*.*?\*/", "", "".join(map(part, files)), flags=re.S)
    return dict(re.findall(r"^struct (\w+) \{\n(.*?)^\};", text, re.S | re.M))


@cache
def layout(struct: str, dtype: str) -> np.dtype[Any]:
    """The dtype of a struct of the kernels, as the compiler lays it out."""
    fields: list[tuple[str, Any]] = []
    for kind, stars, name in _FIELD.findall(_structs()[struct]):
        if stars:
            fields.append((name, "u8"))
        elif kind == "T":
            fields.append((name, dtype))
        else:
            fields.append((name, _NUMBERS.get(kind) or layout(kind, dtype)))
    return np.dtype(fields, align=True)


def record(struct: str, dtype: str, **values: Any) -> NDArray[np.void]:
    """One struct, an array of shape (1,). Fields without a value are 0; nested ones are dicts."""
    made: NDArray[np.void] = np.zeros(1, layout(struct, dtype))
    fill(made, values)
    return made


def fill(made: NDArray[np.void], values: dict[str, Any]) -> None:
    """Write values into the fields of a record; a name that it does not have is a KeyError."""
    for name, value in values.items():
        if made.dtype.names is None or name not in made.dtype.names:
            raise KeyError(f"{name}: expected one of {made.dtype.names}")
        if isinstance(value, dict):
            fill(made[name], value)
        else:
            made[name] = value


# ------------------------------------------------------------------------------------- the tiles


@dataclass(frozen=True)
class Tile:
    """The outputs of a block, rows x cols, and of each of its threads, high x wide.

    `depth`: the steps of the chains for which the operands lie in shared memory at a time. No
    choice of a tile changes a bit.
    """

    rows: int
    cols: int
    depth: int
    high: int
    wide: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.rows // self.high * (self.cols // self.wide)

    @property
    def text(self) -> str:
        """The type in the text of the kernels."""
        return f"tile<{self.rows}, {self.cols}, {self.depth}, {self.high}, {self.wide}>"

    @property
    def name(self) -> str:
        """For names of entry points."""
        return f"{self.rows}x{self.cols}x{self.depth}_{self.high}x{self.wide}"

    def blocks(self, m: int, n: int) -> int:
        """How many tiles an m x n matrix has."""
        return -(-m // self.rows) * -(-n // self.cols)


_TILES = {
    "16x32": Tile(16, 32, 32, 2, 2),
    "32x32": Tile(32, 32, 16, 2, 4),
    "64x64": Tile(64, 64, 16, 4, 4),
    "128x128": Tile(128, 128, 8, 8, 8),
    "head16": Tile(8, 16, 32, 1, 1),
    "head32": Tile(8, 32, 32, 1, 1),
    "head64": Tile(8, 64, 16, 1, 2),
}
# A float64 takes two registers: half the depth, and not the largest tile.
TILES = {
    "float32": _TILES,
    "float64": {
        name: replace(tile, depth=tile.depth // 2)
        for name, tile in _TILES.items()
        if name != "128x128"
    },
}


def tile_table(kernel_tile: Tile, sizes: Sequence[tuple[int, int, bool]]) -> NDArray[np.void]:
    """The tiles of some matrices for `signal` or `update`: one entry for each block of a launch.

    `sizes`: rows, columns, and whether it is a bias, of which a block has as many columns as it has
    threads. `index` is the position in `sizes`, and so in the table of layers or parameters.
    """
    parts = []
    for index, (rows, cols, bias) in enumerate(sizes):
        down, across = (rows, kernel_tile.threads) if bias else (kernel_tile.rows, kernel_tile.cols)
        i, j = np.meshgrid(np.arange(0, rows, down), np.arange(0, cols, across), indexing="ij")
        part: NDArray[np.void] = np.zeros(i.size, layout("tile_of", "float32"))
        part["index"], part["i0"], part["j0"] = index, i.ravel(), j.ravel()
        parts.append(part)
    return np.concatenate(parts)


# ----------------------------------------------------------------------------------- the kernels


@dataclass(frozen=True)
class Kernel:
    """A variant: its entry point, its struct, the threads of a block, the macros of its text."""

    dtype: str
    file: str
    name: str
    struct: str
    threads: int
    macros: tuple[tuple[str, str], ...] = ()

    @property
    def entry(self) -> str:
        """The name of the entry point, which says all that the variant is made of."""
        return f"{self.name}_{'f32' if self.dtype == 'float32' else 'f64'}"

    def instance(self, body: str) -> str:
        """The text of this variant, from that of all."""
        defines = "".join(f"#define {name} {value}\n" for name, value in self.macros)
        undefines = "".join(f"#undef {name}\n" for name, _ in self.macros)
        return "\n" + defines + body.replace("KERNEL", self.entry) + "\n" + undefines

    def record(self, **values: Any) -> NDArray[np.void]:
        """The argument of a launch; fields without a value are 0."""
        return record(self.struct, self.dtype, **values)


def _kernel(
    dtype: str, file: str, words: Sequence[object], struct: str, threads: int, **macros: object
) -> Kernel:
    name = "_".join(str(word) for word in words if word not in (None, False, ""))
    pairs = tuple((key, str(value)) for key, value in macros.items())
    return Kernel(dtype, f"{file}.cu", f"fa_{name}", struct, threads, pairs)


def _bits(names: Iterable[str], of: Sequence[str]) -> int:
    return sum(1 << of.index(name) for name in set(names))


def forward(
    dtype: str,
    activation: str,
    tile: Tile,
    *,
    samples: str | None = None,
    drops_input: bool = False,
    drops: bool = False,
) -> Kernel:
    """A layer's output. `samples`: "numbers" or "bytes" for the first layer; see forward.cu."""
    words = ("forward", activation, samples, drops_input and "from_drops", drops and "drops")
    return _kernel(
        dtype, "forward", (*words, tile.name), "forward_arguments", tile.threads,
        TILE=tile.text, ACTIVATIONS=_bits([activation], ACTIVATIONS),
        SAMPLES=SAMPLES.index(samples), DROPS_INPUT=int(drops_input), DROPS=int(drops),
    )  # fmt: skip


def head(
    dtype: str,
    loss: str,
    activation: str,
    tile: Tile,
    *,
    samples: str | None = None,
    drops_input: bool = False,
) -> Kernel:
    """The last layer with its loss, where its outputs fit a row of the tile."""
    words = ("head", loss, activation, samples, drops_input and "from_drops", tile.name)
    return _kernel(
        dtype, "head", words, "head_arguments", tile.threads, TILE=tile.text,
        ACTIVATIONS=_bits([activation], ACTIVATIONS), PREACT=int(activation in NEEDS_PREACT),
        LOSS=f"LOSS_{loss}", SAMPLES=SAMPLES.index(samples), DROPS_INPUT=int(drops_input),
    )  # fmt: skip


LOSS_ROWS, LOSS_THREADS = 4, 128  # as in loss.cu


def loss(dtype: str, name: str, activation: str = "linear") -> Kernel:
    """The losses of rows whose outputs are there; "softmax": their probabilities."""
    return _kernel(
        dtype, "loss", ("loss", name, activation), "rows_arguments", LOSS_THREADS,
        LOSS=f"LOSS_{name}", ACTIVATIONS=_bits([activation], ACTIVATIONS),
    )  # fmt: skip


def loss_blocks(m: int) -> int:
    """Blocks of `loss` for m rows."""
    return -(-m // LOSS_ROWS)


def signal(
    dtype: str,
    kinds: Iterable[str],
    activations: Iterable[str],
    tile: Tile,
    *,
    drops: bool = False,
    learns: bool = False,
) -> Kernel:
    """The deltas of layers with these kinds of signals and activations.

    `learns`: feedback of one of them does.
    """
    kinds, activations = sorted(set(kinds)), sorted(set(activations))
    words = ("signal", *kinds, *activations, drops and "drops", learns and "learns", tile.name)
    return _kernel(
        dtype, "signal", words, "signal_arguments", tile.threads, TILE=tile.text,
        SIGNALS=_bits(kinds, SIGNALS), ACTIVATIONS=_bits(activations, ACTIVATIONS),
        DROPS=int(drops), LEARNS=int(learns),
    )  # fmt: skip


def draw(dtype: str) -> Kernel:
    """Uniform numbers of a step."""
    return _kernel(dtype, "draw", ("draw",), "draw_arguments", 128)


def subtract(dtype: str) -> Kernel:
    """The difference of two matrices."""
    return _kernel(dtype, "subtract", ("subtract",), "subtract_arguments", 128)


def update(
    dtype: str, optimizer: str, tile: Tile, *, weighted: bool = False, learns: bool = False
) -> Kernel:
    """The step of all parameters, or their gradients.

    `weighted`: rows have sample weights. `learns`: feedback is among the parameters, or coupled to
    one.
    """
    words = ("update", optimizer, weighted and "weighted", learns and "learns", tile.name)
    return _kernel(
        dtype, "update", words, "update_arguments", tile.threads, TILE=tile.text,
        OPTIMIZER=f"OPTIMIZER_{optimizer}", WEIGHTED=int(weighted), LEARNS=int(learns),
    )  # fmt: skip


def norm(dtype: str) -> Kernel:
    """The squares of gradients, of one tile of the engine in C by a block."""
    return _kernel(dtype, "norm", ("norm",), "norm_arguments", 128)


def clip(dtype: str) -> Kernel:
    """The factor by which gradients are clipped."""
    return _kernel(dtype, "clip", ("clip",), "clip_arguments", 1)


APPLY_TILE = Tile(8, 128, 1, 8, 1)  # as in apply.cu


def apply(dtype: str, optimizer: str, *, learns: bool = False) -> Kernel:
    """The step of all parameters by gradients that are there."""
    words = ("apply", optimizer, learns and "learns")
    return _kernel(
        dtype, "apply", words, "apply_arguments", APPLY_TILE.threads,
        OPTIMIZER=f"OPTIMIZER_{optimizer}", LEARNS=int(learns),
    )  # fmt: skip


def tail(dtype: str) -> Kernel:
    """The sums of a step."""
    return _kernel(dtype, "tail", ("tail",), "tail_arguments", 128)


def advance(dtype: str) -> Kernel:
    """The end of a graph."""
    return _kernel(dtype, "advance", ("advance",), "advance_arguments", 1)


def sum_rows(dtype: str) -> Kernel:
    """The sums of an evaluation."""
    return _kernel(dtype, "sum", ("sum",), "sum_arguments", 128)


def weigh(dtype: str) -> Kernel:
    """Deltas times sample weights."""
    return _kernel(dtype, "weigh", ("weigh",), "weigh_arguments", 128)


def scan(dtype: str, what: str) -> Kernel:
    """The first wrong value: one of `SCANS`."""
    return _kernel(dtype, "scan", ("scan", what), "scan_arguments", 256, SCAN=f"SCAN_{what}")

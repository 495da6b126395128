"""The rows of the speed table: what is compared with what, and the targets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rounds import Rounds, per_round
from workloads import flops

NETS = {  # widths, batch
    "64-128-128-10": ([64, 128, 128, 10], 32),
    "784-512-512-10": ([784, 512, 512, 10], 128),
    "784-1000-1000-10": ([784, 1000, 1000, 10], 128),
    "784-1024x4-10": ([784, 1024, 1024, 1024, 1024, 10], 256),
    "784-256-10": ([784, 256, 10], 1),
}
SMALL, MEDIUM, WIDE, DEEP, ONLINE = NETS
MIB = 2**20

Figures = Callable[[Rounds], list[float]]


class Cell(NamedTuple):
    """One figure of the table: from which case, how, and what it should be."""

    case: str
    figures: Figures  # one a round
    target: float | None = None
    stretch: float | None = None


class Row(NamedTuple):
    """A comparison, on one thread and on two."""

    what: str
    against: str
    at_most: bool  # the target is a ceiling
    unit: str  # "", "x" (times faster), "%", "ns"
    cells: dict[int, Cell]  # by number of threads


class Figure(NamedTuple):
    """A cell with what was measured."""

    value: float
    low: float
    high: float
    reached: bool | None  # None: it has no target
    stretched: bool | None


def measured(row: Row, cell: Cell, store: dict[str, Any]) -> Figure | None:
    """Median, spread and verdict, or None where the case or a peer is missing."""
    rounds = store["cases"].get(cell.case, {}).get("rounds", {})
    try:
        values = cell.figures(rounds)
        value = median(values)
    except (KeyError, ValueError):
        return None

    def passes(target: float | None) -> bool | None:
        return None if target is None else value <= target if row.at_most else value >= target

    return Figure(value, min(values), max(values), passes(cell.target), passes(cell.stretch))


def load(path: Path) -> dict[str, Any]:
    """What was measured so far."""
    return dict(json.loads(path.read_text())) if path.exists() else {"cases": {}}


# ---------------------------------------------------------------------------------------- figures


def over(ours: str, peers: str, scale: float = 1) -> Figures:
    """Our time over the best of the peers'."""
    return lambda rounds: [scale * value for value in per_round(rounds, ours, peers)]


def faster(ours: str, peers: str) -> Figures:
    """Their best time over ours."""
    return lambda rounds: [1 / value for value in per_round(rounds, ours, peers)]


def share_of_peak(label: str, work: float) -> Figures:
    """Percent of the highest peak of all rounds, for `work` operations a step."""

    def figures(rounds: Rounds) -> list[float]:
        return [100 * work / (1e3 * us * max(rounds["peak"])) for us in rounds[label]]

    return figures


def plain(label: str) -> Figures:
    """The figure itself."""
    return lambda rounds: rounds[label]


def memory_ratio(rounds: Rounds) -> list[float]:
    """Bytes held beyond 2 MiB over bytes counted."""
    pairs = zip(rounds["held"], rounds["counted"], strict=True)
    return [(held - 2 * MIB) / counted for held, counted in pairs]


# ------------------------------------------------------------------------------------------- rows


def title(net: str) -> str:
    return f"{net}, batch {NETS[net][1]}"


def on_threads(net: str, figures: Figures, targets: dict[int, tuple[Any, Any]]) -> dict[int, Cell]:
    return {n: Cell(f"{net} t{n}", figures, *targets.get(n, ())) for n in (1, 2)}


def step_rows() -> list[Row]:
    """A step over its GEMM-only bound, and as a share of peak."""
    rows = []
    large = {1: (0.97, 0.93), 2: (0.93, 0.88)}
    small = {
        "backprop": {1: (1.00, 0.93), 2: (0.90, 0.80)},
        "dfa": {1: (1.08, 1.0), 2: (0.95, 0.88)},
    }
    shares = {1: (90, 95), 2: (86, 92)}
    for net in (SMALL, MEDIUM, WIDE, DEEP):
        for rule in ("backprop", "dfa"):
            what, ours = f"{title(net)}, {rule}", f"own {rule}"
            targets = small[rule] if net == SMALL else large
            cells = on_threads(net, over(ours, f"gemm-only {rule}"), targets)
            rows.append(Row(what, "GEMM only", True, "", cells))
            work = share_of_peak(ours, flops(*NETS[net], rule))
            cells = on_threads(net, work, {} if net == SMALL else shares)
            rows.append(Row(what, "FMA peak", False, "%", cells))
    return rows


def peer_rows() -> list[Row]:
    """Backprop against each peer's best, DFA against backprop."""
    torch = {
        MEDIUM: {1: (1.5, 1.6), 2: (1.8, 2)},
        DEEP: {1: (1.2, 1.25), 2: (1.3, 1.4)},
        SMALL: {1: (7, 8), 2: (11, 14)},
    }
    jax = {
        MEDIUM: {1: (1.12, 1.2), 2: (1.25, 1.35)},
        DEEP: {1: (1.08, 1.15), 2: (1.12, 1.2)},
        SMALL: {1: (1.4, 1.6), 2: (2.2, 2.6)},
    }
    rows = []
    for peer, label, targets in (
        ("PyTorch", "torch", torch),
        ("JAX", "jax", jax),
        ("scikit-learn", "sklearn", {}),
    ):
        for net in (SMALL, MEDIUM, DEEP):
            cells = on_threads(net, faster("own backprop", label), targets.get(net, {}))
            rows.append(Row(f"{title(net)}, backprop", peer, False, "x", cells))
    for net in (SMALL, MEDIUM, DEEP):
        ratio = flops(*NETS[net]) / flops(*NETS[net], "dfa")
        goals_ = dict.fromkeys((1, 2), (0.95 * ratio, ratio))
        cells = on_threads(net, faster("own dfa", "own backprop"), goals_)
        rows.append(Row(f"{title(net)}, dfa", "own backprop", False, "x", cells))
    return rows


def bfloat16_rows() -> list[Row]:
    """Products in bfloat16 against float32 and against PyTorch's, which has float32 weights too."""
    own = {MEDIUM: (0.7,), WIDE: (0.62, 0.55), DEEP: (0.62, 0.55)}
    torch = {MEDIUM: (1.2, 1.4), DEEP: (1.1, 1.2)}
    rows = []
    for net, targets in own.items():
        for rule in ("backprop", "dfa"):
            figures = over(f"bfloat16 {rule}", f"float32 {rule}")
            cells = {n: Cell(f"bf16 {net} t{n}", figures, *targets) for n in (1, 2)}
            rows.append(Row(f"bfloat16, {title(net)}, {rule}", "own float32", True, "", cells))
        figures = faster("bfloat16 backprop", "torch")
        cells = {n: Cell(f"bf16 {net} t{n}", figures, *torch.get(net, ())) for n in (1, 2)}
        rows.append(
            Row(f"bfloat16, {title(net)}, backprop", "PyTorch, autocast", False, "x", cells)
        )
    return rows


def online_rows() -> list[Row]:
    """Batch 1: `fit` of a stream."""
    rows = []
    for rule in ("backprop", "dfa"):
        for against, label, targets in (
            ("own learn_one", f"learn_one {rule}", (1.2, 1.4)),
            ("JAX, one step", "jax-step", (1.4, 1.8)),
            ("PyTorch", "torch", (10, 15)),
        ):
            cell = Cell("batch 1", faster(f"fit {rule}", label), *targets)
            rows.append(Row(f"{title(ONLINE)}, fit, {rule}", against, False, "x", {1: cell}))
    return rows


def other_rows() -> list[Row]:
    """What has a case of its own."""
    rows = [
        Row(
            f"two threads, {title(MEDIUM)}",
            "one thread",
            False,
            "x",
            {2: Cell("threads", faster("threads 2", "threads 1"), 1.8, 1.92)},
        ),
        Row(
            f"Adam, {title(DEEP)}",
            "SGD",
            True,
            "",
            {2: Cell("optimizers", over("adam", "sgd"), 1.2, 1.12)},
        ),
        Row(
            f"MNIST epoch from bytes, {title(MEDIUM)}",
            "469 bare steps",
            True,
            "",
            {n: Cell(f"epoch t{n}", over("epoch", "step", 1 / 469), 1.04, 1.02) for n in (1, 2)},
        ),
        Row(
            f"64 replicas over the digits, {title(SMALL)}",
            "64 runs in PyTorch",
            False,
            "x",
            {2: Cell("replicas", faster("replicas", "torch"), 15, 25)},
        ),
        Row(
            f"64 replicas over the digits, {title(SMALL)}",
            "64 own runs on one thread",
            False,
            "x",
            {2: Cell("replicas", faster("replicas", "alone"), 1.9, 1.97)},
        ),
    ]
    for isa, targets in (("v4", (0.4, 0.25)), ("v3", (0.8, 0.5))):
        for f in ("exp", "tanh", "sigmoid"):
            cell = Cell("elementwise", plain(f"{f} {isa}"), *targets)
            rows.append(Row(f"{f} of a float, {isa}", "-", True, "ns", {1: cell}))
    for name, what in (
        ("memory sgd", f"memory, {title(MEDIUM)}, dfa, SGD"),
        ("memory adam", f"memory, {title(DEEP)}, backprop, Adam"),
    ):
        cell = Cell(name, memory_ratio, 1.1)
        rows.append(Row(what, "counted bytes, + 2 MiB", True, "", {2: cell}))
    work = 4.0 * 128 * 784 * 512
    cells = {
        n: Cell(f"product t{n}", share_of_peak("gemm-only backprop", work), 80) for n in (1, 2)
    }
    rows.append(Row("the GEMM-only bound itself, 128 x 784 x 512", "FMA peak", False, "%", cells))
    return rows


ROWS = [*step_rows(), *peer_rows(), *bfloat16_rows(), *online_rows(), *other_rows()]

"""The speed table as a picture: steps over the GEMM-only bound, every figure over its target."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from rounds import per_round
from targets import NETS, ROWS, Figure, Row, measured, title

MARKS = {  # label: of which bound, name, marker, colour
    "own backprop": ("backprop", "fastfa, backprop", "o", "#0072b2"),
    "own dfa": ("dfa", "fastfa, dfa", "D", "#56b4e9"),
    "jax": ("backprop", "JAX, best", "s", "#009e73"),
    "torch": ("backprop", "PyTorch, best", "^", "#d55e00"),
    "sklearn": ("backprop", "scikit-learn", "v", "#999999"),
}
COLOURS = {True: "#0072b2", False: "#d55e00"}  # target reached or not


def draw(store: dict[str, Any], path: Path) -> None:
    """Write the picture to a file."""
    rows = [
        (row, threads, figure, cell)
        for row in ROWS
        for threads, cell in row.cells.items()
        if cell.target is not None and (figure := measured(row, cell, store))
    ]
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(10, 4 + 0.2 * len(rows)), height_ratios=[3, 0.2 * len(rows)]
    )
    draw_steps(above, store)
    draw_targets(below, rows)
    figure.tight_layout()
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def draw_steps(axes: Any, store: dict[str, Any]) -> None:
    """Every workload's step time over the GEMM-only bound."""
    cases = [name for name in store["cases"] if name.rsplit(" t", 1)[0] in NETS]
    for label, (rule, name, marker, colour) in MARKS.items():
        points = []
        for y, case in enumerate(cases):
            rounds = store["cases"][case]["rounds"]
            found = [one for one in rounds if one.startswith(label)]
            if found and f"gemm-only {rule}" in rounds:
                best = {"best": list(map(min, zip(*(rounds[one] for one in found), strict=True)))}
                bound = {"gemm-only": rounds[f"gemm-only {rule}"]}
                points.append((median(per_round(best | bound, "best", "gemm-only")), y))
        if points:
            axes.scatter(*zip(*points, strict=True), marker=marker, color=colour, label=name, s=40)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    ticks = [0.8, 1, 1.5, 2, 3, 5, 10, 20, 50]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    names = []
    for case in cases:
        net, threads = case.rsplit(" t", 1)
        names.append(f"{title(net)}, {threads} thread{'s' if threads != '1' else ''}")
    axes.set_yticks(range(len(cases)), names)
    axes.invert_yaxis()
    axes.set_xlabel(
        "time of a training step over its matrix products alone (log scale; left is faster)"
    )
    axes.grid(axis="x", alpha=0.3)
    if cases:
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=5, fontsize="small")


def draw_targets(axes: Any, rows: list[tuple[Row, int, Figure, Any]]) -> None:
    """How far each figure is from its target."""
    for y, (row, _, figure, cell) in enumerate(rows):

        def better(value: float, row: Row = row, target: float = cell.target) -> float:
            return target / value if row.at_most else value / target

        colour = COLOURS[bool(figure.reached)]
        ends = sorted([better(figure.low), better(figure.high)])
        axes.plot(ends, [y, y], color=colour, linewidth=2, alpha=0.5)
        axes.plot(better(figure.value), y, "o", color=colour, markersize=5)
        if cell.stretch:
            axes.plot(better(cell.stretch), y, "|", color="black", markersize=9)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    ticks = [0.3, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 4]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(
        range(len(rows)),
        [f"{row.what} / {row.against}, t{threads}" for row, threads, *_ in rows],
        fontsize=7,
    )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(
        "figure over its target (log scale; right of 1: reached). Bar: spread, |: stretch target"
    )
    axes.grid(axis="x", alpha=0.3)

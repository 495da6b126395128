"""Faults of a layer's learning signal that its alignment shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._internal.model import Model
    from ..alignment import Alignment

ANTI_ALIGNED = 95.0  # degrees; chance is 90
EXPLODING = 1000.0  # times the error
PATIENCE = 3  # measurements in a row that must show a fault


class FaultDetector:
    """Finds layers with no learning signal or a wrong one, and reports each fault once."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], int] = {}  # by layer and fault: measurements in a row

    def look(self, net: Model, rows: Sequence[Alignment]) -> Iterator[str]:
        """Messages for the faults that have lasted long enough with this measurement."""
        if net.steps == 0:
            return  # before training all angles are random
        learning = {one["index"] for one in net._engine.layers if one["needed"] and one["source"]}
        for fault, (present, describe) in _FAULTS.items():
            certain = [
                row
                for row in rows
                if row.layer in learning and self._count(row.layer, fault, present(row))
            ]
            if certain:
                first, *others = certain
                yield (
                    f"layer {first.layer}, {net.layers[first.layer]!r}: {describe(net, first)}"
                    + _and(others)
                )

    def _count(self, layer: int, fault: str, present: bool) -> bool:
        """Whether a fault has lasted long enough, for the first time."""
        seen = self._seen.get((layer, fault), 0)
        if seen < PATIENCE:
            self._seen[layer, fault] = seen = seen + 1 if present else 0
            return seen == PATIENCE
        return False


def _and(others: Sequence[Alignment]) -> str:
    if not others:
        return ""
    shown = ", ".join(str(row.layer) for row in others[:3]) + ", ..." * (len(others) > 3)
    return f". The same in {len(others)} more: layer {shown}"


def _zero(net: Model, row: Alignment) -> str:
    return f"its deltas stay zero, it learns nothing; likely cause: {_why_zero(net, row.layer)}"


def _why_zero(net: Model, index: int) -> str:
    activation = getattr(net.layers[index], "activation", "")
    carriers = _carriers(net, index)
    if carriers and not any(np.any(matrix) for matrix in carriers):
        return "what feeds the error back to it is all zeros; start it from random values"
    if activation in ("relu", "threshold"):
        return f"its {activation} units are dead; use a smaller lr or another start"
    if activation in ("tanh", "sigmoid"):
        return f"its {activation} units are saturated; use a smaller lr or smaller weights"
    return "the layer above it gets no signal, or the error vanishes on its way down"


def _carriers(net: Model, index: int) -> list[NDArray[Any]]:
    """The matrices that feed the error back to a layer: its own, or that of the input."""
    modulation = net.feedback.get("input.feedback")
    if modulation is not None:
        return [modulation]
    return [net.feedback_matrix(index)] if net._engine.has_feedback_matrix(index) else []


def _anti_aligned(net: Model, row: Alignment) -> str:
    return (
        f"its deltas are {row.delta_angle:.0f} degrees from backprop's, so its steps raise the "
        "loss; likely cause: a layer too narrow to align with its feedback, feedback of the wrong "
        "sign, or an lr so large that the weights above never settle"
    )


def _exploding(net: Model, row: Alignment) -> str:
    return (
        f"its deltas are {row.error_ratio:.2g} times the error; likely cause: feedback or weights "
        "above it that are too large; use a smaller scale or lr, or clip_norm"
    )


_FAULTS: dict[str, tuple[Callable[[Alignment], bool], Callable[[Model, Alignment], str]]] = {
    "zero": (lambda row: row.error_ratio == 0, _zero),
    "anti-aligned": (lambda row: row.delta_angle > ANTI_ALIGNED, _anti_aligned),
    "exploding": (lambda row: row.error_ratio > EXPLODING, _exploding),
}

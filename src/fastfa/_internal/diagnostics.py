"""What `Sequential.alignment` reports beyond angles, and the faults of a layer that it shows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from .._core import Network
    from ..sequential import Alignment, Sequential

ANTI_ALIGNED = 95.0  # degrees; chance is 90
EXPLODING = 1000.0  # times the error
PATIENCE = 3  # measurements in a row that must show a fault
ROWS_AT_ONCE = 4096  # of a tall array, so that its copy in double stays small


@quiet()
def extras(engine: Network, deltas: list[NDArray[Any] | None]) -> list[dict[str, Any]]:
    """The fields "descent", "effective_rank" and "error_ratio" of each hidden layer, lowest first.

    Parameters
    ----------
    engine : Network
    deltas : list of ndarray of shape (m, n_l), or None
        What ``engine.deltas`` returned; None where a layer is not taught. A frozen one that
        hands the error on has a delta that counts as none.
    """
    error = 0.0 if deltas[-1] is None else _rms(deltas[-1])
    taught = [
        d if layer["source"] else None for d, layer in zip(deltas, engine.layers, strict=True)
    ]
    return [
        {
            "descent": descent,
            "effective_rank": math.nan if delta is None else effective_rank(delta),
            "error_ratio": math.nan if delta is None or not error else _rms(delta) / error,
        }
        for delta, descent in zip(taught, _descents(engine, deltas), strict=False)
    ]


@quiet()
def effective_rank(matrix: NDArray[Any]) -> float:
    """exp(entropy of the singular values divided by their sum), from 1 to the rank.

    nan for a matrix of zeros. The singular values are the roots of the eigenvalues of the smaller
    Gram matrix, formed in double.
    """
    peak = float(np.abs(matrix).max(initial=0.0))
    if peak == 0 or not math.isfinite(peak):
        return math.nan
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    gram = np.zeros((tall.shape[1],) * 2)
    for start in range(0, len(tall), ROWS_AT_ONCE):
        rows = tall[start : start + ROWS_AT_ONCE].astype(np.float64) / peak
        gram += rows.T @ rows
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0))
    p = singular[singular > 0] / singular.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def _rms(matrix: NDArray[Any]) -> float:
    return math.sqrt(np.square(matrix, dtype=np.float64).mean())


def _descents(engine: Network, deltas: list[NDArray[Any] | None]) -> list[float | None]:
    """Cosine of e B and e W^T of each hidden layer, where W leads from it to where e is.

    None where no feedback carries an error: a layer that is not taught, or is taught by targets.
    """
    found: list[float | None] = []
    error = exact = deltas[-1]
    layers, parameters = engine.layers, engine.parameters
    for i in range(len(deltas) - 2, -1, -1):
        layer, above = layers[i], layers[i + 1]
        transposed = parameters[f"{above['index']}.weight"].T.astype(np.float64)
        exact = None if exact is None else exact @ transposed  # e W_L^T ... W_{l+1}^T
        source, true = error, exact
        if layer["source"] == "above":
            source = deltas[i + 1]
            true = None if source is None else source @ transposed
        carried = layer["source"] in ("above", "error") and deltas[i] is not None
        carried = carried and engine.has_feedback_matrix(layer["index"])
        if not carried or source is None or true is None:
            found.append(None)
        else:
            found.append(_cosine(source @ engine.feedback_matrix(layer["index"]), true))
    return found[::-1]


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    a = a.astype(np.float64)
    norms = math.sqrt((a**2).sum()) * math.sqrt((b**2).sum())
    return float((a * b).sum() / norms) if norms > 0 else math.nan


# ---- early warning ----


class Watch:
    """Finds layers that are taught nothing or the wrong thing, and names each fault once."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], int] = {}  # by layer and fault: measurements in a row

    def look(self, net: Sequential, rows: Sequence[Alignment]) -> Iterator[str]:
        """Messages for the faults that this measurement makes certain, one for each fault."""
        if net.steps == 0:
            return  # before training every angle is by chance
        taught = {one["index"] for one in net._engine.layers if one["needed"] and one["source"]}
        for fault, (present, describe) in _FAULTS.items():
            certain = [
                row
                for row in rows
                if row.layer in taught and self._count(row.layer, fault, present(row))
            ]
            if certain:
                first, *others = certain
                yield (
                    f"layer {first.layer}, {net.layers[first.layer]!r}: {describe(net, first)}"
                    + _and(others)
                )

    def _count(self, layer: int, fault: str, present: bool) -> bool:
        """Whether a fault has now been there for long enough, for the first time."""
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


def _zero(net: Sequential, row: Alignment) -> str:
    return f"its deltas stay zero, it learns nothing; likely cause: {_why_zero(net, row.layer)}"


def _why_zero(net: Sequential, index: int) -> str:
    activation = getattr(net.layers[index], "activation", "")
    carriers = _carriers(net, index)
    if carriers and not any(np.any(matrix) for matrix in carriers):
        return "what feeds the error back to it is all zeros; start it from random values"
    if activation in ("relu", "threshold"):
        return f"its {activation} units are dead; use a smaller lr or another start"
    if activation in ("tanh", "sigmoid"):
        return f"its {activation} units are saturated; use a smaller lr or smaller weights"
    return "the layer above it is taught nothing, or the error vanishes on its way down"


def _carriers(net: Sequential, index: int) -> list[NDArray[Any]]:
    """What feeds the error back to a layer: its own matrix, or that of the input."""
    modulation = net.feedback.get("input.feedback")
    if modulation is not None:
        return [modulation]
    return [net.feedback_matrix(index)] if net._engine.has_feedback_matrix(index) else []


def _anti_aligned(net: Sequential, row: Alignment) -> str:
    return (
        f"its deltas are {row.delta_angle:.0f} degrees from backprop's, so its steps raise the "
        "loss; likely cause: a layer too narrow to align with its feedback, feedback of the wrong "
        "sign, or an lr so large that the weights above never settle"
    )


def _exploding(net: Sequential, row: Alignment) -> str:
    return (
        f"its deltas are {row.error_ratio:.2g} times the error; likely cause: feedback or weights "
        "above it that are too large; use a smaller scale or lr, or clip_norm"
    )


_FAULTS: dict[str, tuple[Callable[[Alignment], bool], Callable[[Sequential, Alignment], str]]] = {
    "zero": (lambda row: row.error_ratio == 0, _zero),
    "anti-aligned": (lambda row: row.delta_angle > ANTI_ALIGNED, _anti_aligned),
    "exploding": (lambda row: row.error_ratio > EXPLODING, _exploding),
}

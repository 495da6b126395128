"""What `Sequential.alignment` reports beyond angles, and the faults of a layer that it shows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ._core import Network
    from .sequential import Alignment, Sequential

ANTI_ALIGNED = 95.0  # degrees; chance is 90
EXPLODING = 1000.0  # times the error
PATIENCE = 3  # measurements in a row that must show a fault
ROWS_AT_ONCE = 4096  # of a tall array, so that its copy in double stays small


def extras(engine: Network, deltas: list[NDArray[Any] | None]) -> list[dict[str, Any]]:
    """The fields "descent", "effective_rank" and "error_ratio" of each hidden layer, lowest first.

    Parameters
    ----------
    engine : Network
    deltas : list of ndarray of shape (m, n_l), or None
        What ``engine.deltas`` returned; None where a layer is not taught.
    """
    above = _weights_above(engine)
    error = 0.0 if deltas[-1] is None else _rms(deltas[-1])
    return [
        {
            "descent": _descent(engine, deltas, above, i),
            "effective_rank": math.nan if delta is None else effective_rank(delta),
            "error_ratio": math.nan
            if delta is None
            else _rms(delta) / error
            if error
            else math.nan,
        }
        for i, delta in enumerate(deltas[:-1])
    ]


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


def _weights_above(engine: Network) -> list[NDArray[Any]]:
    """For each hidden layer l: W_{l+1}, the weights of the next dense layer, in double."""
    return [
        engine.parameters[f"{layer['index']}.weight"].astype(np.float64)
        for layer in engine.layers[1:]
    ]


def _descent(
    engine: Network,
    deltas: list[NDArray[Any] | None],
    above: list[NDArray[Any]],
    i: int,
) -> float | None:
    """Cosine of e B and e W^T, where W leads from hidden layer i to where e is.

    None where no feedback carries an error: a layer that is not taught, or is taught by targets.
    """
    layer = engine.layers[i]
    last = {"above": i + 1, "error": len(deltas) - 1}.get(layer["source"])
    if deltas[i] is None or last is None:
        return None
    error = deltas[last]
    if error is None:
        return None
    exact = rule = error.astype(np.float64)
    for weight in reversed(above[i:last]):
        exact = exact @ weight.T
    rule = rule @ engine.feedback_matrix(layer["index"])
    norms = math.sqrt((rule**2).sum()) * math.sqrt((exact**2).sum())
    return float((rule * exact).sum() / norms) if norms > 0 else math.nan


# ---- early warning ----


class Watch:
    """Finds layers that are taught nothing or the wrong thing, and names each fault once."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], int] = {}  # by layer and fault: measurements in a row

    def look(self, net: Sequential, rows: Sequence[Alignment]) -> Iterator[str]:
        """Messages for the faults that this measurement makes certain."""
        if net.steps == 0:
            return  # before training every angle is by chance
        layers = {layer["index"]: layer for layer in net._engine.layers}
        for row in rows:
            if not layers[row.layer]["needed"]:
                continue
            for fault, present in _faults(row).items():
                key = (row.layer, fault)
                if self._seen.get(key, 0) < PATIENCE:
                    self._seen[key] = self._seen.get(key, 0) + 1 if present else 0
                    if self._seen[key] == PATIENCE:
                        yield f"layer {row.layer}, {net.layers[row.layer]!r}: " + _MESSAGES[fault](
                            net, row
                        )


def _faults(row: Alignment) -> dict[str, bool]:
    return {
        "zero": row.error_ratio == 0,
        "anti-aligned": row.delta_angle > ANTI_ALIGNED,
        "exploding": row.error_ratio > EXPLODING,
    }


def _zero(net: Sequential, row: Alignment) -> str:
    return f"its deltas stay zero, it learns nothing; likely cause: {_why_zero(net, row.layer)}"


def _why_zero(net: Sequential, index: int) -> str:
    activation = getattr(net.layers[index], "activation", "")
    if not np.any(net.feedback_matrix(index)):
        return "what feeds the error back to it is all zeros; start it from random values"
    if activation in ("relu", "threshold"):
        return f"its {activation} units are dead; use a smaller lr or another start"
    if activation in ("tanh", "sigmoid"):
        return f"its {activation} units are saturated; use a smaller lr or smaller weights"
    return "the layer above it is taught nothing, or the error vanishes on its way down"


def _anti_aligned(net: Sequential, row: Alignment) -> str:
    return (
        f"its deltas are {row.delta_angle:.0f} degrees from backprop's, so it learns to raise the "
        "loss; likely cause: a layer too narrow to align with its feedback, feedback of the wrong "
        "sign, or an lr so large that the weights above never settle"
    )


def _exploding(net: Sequential, row: Alignment) -> str:
    return (
        f"its deltas are {row.error_ratio:.2g} times the error; likely cause: feedback or weights "
        "above it that are too large; use a smaller scale or lr, or clip_norm"
    )


_MESSAGES = {"zero": _zero, "anti-aligned": _anti_aligned, "exploding": _exploding}

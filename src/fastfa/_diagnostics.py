"""What `Sequential.alignment` reports beyond angles, from the deltas that the engine hands out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._core import Network

ROWS_AT_ONCE = 4096  # of a tall array, so that its copy in double stays small


def extras(engine: Network, deltas: list[NDArray[Any] | None]) -> list[dict[str, Any]]:
    """The fields "descent" and "effective_rank" of each hidden layer, lowest first.

    Parameters
    ----------
    engine : Network
    deltas : list of ndarray of shape (m, n_l), or None
        What ``engine.deltas`` returned; None where a layer is not taught.
    """
    above = _weights_above(engine)
    return [
        {
            "descent": _descent(engine, deltas, above, i),
            "effective_rank": math.nan if delta is None else effective_rank(delta),
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

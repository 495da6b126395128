"""How close each hidden layer's learning signal is to backpropagation's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._internal.arrays import quiet
from ._internal.checks import choice, entries, mismatch, show

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._internal.samples import Batch
    from .backends.protocol import Engine

__all__ = ["Alignment"]

ROWS_AT_ONCE = 4096  # of a tall array, so that its copy in double stays small


class Alignment(NamedTuple):
    """How close a hidden layer's learning signal is to backpropagation's.

    The reference is full backprop of the same network through its exact weights under the same
    dropout masks. Angles are in degrees between arrays flattened whole, accumulated in double;
    nan if undefined (a frozen layer, units of zero derivative) or not asked for.

    Attributes
    ----------
    layer : int
        Index in the layer list.
    delta_angle : float
        Between the deltas D_l (m, n_l).
    gradient_angle : float
        Between the gradients of the weights (n_{l-1}, n_l).
    weight_angle : float or None
        Between the feedback and the weights that it stands for: B_l and W_{l+1}^T for FA, B_l and
        (W_{l+1} ... W_L)^T for DFA and SDFA; None if there is no such matrix.
    norm_ratio : float
        Norm of D_l divided by the norm of backprop's.
    descent : float or None
        The descent test e^T W B e > 0, summed over the batch: the cosine, -1..1, between e B_l and
        e W^T, where W is what B_l stands for (for FA, e is d_{l+1}). Above 0: linear units that
        follow the feedback lower the loss. None if no feedback carries an error (DRTP, frozen).
    effective_rank : float
        exp of the entropy of the singular values of D_l divided by their sum: the number of
        directions in which the layer learns, from 1 to min(m, n_l). nan if there is no D_l or it is
        zero.
    error_ratio : float
        Root mean square of the entries of D_l divided by that of the error e: far below 1, the
        signal vanishes on its way down; far above, it explodes. nan if there is no D_l.
    """

    layer: int
    delta_angle: float
    gradient_angle: float
    weight_angle: float | None
    norm_ratio: float
    descent: float | None
    effective_rank: float
    error_ratio: float


FROM_DELTAS = ("descent", "effective_rank", "error_ratio")  # besides what the engine measures


def field_names(fields: Sequence[str] | None) -> tuple[str, ...]:
    """The argument ``fields`` of `Sequential.alignment`: fields of `Alignment` without "layer"."""
    known = Alignment._fields[1:]
    if fields is None:
        return known
    expected = "a list of names of fields"
    if isinstance(fields, str) or not isinstance(fields, Sequence):
        hint = f"did you mean [{show(fields)}]?" if isinstance(fields, str) else ""
        raise TypeError(mismatch("fields", expected, show(fields), hint))
    names = entries("fields", fields, expected)
    return tuple(choice(f"fields[{i}]", name, known) for i, name in enumerate(names))


def measure(
    engine: Engine, batch: Batch, fields: Sequence[str] = Alignment._fields
) -> list[Alignment]:
    """The `fields` of the alignment of each hidden layer on a batch, lowest first; others nan."""
    rows = engine.alignment(*batch)
    asked = [name for name in FROM_DELTAS if name in fields]
    axes = len(batch.x.shape) - 1  # samples, and the steps of sequences
    deltas = [_rows(d, axes) for d in engine.deltas(*batch)] if asked else []
    extras = _extras(engine, deltas, asked) if asked else [{} for _ in rows]
    empty = dict.fromkeys(Alignment._fields[1:], math.nan)
    return [
        Alignment(
            layer=row["layer"], **empty | {k: v for k, v in (row | more).items() if k in fields}
        )
        for row, more in zip(rows, extras, strict=True)
    ]


def _rows(delta: NDArray[Any] | None, axes: int) -> NDArray[Any] | None:
    """The numbers of a sample, or of a step of a sequence, as a row; `axes` count these."""
    return None if delta is None else delta.reshape(math.prod(delta.shape[:axes]), -1)


@quiet()
def _extras(
    engine: Engine, deltas: list[NDArray[Any] | None], asked: Sequence[str]
) -> list[dict[str, Any]]:
    """Those of FROM_DELTAS that are asked for, of each hidden layer, lowest first.

    Parameters
    ----------
    engine : Engine
    deltas : list of ndarray of shape (m, n_l), or None
        The result of ``engine.deltas``; None for a layer without a signal. The delta of a frozen
        layer, which passes the error on, does not count.
    asked : sequence of str
    """
    error = 0.0 if deltas[-1] is None else _rms(deltas[-1])
    own = [d if layer["source"] else None for d, layer in zip(deltas, engine.layers, strict=True)]
    found: list[dict[str, Any]] = [{} for _ in deltas[:-1]]
    if "descent" in asked:
        for each, descent in zip(found, _descents(engine, deltas), strict=True):
            each["descent"] = descent
    for each, delta in zip(found, own, strict=False):
        if "effective_rank" in asked:
            each["effective_rank"] = math.nan if delta is None else effective_rank(delta)
        if "error_ratio" in asked:
            each["error_ratio"] = math.nan if delta is None or not error else _rms(delta) / error
    return found


@quiet()
def effective_rank(matrix: NDArray[Any]) -> float:
    """exp(entropy of the singular values divided by their sum), from 1 to the rank.

    nan for a matrix of zeros. The singular values are the square roots of the eigenvalues of the
    smaller Gram matrix, computed in double.
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


def _descents(engine: Engine, deltas: list[NDArray[Any] | None]) -> list[float | None]:
    """Cosine of e B and e W^T of each hidden layer, where W leads from it to the source of e.

    None if no feedback carries an error: the layer has no signal, or learns from the targets.
    """
    found: list[float | None] = []
    error = exact = deltas[-1]
    layers, parameters = engine.layers, engine.parameters
    for i in range(len(deltas) - 2, -1, -1):
        layer, above = layers[i], layers[i + 1]
        weight = parameters[f"{above['index']}.weight"]
        if weight.ndim > 2:  # a convolution: the product is no whole path
            return [None] * (i + 1) + found[::-1]
        transposed = weight.T.astype(np.float64)
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

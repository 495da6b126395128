"""What a rule written in Python sees of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Teaching:
    """One step as the rule of one hidden layer sees it: m samples, read-only views.

    The arrays belong to the engine and are valid until `Rule.signal` returns: copy what you keep.

    Attributes
    ----------
    layer : int
        Index in the layer list of the hidden layer that asks.
    units : int
        Its width n_l; the signal is (m, n_l).
    step : int
        Steps taken so far.
    error : ndarray of shape (m, n_L)
        e = dloss_i/dA_L, without 1/m and without sample weights.
    labels : ndarray of shape (m,), or None
        Class numbers, where the targets were given as such.
    target : ndarray of shape (m, n_L), or None
        The targets otherwise.
    inputs : ndarray of shape (m, n_0)
        What the first layer saw.
    activations : dict of int to ndarray of shape (m, n_l)
        The output of every `Dense` block (after its dropouts), by layer index.
    parameters : mapping of str to ndarray
        "0.weight", "0.bias", ...: the live values; do not write.
    feedback : ndarray of shape (n_L, n_l), or None
        The layer's stored matrix, where the rule has an attribute `feedback`.
    product : callable
        ``product(a, b)``: the matrix product as the engine's own rules do it, to the bit.
    """

    layer: int
    units: int
    step: int
    error: NDArray[Any]
    labels: NDArray[Any] | None
    target: NDArray[Any] | None
    inputs: NDArray[Any]
    activations: dict[int, NDArray[Any]]
    parameters: Mapping[str, NDArray[Any]]
    feedback: NDArray[Any] | None
    product: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]

"""The context in which a rule written in Python runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # read(what, block): the array of that name, or None if the step has none
    Read = Callable[[str, int], NDArray[Any] | None]


@dataclass(frozen=True)
class RuleContext:
    """One step as the rule of one hidden layer sees it: m samples, read-only arrays.

    An array is copied when it is first read, and the rule may keep it. Reading an array for the
    first time after `Rule.signal` has returned is a RuntimeError.

    Attributes
    ----------
    layer : int
        Index of the hidden layer in the layer list.
    units : int
        Its width n_l; the signal is (m, n_l).
    step : int
        Steps taken so far.
    error : ndarray of shape (m, n_L)
        e = dloss_i/dA_L, without 1/m and without sample weights.
    labels : ndarray of shape (m,), or None
        Class numbers, if the targets were given as such.
    target : ndarray of shape (m, n_L), or None
        The targets otherwise.
    inputs : ndarray of shape (m, n_0)
        The inputs of the first layer.
    activations : mapping of int to ndarray of shape (m, n_l)
        The output of every `Dense` block (after its dropouts), by layer index.
    parameters : mapping of str to ndarray
        "0.weight", "0.bias", ...: the live values; do not write to them.
    feedback : ndarray of shape (n_L, n_l), or None
        The layer's stored matrix, live too, if the rule has an attribute `feedback`.
    product : callable
        ``product(a, b)``: the matrix product, with the bits of the engine's own rules.
    """

    layer: int
    units: int
    step: int
    parameters: Mapping[str, NDArray[Any]]
    feedback: NDArray[Any] | None
    product: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    _read: Read = field(repr=False)
    _blocks: Mapping[int, int] = field(repr=False)  # number of each block by its layer index

    @cached_property
    def error(self) -> NDArray[Any]:
        """e (m, n_L), the error of the output."""
        return _given(self._read("error", 0))

    @cached_property
    def labels(self) -> NDArray[Any] | None:
        """Class numbers (m,), or None."""
        return self._read("labels", 0)

    @cached_property
    def target(self) -> NDArray[Any] | None:
        """Targets (m, n_L), or None."""
        return self._read("target", 0)

    @cached_property
    def inputs(self) -> NDArray[Any]:
        """The inputs of the first layer, (m, n_0)."""
        return _given(self._read("output", -1))

    @cached_property
    def activations(self) -> Mapping[int, NDArray[Any]]:
        """The output of each block by layer index."""
        return _Outputs(self._read, self._blocks)


class _Outputs(Mapping[int, "NDArray[Any]"]):
    """The output of each block by its layer index."""

    def __init__(self, read: Read, blocks: Mapping[int, int]) -> None:
        self._read, self._blocks = read, blocks
        self._made: dict[int, NDArray[Any]] = {}

    def __getitem__(self, layer: int) -> NDArray[Any]:
        if layer not in self._made:
            self._made[layer] = _given(self._read("output", self._blocks[layer]))
        return self._made[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def __repr__(self) -> str:
        return f"<outputs of layers {', '.join(map(str, self._blocks))}>"


def _given(array: NDArray[Any] | None) -> NDArray[Any]:
    assert array is not None
    return array

"""Fully connected layers."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .._internal.attributes import fix
from .._internal.checks import integer
from ..initializers import Init
from ..rules import Rule
from .weighted import WeightedLayer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Dense"]

MAX_UNITS = 2**31 - 1


@dataclass(frozen=True, eq=False, repr=False)
class Dense(WeightedLayer):
    """A fully connected layer: A = H W + b, output f(A).

    For m samples, n_in inputs: H (m, n_in), W (n_in, units), b (units,), A and output (m, units).

    Parameters
    ----------
    units : int
        Width of the layer, >= 1.
    activation : str, default "linear"
        f: linear, relu, leaky_relu, tanh, sigmoid, softplus, gelu (erf form), elu, selu, silu,
        mish, hardtanh, hard_sigmoid (a / 6 + 1/2 within 0..1), softsign, sign, threshold (a > 0).
        The last two have a zero derivative: such a hidden layer learns only with a broadcast rule
        and ``inject="pre"``. With a cross-entropy loss the output layer must be linear, because
        losses take logits.
    use_bias : bool, default True
    weight_init : str, Init or array_like of shape (n_in, units), optional
        None: by the activation, "he_uniform" for softplus, "lecun_uniform" for sign and threshold,
        "lecun_normal" for selu, "glorot_uniform" for the others. Networks of 25 relu layers or more
        need "he_uniform", and a warning says so.
    bias_init : str, Init or array_like of shape (units,), default "zeros"
    rule : str or Rule, optional
        Overrides the network's rule for this layer. The output layer must not have one.
    trainable : bool, default True
        False: the layer is not updated; the signal still passes to the layers below.
    lr_scale : float >= 0, default 1.0
        Factor on the learning rate of this layer.
    bias_lr_scale : float >= 0, default 1.0
        Another factor, on the learning rate of the bias alone.
    slope : float >= 0, default 0.01
        Of leaky_relu: the factor on numbers below 0.
    alpha : float >= 0, default 1.0
        Of elu, which is alpha (exp(a) - 1) below 0.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or value. `Sequential` checks what depends on other layers
        (shapes of given arrays, rule and activation together).
    """

    kind: ClassVar[str] = "dense"

    units: int
    activation: str = "linear"
    _: KW_ONLY
    use_bias: bool = True
    weight_init: str | Init | ArrayLike | None = None
    bias_init: str | Init | ArrayLike = "zeros"
    rule: str | Rule | None = None
    trainable: bool = True
    lr_scale: float = 1.0
    bias_lr_scale: float = 1.0
    slope: float = 0.01
    alpha: float = 1.0

    def __post_init__(self) -> None:
        why = "no memory could hold more"
        self._set(units=integer("units", self.units, 1, MAX_UNITS, why=why))
        self._check_weighted(weight_axes=2)

    @property
    def columns(self) -> int:
        """Columns of the weights."""
        return self.units

    @property
    def initial_weight(self) -> Init | NDArray[Any]:
        """The initialiser of W, or its values."""
        return self._initial_weight(2)

    def weight_shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of W for rows of this shape."""
        return math.prod(given), self.units

    def output_shape(self, given: tuple[int, ...]) -> tuple[int, ...] | None:
        """One number for each unit."""
        return (self.units,) if len(given) == 1 else None

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        return {"type": self.kind, "units": self.units} | self._describe_weighted()


fix(Dense)

"""Fully connected layers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any

from .._core import NAMES, default_init
from .._internal.attributes import fix
from .._internal.checks import choice, flag, integer, number
from ..initializers import Init, as_init, describe_init, shortest
from ..rules import Rule
from ..rules.registry import as_rule
from .base import Layer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Dense"]

MAX_UNITS = 2**31 - 1


@dataclass(frozen=True, eq=False, repr=False)
class Dense(Layer):
    """A fully connected layer: A = H W + b, output f(A).

    For m samples, n_in inputs: H (m, n_in), W (n_in, units), b (units,), A and output (m, units).

    Parameters
    ----------
    units : int
        Width of the layer, >= 1.
    activation : str, default "linear"
        f: linear, relu, leaky_relu (slope 0.01), tanh, sigmoid, softplus, gelu (erf form), sign,
        threshold (a > 0). The last two have a zero derivative: such a hidden layer learns only with
        a broadcast rule and ``inject="pre"``. With a cross-entropy loss the output layer must be
        linear, because losses take logits.
    use_bias : bool, default True
    weight_init : str, Init or array_like of shape (n_in, units), optional
        None: by the activation, "he_uniform" for softplus, "lecun_uniform" for sign and threshold,
        "glorot_uniform" for the others. Networks of 25 relu layers or more need "he_uniform", and a warning says so.
    bias_init : str, Init or array_like of shape (units,), default "zeros"
    rule : str or Rule, optional
        Overrides the network's rule for this layer. The output layer must not have one.
    trainable : bool, default True
        False: the layer is not updated; the signal still passes to the layers below.
    lr_scale : float >= 0, default 1.0
        Factor on the learning rate of this layer.
    bias_lr_scale : float >= 0, default 1.0
        Another factor, on the learning rate of the bias alone.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or value. `Sequential` checks what depends on other layers
        (shapes of given arrays, rule and activation together).
    """

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

    def __post_init__(self) -> None:
        self._set(
            units=integer("units", self.units, 1, MAX_UNITS, why="no memory could hold more"),
            activation=_activation(self.activation),
            use_bias=flag("use_bias", self.use_bias),
            trainable=flag("trainable", self.trainable),
            lr_scale=number("lr_scale", self.lr_scale, low=0.0),
            bias_lr_scale=number("bias_lr_scale", self.bias_lr_scale, low=0.0),
        )
        if self.weight_init is not None:
            self._set(weight_init=_checked_init("weight_init", self.weight_init, ndim=2))
        self._set(bias_init=_checked_init("bias_init", self.bias_init, ndim=1))
        if self.rule is not None:
            as_rule("rule", self.rule)

    @property
    def initial_weight(self) -> Init | NDArray[Any]:
        """The initialiser of W, or its values."""
        init = default_init(self.activation) if self.weight_init is None else self.weight_init
        return as_init("weight_init", init, ndim=2)

    @property
    def initial_bias(self) -> Init | NDArray[Any]:
        """The initialiser of b, or its values."""
        return as_init("bias_init", self.bias_init, ndim=1)

    def _values(self) -> tuple[object, ...]:
        own = (getattr(self, field.name) for field in fields(self) if field.name != "rule")
        return *own, None if self.rule is None else as_rule("rule", self.rule)  # of a name too

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        return {
            "type": "dense",
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "trainable": self.trainable,
            "lr_scale": self.lr_scale,
            "bias_lr_scale": self.bias_lr_scale,
            "weight_init": describe_init(self.initial_weight)
            | ({"default": True} if self.weight_init is None else {}),
            "bias_init": describe_init(self.initial_bias),
            "rule": None if self.rule is None else as_rule("rule", self.rule).describe(),
        }


fix(Dense)


def _activation(name: object) -> str:
    if name in ("softmax", "log_softmax"):
        raise ValueError(
            f'activation: expected "linear", got "{name}"; losses take logits: leave the output '
            'layer "linear" with loss="softmax_cross_entropy", and predict returns probabilities'
        )
    return choice("activation", name, NAMES["activation"])


def _checked_init(name: str, value: str | Init | ArrayLike, ndim: int) -> object:
    """The initialiser in its shortest form, which its repr shows."""
    init = as_init(name, value, ndim)
    return shortest(init) if isinstance(init, Init) else init

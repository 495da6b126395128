"""What layers with weights have in common."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from .._core import NAMES, default_init
from .._internal.attributes import fix
from .._internal.checks import choice, flag, mismatch, number
from .._internal.options import check_options
from ..initializers import Init, as_init, describe_init, shortest
from ..rules import Rule
from ..rules.registry import as_rule
from .base import Layer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["WeightedLayer"]

OPTION_OF = {"leaky_relu": "slope", "elu": "alpha"}  # of activations that have one


class WeightedLayer(Layer):
    """Base of layers with weights, an activation and a rule; a block of the network begins here."""

    # Its subclasses declare these fields, each after its own sizes.
    if TYPE_CHECKING:
        activation: str
        use_bias: bool
        weight_init: str | Init | ArrayLike | None
        bias_init: str | Init | ArrayLike
        rule: str | Rule | None
        trainable: bool
        lr_scale: float
        bias_lr_scale: float
        slope: float
        alpha: float

    kind: ClassVar[str]  # the type in descriptions

    @property
    def columns(self) -> int:
        """Columns of the weights: units, or filters."""
        raise NotImplementedError

    def weight_shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the weights for inputs of this shape, without the samples."""
        raise NotImplementedError

    def _check_weighted(self, weight_axes: int) -> None:
        """Check and convert the common arguments."""
        self._set(
            activation=activation_name("activation", self.activation),
            use_bias=flag("use_bias", self.use_bias),
            trainable=flag("trainable", self.trainable),
            lr_scale=number("lr_scale", self.lr_scale, low=0.0),
            bias_lr_scale=number("bias_lr_scale", self.bias_lr_scale, low=0.0),
        )
        if self.weight_init is not None:
            self._set(weight_init=checked_init("weight_init", self.weight_init, weight_axes))
        self._set(bias_init=checked_init("bias_init", self.bias_init, ndim=1))
        if self.rule is not None:
            as_rule("rule", self.rule)
        check_options(self, "layer", self.kind)
        check_option_of(self, self.activation)

    def _initial_weight(self, axes: int) -> Init | NDArray[Any]:
        init = default_init(self.activation) if self.weight_init is None else self.weight_init
        return as_init("weight_init", init, axes)

    @property
    def initial_weight(self) -> Init | NDArray[Any]:
        """The initialiser of W, or its values."""
        raise NotImplementedError

    @property
    def initial_bias(self) -> Init | NDArray[Any]:
        """The initialiser of b, or its values."""
        return as_init("bias_init", self.bias_init, ndim=1)

    def _values(self) -> tuple[object, ...]:
        own = (getattr(self, field.name) for field in fields(self) if field.name != "rule")
        return *own, None if self.rule is None else as_rule("rule", self.rule)  # of a name too

    def _describe_weighted(self) -> dict[str, Any]:
        """The common part of the description."""
        return {
            "activation": self.activation,
            "use_bias": self.use_bias,
            "trainable": self.trainable,
            "lr_scale": self.lr_scale,
            "bias_lr_scale": self.bias_lr_scale,
            "weight_init": describe_init(self.initial_weight)
            | ({"default": True} if self.weight_init is None else {}),
            "bias_init": describe_init(self.initial_bias),
            "rule": None if self.rule is None else as_rule("rule", self.rule).describe(),
            "slope": self.slope,
            "alpha": self.alpha,
        }


fix(WeightedLayer)


def activation_name(argument: str, name: object) -> str:
    """The checked name of an activation."""
    if name in ("softmax", "log_softmax"):
        raise ValueError(
            f'{argument}: expected "linear", got "{name}"; losses take logits: leave the output '
            'layer "linear" with loss="softmax_cross_entropy", and predict returns probabilities'
        )
    return choice(argument, name, NAMES["activation"])


def check_option_of(layer: Layer, name: str) -> None:
    """ValueError for an option of an activation other than `name`, which nothing would read."""
    for activation, option in OPTION_OF.items():
        value, default = getattr(layer, option), getattr(type(layer), option)
        if name != activation and value != default:
            raise ValueError(
                mismatch(
                    f"{option} with activation {name!r}",
                    f"{default}, the default",
                    str(value),
                    f"only {activation} has this option",
                )
            )


def checked_init(name: str, value: str | Init | ArrayLike, ndim: int) -> object:
    """The initialiser in its shortest form, which its repr shows."""
    init = as_init(name, value, ndim)
    return shortest(init) if isinstance(init, Init) else init

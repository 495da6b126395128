"""Activations apart from the layers that have weights."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

from .._internal.attributes import fix
from .._internal.options import check_options
from .base import Layer
from .weighted import activation_name, check_option_of

__all__ = ["Activation"]


@dataclass(frozen=True, eq=False, repr=False)
class Activation(Layer):
    """An activation of its own: H = f(H below), number by number.

    For networks where something stands between a layer's sums and its activation:
    ``[fa.Dense(64), fa.Dropout(0.2), fa.Activation("tanh"), ...]``. It belongs to the block of the
    layer with weights below it, so ``inject="post"`` sends the signal back through its derivative,
    and ``inject="pre"`` past it.

    Parameters
    ----------
    name : str
        As `activation` of `Dense`. The default of `weight_init` does not see it: below "softplus",
        "sign", "threshold" or "selu" give the one that `Dense` names.
    slope : float >= 0, default 0.01
        Of leaky_relu: the factor on numbers below 0.
    alpha : float >= 0, default 1.0
        Of elu, which is alpha (exp(a) - 1) below 0.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or value.
    """

    name: str
    _: KW_ONLY
    slope: float = 0.01
    alpha: float = 1.0

    def __post_init__(self) -> None:
        self._set(name=activation_name("name", self.name))
        check_options(self, "layer", "activation")
        check_option_of(self, self.name)

    @property
    def is_linear(self) -> bool:
        """Whether it changes nothing."""
        return self.name == "linear"

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        return {
            "type": "activation",
            "activation": self.name,
            "slope": self.slope,
            "alpha": self.alpha,
        }


fix(Activation)

"""Losses: by name, as objects with options, or as a function of the caller.

=========================  ====================================================================
name, object               loss of a sample, summed over outputs
=========================  ====================================================================
"softmax_cross_entropy"    log sum exp z - sum y z; `SoftmaxCrossEntropy` smooths the targets
"sigmoid_cross_entropy"    log(1 + exp z) - y z
"focal"                    the same, outputs that are right count less; `Focal`
"mse"                      (z - y)^2 / 2
"huber"                    the same up to a residual, linear beyond it; `Huber`
"mae"                      abs(z - y)
"pinball"                  of a quantile; `Pinball`
"poisson"                  exp z - y z: counts y >= 0, predictions exp z
a function                 ``f(logits, y) -> (losses, errors)``, see `Sequential`
=========================  ====================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

from ._core import NAMES
from ._internal.attributes import fix
from ._internal.checks import Described, choice, show
from ._internal.options import check_options

__all__ = ["Focal", "Huber", "Loss", "Pinball", "SoftmaxCrossEntropy"]

Function: TypeAlias = Callable[..., Any]
CUSTOM = "custom"  # the name in the library of a loss that is a function
BY_NAME = tuple(name for name in NAMES["loss"] if name != CUSTOM)


@dataclass(frozen=True, eq=False, repr=False)
class Loss(Described):
    """Base of the losses with options; a loss without any is given by its name."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        check_options(self, "loss", self.name)


@dataclass(frozen=True, eq=False, repr=False)
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of the softmax of the outputs, for classes that exclude each other.

    Parameters
    ----------
    smoothing : float in [0, 1), default 0.0
        Label smoothing: targets are (1 - smoothing) y + smoothing / n_classes.
    """

    name: ClassVar[str] = "softmax_cross_entropy"

    smoothing: float = 0.0


@dataclass(frozen=True, eq=False, repr=False)
class Huber(Loss):
    """r^2 / 2 where abs(r) <= delta, else delta (abs(r) - delta / 2), with r = z - y.

    Parameters
    ----------
    delta : float > 0, default 1.0
    """

    name: ClassVar[str] = "huber"

    delta: float = 1.0


@dataclass(frozen=True, eq=False, repr=False)
class Pinball(Loss):
    """The loss whose minimum is a quantile: q (y - z) where z < y, else (1 - q) (z - y).

    Parameters
    ----------
    quantile : float in (0, 1), default 0.5
        q. 0.5 is half of "mae".
    """

    name: ClassVar[str] = "pinball"

    quantile: float = 0.5


@dataclass(frozen=True, eq=False, repr=False)
class Focal(Loss):
    """Cross-entropy of the sigmoid of each output in which outputs that are right count less.

    With p = sigmoid(z): alpha y (1 - p)^gamma (-log p) + (1 - alpha) (1 - y) p^gamma (-log(1 - p)).

    Parameters
    ----------
    gamma : float >= 0, default 2.0
        0 leaves the weighted cross-entropy.
    alpha : float in (0, 1), default 0.25
        Weight of targets 1.
    """

    name: ClassVar[str] = "focal"

    gamma: float = 2.0
    alpha: float = 0.25


fix(Loss, SoftmaxCrossEntropy, Huber, Pinball, Focal)
LOSSES: dict[str, type[Loss]] = {
    cls.name: cls for cls in (SoftmaxCrossEntropy, Huber, Pinball, Focal)
}


def as_loss(name: str, value: object) -> str | Loss | Function:
    """The loss that an argument stands for: a known name, an object or a function."""
    if isinstance(value, type) and issubclass(value, Loss):
        raise TypeError(f"{name}: expected an object, got the class {value.__name__}; call it")
    if isinstance(value, Loss) or callable(value):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a name, a Loss or a function, got {show(value)}")
    return choice(name, value, BY_NAME)


def loss_name(loss: str | Loss | Function) -> str:
    """Its name in the library."""
    if isinstance(loss, str):
        return loss
    return loss.name if isinstance(loss, Loss) else CUSTOM


def describe_loss(loss: str | Loss | Function) -> dict[str, Any]:
    """Its part of a description for a backend."""
    options = {each.name: getattr(loss, each.name) for each in fields(loss)} if isinstance(
        loss, Loss) else {}  # fmt: skip
    own = loss if loss_name(loss) == CUSTOM else None
    return {"loss": loss_name(loss), "loss_options": options, "loss_function": own}


def loss_from(description: Mapping[str, Any]) -> str | Loss | Function:
    """The loss of a description: its name, where all options have their defaults."""
    name: str = description["loss"]
    if name == CUSTOM:
        function: Function = description["loss_function"]
        return function
    made = LOSSES[name](**description.get("loss_options", {})) if name in LOSSES else None
    return name if made is None or made == LOSSES[name]() else made

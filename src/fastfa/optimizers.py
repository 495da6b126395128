"""Optimizers with exactly the formulas and defaults of PyTorch; and Lion, which it has not.

All optimizers take these arguments besides their own:

- ``lr``: a finite number >= 0, one of `fastfa.schedules`, or a function ``lr(step) -> float`` of
  the steps taken so far (0 for the first one). A function is called in advance for all steps of a
  call, so it must depend on the step alone; files cannot hold it.
- ``weight_decay``: factor >= 0 on the parameters, biases too unless ``decay_bias=False``.
- ``l1``: factor >= 0 on sign(w), which is added to the gradient of w after clipping, so that small
  weights move to zero; for every optimizer, and for biases as ``weight_decay``.
- ``clip_norm``: None, or the largest global norm of the gradients of all trained parameters;
  larger gradients are scaled by clip_norm / (norm + 1e-6), before weight decay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from ._internal.attributes import fix
from ._internal.checks import Described, choice, flag, mismatch, number, show
from ._internal.options import check_options
from .schedules import Plateau, Rates, first_rate, rate_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
]

Rate: TypeAlias = float | Callable[[int], float] | Plateau


def rates_at(
    schedule: Rates | None, first: int, count: int, epochs: int
) -> NDArray[np.float64] | None:
    """The rates of `count` steps from `first` on, in the epoch begun last; None: no schedule."""
    if schedule is None:
        return None
    return np.array([rate_at(schedule, first + i, epochs) for i in range(count)], np.float64)


@dataclass(frozen=True, eq=False, repr=False)
class Optimizer(Described):
    """Base of all optimizers; use one of its subclasses, or a name for PyTorch's defaults.

    `SGD` has no default rate, so it has no name alone.
    """

    name: ClassVar[str]

    lr: Rate = 1e-3
    l1: float = field(default=0.0, kw_only=True)

    @property
    def schedule(self) -> Callable[[int], float] | None:
        """The learning rate as a function of the step, or None when it is a number."""
        return self.lr if callable(self.lr) else None

    @property
    def plateau(self) -> Plateau | None:
        """The learning rate as a function of the logs, or None."""
        return self.lr if isinstance(self.lr, Plateau) else None

    def describe(self) -> dict[str, Any]:
        """The description for a backend; of a schedule it has the first value."""
        result = {"name": self.name} | {
            each.name: getattr(self, each.name) for each in fields(self)
        }
        result["lr"] = first_rate(self.lr)
        result["clip_norm"] = result["clip_norm"] or 0.0
        return result

    def _check(self, weight_decay: float, clip_norm: float | None, decay_bias: bool) -> None:
        changes = callable(self.lr) or isinstance(self.lr, Plateau)
        lr = self.lr if changes else number("lr", self.lr, low=0.0)
        self._set(
            lr=lr,
            weight_decay=number("weight_decay", weight_decay, low=0.0),
            clip_norm=None if clip_norm is None else number("clip_norm", clip_norm, above=0.0),
            decay_bias=flag("decay_bias", decay_bias),
            l1=number("l1", self.l1, low=0.0),
        )
        check_options(self, "optimizer", self.name)


@dataclass(frozen=True, eq=False, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent: w -= lr g, with g += weight_decay w before it.

    With momentum mu a slot v = mu v + g (v = g at the first step) replaces g; in Nesterov's form
    g + mu v does.

    Parameters
    ----------
    lr : float, schedule or callable
        Learning rate, see the module. It has no default: 0.1 is common for networks with tanh or
        relu and cross-entropy, 0.01 with momentum or for values.
    momentum : float in [0, 1), default 0.0
    nesterov : bool, default False
        Needs momentum > 0.
    weight_decay, clip_norm, decay_bias, l1
        See the module.
    """

    name: ClassVar[str] = "sgd"

    lr: Rate = field()
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_norm: float | None = None
    decay_bias: bool = True

    def __post_init__(self) -> None:
        self._check(self.weight_decay, self.clip_norm, self.decay_bias)
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("momentum: expected a number > 0 with nesterov=True, got 0.0")


@dataclass(frozen=True, eq=False, repr=False)
class RMSprop(Optimizer):
    """RMSprop: v = alpha v + (1 - alpha) g^2, w -= lr g / (sqrt(v) + eps).

    Parameters
    ----------
    lr : float, schedule or callable, default 1e-2
        Learning rate, see the module.
    alpha : float in [0, 1), default 0.99
        Decay of the mean square.
    eps : float > 0, default 1e-8
    momentum : float in [0, 1), default 0.0
        With momentum, lr multiplies a slot b = momentum b + g / (sqrt(v) + eps).
    weight_decay, clip_norm, decay_bias, l1
        See the module.
    centered : bool, default False
        True: v - m^2 takes the place of v under the root, the variance of the gradient, where
        m = alpha m + (1 - alpha) g.
    """

    name: ClassVar[str] = "rmsprop"

    lr: Rate = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    decay_bias: bool = True
    centered: bool = False

    def __post_init__(self) -> None:
        self._check(self.weight_decay, self.clip_norm, self.decay_bias)


@dataclass(frozen=True, eq=False, repr=False)
class Adagrad(Optimizer):
    """Adagrad: s = s + g^2, w -= lr g / (sqrt(s) + eps).

    Parameters
    ----------
    lr : float, schedule or callable, default 1e-2
        Learning rate, see the module.
    eps : float > 0, default 1e-10
    weight_decay, clip_norm, decay_bias, l1
        See the module.

    References
    ----------
    Duchi, Hazan and Singer, Adaptive subgradient methods for online learning and stochastic
    optimization, JMLR 12 (2011).
    """

    name: ClassVar[str] = "adagrad"

    lr: Rate = 1e-2
    eps: float = 1e-10
    weight_decay: float = 0.0
    clip_norm: float | None = None
    decay_bias: bool = True

    def __post_init__(self) -> None:
        self._check(self.weight_decay, self.clip_norm, self.decay_bias)


@dataclass(frozen=True, eq=False, repr=False)
class _Moments(Optimizer):
    """Base of Adam and its relatives: their common settings."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None
    decay_bias: bool = True

    def __post_init__(self) -> None:
        self._check(self.weight_decay, self.clip_norm, self.decay_bias)


@dataclass(frozen=True, eq=False, repr=False)
class Adam(_Moments):
    """Adam: w -= lr mhat / (sqrt(vhat) + eps), with both moments corrected for bias.

    Weight decay is added to the gradient; `AdamW` decouples it.

    Parameters
    ----------
    lr : float, schedule or callable, default 1e-3
        Learning rate, see the module.
    beta1, beta2 : float in [0, 1), default 0.9, 0.999
        Decay of the mean and of the mean square of the gradient.
    eps : float > 0, default 1e-8
    weight_decay, clip_norm, decay_bias, l1
        See the module.
    eps_hat : bool, default False
        True: eps is added before vhat is corrected for bias, the paper's "epsilon hat", as in
        TensorFlow and scikit-learn: w -= lr mhat sqrt(1 - beta2^t) / (sqrt(v) + eps).

    References
    ----------
    Kingma and Ba, Adam: a method for stochastic optimization, ICLR (2015).
    """

    name: ClassVar[str] = "adam"

    eps_hat: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay: w -= lr weight_decay w before the step.

    Parameters
    ----------
    lr, beta1, beta2, eps, clip_norm, decay_bias, l1, eps_hat
        As for `Adam`.
    weight_decay : float >= 0, default 1e-2

    References
    ----------
    Loshchilov and Hutter, Decoupled weight decay regularization, ICLR (2019).
    """

    name: ClassVar[str] = "adamw"

    weight_decay: float = 1e-2


@dataclass(frozen=True, eq=False, repr=False)
class NAdam(_Moments):
    """Adam with Nesterov's momentum: the step takes the mean as it would be one step later.

    Parameters
    ----------
    lr : float, schedule or callable, default 2e-3
        Learning rate, see the module.
    beta1, beta2, eps, weight_decay, clip_norm, decay_bias, l1
        As for `Adam`.
    momentum_decay : float >= 0, default 4e-3
        How fast the momentum rises from half of beta1 to beta1.

    References
    ----------
    Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop (2016).
    """

    name: ClassVar[str] = "nadam"

    lr: Rate = 2e-3
    momentum_decay: float = 4e-3


@dataclass(frozen=True, eq=False, repr=False)
class RAdam(_Moments):
    """Adam whose first steps, with few gradients in the mean square, are smaller or without it.

    Parameters
    ----------
    lr, beta1, beta2, eps, weight_decay, clip_norm, decay_bias, l1
        As for `Adam`.

    References
    ----------
    Liu et al., On the variance of the adaptive learning rate and beyond, ICLR (2020).
    """

    name: ClassVar[str] = "radam"


@dataclass(frozen=True, eq=False, repr=False)
class Lion(Optimizer):
    """Lion: w -= lr sign(beta1 m + (1 - beta1) g), then m = beta2 m + (1 - beta2) g.

    All entries of a parameter move by lr, so it needs a smaller one than Adam, by a factor of 3 to
    10. Weight decay is decoupled, as in `AdamW`.

    Parameters
    ----------
    lr : float, schedule or callable, default 1e-4
        Learning rate, see the module.
    beta1, beta2 : float in [0, 1), default 0.9, 0.99
        Share of the mean in what gives the sign; decay of the mean.
    weight_decay, clip_norm, decay_bias, l1
        See the module.

    References
    ----------
    Chen et al., Symbolic discovery of optimization algorithms, NeurIPS (2023).
    """

    name: ClassVar[str] = "lion"

    lr: Rate = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0
    clip_norm: float | None = None
    decay_bias: bool = True

    def __post_init__(self) -> None:
        self._check(self.weight_decay, self.clip_norm, self.decay_bias)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    each.name: each for each in (SGD, RMSprop, Adam, AdamW, Adagrad, NAdam, RAdam, Lion)
}
fix(Optimizer, *OPTIMIZERS.values())


def optimizer_from(how: Mapping[str, Any], schedule: Rates | Plateau | None) -> Optimizer:
    """The optimizer that a description stands for; a schedule replaces its rate."""
    kind = OPTIMIZERS[how["name"]]
    values = {each.name: how[each.name] for each in fields(kind)}
    values["clip_norm"] = values["clip_norm"] or None
    return kind(**values | ({} if schedule is None else {"lr": schedule}))


def as_optimizer(name: str, value: object) -> Optimizer:
    """The optimizer for `value`, an optimizer or its name; `name` is the argument's."""
    if isinstance(value, Optimizer) and type(value) in OPTIMIZERS.values():
        return value
    if isinstance(value, str):
        chosen = choice(name, value, OPTIMIZERS)
        if chosen == "sgd":  # no rate suits every network, and a small one learns next to nothing
            hint = "give it, such as fa.SGD(0.1)"
            raise ValueError(mismatch(name, 'a learning rate with "sgd"', '"sgd" alone', hint))
        return OPTIMIZERS[chosen]()
    call = "(0.1)" if value is SGD else "()"
    hint = f"did you mean {show(value)}{call}?" if value in OPTIMIZERS.values() else ""
    raise TypeError(
        mismatch(name, 'a name or an optimizer such as "adam" or SGD(0.1)', show(value), hint)
    )

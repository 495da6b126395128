"""Rules whose feedback has the signs of the weights: usf, frsf, brsf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._internal.checks import number
from ..feedback import Feedback
from .base import Rule, check_chain_inject
from .chain import ChainRule

__all__ = ["BRSF", "FRSF", "USF"]


@dataclass(frozen=True, eq=False, repr=False)
class USF(Rule):
    """Uniform sign symmetry: S_l = d_{l+1} B_l, B_l = s sign(W_{l+1}^T) of shape (n_{l+1}, n_l).

    B_l is computed from the weights before each step; s = scale sqrt(2 / (n_l + n_{l+1})) is the
    standard deviation of Glorot's initial weights, and sign(0) = 0.

    Parameters
    ----------
    scale : float, default 1.0
        Factor on s; finite.
    inject : {"post"}
        As for `Backprop`.

    References
    ----------
    Liao, Leibo and Poggio, How important is weight symmetry in backpropagation?, AAAI (2016).
    The form and s: Sanfiz and Akrout, Benchmarking the accuracy and robustness of feedback
    alignment algorithms (2021).
    """

    name: ClassVar[str] = "usf"
    source: ClassVar[str] = "above"

    scale: float = 1.0
    inject: str = "post"

    def __post_init__(self) -> None:
        self._set(scale=number("scale", self.scale))
        check_chain_inject(self.name, self.inject)

    def describe(self) -> dict[str, Any]:
        """The description for a backend, in which the scale is that of the feedback."""
        feedback = Feedback(scale=self.scale).describe()
        return {"name": self.name, "inject": self.inject, "feedback": feedback}


@dataclass(frozen=True, eq=False, repr=False)
class FRSF(ChainRule):
    """Sign symmetry with fixed random magnitudes: S_l = d_{l+1} B_l, B_l = |R| sign(W_{l+1}^T).

    R (n_{l+1}, n_l) is drawn once and stored in `net.feedback`; the signs are those of the weights
    before each step.

    Parameters
    ----------
    feedback : Feedback, optional
        How R is drawn, or its values.
    inject : {"post"}
        As for `Backprop`.

    References
    ----------
    As for `USF`.
    """

    name: ClassVar[str] = "frsf"


@dataclass(frozen=True, eq=False, repr=False)
class BRSF(ChainRule):
    """Sign symmetry with batchwise random magnitudes: B_l = |R_t| sign(W_{l+1}^T).

    R_t (n_{l+1}, n_l) is drawn in each step t, from the seed and t alone; nothing is stored.

    Parameters
    ----------
    feedback : Feedback, optional
        How R_t is drawn; no values.
    inject : {"post"}
        As for `Backprop`.

    References
    ----------
    As for `USF`.
    """

    name: ClassVar[str] = "brsf"

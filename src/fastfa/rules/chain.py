"""Rules whose signal comes from the delta of the layer above: backprop, fa, and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..feedback import Feedback
from .base import DEFAULT_FEEDBACK, Rule, check_chain_inject, check_feedback

__all__ = ["FA", "Backprop", "Frozen"]


@dataclass(frozen=True, eq=False, repr=False)
class ChainRule(Rule):
    """Base of the rules that multiply d_{l+1} by a matrix that is not the weights."""

    source: ClassVar[str] = "above"

    feedback: Feedback = DEFAULT_FEEDBACK
    inject: str = "post"

    def __post_init__(self) -> None:
        check_feedback(self.feedback)
        check_chain_inject(self.name, self.inject)
        self._check_options()


@dataclass(frozen=True, eq=False, repr=False)
class Backprop(Rule):
    """Backpropagation: S_l = d_{l+1} W_{l+1}^T, the exact gradient.

    Parameters
    ----------
    inject : {"post"}
        The signal arrives at the output of the layer and is multiplied by f'. Chain rules have no
        other choice.
    """

    name: ClassVar[str] = "backprop"
    source: ClassVar[str] = "above"

    inject: str = "post"

    def __post_init__(self) -> None:
        check_chain_inject(self.name, self.inject)


@dataclass(frozen=True, eq=False, repr=False)
class FA(ChainRule):
    """Feedback alignment: S_l = d_{l+1} B_l with a fixed random B_l of shape (n_{l+1}, n_l).

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn, or its values.
    inject : {"post"}
        As for `Backprop`.

    References
    ----------
    Lillicrap, Cownden, Tweed and Akerman, Random synaptic feedback weights support error
    backpropagation for deep learning, Nature Communications 7 (2016).
    """

    name: ClassVar[str] = "fa"


@dataclass(frozen=True, eq=False, repr=False)
class Frozen(Rule):
    """The hidden layers keep their first random weights; the output layer learns on them.

    The baseline for all other rules. If the rule of a layer below needs the signal, it passes
    through a frozen layer as under backpropagation.
    """

    name: ClassVar[str] = "frozen"
    source: ClassVar[str] = ""

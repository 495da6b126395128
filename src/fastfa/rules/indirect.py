"""Indirect feedback alignment, whose signal goes up from the lowest hidden layer: ifa."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..feedback import Feedback
from .base import DEFAULT_FEEDBACK, Rule, check_chain_inject, check_feedback

__all__ = ["IFA"]


@dataclass(frozen=True, eq=False, repr=False)
class IFA(Rule):
    """Indirect feedback alignment: S_1 = e B_1 at the lowest hidden layer, S_l = d_{l-1} W_l above.

    The signal goes up through the forward weights. If a layer other than the lowest has this rule
    on its own, it uses the delta of the layer below, whose rule must then not use that of the layer
    above.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_1 (n_L, n_1) is drawn, or its values.
    inject : {"post"}
        The signal lands at the layer's output and f' applies.

    References
    ----------
    Nokland, Direct feedback alignment provides learning in deep neural networks, NeurIPS (2016).
    """

    name: ClassVar[str] = "ifa"
    source: ClassVar[str] = "error"

    feedback: Feedback = DEFAULT_FEEDBACK
    inject: str = "post"

    def __post_init__(self) -> None:
        check_feedback(self.feedback)
        check_chain_inject(self.name, self.inject)

"""Rules of two forward passes, the second with the error added to the input: pepita."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..feedback import Feedback
from .base import Rule, check_feedback

__all__ = ["PEPITA"]

_PEPITA_FEEDBACK = Feedback("he_uniform", scale=0.05)


@dataclass(frozen=True, eq=False, repr=False)
class PEPITA(Rule):
    """Two forward passes; the error modulates the input of the second. There is no backward pass.

    X' = X + e F^T goes through the network with the same dropout masks and gives H'_l and e'. Each
    hidden layer learns from D_l = H_l - H'_l and the output layer from e', both with the input
    H'_{l-1}: gW_l = H'_{l-1}^T D_l / m. There is no f', so units without a derivative learn. The
    rule is that of the whole network; single layers may only have ``rule="frozen"``.

    Parameters
    ----------
    feedback : Feedback, default Feedback("he_uniform", scale=0.05)
        How F (n_0, n_L), ``net.feedback["input.feedback"]``, is drawn: within +-0.05 sqrt(6 / n_0)
        as published; "uniform", "normal" or an initialiser, with n_0 as n_l, whole; or its values,
        or a function ``f(n_0, n_L)`` that returns them.

    References
    ----------
    Dellaferrera and Kreiman, Error-driven input modulation: solving the credit assignment problem
    without a backward pass, ICML (2022); e' at the output layer as in their code.
    """

    name: ClassVar[str] = "pepita"
    source: ClassVar[str] = "input"

    feedback: Feedback = _PEPITA_FEEDBACK

    def __post_init__(self) -> None:
        check_feedback(self.feedback)

"""Rules that broadcast the error or the targets of the output to every hidden layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .._internal.checks import choice
from ..feedback import Feedback
from .base import DEFAULT_FEEDBACK, PLACES, Rule, check_feedback

__all__ = ["DFA", "DRTP", "SDFA", "Ternary"]


@dataclass(frozen=True, eq=False, repr=False)
class BroadcastRule(Rule):
    """Base of the rules that send one signal to all layers, through one matrix for each."""

    feedback: Feedback = DEFAULT_FEEDBACK
    inject: str = "post"

    def __post_init__(self) -> None:
        check_feedback(self.feedback)
        choice("inject", self.inject, PLACES)
        self._check_options()


@dataclass(frozen=True, eq=False, repr=False)
class DFA(BroadcastRule):
    """Direct feedback alignment: S_l = e B_l with a fixed random B_l of shape (n_L, n_l).

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn, or its values.
    inject : {"post", "before_pool", "pre"}
        "post": the signal arrives at the output of the layer and of those that follow it up to the
        next one with weights; pools, dropout and f' apply exactly. "before_pool": it arrives in
        front of the first of these that is a pool; dropout before it and f' apply exactly. "pre":
        it arrives there too, but before the activation; only the 0/1 mask of dropout applies, f'
        does not.

    References
    ----------
    Nokland, Direct feedback alignment provides learning in deep neural networks, NeurIPS (2016).
    """

    name: ClassVar[str] = "dfa"
    source: ClassVar[str] = "error"


@dataclass(frozen=True, eq=False, repr=False)
class SDFA(BroadcastRule):
    """Direct feedback alignment of the error's sign: S_l = sign(e) B_l, B_l of shape (n_L, n_l).

    The sign of a softmax error never shrinks, so hidden units drift into saturation during long
    training: use it for studies, with a small or falling learning rate. `Sequential` warns of
    units without bounds, such as relu, under Adam and its like, and of mse under SGD.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn, or its values.
    inject : {"post", "before_pool", "pre"}
        As for `DFA`.

    References
    ----------
    Frenkel, Lefebvre and Bol, Learning without feedback: fixed random learning signals allow for
    feedforward training of deep neural networks, Frontiers in Neuroscience 15 (2021).
    """

    name: ClassVar[str] = "sdfa"
    source: ClassVar[str] = "error"


@dataclass(frozen=True, eq=False, repr=False)
class DRTP(BroadcastRule):
    """Direct random target projection: S_l = Y B_l, with Y the targets, B_l of shape (n_L, n_l).

    The signal is the same however small the error has become. So the rule is for classes and for
    hidden units with bounds, such as tanh; `Sequential` warns of others and of mse.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn, or its values.
    inject : {"post", "before_pool", "pre"}
        As for `DFA`.

    References
    ----------
    Frenkel, Lefebvre and Bol, Learning without feedback: fixed random learning signals allow for
    feedforward training of deep neural networks, Frontiers in Neuroscience 15 (2021). The sign is
    the published one, S = +Y B.
    """

    name: ClassVar[str] = "drtp"
    source: ClassVar[str] = "target"


@dataclass(frozen=True, eq=False, repr=False)
class Ternary(BroadcastRule):
    """Direct feedback of a ternary error: S_l = T(e) B_l, B_l of shape (n_L, n_l).

    T(x) = sign(x) where abs(x) > threshold, else 0: three levels, which optical or digital devices
    can send. Unlike under `SDFA`, the signal is zero where the outputs are right.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn, or its values.
    inject : {"post", "before_pool", "pre"}
        As for `DFA`.
    threshold : float >= 0, default 0.25
        Errors up to this size count as 0. Tune it: the signal does not shrink with the error, so if
        the threshold is too small, units saturate as under `SDFA`.

    References
    ----------
    Launay, Poli, Boniface and Krzakala, Direct feedback alignment scales to modern deep learning
    tasks and architectures, NeurIPS (2020), and its optical implementations.
    """

    name: ClassVar[str] = "ternary"
    source: ClassVar[str] = "error"

    threshold: float = 0.25

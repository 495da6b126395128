"""Rules whose feedback learns: kp, dkp, ldfa."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .broadcast import BroadcastRule
from .chain import ChainRule

__all__ = ["DKP", "KP", "LDFA"]


@dataclass(frozen=True, eq=False, repr=False)
class KP(ChainRule):
    """Kolen-Pollack: feedback alignment whose B_l (n_{l+1}, n_l) learns with the weights above.

    B_l takes the transpose of each step that the optimizer makes on W_{l+1}; then both are reduced
    by the share `decay` of their values before the step. So after t steps W_{l+1} - B_l^T is
    (1 - decay)^t of its first value, if layer l+1 is trained. The weight decay of the optimizer is
    part of its step and does not change that difference.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn at first, or its values.
    decay : float in [0, 1), default 0.0
        Share of W_{l+1} and B_l that is lost in every step. With 0, as in the published code, they
        align because their common part grows; with more they become equal.
    inject : {"post"}
        As for `Backprop`.

    References
    ----------
    Kolen and Pollack, Backpropagation without weight transport, ICNN (1994). Akrout, Wilson,
    Humphreys, Lillicrap and Tweed, Deep learning without weight transport, NeurIPS (2019).
    """

    name: ClassVar[str] = "kp"

    decay: float = 0.0


@dataclass(frozen=True, eq=False, repr=False)
class DKP(BroadcastRule):
    """Direct Kolen-Pollack: S_l = e B_l, and B_l (n_L, n_l) learns from (1/m) e^T H_l.

    H_l is the output of the layer after dropout. The network's optimizer trains B_l like a weight:
    with one hidden layer and lr_scale 1 every step of B_l is the transposed step of W_L, and the
    rule is `KP`. `clip_norm` includes its gradient; `decay` applies to it instead of the weight
    decay of the optimizer.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn at first, or its values.
    decay : float in [0, 1), default 0.0
        Share of B_l that is lost in every step.
    lr_scale : float > 0, default 1.0
        Factor on the learning rate of B_l.
    inject : {"post", "before_pool", "pre"}
        As for `DFA`.

    References
    ----------
    Webster, Choi and Ahn, Learning the connections in direct feedback alignment (2021).
    """

    name: ClassVar[str] = "dkp"
    source: ClassVar[str] = "error"

    decay: float = 0.0
    lr_scale: float = 1.0

    _hints: ClassVar[Mapping[str, str]] = {"lr_scale": "feedback that does not learn is DFA"}


@dataclass(frozen=True, eq=False, repr=False)
class LDFA(ChainRule):
    """Low-dimensional feedback: S_l = d_{l+1} P Q of rank r whose P and Q learn.

    The network's optimizer trains Q like a weight, with the gradient (1/m) (d_{l+1} P)^T H_l. The
    feedback takes r (n_l + n_{l+1}) multiplications a sample instead of n_l n_{l+1}.

    Parameters
    ----------
    feedback : Feedback, optional
        How Q is drawn at first, as a B of r rows; values are not allowed. P starts with orthonormal
        columns: d P P^T is a projection, never larger than d.
    rank : int, optional
        r, at most the width of the layer and of the one above. None: the number of outputs, or that
        limit if it is smaller.
    decay : float in [0, 1), default 0.0
        Share of Q that is lost in every step.
    lr_scale : float > 0, default 1.0
        Factor on the learning rate of Q.
    oja : float >= 0, default 0.1
        Factor on the learning rate of P, which learns the r principal directions of the delta above
        by Oja's subspace rule; 0 keeps P as drawn. Large values diverge: on the demo 1 does.
    inject : {"post"}
        As for `Backprop`.

    References
    ----------
    Hanut and Kadmon, Efficiently training large neural networks with low-dimensional error
    feedback (2025). Oja, Neural networks, principal components, and subspaces (1989).
    """

    name: ClassVar[str] = "ldfa"

    rank: int | None = None
    decay: float = 0.0
    lr_scale: float = 1.0
    oja: float = 0.1

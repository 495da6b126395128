"""Rules that send targets down instead of errors: dtp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .chain import ChainRule

__all__ = ["DTP"]


@dataclass(frozen=True, eq=False, repr=False)
class DTP(ChainRule):
    """Difference target propagation: S_l = H_l - T_l, targets T_l from inverses that learn.

    The inverse g_l(H) = f_l(H Q_l + q_l) of the layer above gives
    T_l = H_l - g_l(H_{l+1}) + g_l(T_{l+1}), and the target above the last hidden layer (or above a
    layer of another rule) is H - step * d. Q_l (n_{l+1}, n_l) learns, by the network's optimizer,
    to give back H_l + noise from what the layer above makes of it.

    Parameters
    ----------
    feedback : Feedback, optional
        How Q_l is drawn at first, or its values; q_l starts at 0.
    step : float > 0, default 1.0
        How far the target is from the output, in errors.
    noise : float >= 0, default 0.1
        Standard deviation of the noise, which is uniform.
    lr_scale : float > 0, default 1.0
        Factor on the learning rate of the inverses.
    train_feedback : bool, default True
        False keeps the inverses as drawn: fixed-weight difference target propagation. On small
        digits it ends below `DFA`.
    inject : {"post"}
        As for `Backprop`.

    References
    ----------
    Lee, Zhang, Fischer and Bengio, Difference target propagation, ECML PKDD (2015). Fixed: Shibuya,
    Inoue, Kawakami and Sato, Fixed-weight difference target propagation, AAAI (2023).
    """

    name: ClassVar[str] = "dtp"

    step: float = 1.0
    noise: float = 0.1
    lr_scale: float = 1.0
    train_feedback: bool = True

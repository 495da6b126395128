"""Rules whose feedback learns from noise that goes forward through the network: fdfa, wm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..feedback import Feedback
from .base import Rule, check_chain_inject, check_feedback
from .chain import ChainRule

__all__ = ["FDFA", "WM"]

_ZEROS = Feedback(scale=0.0)


@dataclass(frozen=True, eq=False, repr=False)
class FDFA(Rule):
    """Forward direct feedback alignment: S_l = e B_l, and B_l learns what the layer does to A_L.

    Noise P_l enters at the output of each hidden layer and goes forward as tangents,
    T_l = (T_{l-1} W_l) * f'(A_l) + P_l, up to J = T_{L-1} W_L. J^T P_l / m is an estimate of the
    mean Jacobian dA_L/dH_l, and B_l (n_L, n_l) goes towards it: gB_l = B_l - J^T P_l / m. There is
    no backward pass; the tangents take a second forward pass without its first layer.

    Parameters
    ----------
    feedback : Feedback, default Feedback(scale=0.0)
        B_l at first: zeros as published, so that the hidden layers wait for about 1 / share steps.
    share : float in [0, 1], default 0.02
        How much of gB_l a step takes from B_l. 0, as published: the network's optimizer takes
        the step.
    lr_scale : float > 0, default 1.0
        Factor on the learning rate of B_l where `share` is 0.
    normal : bool, default False
        The entries of P_l are -1 or 1, whose estimate has the smaller variance; True: normal as
        published, which takes longer to draw.
    inject : {"post"}
        The signal lands at the layer's output and f' applies.

    References
    ----------
    Bacho and Chu, Low-variance forward gradients using direct feedback alignment and momentum,
    Neural Networks (2024), arXiv:2212.07282.
    """

    name: ClassVar[str] = "fdfa"
    source: ClassVar[str] = "error"

    feedback: Feedback = _ZEROS
    share: float = 0.02
    lr_scale: float = 1.0
    normal: bool = False
    inject: str = "post"

    def __post_init__(self) -> None:
        check_feedback(self.feedback)
        check_chain_inject(self.name, self.inject)
        self._check_options()


@dataclass(frozen=True, eq=False, repr=False)
class WM(ChainRule):
    """Weight mirror: feedback alignment whose B_l (n_{l+1}, n_l) learns from noise.

    In each step the layer sends noise N, uniform in +-`noise`, through the weights above, and B_l
    goes towards (N W_{l+1})^T N / (m noise^2 / 3), an estimate of W_{l+1}^T. Its angle to the
    weights tends to arctan sqrt(rate n_l / (2 m)), for batches of m: a smaller rate is sharper and
    slower.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn at first, or its values.
    rate : float in (0, 1], default 0.02
        Factor on the step of B_l, which takes no optimizer. With ``net.lr = 0`` only B_l learns:
        the mirror phase that the authors begin with.
    noise : float, default 0.05
        Half the width of the noise. Matters only for the published step.
    normalize : bool, default True
        False takes the published step: B_l += rate Z^T N, a sum over the batch, with the layer's
        output Z = f(N W_{l+1} + b_{l+1}), of the last layer as it predicts. B_l only grows, and
        with it the learning rate of the layers below.
    inject : {"post"}
        As for `Backprop`.

    References
    ----------
    Akrout, Wilson, Humphreys, Lillicrap and Tweed, Deep learning without weight transport, NeurIPS
    (2019). Their noise passes the whole layer; here, unless it is the published step, only the
    weights, so that B_l tends to W_{l+1}^T for every activation.
    """

    name: ClassVar[str] = "wm"

    rate: float = 0.02
    noise: float = 0.05
    normalize: bool = True

    _hints: ClassVar[Mapping[str, str]] = {"rate": "feedback that does not learn is FA"}

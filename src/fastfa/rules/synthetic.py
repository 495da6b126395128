"""Rules whose signal a model of the layer predicts: cdni."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Rule, check_chain_inject

__all__ = ["CDNI"]


@dataclass(frozen=True, eq=False, repr=False)
class CDNI(Rule):
    """Synthetic gradients that know the targets: S_l = H_l M_l + Y N_l + c_l, a model that learns.

    The model, zero at first, learns to predict the signal V_l = d_{l+1} W_{l+1}^T that one exact
    step down would give, from the delta that the layer above has by its own rule: the network's
    optimizer trains it on the squared distance. So a layer can learn before the layers above are
    done. It is not free of weight transport, nor of the product with W_{l+1}^T. Signals feed on
    those of the layer above: take about half of the learning rate of other rules.

    Parameters
    ----------
    decay : float in [0, 1), default 0.0
        Share of the model that is lost in every step.
    lr_scale : float > 0, default 1.0
        Factor on the learning rate of the model. Wide layers need less: with 1024 tanh units and
        momentum 0.9 the rule learned MNIST at the rate 0.01 and diverged at 0.03.
    inject : {"post"}
        The signal lands at the layer's output and f' applies.

    References
    ----------
    Jaderberg, Czarnecki, Osindero, Vinyals, Graves, Silver and Kavukcuoglu, Decoupled neural
    interfaces using synthetic gradients, ICML (2017): cDNI with a linear model.
    """

    name: ClassVar[str] = "cdni"
    source: ClassVar[str] = "above"

    decay: float = 0.0
    lr_scale: float = 1.0
    inject: str = "post"

    def __post_init__(self) -> None:
        check_chain_inject(self.name, self.inject)
        self._check_options()

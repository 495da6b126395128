"""Rules whose layers learn from a prediction head each: local."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .broadcast import BroadcastRule

__all__ = ["Local"]


@dataclass(frozen=True, eq=False, repr=False)
class Local(BroadcastRule):
    """A separate loss for each hidden layer: S_l = e_l M_l^T, with a head M_l (n_l, n_L).

    The head predicts the targets from the numbers where its signal arrives, the output of the layer
    with ``inject="post"``, z_l = H_l M_l + c_l; e_l is the
    error of the network's loss on z_l, and does not reach other layers. ``net.parameters`` has the
    heads as "l.head.weight" and "l.head.bias"; they learn like the output layer.

    Parameters
    ----------
    feedback : Feedback, optional
        How M_l^T (n_L, n_l) is drawn at first ("uniform", "normal" or an initialiser, whole), or
        its values.
    inject : {"post", "before_pool", "pre"}
        As for `DFA`.
    train_head : bool, default True
        False keeps the heads as drawn: each layer learns for a fixed random classifier.
    lr_scale : float > 0, default 1.0
        Factor on the learning rate of the heads.

    References
    ----------
    Nokland and Eidnes, Training neural networks with local error signals, ICML (2019), prediction
    loss. Mostafa, Ramesh and Cauwenberghs, Deep supervised learning using local errors, Frontiers
    in Neuroscience 12 (2018), with fixed heads.
    """

    name: ClassVar[str] = "local"
    source: ClassVar[str] = "head"

    train_head: bool = True
    lr_scale: float = 1.0

    _hints: ClassVar[Mapping[str, str]] = {"lr_scale": "train_head=False keeps the heads"}

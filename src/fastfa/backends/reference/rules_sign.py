"""Sign symmetry: feedback matrices with the signs of the weights (Liao, Leibo & Poggio 2016).

The three forms are those of BioTorch (Sanfiz & Akrout 2021). Each step forms its B_l
(n_{l+1}, n_l) from W_{l+1}, with sign(0) = 0. docs/MATH.md, "Rules".
"""

from __future__ import annotations

import math

import numpy as np

from .base import Array, Maybe
from .draws import FEEDBACK, Stream, initial_feedback
from .rule import Layer, Network, feedback_shape, forward_of, weight_above
from .rules_chain import FA


def signs_above(net: Network, layer: Layer) -> Array:
    """sign(W_{l+1}^T)."""
    return np.asarray(np.sign(weight_above(net, layer).T))


class FRSF(FA):
    """B_l = abs(R) sign(W_{l+1}^T), R drawn once and stored as "l.feedback"."""

    def matrix(self, net: Network, layer: Layer) -> Maybe:
        """abs(R) sign(W_{l+1}^T)."""
        return np.asarray(np.abs(net.feedback[layer.key("feedback")]) * signs_above(net, layer))


class USF(FA):
    """B_l = s sign(W_{l+1}^T), s = scale sqrt(2 / (n_l + n_{l+1})), the weights' first std."""

    def first_feedback(self, net: Network, layer: Layer) -> dict[str, Array]:
        """Nothing is stored."""
        return {}

    def feedback_text(self, net: Network, layer: Layer) -> str:
        """Shape alone."""
        rows, cols = feedback_shape(net, layer)
        return f"signs {rows}x{cols}"

    def matrix(self, net: Network, layer: Layer) -> Maybe:
        """The signs of W_{l+1}^T times s."""
        signs = signs_above(net, layer)
        fans = net.dense[layer.ordinal + 1].fans
        s = float(self.feedback["scale"]) * math.sqrt(2 / sum(fans))
        return np.asarray(net.dtype.type(s) * signs)


class BRSF(USF):
    """B_l = abs(R_t) sign(W_{l+1}^T), R_t drawn for each step t from the stream of that step."""

    def matrix(self, net: Network, layer: Layer) -> Maybe:
        """abs(R_t) sign(W_{l+1}^T)."""
        signs = signs_above(net, layer)
        stream = Stream(net.description["seed"], FEEDBACK, layer.ordinal, net.steps)
        forward = forward_of(layer, net.dense[layer.ordinal + 1])
        drawn = initial_feedback(self.feedback, stream, signs.shape, *forward)
        return np.asarray(np.abs(drawn.astype(net.dtype)) * signs)

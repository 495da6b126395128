"""Chain rules: S_l comes from the delta of the layer above.

docs/MATH.md, "Rules".
"""

from __future__ import annotations

from .base import Array, Maybe
from .rule import Layer, Network, Rule, StoredFeedback, weight_above
from .step import Step


def delta_above(layer: Layer, step: Step) -> Array:
    """d_{l+1} (m, n_{l+1}), which is formed before a chain rule reads it."""
    above = step.deltas[layer.ordinal + 1]
    assert above is not None
    return above


def carried(net: Network, purpose: str, layer: Layer, step: Step, matrix: Array) -> Array:
    """d_{l+1} times a matrix of the shape of W_{l+1}^T, as the signal of layer l."""
    above = net.dense[layer.ordinal + 1]
    owner = above if purpose == "transport" else layer
    rows = above.rows_out(delta_above(layer, step))
    return above.gathered(net.product(purpose, rows, matrix, owner))


class Backprop(Rule):
    """S_l = d_{l+1} W_{l+1}^T, the exact gradient (Rumelhart, Hinton & Williams 1986)."""

    source = "above"
    is_chain = True

    def signal(self, net: Network, layer: Layer, step: Step) -> Array:
        """d_{l+1} W_{l+1}^T."""
        return carried(net, "transport", layer, step, weight_above(net, layer).T)

    def matrix(self, net: Network, layer: Layer) -> Maybe:
        """W_{l+1}^T."""
        return weight_above(net, layer).T

    def weight_angle(self, net: Network, layer: Layer) -> float | None:
        """Zero, without the rounding of an arc cosine."""
        return 0.0


class Frozen(Backprop):
    """The layer learns nothing; the signal passes below it as under backprop. The baseline."""

    source = ""
    learns = False

    def matrix(self, net: Network, layer: Layer) -> Maybe:
        """No matrix: the layer has no signal of its own."""
        return None

    def weight_angle(self, net: Network, layer: Layer) -> float | None:
        """No angle, as there is no matrix."""
        return None


class FA(StoredFeedback):
    """S_l = d_{l+1} B_l, B_l (n_{l+1}, n_l) fixed (Lillicrap et al. 2016, eq. Delta h_FA = B e)."""

    source = "above"
    is_chain = True

    def signal(self, net: Network, layer: Layer, step: Step) -> Array:
        """d_{l+1} B_l."""
        matrix = self.matrix(net, layer)
        assert matrix is not None
        return carried(net, "feedback", layer, step, matrix)

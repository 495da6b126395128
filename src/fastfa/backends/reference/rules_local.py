"""Local losses: each hidden layer learns from a prediction head of its own.

docs/MATH.md, "Feedback that learns", *local*.
"""

from __future__ import annotations

import numpy as np

from .base import Array, Maybe
from .functions import loss_of
from .rule import Layer, Network, Rule, first_matrix, matrix_text
from .step import Step


class Local(Rule):
    """S_l = e_l M_l^T, e_l = dloss_i/dz_l of a head z_l = H_l M_l + c_l.

    Nokland & Eidnes 2019 ("pred"); with heads that do not learn, Mostafa et al. 2018.
    gM_l = (1/m) H_l^T (w * e_l), gc_l = (1/m) sum over rows of w * e_l. With `square` the head
    reads H_l * H_l and S_l = 2 H_l * (e_l M_l^T); with `blocks` M_l is fixed, and c_l is 0.
    """

    source = "head"

    def keys(self, layer: Layer) -> tuple[str, str]:
        """Names of M_l (n_l, n_L) and c_l (n_L)."""
        return layer.key("head.weight"), layer.key("head.bias")

    def first_parameters(self, net: Network, layer: Layer) -> dict[str, Array]:
        """M_l^T as the B_l of DFA would be drawn, or blocks of units; c_l = 0."""
        weight, bias = self.keys(layer)
        if self.option("blocks"):
            block = np.arange(layer.width) * net.n_out // layer.width
            return {weight: self.feedback["scale"] * np.eye(net.n_out)[block]}
        first: dict[str, Array] = {weight: first_matrix(net, layer).T.copy()}
        return first | ({bias: np.zeros(net.n_out)} if self.option("bias") else {})

    def read(self, layer: Layer, step: Step) -> Array:
        """What the head reads: H_l, or its squares."""
        h = step.trace.landed(layer.ordinal, layer.landing)
        return h * h if self.option("square") else h

    def matrix(self, net: Network, layer: Layer) -> Maybe:
        """M_l^T."""
        return net.parameters[self.keys(layer)[0]].T

    def feedback_text(self, net: Network, layer: Layer) -> str:
        """Distribution and shape of M_l^T."""
        return matrix_text(self.feedback, net.n_out, layer.width)

    def signal(self, net: Network, layer: Layer, step: Step) -> Array:
        """e_l M_l^T; keeps e_l."""
        weight, bias = (net.parameters.get(key) for key in self.keys(layer))
        assert weight is not None
        z = net.product("forward", self.read(layer, step), weight, layer)
        z = z if bias is None else z + bias
        row_loss, error = loss_of(net.description)(
            z.astype(np.float64), step.target.astype(np.float64)
        )
        if not np.isfinite(row_loss).all():
            raise FloatingPointError("loss of a head is not finite; nothing was updated")
        step.kept[layer.key("e")] = error.astype(net.dtype)
        s = net.product("feedback", error.astype(net.dtype), weight.T, layer)
        return (
            2 * step.trace.landed(layer.ordinal, layer.landing) * s if self.option("square") else s
        )

    def trained(self, layer: Layer) -> list[str]:
        """M_l and c_l, unless the heads are fixed."""
        if self.option("blocks") or not self.option("train_head"):
            return []
        return list(self.keys(layer))[: 1 + self.option("bias")]

    def gradients(self, net: Network, layer: Layer, step: Step) -> dict[str, Array]:
        """gM_l and gc_l."""
        if not self.trained(layer):
            return {}
        error = step.weigh(step.kept[layer.key("e")])
        g_weight = net.product("outer", self.read(layer, step).T, error, layer) / step.count
        both = (g_weight, error.sum(axis=0) / step.count)
        return dict(zip(self.trained(layer), both, strict=False))

    def update(self, net: Network, layer: Layer, grads: dict[str, Array], lr: float) -> None:
        """M_l and c_l as every weight and bias, at lr * lr_scale."""
        for key in self.trained(layer):
            decay = net.weight_decay(is_bias=key.endswith("bias"))
            net.optimize(key, grads[key], lr * self.option("lr_scale"), decay)

"""Difference target propagation: targets go down through inverses that learn.

docs/MATH.md, "Feedback that learns", *dtp*.
"""

from __future__ import annotations

import math

import numpy as np

from .base import Array
from .functions import activation
from .rule import Layer, Network, StoredFeedback, weight_above
from .rules_chain import delta_above
from .rules_noise import uniform_noise
from .step import Step


class DTP(StoredFeedback):
    """S_l = g_l(H_{l+1}) - g_l(T_{l+1}), g_l(H) = f_l(H Q_l + q_l) (Lee et al. 2015).

    T_l = H_l - S_l, and T = H - step * d where the layer above has another rule. With C = H_l +
    noise, U = f_{l+1}(C W_{l+1} + b_{l+1}) and R = (g_l(U) - C) * f_l': gQ_l = (1/m) U^T R,
    gq_l = (1/m) sum over rows of R.
    """

    source = "above"
    is_chain = True

    def first_feedback(self, net: Network, layer: Layer) -> dict[str, Array]:
        """Q_l as described, and q_l = 0."""
        bias = {layer.key("feedback.q"): np.zeros((1, layer.width))}
        return super().first_feedback(net, layer) | bias

    def trained(self, layer: Layer) -> list[str]:
        """Q_l and q_l, unless they are fixed."""
        keys = [layer.key("feedback"), layer.key("feedback.q")]
        return keys if self.option("train_feedback") else []

    def inverse(self, net: Network, layer: Layer, h: Array) -> tuple[Array, Array]:
        """The pre-activation of g_l, and g_l."""
        a = net.product("feedback", h, net.feedback[layer.key("feedback")], layer)
        a = a + net.feedback[layer.key("feedback.q")]
        return a, np.asarray(activation(layer.spec)[0](a).astype(net.dtype))

    def outputs(self, step: Step, layer: Layer) -> Array:
        """The output of a block, as the layer above sees it."""
        up = layer.ordinal + 1
        return step.trace.inputs[up] if up < len(step.trace.inputs) else step.trace.h[-1]

    def signal(self, net: Network, layer: Layer, step: Step) -> Array:
        """S_l; keeps T_l."""
        above = net.dense[layer.ordinal + 1]
        h = self.outputs(step, above)
        if isinstance(above.rule, DTP) and above is not net.dense[-1]:
            target = step.kept[above.key("T")]
        else:
            target = h - net.dtype.type(self.option("step")) * delta_above(layer, step)
        s = self.inverse(net, layer, h)[1] - self.inverse(net, layer, target)[1]
        step.kept[layer.key("T")] = self.outputs(step, layer) - s
        return np.asarray(s)

    def gradients(self, net: Network, layer: Layer, step: Step) -> dict[str, Array]:
        """gQ_l and gq_l."""
        if not self.trained(layer):
            return {}
        above, h = net.dense[layer.ordinal + 1], self.outputs(step, layer)
        size = math.sqrt(3) * self.option("noise")
        c = h + (size * uniform_noise(net, layer, len(h))).astype(net.dtype)
        a = net.product("forward", c, weight_above(net, layer), above)
        if above.spec["use_bias"]:
            a = a + net.parameters[above.key("bias")]
        u = activation(above.spec)[0](a).astype(net.dtype)
        if above is not net.dense[-1]:
            for back in step.trace.back[above.ordinal + 1]:
                u = back(u, True)
        a, g = self.inverse(net, layer, u)
        r = ((g - c) * activation(layer.spec)[1](a, g)).astype(net.dtype)
        found = (
            net.product("outer", u.T, r, layer) / step.count,
            r.sum(axis=0, keepdims=True) / step.count,
        )
        return dict(zip(self.trained(layer), found, strict=True))

    def update(self, net: Network, layer: Layer, grads: dict[str, Array], lr: float) -> None:
        """Both as weights, without decay, at lr * lr_scale."""
        for key in self.trained(layer):
            if key in grads:
                net.optimize(key, grads[key], lr * self.option("lr_scale"))

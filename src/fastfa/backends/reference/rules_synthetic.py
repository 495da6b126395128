"""Synthetic gradients: a model of each layer predicts its signal.

docs/MATH.md, "Feedback that learns", *cdni*.
"""

from __future__ import annotations

import numpy as np

from .base import Array
from .rule import Layer, Network, Rule, weight_above
from .rules_chain import carried
from .step import Step


class CDNI(Rule):
    """S_l = H_l M_l + Y N_l + c_l, zero at first (Jaderberg et al. 2017, with the targets).

    With V_l = d_{l+1} W_{l+1}^T and R = w * (S_l - V_l): gM_l = (1/m) H_l^T R,
    gN_l = (1/m) Y^T R, gc_l = (1/m) sum over rows of R.
    """

    source = "above"
    is_chain = True
    serves = True

    def trained(self, layer: Layer) -> list[str]:
        """M_l, N_l, c_l."""
        return [layer.key(f"feedback.{part}") for part in "MNc"]

    def first_feedback(self, net: Network, layer: Layer) -> dict[str, Array]:
        """Zeros."""
        n = layer.width
        shapes = ((n, n), (net.n_out, n), (1, n))
        return {
            key: np.zeros(shape) for key, shape in zip(self.trained(layer), shapes, strict=True)
        }

    def signal(self, net: Network, layer: Layer, step: Step) -> Array:
        """What the model predicts; keeps what it lacks."""
        of_output, of_target, bias = (net.feedback[key] for key in self.trained(layer))
        h, target = step.trace.inputs[layer.ordinal + 1], step.target.astype(net.dtype)
        s = net.product("feedback", h, of_output, layer) + bias
        s = s + net.product("feedback", target, of_target, None)
        if layer.learns_feedback:
            exact = carried(net, "transport", layer, step, weight_above(net, layer).T)
            step.kept[layer.key("R")] = s - exact
        return s

    def gradients(self, net: Network, layer: Layer, step: Step) -> dict[str, Array]:
        """gM_l, gN_l and gc_l."""
        h, r = step.trace.inputs[layer.ordinal + 1], step.weigh(step.kept[layer.key("R")])
        found = (
            net.product("outer", h.T, r, layer) / step.count,
            net.product("outer", step.target.T.astype(net.dtype), r, None) / step.count,
            r.sum(axis=0, keepdims=True) / step.count,
        )
        return dict(zip(self.trained(layer), found, strict=True))

    def update(self, net: Network, layer: Layer, grads: dict[str, Array], lr: float) -> None:
        """Each as DKP's B_l."""
        for key in self.trained(layer):
            if key in grads:
                net.feedback[key] *= 1 - self.option("decay")
                net.optimize(key, grads[key], lr * self.option("lr_scale"))

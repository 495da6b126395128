"""Rules whose feedback learns from noise that goes forward through the network.

docs/MATH.md, "Feedback that learns", *fdfa* and *wm*.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .base import Array
from .draws import NOISE, Stream, normals, uniforms
from .functions import LINKS, activation
from .rule import Layer, Network, weight_above
from .rules_broadcast import DFA
from .rules_chain import FA, Backprop
from .step import Step


def stream_of(net: Network, layer: Layer) -> Stream:
    """The noise of a layer in this step."""
    return Stream(net.description["seed"], NOISE, layer.ordinal, net.steps)


def uniform_noise(net: Network, layer: Layer, rows: int) -> Array:
    """Uniform in (-1, 1), (rows, n_l)."""
    drawn = 2.0 * uniforms(stream_of(net, layer), rows * layer.width) - 1.0
    return np.asarray(drawn.reshape(rows, layer.width))


class FDFA(DFA):
    """DFA whose B_l learns the mean of dA_L/dH_l from tangents (Bacho & Chu 2022).

    With noise P_l: T_1 = P_1, T_l = (T_{l-1} W_l) * f'(A_l) + P_l, J = T_{L-1} W_L, and
    gB_l = B_l - J^T P_l / m.
    """

    def trained(self, layer: Layer) -> list[str]:
        """B_l."""
        return [layer.key("feedback")]

    def apart(self, layer: Layer) -> list[str]:
        """B_l, unless its `share` is 0."""
        return [layer.key("feedback")] if self.option("share") else []

    def noise(self, net: Network, layer: Layer, rows: int) -> Array:
        """P_l, whose entries have the mean 0 and the variance 1."""
        if not self.option("normal"):
            return np.sign(uniform_noise(net, layer, rows)).astype(net.dtype)
        drawn = normals(stream_of(net, layer), rows * layer.width)
        return np.asarray(drawn.reshape(rows, layer.width).astype(net.dtype))

    def tangents(self, net: Network, step: Step) -> None:
        """P_l of every layer that learns so, and J, into `step.kept`."""
        tangent = None
        for layer in net.hidden:
            if tangent is not None:
                taken = net.product("forward", tangent, net.parameters[layer.key("weight")], layer)
                exact = replace(layer, rule=Backprop({"name": "backprop"}))
                tangent = net.local_vjp(exact, step.trace, taken)
            if isinstance(layer.rule, FDFA) and layer.trains:
                noise = layer.rule.noise(net, layer, len(step.error))
                step.kept[layer.key("P")] = noise
                tangent = noise if tangent is None else tangent + noise
        assert tangent is not None
        last = net.dense[-1]
        weight = net.parameters[last.key("weight")]
        step.kept["J"] = net.product("forward", tangent, weight, last)

    def gradients(self, net: Network, layer: Layer, step: Step) -> dict[str, Array]:
        """gB_l."""
        if "J" not in step.kept:
            self.tangents(net, step)
        key = layer.key("feedback")
        seen = net.product("outer", step.kept["J"].T, step.kept[layer.key("P")], layer) / step.count
        return {key: net.feedback[key] - seen}

    def update(self, net: Network, layer: Layer, grads: dict[str, Array], lr: float) -> None:
        """B_l loses `share` of gB_l, or takes the optimizer's step at lr * lr_scale."""
        key = layer.key("feedback")
        if key not in grads:
            return
        if self.option("share"):
            net.feedback[key] -= net.dtype.type(self.option("share")) * grads[key]
        else:
            net.optimize(key, grads[key], lr * self.option("lr_scale"))


class WM(FA):
    """FA whose B_l learns W_{l+1}^T from noise N through layer l+1 (Akrout et al. 2019).

    Normalised: gB_l = B_l - (N W_{l+1})^T N / (m s^2 / 3), for N uniform in +-s. Published:
    gB_l = -Z^T N with Z = f(N W_{l+1} + b_{l+1}). B_l -= rate * gB_l.
    """

    def trained(self, layer: Layer) -> list[str]:
        """B_l."""
        return [layer.key("feedback")]

    def apart(self, layer: Layer) -> list[str]:
        """B_l."""
        return [layer.key("feedback")]

    def answer(self, net: Network, layer: Layer, noise: Array) -> Array:
        """What layer l+1 makes of the noise; the last one as it predicts."""
        above = net.dense[layer.ordinal + 1]
        a = net.product("forward", noise, weight_above(net, layer), above)
        if self.option("normalize"):
            return a
        if above.spec["use_bias"]:
            a = a + net.parameters[above.key("bias")]
        z = activation(above.spec)[0](a).astype(net.dtype)
        if above is net.dense[-1]:
            z = LINKS[net.description["loss"]](z.astype(np.float64)).astype(net.dtype)
        return np.asarray(z)

    def gradients(self, net: Network, layer: Layer, step: Step) -> dict[str, Array]:
        """gB_l."""
        key, size = layer.key("feedback"), self.option("noise")
        noise = (size * uniform_noise(net, layer, len(step.error))).astype(net.dtype)
        seen = net.product("outer", self.answer(net, layer, noise).T, noise, layer)
        if not self.option("normalize"):
            return {key: -seen}
        return {key: net.feedback[key] - seen * 3 / (size**2 * step.count)}

    def update(self, net: Network, layer: Layer, grads: dict[str, Array], lr: float) -> None:
        """B_l loses the share `rate` of gB_l."""
        key = layer.key("feedback")
        if key in grads:
            net.feedback[key] -= net.dtype.type(self.option("rate")) * grads[key]

"""Broadcast and target rules: S_l comes from the error or the targets, without the layers between.

docs/MATH.md, "Rules".
"""

from __future__ import annotations

import numpy as np

from .base import Array, Maybe
from .functions import activation
from .rule import Layer, Network, Rule, StoredFeedback
from .step import Step


class DFA(StoredFeedback):
    """S_l = e B_l, B_l (n_L, n_l) fixed (Nokland 2016, direct feedback alignment)."""

    def broadcast(self, net: Network, step: Step) -> Array:
        """The rows that B_l multiplies: e."""
        return step.error

    def signal(self, net: Network, layer: Layer, step: Step) -> Array:
        """The broadcast rows times B_l."""
        matrix = net.feedback[layer.key("feedback")]
        s = net.product("feedback", self.broadcast(net, step), matrix, layer)
        if not self.spec.get("normalize"):
            return s
        length = np.linalg.norm(s.astype(np.float64), axis=1, keepdims=True)
        size = np.sqrt((step.error.astype(np.float64) ** 2).mean(axis=1, keepdims=True))
        factor = np.divide(size, length, out=np.zeros_like(size), where=length > 0)
        return np.asarray((s * factor).astype(net.dtype))

    def delta(self, net: Network, layer: Layer, step: Step) -> Array:
        """d_l, with the derivative of another activation if asked for."""
        name = self.spec.get("derivative", "own")
        if name == "own":
            return super().delta(net, layer, step)
        s = self.signal(net, layer, step)
        for back in reversed(step.trace.back[layer.ordinal + 1][: layer.landing]):
            s = back(s, True)
        f, derivative = activation(layer.spec | {"activation": name, "slope": 0.01, "alpha": 1.0})
        a = step.trace.a[layer.ordinal]
        return np.asarray((s * derivative(a, f(a))).astype(net.dtype))


class SDFA(DFA):
    """S_l = sign(e) B_l (Frenkel, Lefebvre & Bol 2021, error-sign-based DFA)."""

    def broadcast(self, net: Network, step: Step) -> Array:
        """sign(e), sign(0) = 0."""
        return np.asarray(np.sign(step.error))


class Ternary(DFA):
    """S_l = T(e) B_l with T(x) = sign(x) where abs(x) > threshold, else 0 (Launay et al. 2020)."""

    def broadcast(self, net: Network, step: Step) -> Array:
        """T(e)."""
        large = np.abs(step.error) > net.dtype.type(self.option("threshold"))
        return np.where(large, np.sign(step.error), 0).astype(net.dtype)


class DRTP(DFA):
    """S_l = Y B_l (Frenkel, Lefebvre & Bol 2021); a label selects a row of B_l."""

    source = "target"

    def signal(self, net: Network, layer: Layer, step: Step) -> Array:
        """Y B_l, or the rows B_l[label]."""
        matrix = net.feedback[layer.key("feedback")]
        if step.labels is not None and net.n_out > 1:
            return np.asarray(matrix[step.labels])
        return net.product("feedback", step.target, matrix, layer)


class IFA(Rule):
    """S_1 = e B_1, and above it S_l = d_{l-1} W_l (Nokland 2016, indirect feedback alignment)."""

    source = "below"

    def at(self, ordinal: int) -> Rule:
        """The lowest layer follows DFA."""
        return self if ordinal > 0 else DFA(self.spec)

    def matrix(self, net: Network, layer: Layer) -> Maybe:
        """W_l."""
        return net.parameters[layer.key("weight")]

    def signal(self, net: Network, layer: Layer, step: Step) -> Array:
        """d_{l-1} W_l."""
        below = step.deltas[layer.ordinal - 1]
        assert below is not None
        return net.product("feedback", below, net.parameters[layer.key("weight")], layer)

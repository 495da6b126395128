"""Rules whose feedback learns.

docs/MATH.md, "Feedback that learns"; lambda is the rule's `decay`, the share lost in a step.
"""

from __future__ import annotations

from typing import Any

from .base import Array, Maybe
from .draws import FEEDBACK, PROJECTION, DrawSpec, Stream, draw, initial_feedback, orthogonal
from .rule import Layer, Network, Rule, matrix_text
from .rules_broadcast import DFA
from .rules_chain import FA, delta_above
from .step import Step


class KP(FA):
    """FA whose B_l takes the steps of W_{l+1} (Kolen & Pollack 1994; Akrout et al. 2019)."""

    def couple(self, net: Network, layer: Layer, weight: Array, before: Array) -> None:
        """W_{l+1} <- (1 - lambda) W_{l+1} + u, B_l <- (1 - lambda) B_l + u^T, u the step taken."""
        keep, taken = 1 - self.option("decay"), weight - before
        matrix = net.feedback[layer.key("feedback")]
        matrix[...] = keep * matrix + taken.reshape(-1, taken.shape[-1]).T
        if keep != 1:
            weight[...] = keep * before + taken


class DKP(DFA):
    """DFA whose B_l learns (Webster, Choi & Ahn 2021): gB_l = (1/m) (w * e)^T H_l."""

    def trained(self, layer: Layer) -> list[str]:
        """B_l."""
        return [layer.key("feedback")]

    def gradients(self, net: Network, layer: Layer, step: Step) -> dict[str, Array]:
        """gB_l."""
        error, h = step.weighted[-1], step.trace.landed(layer.ordinal, layer.landing)
        assert error is not None
        return {layer.key("feedback"): net.product("outer", error.T, h, layer) / step.count}

    def update(self, net: Network, layer: Layer, grads: dict[str, Array], lr: float) -> None:
        """B_l loses the share lambda, then takes the optimizer's step at lr * lr_scale."""
        key = layer.key("feedback")
        if key not in grads:  # `apply_gradients` without it
            return
        net.feedback[key] *= 1 - self.option("decay")
        net.optimize(key, grads[key], lr * self.option("lr_scale"))


class LDFA(Rule):
    """S_l = d_{l+1} P Q; Q (r, n_l) learns, P (n_{l+1}, r) if asked (Hanut & Kadmon 2025).

    With T = d_{l+1} P: gQ_l = (1/m) (w * T)^T H_l and, by Oja's subspace rule,
    gP_l = (1/m) (T P^T - d_{l+1})^T (w * T).
    """

    source = "above"
    is_chain = True
    right = "feedback.Q"  # the name of Q

    def rank(self, net: Network, layer: Layer) -> int:
        """r, as asked, or the number of outputs if both layers are as wide."""
        above = net.dense[layer.ordinal + 1]
        return int(self.option("rank") or min(net.n_out, above.n_out, layer.width))

    def first_feedback(self, net: Network, layer: Layer) -> dict[str, Array]:
        """P, orthonormal, and Q as a stored matrix of r rows would be drawn."""
        above, seed = net.dense[layer.ordinal + 1], net.description["seed"]
        rank = self.rank(net, layer)
        stream = Stream(seed, PROJECTION, layer.ordinal)
        p = orthogonal(draw(DrawSpec("normal", 1.0), stream, (above.n_out, rank)))
        stream, shape = Stream(seed, FEEDBACK, layer.ordinal), (rank, layer.width)
        q = initial_feedback(self.feedback, stream, shape, above.spec["weight_init"])
        return {layer.key("feedback.P"): p, layer.key(self.right): q}

    def factors(self, net: Network, layer: Layer) -> tuple[Array, Array]:
        """P and Q."""
        return net.feedback[layer.key("feedback.P")], net.feedback[layer.key(self.right)]

    def matrix(self, net: Network, layer: Layer) -> Maybe:
        """P Q."""
        p, q = self.factors(net, layer)
        product: Array = p @ q
        return product

    def feedback_text(self, net: Network, layer: Layer) -> str:
        """Distribution of Q, shape and rank."""
        n_above, rank = self.factors(net, layer)[0].shape
        return f"{matrix_text(self.feedback, n_above, layer.width)} rank {rank}"

    def signal(self, net: Network, layer: Layer, step: Step) -> Array:
        """T Q; keeps T, and Oja's residual T P^T - d_{l+1} where P learns."""
        above, (p, q) = delta_above(layer, step), self.factors(net, layer)
        t = step.kept[layer.key("T")] = net.product("feedback", above, p, layer)
        if self.option("oja"):
            step.kept[layer.key("residual")] = net.product("feedback", t, p.T, layer) - above
        return net.product("feedback", t, q, layer)

    def trained(self, layer: Layer) -> list[str]:
        """Q, and P where `oja` is not zero."""
        parts = (self.right, "feedback.P") if self.option("oja") else (self.right,)
        return [layer.key(part) for part in parts]

    def gradients(self, net: Network, layer: Layer, step: Step) -> dict[str, Array]:
        """gQ_l and gP_l."""
        h, t = step.trace.inputs[layer.ordinal + 1], step.weigh(step.kept[layer.key("T")])
        grads = {layer.key(self.right): net.product("outer", t.T, h, layer) / step.count}
        if self.option("oja"):
            residual = step.kept[layer.key("residual")]
            p_gradient = net.product("outer", residual.T, t, layer)
            grads[layer.key("feedback.P")] = p_gradient / step.count
        return grads

    def update(self, net: Network, layer: Layer, grads: dict[str, Array], lr: float) -> None:
        """Q as DKP's B_l; P at lr * oja."""
        p, q = layer.key("feedback.P"), layer.key(self.right)
        if q in grads:
            net.feedback[q] *= 1 - self.option("decay")
            net.optimize(q, grads[q], lr * self.option("lr_scale"))
        if p in grads:
            net.optimize(p, grads[p], lr * self.option("oja"))


class PFA(LDFA):
    """S_l = d_{l+1} P R, R learns as LDFA's Q; P is fixed, P P^T = 1 (Li & Benna 2024)."""

    right = "feedback.R"

    def rank(self, net: Network, layer: Layer) -> int:
        """As asked, or the width above."""
        return int(self.option("rank") or net.dense[layer.ordinal + 1].n_out)

    def option(self, name: str) -> Any:
        """P does not learn."""
        return 0.0 if name == "oja" else super().option(name)

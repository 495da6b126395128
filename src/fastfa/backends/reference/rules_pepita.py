"""PEPITA: two forward passes and no backward pass (Dellaferrera & Kreiman 2022).

docs/MATH.md, "Feedback that learns", *pepita*.
"""

from __future__ import annotations

import numpy as np

from .base import Array
from .draws import FEEDBACK, Stream, draw_feedback, initial_feedback
from .rule import Layer, Network, Rule, matrix_text
from .step import Step


class Pepita(Rule):
    """D_l = w * (H_l - H'_l), H'_l from the input X' = X + e F^T; F (n_0, n_L) is fixed."""

    source = "input"
    two_passes = True

    def first_feedback(self, net: Network, layer: Layer) -> dict[str, Array]:
        """F, one for the network: drawn as B^T would be, with n_0 units to reach."""
        stream, shape = Stream(net.description["seed"], FEEDBACK), (net.n_in, net.n_out)
        if "values" in self.feedback:
            return {"input.feedback": initial_feedback(self.feedback, stream, shape)}
        drawn = draw_feedback(self.feedback, stream, shape[::-1], None)
        return {"input.feedback": drawn.reshape(shape)}

    def feedback_text(self, net: Network, layer: Layer) -> str:
        """Distribution and shape of F."""
        return matrix_text(self.feedback, net.n_in, net.n_out)

    def second_pass(self, net: Network, x: Array, step: Step) -> Array:
        """e', the error of the same network, batch and dropout masks from X'."""
        change = net.product("feedback", step.error, net.feedback["input.feedback"].T, net.dense[0])
        step.second = net.forward(net.scaled(x) + change, training=True)
        row_loss, error = net.loss_of(step.second, step.target.astype(np.float64))
        if not np.isfinite(row_loss).all():
            raise FloatingPointError("loss of the second pass is not finite; nothing was updated")
        return error

    def delta(self, net: Network, layer: Layer, step: Step) -> Array:
        """H_l - H'_l of the block's output, as the layer above sees it; no f' enters."""
        assert step.second is not None
        up = layer.ordinal + 1
        return np.asarray(step.trace.inputs[up] - step.second.inputs[up])

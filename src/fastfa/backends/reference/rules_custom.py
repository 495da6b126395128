"""Rules that users write in Python: classes derived from `fastfa.Rule`."""

from __future__ import annotations

import numpy as np

from ..._internal.rule_context import RuleContext
from .base import Array, Maybe
from .rule import Layer, Network, StoredFeedback
from .step import Step


class Custom(StoredFeedback):
    """S_l as the user's `signal` returns it; B_l (n_L, n_l) only where the user's rule has one."""

    def first_feedback(self, net: Network, layer: Layer) -> dict[str, Array]:
        """B_l, if any."""
        return super().first_feedback(net, layer) if self.feedback else {}

    def matrix(self, net: Network, layer: Layer) -> Maybe:
        """B_l, if any."""
        return net.feedback.get(layer.key("feedback"))

    def feedback_text(self, net: Network, layer: Layer) -> str:
        """Distribution and shape, if any."""
        return super().feedback_text(net, layer) if self.feedback else ""

    def signal(self, net: Network, layer: Layer, step: Step) -> Array:
        """Ask the user's object, which may read the arrays of the step but not write them."""
        outputs = [*step.trace.inputs[1:], step.trace.h[-1], step.trace.inputs[0]]  # -1: the input
        arrays = {"error": step.error, "labels": step.labels}
        arrays["target"] = step.target if step.labels is None else None

        def read(name: str, block: int) -> Maybe:
            array = outputs[block] if name == "output" else arrays[name]
            return None if array is None else read_only(array)

        ctx = RuleContext(
            layer=layer.index,
            units=layer.width,
            step=net.steps,
            parameters=net.parameters,
            feedback=self.matrix(net, layer),
            product=np.matmul,
            _read=read,
            _blocks={x.index: x.ordinal for x in net.dense},
        )
        return np.asarray(self.spec["custom"].signal(ctx), net.dtype)


def read_only(a: Array) -> Array:
    """A view that nobody can write into."""
    view = a.view()
    view.flags.writeable = False
    return view

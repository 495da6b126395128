"""The interface of the learning rules, and their stored matrices.

A rule object belongs to the description of one layer's rule. Its methods take the network and the
layer, hold no state, and have defaults that suit most rules: a new rule is its `signal`. `Network`
here is the part of a network that rules use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from .base import Array, Doubles, Maybe, Spec
from .draws import BIAS, FEEDBACK, WEIGHT, Stream, initial, initial_feedback
from .functions import angle
from .step import Step, Trace


class Network(Protocol):
    """The part of a network that rules use."""

    description: dict[str, Any]
    dtype: np.dtype[Any]
    n_in: int
    n_out: int
    steps: int
    dense: list[Layer]
    hidden: list[Layer]  # without the output
    parameters: dict[str, Array]
    feedback: dict[str, Array]

    def product(self, purpose: str, a: Array, b: Array) -> Array:
        """A B, counted under its purpose while training."""

    def scaled(self, x: Array) -> Array:
        """The inputs in the network's type, after input scaling."""

    def forward(self, h: Array, training: bool) -> Trace:
        """A forward pass from H_0, with the dropout masks of this step if training."""

    def loss_of(self, trace: Trace, target: Doubles) -> tuple[Doubles, Array]:
        """The loss of each sample (m,) and the error e (m, n_L)."""

    def local_vjp(self, layer: Layer, trace: Trace, s: Array) -> Array:
        """d_l from S_l: back through the block's dropouts and f."""

    def weight_decay(self, is_bias: bool = False) -> float:
        """The optimizer's weight decay for a weight or a bias."""

    def optimize(self, key: str, gradient: Array, lr: float, decay: float = 0.0) -> None:
        """One optimizer step on the array of a key, in place."""


@dataclass(frozen=True)
class Layer:
    """Dense layer number `ordinal`, the dropouts just before it, and the rule that it follows."""

    index: int  # in the layer list
    ordinal: int
    n_in: int
    spec: dict[str, Any]
    dropouts: tuple[tuple[int, float], ...]  # (index in the layer list, rate)
    rule: Rule
    needs_delta: bool = True  # is d_l formed at all?

    @property
    def n_out(self) -> int:
        """Number of units."""
        return int(self.spec["units"])

    @property
    def inject(self) -> str:
        """Where S lands: "post", the block's output, or "pre", at A_l."""
        return str(self.rule.spec.get("inject", "post"))

    @property
    def trains(self) -> bool:
        """Whether an update changes this layer."""
        return bool(self.spec["trainable"]) and self.rule.learns

    def key(self, part: str) -> str:
        """Name of one of its arrays, "0.weight"."""
        return f"{self.index}.{part}"

    @property
    def parts(self) -> list[str]:
        """The names of its parameters, without the index: W_l and, if any, b_l."""
        return ["weight", "bias"][: 1 + self.spec["use_bias"]]

    @property
    def keys(self) -> list[str]:
        """Names of its parameters."""
        return [self.key(part) for part in self.parts]

    def first_weight(self, seed: int) -> Doubles:
        """The first W_l (n_{l-1}, n_l)."""
        fans = self.n_in, self.n_out
        return initial(self.spec["weight_init"], Stream(seed, WEIGHT, self.ordinal), fans, fans)

    def first_parameters(self, seed: int) -> dict[str, Array]:
        """The first W_l and, if any, b_l."""
        first = {self.key("weight"): self.first_weight(seed)}
        if self.spec["use_bias"]:
            stream, fans = Stream(seed, BIAS, self.ordinal), (self.n_in, self.n_out)
            first[self.key("bias")] = initial(self.spec["bias_init"], stream, fans[1:], fans)
        return first

    def first_feedback(self, seed: int) -> dict[str, Array]:
        """The layer's own feedback tensors and their first values: none."""
        return {}


class Rule:
    """How a hidden layer gets its teaching signal S_l, and how the rule's own arrays learn."""

    source: ClassVar[str] = "error"  # of S_l: above, below, error, target, head, input, or ""
    is_chain: ClassVar[bool] = False  # S_l is formed from d_{l+1}
    learns: ClassVar[bool] = True  # its layers train
    two_passes: ClassVar[bool] = False  # `second_pass` is asked for the output's delta

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.name = str(spec["name"])

    def at(self, ordinal: int) -> Rule:
        """The rule that Dense layer number `ordinal` follows."""
        return self

    @property
    def feedback(self) -> Spec:
        """The description of its feedback matrix; empty where it has none."""
        return self.spec.get("feedback") or {}

    def option(self, name: str) -> Any:
        """One of its options."""
        return self.spec[name]

    # ---------------------------------------------------------------------------- its own arrays

    def first_parameters(self, net: Network, layer: Layer) -> dict[str, Array]:
        """The rule's own parameters and their first values, in double."""
        return {}

    def first_feedback(self, net: Network, layer: Layer) -> dict[str, Array]:
        """The feedback tensors and their first values, in double."""
        return {}

    def trained(self, layer: Layer) -> list[str]:
        """Keys of those of its arrays that learn where the layer trains."""
        return []

    def matrix(self, net: Network, layer: Layer) -> Maybe:
        """The matrix (n_source, n_l) that carries the source to the layer in this step."""
        return None

    def feedback_text(self, net: Network, layer: Layer) -> str:
        """The matrix in words, "uniform 10x64"; empty where the layer has none of its own."""
        return ""

    # ---------------------------------------------------------------------------------- one step

    def signal(self, net: Network, layer: Layer, step: Step) -> Array:
        """S_l (m, n_l), without sample weights and 1/m."""
        raise NotImplementedError

    def delta(self, net: Network, layer: Layer, step: Step) -> Array:
        """d_l (m, n_l): S_l brought back through the block's dropouts and f."""
        return net.local_vjp(layer, step.trace, self.signal(net, layer, step))

    def second_pass(self, net: Network, x: Array, step: Step) -> Array:
        """The output's delta where the rule makes a second forward pass; it sets `step.second`."""
        raise NotImplementedError

    def gradients(self, net: Network, layer: Layer, step: Step) -> dict[str, Array]:
        """The gradients of the arrays that `trained` names."""
        return {}

    def update(self, net: Network, layer: Layer, grads: dict[str, Array], lr: float) -> None:
        """One optimizer step on the arrays that `trained` names."""

    def couple(self, net: Network, layer: Layer, weight: Array, before: Array) -> None:
        """Follow the step that the optimizer took on the weight of the layer above."""

    # ------------------------------------------------------------------------------------ angles

    def weight_angle(self, net: Network, layer: Layer) -> float | None:
        """B_l to W_{l+1}^T (chain) or (W_{l+1} .. W_L)^T (error); None where it replaces neither.

        docs/MATH.md, "Alignment".
        """
        matrix = self.matrix(net, layer) if self.source in ("above", "error") else None
        if matrix is None:
            return None
        path = np.eye(layer.n_out)
        for upper in net.dense[layer.ordinal + 1 :][: 1 if self.source == "above" else None]:
            path = path @ net.parameters[upper.key("weight")]
        return angle(matrix, path.T)


class StoredFeedback(Rule):
    """A rule with a stored matrix B_l (n_source, n_l), "l.feedback"."""

    def first_feedback(self, net: Network, layer: Layer) -> dict[str, Array]:
        """B_l as described."""
        return {layer.key("feedback"): first_matrix(net, layer)}

    def matrix(self, net: Network, layer: Layer) -> Maybe:
        """B_l."""
        return net.feedback[layer.key("feedback")]

    def feedback_text(self, net: Network, layer: Layer) -> str:
        """Distribution and shape."""
        return matrix_text(self.feedback, source_width(net, layer), layer.n_out)


# ------------------------------------------------------------------------- drawing stored matrices


def weight_above(net: Network, layer: Layer) -> Array:
    """W_{l+1} (n_l, n_{l+1})."""
    return net.parameters[net.dense[layer.ordinal + 1].key("weight")]


def source_width(net: Network, layer: Layer) -> int:
    """Columns of the source of S_l: n_{l+1}, or n_L."""
    return net.dense[layer.ordinal + 1].n_out if layer.rule.source == "above" else net.n_out


def matrix_text(feedback: Spec, rows: int, cols: int) -> str:
    """A matrix in words."""
    return f"{feedback.get('distribution', 'values')} {rows}x{cols}"


def first_matrix(net: Network, layer: Layer) -> Array:
    """B_l (n_source, n_l) in double, or the first n_l columns of the shared matrix.

    docs/MATH.md, "Feedback matrices".
    """
    spec, ordinal, cols = layer.rule.feedback, layer.ordinal, layer.n_out
    above = net.dense[layer.ordinal + 1 if layer.rule.source == "above" else -1]
    if spec.get("distribution") == "copy":
        weight = above.first_weight(net.description["seed"]).astype(net.dtype).T
        return np.asarray(net.dtype.type(spec["scale"]) * weight)
    if spec.get("shared"):
        ordinal, cols = 0, max(x.n_out for x in net.hidden if x.rule.feedback.get("shared"))
    stream = Stream(net.description["seed"], FEEDBACK, ordinal)
    shape = source_width(net, layer), cols
    return initial_feedback(spec, stream, shape, above.spec["weight_init"])[:, : layer.n_out]

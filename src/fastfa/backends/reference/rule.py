"""The interface of the learning rules, and their stored matrices.

A rule object belongs to the description of one layer's rule. Its methods take the network and the
layer, hold no state, and have defaults that suit most rules: a new rule is its `signal`. `Network`
here is the part of a network that rules use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from .base import Array, Doubles, Maybe, Spec
from .draws import BIAS, FEEDBACK, WEIGHT, Stream, initial, initial_feedback
from .functions import angle
from .images import Follower, Shape, Window
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

    def product(self, purpose: str, a: Array, b: Array, owner: Layer | None) -> Array:
        """A B, counted under its purpose while training; `owner` is the layer of the matrix."""

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
    """Weighted layer number `ordinal`, the layers just before it, and the rule that it follows.

    A convolution is a Dense over rows that are patches: `rows_in` makes them, `rows_out` takes its
    outputs apart in the same way.
    """

    index: int  # in the layer list
    ordinal: int
    given: Shape  # the shape of its input
    spec: dict[str, Any]
    followers: tuple[Follower, ...]  # the layers without weights just before it
    rule: Rule
    needs_delta: bool = True  # is d_l formed at all?
    width: int = 0  # numbers where S_l lands
    landing: int = 0  # and after how many of the layers behind it that is
    learners: tuple[Follower, ...] = ()  # those of them whose parameters learn

    @property
    def columns(self) -> int:
        """Columns of W_l: units, or filters."""
        return int(self.spec["filters" if self.spec["type"] == "conv2d" else "units"])

    @property
    def window(self) -> Window | None:
        """The windows of a convolution."""
        if self.spec["type"] != "conv2d":
            return None
        return Window.of(self.spec, self.given, self.spec["kernel_size"])

    @property
    def output(self) -> Shape:
        """The shape of its output."""
        return (self.columns,) if self.window is None else (*self.window.map, self.columns)

    @property
    def n_out(self) -> int:
        """Numbers of its output."""
        return math.prod(self.output)

    @property
    def weight_shape(self) -> Shape:
        """The shape of W_l, whose last axis are the columns."""
        size = () if self.window is None else self.window.size
        return *size, math.prod(self.given) if self.window is None else self.given[2], self.columns

    @property
    def fans(self) -> tuple[int, int]:
        """Inputs and outputs of a weight, for initialisers."""
        *size, n_in, n_out = self.weight_shape
        return math.prod(size) * n_in, math.prod(size) * n_out

    def rows_in(self, h: Array) -> Array:
        """What W_l multiplies: rows of h, or a row for each patch."""
        return h if self.window is None else self.window.patches(h).reshape(-1, self.fans[0])

    def rows_out(self, a: Array) -> Array:
        """The same for outputs or deltas: a row for each row of `rows_in`."""
        return a.reshape(-1, self.columns)

    def gathered(self, rows: Array) -> Array:
        """Signals at the inputs, from signals at `rows_in`: sums over the patches."""
        if self.window is None:
            return rows
        shape = *self.window.map, *self.window.size, self.given[2]
        return self.window.sums(rows.reshape(-1, *shape))

    @property
    def inject(self) -> str:
        """Where S lands: "post", the block's output, "before_pool", or "pre", at A_l."""
        return str(self.rule.spec.get("inject", "post"))

    @property
    def trains(self) -> bool:
        """Whether an update changes this layer."""
        return bool(self.spec["trainable"]) and self.rule.learns

    @property
    def learns_feedback(self) -> bool:
        """Whether an update changes the arrays of its rule."""
        return self.trains or (self.rule.serves and self.needs_delta)

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
        stream = Stream(seed, WEIGHT, self.ordinal)
        return initial(self.spec["weight_init"], stream, self.weight_shape, self.fans)

    def first_parameters(self, seed: int) -> dict[str, Array]:
        """The first W_l and, if any, b_l."""
        first = {self.key("weight"): self.first_weight(seed)}
        if self.spec["use_bias"]:
            stream, shape = Stream(seed, BIAS, self.ordinal), (self.columns,)
            first[self.key("bias")] = initial(self.spec["bias_init"], stream, shape, self.fans)
        return first

    def first_feedback(self, seed: int) -> dict[str, Array]:
        """The layer's own feedback tensors and their first values: none."""
        return {}


class Rule:
    """How a hidden layer gets its teaching signal S_l, and how the rule's own arrays learn."""

    source: ClassVar[str] = "error"  # of S_l: above, below, error, target, head, input, or ""
    is_chain: ClassVar[bool] = False  # S_l is formed from d_{l+1}
    learns: ClassVar[bool] = True  # its layers train
    serves: ClassVar[bool] = False  # its arrays learn wherever d_l is needed
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

    def apart(self, layer: Layer) -> list[str]:
        """Keys of those in `trained` whose steps need no optimizer: no slots, no clipping."""
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
        if self.source == "above":
            return angle(matrix, weight_above(net, layer).T)
        uppers = net.dense[layer.ordinal + 1 :]
        if any(upper.window for upper in uppers) or layer.width != math.prod(uppers[0].given):
            return None  # no matrix leads through patches or pools
        path = np.eye(layer.width)
        for upper in uppers:
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
        return matrix_text(self.feedback, *feedback_shape(net, layer))


# ------------------------------------------------------------------------- drawing stored matrices


def weight_above(net: Network, layer: Layer) -> Array:
    """W_{l+1} (n_l, n_{l+1}), of a convolution (numbers of a patch, filters)."""
    above = net.dense[layer.ordinal + 1]
    return net.parameters[above.key("weight")].reshape(-1, above.columns)


def feedback_shape(net: Network, layer: Layer) -> tuple[int, int]:
    """(n_source, n_l) of B_l; under chain rules that of W_{l+1}^T."""
    if layer.rule.source != "above":
        return net.n_out, layer.width
    above = net.dense[layer.ordinal + 1]
    return above.columns, math.prod(above.weight_shape[:-1])


def matrix_text(feedback: Spec, rows: int, cols: int) -> str:
    """A matrix in words."""
    return f"{feedback.get('distribution', 'values')} {rows}x{cols}"


def first_matrix(net: Network, layer: Layer) -> Array:
    """B_l (n_source, n_l) in double, or the first n_l columns of the shared matrix.

    docs/MATH.md, "Feedback matrices".
    """
    spec, ordinal = layer.rule.feedback, layer.ordinal
    rows, cols = shape = feedback_shape(net, layer)
    above = net.dense[layer.ordinal + 1 if layer.rule.source == "above" else -1]
    if spec.get("distribution") == "copy":
        weight = above.first_weight(net.description["seed"]).astype(net.dtype)
        return np.asarray(net.dtype.type(spec["scale"]) * weight.reshape(cols, rows).T)
    if spec.get("shared"):
        widest = max(x.width for x in net.hidden if x.rule.feedback.get("shared"))
        ordinal, shape = 0, (rows, widest)
    stream = Stream(net.description["seed"], FEEDBACK, ordinal)
    return initial_feedback(spec, stream, shape, *forward_of(layer, above))[:, :cols]


def forward_of(layer: Layer, source: Layer) -> tuple[Spec, tuple[int, int] | None]:
    """The initialiser that "forward" stands for; and the fans of B_l above a convolution."""
    conv = layer.rule.source == "above" and source.window is not None
    return source.spec["weight_init"], source.fans if conv else None

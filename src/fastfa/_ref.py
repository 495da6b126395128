"""The equations of fastfa in NumPy: the oracle that the C engine is tested against.

Clarity beats speed, and inputs are trusted (checks live at the door). Notation, rows are samples:
``H_0 = X`` (m, n_0); ``A_l = H_{l-1} W_l + b_l`` and ``H_l = f(A_l)`` (m, n_l), l = 1..L; ``e``
(m, n_L) is the error of each sample, dloss_i/dA_L; ``S_l`` the teaching signal of hidden layer l;
``d_l`` its delta, ``d_L = e``. With sample weights w, ``D_l = w * d_l``, and the gradient of W_l
is ``H_{l-1}^T D_l / m``. In code, layers count from 0; "block l" is Dense l with the dropouts that
follow it.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._teaching import Teaching

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Maybe = Array | None
Spec = dict[str, Any]  # a part of the description

# ---------------------------------------------------------------------------------- random numbers

WEIGHT, BIAS, FEEDBACK, DROPOUT, SHUFFLE = 1, 2, 3, 4, 5  # the purposes, one stream each
PROJECTION, SPARSITY = 6, 7
LOW32, SHIFT32 = np.uint64(0xFFFFFFFF), np.uint64(32)


class Stream(NamedTuple):
    """One stream of random numbers: draws of different streams never share a Philox counter."""

    seed: int
    purpose: int
    ordinal: int = 0
    step: int = 0


def philox(counter: Array, key: tuple[int, int]) -> Array:
    """Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

    `counter` is (..., 4) words of 32 bits; so is the result, held in uint64.
    """
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    for i in range(10):
        k0 = np.uint64((key[0] + i * 0x9E3779B9) & 0xFFFFFFFF)
        k1 = np.uint64((key[1] + i * 0xBB67AE85) & 0xFFFFFFFF)
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (p1 >> SHIFT32) ^ c1 ^ k0, p1 & LOW32
        c2, c3 = (p0 >> SHIFT32) ^ c3 ^ k1, p0 & LOW32
    return np.stack([c0, c1, c2, c3], axis=-1)


def words(stream: Stream, c0: Any, c1: Any) -> Array:
    """The four words of each block (c0, c1) of a stream: the shape of c0 and c1, plus (4,)."""
    c2 = stream.step & 0xFFFFFFFF
    c3 = stream.purpose << 28 | stream.ordinal << 16 | stream.step >> 32
    counter = np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1)
    return philox(counter, (stream.seed & 0xFFFFFFFF, stream.seed >> 32))


def uniforms(stream: Stream, n: int) -> Doubles:
    """The first n doubles in [0, 1) of a stream, two from a block, 53 bits each."""
    block = np.arange((n + 1) // 2, dtype=np.uint64)
    pairs = words(stream, block & LOW32, block >> SHIFT32).reshape(-1, 2)
    a, b = pairs[:n, 0] >> np.uint64(5), pairs[:n, 1] >> np.uint64(6)
    return np.asarray((a * 67108864.0 + b) / 9007199254740992.0, np.float64)


def normals(stream: Stream, n: int) -> Doubles:
    """The first n standard normals of a stream (Box & Muller 1958), two from a block."""
    u = uniforms(stream, n + n % 2)
    r, angle = np.sqrt(-2.0 * np.log(1.0 - u[0::2])), 2.0 * np.pi * u[1::2]
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1).ravel()[:n]


def keep_mask(stream: Stream, rows: int, cols: int, rate: float) -> npt.NDArray[np.bool_]:
    """Dropout's mask (rows, cols): False with probability `rate`; row is the index in the batch."""
    word = words(stream, np.arange((cols + 3) // 4), np.arange(rows)[:, None])
    return np.asarray(word.reshape(rows, -1)[:, :cols] >= int(rate * 2**32), np.bool_)


def permutation(stream: Stream, n: int) -> npt.NDArray[np.int64]:
    """A shuffle of 0..n-1 (Fisher & Yates, from the end), 64 random bits a swap."""
    block = np.arange((n + 1) // 2, dtype=np.uint64)
    halves = words(stream, block & LOW32, block >> SHIFT32).reshape(-1, 2)
    numbers = (halves[:, 1] << SHIFT32 | halves[:, 0]).tolist()
    order = list(range(n))
    for number, i in zip(numbers, range(n - 1, 0, -1), strict=False):
        j = number * (i + 1) >> 64
        order[i], order[j] = order[j], order[i]
    return np.array(order, np.int64)


# ------------------------------------------------------------------------------------ initialisers

# name -> (draw, its limit or standard deviation at scale 1 for fan-in a and fan-out b)
INITIALIZERS: dict[str, tuple[str, Callable[[int, int], float]]] = {
    "zeros": ("uniform", lambda a, b: 0.0),
    "uniform": ("uniform", lambda a, b: 1.0),
    "normal": ("normal", lambda a, b: 1.0),
    "glorot_uniform": ("uniform", lambda a, b: math.sqrt(6 / (a + b))),  # Glorot & Bengio 2010
    "glorot_normal": ("normal", lambda a, b: math.sqrt(2 / (a + b))),
    "he_uniform": ("uniform", lambda a, b: math.sqrt(6 / a)),  # He et al. 2015
    "he_normal": ("normal", lambda a, b: math.sqrt(2 / a)),
    "lecun_uniform": ("uniform", lambda a, b: math.sqrt(3 / a)),  # LeCun et al. 1998
    "lecun_normal": ("normal", lambda a, b: math.sqrt(1 / a)),
}


def draw(kind: str, width: float, stream: Stream, shape: tuple[int, ...]) -> Doubles:
    """Doubles of a shape: uniform in (-width, width), or normal with standard deviation width."""
    n = math.prod(shape)
    unit = normals(stream, n) if kind == "normal" else 2.0 * uniforms(stream, n) - 1.0
    return (unit * width).reshape(shape)


def initial(init: Spec, stream: Stream, shape: tuple[int, ...], fans: tuple[int, int]) -> Doubles:
    """The first value of a weight or bias, in double."""
    if "values" in init:
        return given("initial values", init["values"], shape)
    kind, width = INITIALIZERS[init["name"]]
    return draw(kind, init["scale"] * width(*fans), stream, shape)


def initial_feedback(
    spec: Spec, stream: Stream, shape: tuple[int, int], forward: Spec | None = None
) -> Doubles:
    """B (n_source, n_l) in double; `forward` is the initialiser that "forward" stands for."""
    if "values" in spec:
        return float(spec["scale"]) * given("feedback", spec["values"], shape)
    rank = spec.get("rank")
    if rank:
        p = draw(
            "normal", 1 / math.sqrt(rank), stream._replace(purpose=PROJECTION), (shape[0], rank)
        )
        matrix = np.asarray(p @ draw_feedback(spec, stream, (rank, shape[1]), forward))
    else:
        matrix = draw_feedback(spec, stream, shape, forward)
    if spec["distribution"] == "orthogonal":
        matrix = orthogonal(matrix) * (spec["scale"] * math.sqrt(max(shape) / (3 * shape[1])))
    if spec.get("sparsity"):
        kept = math.floor((1 - spec["sparsity"]) * shape[0] + 0.5)
        luck = uniforms(stream._replace(purpose=SPARSITY), matrix.size).reshape(shape)
        places = luck.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        matrix = np.where(places < kept, matrix, 0.0)
    return matrix


def draw_feedback(
    spec: Spec, stream: Stream, shape: tuple[int, int], forward: Spec | None
) -> Doubles:
    """Entries of standard deviation scale / sqrt(3 n_l), or those of an initialiser for B^T."""
    name, scale, n = spec["distribution"], float(spec["scale"]), shape[1]
    if name == "forward":
        assert forward is not None
        kind, width = INITIALIZERS[forward["name"]]
        return draw(kind, scale * forward["scale"] * width(n, shape[0]), stream, shape)
    if name == "sign":
        return (
            np.where(draw("uniform", 1.0, stream, shape) >= 0, 1.0, -1.0) * scale / math.sqrt(3 * n)
        )
    if name == "ternary":
        u = 3 * draw("uniform", 1.0, stream, shape)
        return (1.0 * (u >= 1) - 1.0 * (u < -1)) * scale / math.sqrt(2 * n)
    if name in ("uniform", "normal", "orthogonal"):
        widths = {"uniform": scale / math.sqrt(n), "normal": scale / math.sqrt(3 * n)}
        kind = "normal" if name == "orthogonal" else name
        return draw(kind, widths.get(name, 1.0), stream, shape)
    kind, width = INITIALIZERS[name]
    return draw(kind, scale * width(n, shape[0]), stream, shape)


def orthogonal(matrix: Doubles) -> Doubles:
    """Rows made orthonormal in order, or columns where they are fewer (modified Gram-Schmidt)."""
    vectors = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T).copy()
    for i, x in enumerate(vectors):
        for y in vectors[:i]:
            x -= (x @ y) * y
        x /= math.sqrt(x @ x)
    return vectors if matrix.shape[0] <= matrix.shape[1] else vectors.T


def given(what: str, values: Any, shape: tuple[int, ...]) -> Doubles:
    """A copy of an array the user gave in place of a draw."""
    array = np.array(values, np.float64)
    if array.shape != shape:
        raise ValueError(f"{what}: expected shape {shape}, got {array.shape}")
    return array


# ------------------------------------------------------------------------------------- activations


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)) without overflow."""
    t = np.exp(-np.abs(a))
    return np.asarray(np.where(a >= 0, 1 / (1 + t), t / (1 + t)))


def normal_cdf(a: Array) -> Array:
    """Phi(a), the standard normal's distribution function, in double."""
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return np.asarray(0.5 * (1.0 + erf(a / math.sqrt(2.0))))


def gelu_derivative(a: Array) -> Array:
    """Phi(a) + a phi(a) (Hendrycks & Gimpel 2016), in double."""
    x = a.astype(np.float64)
    density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return np.asarray(normal_cdf(x) + x * density)


# name -> (f(A), f' from A and H)
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "linear": (lambda a: a, lambda a, h: np.ones_like(a)),
    "relu": (lambda a: np.maximum(a, 0), lambda a, h: h > 0),
    "leaky_relu": (
        lambda a: np.where(a > 0, a, 0.01 * a),
        lambda a, h: np.where(h > 0, 1.0, 0.01),
    ),
    "tanh": (np.tanh, lambda a, h: 1 - h * h),
    "sigmoid": (sigmoid, lambda a, h: h * (1 - h)),
    "softplus": (lambda a: np.logaddexp(a, 0), lambda a, h: sigmoid(a)),
    "gelu": (lambda a: a * normal_cdf(a.astype(np.float64)), lambda a, h: gelu_derivative(a)),
    "sign": (np.sign, lambda a, h: np.zeros_like(a)),
    "threshold": (lambda a: a > 0, lambda a, h: np.zeros_like(a)),
}
ZERO_DERIVATIVE = ("sign", "threshold")

# ------------------------------------------------------------------------------------------ losses
# Each takes z (m, n_L) and dense targets y (m, n_L) in double and gives the loss of each sample,
# (m,), summed over outputs, and dloss_i/dz (m, n_L).


def softmax(z: Doubles) -> Doubles:
    """Rows of probabilities."""
    t = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(t / t.sum(axis=1, keepdims=True), np.float64)


def softmax_cross_entropy(z: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Log sum exp z - sum y z; z are logits, rows of y sum to 1."""
    top = z.max(axis=1)
    log_sum = top + np.log(np.exp(z - top[:, None]).sum(axis=1))
    return log_sum - (y * z).sum(axis=1), softmax(z) - y


def sigmoid_cross_entropy(z: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Sum log(1 + exp z) - y z; z are logits."""
    return (np.logaddexp(z, 0.0) - y * z).sum(axis=1), sigmoid(z) - y


def mse(z: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Sum (z - y)^2 / 2; z is the network's output H_L."""
    return 0.5 * ((z - y) ** 2).sum(axis=1), z - y


LOSSES = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "mse": mse,
}
LINKS: dict[str, Callable[[Doubles], Array]] = {  # what predict makes of z
    "softmax_cross_entropy": softmax,
    "sigmoid_cross_entropy": sigmoid,
    "mse": lambda z: z,
}


def dense_targets(labels: Maybe, y: Maybe, n_out: int) -> Doubles:
    """Y (m, n_L) in double: rows as they are; labels one-hot, or 0/1 where there is one output."""
    if labels is None:
        return np.asarray(y, np.float64)
    if n_out == 1:
        return labels.astype(np.float64)[:, None]
    return np.eye(n_out)[labels]


def hits(loss: str, z: Array, y: Doubles, from_labels: bool) -> Doubles:
    """How right each row is, 0..1; nan where the loss and targets define no accuracy."""
    if loss == "mse" and not (from_labels and z.shape[1] > 1):
        return np.full(len(z), np.nan)
    if loss == "sigmoid_cross_entropy" and (z.shape[1] == 1 or not from_labels):
        return np.asarray(((z > 0) == (y > 0.5)).mean(axis=1))
    return np.asarray(z.argmax(axis=1) == y.argmax(axis=1), np.float64)


# --------------------------------------------------------------------------------------- the layers


@dataclass(frozen=True)
class Layer:
    """Dense layer number `ordinal`, the dropouts just before it, and the rule that teaches it."""

    index: int  # in the layer list
    ordinal: int
    n_in: int
    spec: dict[str, Any]
    dropouts: tuple[tuple[int, float], ...]  # (index in the layer list, rate)
    rule: dict[str, Any]
    needed: bool = True  # is d_l formed at all?

    @property
    def n_out(self) -> int:
        """Number of units."""
        return int(self.spec["units"])

    @property
    def inject(self) -> str:
        """Where S lands: "post", the block's output, or "pre", at A_l."""
        return str(self.rule.get("inject", "post"))

    @property
    def trains(self) -> bool:
        """Whether an update changes this layer."""
        return bool(self.spec["trainable"]) and self.rule["name"] != "frozen"

    @property
    def source(self) -> str:
        """What teaches it: the rule's source, except that ifa rises from the lowest layer."""
        source = RULES[self.rule["name"]].source
        return "below" if self.rule["name"] == "ifa" and self.ordinal > 0 else source

    def key(self, part: str) -> str:
        """Name of one of its arrays, "0.weight"."""
        return f"{self.index}.{part}"


def read_layers(description: dict[str, Any]) -> list[Layer]:
    """The Dense layers of a description, lowest first, checked to be trainable as asked."""
    layers: list[Layer] = []
    dropouts: list[tuple[int, float]] = []
    n_in = int(description["n_in"])
    for index, spec in enumerate(description["layers"]):
        if spec["type"] == "dropout":
            dropouts.append((index, float(spec["rate"])))
        else:
            rule = spec["rule"] or description["rule"]
            layers.append(Layer(index, len(layers), n_in, spec, tuple(dropouts), rule))
            n_in, dropouts = layers[-1].n_out, []
    if dropouts or not layers:
        raise ValueError("layers: expected a Dense layer at the end, got a Dropout or nothing")
    if layers[-1].spec["rule"] is not None:
        raise ValueError(f"rule of layer {layers[-1].index}: expected None on the output layer")
    layers[-1] = replace(layers[-1], rule={"name": "backprop"})  # d_L = e, whatever the rule
    layers = mark_needed(layers)
    for layer in layers:
        check_layer(layer, description["loss"], output=layer is layers[-1])
    return layers


def mark_needed(layers: list[Layer]) -> list[Layer]:
    """d_l is needed where layer l trains, at the output, and where a needed neighbour reads it."""
    marked: list[Layer] = []
    for layer in layers:
        below = bool(marked) and marked[-1].needed and RULES[marked[-1].rule["name"]].chain
        marked.append(replace(layer, needed=layer.trains or below or layer is layers[-1]))
    for low, high in reversed(list(itertools.pairwise(marked))):
        upper = marked[high.ordinal]
        if upper is not marked[-1] and upper.needed and upper.source == "below":
            marked[low.ordinal] = replace(low, needed=True)
            require(
                not RULES[low.rule["name"]].chain,
                f"rules of layers {low.index} and {high.index}",
                "no cycle",
                f"{low.rule['name']} and {high.rule['name']}, each reading the other's delta",
            )
    return marked


def taught_order(layers: list[Layer]) -> list[Layer]:
    """The hidden layers so that each comes after the delta it reads."""
    order: list[Layer] = []
    for layer in reversed(layers[:-1]):
        if layer.source != "below":
            order.append(layer)
            for upper in layers[layer.ordinal + 1 : -1]:
                if upper.source != "below":
                    break
                order.append(upper)
    return order


def check_layer(layer: Layer, loss: str, output: bool) -> None:
    """Refuse what has no meaning: no gradient to follow, no logits, no place to inject."""
    name, activation = layer.rule["name"], layer.spec["activation"]
    if layer.inject == "pre" and (name == "ifa" or layer.source not in ("error", "target")):
        raise ValueError(f'inject of layer {layer.index}: expected "post" with {name}, got "pre"')
    if output and loss != "mse" and activation != "linear":
        raise ValueError(
            f'activation of layer {layer.index}: expected "linear" ({loss} takes logits), '
            f"got {activation!r}"
        )
    if layer.needed and layer.inject == "post" and activation in ZERO_DERIVATIVE:
        raise ValueError(
            f"activation of layer {layer.index}: expected one with a derivative, or "
            f'inject="pre", got {activation!r}'
        )


# ---------------------------------------------------------------------------------------- the rules


class Teacher(NamedTuple):
    """What a rule may look at to teach block l."""

    above: Maybe  # d_{l+1} (m, n_{l+1}) where it is needed
    below: Maybe  # d_{l-1} (m, n_{l-1}) where it comes first
    error: Array  # e (m, n_L)
    target: Array  # Y (m, n_L)
    labels: Maybe  # (m,) where the targets were given as labels


def given_above(t: Teacher) -> Array:
    """d_{l+1}, which a chain rule has made sure of."""
    assert t.above is not None
    return t.above


def backprop(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = d_{l+1} W_{l+1}^T (Rumelhart, Hinton & Williams 1986, the exact gradient)."""
    above = net.dense[layer.ordinal + 1]
    return net.product("transport", given_above(t), net.parameters[above.key("weight")].T)


def fa(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = d_{l+1} B_l, B_l (n_{l+1}, n_l) fixed (Lillicrap et al. 2016, eq. Delta h_FA = B e)."""
    return net.product("feedback", given_above(t), net.feedback[layer.key("feedback")])


def dfa(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = e B_l, B_l (n_L, n_l) fixed (Nokland 2016, direct feedback alignment)."""
    return net.product("feedback", t.error, net.feedback[layer.key("feedback")])


def sdfa(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = sign(e) B_l, B_l (n_L, n_l) fixed (Frenkel et al. 2021, error-sign-based DFA)."""
    return net.product("feedback", np.sign(t.error), net.feedback[layer.key("feedback")])


def drtp(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = Y B_l, B_l (n_L, n_l) fixed (Frenkel et al. 2021, DRTP); a label picks a row of B_l."""
    matrix = net.feedback[layer.key("feedback")]
    if t.labels is not None and net.n_out > 1:
        return np.asarray(matrix[t.labels])
    return net.product("feedback", t.target, matrix)


def chain(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = d_{l+1} B_l with whatever B_l (n_{l+1}, n_l) carries this step (see `carrier`)."""
    return net.product("feedback", given_above(t), carrier(net, layer))


def signs_above(net: Network, layer: Layer) -> Array:
    """sign(W_{l+1}^T), sign(0) = 0."""
    return np.asarray(np.sign(net.parameters[net.dense[layer.ordinal + 1].key("weight")].T))


def usf(net: Network, layer: Layer) -> Array:
    """B_l = s sign(W_{l+1}^T), s = scale sqrt(2 / (n_l + n_{l+1})), the weights' first std."""
    signs = signs_above(net, layer)
    s = float(layer.rule["feedback"]["scale"]) * math.sqrt(2 / sum(signs.shape))
    return np.asarray(net.dtype.type(s) * signs)


def frsf(net: Network, layer: Layer) -> Array:
    """B_l = |R| sign(W_{l+1}^T), R drawn once and kept."""
    return np.asarray(np.abs(net.feedback[layer.key("feedback")]) * signs_above(net, layer))


def brsf(net: Network, layer: Layer) -> Array:
    """B_l = |R_t| sign(W_{l+1}^T), R_t drawn for each step t from the stream of that step."""
    signs = signs_above(net, layer)
    stream = Stream(net.description["seed"], FEEDBACK, layer.ordinal, net.steps)
    forward = net.dense[layer.ordinal + 1].spec["weight_init"]
    drawn = initial_feedback(layer.rule["feedback"], stream, signs.shape, forward)
    return np.asarray(np.abs(drawn.astype(net.dtype)) * signs)


DERIVED = {"usf": usf, "frsf": frsf, "brsf": brsf}  # Liao et al. 2016; BioTorch's three forms


def carrier(net: Network, layer: Layer) -> Array:
    """The matrix (n_source, n_l) that carries the source to layer l in this step."""
    name = layer.rule["name"]
    if name == "backprop":
        return net.parameters[net.dense[layer.ordinal + 1].key("weight")].T
    if name == "ldfa":
        product: Array = (
            net.feedback[layer.key("feedback.P")] @ net.feedback[layer.key("feedback.Q")]
        )
        return product
    if layer.source == "below":
        return net.parameters[layer.key("weight")]
    return DERIVED[name](net, layer) if name in DERIVED else net.feedback[layer.key("feedback")]


def ternary(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = T(e) B_l with T(x) = sign(x) where abs(x) > threshold, else 0."""
    large = np.abs(t.error) > net.dtype.type(layer.rule.get("threshold", 0.0))
    kept = np.where(large, np.sign(t.error), 0).astype(net.dtype)
    return net.product("feedback", kept, net.feedback[layer.key("feedback")])


def ifa(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_1 = e B_1, and above it S_l = d_{l-1} W_l (Nokland 2016, indirect feedback alignment)."""
    if layer.ordinal == 0:
        return dfa(net, layer, t)
    assert t.below is not None
    return net.product("feedback", t.below, net.parameters[layer.key("weight")])


def ldfa(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = d_{l+1} P Q, P (n_{l+1}, r) fixed, Q (r, n_l) learns (Hanut & Kadmon 2025)."""
    assert t.above is not None
    low = net.product("feedback", t.above, net.feedback[layer.key("feedback.P")])
    return net.product("feedback", low, net.feedback[layer.key("feedback.Q")])


def read_only(a: Array) -> Array:
    """A view that nobody can write into."""
    view = a.view()
    view.flags.writeable = False
    return view


def custom(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l as a rule of the user's own gives it."""
    assert net.trace is not None
    inputs = net.trace.inputs
    outputs = [*inputs[1:], net.trace.h[-1]]
    ctx = Teaching(
        layer=layer.index,
        units=layer.n_out,
        step=net.steps,
        error=read_only(t.error),
        labels=None if t.labels is None else read_only(t.labels),
        target=None if t.labels is not None else read_only(t.target),
        inputs=read_only(inputs[0]),
        activations={x.index: read_only(h) for x, h in zip(net.dense, outputs, strict=True)},
        parameters=net.parameters,
        feedback=net.feedback.get(layer.key("feedback")),
        product=np.matmul,
    )
    return np.asarray(layer.rule["host"].signal(ctx), net.dtype)


class Rule(NamedTuple):
    """`source`: what carries the signal, from "above", "error", "target" or "" (does not learn)."""

    source: str
    chain: bool  # S_l is formed from d_{l+1}
    signal: Callable[[Network, Layer, Teacher], Array]


RULES = {
    "backprop": Rule("above", True, backprop),
    "fa": Rule("above", True, fa),
    "dfa": Rule("error", False, dfa),
    "sdfa": Rule("error", False, sdfa),
    "drtp": Rule("target", False, drtp),
    "usf": Rule("above", True, chain),
    "frsf": Rule("above", True, chain),
    "brsf": Rule("above", True, chain),
    "kp": Rule("above", True, fa),
    "dkp": Rule("error", False, dfa),
    "ternary": Rule("error", False, ternary),
    "ifa": Rule("error", False, ifa),
    "ldfa": Rule("above", True, ldfa),
    "custom": Rule("error", False, custom),
    "frozen": Rule("", True, backprop),  # learns nothing; the signal passes as under backprop
}
STORED_FEEDBACK = ("fa", "dfa", "sdfa", "drtp", "frsf", "kp", "dkp", "ternary")

# --------------------------------------------------------------------------------------- optimizers
# One step of parameter w in place, PyTorch's formulas. `o` is the description's optimizer, lr that
# of this parameter, decay 0 or the weight decay, t the number of this step from 1.

Slots = list[Array]


def sgd(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Do v = momentum v + g; w -= lr v, or lr (g + momentum v) with Nesterov (Sutskever 2013)."""
    g = g + decay * w
    if o["momentum"]:
        slots[0][...] = o["momentum"] * slots[0] + g
        g = g + o["momentum"] * slots[0] if o["nesterov"] else slots[0]
    w -= lr * g


def rmsprop(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Do s = alpha s + (1 - alpha) g^2; w -= lr g / (sqrt(s) + eps) (Tieleman & Hinton 2012)."""
    g = g + decay * w
    slots[0][...] = o["alpha"] * slots[0] + (1 - o["alpha"]) * g * g
    g = g / (np.sqrt(slots[0]) + o["eps"])
    if o["momentum"]:
        slots[1][...] = o["momentum"] * slots[1] + g
        g = slots[1]
    w -= lr * g


def adam(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Do w -= lr m / (sqrt(v) + eps), m and v unbiased means of g and g^2 (Kingma & Ba 2015)."""
    g = g + decay * w
    mean, square = slots
    mean[...] = o["beta1"] * mean + (1 - o["beta1"]) * g
    square[...] = o["beta2"] * square + (1 - o["beta2"]) * g * g
    root = np.sqrt(square) / math.sqrt(1 - o["beta2"] ** t) + o["eps"]
    w -= lr / (1 - o["beta1"] ** t) * mean / root


def adamw(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Adam with the decay taken from w itself (Loshchilov & Hutter 2019, algorithm 2)."""
    w *= 1 - lr * decay
    adam(w, g, slots, o, lr, 0.0, t)


OPTIMIZERS = {"sgd": sgd, "rmsprop": rmsprop, "adam": adam, "adamw": adamw}


def slot_count(o: Spec) -> int:
    """How many arrays of state an optimizer keeps for a parameter."""
    momentum = 1 if o.get("momentum") else 0
    return {"sgd": momentum, "rmsprop": 1 + momentum, "adam": 2, "adamw": 2}[o["name"]]


# ---------------------------------------------------------------------------------------- alignment


def norm(a: Array) -> float:
    """Euclidean norm over all entries, in double."""
    return float(np.linalg.norm(a.astype(np.float64).ravel()))


def angle(a: Array, b: Array) -> float:
    """Angle in degrees between two arrays taken as vectors; nan where one has no direction."""
    scale = norm(a) * norm(b)
    if scale == 0:
        return math.nan
    cosine = np.vdot(a.astype(np.float64), b.astype(np.float64)) / scale
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


# ------------------------------------------------------------------------------------------ network


@dataclass
class Trace:
    """What a forward pass leaves behind, one entry a Dense layer."""

    inputs: list[Array]  # H_{l-1} after the dropouts before layer l
    keep: list[Array]  # the 0/1 mask of those dropouts
    gain: list[float]  # their 1 / (1 - rate)
    a: list[Array]
    h: list[Array]


class Network:
    """A network over its plain-data description, the backend protocol in NumPy.

    Arguments of all calls on data: x (m, n_in), network dtype or uint8; one of labels (m,) int64
    and y (m, n_L), the other None; weights (m,) float64 or None.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description
        self.dtype = np.dtype(description["dtype"])
        self.n_in = int(description["n_in"])
        self.n_threads = int(description["n_threads"]) or 1  # accepted, not used
        self.dense = read_layers(description)
        self.n_out = self.dense[-1].n_out
        self.lr = float(description["optimizer"]["lr"])
        self.steps = self.epochs = 0
        self.trace: Trace | None = None  # of the last training pass
        self._training = False  # inside a training step, whose products are counted
        self.counts = {"forward": 0, "transport": 0, "feedback": 0, "outer": 0}
        self.parameters = {k: a.astype(self.dtype) for k, a in self._first_parameters().items()}
        self.feedback = {k: a.astype(self.dtype) for k, a in self._first_feedback().items()}
        trained = [key for layer in self.dense if layer.trains for key in self._keys(layer)]
        trained += [key for _, key in self._learned()]
        slots = range(slot_count(description["optimizer"]))
        self.slots = {
            k: [np.zeros_like((self.parameters | self.feedback)[k]) for _ in slots]
            for k in trained
            if slots
        }

    def _keys(self, layer: Layer) -> list[str]:
        return [layer.key("weight"), layer.key("bias")][: 1 + layer.spec["use_bias"]]

    def _learned(self) -> list[tuple[Layer, str]]:
        """The hidden layers whose feedback has a gradient of its own, and its key."""
        part = {"dkp": "feedback", "ldfa": "feedback.Q"}
        rules = [(layer, layer.rule["name"]) for layer in self.dense[:-1] if layer.trains]
        return [(layer, layer.key(part[name])) for layer, name in rules if name in part]

    def _first_parameters(self) -> dict[str, Array]:
        seed, first = self.description["seed"], {}
        for layer in self.dense:
            fans = layer.n_in, layer.n_out
            for part, purpose, shape in (("weight", WEIGHT, fans), ("bias", BIAS, fans[1:])):
                if layer.key(part) in self._keys(layer):
                    stream = Stream(seed, purpose, layer.ordinal)
                    init = layer.spec[f"{part}_init"]
                    first[layer.key(part)] = initial(init, stream, shape, fans)
        return first

    def _first_feedback(self) -> dict[str, Array]:
        first: dict[str, Array] = {}
        for layer in self.dense[:-1]:
            if layer.rule["name"] == "ldfa":
                first |= self._first_factors(layer)
            lowest = layer.rule["name"] == "ifa" and layer.ordinal == 0
            if layer.rule["name"] in STORED_FEEDBACK or lowest or self._hosted_feedback(layer):
                first[layer.key("feedback")] = self._first_matrix(layer)
        return first

    def _first_matrix(self, layer: Layer) -> Array:
        """B (n_source, n_l) of a hidden layer, or the first n_l columns of the shared one."""
        spec, ordinal, cols = layer.rule["feedback"], layer.ordinal, layer.n_out
        above = self.dense[layer.ordinal + 1 if layer.source == "above" else -1]
        if spec.get("distribution") == "copy":
            weight = self._first_weight(above).astype(self.dtype).T
            return np.asarray(self.dtype.type(spec["scale"]) * weight)
        if spec.get("shared"):
            sharing = [x for x in self.dense[:-1] if x.rule.get("feedback", {}).get("shared")]
            ordinal, cols = 0, max(x.n_out for x in sharing)
        stream = Stream(self.description["seed"], FEEDBACK, ordinal)
        forward = above.spec["weight_init"]
        shape = self._source_width(layer), cols
        return initial_feedback(spec, stream, shape, forward)[:, : layer.n_out]

    def _first_weight(self, layer: Layer) -> Array:
        stream = Stream(self.description["seed"], WEIGHT, layer.ordinal)
        fans = layer.n_in, layer.n_out
        return initial(layer.spec["weight_init"], stream, fans, fans)

    def _hosted_feedback(self, layer: Layer) -> bool:
        return layer.rule["name"] == "custom" and bool(layer.rule.get("feedback"))

    def _first_factors(self, layer: Layer) -> dict[str, Array]:
        """P (n_{l+1}, r) of variance 1 / r and Q (r, n_l) as a stored matrix would be drawn."""
        above, seed = self.dense[layer.ordinal + 1].n_out, self.description["seed"]
        most = min(above, layer.n_out)
        rank = layer.rule.get("rank") or min(self.n_out, most)
        require(1 <= rank <= most, f"rank of layer {layer.index}", f"1 to {most}", rank)
        stream = Stream(seed, PROJECTION, layer.ordinal)
        p = draw("normal", 1 / math.sqrt(rank), stream, (above, rank))
        stream = Stream(seed, FEEDBACK, layer.ordinal)
        forward = self.dense[layer.ordinal + 1].spec["weight_init"]
        q = initial_feedback(layer.rule["feedback"], stream, (rank, layer.n_out), forward)
        return {layer.key("feedback.P"): p, layer.key("feedback.Q"): q}

    def _source_width(self, layer: Layer) -> int:
        """Columns of what teaches a hidden layer: n_{l+1}, n_{l-1} or n_L."""
        if layer.source == "below":
            return layer.n_in
        return self.dense[layer.ordinal + 1].n_out if layer.source == "above" else self.n_out

    # --------------------------------------------------------------------------- one step, in order

    def product(self, kind: str, a: Array, b: Array) -> Array:
        """A B, counted under its kind while training."""
        self.counts[kind] += self._training
        return np.asarray(a @ b)

    def _input(self, x: Array) -> Array:
        scale = self.description["input_scale"]
        if scale == "auto":
            return x.astype(self.dtype) / 255 if x.dtype == np.uint8 else x
        return np.asarray(x.astype(self.dtype) * scale)

    def _forward(self, x: Array, training: bool) -> Trace:
        """A_l = H_{l-1} W_l + b_l, H_l = f(A_l), with this step's dropout masks if training."""
        trace, h = Trace([], [], [], [], []), self._input(x)
        for layer in self.dense:
            h, keep, gain = self._dropout(layer.dropouts if training else (), h)
            a = self.product("forward", h, self.parameters[layer.key("weight")])
            if layer.spec["use_bias"]:
                a = a + self.parameters[layer.key("bias")]
            trace.inputs.append(h)
            trace.keep.append(keep)
            trace.gain.append(gain)
            trace.a.append(a)
            h = ACTIVATIONS[layer.spec["activation"]][0](a).astype(self.dtype)
            trace.h.append(h)
        return trace

    def _dropout(
        self, dropouts: tuple[tuple[int, float], ...], h: Array
    ) -> tuple[Array, Array, float]:
        """Inverted dropout (Srivastava et al. 2014): dropped, else divided by 1 - rate."""
        mask, gain = np.ones(h.shape, bool), 1.0
        for index, rate in dropouts:
            stream = Stream(self.description["seed"], DROPOUT, index, self.steps)
            keep = keep_mask(stream, len(h), h.shape[1], rate)
            h = np.where(keep, h * (1 / (1 - rate)), 0)
            mask, gain = mask & keep, gain / (1 - rate)
        return h, mask, gain

    def _loss(self, trace: Trace, target: Doubles) -> tuple[Doubles, Array]:
        """The loss of each sample (m,) and the error e = dloss_i/dA_L (m, n_L)."""
        row_loss, error = LOSSES[self.description["loss"]](trace.h[-1].astype(np.float64), target)
        return row_loss, (error * self._slope(self.dense[-1], trace)).astype(self.dtype)

    def _slope(self, layer: Layer, trace: Trace) -> Array:
        """f'(A_l)."""
        derivative = ACTIVATIONS[layer.spec["activation"]][1]
        return derivative(trace.a[layer.ordinal], trace.h[layer.ordinal])

    def _local_vjp(self, layer: Layer, trace: Trace, s: Array) -> Array:
        """d_l from S_l: back through the block's dropouts and f, or only the 0/1 mask if "pre"."""
        s = np.where(trace.keep[layer.ordinal + 1], s, 0)
        if layer.inject == "pre":
            return s
        return (s * trace.gain[layer.ordinal + 1] * self._slope(layer, trace)).astype(self.dtype)

    def _deltas(self, layers: list[Layer], trace: Trace, teacher: Teacher) -> list[Maybe]:
        """d_l of each layer by its own rule, from the output down; None where not needed."""
        deltas: list[Maybe] = [None] * len(layers)
        deltas[-1] = teacher.error
        for layer in taught_order(layers):
            if layer.needed:
                i = layer.ordinal
                teacher = teacher._replace(above=deltas[i + 1], below=deltas[i - 1] if i else None)
                s = RULES[layer.rule["name"]].signal(self, layer, teacher)
                deltas[i] = self._local_vjp(layer, trace, s)
        return deltas

    def _backward(
        self, x: Array, labels: Maybe, y: Maybe, weights: Maybe, *rules: list[Layer]
    ) -> tuple[float, float, Trace, list[list[Maybe]]]:
        """One training pass: mean loss, sum of hits, trace, and all D_l under each of `rules`."""
        w = np.ones(len(x)) if weights is None else weights
        target = dense_targets(labels, y, self.n_out)
        trace = self.trace = self._forward(x, training=True)
        row_loss, error = self._loss(trace, target)
        loss = float((w * row_loss).sum() / len(x))
        if not math.isfinite(loss):
            raise FloatingPointError(f"loss is not finite ({loss}); nothing was updated")
        teacher = Teacher(error, None, error, target.astype(self.dtype), labels)
        deltas = [
            [None if d is None else (d * w[:, None]).astype(self.dtype) for d in column]
            for column in (self._deltas(layers, trace, teacher) for layers in rules)
        ]
        hit = hits(self.description["loss"], trace.h[-1], target, labels is not None)
        return loss, float(hit.sum()), trace, deltas

    def _gradient(self, layer: Layer, trace: Trace, delta: Array) -> dict[str, Array]:
        """gW_l = H_{l-1}^T D_l / m and gb_l = sum over rows of D_l / m."""
        g_weight = self.product("outer", trace.inputs[layer.ordinal].T, delta) / len(delta)
        g_bias = delta.sum(axis=0) / len(delta)
        return dict(zip(self._keys(layer), (g_weight, g_bias), strict=False))

    def _gradients(self, trace: Trace, deltas: list[Maybe]) -> dict[str, Array]:
        grads: dict[str, Array] = {}
        for layer, delta in zip(self.dense, deltas, strict=True):
            if layer.trains and delta is not None:
                grads |= self._gradient(layer, trace, delta)
        for layer, key in self._learned():
            source, h = deltas[-1], trace.inputs[layer.ordinal + 1]
            if layer.rule["name"] == "ldfa":
                source = deltas[layer.ordinal + 1] @ self.feedback[layer.key("feedback.P")]
            assert source is not None
            grads[key] = self.product("outer", source.T, h) / len(h)
        return grads

    def _clip_factor(self, grads: dict[str, Array]) -> float:
        """Factor that brings the norm of all gradients together down to `clip_norm`, at most 1."""
        total = math.sqrt(sum(norm(g) ** 2 for g in grads.values()))
        if not math.isfinite(total):
            raise FloatingPointError(f"gradient norm is not finite ({total}); nothing was updated")
        return min(1.0, float(self.description["optimizer"]["clip_norm"]) / (total + 1e-6))

    def _update(self, grads: dict[str, Array], lr: float) -> None:
        """Clip by the global norm, then one optimizer step on every trainable parameter."""
        o, step = self.description["optimizer"], OPTIMIZERS[self.description["optimizer"]["name"]]
        clip = self._clip_factor(grads) if o["clip_norm"] else 1.0
        self.steps += 1
        for layer in self.dense:
            for key in (k for k in self._keys(layer) if k in grads):
                bias = key == layer.key("bias")
                scale = layer.spec["lr_scale"] * (layer.spec["bias_lr_scale"] if bias else 1.0)
                decay = 0.0 if bias and not o["decay_bias"] else o["weight_decay"]
                w, g, slots = self.parameters[key], grads[key] * clip, self.slots.get(key, [])
                before = w.copy()
                step(w, g, slots, o, lr * scale, decay, self.steps)
                if not bias and layer.ordinal > 0:
                    self._lead(self.dense[layer.ordinal - 1], w, before)
        for layer, key in self._learned():
            how = layer.rule
            self.feedback[key] *= 1 - how.get("decay", 0.0)
            g, slots = grads[key] * clip, self.slots.get(key, [])
            step(self.feedback[key], g, slots, o, lr * how.get("lr_scale", 1.0), 0.0, self.steps)

    def _lead(self, below: Layer, w: Array, before: Array) -> None:
        """Kolen-Pollack: B_l receives the step of W_{l+1} transposed, and both forget a share."""
        if below.rule["name"] != "kp":
            return
        keep, taken = 1 - below.rule.get("decay", 0.0), w - before
        matrix = self.feedback[below.key("feedback")]
        matrix[...] = keep * matrix + taken.T
        if keep != 1:
            w[...] = keep * before + taken

    @np.errstate(all="ignore")
    def _learn(
        self, x: Array, labels: Maybe, y: Maybe, weights: Maybe, lr: float
    ) -> tuple[float, float]:
        """One step: mean loss before the update, sum of hits. Nothing changes if it raises."""
        self._training = True
        try:
            loss, hit_sum, trace, deltas = self._backward(x, labels, y, weights, self.dense)
            self._update(self._gradients(trace, deltas[0]), lr)
        finally:
            self._training = False
        return loss, hit_sum

    # --------------------------------------------------------------------------------- the protocol

    def train_batch(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> float:
        """One step; the mean loss before the update. FloatingPointError where it is not finite."""
        return self._learn(x, labels, y, weights, self.lr)[0]

    def train_steps(
        self,
        x: Array,
        labels: Maybe,
        y: Maybe,
        weights: Maybe,
        order: Maybe,
        batch_size: int,
        first: int,
        count: int,
        lrs: Maybe = None,
        poll: Callable[[int], Any] | None = None,
    ) -> tuple[float, float, int, int]:
        """Batches first..first+count-1 of an epoch: (sum of loss * m, hits, rows, steps done)."""
        order = np.arange(len(x)) if order is None else order
        loss_sum, hit_sum, rows, steps = 0.0, 0.0, 0, 0
        for b in range(first, first + count):
            batch = order[b * batch_size : (b + 1) * batch_size]
            lr = self.lr if lrs is None else float(lrs[steps])
            labels_b, y_b, weights_b = (pick(a, batch) for a in (labels, y, weights))
            loss, hit = self._learn(x[batch], labels_b, y_b, weights_b, lr)
            loss_sum, hit_sum = loss_sum + loss * len(batch), hit_sum + hit
            rows, steps = rows + len(batch), steps + 1
            if poll is not None and poll(b + 1):
                break
        return loss_sum, hit_sum, rows, steps

    def shuffle(self, n: int) -> npt.NDArray[np.int64]:
        """The order (n,) of the next epoch; advances `epochs`."""
        self.epochs += 1
        return permutation(Stream(self.description["seed"], SHUFFLE, 0, self.epochs - 1), n)

    @np.errstate(all="ignore")
    def predict(self, x: Array, logits: bool = False) -> Array:
        """Yhat (m, n_L): probabilities (or with `logits` what they are made of); values for mse."""
        z = self._forward(x, training=False).h[-1]
        if logits:
            return z
        return LINKS[self.description["loss"]](z.astype(np.float64)).astype(self.dtype)

    @np.errstate(all="ignore")
    def evaluate(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> tuple[float, float]:
        """Without dropout: (1/m) sum w_i loss_i, and the plain accuracy or nan where undefined."""
        w = np.ones(len(x)) if weights is None else weights
        trace, target = self._forward(x, training=False), dense_targets(labels, y, self.n_out)
        row_loss, _ = self._loss(trace, target)
        hit = hits(self.description["loss"], trace.h[-1], target, labels is not None)
        return float((w * row_loss).mean()), float(hit.mean())

    @np.errstate(all="ignore")
    def gradients(
        self, x: Array, labels: Maybe, y: Maybe, weights: Maybe
    ) -> tuple[float, dict[str, Array]]:
        """Mean loss and what the next step would hand to the optimizer, for what trains."""
        loss, _, trace, deltas = self._backward(x, labels, y, weights, self.dense)
        grads = self._gradients(trace, deltas[0])
        return loss, {key: g for key, g in grads.items() if key in self.parameters}

    @np.errstate(all="ignore")
    def deltas(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> list[Maybe]:
        """D_l (m, n_l) of every Dense in the next step, None where not needed."""
        return self._backward(x, labels, y, weights, self.dense)[3][0]

    @np.errstate(all="ignore")
    def alignment(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> list[dict[str, Any]]:
        """Each hidden layer's D_l and gW_l against those of backprop with the same masks."""
        exact = [replace(layer, rule={"name": "backprop"}, needed=True) for layer in self.dense]
        trace, deltas = self._backward(x, labels, y, weights, self.dense, exact)[2:]
        triples = zip(self.dense[:-1], *deltas, strict=False)
        return [self._alignment(layer, trace, mine, true) for layer, mine, true in triples]

    def _alignment(self, layer: Layer, trace: Trace, mine: Maybe, true: Maybe) -> Spec:
        """Angles in degrees; nan where the rule teaches no D_l (frozen) or backprop's is zero."""
        row: Spec = dict.fromkeys(("delta_angle", "gradient_angle", "norm_ratio"), math.nan)
        if layer.rule["name"] != "frozen" and mine is not None and true is not None:
            key = layer.key("weight")
            g_mine, g_true = (self._gradient(layer, trace, d)[key] for d in (mine, true))
            row["delta_angle"], row["gradient_angle"] = angle(mine, true), angle(g_mine, g_true)
            row["norm_ratio"] = norm(mine) / norm(true) if norm(true) else math.nan
        return {"layer": layer.index, "weight_angle": self._weight_angle(layer), **row}

    def _weight_angle(self, layer: Layer) -> float | None:
        """Chain: B_l to W_{l+1}^T; error: B_l to (W_{l+1} .. W_L)^T; None without a meaning."""
        source = layer.source
        if layer.rule["name"] == "backprop" or source not in ("above", "error"):
            return 0.0 if source == "above" else None
        above = self.dense[layer.ordinal + 1 :][: 1 if source == "above" else None]
        path = np.eye(layer.n_out)
        for upper in above:
            path = path @ self.parameters[upper.key("weight")]
        return angle(carrier(self, layer), path.T)

    def feedback_matrix(self, index: int) -> Array:
        """A copy of the matrix (n_source, n_l) that carries the source to hidden layer `index`."""
        hidden = {layer.index: layer for layer in self.dense[:-1] if layer.rule["name"] != "frozen"}
        require(index in hidden, "index", f"a hidden layer that learns, of {list(hidden)}", index)
        return np.array(carrier(self, hidden[index]), order="C")

    @property
    def layers(self) -> list[dict[str, Any]]:
        """What teaches each Dense; the output layer, which follows no rule, is called "output"."""
        rows = [
            {
                "index": layer.index,
                "rule": layer.rule["name"],
                "inject": layer.inject,
                "source": layer.source,
                "feedback": self._feedback_text(layer),
                "trainable": layer.trains,
                "needed": layer.needed,
            }
            for layer in self.dense
        ]
        rows[-1] |= {"rule": "output", "source": "error"}
        return rows

    def _feedback_text(self, layer: Layer) -> str:
        rows, cols = self._source_width(layer) if layer is not self.dense[-1] else 0, layer.n_out
        if layer.key("feedback.P") in self.feedback:
            rank = self.feedback[layer.key("feedback.P")].shape[1]
            return f"{layer.rule['feedback']['distribution']} {rows}x{cols} rank {rank}"
        if layer.key("feedback") not in self.feedback:
            return f"signs {rows}x{cols}" if layer.rule["name"] in DERIVED else ""
        return f"{layer.rule['feedback'].get('distribution', 'values')} {rows}x{cols}"

    def check(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> None:
        """Raise ValueError, naming argument, expected and got, where data does not fit."""
        m, loss = len(x), self.description["loss"]
        require(m > 0 and x.shape == (m, self.n_in), "x", f"shape (m, {self.n_in})", x.shape)
        require(np.isfinite(x).all(), "x", "finite numbers", "NaN or Inf")
        require((labels is None) != (y is None), "labels, y", "exactly one", "both or none")
        if labels is not None:
            require(labels.shape == (m,), "labels", f"shape ({m},)", labels.shape)
            low, high = labels.min(), labels.max()
            top = 1 if self.n_out == 1 and loss != "softmax_cross_entropy" else self.n_out - 1
            require(low >= 0 and high <= top, "labels", f"0 to {top}", f"{low} to {high}")
        if y is not None:
            require(y.shape == (m, self.n_out), "y", f"shape ({m}, {self.n_out})", y.shape)
            require(np.isfinite(y).all(), "y", "finite numbers", "NaN or Inf")
            require(loss == "mse" or ((y >= 0) & (y <= 1)).all(), "y", "numbers in 0..1", "others")
            ones = loss != "softmax_cross_entropy" or (np.abs(y.sum(axis=1) - 1) <= 1e-3).all()
            require(ones, "y", "rows that sum to 1", "others")
        if weights is not None:
            require(weights.shape == (m,), "weights", f"shape ({m},)", weights.shape)
            fine = np.isfinite(weights).all() and (weights >= 0).all()
            require(fine, "weights", "finite numbers >= 0", "others")

    def write(self, key: str, values: Array) -> None:
        """Copy values into a parameter or feedback tensor."""
        np.copyto(self.parameters[key] if key in self.parameters else self.feedback[key], values)

    def reset(self) -> None:
        """Start over: draw from the seed again, zero optimizer slots and counters, first lr."""
        now = self.parameters | self.feedback
        for key, value in (self._first_parameters() | self._first_feedback()).items():
            now[key][...] = value
        for slot in (s for slots in self.slots.values() for s in slots):
            slot[...] = 0
        self.steps = self.epochs = 0
        self.lr = float(self.description["optimizer"]["lr"])

    def _arrays(self) -> list[Array]:
        slots = [s for slots in self.slots.values() for s in slots]
        return [*self.parameters.values(), *self.feedback.values(), *slots]

    def state(self) -> bytes:
        """A copy of what changes: counters, lr, parameters, feedback, optimizer slots."""
        head = struct.pack("=qqd", self.steps, self.epochs, self.lr)
        return head + b"".join(a.tobytes() for a in self._arrays())

    def restore(self, state: bytes) -> None:
        """Put back what `state` gave; the live arrays stay the same objects."""
        at = struct.calcsize("=qqd")
        expected = at + sum(a.nbytes for a in self._arrays())
        require(len(state) == expected, "state", f"{expected} bytes", len(state))
        self.steps, self.epochs, self.lr = struct.unpack_from("=qqd", state)
        for a in self._arrays():
            a[...] = np.frombuffer(state, a.dtype, a.size, at).reshape(a.shape)
            at += a.nbytes


def pick(a: Maybe, rows: Array) -> Maybe:
    """Some rows of an array that may not be there."""
    return None if a is None else a[rows]


def require(ok: Any, argument: str, expected: str, got: Any) -> None:
    """Raise the ValueError that names argument, expected and got."""
    if not ok:
        raise ValueError(f"{argument}: expected {expected}, got {got}")

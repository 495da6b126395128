"""The learning rules: each says how a hidden layer gets its teaching signal S_l."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..._internal.rule_context import RuleContext
from .base import Array, Maybe, Spec
from .draws import FEEDBACK, Stream, initial_feedback
from .functions import LOSSES

if TYPE_CHECKING:
    from .layers import Layer
    from .network import Network


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


def fed_back(net: Network, layer: Layer, source: Array) -> Array:
    """Source times the stored B_l (n_source, n_l); no product where its few entries are picked."""
    matrix = net.feedback[layer.key("feedback")]
    if is_picked(layer.rule["feedback"], matrix):
        return np.asarray(source @ matrix)
    return net.product("feedback", source, matrix)


def is_picked(spec: Spec, matrix: Array) -> bool:
    """Whether a sparse draw has one entry a column, or few beside its rows, and still has."""
    if "values" in spec or not spec.get("sparsity"):
        return False
    kept = math.floor((1 - spec["sparsity"]) * len(matrix) + 0.5)
    few = kept == 1 or kept * 48 <= len(matrix)
    return few and bool(((matrix != 0).sum(axis=0) <= kept).all())


def backprop(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = d_{l+1} W_{l+1}^T (Rumelhart, Hinton & Williams 1986, the exact gradient)."""
    above = net.dense[layer.ordinal + 1]
    return net.product("transport", given_above(t), net.parameters[above.key("weight")].T)


def fa(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = d_{l+1} B_l, B_l (n_{l+1}, n_l) fixed (Lillicrap et al. 2016, eq. Delta h_FA = B e)."""
    return fed_back(net, layer, given_above(t))


def dfa(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = e B_l, B_l (n_L, n_l) fixed (Nokland 2016, direct feedback alignment)."""
    return fed_back(net, layer, t.error)


def dkp(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = e B_l, B_l (n_L, n_l) learns (Webster, Choi & Ahn 2021)."""
    return net.product("feedback", t.error, net.feedback[layer.key("feedback")])


def sdfa(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = sign(e) B_l, B_l (n_L, n_l) fixed (Frenkel et al. 2021, error-sign-based DFA)."""
    return fed_back(net, layer, np.sign(t.error))


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
    if name == "local":
        return net.parameters[layer.key("head.weight")].T
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
    return fed_back(net, layer, kept)


def ifa(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_1 = e B_1, and above it S_l = d_{l-1} W_l (Nokland 2016, indirect feedback alignment)."""
    if layer.ordinal == 0:
        return dfa(net, layer, t)
    assert t.below is not None
    return net.product("feedback", t.below, net.parameters[layer.key("weight")])


def ldfa(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = d_{l+1} P Q, Q (r, n_l) learns, P (n_{l+1}, r) if asked (Hanut & Kadmon 2025)."""
    assert t.above is not None
    p = net.feedback[layer.key("feedback.P")]
    low = net.product("feedback", t.above, p)
    net.side[layer.key("low")] = low.copy()
    if layer.rule.get("oja"):
        net.residuals[layer.key("feedback.P")] = net.product("feedback", low, p.T) - t.above
    return net.product("feedback", low, net.feedback[layer.key("feedback.Q")])


def read_only(a: Array) -> Array:
    """A view that nobody can write into."""
    view = a.view()
    view.flags.writeable = False
    return view


def custom(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l as a rule of the user's own gives it."""
    assert net.trace is not None
    outputs = [*net.trace.inputs[1:], net.trace.h[-1], net.trace.inputs[0]]  # -1: the input
    arrays = {"error": t.error, "labels": t.labels}
    arrays["target"] = t.target if t.labels is None else None

    def read(what: str, block: int) -> Array | None:
        array = outputs[block] if what == "output" else arrays[what]
        return None if array is None else read_only(array)

    ctx = RuleContext(
        layer=layer.index,
        units=layer.n_out,
        step=net.steps,
        parameters=net.parameters,
        feedback=net.feedback.get(layer.key("feedback")),
        product=np.matmul,
        _read=read,
        _blocks={x.index: b for b, x in enumerate(net.dense)},
    )
    return np.asarray(layer.rule["host"].signal(ctx), net.dtype)


def local(net: Network, layer: Layer, t: Teacher) -> Array:
    """S_l = e_l M_l^T, e_l that of a head z_l = H_l M_l + c_l (Nokland & Eidnes 2019, "pred")."""
    assert net.trace is not None
    h, head = net.trace.inputs[layer.ordinal + 1], net.parameters[layer.key("head.weight")]
    z = net.product("forward", h, head) + net.parameters[layer.key("head.bias")]
    row_loss, error = LOSSES[net.description["loss"]](
        z.astype(np.float64), t.target.astype(np.float64)
    )
    if not np.isfinite(row_loss).all():
        raise FloatingPointError("loss of a head is not finite; nothing was updated")
    net.side[layer.key("head")] = error.astype(net.dtype)
    return net.product("feedback", error.astype(net.dtype), head.T)


def pepita(net: Network, layer: Layer, t: Teacher) -> Array:
    """D_l = H_l - H'_l of the block's output (Dellaferrera & Kreiman 2022)."""
    assert net.trace is not None
    assert net.second is not None
    up = layer.ordinal + 1
    return np.asarray(net.trace.inputs[up] - net.second.inputs[up])


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
    "kp": Rule("above", True, chain),
    "dkp": Rule("error", False, dkp),
    "ternary": Rule("error", False, ternary),
    "ifa": Rule("error", False, ifa),
    "ldfa": Rule("above", True, ldfa),
    "local": Rule("head", False, local),
    "pepita": Rule("input", False, pepita),
    "custom": Rule("error", False, custom),
    "frozen": Rule("", True, backprop),  # learns nothing; the signal passes as under backprop
}
STORED_FEEDBACK = ("fa", "dfa", "sdfa", "drtp", "frsf", "kp", "dkp", "ternary")

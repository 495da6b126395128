"""Kinds and shapes that need the whole network: layers together with their neighbours.

Which layers, rules and losses fit together is checked in C (csrc/model/plan.c, plan_rules.c).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from ..feedback import Feedback
from ..layers import Dense, Layer, Recurrent, WeightedLayer
from ..rules import Frozen, Rule
from ..rules.base import RuleWarning
from ..rules.registry import as_rule
from .checks import show, warn

DEEP = 25  # relu layers; so many learn worse from Glorot's weights, see bench/RESULTS.md
BOUNDED = ("tanh", "sigmoid", "sign", "threshold", "hardtanh", "hard_sigmoid", "softsign")


@dataclass(frozen=True)
class Weighted:
    """A layer with weights and its position in the network."""

    index: int
    layer: WeightedLayer
    given: tuple[int, ...]  # the shape of its input
    width: int  # numbers of its block's output
    rule: Rule | None  # None: the output layer, which gets the exact error
    from_function: bool = False  # whether its feedback was given as a function

    def __str__(self) -> str:
        return f"layer {self.index}, {self.layer!r}"

    @property
    def learns(self) -> bool:
        """Whether a step updates this layer."""
        return self.layer.trainable and not isinstance(self.rule, Frozen)


def check_network(layers: Sequence[Layer], given: tuple[int, ...], rule: Rule) -> list[Weighted]:
    """The weighted layers of a network; ValueError or TypeError for kinds and shapes.

    `given` is the shape of a sample. Layers that do not take the shapes that they get are left to
    the engine, which says what is wrong with them.
    """
    places = _places(layers, given, rule)
    for i, place in enumerate(places):
        if place.width == 0:
            break
        _check_initial(place)
        if place.rule is not None and not (place.rule.name == "ifa" and i > 0):
            shape = _feedback_shape(places, i, place.rule)
            places[i] = _with_values(place, _two_pass_rule(places[:i]) or place.rule, shape)
            _check_feedback(places[i], places[i].rule or place.rule, shape)
    return places


def warn_of_rules(places: Sequence[Weighted], loss: str, optimizer: str) -> None:
    """Warn of rules whose signal does not shrink with the error, where that does harm.

    It was measured on seven tables: such networks diverged or ended below those whose hidden layers
    are frozen. Under mse some did so only after many epochs, and a few came close to frozen.
    """
    for place in places[:-1]:
        layer = place.layer
        if isinstance(layer, Recurrent) and layer.time == "leak" and layer.leak == 1:
            warn(
                f'{place}: time="leak" with leak=1 trains no memory, because nothing is left of a '
                'step in the next one; take a leak below 1, or time="diagonal"',
                RuleWarning,
            )
    for place in places[:-1]:
        if place.rule is not None and place.learns and place.rule.name in ("drtp", "sdfa"):
            reason = _harm(place.rule.name, place.layer.activation, loss, optimizer)
            if reason:
                warn(f'{place}: rule "{place.rule.name}" {reason}', RuleWarning)
                return


def warn_of_depth(places: Sequence[Weighted]) -> None:
    """Warn of many relu layers whose weights are Glorot's, the default: signals vanish in them."""
    deep = [
        place
        for place in places[:-1]
        if place.layer.weight_init is None and place.layer.activation in ("relu", "leaky_relu")
    ]
    if len(deep) >= DEEP:
        warn(
            f"layers: {len(deep)} hidden layers of relu with the default weights, Glorot's, which "
            'make signals smaller from layer to layer; give them weight_init="he_uniform"'
        )


def _harm(rule: str, activation: str, loss: str, optimizer: str) -> str:
    """Why a rule does harm with these, and what to do; "" where it does not."""
    grows = f'units of "{activation}" grow without bound'
    if rule == "drtp" and loss == "mse":
        return (
            'sends the targets, whatever the error is: with loss="mse" it diverges sooner or later '
            'for values (regression), and for labels if lr is not small; take "dfa" or "kp"'
        )
    if rule == "drtp" and activation not in BOUNDED:
        return (
            f"sends the targets, whatever the error is, so {grows}; take an activation with "
            'bounds, such as "tanh", or "dfa"'
        )
    if rule == "sdfa" and loss == "mse" and optimizer == "sgd":
        return (
            'sends signs, which do not shrink with the error: with loss="mse" it diverges under '
            'SGD if lr is not small; take fa.Adam() or "dfa"'
        )
    if rule == "sdfa" and loss != "mse" and optimizer != "sgd" and activation not in BOUNDED:
        return (
            f"sends signs, which do not shrink with the error, so {grows} where steps do not "
            'depend on its size, as under Adam; take "tanh", fa.SGD with a small lr, or "dfa"'
        )
    return ""


def _places(layers: Sequence[Layer], given: tuple[int, ...], rule: Rule) -> list[Weighted]:
    places: list[Weighted] = []
    shape: tuple[int, ...] | None = given
    for index, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            expected = "a layer, such as a Dense or a Dropout"
            raise TypeError(f"layers[{index}]: expected {expected}, got {show(layer)}")
        before = shape or ()
        shape = layer.output_shape(shape) if shape else None
        width = math.prod(shape) if shape else 0
        if isinstance(layer, WeightedLayer):
            own = rule if layer.rule is None else as_rule("rule", layer.rule)
            places.append(Weighted(index, layer, before, width, own))
        elif places:
            places[-1] = replace(places[-1], width=width)
    if not layers or not isinstance(layers[-1], Dense):
        got = repr(layers[-1]) if layers else "no layers"
        raise ValueError(f"layers: expected a Dense at the end, the output, got {got}")
    return [*places[:-1], replace(places[-1], rule=None)]


def _check_initial(place: Weighted) -> None:
    weight, bias = place.layer.initial_weight, place.layer.initial_bias
    shape = place.layer.weight_shape(place.given)
    if isinstance(weight, np.ndarray) and weight.shape != shape:
        raise ValueError(f"{place}: weight_init: expected shape {shape}, got {weight.shape}")
    if isinstance(bias, np.ndarray) and bias.shape != shape[-1:]:
        raise ValueError(f"{place}: bias_init: expected shape {shape[-1:]}, got {bias.shape}")
    if isinstance(place.layer, Recurrent):
        place.layer.check_shapes(place)


def _feedback_shape(places: Sequence[Weighted], i: int, rule: Rule) -> tuple[int, int]:
    """(n_source, n_l) of the feedback of weighted layer i; (n_in, n_out) under a two-pass rule."""
    outputs = places[-1].layer.columns
    if rule.source == "input":
        return math.prod(places[0].given), outputs
    if rule.source != "above":
        return outputs, places[i].width
    *rows, cols = places[i + 1].layer.weight_shape(places[i + 1].given)  # transposed
    return cols, math.prod(rows)


def _two_pass_rule(places: Sequence[Weighted]) -> Rule | None:
    """The two-pass rule of the first of these layers that has one; its matrix serves them all."""
    return next((x.rule for x in places if x.rule is not None and x.rule.source == "input"), None)


def _with_values(place: Weighted, rule: Rule, shape: tuple[int, int]) -> Weighted:
    """The layer with the values of its feedback, if that was given as a function."""
    feedback = getattr(rule, "feedback", None)
    if not isinstance(feedback, Feedback) or not callable(feedback.distribution):
        return replace(place, rule=rule)
    resolved = feedback.resolved(*shape)
    return replace(place, rule=replace(cast("Any", rule), feedback=resolved), from_function=True)


def _check_feedback(place: Weighted, rule: Rule, expected: tuple[int, int]) -> None:
    feedback = getattr(rule, "feedback", None)
    if not isinstance(feedback, Feedback) or not isinstance(feedback.distribution, np.ndarray):
        return
    got = feedback.distribution.shape
    if got != expected:
        raise ValueError(f"{place}: feedback of {rule.name}: expected shape {expected}, got {got}")


def describe_rule(rule: Rule, places: Sequence[Weighted]) -> dict[str, Any]:
    """The description of the network's rule; a two-pass rule with the values of its matrix."""
    return ((_two_pass_rule(places) if rule.source == "input" else None) or rule).describe()


def describe_layers(layers: Sequence[Layer], places: Sequence[Weighted]) -> list[dict[str, Any]]:
    """The descriptions of the layers; values of feedback from a function are in the layer's."""
    rows = [layer.describe() for layer in layers]
    for place in places[:-1]:
        assert place.rule is not None  # only the output has none
        if place.rule.source == "input":
            continue  # one matrix for all, see `describe_rule`
        if place.from_function:
            rows[place.index]["rule"] = place.rule.describe()
    return rows


def describe_structure(
    given: tuple[int, ...], layers: Sequence[Layer], places: Sequence[Weighted], rule: Rule
) -> dict[str, Any]:
    """The part of a network's description that says what a sample is, and the layers' rules."""
    image = {"input_shape": given} if len(given) == 3 else {}
    how = {"n_in": math.prod(given), "rule": describe_rule(rule, places)}
    return {**how, **image, "layers": describe_layers(layers, places)}


def input_shape_of(description: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of a sample of a described network."""
    return tuple(description.get("input_shape", (description["n_in"],)))

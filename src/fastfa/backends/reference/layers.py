"""The layers with weights of a description: which deltas are needed, and in which order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .images import Follower
from .norms import Norm
from .recurrent import Recurrent
from .rule import Layer
from .rules import rule_of
from .rules_chain import Backprop


def read_layers(description: dict[str, Any]) -> list[Layer]:
    """The layers with weights of a description, lowest first."""
    layers: list[Layer] = []
    followers: list[Follower] = []
    shape = tuple(description.get("input_shape", (int(description["n_in"]),)))
    for index, spec in enumerate(description["layers"]):
        if spec["type"] not in ("dense", "conv2d", "recurrent"):
            of_kind = Norm if spec["type"].endswith("_norm") else Follower
            followers.append(of_kind(index, spec, shape))
            shape = followers[-1].output
            continue
        if layers:
            layers[-1] = landed(layers[-1], followers)
        rule = rule_of(spec["rule"] or description["rule"], len(layers))
        make = Recurrent if spec["type"] == "recurrent" else Layer
        layers.append(make(index, len(layers), shape, spec, tuple(followers), rule))
        shape, followers = layers[-1].output, []
    layers[-1] = replace(layers[-1], rule=Backprop({"name": "backprop"}))  # d_L = e in every rule
    return mark_needed(layers)


def landed(layer: Layer, followers: Sequence[Follower]) -> Layer:
    """A layer with the place where S lands: behind the block, or in front of its first pool."""
    n = len(followers)
    if layer.inject != "post":
        n = next((i for i, follower in enumerate(followers) if follower.pools), n)
    shape = followers[n - 1].output if n else layer.output
    learners = tuple(x for x in followers if x.trains and layer.rule.learns)
    return replace(layer, width=math.prod(shape), landing=n, learners=learners)


def mark_needed(layers: list[Layer]) -> list[Layer]:
    """d_l is needed where layer l trains, at the output, and where a needed neighbour reads it."""
    marked: list[Layer] = []
    for layer in layers:
        below = bool(marked) and marked[-1].needs_delta and marked[-1].rule.is_chain
        needed = layer.trains or bool(layer.learners) or below or layer is layers[-1]
        marked.append(replace(layer, needs_delta=needed))
    for low, high in reversed(list(itertools.pairwise(marked[:-1]))):
        if marked[high.ordinal].needs_delta and high.rule.source == "below":
            marked[low.ordinal] = replace(low, needs_delta=True)
    return marked


def delta_order(layers: list[Layer]) -> list[Layer]:
    """The hidden layers, each after the layer whose delta it reads."""
    order: list[Layer] = []
    for layer in reversed(layers[:-1]):
        if layer.rule.source != "below":
            order.append(layer)
            for upper in layers[layer.ordinal + 1 : -1]:
                if upper.rule.source != "below":
                    break
                order.append(upper)
    return order

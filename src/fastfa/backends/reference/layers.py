"""The Dense layers of a description: which deltas are needed, and in which order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

from .base import Array, Doubles
from .draws import BIAS, WEIGHT, Stream, initial
from .rule import Rule
from .rules import rule_of
from .rules_chain import Backprop


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
    def keys(self) -> list[str]:
        """Names of W_l and, if any, b_l."""
        return [self.key("weight"), self.key("bias")][: 1 + self.spec["use_bias"]]

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


def read_layers(description: dict[str, Any]) -> list[Layer]:
    """The Dense layers of a description, lowest first."""
    layers: list[Layer] = []
    dropouts: list[tuple[int, float]] = []
    n_in = int(description["n_in"])
    for index, spec in enumerate(description["layers"]):
        if spec["type"] == "dropout":
            dropouts.append((index, float(spec["rate"])))
        else:
            rule = rule_of(spec["rule"] or description["rule"], len(layers))
            layers.append(Layer(index, len(layers), n_in, spec, tuple(dropouts), rule))
            n_in, dropouts = layers[-1].n_out, []
    layers[-1] = replace(layers[-1], rule=Backprop({"name": "backprop"}))  # d_L = e in every rule
    return mark_needed(layers)


def mark_needed(layers: list[Layer]) -> list[Layer]:
    """d_l is needed where layer l trains, at the output, and where a needed neighbour reads it."""
    marked: list[Layer] = []
    for layer in layers:
        below = bool(marked) and marked[-1].needs_delta and marked[-1].rule.is_chain
        needed = layer.trains or below or layer is layers[-1]
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

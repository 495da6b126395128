"""The Dense layers of a description in their places: which deltas are needed, in which order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

from .base import Spec, require
from .functions import ZERO_DERIVATIVE
from .rules import RULES


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
    for layer in layers[:-1]:
        check_mixture(layer, description["rule"])
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


def check_mixture(layer: Layer, common: Spec) -> None:
    """A rule of two passes teaches the whole network: layers may only stay out of it."""
    own = layer.spec["rule"]
    if own is None:
        return
    what = f"rule of layer {layer.index}"
    require(own["name"] != "pepita", what, "pepita as the rule of the network", "a layer's")
    require(
        common["name"] != "pepita" or own["name"] == "frozen",
        what,
        "none or frozen beside pepita",
        own["name"],
    )


def check_layer(layer: Layer, loss: str, output: bool) -> None:
    """Refuse what has no meaning: no gradient to follow, no logits, no place to inject."""
    name, activation = layer.rule["name"], layer.spec["activation"]
    if layer.inject == "pre" and (name == "ifa" or layer.source not in ("error", "target", "head")):
        raise ValueError(f'inject of layer {layer.index}: expected "post" with {name}, got "pre"')
    if output and loss != "mse" and activation != "linear":
        raise ValueError(
            f'activation of layer {layer.index}: expected "linear" ({loss} takes logits), '
            f"got {activation!r}"
        )
    derives = layer.inject == "post" and layer.source != "input"  # through f'
    if layer.needed and derives and activation in ZERO_DERIVATIVE:
        raise ValueError(
            f"activation of layer {layer.index}: expected one with a derivative, or "
            f'inject="pre", got {activation!r}'
        )

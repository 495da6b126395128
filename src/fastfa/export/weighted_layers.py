"""What a trained network computes, layer by layer, for those who write it in another form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._internal.checks import mismatch
from ..layers.weighted import OPTION_OF

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..backends.protocol import Engine

__all__ = ["OPTION_OF", "WeightedLayer", "finite", "input_factor", "weighted_layers"]


@dataclass(frozen=True)
class WeightedLayer:
    """A `Dense` with its values and the way it learns.

    Attributes
    ----------
    index : int
        Its index in the layer list.
    weight : ndarray of shape (n_in, units)
    bias : ndarray of shape (units,) or None
    activation : str
    option : float
        Of the activation, if it has one.
    rule, inject : str
        As the engine runs them; the rule of the last layer is "output".
    trainable, needs_delta : bool
        Whether the layer learns, and whether its delta is computed in a step.
    weight_lr_scale, bias_lr_scale : float
        Factors on the learning rate of the weights and of the biases.
    threshold : float
        Of the ternary rule.
    """

    index: int
    weight: NDArray[Any]
    bias: NDArray[Any] | None
    activation: str
    option: float
    rule: str
    inject: str
    trainable: bool
    needs_delta: bool
    weight_lr_scale: float
    bias_lr_scale: float
    threshold: float

    @property
    def n_in(self) -> int:
        """Number of inputs."""
        return int(self.weight.shape[0])

    @property
    def n_out(self) -> int:
        """Number of units."""
        return int(self.weight.shape[1])


def input_factor(engine: Engine) -> float:
    """The factor on inputs that are no bytes."""
    scale = engine.description["input_scale"]
    return 1.0 if scale == "auto" else float(scale)


def weighted_layers(engine: Engine) -> list[WeightedLayer]:
    """Every `Dense` of a network, from the input up; copies of its values.

    Raises
    ------
    ValueError
        The network has layers for images or for sequences.
    FloatingPointError
        A parameter is not finite.
    """
    how = engine.description
    reasons = {"recurrent": "layers with a state", "activation": "activations of their own"}
    reasons |= dict.fromkeys(("layer_norm", "rms_norm", "group_norm"), "normalisations")
    for index, layer in enumerate(how["layers"]):
        if layer["type"] not in ("dense", "dropout"):
            what = reasons.get(layer["type"], "layers for images")
            got = f"{layer['type']}; {what} are not written to files of other formats"
            raise ValueError(mismatch(f"layer {index}", "dense or dropout", got))
    found = []
    for learns in engine.layers:
        index = learns["index"]
        layer = how["layers"][index]
        rule = layer["rule"] or how["rule"]
        bias = f"{index}.bias"
        found.append(
            WeightedLayer(
                index=index,
                weight=finite(engine, f"{index}.weight"),
                bias=finite(engine, bias) if bias in engine.parameters else None,
                activation=layer["activation"],
                option=layer.get(OPTION_OF.get(layer["activation"], ""), 0.0),
                rule=learns["rule"],
                inject=learns["inject"],
                trainable=learns["trainable"],
                needs_delta=learns["needed"],
                weight_lr_scale=layer["lr_scale"],
                bias_lr_scale=layer["lr_scale"] * layer["bias_lr_scale"],
                threshold=rule.get("threshold", 0.0),
            )
        )
    return found


def finite(engine: Engine, key: str) -> NDArray[Any]:
    """A copy of a parameter; FloatingPointError if it is not finite."""
    values = np.array(engine.parameters[key])
    if not np.isfinite(values).all():
        raise FloatingPointError(
            mismatch(key, "finite values", "inf or nan", "reset() or load a good file")
        )
    return values

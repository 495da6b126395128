"""Layers from descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..initializers import init_from
from ..rules.registry import rule_from
from .activation import Activation
from .base import Layer
from .conv2d import Conv2D
from .dense import Dense
from .dropout import Dropout, Dropout2D
from .flatten import Flatten
from .norms import GroupNorm, LayerNorm, Norm, RMSNorm
from .pools import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from .recurrent import Recurrent

NORMS: dict[str, type[Norm]] = {each.kind: each for each in (LayerNorm, RMSNorm, GroupNorm)}


def layer_from(how: Mapping[str, Any]) -> Layer:
    """The layer that a description stands for."""
    if how["type"] == "dropout":
        return Dropout(how["rate"])
    if how["type"] in NORMS:
        return NORMS[how["type"]](**{name: value for name, value in how.items() if name != "type"})
    if how["type"] == "dropout2d":
        return Dropout2D(how["rate"])
    if how["type"] == "activation":
        return Activation(how["activation"], slope=how["slope"], alpha=how["alpha"])
    if how["type"] == "flatten":
        return Flatten()
    if how["type"] == "global_avg_pool2d":
        return GlobalAvgPool2D()
    if how["type"] in ("max_pool2d", "avg_pool2d"):
        pool = MaxPool2D if how["type"] == "max_pool2d" else AvgPool2D
        return pool(how["pool_size"], how["strides"], how["padding"])
    weight = how["weight_init"]
    common: dict[str, Any] = {
        "use_bias": how["use_bias"],
        "weight_init": None if weight.get("default") else init_from(weight),
        "bias_init": init_from(how["bias_init"]),
        "rule": None if how["rule"] is None else rule_from(how["rule"]),
        "trainable": how["trainable"],
        "lr_scale": how["lr_scale"],
        "bias_lr_scale": how["bias_lr_scale"],
        "slope": how["slope"],
        "alpha": how["alpha"],
    }
    if how["type"] == "dense":
        return Dense(how["units"], how["activation"], **common)
    if how["type"] == "recurrent":
        own = {name: how[name] for name in ("leak", "time", "time_decay")}
        own["recurrent_init"] = init_from(how["recurrent_init"])
        return Recurrent(how["units"], how["activation"], **own, **common)
    windows = {"strides": how["strides"], "padding": how["padding"]}
    return Conv2D(how["filters"], how["kernel_size"], how["activation"], **windows, **common)

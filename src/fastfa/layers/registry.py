"""Layers from descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..initializers import init_from
from ..rules.registry import rule_from
from .dense import Dense
from .dropout import Dropout


def layer_from(how: Mapping[str, Any]) -> Dense | Dropout:
    """The layer that a description stands for."""
    if how["type"] == "dropout":
        return Dropout(how["rate"])
    weight = how["weight_init"]
    return Dense(
        how["units"],
        how["activation"],
        use_bias=how["use_bias"],
        weight_init=None if weight.get("default") else init_from(weight),
        bias_init=init_from(how["bias_init"]),
        rule=None if how["rule"] is None else rule_from(how["rule"]),
        trainable=how["trainable"],
        lr_scale=how["lr_scale"],
        bias_lr_scale=how["bias_lr_scale"],
        slope=how["slope"],
        alpha=how["alpha"],
    )

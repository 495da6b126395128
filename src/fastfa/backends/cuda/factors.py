"""The numbers of the optimizer's steps, computed in double on the host and rounded once.

As `fa_begin_update` in csrc/engine/update.c, `csrc/model/optimizers.c`, and `prepare` in
csrc/kernels/optimizer_tile.inc.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .kernels import layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Group", "factor_table", "gradient_table", "kernel_of", "n_slots"]


@dataclass(frozen=True)
class Group:
    """Parameters whose steps have the same factors.

    Attributes
    ----------
    lr_scale : float
    decays : bool
        By the optimizer's `weight_decay`.
    feedback_decay : float
        The share that they lose in a step besides.
    learned : bool
        Whether they are feedback: the product never writes it, as `in_place` in csrc/model/model.h.
    """

    lr_scale: float
    decays: bool
    feedback_decay: float = 0.0
    learned: bool = False


def n_slots(optimizer: Mapping[str, Any]) -> int:
    """Arrays that the optimizer keeps for each parameter."""
    if optimizer["name"] in ("adam", "adamw"):
        return 2
    return int(optimizer["momentum"] > 0) + int(optimizer["name"] == "rmsprop")


def kernel_of(optimizer: Mapping[str, Any], group: Group) -> str:
    """Which of `kernels.OPTIMIZERS` makes the steps of a group."""
    name = str(optimizer["name"])
    in_place = n_slots(optimizer) == 0 and optimizer["clip_norm"] == 0 and not group.learned
    if name == "sgd" and in_place:
        return "plain"
    return "adam" if name == "adamw" else name


def _constants(optimizer: Mapping[str, Any]) -> dict[str, float]:
    """What no step changes."""
    found = {"keep": 1.0, "g_scale": 1.0, "one_alpha": 1.0, "one_beta1": 1.0, "one_beta2": 1.0}
    found["bias2"] = 1.0
    if optimizer["name"] in ("sgd", "rmsprop"):
        found["momentum"] = optimizer["momentum"]
        found["nesterov"] = float(optimizer.get("nesterov", False))
    if optimizer["name"] == "rmsprop":
        found |= {"alpha": optimizer["alpha"], "one_alpha": 1 - optimizer["alpha"]}
    if "beta1" in optimizer:
        found["one_beta1"] = 1 - optimizer["beta1"]
        found |= {"beta2": optimizer["beta2"], "one_beta2": 1 - optimizer["beta2"]}
    return found | {"eps": optimizer.get("eps", 0.0)}


def _step(
    optimizer: Mapping[str, Any], group: Group, lr: float, t: int, m: int, fixed: dict[str, float]
) -> dict[str, float]:
    """The factors of step t = 1, 2, ... on m rows, as doubles."""
    lr *= group.lr_scale
    keep, decay, bias1, bias2 = 1.0 - group.feedback_decay, 0.0, 1.0, 1.0
    if group.decays and optimizer["name"] == "adamw":
        keep -= lr * optimizer["weight_decay"]
    elif group.decays:
        decay = optimizer["weight_decay"]
    if optimizer["name"] in ("adam", "adamw"):  # files have the fields of all optimizers
        bias1 = 1 - math.pow(optimizer["beta1"], t)
        bias2 = 1 - math.pow(optimizer["beta2"], t)
    if kernel_of(optimizer, group) == "plain":
        return fixed | {"mean": -lr / m, "keep": keep - lr * decay}
    return fixed | {
        "lr": lr / bias1,
        "keep": keep,
        "decay": decay,
        "bias2": 1 / math.sqrt(bias2),
        "mean": 1 / m,
    }


def factor_table(
    dtype: str,
    optimizer: Mapping[str, Any],
    groups: Sequence[Group],
    lrs: Sequence[float],
    steps: int,
    rows: Sequence[int],
) -> NDArray[np.void]:
    """`control_block.table` of a call: (steps of the call, groups) records of `step_factors`.

    `lrs`, `rows`: the learning rate and the number of rows of each step. `steps`: how many steps
    the network took before.
    """
    made: NDArray[np.void] = np.zeros((len(lrs), len(groups)), layout("step_factors", dtype))
    fixed = _constants(optimizer)
    for i, (lr, m) in enumerate(zip(lrs, rows, strict=True)):
        for j, group in enumerate(groups):
            values = _step(optimizer, group, float(lr), steps + i + 1, int(m), fixed)
            for name, value in values.items():
                made[name][i, j] = value
    return made


def gradient_table(dtype: str, groups: Sequence[Group], m: int) -> NDArray[np.void]:
    """The same for the gradients of one batch."""
    made: NDArray[np.void] = np.zeros((1, len(groups)), layout("step_factors", dtype))
    made["mean"] = 1 / m
    return made

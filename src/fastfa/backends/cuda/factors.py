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


LEAST_PRODUCT = 1e-17  # as in csrc/model/optimizers.c


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
    if optimizer["name"] in ("sgd", "rmsprop"):
        own = 1 + bool(optimizer.get("centered")) if optimizer["name"] == "rmsprop" else 0
        return own + int(optimizer["momentum"] > 0)
    return 1 if optimizer["name"] in ("adagrad", "lion") else 2


def kernel_of(optimizer: Mapping[str, Any], group: Group) -> str:
    """Which of `kernels.OPTIMIZERS` makes the steps of a group."""
    name = str(optimizer["name"])
    in_place = n_slots(optimizer) == 0 and optimizer["clip_norm"] == 0 and not group.learned
    if name == "sgd" and in_place:
        return "plain"
    if name == "rmsprop" and optimizer.get("centered"):
        return "rmsprop_centered"
    return "adam" if name in ("adamw", "radam") else name


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


def _nadam(optimizer: Mapping[str, Any], t: int) -> tuple[float, float]:
    """The factors of lr on the gradient and on its mean, as `nadam_begin` forms them."""
    beta1, psi, product = optimizer["beta1"], optimizer["momentum_decay"], 1.0

    def mu(i: float) -> float:
        return float(beta1 * (1 - 0.5 * math.pow(0.96, i * psi)))

    for i in range(1, t + 1):
        if product <= LEAST_PRODUCT:
            break
        product *= mu(i)
    return (1 - mu(t)) / (1 - product), mu(t + 1) / (1 - product * mu(t + 1))


def _radam(optimizer: Mapping[str, Any], t: int, bias1: float, bias2: float) -> dict[str, float]:
    """What replaces bias1, bias2 and eps, as `radam_begin` forms them."""
    most = 2 / (1 - optimizer["beta2"]) - 1
    n = most - 2 * t * (1 - bias2) / bias2
    if n <= 5:
        return {"bias1": bias1, "bias2": math.inf, "eps": 1.0}
    r = math.sqrt((n - 4) * (n - 2) * most / ((most - 4) * (most - 2) * n)) * math.sqrt(bias2)
    return {"bias1": bias1 / r, "bias2": 1.0}


def _step(
    optimizer: Mapping[str, Any], group: Group, lr: float, t: int, m: int, fixed: dict[str, float]
) -> dict[str, float]:
    """The factors of step t = 1, 2, ... on m rows, as doubles."""
    lr *= group.lr_scale
    keep, decay = 1.0 - group.feedback_decay, 0.0
    if group.decays and optimizer["name"] in ("adamw", "lion"):
        keep -= lr * optimizer["weight_decay"]
    elif group.decays:
        decay = optimizer["weight_decay"]
    if kernel_of(optimizer, group) == "plain":
        return fixed | {"mean": -lr / m, "keep": keep - lr * decay}
    made = {"lr": lr, "keep": keep, "decay": decay, "mean": 1 / m}
    if optimizer["name"] not in ("adam", "adamw", "nadam", "radam"):
        return fixed | made  # files have the fields of all optimizers
    bias1 = 1 - math.pow(optimizer["beta1"], t)
    bias2 = 1 - math.pow(optimizer["beta2"], t)
    if optimizer["name"] == "nadam":
        of_g, of_mean = _nadam(optimizer, t)
        return fixed | made | {"lr": lr * of_mean, "lr_g": lr * of_g, "bias2": 1 / math.sqrt(bias2)}
    if optimizer["name"] == "radam":
        other = _radam(optimizer, t, bias1, bias2)
        bias1, bias2 = other["bias1"], other["bias2"]
        made |= {"eps": other["eps"]} if "eps" in other else {}
    if optimizer.get("eps_hat"):
        bias1, bias2 = bias1 / math.sqrt(bias2), 1.0
    return fixed | made | {"lr": lr / bias1, "bias2": 1 / math.sqrt(bias2)}


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

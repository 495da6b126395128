"""Multiply-adds of training on one sample, by rule: those of products of matrices."""

from __future__ import annotations

import math
from typing import NamedTuple

from ...layers import Conv2D, Dense, Recurrent
from .entries import EXACT, Entry
from .tasks import Task, load

__all__ = ["Part", "multiply_adds", "parts_of"]

CHAIN = ("backprop", "fa", "kp", "usf", "frsf", "brsf")  # one product a layer, as in backprop
DIRECT = {"dfa": 1, "sdfa": 1, "ternary": 1, "drtp": 0, "dkp": 2}  # products with c x n_l
THROUGH_U = ("bptt", "kp", "fa", "sign")


class Part(NamedTuple):
    """A layer with weights: multiply-adds of its products for one sample, and its outputs."""

    forward: int
    recurrent: int
    outputs: int


def parts_of(task: Task) -> list[Part]:
    """The layers of a task's network, for one sample: all steps of a sequence."""
    shape = task.input_shape if isinstance(task.input_shape, tuple) else (task.input_shape,)
    steps = load(type(task)).X.shape[1] if task.sequences else 1
    parts = []
    for layer in task.layers(EXACT):
        below, shape = shape, layer.output_shape(shape) or ()
        if isinstance(layer, (Dense, Conv2D)):
            n = shape[-1]
            places = steps * math.prod(shape[:-1])
            recurrent = steps * n * n if isinstance(layer, Recurrent) else 0
            forward = places * math.prod(layer.weight_shape(below))
            parts.append(Part(forward, recurrent, steps * math.prod(shape)))
    return parts


def multiply_adds(task: Task, entry: Entry) -> int | None:
    """Multiply-adds of a training step for one sample; None if this module does not know the rule.

    Forward products, products for the weights' gradients, and those that carry the errors.
    """
    *hidden, top = parts = parts_of(task)
    forward = sum(part.forward + part.recurrent for part in parts)
    frozen = entry.rule == "frozen" or entry.time == "frozen"
    if frozen:
        return forward + top.forward
    signal = _signal(task, entry.rule, parts)
    if signal is None:
        return None
    in_time = sum(part.recurrent for part in hidden) if entry.time in THROUGH_U else 0
    return 2 * forward + signal + in_time


def _signal(task: Task, rule: str, parts: list[Part]) -> int | None:
    """Multiply-adds beyond the forward products and the weights' gradients, in space."""
    *hidden, _ = parts
    c = task.layers(EXACT)[-1].output_shape((1,)) or (0,)
    wide = c[-1] * sum(part.outputs for part in hidden)
    if rule in CHAIN:
        return sum(part.forward for part in parts[1:])
    if rule in DIRECT:
        return DIRECT[rule] * wide
    if rule == "ifa":
        return c[-1] * hidden[0].outputs + sum(part.forward for part in hidden[1:])
    if rule == "local":
        return 3 * wide
    return None

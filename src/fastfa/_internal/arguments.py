"""The arguments of `Sequential`, checked one by one."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..layers import Layer
from ..layers.dense import MAX_UNITS
from .checks import choice, entries, integer, mismatch, number, show

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

DATA_FORMATS = ("channels_last", "channels_first")


def shape(
    input_shape: object, sequences: bool = False, data_format: str = "channels_last"
) -> tuple[int, ...]:
    """The shape of one sample: (n,), or (height, width, channels) for an image.

    For sequences that of one step; the number of steps, or None, may come before it. Images with
    channels first are given as (channels, height, width).
    """
    first = choice("data_format", data_format, DATA_FORMATS) == "channels_first"
    if sequences and isinstance(input_shape, (tuple, list)) and len(input_shape) in (2, 4):
        if input_shape[0] is not None:
            integer("input_shape[0]", input_shape[0], 1)
        input_shape = input_shape[1:]
    image = "(channels, height, width)" if first else "(height, width, channels)"
    if not isinstance(input_shape, (tuple, list)):
        input_shape = (integer("input_shape", input_shape, 1, MAX_UNITS),)
    if len(input_shape) not in (1, 2, 3):
        raise ValueError(
            f"input_shape: expected an int, or for images {image}, got {show(input_shape)}"
        )
    sizes = tuple(integer("input_shape", n, 1, MAX_UNITS) for n in input_shape)
    if first and len(sizes) == 1:
        hint = "rows of numbers have no channels"
        expected = f'{image} with data_format="channels_first"'
        raise ValueError(mismatch("input_shape", expected, str(sizes[0]), hint))
    if len(sizes) == 3 and first:
        sizes = (*sizes[1:], sizes[0])
    sizes += (1,) if len(sizes) == 2 else ()
    integer("input_shape", math.prod(sizes), 1, MAX_UNITS, why="their product is the inputs")
    return sizes


def layer_tuple(layers: object) -> tuple[Layer, ...]:
    """The layers; `check_network` checks each of them."""
    expected = "a list of layers"
    if not isinstance(layers, Sequence) or isinstance(layers, str):
        raise TypeError(f"layers: expected {expected}, got {show(layers)}")
    return tuple(entries("layers", layers, expected))


def dtype_name(dtype: DTypeLike) -> str:
    """The name "float32" or "float64" of anything that NumPy takes for one."""
    try:
        name = "None" if dtype is None else np.dtype(dtype).name  # for NumPy None means float64
    except (TypeError, ValueError, RecursionError):
        name = dtype if isinstance(dtype, str) else show(dtype)
    return choice("dtype", name, ("float32", "float64"))


def seed(rng: object) -> int:
    """The seed that an int, a Generator or None means."""
    if rng is None:
        return int.from_bytes(os.urandom(8), "little")
    if isinstance(rng, (int, np.integer)):
        return integer("rng", rng, 0, 2**64 - 1)
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**64, dtype=np.uint64))
    raise TypeError(f"rng: expected an int seed, a numpy Generator or None, got {show(rng)}")


def compute_name(value: str, dtype: str) -> str:
    """What products round their operands to; only float32 networks have a choice."""
    compute = choice("compute", value, ("float32", "bfloat16"))
    if compute == "bfloat16" and dtype != "float32":
        raise ValueError(
            f"compute: expected 'float32' with dtype={dtype!r}, got 'bfloat16'; "
            "it rounds the operands of float32 networks: make one with dtype='float32'"
        )
    return compute


def scale(value: str | float) -> str | float:
    """The word "auto", or the factor on all inputs."""
    if isinstance(value, str):
        return choice("input_scale", value, ("auto",))
    factor = number("input_scale", value)
    if factor == 0.0:
        raise ValueError('input_scale: expected "auto" or a number other than 0, got 0')
    return factor

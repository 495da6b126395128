"""Windows over images: what convolutions and pools have in common."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from .._internal.checks import choice, integer, mismatch, show

Pair: TypeAlias = "tuple[int, int]"
MOST = 2**31 - 1


def pair(name: str, value: object, low: int = 1) -> Pair:
    """Height and width, of one int or of two."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(mismatch(name, "an int or a pair of ints", show(value)))
        return integer(name, value[0], low, MOST), integer(name, value[1], low, MOST)
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(mismatch(name, "an int or a pair of ints", show(value)))
    number = integer(name, value, low, MOST)
    return number, number


def shortest_pair(value: Pair) -> int | Pair:
    """One int where both are the same."""
    return value[0] if value[0] == value[1] else value


def padding_of(value: object) -> str | Pair:
    """The word, or the zeros above and below, left and right."""
    if isinstance(value, str):
        return choice("padding", value, ("valid", "same"))
    return pair("padding", value, low=0)


def describe_windows(strides: Any, padding: Any) -> dict[str, Any]:
    """The common part of the description."""
    return {"strides": pair("strides", strides), "padding": padding_of(padding)}


def map_size(image: Pair, size: Pair, strides: Pair, padding: str | Pair) -> Pair | None:
    """Positions of a window of this size; None where it is larger than the padded image."""
    if padding == "same":
        return -(-image[0] // strides[0]), -(-image[1] // strides[1])
    zeros = (0, 0) if isinstance(padding, str) else padding
    left = [n + 2 * z - k for n, z, k in zip(image, zeros, size, strict=True)]
    if min(left) < 0:
        return None
    return left[0] // strides[0] + 1, left[1] // strides[1] + 1

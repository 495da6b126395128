"""Images as rows of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .._internal.attributes import fix
from .base import Layer

__all__ = ["Flatten"]


@dataclass(frozen=True, eq=False, repr=False)
class Flatten(Layer):
    """An image as a row of height x width x channels numbers, channels last, for a `Dense`."""

    def output_shape(self, given: tuple[int, ...]) -> tuple[int, ...] | None:
        """All numbers in one row."""
        return (math.prod(given),)

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        return {"type": "flatten"}


fix(Flatten)

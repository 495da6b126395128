"""The base of all layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._internal.attributes import fix
from .._internal.checks import Described

__all__ = ["Layer"]


@dataclass(frozen=True, eq=False, repr=False)
class Layer(Described):
    """Base of all layers."""

    @property
    def is_linear(self) -> bool:
        """Whether the output is a linear function of the input, so that layers in a row are one."""
        return True

    def output_shape(self, given: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape of its output without the samples; None: it does not take this input.

        (n,) is a row of numbers, (height, width, channels) an image. The engine says what is wrong.
        """
        return given

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        raise NotImplementedError


fix(Layer)

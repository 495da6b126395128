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

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        raise NotImplementedError


fix(Layer)

"""Dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._internal.attributes import fix
from .._internal.options import check_options
from .base import Layer

__all__ = ["Dropout"]


@dataclass(frozen=True, eq=False, repr=False)
class Dropout(Layer):
    """Inverted dropout: in training, zero each value with probability `rate`, scale the others.

    The other values are multiplied by 1 / (1 - rate); outside training the layer has no effect.
    Before the first `Dense` it drops inputs. Masks depend only on seed, step, layer, row and
    column.

    Parameters
    ----------
    rate : float in [0, 1)
        Probability that a value is dropped.
    """

    rate: float

    def __post_init__(self) -> None:
        check_options(self, "layer", "dropout")

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        return {"type": "dropout", "rate": self.rate}


fix(Dropout)

"""Dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._internal.attributes import fix
from .._internal.options import check_options
from .base import Layer

__all__ = ["Dropout", "Dropout2D"]


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


@dataclass(frozen=True, eq=False, repr=False)
class Dropout2D(Layer):
    """Inverted dropout of whole channels: in training, zero each with probability `rate`.

    The other channels are multiplied by 1 / (1 - rate); outside training the layer has no effect.
    Neighbouring numbers of a map are much alike, so that `Dropout` of single numbers hides little.
    Masks depend only on seed, step, layer, row and channel.

    Parameters
    ----------
    rate : float in [0, 1)
        Probability that a channel is dropped.

    References
    ----------
    Tompson, Goroshin, Jain, LeCun and Bregler, Efficient object localization using convolutional
    networks, CVPR (2015).
    """

    rate: float

    def __post_init__(self) -> None:
        check_options(self, "layer", "dropout2d")

    def output_shape(self, given: tuple[int, ...]) -> tuple[int, ...] | None:
        """That of the image."""
        return given if len(given) == 3 else None

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        return {"type": "dropout2d", "rate": self.rate}


fix(Dropout, Dropout2D)

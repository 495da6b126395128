"""Pools of images: the largest numbers of windows, or averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._internal.attributes import fix
from .base import Layer
from .windows import Pair, describe_windows, map_size, padding_of, pair, shortest_pair

__all__ = ["AvgPool2D", "GlobalAvgPool2D", "MaxPool2D"]


@dataclass(frozen=True, eq=False, repr=False)
class _Pool2D(Layer):
    """Base of the pools that have windows."""

    kind: ClassVar[str]  # the type in descriptions

    pool_size: int | Pair = 2
    strides: int | Pair | None = None
    padding: str | int | Pair = "valid"

    def __post_init__(self) -> None:
        size, padding = pair("pool_size", self.pool_size), padding_of(self.padding)
        strides = size if self.strides is None else pair("strides", self.strides)
        self._set(
            pool_size=shortest_pair(size),
            strides=None if strides == size else shortest_pair(strides),
            padding=padding if isinstance(padding, str) else shortest_pair(padding),
        )

    @property
    def _steps(self) -> Pair:
        """From one window to the next."""
        return pair("strides", self.pool_size if self.strides is None else self.strides)

    def output_shape(self, given: tuple[int, ...]) -> tuple[int, ...] | None:
        """The map of an image of this shape."""
        if len(given) != 3:
            return None
        size, padding = pair("pool_size", self.pool_size), padding_of(self.padding)
        at = map_size((given[0], given[1]), size, self._steps, padding)
        return None if at is None else (*at, given[2])

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        size = pair("pool_size", self.pool_size)
        return {
            "type": self.kind,
            "pool_size": size,
            **describe_windows(self._steps, self.padding),
        }


@dataclass(frozen=True, eq=False, repr=False)
class MaxPool2D(_Pool2D):
    """The largest number of each window of an image, for each channel by itself.

    On the way back a signal goes to the place of that number, the first of equals. Where windows
    overlap, signals add; places that no window covers get none. ``inject="before_pool"`` of rules
    that send the error directly (such as `DFA`) puts the signal in front of the pool instead.

    Parameters
    ----------
    pool_size : int or pair of ints, default 2
        Height and width of a window, at most 256 places.
    strides : int or pair of ints, optional
        Distance between windows; None: `pool_size`, so that they do not overlap.
    padding : {"valid", "same"}, int or pair of ints, default "valid"
        Places around the image, as of `Conv2D`, less than `pool_size` on each side. They never win.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or value. `Sequential` checks what depends on other layers.

    Examples
    --------
    >>> import fastfa as fa
    >>> layers = [fa.Conv2D(8, 3, "relu"), fa.MaxPool2D(2), fa.Flatten(), fa.Dense(10)]
    >>> net = fa.Sequential(layers, input_shape=(28, 28, 1), rule="dfa", rng=0)
    >>> net.feedback["0.feedback"].shape  # 13 x 13 x 8 numbers
    (10, 1352)
    """

    kind: ClassVar[str] = "max_pool2d"

    @property
    def is_linear(self) -> bool:
        """No: which number is the largest depends on the input."""
        return False


@dataclass(frozen=True, eq=False, repr=False)
class AvgPool2D(_Pool2D):
    """The average of each window of an image, for each channel by itself.

    Places of the padding do not count: the sum is divided by the places that are in the image, as
    in Keras and in PyTorch with ``count_include_pad=False``.

    Parameters
    ----------
    pool_size : int or pair of ints, default 2
        Height and width of a window.
    strides : int or pair of ints, optional
        Distance between windows; None: `pool_size`, so that they do not overlap.
    padding : {"valid", "same"}, int or pair of ints, default "valid"
        Places around the image, as of `Conv2D`, less than `pool_size` on each side.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or value. `Sequential` checks what depends on other layers.
    """

    kind: ClassVar[str] = "avg_pool2d"


@dataclass(frozen=True, eq=False, repr=False)
class GlobalAvgPool2D(Layer):
    """The average of each channel over a whole image: a row of numbers, for a `Dense`."""

    def output_shape(self, given: tuple[int, ...]) -> tuple[int, ...] | None:
        """One number for each channel."""
        return given[2:] if len(given) == 3 else None

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        return {"type": "global_avg_pool2d"}


fix(MaxPool2D, AvgPool2D, GlobalAvgPool2D)

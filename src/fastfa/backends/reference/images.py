"""Images in rows of numbers, channels last: patches and the layers without weights.

docs/MATH.md, "Images". A row of a batch is an image of shape (height, width, channels), flat.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .base import Array, Spec
from .draws import AUGMENT, DROPOUT, Stream, keep_mask, words

Shape: TypeAlias = "tuple[int, ...]"
Back: TypeAlias = "Callable[[Array, bool], Array]"  # (signal at the output, whether it is exact)


def augmented(x: Array, image: Shape, augment: tuple[bool, int], seed: int, step: int) -> Array:
    """Rows of images, each shifted by up to `crop` rows and columns, then perhaps flipped."""
    flip, crop = augment
    height, width, _ = image
    drawn = words(Stream(seed, AUGMENT, 0, step), np.arange(len(x)), 0)
    result = np.empty_like(x)
    for row, (first, second, third, _) in enumerate(drawn.tolist()):
        down, right = second * (2 * crop + 1) >> 32, third * (2 * crop + 1) >> 32
        wide = np.pad(x[row].reshape(image), ((crop, crop), (crop, crop), (0, 0)))
        window = wide[down : down + height, right : right + width]
        result[row] = (window[:, ::-1] if flip and first >= 2**31 else window).ravel()
    return result


@dataclass(frozen=True)
class Window:
    """Windows of a size over an image, with zeros around it."""

    image: Shape
    size: Shape
    strides: Shape
    pads: tuple[tuple[int, int], tuple[int, int]]  # before and after, along height and width
    map: Shape

    @classmethod
    def of(cls, spec: Spec, image: Shape, size: Shape) -> Window:
        """As a layer's description says."""
        strides, padding = spec["strides"], spec["padding"]
        if padding == "same":
            out = tuple(-(-n // s) for n, s in zip(image, strides, strict=False))
            zeros = [
                max(0, (o - 1) * s + k - n)
                for o, s, k, n in zip(out, strides, size, image, strict=False)
            ]
            pads = (zeros[0] // 2, -(-zeros[0] // 2)), (zeros[1] // 2, -(-zeros[1] // 2))
        else:
            h, w = (0, 0) if padding == "valid" else padding
            pads = (h, h), (w, w)
            out = tuple(
                (n + sum(p) - k) // s + 1
                for n, p, k, s in zip(image, pads, size, strides, strict=False)
            )
        return cls(image, tuple(size), tuple(strides), pads, out)

    def _slices(self, i: int, j: int) -> tuple[slice, slice]:
        """Where number (i, j) of each window lies in the padded image."""
        (rows, cols), (down, right) = self.map, self.strides
        return slice(i, i + down * (rows - 1) + 1, down), slice(
            j, j + right * (cols - 1) + 1, right
        )

    def padded(self, x: Array, value: float = 0.0) -> Array:
        """The images of rows x, with their padding: (m, height, width, channels)."""
        images = x.reshape(len(x), *self.image)
        return np.pad(images, ((0, 0), *self.pads, (0, 0)), constant_values=value)

    def patches(self, x: Array, value: float = 0.0) -> Array:
        """Every window: (m, map height, map width, window height, window width, channels)."""
        padded = self.padded(x, value)
        out = np.empty((len(x), *self.map, *self.size, self.image[2]), x.dtype)
        for i in range(self.size[0]):
            for j in range(self.size[1]):
                rows, cols = self._slices(i, j)
                out[:, :, :, i, j] = padded[:, rows, cols]
        return out

    def sums(self, patches: Array) -> Array:
        """The reverse: each number of the images is the sum over the windows that cover it."""
        images = self.padded(np.zeros((len(patches), math.prod(self.image)), patches.dtype))
        for i in range(self.size[0]):
            for j in range(self.size[1]):
                rows, cols = self._slices(i, j)
                images[:, rows, cols] += patches[:, :, :, i, j]
        (top, _), (left, _) = self.pads
        inside = images[:, top : top + self.image[0], left : left + self.image[1]]
        return inside.reshape(len(patches), -1)


@dataclass(frozen=True)
class Follower:
    """A layer without weights."""

    index: int  # in the layer list
    spec: Spec
    image: Shape  # of its input

    @property
    def output(self) -> Shape:
        """The shape of its output."""
        return (math.prod(self.image),) if self.spec["type"] == "flatten" else self.image

    def forward(self, h: Array, seed: int, step: int, training: bool) -> tuple[Array, Back]:
        """The output, and the way of a signal back to the input."""
        if self.spec["type"] == "dropout" and training:
            return self._dropout(h, Stream(seed, DROPOUT, self.index, step))
        return h, lambda s, exact: s

    def _dropout(self, h: Array, stream: Stream) -> tuple[Array, Back]:
        """Inverted dropout (Srivastava et al. 2014): dropped, else divided by 1 - rate."""
        rate = float(self.spec["rate"])
        keep, gain = keep_mask(stream, len(h), h.shape[1], rate), 1 / (1 - rate)

        def back(s: Array, exact: bool) -> Array:
            return np.where(keep, s * (gain if exact else 1.0), 0).astype(s.dtype)

        return np.where(keep, h * gain, 0), back

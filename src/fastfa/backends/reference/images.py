"""Images in rows of numbers, channels last: patches and the layers without weights.

docs/MATH.md, "Images". A row of a batch is an image of shape (height, width, channels), flat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from .base import Array, Spec
from .draws import AUGMENT, DROPOUT, Stream, keep_mask, words
from .functions import activation

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
class Pass:
    """What a forward pass has besides its rows."""

    seed: int
    step: int
    training: bool
    parameters: Mapping[str, Array]
    row_gradients: dict[str, Array] = field(default_factory=dict)  # of layers without weights


@dataclass(frozen=True)
class Follower:
    """A layer without weights."""

    index: int  # in the layer list
    spec: Spec
    image: Shape  # of its input

    @property
    def pools(self) -> bool:
        """Whether it is a pool."""
        return "pool" in self.spec["type"]

    @property
    def window(self) -> Window:
        """The windows of a pool."""
        if self.spec["type"] == "global_avg_pool2d":
            size = self.image[:2]
            return Window(self.image, size, size, ((0, 0), (0, 0)), (1, 1))
        return Window.of(self.spec, self.image, self.spec["pool_size"])

    @property
    def output(self) -> Shape:
        """The shape of its output."""
        if self.spec["type"] == "flatten":
            return (math.prod(self.image),)
        if self.spec["type"] == "global_avg_pool2d":
            return self.image[2:]
        return (*self.window.map, self.image[2]) if self.pools else self.image

    @property
    def keys(self) -> list[str]:
        """Names of its parameters: none."""
        return []

    @property
    def trains(self) -> bool:
        """Whether it has something to learn, and may."""
        return False

    def first_parameters(self) -> dict[str, Array]:
        """Its parameters and their first values."""
        return {}

    def forward(self, h: Array, of: Pass) -> tuple[Array, Back]:
        """The output, and the way of a signal back to the input."""
        if self.spec["type"] in ("dropout", "dropout2d") and of.training:
            return self._dropout(h, Stream(of.seed, DROPOUT, self.index, of.step))
        if self.spec["type"] == "activation":
            return self._activation(h)
        if self.pools:
            return self._max(h) if self.spec["type"] == "max_pool2d" else self._average(h)
        return h, lambda s, exact: s

    def _activation(self, h: Array) -> tuple[Array, Back]:
        """f(h)."""
        f, derivative = activation(self.spec)
        out = f(h).astype(h.dtype)

        def back(s: Array, exact: bool) -> Array:
            return (s * derivative(h, out)).astype(s.dtype) if exact else s

        return out, back

    def _max(self, h: Array) -> tuple[Array, Back]:
        """The largest number of each window, the first of equals; padding never wins."""
        window = self.window
        shape = (len(h), *window.map, math.prod(window.size), self.image[2])
        places = window.patches(h, -np.inf).reshape(shape)
        inside = window.patches(np.ones_like(h)).reshape(shape) > 0
        best = np.where(inside, places, -np.inf).argmax(axis=3)[:, :, :, None]
        best = np.where(  # where all are -inf: the first that is in the image
            np.take_along_axis(inside, best, 3), best, inside.argmax(axis=3)[:, :, :, None]
        )

        def back(s: Array, exact: bool) -> Array:
            to = np.zeros(shape, s.dtype)
            np.put_along_axis(to, best, s.reshape(best.shape), axis=3)
            return window.sums(to.reshape(len(h), *window.map, *window.size, -1))

        return np.take_along_axis(places, best, 3).reshape(len(h), -1), back

    def _average(self, h: Array) -> tuple[Array, Back]:
        """The average of each window over its places in the image."""
        window = self.window
        count = window.patches(np.ones_like(h)).sum(axis=(3, 4))

        def back(s: Array, exact: bool) -> Array:
            share = (s.reshape(count.shape) / count)[:, :, :, None, None]
            inside = window.patches(np.ones_like(h))
            return window.sums((share * inside).astype(s.dtype))

        average = window.patches(h).sum(axis=(3, 4)) / count
        return average.reshape(len(h), -1).astype(h.dtype), back

    def _dropout(self, h: Array, stream: Stream) -> tuple[Array, Back]:
        """Inverted dropout (Srivastava et al. 2014): dropped, else divided by 1 - rate."""
        rate = float(self.spec["rate"])
        channels = self.image[2] if self.spec["type"] == "dropout2d" else h.shape[1]
        keep, gain = keep_mask(stream, len(h), channels, rate), 1 / (1 - rate)
        keep = np.tile(keep, h.shape[1] // channels)  # of a channel the same at every place

        def back(s: Array, exact: bool) -> Array:
            return np.where(keep, s * (gain if exact else 1.0), 0).astype(s.dtype)

        return np.where(keep, h * gain, 0), back

"""Normalisations of each sample by itself. docs/MATH.md, "Normalisations"."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .base import Array
from .images import Back, Follower, Pass

PARTS = ("scale", "shift")


@dataclass(frozen=True)
class Norm(Follower):
    """u = (x - mean) / sqrt(variance + eps) of each group, y = u scale + shift."""

    @property
    def keys(self) -> list[str]:
        """Names of its parameters."""
        return [f"{self.index}.{part}" for part in PARTS if self.spec[part]]

    @property
    def trains(self) -> bool:
        """Whether it has something to learn, and may."""
        return bool(self.spec["trainable"]) and bool(self.keys)

    def first_parameters(self) -> dict[str, Array]:
        """Ones and zeros."""
        n = self.image[-1]
        return {key: np.ones(n) if key.endswith("scale") else np.zeros(n) for key in self.keys}

    def forward(self, h: Array, of: Pass) -> tuple[Array, Back]:
        """The output, and the way back, which keeps the gradient of each row."""
        channels = self.image[-1]
        groups = int(self.spec.get("groups", 1))
        axes = (1, 3) if self.spec["type"] == "group_norm" else (3,)
        x = h.astype(np.float64).reshape(len(h), math.prod(self.image[:-1]), groups, -1)
        if self.spec["type"] != "rms_norm":
            x = x - x.mean(axes, keepdims=True)
        factor = 1 / np.sqrt((x * x).mean(axes, keepdims=True) + self.spec["eps"])
        unit = (x * factor).astype(h.dtype)
        rows = unit.reshape(len(h), -1, channels)
        scale, shift = (of.parameters.get(f"{self.index}.{part}") for part in PARTS)
        y = rows if scale is None else rows * scale
        y = y if shift is None else y + shift

        def back(s: Array, exact: bool) -> Array:
            if not exact:
                return s
            d = s.reshape(rows.shape)
            for key in self.keys:
                share = d * rows if key.endswith("scale") else d
                of.row_gradients[key] = share.sum(axis=1)
            g = (d if scale is None else d * scale).reshape(unit.shape).astype(np.float64)
            mean = g.mean(axes, keepdims=True) if self.spec["type"] != "rms_norm" else 0.0
            along = (g * unit).mean(axes, keepdims=True)
            below: Array = factor * (g - mean - unit * along)
            return below.reshape(s.shape).astype(s.dtype)

        return y.reshape(h.shape).astype(h.dtype), back

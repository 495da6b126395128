"""The arrays of one training step: forward passes, error, deltas."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .base import Array, Doubles, Maybe
from .images import Back


@dataclass
class Trace:
    """The arrays of one forward pass, one entry for each weighted layer."""

    inputs: list[Array] = field(default_factory=list)  # H_{l-1} after the layers before layer l
    back: list[list[Back]] = field(default_factory=list)  # the way back through those layers
    outputs: list[list[Array]] = field(default_factory=list)  # before each of them, and of the last
    a: list[Array] = field(default_factory=list)  # A_l, before the activation
    f: list[Array] = field(default_factory=list)  # f(A_l): H_l, but for a recurrent layer
    h: list[Array] = field(default_factory=list)  # H_l, the layer's output
    before: dict[int, Array] = field(default_factory=dict)  # h_{t-1} of recurrent layers
    rows: dict[str, Array] = field(default_factory=dict)  # whose sums are gradients of followers

    def landed(self, ordinal: int, landing: int) -> Array:
        """H where the signal of layer `ordinal` lands, after so many of the layers behind it."""
        return self.outputs[ordinal + 1][landing]


@dataclass
class Step:
    """One training step, as far as it has come, for the rules to read.

    `kept` belongs to the rules: `Rule.signal` may store arrays there that `Rule.gradients` reads.
    """

    trace: Trace  # of the forward pass
    error: Array  # e (m, n_L)
    target: Array  # Y (m, n_L)
    labels: Maybe  # (m,), where the targets were given as labels
    weights: Doubles  # w (m,)
    loss: float  # mean over the batch, before the update
    correct: float  # sum over the batch of how right each row is
    count: int  # rows with a target: the m of 1/m
    times: int = 1  # rows of a sequence
    second: Trace | None = None  # of the second forward pass, where the rule makes one
    deltas: list[Maybe] = field(default_factory=list)  # d_l, None where not formed (yet)
    weighted: list[Maybe] = field(default_factory=list)  # D_l = w * d_l
    kept: dict[str, Array] = field(default_factory=dict)

    @property
    def last(self) -> Trace:
        """The forward pass whose inputs the gradients are formed with."""
        return self.second or self.trace

    def weigh(self, rows: Array) -> Array:
        """Each row times the weight of its sample."""
        return np.asarray(rows * self.weights[:, None].astype(rows.dtype))

"""Recurrent layers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._internal.attributes import fix
from .._internal.checks import choice
from ..initializers import Init, as_init, describe_init
from .dense import Dense
from .weighted import checked_init

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Recurrent"]

TIMES = ("bptt", "kp", "fa", "sign", "diagonal", "leak", "none", "broadcast", "frozen")
STREAMING = ("diagonal", "leak", "none", "frozen")
ALIASES = {"snap1": "diagonal", "rflo": "leak", "eprop": "leak"}


@dataclass(frozen=True, eq=False, repr=False)
class Recurrent(Dense):
    """A recurrent layer: a_t = x_t W + h_{t-1} U + b, output h_t = (1 - k) h_{t-1} + k f(a_t).

    A network with such a layer takes sequences, X of shape (m, T, n_in), or streams: see
    `Sequential.step_one`. For sequences of images X is (m, T, height, width, channels), with
    `Conv2D` and `Flatten` before this layer. h_0 is 0. Other layers act on each step by itself.
    For n units: W (n_in, n) "0.weight", U (n, n) "0.recurrent", b (n,) "0.bias".

    Parameters
    ----------
    units, activation, use_bias, weight_init, bias_init, rule
        As for `Dense`; activation is "tanh" by default. ``rule`` is how the error reaches the
        layer in space. Not the last layer: put a `Dense` on top.
    trainable, lr_scale, bias_lr_scale, slope, alpha
        As for `Dense`.
    leak : float in (0, 1], default 1.0
        k, the share of the new value in a step.
    time : str, default "bptt"
        How errors go back in time, from step t + 1 to step t:

        "bptt"        through U^T: backpropagation through time, exact
        "kp", "fa"    through a matrix that learns as under rule "kp", or stays as drawn
        "sign"        through the signs of U^T
        "diagonal"    through the diagonal of U alone ("snap1")
        "leak"        through the leak alone ("rflo", "eprop")
        "none"        not at all
        "broadcast"   every step gets the errors of all later ones
        "frozen"      W, U and b do not learn: a reservoir, the baseline

        "diagonal", "leak", "none" and "frozen" need no later step, so they can learn from a stream.
    time_decay : float in [0, 1), default 0.0
        With "kp": share of U and of its matrix that is lost in a step.
    recurrent_init : str, Init or array_like of shape (units, units), default "glorot_uniform"
        Of U.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfa as fa
    >>> layers = [fa.Recurrent(16, leak=0.5, time="leak"), fa.Dense(1)]
    >>> net = fa.Sequential(layers, input_shape=3, loss="mse", rule="dfa", rng=0)
    >>> X = np.ones((4, 10, 3), np.float32)  # 4 sequences of 10 steps
    >>> net.predict(X).shape
    (4, 10, 1)
    >>> loss = net.learn_one(X[0, 0], 0.5)  # a stream, step by step
    """

    kind: ClassVar[str] = "recurrent"

    activation: str = "tanh"
    _: KW_ONLY
    leak: float = 1.0
    time: str = "bptt"
    time_decay: float = 0.0
    recurrent_init: str | Init | ArrayLike = "glorot_uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(time=choice("time", ALIASES.get(self.time, self.time), TIMES))
        self._set(recurrent_init=checked_init("recurrent_init", self.recurrent_init, ndim=2))

    @property
    def initial_recurrent(self) -> Init | NDArray[Any]:
        """The initialiser of U, or its values."""
        return as_init("recurrent_init", self.recurrent_init, ndim=2)

    def check_shapes(self, where: object) -> None:
        """ValueError where given values of U do not fit."""
        init, shape = self.initial_recurrent, (self.units, self.units)
        if isinstance(init, np.ndarray) and init.shape != shape:
            raise ValueError(f"{where}: recurrent_init: expected shape {shape}, got {init.shape}")

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        return super().describe() | {
            "leak": self.leak,
            "time": self.time,
            "time_decay": self.time_decay,
            "recurrent_init": describe_init(self.initial_recurrent),
        }


fix(Recurrent)

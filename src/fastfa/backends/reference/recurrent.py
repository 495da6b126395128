"""The recurrent layer: over whole sequences, and step by step with traces.

a_t = x_t W + h_{t-1} U + b, h_t = (1 - k) h_{t-1} + k f(a_t), h_0 = 0; docs/MATH.md, "Recurrent
layers". A batch of m sequences of T steps is m T rows here, row i T + t the step t of sequence i,
so that all other layers see rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import Array, Doubles
from .draws import RECURRENT, RECURRENT_FEEDBACK, DrawSpec, Stream, draw, initial
from .functions import activation, angle
from .rule import Layer, Network

# time -> what of G_{t+1} reaches G_t beside K: the factor of the leak, all of it, or nothing
CARRIED = {"bptt": "leak", "kp": "leak", "fa": "leak", "sign": "leak", "diagonal": "leak",
           "leak": "leak", "none": "nothing", "frozen": "nothing", "broadcast": "all"}  # fmt: skip
STREAMS = ("diagonal", "leak", "none", "frozen")  # need no later step


@dataclass(frozen=True)
class Recurrent(Layer):
    """Recurrent layer number `ordinal`."""

    @property
    def parts(self) -> list[str]:
        """The names of its parameters, without the index."""
        return ["weight", "recurrent", "bias"][: 2 + self.spec["use_bias"]]

    @property
    def trains(self) -> bool:
        """Whether an update changes this layer."""
        return super().trains and self.spec["time"] != "frozen"

    @property
    def leak(self) -> float:
        """k."""
        return float(self.spec["leak"])

    def first_parameters(self, seed: int) -> dict[str, Array]:
        """The first W, U and, if any, b."""
        first = super().first_parameters(seed)
        fans = self.n_out, self.n_out
        stream = Stream(seed, RECURRENT, self.ordinal)
        first[self.key("recurrent")] = initial(self.spec["recurrent_init"], stream, fans, fans)
        return {key: first[key] for key in self.keys}

    def first_feedback(self, seed: int) -> dict[str, Array]:
        """R (n, n) of time "fa" and "kp", which stands for U^T."""
        if self.spec["time"] not in ("fa", "kp"):
            return {}
        stream = Stream(seed, RECURRENT_FEEDBACK, self.ordinal)
        n = self.n_out
        return {self.key("recurrent_feedback"): draw(DrawSpec("uniform", n**-0.5), stream, (n, n))}

    # ----------------------------------------------------------------------------- one step

    def step(self, net: Network, x: Array, before: Array) -> tuple[Array, Array, Array]:
        """a_t, f(a_t) and h_t from rows of x_t and h_{t-1}."""
        a = net.product("forward", x, net.parameters[self.key("weight")], self)
        a = a + before @ net.parameters[self.key("recurrent")]
        if self.spec["use_bias"]:
            a = a + net.parameters[self.key("bias")]
        out = activation(self.spec)[0](a).astype(net.dtype)
        return a, out, ((1 - self.leak) * before + self.leak * out).astype(net.dtype)

    def slope(self, a: Array, out: Array) -> Array:
        """k f'(a_t)."""
        return np.asarray(self.leak * activation(self.spec)[1](a, out))

    # ----------------------------------------------------------------------- whole sequences

    def run(self, net: Network, x: Array, steps: int) -> tuple[Array, Array, Array, Array]:
        """a, f(a), h and the h before it, all of them (m T, n)."""
        shape = len(x) // steps, steps, self.n_out
        a, out, h, before = (np.zeros(shape, net.dtype) for _ in range(4))
        inputs = x.reshape(shape[0], steps, -1)
        state = np.zeros((shape[0], self.n_out), net.dtype)
        for t in range(steps):
            before[:, t] = state
            a[:, t], out[:, t], state = self.step(net, inputs[:, t], state)
            h[:, t] = state
        flat = len(x), self.n_out
        return a.reshape(flat), out.reshape(flat), h.reshape(flat), before.reshape(flat)

    def transport(self, net: Network, v: Array) -> Array:
        """K(v): how the delta of step t + 1 reaches step t."""
        u = net.parameters[self.key("recurrent")]
        time = self.spec["time"]
        if time == "bptt":
            return np.asarray(v @ u.T)
        if time in ("fa", "kp"):
            return np.asarray(v @ net.feedback[self.key("recurrent_feedback")])
        if time == "sign":
            return np.asarray(v @ np.sign(u.T) * self.n_out**-0.5)
        if time == "diagonal":
            return np.asarray(v * np.diag(u))
        return np.zeros_like(v)

    def back(self, net: Network, s: Array, slope: Array, steps: int) -> Array:
        """D_t = k f'(a_t) * G_t, G_t = S_t + carried G_{t+1} + K(D_{t+1}), from the last step."""
        shape = len(s) // steps, steps, self.n_out
        signal, slopes, d = s.reshape(shape), slope.reshape(shape), np.zeros(shape, net.dtype)
        carried = {"leak": 1 - self.leak, "all": 1.0, "nothing": 0.0}[CARRIED[self.spec["time"]]]
        g, later = np.zeros((2, shape[0], self.n_out), net.dtype)
        for t in reversed(range(steps)):
            g = signal[:, t] + carried * g + self.transport(net, later)
            later = d[:, t] = slopes[:, t] * g
        return d.reshape(len(s), self.n_out)

    def couple(self, net: Network, before: Array) -> None:
        """Give R the step that U took (Kolen & Pollack 1994), where time is "kp"."""
        if self.spec["time"] != "kp":
            return
        u = net.parameters[self.key("recurrent")]
        r = net.feedback[self.key("recurrent_feedback")]
        keep, taken = 1 - self.spec["time_decay"], u - before
        r[...] = keep * r + taken.T
        if keep != 1:
            u[...] = keep * before + taken

    def time_angle(self, net: Network) -> float | None:
        """The angle of what carries errors back in time and U^T; None where nothing does."""
        if self.spec["time"] in ("leak", "none", "broadcast", "frozen"):
            return None
        u = net.parameters[self.key("recurrent")]
        return angle(self.transport(net, np.eye(self.n_out, dtype=net.dtype)), u.T)


class Traces:
    """The state of a recurrent layer in a stream: h, and what W, U and b have led to so far.

    e_ij = dh_j/dw_ij along the paths that `time` keeps: e <- g e + k f' z, with
    g_j = (1 - k) (+ k f'_j U_jj under "diagonal"); under "none" e = k f' z alone.
    """

    def __init__(self, layer: Recurrent, dtype: np.dtype[np.generic]) -> None:
        self.layer = layer
        self.h = np.zeros((1, layer.n_out), dtype)
        sizes = {"weight": layer.fans[0], "recurrent": layer.n_out, "bias": 1}
        self.e = {part: np.zeros((sizes[part], layer.n_out), dtype) for part in layer.parts}

    def move(self, net: Network, x: Array, a: Array, out: Array, h: Array) -> None:
        """One step, from h_{t-1} to h_t."""
        layer = self.layer
        slope = layer.slope(a, out)
        keep: Array = np.full_like(slope, 1 - layer.leak)
        if layer.spec["time"] == "diagonal":
            keep = keep + slope * np.diag(net.parameters[layer.key("recurrent")])
        if layer.spec["time"] in ("none", "frozen"):
            keep = np.zeros_like(slope)
        z = {"weight": x, "recurrent": self.h, "bias": np.ones((1, 1), x.dtype)}
        for part, e in self.e.items():
            e[...] = keep * e + z[part].T * slope
        self.h = h

    def gradient(self, s: Array) -> dict[str, Array]:
        """The gradients of this step from S_t, by key."""
        return {self.layer.key(part): e * s for part, e in self.e.items()}


def rtrl(net: Network, layer: Recurrent, x: Array, s: Array) -> dict[str, Doubles]:
    """The exact gradients of one sequence by real-time recurrent learning (Williams & Zipser 1989).

    Sum over t of S_t dh_t/dw, with dh_t/dw carried forward through the whole Jacobian: n^2 p
    numbers. Tests compare the other ways with it, for few units; x (T, n_in) and s (T, n).
    """
    n, k = layer.n_out, layer.leak
    u = net.parameters[layer.key("recurrent")].astype(np.float64)
    sizes = {"weight": layer.fans[0], "recurrent": n, "bias": 1}
    jacobian = {part: np.zeros((n, sizes[part], n)) for part in layer.parts}  # of unit, input, unit
    grads = {layer.key(part): np.zeros((sizes[part], n)) for part in layer.parts}
    h = np.zeros((1, n))
    for t in range(len(x)):
        a, out, after = layer.step(net, x[t : t + 1], h)
        slope = layer.slope(a, out)[0]
        z = {"weight": x[t], "recurrent": h[0], "bias": np.ones(1)}
        for part, j in jacobian.items():
            carried = (1 - k) * j + slope[:, None, None] * np.einsum("ij,iab->jab", u, j)
            for unit in range(n):
                carried[unit, :, unit] += slope[unit] * z[part]
            jacobian[part] = carried
            grads[layer.key(part)] += np.einsum("j,jab->ab", s[t], carried)
        h = after
    return grads

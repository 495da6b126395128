"""Activations, losses, accuracy, optimizers, angles."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from .base import Array, Doubles, Maybe, Spec

# ------------------------------------------------------------------------------------- activations


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)) without overflow."""
    t = np.exp(-np.abs(a))
    return np.asarray(np.where(a >= 0, 1 / (1 + t), t / (1 + t)))


def normal_cdf(a: Array) -> Array:
    """Phi(a), the standard normal's distribution function, in double."""
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return np.asarray(0.5 * (1.0 + erf(a / math.sqrt(2.0))))


def gelu_derivative(a: Array) -> Array:
    """Phi(a) + a phi(a) (Hendrycks & Gimpel 2016), in double."""
    x = a.astype(np.float64)
    density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return np.asarray(normal_cdf(x) + x * density)


def mish(a: Array) -> Array:
    """A tanh(softplus(a)) (Misra 2019), in double."""
    x = a.astype(np.float64)
    return np.asarray(x * np.tanh(np.logaddexp(x, 0)))


def mish_derivative(a: Array) -> Array:
    """w + a (1 - w^2) sigmoid(a), w = tanh(softplus(a)), in double."""
    x = a.astype(np.float64)
    w = np.tanh(np.logaddexp(x, 0))
    return np.asarray(w + x * (1 - w * w) * sigmoid(x))


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848  # Klambauer et al. 2017


def elu(a: Array, alpha: float = 1.0) -> Array:
    """A if a > 0 else alpha (exp(a) - 1) (Clevert et al. 2016)."""
    return np.asarray(np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0))))


# name -> (f(A), f' from A and H); both also take the option that OPTION_OF names
ACTIVATIONS: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {
    "linear": (lambda a: a, lambda a, h: np.ones_like(a)),
    "relu": (lambda a: np.maximum(a, 0), lambda a, h: h > 0),
    "leaky_relu": (
        lambda a, slope=0.01: np.where(a > 0, a, slope * a),
        lambda a, h, slope=0.01: np.where(h > 0, 1.0, slope),
    ),
    "tanh": (np.tanh, lambda a, h: 1 - h * h),
    "sigmoid": (sigmoid, lambda a, h: h * (1 - h)),
    "softplus": (lambda a: np.logaddexp(a, 0), lambda a, h: sigmoid(a)),
    "gelu": (lambda a: a * normal_cdf(a.astype(np.float64)), lambda a, h: gelu_derivative(a)),
    "sign": (np.sign, lambda a, h: np.zeros_like(a)),
    "threshold": (lambda a: a > 0, lambda a, h: np.zeros_like(a)),
    "elu": (elu, lambda a, h, alpha=1.0: np.where(h > 0, 1, h + alpha)),
    "selu": (
        lambda a: SELU_SCALE * elu(a, SELU_ALPHA),
        lambda a, h: np.where(h > 0, SELU_SCALE, h + SELU_SCALE * SELU_ALPHA),
    ),
    "silu": (
        lambda a: a * sigmoid(a.astype(np.float64)),
        lambda a, h: sigmoid(a) * (1 + a * sigmoid(-a)),
    ),
    "mish": (mish, lambda a, h: mish_derivative(a)),
    "hardtanh": (lambda a: np.clip(a, -1, 1), lambda a, h: np.abs(h) < 1),
    "hard_sigmoid": (
        lambda a: np.clip((a + 3) / 6, 0, 1),
        lambda a, h: np.where((h > 0) & (h < 1), 1 / 6, 0.0),
    ),
    "softsign": (lambda a: a / (1 + np.abs(a)), lambda a, h: (1 - np.abs(h)) ** 2),
}
OPTION_OF = {"leaky_relu": "slope", "elu": "alpha"}


def activation(spec: Spec) -> tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]:
    """F and f' of a layer, with its option."""
    f, derivative = ACTIVATIONS[spec["activation"]]
    name = OPTION_OF.get(spec["activation"])
    if name is None or name not in spec:
        return f, derivative
    return partial(f, **{name: spec[name]}), partial(derivative, **{name: spec[name]})


# ------------------------------------------------------------------------------------------ losses
# Each takes z (m, n_L) and dense targets y (m, n_L) in double and gives the loss of each sample,
# (m,), summed over outputs, and dloss_i/dz (m, n_L).


def softmax(z: Doubles) -> Doubles:
    """Rows of probabilities."""
    t = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(t / t.sum(axis=1, keepdims=True), np.float64)


def softmax_cross_entropy(
    z: Doubles, y: Doubles, smoothing: float = 0.0
) -> tuple[Doubles, Doubles]:
    """Log sum exp z - sum y z; z are logits, rows of y sum to 1. Szegedy et al. 2016: smoothing."""
    y = (1 - smoothing) * y + smoothing / z.shape[1]
    top = z.max(axis=1)
    log_sum = top + np.log(np.exp(z - top[:, None]).sum(axis=1))
    return log_sum - (y * z).sum(axis=1), softmax(z) - y


def sigmoid_cross_entropy(z: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Sum log(1 + exp z) - y z; z are logits."""
    return (np.logaddexp(z, 0.0) - y * z).sum(axis=1), sigmoid(z) - y


def mse(z: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Sum (z - y)^2 / 2; z is the network's output H_L."""
    return 0.5 * ((z - y) ** 2).sum(axis=1), z - y


def huber(z: Doubles, y: Doubles, delta: float = 1.0) -> tuple[Doubles, Doubles]:
    """Sum of r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2); r = z - y (Huber 1964)."""
    r = z - y
    size = np.abs(r)
    loss = np.where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta))
    return loss.sum(axis=1), np.clip(r, -delta, delta)


def mae(z: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Sum |z - y|."""
    return np.abs(z - y).sum(axis=1), np.sign(z - y)


def pinball(z: Doubles, y: Doubles, quantile: float = 0.5) -> tuple[Doubles, Doubles]:
    """Sum of q (y - z) where z < y, else (1 - q) (z - y) (Koenker & Bassett 1978)."""
    r = z - y
    error = np.where(r > 0, 1 - quantile, np.where(r < 0, -quantile, 0.0))
    return (error * r).sum(axis=1), error


def poisson(z: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Sum exp z - y z: the negative log likelihood of counts y without log y!."""
    return (np.exp(z) - y * z).sum(axis=1), np.exp(z) - y


def focal(
    z: Doubles, y: Doubles, gamma: float = 2.0, alpha: float = 0.25
) -> tuple[Doubles, Doubles]:
    """Sum alpha y q^gamma (-log p) + (1 - alpha) (1 - y) p^gamma (-log q) (Lin et al. 2017)."""
    p, q = sigmoid(z), sigmoid(-z)
    no_p, no_q = np.logaddexp(-z, 0.0), np.logaddexp(z, 0.0)  # -log p, -log q
    yes, no = alpha * y * q**gamma, (1 - alpha) * (1 - y) * p**gamma
    error = no * (gamma * q * no_q + p) - yes * (gamma * p * no_p + q)
    return (yes * no_p + no * no_q).sum(axis=1), error


LOSSES: dict[str, Callable[..., tuple[Doubles, Doubles]]] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "mse": mse,
    "huber": huber,
    "mae": mae,
    "pinball": pinball,
    "poisson": poisson,
    "focal": focal,
}


def loss_of(description: Spec) -> Callable[[Doubles, Doubles], tuple[Doubles, Doubles]]:
    """The loss of a description with its options; a function of the user gets rows of targets."""
    if description["loss"] == "custom":
        function: Callable[[Doubles, Doubles], tuple[Doubles, Doubles]]
        function = description["loss_function"]
        return function
    return partial(LOSSES[description["loss"]], **description.get("loss_options", {}))


LINKS: dict[str, Callable[[Doubles], Array]] = {  # from z to the predictions
    "softmax_cross_entropy": softmax,
    "sigmoid_cross_entropy": sigmoid,
    "poisson": np.exp,
    "focal": sigmoid,
    **dict.fromkeys(("mse", "huber", "mae", "pinball", "custom"), np.asarray),
}


def dense_targets(labels: Maybe, y: Maybe, n_out: int) -> Doubles:
    """Y (m, n_L) in double: rows as they are; labels one-hot, or 0/1 where there is one output."""
    if labels is None:
        return np.asarray(y, np.float64)
    if n_out == 1:
        return labels.astype(np.float64)[:, None]
    return np.eye(n_out)[labels]


def correct(loss: str, z: Array, y: Doubles, from_labels: bool) -> Doubles:
    """How right each row is, 0..1; nan where the loss and targets define no accuracy."""
    sides, classes = ("sigmoid_cross_entropy", "focal"), ("softmax_cross_entropy",)
    if loss not in (*sides, *classes) and not (from_labels and z.shape[1] > 1):
        return np.full(len(z), np.nan)
    if loss in sides and (z.shape[1] == 1 or not from_labels):
        return np.asarray(((z > 0) == (y > 0.5)).mean(axis=1))
    return np.asarray(z.argmax(axis=1) == y.argmax(axis=1), np.float64)


# --------------------------------------------------------------------------------------- optimizers
# One step of parameter w in place, by PyTorch's formulas (docs/MATH.md, "Optimizers"). `o` is the
# description's optimizer, lr the rate of this parameter, decay 0 or the weight decay, t counts the
# steps from 1.

Slots = list[Array]


def sgd(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Do v = momentum v + g; w -= lr v, or lr (g + momentum v) with Nesterov (Sutskever 2013)."""
    g = g + decay * w
    if o["momentum"]:
        slots[0][...] = o["momentum"] * slots[0] + g
        g = g + o["momentum"] * slots[0] if o["nesterov"] else slots[0]
    w -= lr * g


def rmsprop(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Do s = alpha s + (1 - alpha) g^2; w -= lr g / (sqrt(s) + eps) (Tieleman & Hinton 2012)."""
    g = g + decay * w
    slots[0][...] = square = o["alpha"] * slots[0] + (1 - o["alpha"]) * g * g
    if o.get("centered"):
        slots[1][...] = o["alpha"] * slots[1] + (1 - o["alpha"]) * g
        square = np.maximum(square - slots[1] * slots[1], 0)  # below 0 by rounding alone
    g = g / (np.sqrt(square) + o["eps"])
    if o["momentum"]:
        slots[-1][...] = o["momentum"] * slots[-1] + g
        g = slots[-1]
    w -= lr * g


def adagrad(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Do s += g^2; w -= lr g / (sqrt(s) + eps) (Duchi et al. 2011)."""
    g = g + decay * w
    slots[0][...] += g * g
    w -= lr * g / (np.sqrt(slots[0]) + o["eps"])


def adam(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Do w -= lr m / (sqrt(v) + eps), m and v unbiased means of g and g^2 (Kingma & Ba 2015)."""
    g = g + decay * w
    mean, square = slots
    mean[...] = o["beta1"] * mean + (1 - o["beta1"]) * g
    square[...] = o["beta2"] * square + (1 - o["beta2"]) * g * g
    unbiased = math.sqrt(1 - o["beta2"] ** t)
    root = np.sqrt(square) / unbiased + o["eps"] / (unbiased if o.get("eps_hat") else 1)
    w -= lr / (1 - o["beta1"] ** t) * mean / root


def adamw(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Adam with the decay taken from w itself (Loshchilov & Hutter 2019, algorithm 2)."""
    w *= 1 - lr * decay
    adam(w, g, slots, o, lr, 0.0, t)


def nadam(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Adam whose mean is that of one step later, mu_t the momentum of step t (Dozat 2016)."""
    g = g + decay * w
    mean, square = slots
    mean[...] = o["beta1"] * mean + (1 - o["beta1"]) * g
    square[...] = o["beta2"] * square + (1 - o["beta2"]) * g * g
    mu = [o["beta1"] * (1 - 0.5 * 0.96 ** (i * o["momentum_decay"])) for i in range(1, t + 2)]
    ahead = (1 - mu[-2]) / (1 - math.prod(mu[:-1])) * g + mu[-1] / (1 - math.prod(mu)) * mean
    w -= lr * ahead / (np.sqrt(square) / math.sqrt(1 - o["beta2"] ** t) + o["eps"])


def radam(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Adam times r, or without its divisor in the first steps (Liu et al. 2020, algorithm 2)."""
    g = g + decay * w
    mean, square = slots
    mean[...] = o["beta1"] * mean + (1 - o["beta1"]) * g
    square[...] = o["beta2"] * square + (1 - o["beta2"]) * g * g
    unbiased, power = mean / (1 - o["beta1"] ** t), o["beta2"] ** t
    most = 2 / (1 - o["beta2"]) - 1
    n = most - 2 * t * power / (1 - power)
    if n <= 5:
        w -= lr * unbiased
        return
    r = math.sqrt((n - 4) * (n - 2) * most / ((most - 4) * (most - 2) * n))
    w -= lr * r * math.sqrt(1 - power) * unbiased / (np.sqrt(square) + o["eps"])


def lion(w: Array, g: Array, slots: Slots, o: Spec, lr: float, decay: float, t: int) -> None:
    """Do w -= lr sign(beta1 m + (1 - beta1) g), decay from w itself (Chen et al. 2023)."""
    w *= 1 - lr * decay
    w -= lr * np.sign(o["beta1"] * slots[0] + (1 - o["beta1"]) * g)
    slots[0][...] = o["beta2"] * slots[0] + (1 - o["beta2"]) * g


OPTIMIZERS = {
    "sgd": sgd,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
    "adagrad": adagrad,
    "nadam": nadam,
    "radam": radam,
    "lion": lion,
}


def slot_count(o: Spec) -> int:
    """How many arrays of state an optimizer keeps for a parameter."""
    if o["name"] in ("sgd", "rmsprop"):
        own = 1 + bool(o.get("centered")) if o["name"] == "rmsprop" else 0
        return own + bool(o.get("momentum"))
    return 1 if o["name"] in ("adagrad", "lion") else 2


# ---------------------------------------------------------------------------------------- alignment


def norm(a: Array) -> float:
    """Euclidean norm over all entries, in double."""
    return float(np.linalg.norm(a.astype(np.float64).ravel()))


def angle(a: Array, b: Array) -> float:
    """Angle in degrees between two arrays taken as vectors; nan where one is zero."""
    scale = norm(a) * norm(b)
    if scale == 0:
        return math.nan
    cosine = np.vdot(a.astype(np.float64), b.astype(np.float64)) / scale
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))

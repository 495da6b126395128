"""What is measured on one trained network: its score, and what tells healthy from lucky."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ...layers import Conv2D, Dense, Flatten
from ...sequential import Sequential
from .entries import BACKPROP, EXACT
from .tasks import Split, Task, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...callbacks import History

__all__ = ["Final", "Trial", "growth", "reference_norm"]

PROBE = 200  # test samples for the diagnostics
WIDEST = 256  # of the read-out of a hidden layer; wider layers are projected


class Trial:
    """Measures a trial of a learning rate: the score on the validation data, and nothing else."""

    def __init__(self, task: type[Task]) -> None:
        self.task = task

    def __call__(self, net: Sequential, history: History) -> dict[str, Any]:
        """The score of a network."""
        data = load(self.task)
        return {"score": self.task().score(net, data.X_val, data.y_val)}


class Final:
    """Measures a network that trained at the chosen rate."""

    def __init__(self, task: type[Task]) -> None:
        self.task = task

    def __call__(self, net: Sequential, history: History) -> dict[str, Any]:
        """The score on the test data, seconds, and the diagnostics."""
        data, task = load(self.task), self.task()
        X, y = data.X_test[:PROBE], _targets(task, data)
        rows = net.alignment(X, y, fields=["gradient_angle"])
        return {
            "score": task.score(net, data.X_test, data.y_test),
            "seconds": sum(history.history["time"]),
            "angles": [_finite(row.gradient_angle) for row in rows],
            "growth": _finite(growth(task, net, X)),
            "reference": _finite(reference_norm(task, net, X, y)),
        }


def _targets(task: Task, data: Split) -> NDArray[Any]:
    """Targets that the loss takes: probabilities of a test set become the likelier outcome."""
    y = data.y_test[:PROBE]
    if task.loss == "sigmoid_cross_entropy":
        return np.where(np.isnan(y), np.nan, y >= 0.5).astype(np.float32)
    return y


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def growth(task: Task, net: Sequential, X: NDArray[Any]) -> float:
    """The largest ratio of the root mean squares of two successive layers, the input the first."""
    sizes = [_rms(np.asarray(X, np.float64) * _scale(X))]
    hidden = [i for i, layer in enumerate(net.layers) if isinstance(layer, (Dense, Conv2D))][:-1]
    sizes += [_size(task, net, i, X) for i in hidden]
    return max((b / a if a > 0 else math.nan for a, b in pairwise(sizes)), default=0.0)


def _size(task: Task, net: Sequential, last: int, X: NDArray[Any]) -> float:
    """Root mean square of the outputs of a layer, read by a linear layer on top of it.

    The read-out is the identity, or random directions where the layer is wide.
    """
    layers = [*net.layers[: last + 1]]
    if isinstance(layers[-1], Conv2D):
        layers.append(Flatten())
    key = f"{len(layers)}."

    def with_top(top: Dense) -> Sequential:
        return Sequential([*layers, top], input_shape=task.input_shape, loss="mse", rng=0)

    n = len(with_top(Dense(1)).parameters[f"{key}weight"])
    directions = np.eye(n)
    if n > WIDEST:
        directions = np.random.default_rng(0).standard_normal((n, WIDEST)) / math.sqrt(n)
    top = Dense(directions.shape[1], use_bias=False, weight_init=directions)
    probe = with_top(top)
    _copy(net.parameters, probe, key)
    return _rms(probe.predict(X))


def reference_norm(task: Task, net: Sequential, X: NDArray[Any], y: NDArray[Any]) -> float:
    """The least norm of backprop's gradient among the weights below the output layer."""
    exact = task.build(BACKPROP, EXACT, 0.01, 0)
    _copy(net.parameters, exact)
    top = f"{len(exact.layers) - 1}."
    found = [
        float(np.linalg.norm(np.asarray(gradient, np.float64)))
        for key, gradient in exact.gradients(X, y).items()
        if key.endswith(".weight") and not key.startswith(top)
    ]
    return min(found, default=math.nan)


def _copy(parameters: Mapping[str, Any], to: Sequential, skip: str = "-") -> None:
    for key in to.parameters:
        if not key.startswith(skip):
            to.parameters[key] = parameters[key]


def _scale(X: NDArray[Any]) -> float:
    return 1 / 255 if X.dtype == np.uint8 else 1.0


def _rms(values: NDArray[Any]) -> float:
    return math.sqrt(np.square(values, dtype=np.float64).mean())

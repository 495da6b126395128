"""The tasks of the suite, and the class that all of them derive from."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ... import datasets
from ..._internal.checks import mismatch
from ...layers import Conv2D, Dense, Flatten, Recurrent
from ...optimizers import SGD, Adam, Optimizer
from ...sequential import Sequential

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...layers import Layer
    from ...rules import Rule

__all__ = ["TASKS", "Split", "Task"]


class Split(NamedTuple):
    """Data in three parts: training, validation (chooses the learning rate) and test."""

    X: NDArray[Any]
    y: NDArray[Any]
    X_val: NDArray[Any]
    y_val: NDArray[Any]
    X_test: NDArray[Any]
    y_test: NDArray[Any]


class Task(ABC):
    """A network and the data that it learns.

    A task of your own derives from this class, says what follows and has `data` and `layers`.
    Objects are made without arguments.

    Attributes
    ----------
    name, title : str
        A short name for files and columns; one line for the page.
    input_shape : int or tuple of int
        Of the network.
    epochs, batch_size : int
    rates : tuple of float
        The lowest and the highest learning rate that are tried.
    loss : str
        Of the network.
    points : str
        What `score` measures; higher is better.
    guess : float
        The score of a network that knows nothing; a run that diverges gets it.
    sequences : bool
        Whether the network has recurrent layers, so that entries may choose ``time=``.
    version : int
        Increase it with every change; runs of other versions do not count.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    input_shape: ClassVar[int | tuple[int, ...]]
    epochs: ClassVar[int] = 10
    batch_size: ClassVar[int] = 32
    rates: ClassVar[tuple[float, float]] = (0.003, 1.0)
    loss: ClassVar[str] = "softmax_cross_entropy"
    points: ClassVar[str] = "test accuracy, %"
    guess: ClassVar[float] = 10.0
    sequences: ClassVar[bool] = False
    version: ClassVar[int] = 1

    @abstractmethod
    def data(self) -> Split:
        """The data, always the same."""

    @abstractmethod
    def layers(self, time: str) -> Sequence[Layer]:
        """New layers; ``time`` is for the recurrent ones."""

    def optimizer(self, lr: float) -> Optimizer:
        """The optimizer: SGD with momentum 0.9."""
        return SGD(lr, momentum=0.9)

    def build(self, rule: str | Rule, time: str, lr: float, seed: int) -> Sequential:
        """A new network."""
        return Sequential(
            self.layers(time),
            input_shape=self.input_shape,
            loss=self.loss,
            rule=rule,
            optimizer=self.optimizer(lr),
            rng=seed,
        )

    def score(self, net: Sequential, X: NDArray[Any], y: NDArray[Any]) -> float:
        """How good a network is: the accuracy in %."""
        return 100.0 * net.evaluate(X, y)["accuracy"]

    def tried_rates(self, trials: int) -> list[float]:
        """The learning rates of all rules, from low to high at equal ratios."""
        low, high = self.rates
        if trials == 1:
            return [float(f"{(low * high) ** 0.5:.4g}")]
        return [float(f"{rate:.4g}") for rate in np.geomspace(low, high, trials)]


@lru_cache(maxsize=8)
def load(kind: type[Task]) -> Split:
    """The data of a task, read once in each process."""
    split = kind().data()
    if not isinstance(split, tuple) or len(split) != len(Split._fields):
        raise TypeError(
            mismatch(f"{kind.__name__}.data", f"a Split of {len(Split._fields)} arrays",
                     type(split).__name__)
        )  # fmt: skip
    return Split(*split)


def check(kind: type) -> type[Task]:
    """`kind`, if it is a complete task."""
    if not (isinstance(kind, type) and issubclass(kind, Task)) or inspect.isabstract(kind):
        hint = "derive from fastfa.experiments.suite.Task, with data() and layers()"
        raise TypeError(mismatch("--task", "a class of a task", repr(kind), hint))
    for attribute in ("name", "title", "input_shape"):
        if not hasattr(kind, attribute):
            raise TypeError(
                mismatch(f"{kind.__name__}.{attribute}", "an attribute of the class", "none")
            )
    return kind


# ---- digits ----


def _digits(shape: tuple[int, ...]) -> Split:
    X, y, X_test, y_test = datasets.load("digits")
    return _held_out(X.reshape(-1, *shape), y, X_test.reshape(-1, *shape), y_test, 287)


def _held_out(
    X: NDArray[Any], y: NDArray[Any], X_test: NDArray[Any], y_test: NDArray[Any], n: int
) -> Split:
    """The last `n` training samples, after a fixed shuffle, are for validation."""
    order = np.random.default_rng(20).permutation(len(X))
    train, held_out = order[:-n], order[-n:]
    return Split(X[train], y[train], X[held_out], y[held_out], X_test, y_test)


class Digits(Task):
    """The network of the demo."""

    name, title = "digits", "Digits, 64-32-16-10 tanh"
    input_shape = 64
    epochs = 30

    def data(self) -> Split:
        """Images as rows."""
        return _digits((64,))

    def layers(self, time: str) -> list[Layer]:
        """Two narrow hidden layers."""
        return [Dense(32, "tanh"), Dense(16, "tanh"), Dense(10)]


class DigitsDeep(Digits):
    """Twenty hidden layers of 64."""

    name, title = "digits-deep", "Digits, 20 hidden layers of 64, tanh"
    epochs = 20
    rates = (0.0003, 0.5)

    def layers(self, time: str) -> list[Layer]:
        """Twenty hidden layers."""
        return [*(Dense(64, "tanh") for _ in range(20)), Dense(10)]


class DigitsImage(Task):
    """Two convolutions."""

    name, title = "digits-image", "Digits as images, two 3x3 convolutions of 8 and 16, 32 units"
    input_shape = (8, 8, 1)
    epochs = 15

    def data(self) -> Split:
        """Images of one channel."""
        return _digits((8, 8, 1))

    def layers(self, time: str) -> list[Layer]:
        """Convolutions, the second with strides of 2."""
        return [
            Conv2D(8, 3, activation="tanh"),
            Conv2D(16, 3, strides=2, activation="tanh"),
            Flatten(),
            Dense(32, "tanh"),
            Dense(10),
        ]


class DigitsRows(Task):
    """A row of pixels a step."""

    name, title = "digits-rows", "Digits row by row, 8 steps, 48 recurrent tanh units, leak 0.5"
    input_shape = 8
    epochs = 20
    rates = (0.0003, 0.1)
    sequences = True

    def data(self) -> Split:
        """Sequences of eight rows."""
        return _digits((8, 8))

    def layers(self, time: str) -> list[Layer]:
        """One recurrent layer."""
        return [Recurrent(48, leak=0.5, time=time), Dense(10)]

    def optimizer(self, lr: float) -> Optimizer:
        """Adam."""
        return Adam(lr)


# ---- Add ----

ADD_LAGS = (3, 5)


class Add(Task):
    """Pitis's and Marschall's task: coins of the past decide how likely a 1 is now.

    P(y_t = 1) = 0.5 + 0.5 x_{t-3} - 0.25 x_{t-5}, x_t = 0 or 1 with equal chance.
    """

    name, title = "add", "Add, lags 3 and 5, 32 recurrent tanh units, target at every step"
    input_shape = 1
    epochs = 15
    batch_size = 8
    rates = (0.0001, 0.1)
    loss = "sigmoid_cross_entropy"
    points = "% of the nats that memory can explain"
    guess = 0.0
    sequences = True
    steps: ClassVar[int] = 30
    n_train: ClassVar[int] = 800

    def data(self) -> Split:
        """Sequences of coins; y of validation and test is the probability, not the outcome."""
        rng = np.random.default_rng(5)
        found: list[NDArray[Any]] = []
        for n, outcomes in ((self.n_train, True), (200, False), (400, False)):
            X = rng.integers(0, 2, (n, self.steps, 1)).astype(np.float32)
            p = np.full_like(X, np.nan)
            near, far = ADD_LAGS
            p[:, far:] = 0.5 + 0.5 * X[:, far - near : -near] - 0.25 * X[:, :-far]
            drawn = np.where(np.isnan(p), np.nan, rng.random(p.shape) < p).astype(np.float32)
            found += [X, drawn if outcomes else p]
        return Split(*found)

    def layers(self, time: str) -> list[Layer]:
        """One recurrent layer."""
        return [Recurrent(32, leak=0.7, time=time), Dense(1)]

    def optimizer(self, lr: float) -> Optimizer:
        """Adam."""
        return Adam(lr)

    def score(self, net: Sequential, X: NDArray[Any], y: NDArray[Any]) -> float:
        """Where the loss lies between a net without memory (0) and the best possible (100)."""
        there = ~np.isnan(y)
        logits = net.predict(X, "logits").astype(np.float64)[there]
        p = y.astype(np.float64)[there]
        loss = float((np.logaddexp(0, logits) - p * logits).mean())
        none, best = add_entropies()
        return 100.0 * (none - loss) / (none - best)


def add_entropies() -> tuple[float, float]:
    """Nats a step of the Add task: without memory, and with all that can be known."""

    def entropy(p: float) -> float:
        return -sum(q * float(np.log(q)) for q in (p, 1 - p) if q > 0)

    chances = [0.5 + 0.5 * near - 0.25 * far for near in (0, 1) for far in (0, 1)]
    return entropy(sum(chances) / 4), sum(map(entropy, chances)) / 4


# ---- MNIST ----


class MnistNarrow(Task):
    """Two hidden layers on 10,000 images."""

    name, title = "mnist-narrow", "MNIST, 784-256-128-10 tanh, 10,000 training images"
    input_shape = 784
    epochs = 5
    batch_size = 64
    rates = (0.001, 0.3)

    def data(self) -> Split:
        """10,000 images for training, 2,000 for validation, the whole test set."""
        X, y, X_test, y_test = datasets.load("mnist")
        keep = np.random.default_rng(21).permutation(len(X))[:12_000]
        return _held_out(X[keep], y[keep], X_test, y_test, len(keep) // 6)

    def layers(self, time: str) -> list[Layer]:
        """Two hidden layers."""
        return [Dense(256, "tanh"), Dense(128, "tanh"), Dense(10)]


class MnistWide(MnistNarrow):
    """One wide hidden layer."""

    name, title = "mnist-wide", "MNIST, 784-1000-10 tanh, 10,000 training images"

    def layers(self, time: str) -> list[Layer]:
        """One hidden layer."""
        return [Dense(1000, "tanh"), Dense(10)]


class MnistRows(MnistNarrow):
    """A row of pixels a step."""

    name = "mnist-rows"
    title = "MNIST row by row, 28 steps, 64 recurrent tanh units, leak 0.5, 10,000 images"
    input_shape = 28
    rates = (0.0001, 0.03)
    sequences = True

    def data(self) -> Split:
        """Sequences of 28 rows."""
        parts = super().data()
        return Split(*(p.reshape(-1, 28, 28) if i % 2 == 0 else p for i, p in enumerate(parts)))

    def layers(self, time: str) -> list[Layer]:
        """One recurrent layer."""
        return [Recurrent(64, leak=0.5, time=time), Dense(10)]

    def optimizer(self, lr: float) -> Optimizer:
        """Adam."""
        return Adam(lr)


TASKS: dict[str, type[Task]] = {
    kind.name: kind
    for kind in (
        Digits, DigitsDeep, DigitsImage, DigitsRows, Add, MnistNarrow, MnistWide, MnistRows,
    )
}  # fmt: skip

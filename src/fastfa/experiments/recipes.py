"""The networks of published experiments and their training, for the rows of `PRESETS`.

A recipe is ``run(rule, seed, epochs, data, log)``. It calls ``log(at, value, what)`` after each
epoch (or sample); `what` is "" for the quantity of the preset. So a run that is stopped keeps its
measurements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..callbacks import Callback
from ..feedback import Feedback
from ..initializers import Init
from ..layers import Dense, Dropout
from ..optimizers import SGD, Adam, RMSprop
from ..rules import DFA, DKP, DRTP, FA, KP, WM, Rule
from ..sequential import Sequential

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..datasets import Split


class Log(Protocol):
    """Records a measured value."""

    def __call__(self, at: int, value: float, what: str = "") -> object:
        """Record the `value` of `what` after `at` epochs or samples."""


Run = Callable[[str, int, int, "Split | None", Log], None]
Build = Callable[[str, int], Sequential]
Prepare = Callable[["NDArray[np.uint8]"], "NDArray[Any]"]
Probe = Callable[[Sequential, "Split"], Mapping[str, float]]

ZEROS = Init("zeros")
FAN_IN = Init("lecun_uniform", math.sqrt(1 / 3))  # within +-1 / sqrt(n_in)
BATCHES_OF_64, BATCHES_OF_128 = 938, 469  # steps of an epoch of MNIST
BURSTS = 40


# ---- runs ----


@dataclass(frozen=True)
class MnistRun:
    """A run on MNIST: test accuracy or error in % after each epoch, and the values of probes.

    Parameters
    ----------
    build : callable
        ``build(rule, seed)``, the network.
    batch_size : int
    error : bool
        Log the error instead of the accuracy.
    prepare : callable, optional
        Converts the pixels, uint8; by default they are divided by 255.
    each_epoch, at_end : callable, optional
        ``probe(net, training and test data)``: more values to log, by name.
    learned_every : int
        Number of epochs between checks of the training error. Where it is zero, training stops: the
        value of the network is also that after all epochs, and "epochs" is logged. 0: no checks.
    """

    build: Build
    batch_size: int
    _: KW_ONLY
    error: bool = False
    prepare: Prepare | None = None
    each_epoch: Probe | None = None
    at_end: Probe | None = None
    learned_every: int = 0

    def __call__(self, rule: str, seed: int, epochs: int, data: Split | None, log: Log) -> None:
        """Train one rule from one seed."""
        assert data is not None
        X, y, X_test, y_test = data
        if self.prepare:
            X, X_test = self.prepare(X), self.prepare(X_test)
        self.build(rule, seed).fit(
            X,
            y,
            epochs,
            self.batch_size,
            validation_data=(X_test, y_test),
            callbacks=[_Measuring(self, (X, y, X_test, y_test), epochs, log)],
            verbose=False,
        )


class _Measuring(Callback):
    """Logs the values of a `MnistRun` after each epoch."""

    def __init__(self, run: MnistRun, split: Split, epochs: int, log: Log) -> None:
        self.run, self.split, self.epochs, self.log = run, split, epochs, log

    def on_epoch_end(self, net: Sequential, epoch: int, logs: Mapping[str, float]) -> None:
        accuracy = logs["val_accuracy"]
        value = 100 * (1 - accuracy if self.run.error else accuracy)
        self.log(epoch, value)
        for probe in (self.run.each_epoch, self.run.at_end if epoch == self.epochs else None):
            for what, found in (probe(net, self.split) if probe else {}).items():
                self.log(epoch, found, what)
        if self.run.learned_every and epoch % self.run.learned_every == 0:
            self._stop_if_learned(net, epoch, value)

    def _stop_if_learned(self, net: Sequential, epoch: int, value: float) -> None:
        X, y, _, _ = self.split
        learned = net.evaluate(X, y)["accuracy"] == 1.0
        if learned:
            net.stop()
            self.log(self.epochs, value)
        if learned or epoch == self.epochs:
            self.log(self.epochs, epoch, "epochs")


def linear_run(rule: str, seed: int, epochs: int, data: Split | None, log: Log) -> None:
    """FA learns a linear map online: the angle of its delta and its loss relative to backprop's."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(-1, 1, (30, 10))
    X, probe = rng.standard_normal((epochs, 30)), rng.standard_normal((200, 30))
    of = (probe, probe @ target)
    fa, exact = linear(rule, seed), linear("backprop", seed)
    for i in range(epochs + 1):
        if i % 100 == 0:
            log(i, fa.alignment(*of)[0].delta_angle, "angle")
            log(i, fa.evaluate(*of)["loss"] / exact.evaluate(*of)["loss"], "loss")
        if i < epochs:
            for net in (fa, exact):
                net.train_batch(X[i : i + 1], X[i : i + 1] @ target)


def best_of_rates(rule: str, seed: int, epochs: int, data: Split | None, log: Log) -> None:
    """`sparse` at four rates: the best test accuracy of all so far, and that of each rate."""
    assert data is not None
    X, y, X_test, y_test = data
    nets = {rate: sparse(rule, seed, rate) for rate in (0.1, 0.05, 0.03, 0.01)}
    best = 0.0
    for epoch in range(1, epochs + 1):
        for rate, net in nets.items():
            net.fit(X, y, 1, 32, shuffle=False, verbose=False)
            accuracy = 100 * net.evaluate(X_test, y_test)["accuracy"]
            best = max(best, accuracy)
            log(epoch, accuracy, f"rate {rate:g}")
        log(epoch, best)


# ---- probes ----


def weight_angle(net: Sequential, split: Split) -> dict[str, float]:
    """Degrees between B and W^T above the first hidden layer."""
    X, y, _, _ = split
    angle = net.alignment(X[:100], y[:100])[0].weight_angle
    return {} if angle is None else {"weight angle": angle}


def angles_and_step(net: Sequential, split: Split) -> dict[str, float]:
    """Degrees from the true gradient on 250 training images, and milliseconds of a step of 128.

    The time is the best of `BURSTS` bursts of five steps. They train the network, so measure last.
    """
    X, y, _, _ = split
    rows = net.alignment(X[:250], y[:250])
    found = {f"angle {i}": row.gradient_angle for i, row in enumerate(rows, 1)}
    bursts = []
    for _ in range(BURSTS):
        start = perf_counter()
        for _ in range(5):
            net.train_batch(X[:128], y[:128])
        bursts.append(perf_counter() - start)
    return found | {"ms a step": 200 * min(bursts)}


# ---- pixels ----


def within_one(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels in -1 .. 1."""
    return pixels * np.float32(2 / 255) - np.float32(1)


# ---- networks ----


def linear(rule: str, seed: int) -> Sequential:
    """30-20-10, linear, without biases; B 50 times as large as W."""
    small = Init("uniform", 0.01)
    feedback = Feedback("uniform", 0.5 * math.sqrt(20))  # within +-0.5
    return Sequential(
        [
            Dense(20, use_bias=False, weight_init=small),
            Dense(10, use_bias=False, weight_init=small),
        ],
        input_shape=30,
        loss="mse",
        rule=FA(feedback) if rule == "fa" else rule,
        optimizer=SGD(1e-3),
        dtype="float64",
        rng=seed,
    )


def akrout(rule: str, seed: int) -> Sequential:
    """784-500-10; glorot_normal has variance scale^2 2 / (n_in + n_out)."""
    init = Init("glorot_normal", math.sqrt(0.5))
    feedback = Feedback("normal", math.sqrt(3 * 500 / (500 + 10)))  # std is scale / sqrt(3 n_l)
    return Sequential(
        [
            Dense(500, "sigmoid", weight_init=init, bias_lr_scale=1 / 128),
            Dense(10, weight_init=init, bias_lr_scale=1 / 128),
        ],
        input_shape=784,
        loss="sigmoid_cross_entropy",
        rule={"fa": FA(feedback), "kp": KP(feedback)}.get(rule, rule),
        optimizer=SGD(0.3 if rule == "kp" else 0.2),
        rng=seed,
    )


def akrout_mirror(rule: str, seed: int) -> Sequential:
    """`akrout` under the published weight mirror, which first mirrors for an epoch.

    The mirror sees no data: steps at the learning rate 0 on any inputs train B alone.
    """
    net = akrout(rule, seed)
    feedback = Feedback("normal", math.sqrt(3 * 500 / (500 + 10)))
    net = Sequential(
        net.layers,
        input_shape=784,
        loss="sigmoid_cross_entropy",
        rule=WM(feedback, rate=0.01, noise=0.05, normalize=False),
        optimizer=SGD(0.0),
        rng=seed,
    )
    for _ in range(BATCHES_OF_128):
        net.train_batch(np.zeros((128, 784), np.float32), np.zeros(128, int))
    net.lr = 0.05
    return net


def mirror_angles(net: Sequential, split: Split) -> dict[str, float]:
    """Degrees between B and W^T, and between the hidden deltas and the true ones."""
    X, y, _, _ = split
    row = net.alignment(X[:1000], y[:1000])[0]
    assert row.weight_angle is not None
    return {"weight angle": row.weight_angle, "delta angle": row.delta_angle}


def nokland(*hidden: int) -> Build:
    """Tanh layers with the initial weights of the paper's code for each rule."""

    def build(rule: str, seed: int) -> Sequential:
        first, others = {
            "dfa": (ZEROS, ZEROS),
            "fa": (FAN_IN, ZEROS),
            "backprop": (FAN_IN, FAN_IN),
        }[rule]
        layers = [
            Dense(n, "tanh", weight_init=others if i else first) for i, n in enumerate(hidden)
        ]
        return Sequential(
            [*layers, Dense(10, weight_init=others)],
            input_shape=784,
            loss="sigmoid_cross_entropy",
            rule=rule,
            optimizer=RMSprop(1e-4),
            rng=seed,
        )

    return build


def gevb(rule: str, seed: int) -> Sequential:
    """784-1024-512-10; DFA's layers take the first columns of one B within +-1."""
    feedback = Feedback("uniform", math.sqrt(1024), shared=True)
    return Sequential(
        [
            Dense(1024, "relu", weight_init="lecun_normal"),
            Dense(512, "relu", weight_init="he_normal"),
            Dense(10, weight_init="he_normal"),
        ],
        input_shape=784,
        rule=DFA(feedback) if rule == "dfa" else rule,
        optimizer=Adam(3e-4),
        rng=seed,
    )


def drtp(rule: str, seed: int) -> Sequential:
    """784-500-10; gradients are summed over batches of 100."""
    feedback = Feedback("uniform", math.sqrt(6))  # kaiming_uniform: within +-sqrt(6 / n)
    return Sequential(
        [
            Dense(500, "tanh", weight_init=FAN_IN, bias_init=FAN_IN, lr_scale=100.0),
            Dense(10, weight_init=FAN_IN, bias_init=FAN_IN, lr_scale=100.0),
        ],
        input_shape=784,
        loss="sigmoid_cross_entropy",
        rule={"drtp": DRTP(feedback), "dfa": DFA(feedback)}.get(rule, rule),
        optimizer=SGD(1.5e-4 if rule == "dfa" else 5e-4, momentum=0.9, nesterov=True),
        rng=seed,
    )


def sparse(rule: str, seed: int, rate: float) -> Sequential:
    """784-400-10 from zero weights; "dfa, one entry" has one entry in each column of B."""
    one_entry = Feedback("uniform", 10**0.25, sparsity=0.9)  # within +-1 / sqrt(n / sqrt(10))

    def warming(step: int) -> float:
        """TensorFlow's Adam adds eps before it corrects the second moment: small first steps."""
        return rate * math.sqrt(1 - 0.999 ** (step + 1))

    return Sequential(
        [Dense(400, "tanh", weight_init=ZEROS), Dense(10, weight_init=ZEROS)],
        input_shape=784,
        rule=DFA(one_entry) if rule == "dfa, one entry" else rule,
        optimizer=Adam(warming, eps=1.0),
        rng=seed,
    )


def pepita(rule: str, seed: int) -> Sequential:
    """784-1024-10 without biases; the learning rate falls after epochs 60 and 90."""
    return Sequential(
        [
            Dense(1024, "relu", use_bias=False, weight_init="he_uniform"),
            Dropout(0.1),
            Dense(10, use_bias=False, weight_init="he_uniform"),
        ],
        input_shape=784,
        rule=rule,
        optimizer=SGD(falling(0.1, BATCHES_OF_64, (60, 90)), momentum=0.9),
        rng=seed,
    )


def falling(lr: float, steps: int, epochs: Sequence[int]) -> Callable[[int], float]:
    """A learning rate that falls to a tenth after each of these `epochs` of `steps` steps."""
    return lambda step: lr * 0.1 ** sum(step >= steps * epoch for epoch in epochs)


def product(rule: str, seed: int) -> Sequential:
    """784-512-512-10, ReLU; the learning rate is halved after epochs 20 and 30."""
    return Sequential(
        [Dense(512, "relu"), Dense(512, "relu"), Dense(10)],
        input_shape=784,
        rule=rule,
        optimizer=SGD(
            lambda step: 0.01 * 0.5 ** sum(step >= BATCHES_OF_64 * at for at in (20, 30)),
            momentum=0.9,
            weight_decay=9e-5 if rule == "pfa" else 1e-4,
        ),
        rng=seed,
    )


def compared(lr: Mapping[str, float], epochs: int) -> Build:
    """784-1024-512-10, tanh: the network on which all rules are compared, each with its rate."""
    steps = epochs * BATCHES_OF_128
    own: dict[str, Rule] = {"dkp, small B": DKP(Feedback(scale=0.1), lr_scale=3.0)}

    def build(rule: str, seed: int) -> Sequential:
        return Sequential(
            [
                Dense(1024, "tanh", weight_init=FAN_IN),
                Dense(512, "tanh", weight_init=FAN_IN),
                Dense(10, weight_init=FAN_IN),
            ],
            input_shape=784,
            rule=own.get(rule, rule),
            optimizer=SGD(lambda step: lr[rule] * max(0.0, 1 - step / steps), momentum=0.9),
            rng=seed,
        )

    return build

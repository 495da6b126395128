"""Published experiments as settings: what `python -m fastfa reproduce` runs, in one table.

A preset says how a network is made and trained, and which value a paper or its authors' code gives
for which rule after how many epochs. To add one, write its network and a row of `PRESETS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .callbacks import Callback
from .initializers import Init
from .layers import Dense
from .optimizers import SGD, Adam, RMSprop
from .rules import DFA, DRTP, FA, Feedback
from .sequential import Sequential

if TYPE_CHECKING:
    from .datasets import Split

__all__ = ["PRESETS", "Preset", "Row"]

Curve = dict[int, float]  # value by epoch (or by sample, in the linear experiment)
Run = Callable[[str, int, int, "Split | None", Callable[[], object]], Curve]


class Row(NamedTuple):
    """A published value.

    Attributes
    ----------
    rule : str
    at : int
        After how many epochs, or samples, it is compared; 0: before training.
    expected : float
        The published value.
    low, high : float
        What counts as reproduced; -inf and inf: shown, not judged.
    """

    rule: str
    at: int
    expected: float
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Preset:
    """One experiment.

    Attributes
    ----------
    title, settings, source, note : str
        For the page: what it is, how it is made, where the values come from, what differs.
    quantity : str
        What the values are, with unit.
    unit : {"epoch", "sample"}
        What `Row.at` counts.
    epochs : int
        Length of a run, in that unit.
    seeds : int
    minutes : float
        Rough time on one core, all rules and seeds.
    rows : tuple of Row
    run : callable
        ``run(rule, seed, epochs, data, tick)``: the curve of one run; `data` is MNIST or None,
        ``tick()`` is called after each epoch or sample.
    needs_mnist : bool
    """

    title: str
    settings: str
    source: str
    quantity: str
    epochs: int
    seeds: int
    minutes: float
    rows: tuple[Row, ...]
    run: Run
    unit: str = "epoch"
    needs_mnist: bool = True
    note: str = ""

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that it compares, in the order of the rows."""
        return tuple(dict.fromkeys(row.rule for row in self.rows))


# ---- how curves come about ----

Build = Callable[[str, int], Sequential]


def on_mnist(build: Build, batch_size: int, *, error: bool) -> Run:
    """A run on MNIST: test accuracy or test error in % after each epoch."""

    def run(
        rule: str, seed: int, epochs: int, data: Split | None, tick: Callable[[], object]
    ) -> Curve:
        assert data is not None
        X, y, X_test, y_test = data
        net = build(rule, seed)
        fitted = net.fit(
            X,
            y,
            epochs,
            batch_size,
            validation_data=(X_test, y_test),
            callbacks=[_EveryEpoch(tick)],
            verbose=False,
        )
        values = [100 * value for value in fitted.history["val_accuracy"]]
        return {i: 100 - v if error else v for i, v in enumerate(values, 1)}

    return run


class _EveryEpoch(Callback):
    def __init__(self, tick: Callable[[], object]) -> None:
        self.tick = tick

    def on_epoch_end(self, net: Sequential, epoch: int, logs: Mapping[str, float]) -> None:
        self.tick()


def linear_run(
    rule: str, seed: int, epochs: int, data: Split | None, tick: Callable[[], object]
) -> Curve:
    """FA learns a linear map online: angle of its delta to backprop's, or loss over backprop's."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(-1, 1, (30, 10))
    X, probe = rng.standard_normal((epochs, 30)), rng.standard_normal((200, 30))
    fa, exact = linear("fa", seed), linear("backprop", seed)
    curve = {}
    for i in range(epochs + 1):
        if i % 100 == 0:
            of = (probe, probe @ target)
            loss = fa.evaluate(*of)["loss"] / exact.evaluate(*of)["loss"]
            curve[i] = loss if rule == "fa, loss" else fa.alignment(*of)[0].delta_angle
        if i < epochs:
            for net in (fa, exact):
                net.train_batch(X[i : i + 1], X[i : i + 1] @ target)
            tick()
    return curve


# ---- networks ----

ZEROS = Init("zeros")
FAN_IN = Init("lecun_uniform", math.sqrt(1 / 3))  # within +-1 / sqrt(n_in)


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
        rule=FA(feedback) if rule == "fa" else rule,
        optimizer=SGD(0.2),
        rng=seed,
    )


def nokland(*hidden: int) -> Build:
    """Tanh layers, started as the paper's code starts them for each rule."""

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
    """784-1024-512-10 with B within +-1, not divided by the width."""

    def own(n: int) -> DFA | str:
        return DFA(Feedback("uniform", math.sqrt(n))) if rule == "dfa" else rule

    return Sequential(
        [Dense(1024, "relu", rule=own(1024)), Dense(512, "relu", rule=own(512)), Dense(10)],
        input_shape=784,
        optimizer=Adam(3e-4),
        rng=seed,
    )


def drtp(rule: str, seed: int) -> Sequential:
    """784-500-10; hidden deltas are summed, the loss is averaged over samples and outputs."""
    feedback = Feedback("uniform", math.sqrt(6))  # kaiming_uniform: within +-sqrt(6 / n)
    return Sequential(
        [
            Dense(500, "tanh", weight_init=FAN_IN, bias_init=FAN_IN, lr_scale=100.0),
            Dense(10, weight_init=FAN_IN, bias_init=FAN_IN, lr_scale=0.1),
        ],
        input_shape=784,
        loss="sigmoid_cross_entropy",
        rule={"drtp": DRTP(feedback), "dfa": DFA(feedback)}.get(rule, rule),
        optimizer=SGD(1.5e-4 if rule == "dfa" else 5e-4, momentum=0.9, nesterov=True),
        rng=seed,
    )


# ---- the table ----

UNCHECKED = " (values from memory, still to be checked against the paper)"
NOKLAND = (
    "Nokland, Direct feedback alignment provides learning in deep neural networks, 2016, "
    "arXiv:1609.01596, table 1, after 300 epochs" + UNCHECKED
)
NOKLAND_SETTINGS = (
    "784-{}-10, tanh, sigmoid cross-entropy, RMSprop 1e-4, batches of 64, pixels / 255; B uniform "
    "within ±1/√n. As in the paper's code DFA starts from zero weights, FA from zero weights above "
    "the first layer, backprop from uniform ±1/√n_in."
)
SHORTER = "Fewer epochs than the paper's 300, so the band only has an upper end."


def _nokland(hidden: tuple[int, ...], name: str, values: tuple[float, float, float], limit: float,
             epochs: int, minutes: float) -> Preset:  # fmt: skip
    return Preset(
        title=f"MNIST, {name} tanh",
        settings=NOKLAND_SETTINGS.format(name),
        source=NOKLAND,
        quantity="test error, %",
        epochs=epochs,
        seeds=1,
        minutes=minutes,
        rows=tuple(
            Row(rule, epochs, value, 0.0, limit)
            for rule, value in zip(("backprop", "fa", "dfa"), values, strict=True)
        ),
        run=on_mnist(nokland(*hidden), 64, error=True),
        note=SHORTER,
    )


def _akrout_rows(rule: str, values: tuple[float, ...], band: float) -> tuple[Row, ...]:
    """Before epoch 10 a single run says little: shown, not judged."""
    return tuple(
        Row(rule, at, value, value - band, value + band) if at >= 10 else Row(rule, at, value)
        for at, value in zip((1, 5, 10, 20, 50, 100), values, strict=True)
    )


PRESETS: dict[str, Preset] = {
    "linear": Preset(
        title="A linear map, 30-20-10",
        settings=(
            "Linear units without biases learn a random 30 x 10 map online, one sample a step, "
            "SGD 1e-3; W uniform within ±0.01, B within ±0.5."
        ),
        source=(
            "Lillicrap et al., Random synaptic feedback weights support error backpropagation for "
            "deep learning, 2016, figure 1; values of the reproduction "
            "iboudhaine/feedback-alignment-reprod"
        ),
        quantity="degrees, or loss over backprop's",
        epochs=1000,
        seeds=5,
        minutes=0.1,
        rows=(
            Row("fa, angle", 0, 85.0),
            Row("fa, angle", 300, 35.0, 0.0, 35.0),
            Row("fa, angle", 1000, 30.0),
            Row("fa, loss", 500, 1.0, 0.0, 1.0),
        ),
        run=linear_run,
        unit="sample",
        needs_mnist=False,
        note=(
            "The angle is that between the hidden deltas of FA and backprop. Published is: about "
            "85 at the start, below 35 by 300 samples, about 30 later; and that FA's loss is below "
            "backprop's for the first 500 samples."
        ),
    ),
    "akrout": Preset(
        title="MNIST curves, 784-500-10 sigmoid",
        settings=(
            "Sigmoid hidden units, sigmoid cross-entropy, W and B normal with variance "
            "1 / (n_in + n_out), SGD 0.2 (biases 0.2 / 128), batches of 128, pixels / 255, no "
            "decay."
        ),
        source=(
            "Akrout et al., Deep learning without weight transport, 2019, arXiv:1904.05391; logs "
            "of single runs in the authors' repository"
        ),
        quantity="test accuracy, %",
        epochs=100,
        seeds=3,
        minutes=20,
        rows=(
            *_akrout_rows("backprop", (88.0, 91.8, 94.1, 96.2, 97.7, 98.25), 0.4),
            *_akrout_rows("fa", (85.5, 89.9, 90.9, 92.3, 94.6, 96.3), 0.4),
        ),
        run=on_mnist(akrout, 128, error=False),
    ),
    "nokland-1x800": _nokland((800,), "800", (1.59, 1.68, 1.68), 2.0, 60, 12),
    "nokland-2x800": _nokland((800, 800), "800-800", (1.60, 1.64, 1.74), 2.0, 60, 25),
    "nokland-7x240": _nokland((240,) * 7, "7x240", (2.16, 2.20, 2.32), 2.6, 100, 8),
    "nokland-100x240": Preset(
        title="MNIST, 100 tanh layers of 240",
        settings=NOKLAND_SETTINGS.format("100x240"),
        source=NOKLAND + "; for backprop it says that training fails",
        quantity="test error, %",
        epochs=20,
        seeds=1,
        minutes=30,
        rows=(Row("dfa", 20, 3.92, 0.0, 10.0), Row("backprop", 20, 90.0, 80.0, 100.0)),
        run=on_mnist(nokland(*(240,) * 100), 64, error=True),
        note=(
            "20 epochs of the paper's 300: enough to see which rule learns at all. The bands are "
            "ours, set before the first run."
        ),
    ),
    "gevb-mlp": Preset(
        title="MNIST, 784-1024-512-10",
        settings="ReLU, softmax cross-entropy, Adam 3e-4, batches of 128; B uniform within ±1.",
        source=(
            "Clark, Abbott and Chung, Credit assignment through broadcasting a global error "
            "vector, 2021, arXiv:2106.04089; notebook in the authors' repository, five seeds"
        ),
        quantity="test error, %",
        epochs=40,
        seeds=3,
        minutes=16,
        rows=(Row("backprop", 40, 1.29, 0.99, 1.59), Row("dfa", 40, 2.09, 1.79, 2.39)),
        run=on_mnist(gevb, 128, error=True),
        note="The learning rate and the start of the weights are ours.",
    ),
    "drtp": Preset(
        title="MNIST, DRTP on 784-500-10",
        settings=(
            "Tanh hidden units, sigmoid cross-entropy, SGD 5e-4 (DFA 1.5e-4) with Nesterov "
            "momentum 0.9, batches of 100; B within ±√(6/n). As in the authors' code the hidden "
            "delta is summed over the batch, while the loss is averaged over samples and outputs: "
            "the hidden layer's learning rate is 1000 times the output's."
        ),
        source=(
            "Frenkel, Lefebvre and Bol, Learning without feedback, 2021, and the authors' code; "
            "DRTP's 95.1 % as quoted by Dellaferrera and Kreiman, 2022 (PEPITA)" + UNCHECKED
        ),
        quantity="test accuracy, %",
        epochs=100,
        seeds=3,
        minutes=12,
        rows=(Row("drtp", 100, 95.1, 95.0, 96.0), Row("dfa", 100, 98.0, 97.5, 98.5)),
        run=on_mnist(drtp, 100, error=False),
    ),
}

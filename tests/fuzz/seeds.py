"""Write the files that fuzzing starts from: small networks that differ in what their files hold.

python tests/fuzz/seeds.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np

import fastfa as fa
from fastfa.rules import RULES


class Silent(fa.Rule):
    """A rule in Python; the fuzzer has a function of its own for it."""

    def signal(self, ctx):
        """Nothing is taught."""
        return np.zeros((len(ctx.error), ctx.units))


OPTIMIZERS = [
    fa.SGD(0.1),
    fa.SGD(0.1, momentum=0.9, nesterov=True),
    fa.RMSprop(momentum=0.5, clip_norm=1.0),
    fa.Adam(decay_bias=False),
    fa.AdamW(lambda step: 0.1 / (1 + step)),
]
FEEDBACKS = [
    fa.Feedback("normal", sparsity=0.5),
    fa.Feedback("orthogonal"),
    fa.Feedback("he_uniform", scale=-2.0, rank=1),
    fa.Feedback("ternary", shared=True),
    fa.Feedback([[1, 2, 3], [4, 5, 6]]),
]


def networks():
    """Name and network, one for each rule, optimizer and kind of feedback."""
    small = {"input_shape": 2, "rng": 1}

    def layers(**first):
        return [fa.Dense(3, "tanh", **first), fa.Dropout(0.5), fa.Dense(3, "relu"), fa.Dense(2)]

    for name in RULES:
        yield name, fa.Sequential(layers(), rule=name, optimizer=fa.SGD(1e-3), **small)
    for i, optimizer in enumerate(OPTIMIZERS):
        yield (
            f"optimizer{i}",
            fa.Sequential(layers(), optimizer=optimizer, dtype="float64", **small),
        )
    for i, feedback in enumerate(FEEDBACKS):
        yield f"feedback{i}", fa.Sequential(layers(), rule=fa.DFA(feedback), **small)
    yield "custom", fa.Sequential(layers(rule="drtp"), rule=Silent(), **small)
    given = {"weight_init": [[1, 2, 3], [4, 5, 6]], "bias_init": [1, 2, 3], "trainable": False}
    yield "values", fa.Sequential(layers(**given), loss="mse", input_scale=0.5, **small)
    yield "least", fa.Sequential([fa.Dense(2, use_bias=False)], optimizer=fa.SGD(1e-3), **small)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "corpus")
    folder.mkdir(exist_ok=True)
    for name, net in networks():
        net.train_batch(np.ones((2, 2)), [[1, 0], [0, 1]])
        net.save(folder / f"{name}.safetensors")

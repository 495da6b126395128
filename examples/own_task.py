"""A task and a rule of one's own in the suite, on one page with the others.

Run it in this folder: ``python own_task.py``. The same on the command line, also in this folder:
``python -m fastfa suite --task own_task:Parity --rule own_task:Halved --rule dfa``.
"""

import argparse

import numpy as np

import fastfa as fa
from fastfa.experiments.suite import Split, Task, Tier, run, write


class Parity(Task):
    """Is the number of ones among the first three of eight bits odd?"""

    name, title = "parity", "Parity of 3 of 8 bits, 8-16-2 tanh"
    input_shape = 8
    epochs = 20
    rates = (0.01, 0.3)
    guess = 50.0

    def data(self):
        """600 samples for training, 200 for validation, 200 for the test."""
        X = np.random.default_rng(0).integers(0, 2, (1000, 8)).astype(np.float32)
        y = X[:, :3].sum(1).astype(np.int64) % 2
        return Split(X[:600], y[:600], X[600:800], y[600:800], X[800:], y[800:])

    def layers(self, time):
        """One hidden layer; `time` is for recurrent ones."""
        return [fa.Dense(16, "tanh"), fa.Dense(2)]


class Halved(fa.Rule):
    """Half the signal of direct feedback alignment."""

    feedback = fa.Feedback()

    def signal(self, ctx):
        """The teaching signal of one hidden layer, (m, n_l)."""
        return 0.5 * ctx.product(ctx.error, ctx.feedback)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="own_suite")
    folder = parser.parse_args().out
    tier = Tier("own", tasks=(), trials=3, seeds=3)
    runs = run(tier, folder=folder, tasks=["own_task:Parity"], rules=["dfa", "own_task:Halved"])
    print(write(tier, runs, folder))

"""Glorot's or He's weights for a relu network? Test scores side by side, seed by seed.

    python bench/studies/initialisers.py --mnist mnist.npz --fashion fashion_mnist.npz
    python bench/studies/initialisers.py --deep --only digits     # 5 to 50 hidden layers
    python bench/studies/initialisers.py --activation gelu

Adam 1e-3, batches of 32, 30 epochs, targets of regressions standardised: what a `Sequential` does
by itself, with nothing tuned for either. Both start from the same seed, on the same split. A row
has the medians over the seeds, and in how many of them Glorot's score is better, equal, worse.
"""

import argparse
from itertools import pairwise
from statistics import median

import numpy as np
import tables

import fastfa as fa

INITS = {  # the largest weight, by n_in and n_out
    "glorot": lambda n_in, n_out: (6 / (n_in + n_out)) ** 0.5,
    "he": lambda n_in, n_out: (6 / n_in) ** 0.5,
    "larger fan": lambda n_in, n_out: (6 / max(n_in, n_out)) ** 0.5,
}
WIDTHS = {1: (100,), 3: (100, 100, 100)}
DEEP, DEEP_WIDTH = (5, 10, 15, 20, 30, 50), 64
TIE = 0.002  # medians that differ by less say nothing


def score(data: tables.Split, hidden, init: str, options, rule: str, seed: int) -> float:
    """Accuracy or R2 on the test samples; -inf where training diverged."""
    labels = data.y.dtype.kind == "i"
    fans = pairwise([data.X.shape[1], *hidden])
    layers = [
        fa.Dense(n, options.activation, weight_init=fa.Init("uniform", INITS[init](n_in, n)))
        for n_in, n in fans
    ]
    net = fa.Sequential(
        [*layers, fa.Dense(int(data.y.max()) + 1 if labels else 1)],
        input_shape=data.X.shape[1],
        loss="softmax_cross_entropy" if labels else "mse",
        rule=rule,
        optimizer=fa.SGD(options.sgd) if options.sgd else "adam",
        rng=seed,
        n_threads=1,
    )
    mean, spread = (0.0, 1.0) if labels else (data.y.mean(), data.y.std())
    targets = data.y if labels else (data.y - mean) / spread
    try:
        net.fit(data.X, targets, epochs=options.epochs, verbose=False)
    except FloatingPointError:
        return -np.inf
    output = net.predict(data.X_test)
    if labels:
        return float((output.argmax(1) == data.y_test).mean())
    error = ((output.ravel() * spread + mean - data.y_test) ** 2).sum()
    return float(1 - error / ((data.y_test - data.y_test.mean()) ** 2).sum())


def compare(name: str, hidden, rule: str, options) -> tuple[list[float], str]:
    """The median score of each initialiser, and in how many seeds Glorot's was better than He's."""
    files = {"mnist": options.mnist, "fashion_mnist": options.fashion}
    rows = []
    for seed in range(options.seeds):
        data = tables.split(name, seed, "float32", files)
        rows.append([score(data, hidden, init, options, rule, seed) for init in INITS])
    signs = [sum(f(a, b) for a, b, *_ in rows) for f in (np.greater, np.equal, np.less)]
    return [median(column) for column in zip(*rows, strict=True)], "/".join(map(str, signs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=tables.NAMES, metavar="TABLE")
    parser.add_argument("--mnist", help="file of MNIST, see fastfa.datasets; without it, not there")
    parser.add_argument("--fashion", help="file of Fashion-MNIST, the same")
    parser.add_argument("--rules", nargs="+", default=["backprop", "dfa"])
    parser.add_argument("--activation", default="relu")
    parser.add_argument("--deep", action="store_true", help="5 to 50 hidden layers of 64")
    parser.add_argument("--sgd", type=float, help="SGD of this rate instead of Adam")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    have = {"mnist": options.mnist, "fashion_mnist": options.fashion}
    names = options.only or [each for each in tables.NAMES if have.get(each, True)]
    shapes = {n: (DEEP_WIDTH,) * n for n in DEEP} if options.deep else WIDTHS
    counts = [0, 0, 0]
    print(f"{options.activation}, {options.epochs} epochs, {options.seeds} seeds; ties: {TIE}")
    columns = "".join(f"{init:>11}" for init in INITS)
    print(f"{'':14} {'layers':>6} {'rule':>9}{columns}  glorot better/equal/worse than he")
    for name in names:
        for depth, hidden in shapes.items():
            for rule in options.rules:
                scores, signs = compare(name, hidden, rule, options)
                gain = scores[0] - scores[1]
                counts[1 if abs(gain) < TIE else 0 if gain > 0 else 2] += 1
                columns = "".join(f"{each:11.3f}" for each in scores)
                print(f"{name:14} {depth:6} {rule:>9}{columns}  {signs}", flush=True)
    print(f"medians: glorot better, equal, worse than he: {counts[0]}, {counts[1]}, {counts[2]}")


if __name__ == "__main__":
    main()

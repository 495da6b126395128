"""The time of a step on one thread, on two, and on the number that the autotuner chooses.

    python bench/studies/threads.py [--rounds 9] [--seconds 0.05] [--rules dfa,backprop]

The smallest network can only lose by a second thread, the largest takes almost half of the time.
One process samples the three in interleaved rounds. Figures are medians over rounds, ratios are
taken within a round.
"""

import argparse
import statistics
import time

import numpy as np

import fastfa as fa

STEPS = 64  # their samples are in memory
SIZES = (
    ((16, 16, 4), 8),
    ((16, 16, 4), 32),
    ((64, 32, 10), 8),
    ((64, 32, 10), 32),
    ((64, 64, 10), 32),
    ((64, 64, 10), 128),
    ((64, 128, 10), 32),
    ((64, 128, 128, 10), 8),
    ((64, 128, 128, 10), 32),
    ((64, 128, 128, 10), 128),
    ((784, 64, 10), 32),
    ((784, 128, 10), 32),
    ((784, 128, 10), 128),
    ((784, 256, 128, 10), 32),
    ((784, 256, 128, 10), 128),
    ((784, 512, 512, 10), 32),
    ((784, 512, 512, 10), 128),
)
SETTINGS = {"one": 1, "two": 2, "default": None}


def network(widths, rule, threads):
    """One of the three."""
    layers = [*(fa.Dense(n, "relu") for n in widths[1:-1]), fa.Dense(widths[-1])]
    return fa.Sequential(layers, input_shape=widths[0], rule=rule, optimizer=fa.SGD(1e-3),
                         rng=0, n_threads=threads)  # fmt: skip


def sample(net, data, batch, seconds):
    """Microseconds of a step, over calls of STEPS steps."""
    steps, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        net._engine.train_steps(*data, None, None, None, batch, 0, STEPS)
        steps += STEPS
    return passed / steps * 1e6


def main():
    """Print a row for each size and rule."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--rules", default="dfa,backprop")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{'network':<20}{'batch':>6} {'rule':<9}{'one us':>9}{'two us':>9}{'default':>9}"
          f"{'two/one':>9}{'spread':>14}{'def/one':>9}{'def/best':>9}")  # fmt: skip
    for widths, batch in SIZES:
        X = rng.standard_normal((STEPS * batch, widths[0]), np.float32)
        y = rng.integers(0, widths[-1], len(X))
        for rule in options.rules.split(","):
            nets = {name: network(widths, rule, n) for name, n in SETTINGS.items()}
            for net in nets.values():
                sample(net, (X, y), batch, options.seconds / 2)
            rounds = [
                {name: sample(net, (X, y), batch, options.seconds) for name, net in nets.items()}
                for _ in range(options.rounds)
            ]
            us = {name: statistics.median(one[name] for one in rounds) for name in nets}
            two = sorted(one["two"] / one["one"] for one in rounds)
            own = statistics.median(one["default"] / one["one"] for one in rounds)
            best = statistics.median(one["default"] / min(one["one"], one["two"]) for one in rounds)
            print(f"{'-'.join(map(str, widths)):<20}{batch:>6} {rule:<9}"
                  f"{us['one']:>9.2f}{us['two']:>9.2f}{us['default']:>9.2f}"
                  f"{statistics.median(two):>9.2f}{two[0]:>7.2f}{two[-1]:>7.2f}"
                  f"{own:>9.2f}{best:>9.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""Learning sample by sample: `learn_many` against `learn_one` in a loop, in rounds.

    python bench/studies/online.py

Every rule on 784-256-10, ReLU, plain SGD, float32, one thread. The ratio is taken within a round;
medians over rounds are printed. Both give the same bits.
"""

import time
from statistics import median

import numpy as np

import fastfa as fa
from fastfa._core import NAMES

SAMPLES, ROUNDS = 3000, 9
RULES = [name for name in NAMES["rule"] if name != "custom"]  # custom: a class of the user's


def network(rule: str) -> fa.Sequential:
    layers = [fa.Dense(256, "relu"), fa.Dense(10)]
    options = {"rule": rule, "optimizer": fa.SGD(0.01), "rng": 0, "n_threads": 1}
    return fa.Sequential(layers, input_shape=784, **options)


def seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((SAMPLES, 784), np.float32), rng.integers(0, 10, SAMPLES)
    labels = y.tolist()
    print(f"{'rule':10} {'learn_many':>12} {'learn_one':>12} {'ratio':>7}   us a sample")
    for rule in RULES:
        many, one = network(rule), network(rule)

        def loop(net=one) -> None:
            for row, label in zip(x, labels, strict=True):
                net.learn_one(row, label)

        def stream(net=many) -> None:
            net.learn_many(x, y)

        rounds = [(seconds(stream), seconds(loop)) for _ in range(ROUNDS)]
        us = [median(times) / SAMPLES * 1e6 for times in zip(*rounds, strict=True)]
        ratio = median(slow / fast for fast, slow in rounds)
        print(f"{rule:10} {us[0]:12.1f} {us[1]:12.1f} {ratio:7.2f}")


if __name__ == "__main__":
    main()

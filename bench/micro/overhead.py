"""What sample-by-sample calls cost from Python: 64-32-10 tanh, float32.

    python bench/micro/overhead.py               best of many samples, ns a call

overhead.c measures the same calls in C, and their arithmetic alone: subtract its column "kernels"
to know what a call costs beyond that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import fastfa as fa

TURNS, CALLS = 300, 500


def best(call: Callable[[int], object]) -> float:
    """Seconds of one call, the best turn of many."""
    results = []
    for _ in range(TURNS):
        start = time.perf_counter()
        for i in range(CALLS):
            call(i % 64)
        results.append((time.perf_counter() - start) / CALLS)
    return min(results)


def main() -> None:
    rows = np.arange(64)
    x = ((rows[:, None] * 31 + rows * 17) % 64 / 64).astype(np.float32)
    samples, labels = list(x), [int(i) % 10 for i in rows]
    nothing = best(lambda i: (samples[i], labels[i]))  # the loop around it
    print(f"{'ns a call':32}{'Python':>8}")
    for rule in ("dfa", "backprop"):
        net = fa.Sequential(
            [fa.Dense(32, activation="tanh"), fa.Dense(10)],
            input_shape=64,
            rule=rule,
            optimizer=fa.SGD(0.01),
            n_threads=1,
        )
        learn = net.learn_one
        took = best(lambda i, learn=learn: learn(samples[i], labels[i])) - nothing
        print(f"{'net.learn_one, ' + rule:32}{1e9 * took:8.0f}")
        predict = net.predict_one
        took = best(lambda i, predict=predict: predict(samples[i])) - nothing
        print(f"{'net.predict_one, ' + rule:32}{1e9 * took:8.0f}")


if __name__ == "__main__":
    main()

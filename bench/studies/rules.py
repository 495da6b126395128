"""The time of a step under each rule, as a ratio to the rule that it extends.

    python bench/studies/rules.py [--rounds 25] [--hidden 800,800] [--batch 128] [--optimizer sgd]
                          [--threads 1] [--rules kp,dkp]

Walks every rule of the library that trains hidden layers, and a few variants. In each round every
rule trains for a moment. The median over rounds of the ratio within a round is printed, because a
machine that is slow for a while slows both. Ratios are to dfa for rules that need no delta from
above, to fa for chain rules. "predicted" is that ratio for the multiply-adds of the rules'
equations, "over" the time of the step beyond it.
"""

import argparse
import statistics
import time

import numpy as np

import fastfa as fa
from fastfa._core import NAMES

N_IN, N_OUT = 784, 10
STEPS = 20  # of one sample
WITHOUT = {"custom", "frozen"}  # a class of the user's; no step of a hidden layer
RULES = {name: name for name in NAMES["rule"] if name not in WITHOUT} | {
    "one entry a unit": fa.DFA(fa.Feedback(sparsity=1 - 1 / N_OUT)),
    "fixed head": fa.Local(train_head=False),
    "fixed P": fa.LDFA(oja=0.0),
}


def multiply_adds(name, widths, batch):
    """Of one step, weights only. A per-step feedback matrix counts once for each entry."""
    inputs, *hidden = widths
    layers = list(zip([inputs, *hidden], [*hidden, N_OUT], strict=True))
    forward = sum(a * b for a, b in layers)
    square = sum(a * b for a, b in layers[1:])  # every layer but the first
    narrow = sum(n * N_OUT for n in hidden)
    rank = min(N_OUT, *hidden)
    thin = sum(rank * (a + b) for a, b in layers[1:])
    feedback = {
        "backprop": square, "fa": square, "kp": square + 2 * square / batch,
        "usf": square + square / batch, "frsf": square + square / batch,
        "brsf": square + square / batch, "drtp": 0, "dkp": 2 * narrow,
        "one entry a unit": sum(hidden), "ifa": square - hidden[-1] * N_OUT + hidden[0] * N_OUT,
        "local": 3 * narrow, "fixed head": 2 * narrow, "pepita": forward + inputs * N_OUT,
        "fdfa": 2 * narrow + square, "wm": 3 * square,
        "dtp": 5 * square, "cdni": square + 2 * sum(n * (n + N_OUT) for n in hidden),
        "pfa": sum(b * (b + 2 * a) for a, b in layers[1:]),
        "fixed P": thin + rank * sum(hidden),
        "ldfa": thin + rank * sum(hidden) + 2 * rank * sum(b for _, b in layers[1:]),
    }.get(name, narrow)  # fmt: skip
    return batch * (2 * forward + feedback)


def sample(net, X, y, batch):
    """Seconds of a training of STEPS steps."""
    begin = time.perf_counter()
    net._engine.train_steps(X, y, None, None, None, batch, 0, STEPS)
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--hidden", default="800,800")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--rules", default="")
    options = parser.parse_args()
    hidden = [int(n) for n in options.hidden.split(",")]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((STEPS * options.batch, N_IN)).astype(np.float32)
    y = rng.integers(0, N_OUT, len(X))
    optimizer = {"sgd": fa.SGD(1e-3), "momentum": fa.SGD(1e-3, momentum=0.9), "adam": fa.Adam(1e-5)}

    def made(rule):
        layers = [*(fa.Dense(n, "tanh") for n in hidden), fa.Dense(N_OUT)]
        return fa.Sequential(layers, input_shape=N_IN, rule=rule, rng=0, n_threads=options.threads,
                             optimizer=optimizer[options.optimizer])  # fmt: skip

    asked = set(filter(None, options.rules.split(",")))
    print(f"784-{options.hidden.replace(',', '-')}-10, batch {options.batch}, {options.optimizer}, "
          f"{options.threads} thread(s), float32")  # fmt: skip
    every = {name: made(rule) for name, rule in RULES.items()}
    chain = {name for name, net in every.items() if net._engine.layers[0]["source"] == "above"}
    for base, group in ("dfa", every.keys() - chain), ("fa", chain):
        chosen = group if not asked else group & (asked | {base})
        nets = {name: net for name, net in every.items() if name in chosen}
        for net in nets.values():
            sample(net, X, y, options.batch)
        seconds = [
            {name: sample(net, X, y, options.batch) for name, net in nets.items()}
            for _ in range(options.rounds)
        ]
        unit = multiply_adds(base, [N_IN, *hidden], options.batch)
        print(f"{'rule':<18}{'us a step':>10}{'to ' + base:>9}{'predicted':>11}{'over':>8}")
        for name in nets:
            ratio = statistics.median(one[name] / one[base] for one in seconds)
            best = min(one[name] for one in seconds) / STEPS * 1e6
            predicted = multiply_adds(name, [N_IN, *hidden], options.batch) / unit
            over = ratio - predicted
            print(f"{name:<18}{best:>10.0f}{ratio:>9.3f}{predicted:>11.3f}{over:>+8.1%}")


if __name__ == "__main__":
    main()

"""A step while another program wants the cores: threads of NumPy or PyTorch, and too few cores.

    python bench/studies/co_running.py [--rounds 5] [--seconds 0.4]

Two threads on two cores, alone and with a co-running thread that multiplies matrices with NumPy or
PyTorch as fast as it can, each with its own pool; then one core. For each: the time of a step by
number of threads, and the share of its rate that the co-running load keeps, in interleaved rounds.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import threading
import time

import numpy as np

NETS = {"small": ((64, 128, 128, 10), 32), "medium": ((784, 256, 128, 10), 64)}
SETTINGS = (1, 2, 4, None)  # threads; None: the engine's choice
SIZE, STEPS = 512, 64


def product(kind):
    """A product of two matrices by the co-running load."""
    if kind == "torch":
        import torch

        a = torch.rand(SIZE, SIZE)
        return lambda: a @ a
    a = np.random.default_rng(0).random((SIZE, SIZE), np.float32)
    return lambda: a @ a


class CoRunning:
    """A thread that multiplies matrices while `during` runs a call."""

    def __init__(self, kind):
        self.work, self.count, self.stop = product(kind), 0, False
        self.go = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stop:
            self.go.wait()
            self.work()
            self.count += 1

    def during(self, call):
        """What a call returns, and the products a second that the load made meanwhile."""
        self.go.set()
        count, begin = self.count, time.perf_counter()
        result = call()
        rate = (self.count - count) / (time.perf_counter() - begin)
        self.go.clear()
        time.sleep(0.15)  # its threads and ours fall asleep
        return result, rate


def measure(kind, options):
    """In a process of its own, on the cores that it was given: {net: {setting: (us, rate)}}."""
    import fastfa as fa

    rng, found = np.random.default_rng(0), {}
    fa.set_num_threads(2)
    load = None if kind == "nobody" else CoRunning(kind)
    for name, (widths, batch) in NETS.items():
        X = rng.standard_normal((STEPS * batch, widths[0]), np.float32)
        y = rng.integers(0, 10, len(X))
        nets = {
            n: fa.Sequential(
                [*(fa.Dense(u, "relu") for u in widths[1:-1]), fa.Dense(10)],
                input_shape=widths[0], rule="dfa", optimizer=fa.SGD(1e-3), rng=0, n_threads=n,
            )
            for n in SETTINGS
        }  # fmt: skip

        def sample(net, batch=batch, data=(X, y)):
            steps, begin = 0, time.perf_counter()
            while (passed := time.perf_counter() - begin) < options.seconds:
                net._engine.train_steps(*data, None, None, None, batch, 0, STEPS)
                steps += STEPS
            return passed / steps * 1e6

        rounds = {n: [] for n in nets}
        for r in range(options.rounds + 1):
            for n, net in nets.items():
                pair = load.during(lambda net=net: sample(net)) if load else (sample(net), 0)
                if r:  # the first round warms up
                    rounds[n].append(pair)
        found[name] = {
            str(n): [statistics.median(x) for x in zip(*pairs, strict=True)]
            for n, pairs in rounds.items()
        }
    free = 0.0
    if load:
        free = load.during(lambda: time.sleep(2 * options.seconds))[1]
    print(json.dumps([found, free]))


def main():
    """Print a line for each net and co-running load."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--kind", default="")
    options = parser.parse_args()
    if options.kind:
        measure(options.kind, options)
        return
    kinds = ["nobody", "numpy"] + ["torch"] * (importlib.util.find_spec("torch") is not None)
    print(f"{'cores':<7}{'load':<9}{'net':<9}"
          + "".join(f"{f'{n} us':>10}" for n in ("t1", "t2", "t4", "default"))
          + "   rate of the load, of its rate alone")  # fmt: skip
    for cores in ("0,1", "0"):
        for kind in kinds:
            command = ["taskset", "-c", cores, sys.executable, __file__, "--kind", kind]
            command += ["--rounds", str(options.rounds), "--seconds", str(options.seconds)]
            found, free = json.loads(subprocess.check_output(command, env=dict(os.environ)))
            for net, by in found.items():
                rates = [f"{rate / free:>7.2f}" for _, rate in by.values()] if free else []
                print(f"{cores:<7}{kind:<9}{net:<9}"
                      + "".join(f"{us:>10.1f}" for us, _ in by.values()) + "  "
                      + "".join(rates), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

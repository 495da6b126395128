"""What a network costs in a sweep of thousands on worker processes, beyond its own training.

    python bench/studies/sweep.py                      10,000 networks, two processes of loky
    python bench/studies/sweep.py --kind dask -n 1000  the same on Dask's processes, or spawn

The overhead is (workers x wall time - networks x time of one alone) / networks: sending settings
and data, building, results, the file. All networks are compared with single runs, to the bit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import fastfa as fa

WORKERS = 2
X, Y, *_ = fa.datasets.load("digits")
RULES = ("backprop", "fa", "dfa", "drtp", "kp")


def build(seed: int, rule: str) -> fa.Sequential:
    """A network of 64-16-10 units."""
    layers = [fa.Dense(16, "tanh"), fa.Dense(10)]
    return fa.Sequential(layers, input_shape=64, rule=rule, rng=seed, optimizer=fa.SGD(0.1))


def result(net: fa.Sequential, history: fa.History) -> dict[str, float]:
    """What the sweep keeps of a network: a sum that any changed bit changes."""
    return {"loss": history.history["loss"][-1], "sum": float(net.parameters["0.weight"].sum())}


def executor_of(kind: str) -> tuple[Any, Executor]:
    """What has to be closed in the end, and the executor."""
    if kind == "spawn":
        pool = ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn"))
        return pool, pool
    if kind == "loky":
        from joblib.externals.loky import ProcessPoolExecutor as Loky

        loky = Loky(WORKERS)
        return loky, loky
    import distributed

    cluster = distributed.LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, dashboard_address=None
    )
    client = distributed.Client(cluster)
    client.upload_file(__file__)
    return cluster, client.get_executor()


def memory() -> int:
    """Anonymous memory of this process, in kB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("loky", "spawn", "dask"), default="loky")
    parser.add_argument("-n", type=int, default=10_000, help="networks")
    args = parser.parse_args()
    settings = [{"seed": i, "rule": RULES[i % len(RULES)]} for i in range(args.n)]
    close, executor = executor_of(args.kind)
    call = {"executor": executor, "result": result, "verbose": False}
    fa.fit_replicas(build, settings[:WORKERS], X, Y, **call)  # workers import fastfa
    before, start = memory(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep.jsonl"
        replicas = fa.fit_replicas(build, settings, X, Y, path=path, **call)
    wall, grown = time.perf_counter() - start, memory() - before
    (close.close if args.kind == "dask" else close.shutdown)()
    times, wrong = [], 0
    for i in np.random.default_rng(0).permutation(args.n)[:300]:
        begin = time.perf_counter()
        net = build(**settings[i])
        net.n_threads = 1
        expected = result(net, net.fit(X, Y, epochs=1, verbose=False))
        times.append(time.perf_counter() - begin)
        wrong += replicas[i].result != expected
    alone = median(times)
    overhead = WORKERS * wall / args.n - alone
    print(f"{args.n} networks on {WORKERS} processes ({args.kind}): {wall:.1f} s")
    print(f"one alone {1e3 * alone:.2f} ms, overhead a network {1e3 * overhead:.2f} ms")
    print(f"memory of this process +{grown / 1024:.0f} MB; {wrong} of {len(times)} differ")


if __name__ == "__main__":
    main()

"""How much memory does training on data take that are larger than it? On float64 of a memory map.

    python bench/studies/memory.py                      # a sparse file of 4 GiB, in the folder
    python bench/studies/memory.py --gib 0.25 --folder /var/tmp

Each row trains a network for an epoch in a process of its own: on one batch, on the whole map with
and without shuffling, and on its batches. Anonymous memory (RssAnon of /proc/self/status) is what
the process has besides files, so the pages of the map do not count. A thread reads it every 2 ms.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import fastfa as fa

WIDTH, BATCH = 784, 200
CASES = ("one batch", "fit", "fit, not shuffled", "batches")
LIMIT = 64  # MiB above "one batch"


def anonymous() -> float:
    """MiB of anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise OSError("no RssAnon in /proc/self/status")


class Peak:
    """The most anonymous memory while the block runs."""

    def __enter__(self) -> "Peak":
        self.mib, self.over = anonymous(), threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.over.wait(0.002):
            self.mib = max(self.mib, anonymous())

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self.mib = max(self.mib, anonymous())


def train(case: str, path: str) -> tuple[float, float]:
    """Peak in MiB, and seconds."""
    x = np.memmap(path, np.float64, "r").reshape(-1, WIDTH)
    y = np.arange(len(x), dtype=np.int64) % 10
    net = fa.Sequential([fa.Dense(100, "relu"), fa.Dense(10)], input_shape=WIDTH, rng=0)
    net.fit(x[:BATCH], y[:BATCH], epochs=1, batch_size=BATCH, verbose=False)
    start = time.perf_counter()
    with Peak() as peak:
        if case == "one batch":
            net.fit(x[:BATCH], y[:BATCH], epochs=1, batch_size=BATCH, verbose=False)
        elif case == "batches":
            steps = range(0, len(x), BATCH)
            batches = ((x[i : i + BATCH], y[i : i + BATCH]) for i in steps)
            net.fit(batches=batches, epochs=1, verbose=False)
        else:
            shuffle = case == "fit"
            net.fit(x, y, epochs=1, batch_size=BATCH, shuffle=shuffle, verbose=False)
    return peak.mib, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=4.0)
    parser.add_argument("--folder", help="where the file is made; by default that for such files")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(*train(options.case, options.file))
        return
    rows = int(options.gib * 2**30) // (8 * WIDTH)
    with tempfile.NamedTemporaryFile(dir=options.folder) as file:
        os.truncate(file.name, rows * 8 * WIDTH)
        print(f"{rows:,} rows of {WIDTH} float64, {rows * 8 * WIDTH / 2**30:.2f} GiB")
        print(f"{'':18} {'peak MiB':>9} {'above':>7} {'seconds':>8}")
        least = None
        for case in CASES:
            command = [sys.executable, __file__, "--case", case, "--file", file.name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peak, seconds = map(float, done.stdout.split())
            least = peak if least is None else least
            print(f"{case:18} {peak:9.1f} {peak - least:7.1f} {seconds:8.1f}", flush=True)
            if peak - least > LIMIT:
                sys.exit(f"{case}: expected at most {LIMIT} MiB above one batch")


if __name__ == "__main__":
    main()

"""Time one training step of fastfa and its peers: interleaved rounds, same cores, ratios.

    python bench/step.py                          a small and a medium network, one and two threads
    python bench/step.py --net 784-256-10 --batch 64 --threads 1 --peers torch,jax

Each contender runs in its own process, pinned to the same cores, and they take turns: in every
round each times its steps once while the others sleep. A ratio is taken within a round, and the
median over rounds is printed: fastfa's time over the peer's, so 0.5 means twice as fast. PyTorch is
timed eager and compiled, at 1..n threads; the best of them is "torch*". JAX one step a call and
twenty steps a call; the best is "jax*". "floor" is no trainer: it is the step's list of matrix
products and nothing else, by OpenBLAS (floor.c; needs a C compiler and `pip install
scipy-openblas32`). A peer that is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

CASES = [("64-128-128-10", 32), ("784-512-512-10", 128)]
MODULES = {
    "torch": "torch",
    "jax": "jax",
    "sklearn": "sklearn",
    "floor": "scipy_openblas32",
}


class Contender:
    """A process of contenders.py."""

    def __init__(self, label: str, name: str, case: dict[str, Any]) -> None:
        script = Path(__file__).with_name("contenders.py")
        command = [sys.executable, str(script), name, json.dumps(case)]
        self.label = label
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.info = self._answer()["info"]
        self.rounds: list[float] = []

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.label} ended early with exit code {self.process.wait()}")
        return dict(json.loads(line))

    def run(self, seconds: float) -> None:
        """One round."""
        assert self.process.stdin is not None
        print(seconds, file=self.process.stdin, flush=True)
        self.rounds.append(self._answer()["median"])

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Floor:
    """floor.c: a new process each round, which prints the medians of backprop and DFA."""

    label, info = "floor", "OpenBLAS, products only"

    def __init__(self, case: dict[str, Any]) -> None:
        import scipy_openblas32 as openblas

        library, source = openblas.get_lib_dir(), Path(__file__).with_name("floor.c")
        self.folder = tempfile.TemporaryDirectory()
        self.cores, self.column = case["cores"], case["rule"] != "backprop"
        program = Path(self.folder.name, "floor")
        flags = f"-O3 -I{openblas.get_include_dir()} -L{library} -Wl,-rpath,{library}".split()
        command = ["cc", source, *flags, "-lscipy_openblas", "-lpthread", "-lm", "-o", program]
        subprocess.run(command, check=True)
        self.arguments = [str(n) for n in case["widths"]]
        self.command = [str(program), str(case["threads"]), str(case["batch"])]
        self.rounds: list[float] = []

    def run(self, seconds: float) -> None:
        """One round."""
        pinned = ["taskset", "-c", ",".join(map(str, self.cores))]
        command = [*pinned, *self.command, str(seconds), *self.arguments]
        printed = subprocess.check_output(command, text=True).split()
        self.rounds.append(float(printed[self.column]))

    def close(self) -> None:
        """Remove the program."""
        self.folder.cleanup()


def contenders(case: dict[str, Any], peers: list[str]) -> list[Any]:
    """fastfa and every installed peer at each of its settings."""
    found: list[Any] = [Contender("fastfa", "fastfa", case)]
    for peer in peers:
        if importlib.util.find_spec(MODULES[peer]) is None:
            print(f"  {peer} is not installed: left out", file=sys.stderr)
        elif peer == "torch":
            for threads in range(1, case["threads"] + 1):
                for name in ("torch", "torch-compiled"):
                    found.append(
                        Contender(f"{name} t{threads}", name, {**case, "torch_threads": threads})
                    )
        elif peer == "floor":
            found.append(Floor(case))
        elif peer == "jax":
            found += [Contender(name, name, case) for name in ("jax", "jax-scan")]
        else:
            found.append(Contender(peer, peer, case))
    return found


def ratio(ours: Any, theirs: list[Any]) -> float:
    """Median over rounds of our time over the best of theirs in the same round."""
    rounds = zip(ours.rounds, *(one.rounds for one in theirs), strict=True)
    return median(first / min(rest) for first, *rest in rounds)


def report(case: dict[str, Any], group: list[Any]) -> None:
    """A table of one case."""
    widths = "-".join(map(str, case["widths"]))
    print(f"\n{widths}, batch {case['batch']}, {case['rule']}, {case['threads']} thread(s)")
    print(f"  {'':18} {'us a step':>10} {'spread':>15} {'fastfa / it':>12}")
    for one in group:
        figures = median(one.rounds), min(one.rounds), max(one.rounds), ratio(group[0], [one])
        print("  {:18} {:10.1f} {:7.1f}-{:7.1f} {:12.2f}  {}".format(one.label, *figures, one.info))
    for star in ("torch", "jax"):
        theirs = [one for one in group if one.label.startswith(star)]
        if theirs:
            best = ratio(group[0], theirs)
            print(f"  {star + '*':18} {'':10} {'':15} {best:12.2f}  the best of each round")


def run(case: dict[str, Any], peers: list[str], rounds: int, seconds: float) -> None:
    """Interleave the rounds of one case and print its table."""
    group = contenders(case, peers)
    try:
        for _ in range(rounds):
            for one in group:
                one.run(seconds)
        report(case, group)
    finally:
        for one in group:
            one.close()


def main() -> None:
    """Parse the arguments and run the cases."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", help="widths, such as 784-512-512-10; default: the README's cases")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rule", default="backprop", help="fastfa's rule; peers run backprop")
    parser.add_argument("--threads", default="1,2", help="thread counts, such as 1,2")
    parser.add_argument("--peers", default="torch", help="of torch, jax, sklearn, floor")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one contender in one round")
    args = parser.parse_args()
    cases = [(args.net, args.batch)] if args.net else CASES
    cores = sorted(os.sched_getaffinity(0))
    for net, batch in cases:
        for threads in map(int, args.threads.split(",")):
            case = {
                "widths": [int(n) for n in net.split("-")],
                "batch": batch,
                "rule": args.rule,
                "threads": threads,
                "cores": cores[:threads],
            }
            run(case, args.peers.split(","), args.rounds, args.seconds)


if __name__ == "__main__":
    main()

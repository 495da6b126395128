"""Time one training step of fastfa and its peers: interleaved rounds, same cores, ratios.

    python bench/table/step.py            a small and a medium network, one and two threads
    python bench/table/step.py --net 784-256-10 --batch 64 --threads 1 --peers torch,jax,sklearn
    python bench/table/step.py --peers "" --against ../before/src,../before/src    before and after

The printed ratio is fastfa's time over the peer's, so 0.5 means twice as fast. PyTorch is timed
eager and compiled, at 1..n threads; the best of them is "torch*". JAX one step a call and many
steps a call; the best is "jax*". "gemm-only" does not train: it is the matrix products of the step
and nothing else, by OpenBLAS (gemm_only.c; needs a C compiler and `pip install scipy-openblas32`).
A peer that is not installed is left out. `--against` times other builds of fastfa (each built in
place, named by its folder of packages); one named twice shows the spread that means nothing.
table.py prints the README's whole table.
"""

from __future__ import annotations

import argparse
import os
from statistics import median

from rounds import Case, Rounds, Workload, interleave, peers, ratio

CASES = [("64-128-128-10", 32), ("784-512-512-10", 128)]


def report(case: Case, rounds: Rounds, info: dict[str, str]) -> None:
    """A table of one case."""
    widths = "-".join(map(str, case["widths"]))
    print(f"\n{widths}, batch {case['batch']}, {case['rule']}, {case['threads']} thread(s)")
    print(f"  {'':18} {'us a step':>10} {'spread':>17} {'fastfa / it':>12}")
    for label, figures in rounds.items():
        spread = f"{min(figures):.1f}-{max(figures):.1f}"
        share = ratio(rounds, "fastfa", label)
        print(f"  {label:18} {median(figures):10.1f} {spread:>17} {share:12.3f}  {info[label]}")
    for star in ("torch", "jax"):
        if any(label.startswith(star) for label in rounds):
            best = ratio(rounds, "fastfa", star)
            print(f"  {star + '*':18} {'':10} {'':17} {best:12.3f}  the best of each round")


def words(text: str) -> list[str]:
    """What stands between commas."""
    return [word for word in text.split(",") if word]


def main() -> None:
    """Parse the arguments and run the cases."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", help="widths, such as 784-512-512-10; default: the README's cases")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rule", default="backprop", help="fastfa's rule; peers run backprop")
    parser.add_argument("--threads", default="1,2", help="thread counts, such as 1,2")
    parser.add_argument("--peers", default="torch", help="of torch, jax, sklearn, gemm-only")
    parser.add_argument("--against", default="", help="folders of other builds of fastfa")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one workload in one round")
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
            group = [Workload("fastfa", "fastfa", case), *peers(case, words(args.peers))]
            for n, source in enumerate(words(args.against), 1):
                group.append(Workload(f"{n}: {source}", "fastfa", case, os.path.abspath(source)))
            rounds, info, _ = interleave(group, args.rounds, args.seconds)
            bounds = {"gemm-only backprop", "gemm-only dfa"}
            others = bounds - {"gemm-only dfa" if args.rule != "backprop" else "gemm-only backprop"}
            report(case, {k: v for k, v in rounds.items() if k not in others}, info)


if __name__ == "__main__":
    main()

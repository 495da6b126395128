"""The speed table: measures it, prints it, draws it, writes it into README.md and TABLE.md.

    python bench/table/table.py                      everything, then the table; about 15 minutes
    python bench/table/table.py --only "784-512*"    some cases: the others stay as they are
    python bench/table/table.py --list               names of the cases, when they were measured
    python bench/table/table.py --print              the table from what was measured before
    python bench/table/table.py --markdown           into README.md (the steps) and bench/TABLE.md
    python bench/table/table.py --plot speed.png     and as a picture

Each case is a group of workloads in interleaved rounds (rounds.py); table.json keeps the times.
Every ratio is the median over rounds, taken within a round. "target" and "stretch" are the targets
that the project has set itself. Needs a C compiler and `pip install ".[bench,peers]"`, or leaves
out what is missing; FASTFA_MNIST for real digits. Other work on the machine spoils it.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rounds import (
    HERE,
    ROOT,
    Case,
    Program,
    Workload,
    built,
    gemm_only,
    installed,
    interleave,
    machine,
    peak,
    peers,
    torch,
)
from targets import (
    DEEP,
    MEDIUM,
    NETS,
    ONLINE,
    ROWS,
    SMALL,
    WIDE,
    Cell,
    Figure,
    Row,
    load,
    measured,
    title,
)
from workloads import flops

STORE = HERE / "table.json"
Group = list[Workload | Program]


def case(net: str, threads: int, rule: str = "backprop", **more: Any) -> Case:
    """A network on the first cores that this process may use."""
    widths, batch = NETS[net]
    cores = sorted(os.sched_getaffinity(0))[:threads]
    common = {"widths": widths, "batch": batch, "rule": rule, "threads": threads, "cores": cores}
    return {**common, "peer_threads": threads, **more}


# ------------------------------------------------------------------------------------- the groups


def step(net: str, threads: int, names: list[str]) -> Group:
    """A training step by both rules, the GEMM-only bound, the peak and the peers."""
    one = case(net, threads)
    own: Group = [Workload(f"own {r}", "fastfa", {**one, "rule": r}) for r in ("backprop", "dfa")]
    bounds: Group = [gemm_only(one)] if installed("gemm-only") else []
    return [*own, peak(one), *bounds, *peers(one, names)]


def bfloat16(net: str, threads: int) -> Group:
    """A step in float32 and with products in bfloat16, by both rules; PyTorch under autocast."""
    one, rules = case(net, threads), ("backprop", "dfa")
    half = {**one, "compute": "bfloat16"}
    own: Group = [Workload(f"float32 {r}", "fastfa", {**one, "rule": r}) for r in rules]
    own += [Workload(f"bfloat16 {r}", "fastfa", {**half, "rule": r}) for r in rules]
    return [*own, *peers(half, ["torch"])]


def product(threads: int) -> Group:
    """The GEMM-only bound of one layer: two products of 128 x 784 x 512."""
    one = {**case(MEDIUM, threads), "widths": [784, 512]}
    return [gemm_only(one), peak(one)] if installed("gemm-only") else []


def batch_1() -> Group:
    """One sample after another."""
    rules = {rule: case(ONLINE, 1, rule) for rule in ("backprop", "dfa")}
    jobs = {"fit": "fastfa-fit", "learn_one": "fastfa-learn-one"}
    own: Group = [
        Workload(f"{label} {rule}", job, one)
        for rule, one in rules.items()
        for label, job in jobs.items()
    ]
    return [*own, *peers(rules["backprop"], ["torch", "jax"])]


def threads_1_2() -> Group:
    """The same step on one thread and on two."""
    return [Workload(f"threads {n}", "fastfa", case(MEDIUM, n)) for n in (1, 2)]


def optimizers() -> Group:
    """A step of plain SGD and of Adam."""
    one = case(DEEP, 2)
    return [Workload(name, "fastfa", {**one, "optimizer": name}) for name in ("sgd", "adam")]


def epoch(threads: int) -> Group:
    """An epoch of MNIST in bytes, and the bare step."""
    one = case(MEDIUM, threads)
    return [Workload("epoch", "fastfa-epoch", one), Workload("step", "fastfa", one)]


def replicas() -> Group:
    """64 networks over the digits."""
    one = case(SMALL, 2)
    own: Group = [Workload(name, f"fastfa-{name}", one) for name in ("replicas", "alone")]
    return [*own, *(torch(one, "torch-runs") if installed("torch") else [])]


def elementwise() -> Group:
    """Exp, tanh and sigmoid of the AVX-512 and of the AVX2 kernels."""
    rows = map(str.split, (ROOT / "csrc" / "cflags.txt").read_text().splitlines())
    flags = {name: rest for name, *rest in rows}
    has = Path("/proc/cpuinfo").read_text().split()
    found: Group = []
    for name, feature in (("v4", "avx512bw"), ("v3", "avx2")):
        if feature in has:
            own = [*flags["common"], *flags[f"isa_{name}"], "-DNDEBUG"]
            own += [f"-I{ROOT / 'csrc' / folder}" for folder in ("", "kernels")]
            own += [f"-DFA_ISA={name[1]}", f"-DFA_FLAVOUR={name}"]
            labels = [f"{f} {name}" for f in ("exp", "tanh", "sigmoid")]
            cores = sorted(os.sched_getaffinity(0))[:1]
            found.append(Program(labels, "ns an element", cores, [built("elementwise.c", *own)]))
    return found


def memory(net: str, rule: str, optimizer: str) -> Group:
    """Bytes held while training, and bytes counted."""
    one = case(net, 2, rule, optimizer=optimizer)
    command = [sys.executable, str(HERE / "workloads.py"), "memory", json.dumps(one)]
    return [Program(["held", "counted"], "bytes", one["cores"], command)]


CASES: dict[str, Callable[[], Group]] = (
    {
        f"{net} t{threads}": lambda net=net, threads=threads, names=names: step(net, threads, names)
        for net, names in {
            SMALL: ["torch", "jax", "sklearn"],
            MEDIUM: ["torch", "jax", "sklearn"],
            WIDE: [],
            DEEP: ["torch", "jax", "sklearn"],
        }.items()
        for threads in (1, 2)
    }
    | {
        f"bf16 {net} t{threads}": lambda net=net, threads=threads: bfloat16(net, threads)
        for net in (MEDIUM, WIDE, DEEP)
        for threads in (1, 2)
    }
    | {
        "product t1": lambda: product(1),
        "product t2": lambda: product(2),
        "batch 1": batch_1,
        "threads": threads_1_2,
        "optimizers": optimizers,
        "epoch t1": lambda: epoch(1),
        "epoch t2": lambda: epoch(2),
        "replicas": replicas,
        "elementwise": elementwise,
        "memory sgd": lambda: memory(MEDIUM, "dfa", "sgd"),
        "memory adam": lambda: memory(DEEP, "backprop", "adam"),
    }
)


def measure(name: str, rounds: int, seconds: float) -> dict[str, Any]:
    """One case."""
    start = time.monotonic()
    print(f"{name}: load {os.getloadavg()[0]:.1f} ...", file=sys.stderr)
    result = interleave(CASES[name](), rounds, seconds)
    kept = {k: [float(f"{x:.5g}") for x in values] for k, values in result.rounds.items()}
    print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    if result.disturbed:
        when += f", {result.disturbed} of {sum(map(len, kept.values()))} figures disturbed"
    return {"when": when, "machine": machine(), "rounds": kept, "info": result.info}


# -------------------------------------------------------------------------------------- the tables


def number(value: float, unit: str) -> str:
    """Such as 0.973, 91.6 %, 1.52 (times faster) or 0.14 ns."""
    digits = {"": 3, "%": 1, "x": 2, "ns": 2}[unit]
    return f"{value:.{digits}f}" + (f" {unit}" if unit in ("%", "ns") else "")


def target_text(row: Row, value: float | None) -> str:
    """A target with its direction."""
    sign = "<=" if row.at_most else ">="
    return "" if value is None else f"{sign} {value:.3g}"


def conditions(store: dict[str, Any]) -> str:
    """Where and with which versions all of it was measured."""
    cases = store["cases"].values()
    texts = [text for one in cases for text in one["info"].values()]
    versions = {text.split(",")[0] for text in texts if re.match(r"[A-Za-z-]+ \d", text)}
    kernels = {found[1] for text in texts if (found := re.search("kernels of (v.)", text))}
    cores = {text.split(",")[1] for text in texts if text.endswith("products only")}
    machines = {one["machine"] for one in cases}
    days = sorted({one["when"].split()[0] for one in cases}) or ["never"]
    parts = [
        f"Measured {' to '.join(sorted({days[0], days[-1]}))} on {'; '.join(sorted(machines))}",
        ", ".join(sorted(versions)),
        f"fastfa's kernels {', '.join(sorted(kernels))}, OpenBLAS's{', '.join(sorted(cores))}",
    ]
    return f"{'. '.join(parts)}."


VERDICTS = {None: "", True: "yes", False: "NO"}


def text(store: dict[str, Any]) -> str:
    """One line a figure, then one line a workload."""
    line = "{:52} {:26} {:>7} {:>8} {:>16}  {:>7} {:>7}  {:7} {:7}"
    names = ["case", "against", "threads", "median", "spread", "target", "stretch", "reached"]
    lines = [conditions(store), "", line.format(*names, "stretch")]
    for row in ROWS:
        for threads, cell in row.cells.items():
            figure = measured(row, cell, store)
            lines.append(line.format(row.what, row.against, threads, *columns(row, cell, figure)))
    line = "{:20} {:22} {:>11} {:>26} {:>6}  {}  ({})"
    lines += ["", line.format("case", "workload", "median", "spread", "% peak", "what", "when")]
    return "\n".join([*lines, *(line.format(*one) for one in times_of_all(store))])


def columns(row: Row, cell: Cell, figure: Figure | None) -> list[str]:
    """Median, spread, targets and verdicts."""
    targets = [target_text(row, cell.target), target_text(row, cell.stretch)]
    if figure is None:
        return ["-", "not measured", *targets, "", ""]
    spread = f"{number(figure.low, row.unit)} to {number(figure.high, row.unit)}"
    verdicts = [VERDICTS[figure.reached], VERDICTS[figure.stretched]]
    return [number(figure.value, row.unit), spread, *targets, *verdicts]


def steps(store: dict[str, Any]) -> str:
    """The README's table: the median time of a step by backprop, every peer at its best setting."""
    lines = [
        *textwrap.wrap(conditions(store), 116),
        "",
        "| network, batch | threads | fastfa | PyTorch | JAX | scikit-learn |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for net in (SMALL, MEDIUM, DEEP):
        for threads in (1, 2):
            rounds = store["cases"].get(f"{net} t{threads}", {}).get("rounds", {})
            best = [best_median(rounds, label) for label in ("own backprop", *PEERS)]
            cells = [three_digits(value) if value else "-" for value in best]
            lines.append(f"| {title(net)} | {threads} | {' | '.join(cells)} |")
    return "\n".join(lines)


PEERS = ("torch", "jax", "sklearn")  # how the labels of their workloads begin


def best_median(rounds: dict[str, list[float]], label: str) -> float | None:
    """The least median of the workloads whose labels begin so; None where none was measured."""
    found = [median(values) for name, values in rounds.items() if name.startswith(label)]
    return min(found, default=None)


def three_digits(value: float) -> str:
    """Such as 20.4, 862 or 4,440."""
    return f"{value:.3g}" if value < 999.5 else f"{float(f'{value:.3g}'):,.0f}"


def long(store: dict[str, Any]) -> str:
    """TABLE.md: every figure with its spread, then every workload with its times."""
    lines = [
        "# The speed table in full",
        "",
        "Written by `python bench/table/table.py --markdown` from `table.json`; do not edit.",
        *textwrap.wrap(conditions(store), 116),
        "",
        "| case | against | threads | median | spread | target | stretch | reached | stretched |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        for threads, cell in row.cells.items():
            rest = columns(row, cell, measured(row, cell, store))
            lines.append(f"| {' | '.join([row.what, row.against, str(threads), *rest])} |")
    lines += [
        "",
        "## Times",
        "",
        "Times in microseconds, unless the last column but one says otherwise.",
        "",
    ]
    lines += ["| case | workload | median | spread | % of peak | what | when |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(one)} |" for one in times_of_all(store)]
    return "\n".join(lines)


def times_of_all(store: dict[str, Any]) -> list[list[str]]:
    """Case, workload, median, spread, share of peak, what it is, and when it was measured."""
    lines = []
    for name, one in store["cases"].items():
        for label, values in one["rounds"].items():
            middle, low, high = map(digits, (median(values), min(values), max(values)))
            figures = [middle, f"{low} to {high}", of_peak(name, label, one["rounds"])]
            lines.append([name, label, *figures, one["info"][label], one["when"]])
    return lines


def digits(value: float) -> str:
    """Four digits, or all before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def of_peak(name: str, label: str, rounds: dict[str, list[float]]) -> str:
    """What share of FMA peak a workload of a step reaches."""
    net = name.rsplit(" t", 1)[0]
    if net not in NETS or label == "peak":
        return ""
    rate = flops(*NETS[net], "dfa" if label.endswith("dfa") else "backprop")
    return f"{rate / median(rounds[label]) / 10 / max(rounds['peak']):.0f}"


def insert(path: Path, rows: str) -> None:
    """Replace what stands between the markers of a file."""
    begin, end = "<!-- bench/table/table.py begin -->", "<!-- bench/table/table.py end -->"
    before = path.read_text()
    after = re.sub(f"(?s){begin}.*{end}", lambda _: f"{begin}\n{rows}\n{end}", before)
    if begin not in before:
        sys.exit(f"{path}: no line {begin}")
    path.write_text(after)


def main() -> None:
    """Parse the arguments; measure, unless only shown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=["*"], metavar="CASE", help="names, with *")
    parser.add_argument("--rounds", type=int, default=7, help="at least 5")
    parser.add_argument("--seconds", type=float, default=0.3, help="of a sample")
    parser.add_argument("--json", type=Path, default=STORE, help="what was measured is kept here")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--print", action="store_true", help="measure nothing")
    parser.add_argument("--markdown", action="store_true", help="measure nothing; write the docs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="measure nothing; draw")
    args = parser.parse_args()
    store = load(args.json)
    if args.list:
        for name in CASES:
            print(f"{name:22} {store['cases'].get(name, {}).get('when', 'not measured')}")
        return
    if not (args.print or args.markdown or args.plot):
        if args.rounds < 5:
            parser.error("a median needs --rounds of at least 5")
        for name in CASES:
            if any(fnmatch.fnmatch(name, pattern) for pattern in args.only):
                store["cases"][name] = measure(name, args.rounds, args.seconds)
                store["cases"] = {
                    key: store["cases"][key] for key in CASES if key in store["cases"]
                }
                args.json.write_text(json.dumps(store, indent=1) + "\n")
    if args.markdown:
        insert(ROOT / "README.md", steps(store))
        (ROOT / "bench" / "TABLE.md").write_text(long(store) + "\n")
    elif args.plot:
        from picture import draw

        draw(store, args.plot)
    else:
        print(text(store))


if __name__ == "__main__":
    main()

"""Workloads in processes of their own, pinned to the same cores, in interleaved rounds.

In every round each workload runs for a moment while the others sleep. A ratio is taken within a
round, so what slows the whole machine for a while cancels; the median over rounds counts. A
sample during which another process wanted a core is repeated.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODULES = {"torch": "torch", "jax": "jax", "sklearn": "sklearn", "gemm-only": "scipy_openblas32"}
PAUSE = 0.12  # seconds after a sample: idle threads stop spinning, those of NumPy's BLAS after 0.08
PATIENCE = 20  # seconds that a case waits in all for other processes to be done

SECONDS = "seconds"  # in the command of a Program: how long a sample is

Case = dict[str, Any]
Rounds = dict[str, list[float]]


def pinned(cores: list[int]) -> list[str]:
    """What to put before a command: it finds only these cores, from its beginning."""
    return ["taskset", "-c", ",".join(map(str, cores))]


class Workload:
    """A process of workloads.py; `source` is the folder of another build of fastfa, if any."""

    def __init__(self, label: str, job: str, case: Case, source: str | None = None) -> None:
        command = [sys.executable, str(HERE / "workloads.py"), job, json.dumps(case)]
        command = [*pinned(case["cores"]), *command]
        self.labels = [label]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        env = {**os.environ, "PYTHONPATH": source} if source else None
        self.process = subprocess.Popen(command, text=True, env=env, **pipes)

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            self.errors.seek(0)
            sys.exit(f"{self.labels[0]} ended early:\n{self.errors.read()}")
        return dict(json.loads(line))

    @functools.cached_property
    def info(self) -> str:
        """What runs; waits until it is ready."""
        return str(self._answer()["info"])

    def sample(self, seconds: float) -> list[float]:
        """One sample."""
        assert self.process.stdin is not None
        print(seconds, file=self.process.stdin, flush=True)
        return [self._answer()["median"]]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


class Program:
    """A C program that prints figures, started for each sample on the cores of the case."""

    def __init__(self, labels: list[str], info: str, cores: list[int], command: list[str]) -> None:
        self.labels, self.info, self.command = labels, info, [*pinned(cores), *command]

    def sample(self, seconds: float) -> list[float]:
        """One sample."""
        command = [str(seconds) if part == SECONDS else part for part in self.command]
        return [float(word) for word in subprocess.check_output(command, text=True).split()]

    def close(self) -> None:
        """Nothing to end."""


@functools.cache
def built(source: str, *flags: str) -> str:
    """Compile a C program of this folder for the rest of this run."""
    folder = ROOT / "build" / "bench" / str(os.getpid())
    folder.mkdir(parents=True, exist_ok=True)
    program = str(folder / "-".join([Path(source).stem, *(f for f in flags if "FLAVOUR" in f)]))
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run(
        [*compiler, str(HERE / source), "-O3", *flags, "-lpthread", "-lm", "-o", program],
        check=True,
    )
    return program


def gemm_only(case: Case) -> Program:
    """gemm_only.c: the products of a backprop and of a DFA step by OpenBLAS, and nothing else."""
    import scipy_openblas32 as openblas

    library = openblas.get_lib_dir()
    flags = f"-I{openblas.get_include_dir()} -L{library} -Wl,-rpath,{library} -lscipy_openblas"
    program = built("gemm_only.c", "-Wno-unused-result", *flags.split())
    arguments = [str(case["threads"]), str(case["batch"]), SECONDS, *map(str, case["widths"])]
    labels = ["gemm-only backprop", "gemm-only dfa"]
    return Program(
        labels, f"{openblas_core()}, products only", case["cores"], [program, *arguments]
    )


def openblas_core() -> str:
    """Version and kernels of the OpenBLAS of the GEMM-only bound."""
    import ctypes

    import scipy_openblas32 as openblas

    library = ctypes.CDLL(str(Path(openblas.get_lib_dir(), "libscipy_openblas.so")))
    texts = []
    for name in ("scipy_openblas_get_config", "scipy_openblas_get_corename"):
        function = getattr(library, name)
        function.restype = ctypes.c_char_p
        texts.append(function().decode())
    return f"{' '.join(texts[0].split()[:2])}, kernels of {texts[1]}"


def peak(case: Case) -> Program:
    """peak.c: GF/s of multiply-adds in registers."""
    command = [built("peak.c"), str(case["threads"]), SECONDS]
    return Program(["peak"], "GF/s", case["cores"], command)


def installed(peer: str) -> bool:
    """Whether a peer can run; says so where not."""
    found = importlib.util.find_spec(MODULES[peer]) is not None
    if not found:
        print(f"  {peer} is not installed: left out", file=sys.stderr)
    return found


def peers(case: Case, names: list[str]) -> list[Workload | Program]:
    """Every installed peer at each of its settings."""
    found: list[Workload | Program] = []
    for peer in filter(installed, names):
        if peer == "torch":
            found += torch(case, "torch")
        elif peer == "gemm-only":
            found.append(gemm_only(case))
        elif peer == "jax":
            found += [Workload(job, job, case) for job in ("jax-step", "jax-scan")]
        else:
            found.append(Workload(peer, peer, case))
    return found


def torch(case: Case, job: str) -> list[Workload | Program]:
    """A job of PyTorch, eager and compiled, at 1..n threads."""
    return [
        Workload(f"{name.replace('-runs', '')} t{n}", name, {**case, "peer_threads": n})
        for n in range(1, case["threads"] + 1)
        for name in (job, f"{job}-compiled")
    ]


def others_run() -> bool:
    """Whether processes besides this one want a core now, all workloads being asleep."""
    seen = 0
    for _ in range(4):
        time.sleep(0.007)
        running = Path("/proc/loadavg").read_text().split()[3].split("/")[0]
        seen += int(running) > 1
    return seen > 2


class Patience:
    """Repeats a sample that other processes disturbed, while there is time for it."""

    def __init__(self) -> None:
        self.left = float(PATIENCE)
        self.disturbed = 0

    def wait(self) -> None:
        """Until the machine is quiet."""
        while others_run() and self.left > 0:
            time.sleep(0.2)
            self.left -= 0.2

    def sample(self, one: Workload | Program, seconds: float) -> list[float]:
        """A sample with quiet before and after it, or the last one tried."""
        while True:
            self.wait()
            start = time.monotonic()
            figures = one.sample(seconds)
            took = time.monotonic() - start
            time.sleep(PAUSE)
            if not others_run():
                return figures
            if self.left < took:
                self.disturbed += 1
                return figures
            self.left -= took


class Result(NamedTuple):
    """What a group did: samples by label, what each label is, how many samples were disturbed."""

    rounds: Rounds
    info: dict[str, str]
    disturbed: int


def interleave(group: list[Workload | Program], rounds: int, seconds: float) -> Result:
    """Let a group run in interleaved rounds, and end it."""
    patience = Patience()
    try:
        info = {label: one.info for one in group for label in one.labels}
        figures: Rounds = {label: [] for label in info}
        for _ in range(rounds):
            for one in group:
                found = patience.sample(one, seconds)
                for label, figure in zip(one.labels, found, strict=True):
                    figures[label].append(figure)
        if patience.disturbed:
            print(f"  {patience.disturbed} samples were disturbed by others", file=sys.stderr)
        return Result(figures, info, patience.disturbed)
    finally:
        for one in group:
            one.close()


def per_round(rounds: Rounds, ours: str, peers: str) -> list[float]:
    """In every round our time over the best time of the labels that begin with `peers`."""
    rest = [values for label, values in rounds.items() if label.startswith(peers)]
    best = map(min, zip(*rest, strict=True))
    return [mine / other for mine, other in zip(rounds[ours], best, strict=True)]


def ratio(rounds: Rounds, ours: str, peers: str) -> float:
    """The median of per_round."""
    return median(per_round(rounds, ours, peers))


def machine() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} cores"

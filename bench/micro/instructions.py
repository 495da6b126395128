"""Executed instructions of training steps, counted by callgrind, against the table in the clone.

    python bench/micro/instructions.py             fails where a case costs over 2 % more
    python bench/micro/instructions.py --update    replaces the table, instructions.json

Unlike times, counts repeat on a busy machine. AVX2 kernels (valgrind may not know AVX-512), one
thread, own products. Needs a C compiler and valgrind. Counts belong to a compiler: where the table
was made with another, or valgrind is missing, the comparison is skipped, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_suffix(".json")
TOLERANCE = 0.02
CC = os.environ.get("CC", "cc").split()


def compiler() -> str:
    """What the counts depend on besides the sources: "(Debian 12.2.0-14+deb12u1) 12.2.0"."""
    line = subprocess.check_output([*CC, "--version"], text=True).splitlines()[0]
    return line.removeprefix("gcc ").removeprefix("cc ")


def obstacle(made_with: str | None) -> str:
    """Why nothing can be compared here, or an empty text."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    if os.uname().machine != "x86_64":
        return "the counts are of x86-64"
    if made_with not in (None, compiler()):
        return f"the table was made with {made_with}, here is {compiler()}"
    return ""


def count(folder: Path) -> dict[str, int]:
    """Instructions of every case, each a call of measured() in instructions.c."""
    runner = "valgrind --tool=callgrind --collect-atstart=no --toggle-collect=measured "
    runner += f"--dump-after=measured --callgrind-out-file={folder}/out"
    environment = {**os.environ, "RUNNER": runner, "FASTFA_CPU": "v3", "FASTFA_GEMM": "own"}
    command = [ROOT / "tests" / "c" / "run.sh", "--plain", "bench/micro/instructions.c"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")
    counts = {}
    for i, case in enumerate(done.stdout.splitlines()[1:], 1):  # the first names the program
        total = re.search(r"^(?:totals|summary): (\d+)", (folder / f"out.{i}").read_text(), re.M)
        assert total is not None
        counts[case] = int(total[1])
    return counts


def compare(expected: dict[str, int], found: dict[str, int]) -> int:
    """Print the table; the number of cases that cost more than they may."""
    worse = 0
    for case in sorted(expected.keys() | found.keys()):
        before, now = expected.get(case), found.get(case)
        if before is None or now is None:
            change, verdict = "", "NOT IN THE TABLE" if before is None else "GONE"
            worse += 1
        else:
            ratio = now / before - 1
            change, verdict = f"{100 * ratio:+.2f} %", "MORE" if ratio > TOLERANCE else ""
            worse += ratio > TOLERANCE
            if ratio < -TOLERANCE:
                verdict = "less: worth an update of the table"
        print(f"{case:56} {before or 0:12,} {now or 0:12,} {change:>9}  {verdict}")
    return worse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--update", action="store_true", help="write the table")
    update = parser.parse_args().update
    table = {"compiler": None, "counts": {}}
    if TABLE.exists():
        table = json.loads(TABLE.read_text())
    why = obstacle(None if update else table["compiler"])
    if why:
        print(f"SKIPPED, nothing was compared: {why}")
        sys.exit(update)
    with tempfile.TemporaryDirectory() as folder:
        found = count(Path(folder))
    worse = compare(table["counts"], found)
    if update:
        TABLE.write_text(json.dumps({"compiler": compiler(), "counts": found}, indent=1) + "\n")
        print(f"written: {TABLE.relative_to(ROOT)}")
    elif worse:
        sys.exit(
            f"{worse} cases differ from {TABLE.name}. If the change is meant, "
            "python bench/micro/instructions.py --update, and say in the commit what it buys."
        )


if __name__ == "__main__":
    main()

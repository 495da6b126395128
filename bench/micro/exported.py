"""Size, stack and instructions of networks that `to_c` writes, on an emulated Cortex-M4.

    python bench/micro/exported.py        prints the table of docs/EXPORT.md

Instructions are those that QEMU executes, not cycles. Needs arm-none-eabi-gcc with newlib and
qemu-system-arm.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import fastfa as fa

ROOT = Path(__file__).parents[2]
MACHINE = ROOT / "tests/export"
CC = "arm-none-eabi-gcc -std=c99 -O2 -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16"
EMULATOR = "qemu-system-arm -M mps2-an386 -nographic -icount shift=0"
NETWORKS = ((64, 32, 10), (64, 64, 32, 10), (128, 128, 64, 4))
FORMS = {  # what to_c is asked for
    "predict": {},
    "predict, int8": {"weights": "int8"},
    "predict and learn, dfa": {"learn": True},
}


def run(command: str, *words: object) -> str:
    """What a command prints."""
    return subprocess.check_output([*command.split(), *map(str, words)], text=True)


def row(widths: Sequence[int], form: str, folder: Path) -> str:
    """One network in one form, as a row of Markdown."""
    options = FORMS[form]
    hidden = [fa.Dense(n, "relu") for n in widths[1:-1]]
    net = fa.Sequential([*hidden, fa.Dense(widths[-1])], input_shape=widths[0], rule="dfa", rng=0,
                        optimizer=fa.SGD(0.01))  # fmt: skip
    net.to_c(folder / "net.c", **options)
    run(f"{CC} -fstack-usage -c", folder / "net.c", "-o", folder / "net.o")
    text, data, bss = run("arm-none-eabi-size", folder / "net.o").splitlines()[1].split()[:3]
    stack = max(int(n) for n in re.findall(r"\t(\d+)\t", (folder / "net.su").read_text()))
    names = [f'-DNET="{folder}/net.c"', f"-DINPUTS={widths[0]}", f"-DOUTPUTS={widths[-1]}"]
    names += ["-DLEARN"] * ("learn" in options)
    machine = ["--specs=rdimon.specs", "-T", MACHINE / "cortex_m.ld", MACHINE / "cortex_m.c"]
    program = folder / "program"
    run(CC, *names, *machine, ROOT / "bench/micro/exported.c", "-o", program, "-lm")
    semihosting = "-semihosting-config enable=on,target=native"
    counts = dict(line.split() for line in run(f"{EMULATOR} {semihosting} -kernel", program)
                  .splitlines())  # fmt: skip
    flash, ram = int(text) + int(data), int(data) + int(bss)
    numbers = [flash, ram, stack, counts["predict"], counts.get("learn", "")]
    shown = " | ".join(f"{int(n):,}" if n != "" else "" for n in numbers)
    return f"| {'-'.join(map(str, widths))} | {form} | {shown} |"


def main() -> None:
    """Print the table."""
    missing = [cc.split()[0] for cc in (CC, EMULATOR) if not shutil.which(cc.split()[0])]
    if missing:
        raise SystemExit(f"needs {' and '.join(missing)}")
    memory = "flash, bytes | RAM, bytes | largest stack frame"
    print(f"| network | form | {memory} | predict | learn_one |")
    print("|---|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as name:
        for widths in NETWORKS:
            for form in FORMS:
                print(row(widths, form, Path(name)))
    print(f"\n{run(CC, '--version').splitlines()[0]}, -O2", file=sys.stderr)


if __name__ == "__main__":
    main()

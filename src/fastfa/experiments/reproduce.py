"""Runs published experiments and writes a page of comparisons: ``python -m fastfa reproduce``.

Finished runs are stored in a file next to the page, one line each (`runs.Store`), and the page is
made from them. So a command that was stopped continues, and separate runs add up.
"""

from __future__ import annotations

import difflib
import math
import re
import signal
import textwrap
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time

from .. import datasets
from .._core import build_info, version
from .._internal.progress import Progress
from .presets import PRESETS, Preset, Row
from .runs import Run, Store

__all__ = ["Part", "find", "names", "reproduce", "section", "update_page"]

PAGE_TITLE = """\
# Published numbers, reproduced

Written by `python -m fastfa reproduce NAME` from the runs in the `.jsonl` file next to this page.
The last column says which values are out of their bands, and by how much; rows without a band have
no verdict. A value with a † is second-hand: known from notes about the paper, not from the paper.
"""
SECTION = re.compile(r"<!-- (\S+): (.*?) -->\n(.*?)<!-- end -->\n", re.S)


@dataclass(frozen=True)
class Part:
    """Which runs of a preset to make.

    Parameters
    ----------
    rules : sequence of str, optional
        Default: all rules of the preset.
    seeds : sequence of int, optional
        Default: the preset's number of seeds, from 0.
    epochs : int, optional
        The most epochs (in the preset's unit); later rows of the page stay empty.
    again : bool
        Repeat runs that exist.
    """

    rules: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    epochs: int | None = None
    again: bool = False


def names() -> str:
    """All presets as a table, for the command line."""
    width = max(map(len, PRESETS))
    lines = [
        f"{name:<{width}}  {_minutes(p.minutes):>7}  {p.title}: {'; '.join(p.rules)}"
        for name, p in PRESETS.items()
    ]
    head = f"{'name':<{width}}  {'time':>7}  what (MNIST is found through --data or FASTFA_MNIST)"
    return "\n".join([head, *lines])


def find(name: str) -> Preset:
    """The preset of that name; ValueError with the nearest one if there is none."""
    if name not in PRESETS:
        (near,) = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.0)
        raise ValueError(
            f"reproduce: expected one of list, page, {', '.join(PRESETS)}, got {name!r}; "
            f"nearest: {near}"
        )
    return PRESETS[name]


def reproduce(
    name: str, store: Store, part: Part, *, data: str | None = None, progress: bool = True
) -> None:
    """Make the runs of a preset that the store does not have.

    Parameters
    ----------
    name : str
    store : Store
        Gets each run when it is finished, or its measurements when it is stopped.
    part : Part
        Which runs.
    data : str, optional
        MNIST as `datasets.load` takes it.
    progress : bool
        Show a progress bar on stderr.
    """
    preset = find(name)
    wanted = _wanted(name, preset, store, part)
    if not wanted:
        return
    split = datasets.load("mnist", path=data) if preset.needs_mnist else None
    with Progress(sum(length for _, length in wanted), preset.unit, progress) as bar:
        for run, length in wanted:
            bar.describe(f"{name}: {run.rule}, seed {run.seed}")
            bar.start()
            start = process_time()
            try:
                preset.run(run.rule, run.seed, length, split, _Log(run, bar))
            finally:
                run.seconds = round(process_time() - start, 2)
                if run.length:
                    store.add(run)


def _wanted(name: str, preset: Preset, store: Store, part: Part) -> list[tuple[Run, int]]:
    """New runs and their lengths, seed by seed, so that the first runs compare all rules."""
    for rule in part.rules or ():
        if rule not in preset.rules:
            raise ValueError(
                f"--rule: expected one of {', '.join(map(repr, preset.rules))}, got {rule!r}"
            )
    there = {(run.rule, run.seed): run.length for run in store.of(name, preset.version)}
    build = build_info()
    made_by = f"fastfa {version()}, {build['isa']}, threads: {build['threads']}"
    wanted = []
    for seed in range(preset.seeds) if part.seeds is None else part.seeds:
        for rule in part.rules or preset.rules:
            length = min(preset.length(rule), part.epochs or preset.length(rule))
            if part.again or there.get((rule, seed), 0) < length:
                wanted.append((Run(name, rule, seed, preset.version, build=made_by), length))
    return wanted


class _Log:
    """Gives measured values to the run and moves the bar."""

    def __init__(self, run: Run, bar: Progress) -> None:
        self.run, self.bar = run, bar

    def __call__(self, at: int, value: float, what: str = "") -> None:
        self.bar.update(at - self.run.length)
        self.run.log(at, value, what)


# ---- the page ----


def section(name: str, preset: Preset, runs: Sequence[Run]) -> tuple[str, str]:
    """Verdict and text of a preset, for the page.

    Parameters
    ----------
    name : str
    preset : Preset
    runs : sequence of Run

    Returns
    -------
    verdict, text : str
        "3 of 4 in band", and the section.
    """
    rows = [(row, _values(row, runs)) for row in preset.rows]
    with_band = [(row, values) for row, values in rows if row.has_band]
    run = [(row, median(values)) for row, values in with_band if values]
    hits = sum(_distance(row, middle) == 0 for row, middle in run)
    verdict = f"{hits} of {len(run)} in band"
    if len(run) < len(with_band):
        verdict += f", {len(with_band) - len(run)} not run"
    lines = [
        f"## {name}: {preset.title}",
        "",
        _wrapped(preset.settings),
        "",
        _wrapped(f"Source: {preset.source}."),
        "",
        *([_wrapped(preset.note), ""] if preset.note else []),
        f"In the table: {preset.quantity}.",
        "",
        f"| rule | {preset.unit} | published | ours, median | min | max | seeds | band | |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
        *(_line(row, values) for row, values in rows),
        "",
        *(_table(preset, runs) if preset.table else ()),
        _wrapped(f"Processor seconds a run: {_seconds(preset, runs)}. {'; '.join(_builds(runs))}."),
        "",
    ]
    return verdict, "\n".join(lines)


def _wrapped(text: str) -> str:
    """A paragraph of the page, in lines of at most 120 columns."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _values(row: Row, runs: Sequence[Run]) -> list[float]:
    """The values of a row, one for each seed."""
    of = {
        (run.rule, run.seed): run.curves[row.what][row.at]
        for run in runs
        if row.at in run.curves.get(row.what, {})
    }
    own = {seed: value for (rule, seed), value in of.items() if rule == row.rule}
    if not row.relative_to:
        return list(own.values())
    return [
        v - of[row.relative_to, seed] for seed, v in own.items() if (row.relative_to, seed) in of
    ]


def _line(row: Row, values: list[float]) -> str:
    label = f"{row.rule} minus {row.relative_to}" if row.relative_to else row.rule
    label += f", {row.what}" if row.what else ""
    expected = "-" if math.isnan(row.expected) else f"{row.expected:g}"
    expected += " †" if row.second_hand else ""
    numbers = " | ".join(f"{of(values):.2f}" if values else "-" for of in (median, min, max))
    said = _said(row, values)
    return (
        f"| {label} | {row.at} | {expected} | {numbers} | {len(values)} | {_band(row)} | {said} |"
    )


def _band(row: Row) -> str:
    if not row.has_band:
        return "-"
    low, high = f"{row.low:.4g}", f"{row.high:.4g}"
    if math.isinf(row.low) or math.isinf(row.high):
        return f"≥ {low}" if math.isinf(row.high) else f"≤ {high}"
    return f"{low} to {high}"


def _said(row: Row, values: list[float]) -> str:
    if not values:
        return "not run"
    if not row.has_band:
        return ""
    off = _distance(row, median(values))
    return "in band" if off == 0 else f"**{abs(off):.2f} {'above' if off > 0 else 'below'}**"


def _distance(row: Row, value: float) -> float:
    """Distance from the band: 0 inside, negative below."""
    return min(0.0, value - row.low) + max(0.0, value - row.high)


def _table(preset: Preset, runs: Sequence[Run]) -> list[str]:
    """The second table, one row a rule: the quantity and other values at the end of the runs."""
    lines = [
        f"| rule | {preset.quantity} | {' | '.join(preset.table)} |",
        f"|---{'|--:' * (1 + len(preset.table))}|",
    ]
    for rule in preset.rules:
        cells = [_at_end(preset, rule, what, runs) for what in ("", *preset.table)]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return [*lines, ""]


def _at_end(preset: Preset, rule: str, what: str, runs: Sequence[Run]) -> str:
    """The median over seeds of full runs; for times the minimum of all runs."""
    of = [run for run in runs if run.rule == rule and what in run.curves]
    least = what.startswith("ms ")
    if not least:
        of = [run for run in of if run.length == preset.length(rule)]
    values = [run.curves[what][max(run.curves[what])] for run in of]
    values = [value for value in values if not math.isnan(value)]
    return f"{(min if least else median)(values):.2f}" if values else "-"


def _seconds(preset: Preset, runs: Sequence[Run]) -> str:
    of = {rule: [run.seconds for run in runs if run.rule == rule] for rule in preset.rules}
    return "; ".join(f"{rule} {max(s):.2g}" for rule, s in of.items() if s)


def _builds(runs: Sequence[Run]) -> list[str]:
    return sorted({run.build for run in runs})


def update_page(page: Path, name: str, verdict: str, text: str) -> None:
    """Replace a section of the page; sections are in the order of the presets."""
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    sections = {key: (said, body) for key, said, body in SECTION.findall(old)}
    sections[name] = (verdict, text)
    ordered = {key: sections[key] for key in PRESETS if key in sections}
    table = ["| experiment | rows |", "|---|---|"]
    table += [f"| {key}: {PRESETS[key].title} | {said} |" for key, (said, _) in ordered.items()]
    missing = [key for key in PRESETS if key not in ordered]
    if missing:
        table += ["", f"Not run yet: {', '.join(missing)}."]
    body = [
        f"<!-- {key}: {said} -->\n{text}<!-- end -->\n" for key, (said, text) in ordered.items()
    ]
    page.write_text("\n".join([PAGE_TITLE, *table, "", *body]), encoding="utf-8")


def _minutes(minutes: float) -> str:
    return f"{60 * minutes:.0f} s" if minutes < 1 else f"{minutes:.0f} min"


def main(wanted: Sequence[str], part: Part, *, data: str | None, page: str) -> str:
    """Run the command; return what it prints."""
    if list(wanted) == ["list"]:
        return names()
    only_page = list(wanted) == ["page"]
    chosen = list(PRESETS) if only_page else list(wanted)
    for name in chosen:
        _check(name, part)  # before hours of work
    to = Path(page)
    if not to.parent.is_dir():
        raise FileNotFoundError(f"no directory {str(to.parent)!r}: say where with --page FILE")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that measurements are stored
    store, texts = Store(to.with_suffix(".jsonl")), []
    on_mnist = [] if only_page else [name for name in chosen if PRESETS[name].needs_mnist]
    if any(_wanted(name, PRESETS[name], store, part) for name in on_mnist):
        datasets.load("mnist", path=data)  # before hours of work: its error says where to put it
    for name in chosen:
        if not only_page:
            reproduce(name, store, part, data=data)
        preset = PRESETS[name]
        runs = store.of(name, preset.version)
        if runs:
            verdict, text = section(name, preset, runs)
            update_page(to, name, verdict, text)
            texts.append(f"{text}\n{verdict}; written to {page}")
    if not texts:
        raise ValueError(f"{store.path}: expected runs, got none; there is nothing to write")
    return "\n\n".join(texts)


def _check(name: str, part: Part) -> None:
    """Raise an error for a run that would measure nothing."""
    preset = find(name)
    if part.epochs is not None and part.epochs < preset.every:
        raise ValueError(
            f"--epochs: expected at least {preset.every}, got {part.epochs}; {name} is measured "
            f"every {preset.every} {preset.unit}s: nothing would be measured and kept"
        )

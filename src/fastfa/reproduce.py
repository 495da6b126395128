"""Runs published experiments and writes the page that compares: ``python -m fastfa reproduce``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

from . import __version__, build_info, datasets
from .demo import _bar
from .presets import PRESETS, Curve, Preset, Row

__all__ = ["Result", "find", "names", "reproduce", "section", "update_page"]

PAGE_TITLE = """\
# Published numbers, reproduced

Written by `python -m fastfa reproduce NAME`. The last column says what is out of its band, and by
how much; a row without a band is shown, not judged. A shorter run leaves out later rows.
"""
SECTION = re.compile(r"<!-- (\S+): (.*?) -->\n(.*?)<!-- end -->\n", re.S)


class Result(NamedTuple):
    """Curves of one rule, one for each seed, and the seconds that each took."""

    curves: list[Curve]
    seconds: list[float]


def names() -> str:
    """All presets as a table, for the command line."""
    width = max(map(len, PRESETS))
    lines = [
        f"{name:<{width}}  {_minutes(p.minutes):>7}  {p.title}: {', '.join(p.rules)}"
        for name, p in PRESETS.items()
    ]
    head = f"{'name':<{width}}  {'time':>7}  what (MNIST is found through --data or FASTFA_MNIST)"
    return "\n".join([head, *lines])


def find(name: str) -> Preset:
    """The preset of that name; ValueError with the nearest one if there is none."""
    if name not in PRESETS:
        (near,) = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.0)
        raise ValueError(
            f"reproduce: expected one of list, {', '.join(PRESETS)}, got {name!r} (nearest: {near})"
        )
    return PRESETS[name]


def reproduce(
    name: str,
    *,
    seeds: int | None = None,
    epochs: int | None = None,
    data: str | None = None,
    progress: bool = True,
) -> tuple[str, str]:
    """Run a preset.

    Parameters
    ----------
    name : str
    seeds, epochs : int, optional
        Default: the preset's; rows beyond the last epoch are left out.
    data : str, optional
        MNIST as `datasets.load` takes it.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    verdict, text : str
        "3 of 4 in band", and the section of the page.
    """
    preset = find(name)
    split = datasets.load("mnist", path=data) if preset.needs_mnist else None
    n_seeds, length = seeds or preset.seeds, epochs or preset.epochs
    with _bar(len(preset.rules) * n_seeds * length, progress) as bar:
        bar.unit = preset.unit
        results = {rule: Result([], []) for rule in preset.rules}
        for rule, result in results.items():
            for seed in range(n_seeds):
                bar.set_description(f"{name}: {rule}, seed {seed}", refresh=False)
                start = perf_counter()
                result.curves.append(preset.run(rule, seed, length, split, bar.update))
                result.seconds.append(perf_counter() - start)
    return section(name, preset, results, length)


# ---- the page ----


def section(name: str, preset: Preset, results: dict[str, Result], epochs: int) -> tuple[str, str]:
    """Verdict and text of a preset, for the page.

    Parameters
    ----------
    name : str
    preset : Preset
    results : dict of str to Result
        By rule.
    epochs : int
        How long the runs were, in the preset's unit.
    """
    reached = [row for row in preset.rows if row.at <= epochs]
    judged = [row for row in reached if row.low > float("-inf")]
    hits = sum(_distance(row, _middle(row, results)) == 0 for row in judged)
    verdict = f"{hits} of {len(judged)} in band"
    n_seeds = len(next(iter(results.values())).curves)
    if epochs < preset.epochs:
        verdict += f" (after {epochs} of {preset.epochs} {preset.unit}s)"
    seconds = "; ".join(f"{rule} {median(r.seconds):.2g}" for rule, r in results.items())
    build = build_info()
    lines = [
        f"## {name}: {preset.title}",
        "",
        preset.settings,
        "",
        f"Source: {preset.source}.",
        "",
        *([preset.note, ""] if preset.note else []),
        f"In the table: {preset.quantity}.",
        "",
        f"| rule | {preset.unit} | published | ours, median | min | max | band | |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
        *(_line(row, results) for row in reached),
        "",
        f"Seeds: {n_seeds}; {preset.unit}s: {epochs}. Seconds a run: {seconds}; "
        f"fastfa {__version__}, {build['isa']}, {build['threads']} threads.",
        "",
    ]
    return verdict, "\n".join(lines)


def _line(row: Row, results: dict[str, Result]) -> str:
    values = [curve[row.at] for curve in results[row.rule].curves]
    expected = "-" if row.expected != row.expected else f"{row.expected:g}"
    band = "-" if row.low == float("-inf") else f"{row.low:.4g} to {row.high:.4g}"
    numbers = " | ".join(f"{v:.2f}" for v in (_middle(row, results), min(values), max(values)))
    return f"| {row.rule} | {row.at} | {expected} | {numbers} | {band} | {_said(row, results)} |"


def _said(row: Row, results: dict[str, Result]) -> str:
    if row.low == float("-inf"):
        return ""
    off = _distance(row, _middle(row, results))
    return "in band" if off == 0 else f"**{abs(off):.2f} {'above' if off > 0 else 'below'}**"


def _middle(row: Row, results: dict[str, Result]) -> float:
    return median(curve[row.at] for curve in results[row.rule].curves)


def _distance(row: Row, value: float) -> float:
    """How far outside the band: 0 within, negative below."""
    return min(0.0, value - row.low) + max(0.0, value - row.high)


def update_page(page: Path, name: str, verdict: str, text: str) -> None:
    """Put a section into the page in the presets' order; the others stay as they are."""
    old = page.read_text() if page.exists() else ""
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
    page.write_text("\n".join([PAGE_TITLE, *table, "", *body]))


def _minutes(minutes: float) -> str:
    return f"{60 * minutes:.0f} s" if minutes < 1 else f"{minutes:.0f} min"


def main(
    wanted: Sequence[str],
    *,
    seeds: int | None,
    epochs: int | None,
    data: str | None,
    page: str,
) -> str:
    """What the command does; returns what it prints."""
    if list(wanted) == ["list"]:
        return names()
    for name in wanted:
        find(name)  # before the hours of work, not after
    if not Path(page).parent.is_dir():
        raise FileNotFoundError(f"page: no directory {str(Path(page).parent)!r}")
    texts = []
    for name in wanted:
        verdict, text = reproduce(name, seeds=seeds, epochs=epochs, data=data)
        update_page(Path(page), name, verdict, text)
        texts.append(f"{text}\n{verdict}; written to {page}")
    return "\n\n".join(texts)

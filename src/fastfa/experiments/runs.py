"""Finished runs of `python -m fastfa reproduce`, one line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .._internal.text_files import append_lines, is_json

__all__ = ["Curves", "Run", "Store"]

Curves = dict[str, dict[int, float]]  # by quantity, then by epoch (or sample)


@dataclass
class Run:
    """One rule trained from one seed.

    Attributes
    ----------
    preset, rule : str
    seed : int
    version : int
        Version of the preset's settings.
    length : int
        Number of epochs or samples that it ran.
    seconds : float
        Processor time.
    build : str
        Version of fastfa, instruction set and threads.
    curves : dict of str to dict of int to float
        Values by quantity, then by epoch (or sample).
    """

    preset: str
    rule: str
    seed: int
    version: int
    length: int = 0
    seconds: float = 0.0
    build: str = ""
    curves: Curves = field(default_factory=dict)

    def log(self, at: int, value: float, what: str = "") -> None:
        """Record a measured value."""
        self.curves.setdefault(what, {})[at] = round(float(value), 4)
        self.length = max(self.length, at)


class Store:
    """The file of finished runs; several processes may add to it.

    Parameters
    ----------
    path : Path
        The file; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, run: Run) -> None:
        """Append a run; an incomplete line of a killed process is removed first."""
        append_lines(self.path, json.dumps(asdict(run)) + "\n", is_json)

    def of(self, preset: str, version: int) -> list[Run]:
        """The longest run of each rule and seed of a preset; of equal lengths the last one."""
        best: dict[tuple[str, int], Run] = {}
        for run in self._read():
            if (run.preset, run.version) == (preset, version):
                key = run.rule, run.seed
                if key not in best or run.length >= best[key].length:
                    best[key] = run
        return [best[key] for key in sorted(best)]

    def _read(self) -> Iterable[Run]:
        if not self.path.exists():
            return
        text = self.path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(keepends=True), 1):
            if not line.endswith("\n") and not is_json(line):
                return  # incomplete, or another process is writing it
            try:
                run = Run(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{self.path}, line {number}: not a run: {error}") from None
            run.curves = {
                what: {int(at): value for at, value in curve.items()}
                for what, curve in run.curves.items()
            }
            yield run

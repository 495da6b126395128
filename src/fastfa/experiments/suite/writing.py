"""What the suite leaves: results as CSV and JSON, a page, and figures."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import plot as drawing
from ..._core import build_info, version
from .running import TIERS, Runs, Tier, run
from .summaries import MARGIN, NEAR, Summary, summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["command", "page", "write"]

TITLE = "# The suite: learning rules on tasks in space and time"
READING = f"""\
Every rule trains at the same learning rates from one seed, and the validation data choose one of
them. At that rate it trains from the seeds below; for one seed all rules start from the same
weights and see the same batches, and the test data are read after the last epoch. `backprop` is
exact; under `frozen` only the output layer learns. On sequences a rule alone is exact in time,
`time=` alone is exact in space. The ranges of the rates, and how many rates and seeds there are,
were widened once, for all rules alike, after a first run of the quick tier had put many best rates
at the edges of its ranges; its test scores had been seen.

- **gap closed**: (rule - frozen) / (backprop - frozen) of the medians, in %. 0 is as good as
  leaving the hidden layers alone. There is none where backprop is less than {MARGIN:g} points
  above frozen.
- **wins**: seeds on which the rule beats frozen; p is that of a two-sided sign test.
- **near best**: share of the tried rates within {NEAR:g} point of the best on the validation data.
- **angle**: degrees between the gradient of the weights and the exact one after training, in the
  worst layer of a network, median over seeds.
- **growth**: the largest ratio of the sizes of the outputs of two successive layers.
- **MACs**: thousands of multiply-adds in the matrix products of a training step, for one sample.
- **s**: seconds of a training on one thread; other programs may have run at the time.
- **remarks**: what tells against a rule, however good its score or angle. A run that diverged
  counts as a guess.
"""
EXTENDING = """\
## Run it, add to it

```sh
python -m fastfa suite                                   # quick: minutes, no data to get
FASTFA_MNIST=mnist.npz python -m fastfa suite --tier full --out full --figures pdf
python -m fastfa suite --task digits --rule dfa --rule kp
python -m fastfa suite --task add --rule time=leak --rule dfa,time=diagonal
```

The folder of `--out` keeps each finished run: the same command goes on where it was stopped.
`results.csv` has the rows of this page, `results.json` every run and trial too. In Python
`fastfa.experiments.suite.run(..., executor=)` spreads runs over processes or machines.

A task is a class that derives from `fastfa.experiments.suite.Task`, a rule one that derives from
`fastfa.Rule`; name them as `module:Class`:

```python
class Parity(Task):
    name, title = "parity", "Parity of 3 of 8 bits, 8-16-2 tanh"
    input_shape, epochs, guess = 8, 20, 50.0

    def data(self): ...  # Split(X, y, X_val, y_val, X_test, y_test)

    def layers(self, time):
        return [fa.Dense(16, "tanh"), fa.Dense(2)]
```

`examples/own_task.py` is a whole one, with a rule. Override `optimizer`, `score` or `build` for
other optimizers, measures or networks.
"""
FIGURES = ("gap", "cost", "rates")


def write(
    tier: Tier,
    runs: Sequence[Runs],
    folder: str | os.PathLike[str],
    *,
    page_file: str | os.PathLike[str] | None = None,
    figures: str | None = None,
) -> str:
    """Write results.csv, results.json, the page and figures; return the page.

    Parameters
    ----------
    tier : Tier
    runs : sequence of Runs
    folder : path-like
    page_file : path-like, optional
        By default SUITE.md in the folder.
    figures : str, optional
        The kind of file of figures, such as "pdf"; None: no figures.
    """
    where = Path(folder)
    summaries = summarize(runs)
    text = page(tier, runs, summaries)
    (where / "results.csv").write_text(_csv(summaries), encoding="utf-8")
    (where / "results.json").write_text(_json(tier, runs, summaries), encoding="utf-8")
    Path(page_file or where / "SUITE.md").write_text(text, encoding="utf-8")
    if figures is not None:
        _draw(runs, summaries, where, figures)
    return text


def command(
    tier: str,
    *,
    tasks: Sequence[str],
    rules: Sequence[str],
    folder: str,
    page: str | None,
    figures: str | None,
    workers: int | None,
) -> str:
    """Run the command; return what it prints."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    if figures is not None:
        drawing.check(Path(folder) / f"{FIGURES[0]}.{figures}")  # before hours of work
    to = Path(page or Path(folder) / "SUITE.md")
    if not to.parent.is_dir():
        raise FileNotFoundError(f"no directory {str(to.parent)!r}: say where with --page FILE")
    runs = run(tier, folder=folder, tasks=tasks, rules=rules, n_workers=workers)
    write(TIERS[tier], runs, folder, page_file=to, figures=figures)
    return f"{_gaps(summarize(runs))}\n\nwritten to {to}, results.csv and results.json in {folder}"


# ---- tables ----


def _csv(summaries: Sequence[Summary]) -> str:
    names = [each.name for each in fields(Summary)]
    to = io.StringIO()
    rows = csv.DictWriter(to, names, lineterminator="\n")
    rows.writeheader()
    for each in summaries:
        row = asdict(each)
        rows.writerow({**row, "suspicious": "; ".join(row["suspicious"] or [])})
    return to.getvalue()


def _json(tier: Tier, runs: Sequence[Runs], summaries: Sequence[Summary]) -> str:
    def of(each: Runs) -> dict[str, Any]:
        return {"task": each.task.name, "rule": each.entry.text, "lr": each.lr,
                "trials": each.trials, "finals": each.finals}  # fmt: skip

    whole = {
        "tier": asdict(tier),
        "fastfa": version(),
        "build": {key: str(value) for key, value in build_info().items()},
        "summaries": [asdict(each) for each in summaries],
        "runs": [of(each) for each in runs],
    }
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def page(tier: Tier, runs: Sequence[Runs], summaries: Sequence[Summary]) -> str:
    """The page, in Markdown."""
    tasks = list(dict.fromkeys(each.task for each in runs))
    parts = [
        TITLE,
        f"Written by `python -m fastfa suite --tier {tier.name}` from its runs.\n"
        f"Tier **{tier.name}**: {tier.trials} learning rates, {tier.seeds} seeds, "
        f"fastfa {version()}.",
        READING.rstrip(),
        "## Gap closed, %",
        _gaps(summaries),
    ]
    for task in tasks:
        of_task = [each for each in summaries if each.task == task.name]
        rates = ", ".join(f"{rate:g}" for rate in task().tried_rates(tier.trials))
        parts += [
            f"## {task.name}",
            f"{task.title}.",
            f"{tier.epochs(task)} epochs, batches of {task.batch_size}; rates {rates}.",
            f"Score: {task.points}.",
            _table(of_task),
        ]
        refused = [each for each in of_task if each.reason]
        if refused:
            parts.append(f"Not for this network: {', '.join(f'`{s.rule}`' for s in refused)}.")
    return "\n\n".join([*parts, EXTENDING])


def _gaps(summaries: Sequence[Summary]) -> str:
    tasks = list(dict.fromkeys(each.task for each in summaries))
    rules = list(dict.fromkeys(each.rule for each in summaries))
    cell = {(each.task, each.rule): _number(each.gap_closed, ".0f") for each in summaries}
    body = [[f"`{rule}`", *(cell.get((task, rule), "") for task in tasks)] for rule in rules]
    return _markdown(["rule", *tasks], body, 1)


COLUMNS: dict[str, Callable[[Summary], str]] = {
    "score": lambda s: _number(s.score, ".2f"),
    "min": lambda s: _number(s.low, ".2f"),
    "max": lambda s: _number(s.high, ".2f"),
    "gap closed": lambda s: _number(s.gap_closed, ".0f"),
    "wins": lambda s: f"{s.wins} of {s.seeds}",
    "p": lambda s: _number(s.sign_test, ".3f"),
    "rate": lambda s: _number(s.lr, "g"),
    "near best": lambda s: _number(s.near_best, ".2f"),
    "angle": lambda s: _number(s.angle, ".1f"),
    "growth": lambda s: _number(s.growth, ".1f"),
    "MACs": lambda s: "-" if s.multiply_adds is None else f"{s.multiply_adds / 1000:,.1f}",
    "s": lambda s: _number(s.seconds, ".2f"),
}


def _table(of_task: Sequence[Summary]) -> str:
    ordered = sorted((s for s in of_task if s.score is not None), key=lambda s: -(s.score or 0))
    body = [
        [f"`{s.rule}`", *(shown(s) for shown in COLUMNS.values()), "; ".join(s.suspicious or [])]
        for s in ordered
    ]
    return _markdown(["rule", *COLUMNS, "remarks"], body, 1, len(COLUMNS) + 1)


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]], *text: int) -> str:
    """A table; columns from `text[0]` to before `text[1]` are numbers."""
    low, high = (*text, len(head))[:2]
    align = ["--:" if low <= i < high else "---" for i in range(len(head))]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(align)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in body)])


def _number(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)


# ---- figures ----


def _draw(runs: Sequence[Runs], summaries: Sequence[Summary], folder: Path, kind: str) -> None:
    tasks = list(dict.fromkeys(each.task.name for each in runs))
    for name, panel in zip(FIGURES, (_gap_panel, _cost_panel, _rate_panel), strict=True):
        figure, panels = drawing.panels.row_of_panels(len(tasks))
        for axes, task in zip(panels, tasks, strict=True):
            axes.set(title=task)
            panel(axes, [s for s in summaries if s.task == task and not s.reason],
                  [r for r in runs if r.task.name == task and not r.reason])  # fmt: skip
        drawing.panels.write(figure, folder / f"{name}.{kind}")


def _gap_panel(axes: Axes, summaries: Sequence[Summary], _: Sequence[Runs]) -> None:
    shown = [s for s in summaries if s.gap_closed is not None][::-1]
    low, high = -20, 110
    axes.barh([s.rule for s in shown], [s.gap_closed or 0.0 for s in shown])
    axes.set(xlabel=f"gap closed (%), from {low} to {high}", xlim=(low, high))
    axes.tick_params(axis="y", labelsize="x-small")
    if not shown:
        axes.set_yticks([])
        said = f"backprop is less than {MARGIN:g} points\nabove frozen"
        axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", fontsize="small")


def _cost_panel(axes: Axes, summaries: Sequence[Summary], _: Sequence[Runs]) -> None:
    for s in summaries:
        if s.multiply_adds is not None and s.score is not None:
            axes.plot(s.multiply_adds, s.score, "o", markersize=3)
            axes.annotate(s.rule, (s.multiply_adds, s.score), fontsize="xx-small")
    axes.set(xlabel="multiply-adds a sample", ylabel="score")


def _rate_panel(axes: Axes, _: Sequence[Summary], runs: Sequence[Runs]) -> None:
    """The validation score of each trial, a row for each rule, as numbers on their colours."""
    scores = [[trial["score"] for trial in each.trials] for each in runs]
    best, guess = max(map(max, scores)), runs[0].task.guess
    axes.imshow(scores, aspect="auto", vmin=min(guess, best - 1), vmax=best, cmap="viridis")
    for i, row in enumerate(scores):
        for j, score in enumerate(row):
            dark = score < (guess + best) / 2
            axes.text(j, i, f"{score:.0f}", ha="center", va="center", fontsize="xx-small",
                      color="white" if dark else "black")  # fmt: skip
    axes.set_yticks(range(len(runs)), [each.entry.text for each in runs], fontsize="xx-small")
    rates = [f"{trial['lr']:.2g}" for trial in runs[0].trials]
    axes.set_xticks(range(len(rates)), rates, fontsize="x-small")
    axes.set(xlabel="learning rate")
    axes.grid(False)

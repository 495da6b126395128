"""The suite: equal budgets, paired seeds, what its page says, and that a killed run goes on."""

import csv
import itertools
import json
import math
from pathlib import Path
from statistics import median

import numpy as np
import pytest

import fastfa as fa
from fastfa.__main__ import main
from fastfa.experiments import suite
from fastfa.experiments.suite import running, tasks
from fastfa.experiments.suite.cost import multiply_adds
from fastfa.experiments.suite.entries import Entry, default_entries, entries_of
from fastfa.experiments.suite.measures import growth, reference_norm
from fastfa.experiments.suite.running import Runs, best_rate
from fastfa.experiments.suite.summaries import gap_closed, sign_test, summarize
from fastfa.rules import RULES

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = suite.Tier("small", tasks=("digits",), trials=3, seeds=2, effort=0.05)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of three rules on digits, its folder and its page."""
    folder = tmp_path_factory.mktemp("suite")
    runs = suite.run(SMALL, folder=folder, rules=["dfa"], n_workers=2, verbose=False)
    return folder, runs, suite.write(SMALL, runs, folder)


def by_rule(runs):
    return {each.entry.text: each for each in runs}


def table_of(folder):
    """The rows of results.csv."""
    return list(csv.DictReader((folder / "results.csv").read_text().splitlines()))


def without_seconds(value):
    """A value of results.json without the times, which differ from run to run."""
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if k != "seconds"}
    return [without_seconds(v) for v in value] if isinstance(value, list) else value


# ---- protocol ----


def test_all_rules_try_the_same_rates_and_the_floors_always_run(small):
    _, runs, _ = small
    assert [each.entry.text for each in runs] == ["backprop", "dfa", "frozen"]
    tried = [[trial["lr"] for trial in each.trials] for each in runs]
    assert tried == [[0.003, 0.05477, 1.0]] * 3
    assert [[final["seed"] for final in each.finals] for each in runs] == [[0, 1]] * 3


def test_runs_are_those_of_a_training_by_hand(small):
    """The trial reads the validation data, the run that counts the test data, after training."""
    _, runs, _ = small
    dfa = by_rule(runs)["dfa"]
    data = tasks.Digits().data()

    def by_hand(lr, seed):
        layers = [fa.Dense(32, "tanh"), fa.Dense(16, "tanh"), fa.Dense(10)]
        optimizer = fa.SGD(lr, momentum=0.9)
        net = fa.Sequential(layers, input_shape=64, rule="dfa", optimizer=optimizer, rng=seed)
        net.fit(data.X, data.y, 2, 32, verbose=False)  # 0.05 of 30 epochs
        return net

    for trial in dfa.trials:
        net = by_hand(trial["lr"], running.TRIAL_SEED)
        assert trial["score"] == 100 * net.evaluate(data.X_val, data.y_val)["accuracy"]
    for final in dfa.finals:
        net = by_hand(dfa.lr, final["seed"])
        assert final["score"] == 100 * net.evaluate(data.X_test, data.y_test)["accuracy"]


def test_the_parts_of_the_data_do_not_overlap():
    data = tasks.Digits().data()
    X, _, X_test, _ = fa.datasets.load("digits")
    assert len(data.X) + len(data.X_val) == len(X)
    together = np.concatenate([data.X, data.X_val])
    assert np.array_equal(np.sort(together.sum(1)), np.sort(X.sum(1)))
    assert np.array_equal(data.X_test, X_test)


@pytest.mark.parametrize("task", ["digits", "digits-rows"])
def test_seeds_are_paired(task):
    """All rules start from the same weights."""
    kind = tasks.TASKS[task]
    first = None
    for entry in default_entries(kind):
        if running._refusal(kind, entry):
            continue
        net = running.build(kind, entry=entry.text, lr=0.1, seed=3)
        weights = {k: net.parameters[k] for k in ("0.weight", "1.weight")}
        first = first or weights
        assert all(np.array_equal(first[k], weights[k]) for k in first), entry


def test_only_validation_data_choose_the_rate(small, monkeypatch, tmp_path):
    """Other test data, other labels too: the same rates."""
    _, runs, _ = small
    data = tasks.Digits().data()
    spoilt = data._replace(X_test=data.X_test[::-1] * 0, y_test=(data.y_test + 3) % 10)
    monkeypatch.setattr(tasks.Digits, "data", lambda self: spoilt)
    tasks.load.cache_clear()
    try:
        other = suite.run(SMALL, folder=tmp_path, rules=["dfa"], verbose=False)
    finally:
        tasks.load.cache_clear()
    assert [each.lr for each in other] == [each.lr for each in runs]
    assert [each.trials for each in other] == [each.trials for each in runs]
    assert [e.finals[0]["score"] for e in other] != [e.finals[0]["score"] for e in runs]


def test_the_lower_of_two_equal_rates_is_chosen():
    trials = [{"lr": 0.3, "score": 90.0}, {"lr": 0.1, "score": 90.0}, {"lr": 0.01, "score": 80.0}]
    assert best_rate(trials) == 0.1


def test_a_killed_run_goes_on(small, tmp_path):
    """Of the file of a killed process the last line may be incomplete."""
    folder, _, _ = small
    whole = (folder / "small-digits.jsonl").read_bytes().splitlines(keepends=True)
    assert len(whole) == 3 * 3 + 3 * 2
    (tmp_path / "small-digits.jsonl").write_bytes(b"".join(whole[:7]) + whole[7][:40])
    runs = suite.run(SMALL, folder=tmp_path, rules=["dfa"], verbose=False)
    suite.write(SMALL, runs, tmp_path)
    kept = (tmp_path / "small-digits.jsonl").read_bytes().splitlines(keepends=True)
    assert kept[:7] == whole[:7]
    assert len(kept) == len(whole)
    here, there = (json.loads((f / "results.json").read_text()) for f in (folder, tmp_path))
    assert without_seconds(here) == without_seconds(there)


def test_a_run_that_diverged_counts_as_a_guess(monkeypatch, tmp_path):
    monkeypatch.setattr(tasks.Digits, "rates", (1e38, 1e38))
    tier = suite.Tier("wild", ("digits",), trials=1, seeds=1, effort=0.05)
    runs = suite.run(tier, folder=tmp_path, rules=["backprop"], verbose=False)
    exact = by_rule(runs)["backprop"]
    assert exact.finals == [{"seed": 0, "score": 10.0, "diverged": True}]
    first = summarize(runs)[0]
    assert first.suspicious == ["1 of 1 diverged", "not 2 points above frozen"]
    suite.write(tier, runs, tmp_path)  # without angles


# ---- entries ----


def test_entries():
    assert Entry.of("dfa,time=leak") == ("dfa,time=leak", "dfa", "leak")
    assert Entry.of("time=none") == ("time=none", "backprop", "none")
    assert [e.text for e in default_entries(tasks.Digits)] == [*RULES]
    in_time = {e.text for e in default_entries(tasks.Add)} - {*RULES}
    assert in_time == {
        *(f"time={t}" for t in fa.layers.recurrent.TIMES if t != "bptt"), "dfa,time=leak",
    }  # fmt: skip
    assert [e.text for e in entries_of(tasks.Digits, ["time=leak", "fa"])] == [
        "backprop", "fa", "frozen",
    ]  # fmt: skip


def test_what_a_network_refuses_has_no_numbers_and_a_line(tmp_path):
    tier = suite.Tier("one", ("digits-rows",), trials=1, seeds=1, effort=0.05)
    runs = suite.run(tier, folder=tmp_path, rules=["local", "time=leak"], verbose=False)
    assert "recurrent layers" in by_rule(runs)["local"].reason
    text = suite.write(tier, runs, tmp_path)
    assert "Not for this network: `local`." in text
    assert "| `time=leak` |" in text
    assert "| `local` | - |" in text  # of the table of gaps
    rows = table_of(tmp_path)
    assert [row["score"] == "" for row in rows] == [False, True, False, False]


def test_a_task_and_a_rule_of_ones_own(tmp_path, monkeypatch):
    """The example; half of DFA's signal at a rate is not DFA."""
    monkeypatch.syspath_prepend(EXAMPLES)
    tier = suite.Tier("own", (), trials=2, seeds=1, effort=0.2)
    rules = ["dfa", "own_task:Halved"]
    runs = suite.run(tier, folder=tmp_path, tasks=["own_task:Parity"], rules=rules, verbose=False)
    assert [each.entry.text for each in runs] == ["backprop", *rules, "frozen"]
    assert by_rule(runs)["dfa"].trials != by_rule(runs)["own_task:Halved"].trials
    text = suite.write(tier, runs, tmp_path)
    assert "| `own_task:Halved` |" in text
    assert "Parity of 3 of 8 bits" in text


# ---- numbers ----


def test_gap_closed_and_sign_test():
    assert gap_closed(96.0, 98.0, 90.0) == 75.0
    assert gap_closed(88.0, 98.0, 90.0) == -25.0
    assert gap_closed(91.0, 91.9, 90.0) is None
    for n, won in itertools.product(range(1, 8), range(8)):
        if won <= n:
            extreme = abs(2 * won - n)
            flips = itertools.product((1, -1), repeat=n)
            p = sum(abs(sum(f)) >= extreme for f in flips) / 2**n
            assert sign_test([1.0] * won + [-0.5] * (n - won) + [0.0]) == pytest.approx(p)
    assert sign_test([0.0]) == 1.0


def runs_of(text, scores, **final):
    finals = [{"seed": i, "score": s, "diverged": False, **final} for i, s in enumerate(scores)]
    trials = [{"lr": lr, "score": s} for lr, s in ((0.01, 80.0), (0.1, 90.0), (1.0, 89.5))]
    return Runs(tasks.Digits, Entry.of(text), trials, 0.1, finals)


def test_a_summary_is_made_of_pairs():
    """By hand. The difference of the medians is 4 here, the median of the differences 3."""
    runs = [
        runs_of("backprop", [95.0, 99.0, 97.0]),
        runs_of("dfa", [94.0, 91.0, 95.0], angles=[80.0, None, 60.0], growth=51.0, reference=1e-9),
        runs_of("frozen", [90.0, 92.0, 89.0]),
    ]
    dfa = summarize(runs)[1]
    assert (dfa.score, dfa.low, dfa.high, dfa.seeds) == (94.0, 91.0, 95.0, 3)
    assert dfa.gap_closed == pytest.approx(100 * (94 - 90) / (97 - 90))
    assert dfa.above_frozen == median([4.0, -1.0, 6.0])
    assert (dfa.wins, dfa.sign_test) == (2, 1.0)
    assert dfa.near_best == pytest.approx(2 / 3)
    assert dfa.angle == 80.0
    assert dfa.suspicious == [
        "outputs grow 51 times in a layer",
        "the reference gradient vanished, so its angle says nothing",
    ]


def test_what_is_suspicious():
    runs = [
        runs_of("backprop", [95.0]),
        runs_of("dfa", [91.0], growth=2.0, reference=1.0),
        runs_of("fa", [92.0], growth=2.0, reference=1.0),
        runs_of("frozen", [90.0]),
    ]
    runs[2].lr = 1.0
    _, dfa, fa_, frozen = summarize(runs)
    assert dfa.suspicious == ["not 2 points above frozen"]
    assert fa_.suspicious == ["best at the highest rate"]
    assert frozen.suspicious == []


def test_multiply_adds_by_hand():
    digits, image, rows = (tasks.TASKS[n]() for n in ("digits", "digits-image", "digits-rows"))
    forward = 64 * 32 + 32 * 16 + 16 * 10
    expected = {
        "backprop": 2 * forward + 32 * 16 + 16 * 10, "dfa": 2 * forward + 10 * 48,
        "drtp": 2 * forward, "frozen": forward + 160, "local": 2 * forward + 3 * 480,
        "ifa": 2 * forward + 10 * 32 + 32 * 16, "ldfa": None,
    }  # fmt: skip
    assert {rule: multiply_adds(digits, Entry.of(rule)) for rule in expected} == expected
    first, second = 36 * 9 * 8, 4 * 72 * 16
    forward = first + second + 64 * 32 + 320
    exact = 2 * forward + second + 64 * 32 + 320
    assert multiply_adds(image, Entry.of("backprop")) == exact
    step = 8 * 48 + 48 * 48 + 480
    assert multiply_adds(rows, Entry.of("backprop")) == 8 * (2 * step + 480 + 48 * 48)
    assert multiply_adds(rows, Entry.of("time=leak")) == 8 * (2 * step + 480)
    assert multiply_adds(rows, Entry.of("time=frozen")) == 8 * (step + 480)


def test_growth_and_reference_by_numpy():
    task = tasks.Digits()
    data = task.data()
    X, y = data.X_test[:50], data.y_test[:50]
    net = task.build("dfa", "bptt", 0.1, 0)
    net.fit(data.X, data.y, 1, verbose=False)
    w = {key: np.asarray(value, np.float64) for key, value in net.parameters.items()}
    h = [X.astype(np.float64)]
    for i in range(2):
        h.append(np.tanh(h[-1] @ w[f"{i}.weight"] + w[f"{i}.bias"]))
    logits = h[2] @ w["2.weight"] + w["2.bias"]
    e = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(10)[y]
    d2 = e @ w["2.weight"].T * (1 - h[2] ** 2)
    d1 = d2 @ w["1.weight"].T * (1 - h[1] ** 2)
    norms = [np.linalg.norm(a.T @ d / 50) for a, d in ((h[0], d1), (h[1], d2))]
    assert reference_norm(task, net, X, y) == pytest.approx(min(norms), rel=1e-4)
    size = [math.sqrt((a**2).mean()) for a in h]
    expected = max(size[1] / size[0], size[2] / size[1])
    assert growth(task, net, X) == pytest.approx(expected, rel=1e-4)


def test_growth_of_wide_layers_is_near():
    """Layers of more than 256 outputs are read in random directions."""
    image, task = tasks.DigitsImage(), tasks.Digits()
    assert growth(image, image.build("dfa", "bptt", 0.1, 0), image.data().X_test[:50]) > 0
    X = task.data().X_test[:50]
    wide = fa.Sequential([fa.Dense(2000), fa.Dense(10)], input_shape=64, rng=0)
    h = X.astype(np.float64) @ wide.parameters["0.weight"]
    expected = math.sqrt((h**2).mean() / (X.astype(np.float64) ** 2).mean())
    assert growth(task, wide, X) == pytest.approx(expected, rel=0.1)


def test_the_floors_of_add():
    """The published 0.6616 and 0.4545 nats; the probabilities by a loop."""
    none, best = tasks.add_entropies()
    assert (round(none, 4), round(best, 4)) == (0.6616, 0.4545)
    data = tasks.Add().data()
    for x, p in zip(data.X_test[:20, :, 0], data.y_test[:20, :, 0], strict=True):
        for t in range(30):
            if t < 5:
                assert math.isnan(p[t])
            else:
                assert p[t] == 0.5 + 0.5 * x[t - 3] - 0.25 * x[t - 5]
    assert set(np.unique(data.y[~np.isnan(data.y)])) == {0.0, 1.0}

    class Knows:
        """Logits of the right probabilities, or of the mean one."""

        def __init__(self, p):
            self.p = p

        def predict(self, X, output):
            p = np.clip(self.p.astype(np.float64), 1e-12, 1 - 1e-12)
            return np.log(p / (1 - p))

    score = tasks.Add().score
    assert score(Knows(data.y_test), data.X_test, data.y_test) == pytest.approx(100, abs=3)
    mean = Knows(np.full_like(data.y_test, 0.625))
    assert score(mean, data.X_test, data.y_test) == pytest.approx(0, abs=3)


# ---- what is written ----


def test_csv_json_and_page_agree(small):
    folder, runs, text = small
    whole = json.loads((folder / "results.json").read_text())
    rows = table_of(folder)
    assert (folder / "SUITE.md").read_text() == text
    for row, of, each in zip(rows, whole["summaries"], runs, strict=True):
        assert (row["rule"], float(row["score"])) == (of["rule"], of["score"])
        assert of["score"] == median(final["score"] for final in each.finals)
        assert row["angle"] == ("" if of["angle"] is None else str(of["angle"]))
        assert row["suspicious"] == "; ".join(of["suspicious"])
        line = f"| `{of['rule']}` | {of['score']:.2f} | {of['low']:.2f} | {of['high']:.2f} |"
        assert line in text
    assert [each["finals"] for each in whole["runs"]] == [each.finals for each in runs]
    assert "Tier **small**: 3 learning rates, 2 seeds" in text


def test_figures(small, tmp_path):
    pytest.importorskip("matplotlib")
    _, runs, _ = small
    suite.write(SMALL, runs, tmp_path, figures="svg")
    for name in ("gap", "cost", "rates"):
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(suite.TIERS, "smoke", suite.Tier("smoke", ("digits",), 1, 1, 0.05))
    words = ["suite", "--tier", "smoke", "--rule", "dfa", "--out", str(tmp_path / "s")]
    page = tmp_path / "page.md"
    assert main([*words, "--page", str(page), "--workers", "1"]) == 0
    said = capsys.readouterr()
    assert "| `dfa` |" in said.out
    assert "suite: about " in said.err
    assert "digits: 3 trial runs of 2 epochs" in said.err
    assert page.read_text().startswith("# The suite")
    assert main([*words, "--page", str(tmp_path / "none" / "p.md")]) == 2
    assert "say where with --page" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "digit"], '--task: expected one of "digits"'),
        (["--rule", "dfaa"], '--rule: expected one of "backprop"'),
        (["--rule", "time=rflow"], '--rule: time: expected one of "bptt"'),
        (["--task", "no_such:Task"], '--task: expected a class, got "no_such:Task"; write module'),
        (["--rule", "fastfa:SGD"], '--rule: expected a class that derives from Rule, got "fast'),
        (["--task", "fastfa.experiments.suite:Task"], "--task: expected a class of a task, got"),
    ],
)
def test_mistakes(words, said, tmp_path, capsys):
    assert main(["suite", "--tier", "smoke", "--out", str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err


def test_tasks_are_complete():
    for name, kind in tasks.TASKS.items():
        assert kind.name == name
        assert tasks.check(kind) is kind
    assert {t for tier in suite.TIERS.values() for t in tier.tasks} == {*tasks.TASKS}

    class Nameless(tasks.Digits):
        def data(self):
            return (1, 2)

    with pytest.raises(TypeError, match=r"Nameless\.data: expected a Split of 6 arrays, got tuple"):
        tasks.load(Nameless)

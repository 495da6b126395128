"""Presets of published experiments, and the page that compares."""

import math

import numpy as np
import pytest

import fastfa as fa
from fastfa import reproduce
from fastfa.__main__ import main
from fastfa.experiments import recipes
from fastfa.experiments.presets import PRESETS, Preset, Row
from fastfa.experiments.runs import Run, Store
from fastfa.rules import RULES


def fake_mnist(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (200, 28, 28), dtype=np.uint8), rng.integers(0, 10, 200)
    file = tmp_path / "m.npz"
    np.savez(file, x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    return file


def preset_of(*rows, **options):
    """A preset without any training."""
    options = {"run": lambda *_: None} | options
    return Preset("a title", "settings", "a source", "accuracy, %", 3, 1.0, rows, **options)


def run_of(rule, seed, curve, what=""):
    one = Run("toy", rule, seed, 1, seconds=1.0, build="a build")
    for at, value in curve.items():
        one.log(at, value, what)
    return one


def lines_of(text, *starts):
    return [line for line in text.splitlines() if line.startswith(starts)]


def test_a_section_says_what_is_in_band_and_by_how_much_not():
    rows = (
        Row("dfa", 5, 90.0, 89.0, 91.0),
        Row("dfa", 10, 95.0, 94.0, 96.0),
        Row("fa", 10, 95.0, second_hand=True),
        Row("fa", 50, math.nan, low=96.0),  # not reached
        Row("fa", 10, 40.0, 39.0, 41.0, what="angle"),
    )
    curves = [{5: 90.5, 10: 92.0}, {5: 80.0, 10: 93.0}, {5: 91.0, 10: 99.0}]
    runs = [run_of("dfa", seed, curve) for seed, curve in enumerate(curves)]
    runs.append(run_of("fa", 0, {10: 50.0}))
    runs[-1].log(10, 42.5, "angle")
    verdict, text = reproduce.section("toy", preset_of(*rows), runs)
    assert verdict == "1 of 3 in band, 1 not run"
    assert lines_of(text, "| dfa", "| fa") == [
        "| dfa | 5 | 90 | 90.50 | 80.00 | 91.00 | 3 | 89 to 91 | in band |",
        "| dfa | 10 | 95 | 93.00 | 92.00 | 99.00 | 3 | 94 to 96 | **1.00 below** |",
        "| fa | 10 | 95 † | 50.00 | 50.00 | 50.00 | 1 | - |  |",
        "| fa | 50 | - | - | - | - | 0 | ≥ 96 | not run |",
        "| fa, angle | 10 | 40 | 42.50 | 42.50 | 42.50 | 1 | 39 to 41 | **1.50 above** |",
    ]


def test_a_row_may_compare_two_rules_seed_by_seed():
    row = Row("kp", 5, math.nan, low=-0.3, relative_to="backprop")
    runs = [run_of("kp", seed, {5: value}) for seed, value in enumerate((97.0, 98.0, 99.0))]
    runs += [run_of("backprop", seed, {5: value}) for seed, value in ((1, 98.5), (2, 99.1))]
    verdict, text = reproduce.section("toy", preset_of(row), runs)
    assert verdict == "1 of 1 in band"
    (line,) = lines_of(text, "| kp")
    assert line == "| kp minus backprop | 5 | - | -0.30 | -0.50 | -0.10 | 2 | ≥ -0.3 | in band |"


def test_the_table_of_rules_takes_the_end_of_full_runs_and_the_least_time():
    preset = preset_of(Row("fa", 2, math.nan), Row("dfa", 2, math.nan), table=("ms a step",))
    runs = [run_of("fa", 0, {1: 10.0, 2: 90.0}), run_of("fa", 1, {1: 50.0, 2: 92.0})]
    runs.append(run_of("fa", 9, {1: 20.0}))  # too short for the accuracy
    for one, ms in zip(runs, (3.0, 4.0, 1.5), strict=True):
        one.log(one.length, ms, "ms a step")
    _, text = reproduce.section("toy", preset, runs)
    assert "| rule | accuracy, % | ms a step |\n|---|--:|--:|\n| fa | 91.00 | 1.50 |" in text
    assert "| dfa | - | - |" in text


def test_the_store_gives_the_longest_run_of_this_version(tmp_path):
    store = Store(tmp_path / "runs.jsonl")
    assert store.of("toy", 1) == []
    long, short, last = (run_of("fa", 0, c) for c in ({1: 1.0, 2: 2.0}, {1: 7.0}, {2: 3.0}))
    other = run_of("fa", 0, {5: 0.0})
    other.version = 2
    for one in (long, short, other):
        store.add(one)
    assert store.of("toy", 1) == [long]
    store.add(last)  # as long: made again
    assert store.of("toy", 1) == [last]
    assert store.of("toy", 2) == [other]
    assert store.of("another", 1) == []
    store.path.write_text("not json\n")
    with pytest.raises(ValueError, match="line 1: not a run"):
        store.of("toy", 1)


def test_the_store_survives_a_line_that_was_cut(tmp_path):
    """By a kill while a run was added; the whole ones stay, and others are added."""
    store = Store(tmp_path / "runs.jsonl")
    first, second = run_of("fa", 0, {1: 1.0}), run_of("fa", 1, {1: 2.0})
    store.add(first)
    whole = store.path.read_bytes()
    for cut in range(1, len(whole)):
        store.path.write_bytes(whole + whole[:cut])
        assert store.of("toy", 1) == [first]
        store.add(second)
        assert store.of("toy", 1) == [first, second]
        assert store.path.read_bytes().startswith(whole)
    store.path.write_bytes(whole[:-1])  # by hand, say
    assert store.of("toy", 1) == [first]
    store.add(second)
    assert store.of("toy", 1) == [first, second]


def test_a_stopped_command_goes_on_where_it_was(tmp_path, monkeypatch):
    made = []

    def run(rule, seed, length, _data, log):
        made.append((rule, seed, length))
        for at in range(1, length + 1):
            if len(made) == 3 and at == 2:
                raise KeyboardInterrupt
            log(at, 10.0 * at)

    preset = preset_of(Row("fa", 3, 30.0), Row("dfa", 2, 20.0), run=run, needs_mnist=False)
    monkeypatch.setitem(PRESETS, "toy", preset)
    store, both = Store(tmp_path / "runs.jsonl"), reproduce.Part(seeds=(0, 1))
    with pytest.raises(KeyboardInterrupt):
        reproduce.reproduce("toy", store, both, progress=False)
    assert made == [("fa", 0, 3), ("dfa", 0, 2), ("fa", 1, 3)]
    assert [(r.rule, r.seed, r.length) for r in store.of("toy", 1)] == [
        ("dfa", 0, 2),
        ("fa", 0, 3),
        ("fa", 1, 1),  # what it had measured
    ]
    reproduce.reproduce("toy", store, both, progress=False)
    assert made[3:] == [("fa", 1, 3), ("dfa", 1, 2)]
    reproduce.reproduce("toy", store, both, progress=False)
    reproduce.reproduce("toy", store, reproduce.Part(epochs=1), progress=False)
    assert made[5:] == [("fa", 2, 1), ("dfa", 2, 1)]
    part = reproduce.Part(rules=("dfa",), seeds=(0,), again=True)
    reproduce.reproduce("toy", store, part, progress=False)
    assert made[7:] == [("dfa", 0, 2)]


def test_the_page_keeps_other_sections(tmp_path):
    page = tmp_path / "page.md"
    reproduce.update_page(page, "nokland-1x800", "0 of 3 in band", "## second\n")
    reproduce.update_page(page, "akrout", "1 of 8 in band", "## first\n")
    reproduce.update_page(page, "nokland-1x800", "3 of 3 in band", "## second, again\n")
    text = page.read_text()
    assert lines_of(text, "## ") == ["## first", "## second, again"]
    assert "| nokland-1x800: MNIST, 800 tanh | 3 of 3 in band |" in text
    assert "0 of 3" not in text
    assert "Not run yet: linear" in text


def test_the_linear_experiment_is_in_its_bands(tmp_path, capsys):
    page = tmp_path / "page.md"
    assert main(["reproduce", "linear", "--page", str(page)]) == 0
    assert "2 of 2 in band" in capsys.readouterr().out
    first = page.read_text()
    assert "2 of 2 in band" in first
    assert main(["reproduce", "page", "--page", str(page)]) == 0
    assert page.read_text() == first


@pytest.mark.parametrize("name", [name for name, p in PRESETS.items() if p.needs_mnist])
def test_every_preset_runs(name, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "BURSTS", 2)
    file, page = fake_mnist(tmp_path), tmp_path / "page.md"
    arguments = ["--seeds", "1", "--epochs", "1", "--data", str(file), "--page", str(page)]
    rules = PRESETS[name].rules[:4]
    for rule in rules:
        arguments += ["--rule", rule]
    assert main(["reproduce", name, *arguments]) == 0
    assert f"## {name}: " in page.read_text()
    made = Store(page.with_suffix(".jsonl")).of(name, PRESETS[name].version)
    assert [(run.rule, run.length) for run in made] == [(rule, 1) for rule in sorted(rules)]
    assert all(0 <= run.curves[""][1] <= 100 for run in made)


@pytest.mark.parametrize("lr", [0.01, 0.0])
def test_a_run_may_end_where_nothing_is_left_to_learn(lr):
    X, y, X_test, y_test = fa.datasets.load("digits")
    X, y = X[:60], y[:60]
    nets, curves = [], {}

    def build(rule, seed):
        layers = [fa.Dense(64, "relu"), fa.Dense(10)]
        net = fa.Sequential(layers, input_shape=64, rule=rule, optimizer=fa.Adam(lr), rng=seed)
        nets.append(net)
        return net

    def log(at, value, what=""):
        curves.setdefault(what, {})[at] = value

    run = recipes.MnistRun(build, 10, error=True, learned_every=5)
    run("backprop", 0, 40, (X, y, X_test, y_test), log)
    (net,) = nets
    error = 100 * (1 - net.evaluate(X_test, y_test)["accuracy"])
    assert curves["epochs"] == {40: net.epochs}
    assert curves[""][40] == curves[""][net.epochs] == pytest.approx(error)
    if lr:
        assert net.epochs in (5, 10, 15, 20, 25, 30, 35)
        assert net.evaluate(X, y)["accuracy"] == 1.0
    else:
        assert net.epochs == 40


def test_the_table_is_sound():
    for preset in PRESETS.values():
        assert preset.source
        assert preset.settings
        for row in preset.rows:
            assert row.low < row.high
            assert not row.relative_to or row.relative_to in preset.rules
        assert any(math.isfinite(row.expected) or row.has_band for row in preset.rows)


def test_every_rule_is_compared():
    assert set(RULES) <= set(PRESETS["rules"].rules)


def test_list(capsys):
    assert main(["reproduce", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in PRESETS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["akrut"], "got 'akrut'; nearest: akrout"),
        (["linear", "--rule", "drtp"], "--rule: expected one of 'fa', got 'drtp'"),
        (["linear", "--page", "/no such directory/page.md"], "no directory"),
        (["akrout", "--data", "/nowhere/mnist.npz"], "no MNIST at"),
    ],
)
def test_what_cannot_run_is_refused(arguments, message, capsys):
    assert main(["reproduce", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_page_is_in_the_current_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "linear"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "reproduction.jsonl",
        "reproduction.md",
    ]
    assert "written to reproduction.md" in capsys.readouterr().out


def test_missing_data_are_reported_first_and_by_the_words_of_the_command_line(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTFA_MNIST", raising=False)
    assert main(["reproduce", "linear", "akrout"]) == 2
    assert "give path= (--data on the command line), or set FASTFA_MNIST" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []  # also the experiment that needs no MNIST has not run
    for command in (["reproduce", "akrout"], ["demo"]):
        assert main([*command, "--data", "nofile"]) == 2
        text = capsys.readouterr().err
        assert "no MNIST at 'nofile'" in text
        assert "path= (--data on the command line)" in text

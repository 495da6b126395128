"""Presets of published experiments, and the page that compares."""

import math

import numpy as np
import pytest

from fastfa import reproduce
from fastfa.__main__ import main
from fastfa.presets import PRESETS, Preset, Row


def fake_mnist(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (200, 28, 28), dtype=np.uint8), rng.integers(0, 10, 200)
    file = tmp_path / "m.npz"
    np.savez(file, x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    return file


def toy(rows, curves):
    """A preset and its results without any training."""
    preset = Preset(
        "a title", "settings", "a source", "accuracy, %", 10, 3, 1.0, rows, lambda *_: {}
    )
    results = {rule: reproduce.Result(list(c), [1.0] * len(c)) for rule, c in curves.items()}
    return preset, results


def test_a_section_says_what_is_in_band_and_by_how_much_not():
    rows = (
        Row("dfa", 5, 90.0, 89.0, 91.0),
        Row("dfa", 10, 95.0, 94.0, 96.0),
        Row("fa", 10, 95.0),
        Row("fa", 50, 97.0, 96.0, 98.0),  # not reached
    )
    curves = {"dfa": [{5: 90.5, 10: 92.0}, {5: 80.0, 10: 93.0}, {5: 91.0, 10: 99.0}]}
    curves["fa"] = [{10: 50.0}] * 3
    verdict, text = reproduce.section("toy", *toy(rows, curves), epochs=10)
    assert verdict == "1 of 2 in band"
    shorter, _ = reproduce.section("toy", *toy(rows[:1], curves), epochs=5)
    assert shorter == "1 of 1 in band (after 5 of 10 epochs)"
    lines = [line for line in text.splitlines() if line.startswith(("| dfa", "| fa"))]
    assert lines == [
        "| dfa | 5 | 90 | 90.50 | 80.00 | 91.00 | 89 to 91 | in band |",
        "| dfa | 10 | 95 | 93.00 | 92.00 | 99.00 | 94 to 96 | **1.00 below** |",
        "| fa | 10 | 95 | 50.00 | 50.00 | 50.00 | - |  |",
    ]


def test_the_page_keeps_other_sections(tmp_path):
    page = tmp_path / "page.md"
    reproduce.update_page(page, "nokland-1x800", "0 of 3 in band", "## second\n")
    reproduce.update_page(page, "akrout", "1 of 8 in band", "## first\n")
    reproduce.update_page(page, "nokland-1x800", "3 of 3 in band", "## second, again\n")
    text = page.read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## first",
        "## second, again",
    ]
    assert "| nokland-1x800: MNIST, 800 tanh | 3 of 3 in band |" in text
    assert "0 of 3" not in text
    assert "Not run yet: linear" in text


def test_the_linear_experiment_is_in_its_bands(tmp_path, capsys):
    page = tmp_path / "page.md"
    assert main(["reproduce", "linear", "--page", str(page)]) == 0
    assert "2 of 2 in band" in capsys.readouterr().out
    assert "2 of 2 in band" in page.read_text()


@pytest.mark.parametrize("name", [name for name, p in PRESETS.items() if p.needs_mnist])
def test_every_preset_runs(name, tmp_path, capsys):
    file, page = fake_mnist(tmp_path), tmp_path / "page.md"
    arguments = ["--seeds", "1", "--epochs", "1", "--data", str(file), "--page", str(page)]
    assert main(["reproduce", name, *arguments]) == 0
    assert f"## {name}: " in page.read_text()
    for rule in PRESETS[name].rules:
        assert f" {rule} " in capsys.readouterr().out or rule in page.read_text()


def test_the_table_is_sound():
    for preset in PRESETS.values():
        assert preset.source
        assert preset.settings
        for row in preset.rows:
            assert row.at <= preset.epochs
            assert row.low < row.high
            assert math.isfinite(row.expected)


def test_list(capsys):
    assert main(["reproduce", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in PRESETS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["akrut"], "got 'akrut' (nearest: akrout)"),
        (["linear", "--page", "/no such directory/page.md"], "no directory"),
        (["akrout", "--data", "/nowhere/mnist.npz"], "no MNIST at"),
    ],
)
def test_what_cannot_run_is_refused(arguments, message, capsys):
    assert main(["reproduce", *arguments]) == 2
    assert message in capsys.readouterr().err

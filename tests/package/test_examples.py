"""Every example runs, in a few epochs, and writes its plot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("[a-z]*.py"))
PLOTTED = [name for name in NAMES if name != "own_rule"]

pytest.importorskip("matplotlib")


def run(name, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )


def test_the_page_lists_every_example():
    page = (EXAMPLES / "README.md").read_text()
    assert [name for name in NAMES if f"`{name}.py`" not in page] == []
    assert len(PLOTTED) == 7


def test_own_rule():
    done = run("own_rule")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the same weights to the bit: True" in done.stdout


@pytest.mark.parametrize("name", PLOTTED)
def test_example(name, tmp_path):
    done = run(name, "--epochs", "1", "--plot", str(tmp_path / "plot.png"))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) >= 3
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_random_feedback_learns():
    """The story that its text tells: accuracy climbs, the angle falls, the descent test turns."""
    header, first, *_, last = run("random_feedback_learns").stdout.splitlines()
    assert header.split()[0] == "epoch"
    (_, angle0, descent0, accuracy0), (_, angle, descent, accuracy) = (
        map(float, line.split()) for line in (first, last)
    )
    assert descent0 < 0 < descent
    assert angle < angle0 - 15
    assert accuracy > accuracy0 + 60

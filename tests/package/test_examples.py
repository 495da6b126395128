"""Every example runs, in a few epochs, and writes its plot."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("[a-z]*.py"))
PLOTTED = [name for name in NAMES if name not in ("own_rule", "own_task", "data_parallel_mpi")]

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
    assert len(PLOTTED) == 8


def test_own_rule():
    done = run("own_rule")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the same weights to the bit: True" in done.stdout


def test_a_network_that_learns_on_follows_the_drift():
    done = run("drifting_sensor", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()[1:]
    assert float(first.split()[-1]) < 0.2
    learns, stopped = map(float, last.split()[-2:])
    assert learns < stopped / 3


def test_own_task(tmp_path):
    done = run("own_task", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "| `own_task:Halved` |" in done.stdout
    assert (tmp_path / "results.csv").exists()


@pytest.mark.skipif(not shutil.which("mpiexec"), reason="mpiexec, of an MPI library, is missing")
def test_data_parallel_mpi():
    """Three processes train as one does; weights that differ would show in the last line."""
    pytest.importorskip("mpi4py", reason="the package mpi4py is missing")
    code = str(EXAMPLES / "data_parallel_mpi.py")
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_rmaps_base_oversubscribe": "1"}  # fmt: skip
    done = subprocess.run(
        ["mpiexec", "-n", "3", sys.executable, "-W", "error", code, "--epochs", "2"],
        capture_output=True, text=True, check=False, env={**os.environ, **allowed}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *_, (_, accuracy, apart), last = map(str.split, done.stdout.splitlines())
    assert float(accuracy) > 0.85
    assert 0 < float(apart) < 1e-12
    assert last[-1] == "True"


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

"""bench/gpu.py runs over the fake `cupy`, as it will over a GPU."""

import json
import subprocess
import sys

import pytest
from compiling import ROOT

RULES = ("backprop", "dfa")
MEASURED = ("machine", "bits", "steps", "depth", "host", "replicas")


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "bench").exists(), reason="not in this distribution")
def test_every_part_runs_over_the_fake(tmp_path):
    command = [sys.executable, "-W", "error", ROOT / "bench/gpu.py", "--fake", "--out", tmp_path]
    done = subprocess.run(
        [*command, "--only", *MEASURED], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert list(results) == list(MEASURED)
    assert [part for part in MEASURED if {"failed", "not measured"} & set(results[part])] == []
    assert results["bits"]["different"] == []
    assert results["bits"]["cases"] == 8
    assert all(results["replicas"][rule]["bits of a training alone"] for rule in RULES)
    assert results["bits"]["largest relative gap of losses"] < 1e-12


def test_a_part_that_fails_leaves_its_error_and_the_next_one_begins(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "bench")
    import gpu

    def fails(run):
        raise RuntimeError("no memory")

    def missing(run):
        raise ImportError("no such package")

    rows = {"one": (fails, 5), "two": (missing, 5), "three": (lambda run: {"x": 1}, 5)}
    monkeypatch.setattr(gpu, "PARTS", rows)
    gpu.parts(gpu.Run(tmp_path, fake=False), list(rows))
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert results["one"]["failed"] == "RuntimeError: no memory"
    assert results["two"]["not measured"] == "no such package"
    assert results["three"]["x"] == 1

"""Files of every version so far load, predict and train on to the same bits."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

import fastfa as fa

FOLDER = Path(__file__).parents[1] / "golden"
FILES = sorted(FOLDER.glob("*/*.safetensors"))

_spec = importlib.util.spec_from_file_location("make", FOLDER / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


def test_there_are_files():
    assert len(FILES) >= 5


@pytest.mark.parametrize("file", FILES, ids=[f"{file.parent.name}-{file.stem}" for file in FILES])
def test_file_loads_predicts_and_trains_on(file):
    expected = json.loads(file.with_name("expected.json").read_text())[file.stem]
    net = fa.load(file)
    assert _lines(net.summary()) == _lines(expected["summary"])
    found = make.facts(net)
    if fa.build_info()["isa"] in ("v3", "v4"):  # the bits of which are the same
        assert found == {key: expected[key] for key in found}
    logits = [[float.fromhex(x) for x in each["logits"]] for each in (found, expected)]
    np.testing.assert_allclose(*logits, rtol=1e-4)


def _lines(summary):
    """Without the number of threads, and without the words that versions say in their own way.

    Those are `input_scale`, the rate of SGD, and an initialiser that is no longer the default.
    """
    plain = re.sub(r'input_scale=(?:"auto"|\S+): |(?<=SGD\()lr=', "", summary)
    plain = re.sub(r"(?<='relu'), weight_init='he_uniform'|(?<=-)-+|(?<= ) +", "", plain)
    return [line for line in plain.splitlines() if not line.startswith("threads")]

"""The speed table's own arithmetic: nothing is timed."""

import re

import numpy as np
import pytest
from rounds import ROOT, per_round
from table import CASES, STORE, best_median, long, steps, three_digits
from targets import (
    DEEP,
    MEDIUM,
    NETS,
    ROWS,
    SMALL,
    Cell,
    Row,
    faster,
    load,
    measured,
    over,
    share_of_peak,
)
from workloads import flops


@pytest.fixture(autouse=True)
def conditions():
    """Instead of the one that needs a benchmark."""


@pytest.mark.parametrize(
    ("net", "backprop", "dfa"),
    [
        ("64-128-128-10", 4.44, 3.47),
        ("784-512-512-10", 410.8, 345.0),
        ("784-1024x4-10", 5670, 4075),
    ],
)
def test_operations_of_a_step(net, backprop, dfa):
    found = [flops(*NETS[net], rule) / 1e6 for rule in ("backprop", "dfa")]
    np.testing.assert_allclose(found, [backprop, dfa], rtol=2e-3)


def test_one_hidden_layer_saves_nothing():
    assert flops([784, 1000, 10], 64) == flops([784, 1000, 10], 64, "dfa")


def test_ratios_are_taken_within_a_round_against_the_best():
    rounds = {"own": [1.0, 10.0], "peer t1": [2.0, 40.0], "peer t2": [4.0, 20.0], "peak": [90, 100]}
    assert per_round(rounds, "own", "peer") == [0.5, 0.5]
    assert over("own", "peer t1")(rounds) == [0.5, 0.25]
    assert faster("own", "peer t1")(rounds) == [2, 4]
    # 5000 operations in 1 us are 5 GF/s, of 100
    np.testing.assert_allclose(share_of_peak("own", 5000)(rounds), [5, 0.5])


@pytest.mark.parametrize(
    ("at_most", "reached", "stretched"), [(True, True, False), (False, False, False)]
)
def test_a_target_is_a_ceiling_or_a_floor(at_most, reached, stretched):
    cell = Cell("case", over("a", "b"), target=1.0, stretch=0.5 if at_most else 2.0)
    store = {"cases": {"case": {"rounds": {"a": [2.0, 3.0, 4.0], "b": [4.0, 4.0, 4.0]}}}}
    figure = measured(Row("", "", at_most, "", {1: cell}), cell, store)
    assert figure == (0.75, 0.5, 1.0, reached, stretched)


def test_what_was_not_measured_has_no_figure():
    row = ROWS[0]
    assert all(measured(row, cell, {"cases": {}}) is None for cell in row.cells.values())


def test_every_row_has_a_case_that_measures_it():
    assert {cell.case for row in ROWS for cell in row.cells.values()} <= set(CASES)


@pytest.mark.parametrize("case", ["elementwise", "product t1", "memory sgd"])
def test_the_programs_still_measure(case):
    group = CASES[case]()
    assert group
    for one in group:
        assert min(one.sample(0.01)) > 0


def test_a_peer_of_the_readme_is_at_its_best_setting():
    rounds = {"own": [1.0], "torch t1": [9.0, 1.0, 5.0], "torch t2": [4.0, 8.0, 4.0]}
    assert best_median(rounds, "torch") == 4
    assert best_median(rounds, "jax") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(20.371, "20.4"), (179.68, "180"), (999.4, "999"), (999.6, "1,000"), (67197.0, "67,200")],
)
def test_three_digits(value, text):
    assert three_digits(value) == text


def test_the_documents_hold_what_was_measured():
    """Else: python bench/table/table.py --markdown."""
    store = load(STORE)
    assert steps(store) in (ROOT / "README.md").read_text()
    assert long(store) + "\n" == (ROOT / "bench" / "TABLE.md").read_text()


def test_the_first_claim_of_the_readme():
    """How many times faster than PyTorch on one thread; three networks."""
    cases = load(STORE)["cases"]
    rounds = [cases[f"{net} t1"]["rounds"] for net in (SMALL, MEDIUM, DEEP)]
    ratios = [best_median(one, "torch") / best_median(one, "own backprop") for one in rounds]
    page = (ROOT / "README.md").read_text()
    claim = re.search(r"(\S+) to (\S+) times as many training steps a second as PyTorch", page)
    assert claim.groups() == (f"{min(ratios):.1f}", f"{max(ratios):.1f}")

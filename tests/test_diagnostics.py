"""Deltas from the engine, the descent test, effective rank, and the callbacks that record them."""

import numpy as np
import pytest
from networks import TAUGHT, assert_close, dense, description, dropout, pair, rule, samples

import fastfa as fa

# ------------------------------------------------------------------------------------------ deltas


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "inject"), TAUGHT)
def test_deltas_are_those_of_the_reference(name, inject, dtype):
    layers = [dense(12, "tanh"), dropout(0.3), dense(9, "sigmoid"), dense(4)]
    desc = description(layers, 6, rule(name, inject), dtype=dtype)
    mine, ref = pair(desc)
    data = samples(desc, 30, weights=True)
    before = mine.state()
    deltas, expected = mine.deltas(*data), ref.deltas(*data)
    assert mine.state() == before
    assert [d is None for d in deltas] == [d is None for d in expected]
    for got, want in zip(deltas, expected, strict=True):
        if want is not None:
            assert got.dtype == dtype
            assert_close(got, want, dtype)


# ---------------------------------------------------------------------- descent and effective rank


def network(rule, layers=None, **changes):
    layers = layers or [fa.Dense(9, "tanh"), fa.Dropout(0.2), fa.Dense(6, "sigmoid"), fa.Dense(4)]
    return fa.Sequential(layers, input_shape=5, rule=rule, dtype="float64", rng=3, **changes)


def batch(m=40):
    rng = np.random.default_rng(1)
    return rng.standard_normal((m, 5)), rng.integers(0, 4, m)


def cosine(a, b):
    return (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())


@pytest.mark.parametrize("name", ["fa", "dfa", "sdfa"])
def test_descent_is_the_cosine_of_what_rule_and_weights_carry(name):
    net, (x, y) = network(name), batch()
    d0, d2, e = net._engine.deltas(x, y, None, None)
    assert d0.shape == (40, 9)
    w2, w3 = net.parameters["2.weight"], net.parameters["3.weight"]
    b0, b2 = net.feedback["0.feedback"], net.feedback["2.feedback"]
    first, second = net.alignment(x, y)
    assert second.descent == pytest.approx(cosine(e @ b2, e @ w3.T))
    expected = cosine(d2 @ b0, d2 @ w2.T) if name == "fa" else cosine(e @ b0, e @ (w2 @ w3).T)
    assert first.descent == pytest.approx(expected)
    sign = np.sign(sum(e_i @ w3.T @ (e_i @ b2) for e_i in e))
    assert np.sign(second.descent) == sign


def test_descent_follows_the_feedback():
    net, (x, y) = network("dfa"), batch()
    product = net.parameters["2.weight"] @ net.parameters["3.weight"]
    for sign in (1, -1):
        net.feedback["0.feedback"] = sign * product.T
        assert net.alignment(x, y)[0].descent == pytest.approx(sign)
    net.feedback["0.feedback"] = np.zeros((4, 9))
    assert np.isnan(net.alignment(x, y)[0].descent)


def test_descent_is_1_for_backprop_and_none_without_an_error():
    x, y = batch()
    assert [row.descent for row in network("backprop").alignment(x, y)] == pytest.approx([1, 1])
    assert [row.descent for row in network("drtp").alignment(x, y)] == [None, None]
    assert [row.descent for row in network("frozen").alignment(x, y)] == [None, None]
    mixed = network("dfa", [fa.Dense(9, rule="frozen"), fa.Dense(6, "tanh"), fa.Dense(4)])
    first, second = mixed.alignment(x, y)
    assert first.descent is None
    assert -1 < second.descent < 1


@pytest.mark.parametrize("m", [3, 40, 9000])  # wide, tall, and taller than one piece
def test_effective_rank_of_the_deltas(m):
    net, (x, y) = network("dfa"), batch(m)
    for row, delta in zip(net.alignment(x, y), net._engine.deltas(x, y, None, None), strict=False):
        singular = np.linalg.svd(delta, compute_uv=False)
        p = singular / singular.sum()
        p = p[p > 1e-12]
        assert row.effective_rank == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)
        assert 1 <= row.effective_rank <= min(delta.shape) + 1e-9


def test_effective_rank_of_known_matrices():
    rank = fa._diagnostics.effective_rank
    assert rank(np.eye(7)) == pytest.approx(7)
    assert rank(1e-30 * np.eye(7, 12, dtype=np.float32)) == pytest.approx(7)
    assert rank(np.outer(np.arange(1, 5), np.arange(1, 9))) == pytest.approx(1, abs=1e-5)
    assert np.isnan(rank(np.zeros((3, 4))))
    assert all(np.isnan(row.effective_rank) for row in network("frozen").alignment(*batch()))

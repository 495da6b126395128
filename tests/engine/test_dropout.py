"""Dropout's masks, read off the engine: how many, where, how independent, of which seed.

A layer of zero weights under a mean squared error with target -I has the deltas I, so its weight
gradient is the (m, n) matrix of dropped-out inputs, transposed and divided by m.
"""

import numpy as np
import pytest
from networks import dense, description, dropout

from fastfa import _core
from fastfa.backends import reference as _ref

ROWS, COLS = 200, 301


def network_of(rate, rows=ROWS, cols=COLS, before=(), **changes):
    zeros = {"name": "zeros", "scale": 1.0}
    layers = [*before, dropout(rate), dense(rows, weight_init=zeros, bias_init=zeros)]
    return _core.Network(description(layers, cols, **{"loss": "mse", "seed": 11, **changes}))


def dropped(net, x=None):
    """The inputs (m, n) after dropout in the next step."""
    rows = net.n_out
    x = np.ones((rows, net.n_in), net.dtype) if x is None else x
    (gradient,) = (
        g
        for k, g in net.gradients(x, None, -np.eye(rows, dtype=net.dtype), None)[1].items()
        if "weight" in k
    )
    return rows * gradient.T


def masks(net, steps):
    """The 0/1 masks of the next steps; a step that changes no weight lies between them."""
    net.lr = 0.0
    y, x = np.zeros((net.n_out, net.n_out), net.dtype), np.ones((net.n_out, net.n_in), net.dtype)
    found = []
    for _ in range(steps):
        found.append(dropped(net) > 0)
        net.train_batch(x, None, y, None)
    return np.array(found)


def assert_share(hits, expected):
    """The mean of independent 0/1 draws lies within five standard deviations."""
    deviation = np.sqrt(expected * (1 - expected) / hits.size)
    assert abs(hits.mean() - expected) <= 5 * deviation + 1e-12


# ----------------------------------------------------------------------------- values, frequencies


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.5, 0.9, 0.99])
def test_kept_values_are_scaled_and_as_many_as_asked(rate, dtype):
    values = dropped(network_of(rate, dtype=dtype))
    kept = values != 0
    assert_share(kept, 1 - rate)
    np.testing.assert_allclose(values[kept], 1 / (1 - rate), rtol=1e-5)
    assert rate or kept.all()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_expectation_is_the_input(rate, rng):
    x = rng.uniform(0.5, 1.5, (50, 40))
    net = network_of(rate, 50, 40)
    net.lr = 0.0
    total = np.zeros_like(x)
    for _ in range(400):
        total += dropped(net, x)
        net.train_batch(x, None, np.zeros((50, 50)), None)
    error = (total / 400 - x) / (x * np.sqrt(rate / (1 - rate) / 400))
    assert np.abs(error).max() < 6
    assert abs(error.mean()) < 5 / np.sqrt(error.size)


def test_every_row_and_column_has_its_share():
    kept = masks(network_of(0.3, 60, 70), 50)
    for axes, n in (((0, 1), 50 * 60), ((0, 2), 50 * 70), ((1, 2), 60 * 70)):
        share = kept.mean(axis=axes)
        assert np.abs(share - 0.7).max() < 5 * np.sqrt(0.21 / n)


# --------------------------------------------------------------------------------- independence


def agreement(a, b):
    """Share of places where two masks agree."""
    return a == b


def test_rows_columns_and_steps_are_independent():
    """With rate 1/2, two independent masks agree on half of their places."""
    kept = masks(network_of(0.5, 96, 128), 12)
    for axis in range(3):
        for shift in (1, 2, 3, 4, 5, 8):
            assert_share(agreement(kept, np.roll(kept, shift, axis)), 0.5)
    flat = kept.reshape(12, -1)
    for shift in (1, 4, 127, 128, 129):
        assert_share(agreement(flat, np.roll(flat, shift, 1)), 0.5)


def test_no_two_masks_are_equal():
    kept = masks(network_of(0.5, 30, 64), 40)
    rows = {row.tobytes() for row in kept.reshape(-1, 64)}
    assert len(rows) == 40 * 30


def test_runs_are_as_long_as_chance_makes_them():
    kept = masks(network_of(0.5, 100, 256), 10).reshape(-1)
    changes = kept[1:] != kept[:-1]
    assert_share(changes, 0.5)
    assert_share(changes[1:] & changes[:-1], 0.25)


def test_layers_have_masks_of_their_own():
    """Of two in a row the lower has the mask that it has alone, the upper keeps half of it."""
    lower = masks(network_of(0.5, 100, 100), 5)
    both = masks(network_of(0.5, 100, 100, before=[dropout(0.5)]), 5)
    assert (both <= lower).all()
    assert_share(both[lower], 0.5)


# ------------------------------------------------------------------------------------------ seeds


def test_the_mask_is_a_function_of_seed_and_step():
    one, again = masks(network_of(0.5), 3), masks(network_of(0.5), 3)
    np.testing.assert_array_equal(one, again)
    for seed in (0, 12, 2**32 + 11, 2**63):
        assert_share(agreement(one, masks(network_of(0.5, seed=seed), 3)), 0.5)


def test_looking_twice_shows_the_same_mask_and_stepping_the_next():
    net = network_of(0.5)
    first = dropped(net)
    np.testing.assert_array_equal(dropped(net), first)
    assert (masks(net, 2)[1] != (first > 0)).any()
    net.reset()
    np.testing.assert_array_equal(dropped(net), first)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.7])
def test_masks_are_the_oracles(rate):
    for number, kept in enumerate(masks(network_of(rate, 70, 33), 4)):
        stream = _ref.Stream(11, _ref.DROPOUT, 0, number)
        np.testing.assert_array_equal(kept, _ref.keep_mask(stream, 70, 33, rate))


def test_the_mask_does_not_depend_on_width_batch_or_dtype():
    wide = dropped(network_of(0.5, 130, 150)) > 0
    for rows, cols in ((1, 1), (7, 149), (64, 4), (129, 33)):
        for dtype in ("float32", "float64"):
            part = dropped(network_of(0.5, rows, cols, dtype=dtype, n_threads=2)) > 0
            np.testing.assert_array_equal(part, wide[:rows, :cols])


# ------------------------------------------------------------------------------------- using


def test_predicting_and_evaluating_drop_nothing():
    layers = [dropout(0.9), dense(20, "tanh"), dropout(0.9), dense(5)]
    plain = [layer for layer in layers if layer["type"] == "dense"]
    net, without = (_core.Network(description(each, 8)) for each in (layers, plain))
    x, labels = np.random.default_rng(0).standard_normal((30, 8)), np.arange(30) % 5
    np.testing.assert_array_equal(net.predict(x), without.predict(x))
    assert net.evaluate(x, labels, None, None) == without.evaluate(x, labels, None, None)
    assert net.gradients(x, labels, None, None)[0] != without.gradients(x, labels, None, None)[0]


def test_a_rate_of_zero_is_no_dropout_at_all():
    layers = [dense(20, "tanh"), dropout(0.0), dense(5)]
    net = _core.Network(description(layers, 8))
    without = _core.Network(description([layers[0], layers[2]], 8))
    x, labels = np.random.default_rng(0).standard_normal((30, 8)), np.arange(30) % 5
    for _ in range(3):
        losses = {n.train_batch(x, labels, None, None) for n in (net, without)}
        assert len(losses) == 1


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_rates_outside_0_to_1_are_refused(rate):
    with pytest.raises(ValueError, match="rate"):
        network_of(rate)

"""The optimizer's step on given gradients: the bits of a training step, and what it refuses."""

import numpy as np
import pytest
from networks import (
    ADAM,
    ADAMW,
    RMSPROP,
    RULES,
    SGD,
    assert_all_close,
    copies,
    dense,
    description,
    dropout,
    samples,
)

import fastfa as fa
from fastfa import _core
from fastfa.backends import reference

OPTIMIZERS = {
    "momentum": SGD | {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "clipped sgd": SGD | {"clip_norm": 0.05},
    "rmsprop": RMSPROP | {"momentum": 0.5},
    "adam": ADAM | {"weight_decay": 0.1, "decay_bias": False, "clip_norm": 0.5},
    "adamw": ADAMW,
}


def pair(rule="fa", optimizer=ADAM, dtype="float32", **changes):
    """Two networks of one description: several tiles, dropout, scaled rates, a layer at rest."""
    layers = [
        dense(150, "tanh", lr_scale=0.5, bias_lr_scale=2.0),
        dropout(0.2),
        dense(9, "tanh", trainable=rule == "pepita"),
        dense(17, "tanh", use_bias=False),
        dense(3),
    ]
    desc = description(layers, 130, rule, dtype=dtype, optimizer=optimizer, **changes)
    return _core.Network(desc), _core.Network(desc), samples(desc, 20, weights=True)


def whole_step(net, data):
    net.apply_gradients(net.gradients(*data, feedback=True)[1])


# ------------------------------------------------------------------------------------------- bits


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_then_apply_are_a_training_step_to_the_bit(name, dtype):
    net, other, data = pair("kp", OPTIMIZERS[name], dtype)
    other.n_threads = 3
    for _ in range(5):
        net.train_batch(*data)
        whole_step(other, data)
    assert net.state() == other.state()


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns_the_same(rule):
    net, other, data = pair(rule)
    for _ in range(3):
        net.train_batch(*data)
        whole_step(other, data)
    assert net.state() == other.state()


@pytest.mark.parametrize("rule", ["fa", "kp"])
def test_plain_sgd_differs_by_rounding_alone(rule, dtype):
    net, other, data = pair(rule, SGD | {"weight_decay": 0.01}, dtype)
    for _ in range(5):
        net.train_batch(*data)
        whole_step(other, data)
    assert net.steps == other.steps == 5
    assert_all_close(net.parameters, other.parameters, dtype)
    assert_all_close(net.feedback, other.feedback, dtype)


@pytest.mark.parametrize("rule", ["dfa", "kp", "dkp", "ldfa", "local"])
@pytest.mark.parametrize("name", ["clipped sgd", "adam"])
def test_the_oracle_takes_the_same_step(rule, name):
    net, *_ = pair(rule, OPTIMIZERS[name], "float64")
    oracle = reference.Network(net.description)
    rng = np.random.default_rng(1)
    keys = [key for key in net.trained if key in net.parameters or rule == "dkp"]
    assert sorted(oracle.trained) == sorted(net.trained)
    for _ in range(3):
        grads = {
            key: rng.standard_normal({**net.parameters, **net.feedback}[key].shape) for key in keys
        }
        net.apply_gradients(grads)
        oracle.apply_gradients(grads)
    assert_all_close(net.parameters, oracle.parameters, "float64")
    assert_all_close(net.feedback, oracle.feedback, "float64")


@pytest.mark.parametrize("rule", ["dkp", "ldfa"])
def test_feedback_without_a_gradient_stays(rule):
    net, _, data = pair(rule)
    before = copies(net.feedback)
    net.apply_gradients(net.gradients(*data)[1])
    for key, value in net.feedback.items():
        np.testing.assert_array_equal(value, before[key])
    learned = net.gradients(*data, feedback=True)[1]
    assert [key for key in learned if key in net.feedback] == [
        key for key in net.trained if key in net.feedback
    ]
    net.apply_gradients(learned)
    assert any((value != before[key]).any() for key, value in net.feedback.items())


# ------------------------------------------------------------------------------------- Sequential


def network(**changes):
    layers = [fa.Dense(8, "tanh"), fa.Dense(7, "tanh", trainable=False), fa.Dense(3)]
    return fa.Sequential(layers, **{"input_shape": 5, "rng": 1, "optimizer": "adam"} | changes)


X = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
Y = np.arange(30) % 3


def test_a_network_trains_by_shares_of_its_batches():
    """What data-parallel processes do: the mean of the gradients of both halves is that of all."""
    net, other = network(dtype="float64"), network(dtype="float64")
    for _ in range(10):
        net.train_batch(X, Y)
        first, second = other.gradients(X[:10], Y[:10]), other.gradients(X[10:], Y[10:])
        other.apply_gradients({key: (first[key] + 2 * second[key]) / 3 for key in first})
    for key, value in net.parameters.items():
        np.testing.assert_allclose(other.parameters[key], value, rtol=1e-7, atol=1e-10)
    assert net.steps == other.steps == 10


def test_a_schedule_gives_the_rate():
    rates = [0.5, 0.0, 0.25]
    net = network(optimizer=fa.SGD(lambda step: rates[step], clip_norm=1e6))
    other = network(optimizer=fa.SGD(lambda step: rates[step], clip_norm=1e6))
    for _ in rates:
        net.train_batch(X, Y)
        other.apply_gradients(other.gradients(X, Y))
    for key, value in net.parameters.items():
        np.testing.assert_array_equal(other.parameters[key], value)


def test_lists_and_other_dtypes_are_converted():
    net, other = network(), network()
    grads = net.gradients(X, Y)
    net.apply_gradients(grads)
    other.apply_gradients({key: g.astype(np.float64).tolist() for key, g in grads.items()})
    np.testing.assert_array_equal(net.parameters["0.weight"], other.parameters["0.weight"])


def test_what_is_wrong_is_named_and_changes_nothing():
    net = network()
    good = net.gradients(X, Y)
    bad = good["2.weight"].copy()
    bad[3, 1] = np.nan
    wrong = [
        (5, TypeError, "grads: expected a mapping.*got 5"),
        ({}, ValueError, "every weight and bias that trains, got none of '0.weight'"),
        ({k: good[k] for k in good if k != "2.bias"}, ValueError, "got none of '2.bias'"),
        (good | {"1.weight": np.zeros((8, 7))}, ValueError, "1.weight.*does not train"),
        (good | {"9.weight": np.zeros(3)}, ValueError, "grads: key: expected.*9.weight"),
        (good | {"0.bias": np.zeros((1, 8))}, ValueError, r'"0.bias".*\(8,\), got \(1, 8\)'),
        (good | {"2.weight": bad}, ValueError, '"2.weight".*finite.*nan'),
        (good | {"0.bias": np.full(8, 1e300)}, ValueError, '"0.bias".*finite'),
        (good | {"0.bias": ["a"] * 8}, (TypeError, ValueError), '"0.bias"'),
    ]
    before = net.to_bytes()
    for grads, error, message in wrong:
        with pytest.raises(error, match=message):
            net.apply_gradients(grads)
    assert net.to_bytes() == before
    with pytest.raises(TypeError, match="feedback"):
        net.gradients(X, Y, feedback=1)


def test_an_infinite_norm_changes_nothing():
    net = network(optimizer=fa.Adam(clip_norm=1.0), dtype="float64")
    before = net.to_bytes()
    huge = {key: np.full_like(g, 1e300) for key, g in net.gradients(X, Y).items()}
    with pytest.raises(FloatingPointError, match=r"norm is not finite.*nothing was updated"):
        net.apply_gradients(huge)
    assert net.to_bytes() == before


def test_a_step_that_overflows_names_the_parameter():
    net = network(optimizer=fa.SGD(1e38))
    grads = {key: np.full_like(g, 1e30) for key, g in net.gradients(X, Y).items()}
    with pytest.raises(FloatingPointError, match=r"0\.weight"):
        net.apply_gradients(grads)

"""What the engine keeps between calls, by its own count."""

import numpy as np
import pytest

import fastfa as fa
from fastfa import _core

ROWS = 20_000


def network(**options):
    layers = [fa.Dense(64, "relu"), fa.Dense(64, "relu"), fa.Dense(3)]
    return fa.Sequential(layers, input_shape=8, rng=0, n_threads=2, **options)


@pytest.fixture(scope="module")
def large():
    rng = np.random.default_rng(0)
    return rng.standard_normal((ROWS, 8)).astype(np.float32), rng.integers(0, 3, ROWS)


def kept():
    return _core.memory()[0]


def allocations():
    return _core.memory()[1]


def state_bytes(net):
    arrays = [*net.parameters.values(), *net.feedback.values()]
    return 4 * sum(array.size for array in arrays) + 64 * (len(arrays) + 1)


@pytest.mark.parametrize("rule", ["backprop", "dfa"])
@pytest.mark.parametrize(
    "use",
    [
        lambda net, X, y: net.predict(X),
        lambda net, X, y: net.evaluate(X, y),
        lambda net, X, y: net.gradients(X, y),
        lambda net, X, y: net.alignment(X, y),
        lambda net, X, y: net.fit(X, y, batch_size=len(X), verbose=False),
        lambda net, X, y: net.fit(X, y, batch_size=512, validation_data=(X, y), verbose=False),
    ],
    ids=["predict", "evaluate", "gradients", "alignment", "fit", "fit with validation"],
)
def test_large_calls_keep_no_more_than_the_network_has(use, rule, large):
    net = network(rule=rule)
    before = kept()
    use(net, *large)
    assert kept() - before <= state_bytes(net)


def test_interrupted_fit_gives_back_too(large):
    net, before = network(optimizer=fa.SGD(lr=1e30)), kept()
    with pytest.raises(FloatingPointError):
        net.fit(*large, batch_size=ROWS, epochs=5, verbose=False)
    assert kept() == before


def test_train_batch_learn_one_and_predict_one_keep_theirs(large):
    X, y = large
    net = network()
    calls = [
        lambda: net.train_batch(X[:32], y[:32]),
        lambda: net.learn_one(X[0], y[0]),
        lambda: net.predict_one(X[0]),
    ]
    for call in calls:
        call()
    net.predict(X)
    net.evaluate(X, y)
    net.fit(X[:320], y[:320], batch_size=32, verbose=False)
    count = allocations()
    for call in calls:
        call()
    assert allocations() == count

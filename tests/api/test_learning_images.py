"""What rules reach on a small network of images: the digits, three seeds, 20 epochs."""

import numpy as np
import pytest

import fastfa as fa

# Mean accuracy that a rule must reach. Rules that send the error directly, and fixed feedback, do
# not train convolutions better than leaving them as they were drawn: "dfa, frozen".
FLOORS = {
    "backprop": 0.975,
    "usf": 0.975,
    "local": 0.975,
    "kp": 0.93,
    "dkp": 0.93,
    "dfa": 0.93,
    "fa": 0.93,
    "dfa, frozen": 0.93,
}


@pytest.fixture(scope="module")
def digits():
    X, y, X_test, y_test = fa.datasets.load("digits")
    return X.reshape(-1, 8, 8, 1), y, X_test.reshape(-1, 8, 8, 1), y_test


def accuracy(data, rule, seed):
    X, y, X_test, y_test = data
    rule, _, of_convolutions = rule.partition(", ")
    layers = [
        fa.Conv2D(16, 3, "relu", padding="same", rule=of_convolutions or None),
        fa.MaxPool2D(2),
        fa.Conv2D(32, 2, "relu", rule=of_convolutions or None),
        fa.Flatten(),
        fa.Dense(64, "relu"),
        fa.Dense(10),
    ]
    net = fa.Sequential(layers, input_shape=(8, 8, 1), rule=rule, optimizer=fa.Adam(2e-3), rng=seed)
    net.fit(X, y, epochs=20, batch_size=32, verbose=False)
    return net.evaluate(X_test, y_test)["accuracy"]


@pytest.mark.parametrize("rule", FLOORS)
def test_digits(rule, digits):
    found = [accuracy(digits, rule, seed) for seed in range(3)]
    assert np.mean(found) >= FLOORS[rule], found

"""A small problem and a network for it, as users write them: what the tests of the API share."""

import numpy as np

import fastfa as fa

N_IN, N_OUT = 6, 3


def samples(m=50, dtype=np.float32):
    """A small problem whose classes depend on the inputs."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(m, N_IN)).astype(dtype)
    return X, (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)


def network(**changes):
    arguments = {
        "layers": [fa.Dense(8, "tanh"), fa.Dropout(0.2), fa.Dense(5, "relu"), fa.Dense(N_OUT)],
        "input_shape": N_IN,
        "rule": "dfa",
        "optimizer": fa.SGD(0.1, momentum=0.9),
        "rng": 7,
    }
    return fa.Sequential(**(arguments | changes))


def copies(net):
    return {key: value.copy() for key, value in net.parameters.items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)

"""A small problem and networks for it, as users write them: what the tests of the API share."""

import numpy as np
import pytest

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


def shallow(**changes):
    """The same with one hidden layer."""
    layers = [fa.Dense(8, "tanh"), fa.Dropout(0.2), fa.Dense(N_OUT)]
    return network(**({"layers": layers} | changes))


class AtEpoch(fa.Callback):
    """Calls a function of the network after one epoch."""

    def __init__(self, epoch, act):
        self.epoch, self.act = epoch, act

    def on_epoch_end(self, net, epoch, logs):
        if epoch == self.epoch:
            self.act(net)


class AtStep(fa.Callback):
    """Calls a function of the network after one step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_batch_end(self, net, step, logs):
        if step == self.step:
            self.act(net)


def copies(net):
    return {key: value.copy() for key, value in net.parameters.items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


def same_state(first, second):
    """Whether two networks would go on with the same bits."""
    return first._engine.state() == second._engine.state() and first.lr == second.lr


def refuses(error, call, *words):
    """Check that `call` raises `error` with all of `words` in its message, in that order."""
    with pytest.raises(error) as caught:
        call()
    at = 0
    for word in words:
        assert word in str(caught.value)[at:], f"{word!r} missing in: {caught.value}"
        at = str(caught.value).index(word, at) + len(word)

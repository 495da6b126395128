"""Networks and data that the tests of the oracle share, over those of `networks`."""

import numpy as np
from networks import dense, description

from fastfa.backends import reference as _ref


def network(layers, name="backprop", **changes):
    return _ref.Network(description(layers, 5, name) | changes)


def hidden_net(name="backprop", activation="tanh", **changes):
    return network([dense(6, activation), dense(4, activation), dense(3)], name, **changes)


def batch(m=7, n_in=5, n_out=3, loss="softmax_cross_entropy", seed=0):
    """x, labels, y, weights with row targets that every loss accepts."""
    rng = np.random.default_rng(seed)
    y = rng.random((m, n_out))
    if loss == "softmax_cross_entropy":
        y /= y.sum(axis=1, keepdims=True)
    return rng.standard_normal((m, n_in)), None, y, rng.random(m) + 0.5


def labelled(m=7, n_in=5, n_out=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, n_in)), rng.integers(0, n_out, m), None, None


def assert_same(a, b, rtol=1e-12, atol=1e-14):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], rtol, atol, err_msg=key)


def name_of(optimizer):
    extras = ("momentum", "nesterov", "weight_decay", "centered", "eps_hat")
    return "-".join([optimizer["name"], *(key for key in extras if optimizer.get(key))])

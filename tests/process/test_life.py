"""How long networks live, and what may take their place."""

import gc
import weakref

import numpy as np
import pytest

import fastfa as fa

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
Y = np.arange(20) % 3


def network():
    return fa.Sequential([fa.Dense(5, "tanh"), fa.Dense(3)], input_shape=4, rule="dfa", rng=0)


def fitted():
    net = network()
    net.fit(X, Y, verbose=False)
    return net


def trained():
    net = network()
    net.train_batch(X, Y)
    return net


@pytest.mark.parametrize("make", [network, fitted, trained, lambda: fa.load(fitted().to_bytes())])
def test_a_network_is_freed_with_its_last_name(make):
    """Not by the collector, which counts objects and not the memory of the engine."""
    gc.disable()
    try:
        net = make()
        alive = weakref.ref(net)
        del net
        assert alive() is None
    finally:
        gc.enable()


def test_a_state_takes_the_place_of_a_network():
    net, other = trained(), fitted()
    net.__setstate__(other.__getstate__())
    assert net.steps == other.steps
    assert net.train_batch(X, Y) == other.train_batch(X, Y)
    np.testing.assert_array_equal(net.predict(X), other.predict(X))


def test_a_state_is_refused_while_fit_runs():
    state = fitted().__getstate__()

    class Swap(fa.Callback):
        def on_epoch_end(self, net, epoch, logs):
            net.__setstate__(state)

    net = network()
    with pytest.raises(RuntimeError, match="fit is running"):
        net.fit(X, Y, 3, callbacks=[Swap()], verbose=False)
    assert net.epochs == 1

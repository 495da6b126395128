"""Defaults: which weights layers begin with, how many epochs `fit` trains, and what is said."""

import warnings

import pytest
from small import assert_same, copies, network, samples

import fastfa as fa
from fastfa._internal import fit_call

X, Y = samples(60)
INITS = dict.fromkeys(
    ("linear", "relu", "leaky_relu", "tanh", "sigmoid", "gelu"), "glorot_uniform"
) | {"softplus": "he_uniform", "sign": "lecun_uniform", "threshold": "lecun_uniform"}


@pytest.mark.parametrize("activation", INITS)
def test_the_weights_of_a_layer_without_an_initialiser(activation):
    def build(**init):
        layers = [fa.Dense(9, activation, **init), fa.Dense(3)]
        return fa.Sequential(layers, input_shape=4, rule=fa.DFA(inject="pre"), rng=5)

    assert_same(copies(build()), copies(build(weight_init=INITS[activation])))


def deep(n, activation="relu", **options):
    return [*(fa.Dense(4, activation, **options) for _ in range(n)), fa.Dense(3)]


def test_many_relu_layers_with_the_default_weights_warn():
    for activation in ("relu", "leaky_relu"):
        with pytest.warns(UserWarning, match=r'25 hidden layers .*weight_init="he_uniform"') as got:
            fa.Sequential(deep(25, activation), input_shape=4)
        assert got[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fa.Sequential(deep(24), input_shape=4)
        fa.Sequential(deep(30, weight_init="he_uniform"), input_shape=4)
        fa.Sequential(deep(30, "tanh"), input_shape=4)


@pytest.fixture
def first_time(monkeypatch):
    """As in a new process, in which nothing has been said yet."""
    monkeypatch.setattr(fit_call, "_hinted", [False])


@pytest.mark.usefixtures("first_time")
def test_one_epoch_that_nobody_asked_for_is_said_once():
    message = r"epochs: not given, so fit trains for 1 epoch of 2 steps.*such as epochs=50"
    with pytest.warns(UserWarning, match=message) as got:
        assert network().fit(X, Y, verbose=False).epoch == [1]
    assert got[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert network().fit(X, Y, verbose=False).epoch == [1]


@pytest.mark.usefixtures("first_time")
def test_who_means_one_epoch_hears_nothing():
    trained = network()
    trained.fit(X, Y, 1, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network().fit(X, Y, epochs=1, verbose=False)
        trained.fit(X, Y, verbose=False)  # one more of many
        network().fit(batches=[(X, Y)] * 3, verbose=False)  # all that there are
        many, labels = samples(fit_call.ENOUGH_STEPS)
        network().fit(many, labels, batch_size=1, verbose=False)

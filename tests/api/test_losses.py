"""Losses by name and as objects: their targets, what predict returns, files, defaults."""

import numpy as np
import pytest

import fastfa as fa
from fastfa import _core
from fastfa.losses import LOSSES

OBJECTS = [
    fa.SoftmaxCrossEntropy(smoothing=0.2),
    fa.Huber(delta=0.4),
    fa.Pinball(quantile=0.9),
    fa.Focal(gamma=1.0, alpha=0.6),
]
VALUES = ("mse", "huber", "mae", "pinball", "poisson")


def network(loss, n_out=3, **options):
    layers = [fa.Dense(6, "tanh"), fa.Dense(n_out)]
    return fa.Sequential(layers, input_shape=4, loss=loss, rng=0, **options)


def data(n=12, n_out=3):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, 4), np.float32), rng.integers(0, n_out, n)


@pytest.mark.parametrize("cls", LOSSES.values(), ids=lambda cls: cls.__name__)
def test_options_and_defaults_are_those_of_the_library(cls):
    rows = {row["name"]: row["default"] for row in _core.options("loss", cls.name)}
    assert {name: getattr(cls(), name) for name in rows} == rows
    for name, row in ((row["name"], row) for row in _core.options("loss", cls.name)):
        for wrong in (np.nan, np.inf, row["low"] - 0.1):
            with pytest.raises((TypeError, ValueError), match=f"^{name}: expected .*, got "):
                cls(**{name: wrong})


def test_losses_without_objects_have_no_options():
    named = set(_core.NAMES["loss"]) - {"custom", *LOSSES}
    assert all(_core.options("loss", name) == () for name in named)


@pytest.mark.parametrize("loss", OBJECTS, ids=repr)
def test_an_object_goes_through_files_copies_and_other_optimizers(loss):
    x, y = data()
    net = network(loss)
    again = fa.load(net.to_bytes())
    assert net.loss is loss
    assert again.loss == loss
    assert type(loss).__name__ in repr(net)
    assert repr(loss) in net.summary()
    assert net.train_batch(x, y) == again.train_batch(x, y)
    plain = network(loss.name)
    assert plain.loss == fa.load(plain.to_bytes()).loss == loss.name
    assert plain.train_batch(x, y) != network(loss).train_batch(x, y)
    again.set_optimizer(fa.SGD(0.1))
    assert again.loss == loss
    assert fa.load(plain.to_bytes(), loss=loss).evaluate(x, y) == pytest.approx(
        fa.load(net.to_bytes(), loss=loss.name).evaluate(x, y) | net.evaluate(x, y), rel=1
    )


def test_an_object_with_defaults_is_the_name():
    assert network(fa.Huber()).evaluate(*data()) == network("huber").evaluate(*data())


@pytest.mark.parametrize("wrong", [3, None, fa.Huber, ["mse"], fa.SGD(0.1)])
def test_what_is_no_loss_is_refused(wrong):
    with pytest.raises(TypeError, match=r"^loss: expected "):
        network(wrong)


@pytest.mark.parametrize("name", ["custom", "hubr", "L1Loss", "quantile"])
def test_an_unknown_name_is_refused_with_a_hint(name):
    with pytest.raises(ValueError, match=r"^loss: expected one of .*huber.*, got"):
        network(name)


@pytest.mark.parametrize(
    ("loss", "wrong", "expected"),
    [
        ("poisson", -0.5, "values >= 0"),
        ("focal", 1.5, "values within 0..1"),
        ("focal", -0.5, "values within 0..1"),
        ("huber", np.nan, "finite values"),
    ],
)
@pytest.mark.parametrize("call", ["fit", "train_batch", "evaluate", "gradients"])
def test_a_bad_target_is_named(loss, wrong, expected, call):
    x, _ = data()
    y = np.full((12, 3), 0.5, np.float32)
    y[7, 1] = wrong
    net = network(loss)
    before = net.to_bytes()
    with pytest.raises(ValueError, match=rf"^y: expected {expected}.* at row 7, column 1"):
        getattr(net, call)(x, y)
    assert net.to_bytes() == before


def test_labels_in_floats_are_refused_by_losses_of_values():
    x, y = data()
    for loss in VALUES:
        with pytest.raises(ValueError, match=r"^y: expected integer labels .*float64"):
            network(loss).train_batch(x, y.astype(float))


def test_predictions_are_means_and_probabilities():
    x, _ = data()
    for loss, link in (("poisson", np.exp), ("focal", lambda z: 1 / (1 + np.exp(-z)))):
        net = network(loss)
        np.testing.assert_allclose(net.predict(x), link(net.predict(x, "logits")), rtol=1e-6)
    for loss in ("huber", "mae", "pinball"):
        net = network(loss)
        np.testing.assert_array_equal(net.predict(x), net.predict(x, "logits"))


def test_a_quantile_is_learnt():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (4000, 1)), rng.exponential(size=4000)
    layers = [fa.Dense(8, "tanh"), fa.Dense(1)]
    net = fa.Sequential(layers, input_shape=1, loss=fa.Pinball(0.8), optimizer=fa.Adam(0.01), rng=0)
    net.fit(x, y, epochs=15, verbose=False)
    assert abs((y < net.predict(x)[:, 0]).mean() - 0.8) < 0.03


def test_a_metric_of_values_fits_losses_of_values():
    x, _ = data()
    y = np.ones((12, 3), np.float32)
    for loss in VALUES:
        assert set(network(loss).evaluate(x, y, metrics=["rmse"])) == {"loss", "rmse"}

"""Images from the user's side: which arrays are taken, names, files, text."""

import numpy as np
import pytest

import fastfa as fa
from fastfa.export.weighted_layers import weighted_layers

IMAGE = (6, 5, 2)


def network(image=IMAGE, rule="dfa", **changes):
    layers = [fa.Conv2D(4, 3, "tanh", padding="same"), fa.Flatten(), fa.Dense(3)]
    return fa.Sequential(layers, input_shape=image, rule=rule, rng=0, **changes)


def data(image=IMAGE, m=8):
    rng = np.random.default_rng(1)
    return rng.normal(size=(m, *image)).astype("f4"), rng.integers(0, 3, m)


def test_images_and_flat_rows_are_the_same():
    net, (x, _) = network(), data()
    expected = net.predict(x)
    assert np.array_equal(net.predict(x.reshape(8, -1)), expected)
    assert np.array_equal(net.predict(np.asfortranarray(x).astype("f8")), expected)
    assert np.array_equal(net.predict_one(x[0]), expected[0])
    assert np.array_equal(net.predict_one(x[0].ravel()), expected[0])


def test_one_channel_may_be_left_out():
    net, (x, y) = network((6, 5)), data((6, 5, 1))
    assert net.parameters["0.weight"].shape == (3, 3, 1, 4)
    assert np.array_equal(net.predict(x[..., 0]), net.predict(x))
    net.fit(x[..., 0], y, epochs=1)
    assert net.learn_one(x[0, ..., 0], y[0]) > 0


@pytest.mark.parametrize("shape", [(8, 2, 6, 5), (8, 5, 6, 2), (8, 6, 5), (8, 59), (8, 12, 5)])
def test_other_shapes_are_refused(shape):
    net = network()
    hint = "channels first" if shape == (8, 2, 6, 5) else r"expected shape \(m, 6, 5, 2\)"
    with pytest.raises(ValueError, match=hint):
        net.predict(np.zeros(shape, "f4"))


def test_bytes_are_pixels():
    x = np.random.default_rng(0).integers(0, 256, (4, *IMAGE), np.uint8)
    net = network()
    expected = net.predict(x.astype("f4") / np.float32(255))
    np.testing.assert_allclose(net.predict(x), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fa.Conv2D(0, 3), "filters: expected"),
        (lambda: fa.Conv2D(2, (3, 3, 3)), "kernel_size: expected an int or a pair"),
        (lambda: fa.Conv2D(2, 3, strides=0), "strides: expected"),
        (lambda: fa.Conv2D(2, 3, padding="full"), "padding: expected"),
        (lambda: fa.Conv2D(2, 3, padding=-1), "padding: expected"),
        (lambda: network((2, 2, 2, 2)), r"input_shape: expected .*\(height, width, channels\)"),
        (lambda: network((2**20, 2**20, 8)), "input_shape: expected"),
        (lambda: network(784), r"layer 0: conv2d: .*such as \(28, 28, 1\)"),
        (
            lambda: fa.Sequential([fa.Conv2D(2, 3), fa.Dense(2)], input_shape=(5, 5, 1)),
            "layer 1: dense: .*Flatten",
        ),
        (
            lambda: fa.Sequential(
                [fa.Conv2D(2, 3, weight_init=np.zeros((3, 3, 2, 2))), fa.Flatten(), fa.Dense(2)],
                input_shape=(5, 5, 1),
            ),
            r"weight_init: expected shape \(3, 3, 1, 2\), got \(3, 3, 2, 2\)",
        ),
        (
            lambda: network(rule=fa.DFA(feedback=fa.Feedback(np.zeros((3, 59))))),
            r"feedback of dfa: expected shape \(3, 120\), got \(3, 59\)",
        ),
    ],
)
def test_mistakes_are_named(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_given_weights_and_feedback_are_used():
    rng = np.random.default_rng(3)
    w, b = rng.normal(size=(3, 3, 2, 4)).astype("f4"), rng.normal(size=(3, 120)).astype("f4")
    layers = [fa.Conv2D(4, 3, weight_init=w, padding="same"), fa.Flatten(), fa.Dense(3)]
    net = fa.Sequential(layers, input_shape=IMAGE, rule=fa.DFA(feedback=fa.Feedback(b)), rng=0)
    assert np.array_equal(net.parameters["0.weight"], w)
    assert np.array_equal(net.feedback["0.feedback"], b)
    assert net.layers[0] == fa.Conv2D(4, (3, 3), weight_init=w, padding="same")
    assert repr(fa.Conv2D(4, (3, 3), padding=(1, 1))) == "Conv2D(4, 3, padding=1)"


def test_a_loaded_network_goes_on_with_the_same_bits(tmp_path):
    x, y = data(m=40)
    for rule, padding in (("dfa", "same"), ("kp", (1, 0)), ("local", "valid")):
        layers = [
            fa.Conv2D(4, (3, 2), "tanh", padding=padding, strides=(1, 2)),
            fa.Conv2D(3, 2, "relu", rule="frozen"),
            fa.Flatten(),
            fa.Dense(3),
        ]
        net = fa.Sequential(layers, input_shape=IMAGE, rule=rule, rng=0)
        net.fit(x, y, epochs=1, batch_size=16)
        net.save(tmp_path / "net.fa")
        loaded = fa.load(tmp_path / "net.fa")
        assert loaded.layers == net.layers
        assert loaded.layers[0].padding == padding
        assert str(loaded.summary()) == str(net.summary())
        for each in (net, loaded):
            each.fit(x, y, epochs=1, batch_size=16)
        for key, values in net.parameters.items():
            assert np.array_equal(loaded.parameters[key], values), key


def test_the_summary_shows_shapes_and_operations():
    text = str(network().summary())
    assert "6x5x4" in text
    assert "uniform 3x120" in text
    assert "0.00504 MFLOP" in text  # 2 (30 positions x 18 x 4 + 120 x 3)
    assert "6x5x2 values" in text


def test_layers_freeze_and_unfreeze():
    net, (x, y) = network(), data()
    net.freeze(0)
    before = net.parameters["0.weight"].copy()
    net.train_batch(x, y)
    assert np.array_equal(net.parameters["0.weight"], before)
    net.unfreeze(0)
    net.train_batch(x, y)
    assert not np.array_equal(net.parameters["0.weight"], before)


def test_rules_in_python_see_rows(tmp_path):
    class Own(fa.Rule):
        def signal(self, ctx):
            assert ctx.units == 120
            assert ctx.activations[0].shape == (8, 120)
            return ctx.error @ np.ones((3, 120), "f4")

    net, (x, y) = network(rule=Own()), data()
    net.train_batch(x, y)


def test_files_of_other_formats_are_refused(tmp_path):
    net = network()
    with pytest.raises(ValueError, match="layer 0: expected dense or dropout, got conv2d"):
        net.to_c(tmp_path / "net.c")
    with pytest.raises(ValueError, match="layer 0: expected dense or dropout, got conv2d"):
        weighted_layers(net._engine)

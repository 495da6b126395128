"""Images from the user's side: which arrays are taken, names, files, text."""

import pickle

import numpy as np
import pytest

import fastfa as fa
from fastfa._internal import validation
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


# --------------------------------------------------------------------------------------- pools


def pooled(rule="dfa", **changes):
    layers = [
        fa.Conv2D(4, 3, "tanh", padding="same"),
        fa.MaxPool2D(2, strides=1),
        fa.AvgPool2D((3, 2), padding=(1, 0)),
        fa.GlobalAvgPool2D(),
        fa.Dense(3),
    ]
    return fa.Sequential(layers, input_shape=IMAGE, rule=rule, rng=0, **changes)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fa.MaxPool2D(0), "pool_size: expected"),
        (lambda: fa.AvgPool2D((2, 2, 2)), "pool_size: expected an int or a pair"),
        (lambda: fa.MaxPool2D("2"), "pool_size: expected an int or a pair"),
        (lambda: fa.AvgPool2D(2, strides=0), "strides: expected"),
        (lambda: fa.MaxPool2D(2, padding="full"), "padding: expected"),
        (
            lambda: fa.Sequential(
                [fa.MaxPool2D(8), fa.Flatten(), fa.Dense(2)], input_shape=(5, 5, 1)
            ),
            r"layer 0: pool_size: expected at most \(5, 5\)",
        ),
        (lambda: fa.FA(inject="before_pool"), 'expected "post" for the chain rule "fa".*a pool'),
    ],
)
def test_wrong_pools_are_named(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_pools_in_their_shortest_form():
    assert repr(fa.MaxPool2D((2, 2), strides=(2, 2))) == "MaxPool2D()"
    assert (
        repr(fa.AvgPool2D((3, 3), (2, 1), padding=(1, 1)))
        == "AvgPool2D(pool_size=3, strides=(2, 1), padding=1)"
    )
    assert fa.MaxPool2D(3, 3) == fa.MaxPool2D((3, 3))
    assert fa.MaxPool2D(2) != fa.AvgPool2D(2)


def test_pools_in_files_and_the_summary(tmp_path):
    x, y = data(m=40)
    for rule in ("kp", fa.DFA(inject="before_pool"), fa.Local(inject="pre")):
        net = pooled(rule)
        net.fit(x, y, epochs=1, batch_size=16)
        net.save(tmp_path / "net.fa")
        loaded = fa.load(tmp_path / "net.fa")
        assert loaded.layers == net.layers
        assert loaded.rule == net.rule
        assert str(loaded.summary()) == str(net.summary())
        for each in (net, loaded):
            each.fit(x, y, epochs=1, batch_size=16)
        for key, values in net.parameters.items():
            assert np.array_equal(loaded.parameters[key], values), key
    text = str(pooled(fa.DFA(inject="before_pool")).summary())
    assert "5x4x4" in text  # behind the first pool
    assert "2x2x4" in text
    assert "dfa, inject before_pool" in text
    assert "uniform 3x120" in text
    assert "inject before_pool" in repr(pooled(fa.DFA(inject="before_pool")))


def test_own_rules_see_the_place_of_their_signal():
    class Mine(fa.Rule):
        def __init__(self, inject):
            self.inject, self.units = inject, None

        def signal(self, ctx):
            self.units = ctx.units
            return np.ones((len(ctx.error), ctx.units))

    x, y = data()
    for inject, units in (("post", 4), ("before_pool", 120), ("pre", 120)):
        net = pooled(Mine(inject))
        before = net.parameters["0.weight"].copy()
        net.train_batch(x, y)
        assert net.rule.units == units
        assert not np.array_equal(net.parameters["0.weight"], before)


def test_pools_in_other_places_are_refused_by_name():
    net = pooled()
    for call in (net.to_c, net.to_onnx):
        with pytest.raises(ValueError, match="layer 0: expected dense or dropout, got conv2d"):
            call("net")
    layers = [fa.MaxPool2D(), fa.Flatten(), fa.Dense(3)]
    net = fa.Sequential(layers, input_shape=IMAGE, rng=0)
    with pytest.raises(ValueError, match="layer 0: expected dense or dropout, got max_pool2d"):
        weighted_layers(net._engine)


# ----------------------------------------------------------- activations, dropout of channels


def test_activations_and_dropped_channels(tmp_path):
    layers = [
        fa.Conv2D(4, 3),
        fa.Dropout2D(0.25),
        fa.Activation("leaky_relu", slope=0.2),
        fa.GlobalAvgPool2D(),
        fa.Dense(5),
        fa.Activation("elu", alpha=0.5),
        fa.Dense(3),
    ]
    net, (x, y) = fa.Sequential(layers, input_shape=IMAGE, rule="dfa", rng=0), data(m=40)
    net.fit(x, y, epochs=1, batch_size=16)
    net.save(tmp_path / "net.fa")
    loaded = fa.load(tmp_path / "net.fa")
    assert loaded.layers == net.layers
    assert repr(loaded.layers[2]) == "Activation('leaky_relu', slope=0.2)"
    text = str(loaded.summary())
    assert text == str(net.summary())
    assert "no non-linearity" not in text
    for each in (net, loaded):
        each.fit(x, y, epochs=1, batch_size=16)
    for key, values in net.parameters.items():
        assert np.array_equal(loaded.parameters[key], values), key
    layers = [fa.Dense(3), fa.Activation("tanh"), fa.Dense(2)]
    apart = fa.Sequential(layers, input_shape=3, rng=0)
    with pytest.raises(ValueError, match=r"layer 1: .*got activation; activations of their own"):
        apart.to_c("net.c")


def test_layers_that_could_be_one_are_noted():
    for between, linear in ((fa.Dropout(0.1), True), (fa.Activation("tanh"), False)):
        layers = [fa.Dense(4), between, fa.Dense(3)]
        text = str(fa.Sequential(layers, input_shape=5, rng=0).summary())
        assert ("no non-linearity between layers 0 and 2" in text) == linear


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fa.Activation("softmax"), 'name: expected "linear", got "softmax"'),
        (lambda: fa.Activation("step"), "name: expected"),
        (lambda: fa.Activation("relu", slope=0.2), "slope with activation 'relu'"),
        (lambda: fa.Activation("elu", alpha=-1), "alpha: expected"),
        (lambda: fa.Dropout2D(1.0), "rate: expected"),
        (lambda: fa.Dropout2D("0.1"), "rate: expected"),
    ],
)
def test_wrong_followers_are_named(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


# -------------------------------------------------------------------------------- normalisations


def normed(**changes):
    layers = [
        fa.Conv2D(4, 3),
        fa.GroupNorm(2, eps=1e-3),
        fa.Activation("relu"),
        fa.GlobalAvgPool2D(),
        fa.Dense(5),
        fa.LayerNorm(scale=False),
        fa.Activation("tanh"),
        fa.Dense(5),
        fa.RMSNorm(shift=False, lr_scale=0.5),
        fa.Dense(3),
    ]
    return fa.Sequential(layers, input_shape=IMAGE, rng=0, **{"rule": "dfa", **changes})


def test_normalisations_in_files_and_the_summary(tmp_path):
    net, (x, y) = normed(), data(m=40)
    net.fit(x, y, epochs=1, batch_size=16)
    net.save(tmp_path / "net.fa")
    loaded = fa.load(tmp_path / "net.fa")
    assert loaded.layers == net.layers
    assert repr(loaded.layers[1]) == "GroupNorm(2, eps=0.001)"
    assert loaded.parameters["5.shift"].shape == (5,)
    assert "5.scale" not in loaded.parameters
    assert np.ptp(loaded.parameters["1.scale"]) > 0
    for each in (net, loaded):
        each.fit(x, y, epochs=1, batch_size=16)
    for key, values in net.parameters.items():
        assert np.array_equal(loaded.parameters[key], values), key
    lines = str(loaded.summary()).splitlines()
    assert next(x for x in lines if "GroupNorm" in x).split()[-3:] == ["4x3x4", "8", "yes"]
    assert not any("no non-linearity" in x for x in lines)


def test_normalisations_freeze_and_unfreeze():
    net, (x, y) = normed(), data()
    net.freeze(1)
    assert not net.layers[1].trainable
    before = {key: values.copy() for key, values in net.parameters.items()}
    net.train_batch(x, y)
    assert np.array_equal(net.parameters["1.scale"], before["1.scale"])
    assert not np.array_equal(net.parameters["5.shift"], before["5.shift"])
    trained = next(x for x in str(net.summary()).splitlines() if x.startswith("parameters"))
    total = sum(values.size for values in net.parameters.values())
    assert f"{total:,} ({total - 8:,} trained)" in trained
    net.unfreeze(1)
    assert net.layers[1].trainable
    with pytest.raises(ValueError, match="freeze: layer: expected one of"):
        net.freeze(2)
    rows = str(normed(rule="frozen").summary()).splitlines()
    assert next(x for x in rows if "GroupNorm" in x).split()[-1] == "no"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fa.GroupNorm(0), "groups: expected"),
        (lambda: fa.LayerNorm(0), "eps: expected"),
        (lambda: fa.RMSNorm(scale="yes"), "scale: expected"),
        (lambda: fa.LayerNorm(lr_scale=-1), "lr_scale: expected"),
        (lambda: fa.LayerNorm(trainable=2), "trainable: expected"),
        (
            lambda: fa.Sequential([fa.LayerNorm(), fa.Dense(2)], input_shape=3),
            "layer 0: layer_norm: expected one without a scale and shift that train",
        ),
        (
            lambda: fa.Sequential([fa.Dense(5), fa.GroupNorm(2), fa.Dense(2)], input_shape=3),
            "groups: expected a divisor of 5",
        ),
        (
            lambda: fa.Sequential([fa.Dense(5), fa.RMSNorm(), fa.Dense(2)], input_shape=3).to_c(
                "x"
            ),
            "layer 1: .*got rms_norm; normalisations are not written",
        ),
    ],
)
def test_wrong_normalisations_are_named(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def channels_first(net, **changes):
    """A network with the same numbers whose images are declared to be channels first."""
    height, width, channels = IMAGE
    return fa.Sequential(
        net.layers, input_shape=(channels, height, width), rule=net.rule, rng=net.seed,
        data_format="channels_first", **changes,
    )  # fmt: skip


def planes(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, -3))


def test_channels_first_trains_with_the_same_bits():
    net, (x, y) = network(), data()
    other, first = channels_first(net), planes(x)
    assert np.array_equal(other.predict(first), net.predict(x))
    assert np.array_equal(other.predict(first.reshape(8, -1)), net.predict(x))  # rows of planes
    assert np.array_equal(other.predict_one(first[0].ravel()), net.predict_one(x[0]))
    for _ in range(2):
        assert other.train_batch(first, y) == net.train_batch(x, y)
        assert other.train_batch(first.reshape(8, -1), y) == net.train_batch(x, y)
        assert other.learn_one(first[0], y[0]) == net.learn_one(x[0], y[0])
        assert other.learn_one(first[0].ravel(), int(y[0])) == net.learn_one(x[0], int(y[0]))
    other.fit(first, y, epochs=1, batch_size=3, validation_data=(first, y))
    net.fit(x, y, epochs=1, batch_size=3)
    for key, values in net.parameters.items():
        assert np.array_equal(other.parameters[key], values), key
    assert other.evaluate(first, y) == net.evaluate(x, y)


def test_large_arrays_with_channels_first_are_converted_in_pieces(monkeypatch):
    monkeypatch.setattr(validation, "LARGE", 100)
    monkeypatch.setattr(validation, "LARGE_BY_COLUMNS", 100)
    net, (x, y) = network(), data()
    other = channels_first(net)
    assert np.array_equal(other.predict(planes(x)), net.predict(x))
    other.fit(planes(x), y, epochs=2, batch_size=3)
    net.fit(x, y, epochs=2, batch_size=3)
    assert np.array_equal(other.parameters["0.weight"], net.parameters["0.weight"])
    bytes_x = np.random.default_rng(0).integers(0, 256, (4, *IMAGE), np.uint8)
    assert np.array_equal(other.predict(planes(bytes_x)), net.predict(bytes_x))


def test_files_and_pickles_keep_the_format(tmp_path):
    net, (x, _) = network(), data()
    other = channels_first(net)
    other.save(tmp_path / "net.fa")
    for again in (fa.load(tmp_path / "net.fa"), pickle.loads(pickle.dumps(other))):
        assert again.data_format == "channels_first"
        assert np.array_equal(again.predict(planes(x)), net.predict(x))
        assert "channels first" in str(again.summary())
    assert "channels first" not in str(net.summary())


def test_sequences_of_images_may_have_channels_first():
    layers = [fa.Conv2D(3, 2, "tanh"), fa.Flatten(), fa.Recurrent(4, leak=0.5, time="leak")]
    layers.append(fa.Dense(1))
    x = np.random.default_rng(0).normal(size=(3, 4, *IMAGE)).astype("f4")
    net = fa.Sequential(layers, input_shape=IMAGE, loss="mse", rng=0)
    other = fa.Sequential(
        layers, input_shape=(4, 2, 6, 5), data_format="channels_first", loss="mse", rng=0
    )
    assert np.array_equal(other.predict(planes(x)), net.predict(x))
    assert np.array_equal(other.step_one(planes(x)[0, 0], 0.5), net.step_one(x[0, 0], 0.5))
    flat = planes(x)[0, 1].ravel()  # which a network with channels last takes as it is
    assert np.array_equal(other.step_one(flat), net.step_one(x[0, 1]))
    assert np.array_equal(other.predict_one(flat), net.predict_one(x[0, 1]))
    with pytest.raises(ValueError, match="it looks like channels last"):
        other.predict(x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: network(data_format="NCHW"), "data_format: expected"),
        (
            lambda: network(60, data_format="channels_first"),
            r"input_shape: expected \(channels, height, width\) with data_format=.*, got 60",
        ),
        (
            lambda: channels_first(network()).predict(np.zeros((8, *IMAGE))),
            r"expected shape \(m, 2, 6, 5\), got shape \(8, 6, 5, 2\); it looks like channels last",
        ),
        (
            lambda: network((28, 28, 1)).predict(np.zeros((8, 1, 28, 28))),
            r'channels first: declare them, data_format="channels_first", input_shape=\(1, 28, 28',
        ),
    ],
)  # fmt: skip
def test_the_declared_format_is_never_guessed(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_sparse_rows_have_no_channels_first():
    x = pytest.importorskip("scipy.sparse").eye(8, 60, format="csr")
    with pytest.raises(TypeError, match="a dense array with data_format"):
        channels_first(network()).predict(x)

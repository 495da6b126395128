"""Normalisations against the oracle, formulas and derivatives, under every rule."""

import numpy as np
import pytest
from networks import (
    ADAM,
    BROADCAST,
    DTYPES,
    FLATTEN,
    PER_LAYER,
    SGD,
    assert_all_close,
    assert_close,
    conv,
    dense,
    description,
    digest,
    dropout,
    optimizer,
    pair,
    pool,
    recurrent,
    rule,
    samples,
)
from test_engine import assert_agrees
from test_followers import activation

from fastfa import _core

KINDS = ("layer_norm", "rms_norm", "group_norm")
ON_IMAGES = ("backprop", "fa", "usf", "kp", "dfa", "dkp", "local", "drtp")


def norm(kind, **changes):
    how = {"type": kind, "trainable": True, "lr_scale": 1.0, "eps": 1e-5}
    groups = {"groups": 2} if kind == "group_norm" else {}
    return how | {"scale": True, "shift": True} | groups | changes


def normed(kind, teaching="backprop", **changes):
    layers = [
        dense(6),
        norm(kind, lr_scale=0.7),
        activation("tanh"),
        dropout(0.2),
        dense(8, "softplus"),
        norm(kind),
        dense(3),
    ]
    return description(layers, 7, teaching, **changes)


def normed_maps(kind, teaching="backprop", **changes):
    layers = [
        conv(4, (3, 3), padding="same"),
        norm(kind),
        activation("tanh"),
        pool("max"),
        conv(6, (2, 1), "tanh"),
        norm(kind, shift=False),
        FLATTEN,
        dense(3),
    ]
    return description(layers, (6, 5, 2), teaching, **changes)


@pytest.mark.parametrize("name", [name for name in PER_LAYER if name != "pepita"])
@pytest.mark.parametrize("kind", KINDS)
def test_rules_agree_with_the_oracle(kind, name):
    desc = normed(kind, name)
    mine, _ = assert_agrees(desc, samples(desc, 9, weights=True), steps=2, loose=3)
    if name != "frozen":
        assert np.ptp(mine.parameters["1.scale"]) > 0
        assert np.ptp(mine.parameters["5.shift"]) > 0


@pytest.mark.parametrize("name", ON_IMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_images_agree_with_the_oracle(kind, name):
    desc = normed_maps(kind, name)
    assert_agrees(desc, samples(desc, 9, weights=True), steps=2, loose=5)


@pytest.mark.parametrize("name", BROADCAST)
def test_a_signal_in_front_of_the_pool_passes_the_norm(name):
    layers = [conv(4, (2, 2)), norm("group_norm"), activation("tanh"), pool("avg"), FLATTEN]
    desc = description([*layers, dense(3)], (6, 5, 2), rule(name, "before_pool"))
    assert_agrees(desc, samples(desc, 5, weights=True), steps=2, loose=5)


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 15, 16, 17, 33, 257])
@pytest.mark.parametrize("dtype", DTYPES)
def test_widths_agree_with_the_oracle(width, dtype):
    for kind in KINDS:
        groups = {"groups": width if width < 10 else 1} if kind == "group_norm" else {}
        layers = [dense(width), norm(kind, **groups, eps=0.1), activation("tanh"), dense(3)]
        desc = description(layers, 5, "dfa", dtype=dtype)
        assert_agrees(desc, samples(desc, 4), steps=1, loose=5)


@pytest.mark.parametrize("how", [ADAM, optimizer("sgd", lr=0.1, clip_norm=0.01)])
def test_optimizers_agree_with_the_oracle(how):
    decay = {"weight_decay": 0.01, "decay_bias": how is not ADAM, "l1": 0.001}
    desc = normed("layer_norm", "fa", optimizer=how | decay)
    assert_agrees(desc, samples(desc, 6), loose=10)


def test_sequences_agree_with_the_oracle():
    layers = [dense(4), norm("layer_norm"), recurrent(5), norm("rms_norm"), dense(3)]
    desc = description(layers, 4, "dfa")
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(5, 6, 4)), rng.integers(0, 3, (5, 6))
    mine, ref = pair(desc)
    for _ in range(3):
        loss = ref.train_batch(x, labels, None, None)
        assert_close(mine.train_batch(x, labels, None, None), loss, "float64", 5)
    assert_all_close(mine.parameters, ref.parameters, "float64", 10)
    assert_close(mine.predict(x), ref.predict(x), "float64", 10)


def test_alignment_agrees_with_the_oracle():
    for teaching in ("backprop", "fa", "dfa"):
        desc = normed("layer_norm", teaching)
        data = samples(desc, 6)
        mine, ref = assert_agrees(desc, data, steps=0)
        for row, expected in zip(mine.alignment(*data), ref.alignment(*data), strict=True):
            for key, value in row.items():
                if value is not None:
                    np.testing.assert_allclose(value, expected[key], rtol=1e-6, atol=1e-4)


# ------------------------------------------------------------------------ what it computes


@pytest.mark.parametrize("kind", KINDS)
def test_a_norm_is_its_formula(kind):
    layers = [FLATTEN, norm(kind, eps=0.03, trainable=False), dense(6, use_bias=False)]
    layers[2]["weight_init"] = {"values": np.eye(6)}
    net = _core.Network(description(layers, 6, loss="mse"))
    rng = np.random.default_rng(1)
    scale, shift, x = rng.normal(size=6), rng.normal(size=6), rng.normal(size=(9, 6))
    net.parameters["1.scale"][...], net.parameters["1.shift"][...] = scale, shift
    parts = x.reshape(9, 2, 3) if kind == "group_norm" else x.reshape(9, 1, 6)
    mean = 0 if kind == "rms_norm" else parts.mean(2, keepdims=True)
    spread = np.sqrt(((parts - mean) ** 2).mean(2, keepdims=True) + 0.03)
    expected = ((parts - mean) / spread).reshape(9, 6) * scale + shift
    assert_close(net.predict(x), expected, "float64")
    assert_close(net.predict_one_direct(x[0]), expected[0], "float64")


@pytest.mark.parametrize("kind", KINDS)
def test_backprop_is_the_derivative(kind):
    for desc in (normed(kind, optimizer=SGD), normed_maps(kind, optimizer=SGD)):
        desc["layers"] = [x for x in desc["layers"] if x["type"] != "dropout"]
        data = samples(desc, 5, weights=True)
        net = _core.Network(desc)
        _, gradients = net.gradients(*data)
        rng, step = np.random.default_rng(0), 1e-6
        for key, values in net.parameters.items():
            for _ in range(3):
                at = tuple(rng.integers(n) for n in values.shape)
                before, loss = values[at], []
                for sign in (1, -1):
                    values[at] = before + sign * step
                    loss.append(net.gradients(*data)[0])
                values[at] = before
                expected = (loss[0] - loss[1]) / (2 * step)
                np.testing.assert_allclose(gradients[key][at], expected, rtol=2e-5, atol=1e-7)


def test_one_group_of_features_is_the_layer():
    layers = [dense(6), norm("group_norm", groups=1), activation("tanh"), dense(3)]
    one = _core.Network(description(layers, 7, "dfa"))
    layers[1] = norm("layer_norm")
    other = _core.Network(description(layers, 7, "dfa"))
    data = samples(one.description, 9)
    assert one.train_batch(*data) == other.train_batch(*data)
    assert digest(one.parameters) == digest(other.parameters)


def test_constant_numbers_stay_finite():
    net = _core.Network(normed("layer_norm", dtype="float32"))
    net.parameters["0.weight"][...] = 0
    net.parameters["0.bias"][...] = 3
    x, labels = np.ones((4, 7), np.float32), np.array([0, 1, 2, 0])
    _, gradients = net.gradients(x, labels, None, None)
    assert all(np.isfinite(values).all() for values in gradients.values())


# ---------------------------------------------------------------------- what learns, and bits


def test_only_what_may_learn_learns():
    cases = (
        ({"trainable": False}, {}, "dfa", set()),
        ({}, {"trainable": False}, "dfa", {"1.scale", "1.shift"}),
        ({"scale": False}, {}, "dfa", {"0.weight", "0.bias", "1.shift"}),
        ({}, {"rule": rule("frozen")}, "dfa", set()),
        ({"lr_scale": 0.0}, {}, "fa", {"0.weight", "0.bias"}),
    )
    for of_norm, of_layer, name, learns in cases:
        layers = [dense(6, **of_layer), norm("layer_norm", **of_norm), activation("tanh"), dense(3)]
        desc = description(layers, 7, name)
        data = samples(desc, 5)
        mine, _ = assert_agrees(desc, data, steps=1)
        fresh = _core.Network(desc).parameters
        moved = {key for key, v in mine.parameters.items() if not np.array_equal(v, fresh[key])}
        if "trainable" in of_norm:
            learns = {"0.weight", "0.bias"}
        assert moved == learns | {"3.weight", "3.bias"}


def test_threads_and_pieces_change_no_bit():
    wide = [dense(700), norm("layer_norm"), activation("relu"), dense(650), norm("rms_norm")]
    for desc, m in (
        (normed_maps("group_norm", "fa", optimizer=ADAM, dtype="float32"), 70),
        (description([*wide, dense(9)], 300, "fa", dtype="float32"), 8),  # divided by columns
    ):
        data, found = samples(desc, m), set()
        for threads in (1, 2, 3):
            net = _core.Network(desc | {"n_threads": threads})
            for _ in range(2):
                net.train_batch(*data)
            whole = net.predict(data[0])
            found.add(digest(net.parameters, whole))
        pieces = [net.predict(data[0][i : i + 9]) for i in range(0, m, 9)]
        assert len(found) == 1
        if m > 8:  # BLAS rounds products of other sizes in another order
            assert np.concatenate(pieces).tobytes() == whole.tobytes()


# -------------------------------------------------------------------------------------- refusals


def test_where_no_signal_passes():
    with pytest.raises(ValueError, match="layer 0: layer_norm: expected one without a scale"):
        _core.Network(description([norm("layer_norm"), dense(3)], 5))
    for teaching in (rule("dfa", "pre"), "pepita"):
        layers = [dense(4), norm("rms_norm"), activation("tanh"), dense(3)]
        with pytest.raises(ValueError, match=r"layer 1: rms_norm: .*the signal does not pass it"):
            _core.Network(description(layers, 5, teaching))
        layers[1] = norm("rms_norm", trainable=False)
        desc = description(layers, 5, teaching)
        assert_agrees(desc, samples(desc, 4), steps=1)
    layers = [conv(2, (1, 1)), pool("max"), norm("layer_norm"), FLATTEN, dense(3)]
    with pytest.raises(ValueError, match=r"layer 2: layer_norm: .*inject='before_pool'"):
        _core.Network(description(layers, (4, 4, 1), rule("dfa", "before_pool")))


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (
            norm("group_norm", groups=4),
            "layer 1: type 'group_norm': groups: expected a divisor of 6, .*got 4",
        ),
        (norm("group_norm", groups=0), "layer 1: type 'group_norm': groups: expected"),
        (norm("layer_norm", eps=0.0), "layer 1: type 'layer_norm': eps: expected"),
        (norm("layer_norm", scale=2), "scale: expected 0 or 1"),
        (norm("rms_norm", lr_scale=-1.0), "layer 1: lr_scale: expected a finite number >= 0"),
    ],
)
def test_wrong_norms_are_named(of, words):
    with pytest.raises(ValueError, match=words):
        _core.Network(description([dense(6), of, dense(3)], 5))

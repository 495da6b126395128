"""Images: convolutions and the layers between them, against the oracle and against Dense."""

import itertools

import numpy as np
import pytest
from networks import (
    ADAM,
    DTYPES,
    FLATTEN,
    SGD,
    assert_all_close,
    assert_close,
    conv,
    copies,
    dense,
    description,
    digest,
    dropout,
    optimizer,
    pair,
    rule,
    samples,
)
from test_engine import assert_agrees

from fastfa import _core

# "ldfa", "ifa" and "pepita" are refused: test_rules_that_are_refused
CHAIN = ("backprop", "fa", "usf", "frsf", "brsf", "kp", "frozen")
DIRECT = ("dfa", "sdfa", "ternary", "drtp", "dkp", "local")


def two_convolutions(name="backprop", **changes):
    layers = [
        conv(5, (3, 3), "tanh", padding="same"),
        conv(4, (2, 3), "relu", strides=(2, 1)),
        dropout(0.2),
        FLATTEN,
        dense(7, "softplus"),
        dense(3),
    ]
    return description(layers, (6, 5, 2), name, **changes)


@pytest.mark.parametrize("name", CHAIN + DIRECT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rules_agree_with_the_oracle(name, dtype):
    desc = two_convolutions(name, dtype=dtype)
    assert_agrees(desc, samples(desc, 9, weights=True), loose=3)


@pytest.mark.parametrize("name", ["dfa", "sdfa", "drtp", "local"])
def test_inject_before_the_activation(name):
    layers = [conv(3, (2, 2), "tanh"), dropout(0.3), FLATTEN, dense(3)]
    desc = description(layers, (4, 4, 2), rule(name, "pre"))
    assert_agrees(desc, samples(desc, 5))


SHAPES = (  # image, filters, kernel, strides, padding
    ((1, 1, 1), 1, (1, 1), (1, 1), "valid"),
    ((1, 7, 3), 6, (1, 3), (1, 2), "valid"),
    ((7, 1, 3), 8, (2, 1), (3, 1), "same"),
    ((5, 5, 1), 9, (5, 5), (1, 1), "valid"),
    ((8, 8, 6), 16, (3, 3), (2, 2), "same"),
    ((9, 4, 8), 17, (2, 4), (1, 1), "same"),
    ((4, 9, 17), 33, (3, 2), (2, 3), (1, 0)),
    ((3, 3, 2), 3, (4, 5), (1, 2), (2, 3)),
    ((6, 24, 1), 3, (7, 7), (3, 3), (3, 3)),
    ((3, 8, 2), 4, (2, 2), (4, 4), "same"),
)


@pytest.mark.parametrize(("image", "filters", "size", "strides", "padding"), SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_shapes_agree_with_the_oracle(image, filters, size, strides, padding, dtype):
    layers = [
        conv(3, (1, 1), "tanh"),
        conv(filters, size, "leaky_relu", strides=strides, padding=padding),
        FLATTEN,
        dense(3),
    ]
    desc = description(layers, image, "fa", dtype=dtype)
    assert_agrees(desc, samples(desc, 3), loose=3)


@pytest.mark.parametrize("m", [1, 2, 15, 16, 17, 129])
def test_batches_agree_with_the_oracle(m):
    desc = two_convolutions("dfa")
    assert_agrees(desc, samples(desc, m), steps=2)


@pytest.mark.parametrize(
    "feedback",
    [
        {"distribution": "he_uniform", "scale": 1.5},
        {"distribution": "forward", "scale": 1.0},
        {"distribution": "orthogonal", "scale": 1.0},
        {"distribution": "uniform", "scale": 1.0, "rank": 2},
        {"distribution": "normal", "scale": 1.0, "sparsity": 0.34},
    ],
)
@pytest.mark.parametrize("name", ["fa", "dfa"])
def test_feedback_agrees_with_the_oracle(name, feedback):
    desc = two_convolutions(rule(name) | {"feedback": feedback})
    assert_agrees(desc, samples(desc, 4))


def test_feedback_that_copies_the_weights_is_backprop_at_first():
    copied = rule("fa") | {"feedback": {"distribution": "copy", "scale": 1.0}}
    desc = two_convolutions(copied)
    mine, _ = assert_agrees(desc, samples(desc, 4), steps=0)
    _, gradients = mine.gradients(*samples(desc, 4))
    _, exact = _core.Network(two_convolutions()).gradients(*samples(desc, 4))
    for key, values in gradients.items():
        assert_close(values, exact[key], "float64", what=key)


def test_one_entry_in_each_column_is_gathered():
    feedback = {"distribution": "normal", "scale": 1.0, "sparsity": 0.67}
    for name in ("fa", "dfa"):
        mine, ref = pair(two_convolutions(rule(name) | {"feedback": feedback}))
        data = samples(mine.description, 4)
        for _ in range(2):
            assert_close(mine.train_batch(*data), ref.train_batch(*data), "float64")
        assert_all_close(mine.parameters, ref.parameters, "float64", 5)


def test_shared_feedback_is_as_wide_as_the_widest_block():
    feedback = {"distribution": "uniform", "scale": 1.0, "shared": True}
    desc = two_convolutions(rule("dfa") | {"feedback": feedback})
    mine, _ = assert_agrees(desc, samples(desc, 4))
    widest, narrower = mine.feedback["0.feedback"], mine.feedback["1.feedback"]
    assert widest.shape == (3, 150)
    assert np.array_equal(widest[:, : narrower.shape[1]], narrower)


@pytest.mark.parametrize("how", [ADAM, optimizer("sgd", lr=0.1, clip_norm=0.01)])
def test_optimizers_agree_with_the_oracle(how):
    desc = two_convolutions("kp" if how is ADAM else "dfa", optimizer=how)
    assert_agrees(desc, samples(desc, 6), loose=10)


def test_alignment_agrees_with_the_oracle():
    for name in ("backprop", "fa", "usf", "dfa", "dkp"):
        desc = two_convolutions(name)
        data = samples(desc, 6)
        mine, ref = pair(desc)
        for row, expected in zip(mine.alignment(*data), ref.alignment(*data), strict=True):
            assert row["layer"] == expected["layer"]
            assert (row["weight_angle"] is None) == (expected["weight_angle"] is None)
            for key, value in row.items():
                if value is not None:
                    np.testing.assert_allclose(value, expected[key], rtol=1e-6, atol=1e-5)


def test_backprop_is_the_derivative():
    desc = two_convolutions(optimizer=SGD)
    desc["layers"][1] |= {"activation": "tanh"}  # no kinks
    del desc["layers"][2]  # finite differences need the same function twice
    data = samples(desc, 5, weights=True)
    mine = _core.Network(desc)
    _, gradients = mine.gradients(*data)
    rng, step = np.random.default_rng(0), 1e-5
    for key, values in mine.parameters.items():
        for _ in range(4):
            at = tuple(rng.integers(n) for n in values.shape)
            before, loss = values[at], []
            for sign in (1, -1):
                values[at] = before + sign * step
                loss.append(mine.gradients(*data)[0])
            values[at] = before
            expected = (loss[0] - loss[1]) / (2 * step)
            np.testing.assert_allclose(gradients[key][at], expected, rtol=1e-6, atol=1e-8)


# ---------------------------------------------------------------------------- the same as Dense


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["backprop", "fa", "dfa", "usf"])
@pytest.mark.parametrize(("image", "size"), [((1, 1, 19), (1, 1)), ((3, 2, 5), (3, 2))])
def test_a_kernel_as_large_as_the_image_has_the_bits_of_dense(
    image, size, name, dtype, monkeypatch
):
    monkeypatch.setenv("FASTFA_GEMM", "own")  # BLAS divides the sums of one and of the other
    below, top = conv(18, size, "relu"), dense(4)
    plain = dense(18, "relu")
    how = {"dtype": dtype, "optimizer": ADAM}  # plain SGD adds products to weights
    images = description([below, FLATTEN, dense(9, "tanh"), top], image, name, **how)
    rows = description([plain, dense(9, "tanh"), top], int(np.prod(image)), name, **how)
    a, b = _core.Network(images), _core.Network(rows)
    data = samples(rows, 21, weights=True)
    keys = {"0": "0", "2": "1", "3": "2"}  # Flatten has a place in the list
    for key, values in a.parameters.items():
        place, _, part = key.partition(".")
        b.parameters[f"{keys[place]}.{part}"][...] = values.reshape(
            b.parameters[f"{keys[place]}.{part}"].shape
        )
    for key, values in a.feedback.items():
        place, _, part = key.partition(".")
        b.feedback[f"{keys[place]}.{part}"][...] = values
    for _ in range(3):
        assert a.train_batch(*data) == b.train_batch(*data)
    assert [v.tobytes() for v in a.parameters.values()] == [
        v.tobytes() for v in b.parameters.values()
    ]
    assert a.predict(data[0]).tobytes() == b.predict(data[0]).tobytes()


# ------------------------------------------------------------------------------------------ bits


def test_threads_change_no_bit():
    desc = two_convolutions("fa", optimizer=ADAM, dtype="float32")
    data = samples(desc, 70)
    found = set()
    for threads in (1, 2, 3):
        net = _core.Network(desc | {"n_threads": threads})
        for _ in range(3):
            net.train_batch(*data)
        found.add(digest(net.parameters, net.predict(data[0])))
    assert len(found) == 1


def test_pieces_change_no_bit_of_predictions():
    desc = two_convolutions(dtype="float32")
    net, (x, *_) = _core.Network(desc), samples(desc, 70)
    whole = net.predict(x)
    pieces = [net.predict(x[i : i + 9]) for i in range(0, 70, 9)]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert net.predict_one_direct is not None
    assert np.array_equal(np.concatenate([net.predict(x[i : i + 1]) for i in range(3)]), whole[:3])


def test_constant_images_sum_accurately():
    desc = description([conv(16, (3, 3)), FLATTEN, dense(2)], (32, 32, 1), dtype="float32")
    net = _core.Network(desc)
    double = _core.Network(desc | {"dtype": "float64"})
    for key, values in net.parameters.items():
        double.parameters[key][...] = values
    x, labels = np.ones((256, 1024), np.float32), np.arange(256) % 2
    _, gradients = net.gradients(x, labels, None, np.linspace(0, 1, 256))
    _, exact = double.gradients(x.astype(np.float64), labels, None, np.linspace(0, 1, 256))
    for key, values in gradients.items():
        scale = np.abs(exact[key]).max()
        assert np.abs(values - exact[key]).max() <= 2e-4 * scale, key


# -------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("layers", "image", "words"),
    [
        ([conv(2, (3, 3)), dense(2)], (5, 5, 1), "layer 1: dense: expected rows .*Flatten"),
        ([dense(2)], (5, 5, 1), "layer 0: dense: expected rows of numbers, got images"),
        ([conv(2, (3, 3)), FLATTEN, dense(2)], 784, r"layer 0: conv2d: .*\(28, 28, 1\)"),
        ([conv(2, (3, 3)), FLATTEN, dense(2)], 12, "layer 0: conv2d: expected images"),
        ([conv(2, (6, 3)), FLATTEN, dense(2)], (5, 5, 1), r"kernel_size: .*\(5, 5\).*\(6, 3\)"),
        ([conv(2, (0, 3)), FLATTEN, dense(2)], (5, 5, 1), "kernel_size: expected 1 to"),
        ([conv(2, (3, 3), padding="some"), FLATTEN, dense(2)], (5, 5, 1), "'valid' or 'same'"),
        ([conv(2, (3, 3), padding=(-1, 0)), FLATTEN, dense(2)], (5, 5, 1), "padding: expected 0"),
        ([conv(2, (3, 3), padding=(2**30, 2**30)), FLATTEN, dense(2)], (5, 5, 1), "padding|output"),
        (
            [conv(2, (3, 3), strides=(2**30, 2**30), padding=(2**30, 0)), FLATTEN, dense(2)],
            (5, 5, 1),
            "padding",
        ),
        ([conv(0, (3, 3)), FLATTEN, dense(2)], (5, 5, 1), "filters: expected 1 to"),
        ([conv(2, (1, 1)), FLATTEN, dense(2)], (0, 5, 1), "input_h|n_in"),
        ([conv(2, (3, 3))], (5, 5, 1), "the last layer: expected dense, got conv2d"),
        ([conv(2**31 - 1, (1, 1)), FLATTEN, dense(2)], (5, 5, 1), "output: expected at most"),
    ],
)
def test_shapes_that_are_refused(layers, image, words):
    with pytest.raises(ValueError, match=words):
        _core.Network(description(layers, image))


@pytest.mark.parametrize("name", ["ifa", "pepita", "ldfa"])
def test_rules_that_are_refused(name):
    layers = [conv(2, (2, 2), "relu"), conv(2, (2, 2), "relu"), FLATTEN, dense(2)]
    with pytest.raises(ValueError, match=f"layer 0: rule: expected one .*'{name}'"):
        _core.Network(description(layers, (5, 5, 1), name))


def test_low_rank_chain_below_a_dense_layer():
    layers = [conv(4, (2, 2), "tanh"), FLATTEN, dense(5, "tanh"), dense(3)]
    desc = description(layers, (4, 3, 2), "ldfa")
    assert_agrees(desc, samples(desc, 4))


def test_a_failed_step_changes_nothing():
    desc = two_convolutions("dfa", dtype="float32")
    net, (x, labels, *_) = _core.Network(desc), samples(desc, 5)
    before = copies(net.parameters)
    net.parameters["0.weight"][0, 0, 0, 0] = np.inf
    with pytest.raises(FloatingPointError, match=r"0\.weight"):
        net.train_batch(x, labels, None, None)
    net.parameters["0.weight"][...] = before["0.weight"]
    for key, values in net.parameters.items():
        assert np.array_equal(values, before[key])


def test_flatten_needs_no_convolution():
    layers = [FLATTEN, dropout(0.2), dense(4, "tanh"), FLATTEN, dense(2)]
    for name, image in itertools.product(("dfa", "pepita"), ((2, 3, 1), 6)):
        desc = description(layers, image, name)
        mine, _ = assert_agrees(desc, samples(desc, 4))
        x = samples(desc, 1)[0]
        assert_close(mine.predict_one_direct(x[0]), mine.predict(x)[0], "float64")

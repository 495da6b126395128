"""Pools against the oracle and against loops, and where a signal lands in a block with pools."""

import numpy as np
import pytest
from networks import (
    ADAM,
    DTYPES,
    FLATTEN,
    GLOBAL,
    assert_all_close,
    assert_close,
    conv,
    dense,
    description,
    digest,
    dropout,
    pool,
    rule,
    samples,
)
from test_engine import assert_agrees

from fastfa import _core

CHAIN = ("backprop", "fa", "usf", "frsf", "brsf", "kp", "frozen")
DIRECT = ("dfa", "sdfa", "ternary", "drtp", "dkp", "local")
TAUGHT = [(name, "post") for name in CHAIN + DIRECT]
TAUGHT += [(name, inject) for name in DIRECT for inject in ("before_pool", "pre")]


def pooled(teaching="backprop", **changes):
    layers = [
        conv(5, (3, 3), "tanh", padding="same"),
        dropout(0.2),
        pool("max", (2, 2)),  # 5 columns: one is left over
        conv(4, (2, 1), "softplus"),
        pool("avg", (2, 2), strides=(1, 1), padding=(1, 0)),
        dropout(0.1),
        FLATTEN,
        dense(7, "tanh"),
        dense(3),
    ]
    return description(layers, (6, 5, 2), teaching, **changes)


@pytest.mark.parametrize(("name", "inject"), TAUGHT)
def test_rules_agree_with_the_oracle(name, inject):
    desc = pooled(rule(name, inject))
    mine, _ = assert_agrees(desc, samples(desc, 9, weights=True), steps=2, loose=3)
    if name in ("dfa", "local"):  # 3 x 2 x 5 numbers behind the pool, 6 x 5 x 5 in front of it
        assert mine.feedback_matrix(0).shape == (3, 30 if inject == "post" else 150)
    layers = [conv(5, (3, 2), "tanh"), GLOBAL, dense(3)]
    desc = description(layers, (6, 5, 2), rule(name, inject), dtype="float32")
    assert_agrees(desc, samples(desc, 4), steps=1, loose=3)


WINDOWS = (  # image, size, strides, padding
    ((1, 1, 1), (1, 1), (1, 1), "valid"),
    ((7, 6, 3), (3, 3), (2, 2), "valid"),  # overlapping, rows left over
    ((7, 6, 17), (3, 2), (2, 3), "same"),
    ((5, 5, 8), (2, 2), (3, 3), "valid"),  # places between the windows
    ((4, 9, 9), (4, 9), (4, 9), "valid"),  # as large as the image
    ((3, 3, 16), (3, 2), (1, 1), (2, 1)),
    ((2, 3, 4), (5, 5), (1, 1), "same"),  # larger than the image
    ((18, 17, 1), (16, 16), (1, 1), "valid"),  # as many places as a byte counts
)


@pytest.mark.parametrize(("image", "size", "strides", "padding"), WINDOWS)
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_windows_agree_with_the_oracle(kind, image, size, strides, padding, dtype):
    of = pool(kind, size, strides=strides, padding=padding)
    layers = [conv(image[2], (1, 1), "tanh"), of, FLATTEN, dense(3)]
    desc = description(layers, image, "fa", dtype=dtype)
    assert_agrees(desc, samples(desc, 3), steps=1, loose=3)


def by_loops(kind, image, size, strides, pads):
    """A pool of one image, place by place."""
    rows, columns, channels = image.shape
    out = [
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip((rows, columns), pads, size, strides, strict=True)
    ]
    result = np.empty((*out, channels))
    for y, x, c in np.ndindex(*result.shape):
        inside = [
            image[i, j, c]
            for i in range(y * strides[0] - pads[0], y * strides[0] - pads[0] + size[0])
            for j in range(x * strides[1] - pads[1], x * strides[1] - pads[1] + size[1])
            if 0 <= i < rows and 0 <= j < columns
        ]
        result[y, x, c] = max(inside) if kind == "max" else sum(inside) / len(inside)
    return result


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_a_pool_is_what_loops_say(kind):
    image, size, strides, pads = (6, 7, 3), (3, 2), (2, 2), (1, 1)
    of = pool(kind, size, strides=strides, padding=pads)
    n = 3 * 4 * 3
    layers = [of, FLATTEN, dense(n, weight_init={"values": np.eye(n)}, use_bias=False)]
    net = _core.Network(description(layers, image, loss="mse"))
    x = -1 - np.random.default_rng(0).random((4, 126))  # below 0: padding would win
    expected = [by_loops(kind, each.reshape(image), size, strides, pads).ravel() for each in x]
    assert_close(net.predict(x), np.array(expected), "float64")


def test_a_global_average_is_that_of_one_window():
    below = conv(6, (2, 2), "tanh")
    one = description([below, GLOBAL, dense(3)], (5, 4, 2), "dfa")
    two = description([below, pool("avg", (4, 3)), FLATTEN, dense(3)], (5, 4, 2), "dfa")
    a, b = _core.Network(one), _core.Network(two)
    b.parameters["3.weight"][...] = a.parameters["2.weight"]
    b.parameters["3.bias"][...] = a.parameters["2.bias"]
    data = samples(one, 9)
    for _ in range(2):
        assert a.train_batch(*data) == b.train_batch(*data)
    assert a.parameters["0.weight"].tobytes() == b.parameters["0.weight"].tobytes()


def test_equal_numbers_give_their_signal_to_the_first():
    layers = [conv(1, (1, 1), weight_init={"values": np.ones((1, 1, 1, 1))}, use_bias=False)]
    layers += [pool("max", (2, 2)), FLATTEN, dense(1, weight_init={"values": np.ones((1, 1))})]
    net = _core.Network(description(layers, (2, 2, 1), loss="mse"))
    deltas = net.deltas(np.full((1, 4), 0.5), None, np.zeros((1, 1)), None)
    first = deltas[0].ravel()
    assert first[0] != 0
    assert not first[1:].any()


def test_without_a_pool_the_places_behind_f_are_one():
    layers = [conv(3, (2, 2), "relu"), dropout(0.3), FLATTEN, dense(3)]
    for below in (layers, [dense(6, "relu"), dense(3)]):
        nets = [
            _core.Network(description(below, (4, 4, 2) if below is layers else 5, rule("dfa", at)))
            for at in ("post", "before_pool")
        ]
        data = samples(nets[0].description, 5)
        assert nets[0].train_batch(*data) == nets[1].train_batch(*data)
        assert_all_close(nets[0].parameters, nets[1].parameters, "float64", 0)


def test_backprop_is_the_derivative():
    desc = pooled()
    for i in (5, 1):  # finite differences need the same function twice
        del desc["layers"][i]
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
            np.testing.assert_allclose(gradients[key][at], expected, rtol=1e-5, atol=1e-7)


def test_alignment_agrees_with_the_oracle():
    for teaching in ("fa", "dfa", rule("dfa", "before_pool"), rule("dkp", "pre")):
        desc = pooled(teaching)
        data = samples(desc, 6)
        mine, ref = assert_agrees(desc, data, steps=0)
        for row, expected in zip(mine.alignment(*data), ref.alignment(*data), strict=True):
            assert (row["weight_angle"] is None) == (expected["weight_angle"] is None)
            for key, value in row.items():
                if value is not None:
                    np.testing.assert_allclose(value, expected[key], rtol=1e-6, atol=1e-5)


def test_threads_and_pieces_change_no_bit():
    desc = pooled(rule("dfa", "before_pool"), optimizer=ADAM, dtype="float32")
    data = samples(desc, 70)
    found = set()
    for threads in (1, 2, 3):
        net = _core.Network(desc | {"n_threads": threads})
        for _ in range(2):
            net.train_batch(*data)
        whole = net.predict(data[0])
        found.add(digest(net.parameters, whole))
        pieces = [net.predict(data[0][i : i + 9]) for i in range(0, 70, 9)]
        assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert len(found) == 1


@pytest.mark.parametrize(
    ("of", "image", "words"),
    [
        (pool("max", (6, 2)), (5, 5, 1), r"layer 0: pool_size: .* \(5, 5\).* got \(6, 2\)"),
        (pool("avg", (0, 2)), (5, 5, 1), "layer 0: pool_size: expected 1 to"),
        (pool("avg", (2, 2), padding=(0, 2)), (5, 5, 1), r"less than pool_size .*got \(0, 2\)"),
        (pool("max", (17, 16)), (20, 20, 1), "at most 256 positions in a window, got 17 x 16"),
        (pool("max"), 784, r"layer 0: max_pool2d: .*\(28, 28, 1\)"),
        (GLOBAL, 12, "layer 0: global_avg_pool2d: expected images"),
    ],
)
def test_shapes_that_are_refused(of, image, words):
    with pytest.raises(ValueError, match=words):
        _core.Network(description([of, FLATTEN, dense(2)], image))


def test_rules_that_read_from_above_have_no_other_place():
    for name in ("fa", "backprop", "kp"):
        with pytest.raises(ValueError, match="layer 0: inject='before_pool': expected one of"):
            _core.Network(pooled(rule(name, "before_pool")))
    with pytest.raises(ValueError, match="expected 'post', 'before_pool' or 'pre', got 'behind'"):
        _core.Network(pooled(rule("dfa", "behind")))
    for name in ("ifa", "pepita"):
        with pytest.raises(ValueError, match="expected one that takes images"):
            _core.Network(pooled(name))

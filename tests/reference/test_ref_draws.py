"""The oracle's random draws: Philox, initial values, feedback, dropout masks and shuffles."""

import math

import numpy as np
import pytest
from networks import RULES, dense, dropout, rule
from ref_networks import assert_same, hidden_net, network

from fastfa import _core
from fastfa.backends import reference as _ref

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([ONES] * 4, (ONES, ONES), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ],
)
def test_philox_known_answers(counter, key, expected):
    words = _ref.philox(np.array(counter, np.uint64), key)
    assert " ".join(f"{word:08x}" for word in words.tolist()) == expected


def test_streams_put_every_word_in_its_place():
    """key = seed low, high; counter = c0, c1, step low, purpose | ordinal | step high."""
    stream = _ref.Stream(0x1122334455667788, 5, 0xABC, 0xDEF0_12345678)
    counter = np.array([3, 4, 0x12345678, 5 << 28 | 0xABC << 16 | 0xDEF0], np.uint64)
    np.testing.assert_array_equal(
        _ref.words(stream, 3, 4), _ref.philox(counter, (0x55667788, 0x11223344))
    )


def test_uniforms_and_normals_from_words():
    stream = _ref.Stream(99, 1, 2)
    a, b, c, d = _ref.words(stream, 1, 0).tolist()
    u2 = ((a >> 5) * 2**26 + (b >> 6)) / 2**53
    u3 = ((c >> 5) * 2**26 + (d >> 6)) / 2**53
    assert _ref.uniforms(stream, 4)[2:].tolist() == [u2, u3]
    r = math.sqrt(-2 * math.log(1 - u2))
    expected = [r * math.cos(2 * math.pi * u3), r * math.sin(2 * math.pi * u3)]
    np.testing.assert_allclose(_ref.normals(stream, 4)[2:], expected, rtol=1e-14)
    for draw in (_ref.uniforms, _ref.normals):
        np.testing.assert_array_equal(draw(stream, 3), draw(stream, 10)[:3])


INITIALISERS = [
    ("zeros", 1.0, 0.0, 0.0),
    ("uniform", 0.5, 0.5, 0.5 / math.sqrt(3)),
    ("normal", 0.5, math.inf, 0.5),
    ("glorot_uniform", 1.0, math.sqrt(6 / 500), math.sqrt(2 / 500)),
    ("glorot_normal", 2.0, math.inf, 2 * math.sqrt(2 / 500)),
    ("he_uniform", 1.0, math.sqrt(6 / 200), math.sqrt(2 / 200)),
    ("he_normal", 1.0, math.inf, math.sqrt(2 / 200)),
    ("lecun_uniform", 1.0, math.sqrt(3 / 200), math.sqrt(1 / 200)),
    ("lecun_normal", 1.0, math.inf, math.sqrt(1 / 200)),
]


def test_every_initialiser_has_a_row():
    assert {row[0] for row in INITIALISERS} == set(_core.NAMES["initializer"])


@pytest.mark.parametrize(("name", "scale", "limit", "std"), INITIALISERS)
def test_initialisers(name, scale, limit, std):
    init = {"name": name, "scale": scale}
    w = network([dense(300, weight_init=init)], n_in=200).parameters["0.weight"]
    assert w.shape == (200, 300)
    assert np.abs(w).max() <= limit
    assert abs(w.mean()) <= 5 * std / math.sqrt(w.size)
    assert w.std() == pytest.approx(std, rel=0.01)
    if 0 < limit < math.inf:
        assert np.abs(w).max() > 0.99 * limit


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_feedback_has_one_standard_deviation(scale):
    for distribution in ("uniform", "normal"):
        layers = [dense(400, "tanh"), dense(100)]
        b = network(layers, rule("dfa", "post", distribution, scale)).feedback["0.feedback"]
        assert b.shape == (100, 400)
        assert b.std() == pytest.approx(scale / math.sqrt(3 * 400), rel=0.02)
        if distribution == "uniform":
            assert 0.99 * scale / 20 < np.abs(b).max() <= scale / 20


def test_feedback_values_are_copied_and_scaled():
    values = np.arange(12.0).reshape(3, 4)
    net = network([dense(4, "tanh"), dense(3)], rule("dfa", scale=0.5, values=values))
    np.testing.assert_array_equal(net.feedback["0.feedback"], values / 2)
    assert net.layers[0]["feedback"] == "values 3x4"


def test_rules_dtypes_and_dropouts_share_first_weights():
    base = hidden_net().parameters
    for name in RULES:  # some have parameters of their own
        first = hidden_net(name).parameters
        assert_same({key: first[key] for key in base}, base, 0, 0)
    narrow = hidden_net("dfa", dtype="float32")
    wide = hidden_net("dfa")
    for key, value in (narrow.parameters | narrow.feedback).items():
        expected = (wide.parameters | wide.feedback)[key].astype(np.float32)
        np.testing.assert_array_equal(value, expected)
    inserted = network([dense(6, "tanh"), dropout(0.1), dense(4, "tanh"), dense(3)]).parameters
    np.testing.assert_array_equal(inserted["2.weight"], base["1.weight"])
    other = hidden_net(seed=1).parameters
    assert all((other[key] != base[key]).any() for key in base)


def test_streams_differ_between_layers_and_purposes():
    layers = [dense(5, "tanh"), dense(5, "tanh"), dense(5)]
    net = network(layers, "dfa")
    draws = [*net.parameters.values(), *net.feedback.values()]
    normalised = [a.ravel()[:5] / a.ravel()[0] for a in draws]
    for i, a in enumerate(normalised):
        for b in normalised[:i]:
            assert not np.allclose(a, b)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_mask(rate):
    stream = _ref.Stream(5, _ref.DROPOUT, 1)
    keep = _ref.keep_mask(stream, 200, 301, rate)
    spread = math.sqrt(rate * (1 - rate) / keep.size)
    assert abs(keep.mean() - (1 - rate)) <= 5 * spread
    np.testing.assert_array_equal(keep[:7, :5], _ref.keep_mask(stream, 7, 5, rate))
    word = int(_ref.words(stream, 2, 3)[1])  # row 3, column 9
    assert keep[3, 9] == (word >= math.floor(rate * 2**32))
    if rate:
        assert (keep != _ref.keep_mask(stream._replace(step=1), 200, 301, rate)).any()


def test_dropout_scales_in_training_and_is_off_in_prediction():
    layers = [dropout(0.5), dense(2000, use_bias=False)]
    net = network(layers, n_in=2000, loss="mse")
    net.parameters["1.weight"][...] = np.eye(2000)
    x = np.ones((3, 2000))
    np.testing.assert_array_equal(net.predict(x), x)
    error = net.deltas(x, None, np.zeros((3, 2000)), None)[0]  # = the output, as the target is 0
    assert set(np.unique(error)) == {0.0, 2.0}
    assert error.mean() == pytest.approx(1, abs=0.1)


def test_shuffle():
    net = hidden_net()
    first, second = net.shuffle(1000), net.shuffle(1000)
    assert first.dtype == np.int64
    assert net.epochs == 2
    for order in (first, second):
        np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert (first != second).sum() > 950
    assert hidden_net().shuffle(1).tolist() == [0]
    net.reset()
    np.testing.assert_array_equal(net.shuffle(1000), first)


def test_shuffle_follows_its_definition():
    seed, order = 2**40 + 7, list(range(10))
    for t in range(10):
        i = 9 - t
        w = _ref.words(_ref.Stream(seed, _ref.SHUFFLE), t // 2, 0).tolist()
        number = w[1] << 32 | w[0] if t % 2 == 0 else w[3] << 32 | w[2]
        j = (number * (i + 1)) // 2**64
        order[i], order[j] = order[j], order[i]
    assert hidden_net().shuffle(10).tolist() == order

"""Learning sample by sample: one-pass steps, learn_one and learn_many, against plain steps."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from small import same_state

import fastfa as fa
from fastfa._core import NAMES

RULES = [name for name in NAMES["rule"] if name != "custom"]


def network(rule="dfa", optimizer=None, dtype="float32", **options):
    layers = [
        fa.Dense(17, "tanh"),
        fa.Dropout(0.2),
        fa.Dense(9, "gelu", use_bias=False, lr_scale=0.5),
        fa.Dense(4),
    ]
    settings = {"rule": rule, "optimizer": optimizer or fa.SGD(0.05), "dtype": dtype, "rng": 3}
    return fa.Sequential(layers, input_shape=13, **settings | options)


def stream(n=23, dtype="float32"):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 13)).astype(dtype), rng.integers(0, 4, n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_learn_many_is_learn_one_for_each(rule, dtype):
    X, y = stream(dtype=dtype)
    many, one = network(rule, dtype=dtype), network(rule, dtype=dtype)
    loss = many.learn_many(X, y)
    losses = [one.learn_one(x, int(label)) for x, label in zip(X, y, strict=True)]
    assert same_state(many, one)
    assert many.steps == len(X)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-12)


@pytest.mark.parametrize(
    "optimizer",
    [
        fa.SGD(0.05, weight_decay=0.01),
        fa.SGD(0.05, momentum=0.9),
        fa.Adam(),
        fa.SGD(0.1, clip_norm=1),
    ],
    ids=str,
)
def test_every_optimizer_gives_the_bits_of_train_batch(optimizer):
    X, y = stream()
    many, one = network(optimizer=optimizer), network(optimizer=optimizer)
    many.learn_many(X, y)
    for i in range(len(X)):
        one.train_batch(X[i : i + 1], y[i : i + 1])
    assert same_state(many, one)


@pytest.mark.parametrize("shuffle", [False, True])
def test_fit_with_batch_size_one(shuffle):
    X, y = stream()
    whole, steps = network(), network()
    whole.fit(X, y, epochs=2, batch_size=1, shuffle=shuffle, verbose=False)
    for _ in range(2):
        order = steps._engine.shuffle(len(X))
        for i in order if shuffle else range(len(X)):
            steps.train_batch(X[i : i + 1], y[i : i + 1])
    assert same_state(whole, steps)


def test_sample_weights_schedule_and_fixed_layers():
    X, y = stream()
    weights = np.linspace(0.1, 2, len(X))
    rate = lambda step: 0.1 / (1 + step)  # noqa: E731
    layers = [fa.Dense(8, "relu", trainable=False), fa.Dense(8, "relu"), fa.Dense(4)]
    nets = [
        fa.Sequential(layers, input_shape=13, rule="fa", optimizer=fa.SGD(rate), rng=1)
        for _ in range(2)
    ]
    nets[0].learn_many(X, y, weights)
    for i in range(len(X)):
        nets[1].train_batch(X[i : i + 1], y[i : i + 1], weights[i : i + 1])
    a, b = (net.parameters for net in nets)
    assert all((a[key] == b[key]).all() for key in a)


def test_a_loss_that_is_not_finite_keeps_the_samples_before_it():
    X, y = stream()
    broken, clean = network("backprop"), network("backprop")
    for net in (broken, clean):
        net.learn_many(X[:5], y[:5])
    with pytest.raises(FloatingPointError):
        broken._engine.train_steps(
            np.where(np.arange(len(X))[:, None] == 7, np.inf, X).astype(np.float32),
            *(y, None, None, None, 1, 0, len(X)),
        )
    clean.learn_many(X[:7], y[:7])
    assert same_state(broken, clean)


def test_a_poll_sees_finished_steps_and_can_stop():
    X, y = stream(4000)
    net, twin, seen = network(), network(), []

    def poll(step):
        seen.append((step, net.steps))
        return len(seen) == 2

    done = net._engine.train_steps(X, y, None, None, None, 1, 0, len(X), None, poll)[3]
    assert all(step == steps for step, steps in seen)
    twin.learn_many(X[:done], y[:done])
    assert same_state(net, twin)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.zeros(12, np.float32), 0, r"x: expected shape \(13,\), got shape \(12,\)"),
        (np.zeros((2, 13), np.float32), 0, r"x: expected shape \(13,\), got shape \(2, 13\)"),
        (np.zeros(13, np.float32), [0, 1], r"y: expected one number.* \(4,\), got shape \(2,\)"),
        (np.zeros(13, np.float32), 4, "0 to 3"),
        (np.full(13, np.nan, np.float32), 0, "finite"),
    ],
)
def test_learn_one_refuses(x, y, words):
    net = network()
    before = net._engine.state()
    with pytest.raises(ValueError, match=words):
        net.learn_one(x, y)
    assert net._engine.state() == before


def test_learn_one_takes_lists_bytes_and_rows():
    x, y = stream(1)
    as_list, plain = network(), network()
    assert as_list.learn_one(x[0].tolist(), [0.0] * y[0] + [1.0] + [0.0] * (3 - y[0])) == (
        plain.learn_one(x[0], int(y[0]))
    )
    assert same_state(as_list, plain)
    image = 20 * np.arange(13, dtype=np.uint8)
    from_bytes, from_floats = network(), network()
    from_bytes.learn_one(image, 1)
    from_floats.learn_one((image / np.float32(255)).astype(np.float32), 1)
    assert same_state(from_bytes, from_floats)


# ---- predict_one


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_one_is_a_row_of_predict(dtype):
    X, y = stream(40)
    net = network(dtype=dtype)
    for _ in range(2):
        expected = net.predict(X)
        for row, sample in zip(expected, X.astype(dtype), strict=True):
            one = net.predict_one(sample)
            assert one.dtype == dtype
            np.testing.assert_array_equal(one, row)
        net.learn_many(X, y)  # the prepared prediction sees the new weights


def test_predict_one_takes_what_predict_takes():
    X, _ = stream(1)
    net = network()
    expected = net.predict(X)[0]
    padded = np.zeros((13, 2), np.float32)
    padded[:, 0] = X[0]
    for sample in (X[0].tolist(), padded[:, 0], X[0].astype(float)):
        np.testing.assert_array_equal(net.predict_one(sample), expected)
    image = 20 * np.arange(13, dtype=np.uint8)
    np.testing.assert_array_equal(net.predict_one(image), net.predict(image[None])[0])


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros(12, np.float32), r"x: expected shape \(13,\), got shape \(12,\)"),
        (np.zeros((2, 13), np.float32), r"x: expected shape \(13,\), got shape \(2, 13\)"),
        (np.full(13, np.nan, np.float32), "finite"),
        ("abc", "x: expected"),
    ],
)
def test_predict_one_refuses(x, words):
    with pytest.raises((TypeError, ValueError), match=words):
        network().predict_one(x)


def test_predict_one_from_many_threads():
    X, _ = stream(50)
    net = network()
    expected = net.predict(X)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            np.testing.assert_array_equal(list(pool.map(net.predict_one, X)), expected)


def test_learn_one_raises_what_a_rule_in_python_raised():
    class Broken(fa.Rule):
        def signal(self, ctx):
            raise LookupError("of its own")

    X, y = stream(1)
    net = network(rule=Broken())
    before = net._engine.state()
    with pytest.raises(LookupError, match="of its own"):
        net.learn_one(X[0], int(y[0]))
    assert net._engine.state() == before

"""Networks from Python: a step of every rule, prediction, an epoch, one sample at a time."""

import numpy as np
import pytest

import fastfa as fa
from fastfa._core import NAMES

RULES = [name for name in NAMES["rule"] if name != "custom"]  # custom: a class of the user's
OPTIMIZERS = {
    "SGD": fa.SGD(1e-3),
    "SGD, momentum": fa.SGD(1e-3, momentum=0.9),
    "RMSprop": fa.RMSprop(1e-5),
    "Adam": fa.Adam(1e-5),
    "AdamW": fa.AdamW(1e-5),
}

both_types = pytest.mark.parametrize("dtype", ["float32", "float64"])
one_or_two = pytest.mark.parametrize("threads", [1, 2])


def network(widths, threads=1, optimizer=None, activation="relu", **options):
    *hidden, n_out = widths[1:]
    layers = [*(fa.Dense(n, activation) for n in hidden), fa.Dense(n_out)]
    options |= {"optimizer": optimizer or fa.SGD(1e-3), "n_threads": threads, "rng": 0}
    return fa.Sequential(layers, input_shape=widths[0], **options)


def batch(widths, n, dtype="float32"):
    rng = np.random.default_rng(0)
    return rng.random((n, widths[0])).astype(dtype), rng.integers(0, widths[-1], n)


def checked(call):
    """The same call; the case fails where its loss is not a number."""

    def step(*arguments):
        assert np.isfinite(call(*arguments))

    return step


@one_or_two
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.benchmark(group="train_batch 64-128-128-10, batch 32")
def test_small_step(benchmark, rule, threads):
    widths = [64, 128, 128, 10]
    net = network(widths, threads, rule=rule, activation="tanh")
    benchmark(checked(net.train_batch), *batch(widths, 32))


@one_or_two
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.benchmark(group="train_batch 784-512-512-10, batch 128")
def test_medium_step(benchmark, rule, threads):
    widths = [784, 512, 512, 10]
    benchmark(checked(network(widths, threads, rule=rule).train_batch), *batch(widths, 128))


@both_types
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.benchmark(group="train_batch 784-256-256-10, batch 64, by optimizer")
def test_optimizer_step(benchmark, optimizer, dtype):
    widths = [784, 256, 256, 10]
    net = network(widths, optimizer=OPTIMIZERS[optimizer], dtype=dtype)
    benchmark(checked(net.train_batch), *batch(widths, 64, dtype))


@pytest.mark.parametrize("f", NAMES["activation"])
@pytest.mark.benchmark(group="train_batch 64-128-128-10, batch 32, dfa, by activation")
def test_activation_step(benchmark, f):
    widths = [64, 128, 128, 10]
    net = network(widths, activation=f, rule=fa.DFA(inject="pre"))  # without f', which may be 0
    benchmark(checked(net.train_batch), *batch(widths, 32))


@both_types
@pytest.mark.parametrize("n", [1, 1000])
@pytest.mark.benchmark(group="predict 784-512-512-10")
def test_predict(benchmark, n, dtype):
    widths = [784, 512, 512, 10]
    p = benchmark(network(widths, dtype=dtype).predict, batch(widths, n, dtype)[0])
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)


@one_or_two
@pytest.mark.parametrize("data", ["float32", "uint8"])
@pytest.mark.benchmark(group="epoch 784-128-10, batch 128, 5000 samples")
def test_epoch(benchmark, data, threads):
    widths = [784, 128, 10]
    x, y = batch(widths, 5000)
    if data == "uint8":
        x = (255 * x).astype(np.uint8)
    net = network(widths, threads)
    history = benchmark(net.fit, x, y, batch_size=128, verbose=False)
    assert np.isfinite(history.history["loss"][-1])


@pytest.mark.parametrize("rule", ["backprop", "dfa"])
@pytest.mark.parametrize("call", ["learn_one", "learn_many", "fit"])
@pytest.mark.benchmark(group="batch 1, 784-256-10, 200 samples")
def test_one_by_one(benchmark, call, rule):
    widths = [784, 256, 10]
    net, (x, y) = network(widths, rule=rule), batch(widths, 200)

    def one():
        for row, label in zip(x, y.tolist(), strict=True):
            net.learn_one(row, label)

    def many():
        net.learn_many(x, y)

    def fit():
        net.fit(x, y, epochs=1, batch_size=1, verbose=False)

    benchmark({"learn_one": one, "learn_many": many, "fit": fit}[call])
    assert np.isfinite(net.evaluate(x, y)["loss"])

"""A caller's `numpy.seterr` and filters of warnings make no right call fail."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from small import N_IN, N_OUT, copies, network, samples

import fastfa as fa
from fastfa import plot

TINY = 1e-50  # zero in float32, by an underflow
X, Y = samples(30, np.float64)
X[::3], X[1, 1], X[2, 2] = TINY, 5e-324, -1e-45
HALF, LONG, TINIEST = X.astype(np.float16), X.astype(np.longdouble), X * TINY
ROWS = np.full((30, N_OUT), TINY)
WEIGHTS = np.full(30, 1e-310)


class Own(fa.Rule):
    def signal(self, ctx):
        signal = np.full((len(ctx.error), ctx.units), TINY)
        signal += ctx.product(np.full((len(signal), 2), TINY), np.full((2, ctx.units), TINY))
        return signal


class Odd(fa.Callback):
    """Asks what is in force where a caller's own code runs."""

    def __init__(self):
        self.seen = []

    def on_batch_end(self, net, step, logs):
        self.seen.append(np.geterr())

    on_epoch_end = on_batch_end


def quiet(call):
    """What a call gives under numpy.seterr(all="raise") with all warnings as errors."""
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        return call()


def mse(**options):
    return network(loss="mse", **options)


def saved(net, path):
    net.save(path)
    return fa.load(path)


def alignment_of(net, **options):
    recorded = fa.callbacks.Alignment(batch=(X, Y), **options)
    net.fit(X, Y, epochs=2, callbacks=[recorded], verbose=False)
    return recorded


def draw(make):
    import matplotlib

    matplotlib.use("agg")
    return lambda tmp_path: make(tmp_path / "figure.png")


def replicas():
    return fa.fit_replicas(lambda seed: network(rng=seed), [{"seed": 0}], X, Y, verbose=False)


CALLS = {
    "fit": lambda _: network().fit(X, Y, validation_data=(X, Y, WEIGHTS), verbose=False),
    "fit float16": lambda _: network().fit(HALF, Y, verbose=False),
    "fit longdouble": lambda _: network().fit(LONG, Y, verbose=False),
    "fit a frame": lambda _: network().fit(pd.DataFrame(X), pd.Series(Y), verbose=False),
    "fit objects": lambda _: network().fit(X.astype(object), Y.astype(object), verbose=False),
    "fit float labels": lambda _: network().fit(X, Y.astype(np.float16), verbose=False),
    "fit rows": lambda _: mse().fit(X, ROWS, sample_weight=WEIGHTS, verbose=False),
    "fit probabilities": lambda _: network().fit(
        X, np.where(np.eye(N_OUT)[Y] > 0, 1.0, TINY), verbose=False
    ),
    "fit float64": lambda _: network(dtype="float64").fit(X, Y, verbose=False),
    "fit in replicas": lambda _: replicas(),
    "train_batch": lambda _: network().train_batch(X, Y, WEIGHTS),
    "learn_one": lambda _: network().learn_one(X[0], 1),
    "learn_one of a row": lambda _: mse().learn_one(X[0], ROWS[0]),
    "learn_many": lambda _: network().learn_many(X, Y),
    "a rate by steps": lambda _: network(optimizer=fa.SGD(lambda s: np.longdouble(TINY))).fit(
        X, Y, verbose=False
    ),
    "predict": lambda _: network().predict(X),
    "predict_one": lambda _: network().predict_one(X[0]),
    "evaluate": lambda _: mse().evaluate(X, ROWS, WEIGHTS),
    "gradients": lambda _: network().gradients(X, Y),
    "alignment": lambda _: network().alignment(X, Y),
    "alignment of all": lambda _: [
        network(rule=rule).alignment(X, Y) for rule in ("backprop", "fa", "kp", "local", "frozen")
    ],
    "alignment of tiny weights": lambda _: network(
        layers=[fa.Dense(4, "tanh", weight_init=np.full((N_IN, 4), 1e-30)), fa.Dense(N_OUT)],
        dtype="float64",
    ).alignment(TINIEST, Y),
    "callback": lambda _: alignment_of(network(), every=1, unit="step"),
    "own rule": lambda _: network(rule=Own()).fit(X, Y, verbose=False),
    "parameters": lambda _: network().parameters.__setitem__("0.bias", np.full(8, TINY)),
    "values": lambda _: fa.Dense(
        4, weight_init=np.full((2, 4), TINY), bias_init=np.full(4, np.longdouble("1e-4000"))
    ),
    "values of a network": lambda _: network(
        layers=[
            fa.Dense(4, "tanh", weight_init=np.full((N_IN, 4), TINY), bias_init=[TINY] * 4),
            fa.Dense(N_OUT),
        ],
        rule=fa.DFA(fa.Feedback(np.full((N_OUT, 4), TINY))),
    ),
    "feedback by a function": lambda _: network(
        rule=fa.DFA(fa.Feedback(lambda n, m: np.full((n, m), TINY)))
    ),
    "numbers": lambda _: network(input_scale=1e-300, optimizer=fa.SGD(np.longdouble(TINY))),
    "summary": lambda _: network().summary(),
    "pickle": lambda _: pickle.loads(pickle.dumps(network())),
    "save": lambda tmp_path: saved(network(), tmp_path / "net"),
    "callbacks": lambda tmp_path: network().fit(
        X,
        Y,
        epochs=2,
        callbacks=[
            fa.EarlyStopping("loss", min_delta=np.float64(5e-324)),
            fa.Checkpoint(tmp_path / "a", monitor="loss", save_best_only=True),
            fa.CSVLogger(tmp_path / "b"),
        ],
        verbose=False,
    ),
    "digits": lambda _: fa.datasets.load("digits"),
    "plot of alignment": draw(lambda path: plot.alignment(alignment_of(network()), path=path)),
    "plot of curves": draw(
        lambda path: plot.curves(network().fit(X, Y, epochs=2, verbose=False), path=path)
    ),
    "plot of feedback": draw(lambda path: plot.feedback(network(), path=path)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_errstate_and_warnings_of_the_caller_are_for_the_callers_arithmetic(call, tmp_path):
    quiet(lambda: call(tmp_path))


def test_results_do_not_depend_on_them():
    def trained():
        net = network()
        net.fit(X, Y, epochs=2, verbose=False)
        return copies(net), net.predict(X), net.alignment(X, Y)

    np.testing.assert_equal(quiet(trained), trained())


@pytest.mark.parametrize(
    "call",
    [
        lambda: network().predict(np.full((1, N_IN), 1e300)),
        lambda: network().predict(np.full((1, N_IN), np.nan)),
        lambda: network().evaluate(X, np.full(len(X), np.nan)),
        lambda: network().fit(X, Y, sample_weight=np.full(len(X), np.inf), verbose=False),
        lambda: fa.Dense(2, bias_init=np.full(2, np.longdouble("1e4000"))),
        lambda: fa.SGD(np.longdouble("1e4000")),
        lambda: network(rule=fa.DFA(fa.Feedback(np.full((N_OUT, 5), 1e300)))),
    ],
)
def test_wrong_calls_get_our_message(call):
    with pytest.raises(ValueError, match=": expected "):
        quiet(call)


def test_the_callers_own_code_runs_under_the_callers_settings():
    odd, asked = Odd(), []

    class Asks(fa.Rule):
        def signal(self, ctx):
            asked.append(np.geterr())
            return np.zeros((len(ctx.error), ctx.units))

    def rate(step):
        asked.append(np.geterr())
        return 0.1

    net = network(rule=Asks(), optimizer=fa.SGD(rate))
    asked.clear()  # making the network asks for the first rate
    quiet(lambda: net.fit(X, Y, callbacks=[odd], verbose=False))
    assert odd.seen
    assert asked
    assert all(set(one.values()) == {"raise"} for one in odd.seen + asked)

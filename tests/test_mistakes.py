"""Slips that people make when they write their first scripts: the message says what to do."""

import numpy as np
import pytest

import fastfa as fa

X = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
Y = np.arange(20) % 3


def network(rule="dfa", activation="tanh", **options):
    layers = [fa.Dense(8, activation), fa.Dense(3)]
    return fa.Sequential(layers, input_shape=6, rule=rule, rng=0, **options)


def refuses(error, call, *words):
    """`call` raises `error` with all of `words` in its message."""
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value), f"{word!r} missing in: {caught.value}"


@pytest.mark.parametrize(
    ("rule", "instead"),
    [
        ("local", 'rule=Local(inject="pre")'),
        (fa.Local(train_head=False), 'rule=Local(inject="pre")'),
        ("drtp", 'rule=DRTP(inject="pre")'),
        ("dfa", 'rule=DFA(inject="pre")'),
        ("backprop", 'rule=DFA(inject="pre")'),
        ("ifa", 'rule=DFA(inject="pre")'),
    ],
)
def test_units_without_derivative_name_a_rule_that_works(rule, instead):
    refuses(ValueError, lambda: network(rule, "sign"), 'activation "sign"', "layer 0", instead)
    name, _ = instead.removeprefix("rule=").split("(")
    network(getattr(fa, name)(inject="pre"), "sign").train_batch(X, Y)


class Signature(fa.Callback):
    def on_epoch_end(self, epoch):
        pass


class Batch(fa.Callback):
    def on_batch_end(self, net, step):
        pass


class Misspelt(fa.Callback):
    def on_epoch_ends(self, net, epoch, logs):
        pass


class Keras(fa.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        pass


@pytest.mark.parametrize(
    ("callback", "error", "words"),
    [
        (Signature(), TypeError, ["callbacks[0]: Signature.on_epoch_end", "(net, epoch, logs)"]),
        (Batch(), TypeError, ["Batch.on_batch_end", "(net, step, logs)", "got (net, step)"]),
        (Misspelt(), ValueError, ["callbacks[0] (Misspelt)", 'did you mean "on_epoch_end"?']),
        (Keras(), ValueError, ["callbacks[0] (Keras)", '"on_epoch_begin"', '"on_train_begin"']),
        (fa.Callback, TypeError, ["callbacks[0]", "did you mean Callback()?"]),
    ],
)
def test_callbacks_that_would_fail_or_never_run_are_refused_before_training(callback, error, words):
    net = network()
    refuses(error, lambda: net.fit(X, Y, callbacks=[callback], verbose=False), *words)
    assert net.steps == 0


def test_callbacks_may_take_what_they_get_in_their_own_way():
    seen = []

    class Any(fa.Callback):
        def on_epoch_end(self, *args):
            seen.append(len(args))

        def on_train_end(self, net, note="done"):
            seen.append(note)

    callback = Any()
    callback.on_batch_end = lambda net, step, logs: seen.append(step)
    network().fit(X, Y, batch_size=20, callbacks=[callback], verbose=False)
    assert seen == [1, 3, "done"]


class NoSignal(fa.Rule):
    pass


class Returns(fa.Rule):
    def __init__(self, signal):
        self.value = signal

    def signal(self, ctx):
        return self.value


@pytest.mark.parametrize(
    ("signal", "error", "words"),
    [
        (None, ValueError, ["layer 0: signal of Returns must have shape (20, 8)", "got None"]),
        ("abc", ValueError, ["(20, 8) and hold real numbers, got 'abc'"]),
        (np.ones(3), ValueError, ["(20, 8)", "got (3,)"]),
        (np.full((20, 8), "a"), ValueError, ["real numbers"]),
        (
            np.full((20, 8), np.nan),
            FloatingPointError,
            ["layer 0: signal of Returns is not finite"],
        ),
        (np.full((20, 8), 1e300), FloatingPointError, ["signal of Returns is not finite"]),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_what_a_rule_of_ones_own_returns(signal, error, words):
    net = network(Returns(signal))
    before = {key: a.copy() for key, a in net.parameters.items()}
    refuses(error, lambda: net.train_batch(X, Y), *words)
    refuses(error, lambda: net.fit(X, Y, batch_size=20, verbose=False), *words)
    for key, a in net.parameters.items():
        np.testing.assert_array_equal(a, before[key])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: network(NoSignal()), TypeError, ["method signal(ctx)", "NoSignal has none"]),
        (lambda: network(Returns), TypeError, ["rule", "did you mean Returns()?"]),
        (lambda: network(optimizer=fa.SGD), TypeError, ["optimizer", "did you mean SGD()?"]),
        (lambda: fa.DFA(np.ones((3, 8))), TypeError, ["did you mean Feedback(<array 3x8>)?"]),
        (lambda: fa.DFA("normal"), TypeError, ["feedback", "did you mean Feedback('normal')?"]),
        (lambda: fa.Init("kaiming_uniform"), ValueError, ['did you mean "he_uniform"?']),
        (lambda: fa.Init("xavier_normal"), ValueError, ['did you mean "glorot_normal"?']),
        (lambda: network().feedback["1.feedback"], KeyError, ['did you mean "0.feedback"?']),
        (lambda: network("backprop").feedback["0.feedback"], KeyError, ["stores none"]),
        (lambda: network().fit(np.ma.masked_greater(X, 0), Y), TypeError, ["X", "X.filled(0.0)"]),
        (lambda: fa.fit_replicas(network(), [{}], X, Y), TypeError, ["build must be a function"]),
        (lambda: fa.fit_replicas(network, 3, X, Y), TypeError, ["settings must be a list", "3"]),
        (lambda: fa.fit_replicas(network, {}, X, Y), TypeError, ["settings must be a list", "{}"]),
        (lambda: network().save(""), ValueError, ["path must not be empty"]),
        (lambda: network().save("/none/n.net"), OSError, ["no directory '/none', make it first"]),
        (
            lambda: network().fit(X, Y, callbacks=[fa.Checkpoint("/none/{epoch}")], verbose=False),
            OSError, ["no directory '/none', make it first"],
        ),
        (
            lambda: network().fit(
                X, Y, callbacks=[fa.callbacks.CSVLogger("/none/log.csv")], verbose=False
            ),
            OSError, ["no directory '/none', make it first"],
        ),
        (lambda: fa.callbacks.CSVLogger(3), TypeError, ["path must be a str or a path, got 3"]),
    ],
)  # fmt: skip
def test_messages_say_what_to_do(make, error, words):
    refuses(error, make, *words)


@pytest.mark.parametrize("call", ["train_batch", "learn_one", "predict_one"])
def test_a_mask_is_seen_by_the_fast_ways_too(call):
    net, hidden = network(), np.ma.masked_greater(X.astype(np.float32), 0)
    arguments = {
        "train_batch": (hidden, Y),
        "learn_one": (hidden[0], int(Y[0])),
        "predict_one": (hidden[0],),
    }[call]
    refuses(TypeError, lambda: getattr(net, call)(*arguments), "filled(0.0)")
    assert net.steps == 0


def test_an_unmasked_masked_array_is_data():
    assert network().evaluate(np.ma.array(X), Y) == network().evaluate(X, Y)


def test_loading_without_the_schedule_asks_for_the_function(tmp_path):
    network(optimizer=fa.SGD(lambda step: 0.1)).save(tmp_path / "n.net")
    refuses(ValueError, lambda: fa.load(tmp_path / "n.net"), "load(path, lr=...)")
    assert fa.load(tmp_path / "n.net", lr=lambda step: 0.2).lr == 0.2

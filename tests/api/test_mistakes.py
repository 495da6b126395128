"""Slips that people make when they write their first scripts: the message says what to do."""

import copy
import pickle
import re

import numpy as np
import pytest
from small import refuses

import fastfa as fa
from fastfa import rules

X = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
Y = np.arange(20) % 3


def network(rule="dfa", activation="tanh", **options):
    layers = [fa.Dense(8, activation), fa.Dense(3)]
    return fa.Sequential(layers, input_shape=6, rule=rule, rng=0, **options)


@pytest.mark.parametrize(
    ("rule", "name"),
    [(rule, rule) for rule in ("local", "drtp", "dfa", "backprop", "ifa")]
    + [(fa.Local(train_head=False), "local")],
)
def test_units_without_derivative_name_rules_that_work(rule, name):
    words = ("layer 0", f"under rule '{name}'", "got 'sign'", "with inject='pre'")
    refuses(ValueError, lambda: network(rule, "sign"), *words)


def test_those_rules_work():
    with pytest.raises(ValueError, match="of the rules") as caught:
        network("fa", "sign")
    names = re.search(r"one of the rules (.*) with", str(caught.value))[1].split(", ")
    tried = []
    for rule in vars(rules).values():
        if getattr(rule, "name", "") in {*names} - {"custom"}:
            network(rule(inject="pre"), "sign").train_batch(X, Y)
            tried.append(rule.name)
    assert sorted([*tried, "custom"]) == sorted(names)


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
    def on_train_batch_begin(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("callback", "error", "words"),
    [
        (Signature(), TypeError, ["callbacks[0]: Signature.on_epoch_end", "(net, epoch, logs)"]),
        (Batch(), TypeError, ["Batch.on_batch_end", "(net, step, logs)", "got (net, step)"]),
        (Misspelt(), ValueError, ["callbacks[0] (Misspelt)", 'did you mean "on_epoch_end"?']),
        (
            Keras(),
            ValueError,
            ["callbacks[0] (Keras)", 'got "on_train_batch_begin"'],
        ),
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
        (None, ValueError, ["layer 0: signal of Returns: expected shape (20, 8)", "got None"]),
        ("abc", ValueError, ["expected shape (20, 8) of real numbers, got 'abc'"]),
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
        (lambda: network(optimizer=fa.SGD), TypeError, ["optimizer", "did you mean SGD(0.1)?"]),
        (lambda: fa.DFA(np.ones((3, 8))), TypeError, ["did you mean Feedback(<array 3x8>)?"]),
        (lambda: fa.DFA("normal"), TypeError, ["feedback", "did you mean Feedback('normal')?"]),
        (lambda: fa.Init("kaiming_uniform"), ValueError, ['did you mean "he_uniform"?']),
        (lambda: fa.Init("xavier_normal"), ValueError, ['did you mean "glorot_normal"?']),
        (lambda: network().feedback["1.feedback"], KeyError, ['did you mean "0.feedback"?']),
        (lambda: network("backprop").feedback["0.feedback"], KeyError, ["stores none"]),
        (lambda: network().fit(np.ma.masked_greater(X, 0), Y), TypeError, ["X", "X.filled(0.0)"]),
        (lambda: fa.fit_replicas(network(), [{}], X, Y), TypeError, ["build: expected a function"]),
        (lambda: fa.fit_replicas(network, 3, X, Y), TypeError, ["settings: expected a list", "3"]),
        (lambda: fa.fit_replicas(network, {}, X, Y), TypeError, ["settings: expected", "got {}"]),
        (lambda: network().save(""), ValueError, ["path: expected a name"]),
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
        (lambda: fa.callbacks.CSVLogger(3), TypeError, ["path: expected a str or a path, got 3"]),
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


# ---- settings that would be taken and do nothing


def assign(of, name, value=1):
    return lambda: setattr(of, name, value)


NET = network()


@pytest.mark.parametrize(
    ("of", "name", "words"),
    [
        (NET, "rule", ["Sequential.rule is fixed", "fa.Sequential(..., rule=...)", "Dense("]),
        (NET, "optimizer", ["net.set_optimizer(...)", "net.lr"]),
        (NET, "loss", ["fa.Sequential(..., loss=...)"]),
        (NET, "layers", ["fa.Sequential([...], ...)"]),
        (NET, "dtype", ["fa.Sequential(..., dtype=...)"]),
        (NET, "seed", ["fa.Sequential(..., rng=...)"]),
        (NET, "input_scale", ["fa.Sequential(..., input_scale=...)"]),
        (NET, "parameters", ["net.parameters[key] = a"]),
        (NET, "feedback", ["net.feedback[key] = a"]),
        (NET, "steps", ["reset()"]),
        (NET, "epochs", ["reset()"]),
        (NET, "n_thread", ['"n_thread"', 'did you mean "n_threads"?']),
        (NET, "learning_rate", ['did you mean "lr"?', "derived from Sequential"]),
        (NET, "batch_size", ['no attribute "batch_size"']),
        (NET, "\x1b[31m", ["no attribute"]),
        (NET.parameters, "x", ["x"]),
        (NET.layers[0], "units", ["Dense.units is fixed", "dataclasses.replace(old, units=...)"]),
        (NET.layers[0], "unit", ['Dense has no attribute "unit" (did you mean "units"?)']),
        (fa.Dropout(0.5), "rate", ["Dropout.rate is fixed"]),
        (NET.optimizer, "lr", ["Adam.lr is fixed", "net.lr"]),
        (NET.optimizer, "beta_1", ['did you mean "beta1"?']),
        (fa.SGD(0.1), "momentum", ["SGD.momentum is fixed"]),
        (NET.rule, "feedback", ["DFA.feedback is fixed"]),
        (NET.rule, "injekt", ['did you mean "inject"?']),
        (fa.Backprop(), "scale", ["Backprop has no attribute"]),
        (fa.Feedback(), "scale", ["Feedback.scale is fixed"]),
        (fa.Init("zeros"), "scale", ["Init.scale is fixed"]),
        (fa.EarlyStopping(), "monitor", ["EarlyStopping.monitor is fixed", "make another"]),
        (fa.EarlyStopping(), "patience", ["fixed"]),
        (fa.EarlyStopping(), "patince", ['did you mean "patience"?']),
        (fa.Checkpoint("a"), "save_best_only", ["Checkpoint.save_best_only is fixed"]),
        (fa.Checkpoint("a"), "path", ["fixed"]),
        (fa.callbacks.Alignment((X, Y)), "unit", ["Alignment.unit is fixed"]),
        (fa.callbacks.CSVLogger("a"), "path", ["fixed"]),
    ],
)
def test_settings_that_would_do_nothing_are_refused(of, name, words):
    before = getattr(of, name, None)
    refuses(AttributeError, assign(of, name), *words)
    refuses(AttributeError, assign(of, name, before), *words)
    assert getattr(of, name, None) is before or name in ("parameters", "feedback")
    if not isinstance(of, fa.Callback):
        refuses(AttributeError, lambda: delattr(of, name))


def test_what_is_set_takes_effect():
    net = network(optimizer=fa.SGD(1e-3))
    net.lr, net.n_threads = 0.5, 2
    assert (net.lr, net.n_threads) == (0.5, 2)
    keep = fa.Checkpoint("a", monitor="loss", save_best_only=True)
    keep.best = 0.5
    assert keep.best == 0.5
    net.predict = lambda X: "mine"  # as a user's test may do
    assert net.predict(X) == "mine"
    del net.predict
    assert len(net.predict(X)) == len(X)


def test_classes_of_ones_own_keep_what_they_like():
    class Mine(fa.Sequential):
        def __init__(self):
            self.before = 1
            super().__init__([fa.Dense(3)], input_shape=6, rng=0)
            self.after, self.batch_size = 2, 3

    class Rule(fa.Rule):
        def __init__(self):
            self.inject, self.count = "pre", 0

    class Callback(fa.Callback):
        def __init__(self):
            self.patience = self.patince = 1

    class Stop(fa.EarlyStopping):
        def __init__(self):
            super().__init__("loss")
            self.note = 1

    net, rule, callback, stop = Mine(), Rule(), Callback(), Stop()
    net.batch_size += 1
    rule.count += 1
    callback.patience += 1
    stop.note += 1
    assert (net.batch_size, rule.count, callback.patience, stop.note) == (4, 1, 2, 2)
    refuses(AttributeError, assign(net, "rule"), "fixed")
    refuses(AttributeError, assign(stop, "patience"), "fixed")
    assert copy.deepcopy(net).batch_size == 4
    assert copy.deepcopy(stop).patience == pickle.loads(pickle.dumps(fa.EarlyStopping())).patience


def test_a_network_is_made_once():
    net = network()
    refuses(TypeError, lambda: net.__init__([fa.Dense(2)], input_shape=3), "made once")
    assert net.predict(X).shape == (20, 3)


# ---- names of other libraries

OTHER_VALUES = {
    "binary_crossentropy": ("loss", "sigmoid_cross_entropy"),
    "bce": ("loss", "sigmoid_cross_entropy"),
    "CrossEntropyLoss": ("loss", "softmax_cross_entropy"),
    "sparse_categorical_crossentropy": ("loss", "softmax_cross_entropy"),
    "mean_squared_error": ("loss", "mse"),
    "backpropagation": ("rule", "backprop"),
    "feedback_alignment": ("rule", "fa"),
    "Kolen-Pollack": ("rule", "kp"),
    "nesterov": ("optimizer", "sgd"),
}


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_values_with_names_of_other_libraries_get_ours(name):
    argument, ours = OTHER_VALUES[name]
    layers = [fa.Dense(4, "tanh"), fa.Dense(2)]
    with pytest.raises(ValueError, match=f'got "{name}"; did you mean "{ours}"'):
        fa.Sequential(layers, input_shape=3, **{argument: name})


@pytest.mark.parametrize(
    ("name", "ours"),
    [("identity", "linear"), ("logistic", "sigmoid"), ("heaviside", "threshold")],
)
def test_activations_with_names_of_other_libraries_get_ours(name, ours):
    with pytest.raises(ValueError, match=f'got "{name}"; did you mean "{ours}"'):
        fa.Dense(3, name)


OTHER_ARGUMENTS = [
    (lambda **k: fa.Sequential([fa.Dense(2)], input_shape=3, **k), "random_state", "rng"),
    (lambda **k: fa.Sequential([fa.Dense(2)], input_shape=3, **k), "seed", "rng"),
    (lambda **k: fa.Sequential([fa.Dense(2)], input_shape=3, **k), "n_jobs", "n_threads"),
    (lambda **k: fa.Sequential([fa.Dense(2)], input_shape=3, **k), "optimiser", "optimizer"),
    (fa.SGD, "learning_rate", "lr"),
    (fa.Adam, "beta_1", "beta1"),
    (fa.Adam, "epsilon", "eps"),
    (fa.EarlyStopping, "restore_best_weights", "restore_best"),
    (lambda **k: fa.Checkpoint("a", **k), "filepath", "path"),
    (lambda **k: fa.Dense(3, **k), "kernel_initializer", "weight_init"),
    (lambda **k: fa.Dense(3, **k), "bias", "use_bias"),
    (fa.DFA, "feedbck", "feedback"),
    (fa.Feedback, "distributon", "distribution"),
    (lambda **k: network().fit(X, Y, **k), "n_epochs", "epochs"),
    (lambda **k: network().fit(X, Y, **k), "validation_fraction", "validation_split"),
]


@pytest.mark.parametrize(("call", "name", "ours"), OTHER_ARGUMENTS)
def test_arguments_with_names_of_other_libraries_get_ours(call, name, ours):
    words = rf'expected keyword arguments .*, got "{name}"; did you mean "{ours}"'
    with pytest.raises(TypeError, match=words):
        call(**{name: 1})


def test_every_hint_names_something_that_exists_or_is_planned():
    """A name here that is misspelt would never be suggested."""
    from fastfa._core import NAMES
    from fastfa._internal import other_names

    known = {each for names in NAMES.values() for each in names} | set(fa.rules.RULES)
    known |= {"rmse", "mae", "r2", "f1", "auc", "sgd", "adam", "adamw", "rmsprop"}
    planned = {"huber", "pinball", "silu", "wm"}
    suggested = {each for names in other_names._VALUES.values() for each in names}
    assert suggested <= known | planned


def test_signatures_show_what_they_did():
    import inspect

    assert list(inspect.signature(fa.SGD).parameters)[:2] == ["lr", "momentum"]
    assert "rng" in inspect.signature(fa.Sequential).parameters
    assert "metrics" in inspect.signature(fa.Sequential.fit).parameters
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'input_shape'"):
        fa.Sequential([fa.Dense(2)])

"""Bad input: a clear error that names argument, expected and got, and nothing changed."""

import numpy as np
import pytest
from small import N_OUT, refuses, samples
from small import shallow as network

import fastfa as fa
from fastfa._internal import validation

NAN, INF = float("nan"), float("inf")


def state(net):
    tensors = [*net.parameters.values(), *net.feedback.values()]
    return [a.tobytes() for a in tensors] + [net.steps, net.epochs, net.lr]


def with_(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


X, Y = samples(20)

# (what is wrong, X, y, error, words of the message); one row, every method that takes X and y
BAD_DATA = {
    "X rank 1": (X[0], Y, ValueError, ["expected shape (m, 6)", "(6,)", "X[None, :]"]),
    "X scalar": (1.0, Y, ValueError, ["expected shape (m, 6)", "()"]),
    "X width": (X[:, :5], Y, ValueError, ["expected shape (m, 6)", "(20, 5)"]),
    "X rank 3": (np.zeros((20, 2, 2)), Y, ValueError, ["expected shape (m, 6)", "(20, 2, 2)"]),
    "X empty": (X[:0], Y[:0], ValueError, ["m >= 1", "got shape (0, 6)"]),
    "X nan": (with_(X, (3, 5), NAN), Y, ValueError, ["finite", "nan", "row 3, column 5"]),
    "X inf": (with_(X, (19, 0), -INF), Y, ValueError, ["finite", "-inf", "row 19, column 0"]),
    "X overflow": (
        with_(X.astype(np.float64), (2, 1), 1e300), Y,
        ValueError, ["finite values in float32", "1e+300", "row 2, column 1"],
    ),
    "X object": (np.full(X.shape, object()), Y, TypeError, ["real numbers", "row 0, column 0"]),
    "X string": (X.astype(str), Y, TypeError, ["real numbers", "dtype <U"]),
    "X complex": (X.astype(complex), Y, TypeError, ["real numbers", "complex128"]),
    "X None": (None, Y, TypeError, ["real numbers", "None"]),
    "X ragged": ([[1, 2], [3]], Y, ValueError, ["rows of one length"]),
    "X dates": (X.astype("M8[s]"), Y, TypeError, ["real numbers", "datetime64"]),
    "y length": (X, Y[:-1], ValueError, ["each of the 20 rows", "got 19"]),
    "y rank": (X, np.zeros((20, 3, 1)), ValueError, ["labels (m,) or rows (m, 3)", "(20, 3, 1)"]),
    "y width": (X, np.zeros((20, 4)), ValueError, ["labels (m,) or rows (m, 3)", "(20, 4)"]),
    "y scalar": (X, 1, ValueError, ["labels (m,) or rows (m, 3)", "()"]),
    "y column": (X, Y[:, None], ValueError, ["labels (m,) or rows (m, 3)", "(20, 1)"]),
    "y too large": (X, with_(Y, 4, 3), ValueError, ["labels from 0 to 2", "got 3 at row 4"]),
    "y negative": (X, with_(Y, 4, -1), ValueError, ["labels from 0 to 2", "got -1 at row 4"]),
    "y huge": (X, with_(Y.astype(np.uint64), 0, 2**64 - 1), ValueError, ["0 to 2", "row 0"]),
    "y fraction": (X, with_(Y * 1.0, 7, 0.5), ValueError, ["integer labels", "got 0.5 at row 7"]),
    "y nan": (X, with_(Y * 1.0, 7, NAN), ValueError, ["integer labels", "got nan at row 7"]),
    "y inf": (X, with_(Y * 1.0, 7, INF), ValueError, ["integer labels", "got inf at row 7"]),
    "y object": (X, np.full(Y.shape, object()), TypeError, ["real numbers", "row 0"]),
    "y string": (X, Y.astype(str), TypeError, ["real numbers", "dtype <U", "number the classes"]),
    "y complex": (X, Y.astype(complex), TypeError, ["real numbers", "complex128"]),
    "y None": (X, None, TypeError, ["real numbers", "None"]),
    "rows sum": (
        X, with_(np.eye(3)[Y], (5, 0), 0.75),
        ValueError, ["rows that sum to 1", "at row 5"],
    ),
    "rows negative": (
        X, with_(np.eye(3)[Y], 5, [1.5, -0.5, 0]),
        ValueError, ["probabilities >= 0", "got -0.5 at row 5, column 1"],
    ),
    "rows nan": (X, with_(np.eye(3)[Y], (5, 2), NAN), ValueError, ["finite", "row 5, column 2"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    """A network with a step behind it, so that every counter and slot could be spoilt."""
    net = network()
    net.train_batch(X, Y)
    return net


METHODS = {
    "fit": ("X", "y", lambda net, x, y: net.fit(x, y, 1, verbose=False)),
    "train_batch": ("x", "y", lambda net, x, y: net.train_batch(x, y)),
    "evaluate": ("X", "y", lambda net, x, y: net.evaluate(x, y)),
    "gradients": ("x", "y", lambda net, x, y: net.gradients(x, y)),
    "alignment": ("x", "y", lambda net, x, y: net.alignment(x, y)),
    "validation_data": (
        "validation_data[0]",
        "validation_data[1]",
        lambda net, x, y: net.fit(X, Y, 1, validation_data=(x, y), verbose=False),
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(trained, case, method):
    x, y, error, words = BAD_DATA[case]
    x_name, y_name, call = METHODS[method]
    before = state(trained)
    name = x_name if case.startswith("X") else y_name
    refuses(error, lambda: call(trained, x, y), name, *words)
    assert state(trained) == before


@pytest.mark.parametrize("case", [case for case in BAD_DATA if case.startswith("X")])
def test_predict_refuses_bad_inputs(trained, case):
    x, _, error, words = BAD_DATA[case]
    refuses(error, lambda: trained.predict(x), "X", *words)


@pytest.mark.parametrize(
    ("loss", "n_out", "y", "words"),
    [
        ("sigmoid_cross_entropy", 1, Y, ["y: expected 0 or 1", "got 2"]),
        ("sigmoid_cross_entropy", 1, np.full(20, 0.5), ["y: expected 0 or 1", "got 0.5"]),
        ("sigmoid_cross_entropy", 1, np.zeros((20, 2)), ["y: expected 0 or 1 as (m,)", "(20, 2)"]),
        (
            "sigmoid_cross_entropy",
            3,
            np.full((20, 3), 1.5),
            ["y: expected values within 0..1", "got 1.5"],
        ),
        ("sigmoid_cross_entropy", 3, Y * 0 + 0.25, ["y: expected integer labels", "got 0.25"]),
        ("mse", 1, with_(Y * 1.0, 3, NAN), ["y: expected finite values", "got nan at row 3"]),
        ("mse", 1, np.zeros((20, 2)), ["y: expected values as (m,) or (m, 1)", "(20, 2)"]),
        ("mse", 3, Y * 1.0, ["y: expected integer labels (m,) or rows (m, 3)", "float64"]),
        ("mse", 3, with_(np.zeros((20, 3)), (3, 1), INF), ["y: expected finite values", "got inf"]),
    ],
)
def test_targets_of_each_loss(loss, n_out, y, words):
    net = network(layers=[fa.Dense(4, "tanh"), fa.Dense(n_out)], loss=loss)
    before = state(net)
    for call in (net.evaluate, net.train_batch):
        refuses(ValueError, lambda call=call: call(X, y), *words)
    assert state(net) == before


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [
        (np.ones(19), ValueError, ["each of the 20 rows", "got 19"]),
        (np.ones((20, 1)), ValueError, ["shape (20,)", "(20, 1)"]),
        (1.0, ValueError, ["shape (20,)", "()"]),
        (with_(np.ones(20), 3, -1), ValueError, [">= 0", "got -1.0 at row 3"]),
        (with_(np.ones(20), 3, NAN), ValueError, ["finite", "got nan at row 3"]),
        (with_(np.ones(20), 3, INF), ValueError, ["finite", "got inf at row 3"]),
        (["1"] * 20, TypeError, ["real numbers", "<U1"]),
    ],
)
def test_sample_weight(trained, weights, error, words):
    before = state(trained)
    for call in (trained.train_batch, trained.evaluate, trained.gradients):
        refuses(error, lambda call=call: call(X, Y, sample_weight=weights), "sample_weight", *words)
    fit = {"sample_weight": weights, "verbose": False}
    refuses(error, lambda: trained.fit(X, Y, 1, **fit), "sample_weight", *words)
    assert state(trained) == before


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"epochs": -1}, ValueError, ["epochs", "an integer >= 0", "got -1"]),
        ({"epochs": 1.5}, TypeError, ["epochs", "an integer >= 0", "got 1.5"]),
        ({"epochs": True}, TypeError, ["epochs", "an integer >= 0", "got True"]),
        ({"batch_size": 0}, ValueError, ["batch_size", "an integer >= 1", "got 0"]),
        ({"batch_size": -3}, ValueError, ["batch_size", "an integer >= 1", "got -3"]),
        ({"batch_size": 32.0}, TypeError, ["batch_size", "an integer >= 1", "got 32.0"]),
        ({"batch_size": "32"}, TypeError, ["batch_size", "an integer >= 1", "got '32'"]),
        ({"batch_size": np.ones(3)}, TypeError, ["batch_size", "an integer >= 1", "<array 3>"]),
        ({"sample_weight": np.zeros(20)}, ValueError, ["a weight above 0", "only zeros"]),
        ({"shuffle": 1}, TypeError, ["shuffle", "True or False", "got 1"]),
        ({"verbose": 2}, TypeError, ["verbose", "True or False", "got 2"]),
        ({"validation_data": X}, ValueError, ["validation_data", "(X, y)", "got <array 20x6>"]),
        ({"validation_data": (X,)}, ValueError, ["validation_data", "(X, y)"]),
        ({"callbacks": fa.Callback()}, TypeError, ["callbacks", "a list of Callback"]),
        ({"callbacks": [print]}, TypeError, ["callbacks[0]", "a Callback object", "got print"]),
        (
            {"validation_data": (X, Y, -np.ones(20))},
            ValueError,
            ["validation_data[2]", ">= 0", "got -1.0"],
        ),
    ],
)
def test_settings_of_fit(trained, settings, error, words):
    before = state(trained)
    arguments = {"epochs": 1, "verbose": False} | settings
    refuses(error, lambda: trained.fit(X, Y, **arguments), *words)
    assert state(trained) == before
    assert len(trained.fit(X, Y, 1, verbose=False).epoch) == 1  # the next fit is not locked out


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fa.Dense(0), ValueError, ["units", "from 1 to 2147483647", "got 0"]),
        (
            lambda: fa.Dense(2**40),
            ValueError,
            ["units", "from 1 to", "got 1099511627776", "memory"],
        ),
        (lambda: fa.Dense(-1), ValueError, ["units", "got -1"]),
        (lambda: fa.Dense(2.0), TypeError, ["units", "an integer", "got 2.0"]),
        (lambda: fa.Dense("10"), TypeError, ["units", "an integer", "got '10'"]),
        (lambda: fa.Dense(True), TypeError, ["units", "an integer", "got True"]),
        (lambda: fa.Dense(2, "tahn"), ValueError, ["activation", "relu", '"tahn"', 'mean "tanh"']),
        (lambda: fa.Dense(2, "ReLU"), ValueError, ["activation", '"ReLU"', 'mean "relu"']),
        (lambda: fa.Dense(2, "softmax"), ValueError, ["activation", "softmax", "take logits"]),
        (lambda: fa.Dense(2, np.tanh), TypeError, ["activation", '"tanh"', "got tanh"]),
        (lambda: fa.Dense(2, use_bias=1), TypeError, ["use_bias", "True or False", "got 1"]),
        (lambda: fa.Dense(2, trainable=None), TypeError, ["trainable", "True or False", "None"]),
        (lambda: fa.Dense(2, lr_scale=-1), ValueError, ["lr_scale", ">= 0", "got -1"]),
        (lambda: fa.Dense(2, bias_lr_scale=NAN), ValueError, ["bias_lr_scale", "finite", "nan"]),
        (lambda: fa.Dense(2, rule="dfaa"), ValueError, ["rule", '"dfaa"', 'did you mean "dfa"?']),
        (lambda: fa.Dense(2, rule=fa.DFA), TypeError, ["rule", "DFA()", "got DFA"]),
        (lambda: fa.Dense(2, weight_init="glorot"), ValueError, ["weight_init", '"glorot_']),
        (lambda: fa.Dense(2, weight_init=[1, 2]), ValueError, ["weight_init", "2 axes", "(2,)"]),
        (lambda: fa.Dense(2, weight_init=[[NAN]]), ValueError, ["weight_init", "finite"]),
        (lambda: fa.Dense(2, bias_init=[["a"]]), TypeError, ["bias_init", "real numbers", "<U1"]),
        (lambda: fa.Dense(2, bias_init=None), TypeError, ["bias_init", "real numbers", "got None"]),
        (lambda: fa.Dropout(1.0), ValueError, ["rate", ">= 0 and < 1", "got 1.0"]),
        (lambda: fa.Dropout(-0.1), ValueError, ["rate", ">= 0 and < 1", "got -0.1"]),
        (lambda: fa.Dropout("0.1"), TypeError, ["rate", "got '0.1'"]),
        (lambda: fa.Init("zero"), ValueError, ["initializer", '"zero"', 'mean "zeros"']),
        (lambda: fa.Init("normal", -1), ValueError, ["scale", ">= 0", "got -1"]),
        (lambda: fa.Feedback("gauss"), ValueError, ["distribution", '"normal"', '"gauss"']),
        (lambda: fa.Feedback([1.0]), ValueError, ["distribution", "2 axes", "(1,)"]),
        (lambda: fa.Feedback(scale=INF), ValueError, ["scale", "finite", "got inf"]),
        (lambda: fa.DFA("normal"), TypeError, ["feedback", "a Feedback", "got 'normal'"]),
        (
            lambda: fa.DFA(inject="before"),
            ValueError,
            ["inject", '"pre"', '"before"'],
        ),
        (lambda: fa.FA(inject="pre"), ValueError, ["inject", '"post"', '"fa"', 'got "pre"']),
        (lambda: fa.Backprop(inject="pre"), ValueError, ["inject", '"post"', '"backprop"']),
        (lambda: fa.SGD(-0.1), ValueError, ["lr", ">= 0", "got -0.1"]),
        (lambda: fa.SGD(NAN), ValueError, ["lr", "finite", "got nan"]),
        (lambda: fa.SGD(10**5000), ValueError, ["lr", "finite", "an int that no float can hold"]),
        (lambda: fa.SGD("0.1"), TypeError, ["lr", "got '0.1'"]),
        (lambda: fa.SGD(0.1, momentum=1.0), ValueError, ["momentum", "< 1", "got 1.0"]),
        (
            lambda: fa.SGD(0.1, nesterov=True),
            ValueError,
            ["momentum", "> 0", "nesterov=True", "got 0.0"],
        ),
        (lambda: fa.SGD(0.1, weight_decay=-1), ValueError, ["weight_decay", ">= 0", "got -1"]),
        (lambda: fa.SGD(0.1, clip_norm=0), ValueError, ["clip_norm", "> 0", "got 0"]),
        (lambda: fa.SGD(0.1, decay_bias=0), TypeError, ["decay_bias", "True or False", "got 0"]),
        (lambda: fa.Adam(beta1=1), ValueError, ["beta1", "< 1", "got 1"]),
        (lambda: fa.AdamW(eps=0), ValueError, ["eps", "> 0", "got 0"]),
        (lambda: fa.RMSprop(alpha=-0.5), ValueError, ["alpha", ">= 0", "got -0.5"]),
        (lambda: fa.EarlyStopping(patience=0), ValueError, ["patience", ">= 1", "got 0"]),
        (lambda: fa.EarlyStopping(mode="least"), ValueError, ["mode", '"min"', '"least"']),
        (lambda: fa.EarlyStopping(min_delta=-1), ValueError, ["min_delta", ">= 0", "got -1"]),
        (lambda: fa.EarlyStopping(monitor=3), TypeError, ["monitor", "a str", "got 3"]),
        (lambda: fa.Checkpoint(3), TypeError, ["path", "a str", "got 3"]),
        (lambda: fa.Checkpoint("{epoch"), ValueError, ["path", "{epoch:03d}", "got '{epoch'"]),
        (lambda: fa.Checkpoint("{}"), ValueError, ["path", "{epoch:03d}", "got '{}'"]),
        (lambda: fa.Checkpoint("{loss.real}"), ValueError, ["path", "got '{loss.real}'"]),
        (lambda: fa.Checkpoint("{loss:03d}"), ValueError, ["path", "got '{loss:03d}'", "float"]),
        (lambda: fa.Checkpoint("n", every=0), ValueError, ["every", ">= 1", "got 0"]),
        (lambda: fa.Checkpoint("n", mode="least"), ValueError, ["mode", '"min"', '"least"']),
        (lambda: fa.Checkpoint("n", monitor=3), TypeError, ["monitor", "a str", "got 3"]),
        (lambda: fa.Checkpoint("n", save_best_only=1), TypeError, ["save_best_only", "got 1"]),
        (lambda: fa.Checkpoint("n", save_best_only=True), ValueError, ["monitor=None"]),
        (lambda: fa.Checkpoint("n", monitor="loss"), ValueError, ["save_best_only=False"]),
    ],
)
def test_arguments_of_descriptions(make, error, words):
    refuses(error, make, *words)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"layers": []}, ValueError, ["layers", "a Dense at the end", "no layers"]),
        ({"layers": fa.Dense(3)}, TypeError, ["layers", "a list of layers", "Dense(3)"]),
        (
            {"layers": [fa.Dense(3), "relu"]},
            TypeError,
            ["layers[1]", "Dense or a Dropout", "'relu'"],
        ),
        (
            {"layers": [fa.Dense(3), fa.Dropout(0.5)]},
            ValueError,
            ["layers", "a Dense at the end", "Dropout(0.5)"],
        ),
        ({"input_shape": 0}, ValueError, ["input_shape", "an integer from 1", "got 0"]),
        ({"input_shape": (28, 28)}, ValueError, ["layer 0", "rows of numbers", "Flatten"]),
        ({"input_shape": 6.0}, TypeError, ["input_shape", "an integer", "got 6.0"]),
        ({"loss": "cross_entropy"}, ValueError, ["loss", '"cross_entropy"', "_cross_entropy"]),
        ({"loss": "mes"}, ValueError, ["loss", '"mes"', 'did you mean "mse"?']),
        ({"rule": "DFA"}, ValueError, ["rule", '"DFA"', 'did you mean "dfa"?']),
        ({"rule": None}, TypeError, ["rule", "a name or a rule", "got None"]),
        ({"optimizer": "adm"}, ValueError, ["optimizer", '"adm"', 'did you mean "adam"?']),
        ({"optimizer": fa.SGD}, TypeError, ["optimizer", "SGD(0.1)", "got SGD"]),
        ({"dtype": "float16"}, ValueError, ["dtype", "float32", "float64", '"float16"']),
        ({"dtype": "flaot64"}, ValueError, ["dtype", '"flaot64"', 'did you mean "float64"?']),
        ({"dtype": None}, ValueError, ["dtype", "float32", '"None"']),
        ({"rng": -1}, ValueError, ["rng", "from 0 to", "got -1"]),
        ({"rng": 2**64}, ValueError, ["rng", "from 0 to", "got 18446744073709551616"]),
        ({"rng": "seed"}, TypeError, ["rng", "an int seed", "got 'seed'"]),
        ({"n_threads": -1}, ValueError, ["n_threads", "from 0 to 64", "got -1"]),
        ({"n_threads": 10**12}, ValueError, ["n_threads", "from 0 to 64"]),
        ({"n_threads": 1.0}, TypeError, ["n_threads", "an integer", "got 1.0"]),
        ({"input_scale": "byte"}, ValueError, ["input_scale", '"auto"', '"byte"']),
        ({"input_scale": 0}, ValueError, ["input_scale", "other than 0", "got 0"]),
        ({"input_scale": NAN}, ValueError, ["input_scale", "finite", "got nan"]),
    ],
)
def test_arguments_of_sequential(changes, error, words):
    refuses(error, lambda: network(**changes), *words)


WIDE = fa.Feedback(np.ones((N_OUT, 9)))


@pytest.mark.parametrize(
    ("layers", "changes", "words"),
    [
        (
            [fa.Dense(4, "relu"), fa.Dense(3, "sigmoid")],
            {"loss": "sigmoid_cross_entropy"},
            ["layer 1", "'linear'", "got 'sigmoid'", "takes logits"],
        ),
        ([fa.Dense(3, "relu")], {}, ["layer 0", "'linear'", "got 'relu'", "takes logits"]),
        (
            [fa.Dense(3, "sign")],
            {"loss": "mse"},
            ["layer 0", "without zero derivative", "got 'sign'"],
        ),
        (
            [fa.Dense(4), fa.Dense(3, rule="fa")],
            {},
            ["layer 1", "rule: expected none", "got 'fa'", "always gets the exact error"],
        ),
        (
            [fa.Dense(4, weight_init=np.ones((4, 6))), fa.Dense(3)],
            {},
            ["layer 0", "weight_init", "(6, 4)", "got (4, 6)"],
        ),
        (
            [fa.Dense(4), fa.Dropout(0.1), fa.Dense(3, bias_init=np.ones(4))],
            {},
            ["layer 2", "bias_init", "(3,)", "got (4,)"],
        ),
        (
            [fa.Dense(9), fa.Dense(8), fa.Dense(3)],
            {"rule": fa.DFA(WIDE)},
            ["layer 1, Dense(8)", "feedback of dfa", "(3, 8)", "got (3, 9)"],
        ),
        (
            [fa.Dense(9), fa.Dense(8, rule="dfa"), fa.Dense(3)],
            {"rule": fa.FA(WIDE)},
            ["layer 0, Dense(9)", "feedback of fa", "(8, 9)", "got (3, 9)"],
        ),
        (
            [fa.Dense(4, "threshold"), fa.Dense(3)],
            {"rule": "drtp"},
            ["layer 0", "zero derivative", "'drtp'", "got 'threshold'", "inject='pre'"],
        ),
        (
            [fa.Dense(4, "sign"), fa.Dense(3)],
            {"rule": "backprop"},
            ["layer 0", "zero derivative", "'backprop'", "got 'sign'", "inject='pre'"],
        ),
        (  # the layer does not learn, but the one below needs its delta
            [fa.Dense(4, "tanh"), fa.Dense(4, "sign", rule="frozen"), fa.Dense(3)],
            {"rule": "fa"},
            ["layer 1", "zero derivative", "'frozen'", "got 'sign'"],
        ),
    ],
)
def test_layers_that_do_not_fit_together(layers, changes, words):
    refuses(ValueError, lambda: network(layers=layers, **changes), *words)


@pytest.mark.parametrize(
    ("layers", "rule"),
    [
        ([fa.Dense(4, "sign"), fa.Dense(3)], fa.DFA(inject="pre")),
        ([fa.Dense(4, "threshold"), fa.Dense(3)], fa.DRTP(inject="pre")),
        ([fa.Dense(4, "sign"), fa.Dense(3)], "frozen"),
        ([fa.Dense(4, "sign", trainable=False), fa.Dense(3)], "backprop"),
        ([fa.Dense(4, "tanh"), fa.Dense(4, "sign", rule="frozen"), fa.Dense(3)], "dfa"),
        ([fa.Dense(3)], "dfa"),
        ([fa.Dropout(0.2), fa.Dense(4), fa.Dropout(0.2), fa.Dropout(0.2), fa.Dense(3)], "drtp"),
    ],
)
def test_layers_that_do_fit_together_train(layers, rule):
    net = network(layers=layers, rule=rule)
    losses = [net.train_batch(X, Y) for _ in range(20)]
    assert np.isfinite(losses).all()


def test_a_layer_object_may_appear_twice():
    layer = fa.Dense(6, "tanh")
    net = network(layers=[layer, layer, fa.Dense(3)])
    assert (net.parameters["0.weight"] != net.parameters["1.weight"]).any()


@pytest.mark.parametrize(
    ("key", "value", "error", "words"),
    [
        ("0.weight", np.ones((8, 6)), ValueError, ['parameters["0.weight"]', "(6, 8)", "(8, 6)"]),
        ("0.weight", 0.0, ValueError, ['parameters["0.weight"]', "(6, 8)", "()"]),
        ("0.bias", np.full(8, NAN), ValueError, ['parameters["0.bias"]', "finite", "nan"]),
        ("0.bias", ["a"] * 8, TypeError, ['parameters["0.bias"]', "real numbers"]),
        ("0.wieght", np.ones((6, 8)), KeyError, ["0.wieght", "0.weight"]),
        (0, np.ones((6, 8)), TypeError, ["parameters key", "got 0"]),
    ],
)
def test_assigning_parameters(trained, key, value, error, words):
    before = state(trained)
    refuses(error, lambda: trained.parameters.__setitem__(key, value), *words)
    assert state(trained) == before


def test_parameters_cannot_be_replaced_or_deleted(trained):
    with pytest.raises(AttributeError):
        trained.parameters = {}
    with pytest.raises((TypeError, AttributeError)):
        del trained.parameters["0.weight"]
    with pytest.raises(KeyError, match="parameters key: expected one of"):
        trained.parameters["1.weight"]
    assert "1.weight" not in trained.parameters
    assert 1 not in trained.parameters


@pytest.mark.parametrize(
    ("index", "error", "words"),
    [
        (1, ValueError, ["index", "one of [0]", "got 1"]),  # a Dropout
        (2, ValueError, ["index", "one of [0]", "got 2"]),  # the output
        (-1, ValueError, ["index", ">= 0", "got -1"]),
        ("0", TypeError, ["index", "an integer", "got '0'"]),
    ],
)
def test_feedback_matrix_index(trained, index, error, words):
    refuses(error, lambda: trained.feedback_matrix(index), *words)


def test_frozen_layers_have_no_feedback_matrix():
    refuses(ValueError, lambda: network(rule="frozen").feedback_matrix(0), "index", "one of []")


def test_predict_output(trained):
    refuses(ValueError, lambda: trained.predict(X, "logit"), "output", '"logit"', '"logits"')


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (NAN, ValueError), ("1", TypeError), (None, TypeError)]
)
def test_lr(trained, value, error):
    before = state(trained)
    refuses(error, lambda: setattr(trained, "lr", value), "lr", ">= 0", "got")
    assert state(trained) == before


def test_a_schedule_that_goes_wrong_names_its_step():
    net = network(optimizer=fa.SGD(lambda step: 0.1 if step < 3 else NAN))
    refuses(ValueError, lambda: net.fit(X, Y, 10, verbose=False), "lr(3)", "finite", "got nan")
    assert net.steps == 3
    refuses(ValueError, lambda: fa.SGD(lambda step: -1.0).describe(), "lr(0)", ">= 0", "got -1.0")
    net = network(optimizer=fa.SGD(lambda step: 0.1 if step < 1 else "x"))
    net.train_batch(X, Y)
    refuses(TypeError, lambda: net.train_batch(X, Y), "lr(1)", "got 'x'")
    assert net.steps == 1


def test_a_batch_with_a_loss_that_is_not_finite_changes_nothing():
    net = network(layers=[fa.Dense(8, "relu"), fa.Dense(N_OUT)])
    net.parameters["1.weight"] = np.full((8, N_OUT), 3e38)
    net.parameters["0.bias"] = np.full(8, 10)
    before = state(net)
    with pytest.raises(FloatingPointError, match="finite"):
        net.train_batch(X, Y)
    assert state(net) == before


@pytest.mark.parametrize(
    ("n", "error"), [(-1, ValueError), (2**40, ValueError), (1.5, TypeError), ("2", TypeError)]
)
def test_thread_counts(n, error):
    before = fa.get_num_threads()
    refuses(error, lambda: fa.set_num_threads(n), "n: expected an integer from 0", "got")
    assert fa.get_num_threads() == before


def test_a_network_that_fits_no_memory():
    with pytest.raises(MemoryError):
        network(layers=[fa.Dense(2**31 - 1), fa.Dense(3)], input_shape=2**20)
    assert np.isfinite(network().train_batch(X, Y))


# ---- how often values are looked at ----


class Spoil(fa.Callback):
    """Makes a value infinite after all have been checked, before the first step."""

    def __init__(self, array):
        self.array = array

    def on_train_begin(self, net):
        self.array[3, 2] = INF


@pytest.mark.parametrize("layout", ["C", "F"])  # used in place, and converted in pieces
def test_fit_looks_at_each_value_once(layout, monkeypatch):
    """tanh makes an infinite input 1, so no result shows it: only a second look would find it."""
    monkeypatch.setattr(validation, "LARGE_BY_COLUMNS", 0)
    layers = [fa.Dense(5, "tanh", trainable=False), fa.Dense(N_OUT)]
    for spoiled in (0, 1):
        x, held_out = (np.asarray(X.copy(), order=layout) for _ in range(2))
        net = fa.Sequential(layers, input_shape=X.shape[1], rule="dfa", rng=0)
        fit = {"validation_data": (held_out, Y), "verbose": False}
        net.fit(x, Y, 2, 4, callbacks=[Spoil((x, held_out)[spoiled])], **fit)
        assert net.steps == 10
        name = ("X", r"validation_data\[0\]")[spoiled]
        with pytest.raises(ValueError, match=rf"^{name}: expected finite .*inf at row 3, column 2"):
            net.fit(x, Y, 2, 4, **fit)
        assert net.steps == 10


def test_python_looks_at_no_value_that_the_engine_takes(monkeypatch):
    net, rows = network(), np.eye(N_OUT)[Y]
    weights = np.ones(20)
    net.train_batch(X, Y)

    def look(*_):
        raise AssertionError("values are the engine's to check")

    monkeypatch.setattr(np, "isfinite", look)
    for x, y in ((X, Y), (X.astype(np.float64), rows), (np.asfortranarray(X), rows)):
        net.fit(x, y, 1, 8, sample_weight=weights, validation_data=(x, y), verbose=False)
        net.train_batch(x, y, weights)
        net.learn_many(x, y)
        net.evaluate(x, y)
        net.gradients(x, y)
        net.predict(x)
        net.predict_one(x[0])
    assert net.steps > 3


@pytest.mark.parametrize("rows", [True, False])
def test_fit_of_more_rows_than_memory_reads_no_value(rows):
    """Arrays with a stride of 0 may have any number of rows; reading these would take years."""
    many = 2**44
    x = np.lib.stride_tricks.as_strided(X[0], (many, X.shape[1]), (0, X.itemsize))
    one = np.eye(N_OUT)[0] if rows else np.array(1)
    y = np.lib.stride_tricks.as_strided(one, (many, *one.shape), (0, *one.strides))
    net = network()
    before = state(net)
    with pytest.raises(MemoryError):
        net.fit(x, y, verbose=False)
    assert state(net) == before

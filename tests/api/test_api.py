"""What the package promises: names, and the objects that describe a network."""

import doctest
import re

import numpy as np
import pytest
from processes import run_python
from small import N_IN, N_OUT, assert_same, copies, network, samples

import fastfa as fa
from fastfa import _core
from fastfa.optimizers import OPTIMIZERS
from fastfa.rules import RULES

# ---------------------------------------------------------------------------------- the package


def test_importing_fastfa_imports_numpy_only():
    code = "import sys, fastfa; print(*[m for m in ('tqdm', 'matplotlib') if m in sys.modules])"
    assert run_python(code) == ""


def test_every_public_name_exists_and_is_documented():
    for name in fa.__all__:
        assert getattr(fa, name).__doc__, name
    assert fa.__version__ == fa.build_info()["version"]


def test_datasets_are_imported_when_asked_for():
    assert fa.datasets.__name__ == "fastfa.datasets"
    assert "datasets" in dir(fa)
    with pytest.raises(AttributeError, match="no attribute 'dataset'"):
        fa.dataset  # noqa: B018  # the access is the test


def test_threads_can_be_set_and_read():
    before = fa.get_num_threads()
    try:
        fa.set_num_threads(1)
        assert fa.get_num_threads() == 1
    finally:
        fa.set_num_threads(before)
    assert fa.get_num_threads() == before


def test_python_and_engine_know_the_same_names():
    assert {*RULES, "custom"} == set(_core.NAMES["rule"])  # custom: a class of one's own
    assert set(OPTIMIZERS) == set(_core.NAMES["optimizer"])


# --------------------------------------------------------------------------------- descriptions


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (fa.Dense(8), "Dense(8)"),
        (fa.Dense(8, "tanh", use_bias=False), "Dense(8, activation='tanh', use_bias=False)"),
        (fa.Dense(8, weight_init="he_normal"), "Dense(8, weight_init='he_normal')"),
        (fa.Dense(2, weight_init=np.ones((3, 2))), "Dense(2, weight_init=<array 3x2>)"),
        (fa.Dense(8, rule=fa.FA()), "Dense(8, rule=FA())"),
        (fa.Dropout(0.5), "Dropout(0.5)"),
        (fa.DFA(inject="pre"), "DFA(inject='pre')"),
        (fa.Feedback("normal", scale=2), "Feedback(distribution='normal', scale=2.0)"),
        (fa.DRTP(fa.Feedback(scale=2)), "DRTP(feedback=Feedback(scale=2.0))"),
        (fa.Init("normal", 0.1), "Init('normal', scale=0.1)"),
        (fa.SGD(0.5, momentum=0.9), "SGD(0.5, momentum=0.9)"),
        (fa.Adam(), "Adam()"),
        (fa.EarlyStopping(patience=2), "EarlyStopping(monitor='val_loss', patience=2)"),
        (fa.Checkpoint("net-{epoch}"), "Checkpoint('net-{epoch}', every=1, monitor=None)"),
    ],
)
def test_descriptions_print_as_the_call_that_makes_them(thing, text):
    assert repr(thing) == text


@pytest.mark.parametrize(
    "thing", [fa.Dense(8), fa.Dropout(0.1), fa.DFA(), fa.SGD(0.1), fa.Init("zeros")]
)
def test_descriptions_cannot_be_changed(thing):
    for name in ("units", "rate", "inject", "lr", "scale"):
        with pytest.raises(AttributeError):
            setattr(thing, name, 3)


def test_given_arrays_are_copied():
    values = np.ones((N_IN, N_OUT))
    net = fa.Sequential([fa.Dense(N_OUT, weight_init=values)], input_shape=N_IN)
    values[:] = 5
    np.testing.assert_array_equal(net.parameters["0.weight"], 1)
    np.testing.assert_array_equal(net.layers[0].weight_init, 1)


def test_optimizer_defaults_are_those_of_pytorch():
    assert fa.SGD(1e-3).describe() == {
        "name": "sgd", "lr": 1e-3, "momentum": 0.0, "nesterov": False,
        "weight_decay": 0.0, "clip_norm": 0.0, "decay_bias": True, "l1": 0.0,
    }  # fmt: skip
    assert fa.RMSprop().describe() == {
        "name": "rmsprop", "lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0,
        "weight_decay": 0.0, "clip_norm": 0.0, "decay_bias": True, "centered": False, "l1": 0.0,
    }  # fmt: skip
    rest = {"weight_decay": 0.0, "clip_norm": 0.0, "decay_bias": True, "l1": 0.0}
    moments = rest | {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    adam = moments | {"eps_hat": False}
    assert fa.Adam().describe() == adam | {"name": "adam"}
    assert fa.AdamW().describe() == adam | {"name": "adamw", "weight_decay": 1e-2}
    assert fa.Adagrad().describe() == rest | {"name": "adagrad", "lr": 1e-2, "eps": 1e-10}
    assert fa.RAdam().describe() == moments | {"name": "radam"}
    assert fa.NAdam().describe() == moments | {
        "name": "nadam", "lr": 2e-3, "momentum_decay": 4e-3,
    }  # fmt: skip
    assert fa.Lion().describe() == rest | {  # not of PyTorch: of the paper
        "name": "lion", "lr": 1e-4, "beta1": 0.9, "beta2": 0.99,
    }  # fmt: skip


def test_optimizers_of_python_are_those_of_c():
    assert list(fa.optimizers.OPTIMIZERS) == _core.NAMES["optimizer"]
    for name, kind in fa.optimizers.OPTIMIZERS.items():
        defaults = (kind(0.1) if name == "sgd" else kind()).describe()
        for option in _core.options("optimizer", name):
            assert defaults[option["name"]] == option["default"]


@pytest.mark.parametrize("name", [each for each in fa.optimizers.OPTIMIZERS if each != "sgd"])
def test_optimizers_by_name(name):
    net = network(optimizer=name)
    assert net.optimizer.name == name
    assert net.lr == net.optimizer.lr


def test_sgd_asks_for_a_rate():
    message = r'optimizer: expected a learning rate with "sgd", .*fa\.SGD\(0\.1\)'
    with pytest.raises(ValueError, match=message):
        network(optimizer="sgd")
    with pytest.raises(ValueError, match=message):
        network().set_optimizer("sgd")
    for given in ({}, {"momentum": 0.9}):
        with pytest.raises(TypeError, match="lr"):
            fa.SGD(**given)
    assert fa.SGD(0.5).lr == fa.SGD(lr=0.5).lr == 0.5


def test_rng_int_generator_and_none():
    assert network(rng=5).seed == 5
    assert network(rng=2**64 - 1).seed == 2**64 - 1
    drawn = network(rng=np.random.default_rng(1))
    assert drawn.seed == network(rng=np.random.default_rng(1)).seed
    assert_same(copies(drawn), copies(network(rng=drawn.seed)))
    assert network(rng=None).seed != network(rng=None).seed


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float32, np.dtype(np.float64)])
def test_dtype(dtype):
    net = network(dtype=dtype)
    X, y = samples()
    assert net.dtype == np.dtype(dtype).name
    assert {a.dtype for a in net.parameters.values()} == {np.dtype(dtype)}
    assert net.predict(X).dtype == np.dtype(dtype)
    assert {g.dtype for g in net.gradients(X, y).values()} == {np.dtype(dtype)}


def test_input_shape_may_be_a_tuple_of_one():
    assert_same(copies(network(input_shape=(N_IN,))), copies(network()))


def test_help_begins_with_a_start_that_runs_and_names_every_rule():
    example = doctest.DocTestParser().get_doctest(fa.__doc__, {}, "fastfa", None, 0)
    result = doctest.DocTestRunner(verbose=False).run(example)
    assert (result.failed, result.attempted) == (0, 7)  # two lines that write files are left out
    for text in (fa.__doc__, fa.Sequential.__doc__, fa.rules.__doc__):
        words = set(re.findall(r"\w+", text))
        assert set(fa.rules.RULES) <= words


def test_help_names_only_what_there_is():
    for name in re.findall(r"help\(fa\.([\w.]+)\)", fa.__doc__):
        assert hasattr(fa, name)

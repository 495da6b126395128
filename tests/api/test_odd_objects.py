"""Objects that answer oddly as arguments: the error is ours, and names the argument."""

import math

import numpy as np
import pytest
from small import N_IN, samples
from small import shallow as network

import fastfa as fa

X, Y = samples(20)


def answers(base=object, value=(), **methods):
    """An object that has the methods which are given."""
    return type("Odd", (base,), methods)(*value)


def boom(*_, **__):
    raise ValueError("mine")


def nested(depth=5000):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def device(answer):
    return answers(__dlpack_device__=lambda _: answer, __dlpack__=lambda _, **__: X.__dlpack__())


ODD_ARRAYS = {
    "a device of nothing": device(()),
    "no device": device(None),
    "a device by name": device("x"),
    "an infinite device": device((math.inf, 0)),
    "a device mapping": device({}),
    "a capsule that is none": answers(
        __dlpack_device__=lambda _: (1, 0), __dlpack__=lambda _, **__: 7
    ),
    "an interface that is none": answers(__array_interface__=5),
    "an interface without memory": answers(
        __array_interface__={"shape": (-1,), "typestr": "<f4", "version": 3}
    ),
    "an array that is none": answers(__array__=lambda *_, **__: 5),
    "a deep list": nested(),
    "columns without end": answers(columns=range(3), get_columns=lambda _: 3),
    "columns that are none": answers(columns=["a"], get_columns=lambda _: 3),
    "columns of two lengths": answers(
        columns=["a", "b"], get_columns=lambda _: [[1.0], [1.0, 2.0]]
    ),
    "columns fewer than names": answers(columns=["a", "b"], get_columns=lambda _: [[1.0]]),
    "too large": [[10**400] * 6] * 40,
}


@pytest.mark.parametrize("value", ODD_ARRAYS.values(), ids=ODD_ARRAYS)
def test_odd_arrays_are_refused_by_name(value):
    net = network()
    for name, call in {
        "X": lambda: net.predict(value),
        "x": lambda: net.predict_one(value),
        "y": lambda: net.fit(X, value, verbose=False),
        "sample_weight": lambda: net.evaluate(X, Y, value),
        'parameters["0.bias"]': lambda: net.parameters.__setitem__("0.bias", value),
        "bias_init": lambda: fa.Dense(2, bias_init=value),
    }.items():
        with pytest.raises((TypeError, ValueError)) as caught:
            call()
        assert str(caught.value).startswith(name)


HUGE = (2**63, 10**30, 10**400, 10**5000)


@pytest.mark.parametrize("value", HUGE, ids=["2^63", "1e30", "1e400", "1e5000"])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("epochs", lambda number: network().fit(X, Y, epochs=number)),
        ("batch_size", lambda number: network().fit(X, Y, batch_size=number)),
        ("rank", lambda number: fa.Feedback(rank=number)),
        ("rank", lambda number: fa.LDFA(rank=number)),
        ("units", lambda number: fa.Dense(number)),
        ("input_shape", lambda number: fa.Sequential([fa.Dense(2)], input_shape=number)),
        ("n_threads", lambda number: network(n_threads=number)),
        ("n", lambda number: fa.set_num_threads(number)),
        ("patience", lambda number: fa.EarlyStopping(patience=number)),
        ("every", lambda number: fa.Checkpoint("x", every=number)),
        ("every", lambda number: fa.callbacks.Alignment((X, Y), every=number)),
        ("n_workers", lambda number: fa.fit_replicas(network, [{}], X, Y, n_workers=number)),
        ("index", lambda number: network().feedback_matrix(number)),
        ("y", lambda number: network().learn_one(X[0], number)),
    ],
)
def test_integers_that_are_too_large_are_refused_by_name(name, call, value):
    with pytest.raises(ValueError, match=f"^{name}: expected ") as caught:
        call(value)
    assert len(str(caught.value)) < 300


def test_a_sequence_without_an_end_is_read_as_far_as_it_says():
    endless = answers(__len__=lambda _: 4, __getitem__=lambda _, i: [float(i)] * N_IN)
    rows = np.arange(4.0)[:, None] * np.ones(N_IN)
    np.testing.assert_array_equal(network().predict(endless), network().predict(rows))
    for length in (-1, 2**62):
        with pytest.raises((TypeError, ValueError, MemoryError)):
            network().predict(answers(__len__=lambda _, n=length: n, __getitem__=lambda _, i: 1.0))


def test_a_rank_that_no_matrix_has():
    with pytest.raises((ValueError, MemoryError), match=r"rank|memory"):
        network(rule=fa.DFA(fa.Feedback(rank=2**62)))


UNPRINTABLE = {
    "deep": nested(),
    "raises": answers(__repr__=boom),
    "prints a number": answers(__repr__=lambda _: 5),
    "escapes": answers(__repr__=lambda _: "\x1b[31m" * 1000),
    "no name": answers(__name__=property(boom), __call__=boom),
    "escapes as text": "\x1b[31m" * 1000,
    "long text": "a" * 100_000,
}


@pytest.mark.parametrize("value", UNPRINTABLE.values(), ids=UNPRINTABLE)
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("activation", lambda value: fa.Dense(2, value)),
        ("units", lambda value: fa.Dense(value)),
        ("rule", lambda value: network(rule=value)),
        ("delta", lambda value: fa.Huber(delta=value)),
        ("optimizer", lambda value: network(optimizer=value)),
        ("dtype", lambda value: network(dtype=value)),
        ("rng", lambda value: network(rng=value)),
        ("input_shape", lambda value: network(input_shape=(1, value))),
        ("layers[0]", lambda value: network(layers=[value])),
        ("clip_norm", lambda value: fa.SGD(0.1, clip_norm=value)),
        ("shared", lambda value: fa.Feedback(shared=value)),
        ("epochs", lambda value: network().fit(X, Y, epochs=value, verbose=False)),
        ("shuffle", lambda value: network().fit(X, Y, shuffle=value, verbose=False)),
        ("callbacks", lambda value: network().fit(X, Y, callbacks=[value], verbose=False)),
        (
            "validation_data",
            lambda value: network().fit(X, Y, validation_data=value, verbose=False),
        ),
        ("output", lambda value: network().predict(X, value)),
        ("x: expected", lambda value: network().predict_one(value)),
        (
            "monitor",
            lambda value: network().fit(X, Y, callbacks=[fa.EarlyStopping(value)], verbose=False),
        ),
        (
            "parameters key",
            lambda value: network().parameters[value if isinstance(value, str) else "x"],
        ),
        ("settings[0]", lambda value: fa.fit_replicas(network, [value], X, Y)),
        ("build", lambda value: fa.fit_replicas(lambda: value, [{}], X, Y, verbose=False)),
    ],
)
def test_messages_can_always_be_written(name, call, value):
    """Whatever an object prints as: the error is ours, short, and of plain text."""
    with pytest.raises((TypeError, ValueError, KeyError)) as caught:
        call(value)
    text = caught.value.args[0]
    assert name in text
    assert len(text) < 700
    assert text.isprintable()


def test_what_derives_from_a_plain_type_counts_as_one():
    text = answers(str, ("tanh",), encode=lambda *_: b"a\0b")
    assert type(fa.Dense(2, text).activation) is str
    assert fa.Dense(answers(int, (3,), __lt__=boom, __gt__=boom)).units == 3
    with pytest.raises((TypeError, ValueError), match=r"^lr: expected a finite number"):
        fa.SGD(answers(float, (0.5,), __float__=lambda _: "x"))


def released():
    view = memoryview(b"abc")
    view.release()
    return view


UNREADABLE = {
    "two axes": memoryview(np.zeros((4, 3), np.float32)),
    "no axes": memoryview(np.zeros((), np.float32)),
    "odd format": memoryview(np.zeros(3, ">f4")),
    "released": released(),
    "a list that raises": answers(list, ([1],), __iter__=boom),
}


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("layers", lambda value: fa.Sequential(value, input_shape=N_IN)),
        ("callbacks", lambda value: network().fit(X, Y, callbacks=value, verbose=False)),
        ("settings", lambda value: fa.fit_replicas(network, value, X, Y, verbose=False)),
        ("histories", lambda value: fa.plot.curves({"a": value})),
    ],
)
def test_lists_that_cannot_be_read_are_refused_by_name(name, call, value):
    with pytest.raises(TypeError, match=rf"^{name}.*: expected .*a list of .*, got "):
        call(value)


def test_an_iterator_of_settings_raises_its_own_error():
    settings = (boom() for _ in range(1))
    with pytest.raises(ValueError, match=r"^mine$"):
        fa.fit_replicas(network, settings, X, Y, verbose=False)


def test_odd_arguments_of_load_are_refused_by_name():
    data = network().to_bytes()
    with pytest.raises(TypeError, match=r"^file: expected readable bytes, got "):
        fa.load(released())
    with pytest.raises(ValueError, match=r"rule: .* give none"):
        fa.load(data, rule=X)
    assert fa.load(data, rule={}).seed == fa.load(data).seed

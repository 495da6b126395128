"""Rules and feedback written in Python: the engine gives what the built-in ones give."""

import numpy as np
import pytest
from networks import (
    assert_close,
    dense,
    description,
    pair,
    rule,
    samples,
)

import fastfa as fa
from fastfa import _core

LAYERS = [dense(9, "tanh"), dense(7, "tanh"), dense(3)]


class MyDFA(fa.Rule):
    feedback = fa.Feedback()

    def signal(self, ctx):
        return ctx.product(ctx.error, ctx.feedback)


class ByHand(fa.Rule):
    """DFA through everything that a rule may look at; keeps what it saw."""

    def __init__(self, inject="post"):
        object.__setattr__(self, "inject", inject)
        object.__setattr__(self, "seen", [])

    def signal(self, ctx):
        self.seen.append((ctx.layer, ctx.step))
        error = np.asarray(ctx.activations[2], np.float64)
        error = np.exp(error - error.max(axis=1, keepdims=True))
        error = error / error.sum(axis=1, keepdims=True) - np.eye(3)[ctx.labels]
        np.testing.assert_allclose(ctx.error, error, atol=1e-6)
        hidden = np.tanh(ctx.inputs @ ctx.parameters["0.weight"] + ctx.parameters["0.bias"])
        np.testing.assert_allclose(ctx.activations[0], hidden, atol=1e-5)
        for view in (ctx.error, ctx.inputs, ctx.labels, *ctx.activations.values()):
            assert not view.flags.writeable
        assert ctx.target is None
        assert ctx.feedback is None
        return error @ np.linspace(-1, 1, 3 * ctx.units).reshape(3, ctx.units)


LAYERS_OF_OBJECTS = (fa.Dense(130, "tanh"), fa.Dropout(0.2), fa.Dense(49, "gelu"), fa.Dense(10))


@pytest.mark.parametrize("n_threads", [1, 3])
def test_dfa_written_in_python_is_the_built_in_to_the_bit(n_threads, dtype, rng):
    x, y = rng.standard_normal((300, 65)).astype(dtype), rng.integers(0, 10, 300)
    settings = {
        "input_shape": 65, "rng": 1, "dtype": dtype, "n_threads": n_threads,
        "optimizer": fa.Adam(0.01, clip_norm=0.5),
    }  # fmt: skip
    nets = [fa.Sequential(LAYERS_OF_OBJECTS, rule=rule, **settings) for rule in (MyDFA(), "dfa")]
    for net in nets:
        net.fit(x, y, epochs=2, batch_size=64, verbose=False)
        net.train_batch(x[:7], y[:7])
    mine, built_in = nets
    for key, value in built_in.parameters.items():
        np.testing.assert_array_equal(mine.parameters[key], value)
    for key, g in built_in.gradients(x, y).items():
        np.testing.assert_array_equal(mine.gradients(x, y)[key], g)
    angles = [[row.delta_angle for row in net.alignment(x, y)] for net in nets]
    assert angles[0] == angles[1]


@pytest.mark.parametrize("inject", ["post", "pre"])
def test_what_a_rule_sees(inject, dtype):
    desc = description(LAYERS, 6, dtype=dtype)
    for which in (0, 1):
        rule_object = ByHand(inject)
        how = rule_object.describe()
        net = pair(desc | {"rule": how})[which]
        values = [np.linspace(-1, 1, 3 * n).reshape(3, n) for n in (9, 7)]
        dfa = [
            layer | {"rule": rule("dfa", inject, values=v)}
            for layer, v in zip(LAYERS, values, strict=False)
        ]
        built_in = _core.Network(desc | {"layers": [*dfa, LAYERS[2]]})
        data = samples(desc, 30)
        for _ in range(2):
            net.train_batch(*data)
            built_in.train_batch(*data)
        assert_close(net.parameters["0.weight"], built_in.parameters["0.weight"], dtype, loose=5.0)
        assert rule_object.seen == [(1, 0), (0, 0), (1, 1), (0, 1)]


def test_what_goes_wrong_in_a_rule_comes_out_and_nothing_is_updated():
    class Broken(fa.Rule):
        def signal(self, ctx):
            raise KeyError("mine")

    class Wide(fa.Rule):
        def signal(self, ctx):
            return np.zeros((len(ctx.error), ctx.units + 1))

    layers = [fa.Dense(7, "tanh"), fa.Dense(5, "tanh"), fa.Dense(3)]
    x, y = np.ones((4, 6), np.float32), np.array([0, 1, 2, 0])
    for rule_object, error, message in (
        (Broken(), KeyError, "mine"),
        (Wide(), ValueError, r"layer 1.*\(4, 5\)"),
    ):
        net = fa.Sequential(layers, input_shape=6, rule=rule_object)
        before = {key: value.copy() for key, value in net.parameters.items()}
        for call in (net.train_batch, net.gradients, net.alignment):
            with pytest.raises(error, match=message):
                call(x, y)
        with pytest.raises(error, match=message):
            net.fit(x, y, epochs=1, verbose=False)
        assert net.steps == 0
        for key, value in before.items():
            np.testing.assert_array_equal(net.parameters[key], value)
    with pytest.raises(TypeError):
        fa.Sequential(layers, input_shape=6, rule=fa.Rule())


def test_a_rule_of_ones_own_for_one_layer_only():
    layers = [fa.Dense(7, "tanh"), fa.Dense(5, "tanh", rule=MyDFA()), fa.Dense(3)]
    mixed = fa.Sequential(layers, input_shape=6, rule="fa", rng=1)
    known = fa.Sequential(
        [layers[0], fa.Dense(5, "tanh", rule="dfa"), layers[2]], input_shape=6, rule="fa", rng=1
    )
    x, y = np.ones((4, 6), np.float32), np.array([0, 1, 2, 0])
    for _ in range(3):
        assert mixed.train_batch(x, y) == known.train_batch(x, y)
    assert "custom" in repr(mixed)


def test_feedback_objects():
    calls = []

    def ones(n_source, n_l):
        calls.append((n_source, n_l))
        return np.ones((n_source, n_l))

    layers = [fa.Dense(7, "tanh"), fa.Dense(5, "tanh"), fa.Dense(3)]
    net = fa.Sequential(layers, input_shape=4, rule=fa.DFA(fa.Feedback(ones, scale=0.5)))
    assert calls == [(3, 7), (3, 5)]
    assert (net.feedback["0.feedback"] == 0.5).all()
    assert net.feedback["1.feedback"].shape == (3, 5)
    bad = fa.DFA(fa.Feedback(lambda n_source, n_l: np.ones((n_l, n_source))))
    with pytest.raises(ValueError, match=r"layer 0.*\(3, 7\).*\(7, 3\)"):
        fa.Sequential(layers, input_shape=4, rule=bad)
    sparse = fa.Feedback("normal", scale=2, sparsity=0.6)
    net = fa.Sequential(layers, input_shape=4, rule=fa.DFA(sparse))
    assert "normal 3x7, scale 2, sparsity 0.6" in str(net.summary())
    for wrong in ({"sparsity": 1.0}, {"rank": 0}, {"distribution": np.ones((2, 2)), "rank": 1}):
        with pytest.raises(ValueError, match=r"sparsity|rank"):
            fa.Feedback(**wrong)
    for rule_object in (fa.USF(2.0), fa.LDFA(rank=2), fa.KP(decay=0.1), fa.Ternary(), fa.IFA()):
        net = fa.Sequential(layers, input_shape=4, rule=rule_object)
        assert rule_object.name in repr(net)
        net.train_batch(np.ones((2, 4), np.float32), np.array([0, 1]))

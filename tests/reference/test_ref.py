"""The oracle itself, gradients and rules: _ref against differences and loops written out."""

import copy
import math

import numpy as np
import pytest
from networks import DIFFERENTIABLE, LOSSES, RULES, dense, dropout, rule
from ref_networks import assert_same, batch, hidden_net, labelled, network

import fastfa as fa
from fastfa.backends import reference as _ref


def numerical_gradient(net, key, data, step=1e-5):
    """Central differences of the mean loss; gradients() draws the same masks each time."""
    value = net.parameters[key]
    slope = np.zeros_like(value)
    for i in np.ndindex(value.shape):
        start = value[i]
        value[i] = start + step
        above = net.gradients(*data)[0]
        value[i] = start - step
        below = net.gradients(*data)[0]
        value[i] = start
        slope[i] = (above - below) / (2 * step)
    return slope


@pytest.mark.parametrize(
    ("activation", "loss"),
    [
        *((name, "mse") for name in DIFFERENTIABLE),
        *((name, LOSSES[i % len(LOSSES)]) for i, name in enumerate(DIFFERENTIABLE)),
    ],
)
def test_backprop_is_the_gradient(activation, loss):
    output = activation if loss == "mse" else "linear"
    net = network(
        [dropout(0.2), dense(4, activation), dropout(0.3), dropout(0.1),
         dense(3, activation, use_bias=False), dense(3, output)],
        loss=loss,
    )  # fmt: skip
    data = batch(loss=loss)
    grads = net.gradients(*data)[1]
    assert set(grads) == {"1.weight", "1.bias", "4.weight", "5.weight", "5.bias"}
    for key, grad in grads.items():
        np.testing.assert_allclose(
            grad, numerical_gradient(net, key, data), rtol=1e-6, atol=1e-9, err_msg=key
        )


@pytest.mark.parametrize("loss", LOSSES)
def test_one_output_column_is_the_gradient(loss):
    net = network([dense(4, "tanh"), dense(1)], loss=loss)
    x, _, _, weights = batch()
    target = np.ones((7, 1)) if loss == "softmax_cross_entropy" else (x[:, :1] > 0) * 1.0
    data = x, None, target, weights
    for key, grad in net.gradients(*data)[1].items():
        np.testing.assert_allclose(grad, numerical_gradient(net, key, data), 1e-6, 1e-9)


def by_hand(net, name, inject, x, labels, weights):
    """Gradients of 5-6-4-3 tanh with dropout behind both hidden layers, sample by sample."""
    w1, w2, w3 = (net.parameters[f"{i}.weight"] for i in (0, 2, 4))
    b1, b2, b3 = (net.parameters[f"{i}.bias"] for i in (0, 2, 4))
    seed, m, gain = net.description["seed"], len(x), 1 / (1 - 0.25)
    k1 = _ref.keep_mask(_ref.Stream(seed, _ref.DROPOUT, 1), m, 6, 0.25)
    k2 = _ref.keep_mask(_ref.Stream(seed, _ref.DROPOUT, 3), m, 4, 0.25)
    assert 0 < k1.sum() < k1.size
    assert 0 < k2.sum() < k2.size
    grads = {key: np.zeros_like(value) for key, value in net.parameters.items()}
    for i in range(m):
        h1 = np.tanh(x[i] @ w1 + b1)
        p1 = h1 * k1[i] * gain
        h2 = np.tanh(p1 @ w2 + b2)
        p2 = h2 * k2[i] * gain
        t = np.exp(p2 @ w3 + b3)
        onehot = np.array([float(c == labels[i]) for c in range(3)])
        e = t / t.sum() - onehot

        def local(s, h, keep):
            return s * keep if inject == "pre" else s * keep * gain * (1 - h**2)

        carried = {"dfa": e, "sdfa": np.where(e > 0, 1.0, -1.0), "drtp": onehot}
        if name in carried:
            d2 = local(carried[name] @ net.feedback["2.feedback"], h2, k2[i])
            d1 = local(carried[name] @ net.feedback["0.feedback"], h1, k1[i])
        else:
            fa = name == "fa"
            d2 = local(e @ (net.feedback["2.feedback"] if fa else w3.T), h2, k2[i])
            d1 = local(d2 @ (net.feedback["0.feedback"] if fa else w2.T), h1, k1[i])
        for index, below, d in ((0, x[i], d1), (2, p1, d2), (4, p2, e)):
            grads[f"{index}.weight"] += weights[i] * np.outer(below, d) / m
            grads[f"{index}.bias"] += weights[i] * d / m
    return grads


@pytest.mark.parametrize(
    ("name", "inject"),
    [(name, "post") for name in ("backprop", "fa", "dfa", "sdfa", "drtp")]
    + [(name, "pre") for name in ("dfa", "sdfa", "drtp")],
)
def test_rules_follow_their_equations(name, inject):
    layers = [dense(6, "tanh"), dropout(0.25), dense(4, "tanh"), dropout(0.25), dense(3)]
    net = network(layers, rule(name, inject, "normal"))
    x, labels, _, _ = labelled()
    weights = np.linspace(0.0, 2.0, 7)
    assert_same(
        net.gradients(x, labels, None, weights)[1], by_hand(net, name, inject, x, labels, weights)
    )


@pytest.mark.parametrize("name", RULES)
def test_float32_follows_float64(name):
    data = labelled(m=9)
    wide, narrow = hidden_net(name), hidden_net(name, dtype="float32")
    for net in (wide, narrow):
        for key, value in (narrow.parameters | narrow.feedback).items():
            (net.parameters | net.feedback)[key][...] = value
    loss, grads = wide.gradients(*data)
    loss32, grads32 = narrow.gradients(data[0].astype(np.float32), *data[1:])
    assert loss32 == pytest.approx(loss, rel=1e-6)
    assert all(g.dtype == np.float32 for g in grads32.values())
    assert_same(grads32, grads, rtol=2e-4, atol=2e-6)


def test_fa_through_the_transposed_weights_is_backprop():
    exact = hidden_net()
    fa = [rule("fa", values=exact.parameters[f"{above}.weight"].T) for above in (1, 2)]
    net = network([dense(6, "tanh", rule=fa[0]), dense(4, "tanh", rule=fa[1]), dense(3)])
    data = batch()
    assert_same(net.gradients(*data)[1], exact.gradients(*data)[1])
    for row in net.alignment(*data):
        assert row["delta_angle"] == pytest.approx(0, abs=1e-5)
        assert row["weight_angle"] == pytest.approx(0, abs=1e-5)


def test_dfa_with_one_hidden_layer_is_fa():
    fa, dfa = (network([dense(6, "tanh"), dense(3)], name) for name in ("fa", "dfa"))
    np.testing.assert_array_equal(fa.feedback["0.feedback"], dfa.feedback["0.feedback"])
    assert_same(fa.gradients(*batch())[1], dfa.gradients(*batch())[1], 0, 0)


@pytest.mark.parametrize("name", ["dfa", "sdfa", "drtp"])
def test_drtp_and_broadcast_take_labels_as_rows(name):
    x, labels, _, _ = labelled()
    net = hidden_net(name)
    rows = net.gradients(x, None, np.eye(3)[labels], None)
    gathered = net.gradients(x, labels, None, None)
    assert rows[0] == gathered[0]
    assert_same(rows[1], gathered[1])


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_post_is_pre_times_local_derivative(activation):
    layers = [dense(6, activation), dropout(0.5), dense(3)]
    pre, post = (network(layers, rule("dfa", inject)) for inject in ("pre", "post"))
    data = batch()
    a = data[0] @ pre.parameters["0.weight"] + pre.parameters["0.bias"]
    f = {"tanh": np.tanh, "relu": lambda v: np.maximum(v, 0)}.get(
        activation, lambda v: v / 2 * (1 + np.vectorize(math.erf)(v / math.sqrt(2)))
    )
    slope = (f(a + 1e-6) - f(a - 1e-6)) / 2e-6
    np.testing.assert_allclose(
        post.deltas(*data)[0], pre.deltas(*data)[0] * slope / (1 - 0.5), rtol=1e-7, atol=1e-9
    )
    assert (pre.deltas(*data)[0] == 0).any()


@pytest.mark.parametrize("activation", ["sign", "threshold"])
def test_step_units_learn_with_pre(activation):
    net = hidden_net(rule("dfa", "pre"), activation)
    assert np.isnan(net.alignment(*batch())[0]["delta_angle"])
    before = net.parameters["0.weight"].copy()
    net.train_batch(*batch())
    assert (net.parameters["0.weight"] != before).any()
    hidden_net("frozen", activation).train_batch(*batch())  # nothing below the output is needed


def test_sign_and_threshold_values():
    a = np.array([[-2.0, -0.0, 0.0, 3.0]])
    assert _ref.ACTIVATIONS["sign"][0](a).tolist() == [[-1, 0, 0, 1]]
    assert _ref.ACTIVATIONS["threshold"][0](a).tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize("activation", DIFFERENTIABLE)
def test_activations_at_extremes(activation):
    a = np.array([-1e4, -100.0, 0.0, 100.0, 1e4])
    f, slope = _ref.ACTIVATIONS[activation]
    one = {name: [1, 1] for name in ("tanh", "sigmoid", "hardtanh", "hard_sigmoid")}
    scale, least = 1.0507009873554805, -1.7580993408473766
    right = one | {"selu": [100 * scale, 1e4 * scale], "softsign": [100 / 101, 1e4 / 10001]}
    right = right.get(activation, [100, 1e4])
    left = {
        "linear": [-1e4, -100], "leaky_relu": [-100, -1], "tanh": [-1, -1], "elu": [-1, -1],
        "selu": [least, least], "hardtanh": [-1, -1], "softsign": [-1e4 / 10001, -100 / 101],
        "silu": [0, -100 * np.exp(-100)], "mish": [0, -100 * np.exp(-100)],
    }  # fmt: skip
    with np.errstate(under="ignore"):
        h = f(a)
        assert np.isfinite(slope(a, h) * 1.0).all()
    np.testing.assert_allclose(h[3:], right, rtol=1e-12)
    np.testing.assert_allclose(h[:2], left.get(activation, [0, 0]), rtol=1e-12, atol=1e-40)


# ------------------------------------------------------------------------ who learns, who is needed


def test_frozen_trains_only_the_output():
    net = hidden_net("frozen")
    before = copy.deepcopy(net.parameters)
    net.train_batch(*batch())
    changed = {key for key in before if (net.parameters[key] != before[key]).any()}
    assert changed == {"2.weight", "2.bias"} == set(net.gradients(*batch())[1])
    assert [d is None for d in net.deltas(*batch())] == [True, True, False]
    assert net.counts["transport"] == net.counts["feedback"] == 0


@pytest.mark.parametrize("how", ["frozen", "trainable"])
def test_a_layer_that_does_not_train_passes_the_signal(how):
    stuck = {"rule": rule("frozen")} if how == "frozen" else {"trainable": False}
    net = network([dense(6, "tanh"), dense(4, "tanh", **stuck), dense(3)])
    free, data = hidden_net(), batch()
    grads = free.gradients(*data)[1]
    assert_same(net.gradients(*data)[1], {k: grads[k] for k in grads if k[0] != "1"})
    before = net.parameters["1.weight"].copy()
    net.train_batch(*data)
    np.testing.assert_array_equal(net.parameters["1.weight"], before)


def test_the_signal_passes_several_layers_that_do_not_train():
    def deep(middle, upper):
        return network(
            [dense(6, "tanh"), dense(5, "tanh", **middle), dense(4, "tanh", **upper), dense(3)]
        )

    net, free = deep({"rule": rule("frozen")}, {"trainable": False}), deep({}, {})
    for mine, true in zip(net.deltas(*batch()), free.deltas(*batch()), strict=True):
        np.testing.assert_array_equal(mine, true)
    assert [row["needed"] for row in net.layers] == [True] * 4


def test_an_untrained_layers_own_rule_makes_the_signal_below():
    net = network([dense(6, "tanh"), dense(4, "tanh", trainable=False, rule=rule("dfa")), dense(3)])
    free = network([dense(6, "tanh"), dense(4, "tanh", rule=rule("dfa")), dense(3)])
    key = "0.weight"
    np.testing.assert_array_equal(net.gradients(*batch())[1][key], free.gradients(*batch())[1][key])


@pytest.mark.parametrize(
    ("name", "transport", "feedback"),
    [("backprop", 2, 0), ("fa", 0, 2), ("dfa", 0, 2), ("sdfa", 0, 2), ("drtp", 0, 0),
     ("frozen", 0, 0)],
)  # fmt: skip
def test_products_of_a_step(name, transport, feedback):
    net = hidden_net(name)
    net.train_batch(*labelled())
    outer = 1 if name == "frozen" else 3
    assert net.counts == {
        "forward": 3, "transport": transport, "feedback": feedback, "outer": outer
    }  # fmt: skip


def test_only_training_is_counted():
    net, data = hidden_net("fa"), labelled()
    net.predict(data[0])
    for look in (net.evaluate, net.gradients, net.deltas, net.alignment):
        look(*data)
    assert not any(net.counts.values())


def test_products_nobody_needs_are_not_done():
    net = network([dense(6, "tanh", trainable=False), dense(4, "tanh"), dense(3)])
    net.train_batch(*batch())
    assert net.counts == {"forward": 3, "transport": 1, "feedback": 0, "outer": 2}
    assert [row["needed"] for row in net.layers] == [False, True, True]
    mixed = network([dense(6, "tanh"), dense(4, "tanh", trainable=False), dense(3)], "dfa")
    assert [row["needed"] for row in mixed.layers] == [True, False, True]


def test_layers_say_which_rule_runs():
    net = network([dense(6, "tanh", rule=rule("fa")), dropout(0.1), dense(4, "tanh"), dense(3)],
                  rule("dfa", "pre", "normal"))  # fmt: skip
    assert net.layers == [
        {"index": 0, "rule": "fa", "inject": "post", "source": "above", "feedback": "uniform 4x6",
         "trainable": True, "needed": True, "bfloat16": False},
        {"index": 2, "rule": "dfa", "inject": "pre", "source": "error", "feedback": "normal 3x4",
         "trainable": True, "needed": True, "bfloat16": False},
        {"index": 3, "rule": "output", "inject": "post", "source": "error", "feedback": "",
         "trainable": True, "needed": True, "bfloat16": False},
    ]  # fmt: skip
    for name in RULES:
        assert hidden_net(name).layers[0]["source"] == fa.rules.RULES[name].source


# ----------------------------------------------------------------------------------- sample weights


@pytest.mark.parametrize("name", RULES)
def test_weight_two_is_the_row_twice(name):
    net, (x, labels, _, _) = hidden_net(name), labelled()
    weights = np.array([2.0, 1, 0, 1, 3, 1, 1])
    repeat = np.repeat(np.arange(7), weights.astype(int))
    loss, grads = net.gradients(x, labels, None, weights)
    loss_repeated, repeated = net.gradients(x[repeat], labels[repeat], None, None)
    scale = len(repeat) / 7  # each is a mean over its own number of rows
    assert loss == pytest.approx(loss_repeated * scale)
    assert_same(grads, {key: g * scale for key, g in repeated.items()})
    plain = net.evaluate(x, labels, None, None)[1]
    assert net.evaluate(x, labels, None, weights) == (pytest.approx(loss), plain)


@pytest.mark.parametrize("name", ["sdfa", "drtp", "dfa"])
def test_weights_scale_deltas_after_the_rule(name):
    net, (x, labels, _, _) = hidden_net(name), labelled()
    weights = np.linspace(0.5, 3, 7)
    plain = net.deltas(x, labels, None, None)
    weighted = net.deltas(x, labels, None, weights)
    for a, b in zip(plain, weighted, strict=True):
        np.testing.assert_allclose(b, a * weights[:, None], rtol=1e-14)

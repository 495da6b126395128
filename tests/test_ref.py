"""The oracle itself: _ref against central differences, explicit loops and formulas written out."""

import copy
import math

import numpy as np
import pytest

from fastfa import _ref

SMOOTH = ("linear", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "gelu")
LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mse")
RULES = ("backprop", "fa", "dfa", "sdfa", "drtp", "frozen")
COMMON = {"weight_decay": 0.0, "clip_norm": 0.0, "decay_bias": True}
SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False, **COMMON}
RMSPROP = {"name": "rmsprop", "lr": 0.02, "alpha": 0.9, "eps": 1e-8, "momentum": 0.0, **COMMON}
ADAM = {"name": "adam", "lr": 0.05, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, **COMMON}
ADAMW = {**ADAM, "name": "adamw"}


def dense(units, activation="linear", **changes):
    layer = {
        "type": "dense", "units": units, "activation": activation, "use_bias": True,
        "trainable": True, "lr_scale": 1.0, "bias_lr_scale": 1.0, "rule": None,
        "weight_init": {"name": "glorot_normal", "scale": 1.0},
        "bias_init": {"name": "normal", "scale": 0.3},
    }  # fmt: skip
    return {**layer, **changes}


def dropout(rate):
    return {"type": "dropout", "rate": rate}


def rule(name, inject="post", distribution="uniform", scale=1.0, values=None):
    feedback = {"distribution": distribution} if values is None else {"values": values}
    return {"name": name, "inject": inject, "feedback": {**feedback, "scale": scale}}


def network(layers, name="backprop", **changes):
    description = {
        "n_in": 5, "dtype": "float64", "seed": 2**40 + 7, "loss": "softmax_cross_entropy",
        "input_scale": "auto", "n_threads": 0, "optimizer": SGD,
        "rule": rule(name) if isinstance(name, str) else name, "layers": layers,
    }  # fmt: skip
    return _ref.Network({**description, **changes})


def hidden_net(name="backprop", activation="tanh", **changes):
    return network([dense(6, activation), dense(4, activation), dense(3)], name, **changes)


def batch(m=7, n_in=5, n_out=3, loss="softmax_cross_entropy", seed=0):
    """x, labels, y, weights with row targets that every loss accepts."""
    rng = np.random.default_rng(seed)
    y = rng.random((m, n_out))
    if loss == "softmax_cross_entropy":
        y /= y.sum(axis=1, keepdims=True)
    return rng.standard_normal((m, n_in)), None, y, rng.random(m) + 0.5


def labelled(m=7, n_in=5, n_out=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, n_in)), rng.integers(0, n_out, m), None, None


def assert_same(a, b, rtol=1e-12, atol=1e-14):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], rtol, atol, err_msg=key)


# ---------------------------------------------------------------------------------------- gradients


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


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", SMOOTH)
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
    [(name, "post") for name in RULES[:5]] + [(name, "pre") for name in ("dfa", "sdfa", "drtp")],
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
def test_step_units_learn_only_with_pre(activation):
    with pytest.raises(ValueError, match=r"activation of layer 0.*derivative"):
        hidden_net("dfa", activation)
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


@pytest.mark.parametrize("activation", SMOOTH)
def test_activations_at_extremes(activation):
    a = np.array([-1e4, -100.0, 0.0, 100.0, 1e4])
    f, slope = _ref.ACTIVATIONS[activation]
    right = {"tanh": [1, 1], "sigmoid": [1, 1]}.get(activation, [100, 1e4])
    left = {"linear": [-1e4, -100], "leaky_relu": [-100, -1], "tanh": [-1, -1]}
    with np.errstate(under="ignore"):
        h = f(a)
        assert np.isfinite(slope(a, h) * 1.0).all()
    np.testing.assert_allclose(h[3:], right, rtol=1e-12)
    np.testing.assert_allclose(h[:2], left.get(activation, [0, 0]), atol=1e-40)


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
         "trainable": True, "needed": True},
        {"index": 2, "rule": "dfa", "inject": "pre", "source": "error", "feedback": "normal 3x4",
         "trainable": True, "needed": True},
        {"index": 3, "rule": "output", "inject": "post", "source": "error", "feedback": "",
         "trainable": True, "needed": True},
    ]  # fmt: skip
    sources = [hidden_net(name).layers[0]["source"] for name in RULES]
    assert sources == ["above", "above", "error", "error", "target", ""]


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


# --------------------------------------------------------------------------------------- optimizers

OPTIMIZERS = [
    SGD,
    {**SGD, "weight_decay": 0.1},
    {**SGD, "momentum": 0.9},
    {**SGD, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    RMSPROP,
    {**RMSPROP, "momentum": 0.5, "weight_decay": 0.1},
    ADAM,
    {**ADAM, "weight_decay": 0.1},
    {**ADAMW, "weight_decay": 0.1},
]


def formula(o, w, grads):
    """Final value of one number after a list of gradients, each optimizer written out in floats."""
    v = m = s = 0.0
    for t, g in enumerate(grads, 1):
        if o["name"] == "adamw":
            w = w - o["lr"] * o["weight_decay"] * w
        else:
            g = g + o["weight_decay"] * w
        if o["name"] == "sgd":
            v = o["momentum"] * v + g
            w = w - o["lr"] * (g + o["momentum"] * v if o["nesterov"] else v)
        elif o["name"] == "rmsprop":
            s = o["alpha"] * s + (1 - o["alpha"]) * g**2
            v = o["momentum"] * v + g / (s**0.5 + o["eps"])
            w = w - o["lr"] * v
        else:
            m = o["beta1"] * m + (1 - o["beta1"]) * g
            s = o["beta2"] * s + (1 - o["beta2"]) * g**2
            m_hat, s_hat = m / (1 - o["beta1"] ** t), s / (1 - o["beta2"] ** t)
            w = w - o["lr"] * m_hat / (s_hat**0.5 + o["eps"])
    return w


def trained(optimizer, steps=4, layers=None):
    """A network after some steps, its first parameters, and the gradients each step saw."""
    net = network(layers or [dense(4, "tanh"), dense(3)], optimizer=optimizer)
    first, seen = copy.deepcopy(net.parameters), []
    for step in range(steps):
        data = batch(seed=step)
        seen.append(net.gradients(*data)[1])
        net.train_batch(*data)
    return net, first, seen


def name_of(optimizer):
    extras = ("momentum", "nesterov", "weight_decay")
    return "-".join([optimizer["name"], *(key for key in extras if optimizer.get(key))])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=name_of)
def test_optimizers_follow_their_formulas(optimizer):
    net, first, seen = trained(optimizer)
    for key, start in first.items():
        for i in np.ndindex(start.shape):
            expected = formula(optimizer, start[i], [grads[key][i] for grads in seen])
            assert net.parameters[key][i] == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=name_of)
@pytest.mark.parametrize("clip_norm", [0.0, 0.3])
def test_optimizers_are_those_of_torch(optimizer, clip_norm):
    torch = pytest.importorskip("torch")
    net, first, seen = trained({**optimizer, "clip_norm": clip_norm})
    values = {key: torch.tensor(value, requires_grad=True) for key, value in first.items()}
    options = {k: v for k, v in optimizer.items() if k in ("lr", "alpha", "eps", "weight_decay")}
    if optimizer["name"] in ("adam", "adamw"):
        options["betas"] = optimizer["beta1"], optimizer["beta2"]
    else:
        options |= {k: optimizer[k] for k in ("momentum", "nesterov") if k in optimizer}
    kind = {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}
    steps = getattr(torch.optim, kind[optimizer["name"]])(list(values.values()), **options)
    for grads in seen:
        for key, value in values.items():
            value.grad = torch.tensor(grads[key])
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(list(values.values()), clip_norm)
        steps.step()
    found = {key: value.detach().numpy() for key, value in values.items()}
    assert_same(net.parameters, found, rtol=1e-10, atol=1e-12)


def test_clip_norm_is_global_and_over_trainable_parameters():
    layers = [dense(4, "tanh", trainable=False), dense(4, "tanh"), dense(3)]
    net, first, (grads,) = trained({**SGD, "clip_norm": 0.05}, 1, layers)
    assert "0.weight" not in grads
    norm = math.sqrt(sum((g**2).sum() for g in grads.values()))
    assert norm > 0.05
    for key, grad in grads.items():
        expected = first[key] - 0.1 * grad * 0.05 / (norm + 1e-6)
        np.testing.assert_allclose(net.parameters[key], expected, rtol=1e-12)
    loose, _, _ = trained({**SGD, "clip_norm": 1e3})
    assert_same(loose.parameters, trained(SGD)[0].parameters)


def test_a_gradient_norm_that_is_not_finite_changes_nothing():
    net = network([dense(3)], optimizer={**SGD, "clip_norm": 1.0}, loss="mse")
    x = np.full((2, 5), 1e200)
    x[1] = -x[0]
    net.parameters["0.weight"][...] = 0
    before = net.state()
    with pytest.raises(FloatingPointError, match="gradient norm is not finite"):
        net.train_batch(x, None, np.full((2, 3), [[1e120], [-1e120]]), None)
    assert net.state() == before


@pytest.mark.parametrize("base", [SGD, RMSPROP, ADAM, ADAMW], ids=name_of)
def test_decay_bias_off_leaves_biases_alone(base):
    plain = trained(base, 1)[0]
    decayed = trained({**base, "weight_decay": 0.5}, 1)[0]
    spared = trained({**base, "weight_decay": 0.5, "decay_bias": False}, 1)[0]
    np.testing.assert_array_equal(spared.parameters["0.bias"], plain.parameters["0.bias"])
    np.testing.assert_array_equal(spared.parameters["0.weight"], decayed.parameters["0.weight"])
    assert (decayed.parameters["0.bias"] != plain.parameters["0.bias"]).any()


@pytest.mark.parametrize("base", [SGD, RMSPROP, ADAM, {**ADAMW, "weight_decay": 0.1}], ids=name_of)
def test_lr_scales(base):
    layers = [dense(4, "tanh", lr_scale=0.5, bias_lr_scale=0.25), dense(3)]
    net = trained(base, 1, layers)[0]
    for key, factor in (("0.weight", 0.5), ("0.bias", 0.125), ("1.weight", 1.0)):
        scaled, first, _ = trained({**base, "lr": base["lr"] * factor}, 1)
        assert (scaled.parameters[key] != first[key]).any()
        np.testing.assert_allclose(net.parameters[key], scaled.parameters[key], rtol=1e-14)


def test_slots():
    slots = {name_of(o): trained(o, 1)[0].slots for o in OPTIMIZERS}
    assert slots["sgd"] == {}
    count = {name: len(slots[name]["0.weight"]) for name in slots if slots[name]}
    assert count["sgd-momentum"] == count["rmsprop"] == 1
    assert count["rmsprop-momentum-weight_decay"] == count["adam"] == 2


# ------------------------------------------------------------------------------------- random draws

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([ONES] * 4, (ONES, ONES), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ],
)
def test_philox_known_answers(counter, key, expected):
    words = _ref.philox(np.array(counter, np.uint64), key)
    assert " ".join(f"{word:08x}" for word in words.tolist()) == expected


def test_streams_put_every_word_in_its_place():
    """key = seed low, high; counter = c0, c1, step low, purpose | ordinal | step high."""
    stream = _ref.Stream(0x1122334455667788, 5, 0xABC, 0xDEF0_12345678)
    counter = np.array([3, 4, 0x12345678, 5 << 28 | 0xABC << 16 | 0xDEF0], np.uint64)
    np.testing.assert_array_equal(
        _ref.words(stream, 3, 4), _ref.philox(counter, (0x55667788, 0x11223344))
    )


def test_uniforms_and_normals_from_words():
    stream = _ref.Stream(99, 1, 2)
    a, b, c, d = _ref.words(stream, 1, 0).tolist()
    u2 = ((a >> 5) * 2**26 + (b >> 6)) / 2**53
    u3 = ((c >> 5) * 2**26 + (d >> 6)) / 2**53
    assert _ref.uniforms(stream, 4)[2:].tolist() == [u2, u3]
    r = math.sqrt(-2 * math.log(1 - u2))
    expected = [r * math.cos(2 * math.pi * u3), r * math.sin(2 * math.pi * u3)]
    np.testing.assert_allclose(_ref.normals(stream, 4)[2:], expected, rtol=1e-14)
    for draw in (_ref.uniforms, _ref.normals):
        np.testing.assert_array_equal(draw(stream, 3), draw(stream, 10)[:3])


@pytest.mark.parametrize(
    ("name", "scale", "limit", "std"),
    [
        ("zeros", 1.0, 0.0, 0.0),
        ("uniform", 0.5, 0.5, 0.5 / math.sqrt(3)),
        ("normal", 0.5, math.inf, 0.5),
        ("glorot_uniform", 1.0, math.sqrt(6 / 500), math.sqrt(2 / 500)),
        ("glorot_normal", 2.0, math.inf, 2 * math.sqrt(2 / 500)),
        ("he_uniform", 1.0, math.sqrt(6 / 200), math.sqrt(2 / 200)),
        ("he_normal", 1.0, math.inf, math.sqrt(2 / 200)),
        ("lecun_uniform", 1.0, math.sqrt(3 / 200), math.sqrt(1 / 200)),
        ("lecun_normal", 1.0, math.inf, math.sqrt(1 / 200)),
    ],
)
def test_initialisers(name, scale, limit, std):
    init = {"name": name, "scale": scale}
    w = network([dense(300, weight_init=init)], n_in=200).parameters["0.weight"]
    assert w.shape == (200, 300)
    assert np.abs(w).max() <= limit
    assert abs(w.mean()) <= 5 * std / math.sqrt(w.size)
    assert w.std() == pytest.approx(std, rel=0.01)
    if 0 < limit < math.inf:
        assert np.abs(w).max() > 0.99 * limit


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_feedback_has_one_standard_deviation(scale):
    for distribution in ("uniform", "normal"):
        layers = [dense(400, "tanh"), dense(100)]
        b = network(layers, rule("dfa", "post", distribution, scale)).feedback["0.feedback"]
        assert b.shape == (100, 400)
        assert b.std() == pytest.approx(scale / math.sqrt(3 * 400), rel=0.02)
        if distribution == "uniform":
            assert 0.99 * scale / 20 < np.abs(b).max() <= scale / 20


def test_feedback_values_are_copied_and_scaled():
    values = np.arange(12.0).reshape(3, 4)
    net = network([dense(4, "tanh"), dense(3)], rule("dfa", scale=0.5, values=values))
    np.testing.assert_array_equal(net.feedback["0.feedback"], values / 2)
    assert net.layers[0]["feedback"] == "values 3x4"
    with pytest.raises(ValueError, match=r"feedback: expected shape \(3, 4\), got \(4, 3\)"):
        network([dense(4, "tanh"), dense(3)], rule("dfa", values=values.T))


def test_rules_dtypes_and_dropouts_share_first_weights():
    base = hidden_net().parameters
    for name in RULES:
        assert_same(hidden_net(name).parameters, base, 0, 0)
    narrow = hidden_net("dfa", dtype="float32")
    wide = hidden_net("dfa")
    for key, value in (narrow.parameters | narrow.feedback).items():
        expected = (wide.parameters | wide.feedback)[key].astype(np.float32)
        np.testing.assert_array_equal(value, expected)
    inserted = network([dense(6, "tanh"), dropout(0.1), dense(4, "tanh"), dense(3)]).parameters
    np.testing.assert_array_equal(inserted["2.weight"], base["1.weight"])
    other = hidden_net(seed=1).parameters
    assert all((other[key] != base[key]).any() for key in base)


def test_streams_differ_between_layers_and_purposes():
    layers = [dense(5, "tanh"), dense(5, "tanh"), dense(5)]
    net = network(layers, "dfa")
    draws = [*net.parameters.values(), *net.feedback.values()]
    normalised = [a.ravel()[:5] / a.ravel()[0] for a in draws]
    for i, a in enumerate(normalised):
        for b in normalised[:i]:
            assert not np.allclose(a, b)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_mask(rate):
    stream = _ref.Stream(5, _ref.DROPOUT, 1)
    keep = _ref.keep_mask(stream, 200, 301, rate)
    spread = math.sqrt(rate * (1 - rate) / keep.size)
    assert abs(keep.mean() - (1 - rate)) <= 5 * spread
    np.testing.assert_array_equal(keep[:7, :5], _ref.keep_mask(stream, 7, 5, rate))
    word = int(_ref.words(stream, 2, 3)[1])  # row 3, column 9
    assert keep[3, 9] == (word >= math.floor(rate * 2**32))
    if rate:
        assert (keep != _ref.keep_mask(stream._replace(step=1), 200, 301, rate)).any()


def test_dropout_scales_in_training_and_is_off_in_prediction():
    layers = [dropout(0.5), dense(2000, use_bias=False)]
    net = network(layers, n_in=2000, loss="mse")
    net.parameters["1.weight"][...] = np.eye(2000)
    x = np.ones((3, 2000))
    np.testing.assert_array_equal(net.predict(x), x)
    error = net.deltas(x, None, np.zeros((3, 2000)), None)[0]  # = the output, as the target is 0
    assert set(np.unique(error)) == {0.0, 2.0}
    assert error.mean() == pytest.approx(1, abs=0.1)


def test_shuffle():
    net = hidden_net()
    first, second = net.shuffle(1000), net.shuffle(1000)
    assert first.dtype == np.int64
    assert net.epochs == 2
    for order in (first, second):
        np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert (first != second).sum() > 950
    assert hidden_net().shuffle(1).tolist() == [0]
    net.reset()
    np.testing.assert_array_equal(net.shuffle(1000), first)


def test_shuffle_follows_its_definition():
    seed, order = 2**40 + 7, list(range(10))
    for t in range(10):
        i = 9 - t
        w = _ref.words(_ref.Stream(seed, _ref.SHUFFLE), t // 2, 0).tolist()
        number = w[1] << 32 | w[0] if t % 2 == 0 else w[3] << 32 | w[2]
        j = (number * (i + 1)) // 2**64
        order[i], order[j] = order[j], order[i]
    assert hidden_net().shuffle(10).tolist() == order


# ----------------------------------------------------------------------------------------- protocol


@pytest.mark.parametrize("optimizer", [{**SGD, "momentum": 0.9}, ADAM], ids=name_of)
def test_state_restore_reset(optimizer):
    layers = [dense(6, "tanh"), dropout(0.3), dense(3)]
    net = network(layers, "dfa", optimizer=optimizer)
    views = dict(net.parameters)
    first = net.state()
    net.train_batch(*batch())
    net.shuffle(4)
    net.lr = 0.01
    middle = net.state()
    losses = [net.train_batch(*batch()) for _ in range(3)]
    net.feedback["0.feedback"][...] = 0
    net.restore(middle)
    assert (net.steps, net.epochs, net.lr) == (1, 1, 0.01)
    assert net.state() == middle
    assert [net.train_batch(*batch()) for _ in range(3)] == losses
    net.reset()
    assert net.state() == first
    assert all(net.parameters[key] is view for key, view in views.items())
    with pytest.raises(ValueError, match=r"state: expected \d+ bytes, got 3"):
        net.restore(b"abc")


def test_parameters_are_live():
    net, x = hidden_net(), batch()[0]
    before = net.predict(x)
    net.parameters["0.weight"][...] = 0
    assert (net.predict(x) != before).any()


def test_predict_and_evaluate_softmax():
    net, (x, labels, _, _) = hidden_net(), labelled(m=50)
    z, p = net.predict(x, logits=True), net.predict(x)
    np.testing.assert_allclose(p, np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), rtol=1e-12)
    loss, accuracy = net.evaluate(x, labels, None, None)
    assert loss == pytest.approx(-np.log(p[np.arange(50), labels]).mean())
    assert accuracy == (p.argmax(axis=1) == labels).mean()
    assert loss == pytest.approx(net.train_batch(x, labels, None, None))
    rows = net.evaluate(x, None, np.eye(3)[labels], None)
    assert rows == net.evaluate(x, labels, None, None)


def test_predict_and_evaluate_sigmoid():
    net, (x, labels, _, _) = hidden_net(loss="sigmoid_cross_entropy"), labelled(m=50)
    p, y = net.predict(x), np.eye(3)[labels]
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-net.predict(x, logits=True))), rtol=1e-12)
    loss = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1).mean()
    assert net.evaluate(x, labels, None, None) == pytest.approx(
        (loss, (p.argmax(axis=1) == labels).mean())
    )
    assert net.evaluate(x, None, y, None) == pytest.approx((loss, ((p > 0.5) == y).mean()))
    one = network([dense(1)], loss="sigmoid_cross_entropy")
    right = ((one.predict(x)[:, 0] > 0.5) == labels.clip(max=1)).mean()
    assert one.evaluate(x, labels.clip(max=1), None, None)[1] == right
    column = labels.clip(max=1).astype(float)[:, None]
    assert one.evaluate(x, None, column, None)[1] == right


def test_predict_and_evaluate_mse():
    net, (x, labels, _, _) = hidden_net(loss="mse"), labelled(m=50)
    z, y = net.predict(x), np.eye(3)[labels]
    np.testing.assert_array_equal(z, net.predict(x, logits=True))
    loss, accuracy = net.evaluate(x, labels, None, None)
    assert loss == pytest.approx(((z - y) ** 2).sum(axis=1).mean() / 2)
    assert accuracy == (z.argmax(axis=1) == labels).mean()
    assert np.isnan(net.evaluate(x, None, y, None)[1])


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_large_logits(loss):
    z, y = np.array([[1e4, -1e4, 0.0]]), np.array([[0.0, 1.0, 0.0]])
    value, error = _ref.LOSSES[loss](z, y)
    expected = {
        "softmax_cross_entropy": (2e4, [1, -1, 0]),
        "sigmoid_cross_entropy": (2e4 + math.log(2), [1, -1, 0.5]),
        "mse": ((1e8 + 10001**2) / 2, [1e4, -10001, 0]),
    }
    assert value[0] == pytest.approx(expected[loss][0], rel=1e-12)
    np.testing.assert_allclose(error[0], expected[loss][1], atol=1e-12)


def test_input_scale():
    x = np.random.default_rng(0).integers(0, 256, (7, 5), np.uint8)
    net = hidden_net(dtype="float32")
    np.testing.assert_array_equal(net.predict(x), net.predict(x.astype(np.float32) / 255))
    scaled = hidden_net(dtype="float32", input_scale=0.5)
    np.testing.assert_array_equal(scaled.predict(x), net.predict(x.astype(np.float32) * 0.5))
    half = x.astype(np.float32)
    np.testing.assert_array_equal(scaled.predict(half), net.predict(half * 0.5))


def test_train_steps_is_train_batch_in_a_loop():
    layers = [dense(6, "tanh"), dropout(0.3), dense(3)]
    fit, loop = (network(layers, "fa", optimizer=ADAM) for _ in range(2))
    x, labels, _, _ = labelled(m=23)
    weights, lrs = np.linspace(0, 2, 23), np.array([0.1, 0.2, 0.05])
    order, total, hit = fit.shuffle(23), 0.0, 0.0
    loop.shuffle(23)
    polled = []
    result = fit.train_steps(x, labels, None, weights, order, 10, 0, 3, lrs, polled.append)
    for b in range(3):
        rows = order[10 * b : 10 * b + 10]
        loop.lr = lrs[b]
        hit += _hits_in_training(loop, x[rows], labels[rows])
        total += loop.train_batch(x[rows], labels[rows], None, weights[rows]) * len(rows)
    assert result == (pytest.approx(total), hit, 23, 3)
    assert polled == [1, 2, 3]
    assert fit.lr == ADAM["lr"]  # lrs are those of the call
    fit.lr = loop.lr
    assert fit.state() == loop.state()


def _hits_in_training(net, x, labels):
    """Right answers under this step's masks: e is negative only at the target of a sample."""
    error = net.deltas(x, labels, None, None)[-1]
    p = error + np.eye(3)[labels]
    return float((p.argmax(axis=1) == labels).sum())


def test_train_steps_first_and_poll():
    net, other = hidden_net(), hidden_net()
    x, labels, _, _ = labelled(m=23)
    part = net.train_steps(x, labels, None, None, None, 5, 2, 3)
    assert part[2:] == (13, 3)  # batches 2, 3 and the short 4
    stopped = other.train_steps(x, labels, None, None, None, 5, 2, 3, None, lambda step: True)
    assert stopped[2:] == (5, 1)
    assert (net.steps, other.steps) == (3, 1)


def test_a_loss_that_is_not_finite_changes_nothing():
    net = network([dense(6, "relu"), dropout(0.2), dense(3)], optimizer=ADAM, loss="mse")
    data = batch(loss="mse")
    net.train_batch(*data)
    before = net.state()
    for bad in (np.nan, np.inf):
        x = data[0].copy()
        x[3, 1] = bad
        with pytest.raises(FloatingPointError, match=r"loss is not finite \((nan|inf)\); nothing"):
            net.train_batch(x, *data[1:])
        assert net.state() == before


# ---------------------------------------------------------------------------------------- alignment


def degrees(a, b):
    cosine = (a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum())
    return math.degrees(math.acos(np.clip(cosine, -1, 1)))


@pytest.mark.parametrize("name", ["fa", "dfa", "sdfa", "drtp"])
def test_alignment_compares_with_backprop(name):
    layers = [dense(6, "tanh"), dropout(0.3), dense(4, "tanh"), dense(3)]
    net, exact, data = network(layers, name), network(layers), batch()
    mine, true = net.deltas(*data), exact.deltas(*data)
    g_mine, g_true = net.gradients(*data)[1], exact.gradients(*data)[1]
    w2, w3 = net.parameters["2.weight"], net.parameters["3.weight"]
    path = {0: w2.T if name == "fa" else (w2 @ w3).T, 2: w3.T}
    rows = net.alignment(*data)
    assert [row["layer"] for row in rows] == [0, 2]
    for d_mine, d_true, row in zip(mine[:-1], true[:-1], rows, strict=True):
        index = row["layer"]
        assert row["delta_angle"] == pytest.approx(degrees(d_mine, d_true))
        key = f"{index}.weight"
        assert row["gradient_angle"] == pytest.approx(degrees(g_mine[key], g_true[key]))
        ratio = np.linalg.norm(d_mine) / np.linalg.norm(d_true)
        assert row["norm_ratio"] == pytest.approx(ratio)
        if name == "drtp":
            assert row["weight_angle"] is None
        else:
            expected = degrees(net.feedback[f"{index}.feedback"], path[index])
            assert row["weight_angle"] == pytest.approx(expected)
    assert net.steps == 0


def test_alignment_of_backprop_and_frozen():
    for row in hidden_net().alignment(*batch()):
        assert row["delta_angle"] == pytest.approx(0, abs=1e-5)
        assert (row["norm_ratio"], row["weight_angle"]) == (1.0, 0.0)
    for row in hidden_net("frozen").alignment(*batch()):
        assert row["weight_angle"] is None
        assert np.isnan([row["delta_angle"], row["gradient_angle"], row["norm_ratio"]]).all()


def test_alignment_is_nan_where_a_layer_is_not_taught():
    net = network([dense(6, "tanh", trainable=False), dense(4, "tanh"), dense(3)], "dfa")
    first, second = net.alignment(*batch())
    assert np.isnan([first["delta_angle"], first["gradient_angle"], first["norm_ratio"]]).all()
    assert 0 < first["weight_angle"] < 180
    assert 0 < second["delta_angle"] < 180
    assert net.deltas(*batch())[0] is None


def test_feedback_matrix():
    net = hidden_net()
    matrix = net.feedback_matrix(0)
    np.testing.assert_array_equal(matrix, net.parameters["1.weight"].T)
    for name in ("fa", "dfa", "sdfa", "drtp"):
        net = hidden_net(name)
        matrix = net.feedback_matrix(0)
        np.testing.assert_array_equal(matrix, net.feedback["0.feedback"])
        matrix[...] = 0
        assert net.feedback["0.feedback"].any()
    for net, index in ((hidden_net("frozen"), 0), (hidden_net(), 2), (hidden_net(), 9)):
        with pytest.raises(ValueError, match="index: expected"):
            net.feedback_matrix(index)


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("layers", "changes", "message"),
    [
        ([dense(3), dropout(0.1)], {}, "layers: expected a Dense layer at the end"),
        ([dense(3, rule=rule("dfa"))], {}, "rule of layer 0: expected None"),
        ([dense(3, "tanh")], {}, 'activation of layer 0: expected "linear"'),
        ([dense(3, "sign")], {"loss": "mse"}, "activation of layer 0: expected one with a deriv"),
        ([dense(4, "tanh"), dense(3)], {"name": rule("fa", "pre")}, "inject of layer 0"),
        ([dense(3, weight_init={"values": np.ones((3, 5))})], {}, r"expected shape \(5, 3\)"),
    ],
)
def test_descriptions_without_a_meaning(layers, changes, message):
    with pytest.raises(ValueError, match=message):
        network(layers, **changes)


def test_check():
    net, (x, labels, _, _) = hidden_net(), labelled()
    y, w = np.eye(3)[labels], np.ones(7)
    net.check(x, labels, None, w)
    net.check(x, None, y, None)
    bad = x.copy()
    bad[2, 2] = np.nan
    for data, message in [
        ((x[:, :4], labels, None, None), r"x: expected shape \(m, 5\), got \(7, 4\)"),
        ((x[:0], labels[:0], None, None), "x: expected"),
        ((bad, labels, None, None), "x: expected finite"),
        ((x, labels, y, None), "exactly one"),
        ((x, labels[:6], None, None), "labels: expected shape"),
        ((x, labels + 1, None, None), f"labels: expected 0 to 2, got {labels.min() + 1} to 3"),
        ((x, labels - 3, None, None), "labels: expected 0 to 2, got -"),
        ((x, None, y[:, :2], None), "y: expected shape"),
        ((x, None, y + np.inf, None), "y: expected finite"),
        ((x, None, y - 1, None), "y: expected numbers in 0..1"),
        ((x, None, y / 2, None), "y: expected rows that sum to 1"),
        ((x, labels, None, w[:3]), "weights: expected shape"),
        ((x, labels, None, -w), "weights: expected finite numbers >= 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            net.check(*data)

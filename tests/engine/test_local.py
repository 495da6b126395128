"""Local losses straight from their equations, written out here, and by PyTorch."""

import numpy as np
import pytest
from networks import (
    ADAM,
    ENGINES,
    LOSSES,
    SGD,
    assert_close,
    copies,
    dense,
    description,
    digest,
    dropout,
    pair,
    rule,
    samples,
)

import fastfa as fa
from fastfa import _core

LAYERS = [dense(9, "tanh"), dense(7, "sigmoid"), dense(3)]


def head_error(z, Y, loss):
    t = np.exp(z - z.max(axis=1, keepdims=True))
    p, r = 1 / (1 + np.exp(-z)), z - Y
    return {
        "softmax_cross_entropy": t / t.sum(axis=1, keepdims=True) - Y,
        "sigmoid_cross_entropy": p - Y,
        "mse": r,
        "huber": np.clip(r, -1, 1),
        "mae": np.sign(r),
        "pinball": np.sign(r) / 2,
        "poisson": np.exp(z) - Y,
        "focal": 0.75 * (1 - Y) * p**2 * (2 * (1 - p) * -np.log(1 - p) + p)
        - 0.25 * Y * (1 - p) ** 2 * (2 * p * -np.log(p) + 1 - p),
    }[loss]


@ENGINES
@pytest.mark.parametrize("loss", LOSSES)
def test_local_is_its_equation(loss, which):
    how = rule("local") | {"lr_scale": 0.7}
    net = pair(description(LAYERS, 6, how, loss=loss))[which]
    data = samples(net.description, 30, weights=True)
    x, labels, _, w = data
    Y, W, r = np.eye(3)[labels], copies(net.parameters), w[:, None] / 30
    H1 = np.tanh(x @ W["0.weight"] + W["0.bias"])
    H2 = 1 / (1 + np.exp(-(H1 @ W["1.weight"] + W["1.bias"])))
    e1 = head_error(H1 @ W["0.head.weight"] + W["0.head.bias"], Y, loss)
    e2 = head_error(H2 @ W["1.head.weight"] + W["1.head.bias"], Y, loss)
    d1 = e1 @ W["0.head.weight"].T * (1 - H1**2)
    d2 = e2 @ W["1.head.weight"].T * H2 * (1 - H2)
    want = {
        "0.weight": x.T @ (r * d1), "0.bias": (r * d1).sum(axis=0),
        "1.weight": H1.T @ (r * d2), "1.bias": (r * d2).sum(axis=0),
        "0.head.weight": H1.T @ (r * e1), "0.head.bias": (r * e1).sum(axis=0),
        "1.head.weight": H2.T @ (r * e2), "1.head.bias": (r * e2).sum(axis=0),
    }  # fmt: skip
    got = net.gradients(*data)[1]
    for key, g in want.items():
        assert_close(got[key], g, "float64", what=key)
    net.train_batch(*data)
    for key, g in want.items():
        lr = 0.07 if "head" in key else 0.1
        assert_close(net.parameters[key], W[key] - lr * g, "float64", what=key)
    assert not net.feedback
    np.testing.assert_array_equal(net.feedback_matrix(1), net.parameters["1.head.weight"].T)
    assert [row["source"] for row in net.layers] == ["head", "head", "error"]


@ENGINES
@pytest.mark.parametrize("changes", [
    {"bias": False}, {"square": True}, {"square": True, "blocks": True}, {"blocks": True},
], ids=str)  # fmt: skip
def test_kinds_of_heads_are_their_equations(changes, which):
    """Mono-Forward, goodness with a head that learns, grouped goodness, fixed blocks."""
    how = rule("local", scale=0.5) | {"lr_scale": 0.7} | changes
    net = pair(description(LAYERS, 6, how))[which]
    x, labels, _, w = data = samples(net.description, 30, weights=True)
    Y, W, r = np.eye(3)[labels], copies(net.parameters), w[:, None] / 30
    H1 = np.tanh(x @ W["0.weight"] + W["0.bias"])
    H2 = 1 / (1 + np.exp(-(H1 @ W["1.weight"] + W["1.bias"])))
    slopes = (1 - H1**2, H2 * (1 - H2))
    square, fixed = how["square"], how["blocks"]
    got = net.gradients(*data)[1]
    net.train_batch(*data)
    for i, (below, H, slope) in enumerate(zip((x, H1), (H1, H2), slopes, strict=True)):
        M, c, n = W[f"{i}.head.weight"], W.get(f"{i}.head.bias", 0), H.shape[1]
        assert (f"{i}.head.bias" in W) == (how["bias"] and not fixed)
        if fixed:
            blocks = [[0.5 * (j * 3 // n == k) for k in range(3)] for j in range(n)]
            np.testing.assert_array_equal(M, blocks)
        e = head_error((H * H if square else H) @ M + c, Y, "softmax_cross_entropy")
        d = (e @ M.T) * slope * (2 * H if square else 1)
        assert_close(got[f"{i}.weight"], below.T @ (r * d), "float64")
        g = 0 * M if fixed else (H * H if square else H).T @ (r * e)
        assert_close(net.parameters[f"{i}.head.weight"], M - 0.07 * g, "float64")


def test_heads_of_blocks_need_a_unit_for_each_output_and_no_values():
    narrow = [dense(2, "tanh"), dense(3)]
    how = rule("local") | {"blocks": True}
    with pytest.raises(ValueError, match=r"layer 0: rule 'local': blocks: .* got 2 units"):
        _core.Network(description(narrow, 6, how))
    given = rule("local", values=np.ones((3, 5))) | {"blocks": True}
    with pytest.raises(ValueError, match="layer 0: rule 'local': blocks: expected no values"):
        _core.Network(description([dense(5, "tanh"), dense(3)], 6, given))


def test_the_gradients_are_those_of_the_heads_losses_by_torch():
    torch = pytest.importorskip("torch")
    net = _core.Network(description(LAYERS, 6, "local"))
    data = samples(net.description, 30)
    want = {k: torch.tensor(v.copy(), requires_grad=True) for k, v in net.parameters.items()}
    h, y = torch.tensor(data[0]), torch.tensor(data[1])
    for layer, f in ((0, torch.tanh), (1, torch.sigmoid)):
        h = f(h.detach() @ want[f"{layer}.weight"] + want[f"{layer}.bias"])
        z = h @ want[f"{layer}.head.weight"] + want[f"{layer}.head.bias"]
        torch.nn.functional.cross_entropy(z, y).backward()
    for key, g in net.gradients(*data)[1].items():
        if not key.startswith("2."):
            assert_close(g, want[key].grad.numpy(), "float64", what=key)


def test_a_head_reads_what_the_layer_above_reads():
    """After the dropouts: the gradient of the head of a dropped unit is zero."""
    net = _core.Network(description([dense(40, "tanh"), dropout(0.9), dense(3)], 6, "local"))
    data = samples(net.description, 1)
    g = net.gradients(*data)[1]
    dropped = net.deltas(*data)[0][0] == 0
    assert 20 < dropped.sum() < 40
    assert (g["0.head.weight"][dropped] == 0).all()
    assert (g["0.head.weight"][~dropped] != 0).all()


@ENGINES
@pytest.mark.parametrize("optimizer", [SGD, ADAM, SGD | {"momentum": 0.9, "clip_norm": 0.1}])
def test_fixed_heads_stay(optimizer, which):
    how = rule("local") | {"train_head": False}
    net = pair(description(LAYERS, 6, how, optimizer=optimizer))[which]
    data, before = samples(net.description, 30), copies(net.parameters)
    assert not [key for key in net.gradients(*data)[1] if "head" in key]
    assert not [key for key in net.slots if "head" in key]
    for _ in range(3):
        net.train_batch(*data)
    for key, value in before.items():
        assert np.array_equal(net.parameters[key], value) == ("head" in key), key


def test_the_heads_are_drawn_and_given_as_feedback_is():
    drawn = _core.Network(description(LAYERS, 6, rule("local", distribution="normal", scale=2)))
    dfa = _core.Network(description(LAYERS, 6, rule("dfa", distribution="normal", scale=2)))
    for i in (0, 1):
        np.testing.assert_array_equal(drawn.feedback_matrix(i), dfa.feedback[f"{i}.feedback"])
        assert (drawn.parameters[f"{i}.head.bias"] == 0).all()
    layers = [fa.Dense(7, "tanh"), fa.Dense(5, "tanh"), fa.Dense(3)]
    given = fa.Feedback(lambda n_L, n_l: np.arange(n_L * n_l).reshape(n_L, n_l), scale=0.5)
    net = fa.Sequential(layers, input_shape=4, rule=fa.Local(given, train_head=False))
    np.testing.assert_array_equal(
        net.parameters["0.head.weight"], 0.5 * np.arange(21.0).reshape(3, 7).T
    )
    assert "local" in repr(net)
    assert "head" not in net.feedback
    with pytest.raises(ValueError, match=r"layer 0.*\(3, 7\).*\(7, 3\)"):
        fa.Sequential(layers, input_shape=4, rule=fa.Local(fa.Feedback(np.ones((7, 3)))))


@pytest.mark.parametrize(("options", "message"), [
    ({"feedback": {"distribution": "uniform", "scale": 1.0, "sparsity": 0.5}}, "draws its head"),
    ({"feedback": {"distribution": "orthogonal", "scale": 1.0}}, "draws its head"),
    ({"feedback": {"distribution": "uniform", "scale": np.inf}}, "scale"),
    ({"lr_scale": -1.0}, "lr_scale"),
])  # fmt: skip
def test_bad_settings_name_the_layer(options, message):
    layers = [LAYERS[0], LAYERS[1] | {"rule": rule("local") | options}, LAYERS[2]]
    with pytest.raises(ValueError, match=rf"layer 1: .*{message}"):
        _core.Network(description(layers, 6, "fa"))
    with pytest.raises(ValueError, match=r"lr_scale: expected a finite number > 0, got 0; train"):
        fa.Local(lr_scale=0)


class Mine(fa.Rule):
    def signal(self, ctx):
        return np.zeros((len(ctx.error), ctx.units))


@pytest.mark.parametrize("custom", [False, True])
def test_a_head_that_overflows_updates_nothing(custom):
    """Also with a rule in Python, whose network checks its losses before the deltas."""
    layers = [fa.Dense(5, rule="local"), fa.Dense(4, "tanh", rule=Mine() if custom else "fa")]
    net = fa.Sequential([*layers, fa.Dense(3)], input_shape=4)
    net.parameters["0.head.weight"] = np.full((5, 3), 3e38)
    x, y = 100 * np.ones((8, 4), np.float32), np.zeros(8, int)
    before = copies(net.parameters)
    for call in (net.train_batch, net.gradients):
        with pytest.raises(FloatingPointError, match="not finite"):
            call(x, y)
    for key, value in before.items():
        np.testing.assert_array_equal(net.parameters[key], value)


def test_summary_counts_heads_as_trained_where_they_are():
    layers = [fa.Dense(7, "tanh"), fa.Dense(3)]
    texts = [
        str(fa.Sequential(layers, input_shape=4, rule=fa.Local(train_head=train)).summary())
        for train in (True, False)
    ]
    hidden, heads, output = 4 * 7 + 7, 7 * 3 + 3, 7 * 3 + 3
    assert f"{hidden + heads + output} ({hidden + heads + output} trained)" in texts[0]
    assert f"{hidden + heads + output} ({hidden + output} trained)" in texts[1]


@pytest.mark.parametrize("fixed", [False, True])
def test_a_stream_is_its_steps_whether_the_head_learns_or_not(fixed):
    """With a fixed head an update may wait for the next sample, as only layers train."""
    nets = [
        fa.Sequential(
            [fa.Dense(40, "tanh"), fa.Dense(5)],
            input_shape=20,
            rule=fa.Local(train_head=not fixed),
            optimizer=fa.SGD(0.05),
            rng=1,
        )
        for _ in range(2)
    ]
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 20)).astype(np.float32), rng.integers(0, 5, 60)
    for one, label in zip(x, y, strict=True):
        nets[0].learn_one(one, int(label))
    nets[1].learn_many(x, y)
    assert nets[0].steps == 60
    assert digest(nets[0].parameters) == digest(nets[1].parameters)

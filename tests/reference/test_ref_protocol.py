"""What the oracle does as a backend: state, predict, evaluate, many steps, alignment."""

import math

import numpy as np
import pytest
from networks import ADAM, LOSSES, SGD, dense, dropout
from ref_networks import batch, hidden_net, labelled, name_of, network

from fastfa.backends import reference as _ref


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


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "poisson"])  # exp(1e4)
def test_losses_of_large_logits(loss):
    z, y = np.array([[1e4, -1e4, 0.0]]), np.array([[0.0, 1.0, 0.0]])
    value, error = _ref.LOSSES[loss](z, y)
    expected = {
        "softmax_cross_entropy": (2e4, [1, -1, 0]),
        "sigmoid_cross_entropy": (2e4 + math.log(2), [1, -1, 0.5]),
        "mse": ((1e8 + 10001**2) / 2, [1e4, -10001, 0]),
        "huber": (2e4, [1, -1, 0]),
        "mae": (20001, [1, -1, 0]),
        "pinball": (10000.5, [0.5, -0.5, 0]),
        "focal": (1e4 + 3 / 16 * math.log(2), [0.75, -0.25, 3 / 16 * (math.log(2) + 0.5)]),
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
    there = [hidden_net().has_feedback_matrix(index) for index in (-1, 0, 1, 2, 9)]
    assert there == [False, True, True, False, False]
    assert not hidden_net("frozen").has_feedback_matrix(0)

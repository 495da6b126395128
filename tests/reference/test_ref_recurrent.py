"""The oracle's recurrent layer: against differences, RTRL, traces, and loops written out."""

import numpy as np
import pytest
from networks import dense, description, dropout, recurrent
from ref_networks import assert_same

from fastfa.backends import reference as _ref
from fastfa.backends.reference.recurrent import CARRIED, STREAMS, Traces, rtrl

N_IN, STEPS = 3, 6


def network(layers, name="backprop", **changes):
    return _ref.Network(description(layers, N_IN, name) | changes)


def batch(m=4, steps=STEPS, n_out=2, every=True, seed=0):
    """x, labels, y, weights; some steps without a target."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((m, steps, n_out))
    y[rng.random((m, steps)) < 0.3] = np.nan
    y[:, -1] = rng.standard_normal((m, n_out))
    x = rng.standard_normal((m, steps, N_IN))
    return x, None, y if every else y[:, -1], rng.random(m) + 0.5


def numerical_gradient(net, key, data, step=1e-5):
    value = net.parameters[key]
    slope = np.zeros_like(value)
    for i in np.ndindex(value.shape):
        start, losses = value[i], []
        for shift in (step, -step):
            value[i] = start + shift
            losses.append(net.gradients(*data)[0])
        value[i] = start
        slope[i] = (losses[0] - losses[1]) / (2 * step)
    return slope


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("leak", [1.0, 0.3])
@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus"])
def test_bptt_is_the_gradient(activation, leak, every):
    net = network(
        [dense(4, "tanh"), recurrent(5, activation, leak=leak), dropout(0.2),
         recurrent(4, "tanh", leak=leak), dense(2)], loss="mse",
    )  # fmt: skip
    data = batch(every=every)
    for key, grad in net.gradients(*data)[1].items():
        close = numerical_gradient(net, key, data)
        np.testing.assert_allclose(grad, close, rtol=1e-5, atol=1e-8, err_msg=key)


def test_labels_of_minus_one_and_nan_are_no_targets():
    net = network([recurrent(5, "tanh"), dense(3)])
    x, _, _, weights = batch(m=2)
    labels = np.full((2, STEPS), -1)
    labels[0, 2], labels[1, 4] = 2, 1
    y = np.full((2, STEPS, 3), np.nan)
    y[0, 2], y[1, 4] = np.eye(3)[2], np.eye(3)[1]
    loss, grads = net.gradients(x, labels, None, weights)
    assert_same(grads, net.gradients(x, None, y, weights)[1])
    z = net.predict(x, logits=True)
    losses = [np.log(np.exp(z[i, t]).sum()) - z[i, t, c] for i, t, c in ((0, 2, 2), (1, 4, 1))]
    assert loss == pytest.approx((weights * losses).sum() / 2)


def test_last_step_is_the_same_as_every_step_with_one_target():
    net = network([recurrent(5, "tanh", leak=0.5), dense(2)], loss="mse")
    x, _, y, _ = batch(every=False)
    every = np.full((4, STEPS, 2), np.nan)
    every[:, -1] = y
    assert_same(net.gradients(x, None, y, None)[1], net.gradients(x, None, every, None)[1])


def signals(net, data):
    """The rows of S of the only recurrent layer, weighted, as the rule made them."""
    step = net._compute_step(*data)
    return step.weighted[-1] @ net.parameters["1.weight"].T, step


def test_bptt_is_rtrl():
    net = network([recurrent(5, "tanh", leak=0.4), dense(2)], loss="mse")
    data = batch()
    s, step = signals(net, data)
    s = s.reshape(4, STEPS, 5)
    total = [rtrl(net, net.dense[0], data[0][i], s[i]) for i in range(4)]
    summed = {key: sum(g[key] for g in total) / step.count for key in total[0]}
    grads = net.gradients(*data)[1]
    for key, g in summed.items():
        np.testing.assert_allclose(grads[key].reshape(g.shape), g, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("time", STREAMS)
@pytest.mark.parametrize("leak", [1.0, 0.4])
def test_the_way_back_equals_the_traces(time, leak):
    net = network([recurrent(5, "tanh", leak=leak, time=time), dense(2)], loss="mse")
    data = batch()
    s, step = signals(net, data)
    s = s.reshape(4, STEPS, 1, 5)
    layer, total = net.dense[0], {}
    for i in range(4):
        traces = Traces(layer, net.dtype)
        for t in range(STEPS):
            x = data[0][i, t][None]
            traces.move(net, x, *layer.step(net, x, traces.h))
            for key, g in traces.gradient(s[i, t]).items():
                total[key] = total.get(key, 0) + g / step.count
    grads = net.gradients(*data)[1]
    if time == "frozen":
        assert set(grads) == {"1.weight", "1.bias"}
        return
    for key, g in total.items():
        np.testing.assert_allclose(grads[key].reshape(g.shape), g, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("time", CARRIED)
def test_every_time_written_out(time):
    k, n = 0.4, 4
    net = network([recurrent(n, "tanh", leak=k, time=time), dense(2)], "dfa", loss="mse")
    data = batch(m=2)
    s = net.feedback["0.feedback"]
    w, u, b = (net.parameters[f"0.{part}"] for part in ("weight", "recurrent", "bias"))
    v, c = net.parameters["1.weight"], net.parameters["1.bias"]
    if time in ("fa", "kp"):
        r = net.feedback["0.recurrent_feedback"]
        assert r.shape == (n, n)
        assert abs(r).max() <= n**-0.5
    back = {"bptt": u.T, "sign": np.sign(u.T) / 2, "diagonal": np.diag(np.diag(u))}
    matrix = net.feedback.get("0.recurrent_feedback", back.get(time, np.zeros((n, n))))
    carried = {"none": 0, "broadcast": 1, "frozen": 0}.get(time, 1 - k)
    grads = {"weight": np.zeros_like(w), "recurrent": np.zeros_like(u), "bias": np.zeros_like(b)}
    count = (~np.isnan(data[2][..., 0])).sum()
    for i in range(2):
        h, path = np.zeros(n), []
        for t in range(STEPS):
            f = np.tanh(data[0][i, t] @ w + h @ u + b)
            after = (1 - k) * h + k * f
            path.append((h, f, np.nan_to_num(after @ v + c - data[2][i, t])))
            h = after
        g, later = np.zeros(n), np.zeros(n)
        for t in reversed(range(STEPS)):
            before, f, error = path[t]
            g = error @ s + carried * g + later @ matrix
            later = k * (1 - f * f) * g
            d = later * data[3][i] / count
            grads["weight"] += np.outer(data[0][i, t], d)
            grads["recurrent"] += np.outer(before, d)
            grads["bias"] += d
    got = net.gradients(*data)[1]
    if time == "frozen":
        assert "0.weight" not in got
        return
    for part, g in grads.items():
        np.testing.assert_allclose(got[f"0.{part}"], g, rtol=1e-10, atol=1e-12, err_msg=part)


def test_kp_brings_the_matrix_to_the_weights():
    net = network([recurrent(4, "tanh", time="kp", time_decay=0.05), dense(2)], loss="mse")
    u, r = net.parameters["0.recurrent"], net.feedback["0.recurrent_feedback"]
    before = u - r.T
    for seed in range(5):
        net.train_batch(*batch(seed=seed))
    np.testing.assert_allclose(u - r.T, before * 0.95**5, rtol=1e-10)

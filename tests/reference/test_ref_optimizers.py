"""The oracle's optimizers: formulas written out in floats, and PyTorch's."""

import copy
import math

import numpy as np
import pytest
from networks import ADAM, ADAMW, RMSPROP, SGD, dense, optimizer
from ref_networks import assert_same, batch, name_of, network

from fastfa import _core

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
    {**ADAM, "eps_hat": True, "eps": 0.1, "beta2": 0.9},
    {**RMSPROP, "centered": True, "eps": 1e-3},
    {**RMSPROP, "centered": True, "eps": 1e-3, "momentum": 0.5},
    optimizer("adagrad", weight_decay=0.1),
    optimizer("nadam", weight_decay=0.1),
    optimizer("radam", lr=0.01, beta2=0.8),
    optimizer("lion", weight_decay=0.1),
]

IN_TORCH = [o for o in OPTIMIZERS if o["name"] != "lion" and not o.get("eps_hat")]


def formula(o, w, grads):
    """Final value of one number after a list of gradients, each optimizer written out in floats."""
    v = m = s = 0.0
    for t, g in enumerate(grads, 1):
        if o["name"] in ("adamw", "lion"):
            w = w - o["lr"] * o["weight_decay"] * w
        else:
            g = g + o["weight_decay"] * w
        if o["name"] == "sgd":
            v = o["momentum"] * v + g
            w = w - o["lr"] * (g + o["momentum"] * v if o["nesterov"] else v)
        elif o["name"] == "rmsprop":
            s = o["alpha"] * s + (1 - o["alpha"]) * g**2
            m = o["alpha"] * m + (1 - o["alpha"]) * g
            spread = max(s - m**2, 0) if o["centered"] else s
            v = o["momentum"] * v + g / (spread**0.5 + o["eps"])
            w = w - o["lr"] * v
        elif o["name"] == "adagrad":
            s += g**2
            w = w - o["lr"] * g / (s**0.5 + o["eps"])
        elif o["name"] == "lion":
            w = w - o["lr"] * np.sign(o["beta1"] * m + (1 - o["beta1"]) * g)
            m = o["beta2"] * m + (1 - o["beta2"]) * g
        else:
            m = o["beta1"] * m + (1 - o["beta1"]) * g
            s = o["beta2"] * s + (1 - o["beta2"]) * g**2
            m_hat, s_hat = m / (1 - o["beta1"] ** t), s / (1 - o["beta2"] ** t)
            w = w - o["lr"] * adam_step(o, t, g, m, m_hat, s_hat)
    return w


def adam_step(o, t, g, m, m_hat, s_hat):
    """The step of Adam and its relatives at rate 1, from the means and the unbiased means."""
    if o["name"] == "nadam":
        mu = [o["beta1"] * (1 - 0.96 ** (i * o["momentum_decay"]) / 2) for i in range(1, t + 2)]
        m_hat = (1 - mu[t - 1]) * g / (1 - math.prod(mu[:t])) + mu[t] * m / (1 - math.prod(mu))
    power = o["beta2"] ** t
    if o["name"] != "radam":
        eps = o["eps"] / math.sqrt(1 - power) if o.get("eps_hat") else o["eps"]
        return m_hat / (s_hat**0.5 + eps)
    most = 2 / (1 - o["beta2"]) - 1
    n = most - 2 * t * power / (1 - power)
    if n <= 5:
        return m_hat
    r = math.sqrt((n - 4) * (n - 2) * most / ((most - 4) * (most - 2) * n))
    return r * m_hat / (s_hat**0.5 + o["eps"] / math.sqrt(1 - power))


def trained(optimizer, steps=4, layers=None):
    """A network after some steps, its first parameters, and the gradients each step saw."""
    net = network(layers or [dense(4, "tanh"), dense(3)], optimizer=optimizer)
    first, seen = copy.deepcopy(net.parameters), []
    for step in range(steps):
        data = batch(seed=step)
        seen.append(net.gradients(*data)[1])
        net.train_batch(*data)
    return net, first, seen


def test_every_optimizer_has_a_formula():
    assert {optimizer["name"] for optimizer in OPTIMIZERS} == set(_core.NAMES["optimizer"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=name_of)
def test_optimizers_follow_their_formulas(optimizer):
    net, first, seen = trained(optimizer)
    for key, start in first.items():
        for i in np.ndindex(start.shape):
            expected = formula(optimizer, start[i], [grads[key][i] for grads in seen])
            assert net.parameters[key][i] == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("optimizer", IN_TORCH, ids=name_of)
@pytest.mark.parametrize("clip_norm", [0.0, 0.3])
def test_optimizers_are_those_of_torch(optimizer, clip_norm, torch):
    net, first, seen = trained({**optimizer, "clip_norm": clip_norm})
    values = {key: torch.tensor(value, requires_grad=True) for key, value in first.items()}
    options = {k: v for k, v in optimizer.items() if k in ("lr", "alpha", "eps", "weight_decay")}
    if "beta1" in optimizer:
        options["betas"] = optimizer["beta1"], optimizer["beta2"]
    else:
        more = ("momentum", "nesterov", "centered")
        options |= {k: optimizer[k] for k in more if k in optimizer}
    kind = {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}
    kind |= {"adagrad": "Adagrad", "nadam": "NAdam", "radam": "RAdam"}
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
    plain = trained({**base, "weight_decay": 0.0}, 1)[0]
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
    assert count["rmsprop-momentum-centered"] == 3
    assert count["adagrad-weight_decay"] == count["lion-weight_decay"] == 1
    assert count["sgd-momentum"] == count["rmsprop"] == 1
    assert count["rmsprop-momentum-weight_decay"] == count["adam"] == 2

"""The C optimizers against their formulas, written out here once more, and against PyTorch's."""

import math

import numpy as np
import pytest
from networks import (
    ADAM,
    ADAMW,
    RMSPROP,
    SGD,
    assert_close,
    copies,
    dense,
    description,
    optimizer,
    samples,
)

from fastfa import _core

STEPS = 12

OPTIMIZERS = {
    "sgd": SGD,
    "sgd decay": SGD | {"weight_decay": 0.1},
    "sgd momentum": SGD | {"momentum": 0.9},
    "sgd momentum decay": SGD | {"momentum": 0.5, "weight_decay": 0.1},
    "sgd nesterov": SGD | {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "rmsprop": RMSPROP,
    "rmsprop all": RMSPROP | {"alpha": 0.8, "eps": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    "adam": ADAM,
    "adam all": ADAM | {"beta1": 0.5, "beta2": 0.8, "eps": 0.1, "weight_decay": 0.1},
    "adam eps_hat": ADAM | {"beta2": 0.8, "eps": 0.1, "eps_hat": True},
    "adam without means": ADAM | {"beta1": 0.0, "beta2": 0.0},
    "adamw": ADAMW,
    "adamw all": ADAMW | {"beta1": 0.5, "beta2": 0.8, "eps": 0.1, "weight_decay": 0.3},
    "rmsprop centered": RMSPROP | {"centered": True, "eps": 1e-3},
    "rmsprop centered all": RMSPROP
    | {"centered": True, "alpha": 0.8, "eps": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    "adagrad": optimizer("adagrad"),
    "adagrad all": optimizer("adagrad", lr=0.1, eps=0.1, weight_decay=0.1),
    "nadam": optimizer("nadam"),
    "nadam all": optimizer("nadam", beta1=0.5, beta2=0.8, eps=0.1, momentum_decay=3.0,
                           weight_decay=0.1),
    "radam": optimizer("radam", lr=0.01),
    "radam all": optimizer("radam", beta1=0.5, beta2=0.8, eps=0.1, weight_decay=0.1),
    "lion": optimizer("lion", lr=1e-3),
    "lion all": optimizer("lion", lr=1e-3, beta1=0.5, beta2=0.8, weight_decay=0.3),
}  # fmt: skip
NOT_IN_PYTORCH = ("lion", "lion all", "adam eps_hat")


def sgd(w, g, s, o, lr, decay, t):
    g = g + decay * w
    if o["momentum"]:
        s["v"] = o["momentum"] * s.get("v", 0) + g
        g = g + o["momentum"] * s["v"] if o["nesterov"] else s["v"]
    return w - lr * g


def rmsprop(w, g, s, o, lr, decay, t):
    g = g + decay * w
    square = s["square"] = o["alpha"] * s.get("square", 0) + (1 - o["alpha"]) * g**2
    if o["centered"]:
        s["mean"] = o["alpha"] * s.get("mean", 0) + (1 - o["alpha"]) * g
        square = np.maximum(square - s["mean"] ** 2, 0)
    g = g / (np.sqrt(square) + o["eps"])
    if o["momentum"]:
        g = s["v"] = o["momentum"] * s.get("v", 0) + g
    return w - lr * g


def adam(w, g, s, o, lr, decay, t):
    g = g + decay * w
    s["mean"] = o["beta1"] * s.get("mean", 0) + (1 - o["beta1"]) * g
    s["square"] = o["beta2"] * s.get("square", 0) + (1 - o["beta2"]) * g**2
    mean, bias = s["mean"] / (1 - o["beta1"] ** t), 1 - o["beta2"] ** t
    if o["eps_hat"]:  # the order of scikit-learn and TensorFlow
        return w - lr * mean * math.sqrt(bias) / (np.sqrt(s["square"]) + o["eps"])
    return w - lr * mean / (np.sqrt(s["square"] / bias) + o["eps"])


def adamw(w, g, s, o, lr, decay, t):
    return adam(w * (1 - lr * decay), g, s, o, lr, 0.0, t)


def adagrad(w, g, s, o, lr, decay, t):
    g = g + decay * w
    s["square"] = s.get("square", 0) + g**2
    return w - lr * g / (np.sqrt(s["square"]) + o["eps"])


def nadam(w, g, s, o, lr, decay, t):
    g = g + decay * w
    s["mean"] = o["beta1"] * s.get("mean", 0) + (1 - o["beta1"]) * g
    s["square"] = o["beta2"] * s.get("square", 0) + (1 - o["beta2"]) * g**2
    mu = [o["beta1"] * (1 - 0.5 * 0.96 ** (o["momentum_decay"] * i)) for i in range(1, t + 2)]
    step = (1 - mu[t - 1]) * g / (1 - np.prod(mu[:t])) + mu[t] * s["mean"] / (1 - np.prod(mu))
    return w - lr * step / (np.sqrt(s["square"] / (1 - o["beta2"] ** t)) + o["eps"])


def radam(w, g, s, o, lr, decay, t):
    g = g + decay * w
    s["mean"] = o["beta1"] * s.get("mean", 0) + (1 - o["beta1"]) * g
    s["square"] = o["beta2"] * s.get("square", 0) + (1 - o["beta2"]) * g**2
    mean, bias = s["mean"] / (1 - o["beta1"] ** t), 1 - o["beta2"] ** t
    most = 2 / (1 - o["beta2"]) - 1
    n = most - 2 * t * o["beta2"] ** t / bias
    if n <= 5:
        return w - lr * mean
    r = math.sqrt((n - 4) * (n - 2) * most / ((most - 4) * (most - 2) * n))
    return w - lr * r * mean * math.sqrt(bias) / (np.sqrt(s["square"]) + o["eps"])


def lion(w, g, s, o, lr, decay, t):
    step = np.sign(o["beta1"] * s.get("mean", 0) + (1 - o["beta1"]) * g)
    s["mean"] = o["beta2"] * s.get("mean", 0) + (1 - o["beta2"]) * g
    return w * (1 - lr * decay) - lr * step


FORMULAS = {
    "sgd": sgd,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
    "adagrad": adagrad,
    "nadam": nadam,
    "radam": radam,
    "lion": lion,
}


def network_of(optimizer, dtype="float64", **changes):
    """Odd widths, several tiles, scaled rates, a layer without bias and one that does not train."""
    layers = [
        dense(53, "tanh", lr_scale=0.5, bias_lr_scale=2.0),
        dense(9, "tanh", trainable=False),
        dense(17, "sigmoid", use_bias=False),
        dense(3, lr_scale=2.0),
    ]
    desc = description(layers, 50, "fa", dtype=dtype, optimizer=optimizer, **changes)
    return _core.Network(desc), samples(desc, 20, weights=True)


RATES = {"0.weight": 0.5, "0.bias": 1.0, "2.weight": 1.0, "3.weight": 2.0, "3.bias": 2.0}


def assert_follows(net, data, optimizer, lrs, loose=1.0):
    """Every step is the formula applied to the gradients that the network itself shows."""
    states = {key: {} for key in RATES}
    for t, lr in enumerate(lrs, start=1):
        before, gradients = copies(net.parameters), net.gradients(*data)[1]
        assert gradients.keys() == RATES.keys()
        norm = math.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients.values()))
        clip = min(1.0, optimizer["clip_norm"] / (norm + 1e-6)) if optimizer["clip_norm"] else 1.0
        net.train_batch(*data)
        for key, value in net.parameters.items():
            if key not in RATES:
                np.testing.assert_array_equal(value, before[key])
                continue
            decays = optimizer["decay_bias"] or key.endswith("weight")
            decay = optimizer["weight_decay"] if decays else 0.0
            w, g = before[key].astype(np.float64), gradients[key].astype(np.float64) * clip
            g = g + (optimizer["l1"] if decays else 0.0) * np.sign(w)
            expected = FORMULAS[optimizer["name"]](
                w, g, states[key], optimizer, lr * RATES[key], decay, t
            )
            assert_close(value, expected, net.dtype, loose, f"{key} in step {t}")
            order = ("square", "mean", "v") if optimizer["name"] == "rmsprop" else (
                "v", "mean", "square",
            )  # fmt: skip
            kept = [states[key][k] for k in order if k in states[key]]
            for slot, want in zip(net.slots.get(key, []), kept, strict=True):
                assert_close(slot, want, net.dtype, loose, f"slot of {key} in step {t}")


# -------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("decay_bias", [True, False])
@pytest.mark.parametrize("clip_norm", [0.0, 0.02])
def test_formulas(name, decay_bias, clip_norm, dtype):
    optimizer = OPTIMIZERS[name] | {"decay_bias": decay_bias, "clip_norm": clip_norm}
    net, data = network_of(optimizer, dtype, n_threads=2)
    assert_follows(net, data, optimizer, [optimizer["lr"]] * STEPS)


@pytest.mark.parametrize("name", ["sgd", "sgd decay", "sgd momentum", "adam", "lion all"])
@pytest.mark.parametrize("clip_norm", [0.0, 0.02])
def test_l1_is_added_to_the_clipped_gradient(name, clip_norm, dtype):
    for threads, spares in ((1, False), (3, True)):
        more = {"l1": 0.01, "clip_norm": clip_norm, "decay_bias": not spares}
        optimizer = OPTIMIZERS[name] | more
        net, data = network_of(optimizer, dtype, n_threads=threads)
        net.parameters["2.weight"][:, 3] = 0.0  # sign(0) is 0
        assert_follows(net, data, optimizer, [optimizer["lr"]] * 4)


def test_l1_leaves_bits_to_no_thread_and_applies_to_given_gradients():
    optimizer = ADAM | {"l1": 0.01, "clip_norm": 0.5}
    nets = [network_of(optimizer, "float32", n_threads=n)[0] for n in (1, 2, 5)]
    data = network_of(optimizer, "float32")[1]
    for _ in range(5):
        nets[0].train_batch(*data)
        nets[1].train_batch(*data)
        nets[2].apply_gradients(nets[2].gradients(*data)[1])
    assert nets[0].state() == nets[1].state() == nets[2].state()


@pytest.mark.parametrize("name", ["sgd", "sgd nesterov", "rmsprop all", "adam", "adamw all"])
def test_a_rate_that_changes(name):
    """Momentum keeps gradients, not steps: PyTorch's way, which shows when the rate changes."""
    optimizer = OPTIMIZERS[name]
    net, data = network_of(optimizer)
    other, _ = network_of(optimizer)
    lrs = np.array([0.1, 0.0, 1e-3, 0.05, 0.2])
    x, labels, y, w = data
    many = [None if a is None else np.concatenate([a] * 5) for a in data]
    other.train_steps(*many, None, 20, 0, 5, lrs)

    states = {key: {} for key in RATES}
    for t, lr in enumerate(lrs, start=1):
        before, gradients = copies(net.parameters), net.gradients(x, labels, y, w)[1]
        net.lr = lr
        net.train_batch(x, labels, y, w)
        for key, g in gradients.items():
            expected = FORMULAS[optimizer["name"]](
                before[key],
                g,
                states[key],
                optimizer,
                lr * RATES[key],
                optimizer["weight_decay"],
                t,
            )
            assert_close(net.parameters[key], expected, "float64", what=f"{key} in step {t}")
    for key in RATES:
        np.testing.assert_array_equal(net.parameters[key], other.parameters[key])


def test_slots_are_what_the_formulas_keep():
    counts = {"sgd": 0, "sgd momentum": 1, "rmsprop": 1, "rmsprop all": 2, "adam": 2, "adamw": 2}
    counts |= {"rmsprop centered": 2, "rmsprop centered all": 3, "adagrad": 1, "nadam": 2}
    counts |= {"radam": 2, "lion": 1}
    for name, count in counts.items():
        net, _ = network_of(OPTIMIZERS[name])
        assert set(net.slots) == (set(RATES) if count else set())
        for key, slots in net.slots.items():
            assert [s.shape for s in slots] == [net.parameters[key].shape] * count
            assert not any(s.any() for s in slots)


def test_clipping_takes_the_norm_over_all_that_trains():
    """Gradients of fixed layers do not count, and a norm below the limit changes nothing."""
    free, data = network_of(SGD)
    norm = math.sqrt(sum((g**2).sum() for g in free.gradients(*data)[1].values()))
    start = copies(free.parameters)
    free.train_batch(*data)
    for factor in (0.5, 2.0):
        net, _ = network_of(SGD | {"clip_norm": norm * factor})
        net.train_batch(*data)
        for key in RATES:
            step = (start[key] - free.parameters[key]) * min(1.0, factor)
            np.testing.assert_allclose(net.parameters[key], start[key] - step, rtol=1e-6, atol=1e-8)


def test_a_rate_of_zero_moves_nothing_but_the_means(dtype):
    for name in OPTIMIZERS:
        net, data = network_of(OPTIMIZERS[name] | {"lr": 0.0}, dtype)
        first = copies(net.parameters)
        net.train_batch(*data)
        for key, value in net.parameters.items():
            np.testing.assert_array_equal(value, first[key], err_msg=f"{name} {key}")
        assert net.steps == 1


WRONG = {
    "lr": [{"lr": lr} for lr in (-1.0, math.nan, math.inf)],
    "weight_decay": [{"weight_decay": -0.1}],
    "l1": [{"l1": -0.1}, {"l1": math.inf}],
    "clip_norm": [{"clip_norm": -1.0}, {"clip_norm": math.nan}],
    "momentum": [{"momentum": 1.0}, {"momentum": -0.1}],
    "nesterov": [{"nesterov": True}],
    "beta1": [ADAM | {"beta1": 1.0}],
    "beta2": [ADAMW | {"beta2": -0.5}],
    "eps": [ADAM | {"eps": 0.0}, RMSPROP | {"eps": math.nan}],
    "alpha": [RMSPROP | {"alpha": 1.5}],
    "centered": [RMSPROP | {"centered": 2.0}],
    "momentum_decay": [optimizer("nadam", momentum_decay=-1.0)],
    "sdg": [{"name": "sdg"}],
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_settings_are_refused(what):
    for changes in WRONG[what]:
        with pytest.raises(ValueError, match=rf"optimizer.*{what}"):
            network_of(SGD | changes)


# --------------------------------------------------------------------------------------- PyTorch


def torch_optimizer(torch, o, groups):
    common = {"lr": o["lr"], "weight_decay": o["weight_decay"]}
    if o["name"] == "sgd":
        return torch.optim.SGD(groups, momentum=o["momentum"], nesterov=o["nesterov"], **common)
    if o["name"] == "rmsprop":
        how = {each: o[each] for each in ("alpha", "eps", "momentum", "centered")}
        return torch.optim.RMSprop(groups, **how, **common)
    if o["name"] == "adagrad":
        return torch.optim.Adagrad(groups, eps=o["eps"], **common)
    if o["name"] == "nadam":
        common["momentum_decay"] = o["momentum_decay"]
    kinds = {"adam": "Adam", "adamw": "AdamW", "nadam": "NAdam", "radam": "RAdam"}
    kind = getattr(torch.optim, kinds[o["name"]])
    return kind(groups, betas=(o["beta1"], o["beta2"]), eps=o["eps"], **common)


def test_the_formulas_above_are_all():
    assert FORMULAS.keys() == set(_core.NAMES["optimizer"])


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in NOT_IN_PYTORCH])
@pytest.mark.parametrize("clip_norm", [0.0, 0.02])
def test_pytorch_takes_the_same_steps(name, clip_norm, torch):
    optimizer = OPTIMIZERS[name] | {"clip_norm": clip_norm}
    net, data = network_of(optimizer)
    tensors = {key: torch.tensor(net.parameters[key].copy()) for key in RATES}
    groups = [{"params": [t], "lr": optimizer["lr"] * RATES[key]} for key, t in tensors.items()]
    other = torch_optimizer(torch, optimizer, groups)
    for _ in range(STEPS):
        for key, gradient in net.gradients(*data)[1].items():
            tensors[key].grad = torch.tensor(gradient)
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(list(tensors.values()), clip_norm)
        other.step()
        net.train_batch(*data)
        for key, tensor in tensors.items():
            assert_close(net.parameters[key], tensor.numpy(), "float64", what=key)

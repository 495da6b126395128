"""Layers, activations and losses against PyTorch, where it is installed.

Other comparisons with it: optimizers in `test_optimizers.py`, schedules in `test_schedules.py`.
"""

import numpy as np
import pytest

import fastfa as fa

TOLERANCE = {"float32": 2e-6, "float64": 1e-12}
IMAGES = (  # shape, filters, kernel, strides, padding
    ((8, 8, 3), 16, (3, 3), 1, 0),
    ((9, 7, 1), 33, (2, 3), (2, 1), 1),
    ((5, 6, 17), 8, (5, 2), (3, 2), (2, 1)),
    ((12, 12, 6), 17, (5, 5), 1, 0),
    ((1, 9, 2), 3, (1, 3), 1, 0),
)
# name here -> in PyTorch
ACTIVATIONS = {name: name for name in (
    "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "gelu", "elu", "selu", "silu", "mish",
    "hardtanh", "softsign",
)} | {"hard_sigmoid": "hardsigmoid"}  # fmt: skip
# name -> the loss in PyTorch of logits z and targets y, summed over outputs, averaged over samples
LOSSES = {
    "mse": lambda f, z, y: f.mse_loss(z, y, reduction="sum") / 2,
    "huber": lambda f, z, y: f.huber_loss(z, y, reduction="sum"),
    "mae": lambda f, z, y: f.l1_loss(z, y, reduction="sum"),
    "poisson": lambda f, z, y: f.poisson_nll_loss(z, y, reduction="sum"),
    "sigmoid_cross_entropy": lambda f, z, y: f.binary_cross_entropy_with_logits(
        z, y, reduction="sum"
    ),
}
SMOOTHING = 0.1


def tensors(torch, net):
    """The parameters of a network as leaves, convolutions as PyTorch has them."""
    found = {}
    for key, value in net.parameters.items():
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
        found[key] = torch.tensor(np.ascontiguousarray(value), requires_grad=True)
    return found


def agree(net, leaves, data, loss, dtype):
    """The loss and all gradients."""
    loss.backward()
    found = dict(net.gradients(*data))
    assert net.evaluate(*data)["loss"] == pytest.approx(loss.item(), rel=TOLERANCE[dtype])
    for key, leaf in leaves.items():
        true = leaf.grad.numpy()
        true = true.transpose(2, 3, 1, 0) if true.ndim == 4 else true
        size = max(1.0, np.abs(true).max())
        np.testing.assert_allclose(found[key], true, rtol=0, atol=TOLERANCE[dtype] * size)


@pytest.mark.parametrize("case", IMAGES, ids=str)
def test_convolutions_are_those_of_pytorch(case, dtype, torch, rng):
    shape, filters, kernel, strides, padding = case
    f = torch.nn.functional
    first = fa.Conv2D(
        filters, kernel, "tanh", strides=strides, padding=padding, bias_init="lecun_normal"
    )
    layers = [first, fa.Conv2D(6, (1, 2), "relu"), fa.Flatten(), fa.Dense(4)]
    net = fa.Sequential(layers, input_shape=shape, dtype=dtype, rng=1)
    X, y = rng.normal(size=(13, *shape)).astype(dtype), rng.integers(0, 4, 13)
    p = tensors(torch, net)
    h = f.conv2d(torch.tensor(X).permute(0, 3, 1, 2), p["0.weight"], p["0.bias"], strides, padding)
    h = f.relu(f.conv2d(torch.tanh(h), p["1.weight"], p["1.bias"]))
    z = h.permute(0, 2, 3, 1).reshape(13, -1) @ p["3.weight"] + p["3.bias"]
    np.testing.assert_allclose(
        net.predict(X), torch.softmax(z, 1).detach().numpy(), rtol=0, atol=TOLERANCE[dtype]
    )
    agree(net, p, (X, y), f.cross_entropy(z, torch.tensor(y)), dtype)


POOLS = (  # class, size, strides, padding
    ("Max", 2, None, 0),
    ("Max", (3, 2), (2, 1), 1),
    ("Avg", 2, None, 0),
    ("Avg", (2, 3), (1, 2), (1, 0)),
)


@pytest.mark.parametrize("case", POOLS, ids=str)
def test_pools_are_those_of_pytorch(case, dtype, torch, rng):
    kind, size, strides, padding = case
    f = torch.nn.functional
    pool = getattr(fa, f"{kind}Pool2D")(size, strides, padding)
    layers = [fa.Conv2D(5, 3, "tanh"), pool, fa.Conv2D(4, 2), fa.GlobalAvgPool2D(), fa.Dense(4)]
    net = fa.Sequential(layers, input_shape=(9, 10, 2), dtype=dtype, rng=1)
    X, y = rng.normal(size=(13, 9, 10, 2)).astype(dtype), rng.integers(0, 4, 13)
    p = tensors(torch, net)
    h = f.conv2d(torch.tensor(X).permute(0, 3, 1, 2), p["0.weight"], p["0.bias"])
    if kind == "Max":
        h = f.max_pool2d(torch.tanh(h), size, strides, padding)
    else:
        h = f.avg_pool2d(torch.tanh(h), size, strides, padding, count_include_pad=False)
    h = f.conv2d(h, p["2.weight"], p["2.bias"]).mean((2, 3))
    z = h @ p["4.weight"] + p["4.bias"]
    agree(net, p, (X, y), f.cross_entropy(z, torch.tensor(y)), dtype)


@pytest.mark.parametrize("kind", ["LayerNorm", "RMSNorm", "GroupNorm"])
def test_normalisations_are_those_of_pytorch(kind, dtype, torch, rng):
    f, eps = torch.nn.functional, 1e-3
    norm = fa.GroupNorm(3, eps) if kind == "GroupNorm" else getattr(fa, kind)(eps)
    layers = [fa.Conv2D(6, 3), norm, fa.Activation("tanh"), fa.GlobalAvgPool2D(), fa.Dense(4)]
    net = fa.Sequential(layers, input_shape=(7, 8, 2), dtype=dtype, rng=1)
    X, y = rng.normal(size=(13, 7, 8, 2)).astype(dtype), rng.integers(0, 4, 13)
    net.parameters["1.scale"], net.parameters["1.shift"] = rng.normal(size=(2, 6)).astype(dtype)
    p = tensors(torch, net)
    h = f.conv2d(torch.tensor(X).permute(0, 3, 1, 2), p["0.weight"], p["0.bias"])
    if kind == "GroupNorm":
        h = f.group_norm(h, 3, p["1.scale"], p["1.shift"], eps).permute(0, 2, 3, 1)
    elif kind == "LayerNorm":
        h = f.layer_norm(h.permute(0, 2, 3, 1), (6,), p["1.scale"], p["1.shift"], eps)
    else:
        h = f.rms_norm(h.permute(0, 2, 3, 1), (6,), p["1.scale"], eps) + p["1.shift"]
    z = torch.tanh(h).mean((1, 2)) @ p["4.weight"] + p["4.bias"]
    agree(net, p, (X, y), f.cross_entropy(z, torch.tensor(y)), dtype)


def dense_network(torch, dtype, rng, activation="tanh", loss="mse"):
    net = fa.Sequential(
        [fa.Dense(11, activation), fa.Dense(3)], input_shape=7, loss=loss, dtype=dtype, rng=1
    )
    X, p = 2 * rng.normal(size=(17, 7)).astype(dtype), tensors(torch, net)
    return net, X, p


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_pytorch(name, dtype, torch, rng):
    net, X, p = dense_network(torch, dtype, rng, activation=name)
    y = rng.normal(size=(17, 3)).astype(dtype)
    f, a = torch.nn.functional, torch.tensor(X) @ p["0.weight"] + p["0.bias"]
    h = getattr(f, ACTIVATIONS[name])(a)
    if name == "hard_sigmoid":  # its derivative there is the float32 number 1/6, in float64 too
        np.testing.assert_allclose(h.detach(), f.relu6(a.detach() + 3) / 6, atol=1e-6)
        h = f.relu6(a + 3) / 6
    z = h @ p["1.weight"] + p["1.bias"]
    agree(net, p, (X, y), LOSSES["mse"](f, z, torch.tensor(y)) / 17, dtype)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_pytorch(name, dtype, torch, rng):
    net, X, p = dense_network(torch, dtype, rng, loss=name)
    y = rng.poisson(1.0, (17, 3)) if name == "poisson" else rng.normal(size=(17, 3))
    y = (y > 0 if name == "sigmoid_cross_entropy" else y).astype(dtype)
    z = torch.tanh(torch.tensor(X) @ p["0.weight"] + p["0.bias"]) @ p["1.weight"] + p["1.bias"]
    agree(net, p, (X, y), LOSSES[name](torch.nn.functional, z, torch.tensor(y)) / 17, dtype)


def test_label_smoothing_is_that_of_pytorch(dtype, torch, rng):
    loss = fa.SoftmaxCrossEntropy(smoothing=SMOOTHING)
    net, X, p = dense_network(torch, dtype, rng, loss=loss)
    y = rng.integers(0, 3, 17)
    z = torch.tanh(torch.tensor(X) @ p["0.weight"] + p["0.bias"]) @ p["1.weight"] + p["1.bias"]
    theirs = torch.nn.functional.cross_entropy(z, torch.tensor(y), label_smoothing=SMOOTHING)
    agree(net, p, (X, y), theirs, dtype)

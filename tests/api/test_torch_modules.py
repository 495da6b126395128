"""`to_torch` and `from_torch`: the same values, whichever side has channels first.

With PyTorch where it is installed, and everywhere with a fake of it in NumPy.
"""

import sys

import fake_torch
import numpy as np
import pytest

import fastfa as fa
from fastfa._core import NAMES
from fastfa._internal.torch_layers import ACTIVATIONS

TOLERANCE = {"float32": 3e-6, "float64": 1e-12}
IMAGE = (9, 7, 2)  # height, width, channels: all differ, so that no order is right by chance


@pytest.fixture(params=("fake", "pytorch"))
def torch(request, monkeypatch):
    if request.param == "fake":
        return fake_torch.install(monkeypatch)
    return pytest.importorskip("torch")


def outputs(torch, module, x):
    """What the module computes, in NumPy."""
    if not hasattr(torch, "tensor"):
        return module(x)
    with torch.no_grad():
        return module(torch.tensor(x)).numpy()


def planes(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def randomise(net):
    """Other biases than zero."""
    rng = np.random.default_rng(5)
    for key, value in net.parameters.items():
        net.parameters[key] = rng.normal(size=value.shape) / 3


def image_network(dtype="float32", **window):
    layers = [
        fa.Conv2D(5, (3, 2), "tanh", **window),
        fa.Dropout(0.2),
        fa.Conv2D(3, 2, "relu", use_bias=False, trainable=False),
        fa.Flatten(),
        fa.Dense(7, "leaky_relu", slope=0.2),
        fa.Dropout(0.5),
        fa.Dense(4, "elu", alpha=0.5),
        fa.Dense(3),
    ]
    net = fa.Sequential(layers, input_shape=IMAGE, dtype=dtype, rng=0)
    randomise(net)
    return net


WINDOWS = (
    {"padding": "same"},
    {"padding": "same", "strides": 2},  # an odd zero below and on the right alone
    {"padding": "same", "strides": (3, 1)},
    {"padding": (2, 0), "strides": (1, 2)},
    {"padding": "valid"},
)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_images_go_there_and_back(window, dtype, torch, rng):
    net = image_network(dtype, **window)
    x = rng.normal(size=(6, *IMAGE)).astype(dtype)
    module = net.to_torch()
    logits = net.predict(x, "logits")
    np.testing.assert_allclose(outputs(torch, module, planes(x)), logits, atol=TOLERANCE[dtype])
    back = fa.from_torch(module, input_shape=IMAGE, rng=0)
    assert np.array_equal(back.predict(x, "logits"), logits)
    assert back.dtype == dtype
    kinds = ("activation", "strides", "use_bias", "trainable", "slope", "rate")
    for mine, its in zip(net.layers, back.layers, strict=True):
        assert type(mine) is type(its)
        for name in kinds:
            assert getattr(mine, name, None) == getattr(its, name, None)
    first = fa.from_torch(
        module, input_shape=(2, 9, 7), data_format="channels_first", rule="dfa", loss="mse"
    )
    assert np.array_equal(first.predict(planes(x), "logits"), logits)
    assert (first.rule, first.loss, first.data_format) == (fa.DFA(), "mse", "channels_first")


FOLLOWERS = {
    "max": [fa.MaxPool2D((3, 2), (2, 1), padding=(1, 1))],
    "max, same": [fa.MaxPool2D(3, 1, "same")],
    "avg": [fa.AvgPool2D(2), fa.Activation("tanh")],
    "avg, zeros": [fa.AvgPool2D((3, 4), 2, padding=(1, 2)), fa.Dropout(0.2)],
    "groups": [fa.GroupNorm(2, 1e-3), fa.Activation("elu", alpha=0.3), fa.MaxPool2D(2)],
    "half a group": [fa.GroupNorm(3, scale=False), fa.Activation("relu")],
}
TOPS = {
    "flatten": [fa.Flatten()],
    "rows": [fa.Flatten(), fa.LayerNorm(), fa.Activation("leaky_relu", slope=0.3)],
    "global": [fa.GlobalAvgPool2D(), fa.RMSNorm(1e-3, shift=False), fa.Activation("gelu")],
    "plain": [
        fa.Flatten(),
        fa.LayerNorm(scale=False, shift=False),
        fa.GroupNorm(1, trainable=True),
    ],
}


@pytest.mark.parametrize(("follower", "top"), [
    *((follower, "flatten") for follower in FOLLOWERS), *(("max", top) for top in TOPS),
])  # fmt: skip
def test_pools_activations_and_norms_too(follower, top, dtype, torch, rng):
    tops = TOPS[top]
    middle = [] if top != "plain" else [fa.Dense(6)]
    above = tops[:1] + middle + tops[1:]
    layers = [fa.Conv2D(6, 2), *FOLLOWERS[follower], *above, fa.Dense(3)]
    net = fa.Sequential(layers, input_shape=IMAGE, dtype=dtype, rng=0)
    randomise(net)
    x = rng.normal(size=(6, *IMAGE)).astype(dtype)
    module, logits = net.to_torch(), net.predict(x, "logits")
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(outputs(torch, module, planes(x)), logits, atol=tolerance)
    back = fa.from_torch(module, input_shape=IMAGE)
    np.testing.assert_allclose(back.predict(x, "logits"), logits, atol=tolerance)


def test_an_activation_that_follows_something_else_is_a_layer(torch):
    nn = torch.nn
    module = nn.Sequential(nn.ReLU(), nn.Linear(2, 4), nn.Dropout(), nn.ELU(alpha=2.0))
    net = fa.from_torch(nn.Sequential(module, nn.Linear(4, 2)))
    assert net.layers[0] == fa.Activation("relu")
    assert net.layers[3] == fa.Activation("elu", alpha=2.0)
    assert net.layers[1].activation == "linear"


def test_weights_are_turned(torch):
    net = image_network()
    module = list(net.to_torch())
    conv, linear = module[0], next(each for each in module if type(each) is torch.nn.Linear)
    w = net.parameters["0.weight"]
    assert np.array_equal(conv.weight.detach().numpy(), w.transpose(3, 2, 0, 1))
    w = net.parameters["4.weight"].reshape(6, 5, 3, 7)  # height, width, channels, units
    assert np.array_equal(linear.weight.detach().numpy(), w.transpose(3, 2, 0, 1).reshape(7, -1))


def test_rows_of_numbers_need_no_shape(dtype, torch, rng):
    nn = torch.nn
    options = {"dtype": getattr(torch, dtype)}
    module = nn.Sequential(
        nn.Flatten(),
        nn.Sequential(nn.Linear(12, 5, **options), nn.Tanh(), nn.Identity()),
        nn.Linear(5, 2, bias=False, **options),
    )
    net = fa.from_torch(module, rule="fa", rng=3)
    x = rng.normal(size=(4, 12)).astype(dtype)
    expected = outputs(torch, module, x)
    np.testing.assert_allclose(net.predict(x, "logits"), expected, atol=TOLERANCE[dtype])
    assert fa.from_torch(module, dtype="float64").dtype == "float64"
    net.fit(x, [0, 1, 0, 1], epochs=1)
    net.reset()  # back to the module
    np.testing.assert_allclose(net.predict(x, "logits"), expected, atol=TOLERANCE[dtype])


def test_an_image_that_is_flattened_at_once_is_turned_too(torch, rng):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(126, 3))
    x = rng.normal(size=(4, *IMAGE)).astype("f4")
    expected = outputs(torch, module, planes(x))
    net = fa.from_torch(module, input_shape=IMAGE, dtype="float32")
    np.testing.assert_allclose(net.predict(x, "logits"), expected, atol=1e-5)


def test_both_directions_know_every_activation(torch):
    names = {*ACTIVATIONS}
    assert names | {"linear", "sign", "threshold"} == {*NAMES["activation"]}
    for name in names:
        layers = [fa.Dense(4, name), fa.Dense(2)]
        net = fa.Sequential(layers, input_shape=3, rng=0)
        assert fa.from_torch(net.to_torch()).layers[0].activation == name


def wrapped(nn):
    class Own(nn.Sequential):
        def forward(self, x):
            return x

    return Own(nn.Linear(2, 2))


def hooked(nn):
    module = nn.Linear(2, 2)
    module._forward_pre_hooks[0] = print
    return nn.Sequential(module)


BAD_MODULES = {
    "a function": (lambda nn: print, "module: expected a torch.nn.Sequential, got print"),
    "its own forward": (wrapped, "module: expected a torch.nn.Sequential whose forward is its own"),
    "a hook": (
        hooked,
        r"module\[0\]: expected a module without forward hooks, got Linear; weight_",
    ),
    "softmax": (
        lambda nn: nn.Sequential(nn.Linear(2, 2), nn.Softmax()),
        r"module\[1\]: type: expected one of Linear, .*, got Softmax; losses take logits",
    ),
    "another option": (
        lambda nn: nn.Sequential(nn.Linear(2, 2), nn.GELU(approximate="tanh"), nn.Linear(2, 2)),
        r"module\[1\]: approximate: expected 'none', got 'tanh'",
    ),
    "zeros before nothing": (
        lambda nn: nn.Sequential(nn.Linear(2, 2), nn.ZeroPad2d((1, 1, 1, 1))),
        "module: expected a Conv2d behind a ZeroPad2d, got none",
    ),
    "zeros before a row": (
        lambda nn: nn.Sequential(nn.ZeroPad2d((1, 1, 1, 1)), nn.Linear(2, 2)),
        r"module\[1\]: type: expected a Conv2d behind a ZeroPad2d, got Linear",
    ),
    "other rows": (
        lambda nn: nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 2)),
        r"module\[1\]: input: expected rows of 2 numbers, got rows of 3",
    ),
    "part of a flatten": (
        lambda nn: nn.Sequential(nn.Flatten(2), nn.Linear(2, 2)),
        r"module\[0\]: Flatten: expected Flatten\(1, -1\), .*, got Flatten\(2, -1\)",
    ),
    "half of a window": (
        lambda nn: nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.Linear(2, 2)),
        r"module\[0\]: ceil_mode: expected False, got True",
    ),
    "dilated": (
        lambda nn: nn.Sequential(nn.MaxPool2d(2, dilation=2), nn.Linear(2, 2)),
        r"module\[0\]: dilation: expected 1, got 2",
    ),
    "zeros that count": (
        lambda nn: nn.Sequential(nn.AvgPool2d(3, padding=1), nn.Linear(2, 2)),
        r"module\[0\]: count_include_pad: expected False, got True",
    ),
    "a map": (
        lambda nn: nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Linear(2, 2)),
        r"module\[0\]: output_size: expected 1, got 2",
    ),
    "another row": (
        lambda nn: nn.Sequential(nn.LayerNorm(3), nn.Linear(2, 2)),
        r"module\[0\]: input: expected a row of \(3,\) numbers, got a sample of shape \(2,\)",
    ),
    "no shape": (
        lambda nn: nn.Sequential(nn.Conv2d(2, 3, (2, 2)), nn.Flatten(), nn.Linear(3, 2)),
        r"input_shape: expected \(height, width, channels\) for images, got None",
    ),
    "nothing": (lambda nn: nn.Sequential(), "input_shape: expected .*, got None"),
}


@pytest.mark.parametrize("name", BAD_MODULES)
def test_what_has_no_layer_here_is_named(name, torch):
    make, words = BAD_MODULES[name]
    with pytest.raises((TypeError, ValueError), match=words):
        fa.from_torch(make(torch.nn))


BAD_CONVOLUTIONS = {
    "groups": ({"groups": 2}, "groups: expected 1, got 2"),
    "dilation": ({"dilation": (2, 1)}, r"dilation: expected \(1, 1\), got \(2, 1\)"),
    "mode": ({"padding_mode": "circular"}, "padding_mode: expected 'zeros', got 'circular'"),
}


@pytest.mark.parametrize("name", BAD_CONVOLUTIONS)
def test_convolutions_that_are_not_there_are_refused(name, torch):
    options, words = BAD_CONVOLUTIONS[name]
    conv = torch.nn.Conv2d(2, 4, (2, 2), **options)
    module = torch.nn.Sequential(conv, torch.nn.Flatten(), torch.nn.Linear(4, 2))
    with pytest.raises(ValueError, match=rf"module\[0\]: {words}"):
        fa.from_torch(module, input_shape=IMAGE)


def test_channels_are_where_they_are_declared(torch):
    module = image_network().to_torch()
    with pytest.raises(ValueError, match=r"module\[0\]: input: expected 2 channels, got .*\(2, 9"):
        fa.from_torch(module, input_shape=(2, 9, 7))
    with pytest.raises(ValueError, match="input: expected 2 channels"):
        fa.from_torch(module, input_shape=IMAGE, data_format="channels_first")


def test_zeros_must_be_those_of_a_padding(torch):
    nn = torch.nn

    def network(zeros, **conv):
        layers = [nn.ZeroPad2d(zeros), nn.Conv2d(2, 3, (3, 3), **conv), nn.Flatten()]
        return fa.from_torch(nn.Sequential(*layers, nn.Linear(3, 2)), input_shape=IMAGE)

    with pytest.raises(ValueError, match=r"module\[1\]: ZeroPad2d before a Conv2d: expected"):
        network((1, 0, 0, 0))
    with pytest.raises(ValueError, match=r"got \(1, 1, 1, 1\)"):
        network((1, 1, 1, 1), padding=(1, 1))
    module = nn.Sequential(nn.ZeroPad2d((1, 1, 2, 2)), nn.Conv2d(2, 3, (3, 3)), nn.Flatten())
    module = nn.Sequential(module, nn.Linear(3 * 11 * 7, 2))
    assert fa.from_torch(module, input_shape=IMAGE).layers[0].padding == (2, 1)


def test_what_pytorch_does_not_have_is_refused(torch):
    for layers, words in (
        ([fa.Recurrent(3), fa.Dense(2)], "layer 0: type: expected one of .*, got Recurrent"),
        ([fa.Dense(3), fa.RMSNorm(), fa.Dense(2)], "layer 1: shift of RMSNorm: expected False"),
        ([fa.Dense(3, "sign", rule="frozen"), fa.Dense(2)], "layer 0: activation: expected"),
    ):
        net = fa.Sequential(layers, input_shape=3)
        with pytest.raises(ValueError, match=words):
            net.to_torch()
    for layer, words in (
        (fa.LayerNorm(), "layer 1: LayerNorm: expected rows, got images"),
        (fa.MaxPool2D(2, 1, "same"), "layer 1: padding: expected .* same on both sides .*'same'"),
        (fa.MaxPool2D(2, padding=(1, 1)), None),
        (fa.AvgPool2D(3, padding=2), "layer 1: padding: expected .* at most half of the window"),
    ):
        layers = [fa.Conv2D(3, 2), layer, fa.Flatten(), fa.Dense(2)]
        net = fa.Sequential(layers, input_shape=IMAGE)
        if words is None:
            net.to_torch()
            continue
        with pytest.raises(ValueError, match=words):
            net.to_torch()
    layers = [fa.Conv2D(3, 2), fa.Flatten(), fa.GroupNorm(2), fa.Dense(2)]
    with pytest.raises(ValueError, match="layer 2: GroupNorm: expected not behind Flatten"):
        fa.Sequential(layers, input_shape=IMAGE).to_torch()
    nn = torch.nn
    module = nn.Sequential(nn.Flatten(), nn.GroupNorm(2, 126), nn.Linear(126, 2))
    with pytest.raises(ValueError, match=r"module\[1\]: GroupNorm: expected not behind Flatten"):
        fa.from_torch(module, input_shape=IMAGE)
    net = image_network()
    net.parameters["0.weight"][0] = np.nan
    with pytest.raises(FloatingPointError, match=r"0\.weight: expected finite values"):
        net.to_torch()


def test_both_say_that_they_need_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="to_torch needs the package torch"):
        image_network().to_torch()
    with pytest.raises(ImportError, match="from_torch needs the package torch"):
        fa.from_torch(None)


def test_half_precision_becomes_float32():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(3, 2)).to(torch.bfloat16)
    net = fa.from_torch(module)
    assert net.dtype == "float32"
    expected = module[0].weight.detach().float().numpy().T
    assert np.array_equal(net.parameters["0.weight"], expected)

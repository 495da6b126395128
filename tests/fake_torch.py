"""As much of PyTorch as `to_torch` and `from_torch` use, in NumPy with plain loops.

So that what they do is tested where PyTorch is not installed. `test_torch_modules.py` runs the same
tests with PyTorch itself where it is.
"""

import contextlib
import sys
import types

import numpy as np


class DType:
    def __init__(self, name):
        self.name = name

    def __str__(self):
        return f"torch.{self.name}"


class Parameter:
    def __init__(self, values):
        self.values, self.requires_grad = values, True
        self.dtype = DType(values.dtype.name)

    def detach(self):
        return self

    cpu = detach

    def float(self):
        return Parameter(self.values.astype("f4"))

    def numpy(self):
        return self.values

    def copy_(self, other):
        assert self.values.shape == other.values.shape
        self.values[:] = other.values

    def requires_grad_(self, flag):
        self.requires_grad = flag


class Module:
    def __init__(self):
        self._forward_hooks, self._forward_pre_hooks = {}, {}

    def __call__(self, x):
        return self.forward(x)

    def eval(self):
        return self

    def parameters(self):
        for each in vars(self).values():
            if isinstance(each, Parameter):
                yield each


class Sequential(Module):
    def __init__(self, *modules):
        super().__init__()
        self.modules = modules

    def __iter__(self):
        return iter(self.modules)

    def forward(self, x):
        for module in self:
            x = module(x)
        return x

    def parameters(self):
        for module in self:
            yield from module.parameters()


def drawn(shape, dtype):
    values = np.random.default_rng(sum(shape)).normal(size=shape)
    return Parameter(values.astype("f4" if dtype is None else dtype.name))


class Linear(Module):
    def __init__(self, in_features, out_features, bias=True, dtype=None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = drawn((out_features, in_features), dtype)
        self.bias = drawn((out_features,), dtype) if bias else None

    def forward(self, x):
        return x @ self.weight.values.T + (0 if self.bias is None else self.bias.values)


class Conv2d(Module):
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=(1, 1), padding=(0, 0),
        dilation=(1, 1), groups=1, bias=True, padding_mode="zeros", dtype=None,
    ):  # fmt: skip
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = kernel_size, stride, dilation
        self.padding, self.padding_mode = padding, padding_mode
        self.weight = drawn((out_channels, in_channels, *kernel_size), dtype)
        self.bias = drawn((out_channels,), dtype) if bias else None

    def forward(self, x):
        rows, columns = self.padding
        x = np.pad(x, ((0, 0), (0, 0), (rows, rows), (columns, columns)))
        kh, kw = self.kernel_size
        height = (x.shape[2] - kh) // self.stride[0] + 1
        width = (x.shape[3] - kw) // self.stride[1] + 1
        out = np.empty((len(x), self.out_channels, height, width), x.dtype)
        for i in range(height):
            for j in range(width):
                top, left = i * self.stride[0], j * self.stride[1]
                patch = x[:, None, :, top : top + kh, left : left + kw]
                out[:, :, i, j] = (patch * self.weight.values).sum(axis=(2, 3, 4))
        return out if self.bias is None else out + self.bias.values[:, None, None]


class ZeroPad2d(Module):
    def __init__(self, padding):
        super().__init__()
        self.padding = padding

    def forward(self, x):
        left, right, top, bottom = self.padding
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))


class Flatten(Module):
    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return x.reshape(len(x), -1)


class Dropout(Module):
    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def forward(self, x):
        return x


class Identity(Module):
    def forward(self, x):
        return x


def elementwise(name, function, **options):
    """A module without parameters; `function(x, module)`."""

    def init(self, **given):
        Module.__init__(self)
        vars(self).update({**options, **given})

    body = {"__init__": init, "forward": lambda self, x: function(x, self)}
    return type(name, (Module,), body)


MODULES = (
    elementwise("ReLU", lambda x, _: np.maximum(x, 0)),
    elementwise(
        "LeakyReLU", lambda x, m: np.where(x < 0, m.negative_slope * x, x), negative_slope=0.01
    ),
    elementwise("Tanh", lambda x, _: np.tanh(x)),
    elementwise("ELU", lambda x, m: np.where(x < 0, m.alpha * np.expm1(x), x), alpha=1.0),
    elementwise("Softplus", lambda x, _: np.log1p(np.exp(x)), beta=1.0, threshold=20.0),
    elementwise("Hardtanh", lambda x, _: np.clip(x, -1, 1), min_val=-1.0, max_val=1.0),
    elementwise("GELU", None, approximate="none"),
    *(
        elementwise(name, None)
        for name in ("Sigmoid", "SELU", "SiLU", "Mish", "Hardsigmoid", "Softsign", "Softmax")
    ),
    *(Module, Sequential, Linear, Conv2d, ZeroPad2d, Flatten, Dropout, Identity),
)


def install(monkeypatch):
    """Put the fake in the place of PyTorch; the module."""
    torch = types.ModuleType("torch")
    torch.nn = types.SimpleNamespace(**{each.__name__: each for each in MODULES})
    torch.float32, torch.float64 = DType("float32"), DType("float64")
    torch.no_grad, torch.from_numpy = contextlib.nullcontext, Parameter
    monkeypatch.setitem(sys.modules, "torch", torch)
    return torch

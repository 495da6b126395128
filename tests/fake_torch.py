"""As much of PyTorch as `to_torch` and `from_torch` use, in NumPy with plain loops.

So that what they do is tested where PyTorch is not installed. `test_torch_modules.py` runs the same
tests with PyTorch itself where it is.
"""

import contextlib
import math
import sys
import types

import numpy as np

erf = np.vectorize(math.erf, otypes=["d"])


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


def both(value):
    return value if isinstance(value, tuple) else (value, value)


class Pool(Module):
    """A window at a time, of the places that are in the image."""

    def __init__(self, kernel_size, stride=None, padding=0, **options):
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride
        vars(self).update({**self.defaults, **options})

    def forward(self, x):
        (kh, kw), (sh, sw), (ph, pw) = map(both, (self.kernel_size, self.stride, self.padding))
        height = (x.shape[2] + 2 * ph - kh) // sh + 1
        width = (x.shape[3] + 2 * pw - kw) // sw + 1
        out = np.empty((*x.shape[:2], height, width), x.dtype)
        for i in range(height):
            for j in range(width):
                top, left = i * sh - ph, j * sw - pw
                inside = x[:, :, max(top, 0) : top + kh, max(left, 0) : left + kw]
                out[:, :, i, j] = self.pooled(inside)
        return out


class MaxPool2d(Pool):
    defaults = types.MappingProxyType({"dilation": 1, "ceil_mode": False, "return_indices": False})

    def pooled(self, windows):
        return windows.max(axis=(2, 3))


class AvgPool2d(Pool):
    defaults = types.MappingProxyType(
        {"ceil_mode": False, "count_include_pad": True, "divisor_override": None}
    )

    def pooled(self, windows):
        assert both(self.padding) == (0, 0) or not self.count_include_pad
        return windows.mean(axis=(2, 3))


class AdaptiveAvgPool2d(Module):
    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, x):
        return x.mean(axis=(2, 3), keepdims=True)


class Norm(Module):
    def set(self, n, eps, affine, bias, dtype):
        self.eps = eps
        kind = "f4" if dtype is None else dtype.name
        self.weight = Parameter(np.ones(n, kind)) if affine else None
        self.bias = Parameter(np.zeros(n, kind)) if affine and bias else None

    def scaled(self, u):
        shape = (-1, *[1] * (u.ndim - 2))
        u = u if self.weight is None else u * self.weight.values.reshape(shape)
        return u if self.bias is None else u + self.bias.values.reshape(shape)


class LayerNorm(Norm):
    def __init__(self, n, eps=1e-5, elementwise_affine=True, bias=True, dtype=None):
        super().__init__()
        self.normalized_shape = (n,)
        self.set(n, eps, elementwise_affine, bias, dtype)

    def forward(self, x):
        centred = x - x.mean(axis=1, keepdims=True)
        return self.scaled(centred / np.sqrt(x.var(axis=1, keepdims=True) + self.eps))


class RMSNorm(Norm):
    def __init__(self, n, eps=None, elementwise_affine=True, dtype=None):
        super().__init__()
        self.normalized_shape = (n,)
        self.set(n, eps, elementwise_affine, False, dtype)

    def forward(self, x):
        return self.scaled(x / np.sqrt((x**2).mean(axis=1, keepdims=True) + self.eps))


class GroupNorm(Norm):
    def __init__(self, num_groups, n, eps=1e-5, affine=True, dtype=None):
        super().__init__()
        self.num_groups = num_groups
        self.set(n, eps, affine, True, dtype)

    def forward(self, x):
        parts = x.reshape(len(x), self.num_groups, -1)
        parts = parts - parts.mean(axis=2, keepdims=True)
        u = parts / np.sqrt((parts**2).mean(axis=2, keepdims=True) + self.eps)
        return self.scaled(u.reshape(x.shape))


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
    elementwise("GELU", lambda x, _: x * (1 + erf(x / np.sqrt(2))) / 2, approximate="none"),
    *(
        elementwise(name, None)
        for name in ("Sigmoid", "SELU", "SiLU", "Mish", "Hardsigmoid", "Softsign", "Softmax")
    ),
    *(Module, Sequential, Linear, Conv2d, ZeroPad2d, Flatten, Dropout, Identity),
    *(MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, LayerNorm, RMSNorm, GroupNorm),
)


def install(monkeypatch):
    """Put the fake in the place of PyTorch; the module."""
    torch = types.ModuleType("torch")
    torch.nn = types.SimpleNamespace(**{each.__name__: each for each in MODULES})
    torch.float32, torch.float64 = DType("float32"), DType("float64")
    torch.no_grad, torch.from_numpy = contextlib.nullcontext, Parameter
    monkeypatch.setitem(sys.modules, "torch", torch)
    return torch

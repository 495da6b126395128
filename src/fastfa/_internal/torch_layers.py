"""Layers here and modules of PyTorch: one row for each pair, read in both directions.

Images have channels last here and first in PyTorch, so weights of convolutions are turned, and so
is the order of the rows of the first `Dense` behind a `Flatten`: there a row is (channels, height,
width), here (height, width, channels). `Shapes` carries both through a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..layers import (
    Activation,
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPool2D,
    RMSNorm,
    WeightedLayer,
)
from ..layers.weighted import OPTION_OF
from ..layers.windows import pair
from .checks import mismatch, show

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "REFUSED", "ROWS", "Parameters", "Row", "Shapes", "activation_modules"]

# name of an activation here -> the class in torch.nn, and the name of its option there
ACTIVATIONS = {
    "relu": ("ReLU", ""),
    "leaky_relu": ("LeakyReLU", "negative_slope"),
    "tanh": ("Tanh", ""),
    "sigmoid": ("Sigmoid", ""),
    "softplus": ("Softplus", ""),
    "gelu": ("GELU", ""),
    "elu": ("ELU", "alpha"),
    "selu": ("SELU", ""),
    "silu": ("SiLU", ""),
    "mish": ("Mish", ""),
    "hardtanh": ("Hardtanh", ""),
    "hard_sigmoid": ("Hardsigmoid", ""),
    "softsign": ("Softsign", ""),
}
DEFAULTS: dict[
    str, dict[str, Any]
] = {  # other options of these modules, and the only values that there are here
    "Softplus": {"beta": 1.0, "threshold": 20.0},
    "GELU": {"approximate": "none"},
    "Hardtanh": {"min_val": -1.0, "max_val": 1.0},
}
_LOGITS = "losses take logits, and predict returns probabilities: leave it out"
REFUSED = {  # why a module has no layer here
    "Softmax": _LOGITS,
    "LogSoftmax": _LOGITS,
    "RNN": "it returns its last state besides: make a fa.Recurrent",
    "LSTM": "there are no gates here: see fa.Recurrent",
    "GRU": "there are no gates here: see fa.Recurrent",
    "ConvTranspose2d": "convolutions are not transposed here",
    "Conv1d": "images have a height and a width here: see fa.Conv2D",
    "Conv3d": "images have a height and a width here: see fa.Conv2D",
}


IN_ROWS = "its groups would be others, because channels are last here"


class Parameters(NamedTuple):
    """The values of a layer, as they are here; of a normalisation its scale and shift."""

    weight: NDArray[Any] | None
    bias: NDArray[Any] | None


class Shapes:
    """The shape of what goes from layer to layer.

    Attributes
    ----------
    now : tuple of int
        As it is here: (n,) or (height, width, channels).
    flattened : tuple of int or None
        The (height, width, channels) of an image that lies in a row, in another order in PyTorch.
    """

    def __init__(self, given: tuple[int, ...]) -> None:
        self.now = given
        self.flattened: tuple[int, ...] | None = None

    def pass_on(self, layer: Layer) -> None:
        """Go through a layer; one that does not fit is left to `Sequential`, which refuses it."""
        before, self.now = self.now, layer.output_shape(self.now) or ()
        if len(self.now) != 1 or isinstance(layer, WeightedLayer):
            self.flattened = None
        elif isinstance(layer, Flatten) and len(before) == 3:
            self.flattened = before

    def to_torch(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Values, one for each number of a sample along the first axis, in PyTorch's order."""
        if self.flattened is None:
            return rows
        image = rows.reshape(*self.flattened, *rows.shape[1:])
        return np.moveaxis(image, 2, 0).reshape(rows.shape)

    def from_torch(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The way back."""
        if self.flattened is None or len(rows) != math.prod(self.flattened):
            return rows
        height, width, channels = self.flattened
        image = rows.reshape(channels, height, width, *rows.shape[1:])
        return np.moveaxis(image, 0, 2).reshape(rows.shape)


class Row(NamedTuple):
    """A layer here and its module there.

    Attributes
    ----------
    layer : type
    module : str
        The name of the class in torch.nn.
    write : callable
        ``write(torch, layer, shapes, parameters, options)``: the modules; `options` are dtype and
        the like for those that have parameters.
    read : callable
        ``read(module, shapes)``: the layer, with the values of the module.
    """

    layer: type[Layer]
    module: str
    write: Callable[[Any, Any, Shapes, Parameters | None, dict[str, Any]], list[Any]]
    read: Callable[[Any, Shapes], Layer]


# ---- from here to PyTorch ----


def activation_modules(nn: Any, layer: WeightedLayer | Activation) -> list[Any]:
    """The module of a layer's activation; none for a linear one."""
    name = layer.name if isinstance(layer, Activation) else layer.activation
    if name == "linear":
        return []
    if name not in ACTIVATIONS:
        expected = "an activation that PyTorch has as a module"
        raise ValueError(mismatch("activation", expected, f'"{name}"'))
    module, option = ACTIVATIONS[name]
    return [getattr(nn, module)(**({option: getattr(layer, OPTION_OF[name])} if option else {}))]


def filled(torch: Any, module: Any, trains: bool, values: Parameters) -> Any:
    """The module with the values of a layer, which are in PyTorch's order; others do not train."""
    with torch.no_grad():
        for parameter, array in ((module.weight, values.weight), (module.bias, values.bias)):
            if array is not None:
                parameter.copy_(torch.from_numpy(np.array(array, order="C")))
            if parameter is not None:
                parameter.requires_grad_(trains and array is not None)
    return module


def _write_dense(
    torch: Any, layer: Dense, shapes: Shapes, values: Parameters | None, options: dict[str, Any]
) -> list[Any]:
    assert values is not None
    assert values.weight is not None
    n_in, n_out = values.weight.shape
    module = torch.nn.Linear(n_in, n_out, bias=layer.use_bias, **options)
    weight = shapes.to_torch(values.weight).T
    return [filled(torch, module, layer.trainable, values._replace(weight=weight))]


def _write_conv(
    torch: Any, layer: Conv2D, shapes: Shapes, values: Parameters | None, options: dict[str, Any]
) -> list[Any]:
    assert values is not None
    assert values.weight is not None
    size, strides = pair("kernel_size", layer.kernel_size), pair("strides", layer.strides)
    ahead, padding = padding_modules(torch.nn, layer.padding, shapes.now, size, strides)
    module = torch.nn.Conv2d(
        shapes.now[-1], layer.filters, size, strides, padding, bias=layer.use_bias, **options
    )
    weight = values.weight.transpose(3, 2, 0, 1)
    values = values._replace(weight=weight)
    return [*ahead, filled(torch, module, layer.trainable, values)]


def same_padding(
    image: Sequence[int], size: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros above and below, left and right, of "same": an odd one at the end."""
    found = []
    for n, k, s in zip(image, size, strides, strict=False):
        zeros = max(0, (-(-n // s) - 1) * s + k - n)
        found.append((zeros // 2, zeros - zeros // 2))
    return found[0], found[1]


def padding_modules(
    nn: Any,
    padding: str | int | tuple[int, int],
    image: Sequence[int],
    size: tuple[int, int],
    strides: tuple[int, int],
) -> tuple[list[Any], tuple[int, int]]:
    """A module of zeros in front where both sides differ, and the padding of the window itself."""
    if padding == "valid":
        return [], (0, 0)
    if padding != "same":
        return [], pair("padding", padding, low=0)
    rows, columns = same_padding(image, size, strides)
    if rows[0] == rows[1] and columns[0] == columns[1]:
        return [], (rows[0], columns[0])
    return [nn.ZeroPad2d((*columns, *rows))], (0, 0)


def _pool_window(
    layer: MaxPool2D | AvgPool2D, image: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Size, strides and padding of a pool, if it is the same on both sides, as PyTorch has it."""
    size = pair("pool_size", layer.pool_size)
    strides = size if layer.strides is None else pair("strides", layer.strides)
    if layer.padding == "same":
        rows, columns = same_padding(image, size, strides)
    else:
        zeros = (0, 0) if isinstance(layer.padding, str) else pair("padding", layer.padding, low=0)
        rows, columns = (zeros[0], zeros[0]), (zeros[1], zeros[1])
    half = 2 * rows[0] <= size[0] and 2 * columns[0] <= size[1]
    if rows[0] != rows[1] or columns[0] != columns[1] or not half:
        expected = "a padding that is the same on both sides and at most half of the window"
        raise ValueError(mismatch("padding", expected, show(layer.padding)))
    return size, strides, (rows[0], columns[0])


def _write_max_pool(torch: Any, layer: MaxPool2D, shapes: Shapes, *_: Any) -> list[Any]:
    return [torch.nn.MaxPool2d(*_pool_window(layer, shapes.now))]


def _write_avg_pool(torch: Any, layer: AvgPool2D, shapes: Shapes, *_: Any) -> list[Any]:
    window = _pool_window(layer, shapes.now)
    return [torch.nn.AvgPool2d(*window, count_include_pad=False)]


def _write_norm(
    torch: Any,
    layer: LayerNorm | RMSNorm | GroupNorm,
    shapes: Shapes,
    values: Parameters | None,
    options: dict[str, Any],
) -> list[Any]:
    assert values is not None
    n, affine = shapes.now[-1], layer.scale or layer.shift
    if isinstance(layer, GroupNorm):
        if shapes.flattened:
            raise ValueError(mismatch("GroupNorm", "not behind Flatten", "there", IN_ROWS))
        module = torch.nn.GroupNorm(layer.groups, n, layer.eps, affine, **options)
    elif len(shapes.now) == 3:
        hint = "over channels PyTorch has GroupNorm alone"
        raise ValueError(mismatch(type(layer).__name__, "rows", "images", hint))
    elif isinstance(layer, RMSNorm):
        if layer.shift:
            raise ValueError(mismatch("shift of RMSNorm", "False, as in PyTorch", "True"))
        module = torch.nn.RMSNorm(n, layer.eps, affine, **options)
        module.bias = None
    else:
        module = torch.nn.LayerNorm(n, layer.eps, affine, **options)
    parts = (None if part is None else shapes.to_torch(part) for part in values)
    return [filled(torch, module, layer.trainable, Parameters(*parts))]


# ---- from PyTorch to here ----


def _only(module: Any, **values: Any) -> None:
    """Refuse a module that has other options than these."""
    for name, only in values.items():
        if getattr(module, name) != only:
            got = show(getattr(module, name))
            raise ValueError(mismatch(name, show(only), got, "there is nothing else here"))


def _read_window(module: Any) -> tuple[Any, Any, Any]:
    """Size, strides and padding of a pool, each one number or two."""
    size, strides, padding = module.kernel_size, module.stride, module.padding
    return size, strides, "valid" if padding in (0, (0, 0)) else padding


def _read_max_pool(module: Any, _: Shapes) -> MaxPool2D:
    _only(module, ceil_mode=False, return_indices=False)
    if module.dilation not in (1, (1, 1)):
        _only(module, dilation=1)
    return MaxPool2D(*_read_window(module))


def _read_avg_pool(module: Any, _: Shapes) -> AvgPool2D:
    _only(module, ceil_mode=False, divisor_override=None)
    layer = AvgPool2D(*_read_window(module))
    if layer.padding != "valid":
        _only(module, count_include_pad=False)
    return layer


def _read_global_pool(module: Any, _: Shapes) -> GlobalAvgPool2D:
    if module.output_size not in (1, (1, 1)):
        _only(module, output_size=1)
    return GlobalAvgPool2D()


def _affine(module: Any) -> dict[str, Any]:
    weight, bias = module.weight, getattr(module, "bias", None)
    trains = weight is None or bool(weight.requires_grad)
    return {"scale": weight is not None, "shift": bias is not None, "trainable": trains}


def _read_norm(kind: Any) -> Callable[[Any, Shapes], Layer]:
    """What reads a LayerNorm or an RMSNorm."""

    def read(module: Any, shapes: Shapes) -> Layer:
        if len(shapes.now) != 1 or tuple(module.normalized_shape) != shapes.now:
            got = f"a sample of shape {shapes.now}"
            hint = "images have their channels last here: GroupNorm takes them"
            expected = f"a row of {tuple(module.normalized_shape)} numbers"
            raise ValueError(mismatch("input", expected, got, hint))
        eps = module.eps
        if eps is None:  # of RMSNorm: that of the type
            eps = float(np.finfo(np.float32).eps)
        layer: Layer = kind(eps, **_affine(module))
        return layer

    return read


def _read_group_norm(module: Any, shapes: Shapes) -> GroupNorm:
    if shapes.flattened:
        raise ValueError(mismatch("GroupNorm", "not behind Flatten", "there", IN_ROWS))
    return GroupNorm(module.num_groups, module.eps, **_affine(module))


def array_of(parameter: Any) -> NDArray[Any]:
    """The values of a parameter, of any device and dtype, as an array of its own."""
    values = parameter.detach().cpu()
    own = str(values.dtype) in ("torch.float32", "torch.float64")
    return np.array((values if own else values.float()).numpy())


def _values(module: Any, weight: NDArray[Any]) -> dict[str, Any]:
    """The arguments of a weighted layer that are its values, and whether it trains."""
    bias = {} if module.bias is None else {"bias_init": array_of(module.bias)}
    return {
        "weight_init": np.ascontiguousarray(weight),
        "use_bias": module.bias is not None,
        "trainable": bool(module.weight.requires_grad),
        **bias,
    }


def _read_dense(module: Any, shapes: Shapes) -> Dense:
    if shapes.now not in ((), (module.in_features,)) and len(shapes.now) == 1:
        got = f"rows of {shapes.now[0]}"
        raise ValueError(mismatch("input", f"rows of {module.in_features} numbers", got))
    weight = shapes.from_torch(array_of(module.weight).T)
    return Dense(module.out_features, **_values(module, weight))


def _read_conv(module: Any, shapes: Shapes) -> Conv2D:
    _only(module, groups=1, dilation=(1, 1), padding_mode="zeros")
    if len(shapes.now) == 3 and module.in_channels != shapes.now[-1]:
        got = f"images of shape {shapes.now}, channels last"
        hint = 'input_shape is (channels, height, width) with data_format="channels_first" alone'
        raise ValueError(mismatch("input", f"{module.in_channels} channels", got, hint))
    words = isinstance(module.padding, str)
    padding = module.padding if words else tuple(module.padding)
    return Conv2D(
        module.out_channels,
        tuple(module.kernel_size),
        strides=tuple(module.stride),
        padding="valid" if padding == (0, 0) else padding,
        **_values(module, array_of(module.weight).transpose(2, 3, 1, 0)),
    )


def with_zeros(layer: Conv2D, zeros: Sequence[int], image: tuple[int, ...]) -> Conv2D:
    """A convolution behind a ZeroPad2d of (left, right, top, bottom)."""
    size, strides = pair("kernel_size", layer.kernel_size), pair("strides", layer.strides)
    left, right, top, bottom = zeros
    if layer.padding == "valid":
        if left == right and top == bottom:
            return replace(layer, padding=(top, left))
        if len(image) == 3 and same_padding(image, size, strides) == ((top, bottom), (left, right)):
            return replace(layer, padding="same")
    expected = 'the same zeros on both sides, or those of padding="same"'
    raise ValueError(mismatch("ZeroPad2d before a Conv2d", expected, str(tuple(zeros))))


def _read_flatten(module: Any, shapes: Shapes) -> Flatten:
    if (module.start_dim, module.end_dim) != (1, -1):
        got = f"Flatten({module.start_dim}, {module.end_dim})"
        raise ValueError(mismatch("Flatten", "Flatten(1, -1), a row for each sample", got))
    return Flatten()


ROWS = (
    Row(Dense, "Linear", _write_dense, _read_dense),
    Row(Conv2D, "Conv2d", _write_conv, _read_conv),
    Row(
        Dropout,
        "Dropout",
        lambda torch, layer, *_: [torch.nn.Dropout(layer.rate)],
        lambda module, _: Dropout(module.p),
    ),
    Row(Flatten, "Flatten", lambda torch, *_: [torch.nn.Flatten()], _read_flatten),
    Row(MaxPool2D, "MaxPool2d", _write_max_pool, _read_max_pool),
    Row(AvgPool2D, "AvgPool2d", _write_avg_pool, _read_avg_pool),
    Row(
        GlobalAvgPool2D,
        "AdaptiveAvgPool2d",
        lambda torch, *_: [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()],
        _read_global_pool,
    ),
    Row(LayerNorm, "LayerNorm", _write_norm, _read_norm(LayerNorm)),
    Row(RMSNorm, "RMSNorm", _write_norm, _read_norm(RMSNorm)),
    Row(GroupNorm, "GroupNorm", _write_norm, _read_group_norm),
)

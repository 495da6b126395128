"""`from_torch`: networks from modules of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..layers import Activation, Conv2D, Flatten, Layer, WeightedLayer
from ..layers.norms import Norm
from ..layers.weighted import OPTION_OF
from ..sequential import Sequential
from . import arguments
from .checks import kind, mismatch, show
from .torch_layers import ACTIVATIONS, DEFAULTS, REFUSED, ROWS, Shapes, array_of, with_zeros

__all__ = ["from_torch"]

Named = tuple[str, Any]  # a module and where it is, such as "module[2]"


def from_torch(
    module: Any,
    *,
    input_shape: int | tuple[int, ...] | None = None,
    data_format: str = "channels_last",
    dtype: str | None = None,
    **options: Any,
) -> Sequential:
    """A network with the layers and the values of a module of PyTorch.

    It predicts what the module computes in ``eval()``, but for rounding. The weights and biases of
    the module are the initial ones: `Sequential.reset` goes back to them, but not to the scales
    and shifts of normalisations.

    Parameters
    ----------
    module : torch.nn.Sequential
        Of Linear, Conv2d (without groups and dilation), activations, Dropout, Flatten, MaxPool2d,
        AvgPool2d, AdaptiveAvgPool2d(1), LayerNorm and RMSNorm of rows, GroupNorm, ZeroPad2d before
        a Conv2d, Identity; and of others like it. The last one that is not an Identity is a
        Linear, without softmax: losses take logits. A layer whose weight needs no gradient is not
        trained.
    input_shape : int or tuple of ints, optional
        As for `Sequential`: (height, width, channels), or (channels, height, width) with
        ``data_format="channels_first"``. Needed where there is a Conv2d.
    data_format : {"channels_last", "channels_first"}
        How X will be given, as for `Sequential`. Weights are turned in any case, also those of the
        first Linear behind a Flatten.
    dtype : {"float32", "float64"}, optional
        None: the module's, or "float32" where it has another.
    **options
        Of `Sequential`: rule, loss, optimizer, rng and so on. Without `rule` it is
        backpropagation.

    Returns
    -------
    Sequential

    Raises
    ------
    ImportError
        PyTorch is not installed.
    TypeError, ValueError
        A module that has no layer here, or an argument that `Sequential` refuses. The message
        names the module.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> mlp = torch.nn.Sequential(  # doctest: +SKIP
    ...     torch.nn.Linear(784, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10)
    ... )
    >>> net = fa.from_torch(mlp, rule="dfa", rng=0)  # doctest: +SKIP
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError("from_torch needs the package torch: pip install torch") from error
    modules = list(_leaves(torch.nn, module, "module"))
    if input_shape is None:
        input_shape = _rows_of(torch.nn, modules)
    given = arguments.shape(input_shape, data_format=data_format)
    reader = _Reader(torch.nn, Shapes(given))
    net = Sequential(
        reader.layers(modules),
        input_shape=input_shape,
        data_format=data_format,
        dtype=_dtype_of(module) if dtype is None else dtype,
        **options,
    )
    for key, values in reader.values.items():
        net.parameters[key] = values
    return net


def _leaves(nn: Any, module: Any, where: str) -> Iterator[Named]:
    """The modules in the order in which they run."""
    if not isinstance(module, nn.Module):
        raise TypeError(mismatch(where, "a torch.nn.Sequential", show(module)))
    if module._forward_hooks or module._forward_pre_hooks:
        hint = "weight_norm and the like have one: remove it first"
        raise ValueError(mismatch(where, "a module without forward hooks", kind(module), hint))
    if isinstance(module, nn.Sequential):
        if type(module).forward is not nn.Sequential.forward:
            expected = "a torch.nn.Sequential whose forward is its own"
            raise ValueError(mismatch(where, expected, kind(module)))
        for index, each in enumerate(module):
            yield from _leaves(nn, each, f"{where}[{index}]")
    elif type(module) is not nn.Identity:
        yield where, module


def _rows_of(nn: Any, modules: list[Named]) -> int:
    """The inputs of a network that begins with a Linear, perhaps behind a Flatten or Dropout."""
    weighted = [each for _, each in modules if type(each) in (nn.Linear, nn.Conv2d)]
    if not weighted or type(weighted[0]) is not nn.Linear:
        raise TypeError(mismatch("input_shape", "(height, width, channels) for images", "None"))
    return int(weighted[0].in_features)


def _dtype_of(module: Any) -> str:
    first = next(iter(module.parameters()))
    return "float64" if str(first.dtype) == "torch.float64" else "float32"


class _Reader:
    """Layers from modules, one after another."""

    def __init__(self, nn: Any, shapes: Shapes) -> None:
        self.nn, self.shapes = nn, shapes
        self.rows = {getattr(nn, row.module): row for row in ROWS}
        self.activations = {getattr(nn, ACTIVATIONS[name][0]): name for name in ACTIVATIONS}
        self.found: list[Layer] = []
        self.values: dict[str, Any] = {}  # of normalisations, by key
        self.bare = False  # whether the last module was a weighted layer
        self.zeros: tuple[int, ...] | None = None  # of a ZeroPad2d that waits for its convolution

    def layers(self, modules: list[Named]) -> list[Layer]:
        """The layers; an error names its module."""
        for where, module in modules:
            try:
                self.read(module)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{where}: {error}") from None
        if self.zeros is not None:
            raise ValueError(mismatch("module", "a Conv2d behind a ZeroPad2d", "none"))
        return self.found

    def read(self, module: Any) -> None:
        """Add the layer of a module, or its activation to the layer before it."""
        if self.zeros is not None and type(module) is not self.nn.Conv2d:
            raise ValueError(mismatch("type", "a Conv2d behind a ZeroPad2d", kind(module)))
        if type(module) is self.nn.ZeroPad2d:
            self.zeros, self.bare = tuple(module.padding), False
        elif type(module) in self.activations:
            self.activate(module)
        elif type(module) in self.rows:
            layer = self.rows[type(module)].read(module, self.shapes)
            if isinstance(layer, Norm):
                self.keep_values(module)
            if isinstance(layer, Flatten) and len(self.shapes.now) == 1:
                self.bare = False  # rows are flat
            else:
                self.add(layer)
        else:
            names = ", ".join(row.module for row in ROWS)
            hint = REFUSED.get(kind(module), "")
            raise ValueError(
                mismatch("type", f"one of {names}, or an activation", kind(module), hint)
            )

    def add(self, layer: Layer) -> None:
        """Append a layer."""
        if self.zeros is not None and isinstance(layer, Conv2D):
            layer, self.zeros = with_zeros(layer, self.zeros, self.shapes.now), None
        self.found.append(layer)
        self.bare = isinstance(layer, WeightedLayer)
        self.shapes.pass_on(layer)

    def keep_values(self, module: Any) -> None:
        """Scale and shift of a normalisation, which have no initialiser."""
        for name, values in (("scale", module.weight), ("shift", getattr(module, "bias", None))):
            if values is not None:
                turned = self.shapes.from_torch(array_of(values))
                self.values[f"{len(self.found)}.{name}"] = turned

    def activate(self, module: Any) -> None:
        """Give the layer just before it an activation, or add one of its own."""
        name = self.activations[type(module)]
        for option, only in DEFAULTS.get(kind(module), {}).items():
            if getattr(module, option) != only:
                raise ValueError(mismatch(option, show(only), show(getattr(module, option))))
        option = ACTIVATIONS[name][1]
        own = {OPTION_OF[name]: float(getattr(module, option))} if option else {}
        if self.bare:
            last: Any = self.found[-1]
            self.found[-1] = replace(last, activation=name, **own)
        else:
            self.add(Activation(name, **own))
        self.bare = False

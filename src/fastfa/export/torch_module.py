"""`torch_module`: a trained network as a module of PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._internal.checks import mismatch
from .._internal.network_checks import input_shape_of
from .._internal.torch_layers import ROWS, Parameters, Shapes, activation_modules
from ..layers import WeightedLayer
from ..layers.registry import layer_from
from .weighted_layers import finite

if TYPE_CHECKING:
    from ..backends.protocol import Engine
    from ..layers import Layer

__all__ = ["torch_module"]


def torch_module(engine: Engine) -> Any:
    """The network as a torch.nn.Sequential; see `Sequential.to_torch`."""
    how = engine.description
    layers = [layer_from(each) for each in how["layers"]]
    values = [_parameters(engine, index, layer) for index, layer in enumerate(layers)]
    try:
        import torch
    except ImportError as error:
        raise ImportError("to_torch needs the package torch: pip install torch") from error
    options = {"dtype": getattr(torch, how["dtype"])}
    shapes, modules = Shapes(input_shape_of(how)), []
    for index, (layer, own) in enumerate(zip(layers, values, strict=True)):
        row = next((row for row in ROWS if type(layer) is row.layer), None)
        if row is None:
            expected = f"one of {', '.join(row.layer.__name__ for row in ROWS)}"
            raise ValueError(mismatch(f"layer {index}", expected, type(layer).__name__))
        modules += row.write(torch, layer, shapes, own, options)
        if isinstance(layer, WeightedLayer):
            modules += activation_modules(torch.nn, layer, f"layer {index}")
        shapes.pass_on(layer)
    return torch.nn.Sequential(*modules).eval()


def _parameters(engine: Engine, index: int, layer: Layer) -> Parameters | None:
    if not isinstance(layer, WeightedLayer):
        return None
    bias = f"{index}.bias"
    return Parameters(
        finite(engine, f"{index}.weight"),
        finite(engine, bias) if bias in engine.parameters else None,
    )

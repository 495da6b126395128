"""`torch_module`: a trained network as a module of PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._internal.checks import mismatch
from .._internal.network_checks import input_shape_of
from .._internal.torch_layers import ROWS, Parameters, Shapes, activation_modules
from ..layers import Activation, WeightedLayer
from ..layers.norms import Norm
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
        try:
            modules += _modules(torch, layer, shapes, own, options)
        except ValueError as error:
            raise ValueError(f"layer {index}: {error}") from None
        shapes.pass_on(layer)
    return torch.nn.Sequential(*modules).eval()


def _modules(
    torch: Any,
    layer: Layer,
    shapes: Shapes,
    values: Parameters | None,
    options: dict[str, Any],
) -> list[Any]:
    """The modules of a layer, in the order in which they run."""
    if isinstance(layer, Activation):
        return activation_modules(torch.nn, layer)
    row = next((row for row in ROWS if type(layer) is row.layer), None)
    if row is None:
        expected = f"one of Activation, {', '.join(row.layer.__name__ for row in ROWS)}"
        raise ValueError(mismatch("type", expected, type(layer).__name__))
    modules = row.write(torch, layer, shapes, values, options)
    return modules + (
        activation_modules(torch.nn, layer) if isinstance(layer, WeightedLayer) else []
    )


def _parameters(engine: Engine, index: int, layer: Layer) -> Parameters | None:
    """The values of a layer with weights, or of a normalisation."""
    names = (
        ("weight", "bias") if isinstance(layer, WeightedLayer)
        else ("scale", "shift") if isinstance(layer, Norm)
        else ()
    )  # fmt: skip
    keys = [f"{index}.{name}" for name in names]
    values = [finite(engine, key) if key in engine.parameters else None for key in keys]
    return Parameters(*values) if values else None

"""`write_onnx`: a trained network as an ONNX model, through the package onnx."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core import version
from .._internal.checks import choice
from .._internal.paths import check_folder, file_name
from .weighted_layers import OPTION_OF, WeightedLayer, input_factor, weighted_layers

if TYPE_CHECKING:
    from ..backends.protocol import Engine

__all__ = ["write_onnx"]

OPSET, IR_VERSION = 13, 8  # the oldest with every operator below, so that old runtimes read it
OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {  # activations that ONNX has
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {}),
    "elu": ("Elu", {}),
    "selu": ("Selu", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "softsign": ("Softsign", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softplus": ("Softplus", {}),
    "sign": ("Sign", {}),
}
LINKS: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax_cross_entropy": ("Softmax", {"axis": 1}),
    "sigmoid_cross_entropy": ("Sigmoid", {}),
    "focal": ("Sigmoid", {}),
    "poisson": ("Exp", {}),
}


def write_onnx(
    engine: Engine, path: str | os.PathLike[str], output: str, dtype: str | None
) -> None:
    """Write the model; see `Sequential.to_onnx`."""
    to = os.fsdecode(file_name(path))
    check_folder(to)
    logits = choice("output", output, ("probabilities", "logits")) == "logits"
    own = engine.description["dtype"]
    dtype = own if dtype is None else choice("dtype", dtype, ("float32", "float64"))
    layers = weighted_layers(engine)  # first: values that are not finite are refused
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'to_onnx needs the package onnx: pip install onnx, or the extra "onnx" of fastfa'
        ) from error
    data = _Graph(onnx, engine, layers, logits, np.dtype(dtype)).model().SerializeToString()
    with open(to, "wb") as file:
        file.write(data)


class _Graph:
    """The nodes and constants of a model, made from the input up."""

    def __init__(
        self,
        onnx: Any,
        engine: Engine,
        layers: list[WeightedLayer],
        logits: bool,
        dtype: np.dtype[Any],
    ) -> None:
        self.onnx, self.layers, self.dtype = onnx, layers, dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        at = "x"
        if (factor := input_factor(engine)) != 1:
            at = self.node("Mul", at, self.constant("input_scale", factor))
        for layer in layers:
            at = self.layer(layer, at)
        link = None if logits else LINKS.get(engine.description["loss"])
        operator, attributes = link or ("Identity", {})
        self.node(operator, at, result="y", **attributes)

    def node(self, operator: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        """Add a node; the name of its result."""
        result = result or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(
            self.onnx.helper.make_node(operator, inputs, [result], result, **attributes)
        )
        return result

    def constant(self, name: str, values: object) -> str:
        """Add a tensor of the network's dtype; its name."""
        array = np.asarray(values, self.dtype)
        if name not in {each.name for each in self.constants}:
            self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def layer(self, layer: WeightedLayer, at: str) -> str:
        """Add a Dense and its activation."""
        inputs = [at, self.constant(f"{layer.index}.weight", layer.weight)]
        if layer.bias is not None:
            inputs.append(self.constant(f"{layer.index}.bias", layer.bias))
        at = self.node("Gemm", *inputs)
        if layer.activation == "linear":
            return at
        if layer.activation == "gelu":
            return self.gelu(at)
        if layer.activation == "threshold":
            above = self.node("Greater", at, self.constant("zero", 0))
            return self.node("Cast", above, to=self.element)
        if layer.activation == "silu":
            return self.node("Mul", at, self.node("Sigmoid", at))
        if layer.activation == "mish":
            return self.node("Mul", at, self.node("Tanh", self.node("Softplus", at)))
        if layer.activation == "hardtanh":
            return self.node("Clip", at, self.constant("minus_one", -1), self.constant("one", 1))
        operator, attributes = OPERATORS[layer.activation]
        if layer.activation in OPTION_OF:
            attributes = {"alpha": layer.option}
        return self.node(operator, at, **attributes)

    def gelu(self, at: str) -> str:
        """a/2 (1 + erf(a / sqrt 2)); ONNX has an operator of that name only since opset 20."""
        inner = self.node("Erf", self.node("Mul", at, self.constant("sqrt_half", np.sqrt(0.5))))
        half = self.node("Mul", at, self.constant("half", 0.5))
        return self.node("Mul", half, self.node("Add", inner, self.constant("one", 1)))

    @property
    def element(self) -> int:
        """ONNX's number of the dtype."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(self.dtype))

    def model(self) -> Any:
        """The whole model, checked."""
        helper = self.onnx.helper
        n_in, n_out = self.layers[0].n_in, self.layers[-1].n_out
        x = helper.make_tensor_value_info("x", self.element, ["m", n_in])
        y = helper.make_tensor_value_info("y", self.element, ["m", n_out])
        graph = helper.make_graph(self.nodes, "fastfa", [x], [y], self.constants)
        model = helper.make_model(
            graph,
            producer_name="fastfa",
            producer_version=version(),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        self.onnx.checker.check_model(model, full_check=True)
        return model

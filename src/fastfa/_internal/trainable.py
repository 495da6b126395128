"""Which layers train: the file of a network, changed so that others do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..backends import choose
from ..layers import Layer, WeightedLayer
from ..layers.norms import Norm
from ..losses import loss_name
from .checks import integer, mismatch, show
from .network_checks import check_network, input_shape_of, warn_of_rules

if TYPE_CHECKING:
    from ..backends.protocol import Engine
    from .model import Model


def set_trainable(net: Model, given: Sequence[object], name: str, flag: bool) -> None:
    """Let these layers of a network train or not, or change nothing; all of them without any."""
    indices, layers = layer_indices(net.layers, given, name), list(net.layers)
    for i in indices:
        layers[i] = replace(layers[i], trainable=flag)  # type: ignore[call-arg]
    if tuple(layers) == net.layers:
        return
    given_shape = input_shape_of(net._engine.description)
    weighted = check_network(layers, given_shape, net.rule)
    warn_of_rules(weighted, loss_name(net.loss), net.optimizer.name)
    state, history = net.__getstate__(), net._history
    bytes_checked = net._validator.bytes_checked
    state["file"] = file_with(net._engine, dict.fromkeys(indices, flag), net._threads)
    net.__setstate__(state)
    net._history, net._validator.bytes_checked = history, bytes_checked


def layer_indices(layers: Sequence[Layer], given: Sequence[object], name: str) -> list[int]:
    """The arguments of `freeze` or `unfreeze`: layers with parameters; all without any."""
    able = [i for i, layer in enumerate(layers) if isinstance(layer, (WeightedLayer, Norm))]
    indices = [integer(f"{name}: layer", each, 0) for each in given]
    for index in indices:
        if index not in able:
            raise ValueError(mismatch(f"{name}: layer", f"one of {able}", show(index)))
    return indices or able


def file_with(engine: Engine, trainable: Mapping[int, bool], n_threads: int) -> bytes:
    """The bytes of a network's file in which these layers train, or do not.

    What a new network with that description would have in its file says which tensors there are. It
    gets the values of the old file: parameters, feedback, optimizer state of what trains in both,
    and the counters. docs/FILES.md has the format.
    """
    description = engine.description
    layers = [dict(layer) for layer in description["layers"]]
    for index, flag in trainable.items():
        layers[index]["trainable"] = flag
    old, old_data = _parts(engine.dumps())
    new, new_data = _parts(
        choose().create(description | {"layers": layers, "n_threads": n_threads}).dumps()
    )
    data = bytearray(new_data)
    for key, entry in new.items():
        if key in old and key != "__metadata__":
            source, target = old[key]["data_offsets"], entry["data_offsets"]
            data[target[0] : target[1]] = old_data[source[0] : source[1]]
    kept = ("fastfa.state", "fastfa.note")
    texts = {key: text for key, text in new["__metadata__"].items() if key != "fastfa.crc32c"}
    texts |= {key: text for key, text in old["__metadata__"].items() if key in kept}
    header = json.dumps(new | {"__metadata__": texts}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + bytes(data)


def _parts(file: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header of a safetensors file, and its tensors."""
    end = 8 + int.from_bytes(file[:8], "little")
    return json.loads(file[8:end]), memoryview(file)[end:]

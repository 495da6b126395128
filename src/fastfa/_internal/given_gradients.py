"""The argument of ``net.apply_gradients``, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .arrays import numbers, unread
from .checks import choice, mismatch, show
from .validation import convert

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..backends.protocol import Engine


def given_gradients(
    engine: Engine, given: object, on_host: Callable[[str, Any], Any]
) -> dict[str, NDArray[Any]]:
    """Gradients by key as arrays of the network's dtype.

    There must be one for each weight and bias that trains; for feedback that learns there may be.
    """
    if not isinstance(given, Mapping):
        raise TypeError(
            mismatch("grads", "a mapping of parameter keys to arrays", show(given),
                     "net.gradients(x, y) returns one")
        )  # fmt: skip
    trained = engine.trained
    tensors = {**engine.parameters, **engine.feedback}
    for key in given:
        if key in tensors and key not in trained:
            raise ValueError(mismatch(f'grads["{key}"]', "none", "one", "it does not train"))
        choice("grads: key", key, trained)
    missing = [key for key in trained if key in engine.parameters and key not in given]
    if missing:
        expected = "a gradient of every weight and bias that trains"
        raise ValueError(mismatch("grads", expected, f"none of {missing[0]!r}"))
    return {key: _checked(key, given[key], tensors[key], on_host) for key in given}


def _checked(
    key: str, value: Any, tensor: NDArray[Any], on_host: Callable[[str, Any], Any]
) -> NDArray[Any]:
    name = f'grads["{key}"]'
    array = unread(on_host(name, value), name)
    if array.shape != tensor.shape:
        raise ValueError(f"{name}: expected shape {tensor.shape}, got {array.shape}")
    return convert(numbers(array, name), tensor.dtype, name)

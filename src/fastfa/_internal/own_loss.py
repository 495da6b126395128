"""A loss that is a function of the caller: what it returns, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import mismatch, show

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ask(
    function: Callable[..., Any], logits: NDArray[Any], y: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """The losses (m,) and errors (m, n_out) of some rows, in double and in the network's dtype."""
    shape, dtype = logits.shape, logits.dtype
    where = f"loss {name_of(function)}"
    expected = f"a pair (losses, errors) of shapes {shape[:1]} and {shape}"
    result = function(logits, y)
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError(mismatch(where, expected, show(result)))
    losses = _numbers(result[0], f"{where}: losses", shape[:1])
    errors = _numbers(result[1], f"{where}: errors", shape)
    with np.errstate(all="ignore"):
        errors = errors.astype(dtype, copy=False)
    if not np.isfinite(errors).all():
        raise FloatingPointError(f"{where}: errors are not finite in {dtype}; nothing was updated")
    return losses.astype(np.float64, copy=False), errors


def name_of(function: object) -> str:
    """What a file calls a function: its name, or that of its class."""
    try:
        return str(function.__name__)  # type: ignore[attr-defined]
    except Exception:  # it has none, or asking for it fails
        return type(function).__name__


def _numbers(value: object, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(value)
    if array.shape != shape or array.dtype.kind not in "biuf":
        got = f"shape {array.shape} of {array.dtype}"
        raise ValueError(mismatch(name, f"shape {shape} of real numbers", got))
    return array

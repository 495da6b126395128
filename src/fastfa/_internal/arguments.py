"""What the arguments of `Sequential` and its `fit` mean, checked one by one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from typing import TYPE_CHECKING, Any

import numpy as np

from ..callbacks import Callback
from ..layers import MAX_UNITS, Layer
from .checks import choice, integer, kind, number, plain, show

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

HOOKS = {  # of `Callback`, and what they are called with
    "on_train_begin": ("net",),
    "on_batch_end": ("net", "step", "logs"),
    "on_epoch_end": ("net", "epoch", "logs"),
    "on_train_end": ("net",),
}

_NEVER_RUN = {
    "a coroutine function (async def)": iscoroutinefunction,
    "a generator function (yield)": isgeneratorfunction,
    "an asynchronous generator function": isasyncgenfunction,
}


def width(input_shape: object) -> int:
    """Number of inputs."""
    if isinstance(input_shape, (tuple, list)):
        if len(input_shape) != 1:
            raise ValueError(
                f"input_shape must be an int or a tuple of one, got {show(input_shape)}; "
                "for images give the number of pixels, X of shape (m, h, w) is flattened"
            )
        input_shape = input_shape[0]
    return integer("input_shape", input_shape, 1, MAX_UNITS)


def layer_tuple(layers: object) -> tuple[Layer, ...]:
    """The layers; what each of them is, `check_network` looks at."""
    if not isinstance(layers, Sequence) or isinstance(layers, str):
        raise TypeError(f"layers must be a list of layers, got {show(layers)}")
    return tuple(layers)


def dtype_name(dtype: DTypeLike) -> str:
    """Either "float32" or "float64", from anything NumPy takes for one."""
    try:
        name = "None" if dtype is None else np.dtype(dtype).name  # NumPy takes None for float64
    except (TypeError, ValueError, RecursionError):
        name = dtype if isinstance(dtype, str) else show(dtype)
    return choice("dtype", name, ("float32", "float64"))


def seed(rng: object) -> int:
    """The seed that an int, a Generator or None stands for."""
    if rng is None:
        return int.from_bytes(os.urandom(8), "little")
    if isinstance(rng, (int, np.integer)):
        return integer("rng", rng, 0, 2**64 - 1)
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**64, dtype=np.uint64))
    raise TypeError(f"rng must be an int seed, a numpy Generator or None, got {show(rng)}")


def scale(value: str | float) -> str | float:
    """The word "auto", or a factor on every input."""
    if isinstance(value, str):
        return choice("input_scale", value, ("auto",))
    factor = number("input_scale", value)
    if factor == 0.0:
        raise ValueError('input_scale must be "auto" or a number other than 0, got 0')
    return factor


def callback_list(callbacks: object) -> list[Callback]:
    """The callbacks of one `fit`."""
    if not isinstance(callbacks, (tuple, list)):
        raise TypeError(f"callbacks must be a list of Callback objects, got {show(callbacks)}")
    for i, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            hint = f"; did you mean {show(callback)}()?" if isinstance(callback, type) else ""
            raise TypeError(f"callbacks[{i}] must be a Callback object, got {show(callback)}{hint}")
        _check_hooks(callback, f"callbacks[{i}]")
    return list(callbacks)


def _check_hooks(callback: Callback, name: str) -> None:
    """Refuse now what would never be called, never run, or fail after the first epoch."""
    for hook in dir(callback):
        method = getattr(callback, hook) if hook.startswith("on_") else None
        if hook not in HOOKS:
            if callable(method):
                choice(f"hook of {name} ({kind(callback)})", hook, HOOKS)
            continue
        if getattr(method, "__func__", None) is getattr(Callback, hook):
            continue
        _check_hook(method, HOOKS[hook], f"{name}: {kind(callback)}.{plain(hook)}")


def _check_hook(method: Any, arguments: tuple[str, ...], name: str) -> None:
    if not callable(method):
        raise TypeError(f"{name} must be a function, got {show(method)}")
    for what, is_what in _NEVER_RUN.items():
        if is_what(method):
            raise TypeError(f"{name} must be a plain function, got {what}: its body would not run")
    try:
        signature(method).bind(*arguments)
    except TypeError:
        raise TypeError(
            f"{name} must take ({', '.join(arguments)}), got {signature(method)}"
        ) from None
    except ValueError:  # compiled, and does not say what it takes
        return

"""Checks of the callbacks of `fit`, before the first step."""

from __future__ import annotations

from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from typing import Any

from .._internal.checks import choice, entries, kind, plain, show
from .base import Callback

HOOKS = {  # of `Callback`, with their arguments
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


def callback_list(callbacks: object) -> list[Callback]:
    """The callbacks of one `fit`, checked."""
    expected = "a list of Callback objects"
    if not isinstance(callbacks, (tuple, list)):
        raise TypeError(f"callbacks must be {expected}, got {show(callbacks)}")
    found = entries("callbacks", callbacks, expected)
    for i, callback in enumerate(found):
        if not isinstance(callback, Callback):
            hint = f"; did you mean {show(callback)}()?" if isinstance(callback, type) else ""
            raise TypeError(f"callbacks[{i}] must be a Callback object, got {show(callback)}{hint}")
        _check_hooks(callback, f"callbacks[{i}]")
    return found


def _check_hooks(callback: Callback, name: str) -> None:
    """Refuse hooks that would never be called, never run, or fail after the first epoch."""
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
    except ValueError:  # compiled code without a signature
        return

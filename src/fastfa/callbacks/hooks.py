"""Checks of the callbacks of `fit`, before the first step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from math import nan
from typing import Any

import numpy as np

from .._internal.checks import choice, entries, kind, mismatch, plain, quote, show
from .base import Callback

HOOKS = {  # of `Callback`, with their arguments
    "on_train_begin": ("net",),
    "on_epoch_begin": ("net", "epoch"),
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
        raise TypeError(f"callbacks: expected {expected}, got {show(callbacks)}")
    found = entries("callbacks", callbacks, expected)
    for i, callback in enumerate(found):
        if not isinstance(callback, Callback):
            hint = f"did you mean {show(callback)}()?" if isinstance(callback, type) else ""
            raise TypeError(mismatch(f"callbacks[{i}]", "a Callback object", show(callback), hint))
        _check_hooks(callback, f"callbacks[{i}]")
    return found


def names_added(callback: Callback, known: Iterable[str], name: str) -> list[str]:
    """The logs that a callback says it adds; `known` are those that there are before it."""
    expected, what = "a list of names of logs", f"{name}: {kind(callback)}.adds"
    if isinstance(callback.adds, str) or not isinstance(callback.adds, Iterable):
        raise TypeError(mismatch(what, expected, show(callback.adds)))
    taken, names = {"epoch", *known}, entries(what, callback.adds, expected)
    for key in names:
        if not isinstance(key, str) or not key:
            raise TypeError(mismatch(what, expected, show(key)))
        if key in taken:
            raise ValueError(mismatch(what, "names that no other log has", quote(key)))
        taken.add(key)
    return names


def logs_added(
    callback: Callback, names: Iterable[str], own: Mapping[str, object], known: Iterable[str]
) -> dict[str, float]:
    """What a callback added to its copy of the logs in an epoch, under the `names` that it said."""
    what = f"logs added by {kind(callback)}"
    for key in own.keys() - {*names, *known}:
        hint = "name it in the attribute adds"
        raise ValueError(mismatch(what, f"one of its adds, [{', '.join(names)}]", show(key), hint))
    added = {}
    for key in names:
        value = own.get(key, nan)
        if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__float__"):
            raise TypeError(mismatch(f"{what}: {plain(key)}", "a number", show(value)))
        added[key] = float(value)
    return added


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
        raise TypeError(f"{name}: expected a function, got {show(method)}")
    for what, is_what in _NEVER_RUN.items():
        if is_what(method):
            raise TypeError(mismatch(name, "a plain function", what, "its body would not run"))
    try:
        signature(method).bind(*arguments)
    except TypeError:
        raise TypeError(
            f"{name}: expected arguments ({', '.join(arguments)}), got {signature(method)}"
        ) from None
    except ValueError:  # compiled code without a signature
        return

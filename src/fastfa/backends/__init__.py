"""Engines that run a network: the one in C, that of a GPU over CuPy, and `reference` for the tests.

`choose` is the one place that decides which engine a network gets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .._internal.checks import mismatch, nearest, quote, show, warn
from .native import CPU

if TYPE_CHECKING:
    from .protocol import Backend

__all__ = ["choose", "choose_or_warn"]

_CPU = CPU()


def choose(device: str = "cpu") -> Backend:
    """The backend of a device: "cpu", "cuda" (the current GPU of CuPy) or "cuda:1"."""
    expected = '"cpu", "cuda" or the number of a GPU as in "cuda:0"'
    if not isinstance(device, str):
        raise TypeError(mismatch("device", expected, show(device)))
    if device == "cpu":
        return _CPU
    found = re.fullmatch(r"cuda(?::(0|[1-9][0-9]{0,3}))?", device)
    if found is None:
        known = {"gpu": "cuda", "cuda": "cuda", "cpu": "cpu"}
        close = nearest(device, list(known))
        hint = f'did you mean "{known[close.split(chr(34))[1]]}"?' if close else ""
        raise ValueError(mismatch("device", expected, quote(device), hint))
    from .cuda import GPU  # here, because CuPy takes a third of a second

    return GPU(None if found[1] is None else int(found[1]))


def choose_or_warn(device: str) -> Backend:
    """The backend of a pickled network's device; the CPU, with a warning, where that is missing."""
    try:
        return choose(device)
    except (ImportError, RuntimeError, ValueError) as error:
        warn(f"the network was on {device} and is on the CPU now, with the same bits: {error}")
        return _CPU

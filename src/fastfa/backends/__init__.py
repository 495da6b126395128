"""Engines that run a network: the one in C, and `reference`, the equations in NumPy for the tests.

`choose` is the one place that decides which engine a network gets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._core import Network
from .._internal.checks import choice

if TYPE_CHECKING:
    from .protocol import Engine

__all__ = ["choose"]

DEVICES: dict[str, type[Engine]] = {"cpu": Network}


def choose(device: str = "cpu") -> type[Engine]:
    """The class of the engine for a device; calling it with a description makes the network."""
    return DEVICES[choice("device", device, DEVICES)]

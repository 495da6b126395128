"""Engines that run a network: `native`, the one in C, and `reference`, the equations in NumPy.

`choose` is the one place that decides which engine a network gets. The reference serves the tests
alone.
"""

from __future__ import annotations

from .._core import Network
from .._internal.checks import choice
from .protocol import BaseEngine, Engine

__all__ = ["BaseEngine", "Engine", "choose"]

DEVICES: dict[str, type[Engine]] = {"cpu": Network}


def choose(device: str = "cpu") -> type[Engine]:
    """The class of the engine for a device; calling it with a description makes the network."""
    return DEVICES[choice("device", device, DEVICES)]

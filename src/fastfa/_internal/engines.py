"""Engines made from another one: on another device, or with another description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..backends.protocol import Backend, Engine

__all__ = ["moved", "remade"]


def moved(engine: Engine, backend: Backend, n_threads: int) -> Engine:
    """The same network on a device: all numbers, counters and the note."""
    result = backend.create(engine.description)
    result.restore(engine.state())
    result.note, result.n_threads = engine.note, n_threads
    return result


def remade(engine: Engine, backend: Backend, changes: dict[str, Any]) -> Engine:
    """A new network with the parameters and feedback of `engine`, whose description has changes."""
    result, source = backend.create(engine.description | changes), backend.inspected(engine)
    for tensors in (source.parameters, source.feedback):
        for key, values in tensors.items():
            result.write(key, values)
    result.note = engine.note
    return result

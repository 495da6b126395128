"""The CPU: networks in the C engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._core import Network
from .._internal.samples import Batch
from .._internal.validation import InputValidator

if TYPE_CHECKING:
    from .protocol import Engine

__all__ = ["CPU"]


class CPU:
    """The backend of the device "cpu"; see `protocol.Backend`."""

    device = "cpu"
    create = Network
    load = staticmethod(Network.load)
    load_path = staticmethod(Network.load_path)
    load_from = staticmethod(Network.load_from)
    validator = InputValidator

    def placed(self, engine: Engine, batch: Batch) -> Batch:
        """The samples as they are."""
        return batch

    def inspected(self, engine: Engine) -> Engine:
        """The engine itself."""
        return engine

    def together(self) -> None:
        """None: networks train at the same time in threads of their own."""

    def on_host(self, name: str, value: Any) -> Any:
        """`value`: an array on a GPU is for `_internal.arrays` to refuse."""
        return value

"""Networks on a GPU of NVIDIA, over CuPy: own kernels, and the bits of the C engine.

Nothing here imports CuPy before a device is named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import _core
from ..._internal.samples import Batch
from .arrays import as_gpu_array, is_gpu_array, to_host
from .gpu import find_gpu
from .inputs import GPUInputValidator
from .network import Network
from .together import Together

if TYPE_CHECKING:
    from ..protocol import Engine, FindRule

__all__ = ["GPU"]


class GPU:
    """The backend of the devices "cuda" and "cuda:1"; see `protocol.Backend`."""

    def __init__(self, index: int | None) -> None:
        self.index = find_gpu(index)

    @property
    def device(self) -> str:
        """Its name, "cuda:0"."""
        return f"cuda:{self.index}"

    def create(self, description: dict[str, Any]) -> Engine:
        """A new network."""
        return Network(_core.Network(description), self.index)

    def load(self, data: bytes, rules: FindRule) -> Engine:
        """The network in the bytes of a file."""
        return Network(_core.Network.load(data, rules), self.index)

    def load_path(self, path: bytes, rules: FindRule) -> Engine:
        """The network in a file."""
        return Network(_core.Network.load_path(path, rules), self.index)

    def load_from(self, read: Callable[[int], bytes], rules: FindRule) -> Engine:
        """The network in a stream."""
        return Network(_core.Network.load_from(read, rules), self.index)

    def validator(
        self,
        n_in: int | tuple[int, ...],
        n_out: int,
        loss: str,
        dtype: str,
        input_scale: str | float,
    ) -> GPUInputValidator:
        """What checks the samples of such a network."""
        return GPUInputValidator(self.index, n_in, n_out, loss, dtype, input_scale)

    def placed(self, engine: Engine, batch: Batch) -> Batch:
        """The samples on the GPU."""
        assert isinstance(engine, Network)
        return Batch(*engine.place(batch))

    def inspected(self, engine: Engine) -> Engine:
        """The network's twin on the CPU, with the numbers of now."""
        assert isinstance(engine, Network)
        return engine.snapshot()

    def together(self) -> Together:
        """A new group of networks that train at the same time."""
        return Together()

    def on_host(self, name: str, value: Any) -> Any:
        """`value`, or a copy in the memory of the CPU if it is an array on this GPU."""
        if not is_gpu_array(value):
            return value
        return to_host(as_gpu_array(name, value, self.index))

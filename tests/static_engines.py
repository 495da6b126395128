"""Not run: mypy finds that each engine and backend does what `backends.protocol` says."""

from typing import Any

from numpy.typing import NDArray

from fastfa import _core
from fastfa.backends import reference
from fastfa.backends.cuda import GPU
from fastfa.backends.native import CPU
from fastfa.backends.protocol import Backend, BaseEngine, Engine

whole: type[Engine] = _core.Network
base: list[type[BaseEngine[NDArray[Any]]]] = [_core.Network, reference.Network]
devices: list[type[Backend]] = [CPU, GPU]
wrong: type[Engine] = reference.Network  # type: ignore[assignment]

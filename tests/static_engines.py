"""Not run: mypy finds that each engine does what `backends.protocol` says."""

from typing import Any

from numpy.typing import NDArray

from fastfa import _core
from fastfa.backends import reference
from fastfa.backends.protocol import BaseEngine, Engine

whole: type[Engine] = _core.Network
base: list[type[BaseEngine[NDArray[Any]]]] = [_core.Network, reference.Network]
wrong: type[Engine] = reference.Network  # type: ignore[assignment]

"""The part of `Sequential` that its helpers use. It imports them, so they name this protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..alignment import Alignment
    from ..backends.protocol import Backend, Engine
    from ..layers import Layer
    from ..losses import Function, Loss
    from ..optimizers import Optimizer
    from ..rules import Rule
    from .history import History
    from .network_checks import Weighted
    from .tensors import Tensors
    from .validation import InputValidator


class Model(Protocol):
    """A `Sequential`, public and private."""

    layers: tuple[Layer, ...]
    loss: str | Loss | Function
    rule: Rule
    optimizer: Optimizer
    dtype: str
    seed: int
    input_scale: str | float

    _engine: Engine
    _weighted: list[Weighted]
    _validator: InputValidator
    _schedule: Callable[[int], float] | None
    _history: History | None

    @property
    def parameters(self) -> Tensors: ...
    @property
    def feedback(self) -> Tensors: ...
    @property
    def lr(self) -> float: ...
    @property
    def device(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    def save(self, file: str, /) -> None: ...
    def stop(self) -> None: ...
    def alignment(
        self, x: Any, y: Any, sample_weight: Any = None, /, *, fields: Sequence[str] | None = None
    ) -> Sequence[Alignment]: ...
    def feedback_matrix(self, index: int, /) -> Any: ...
    def _restore(
        self, backend: Backend, engine: Engine, schedule: Callable[[int], float] | None, /
    ) -> None: ...

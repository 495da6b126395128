"""The part of `Sequential` that its helpers use. It imports them, so they name this protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..alignment import Alignment
    from ..backends.protocol import Backend, Engine
    from ..layers import Layer
    from ..losses import Function, Loss
    from ..optimizers import Optimizer
    from ..rules import Rule
    from ..schedules import Plateau, PlateauRecord
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
    compute: str
    seed: int
    input_scale: str | float
    data_format: str

    _backend: Backend
    _engine: Engine
    _weighted: list[Weighted]
    _validator: InputValidator
    _schedule: Callable[[int], float] | None
    _plateau: PlateauRecord | None
    _history: History | None
    _threads: int

    def _rates(self, count: int, /) -> NDArray[np.float64] | None: ...
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
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any], /) -> None: ...
    def save(self, file: str, /) -> None: ...
    def stop(self) -> None: ...
    def alignment(
        self, x: Any, y: Any, sample_weight: Any = None, /, *, fields: Sequence[str] | None = None
    ) -> Sequence[Alignment]: ...
    def feedback_matrix(self, index: int, /) -> Any: ...
    def _restore(
        self,
        backend: Backend,
        engine: Engine,
        schedule: Callable[[int], float] | Plateau | None,
        /,
    ) -> None: ...

"""Types of the C engine; `backends.reference.Network` has the same protocol."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypedDict, type_check_only

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer, disjoint_base

from ._internal.samples import Inputs

NAMES: Final[dict[str, list[str]]]
POLL_SECONDS: Final[float]

@type_check_only
class Option(TypedDict):
    name: str
    kind: Literal["number", "integer", "flag", "text"]
    default: float | str
    low: float
    high: float
    low_excluded: bool
    high_excluded: bool
    is_field: bool
    meaning: str

def options(kind: str, owner: str) -> tuple[Option, ...]: ...
def default_init(activation: str) -> str: ...
def version() -> str: ...
def build_info() -> dict[str, Any]: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def memory() -> tuple[int, int]: ...
def check_file(path: bytes) -> bool: ...

@disjoint_base
class Network:
    description: dict[str, Any]
    dtype: np.dtype[Any]
    n_in: int
    n_out: int
    n_threads: int
    parameters: dict[str, NDArray[Any]]
    feedback: dict[str, NDArray[Any]]
    slots: dict[str, list[NDArray[Any]]]
    stream: dict[str, NDArray[Any]]
    recurrent: bool
    layers: list[dict[str, Any]]
    counts: dict[str, int]
    lr: float
    @property
    def steps(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def trained(self) -> list[str]: ...
    def __init__(self, description: dict[str, Any]) -> None: ...
    def check(
        self,
        x: Inputs,
        labels: NDArray[np.int64] | None,
        y: Inputs | None,
        weights: NDArray[np.float64] | None,
    ) -> None: ...
    def check_targets(
        self,
        n: int,
        labels: NDArray[np.int64] | None,
        y: Inputs | None,
        weights: NDArray[np.float64] | None,
    ) -> None: ...
    def check_inputs(self, x: Inputs) -> None: ...
    def shuffle(self, n: int) -> NDArray[np.int64]: ...
    def train_batch_direct(self, x: object, y: object) -> float | None: ...
    def learn_one_direct(self, x: object, y: object) -> float | None: ...
    def predict_one_direct(self, x: object) -> NDArray[Any] | None: ...
    def step_direct(self, x: object, y: object) -> tuple[NDArray[Any], float | None] | None: ...
    def stream_step(
        self, x: NDArray[Any], label: int, y: NDArray[Any] | None
    ) -> tuple[NDArray[Any], float | None]: ...
    def reset_stream(self) -> None: ...
    def train_batch(
        self,
        x: Inputs,
        labels: NDArray[np.int64] | None,
        y: Inputs | None,
        weights: NDArray[np.float64] | None,
    ) -> float: ...
    def trim(self) -> None: ...
    def train_steps(
        self,
        x: Inputs,
        labels: NDArray[np.int64] | None,
        y: Inputs | None,
        weights: NDArray[np.float64] | None,
        order: NDArray[np.int64] | None,
        batch_size: int,
        first: int,
        count: int,
        lrs: NDArray[np.float64] | None = None,
        poll: Callable[[int], object] | None = None,
        poll_seconds: float = ...,
        *,
        checked: bool = False,
        augment: tuple[bool, int] | None = None,
    ) -> tuple[float, float, int, int]: ...
    def predict(
        self, x: Inputs, logits: bool = False, out: NDArray[Any] | None = None
    ) -> NDArray[Any]: ...
    def evaluate(
        self,
        x: Inputs,
        labels: NDArray[np.int64] | None,
        y: Inputs | None,
        weights: NDArray[np.float64] | None,
        *,
        checked: bool = False,
    ) -> tuple[float, float]: ...
    def gradients(
        self,
        x: Inputs,
        labels: NDArray[np.int64] | None,
        y: Inputs | None,
        weights: NDArray[np.float64] | None,
        feedback: bool = False,
    ) -> tuple[float, dict[str, NDArray[Any]]]: ...
    def apply_gradients(self, gradients: Mapping[str, NDArray[Any]]) -> None: ...
    def deltas(
        self,
        x: Inputs,
        labels: NDArray[np.int64] | None,
        y: Inputs | None,
        weights: NDArray[np.float64] | None,
    ) -> list[NDArray[Any] | None]: ...
    def alignment(
        self,
        x: Inputs,
        labels: NDArray[np.int64] | None,
        y: Inputs | None,
        weights: NDArray[np.float64] | None,
    ) -> list[dict[str, Any]]: ...
    def has_feedback_matrix(self, index: int) -> bool: ...
    def feedback_matrix(self, index: int) -> NDArray[Any]: ...
    def write(self, key: str, values: NDArray[Any]) -> None: ...
    @staticmethod
    def load(data: Buffer, rules: Callable[[int, str | None], object]) -> Network: ...
    @staticmethod
    def load_path(path: bytes, rules: Callable[[int, str | None], object]) -> Network: ...
    @staticmethod
    def load_from(
        read: Callable[[int], bytes], rules: Callable[[int, str | None], object]
    ) -> Network: ...
    def save(self, path: bytes) -> None: ...
    def dumps(self) -> bytes: ...
    note: str | None
    def reset(self) -> None: ...
    def state(self) -> bytes: ...
    def restore(self, state: bytes) -> None: ...
    def set_loss(self, function: Callable[..., Any]) -> None: ...

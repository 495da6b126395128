"""The contract between `Sequential` and the engines that run a network, on whatever device.

An engine is made from a plain description (dictionaries, strings, numbers, arrays) and holds one
network. Its caller has checked all arguments but the values of samples: an `Engine` refuses wrong
ones by a ValueError, the NumPy reference refuses nothing. Samples are x (m, n_in) in the network's
dtype or uint8; either labels (m,) or rows y (m, n_out), the other None; weights (m,) or None.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import numpy as np

from .._internal.samples import Batch, Inputs
from .._internal.validation import InputValidator

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Backend", "BaseEngine", "Engine", "StreamEngine"]

Array: TypeAlias = "NDArray[Any]"
Labels: TypeAlias = "NDArray[np.int64] | None"
Weights: TypeAlias = "NDArray[np.float64] | None"
# Of some steps: the sum of loss times rows, the sum of correct rows, the rows, the steps.
Sums: TypeAlias = tuple[float, float, int, int]
# find(layer, note): the object of a rule that is written in Python; layer -1 is the network's.
FindRule: TypeAlias = Callable[[int, str | None], object]
X = TypeVar("X", contravariant=True)  # the kinds of arrays that an engine takes as samples


class BaseEngine(Protocol[X]):
    """What every backend does, the NumPy reference too."""

    lr: float
    n_threads: int

    def __init__(self, description: dict[str, Any]) -> None: ...
    @property
    def description(self) -> dict[str, Any]:
        """The plain data that the network was made from."""

    @property
    def n_in(self) -> int:
        """Number of inputs."""

    @property
    def n_out(self) -> int:
        """Number of outputs."""

    @property
    def parameters(self) -> dict[str, Array]:
        """Live writable weights and biases by key, "0.weight"."""

    @property
    def feedback(self) -> dict[str, Array]:
        """Live writable feedback tensors by key, "0.feedback"."""

    @property
    def layers(self) -> list[dict[str, Any]]:
        """How each `Dense` learns: index, rule, inject, source, feedback, trainable, needed."""

    @property
    def steps(self) -> int:
        """Steps taken so far."""

    @property
    def epochs(self) -> int:
        """Epochs begun so far."""

    def train_batch(self, x: X, labels: Labels, y: X | None, weights: Weights) -> float:
        """One step at the rate `lr`; the mean loss before the update."""

    def train_steps(
        self,
        x: X,
        labels: Labels,
        y: X | None,
        weights: Weights,
        order: NDArray[np.int64] | None,
        batch_size: int,
        first: int,
        count: int,
        lrs: NDArray[np.float64] | None = None,
        poll: Callable[[int], object] | None = None,
    ) -> Sums:
        """Batches first..first+count-1 of an epoch in `order`; a true `poll(step)` ends it."""

    def shuffle(self, n: int) -> NDArray[np.int64]:
        """The order (n,) of the next epoch; counts the epochs."""

    def trim(self) -> None:
        """Give back the memory that training keeps beyond a batch of `train_batch`."""

    def predict(self, x: X, logits: bool = False) -> Array:
        """Outputs (m, n_out), or the logits that they are made of."""

    def evaluate(self, x: X, labels: Labels, y: X | None, weights: Weights) -> tuple[float, float]:
        """Mean loss, and the accuracy or nan."""

    def gradients(
        self, x: X, labels: Labels, y: X | None, weights: Weights, feedback: bool = False
    ) -> tuple[float, dict[str, Array]]:
        """Mean loss, and what the next step would hand to the optimizer, by parameter key.

        With `feedback` also that of feedback which learns.
        """

    @property
    def trained(self) -> list[str]:
        """Keys of what the optimizer changes: weights, biases, feedback that learns."""

    def apply_gradients(self, gradients: dict[str, Array]) -> None:
        """The optimizer's step at the rate `lr` on the keys given; all weights and biases are."""

    def deltas(self, x: X, labels: Labels, y: X | None, weights: Weights) -> list[Array | None]:
        """D_l (m, n_l) of each `Dense` in the next step; None where none is computed."""

    def alignment(
        self, x: X, labels: Labels, y: X | None, weights: Weights
    ) -> list[dict[str, Any]]:
        """The angles of `Alignment` for each hidden `Dense`."""

    def feedback_matrix(self, index: int) -> Array:
        """A copy of the matrix (n_source, n_l) that carries the source to hidden layer `index`."""

    def write(self, key: str, values: Array) -> None:
        """Copy values into a parameter or a feedback tensor."""

    def reset(self) -> None:
        """Start over from the seed."""


class Engine(BaseEngine[Inputs], Protocol):
    """What `Sequential` needs beyond that: files, data in pieces, and calls without conversion.

    The direct calls take plain arrays as they come. They return None, and change nothing, where
    arguments need conversion or have wrong values: then the caller validates them.
    """

    note: str | None  # text that goes into the file

    def set_loss(self, function: Callable[..., Any]) -> None:
        """Give the loss "custom" its function, which files do not hold."""

    def check(self, x: Inputs, labels: Labels, y: Inputs | None, weights: Weights) -> None:
        """ValueError for a value that the network does not take."""

    def check_targets(self, n: int, labels: Labels, y: Inputs | None, weights: Weights) -> None:
        """The same for the targets and weights of n samples alone."""

    def predict(self, x: Inputs, logits: bool = False, out: Array | None = None) -> Array:
        """As `BaseEngine.predict`, into `out` if it is given."""

    def train_steps(
        self,
        x: Inputs,
        labels: Labels,
        y: Inputs | None,
        weights: Weights,
        order: NDArray[np.int64] | None,
        batch_size: int,
        first: int,
        count: int,
        lrs: NDArray[np.float64] | None = None,
        poll: Callable[[int], object] | None = None,
        *,
        checked: bool = False,
        augment: tuple[bool, int] | None = None,
    ) -> Sums:
        """As `BaseEngine.train_steps`; `checked`: by `check`, so values need no look.

        `augment` is (flip, crop) of an `Augment`.
        """

    def evaluate(
        self,
        x: Inputs,
        labels: Labels,
        y: Inputs | None,
        weights: Weights,
        *,
        checked: bool = False,
    ) -> tuple[float, float]:
        """As `BaseEngine.evaluate`; `checked` as in `train_steps`."""

    def has_feedback_matrix(self, index: int) -> bool:
        """Whether `feedback_matrix` has one for this layer."""

    def train_batch_direct(self, x: object, y: object) -> float | None:
        """`train_batch` without validation, or None."""

    def learn_one_direct(self, x: object, y: object) -> float | None:
        """One step on one sample without validation, or None."""

    def predict_one_direct(self, x: object) -> Array | None:
        """The outputs of one sample without validation, or None: also if one is not finite."""

    def save(self, path: bytes) -> None:
        """Write the network to a file."""

    def dumps(self) -> bytes:
        """The bytes of that file."""

    def state(self) -> bytes:
        """Counters, learning rate, parameters, feedback and slots: the same bytes on any device."""

    def restore(self, state: bytes) -> None:
        """Continue from what `state` returned, also on another device."""


class StreamEngine(Engine, Protocol):
    """What an engine with recurrent layers does besides."""

    @property
    def stream(self) -> dict[str, Array]:
        """Live writable states and traces by key, "0.state"."""

    def step_direct(self, x: object, y: object) -> tuple[Array, float | None] | None:
        """`stream_step` without validation, or None."""

    def stream_step(self, x: Array, label: int, y: Array | None) -> tuple[Array, float | None]:
        """One step of a stream: outputs, and the loss or None; label -1 and y None: no target."""

    def reset_stream(self) -> None:
        """Forget the stream."""


class Together(Protocol):
    """Networks on one device that train at the same time, each called by a thread of its own."""

    def with_member(self, net: Any, /) -> AbstractContextManager[None]:
        """While a network, an engine of the backend, trains as one of them."""


class Backend(Protocol):
    """A device, and how networks get onto it."""

    @property
    def device(self) -> str:
        """Its name, "cpu" or "cuda:0"."""

    def create(self, description: dict[str, Any]) -> Engine:
        """A new network."""

    def load(self, data: bytes, rules: FindRule) -> Engine:
        """The network in the bytes of a file."""

    def load_path(self, path: bytes, rules: FindRule) -> Engine:
        """The network in a file."""

    def load_from(self, read: Callable[[int], bytes], rules: FindRule) -> Engine:
        """The network in a stream; `read(n)` returns its next 1 to n bytes."""

    def validator(
        self,
        n_in: int | tuple[int, ...],
        n_out: int,
        loss: str,
        dtype: str,
        input_scale: str | float,
    ) -> InputValidator:
        """What checks the samples of such a network."""

    def placed(self, engine: Engine, batch: Batch) -> Batch:
        """Samples for many calls of `train_steps` and `evaluate`: where the engine reads them."""

    def inspected(self, engine: Engine) -> Engine:
        """An engine on the CPU with the numbers of `engine`: itself, or its twin there."""

    def together(self) -> Together | None:
        """A new group of networks for `fit_replicas`; None: they need not know of each other."""

    def on_host(self, name: str, value: Any) -> Any:
        """`value`, or a copy in the memory of the CPU if it is an array on this device."""

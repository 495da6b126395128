"""Validation of samples for a network on a GPU: arrays there, and arrays of the CPU.

Shapes and dtypes of both are checked by the same text. The inputs of a GPU array stay where they
are. Targets and weights are few: they are copied to the CPU. The engine looks at the values, and
after it has refused some, copies on the CPU say which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._internal.refusals import Naming
from ..._internal.samples import Inputs, Samples, Unread, UnreadBatch
from ..._internal.validation import InputValidator
from .arrays import Array, as_gpu_array, is_gpu_array, to_host
from .gpu import on_gpu

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["GPUInputValidator"]


class GPUInputValidator(InputValidator):
    """Converts and checks arrays for a network on a GPU."""

    takes_sparse = False  # there are no kernels for it

    def __init__(
        self,
        gpu: int,
        n_in: int | tuple[int, ...],
        n_out: int,
        loss: str,
        dtype: DTypeLike,
        input_scale: str | float = "auto",
    ) -> None:
        super().__init__(n_in, n_out, loss, dtype, input_scale)
        self.gpu = gpu

    def _unread(
        self,
        value: ArrayLike,
        name: str,
        hint: str = "",
        names: tuple[str | int, ...] | None = None,
    ) -> NDArray[Any]:
        if not is_gpu_array(value):
            return super()._unread(value, name, hint, names)
        array: NDArray[Any] = as_gpu_array(name, value, self.gpu)
        if array.dtype.kind not in "biuf":
            super()._unread(np.empty(0, array.dtype), name, hint, names)  # raises
        return array

    def outputs(self, inputs: Unread) -> NDArray[Any] | None:
        """None for inputs on the GPU, whose outputs the engine puts there."""
        return super().outputs(inputs) if isinstance(inputs.array, np.ndarray) else None

    def read_inputs(self, x: Unread, whole: bool = False) -> Inputs:
        """X as (m, n_in), where it is."""
        if isinstance(x.array, np.ndarray):
            return super().read_inputs(x, whole)
        array: Array = x.array
        if array.dtype == np.uint8:
            self._warn_of_small_bytes(_Rows(array), x.name)
        dtype = self._dtype_for(array)
        with on_gpu(self.gpu):
            flat = array.reshape(len(array), self.n_in)
            if flat.dtype != dtype or not flat.flags.c_contiguous:
                flat = flat.astype(dtype, order="C")
        inputs: Inputs = flat
        return inputs

    def naming(self, given: UnreadBatch) -> Naming:
        """As that of the base, which reads values on the CPU."""
        return _HostNaming(given, self.loss, self.n_out, self.dtype)

    def _read_targets(
        self, y: Unread, whole: bool
    ) -> tuple[NDArray[np.int64] | None, Samples | None]:
        return super()._read_targets(_on_host(y), whole)

    def _read_weights(self, weights: Unread) -> NDArray[np.float64]:
        return super()._read_weights(_on_host(weights))


def _on_host(given: Unread) -> Unread:
    if isinstance(given.array, np.ndarray):
        return given
    return given._replace(array=to_host(given.array))


class _HostNaming(Naming):
    """Looks for the refused value in copies on the CPU, made when there is one."""

    __slots__ = ()

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if kind is ValueError:
            x, y, weights = (None if each is None else _on_host(each) for each in self.given)
            assert x is not None
            self.given = UnreadBatch(x, y, weights)
        super().__exit__(kind, *details)


class _Rows:
    """Rows of an array on a GPU, copied to the CPU when they are read."""

    def __init__(self, array: Array) -> None:
        self.array, self.shape = array, array.shape

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return to_host(self.array[rows])

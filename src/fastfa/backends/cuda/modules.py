"""Compiled kernels, one small module for each: compiled when first used, and kept."""

from __future__ import annotations

from threading import RLock
from typing import Any

from . import kernels

__all__ = ["compiled"]

_functions: dict[tuple[Any, int, kernels.Kernel], Any] = {}
_lock = RLock()


def compiled(cupy: Any, gpu: int, kernel: kernels.Kernel) -> Any:
    """The function of a kernel; calling it launches the kernel in the current stream."""
    key = (cupy.RawModule, gpu, kernel)
    function = _functions.get(key)
    if function is None:
        with _lock:
            module = cupy.RawModule(code=kernels.source([kernel]), options=kernels.OPTIONS)
            function = _functions[key] = module.get_function(kernel.entry)
    return function

"""Compiled kernels, one small module for each: compiled when first used, and kept."""

from __future__ import annotations

from threading import RLock
from typing import Any

from . import kernels, one_block

__all__ = ["compiled", "compiled_together"]

STATIC = 48 << 10  # bytes of shared memory that a block has without asking for more

_functions: dict[tuple[Any, int, kernels.Kernel], Any] = {}
_together: dict[tuple[Any, int, tuple[kernels.Kernel, ...]], tuple[Any, int]] = {}
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


def compiled_together(cupy: Any, gpu: int, chosen: tuple[kernels.Kernel, ...]) -> tuple[Any, int]:
    """The function that trains networks with these kernels, each by a block.

    And the bytes of shared memory that a launch may ask for.
    """
    key = (cupy.RawModule, gpu, chosen)
    with _lock:
        if key not in _together:
            module = cupy.RawModule(code=one_block.source(chosen), options=kernels.OPTIONS)
            function = module.get_function(one_block.entry(chosen[0].dtype))
            limit = cupy.cuda.Device(gpu).attributes["MaxSharedMemoryPerBlockOptin"]
            most = max(STATIC, int(limit)) - int(function.shared_size_bytes)
            function.max_dynamic_shared_size_bytes = most
            _together[key] = function, most
    return _together[key]

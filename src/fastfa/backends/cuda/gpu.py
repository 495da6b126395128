"""A GPU: finding CuPy, its driver and the device, or an error that says what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..._internal.checks import mismatch, quote

__all__ = ["cupy_module", "find_gpu", "on_gpu"]

_INSTALL = (
    'pip install "cupy-cuda13x[ctk]", or "cupy-cuda12x[ctk]" for a driver of CUDA 12; in a '
    'checkout of fastfa also pip install ".[cuda13]"'
)
_first_process: list[int] = []  # that used a GPU: its children cannot


def cupy_module() -> Any:
    """CuPy, imported when a device is first named: it takes a third of a second."""
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            f'device "cuda": expected the package CuPy, got none: {error}; install it: {_INSTALL}'
        ) from error
    return cupy


def find_gpu(index: int | None) -> int:
    """The number of a GPU that is there; None: of the current one of CuPy."""
    cupy = cupy_module()
    _check_process()
    try:
        if getattr(cupy.cuda.runtime, "is_hip", False):
            raise RuntimeError("this CuPy is for GPUs of AMD")
        count = cupy.cuda.runtime.getDeviceCount()
        current = int(cupy.cuda.runtime.getDevice())
    except RuntimeError as error:
        raise RuntimeError(
            f'device "cuda": expected a GPU of NVIDIA and its driver, got none: {error}; '
            'device="cpu" gives the same bits'
        ) from error
    if index is not None and index >= count:
        found = " or ".join(f'"cuda:{i}"' for i in range(count))
        raise ValueError(mismatch("device", found, quote(f"cuda:{index}")))
    if not _first_process:
        _first_process.append(os.getpid())
    return current if index is None else index


@contextmanager
def on_gpu(index: int) -> Iterator[Any]:
    """CuPy, with a GPU as its current device."""
    _check_process()
    cupy = cupy_module()
    with cupy.cuda.Device(index):
        yield cupy


def _check_process() -> None:
    if _first_process and _first_process[0] != os.getpid():
        raise RuntimeError(
            'device "cuda": expected the process that began to use the GPU, got a child that was '
            'forked from it; start processes by "spawn": '
            'multiprocessing.get_context("spawn")'
        )

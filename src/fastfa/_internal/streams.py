"""Reading and writing the bytes of a network through file objects."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Protocol

from .checks import show


class Readable(Protocol):
    """A binary file, or an object that reads like one."""

    def read(self, n: int, /) -> bytes | None: ...


class Writable(Protocol):
    """A binary file, or an object that writes like one."""

    def write(self, data: bytes, /) -> object: ...


def reader(file: Any) -> Callable[[int], bytes]:
    """A function that returns the next 1 to n bytes of a file."""
    taken = 0

    def read(n: int) -> bytes:
        nonlocal taken
        piece = None if isinstance(file, io.TextIOBase) else file.read(n)
        if isinstance(piece, str) or isinstance(file, io.TextIOBase):
            raise TypeError('file: expected one open in binary mode, "rb", got a text file')
        if piece is None:
            raise BlockingIOError(f"file: nothing to read yet after {taken} bytes; make it block")
        if not isinstance(piece, (bytes, bytearray, memoryview)) or len(piece) > n:
            raise TypeError(f"file.read({n}): expected at most {n} bytes, got {show(piece)}")
        if not piece:
            raise ValueError(f"network: expected more bytes, got only {taken} bytes")
        taken += len(piece)
        return bytes(piece)

    return read


def write(file: Any, data: bytes) -> None:
    """Write all of `data`; the file may take a part of it at a time."""
    if isinstance(file, io.TextIOBase):
        raise TypeError('file: expected one open in binary mode, "wb", got a text file')
    left: Any = data
    while left:
        n = file.write(left)
        if n is None and isinstance(file, io.RawIOBase):
            raise BlockingIOError(
                f"file: took {len(data) - len(left)} of {len(data)} bytes; make it block"
            )
        if n is None:  # many file-like objects return nothing
            return
        if not isinstance(n, int) or not 0 < n <= len(left):
            raise OSError(
                f"file.write: expected a number of bytes from 1 to {len(left)}, got {show(n)}"
            )
        left = memoryview(left)[n:]

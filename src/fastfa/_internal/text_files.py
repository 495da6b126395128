"""Logs and results that grow by whole lines; a kill or a full disk may truncate the last line."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from io import FileIO

__all__ = ["append_lines", "first_line", "is_json"]

BLOCK = 1 << 16


def append_lines(
    path: str | os.PathLike[str], text: str, is_whole: Callable[[str], bool] = bool
) -> None:
    """Append lines, all of them or none; several processes may do so at a time.

    Parameters
    ----------
    path : path-like
        The file is made if it does not exist.
    text : str
        Ends with a line break.
    is_whole : callable
        Whether a last line without a line break is complete. A complete line gets its line break,
        another one is removed.

    Raises
    ------
    OSError
        The file cannot be written; it is as it was.
    """
    import fcntl  # here, so that importing fastfa imports NumPy and little else

    with FileIO(path, "a+") as file:  # unbuffered: a buffer would be written again on closing
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        start, last = _last_line(file)
        if last and not is_whole(last.decode(errors="replace")):
            file.truncate(start)
            last = b""
        end = file.seek(0, os.SEEK_END)
        data = b"\n" * bool(last) + text.encode()
        try:
            while data:
                data = data[file.write(data) :]
        except BaseException:
            with suppress(OSError):
                file.truncate(end)
            raise


def first_line(path: str | os.PathLike[str]) -> str:
    """The first line with its line break, at most one block of it; "" without file or line."""
    with suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
        return file.readline(BLOCK)
    return ""


def is_json(line: str) -> bool:
    """Whether a line is a whole value of JSON."""
    import json  # here: few programs read such files

    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _last_line(file: FileIO) -> tuple[int, bytes]:
    """Position and text of what follows the last line break."""
    at, text = file.seek(0, os.SEEK_END), b""
    while at and b"\n" not in text:
        size = min(at, BLOCK)
        at -= size
        file.seek(at)
        text = (file.read(size) or b"") + text
    last = text[text.rfind(b"\n") + 1 :]
    return at + len(text) - len(last), last

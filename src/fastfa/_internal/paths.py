"""Paths of files, as the operating system takes them."""

from __future__ import annotations

import os

from .checks import show


def is_path(file: object) -> bool:
    """Whether `file` is a path."""
    return isinstance(file, (str, bytes)) or hasattr(file, "__fspath__")


def file_name(path: object, argument: str = "path") -> str | bytes:
    """`path` as the operating system takes it; `argument` is its name in errors."""
    try:
        name: str | bytes = os.fspath(path)  # type: ignore[call-overload]
    except TypeError:
        raise TypeError(f"{argument}: expected a str or a path, got {show(path)}") from None
    if not name:
        raise ValueError(f"{argument}: expected a name, got {show(path)}")
    if (b"\0" if isinstance(name, bytes) else "\0") in name:  # type: ignore[operator]
        raise ValueError(f"{argument}: expected a name without a zero byte, got {show(path)}")
    return name


def check_folder(path: str | bytes | os.PathLike[str]) -> None:
    """Raise if the folder of a file to be written does not exist."""
    folder = os.path.dirname(os.fsdecode(path))
    try:
        os.stat(os.path.join(folder, "."))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            error.errno, f"no directory {folder!r}, make it first", os.fsdecode(path)
        ) from None

"""Where the C library of this installation lies, and the words that compile and link against it."""

from __future__ import annotations

import shlex
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def get_include() -> str:
    """Return the folder of ``fastfa.h``.

    Returns
    -------
    str
        For ``include_dirs`` of an extension, or after ``-I``.

    Examples
    --------
    >>> import fastfa as fa
    >>> from pathlib import Path
    >>> Path(fa.get_include(), "fastfa.h").exists()
    True
    """
    return str(_PACKAGE / "include")


def get_library_dir() -> str:
    """Return the folder of ``libfastfa.a``, ``libfastfa.so``, ``pkgconfig/`` and ``cmake/``.

    Returns
    -------
    str
        For ``library_dirs`` of an extension, or after ``-L``.

    Examples
    --------
    >>> import fastfa as fa
    >>> from pathlib import Path
    >>> Path(fa.get_library_dir(), "libfastfa.a").exists()
    True
    """
    return str(_PACKAGE / "lib")


def cflags() -> str:
    """Words for a compiler, quoted for a shell."""
    return shlex.join([f"-I{get_include()}"])


def libs(static: bool = False) -> str:
    """Words for a linker, quoted for a shell; `static` links the library into the program."""
    folder = get_library_dir()
    if static:
        return shlex.join([f"{folder}/libfastfa.a", "-lm", "-lpthread", "-ldl"])
    return shlex.join([f"-L{folder}", f"-Wl,-rpath,{folder}", "-lfastfa"])

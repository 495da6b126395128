"""Where the C library of this installation lies, and the words that compile and link against it."""

from __future__ import annotations

import os.path

_PACKAGE = os.path.dirname(os.path.abspath(__file__))


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
    return os.path.join(_PACKAGE, "include")


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
    return os.path.join(_PACKAGE, "lib")


def cflags() -> str:
    """Words for a compiler, quoted for a shell."""
    return _quoted(f"-I{get_include()}")


def libs(static: bool = False) -> str:
    """Words for a linker, quoted for a shell; `static` links the library into the program."""
    folder = get_library_dir()
    if static:
        return _quoted(os.path.join(folder, "libfastfa.a"), "-lm", "-lpthread", "-ldl")
    return _quoted(f"-L{folder}", f"-Wl,-rpath,{folder}", "-lfastfa")


def _quoted(*words: str) -> str:
    import shlex  # here: no program that trains needs it

    return shlex.join(words)

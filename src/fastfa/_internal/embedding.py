"""Where the C library of this installation is, and the options that compile and link with it."""

from __future__ import annotations

import os.path

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


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
    """Compiler options for a shell: ``cc program.c $(python -m fastfa --cflags --libs)``."""
    return _words("-I", get_include())


def libs(static: bool = False) -> str:
    """Linker options for a shell; `static` links the library into the program."""
    folder = get_library_dir()
    if static:
        return _words(os.path.join(folder, "libfastfa.a"), "-lm", "-lpthread", "-ldl")
    rpath = ("-Xlinker", "-rpath", "-Xlinker", folder)
    return _words("-L", folder, *rpath, "-lfastfa")


def _words(*words: str) -> str:
    """Join words so that a shell splits them again, even where it ignores quotes.

    A shell splits the output of $(...) at white space, quoted or not, and then expands patterns. So
    a path with a space is written as the pattern that matches it, and each path is a separate word
    here, without -I or -L before it.
    """
    import re
    import shlex  # here, because training needs neither

    def written(word: str) -> str:
        if not re.search(r"\s", word):
            return shlex.quote(word)
        return re.sub(r"\s", "[[:space:]]", re.sub(r"[][*?\\'\"$`&;|<>()#~!{}]", "?", word))

    return " ".join(map(written, words))

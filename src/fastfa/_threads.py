"""The number of threads, one setting for the process."""

from __future__ import annotations

from . import _core
from ._checks import integer


def set_num_threads(n: int) -> None:
    """Set how many threads a network may use that names no number of its own.

    Results are the same bits for any number.

    Parameters
    ----------
    n : int >= 0
        0 goes back to the default: the environment variable FASTFA_NUM_THREADS, else
        OMP_NUM_THREADS, else the processors that this process may run on, or the CPU quota of its
        control groups where that is less.
    """
    _core.set_num_threads(integer("n", n, 0, 2**31 - 1))


def get_num_threads() -> int:
    """How many threads a network may use that names no number of its own.

    Returns
    -------
    int
        At least 1.
    """
    return _core.get_num_threads()

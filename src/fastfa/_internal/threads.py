"""The number of threads, one setting for the process."""

from __future__ import annotations

import os.path
import sys
from types import ModuleType
from typing import Any

from .. import _core
from .checks import integer


def set_num_threads(n: int) -> None:
    """Set how many threads a network without a number of its own may use.

    Results are the same bits for any number. `threadpoolctl` can set it too; its ``user_api`` is
    "fastfa".

    Parameters
    ----------
    n : int >= 0
        0 restores the default: the environment variable FASTFA_NUM_THREADS, else OMP_NUM_THREADS,
        else the smaller of the number of processors that this process may run on and the CPU quota
        of its control groups.
    """
    _core.set_num_threads(integer("n", n, 0, 2**31 - 1))


def get_num_threads() -> int:
    """How many threads a network without a number of its own may use.

    Returns
    -------
    int
        At least 1.
    """
    return _core.get_num_threads()


_MOST = 64  # FA_MAX_THREADS in C

# ---- threadpoolctl, if the program imports it: fastfa never does ----


def _controller(threadpoolctl: ModuleType) -> type:
    """The class with which threadpoolctl reads and limits the threads of fastfa and of libfastfa.

    The extension exports no symbols, so its Python functions take the place of a library's.
    """
    core = os.path.realpath(_core.__file__)

    class FastfaController(threadpoolctl.LibController):  # type: ignore[misc, name-defined]
        user_api = internal_api = "fastfa"
        filename_prefixes = (os.path.basename(core).lower(), "libfastfa")
        check_symbols = ("fa_get_num_threads",)  # others have a _core of their own

        def get_version(self) -> str:
            if self.filepath == core:
                self.dynlib.fa_get_num_threads = _core.get_num_threads
                self.dynlib.fa_set_num_threads = _core.set_num_threads
            return _core.version()

        def get_num_threads(self) -> int:
            return int(self.dynlib.fa_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.fa_set_num_threads(min(max(num_threads, 1), _MOST))

    return FastfaController


def _register(threadpoolctl: ModuleType) -> None:
    if hasattr(threadpoolctl, "register"):  # from version 3.2 on
        threadpoolctl.register(_controller(threadpoolctl))


class _Watcher:
    """Registers with threadpoolctl when it is imported; the other finders find it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "threadpoolctl":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        from importlib.machinery import SourceFileLoader

        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            run = spec.loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                _register(module)

            spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec


if "threadpoolctl" in sys.modules:
    _register(sys.modules["threadpoolctl"])
sys.meta_path.insert(0, _Watcher())

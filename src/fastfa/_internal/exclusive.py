"""Resources that only one ``fit`` at a time may use: networks, callbacks that record, their files.

There is no lock: a signal handler may run between any two lines, and a lock that another thread
holds while the process forks would stay locked in the child.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from threading import get_ident

__all__ = ["Holder"]

_HOLDERS: dict[Hashable, Holder] = {}


class Holder:
    """One call of ``fit``, in one thread, and the resources that it uses."""

    def __init__(self) -> None:
        self._thread = get_ident()
        self._keys: list[Hashable] = []
        self._over = False

    def take(self, key: Hashable) -> bool:
        """Take `key`: True if it was free, False if a holder has it, this one included."""
        if key in self._keys:
            return False
        self._keys.append(key)  # first, so that `release` frees it in any case
        if _HOLDERS.setdefault(key, self)._over:  # its release was interrupted
            _HOLDERS.pop(key, None)
        return _HOLDERS.setdefault(key, self) is self

    def holds(self, key: Hashable) -> bool:
        """Whether this holder has `key`."""
        return _HOLDERS.get(key) is self

    def release(self) -> None:
        """Free all keys."""
        self._over = True
        for key in self._keys:
            if _HOLDERS.get(key) is self:
                _HOLDERS.pop(key, None)


def _forget_other_threads() -> None:
    """In a forked child only the thread that forked continues its ``fit``."""
    for key, holder in tuple(_HOLDERS.items()):
        if holder._thread != get_ident():
            _HOLDERS.pop(key, None)


os.register_at_fork(after_in_child=_forget_other_threads)

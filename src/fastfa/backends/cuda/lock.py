"""A lock that gives threads their turn: training takes it for each chunk of steps."""

from __future__ import annotations

from threading import Lock, RLock, get_ident
from types import TracebackType

__all__ = ["FairLock"]


class FairLock:
    """A reentrant lock; a thread that releases it and comes again waits behind those that wait."""

    def __init__(self) -> None:
        self._next = Lock()  # held by the thread that is the next to have the lock
        self._lock = RLock()
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        if self._owner == get_ident():
            self._lock.acquire()
        else:
            with self._next:
                self._lock.acquire()
        self._owner = get_ident()
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
        self._lock.release()

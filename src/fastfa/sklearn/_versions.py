"""What depends on the installed version of scikit-learn."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["CallbackSupport", "require", "with_callbacks"]

OLDEST = (1, 6)
_INSTALL = 'pip install scikit-learn, or ".[sklearn]" in a checkout of fastfa'


def require() -> None:
    """Raise an ImportError that says what to install, unless scikit-learn is new enough."""
    oldest = ".".join(map(str, OLDEST))
    try:
        import sklearn
    except ImportError as error:
        raise ImportError(
            f"fastfa.sklearn: expected scikit-learn {oldest} or later, got none; {_INSTALL}"
        ) from error
    version = tuple(map(int, re.findall(r"\d+", sklearn.__version__)[:2]))
    if version < OLDEST:
        raise ImportError(
            f"fastfa.sklearn: expected scikit-learn {oldest} or later, got {sklearn.__version__}; "
            f"{_INSTALL}"
        )


if TYPE_CHECKING:
    CallbackSupport: Any
    F = TypeVar("F", bound=Callable[..., Any])

    def with_callbacks(method: F) -> F: ...
else:
    try:
        from sklearn.callback import CallbackSupportMixin as CallbackSupport
        from sklearn.callback import with_callbacks
    except ImportError:  # before 1.9: nobody can set callbacks

        class CallbackSupport:
            """Stands for scikit-learn's mixin."""

        def with_callbacks(method):
            """Stands for scikit-learn's decorator."""
            return method

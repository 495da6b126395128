"""fastfa: train neural networks by feedback alignment and its relatives, and by backpropagation.

One keyword, ``rule="dfa"``, selects how the error reaches the hidden layers. The engine is a C
library; this package describes networks to it. Importing fastfa imports NumPy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._core import build_info
from ._core import version as _version
from ._internal.embedding import get_include, get_library_dir
from ._internal.loading import check_file, load
from ._internal.progress import set_verbose
from ._internal.rule_context import RuleContext
from ._internal.threads import get_num_threads, set_num_threads
from .alignment import Alignment
from .callbacks import Callback, Checkpoint, CSVLogger, EarlyStopping, History
from .feedback import Feedback
from .initializers import Init
from .layers import Dense, Dropout
from .optimizers import SGD, Adam, AdamW, RMSprop
from .replicas import Replica, Replicas, fit_replicas
from .rules import (
    BRSF,
    DFA,
    DKP,
    DRTP,
    FA,
    FRSF,
    IFA,
    KP,
    LDFA,
    PEPITA,
    SDFA,
    USF,
    Backprop,
    Frozen,
    Local,
    Rule,
    Ternary,
)
from .sequential import Sequential

__version__: str = _version()  # not from build_info(), which opens BLAS

__all__ = [
    "BRSF",
    "DFA",
    "DKP",
    "DRTP",
    "FA",
    "FRSF",
    "IFA",
    "KP",
    "LDFA",
    "PEPITA",
    "SDFA",
    "SGD",
    "USF",
    "Adam",
    "AdamW",
    "Alignment",
    "Backprop",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Feedback",
    "Frozen",
    "History",
    "Init",
    "Local",
    "RMSprop",
    "Replica",
    "Replicas",
    "Rule",
    "RuleContext",
    "Sequential",
    "Ternary",
    "build_info",
    "check_file",
    "fit_replicas",
    "get_include",
    "get_library_dir",
    "get_num_threads",
    "load",
    "set_num_threads",
    "set_verbose",
]

_LAZY = {  # modules that are imported when they are first used, by their name here
    "datasets": "datasets",
    "demo": "experiments.demo",
    "plot": "plot",
    "presets": "experiments.presets",
    "reproduce": "experiments.reproduce",
    "sklearn": "sklearn",
}

if TYPE_CHECKING:
    from . import callbacks as callbacks
    from . import datasets as datasets
    from . import plot as plot
    from . import sklearn as sklearn
    from .experiments import demo as demo
    from .experiments import presets as presets
    from .experiments import reproduce as reproduce
else:  # or else type checkers would accept any name

    def __getattr__(name):
        """Import a module of _LAZY when it is first asked for."""
        if name in _LAZY:
            from importlib import import_module

            return import_module(f"{__name__}.{_LAZY[name]}")
        from ._internal.checks import nearest, show

        names = [*globals()["__all__"], *_LAZY, "callbacks"]
        close = nearest(name, names, 0.75)
        raise AttributeError(
            f"module {__name__!r} has no attribute {show(name)}" + (f" ({close})" if close else "")
        )


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})

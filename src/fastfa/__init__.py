"""fastfa: train neural networks by feedback alignment and its relatives, and by backpropagation.

One keyword, ``rule="dfa"``, selects how the error reaches the hidden layers. The engine is a C
library; this package describes networks to it. Importing fastfa imports NumPy only.

Start here:

>>> import fastfa as fa
>>> X, y, X_test, y_test = fa.datasets.load("digits")  # images of 8 x 8 pixels, in the package
>>> layers = [fa.Dense(64, "tanh"), fa.Dense(10)]
>>> net = fa.Sequential(layers, input_shape=64, rule="dfa", optimizer=fa.SGD(0.1), rng=0)
>>> history = net.fit(X, y, epochs=20, validation_data=(X_test, y_test), verbose=False)
>>> net.evaluate(X_test, y_test)["accuracy"] > 0.9
True
>>> net.alignment(X[:500], y[:500])[0].delta_angle < 90  # degrees to backprop's signal
True
>>> net.save("digits.safetensors")  # doctest: +SKIP
>>> net = fa.load("digits.safetensors")  # doctest: +SKIP

Rules: backprop, fa, dfa, sdfa, drtp, usf, frsf, brsf, kp, dkp, ternary, ifa, ldfa, local, pepita,
frozen (hidden layers that do not learn, the baseline); and your own, see ``help(fa.Rule)``.

Where to look:

=======================================  ==========================================================
rules, with their equations and sources  ``help(fa.rules)``, and ``help(fa.DFA)`` for one of them
networks, training                       ``help(fa.Sequential)``, ``help(fa.Dense)``
sequences and streams                    ``help(fa.Recurrent)``
losses                                   ``help(fa.losses)``
feedback matrices                        ``help(fa.Feedback)``
learning rates that change               ``help(fa.schedules)``
callbacks                                ``help(fa.callbacks)``
many networks at a time                  ``help(fa.fit_replicas)``
modules of PyTorch                       ``help(fa.from_torch)``, and ``net.to_torch()``
pictures                                 ``help(fa.plot)``
a comparison of the rules, in seconds    ``python -m fastfa demo`` in a shell
published experiments                    ``python -m fastfa reproduce list``
the C library                            ``fa.get_include()``, ``python -m fastfa --cflags --libs``
mathematics, files, decisions            the folder docs/ of the repository; it is not installed
=======================================  ==========================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._core import build_info
from ._core import version as _version
from ._internal.loading import check_file, load
from ._internal.progress import set_verbose
from ._internal.threads import get_num_threads, set_num_threads
from .alignment import Alignment
from .augment import Augment
from .callbacks import Callback, Checkpoint, CSVLogger, EarlyStopping, History
from .feedback import Feedback
from .initializers import Init
from .layers import (
    Activation,
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Dropout2D,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    LayerNorm,
    MaxPool2D,
    Recurrent,
    RMSNorm,
)
from .losses import Focal, Huber, Pinball, SoftmaxCrossEntropy
from .optimizers import SGD, Adagrad, Adam, AdamW, Lion, NAdam, RAdam, RMSprop
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
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "Alignment",
    "Augment",
    "AvgPool2D",
    "Backprop",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "Conv2D",
    "Dense",
    "Dropout",
    "Dropout2D",
    "EarlyStopping",
    "Feedback",
    "Flatten",
    "Focal",
    "Frozen",
    "GlobalAvgPool2D",
    "GroupNorm",
    "History",
    "Huber",
    "Init",
    "LayerNorm",
    "Lion",
    "Local",
    "MaxPool2D",
    "NAdam",
    "Pinball",
    "RAdam",
    "RMSNorm",
    "RMSprop",
    "Recurrent",
    "Replica",
    "Replicas",
    "Rule",
    "RuleContext",
    "Sequential",
    "SoftmaxCrossEntropy",
    "Ternary",
    "build_info",
    "check_file",
    "fit_replicas",
    "from_torch",
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
    "replicas": "replicas",
    "reproduce": "experiments.reproduce",
    "sklearn": "sklearn",
}
_LAZY_NAMES = {  # what is imported when it is first used, and its module: few programs need it
    "Replica": "replicas",
    "Replicas": "replicas",
    "RuleContext": "_internal.rule_context",
    "fit_replicas": "replicas",
    "from_torch": "_internal.from_torch",
    "get_include": "_internal.embedding",
    "get_library_dir": "_internal.embedding",
}

if TYPE_CHECKING:
    from . import callbacks as callbacks
    from . import datasets as datasets
    from . import plot as plot
    from . import replicas as replicas
    from . import schedules as schedules
    from . import sklearn as sklearn
    from ._internal.embedding import get_include, get_library_dir
    from ._internal.from_torch import from_torch
    from ._internal.rule_context import RuleContext
    from .experiments import demo as demo
    from .experiments import presets as presets
    from .experiments import reproduce as reproduce
    from .replicas import Replica, Replicas, fit_replicas
else:  # or else type checkers would accept any name

    def __getattr__(name):
        """Import a module of _LAZY, or what has one in _LAZY_NAMES, when it is first asked for."""
        from importlib import import_module

        if name in _LAZY:
            return import_module(f"{__name__}.{_LAZY[name]}")
        if name in _LAZY_NAMES:
            value = getattr(import_module(f"{__name__}.{_LAZY_NAMES[name]}"), name)
            globals()[name] = value
            return value
        from ._internal.checks import nearest, show

        names = [*globals()["__all__"], *_LAZY, "callbacks", "schedules"]
        close = nearest(name, names, 0.75)
        raise AttributeError(
            f"module {__name__!r} has no attribute {show(name)}" + (f" ({close})" if close else "")
        )


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_LAZY_NAMES})

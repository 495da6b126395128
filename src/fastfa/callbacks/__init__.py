"""Hooks that `Sequential.fit` calls during training, and the history that it returns."""

from .._internal.history import History
from .alignment import Alignment, AlignmentWarning
from .base import Callback
from .checkpoint import Checkpoint
from .csv_logger import CSVLogger
from .early_stopping import EarlyStopping
from .log import Log
from .tensorboard import TensorBoard

__all__ = [
    "Alignment",
    "AlignmentWarning",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "Log",
    "TensorBoard",
]

"""Layers of a network. These objects describe it; the engine holds the numbers."""

from .base import Layer
from .dense import Dense
from .dropout import Dropout
from .recurrent import Recurrent

__all__ = ["Dense", "Dropout", "Layer", "Recurrent"]

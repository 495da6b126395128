"""Layers of a network. These objects describe it; the engine holds the numbers."""

from .base import Layer
from .conv2d import Conv2D
from .dense import Dense
from .dropout import Dropout
from .flatten import Flatten
from .recurrent import Recurrent
from .weighted import WeightedLayer

__all__ = ["Conv2D", "Dense", "Dropout", "Flatten", "Layer", "Recurrent", "WeightedLayer"]

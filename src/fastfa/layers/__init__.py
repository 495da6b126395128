"""Layers of a network. These objects describe it; the engine holds the numbers."""

from .activation import Activation
from .base import Layer
from .conv2d import Conv2D
from .dense import Dense
from .dropout import Dropout, Dropout2D
from .flatten import Flatten
from .norms import GroupNorm, LayerNorm, RMSNorm
from .pools import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from .recurrent import Recurrent
from .weighted import WeightedLayer

__all__ = [
    "Activation",
    "AvgPool2D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Dropout2D",
    "Flatten",
    "GlobalAvgPool2D",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "MaxPool2D",
    "RMSNorm",
    "Recurrent",
    "WeightedLayer",
]

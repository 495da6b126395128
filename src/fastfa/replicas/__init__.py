"""Many networks on one data set: seeds, learning rates, feedback scales; one network a core."""

from .fit import fit_replicas
from .results import Replica, Replicas

__all__ = ["Replica", "Replicas", "fit_replicas"]

"""Recording how close the learning signals are to backpropagation's."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING

from .._internal.checks import choice, integer, show
from .._internal.progress import warn
from ..alignment import field_names
from .base import RecordingCallback
from .faults import FaultDetector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from .._internal.model import Model


class AlignmentWarning(UserWarning):
    """A hidden layer gets no learning signal or a wrong one; the callback `Alignment` warns."""


class Alignment(RecordingCallback):
    """Record how close each hidden layer's signal is to backpropagation's during training.

    It measures before the first step, then regularly. It warns once, with `AlignmentWarning`, of a
    layer whose deltas are zero, more than 95 degrees from backprop's, or more than 1000 times as
    large as the error in three consecutive measurements; the one before the first step does not
    count.

    Parameters
    ----------
    batch : tuple
        (x, y) or (x, y, sample_weight) to measure on, as for ``net.alignment``. A few hundred
        samples are enough.
    every : int >= 1, default 1
        Number of epochs, or steps, between measurements.
    unit : {"epoch", "step"}, default "epoch"
        "step" makes ``fit`` return to Python after every step, which takes time.
    fields : sequence of str, optional
        Fields to measure and record, as for ``net.alignment``. Without "delta_angle" and
        "error_ratio" there are no warnings of what they show.

    Attributes
    ----------
    step : list of int
        Steps that the network had taken at each measurement, over all calls of ``fit``. Another
        network, or one that was reset, starts new lists, here and below.
    epoch : list of int
        Epochs that it had begun.
    history : dict of int to dict of str to list of float
        By index of the hidden layer, then by field of ``fa.Alignment`` ("delta_angle", ...): one
        entry for each measurement, nan if it has no value.

    Examples
    --------
    >>> import fastfa as fa
    >>> X, y, _, _ = fa.datasets.load("digits")
    >>> net = fa.Sequential([fa.Dense(32, "tanh"), fa.Dense(10)], input_shape=64, rule="dfa", rng=0)
    >>> angles = fa.callbacks.Alignment(batch=(X[:500], y[:500]))
    >>> _ = net.fit(X, y, epochs=3, callbacks=[angles], verbose=False)
    >>> len(angles.history[0]["delta_angle"])
    4
    """

    _SETTINGS = ("batch", "every", "unit", "fields")

    def __init__(
        self,
        batch: tuple[ArrayLike, ...],
        every: int = 1,
        unit: str = "epoch",
        fields: Sequence[str] | None = None,
    ) -> None:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise ValueError(f"batch: expected (x, y) or (x, y, sample_weight), got {show(batch)}")
        self.batch = tuple(batch)
        self.every = integer("every", every, 1)
        self.unit = choice("unit", unit, ("epoch", "step"))
        self.fields = None if fields is None else field_names(fields)
        self._begin(None)
        if unit == "step":  # on the object: with the hook in the class, `fit` would always call it
            self.on_batch_end = self._on_batch_end  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"Alignment(every={self.every}, unit={self.unit!r})"

    def _begin(self, seed: int | None) -> None:
        self.step: list[int] = []
        self.epoch: list[int] = []
        self.history: dict[int, dict[str, list[float]]] = {}
        self._watch = FaultDetector()
        self._seed = seed  # of the network that was measured

    def __copy__(self) -> Alignment:
        return deepcopy(self, {id(self.batch): self.batch})  # with its own lists

    def on_train_begin(self, net: Model) -> None:
        """Measure where the training starts."""
        goes_on = self.step and net.seed == self._seed and net.steps >= self.step[-1]
        if not goes_on:
            self._begin(net.seed)
        if not self.step or self.step[-1] != net.steps:
            self._measure(net)

    def on_epoch_end(self, net: Model, epoch: int, logs: Mapping[str, float]) -> None:
        """Measure if it is time."""
        if self.unit == "epoch" and epoch % self.every == 0:
            self._measure(net)

    def _on_batch_end(self, net: Model, step: int, logs: Mapping[str, float]) -> None:
        if step % self.every == 0:
            self._measure(net)

    def _measure(self, net: Model) -> None:
        rows = net.alignment(*self.batch, fields=self.fields)
        names = field_names(self.fields)
        self.step.append(net.steps)
        self.epoch.append(net.epochs)
        for row in rows:
            of_layer = self.history.setdefault(row.layer, {})
            for name in names:
                value = getattr(row, name)
                of_layer.setdefault(name, []).append(math.nan if value is None else value)
        for message in self._watch.look(net, rows):
            warn(message, AlignmentWarning, raises=True)

"""Metrics besides loss and accuracy: five by name, and functions of the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .checks import choice, entries, mismatch, quote, show
from .loss_kinds import NO_CLASSES
from .subsets import taken

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..backends.protocol import Engine
    from .samples import Batch

Metric: TypeAlias = "Callable[[NDArray[Any], NDArray[Any]], Any]"

ROWS_AT_ONCE = 8192  # of the rows for which predictions are made
EXPECTED = 'a list of names, such as ["f1"], or a mapping, such as {"f1": function}'
RESERVED = ("epoch", "loss", "accuracy", "binary_accuracy", "lr", "time")


# ---- of values: y and prediction (m, n_out) in double ----


def rmse(y: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Root of the mean squared error, the mean over the outputs."""
    return float(np.sqrt(np.mean((y - prediction) ** 2, axis=0)).mean())


def mae(y: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Mean absolute error."""
    return float(np.abs(y - prediction).mean())


def r2(y: NDArray[Any], prediction: NDArray[Any]) -> float:
    """1 - squared error / variance of y, the mean over the outputs.

    An output whose y is constant counts 1 if it is met exactly, else 0.
    """
    error = ((y - prediction) ** 2).sum(axis=0)
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    constant = spread == 0
    share = error / np.where(constant, 1, spread)
    return float(np.where(constant, error == 0, 1 - share).mean())


# ---- of classes: truth and guess (m, n_classes) are true where a sample is of a class ----


def f1(truth: NDArray[np.bool_], guess: NDArray[np.bool_]) -> float:
    """The mean F1 score of the classes that occur in either; nan without any."""
    both = (truth & guess).sum(axis=0)
    either = truth.sum(axis=0) + guess.sum(axis=0)
    scores = 2 * both[either > 0] / either[either > 0]
    return float(scores.mean()) if len(scores) else np.nan


def auc(truth: NDArray[np.bool_], prediction: NDArray[Any]) -> float:
    """The mean area under the ROC curves, each of one class against all others.

    Classes count that some samples have and others have not; nan without any.
    """
    areas = []
    for own, score in zip(truth.T, prediction.T, strict=True):
        n = int(own.sum())
        if 0 < n < len(own):
            _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
            rank = (np.cumsum(counts) - (counts - 1) / 2)[place]  # equal scores share their ranks
            areas.append((rank[own].sum() - n * (n + 1) / 2) / (n * (len(own) - n)))
    return float(np.mean(areas)) if areas else np.nan


OF_VALUES = {"rmse": rmse, "mae": mae, "r2": r2}
OF_CLASSES = ("f1", "auc")


class Metrics:
    """The metrics of one call, by name.

    Parameters
    ----------
    given : None, sequence of str, or mapping of str to str or callable
        As the argument ``metrics`` of `Sequential.fit`.
    loss : str
    n_out : int
    """

    def __init__(self, given: object, loss: str, n_out: int) -> None:
        self.loss, self.n_out = loss, n_out
        self.functions: dict[str, str | Metric] = {}
        if isinstance(given, Mapping):
            pairs = [(f"metrics[{show(name)}]", name, what) for name, what in given.items()]
        elif isinstance(given, Sequence) and not isinstance(given, str):
            names = entries("metrics", given, EXPECTED)
            pairs = [(f"metrics[{i}]", name, name) for i, name in enumerate(names)]
        elif given is None:
            pairs = []
        else:
            hint = f"did you mean [{show(given)}]?" if isinstance(given, str) else ""
            raise TypeError(mismatch("metrics", EXPECTED, show(given), hint))
        for where, name, what in pairs:
            self.functions[_log_name(name)] = _named_or_callable(where, what)

    def __bool__(self) -> bool:
        return bool(self.functions)

    def names(self, prefix: str = "") -> list[str]:
        """The names of the logs."""
        return [prefix + name for name in self.functions]

    def check(self, labels: bool) -> None:
        """Refuse names that have no meaning for the targets, which are `labels` or rows."""
        values = self.loss in NO_CLASSES and not labels
        fitting = tuple(OF_VALUES) if values else OF_CLASSES
        for name, what in self.functions.items():
            if isinstance(what, str) and what not in fitting:
                kind = "values" if values else "classes"
                names = ", ".join(f'"{each}"' for each in fitting)
                expected = f"one of {names} or a function for targets that are {kind}"
                raise ValueError(mismatch(f"metrics[{quote(name)}]", expected, quote(what)))

    def measure(
        self,
        engine: Engine,
        batch: Batch | None,
        rows: NDArray[np.int64] | None = None,
        prefix: str = "",
    ) -> dict[str, float]:
        """All metrics of the samples, or of some `rows` of them, by the names of the logs."""
        if not self.functions or batch is None:
            return {}
        prediction = _predictions(engine, batch, rows)
        labels = batch.labels
        given = batch.y[:] if labels is None and batch.y is not None else labels
        y: NDArray[Any] = np.asarray(given if rows is None else given[rows])  # type: ignore[index]
        if prediction.ndim == 3:  # steps of sequences: those that have a target
            has = y != -1 if labels is not None else ~np.isnan(y).all(axis=-1)
            y, prediction = y[has], prediction[has]
        y, prediction = y.view(), prediction.view()
        y.flags.writeable = prediction.flags.writeable = False  # all functions get these
        result = {}
        for name, what in self.functions.items():
            if isinstance(what, str):
                value = self._by_name(what, y, prediction, labels is not None)
            else:
                own = (y.ravel(), prediction.ravel()) if self.n_out == 1 else (y, prediction)
                value = what(*own)
            result[prefix + name] = _as_number(name, value)
        return result

    def _by_name(self, name: str, y: NDArray[Any], prediction: NDArray[Any], labels: bool) -> float:
        if name in OF_VALUES:
            return OF_VALUES[name](y.astype(float), prediction.astype(float))
        exclusive = labels or self.loss == "softmax_cross_entropy"
        classes = np.arange(self.n_out)
        if exclusive:
            truth = (y if labels else np.argmax(y, axis=1))[:, None] == classes
        else:
            truth = y > 0.5
        if name == "auc":
            return auc(truth, prediction)
        best = np.argmax(prediction, axis=1)[:, None]
        return f1(truth, best == classes if exclusive else prediction > 0.5)


def _log_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError(mismatch("metrics", EXPECTED, f"the name {show(name)}"))
    if name in RESERVED or name.startswith("val_"):
        expected = 'names that no other log has, and without "val_"'
        raise ValueError(mismatch("metrics", expected, quote(name)))
    return name


def _named_or_callable(where: str, what: object) -> str | Metric:
    if callable(what):
        return what
    return choice(where, what, (*OF_VALUES, *OF_CLASSES))


def _predictions(engine: Engine, batch: Batch, rows: NDArray[np.int64] | None) -> NDArray[Any]:
    """What ``predict`` returns for the samples, made in parts; of sequences as y has targets."""
    m = len(batch.x) if rows is None else len(rows)
    shape: tuple[int, ...] = (m, engine.n_out)
    at_once = ROWS_AT_ONCE
    if len(batch.x.shape) == 3:
        times = batch.x.shape[1]
        at_once = max(1, ROWS_AT_ONCE // times)
        if _of_every_step(batch):
            shape = (m, times, engine.n_out)
    outputs = np.empty(shape, engine.description["dtype"])
    for start in range(0, m, at_once):
        part = slice(start, start + at_once)
        x = batch.x[part] if rows is None else taken(batch.x, rows[part])
        engine.predict(x, False, outputs[part])  # into it, also from a GPU
    return outputs


def _of_every_step(batch: Batch) -> bool:
    """Whether sequences have targets in every step."""
    if batch.labels is not None:
        return batch.labels.ndim == 2
    return batch.y is not None and len(batch.y.shape) == 3


def _as_number(name: str, value: Any) -> float:
    try:
        if isinstance(value, (bool, np.bool_, str)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            mismatch(f"metrics[{quote(name)}]", "a function that returns a number", show(value))
        ) from None

"""The arguments of ``fit`` as the task of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .checks import flag, integer, mismatch, show
from .training import Task
from .validation import VALIDATION_NAMES

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..backends.protocol import Engine
    from .samples import Batch, Columns, UnreadBatch
    from .validation import InputValidator

__all__ = ["checked", "fit_task", "unread_validation"]


def checked(validator: InputValidator, engine: Engine, given: UnreadBatch) -> Batch:
    """Samples whose values the engine has checked; its calls on them need not."""
    batch = validator.read(given)
    with validator.naming(given):
        engine.check(*batch)
    return batch


def fit_task(
    validator: InputValidator,
    engine: Engine,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    validation_data: tuple[ArrayLike, ...] | None,
    epochs: int,
    batch_size: int,
    shuffle: bool,
) -> Task:
    """The arguments of ``fit``, checked; the values of arrays last, since they may be many."""
    epochs, batch_size = integer("epochs", epochs, 0), integer("batch_size", batch_size, 1)
    shuffle = flag("shuffle", shuffle)
    given = validator.unread(X, y, sample_weight)
    columns = validator.columns_with(X, y)
    given_validation = unread_validation(validator, validation_data, columns)
    # first: with too many rows for the memory of their order, no value is read
    np.empty(len(given.x.array), np.int64)
    data = checked(validator, engine, given)
    if data.weights is not None and not data.weights.any():
        raise ValueError(mismatch("sample_weight", "a weight above 0", "only zeros"))
    validation = None if given_validation is None else checked(validator, engine, given_validation)
    return Task(
        data=data,
        columns=columns,
        metric=validator.metric(data),
        validation=validation,
        validation_metric=None if validation is None else validator.metric(validation),
        epochs=epochs,
        batch_size=min(batch_size, len(data.x)),
        shuffle=shuffle,
    )


def unread_validation(
    validator: InputValidator, data: tuple[ArrayLike, ...] | None, columns: Columns
) -> UnreadBatch | None:
    """The argument ``validation_data``, of whose arrays nothing is read yet."""
    if data is None:
        return None
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise ValueError(mismatch("validation_data", "(X, y) or (X, y, sample_weight)", show(data)))
    weights = data[2] if len(data) == 3 else None
    return validator.unread(data[0], data[1], weights, VALIDATION_NAMES, columns)

"""Which samples train and which validate, and what each class of them counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import integer, mismatch, number, quote, show
from .loss_kinds import SIDES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .samples import Batch


def check_split(share: object) -> float | None:
    """The argument ``validation_split``."""
    return None if share is None else number("validation_split", share, above=0.0, below=1.0)


def class_labels(batch: Batch, loss: str) -> NDArray[np.int64] | None:
    """The class of each sample, if the targets are labels or the 0 and 1 of one output.

    Of sequences with targets in every step that of each step.
    """
    if batch.labels is not None or batch.y is None:
        return batch.labels
    if loss in SIDES and batch.y.shape[-1] == 1:
        with np.errstate(invalid="ignore"):  # NaN in a step without a target
            return batch.y[:][..., 0].astype(np.int64)
    return None


def split(
    share: float, batch: Batch, loss: str, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that train and rows that validate, both ascending; each class has its share in both.

    They depend on the seed, the number of samples and their classes alone: a second ``fit`` on the
    same data validates on the same samples. A class of one sample trains.
    """
    m = len(batch.x)
    keys = np.random.Philox(key=seed).random_raw(m)  # a stream that no version of NumPy changes
    labels = class_labels(batch, loss)
    one_class = labels is None or labels.ndim > 1  # a sequence has labels of several classes
    classes = np.zeros(m, np.int64) if one_class or labels is None else labels
    _, place, counts = np.unique(classes, return_inverse=True, return_counts=True)
    wanted = share * counts
    most = counts - 1
    chosen = np.minimum(np.floor(wanted).astype(np.int64), most)
    missing = max(1, round(share * m)) - int(chosen.sum())
    by_rest = np.argsort(chosen - wanted, kind="stable")  # the largest remainders first
    chosen[by_rest[chosen[by_rest] < most[by_rest]][: max(missing, 0)]] += 1
    order = np.lexsort((keys, place))  # by class, in random order within each
    rank = np.empty(m, np.int64)
    rank[order] = np.arange(m) - np.repeat(np.cumsum(counts) - counts, counts)
    validates = rank < chosen[place]
    if not validates.any():
        raise ValueError(
            mismatch("validation_split", "samples for both parts", f"{share:g} of {m} samples")
        )
    return np.flatnonzero(~validates), np.flatnonzero(validates)


def rows_of(batch: Batch, rows: NDArray[np.int64]) -> Batch:
    """Some of the samples, copied where they are."""
    parts = (None if part is None else taken(part, rows) for part in batch)
    return type(batch)(*parts)  # type: ignore[arg-type]


def taken(part: Any, rows: NDArray[np.int64]) -> Any:
    """Some rows of an array, copied where it is."""
    device: Any = getattr(
        part, "device", None
    )  # of CuPy, which copies on the current one; or "cpu"
    with device if hasattr(device, "__enter__") else nullcontext():
        return part[rows]


def train_on_rows(
    train_steps: Callable[..., tuple[float, float, int, int]],
    batch: Batch,
    order: NDArray[np.int64],
    steps: tuple[int, int, int],
    rates: NDArray[np.float64] | None,
    poll: Callable[[int], bool],
) -> tuple[float, float, int, int]:
    """Steps on the samples in `order`, which are some of all; `steps` is (size, first, count).

    The engine takes an order of all samples. So whole batches are steps in an order that is longer,
    and the rest, which may be a shorter batch, is a step on a copy of its samples; so is a single
    step. Nothing else is copied.
    """
    size, first, count = steps
    whole = len(order) // size
    n = max(0, min(count, whole - first)) if count > 1 else 0
    sums = (0.0, 0.0, 0, 0)
    if n:
        longer = np.zeros(len(batch.x), np.int64)
        longer[: len(order)] = order
        own = None if rates is None else rates[:n]
        sums = train_steps(*batch, longer, size, first, n, own, poll)
    if n == count or sums[3] < n or (n and poll(0)):
        return sums
    start = (first + n) * size
    rest = rows_of(batch, order[start : start + size])
    own = None if rates is None else rates[n:]
    last = train_steps(*rest, None, len(rest.x), 0, 1, own, poll)
    return tuple(a + b for a, b in zip(sums, last, strict=True))  # type: ignore[return-value]


# ---- weights of classes ----


def check_class_weight(value: object, n_out: int) -> dict[int, float] | str | None:
    """The argument ``class_weight``."""
    if value is None or (isinstance(value, str) and value == "balanced"):
        return value
    expected = 'a mapping of labels to numbers, or "balanced"'
    if isinstance(value, str):
        raise ValueError(mismatch("class_weight", expected, quote(value)))
    if not isinstance(value, Mapping):
        raise TypeError(mismatch("class_weight", expected, show(value)))
    highest = max(n_out, 2) - 1
    return {
        integer("class_weight: label", label, 0, highest): number(
            f"class_weight[{show(label)}]", weight, low=0.0
        )
        for label, weight in value.items()
    }


def with_class_weights(
    batch: Batch,
    of_class: dict[int, float] | str | None,
    loss: str,
    dtype: str,
    rows: NDArray[Any] | None,
) -> Batch:
    """The batch with the weight of each sample multiplied by that of its class.

    "balanced" counts the classes in the `rows` that train, or in all: a class of n of m samples
    has the weight m / (n times the number of classes).
    """
    if of_class is None:
        return batch
    labels = class_labels(batch, loss)
    if labels is None:
        hint = "weigh the samples: sample_weight"
        raise ValueError(mismatch("class_weight", "None for y without labels", "weights", hint))
    if labels.ndim > 1:
        hint = "a sequence has one weight, which counts for all its steps"
        raise ValueError(mismatch("class_weight", "None for y of every step", "weights", hint))
    trained = labels if rows is None else labels[rows]
    if isinstance(of_class, str):
        counts = np.bincount(trained, minlength=int(labels.max()) + 1)
        factors = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    else:
        factors = np.ones(1 + max([int(labels.max()), *of_class]))
        factors[list(of_class)] = list(of_class.values())
    weights = factors[labels] if batch.weights is None else factors[labels] * batch.weights
    if not (weights if rows is None else weights[rows]).any():
        expected = "a weight above 0 for a class that trains"
        raise ValueError(mismatch("class_weight", expected, "only zeros"))
    if weights.max() > np.finfo(dtype).max:  # the engine has looked at the values before
        expected = f"weights that {dtype} holds"
        raise ValueError(mismatch("class_weight", expected, f"{weights.max():g}"))
    return batch._replace(weights=weights)

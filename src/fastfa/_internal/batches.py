"""Training on batches that come one by one: from a generator, a DataLoader, a list, a file.

Each batch is checked and converted when its turn comes, and forgotten after its step, so that the
memory does not depend on how many there are. An iterable begins again in each epoch; an iterator
cannot, and `Batches` says so. The first batch is read before the training begins: what its targets
are decides which accuracy there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .checks import kind, mismatch, show
from .samples import Batch, UnreadBatch
from .training import NO_SUMS, Training

if TYPE_CHECKING:
    from ..backends.protocol import Sums
    from .samples import Columns
    from .validation import InputValidator

__all__ = ["AGAIN", "NO_SAMPLES", "BatchTraining", "Batches"]

NO_SAMPLES = Batch(np.empty((0, 0), np.float32), None, None, None)
ITEM = "(x, y) or (x, y, sample_weight)"
AGAIN = (
    "an iterator cannot start again: give steps_per_epoch=, or what makes a new iterator for each "
    "epoch, such as a list, a DataLoader or an object with __iter__"
)
_END = object()


class Read(NamedTuple):
    """A batch as it was given, and as the engine takes it."""

    given: UnreadBatch
    batch: Batch


class Batches:
    """The batches of one call of ``fit``, in turn; checked, converted, and named in errors.

    Parameters
    ----------
    given : iterable
        Of (x, y) or (x, y, sample_weight).
    steps : int or None
        Batches of an epoch; the next epoch goes on after them, and an iterable starts again at its
        end. None: an epoch is the whole iterable.
    validator : InputValidator
    """

    def __init__(self, given: Iterable[Any], steps: int | None, validator: InputValidator) -> None:
        self.given, self.steps, self.validator = given, steps, validator
        self.iterator = _iterator(given)
        self.starts_again = self.iterator is not given
        self.epoch = self.taken = 0  # the epoch, and the batches of it so far
        self.since_start = 0  # batches from this iterator
        self.first: Read | None = None  # the first batch, before its turn
        self.metric: str | None = None
        self.labels: bool | None = None

    def peek(self, epoch: int) -> Columns:
        """Read the first batch of the first epoch; the columns of training with those it has."""
        self.epoch = epoch
        item = self._next_item()
        if item is _END:
            raise self._empty()
        self.first = self._read(item)
        batch = self.first.batch
        self.metric, self.labels = self.validator.metric(batch), batch.labels is not None
        return self.validator.columns_with(item[0], item[1])

    def begin(self, epoch: int) -> None:
        """Begin an epoch."""
        if self.steps is None and self.epoch != epoch:
            self._start_again()
        self.epoch, self.taken = epoch, 0

    def next(self) -> Read | None:
        """The next batch of the epoch, or None at its end."""
        if self.taken == self.steps:
            return None
        read, self.first = self.first, None
        if read is None:
            item = self._next_item()
            if item is _END and self.taken == 0:
                raise self._empty()
            if item is _END:
                return None
            read = self._read(item)
        self.taken += 1
        return read

    def known_steps(self) -> int | None:
        """How many batches an epoch has, if that is known before its end; for the bar alone."""
        if self.steps is None and isinstance(self.given, Sized):
            with suppress(TypeError):  # a DataLoader of data without a length
                return len(self.given)
        return self.steps

    def _start_again(self) -> None:
        self.iterator, self.since_start = _iterator(self.given), 0

    def _next_item(self) -> Any:
        """The next item, or `_END` where an epoch ends with the iterable."""
        item = self._advance()
        if item is _END and self.steps is not None:
            if self.starts_again and self.since_start:
                self._start_again()
                item = self._advance()
            if item is _END:
                expected = f"{self.steps} batches for epoch {self.epoch}, its steps_per_epoch"
                hint = "" if self.starts_again else "an iterator cannot start again"
                raise ValueError(mismatch("batches", expected, self.taken, hint))
        self.since_start += 1
        return item

    def _advance(self) -> Any:
        try:
            return next(self.iterator, _END)
        except Exception as error:
            error.add_note(f"raised by batches= for {self._name()}")
            raise

    def _read(self, item: Any) -> Read:
        name = self._name()
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            got = f"{len(item)} entries" if isinstance(item, (tuple, list)) else kind(item)
            hint = "arrays of all samples are for fit(X, y)" if hasattr(item, "shape") else ""
            raise TypeError(mismatch(name, ITEM, got, hint))
        x, y, weights = item if len(item) == 3 else (*item, None)
        names = (f"{name}: x", f"{name}: y", f"{name}: sample_weight")
        given = self.validator.unread(x, y, weights, names)
        batch = self.validator.read(given, whole=True)
        if self.labels is not None and self.validator.metric(batch) != self.metric:
            kinds = ("rows", "labels (m,)")
            expected = f"{kinds[self.labels]}, as in the first batch"
            raise ValueError(mismatch(f"{name}: y", expected, kinds[not self.labels]))
        return Read(given, batch)

    def _name(self) -> str:
        return f"batch {self.taken + 1} of epoch {self.epoch}"

    def _empty(self) -> ValueError:
        hint = ""
        if not self.starts_again:
            hint = "an iterator that was used before is at its end"
        elif self.labels is not None:
            hint = "its __iter__ must return a new iterator in each epoch"
        expected = f"at least one batch in epoch {self.epoch}"
        return ValueError(mismatch("batches", expected, "none", hint))


class BatchTraining(Training):
    """The state of one call of ``fit`` on `batches`, whose first one has been read."""

    batches: Batches

    def _total(self) -> int | None:
        steps = self.batches.known_steps()
        return None if steps is None else self.task.epochs * steps

    def _steps(self) -> Sums | None:
        self.engine.shuffle(1)  # counts the epoch
        batches, sums = self.batches, NO_SUMS
        batches.begin(self.engine.epochs)
        while not self.stopped():
            read = batches.next()
            if read is None:
                self.bar.expect(self.task.epochs * sums[3])
                return sums
            step = self._step(*read, sums[3])
            del read  # before the next one is made
            sums = self._add_step(sums, step)
        return sums if sums[3] == batches.steps else None

    def _step(self, given: UnreadBatch, batch: Batch, number: int) -> Sums:
        """One step, on batch `number` of the epoch, whose values are checked first."""
        engine = self.engine
        with self.batches.validator.naming(given):
            engine.check(*batch)
        how = partial(engine.train_steps, checked=True, augment=self.task.augment)
        train = partial(how, *batch, None, len(batch.x), 0, 1)
        return self._guarded(lambda rates: train(rates, self._poll), number, 1)


def _iterator(given: Iterable[Any]) -> Iterator[Any]:
    expected = f"an iterable of {ITEM}"
    if isinstance(given, (str, bytes, dict)):
        raise TypeError(mismatch("batches", expected, show(given)))
    try:
        return iter(given)
    except TypeError:
        hint = "call it" if callable(given) else ""
        raise TypeError(mismatch("batches", expected, show(given), hint)) from None

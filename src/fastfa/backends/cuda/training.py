"""Many steps in one call: in chunks of about 10 ms, from captured graphs.

A chunk writes the control block, launches, waits, and reads the block back. Between two chunks all
updates are made, other threads have their turn, and the caller's `poll` may end the call.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..._internal.arrays import quiet
from .arrays import Array, upload
from .control import Control
from .factors import factor_table
from .launches import Launches, Shape
from .plan import Plan
from .samples import GPUSamples
from .together import Together

if TYPE_CHECKING:
    from numpy.typing import NDArray
__all__ = ["Run"]

UNROLLED = 16  # steps of the longer graph


class Trained(Protocol):
    """The part of a network on a GPU that a run uses."""

    plan: Plan
    control: Control
    gpu: int
    stream: Any
    counted_steps: int
    unsettled: Run | None
    together: Together | None

    @property
    def steps(self) -> int: ...
    def call(self) -> AbstractContextManager[Any]: ...
    def launches_for(self, shape: Shape, /) -> Launches: ...
    def check_tensors(self) -> None: ...
    def refuse_loss(self, block: np.void, /) -> None: ...


class Run:
    """One call of `train_steps`; making it allocates all that its steps need.

    Attributes
    ----------
    made : int
        Steps made so far.
    loss, hits : float
        Their sums of loss times rows and of correct rows.
    """

    def __init__(
        self,
        net: Trained,
        cupy: Any,
        samples: GPUSamples,
        order: NDArray[np.int64] | None,
        batch_size: int,
        first: int,
        count: int,
        lrs: NDArray[np.float64],
    ) -> None:
        self.net, self.samples, self.n = net, samples, len(samples.x)
        self._cupy = cupy
        self.batch_size = min(batch_size, self.n)
        self.first, self.count = first, count
        self.made, self.loss, self.hits = 0, 0.0, 0.0
        self._before = net.steps  # of the network, before this call
        ends = [self.rows(i) for i in range(count + 1)]
        plan, sizes = net.plan, np.diff(ends)
        rates, groups = lrs.tolist(), plan.groups
        with quiet():  # as in C, a rate may become infinite in the network's dtype
            table = factor_table(
                plan.dtype, plan.optimizer, groups, rates, net.steps, sizes.tolist()
            )
        self._table: Array = upload(cupy, table.reshape(-1).view(np.uint8))
        begin = first * self.batch_size
        self._begin = begin if order is None else 0
        self._order: Array = None
        if order is not None and count:
            self._order = upload(cupy, order[begin : begin + ends[-1]])
        self._launches = {m: self._launches_for(m) for m in dict.fromkeys(sizes.tolist())}

    def rows(self, steps: int) -> int:
        """Rows of the first steps of the call."""
        begin = self.first * self.batch_size
        return max(0, min((self.first + steps) * self.batch_size, self.n) - begin)

    def _launches_for(self, m: int) -> Launches:
        return self.net.launches_for(self.samples.shape("train", m))

    def run(self, poll: Callable[[int], object] | None, seconds: float) -> None:
        """Make the steps; a true `poll(step)` ends it, as does an exception."""
        looked = perf_counter()
        while self.made < self.count:
            with self.net.call():
                self._chunk(seconds)
            if poll is not None and perf_counter() - looked >= seconds:
                looked = perf_counter()
                if poll(self.first + self.made):
                    break

    def _chunk(self, seconds: float) -> None:
        m = self.rows(self.made + 1) - self.rows(self.made)
        step = self._launches[m]
        alike = max(1, self.n // self.batch_size - self.first - self.made)  # a short one is alone
        steps = max(1, int(seconds / step.seconds)) if step.seconds else 1
        self._write()
        start = perf_counter()
        self._launch(step, min(steps, alike, self.count - self.made))
        made = self._settle(step)
        if made:
            step.seconds = (perf_counter() - start) / made

    def _write(self, **flags: int) -> None:
        """The control block for the steps from `made` on."""
        self._before = self.net.counted_steps - self.made
        self.net.control.write(
            **self.samples.fields(),
            order=0 if self._order is None else self._order.data.ptr,
            table=self._table.data.ptr,
            row=self._begin + self.rows(self.made),
            step=self.net.counted_steps,
            done=self.made,
            counted=self.made,
            loss=self.loss,
            hits=self.hits,
            **flags,
        )
        self.net.unsettled = self  # last: the block must be of this run when it is read

    def _launch(self, step: Launches, steps: int) -> None:
        if self.net.together is not None:
            self.net.together.launch(self._cupy, self.net, step, steps)
            return
        if not step.seconds or os.environ.get("FASTFA_CUDA_GRAPH") == "0":
            for _ in range(steps):
                step.step()
            return
        many, ones = divmod(steps, UNROLLED)
        for size, times in ((UNROLLED, many), (1, ones)):
            if times:
                step.replay(size, times, self.net.stream)

    def _settle(self, step: Launches) -> int:
        """Count what was made, and raise what stopped it."""
        before = self.made
        block = self.count_made()
        self.net.refuse_loss(block)
        if block["suspect"]:  # a product was not finite: is it a tensor, or this batch alone?
            self.net.check_tensors()
            self._write(checked=1)
            step.step()
            self.net.refuse_loss(self.count_made())
        return self.made - before

    def count_made(self) -> np.void:
        """Read the control block; its steps count as the network's from now on.

        Interrupted anywhere, it may be called again.
        """
        block = self.net.control.read()
        self.made = int(block["counted"])
        self.net.counted_steps = self._before + self.made
        self.loss, self.hits = float(block["loss"]), float(block["hits"])
        self.net.unsettled = None
        return block

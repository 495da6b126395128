"""A network on a GPU: the protocol of an engine over kernels, and a twin in the C engine.

The twin draws, validates, shuffles, writes files and looks inside. Whatever reads it gets the
numbers of the GPU first (`_pulled`), always: users may change the arrays there at any time.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import _core
from ..._internal.checks import mismatch
from ..._internal.samples import Batch, Pieces
from .arena import Arena
from .arrays import Array, upload
from .control import Control
from .factors import gradient_table
from .gpu import on_gpu
from .launches import Launches, Place, Shape
from .lock import FairLock
from .plan import Plan
from .samples import GPUSamples, place
from .scan import all_finite
from .together import Together
from .training import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..protocol import Sums

__all__ = ["Network"]

KEPT = 8  # shapes of batches whose memory and graphs are kept
ROWS = 4096  # of a forward pass


class Network:
    """A network on a GPU; see `protocol.Engine`.

    Parameters
    ----------
    twin : _core.Network
        The network in the C engine; it belongs to this object from now on.
    gpu : int
        The number of the GPU.
    """

    def __init__(self, twin: _core.Network, gpu: int) -> None:
        self.description, self.dtype = twin.description, twin.dtype
        self.n_in, self.n_out = twin.n_in, twin.n_out
        self.layers = twin.layers
        self.plan = Plan(twin.description, twin.layers)
        self.gpu, self._twin, self._lock = gpu, twin, FairLock()
        self._kept: OrderedDict[Shape, Launches] = OrderedDict()
        self.together: Together | None = None  # the networks that train with this one
        self.unsettled: Run | None = None  # whose steps on the GPU are not counted yet
        self.counted_steps = twin.steps
        with on_gpu(gpu) as cupy:
            self.stream = cupy.cuda.Stream(non_blocking=True)
            self._event = cupy.cuda.Event(disable_timing=True)
        with self.call() as cupy:
            self._arena = Arena(cupy, twin)
            self.control = Control(cupy, self.plan.dtype)
            processors = int(cupy.cuda.Device(gpu).attributes["MultiProcessorCount"])
            self._place = Place(cupy, gpu, processors, self._arena, self.control)
            self._arena.push(twin)

    # ---- the GPU

    @contextmanager
    def call(self) -> Iterator[Any]:
        """CuPy within a call: one at a time, in the network's stream.

        That stream waits for what the caller's has queued, and the caller's for this call.
        """
        with on_gpu(self.gpu) as cupy, self._lock:
            caller = cupy.cuda.get_current_stream()
            if caller == self.stream:
                yield cupy
                return
            self.stream.wait_event(caller.record(self._event))
            with self.stream:
                try:
                    if self.unsettled is not None:  # an exception came before they were counted
                        self.unsettled.count_made()
                    yield cupy
                finally:
                    caller.wait_event(self.stream.record(self._event))

    def launches_for(self, shape: Shape) -> Launches:
        """The launches for batches of a shape, made once; within a call."""
        launches = self._kept.get(shape)
        if launches is None:
            together = self.together is not None and shape.mode == "train"
            launches = Launches(self._place, self.plan, shape, together=together)
            self._kept[shape] = launches
            if len(self._kept) > KEPT:  # the oldest; those of training, which have graphs, last
                others = [each for each in self._kept if each != shape]
                del self._kept[min(others, key=lambda each: each.mode == "train")]
        self._kept.move_to_end(shape)
        return launches

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """While nobody else has the twin: `_pulled` writes its counters and learning rate."""
        with on_gpu(self.gpu), self._lock:
            yield

    @contextmanager
    def _pulled(self) -> Iterator[_core.Network]:
        """The twin with the numbers of now, for as long as nobody else may change it."""
        with self.call():
            self._arena.pull(self._twin)
            state = bytearray(self._twin.state())
            state[:8] = self.counted_steps.to_bytes(8, "little")  # fa_state begins with the steps
            self._twin.restore(bytes(state))
            yield self._twin

    def _push(self) -> None:
        """The twin's numbers to the GPU; within a call."""
        self.counted_steps = self._twin.steps
        self._arena.push(self._twin)

    def check_tensors(self) -> None:
        """FloatingPointError if a parameter or slot is not finite, in the words of the C engine."""
        with self._pulled() as twin:
            twin.dumps()

    # ---- what the twin answers

    @property
    def parameters(self) -> dict[str, Array]:
        """Live weights and biases by key."""
        return self._arena.parameters

    @property
    def feedback(self) -> dict[str, Array]:
        """Live feedback by key."""
        return self._arena.feedback

    @property
    def slots(self) -> dict[str, list[Array]]:
        """Live slots of the optimizer by key."""
        return self._arena.slots

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        if self.unsettled is not None:
            with self.call():
                pass
        return self.counted_steps

    @property
    def epochs(self) -> int:
        """Epochs begun so far."""
        return self._twin.epochs

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self._twin.lr

    @lr.setter
    def lr(self, value: float) -> None:
        with self._turn():
            self._twin.lr = value

    @property
    def n_threads(self) -> int:
        """Threads of the twin, for what it computes."""
        return self._twin.n_threads

    @n_threads.setter
    def n_threads(self, n: int) -> None:
        self._twin.n_threads = n

    @property
    def note(self) -> str | None:
        """Text that goes into the file."""
        return self._twin.note

    @note.setter
    def note(self, text: str | None) -> None:
        self._twin.note = text

    def shuffle(self, n: int) -> NDArray[np.int64]:
        """The order (n,) of the next epoch; counts the epochs."""
        with self._turn():
            return self._twin.shuffle(n)

    def has_feedback_matrix(self, index: int) -> bool:
        """Whether `feedback_matrix` has one for this layer."""
        return self._twin.has_feedback_matrix(index)

    def feedback_matrix(self, index: int) -> NDArray[Any]:
        """A copy, on the CPU, of what carries the source to hidden layer `index`."""
        with self._pulled() as twin:
            return twin.feedback_matrix(index)

    def snapshot(self) -> _core.Network:
        """A network on the CPU with the numbers of now."""
        with self._pulled() as twin:
            state = twin.state()
        copy = _core.Network(self.description)
        copy.restore(state)
        return copy

    def alignment(self, x: Any, labels: Any, y: Any, weights: Any) -> list[dict[str, Any]]:
        """The angles of `Alignment` for each hidden `Dense`, computed on the CPU."""
        return self.snapshot().alignment(x, labels, y, weights)

    @property
    def trained(self) -> list[str]:
        """Keys of what the optimizer changes."""
        return self._twin.trained

    def apply_gradients(self, gradients: dict[str, NDArray[Any]]) -> None:
        """The optimizer's step on gradients that are on the CPU, computed there."""
        with self._pulled() as twin:
            twin.apply_gradients(gradients)
            self._push()

    # ---- writing, files

    def write(self, key: str, values: NDArray[Any]) -> None:
        """Copy checked values into a parameter or a feedback tensor."""
        with self.call():
            self._twin.write(key, values)
            views = self._arena.parameters if key in self.parameters else self._arena.feedback
            views[key].set(np.ascontiguousarray(values))

    def reset(self) -> None:
        """Start over from the seed."""
        with self.call():
            self._twin.reset()
            self._push()

    def state(self) -> bytes:
        """Counters, learning rate and all tensors, the bytes of the C engine."""
        with self._pulled() as twin:
            return twin.state()

    def set_loss(self, function: Callable[..., Any]) -> None:
        """As the engine in C; no network on a GPU has such a loss."""
        self._twin.set_loss(function)

    def restore(self, state: bytes) -> None:
        """Continue from what `state` returned."""
        with self.call():
            self._twin.restore(state)
            self._push()

    def save(self, path: bytes) -> None:
        """Write the network to a file."""
        with self._pulled() as twin:
            twin.save(path)

    def dumps(self) -> bytes:
        """The bytes of that file."""
        with self._pulled() as twin:
            return twin.dumps()

    # ---- training

    def check(self, x: Any, labels: Any, y: Any, weights: Any) -> None:
        """Refuse values that the network does not take: those on the CPU by the twin."""
        self.check_targets(len(x), labels, y, weights)
        self._check_inputs(x)

    def check_targets(self, n: int, labels: Any, y: Any, weights: Any) -> None:
        """The same for the targets and weights of n samples, which are on the CPU."""
        self._twin.check_targets(n, labels, y, weights)

    def _check_inputs(self, x: Any) -> None:
        if isinstance(x, (np.ndarray, Pieces)):
            self._twin.check_inputs(x)
        elif x.dtype.kind == "f" and not all_finite(x, self.gpu):
            raise ValueError(mismatch("X", f"finite values in {self.dtype}", "inf or nan"))

    def place(self, batch: Batch) -> GPUSamples:
        """Samples on the GPU, for many calls of `train_steps`."""
        with self.call() as cupy:
            if self.together is not None:
                return self.together.place(cupy, self, batch)
            return place(cupy, batch)

    def train_steps(
        self,
        x: Any,
        labels: Any,
        y: Any,
        weights: Any,
        order: NDArray[np.int64] | None,
        batch_size: int,
        first: int,
        count: int,
        lrs: NDArray[np.float64] | None = None,
        poll: Callable[[int], object] | None = None,
        poll_seconds: float = _core.POLL_SECONDS,
        *,
        checked: bool = False,
        augment: tuple[bool, int] | None = None,
    ) -> Sums:
        """Batches first..first+count-1 of an epoch in `order`; a true `poll(step)` ends it."""
        if augment is not None:
            raise ValueError(mismatch("augment", "None on a GPU", str(augment)))
        if not checked:
            self.check(x, labels, y, weights)
        with self.call() as cupy:
            samples = place(cupy, Batch(x, labels, y, weights))
            rates = np.full(count, self.lr) if lrs is None else lrs
            run = Run(self, cupy, samples, order, batch_size, first, count, rates)
        run.run(poll, poll_seconds)
        return run.loss, run.hits, run.rows(run.made), run.made

    def train_batch(self, x: Any, labels: Any, y: Any, weights: Any) -> float:
        """One step at the rate `lr`; the mean loss before the update."""
        loss, _, rows, _ = self.train_steps(x, labels, y, weights, None, len(x), 0, 1)
        return loss / rows

    def train_batch_direct(self, x: object, y: object) -> float | None:
        """None: the caller converts."""
        return None

    learn_one_direct = train_batch_direct

    def predict_one_direct(self, x: object) -> NDArray[Any] | None:
        """None: the caller converts."""
        return None

    def trim(self) -> None:
        """Give back the memory and graphs of all shapes of batches but the last."""
        with self.call():
            while len(self._kept) > 1:
                self._kept.popitem(last=False)

    # ---- using

    def predict(self, x: Any, logits: bool = False, out: NDArray[Any] | None = None) -> Any:
        """Outputs (m, n_out): into `out` or else a new array, on the side of x."""
        self._check_inputs(x)
        on_host = out is not None or isinstance(x, (np.ndarray, Pieces))
        result: Any = np.empty((len(x), self.n_out), self.dtype) if on_host else None
        result = result if out is None else out
        if not on_host:
            with on_gpu(self.gpu) as cupy:  # in the caller's stream, whose memory it is
                result = cupy.empty((len(x), self.n_out), self.dtype)
        mode = "logits" if logits else "predict"
        with self.call() as cupy:
            for start, launches in self._forward(cupy, mode, Batch(x, None, None, None)):
                made = launches.arrays["output"]
                to = result[start : start + len(made)]
                if on_host:
                    made.get(out=to)
                else:
                    to.data.copy_from_device_async(made.data, made.nbytes)
        return result

    def evaluate(
        self, x: Any, labels: Any, y: Any, weights: Any, *, checked: bool = False
    ) -> tuple[float, float]:
        """Mean loss, and the accuracy or nan."""
        if not checked:
            self.check(x, labels, y, weights)
        loss, hits = 0.0, 0.0
        with self.call() as cupy:
            for _, launches in self._forward(cupy, "evaluate", Batch(x, labels, y, weights)):
                part = launches.arrays["sums"].get()
                loss, hits = loss + float(part[0]), hits + float(part[1])
        defined = self.plan.loss != "mse" or (labels is not None and self.n_out > 1)
        return loss / len(x), hits / len(x) if defined else math.nan

    def _forward(self, cupy: Any, mode: str, batch: Batch) -> Iterator[tuple[int, Launches]]:
        """Forward passes over parts of the samples: the first row, and where the results are."""
        for start in range(0, len(batch.x), ROWS):
            rows = slice(start, start + ROWS)
            part: list[Any] = [None if a is None else a[rows] for a in batch]
            samples = place(cupy, Batch(*part))
            launches = self.launches_for(samples.shape(mode, len(samples.x)))
            if "sums" in launches.arrays:
                launches.arrays["sums"].data.memset_async(0, 16)
            self.control.write(**samples.fields())
            launches.run()
            self._check_products()
            yield start, launches

    def gradients(
        self, x: Any, labels: Any, y: Any, weights: Any, feedback: bool = False
    ) -> tuple[float, dict[str, Array]]:
        """Mean loss, and what the next step would hand to the optimizer, as CuPy arrays."""
        learned = [each.key for each in self.plan.trained if each.is_feedback]
        if feedback and learned:
            hint = f"the gradient of {learned[0]} has no buffer there: keep the network on the CPU"
            raise ValueError(mismatch("feedback", "False on a GPU", "True", hint))
        self.check(x, labels, y, weights)
        keys = [each.key for each in self.plan.trained if not each.is_feedback]
        with on_gpu(self.gpu) as cupy:
            made = {key: cupy.empty(a.shape, a.dtype) for key, a in self.parameters.items()
                    if key in keys}  # fmt: skip
        with self.call() as cupy:
            loss, launches = self._probe(cupy, "gradients", Batch(x, labels, y, weights))
            for key, array in made.items():
                of = launches.arrays[f"{key}.gradient"]
                array.data.copy_from_device_async(of.data, of.nbytes)
        return loss, made

    def deltas(self, x: Any, labels: Any, y: Any, weights: Any) -> list[NDArray[Any] | None]:
        """D_l (m, n_l) of each `Dense` in the next step, on the CPU; None where none is needed."""
        self.check(x, labels, y, weights)
        with self.call() as cupy:
            _, launches = self._probe(cupy, "deltas", Batch(x, labels, y, weights))
            return [
                launches.arrays[block.name("delta")].get() if block.needed else None
                for block in self.plan.blocks
            ]

    def _probe(self, cupy: Any, mode: str, batch: Batch) -> tuple[float, Launches]:
        """A step that changes nothing: its mean loss, and where its results are."""
        samples = place(cupy, batch)
        m = len(samples.x)
        launches = self.launches_for(samples.shape(mode, m))
        table = upload(cupy, gradient_table(self.plan.dtype, self.plan.groups, m).view(np.uint8))
        self.control.write(**samples.fields(), step=self.counted_steps, table=table.data.ptr)
        launches.run()
        block = self.control.read()
        if block["suspect"]:
            self.check_tensors()
            fields = samples.fields() | {"checked": 1}
            self.control.write(**fields, step=self.counted_steps, table=table.data.ptr)
            launches.run()
            block = self.control.read()
        self.refuse_loss(block)
        return float(block["loss"]) / m, launches

    def refuse_loss(self, block: np.void) -> None:
        """FloatingPointError if a step was stopped because numbers are not finite."""
        if block["bad_norm"]:
            shown = "inf" if block["bad_norm"] == 1 else "nan"
            raise FloatingPointError(f"gradient norm is not finite ({shown}); nothing was updated")
        if block["halt"] or block["bad_input"] or block["ruined"]:
            shown = "nan" if block["bad_input"] or math.isnan(block["stopped_loss"]) else "inf"
            self.check_tensors()
            raise FloatingPointError(f"loss is not finite ({shown}); nothing was updated")

    def _check_products(self) -> None:
        if self.control.read()["suspect"]:
            self.check_tensors()

"""Trains networks by the GPU kernels, run on the host by the shim, over NumPy memory.

`HostNetwork` has the state of an engine's network and takes its steps by the launches of a `Plan`,
as a backend over device memory does. Kernels are compiled many at a time: `compile_all` takes those
of all cases of a test module at once, because a compiler start costs more than a kernel.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import shim

from fastfa import _core
from fastfa.backends.cuda import factors, kernels
from fastfa.backends.cuda.plan import Plan
from fastfa.backends.cuda.steps import Batch, at_step

CHUNK = 16  # kernels of a module
ENTRIES = {}  # the compiled module of each kernel


def compile_all(wanted, compiled=ENTRIES):
    """Compile kernels that are not in `compiled`, and put their modules there."""
    for dtype in ("float32", "float64"):
        missing = [k for k in dict.fromkeys(wanted) if k.dtype == dtype and k not in compiled]
        chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
        with ThreadPoolExecutor(2) as pool:
            modules = pool.map(shim.build, map(kernels.source, chunks))
            for chunk, module in zip(chunks, modules, strict=True):
                compiled.update(dict.fromkeys(chunk, module))


def launch(kernel, blocks, argument, order="forward", seed=0, compiled=ENTRIES):
    """Run a kernel with an argument of `Kernel.record`."""
    compile_all([kernel], compiled)
    grid, block = (blocks, 1, 1), (kernel.threads, 1, 1)
    compiled[kernel].launch(kernel.entry, grid, block, 0, [argument.tobytes()], order, seed)


def address(array):
    return array.ctypes.data


class HostMemory:
    """The memory of a network, of which a plan gets addresses."""

    def __init__(self, net):
        self.arrays = {"sums": np.zeros(2)}
        for arrays in (net.parameters, net.feedback):
            self.arrays |= {key: array.copy() for key, array in arrays.items()}
        for key, slots in net.slots.items():
            self.arrays |= {f"{key}.slot{i}": slot.copy() for i, slot in enumerate(slots)}
        for key, array in (*net.parameters.items(), *net.feedback.items()):
            self.arrays[f"{key}.gradient"] = np.full_like(array, np.nan)
        control = kernels.record("control_block", str(net.dtype))
        self.arrays["control"] = control
        self.buffers = {}
        self.tables = []

    def address(self, key):
        return address(self.arrays[key])

    def reserve(self, name, shape, dtype):
        key = name, shape, dtype
        if key not in self.buffers:
            self.buffers[key] = np.empty(shape, dtype)
            self.buffers[key].view(np.uint8)[...] = 0xFF  # NaN, or an index out of range
        return address(self.buffers[key])

    def upload(self, array):
        self.tables.append(array.copy())
        return address(self.tables[-1])

    def buffer(self, name):
        """The newest buffer of a name."""
        return [array for (key, _, _), array in self.buffers.items() if key == name][-1]


class NoMemory:
    """For plans whose kernels alone are wanted."""

    def address(self, key):
        return 0

    def reserve(self, name, shape, dtype):
        return 0

    def upload(self, array):
        return 0


class HostNetwork:
    """A network, trained and asked through the kernels."""

    def __init__(self, description, order="forward", compiled=ENTRIES, **choices):
        twin = _core.Network(description)
        self.dtype = description["dtype"]
        self.plan = Plan(twin.description, twin.layers)
        self.memory = HostMemory(twin)
        self.choices = {"tile": kernels.TILES[self.dtype]["16x32"]} | choices
        self.order, self.compiled = order, compiled
        self.lr, self.steps, self.launches = twin.lr, 0, 0

    @property
    def control(self):
        return self.memory.arrays["control"][0]

    def run(self, each, t=0):
        """One launch, with an order of threads and blocks that no other launch has."""
        self.launches += 1
        argument = at_step(each, t)
        launch(each.kernel, each.blocks, argument, self.order, self.launches, self.compiled)

    def begin(self, x, labels, y, weights, order=None, **fields):
        """Write the control block of a call; returns the arrays that it points to."""
        held = [None if a is None else np.ascontiguousarray(a) for a in (x, labels, y, weights)]
        held.append(None if order is None else np.ascontiguousarray(order))
        names = ("x", "labels", "y", "weights", "order")
        pointers = {
            name: 0 if array is None else address(array)
            for name, array in zip(names, held, strict=True)
        }
        self.memory.arrays["control"][...] = 0
        kernels.fill(self.memory.arrays["control"], pointers | {"step": self.steps} | fields)
        return held

    def step(self, mode, m, x, labels, weights):
        samples = "bytes" if x.dtype == np.uint8 else "numbers"
        batch = Batch(m, samples, labels is not None, weights is not None)
        step = self.plan.step(mode, batch, self.memory, **self.choices)
        compile_all(step.kernels, self.compiled)
        return step

    def train_steps(
        self, x, labels, y, weights, order, batch_size, first, count, lrs=None, checked=0
    ):
        """As `Engine.train_steps`."""
        rows = [min(batch_size, len(x) - (first + i) * batch_size) for i in range(count)]
        lrs = [self.lr] * count if lrs is None else lrs
        plan = self.plan
        table = factors.factor_table(self.dtype, plan.optimizer, plan.groups, lrs, self.steps, rows)
        at = {"table": address(table), "row": first * batch_size, "checked": checked}
        held = self.begin(x, labels, y, weights, order, **at)
        made = 0
        while made < count:
            m = rows[made]
            same = rows.count(m)
            step = self.step("train", m, x, labels, weights)
            for t in range(same):
                for each in step.all:
                    self.run(each, t)
            advance = kernels.advance(self.dtype)
            at = {"control": self.memory.address("control"), "rows": m * same, "steps": same}
            launch(advance, 1, advance.record(**at), compiled=self.compiled)
            made += same
        del held
        self.steps += int(self.control["counted"])
        return float(self.control["loss"]), float(self.control["hits"])

    def train_batch(self, x, labels, y, weights):
        """As `Engine.train_batch`."""
        loss, _ = self.train_steps(x, labels, y, weights, None, len(x), 0, 1)
        return loss / len(x)

    def gradients(self, x, labels, y, weights):
        table = factors.gradient_table(self.dtype, self.plan.groups, len(x))
        held = self.begin(x, labels, y, weights, table=address(table))
        for each in self.step("gradients", len(x), x, labels, weights).all:
            self.run(each)
        del held
        keys = [each.key for each in self.plan.trained if not each.is_feedback]
        loss = float(self.control["loss"]) / len(x)
        return loss, {key: self.memory.arrays[f"{key}.gradient"] for key in keys}

    def deltas(self, x, labels, y, weights):
        held = self.begin(x, labels, y, weights)
        for each in self.step("deltas", len(x), x, labels, weights).all:
            self.run(each)
        del held
        return [
            self.memory.buffer(block.name("delta")) if block.needed else None
            for block in self.plan.blocks
        ]

    def evaluate(self, x, labels, y, weights):
        """Sums of loss and hits."""
        held = self.begin(x, labels, y, weights)
        self.memory.arrays["sums"][:] = 0
        for each in self.step("evaluate", len(x), x, labels, weights).all:
            self.run(each)
        del held
        return self.memory.arrays["sums"].copy()

    def predict(self, x, logits=False):
        held = self.begin(x, None, None, None)
        for each in self.step("logits" if logits else "predict", len(x), x, None, None).all:
            self.run(each)
        del held
        return self.memory.buffer("output")

    def state(self):
        """Parameters, feedback and slots by key."""
        own = ("control", "sums")
        arrays = self.memory.arrays.items()
        return {key: a for key, a in arrays if key not in own and not key.endswith(".gradient")}


def state_of(net):
    """The same of a network of the engine."""
    slots = {f"{key}.slot{i}": a for key, all_ in net.slots.items() for i, a in enumerate(all_)}
    return dict(net.parameters) | dict(net.feedback) | slots

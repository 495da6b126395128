"""What only a GPU can show: the same bits, microseconds a step, and peers on the same GPU.

    python bench/gpu.py --out FOLDER        about 9 minutes; each part adds to FOLDER/gpu.json
    python bench/gpu.py --only bits steps   some parts
    python bench/gpu.py --fake              small sizes over the stand-in for CuPy of tests/cuda:
                                            shows that the program runs, and no speed

Needs CuPy and a GPU; PyTorch and JAX are measured where they are installed. A part that fails or
takes longer than its deadline leaves its error in the file, and the next one begins. Steps are
timed by the clock around calls that end when the GPU has, five windows each: median and least.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import fastfa as fa

ROOT = Path(__file__).parents[1]
NETWORKS = {  # widths and batch
    "64-128-128-10 b32": ((64, 128, 128, 10), 32),
    "784-512-512-10 b128": ((784, 512, 512, 10), 128),
    "784-1024x4-10 b256": ((784, 1024, 1024, 1024, 1024, 10), 256),
}
GOALS = {"64-128-128-10 b32": (15, 10), "784-512-512-10 b128": (30, 22),
         "784-1024x4-10 b256": (170, 125)}  # fmt: skip  # microseconds, backprop and dfa
RULES = ("backprop", "dfa")
LEARNED = ("usf", "frsf", "brsf", "kp", "dkp", "ldfa", "ifa", "local", "pepita")
SMALL = {"8-12-3 b4": ((8, 12, 3), 4)}
WINDOWS = 5


class Run:
    """The settings of one run, and its results so far."""

    def __init__(self, out: Path, fake: bool) -> None:
        self.out, self.fake = out, fake
        self.networks = SMALL if fake else NETWORKS
        self.window = 0.0 if fake else 0.05  # least seconds of a window
        self.results: dict[str, Any] = {}

    def keep(self, part: str, value: Any) -> None:
        """Write the results of a part into the file."""
        self.results[part] = value
        text = json.dumps(self.results, indent=1, default=str)
        (self.out / "gpu.json").write_text(text + "\n")
        print(f"== {part}\n{json.dumps(value, indent=1, default=str)}", flush=True)


# ---- fastfa's networks --------------------------------------------------------------------------


def network(widths: tuple[int, ...], rule: str, device: str, optimizer: Any = None) -> Any:
    """A network of ReLUs."""
    layers = [*(fa.Dense(n, "relu") for n in widths[1:-1]), fa.Dense(widths[-1])]
    return fa.Sequential(layers, input_shape=widths[0], rule=rule, rng=1, device=device,
                         optimizer=optimizer or fa.SGD(0.01))  # fmt: skip


def samples(widths: tuple[int, ...], m: int) -> tuple[Any, Any]:
    """Random inputs and labels."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(m, widths[0])).astype(np.float32)
    return x, rng.integers(0, widths[-1], m)


def per_call(call: Callable[[], object], window: float) -> dict[str, float]:
    """Microseconds a call: median and least of the windows, warm."""
    call()
    n, start = 1, time.perf_counter()
    call()
    n = max(1, int(window / max(time.perf_counter() - start, 1e-7)))
    times = []
    for _ in range(WINDOWS):
        start = time.perf_counter()
        for _ in range(n):
            call()
        times.append(1e6 * (time.perf_counter() - start) / n)
    return {"median": round(median(times), 2), "least": round(min(times), 2)}


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables for a while."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def step_time(net: Any, widths: tuple[int, ...], batch: int, run: Run) -> dict[str, float]:
    """Microseconds of a step in an epoch whose data are on the GPU."""
    steps = 4 if run.fake else 512
    engine, backend = net._engine, net._backend
    x, y = samples(widths, steps * batch)
    placed = backend.placed(engine, net._validator.read(net._validator.unread(x, y, None)))
    order = np.arange(steps * batch)

    def epoch() -> None:
        engine.train_steps(*placed, order, batch, 0, steps, None, None, checked=True)

    times = per_call(epoch, run.window)
    return {key: round(value / steps, 2) for key, value in times.items()}


# ---- the parts ----------------------------------------------------------------------------------


def machine(run: Run) -> dict[str, Any]:
    """Versions, and how long the first network takes."""
    import cupy

    start = time.perf_counter()
    widths, batch = next(iter(run.networks.values()))
    net = network(widths, "dfa", "cuda")
    net.train_batch(*samples(widths, batch))
    first = time.perf_counter() - start
    start = time.perf_counter()
    other = network(widths, "dfa", "cuda")
    other.train_batch(*samples(widths, batch))
    again = time.perf_counter() - start
    found = {"cupy": cupy.__version__, "fastfa": fa.build_info(), "first network, s": first,
             "the next, s": again}  # fmt: skip
    if not run.fake:
        query = "--query-gpu=name,driver_version,clocks.sm,clocks.mem,memory.total"
        command = ["nvidia-smi", query, "--format=csv"]
        found["gpu"] = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return found


def bits(run: Run) -> dict[str, Any]:
    """Whether networks trained on both devices have the same bytes."""
    optimizers = {
        "sgd": fa.SGD(0.05, weight_decay=0.01), "momentum": fa.SGD(0.05, momentum=0.9),
        "nesterov": fa.SGD(0.05, momentum=0.9, nesterov=True), "rmsprop": fa.RMSprop(0.002),
        "adam": fa.Adam(0.01), "adamw": fa.AdamW(0.01, weight_decay=0.1),
    }  # fmt: skip
    rules = ("backprop", "fa", "dfa", "sdfa", "drtp", "ternary", "frozen")
    losses = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mse")
    activations = ("relu", "tanh", "sigmoid", "gelu", "softplus", "leaky_relu")
    clipped = {
        "sgd, clipped": fa.SGD(0.05, clip_norm=0.5),
        "adam, clipped": fa.Adam(0.01, clip_norm=0.1),
    }
    pairs = [(rule, optimizers) for rule in rules]
    pairs += [(rule, clipped) for rule in ("backprop", *LEARNED)]
    different, n, worst = [], 0, 0.0
    for i, (rule, chosen) in enumerate(pairs if not run.fake else pairs[:2] + pairs[-2:]):
        for j, (name, optimizer) in enumerate(chosen.items()):
            if run.fake and j > 1:
                break
            case = (rule, name, losses[(i + j) % 3], activations[(i * 2 + j) % 6])
            dtype = "float64" if (i + j) % 4 == 3 else "float32"
            same, gap = compare(case, optimizer, dtype, seed=i * 10 + j, run=run)
            n, worst = n + 1, max(worst, gap)
            if not same:
                different.append([*case, dtype])
    return {"cases": n, "different": different, "largest relative gap of losses": worst}


def compare(
    case: tuple[str, ...], optimizer: Any, dtype: str, seed: int, run: Run
) -> tuple[bool, float]:
    """Train one network on both devices: whether the bytes are equal, and the gap of the losses."""
    rule, _, loss, activation = case
    rng, sizes = np.random.default_rng(seed), (33, 65, 17) if not run.fake else (5, 9, 7)
    m = 300 if not run.fake else 20
    bytes_in = seed % 3 == 2
    x = rng.integers(0, 256, (m, 29), np.uint8) if bytes_in else rng.normal(size=(m, 29))
    y, weights = rng.integers(0, 10, m), rng.random(m) if seed % 2 else None
    states, histories = [], []
    for device in ("cpu", "cuda"):
        layers = [*(fa.Dense(n, activation) for n in sizes), fa.Dropout(0.2), fa.Dense(10)]
        net = fa.Sequential(layers, input_shape=29, loss=loss, rule=rule, rng=seed, dtype=dtype,
                            optimizer=optimizer, device=device)  # fmt: skip
        history = net.fit(x, y, 1 if run.fake else 4, 32, sample_weight=weights, verbose=False)
        states.append(net._engine.state())
        histories.append(np.array(history.history["loss"]))
    gap = np.max(np.abs(histories[0] - histories[1]) / np.abs(histories[0]))
    return states[0] == states[1], float(gap)


def memory_checks(run: Run) -> dict[str, Any]:
    """What compute-sanitizer says of one small network."""
    program = (
        "import fastfa as fa, numpy as np; x = np.ones((40, 9), 'float32'); y = np.arange(40) % 3;"
        "net = fa.Sequential([fa.Dense(17, 'tanh'), fa.Dense(3)], input_shape=9, rule='dfa',"
        " rng=0, device='cuda'); net.fit(x, y, 2, 16, verbose=False)"
    )
    found: dict[str, Any] = {}
    for tool in ("memcheck", "racecheck", "synccheck"):
        if run.fake:
            found[tool] = "not run over the stand-in"
            continue
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode=9", sys.executable, "-c",
                   program]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            found[tool] = [done.returncode, (done.stdout + done.stderr)[-500:]]
        except (OSError, subprocess.TimeoutExpired) as error:
            found[tool] = str(error)
    return found


def steps(run: Run) -> dict[str, Any]:
    """Microseconds of a step: graphs and single launches, backprop and dfa, on the CPU too."""
    found: dict[str, Any] = {}
    for name, (widths, batch) in run.networks.items():
        row = found[name] = {"goals": GOALS.get(name)}
        for rule in RULES:
            net = network(widths, rule, "cuda")
            row[rule] = step_time(net, widths, batch, run)
            with environment(FASTFA_CUDA_GRAPH="0"):
                row[f"{rule}, no graph"] = step_time(net, widths, batch, run)
            row[f"{rule}, cpu"] = step_time(network(widths, rule, "cpu"), widths, batch, run)
    return found


def depth(run: Run) -> dict[str, Any]:
    """The time of a dfa step over that of backprop, by the number of layers of 128 units."""
    found = {}
    for layers in (2,) if run.fake else (3, 10, 50):
        widths = (64, *[128 if not run.fake else 8] * (layers - 1), 10)
        times = {
            rule: step_time(network(widths, rule, "cuda"), widths, 32, run)["median"]
            for rule in RULES
        }
        found[str(layers)] = times | {"dfa / backprop": round(times["dfa"] / times["backprop"], 3)}
    return found


def host(run: Run) -> dict[str, Any]:
    """Processor time of a step in a long epoch, and an epoch of MNIST's shape by `fit`."""
    widths, batch = ((784, 512, 512, 10), 128) if not run.fake else ((8, 12, 3), 4)
    m = 60_000 if not run.fake else 40
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (m, widths[0]), np.uint8), rng.integers(0, widths[-1], m)
    net = network(widths, "dfa", "cuda", fa.Adam(1e-3))
    net.fit(x, y, 1, batch, verbose=False)
    start, begin = time.perf_counter(), time.process_time()
    net.fit(x, y, 1, batch, verbose=False)
    wall, cpu = time.perf_counter() - start, time.process_time() - begin
    return {"epoch, s": wall, "processor time of it, s": cpu, "us of host a step":
            1e6 * cpu / (m / batch)}  # fmt: skip


def replicas(run: Run) -> dict[str, Any]:
    """Microseconds of a step of many networks at a time, per step of all of them."""
    n, steps, widths = (1000, 64, (64, 128, 128, 10)) if not run.fake else (3, 2, (8, 12, 3))
    x, y = samples(widths, 32 * steps)
    found: dict[str, Any] = {"networks": n, "goal, backprop and dfa": (200, 160)}
    for rule in RULES:
        settings = [{"seed": seed} for seed in range(n)]

        def build(seed: int, rule: str = rule) -> Any:
            layers = [*(fa.Dense(k, "relu") for k in widths[1:-1]), fa.Dense(widths[-1])]
            return fa.Sequential(layers, input_shape=widths[0], rule=rule, rng=seed,
                                 optimizer=fa.SGD(0.01))  # fmt: skip

        times = []
        for epochs in (1, 9):
            start = time.perf_counter()
            made = fa.fit_replicas(build, settings, x, y, epochs=epochs, device="cuda",
                                   n_workers=n, verbose=False)  # fmt: skip
            times.append(time.perf_counter() - start)
        alone = build(0)
        alone.fit(x, y, 9, 32, verbose=False)
        found[rule] = {
            "a step of all, us": 1e6 * (times[1] - times[0]) / (8 * steps),
            "made, moved and trained one epoch, s": times[0],
            "bits of a training alone": made[0].net._engine.state() == alone._engine.state(),
        }
    return found


# ---- peers --------------------------------------------------------------------------------------


def pytorch(run: Run) -> dict[str, Any]:
    """Backprop by PyTorch: eager, and as a CUDA graph; without TF32, then with it."""
    import torch

    device = "cpu" if run.fake else "cuda"
    found: dict[str, Any] = {"version": torch.__version__}
    for tf32 in (False, True):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        for name, (widths, batch) in run.networks.items():
            step = torch_step(torch, widths, batch, device)
            row = found[f"{name}{', tf32' if tf32 else ''}"] = {}
            row["eager"] = steps_of(torch, step, 20, device, run)
            if device == "cuda":
                row["graph"] = steps_of(torch, captured(torch, step), 100, device, run)
    return found


def torch_step(torch: Any, widths: tuple[int, ...], batch: int, device: str) -> Callable[[], None]:
    """One step of plain SGD, as fastfa's."""
    layers: list[Any] = []
    for n_in, n_out in pairwise(widths):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, foreach=True)
    x, y = samples(widths, batch)
    inputs, labels = torch.tensor(x, device=device), torch.tensor(y, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    return step


def steps_of(
    torch: Any, step: Callable[[], None], n: int, device: str, run: Run
) -> dict[str, float]:
    """Microseconds of a step, of which n are queued before the wait for the last one."""

    def call() -> None:
        for _ in range(n):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return {key: round(value / n, 2) for key, value in per_call(call, run.window).items()}


def captured(torch: Any, step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def jax_scan(run: Run) -> dict[str, Any]:
    """Backprop by JAX: a scan over steps in one compiled call, unrolled by 8."""
    import jax
    import jax.numpy as jnp

    n, found = 4 if run.fake else 128, {"version": jax.__version__}
    for name, (widths, batch) in run.networks.items():
        rng = np.random.default_rng(0)
        parameters = [
            (jnp.asarray(rng.normal(size=s) / np.sqrt(s[0]), jnp.float32), jnp.zeros(s[1]))
            for s in pairwise(widths)
        ]
        x, y = (jnp.asarray(a) for a in samples(widths, batch))

        def loss(parameters: Any, x: Any = x, y: Any = y) -> Any:
            h = x
            for i, (w, b) in enumerate(parameters):
                h = jnp.dot(h, w, precision="highest") + b
                h = jax.nn.relu(h) if i < len(parameters) - 1 else h
            return -jnp.mean(jax.nn.log_softmax(h)[jnp.arange(len(y)), y])

        def step(parameters: Any, _: Any, loss: Any = loss) -> Any:
            gradients = jax.grad(loss)(parameters)
            return jax.tree.map(lambda p, g: p - 0.01 * g, parameters, gradients), None

        scan = jax.jit(lambda p, step=step: jax.lax.scan(step, p, None, length=n, unroll=8)[0])
        times = per_call(lambda: jax.block_until_ready(scan(parameters)), run.window)  # noqa: B023
        found[name] = {key: round(value / n, 2) for key, value in times.items()}
    return found


def jax_replicas(run: Run) -> dict[str, Any]:
    """Backprop of many networks by JAX: a scan over steps, vmapped over the networks."""
    import jax
    import jax.numpy as jnp

    n, steps, widths = (1000, 64, (64, 128, 128, 10)) if not run.fake else (3, 2, (8, 12, 3))
    rng = np.random.default_rng(0)
    parameters = [
        (jnp.asarray(rng.normal(size=(n, *s)) / np.sqrt(s[0]), jnp.float32), jnp.zeros((n, s[1])))
        for s in pairwise(widths)
    ]
    x, y = (jnp.asarray(a) for a in samples(widths, 32))

    def loss(parameters: Any) -> Any:
        h = x
        for i, (w, b) in enumerate(parameters):
            h = jnp.dot(h, w, precision="highest") + b
            h = jax.nn.relu(h) if i < len(parameters) - 1 else h
        return -jnp.mean(jax.nn.log_softmax(h)[jnp.arange(len(y)), y])

    def step(parameters: Any, _: Any) -> Any:
        gradients = jax.vmap(jax.grad(loss))(parameters)
        return jax.tree.map(lambda p, g: p - 0.01 * g, parameters, gradients), None

    scan = jax.jit(lambda p: jax.lax.scan(step, p, None, length=steps)[0])
    times = per_call(lambda: jax.block_until_ready(scan(parameters)), run.window)
    return {"networks": n} | {key: round(value / steps, 2) for key, value in times.items()}


PARTS = {  # with deadlines in seconds, in the order of their worth
    "machine": (machine, 40),
    "bits": (bits, 90),
    "steps": (steps, 100),
    "depth": (depth, 40),
    "host": (host, 30),
    "replicas": (replicas, 60),
    "memory_checks": (memory_checks, 50),
    "pytorch": (pytorch, 50),
    "jax_scan": (jax_scan, 50),
    "jax_replicas": (jax_replicas, 30),
}


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--fake", action="store_true", help="over the stand-in for CuPy")
    args = parser.parse_args()
    os.environ.setdefault("FASTFA_GEMM", "own")
    args.out.mkdir(parents=True, exist_ok=True)
    run = Run(args.out, args.fake)
    if args.fake:
        sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/cuda")]
        import fake_cupy

        with fake_cupy.install():
            parts(run, args.only)
    else:
        parts(run, args.only)


def parts(run: Run, names: list[str]) -> None:
    """Run some parts, each until its deadline."""

    def expired(*_: object) -> None:
        raise TimeoutError("the part took longer than its deadline")

    signal.signal(signal.SIGALRM, expired)
    for name in names:
        part, seconds = PARTS[name]
        start = time.perf_counter()
        signal.alarm(0 if run.fake else seconds)
        try:
            value = part(run)
        except ImportError as error:
            value = {"not measured": str(error)}
        except Exception as error:
            value = {"failed": f"{type(error).__name__}: {error}"}
        finally:
            signal.alarm(0)
        run.keep(name, value | {"seconds": round(time.perf_counter() - start, 1)})


if __name__ == "__main__":
    main()

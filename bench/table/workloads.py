"""One job of one library, timed in a process of its own. Run by rounds.py, not by hand.

A workload reads its case, warms up, and says that it is ready. Then it does its job for as long as
each request says, and sleeps in between, so that workloads can take turns on the same cores.
All train the same network on the same float32 data with softmax cross-entropy and, unless the case
says otherwise, plain SGD: forward, loss, gradients and update. Data is in memory, in the library's
own arrays; what is timed is the call that a user makes. Each library is taken as its own
documentation says it is fastest.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import numpy as np

LR = 0.01
REPLICAS = 64
EPOCHS = 10  # of each replica
FEW = 8  # replicas that PyTorch trains, one after another; its time is taken times REPLICAS / FEW
SAMPLES = 1000  # of a stream


class Job(NamedTuple):
    """What is timed: a call, how many units of work (steps, samples) it does, and by whom."""

    call: Callable[[], object]
    units: float
    info: str
    warm_up: int = 30


def data(case: dict[str, Any], n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A batch, or n samples: float32 X (m, n_0), int64 y (m,)."""
    rng, n = np.random.default_rng(0), n or case["batch"]
    x = rng.random((n, case["widths"][0]), dtype=np.float32)
    return x, rng.integers(0, case["widths"][-1], n)


# ------------------------------------------------------------------------------------------ fastfa


def _network(case: dict[str, Any], seed: int = 0) -> Any:
    import fastfa as fa

    optimizer = {"sgd": fa.SGD(LR), "adam": fa.Adam(1e-5)}[case.get("optimizer", "sgd")]
    *hidden, n_out = case["widths"][1:]
    return fa.Sequential(
        [*(fa.Dense(n, "relu") for n in hidden), fa.Dense(n_out)],
        input_shape=case["widths"][0],
        rule=case["rule"],
        optimizer=optimizer,
        n_threads=case["threads"],
        compute=case.get("compute", "float32"),
        rng=seed,
    )


def _own_info(case: dict[str, Any]) -> str:
    import fastfa as fa

    info = fa.build_info()
    blas = " ".join(word for word in info["blas"].split() if "_" not in word)
    return (
        f"fastfa {info['version']}, {case['threads']} threads, kernels of {info['isa']}, "
        f"products: {info['gemm']}, available: {blas}"
        + (f", bfloat16 by {info['bfloat16']}" if "compute" in case else "")
    )


def fastfa(case: dict[str, Any]) -> Job:
    """`train_batch` from Python, its checks included."""
    net, (x, y) = _network(case), data(case)
    return Job(lambda: net.train_batch(x, y), 1, _own_info(case))


def fastfa_fit(case: dict[str, Any]) -> Job:
    """`fit` over a stream, in order, in batches of the case's size."""
    net, (x, y), batch = _network(case), data(case, SAMPLES), case["batch"]

    def call() -> None:
        net.fit(x, y, epochs=1, batch_size=batch, shuffle=False, verbose=False)

    return Job(call, SAMPLES // batch, _own_info(case), warm_up=2)


def fastfa_learn_one(case: dict[str, Any]) -> Job:
    """`learn_one` in a loop over the same stream."""
    net, (x, y) = _network(case), data(case, SAMPLES)
    pairs = list(zip(x, y.tolist(), strict=True))

    def call() -> None:
        for row, label in pairs:
            net.learn_one(row, label)

    return Job(call, SAMPLES, _own_info(case), warm_up=2)


def fastfa_epoch(case: dict[str, Any]) -> Job:
    """One shuffled epoch over MNIST as bytes (or random bytes of its shape), in microseconds."""
    import fastfa as fa

    try:
        x, y = fa.datasets.load("mnist")[:2]
        what = "MNIST"
    except FileNotFoundError:
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 256, (60000, 784), np.uint8), rng.integers(0, 10, 60000)
        what = "random bytes of MNIST's shape"
    net = _network(case)

    def call() -> None:
        net.fit(x, y, epochs=1, batch_size=case["batch"], verbose=False)

    return Job(call, 1, f"{_own_info(case)}, {what}", warm_up=1)


def fastfa_replicas(case: dict[str, Any]) -> Job:
    """`fit_replicas` over the digits, one network a core."""
    import fastfa as fa

    x, y = fa.datasets.load("digits")[:2]
    settings = [{"seed": seed} for seed in range(REPLICAS)]
    fit = {"batch_size": case["batch"], "epochs": EPOCHS, "n_workers": case["threads"]}

    def call() -> None:
        fa.fit_replicas(lambda seed: _network(case, seed), settings, x, y, verbose=False, **fit)

    return Job(call, 1, _own_info(case), warm_up=1)


def fastfa_alone(case: dict[str, Any]) -> Job:
    """The same networks, one after another on one thread."""
    import fastfa as fa

    x, y = fa.datasets.load("digits")[:2]
    alone = {**case, "threads": 1}

    def call() -> None:
        for seed in range(REPLICAS):
            _network(alone, seed).fit(x, y, batch_size=case["batch"], epochs=EPOCHS, verbose=False)

    return Job(call, 1, _own_info(alone), warm_up=1)


def memory(case: dict[str, Any]) -> tuple[int, int]:
    """Bytes that the library holds after training steps, and what the network needs by count."""
    from fastfa import _core

    net, (x, y) = _network(case), data(case)
    for _ in range(3):
        net.train_batch(x, y)
    widths, item = case["widths"], 4
    parameters = sum(n_in * n_out + n_out for n_in, n_out in pairwise(widths))
    slots = {"sgd": 0, "adam": 2}[case.get("optimizer", "sgd")]
    feedback = sum(array.size for array in net.feedback.values())
    activations = case["batch"] * sum(widths[1:])
    held = item * (parameters * (1 + slots) + feedback + activations)
    return _core.memory()[0], held


# ----------------------------------------------------------------------------------------- PyTorch


def _torch_model(case: dict[str, Any], compiled: bool) -> tuple[Any, Callable[[Any, Any], None]]:
    """The model, and a function that trains it on a batch."""
    import torch

    torch.set_num_threads(case["peer_threads"])
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    layers: list[Any] = []
    for n_in, n_out in pairwise(case["widths"]):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, fused=True)
    criterion = torch.nn.CrossEntropyLoss()

    def loss_of(x: Any, y: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled="compute" in case):
            return criterion(model(x), y)

    forward = torch.compile(loss_of, dynamic=False) if compiled else loss_of

    def step(x: Any, y: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        forward(x, y).backward()
        optimizer.step()

    return model, step


def _torch_info(case: dict[str, Any]) -> str:
    import torch

    blas = "MKL" if torch.backends.mkl.is_available() else "its BLAS"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"PyTorch {torch.__version__}, {case['peer_threads']} threads, {blas}, {capability}"


def _torch(case: dict[str, Any], compiled: bool) -> Job:
    import torch

    step = _torch_model(case, compiled)[1]
    x, y = (torch.from_numpy(array) for array in data(case))
    return Job(lambda: step(x, y), 1, _torch_info(case))


def torch_eager(case: dict[str, Any]) -> Job:
    """PyTorch as one writes it, with the fused optimizer."""
    return _torch(case, compiled=False)


def torch_compiled(case: dict[str, Any]) -> Job:
    """The same with model and loss compiled."""
    return _torch(case, compiled=True)


def _torch_runs(case: dict[str, Any], compiled: bool) -> Job:
    import torch

    import fastfa as fa

    x, y = map(torch.from_numpy, fa.datasets.load("digits")[:2])
    batch = case["batch"]
    last = len(x) - len(x) % batch  # a shorter last batch would be compiled once more: left out
    model, step = _torch_model(case, compiled)

    def call() -> None:
        for _ in range(FEW):
            for layer in model[::2]:  # compiled once, with new values
                layer.reset_parameters()
            for _ in range(EPOCHS):
                order = torch.randperm(len(x))
                for start in range(0, last, batch):
                    rows = order[start : start + batch]
                    step(x[rows], y[rows])

    return Job(call, FEW / REPLICAS, _torch_info(case), warm_up=1)


def torch_runs(case: dict[str, Any]) -> Job:
    """The replicas of the case one after another."""
    return _torch_runs(case, compiled=False)


def torch_runs_compiled(case: dict[str, Any]) -> Job:
    """The same, compiled once for all of them."""
    return _torch_runs(case, compiled=True)


# --------------------------------------------------------------------------------------------- JAX


def flops(widths: list[int], batch: int, rule: str = "backprop") -> float:
    """Multiplications and additions of a step's products."""
    products = [n_in * n_out for n_in, n_out in pairwise(widths)]
    forward = 2.0 * batch * sum(products)
    if rule == "backprop":
        return 3 * forward - 2.0 * batch * products[0]
    return 2 * forward + 2.0 * batch * widths[-1] * sum(widths[1:-1])  # dfa


def jax_step(case: dict[str, Any]) -> Job:
    """One jitted step a call, buffers donated, nothing waited for in between."""
    return _jax(case, scanned=False)


def jax_scan(case: dict[str, Any]) -> Job:
    """Many steps in one jitted call."""
    return _jax(case, scanned=True)


def _jax(case: dict[str, Any], scanned: bool) -> Job:
    import jax
    import jax.numpy as jnp

    x, y = (jnp.asarray(array) for array in data(case))
    rng = np.random.default_rng(1)
    steps = int(min(200, max(4, 4e9 / flops(case["widths"], case["batch"]))))
    parameters = [
        (
            jnp.asarray(rng.normal(size=shape, scale=shape[0] ** -0.5), jnp.float32),
            jnp.zeros(shape[1]),
        )
        for shape in pairwise(case["widths"])
    ]

    def loss_of(parameters: Any, x: Any, y: Any) -> Any:
        for weight, bias in parameters[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        log_p = jax.nn.log_softmax(x @ parameters[-1][0] + parameters[-1][1])
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()

    def one(parameters: Any, x: Any, y: Any) -> tuple[Any, Any]:
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, y)
        return jax.tree.map(lambda p, g: p - LR * g, parameters, gradients), loss

    def many(parameters: Any, x: Any, y: Any) -> tuple[Any, Any]:
        return jax.lax.scan(lambda p, _: one(p, x, y), parameters, length=steps)

    jitted = jax.jit(many if scanned else one, donate_argnums=0)

    def call() -> None:
        nonlocal parameters
        for _ in range(1 if scanned else steps):
            parameters, loss = jitted(parameters, x, y)
        loss.block_until_ready()

    return Job(call, steps, f"JAX {jax.__version__}, {case['threads']} cores", warm_up=3)


# ------------------------------------------------------------------------------------ scikit-learn


def sklearn(case: dict[str, Any]) -> Job:
    """`partial_fit` of scikit-learn's MLPClassifier on the one batch."""
    import sklearn
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_info

    x, y = data(case)
    model = MLPClassifier(
        case["widths"][1:-1],
        solver="sgd",
        batch_size=len(x),
        learning_rate_init=LR,
        momentum=0,
        alpha=0,
    )
    classes = np.arange(case["widths"][-1])
    model.partial_fit(x, y, classes=classes)
    blas = {
        "{internal_api} {version}, {num_threads} threads".format(**pool)
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    info = f"scikit-learn {sklearn.__version__}, {'; '.join(sorted(blas))}"
    return Job(lambda: model.partial_fit(x, y), 1, info, warm_up=3)


JOBS: dict[str, Callable[[dict[str, Any]], Job]] = {
    "fastfa": fastfa,
    "fastfa-fit": fastfa_fit,
    "fastfa-learn-one": fastfa_learn_one,
    "fastfa-epoch": fastfa_epoch,
    "fastfa-replicas": fastfa_replicas,
    "fastfa-alone": fastfa_alone,
    "torch": torch_eager,
    "torch-compiled": torch_compiled,
    "torch-runs": torch_runs,
    "torch-runs-compiled": torch_runs_compiled,
    "jax-step": jax_step,
    "jax-scan": jax_scan,
    "sklearn": sklearn,
}


def times(job: Job, seconds: float) -> Iterator[float]:
    """Microseconds a unit of work, call after call, for so long but once at least."""
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        job.call()
        stop = time.perf_counter()
        yield (stop - start) * 1e6 / job.units
        if stop > end:
            return


def main() -> None:
    """Serve: one line of seconds in, the median time of a unit of work out."""
    case = json.loads(sys.argv[2])
    if sys.argv[1] == "memory":
        print(*memory(case))
        return
    job = JOBS[sys.argv[1]](case)
    for _ in range(job.warm_up):
        job.call()
    print(json.dumps({"info": job.info}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"median": median(times(job, float(line)))}), flush=True)


if __name__ == "__main__":
    main()

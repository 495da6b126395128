"""One training step in one library, timed in a process of its own. Run by step.py, not by hand.

A contender is told a case, warms up, says that it is ready, and then times steps for as long as it
is asked, again and again, sleeping in between, so that contenders can take turns on the same cores.
All train the same network on the same float32 batch with plain SGD and softmax cross-entropy:
forward, loss, gradients and update. Data is in memory; what is timed is the call that a user makes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

LR = 0.01
Step = Callable[[], object]


def data(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The batch: float32 X (m, n_0), int64 y (m,)."""
    rng = np.random.default_rng(0)
    x = rng.random((case["batch"], case["widths"][0]), dtype=np.float32)
    return x, rng.integers(0, case["widths"][-1], case["batch"])


def fastfa(case: dict[str, Any]) -> tuple[Step, int, str]:
    """`train_batch` from Python, its checks included."""
    import fastfa as fa

    x, y = data(case)
    *hidden, n_out = case["widths"][1:]
    net = fa.Sequential(
        [*(fa.Dense(n, "relu") for n in hidden), fa.Dense(n_out)],
        input_shape=case["widths"][0],
        rule=case["rule"],
        optimizer=fa.SGD(LR),
        n_threads=case["threads"],
        rng=0,
    )
    info = fa.build_info()
    return lambda: net.train_batch(x, y), 1, f"fastfa {info['version']}, {info['isa']}"


def torch_eager(case: dict[str, Any]) -> tuple[Step, int, str]:
    """PyTorch as one writes it, with the fused optimizer."""
    return _torch(case, compiled=False)


def torch_compiled(case: dict[str, Any]) -> tuple[Step, int, str]:
    """The same with model and loss compiled."""
    return _torch(case, compiled=True)


def _torch(case: dict[str, Any], compiled: bool) -> tuple[Step, int, str]:
    import torch

    torch.set_num_threads(case["torch_threads"])
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    x, y = (torch.from_numpy(array) for array in data(case))
    widths, layers = case["widths"], []
    for n_in, n_out in pairwise(widths):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, fused=True)
    criterion = torch.nn.CrossEntropyLoss()

    def loss_of(x: Any, y: Any) -> Any:
        return criterion(model(x), y)

    forward = torch.compile(loss_of, dynamic=False) if compiled else loss_of

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        forward(x, y).backward()
        optimizer.step()

    return step, 1, f"PyTorch {torch.__version__}, {case['torch_threads']} threads"


def jax_step(case: dict[str, Any]) -> tuple[Step, int, str]:
    """One jitted step a call, buffers donated."""
    return _jax(case, steps=1)


def jax_scan(case: dict[str, Any]) -> tuple[Step, int, str]:
    """Many steps in one jitted call."""
    return _jax(case, steps=20)


def _jax(case: dict[str, Any], steps: int) -> tuple[Step, int, str]:
    import jax
    import jax.numpy as jnp

    x, y = (jnp.asarray(array) for array in data(case))
    rng = np.random.default_rng(1)
    widths = case["widths"]
    parameters = [
        (
            jnp.asarray(rng.normal(size=shape, scale=shape[0] ** -0.5), jnp.float32),
            jnp.zeros(shape[1]),
        )
        for shape in pairwise(widths)
    ]

    def loss_of(parameters: Any, x: Any, y: Any) -> Any:
        for weight, bias in parameters[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        log_p = jax.nn.log_softmax(x @ parameters[-1][0] + parameters[-1][1])
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()

    def one(parameters: Any, _: Any = None) -> tuple[Any, Any]:
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, y)
        return jax.tree.map(lambda p, g: p - LR * g, parameters, gradients), loss

    def many(parameters: Any) -> tuple[Any, Any]:
        return one(parameters) if steps == 1 else jax.lax.scan(one, parameters, length=steps)

    jitted = jax.jit(many, donate_argnums=0)

    def step() -> None:
        nonlocal parameters
        parameters, loss = jitted(parameters)
        loss.block_until_ready()

    return step, steps, f"JAX {jax.__version__}"


def sklearn(case: dict[str, Any]) -> tuple[Step, int, str]:
    """`partial_fit` of scikit-learn's MLPClassifier on the one batch."""
    import sklearn
    from sklearn.neural_network import MLPClassifier

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
    return lambda: model.partial_fit(x, y, classes), 1, f"scikit-learn {sklearn.__version__}"


CONTENDERS = {
    "fastfa": fastfa,
    "torch": torch_eager,
    "torch-compiled": torch_compiled,
    "jax": jax_step,
    "jax-scan": jax_scan,
    "sklearn": sklearn,
}


def timed(step: Step, steps_a_call: int, seconds: float) -> dict[str, float]:
    """Median and minimum microseconds a step over `seconds`."""
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e6 / steps_a_call)
    return {"median": median(times), "min": min(times), "calls": len(times)}


def main() -> None:
    """Serve: one line of seconds in, one line of figures out."""
    case = json.loads(sys.argv[2])
    os.sched_setaffinity(0, case["cores"])
    step, steps_a_call, info = CONTENDERS[sys.argv[1]](case)
    for _ in range(30):
        step()
    print(json.dumps({"info": info}), flush=True)
    for line in sys.stdin:
        print(json.dumps(timed(step, steps_a_call, float(line))), flush=True)


if __name__ == "__main__":
    main()

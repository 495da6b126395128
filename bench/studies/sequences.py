"""Recurrent layers: what each `time=` is worth, and a step next to PyTorch and JAX.

    python bench/studies/sequences.py            the table of `time=`, paired seeds
    python bench/studies/sequences.py --speed    medians of ratios, to peers that are installed

Tasks: the digits row by row (8 steps of 8 pixels, the class at the last step; test accuracy), and
Add (Marschall, Cho & Savin 2020): y_t = 1/2 + x_(t-3)/2 - x_(t-5)/4 of random bits, the probability
of a bit at every step; its cross-entropy in nats is .6616 if nothing is known, .5192 from the first
lag, .4545 from both. All have 64 tanh units (Add: 32), leak 0.5, rule backprop, Adam.
"""

import argparse
import time
from statistics import median

import numpy as np

import fastfa as fa
from fastfa.layers.recurrent import TIMES

SEEDS = 5


def digits(how: str, seed: int) -> float:
    X, y, X_test, y_test = fa.datasets.load("digits")
    X, X_test = (a.reshape(-1, 8, 8) for a in (X, X_test))
    layers = [fa.Recurrent(64, leak=0.5, time=how), fa.Dense(10)]
    net = fa.Sequential(layers, input_shape=8, optimizer=fa.Adam(2e-3), rng=seed)
    net.fit(X, y, epochs=15, verbose=False)
    return 100 * net.evaluate(X_test, y_test)["accuracy"]


def add(how: str, seed: int) -> float:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (1200, 30, 1)).astype(np.float32)
    p = 0.5 + 0.5 * np.roll(x, 3, axis=1) - 0.25 * np.roll(x, 5, axis=1)
    y = (rng.random(x.shape) < p).astype(np.float32)
    y[:, :5] = np.nan
    layers = [fa.Recurrent(32, leak=0.5, time=how), fa.Dense(1)]
    net = fa.Sequential(
        layers, input_shape=1, loss="sigmoid_cross_entropy", optimizer=fa.Adam(3e-3), rng=seed
    )
    net.fit(x[:1000], y[:1000], epochs=20, batch_size=20, verbose=False)
    return net.evaluate(x[1000:], y[1000:])["loss"]


def table() -> None:
    print(
        f"{'time':10} {'digits by rows, %':>24} {'Add, nats':>26}   median of {SEEDS} seeds [range]"
    )
    for how in TIMES:
        found = [[task(how, seed) for seed in range(SEEDS)] for task in (digits, add)]
        texts = [
            f"{median(v):.{n}f} [{min(v):.{n}f}, {max(v):.{n}f}]"
            for v, n in zip(found, (1, 4), strict=True)
        ]
        print(f"{how:10} {texts[0]:>24} {texts[1]:>26}", flush=True)


def ours(n, X, y):
    net = fa.Sequential(
        [fa.Recurrent(n), fa.Dense(10)], input_shape=X.shape[2], optimizer=fa.SGD(1e-3), rng=0
    )
    return lambda: net.train_batch(X, y)


def by_torch(n, X, y):
    import torch

    torch.set_num_threads(fa.get_num_threads())
    rnn, top = torch.nn.RNN(X.shape[2], n, batch_first=True), torch.nn.Linear(n, 10)
    update = torch.optim.SGD([*rnn.parameters(), *top.parameters()], 1e-3)
    x, labels, loss = torch.from_numpy(X), torch.from_numpy(y), torch.nn.CrossEntropyLoss()

    def step():
        update.zero_grad()
        loss(top(rnn(x)[0][:, -1]), labels).backward()
        update.step()

    return step


def by_jax(n, X, y):
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    shapes = {"w": (X.shape[2], n), "u": (n, n), "b": (n,), "v": (n, 10), "c": (10,)}
    state = [{k: jnp.asarray(rng.normal(0, n**-0.5, s), jnp.float32) for k, s in shapes.items()}]
    x, labels = jnp.asarray(X.transpose(1, 0, 2)), jnp.asarray(y)

    def loss(p):
        def one(h, a):
            return jnp.tanh(a + h @ p["u"]), None

        h, _ = jax.lax.scan(one, jnp.zeros((len(X), n)), x @ p["w"] + p["b"])
        logs = jax.nn.log_softmax(h @ p["v"] + p["c"])
        return -logs[jnp.arange(len(X)), labels].mean()

    @jax.jit
    def update(p):
        return jax.tree_util.tree_map(lambda a, g: a - 1e-3 * g, p, jax.grad(loss)(p))

    def step():
        state[0] = update(state[0])
        state[0]["w"].block_until_ready()

    return step


def seconds(step, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def speed(rounds: int) -> None:
    rng = np.random.default_rng(0)
    print("a step of plain SGD, batch 64, 28 inputs, the class at the last step; median of rounds")
    for n, steps in ((64, 28), (64, 200), (256, 28), (256, 200)):
        X = rng.standard_normal((64, steps, 28)).astype(np.float32)
        y, programs = rng.integers(0, 10, 64), {}
        for name, make in (("fastfa", ours), ("torch", by_torch), ("jax", by_jax)):
            try:
                programs[name] = make(n, X, y)
            except ImportError:
                continue
            seconds(programs[name], 3)
        count = max(1, 400_000 // (n * steps * 10))
        took = [{k: seconds(step, count) for k, step in programs.items()} for _ in range(rounds)]
        ratios = {k: median(t[k] / t["fastfa"] for t in took) for k in programs if k != "fastfa"}
        mine = median(t["fastfa"] for t in took)
        rest = ", ".join(f"{name} {ratio:.2f} times that" for name, ratio in ratios.items())
        print(f"n {n:3}, T {steps:3}: fastfa {1e3 * mine:.2f} ms, {rest}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    speed(given.rounds) if given.speed else table()

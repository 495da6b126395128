"""Data-parallel training: each process has a share of every batch, and MPI adds the gradients.

Run it: ``mpiexec -n 2 python examples/data_parallel_mpi.py``; it needs mpi4py and an MPI library.

All processes begin with the same network, the same seed. In every step each computes the gradients
of its own rows, all add theirs up, and each takes the optimizer's step on the sum. So the weights
stay the same everywhere, and no process sends any. The result is that of one process with whole
batches, but for rounding: the table shows how far apart they are.
"""

import argparse

import numpy as np

import fastfa as fa

try:
    from mpi4py import MPI
except ImportError as error:
    raise SystemExit(f"this example needs mpi4py and an MPI library: {error}") from None


def network():
    """Digits by direct feedback alignment; one thread, since each process has a core."""
    layers = [fa.Dense(64, "tanh"), fa.Dense(32, "tanh"), fa.Dense(10)]
    return fa.Sequential(
        layers,
        input_shape=64,
        rule="dfa",
        optimizer=fa.SGD(0.1, momentum=0.9),
        rng=0,
        n_threads=1,
        dtype="float64",
    )


def shared_gradients(comm, net, x, y):
    """The gradients of a batch, of which every process computes those of some rows."""
    mine = np.array_split(np.arange(len(x)), comm.size)[comm.rank]
    grads = net.gradients(x[mine], y[mine])
    parts = [g * (len(mine) / len(x)) for g in grads.values()]  # their means are over other counts
    flat = np.concatenate([part.ravel() for part in parts])
    total = np.empty_like(flat)
    comm.Allreduce(flat, total)
    ends = np.cumsum([part.size for part in parts])[:-1]
    pieces = np.split(total, ends)
    return {
        key: piece.reshape(part.shape)
        for key, piece, part in zip(grads, pieces, parts, strict=True)
    }


def main():
    """Train in all processes, and once more in one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    epochs = parser.parse_args().epochs
    comm = MPI.COMM_WORLD
    x, y, x_test, y_test = fa.datasets.load("digits")
    x = x[: len(x) // 64 * 64]  # whole batches, so that every process has rows
    net, alone = network(), network()
    order = np.random.default_rng(0)  # the same in every process
    if comm.rank == 0:
        print("epoch  accuracy  largest difference from one process")
    for epoch in range(1, epochs + 1):
        for batch in order.permutation(len(x)).reshape(-1, 64):
            net.apply_gradients(shared_gradients(comm, net, x[batch], y[batch]))
            if comm.rank == 0:
                alone.train_batch(x[batch], y[batch])
        if comm.rank == 0:
            accuracy = net.evaluate(x_test, y_test)["accuracy"]
            apart = max(abs(net.parameters[k] - alone.parameters[k]).max() for k in net.parameters)
            print(f"{epoch:5}  {accuracy:8.4f}  {apart:.1e}")
    states = comm.gather(net.parameters["0.weight"].tobytes())
    if comm.rank == 0:
        print("the same weights in all processes:", len(set(states)) == 1)


if __name__ == "__main__":
    main()

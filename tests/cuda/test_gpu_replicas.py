"""`fit_replicas(device="cuda")`: many networks in one launch have the bits of each one alone."""

import threading

import numpy as np
import pytest
from small import refuses, same_state, samples, shallow

import fastfa as fa
from fastfa.backends.cuda import kernels, modules, together

X, Y = samples(50)
DEEP = (fa.Dense(9, "tanh"), fa.Dropout(0.2), fa.Dense(5, "relu"))


def build(seed, units=3, **changes):
    given = {"layers": [*DEEP, fa.Dense(units)], "rule": "dfa", "optimizer": fa.SGD(0.1)}
    return shallow(rng=seed, **(given | changes))


def alone_and_together(settings, **fit):
    """The replicas trained one by one on the CPU, and on a GPU."""
    given = {"epochs": 3, "batch_size": 16, "verbose": False} | fit
    return [fa.fit_replicas(build, settings, X, Y, **given, device=d) for d in (None, "cuda")]


def assert_same(host, gpu):
    for one, other in zip(host, gpu, strict=True):
        assert same_state(one.net, other.net), one.setting
        assert other.net.device == "cpu"
        for key in one.history.history.keys() - {"time"}:
            np.testing.assert_allclose(
                other.history.history[key], one.history.history[key], rtol=1e-12
            )


SWEEPS = {
    "widths and rates": [
        {"seed": i, "optimizer": fa.SGD(0.02 * (i + 1), momentum=0.9),
         "layers": [fa.Dense(n, "tanh"), fa.Dense(40, "relu"), fa.Dense(3)]}
        for i, n in enumerate((1, 33, 70))
    ],
    "two passes, clipped": [
        {"seed": i, "rule": "pepita", "optimizer": fa.Adam(0.01, clip_norm=c)}
        for i, c in enumerate((0.01, 1e6))
    ],
    "many outputs": [
        {"seed": i, "rule": "kp", "units": 70, "optimizer": "adamw"} for i in range(2)
    ],
    "float64": [{"seed": i, "dtype": "float64"} for i in range(2)],
}  # fmt: skip


@pytest.mark.parametrize("sweep", SWEEPS)
def test_each_network_has_the_bits_of_a_training_alone(cupy, sweep):
    host, gpu = alone_and_together(SWEEPS[sweep], validation_split=0.2)
    assert_same(host, gpu)
    assert all(replica.net.steps == 9 for replica in gpu)


def test_networks_with_other_kernels_train_in_the_same_sweep(machine):
    settings = [{"seed": 0}, {"seed": 1, "rule": "drtp"}, {"seed": 2}]
    assert_same(*alone_and_together(settings))
    many = [name for name in machine.log if name == "fa_replicas_f32"]
    assert machine.log == many  # no kernel ran for a network alone
    assert 12 <= len(many) < 36  # 12 launches of each, of which 2 are of one kind


def test_tensors_that_shared_memory_does_not_hold_stay_where_they_are(machine, monkeypatch):
    """Of one network they fit, of the other they do not."""
    monkeypatch.setattr(modules, "_together", {})
    machine.shared = 48 << 10
    small, large = ([fa.Dense(n, "tanh"), fa.Dense(3)] for n in (4, 1500))
    settings = [{"seed": 1, "layers": small}, {"seed": 2, "layers": large}]
    assert_same(*alone_and_together(settings, epochs=1))


class Stop(fa.Callback):
    """Stops a network after an epoch of its own."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, epoch, logs):
        if epoch == self.epoch:
            net.stop()


def test_networks_end_when_they_want_and_others_go_on(cupy):
    ends = iter((2, 5, 1, 2, 5, 1))
    settings = [{"seed": i} for i in range(3)]
    given = {"callbacks": lambda: [Stop(next(ends))], "n_workers": 3}
    host, gpu = alone_and_together(settings, epochs=4, **given)
    assert_same(host, gpu)
    assert [len(replica.history.history["loss"]) for replica in gpu] == [2, 4, 1]


def test_a_network_that_fails_leaves_the_others_alone(cupy):
    """The input overflows, which a kernel finds; a weight does, which an update finds."""
    settings = [
        {"seed": 0},
        {"seed": 1, "input_scale": 3e38},
        {"seed": 2, "optimizer": fa.SGD(1e38), "loss": "mse"},
    ]
    host, gpu = alone_and_together(settings, on_error="record")
    assert [replica.error is None for replica in gpu] == [True, False, False]
    for one, other in zip(host, gpu, strict=True):
        assert str(one.error) == str(other.error)
        assert one.net.steps == other.net.steps
    assert same_state(host[0].net, gpu[0].net)


def test_samples_are_copied_once_for_all_networks(machine, monkeypatch):
    copied, place = [], together.placed_array
    monkeypatch.setattr(
        together, "placed_array", lambda cupy, a: copied.append(a.shape) or place(cupy, a)
    )
    everybody = threading.Barrier(4)

    class Begin(fa.Callback):
        def on_train_begin(self, net):
            everybody.wait(60)

    settings = [{"seed": i} for i in range(4)]
    given = {"callbacks": lambda: [Begin()], "n_workers": 4}
    assert_same(*alone_and_together(settings, **given))
    assert copied == [X.shape, Y.shape]
    assert machine.used[0] == 0


def test_fewer_workers_than_networks(cupy):
    settings = [{"seed": i} for i in range(5)]
    before = threading.active_count()
    assert_same(*alone_and_together(settings, n_workers=2))
    assert threading.active_count() == before


def test_what_it_refuses(machine):
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as pool:
        call = {"executor": pool, "device": "cuda"}
        refuses(ValueError, lambda: fa.fit_replicas(build, [], X, Y, **call), "device", "executor=")
    refuses(ValueError, lambda: fa.fit_replicas(build, [], X, Y, device="gpu"), "device", '"gpu"')


BARRIER = "__syncthreads();"
BARRIERS = kernels.part("replica.cu").count(BARRIER)


@pytest.mark.parametrize("n", range(BARRIERS))
def test_every_barrier_is_needed(machine, n, monkeypatch):
    part = kernels.part

    def without(name):
        pieces = part(name).split(BARRIER)
        joined = ";".join([BARRIER.join(pieces[: n + 1]), BARRIER.join(pieces[n + 1 :])])
        return joined if name == "replica.cu" else part(name)

    settings = [{"seed": 0}, {"seed": 1, "input_scale": 3e38}]
    host, _ = alone_and_together(settings, epochs=1, on_error="record")
    monkeypatch.setattr(kernels, "part", without)
    monkeypatch.setattr(modules, "_together", {})
    _, gpu = alone_and_together(settings, epochs=1, on_error="record")
    assert any(
        str(one.error) != str(other.error) or not same_state(one.net, other.net)
        for one, other in zip(host, gpu, strict=True)
    )

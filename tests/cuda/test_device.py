"""Where networks and arrays are: moving networks, arrays of GPUs, errors of what is missing."""

import builtins
import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time

import fake_cupy
import numpy as np
import pytest
from small import network, refuses, same_state, samples

import fastfa as fa
from fastfa.backends.cuda import gpu as gpu_module
from fastfa.backends.cuda import support
from fastfa.backends.cuda.lock import FairLock


def trained(**changes):
    net = network(**changes)
    net.fit(*samples(), 2, 16, verbose=False)
    return net


def on_stream(cupy, values):
    """An array that a stream of its own is still filling; and that stream."""
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        array = cupy.empty(values.shape, values.dtype)
        array.set(values)
    return array, stream


class DLPack:
    """An array of another library that knows DLPack alone."""

    def __init__(self, array, stream):
        self._array, self._stream = array, stream

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()

    def __dlpack__(self, **given):
        with self._stream:
            return self._array.__dlpack__(**given)


class Interface:
    """An array of another library that has `__cuda_array_interface__` alone."""

    def __init__(self, array, stream):
        self._array, self._stream = array, stream

    @property
    def __cuda_array_interface__(self):
        return self._array.__cuda_array_interface__ | {"stream": self._stream.ptr}


# ------------------------------------------------------------------------------ moving networks


def test_a_network_says_where_it_is(cupy):
    assert network().device == "cpu"
    assert network(device="cuda").device == "cuda:0"
    with pytest.raises(AttributeError, match=r"net\.to\(device\) moves the network"):
        network().device = "cuda"


def test_moving_there_and_back_gives_the_same_network(cupy):
    stays, moves = trained(), trained()
    history, before = moves.history, moves.parameters["0.weight"].copy()
    assert moves.to("cuda") is moves
    assert moves.to("cuda:0").device == "cuda:0"
    assert isinstance(moves.parameters["0.weight"], cupy.ndarray)
    np.testing.assert_array_equal(moves.parameters["0.weight"].get(), before)
    assert moves.history is history
    assert (moves.steps, moves.epochs, moves.lr) == (stays.steps, stays.epochs, stays.lr)
    assert same_state(stays, moves)
    for net in (stays, moves):
        net.fit(*samples(), 2, 16, verbose=False)
    assert moves.to("cpu").device == "cpu"
    assert isinstance(moves.parameters["0.weight"], np.ndarray)
    for net in (stays, moves):
        net.fit(*samples(), 1, 16, verbose=False)
    assert same_state(stays, moves)


def test_schedules_settings_and_columns_move(cupy):
    net = network(optimizer=fa.SGD(lambda step: 0.5 / (step + 1)), n_threads=1)
    net.fit(*samples(), 1, 16, verbose=False)
    net.to("cuda")
    assert net.lr == 0.5 / (net.steps + 1)
    assert net.n_threads == 1
    net.lr = 0.25
    assert net.to("cpu").lr == 0.25
    net.to("cuda").reset()
    assert (net.steps, net.lr) == (0, 0.5)
    assert same_state(net, network(optimizer=fa.SGD(lambda step: 0.5 / (step + 1))))


def test_networks_move_between_gpus(machine):
    net = trained(device="cuda:1")
    expected = trained()
    assert net.device == "cuda:1"
    net.to("cuda")
    assert net.device == "cuda:0"
    net.fit(*samples(), 1, 16, verbose=False)
    expected.fit(*samples(), 1, 16, verbose=False)
    assert same_state(net, expected)
    with fake_cupy.cuda.Device(1):
        assert network(device="cuda").device == "cuda:1"  # the current one


def test_a_network_cannot_move_while_it_is_trained(cupy):
    class Mover(fa.Callback):
        def on_epoch_end(self, net, epoch, logs):
            refuses(RuntimeError, lambda: net.to("cpu"), "fit is running on this network")

    net = network(device="cuda")
    net.fit(*samples(), 1, 16, verbose=False, callbacks=[Mover()])
    assert net.device == "cuda:0"


def test_files_pickles_and_copies_cross_over(cupy, tmp_path):
    host, there = trained(), trained(device="cuda")
    assert there.to_bytes() == host.to_bytes()
    there.save(tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == host.to_bytes()
    loaded = fa.load(tmp_path / "net", device="cuda")
    assert (loaded.device, fa.load(tmp_path / "net").device) == ("cuda:0", "cpu")
    data = there.to_bytes()
    nets = [host, loaded, fa.load(data), fa.load(data, device="cuda"), copy.deepcopy(there),
            pickle.loads(pickle.dumps(there))]  # fmt: skip
    assert [net.device for net in nets[3:]] == ["cuda:0"] * 3
    for net in nets:
        net.fit(*samples(), 1, 16, verbose=False)
    assert all(same_state(host, net) for net in nets)
    with (tmp_path / "net").open("rb") as file:
        assert fa.load(file, device="cuda").device == "cuda:0"


def test_exports_are_those_of_the_network_on_the_cpu(cupy, tmp_path):
    texts = []
    for device in ("cpu", "cuda"):
        layers = [fa.Dense(8, "tanh"), fa.Dense(3)]
        net = trained(layers=layers, rule="drtp", optimizer=fa.SGD(0.1), device=device)
        net.to_c(tmp_path / "net.c", learn=True)
        texts.append((tmp_path / "net.c").read_text())
    assert texts[0] == texts[1]


def test_many_networks_take_turns_on_a_gpu(cupy):
    def build(rng, device):
        return network(rng=rng, device=device)

    X, y = samples()
    on = {}
    for device in ("cpu", "cuda"):
        settings = [{"rng": seed, "device": device} for seed in range(4)]
        on[device] = fa.fit_replicas(build, settings, X, y, epochs=2, n_workers=3, verbose=False)
    for host, there in zip(on["cpu"], on["cuda"], strict=True):
        assert there.net.device == "cuda:0"
        assert same_state(host.net, there.net)


def test_what_a_gpu_does_not_run_is_refused_by_name(cupy):
    class Mine(fa.Rule):
        def signal(self, ctx):
            return ctx.error @ np.ones((3, ctx.units), np.float32)

    normal = fa.BRSF(feedback=fa.Feedback("normal"))
    cases = [
        ({"rule": Mine()}, "layer 0: rule", "got Mine", "written in Python", 'device="cpu"'),
        ({"rule": normal}, "layer 0: feedback", "uniform for brsf", "got normal", 'device="cpu"'),
        ({"optimizer": fa.SGD(0.1, l1=0.5)}, "optimizer: l1", "got 0.5", 'device="cpu"'),
    ]
    for changes, *words in cases:
        refuses(ValueError, lambda c=changes: network(device="cuda", **c), *words)
        net = trained(**changes)
        before = net.to_bytes()
        refuses(ValueError, lambda n=net: n.to("cuda"), *words)
        assert (net.device, net.to_bytes()) == ("cpu", before)
    layers = [fa.Dense(4, "tanh", rule=Mine()), fa.Dense(3)]
    refuses(ValueError, lambda: network(layers=layers, device="cuda"), "layer 0", "got Mine")


# ------------------------------------------------------------------------------- arrays of GPUs


@pytest.mark.parametrize("wrap", [None, DLPack, Interface])
def test_arrays_of_the_gpu_are_read_in_place_after_their_stream(cupy, wrap):
    host, there = network(), network(device="cuda")
    X, y = samples()
    array, stream = on_stream(cupy, X)
    given = array if wrap is None else wrap(array, stream)
    if wrap is None:
        cupy.cuda.get_current_stream().wait_event(stream.record())
    there.fit(given, y, 2, 16, verbose=False)
    host.fit(X, y, 2, 16, verbose=False)
    assert same_state(host, there)
    predicted = there.predict(given)
    assert isinstance(predicted, cupy.ndarray)
    np.testing.assert_array_equal(predicted.get(), host.predict(X))
    expected = pytest.approx(host.evaluate(X, y), rel=1e-12)
    assert there.evaluate(given, y) == expected
    assert there.alignment(given, y) == host.alignment(X, y)


def test_inputs_on_the_gpu_are_not_copied(machine):
    net = network(device="cuda")
    import cupy

    X, y = samples(2000)
    array = cupy.asarray(X)
    net.train_batch(array, y)
    assert (
        net._engine.place(net._validator.read(net._validator.unread(array, y, None))).x.data.ptr
        == array.data.ptr
    )


def test_what_predict_returns_is_memory_of_the_callers_stream(machine):
    """CuPy's pool gives freed memory to later work of the stream that it was taken for."""
    import cupy

    net, stream = network(device="cuda"), cupy.cuda.Stream(non_blocking=True)
    with stream:
        array = cupy.asarray(samples()[0])
        assert net.predict(array).data.mem.stream is stream
        gradients = net.gradients(array, samples()[1])
    assert all(each.data.mem.stream is stream for each in gradients.values())


def test_targets_and_weights_may_be_anywhere(cupy):
    X, y = samples()
    weights = np.linspace(0, 2, 50)
    host = network()
    host.fit(X, y, 1, 16, sample_weight=weights, verbose=False)
    for gx, gy, gw in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1)]:
        net = network(device="cuda")
        given = [
            cupy.asarray(a) if g else a for g, a in zip((gx, gy, gw), (X, y, weights), strict=True)
        ]
        net.fit(given[0], given[1], 1, 16, sample_weight=given[2], verbose=False)
        assert same_state(host, net)


def test_other_dtypes_and_layouts_are_converted(cupy):
    X, y = samples()
    host = network()
    expected = host.predict(X)
    net = network(device="cuda")
    for values in (X.astype(np.float64), np.asfortranarray(X), np.repeat(X, 2, 0)[::2]):
        array = cupy.asarray(values)
        np.testing.assert_array_equal(net.predict(array).get(), expected)
    array = cupy.asarray(np.ascontiguousarray(X.T)).T  # not contiguous on the GPU
    np.testing.assert_array_equal(net.predict(array).get(), expected)
    np.testing.assert_array_equal(net.predict(cupy.asarray(X.reshape(50, 2, 3))).get(), expected)
    np.testing.assert_array_equal(net.predict_one(cupy.asarray(X[0])).get(), expected[0])
    loss = net.train_batch(cupy.asarray(X), cupy.asarray(y.astype(np.int32)))
    assert loss == pytest.approx(host.train_batch(X, y), rel=1e-12)
    assert same_state(host, net)


def test_bytes_stay_bytes(machine):
    import cupy

    X = np.random.default_rng(0).integers(0, 256, (4000, 6), np.uint8)
    y = X[:, 0].astype(np.int64) % 3
    host, net = network(), network(device="cuda")
    net.train_batch(X[:2], y[:2])
    before, placed = (
        machine.used[0],
        net._engine.place(net._validator.read(net._validator.unread(X, y, None))),
    )
    assert placed.x.dtype == np.uint8
    assert machine.used[0] - before == X.nbytes + y.nbytes
    host.train_batch(X[:2], y[:2])
    for given in (X, cupy.asarray(X)):
        host.fit(X, y, 1, 500, verbose=False)
        net.fit(given, y, 1, 500, verbose=False)
    assert same_state(host, net)
    small = np.minimum(X, 5)
    with pytest.warns(UserWarning, match="uint8 with no value above 5"):
        network(device="cuda").predict(cupy.asarray(small))


def test_bad_values_on_the_gpu_get_the_words_of_the_cpu(cupy):
    X, y = samples()
    bad = X.copy()
    bad[7, 3] = np.nan
    labels, negative = y.copy(), np.ones(50)
    labels[5], negative[9] = 3, -1
    net = network(device="cuda")
    before = net._engine.state()
    for x, t, w in [(bad, y, None), (X, labels, None), (X, y, negative), (X[:, :5], y, None),
                    (X[:4], y, None), (X[0], y, None)]:  # fmt: skip
        messages = []
        for give in (np.asarray, cupy.asarray):
            with pytest.raises(ValueError, match="expected") as caught:
                net.train_batch(give(x), give(t), None if w is None else give(w))
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
    assert net._engine.state() == before
    refuses(ValueError, lambda: net.predict(cupy.asarray(bad)), "X", "row 7, column 3")


def test_an_array_of_another_gpu_is_refused(machine):
    import cupy

    X, _ = samples()
    with cupy.cuda.Device(1):
        array = cupy.asarray(X)
        stream = cupy.cuda.Stream(non_blocking=True)
    net = network(device="cuda:0")
    for given in (array, DLPack(array, stream), Interface(array, stream)):
        refuses(ValueError, lambda g=given: net.predict(g), "X", "cuda:0", "cuda:1", "net.to(")
    assert net.to("cuda:1").predict(array).device.id == 1


def test_a_network_on_the_cpu_refuses_arrays_of_a_gpu_with_a_hint(cupy):
    X, y = samples()
    net = network()
    array, stream = on_stream(cupy, X)
    for given in (array, DLPack(array, stream), Interface(array, stream)):
        refuses(TypeError, lambda g=given: net.fit(g, y), "X", 'net.to("cuda")', ".get()")
    refuses(TypeError, lambda: net.fit(X, cupy.asarray(y)), "y", 'net.to("cuda")')


def test_parameters_are_live_and_take_arrays_of_both_kinds(cupy):
    host, net = network(), network(device="cuda")
    X, _ = samples()
    new = np.full((6, 8), 0.25, np.float32)
    host.parameters["0.weight"] = new
    for given in (new, new.tolist(), cupy.asarray(new), cupy.asarray(new.astype(np.float64))):
        net.reset()
        net.parameters["0.weight"] = given
        np.testing.assert_array_equal(net.predict(X), host.predict(X))
        assert same_state(host, net)
    net.parameters["0.weight"].fill(0.5)  # by the user's own work on the GPU
    host.parameters["0.weight"][...] = 0.5
    np.testing.assert_array_equal(net.predict(X), host.predict(X))
    assert net.to_bytes() == host.to_bytes()
    net.feedback["0.feedback"] = cupy.asarray(np.zeros((3, 8), np.float32))
    assert not net.feedback_matrix(0).any()
    key = 'parameters["0.weight"]'
    for given, word in ((new[1:], "shape"), (new * np.nan, "finite")):
        for give in (np.asarray, cupy.asarray):
            with pytest.raises(ValueError, match="expected") as caught:
                net.parameters["0.weight"] = give(given)
            assert key in str(caught.value)
            assert word in str(caught.value)


def test_large_arrays_of_the_cpu_are_copied_in_pieces(machine, monkeypatch):
    from fastfa._internal import validation
    from fastfa.backends.cuda import samples as on_gpu

    monkeypatch.setattr(validation, "LARGE", 100)
    monkeypatch.setattr(on_gpu, "PIECE", 60)
    X, y = samples()
    host, net = network(), network(device="cuda")
    for one in (host, net):
        one.fit(X.astype(np.float64), y, 2, 16, verbose=False)
    assert same_state(host, net)
    np.testing.assert_array_equal(net.predict(X.astype(np.float64)), host.predict(X))


def test_callbacks_and_plots_read_a_network_on_a_gpu(cupy, tmp_path):
    X, y = samples()
    host, net = network(), network(device="cuda")
    path = tmp_path / "net"
    stopping = []
    for one in (host, net):
        early = fa.EarlyStopping("loss", patience=1, min_delta=0.05)
        record = fa.callbacks.Alignment((X, y))
        checkpoint = fa.Checkpoint(path)
        one.fit(X, y, 5, 16, verbose=False, callbacks=[early, record, checkpoint])
        stopping.append((early.best_epoch, early.stopped_epoch))
    assert stopping[0] == stopping[1]
    assert same_state(host, net)
    figures = [fa.plot.feedback(one) for one in (host, net)]
    assert all(figures)
    assert fa.load(path, device="cuda").steps > 0


# -------------------------------------------------------------------------- what may be missing


@pytest.fixture
def no_cupy(monkeypatch):
    found = builtins.__import__

    def without(name, *more):
        if name.partition(".")[0] == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'", name="cupy")
        return found(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)


def test_without_cupy_the_error_says_what_to_install(no_cupy):
    words = ("expected the package CuPy", "pip install", "cupy-cuda13x", ".[cuda13]")
    refuses(ImportError, lambda: network(device="cuda"), *words)
    net = network()
    refuses(ImportError, lambda: net.to("cuda"), *words)
    refuses(ImportError, lambda: fa.load(net.to_bytes(), device="cuda:1"), *words)
    assert net.device == "cpu"


def test_without_a_driver_the_error_has_the_reason():
    with fake_cupy.install(devices=0):
        words = ("expected a GPU", "cudaErrorInsufficientDriver", 'device="cpu"')
        refuses(RuntimeError, lambda: network(device="cuda"), *words)


def test_a_number_without_a_gpu_is_refused(machine):
    refuses(ValueError, lambda: network(device="cuda:2"), '"cuda:0" or "cuda:1"', 'got "cuda:2"')


def test_unpickling_without_the_gpu_gives_a_network_on_the_cpu(no_cupy):
    expected = trained()
    state = expected.__getstate__() | {"device": "cuda:0"}
    net = fa.Sequential.__new__(fa.Sequential)
    with pytest.warns(UserWarning, match="was on cuda:0 and is on the CPU now"):
        net.__setstate__(state)
    assert net.device == "cpu"
    assert same_state(net, expected)


def test_a_pickle_of_an_earlier_version_knows_no_device():
    state = trained().__getstate__()
    del state["device"]
    net = fa.Sequential.__new__(fa.Sequential)
    net.__setstate__(state)
    assert net.device == "cpu"


def test_importing_fastfa_does_not_import_cupy():
    code = (
        "import sys, fastfa as fa; fa.Sequential([fa.Dense(2)], input_shape=2)\n"
        "assert not [n for n in sys.modules if 'cupy' in n or 'backends.cuda' in n]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_forked_child_gets_a_plain_error(machine, monkeypatch):
    monkeypatch.setattr(gpu_module, "_first_process", [])
    net = network(device="cuda")
    X, y = samples()
    net.train_batch(X, y)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        for call in (
            lambda: net.predict(X),
            lambda: net.train_batch(X, y),
            net.to_bytes,
            lambda: network(device="cuda"),
        ):
            try:
                call()
            except RuntimeError as error:
                said.append("forked" in str(error))
        os.write(writing, bytes(said))
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert os.read(reading, 10) == b"\1\1\1\1"
    os.close(reading)
    assert multiprocessing.get_context("spawn")  # what the message advises


# -------------------------------------------------------------------------------------- the lock


def test_the_lock_may_be_taken_again_by_its_thread():
    lock = FairLock()
    with lock, lock:
        pass
    with pytest.raises(ValueError, match="left"), lock:
        raise ValueError("left")
    with lock:
        pass


def test_a_thread_that_comes_again_waits_behind_those_that_wait():
    lock, order = FairLock(), []

    def wait():
        with lock:
            order.append("waited")

    with lock:
        thread = threading.Thread(target=wait)
        thread.start()
        while not lock._next.locked():
            time.sleep(0.001)
    with lock:
        order.append("came again")
    thread.join()
    assert order == ["waited", "came again"]


def test_a_file_with_what_no_gpu_runs_loads_with_another_optimizer(machine, tmp_path, monkeypatch):
    net = network(optimizer="adam")
    net.save(tmp_path / "net")
    monkeypatch.setattr(support, "OPTIMIZERS", ("sgd",))
    with pytest.raises(ValueError, match="optimizer: expected one of sgd on a GPU, got adam"):
        fa.load(tmp_path / "net", device="cuda")
    moved = fa.load(tmp_path / "net", optimizer=fa.SGD(1e-3), device="cuda")
    assert moved.device == "cuda:0"
    for key, values in net.parameters.items():
        assert (moved._backend.on_host("x", moved.parameters[key]) == values).all()


@pytest.mark.parametrize("sparsity", [0.5, 0.66])  # 0.66: one entry a unit
def test_sparse_feedback_has_the_bits_of_the_cpu(machine, sparsity):
    rule = fa.DFA(feedback=fa.Feedback(sparsity=sparsity))
    X, y = samples(40)
    nets = [network(rule=rule, device=device) for device in ("cpu", "cuda")]
    for net in nets:
        net.fit(X, y, 2, 16, verbose=False)
    assert nets[0]._engine.state() == nets[1]._engine.state()

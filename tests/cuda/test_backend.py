"""A network on a GPU has the bits of the one on the CPU, also chunked, interrupted and halted."""

import threading

import fake_cupy
import numpy as np
import pytest
from small import AtStep, network, same_state, samples, shallow

import fastfa as fa
from fastfa.backends.cuda import launches, training
from fastfa.backends.cuda import network as gpu_network
from fastfa.backends.cuda.control import Control


def pair(make=network, **changes):
    return make(**changes), make(device="cuda", **changes)


def bytes_and_labels(m=50):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (m, 6), np.uint8), rng.integers(0, 3, m)


def rows(m=50):
    X, y = samples(m)
    return X, np.eye(3, dtype=np.float32)[y]


WEIGHTS = np.random.default_rng(2).uniform(0, 2, 50)
WIDE = [fa.Dense(7, "gelu"), fa.Dense(70)]
CASES = {
    "dfa, dropout, momentum": (network, {}, samples, None),
    "backprop, adam": (shallow, {"rule": "backprop", "optimizer": "adam"}, samples, None),
    "weights": (network, {}, samples, WEIGHTS),
    "drtp, bytes, plain sgd": (
        network,
        {"rule": "drtp", "optimizer": fa.SGD(0.1, weight_decay=0.01)},
        bytes_and_labels,
        None,
    ),
    "rows, mse": (network, {"rule": "fa", "loss": "mse", "optimizer": "rmsprop"}, rows, None),
    "a wide output": (
        network,
        {"layers": WIDE, "loss": "sigmoid_cross_entropy", "optimizer": "adamw"},
        samples,
        None,
    ),
}
TAUGHT = ("usf", "frsf", "brsf", "kp", "dkp", "ldfa", "ifa", "local", "pepita")
CASES |= {
    rule: (network, {"rule": rule, "optimizer": fa.SGD(0.1, momentum=0.9, clip_norm=c)}, samples, w)
    for rule, c, w in zip(TAUGHT, (None, 0.1, None) * 3, (None, WEIGHTS) * 5, strict=False)
}
CASES["clipped"] = (shallow, {"optimizer": fa.Adam(0.01, clip_norm=0.5)}, samples, WEIGHTS)


@pytest.mark.parametrize("case", CASES)
def test_training_has_the_bits_of_the_cpu(cupy, case):
    make, changes, data, weights = CASES[case]
    host, gpu = pair(make, **changes)
    X, y = data()
    given = {"epochs": 3, "batch_size": 16, "sample_weight": weights, "verbose": False}
    records = [net.fit(X, y, validation_data=(X, y), **given) for net in (host, gpu)]
    assert same_state(host, gpu)
    assert (host.steps, host.epochs) == (gpu.steps, gpu.epochs) == (12, 3)
    expected, got = (record.history for record in records)
    assert expected.keys() == got.keys()
    for key in expected.keys() - {"time"}:
        np.testing.assert_allclose(got[key], expected[key], rtol=1e-12)
    assert gpu.train_batch(X, y) == pytest.approx(host.train_batch(X, y), rel=1e-12)
    for output in ("logits", "probabilities"):
        np.testing.assert_array_equal(gpu.predict(X, output), host.predict(X, output))
    one = X[0] if X.dtype == np.uint8 else X[0] * 1
    np.testing.assert_array_equal(gpu.predict_one(one), host.predict_one(one))
    evaluated = gpu.evaluate(X, y, weights)
    assert evaluated == pytest.approx(host.evaluate(X, y, weights), rel=1e-12)


@pytest.mark.parametrize("where", ["host", "GPU", "float64"])
def test_batches_that_come_one_by_one_have_the_bits_of_the_cpu(cupy, where):
    host, gpu = pair()
    X, y = samples()
    given = {"host": X, "GPU": cupy.asarray(X), "float64": X.astype(np.float64)}[where]
    cut = [slice(start, start + 16) for start in range(0, 50, 16)]
    expected = host.fit(X, y, 2, 16, shuffle=False, validation_data=(X, y), verbose=False)
    batches = [(given[rows], y[rows]) for rows in cut]
    got = gpu.fit(batches=batches, epochs=2, validation_data=(X, y), verbose=False)
    assert same_state(host, gpu)
    for key in expected.history.keys() - {"time"}:
        np.testing.assert_allclose(got.history[key], expected.history[key], rtol=1e-12)
    batches[2] = (given[:3], y[:3] + 3)
    with pytest.raises(ValueError, match="batch 3 of epoch 3: y: expected integer labels"):
        gpu.fit(batches=batches, verbose=False)
    assert gpu.steps == host.steps + 2


def test_predictions_and_evaluations_go_by_parts(cupy, monkeypatch):
    monkeypatch.setattr(gpu_network, "ROWS", 16)
    host, gpu = pair()
    X, y = samples()
    for given in (X, cupy.asarray(X)):
        out = gpu.predict(given, "logits")
        np.testing.assert_array_equal(cupy.asnumpy(out), host.predict(X, "logits"))
        expected = pytest.approx(host.evaluate(X, y, WEIGHTS), rel=1e-12)
        assert gpu.evaluate(given, y, WEIGHTS) == expected


def test_looking_inside_gives_the_same(cupy):
    host, gpu = pair()
    X, y = samples()
    gradients, expected = gpu.gradients(X, y, WEIGHTS), host.gradients(X, y, WEIGHTS)
    assert gradients.keys() == expected.keys()
    for key, value in gradients.items():
        assert isinstance(value, cupy.ndarray)
        np.testing.assert_array_equal(value.get(), expected[key])
    assert gpu.alignment(X, y) == host.alignment(X, y)
    deltas = [net._engine.deltas(X, y, None, WEIGHTS) for net in (gpu, host)]
    for got, same in zip(*deltas, strict=True):
        np.testing.assert_array_equal(got, same)
    np.testing.assert_array_equal(gpu.feedback_matrix(0), host.feedback_matrix(0))
    assert str(gpu.summary()) == f"{host.summary()}\ndevice       cuda:0"
    assert same_state(host, gpu)  # nothing has changed


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("by_step", [False, True])
def test_a_split_has_the_bits_of_the_cpu(cupy, on_gpu, by_step):
    host, gpu = pair()
    X, y = samples()
    given = {"validation_split": 0.2, "metrics": ["f1"], "train_metrics": True, "verbose": False}
    given["callbacks"] = [AtStep(3, lambda net: None)] if by_step else []
    expected = host.fit(X, y, 3, 16, sample_weight=WEIGHTS, **given)
    got = gpu.fit(cupy.asarray(X) if on_gpu else X, y, 3, 16, sample_weight=WEIGHTS, **given)
    assert host.steps == 3 * 3  # 40 samples, of which the last batch has 8
    assert same_state(host, gpu)
    assert "val_f1" in expected.history
    for key in expected.history.keys() - {"time"}:
        np.testing.assert_allclose(got.history[key], expected.history[key], rtol=1e-12)


def test_a_split_of_samples_on_a_gpu_that_is_not_the_current_one(machine):
    import cupy

    host, gpu = network(), network(device="cuda:1")
    X, y = samples()
    with cupy.cuda.Device(1):
        there = cupy.asarray(X)
    host.fit(X, y, 2, 16, validation_split=0.2, metrics=["f1"], verbose=False)
    gpu.fit(there, y, 2, 16, validation_split=0.2, metrics=["f1"], verbose=False)
    assert same_state(host, gpu)


def test_step_by_step_is_the_same(cupy):
    host, gpu = pair(optimizer=fa.SGD(lambda step: 0.1 / (1 + step)))
    X, y = samples()
    seen = []
    for net in (host, gpu):
        net.fit(X, y, 2, 16, verbose=False, callbacks=[AtStep(3, lambda n: seen.append(n.steps))])
        net.learn_one(X[0], y[0])
        net.learn_many(X[:3], y[:3])
        net.train_batch(X[:5], y[:5], WEIGHTS[:5])
    assert seen == [3, 3]
    assert same_state(host, gpu)


# ---------------------------------------------------------------------------- graphs and chunks


def long_run(net, X, y, steps=40, poll=None, seconds=100.0, order=None):
    """Steps of 4 rows in one call; `seconds` is the length of a chunk."""
    samples = (X, y, None, None)
    return net._engine.train_steps(*samples, order, 4, 0, steps, None, poll, seconds, checked=True)


@pytest.fixture
def replays(monkeypatch):
    """Steps and repetitions of each replay of a graph."""
    made, replay = [], launches.Launches.replay

    def recorded(self, steps, times, stream):
        made.append((steps, times))
        replay(self, steps, times, stream)

    monkeypatch.setattr(launches.Launches, "replay", recorded)
    return made


def test_chunks_replay_graphs_with_the_bits_of_the_cpu(cupy, replays):
    host, gpu = pair()
    X, y = samples(4 * 40)
    order = np.random.default_rng(0).permutation(160)
    expected, got = (long_run(net, X, y, order=order) for net in (host, gpu))
    assert same_state(host, gpu)
    assert got == pytest.approx(expected, rel=1e-12)
    assert replays == [(16, 2), (1, 7)]  # after a first step without a graph
    long_run(host, X, y)
    long_run(gpu, X, y)
    assert replays[2:] == [(16, 2), (1, 8)]
    assert same_state(host, gpu)


def test_sums_do_not_depend_on_chunks(cupy, replays):
    X, y = samples(160)
    results = []
    for seconds in (0.0, 1e-4, 100.0):
        net = network(device="cuda")
        results.append((long_run(net, X, y, seconds=seconds), net._engine.state()))
    assert results[0] == results[1] == results[2]
    assert replays.count((1, 1)) >= 39


def test_graphs_can_be_turned_off(cupy, replays, monkeypatch):
    monkeypatch.setenv("FASTFA_CUDA_GRAPH", "0")
    host, gpu = pair()
    X, y = samples(160)
    long_run(host, X, y)
    long_run(gpu, X, y)
    assert replays == []
    assert same_state(host, gpu)


def test_poll_ends_a_call_between_steps(cupy):
    host, gpu = pair()
    X, y = samples(160)
    polled = []
    result = long_run(gpu, X, y, poll=lambda step: polled.append(step) or step >= 5, seconds=0.0)
    assert polled == [1, 2, 3, 4, 5]
    assert result[2:] == (20, 5)
    assert result == pytest.approx(long_run(host, X, y, 5), rel=1e-12)
    assert same_state(host, gpu)


def test_stop_ends_a_fit(cupy):
    net = network(device="cuda")
    X, y = samples()
    net.fit(X, y, 5, 16, verbose=False, callbacks=[AtStep(6, fa.Sequential.stop)])
    assert net.steps == 6
    assert net.history.epoch == [1]


def test_ctrl_c_leaves_whole_steps(cupy):
    host, gpu = pair()
    X, y = samples(160)

    def interrupt(step):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        long_run(gpu, X, y, poll=interrupt, seconds=0.0)
    assert gpu.steps == 3
    long_run(host, X, y, 3)
    assert same_state(host, gpu)


@pytest.mark.parametrize("chunk", [1, 2])
def test_steps_count_that_were_launched_before_an_interruption(cupy, monkeypatch, chunk):
    host, gpu = pair()
    X, y = samples(160)
    read, reads = Control.read, []

    def interrupted(self):
        reads.append(1)
        if len(reads) == chunk:
            raise KeyboardInterrupt
        return read(self)

    monkeypatch.setattr(Control, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        long_run(gpu, X, y)
    assert gpu.steps == (1 if chunk == 1 else 40)
    long_run(host, X, y, gpu.steps)
    assert same_state(host, gpu)


# ---------------------------------------------------------------------- numbers that are not finite


@pytest.mark.parametrize("bad", [3e38, np.nan, np.inf])
@pytest.mark.parametrize("seconds", [0.0, 100.0])
@pytest.mark.parametrize("batch", [0, 5, 23])
def test_a_loss_that_is_not_finite_stops_before_its_step(cupy, bad, seconds, batch):
    layers = [fa.Dense(8, "relu"), fa.Dense(5, "tanh"), fa.Dense(3)]
    host, gpu = pair(layers=layers, optimizer=fa.SGD(0.01, momentum=0.9), rule="backprop")
    X, y = samples(160)
    X[4 * batch + 1] = bad
    if bad == 3e38:  # the sum in a row overflows, to infinity minus infinity
        for net in (host, gpu):
            net.parameters["0.weight"] = np.tile([[2.0], [-2.0]], (3, 8))
    messages = []
    for net in (host, gpu):
        with pytest.raises(FloatingPointError) as caught:
            long_run(net, X, y, seconds=seconds)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert host.steps == gpu.steps == batch
    assert same_state(host, gpu)
    X[4 * batch + 1] = 0
    long_run(host, X, y)
    long_run(gpu, X, y)  # it can go on
    assert same_state(host, gpu)


@pytest.mark.parametrize("optimizer", [fa.SGD(1e30), fa.SGD(1e30, momentum=0.9), fa.Adam(1e38)])
@pytest.mark.parametrize("seconds", [0.0, 100.0])
def test_an_update_that_overflows_names_the_parameter(cupy, optimizer, seconds):
    host, gpu = pair(loss="mse", optimizer=optimizer, rule="backprop")
    X, y = samples(160)
    messages = []
    for net in (host, gpu):
        with pytest.raises(FloatingPointError) as caught:
            long_run(net, X, y, seconds=seconds)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert host.steps == gpu.steps


def test_a_norm_of_the_gradient_that_is_not_finite_stops_before_its_step(cupy):
    host, gpu = pair(loss="mse", dtype="float64", rule="backprop", layers=[fa.Dense(3)],
                     optimizer=fa.SGD(1e-300, clip_norm=1.0))  # fmt: skip
    X, y = samples(40, np.float64)
    X[25] = 1e153
    messages = []
    for net in (host, gpu):
        net.fit(X[:20], y[:20], 1, 10, verbose=False)  # a graph is there
        net.parameters["0.weight"] = np.full((6, 3), 1e-6)
        with pytest.raises(FloatingPointError) as caught:
            net.fit(X, y, 1, 10, shuffle=False, verbose=False)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "gradient norm is not finite (inf)" in messages[0]
    assert host.steps == gpu.steps == 4
    assert same_state(host, gpu)


def test_a_parameter_that_is_not_finite_is_named(cupy):
    X, y = samples()
    for act in (
        lambda net: net.predict(X),
        lambda net: net.evaluate(X, y),
        lambda net: net.train_batch(X, y),
        lambda net: net.gradients(X, y),
        lambda net: net.to_bytes(),
    ):
        messages = []
        for net in pair():
            net._engine.parameters["0.bias"].fill(np.inf)
            with pytest.raises(FloatingPointError) as caught:
                act(net)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
        assert "0.bias: not finite" in messages[0]


def test_a_weight_that_the_dtype_does_not_hold_is_refused(cupy):
    X, y = samples()
    weights = np.ones(50)
    weights[3] = 1e39
    messages = []
    for net in pair():
        before = net._engine.state()
        with pytest.raises(ValueError, match="sample_weight") as caught:
            net.train_batch(X, y, weights)
        messages.append(str(caught.value))
        assert net._engine.state() == before
    assert messages[0] == messages[1]


def test_a_sparse_x_is_refused(cupy):
    sparse = pytest.importorskip("scipy.sparse")
    X, y = samples()
    _, net = pair()
    before = net._engine.state()
    calls = (lambda x: net.fit(x, y), lambda x: net.train_batch(x, y), net.predict)
    for call in calls:
        with pytest.raises(TypeError, match=r"[Xx]: expected a dense array on a GPU, got a sparse"):
            call(sparse.csr_array(X))
    assert net._engine.state() == before


def test_logits_that_are_infinite_by_rights_do_not_stop(cupy):
    """A product that is not finite although all parameters are: the step is made all the same."""
    host, gpu = pair(shallow, rule="backprop", loss="softmax_cross_entropy", optimizer=fa.SGD(0.1))
    X, y = samples(160)
    weight = np.zeros((6, 8), np.float32)
    weight[0] = 3e38  # tanh(inf) = 1
    X[:, 0] = np.abs(X[:, 0]) + 2
    for net in (host, gpu):
        net.parameters["0.weight"] = weight
        long_run(net, X, y, 10)
    assert same_state(host, gpu)
    assert gpu.steps == 10


# --------------------------------------------------------------------------------------- memory


def test_out_of_memory_changes_nothing(machine):
    host, gpu = pair()
    X, y = samples()
    import cupy

    pool = cupy.get_default_memory_pool()
    pool.set_limit(pool.used_bytes() + 1000)
    before = gpu._engine.state()
    for call in (
        lambda: gpu.train_batch(X, y),
        lambda: gpu.learn_many(X, y),
        lambda: gpu.predict(X),
        lambda: network(device="cuda", layers=[fa.Dense(100), fa.Dense(3)]),
        lambda: host.to("cuda"),
    ):
        with pytest.raises(MemoryError, match="Out of memory allocating"):
            call()
    assert gpu._engine.state() == before
    pool.set_limit(0)
    assert host.device == "cpu"
    for net in (host, gpu):
        net.fit(X, y, 2, 16, verbose=False)
    assert same_state(host, gpu)


def test_a_fit_gives_its_memory_back(machine):
    net = network(device="cuda")
    X, y = samples(2000)
    net.fit(X, y, 1, 16, verbose=False)
    kept = machine.used[0]
    net.fit(X, y, 2, 500, verbose=False)
    net.fit(X, y, 1, 16, verbose=False)
    assert machine.used[0] == kept


def test_predictions_of_many_sizes_keep_the_graphs_of_training(machine, replays):
    net = network(device="cuda")
    X, y = samples(160)
    long_run(net, X, y)
    del replays[:]
    for m in range(1, 25):
        net.predict(X[:m])
    assert len(net._engine._kept) == gpu_network.KEPT
    used, allocations = machine.used[0], machine.allocations
    long_run(net, X, y)
    assert replays == [(16, 2), (1, 8)]
    assert machine.used[0] == used
    assert machine.allocations - allocations == 3  # samples, labels and factors


@pytest.mark.parametrize("eager", [False, True])
def test_it_does_not_matter_when_streams_do_their_work(eager):
    with fake_cupy.install(eager=eager):
        host, gpu = pair()
        X, y = samples(160)
        long_run(host, X, y)
        long_run(gpu, X, y)
        assert same_state(host, gpu)
        np.testing.assert_array_equal(gpu.predict(X), host.predict(X))


def test_other_threads_have_their_turn(cupy):
    net = network(device="cuda")
    X, y = samples(160)
    order, done = [], threading.Event()
    expected = net.predict(X[:3]).shape

    def read():
        while not done.is_set():
            assert net.predict(X[:3]).shape == expected
            order.append(net.steps)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        long_run(net, X, y, poll=lambda step: len(order) > 5, seconds=0.0)
        for _ in range(200):
            if len(order) > 5:
                break
            long_run(net, X, y, 5, seconds=0.0)
    finally:
        done.set()
        thread.join()
    assert len(order) > 5
    assert order == sorted(order)


def test_unrolled_graphs_are_shorter_than_a_chunk():
    assert 1 < training.UNROLLED <= 64


@pytest.mark.parametrize("rule", ["fa", "kp", "dkp"])
def test_given_gradients_take_the_step_of_the_engine(cupy, rule):
    host, gpu = pair(rule=rule, optimizer=fa.NAdam(0.01, clip_norm=0.5))
    X, y = samples()
    for net in (host, gpu):
        net.train_batch(X, y)
        net.apply_gradients(net.gradients(X, y))
        net.train_batch(X, y)
    assert gpu.steps == 3
    assert same_state(host, gpu)
    if rule == "dkp":
        with pytest.raises(ValueError, match=r"feedback: expected False on a GPU.*0\.feedback"):
            gpu.gradients(X, y, feedback=True)

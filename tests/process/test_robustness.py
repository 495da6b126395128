"""Signals, threads, forks, and values that are not finite."""

import faulthandler
import signal
import threading
import time

import numpy as np
import pytest
from networks import ADAM, RULES, digest, samples, threaded
from processes import in_child, run_python

import fastfa as fa
from fastfa import _core

# ------------------------------------------------------------------------------------------ Ctrl-C


class Pressed:
    """Raises KeyboardInterrupt from a signal handler after some time, and knows when that was."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.at = None

    def handle(self, number, frame):
        raise KeyboardInterrupt

    def __enter__(self):
        self.before = signal.signal(signal.SIGALRM, self.handle)
        self.at = time.perf_counter() + self.seconds
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        return self

    def __exit__(self, *error):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


def interrupted(seconds=0.1, shuffle=True):
    """A long fit that a signal ends: the network, its data and how long the end took."""
    net = fa.Sequential(
        [fa.Dense(64, "tanh"), fa.Dropout(0.2), fa.Dense(5)], input_shape=20, rule="dfa", rng=1
    )
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((5000, 20)).astype(np.float32), rng.integers(0, 5, 5000)
    with Pressed(seconds) as pressed, pytest.raises(KeyboardInterrupt):
        net.fit(X, y, epochs=100_000, batch_size=32, shuffle=shuffle, verbose=False)
    return net, X, y, time.perf_counter() - pressed.at


def test_ctrl_c_ends_a_fit_within_a_fifth_of_a_second():
    """Best of three: a busy machine may be late, a fit that does not look would always be."""
    assert min(interrupted()[-1] for _ in range(3)) < 0.2


def test_ctrl_c_leaves_the_last_complete_step():
    net, X, y, _ = interrupted(shuffle=False)
    twin = fa.Sequential(
        [fa.Dense(64, "tanh"), fa.Dropout(0.2), fa.Dense(5)], input_shape=20, rule="dfa", rng=1
    )
    assert net.steps > 0
    per_epoch = -(-5000 // 32)
    for step in range(net.steps):
        first = 32 * (step % per_epoch)
        twin.train_batch(X[first : first + 32], y[first : first + 32])
    assert digest(net.parameters) == digest(twin.parameters)
    net.fit(X, y, epochs=1, verbose=False)  # and it is still usable


def test_ctrl_c_at_the_keyboard():
    """SIGINT to a process that trains: the ordinary traceback, soon."""
    code = (
        "import numpy as np, fastfa as fa, os, signal, threading\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
        "net = fa.Sequential([fa.Dense(64, 'tanh'), fa.Dense(5)], input_shape=20, rng=1)\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    net.fit(np.ones((5000, 20)), np.arange(5000) % 5, epochs=100_000, verbose=False)\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', net.steps > 0, np.isfinite(net.parameters['0.weight']).all())\n"
    )
    assert run_python(code) == "stopped True True"


def test_an_exception_of_a_poll_comes_out_and_ends_the_call():
    desc = threaded()
    data = samples(desc, 20_000)
    net, twin = _core.Network(desc), _core.Network(desc)

    def fail(step):
        raise LookupError(step)

    with pytest.raises(LookupError) as error:
        net.train_steps(*data, None, 32, 0, 625, None, fail, 0)
    assert net.steps == error.value.args[0] > 0
    twin.train_steps(*data, None, 32, 0, net.steps)
    assert net.state() == twin.state()


def test_a_poll_can_stop():
    desc = threaded()
    data = samples(desc, 20_000)
    net = _core.Network(desc)
    _, _, rows, steps = net.train_steps(*data, None, 32, 0, 625, None, lambda step: True, 0)
    assert steps == net.steps < 625
    assert rows == 32 * steps


def test_using_the_network_inside_its_own_step_is_an_error_not_a_deadlock():
    desc = threaded()
    data = samples(desc, 20_000)
    net, other = _core.Network(desc), _core.Network(desc)
    errors = []

    def use(step):
        for call in (net.predict, other.predict):
            try:
                call(data[0][:3])
            except RuntimeError as error:
                errors.append(str(error))
        return True

    net.train_steps(*data, None, 32, 0, 625, None, use, 0)
    assert len(errors) == 1
    assert "own training" in errors[0]


# --------------------------------------------------------------------------------- not a number


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
@pytest.mark.parametrize("name", RULES)
def test_a_loss_that_is_not_finite_changes_no_bit(name, clip_norm, dtype):
    desc = threaded(name, dtype=dtype, optimizer=ADAM | {"clip_norm": clip_norm})
    net, data = _core.Network(desc), samples(desc, 150)
    net.train_batch(*data)
    net.parameters["0.bias"][3] = np.nan
    before = net.state()
    for call in (
        lambda: net.train_batch(*data),
        lambda: net.gradients(*data),
        lambda: net.alignment(*data),
        lambda: net.train_steps(*data, None, 32, 0, 5),
    ):
        with pytest.raises(FloatingPointError, match="nan"):
            call()
        assert net.state() == before
    net.parameters["0.bias"][3] = 0
    assert np.isfinite(net.train_batch(*data))


def test_steps_before_the_bad_one_are_kept(dtype):
    """A weight that explodes in the third batch: two steps are made, the third is not."""
    desc = threaded(dtype=dtype)
    x, labels, _, _ = samples(desc, 96)
    net, twin = _core.Network(desc), _core.Network(desc)
    x[70] = np.inf  # the engine trusts train_steps' caller to have checked x
    with pytest.raises(FloatingPointError):
        net.train_steps(x, labels, None, None, None, 32, 0, 3)
    twin.train_steps(x, labels, None, None, None, 32, 0, 2)
    assert net.steps == 2
    assert net.state() == twin.state()


# ----------------------------------------------------------------------------------------- threads


def in_threads(*functions):
    """Run functions at a time; raise what any of them raised. A deadlock ends the process."""
    errors = []

    def guarded(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    faulthandler.dump_traceback_later(120, exit=True)  # works without the GIL, unlike a join
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    faulthandler.cancel_dump_traceback_later()
    if errors:
        raise errors[0]


def test_predicting_while_another_thread_trains():
    """Every prediction is that of one of the complete states, never of half an update."""
    desc = threaded()
    data = samples(desc, 64)
    net, twin = _core.Network(desc), _core.Network(desc)
    trained = threading.Event()
    seen = [set(), set()]  # by each of two readers, while the network trains

    def train():
        try:
            while net.steps < 150 or (min(map(len, seen)) < 10 and net.steps < 20_000):
                net.train_batch(*data)
        finally:
            trained.set()

    def predict(found):
        while not trained.is_set():
            found.add(digest(net.predict(data[0])))

    in_threads(train, lambda: predict(seen[0]), lambda: predict(seen[1]))
    complete = {digest(twin.predict(data[0]))}
    for _ in range(net.steps):
        twin.train_batch(*data)
        complete.add(digest(twin.predict(data[0])))
    assert seen[0] | seen[1] <= complete
    assert min(map(len, seen)) >= 10
    assert net.state() == twin.state()


def test_answers_from_within_a_long_call_of_training():
    """Who predicts waits for a step, not for the epoch: several answers come within one call."""
    desc = threaded()
    data = samples(desc, 8000)
    net, twin = _core.Network(desc), _core.Network(desc)
    call, most, done = 0, 0, threading.Event()

    def train():
        nonlocal call
        try:
            while most < 10 and call < 500:
                net.train_steps(*data, None, 8, 0, 1000, poll_seconds=1e9)
                call += 1
        finally:
            done.set()

    def predict():
        nonlocal most
        answers = dict.fromkeys(range(501), 0)
        while not done.is_set():
            before = call
            net.predict(data[0][:4])
            answers[before] += before == call
            most = max(most, answers[before])

    in_threads(train, predict)
    assert most >= 10
    for _ in range(call):
        twin.train_steps(*data, None, 8, 0, 1000)
    assert net.state() == twin.state()


def test_every_method_while_another_thread_is_in_a_long_call():
    """They wait for it, and it takes the GIL now and then: none may wait while holding it."""
    desc = threaded()
    data = samples(desc, 60_000)
    x, labels, y, w = (None if a is None else a[:8] for a in data)
    net = _core.Network(desc)
    calls = [
        lambda: net.predict(x),
        lambda: net.evaluate(x, labels, y, w),
        lambda: net.gradients(x, labels, y, w),
        lambda: net.alignment(x, labels, y, w),
        lambda: net.feedback_matrix(0),
        lambda: net.shuffle(10),
        lambda: net.train_batch(x, labels, y, w),
        lambda: net.train_batch_direct(x, labels),
        lambda: net.write("0.bias", np.zeros(64)),
        lambda: setattr(net, "lr", 0.01),
        net.state,
        net.reset,
        lambda: (net.steps, net.lr, net.epochs, net.counts, net.layers, net.n_threads),
    ]
    started = threading.Event()
    polls = []

    def train():
        net.train_steps(*data, None, 32, 0, 1875, None, lambda step: polls.append(started.set()), 0)

    def later(call):
        assert started.wait(30)
        call()

    in_threads(train, *(lambda call=call: later(call) for call in calls))
    assert len(polls) > 1


@pytest.mark.parametrize("n_threads", [1, 2])
def test_networks_training_at_a_time_do_not_mix(n_threads):
    descs = [threaded(name, n_threads=n_threads, seed=i) for i, name in enumerate(RULES)]
    data = [samples(desc, 300, seed=i) for i, desc in enumerate(descs)]

    def train(net, i):
        for _ in range(4):
            net.train_steps(*data[i], net.shuffle(300), 70, 0, 5)

    alone = [_core.Network(desc) for desc in descs]
    for i, net in enumerate(alone):
        train(net, i)
    together = [_core.Network(desc) for desc in descs]
    in_threads(*(lambda i=i, net=net: train(net, i) for i, net in enumerate(together)))
    assert [net.state() for net in together] == [net.state() for net in alone]


def test_a_process_ends_while_its_pool_is_alive_and_while_it_trains():
    code = (
        "import numpy as np, fastfa as fa, threading, time\n"
        "net = fa.Sequential([fa.Dense(64), fa.Dense(5)], input_shape=20, n_threads=3, rng=1)\n"
        "X, y = np.ones((5000, 20)), np.arange(5000) % 5\n"
        "net.fit(X, y, epochs=1, verbose=False)\n"
        "fit = lambda: net.fit(X, y, epochs=100_000, verbose=False)\n"
        "threading.Thread(target=fit, daemon=True).start()\n"
        "time.sleep(0.1)\n"
        "print('end')"
    )
    assert run_python(code) == "end"


# ------------------------------------------------------------------------------------------- forks


forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@forks
def test_children_use_the_networks_of_their_parent():
    desc = threaded()
    net, data = _core.Network(desc), samples(desc, 300)
    net.train_batch(*data)  # the pool is running now
    kept = net.state()

    def use():
        net.train_steps(*data, net.shuffle(300), 64, 0, 5)
        return digest(net.state(), net.predict(data[0]), _core.Network(desc).predict(data[0]))

    found = {in_child(use) for _ in range(10)}
    assert net.state() == kept
    assert {use()} == found


@forks
def test_a_child_forked_in_the_middle_of_a_training():
    """What another thread was training is refused there; everything else works."""
    desc = threaded()
    net, data = _core.Network(desc), samples(desc, 60_000)
    spare, started = _core.Network(desc), threading.Event()
    x = data[0][:8]
    expected = digest(spare.predict(x))
    children = []

    def use():
        try:
            net.predict(x)
        except RuntimeError as error:
            refusal = str(error)
        else:
            refusal = ""
        spare.train_batch(*(None if a is None else a[:200] for a in data))
        return f"{'forked' in refusal} {digest(_core.Network(desc).predict(x)) == expected}"

    def train():
        net.train_steps(*data, None, 32, 0, 1875, None, lambda step: started.set(), 0)

    def fork():
        assert started.wait(30)
        children.append(in_child(use))

    in_threads(train, fork)
    assert children == ["True True"]
    net.predict(x)  # the parent is not concerned

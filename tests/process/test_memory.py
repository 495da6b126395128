"""Memory: what is too large, what stays alive through its views, and that nothing leaks."""

import contextlib
import gc
import resource
import signal
import threading
import time
import tracemalloc

import numpy as np
import pytest
from networks import dense, description, samples, threaded
from processes import run_python

from fastfa import _core


def held():
    """Bytes that C holds for whatever is still alive."""
    gc.collect()
    return _core.memory()[0]


def test_a_giant_network_is_a_memory_error_and_leaves_nothing():
    live = held()
    for units in (2**31 - 1, 10**8):
        with pytest.raises(MemoryError):
            _core.Network(description([dense(units), dense(units), dense(2)], 10))
    assert held() == live


def test_a_giant_batch_is_a_memory_error_and_the_network_stays_usable():
    """In a process that may only have so much memory."""
    code = (
        "import resource\n"
        "import numpy as np\n"
        "from networks import description, dense, samples\n"
        "from fastfa import _core\n"
        "desc = description([dense(50_000, 'tanh'), dense(2)], 1, 'dfa', dtype='float32')\n"
        "net, small, large = _core.Network(desc), samples(desc, 3), samples(desc, 4000)\n"
        "net.train_batch(*small); net.predict(small[0])\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "limit = used + 300 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "state, live = net.state(), _core.memory()[0]\n"
        "for call in (net.train_batch, net.gradients, net.alignment,\n"
        "             lambda *data: net.train_steps(*data, None, 4000, 0, 1)):\n"
        "    try:\n"
        "        call(*large)\n"
        "    except MemoryError as error:\n"
        "        assert 'out of memory' in str(error), error\n"
        "        assert net.state() == state\n"
        "    else:\n"
        "        raise AssertionError('expected a MemoryError')\n"
        "net.predict(large[0]); net.evaluate(*large)  # these go in pieces\n"
        "net.train_batch(*small); net.predict(small[0]); net.alignment(*small)\n"
        "print('usable', net.steps)\n"
    )
    assert run_python(code) == "usable 2"


def test_views_keep_the_memory_alive():
    live = held()
    net = _core.Network(threaded("fa"))
    views = [*net.parameters.values(), *net.feedback.values()]
    views += [slot for slots in net.slots.values() for slot in slots]
    values = [view.copy() for view in views]
    row = net.parameters["0.weight"][3]
    del net
    for view, value in zip(views, values, strict=True):
        np.testing.assert_array_equal(view, value)
        view[...] = 1.0
    assert held() > live
    del views, view
    assert (row == 1.0).all()
    assert held() > live
    del row
    assert held() == live


def test_views_are_writable_contiguous_aligned_and_never_move():
    net = _core.Network(threaded("fa"))
    views = {**net.parameters, **net.feedback}
    places = {key: view.ctypes.data for key, view in views.items()}
    for view in views.values():
        assert view.flags.carray
        assert view.ctypes.data % 64 == 0
    state = net.state()
    net.train_batch(*samples(net.description, 300))
    net.restore(state)
    net.reset()
    assert {key: view.ctypes.data for key, view in views.items()} == places
    for key, view in net.parameters.items():
        assert view is views[key]


def test_what_is_written_into_a_view_is_seen(dtype):
    desc = description([dense(4), dense(3)], 4, "fa", dtype=dtype, loss="mse")
    net = _core.Network(desc)
    x, labels, y, w = samples(desc, 5, rows=True)
    net.predict(x)
    net.parameters["0.weight"][...] = np.eye(4)
    net.parameters["0.bias"][...] = 0
    net.parameters["1.weight"][...] = 0
    net.parameters["1.bias"][:] = [1, 2, 3]
    np.testing.assert_array_equal(net.predict(x), np.tile([1, 2, 3], (5, 1)))
    net.feedback["0.feedback"][...] = 0
    gradients = net.gradients(x, labels, y, w)[1]
    assert not gradients["0.weight"].any()
    assert gradients["1.weight"].any()


# ------------------------------------------------------------------------------------------- leaks


def raising(error, call):
    with pytest.raises(error):
        call()


def leak_cases():
    desc = threaded("fa")
    net, (x, labels, _, w) = _core.Network(desc), samples(desc, 40, weights=True)
    rows = np.full((40, 5), 0.2)
    order, kept = np.arange(40), net.state()
    bad = np.full_like(x, np.nan)

    def go_on(step):
        return False

    return {
        "make": lambda: _core.Network(desc),
        "train_batch": lambda: net.train_batch(x, labels, None, w),
        "train_batch rows": lambda: net.train_batch(x, None, rows, None),
        "train_batch_direct": lambda: net.train_batch_direct(x, labels),
        "train_steps": lambda: net.train_steps(
            x, labels, None, w, order, 16, 0, 3, np.full(3, 0.1), go_on
        ),
        "predict": lambda: net.predict(x),
        "evaluate": lambda: net.evaluate(x, labels, None, w),
        "gradients": lambda: net.gradients(x, labels, None, w),
        "alignment": lambda: net.alignment(x, labels, None, w),
        "feedback_matrix": lambda: net.feedback_matrix(0),
        "shuffle": lambda: net.shuffle(40),
        "state": lambda: net.restore(net.state()),
        "reset": net.reset,
        "looks": lambda: (net.layers, net.counts, net.parameters["0.weight"][0], net.lr),
        "write": lambda: net.write("0.weight", net.parameters["0.weight"]),
        "bad description": lambda: raising(
            ValueError, lambda: _core.Network(desc | {"loss": "l1"})
        ),
        "bad layer": lambda: raising(
            ValueError, lambda: _core.Network(desc | {"layers": [*desc["layers"], dense(0)]})
        ),
        "too large": lambda: raising(
            MemoryError, lambda: _core.Network(description([dense(2**31 - 1)], 2**31 - 1))
        ),
        "nan in x": lambda: raising(ValueError, lambda: net.train_batch(bad, labels, None, None)),
        "bad label": lambda: raising(ValueError, lambda: net.gradients(x, labels + 9, None, None)),
        "bad shape": lambda: raising(ValueError, lambda: net.predict(x[:, :3])),
        "bad rows": lambda: raising(ValueError, lambda: net.evaluate(x, None, rows * 2, None)),
        "nan loss": lambda: raising(
            FloatingPointError, lambda: net.train_steps(bad, labels, None, None, None, 40, 0, 1)
        ),
        "bad state": lambda: raising(ValueError, lambda: net.restore(kept[1:])),
        "bad index": lambda: raising(ValueError, lambda: net.feedback_matrix(7)),
    }


LEAK_CASES = leak_cases()


@pytest.fixture
def frozen():
    """Collections look at what is made from here on, not at all that the other tests brought."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("case", LEAK_CASES)
def test_a_thousand_calls_leave_nothing_behind(case, frozen):
    """Neither in C (its own count) nor in Python (tracemalloc), errors included."""
    call = LEAK_CASES[case]
    for _ in range(20):
        call()
    live = held()
    tracemalloc.start()
    try:
        for _ in range(20):
            call()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            call()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held() == live
    assert grown < 16_000, f"{grown} bytes"  # a leak of one small object a call would be 30,000


def test_steps_allocate_nothing():
    desc = threaded()
    net, data = _core.Network(desc), samples(desc, 200, weights=True)
    rows = (data[0], None, np.full((200, 5), 0.2), None)
    calls = {
        "train_batch": lambda: net.train_batch(*data),
        "train_steps": lambda: net.train_steps(*data, np.arange(200), 64, 0, 4),
        "predict": lambda: net.predict(data[0]),
        "train_steps, rows": lambda: net.train_steps(*rows, None, 64, 0, 4),
    }
    for call in calls.values():
        call()
    for name, call in calls.items():
        before = _core.memory()
        for _ in range(5):
            call()
        assert _core.memory() == before, name


def test_resident_memory_is_steady_over_many_networks():
    """What neither count sees, such as pthread objects or BLAS buffers."""
    desc = threaded()
    data = samples(desc, 40)

    def use():
        for _ in range(300):
            _core.Network(desc).train_batch(*data)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    first = use()
    assert use() - first < 20_000  # KiB; the two runs make 300 networks of 60 KiB each


def test_labels_changed_by_another_thread_are_refused_not_followed():
    """Labels index memory: what is used must be what was checked."""
    desc = description([dense(9, "tanh"), dense(3)], 4, "drtp", n_threads=1)
    x, labels, *_ = samples(desc, 400)
    net, stop = _core.Network(desc), threading.Event()

    def scribble():
        while not stop.is_set():
            labels[::7] = 10**12
            labels[::7] = 1

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        for call in (net.train_batch, net.evaluate, net.gradients) * 60:
            with contextlib.suppress(ValueError):
                call(x, labels, None, None)
    finally:
        stop.set()
        writer.join()
    assert all(np.isfinite(value).all() for value in net.parameters.values())


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_ctrl_c_is_heard_while_evaluating_and_predicting(name):
    desc = description([dense(1500, "relu"), dense(1500, "relu"), dense(3)], 40)
    net, data = _core.Network(desc), samples(desc, 20_000)

    def seconds():
        start = time.perf_counter()
        try:
            net.evaluate(*data) if name == "evaluate" else net.predict(data[0])
        except KeyboardInterrupt:
            return time.perf_counter() - start, True
        return time.perf_counter() - start, False

    whole, _ = seconds()
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, whole / 20)
        cut, interrupted = seconds()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert interrupted
    assert cut < 0.8 * whole  # it would take all of it if only the end of the call looked

"""What a training leaves that ends early: its history, the best weights, a free network."""

import copy
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from processes import in_child
from small import AtEpoch, AtStep, assert_same, copies, network, samples

import fastfa as fa

X, Y = samples(60)


def raises(error):
    def act(net):
        raise error

    return act


class Failing(fa.Rule):
    """DFA that fails in one step."""

    def __init__(self, step, error):
        object.__setattr__(self, "step", step)
        object.__setattr__(self, "error", error)

    def signal(self, ctx):
        if ctx.step == self.step:
            raise self.error
        return ctx.error @ np.ones((ctx.error.shape[1], ctx.units), ctx.error.dtype)


def spoil(net):
    net.parameters["2.weight"][...] = np.nan


# ---- history


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (AtEpoch(3, raises(KeyboardInterrupt())), KeyboardInterrupt),
        (AtStep(14, raises(KeyboardInterrupt())), KeyboardInterrupt),
        (AtEpoch(3, raises(ZeroDivisionError())), ZeroDivisionError),
        (AtStep(14, raises(MemoryError())), MemoryError),
        (AtEpoch(3, spoil), FloatingPointError),
        (AtEpoch(3, fa.Sequential.stop), None),
        (AtStep(14, fa.Sequential.stop), None),
    ],
)
def test_the_history_is_there_however_fit_ends(end, error):
    whole = network().fit(X, Y, 3, 15, validation_data=(X, Y), verbose=False)
    net = network()
    assert net.history is None
    settings = {"validation_data": (X, Y), "callbacks": [end], "verbose": False}
    if error is None:
        assert net.fit(X, Y, 9, 15, **settings) is net.history
    else:
        with pytest.raises(error):
            net.fit(X, Y, 9, 15, **settings)
    assert net.history.epoch == [1, 2, 3]
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert net.history.history[key] == whole.history[key]
    assert len(net.history.history["time"]) == 3


def test_the_history_is_there_after_an_error_in_a_rule():
    net = network(rule=Failing(9, OSError("mine")))
    with pytest.raises(OSError, match="mine"):
        net.fit(X, Y, 9, 15, verbose=False)
    assert net.history.epoch == [1, 2]
    assert net.steps == 9


def test_callbacks_read_the_history_up_to_now():
    seen = []
    net = network()
    act = [AtEpoch(n, lambda net: seen.append(list(net.history.epoch))) for n in (1, 2)]
    history = net.fit(X, Y, 2, callbacks=act, verbose=False)
    assert seen == [[1], [1, 2]]
    assert net.history is history
    second = net.fit(X, Y, 1, verbose=False)
    assert net.history is second
    assert second.epoch == [3]


def test_what_is_refused_leaves_the_last_history(tmp_path):
    net = network()
    history = net.fit(X, Y, 1, verbose=False)
    for wrong in (
        {"epochs": -1},
        {"callbacks": [fa.EarlyStopping()]},
        {"callbacks": [fa.Checkpoint(tmp_path / "no" / "net")]},
        {"callbacks": [fa.CSVLogger(tmp_path / "no" / "log")]},
    ):
        with pytest.raises((ValueError, OSError)):
            net.fit(X, Y, **{"verbose": False} | wrong)
        assert net.history is history
    net.train_batch(X, Y)
    net.reset()
    assert net.history is history


def test_the_history_is_in_no_file_pickle_or_copy(tmp_path):
    net = network()
    net.fit(X, Y, 1, verbose=False)
    net.save(tmp_path / "net")
    others = [fa.load(tmp_path / "net"), pickle.loads(pickle.dumps(net))]
    for other in [*others, copy.copy(net), copy.deepcopy(net)]:
        assert other.history is None
    history = pickle.loads(pickle.dumps(net.history))
    assert history.history == net.history.history


def test_an_epoch_that_is_half_in_the_history_is_taken_out():
    history = fa.callbacks.History()
    history.add(1, {"loss": 1.0, "time": 0.1})

    class Logs(dict):
        def items(self):
            yield "loss", 2.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        history.add(2, Logs())
    history._cut()
    assert history.epoch == [1]
    assert history.history == {"loss": [1.0], "time": [0.1]}


def test_no_epochs_train_nothing():
    net, seen = network(), []

    class Begin(fa.Callback):
        def on_train_begin(self, net):
            seen.append("begin")

        def on_train_end(self, net):
            seen.append("end")

    before = copies(net)
    assert net.fit(X, Y, 0, callbacks=[Begin()]).epoch == []
    assert (net.epochs, net.steps, seen) == (0, 0, ["begin", "end"])
    assert_same(before, copies(net))


# ---- best weights


class Scripted(fa.EarlyStopping):
    """Early stopping that sees chosen values."""

    def __init__(self, values, **options):
        super().__init__(patience=100, **options)
        self.values, self.after = values, []

    def on_epoch_end(self, net, epoch, logs):
        net.feedback["0.feedback"][0, 0] = epoch
        self.after.append((copies(net), {k: v.copy() for k, v in net.feedback.items()}))
        super().on_epoch_end(net, epoch, {"val_loss": self.values[epoch - 1]})


@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize(
    ("end", "error"),
    [
        (AtEpoch(4, raises(KeyboardInterrupt())), KeyboardInterrupt),
        (AtStep(18, raises(KeyboardInterrupt())), KeyboardInterrupt),
        (AtStep(18, raises(RuntimeError())), RuntimeError),
        (AtEpoch(4, spoil), FloatingPointError),
        (AtEpoch(4, fa.Sequential.stop), None),
        (AtStep(18, fa.Sequential.stop), None),
    ],
)
def test_the_best_weights_are_public_and_put_back_however_fit_ends(end, error, restore):
    stopping = Scripted([4, 2, 3, 3, 3, 3], restore_best=restore)
    assert stopping.best_weights is None
    net = network()
    settings = {"validation_data": (X, Y), "callbacks": [stopping, end], "verbose": False}
    if error is None:
        net.fit(X, Y, 6, 15, **settings)
    else:
        with pytest.raises(error):
            net.fit(X, Y, 6, 15, **settings)
    assert (stopping.best, stopping.best_epoch) == (2, 2)
    for found, then in zip(
        (stopping.best_weights, stopping.best_feedback), stopping.after[1], strict=True
    ):
        assert_same(found, then)
    assert (net.feedback["0.feedback"][0, 0] == 2) == restore
    assert (net.parameters["0.weight"] == stopping.best_weights["0.weight"]).all() == restore


def test_the_best_weights_are_put_back_where_the_end_itself_fails():
    class Last(fa.Callback):
        def on_train_end(self, net):
            raise OSError("the end")

    for place in (0, 1):
        stopping = Scripted([4, 2, 3])
        callbacks = [stopping]
        callbacks.insert(place, Last())
        net = network()
        with pytest.raises(OSError, match="the end"):
            net.fit(X, Y, 3, validation_data=(X, Y), callbacks=callbacks, verbose=False)
        assert_same(copies(net), stopping.after[1][0])


def test_weights_of_the_training_before_are_not_put_back():
    """The second ends before its first epoch does; another callback fails before it begins."""
    stopping, net = Scripted([4, 2, 3]), network()
    net.fit(X, Y, 3, 15, validation_data=(X, Y), callbacks=[stopping], verbose=False)

    class Begin(fa.Callback):
        def on_train_begin(self, net):
            raise OSError("no")

    for callbacks in ([AtStep(14, raises(OSError("no"))), stopping], [Begin(), stopping]):
        net.parameters["0.bias"][...] = 7
        with pytest.raises(OSError, match="no"):
            net.fit(X, Y, 3, 15, validation_data=(X, Y), callbacks=callbacks, verbose=False)
        assert (net.parameters["0.bias"] > 5).all()


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_in_the_engine_keeps_all():
    stopping, net = fa.EarlyStopping(patience=10**6), network(optimizer=fa.SGD(1e-3))
    big, labels = np.tile(X, (500, 1)), np.tile(Y, 500)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(big, labels, 10**6, 8, validation_data=(X, Y), callbacks=[stopping], verbose=False)
    timer.join()
    epochs = len(net.history.epoch)
    assert all(len(values) == epochs for values in net.history.history.values())
    assert net.epochs - epochs in (0, 1)
    if epochs:
        assert net.evaluate(X, Y)["loss"] == min(net.history.history["val_loss"]) == stopping.best


# ---- stopping and saving from signal handlers


@pytest.fixture
def on_alarm():
    """Sets what SIGALRM does."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda act: signal.signal(signal.SIGALRM, lambda *_: act())
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_signal_handler_may_stop_a_fit_at_any_moment(on_alarm):
    """Also while `fit` itself sets what `stop` sets."""
    net, rang = network(), []
    on_alarm(lambda: (rang.append(1), net.stop()))
    for _ in range(300):
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        net.fit(X, Y, 1, verbose=False)
    big, labels = np.tile(X, (500, 1)), np.tile(Y, 500)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    net.fit(big, labels, 10**6, verbose=False)
    assert rang


def test_saving_in_a_signal_handler_saves_or_says_what_to_do(on_alarm, tmp_path):
    """The handler runs between two steps of the engine, or between two lines of Python."""
    path, saved = tmp_path / "net", []
    big, labels = np.tile(X, (500, 1)), np.tile(Y, 500)
    on_alarm(lambda: (net.save(path), saved.append(net.steps), net.stop()))
    for _ in range(5):
        net = network(optimizer=fa.SGD(1e-3))
        net.save(path)
        saved[:] = [0]
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            net.fit(big, labels, 10**6, verbose=False)
        except RuntimeError as error:
            assert "a call from inside its own training" in str(error)  # noqa: PT017
            assert "use a callback of fit" in str(error)  # noqa: PT017
        assert fa.load(path).steps == saved[-1] <= net.steps  # `stop` is seen within 10 ms
        assert all(len(v) == len(net.history.epoch) for v in net.history.history.values())
        net.fit(X, Y, 1, verbose=False)


def test_a_signal_handler_that_stops_leaves_a_network_to_save(on_alarm, tmp_path):
    """The documented way."""
    net, whole = network(), network()
    on_alarm(net.stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    net.fit(X, Y, 10**6, callbacks=[], verbose=False)
    net.save(tmp_path / "net")
    whole.fit(X, Y, len(net.history.epoch), verbose=False)
    if net.epochs == len(net.history.epoch):
        assert_same(copies(fa.load(tmp_path / "net")), copies(whole))


# ---- a fit that a fork left behind


def test_a_child_fits_what_another_thread_had_between_two_epochs():
    between, go_on = threading.Event(), threading.Event()

    def wait(net):
        between.set()
        assert go_on.wait(60)

    net, stopping = network(), fa.EarlyStopping("loss", patience=100)
    twin = network()
    twin.fit(X, Y, 1, verbose=False)
    twin.fit(X, Y, 1, verbose=False)
    callbacks = [stopping, AtEpoch(1, wait)]
    thread = threading.Thread(
        target=net.fit, args=(X, Y, 3), kwargs={"callbacks": callbacks, "verbose": False}
    )
    thread.start()
    assert between.wait(60)

    def child():
        history = net.fit(X, Y, 1, callbacks=[stopping], verbose=False)
        return history.epoch, (net.parameters["0.weight"] == twin.parameters["0.weight"]).all()

    answer = in_child(child)
    with pytest.raises(RuntimeError, match="fit is already running"):
        net.fit(X, Y, 1, verbose=False)
    go_on.set()
    thread.join()
    assert answer == "([2], np.True_)"


def test_a_child_forked_by_a_callback_goes_on_with_its_fit():
    def fork(net):
        answer.append(in_child(lambda: again(net)))

    def again(net):
        net.fit(X, Y, 1, verbose=False)

    answer, net = [], network()
    net.fit(X, Y, 2, callbacks=[AtEpoch(1, fork)], verbose=False)
    assert answer == [
        "RuntimeError: fit is already running on this network; wait for it or stop() it"
    ]


def test_a_child_gets_the_reason_for_a_network_in_the_middle_of_a_step():
    net = network(optimizer=fa.SGD(1e-3))
    big, labels = np.tile(X, (2000, 1)), np.tile(Y, 2000)
    thread = threading.Thread(target=net.fit, args=(big, labels, 10**6), kwargs={"verbose": False})
    thread.start()
    while net.steps == 0:
        time.sleep(0.001)
    reason, answers = "it was being trained by another thread", set()
    for _ in range(100):  # a fork between two calls of the engine finds a whole network
        answers.add(in_child(lambda: net.fit(X, Y, 1, verbose=False).epoch))
        if any(reason in answer for answer in answers):
            break
    net.stop()
    thread.join()
    assert any(reason in answer for answer in answers), answers
    assert all(reason in answer or answer == "[3]" for answer in answers), answers

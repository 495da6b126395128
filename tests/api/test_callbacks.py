"""`fit` besides its steps: callbacks, early stopping, stop, the bar, one fit at a time."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from processes import environment
from small import N_OUT, AtEpoch, AtStep, assert_same, copies, same_state, samples
from small import shallow as network

import fastfa as fa


def transported(net):
    net.feedback["0.feedback"] = net.parameters["1.weight"].T
    net.feedback["1.feedback"][...] = net.parameters["2.weight"].T  # by assignment or in place


class Transport(fa.Callback):
    """Makes fa backprop: B is W^T before every step."""

    def on_train_begin(self, net):
        transported(net)

    def on_batch_end(self, net, step, logs):
        transported(net)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_feedback_is_replaced_while_the_network_trains(dtype):
    X, y = samples(90)
    layers = [fa.Dense(8, "tanh"), fa.Dense(7, "tanh"), fa.Dense(N_OUT)]
    fed, exact = (network(layers=layers, rule=rule, dtype=dtype) for rule in ("fa", "backprop"))
    fed.fit(X, y, epochs=3, batch_size=16, callbacks=[Transport()], verbose=False)
    exact.fit(X, y, epochs=3, batch_size=16, verbose=False)
    for key, value in exact.parameters.items():
        np.testing.assert_allclose(fed.parameters[key], value, rtol=1e-4, atol=1e-5, err_msg=key)
    assert [row.delta_angle for row in fed.alignment(X, y)] == pytest.approx([0, 0], abs=0.05)


def test_a_matrix_of_another_shape_is_refused_by_its_key():
    net = network()
    with pytest.raises(ValueError, match=r'feedback\["0.feedback"\].*\(3, 8\).*\(8, 3\)'):
        net.feedback["0.feedback"] = np.ones((8, 3))


class Recorder(fa.Callback):
    """Writes down every hook that is called."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self, net):
        self.calls.append(("train_begin",))

    def on_batch_end(self, net, step, logs):
        self.calls.append(("batch_end", step, dict(logs)))

    def on_epoch_end(self, net, epoch, logs):
        self.calls.append(("epoch_end", epoch, dict(logs)))

    def on_train_end(self, net):
        self.calls.append(("train_end",))


# ------------------------------------------------------------------------------------ the hooks


def test_hooks_come_in_order_with_their_numbers():
    X, y = samples()
    recorder = Recorder()
    net = network()
    history = net.fit(X, y, 2, 20, validation_data=(X, y), callbacks=[recorder], verbose=False)
    names = [call[0] for call in recorder.calls]
    epoch = ["batch_end"] * 3 + ["epoch_end"]
    assert names == ["train_begin", *epoch, *epoch, "train_end"]
    steps = [call[1] for call in recorder.calls if call[0] == "batch_end"]
    assert steps == [1, 2, 3, 4, 5, 6]
    epochs = [call[1:] for call in recorder.calls if call[0] == "epoch_end"]
    assert [number for number, _ in epochs] == [1, 2]
    assert [logs["val_loss"] for _, logs in epochs] == history.history["val_loss"]
    net.fit(X, y, 1, 20, callbacks=[recorder], verbose=False)
    assert recorder.calls[-2][:2] == ("epoch_end", 3)


def test_batch_logs_are_those_of_the_batch():
    X, y = samples()
    recorder, stepped = Recorder(), network()
    network().fit(X, y, 1, 20, shuffle=False, callbacks=[recorder], verbose=False)
    logs = [call[2] for call in recorder.calls if call[0] == "batch_end"]
    for i, log in enumerate(logs):
        rows = slice(20 * i, 20 * i + 20)
        assert log["loss"] == pytest.approx(stepped.train_batch(X[rows], y[rows]), rel=1e-12)
        assert 0 <= log["accuracy"] <= 1


def test_stepping_for_callbacks_changes_no_bit():
    X, y = samples()
    plain, watched = network(), network()
    first = plain.fit(X, y, 3, 16, verbose=False)
    second = watched.fit(X, y, 3, 16, callbacks=[Recorder()], verbose=False)
    assert_same(copies(plain), copies(watched))
    assert first.history["loss"] == second.history["loss"]
    assert first.history["accuracy"] == second.history["accuracy"]


def test_epoch_callbacks_alone_do_not_make_it_step():
    X, y = samples()
    net = network()
    calls = []
    steps = net._engine.train_steps

    class Engine:
        """The engine, with its calls counted."""

        def __getattr__(self, name):
            return getattr(net_engine, name)

        def train_steps(self, *args, **options):
            calls.append(args[7])  # count
            return steps(*args, **options)

    net_engine, net._engine = net._engine, Engine()
    net.fit(X, y, 2, 16, callbacks=[fa.Callback()], verbose=False)
    assert calls == [4, 4]
    net.fit(X, y, 1, 16, callbacks=[Recorder()], verbose=False)
    assert calls == [4, 4, 1, 1, 1, 1]


@pytest.mark.parametrize("hook", ["on_train_begin", "on_batch_end", "on_epoch_end", "on_train_end"])
def test_what_a_hook_raises_comes_out_and_fit_works_again(hook):
    X, y = samples()

    def fail(self, *args):
        raise ZeroDivisionError(hook)

    broken = type("Broken", (fa.Callback,), {hook: fail})()
    net = network()
    with pytest.raises(ZeroDivisionError, match=hook):
        net.fit(X, y, 1, callbacks=[broken], verbose=False)
    assert len(net.fit(X, y, 1, verbose=False).epoch) == 1


def test_callbacks_may_use_and_change_the_network():
    X, y = samples()
    seen = []

    def act(net):
        seen.append((net.predict(X).shape, net.evaluate(X, y)["loss"], len(net.alignment(X, y))))
        net.parameters["0.bias"][...] = 0
        net.lr = 0.0

    net = network(optimizer=fa.SGD(0.1))
    frozen = {}
    callbacks = [AtEpoch(1, act), AtEpoch(1, lambda net: frozen.update(copies(net)))]
    net.fit(X, y, 3, callbacks=callbacks, verbose=False)
    assert seen[0][0] == (50, N_OUT)
    assert np.isfinite(seen[0][1])
    assert seen[0][2] == 1
    assert (net.parameters["0.bias"] == 0).all()
    assert_same(frozen, copies(net))


def test_lr_written_after_a_batch_holds_for_the_next():
    X, y = samples()
    seen = {}
    callbacks = [
        AtStep(2, lambda net: (seen.update(copies(net)), setattr(net, "lr", 0.0))),
    ]
    net = network(optimizer=fa.SGD(0.1))
    net.fit(X, y, 1, 10, callbacks=callbacks, verbose=False)
    assert net.steps == 5
    assert_same(seen, copies(net))


def test_a_callback_cannot_spoil_the_history():
    class Spoiler(fa.Callback):
        def on_epoch_end(self, net, epoch, logs):
            logs.clear()

    X, y = samples()
    history = network().fit(X, y, 2, callbacks=[Spoiler()], verbose=False)
    assert len(history.history["loss"]) == 2


# -------------------------------------------------------------------------------------- stopping


def test_stop_in_an_epoch_hook_ends_after_that_epoch():
    X, y = samples()
    net = network()
    history = net.fit(X, y, 10, callbacks=[AtEpoch(2, fa.Sequential.stop)], verbose=False)
    assert history.epoch == [1, 2]


def test_stop_in_a_batch_hook_ends_after_that_step():
    X, y = samples()
    net, recorder = network(), Recorder()
    history = net.fit(
        X, y, 10, 10, callbacks=[AtStep(7, fa.Sequential.stop), recorder], verbose=False
    )
    assert net.steps == 7
    assert history.epoch == [1]  # the second was cut short
    assert recorder.calls[-1] == ("train_end",)
    history = net.fit(X, y, 1, 10, verbose=False)  # the stop was for that fit only
    assert (history.epoch, net.steps) == ([3], 12)


def test_stop_without_a_fit_does_nothing():
    net = network()
    net.stop()
    assert net.fit(*samples(), epochs=2, verbose=False).epoch == [1, 2]


def test_stop_from_another_thread_ends_within_an_epoch():
    X, y = samples(2000)
    net = network(layers=[fa.Dense(64, "tanh"), fa.Dense(N_OUT)])
    timer = threading.Timer(0.2, net.stop)
    timer.start()
    start = time.perf_counter()
    net.fit(np.tile(X, (200, 1)), np.tile(y, 200), 10_000, 32, verbose=False)
    timer.join()
    assert time.perf_counter() - start < 5
    assert net.steps > 0


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_keeps_the_last_complete_step():
    X, y = samples(2000)
    layers = [fa.Dense(64, "tanh"), fa.Dense(N_OUT)]
    net, twin = network(layers=layers), network(layers=layers)
    pressed = []

    def press():
        pressed.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.3, press)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(np.tile(X, (200, 1)), np.tile(y, 200), 10_000, 32, shuffle=False, verbose=False)
    assert time.perf_counter() - pressed[0] < 0.5  # 0.2 s promised; the rest for a busy machine
    timer.join()
    for step in range(net.steps):
        rows = (np.arange(32) + 32 * step) % 2000
        twin.train_batch(X[rows], y[rows])
    assert_same(copies(net), copies(twin))


@pytest.mark.parametrize("how", ["nested", "other thread"])
def test_one_fit_at_a_time(how):
    X, y = samples()
    errors = []

    def again(net):
        try:
            net.fit(X, y, 1, verbose=False)
        except RuntimeError as error:
            errors.append(str(error))

    def elsewhere(net):
        thread = threading.Thread(target=again, args=(net,))
        thread.start()
        thread.join()

    act = again if how == "nested" else elsewhere
    net = network()
    history = net.fit(X, y, 2, callbacks=[AtEpoch(1, act)], verbose=False)
    assert errors == ["fit is already running on this network; wait for it or stop() it"]
    assert history.epoch == [1, 2]


def test_a_loss_that_is_not_finite_names_epoch_and_batch():
    X, y = samples()
    seen = {}

    def explode(net):
        net.parameters["2.weight"][...] = 1e38
        net.parameters["0.bias"][...] = 10
        seen.update(copies(net))

    for callbacks in ([AtEpoch(2, explode)], [AtStep(8, explode)]):
        net = network(layers=[fa.Dense(8, "relu"), fa.Dropout(0.2), fa.Dense(N_OUT)])
        net.fit(X, y, 1, 10, verbose=False)
        at = r"epoch 3, batch 1" if isinstance(callbacks[0], AtEpoch) else r"epoch 2, batch 4"
        message = rf"loss is not finite \((nan|inf)\) at {at}; .*as it was before.*smaller lr"
        with pytest.raises(FloatingPointError, match=message):
            net.fit(X, y, 5, 10, callbacks=callbacks, verbose=False)
        assert_same(seen, copies(net))
        net.reset()
        assert net.fit(X, y, 1, verbose=False).epoch == [1]


# --------------------------------------------------------------------------------- early stopping


class Scripted(fa.Callback):
    """Puts chosen values of the validation loss before the callback under test."""

    def __init__(self, inner, values, key="val_loss"):
        self.inner = inner
        self.values = values
        self.key = key
        self.after = []

    def on_train_begin(self, net):
        self.inner.on_train_begin(net)

    def on_epoch_end(self, net, epoch, logs):
        self.after.append(copies(net))
        self.inner.on_epoch_end(net, epoch, {self.key: self.values[epoch - 1]})

    def on_train_end(self, net):
        self.inner.on_train_end(net)


def run(stopping, values, key="val_loss"):
    X, y = samples()
    net = network()
    script = Scripted(stopping, values, key)
    history = net.fit(X, y, len(values), callbacks=[script], verbose=False)
    return net, history, script.after


@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping_waits_and_restores_the_best(restore):
    stopping = fa.EarlyStopping(patience=2, restore_best=restore)
    net, history, after = run(stopping, [3, 2, 2.5, 2.0, 1, 1])
    assert history.epoch == [1, 2, 3, 4]
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (2, 2, 4)
    assert_same(after[1] if restore else after[3], copies(net))


def test_early_stopping_restores_the_best_at_the_regular_end_too():
    stopping = fa.EarlyStopping(patience=5)
    net, history, after = run(stopping, [3, 1, 2])
    assert history.epoch == [1, 2, 3]
    assert stopping.stopped_epoch == 0
    assert_same(after[1], copies(net))


def test_early_stopping_restores_feedback():
    X, y = samples()
    net = network()
    start = net.feedback["0.feedback"].copy()
    clear = AtEpoch(2, lambda net: net.feedback["0.feedback"].fill(0))
    script = Scripted(fa.EarlyStopping(patience=2), [1, 2, 3, 4])
    net.fit(X, y, 4, callbacks=[clear, script], verbose=False)
    np.testing.assert_array_equal(net.feedback["0.feedback"], start)


@pytest.mark.parametrize(
    ("options", "values", "stopped"),
    [
        ({"patience": 1}, [3, 2, 2, 1], 3),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.6, 2, 1], 2),
        ({"patience": 1, "mode": "max"}, [1, 2, 1.5, 3], 3),
        ({"patience": 1}, [3, np.nan, 1, 1], 2),
        ({"patience": 2}, [np.nan, np.nan, 1, 1], 2),
    ],
)
def test_what_counts_as_an_improvement(options, values, stopped):
    stopping = fa.EarlyStopping(**options)
    run(stopping, values)
    assert stopping.stopped_epoch == stopped


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("val_loss", "min"), ("val_accuracy", "max"), ("binary_accuracy", "max"), ("time", "min")],
)
def test_auto_mode(monitor, mode):
    assert fa.EarlyStopping(monitor=monitor).mode == mode


@pytest.mark.parametrize("kind", ["stopping", "checkpoint"])
def test_a_name_of_ones_own_needs_a_mode(kind, tmp_path):
    def make(**mode):
        if kind == "stopping":
            return fa.EarlyStopping("val_cost", **mode)
        return fa.Checkpoint(tmp_path / "a", monitor="val_cost", save_best_only=True, **mode)

    X, y = samples(60)
    net, data = network(), {"validation_data": (X, y), "verbose": False}
    metrics = {"cost": lambda y, p: -float(len(y))}
    message = r'mode: expected "min" or "max" for monitor="val_cost".*, got "auto"'
    with pytest.raises(ValueError, match=message):
        net.fit(X, y, 2, metrics=metrics, callbacks=[make()], **data)
    assert net.steps == 0
    with pytest.raises(ValueError, match="monitor: expected one of the logs"):
        net.fit(X, y, 2, callbacks=[make()], **data)  # it is not there at all
    for mode in ("min", "max"):
        chosen = make(mode=mode)
        net.fit(X, y, 2, metrics=metrics, callbacks=[chosen], **data)
        assert chosen.best == -60


def test_early_stopping_can_be_used_again():
    stopping = fa.EarlyStopping(patience=1)
    run(stopping, [1, 2, 3])
    _, history, _ = run(stopping, [9, 8, 7])
    assert history.epoch == [1, 2, 3]
    assert (stopping.best, stopping.stopped_epoch) == (7, 0)


def test_early_stopping_on_real_training():
    X, y = samples(200)
    stopping = fa.EarlyStopping("val_accuracy", patience=3)
    net = network(layers=[fa.Dense(8, "tanh"), fa.Dense(N_OUT)])
    history = net.fit(
        X[:100],
        y[:100],
        200,
        validation_data=(X[100:], y[100:]),
        callbacks=[stopping],
        verbose=False,
    )
    best = max(history.history["val_accuracy"])
    assert len(history.epoch) < 200
    assert stopping.best == best
    assert net.evaluate(X[100:], y[100:])["accuracy"] == pytest.approx(best)


def test_early_stopping_needs_its_value():
    X, y = samples()
    net = network()
    message = r'one of the logs, loss, accuracy.*, got "val_loss"; .*no validation_data'
    with pytest.raises(ValueError, match=message):
        net.fit(X, y, 3, callbacks=[fa.EarlyStopping()], verbose=False)
    misspelt = fa.EarlyStopping("val_acc")
    with pytest.raises(
        ValueError, match=r"logs, loss, accuracy, val_loss, val_accuracy, lr, time, got"
    ):
        net.fit(X, y, 3, validation_data=(X, y), callbacks=[misspelt], verbose=False)
    assert net.steps == 0


# ------------------------------------------------------------------------------------ checkpoints


@pytest.mark.parametrize("rule", ["backprop", "dfa", "kp"])
def test_going_on_from_a_checkpoint_is_the_uninterrupted_run(tmp_path, rule):
    X, y = samples()
    whole, net = (network(rule=rule, optimizer=fa.Adam(0.01)) for _ in range(2))
    whole.fit(X, y, 5, 16, verbose=False)
    keep = fa.Checkpoint(tmp_path / "net-{epoch:03d}")
    net.fit(X, y, 3, 16, callbacks=[keep], verbose=False)
    assert sorted(os.listdir(tmp_path)) == ["net-001", "net-002", "net-003"]
    assert keep.saved == str(tmp_path / "net-003")
    for epoch in (1, 2, 3):
        loaded = fa.load(tmp_path / f"net-{epoch:03d}")
        assert loaded.epochs == epoch
        loaded.fit(X, y, 5 - epoch, 16, callbacks=[keep], verbose=False)
        assert same_state(loaded, whole)
    assert keep.saved == str(tmp_path / "net-005")


def test_checkpoint_every_so_many_epochs_with_logs_in_the_name(tmp_path):
    X, y = samples()
    net, keep = network(), fa.Checkpoint(tmp_path / "{{}}{epoch}-{val_loss:.3f}", every=2)
    first = net.fit(X, y, 3, validation_data=(X, y), callbacks=[keep], verbose=False)
    more = net.fit(X, y, 2, validation_data=(X, y), callbacks=[keep], verbose=False)
    losses = first.history["val_loss"] + more.history["val_loss"]
    expected = [f"{{}}{epoch}-{losses[epoch - 1]:.3f}" for epoch in (2, 4)]
    assert sorted(os.listdir(tmp_path)) == expected


@pytest.mark.parametrize(
    ("options", "values", "saved"),
    [
        ({"monitor": "val_loss"}, [3, 2, 2, np.nan, 2.5, 1, 4], ["1", "2", "6"]),
        ({"monitor": "val_loss", "mode": "max"}, [3, 2, 3, 4], ["1", "4"]),
        ({"monitor": "val_accuracy"}, [0.5, 0.4, 0.6], ["1", "3"]),
        ({"monitor": "val_loss", "every": 2}, [1, 3, 1, 4, 1, 2], ["2", "6"]),
        ({"monitor": "val_loss"}, [np.nan, np.nan], []),
    ],
)
def test_checkpoint_of_the_best(tmp_path, options, values, saved):
    keep = fa.Checkpoint(tmp_path / "{epoch}", save_best_only=True, **options)
    _, _, after = run(keep, values, options["monitor"])
    assert sorted(os.listdir(tmp_path)) == saved
    for epoch in saved:
        assert_same(after[int(epoch) - 1], fa.load(tmp_path / epoch).parameters)
    if saved:
        assert keep.best == values[int(saved[-1]) - 1]


def test_a_later_fit_does_not_replace_a_better_checkpoint(tmp_path):
    keep = fa.Checkpoint(tmp_path / "net", monitor="val_loss", save_best_only=True)
    _, _, after = run(keep, [3, 1])
    run(keep, [2, 2])
    assert keep.best == 1
    assert_same(after[1], fa.load(tmp_path / "net").parameters)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        (
            "{val_loss}",
            {},
            'field: expected one of the logs, epoch, loss, accuracy, lr, time, got "val_loss"',
        ),
        (
            "net",
            {"monitor": "los", "save_best_only": True},
            'monitor: expected one of the logs, .*got "los"',
        ),
    ],
)
def test_checkpoint_needs_its_values_even_before_it_saves(tmp_path, path, options, message):
    net, keep = network(), fa.Checkpoint(tmp_path / path, every=10, **options)
    with pytest.raises(ValueError, match=message):
        net.fit(*samples(), epochs=3, callbacks=[keep], verbose=False)
    assert net.steps == 0
    assert os.listdir(tmp_path) == []


def test_checkpoint_looks_for_its_folder_before_the_first_step(tmp_path):
    net = network()
    (tmp_path / "file").write_text("")
    for folder, error in (("no", FileNotFoundError), ("file", NotADirectoryError)):
        keep = fa.Checkpoint(tmp_path / folder / "net-{epoch}")
        with pytest.raises(error, match=folder):
            net.fit(*samples(), callbacks=[keep], verbose=False)
    with pytest.raises(IsADirectoryError, match="path: expected the name of a file"):
        net.fit(*samples(), callbacks=[fa.Checkpoint(tmp_path)], verbose=False)
    assert net.steps == 0


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_killed_run_leaves_its_last_checkpoint_whole(tmp_path, epochs):
    """Killed while it trains or writes the next one: a save is most of an epoch here."""
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from test_callbacks import fa, samples, wide
wide().fit(*samples(), 10_000, callbacks=[fa.Checkpoint(sys.argv[2])], verbose=False)
"""
    path = tmp_path / "net"
    command = [sys.executable, "-c", script, os.path.dirname(__file__), path]
    with subprocess.Popen(command, env=environment()) as child:
        written = set()  # each save puts another file there
        while len(written) < epochs and child.poll() is None:
            if path.exists():
                written.add((path.stat().st_ino, path.stat().st_mtime_ns))
            time.sleep(0.001)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    loaded, whole = fa.load(path), wide()
    assert loaded.epochs >= epochs
    whole.fit(*samples(), loaded.epochs, verbose=False)
    assert same_state(loaded, whole)
    for net in (loaded, whole):
        net.fit(*samples(), 1, verbose=False)
    assert same_state(loaded, whole)


def wide():
    """A network whose file takes longer to write than an epoch takes to train."""
    return network(layers=[fa.Dense(1000, "tanh"), fa.Dense(1000, "tanh"), fa.Dense(N_OUT)])


# --------------------------------------------------------------------------------------- the bar


class Stream(io.StringIO):
    """A text stream that says whether it is a terminal."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def bar_of(monkeypatch, terminal, **settings):
    X, y = samples()
    stream = Stream(terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    network().fit(X, y, validation_data=(X, y), **settings)
    return stream.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_one_bar_over_all_steps(monkeypatch, terminal):
    text = bar_of(monkeypatch, terminal, epochs=40, batch_size=10)
    last = text.rstrip().splitlines()[-1].split("\r")[-1]
    assert "200/200" in last
    assert "epoch 40/40" in last
    for word in ("loss=", "accuracy=", "val_loss=", "val_accuracy="):
        assert word in last


def test_the_bar_does_not_fill_a_log_file(monkeypatch):
    text = bar_of(monkeypatch, False, epochs=200, batch_size=10)
    assert text.count("step/s") <= 3


def test_no_bar_when_not_verbose(monkeypatch):
    assert bar_of(monkeypatch, True, epochs=2, verbose=False) == ""


def test_the_bar_counts_single_steps_too(monkeypatch):
    assert "10/10" in bar_of(monkeypatch, True, epochs=2, batch_size=10, callbacks=[Recorder()])

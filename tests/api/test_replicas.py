"""fit_replicas: the same networks as one after another, and what happens when one fails."""

import os
import re
import signal
import threading

import numpy as np
import pytest

import fastfa as fa

X = np.random.default_rng(0).normal(size=(150, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 150)


def build(seed=0, rule="dfa", lr=0.1):
    layers = [fa.Dense(9, "tanh"), fa.Dropout(0.1), fa.Dense(3)]
    return fa.Sequential(
        layers, input_shape=6, rule=rule, optimizer=fa.SGD(lr), rng=seed, n_threads=2
    )


SETTINGS = [{"seed": s, "rule": r} for r in ("backprop", "dfa", "drtp") for s in range(3)]


@pytest.mark.parametrize("n_workers", [1, 2, 5, None])
def test_each_gives_what_it_gives_alone(n_workers):
    replicas = fa.fit_replicas(
        build, SETTINGS, X, Y, n_workers=n_workers, verbose=False,
        epochs=3, batch_size=16, validation_data=(X, Y),
    )  # fmt: skip
    assert [replica.setting for replica in replicas] == SETTINGS
    for setting, net, history in replicas:
        alone = build(**setting)
        expected = alone.fit(X, Y, 3, 16, validation_data=(X, Y), verbose=False)
        assert net._engine.state() == alone._engine.state()
        assert history.history["val_loss"] == expected.history["val_loss"]
        assert net.n_threads == 2


def test_runs_several_at_a_time():
    """Each waits inside its own fit until all have begun."""
    barrier = threading.Barrier(3, timeout=30)

    class Meet(fa.Callback):
        def on_train_begin(self, net):
            barrier.wait()

    fa.fit_replicas(
        build, SETTINGS[:3], X, Y, n_workers=3, verbose=False, callbacks=lambda: [Meet()]
    )
    assert not barrier.broken


def test_callbacks_are_made_for_each():
    """One early stopping for all would put one network's best weights into another."""
    settings = [{"seed": 0, "lr": lr} for lr in (0.5, 0.1, 0.02)]
    data, stop = {"validation_data": (X, Y), "epochs": 12}, lambda: [fa.EarlyStopping(patience=1)]
    replicas = fa.fit_replicas(build, settings, X, Y, verbose=False, callbacks=stop, **data)
    for setting, net, _ in replicas:
        alone = build(**setting)
        alone.fit(X, Y, callbacks=stop(), verbose=False, **data)
        assert net._engine.state() == alone._engine.state()
    with pytest.raises(TypeError, match="callbacks: expected a function"):
        fa.fit_replicas(build, settings, X, Y, callbacks=stop())


def test_a_failure_stops_the_others():
    began = []

    class Fail(fa.Callback):
        def on_epoch_end(self, net, epoch, logs):
            began.append(net.seed)
            if net.seed == 1:
                raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fa.fit_replicas(
            build, [{"seed": s} for s in range(6)], X, Y,
            n_workers=2, verbose=False, epochs=100_000, callbacks=lambda: [Fail()],
        )  # fmt: skip
    assert set(began) <= {0, 1, 2}


def test_a_failure_to_build_stops_those_that_train():
    """The first networks train while the others are built."""
    began, made = threading.Event(), []

    class Begin(fa.Callback):
        def on_train_begin(self, net):
            began.set()

    def fail_at_last(seed):
        if seed == 2:
            assert began.wait(30)
            raise ValueError("no such network")
        made.append(build(seed))
        return made[-1]

    settings = [{"seed": s} for s in range(4)]
    with pytest.raises(ValueError, match="no such network"):
        fa.fit_replicas(
            fail_at_last, settings, X, Y, n_workers=1, verbose=False, epochs=10**6,
            callbacks=lambda: [Begin()],
        )  # fmt: skip
    assert len(made) == 2
    assert made[1].steps == 0


@pytest.mark.parametrize(
    ("settings", "make", "error", "words"),
    [
        ([3], build, TypeError, r"settings\[0\]: expected a mapping"),
        ([{}], lambda: None, TypeError, r"build\(\): expected a Sequential"),
        ([{"lr": -1.0}], build, ValueError, "lr"),
    ],
)
def test_bad_settings(settings, make, error, words):
    with pytest.raises(error, match=words):
        fa.fit_replicas(make, settings, X, Y, verbose=False)


def test_no_settings_and_bar(capsys):
    assert fa.fit_replicas(build, [], X, Y, verbose=False) == []
    fa.fit_replicas(build, SETTINGS[:2], X, Y)
    assert "2/2" in capsys.readouterr().err


# ---- what fails, and what is kept


DIVERGING = [{"seed": 0}, {"seed": 1, "lr": 1e38}, {"seed": 2}]


def alone(setting, epochs):
    net = build(**setting)
    net.fit(X, Y, epochs, verbose=False)
    return net


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_setting_that_diverges_is_named_and_the_others_are_kept(n_workers):
    replicas = fa.fit_replicas(
        build, DIVERGING, X, Y, epochs=9, n_workers=n_workers, verbose=False, on_error="record"
    )
    assert [replica.setting for replica in replicas] == DIVERGING
    assert [replica.error is None for replica in replicas] == [True, False, True]
    for replica in replicas:
        assert replica.net.history is replica.history
    for i in (0, 2):
        assert replicas[i].net._engine.state() == alone(DIVERGING[i], 9)._engine.state()
        assert len(replicas[i].history.epoch) == 9
    failed = replicas[1]
    assert isinstance(failed.error, FloatingPointError)
    assert str(failed.error).startswith("settings[1], {'seed': 1, 'lr': 1e+38}: ")
    assert len(failed.history.epoch) < 9
    assert "FloatingPointError" in repr(failed)
    assert "error" not in repr(replicas[0])
    setting, net, history = failed
    assert (setting, net, history) == (failed.setting, failed.net, failed.history)


def test_by_default_it_raises_and_the_error_carries_what_was_trained():
    with pytest.raises(FloatingPointError, match=r"^settings\[1\], .*1e\+38.*not finite") as caught:
        fa.fit_replicas(build, DIVERGING, X, Y, epochs=9, n_workers=1, verbose=False)
    first, failed, last = caught.value.replicas
    assert first.error is None
    assert first.net._engine.state() == alone(DIVERGING[0], 9)._engine.state()
    assert failed.error is last.error is caught.value
    assert last.setting == DIVERGING[2]


@pytest.mark.parametrize("on_error", ["raise", "record"])
@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"seed": 1, "lr": -1.0}, ValueError, r"settings\[1\], .*lr: expected"),
        ({"seed": 1, "rate": 2}, TypeError, r"settings\[1\], .*unexpected keyword"),
        (3, TypeError, r"^settings\[1\]: expected a mapping"),
        (
            {"seed": "none"},
            TypeError,
            r"settings\[1\], .*build\(\): expected a Sequential, got None",
        ),
        ({"seed": "memory"}, MemoryError, "enough"),
        ({"seed": "key"}, KeyError, r"settings\[1\], .*mine"),
        ({"seed": "os"}, OSError, "mine"),
        ({"seed": "width"}, ValueError, r"settings\[1\], .*X: expected shape"),
    ],
)
def test_a_setting_that_cannot_be_built_or_trained(wrong, kind, words, on_error):
    errors = {"memory": MemoryError("enough"), "key": KeyError("mine"), "os": OSError(5, "mine")}

    def make(seed, **more):
        if seed in errors:
            raise errors[seed]
        if seed == "width":
            return fa.Sequential([fa.Dense(3)], input_shape=5, rng=0)
        return None if seed == "none" else build(seed, **more)

    settings = [{"seed": 0}, wrong, {"seed": 2}]
    call = {"epochs": 2, "n_workers": 1, "verbose": False, "on_error": on_error}
    if on_error == "raise":
        with pytest.raises(kind, match=words) as caught:
            fa.fit_replicas(make, settings, X, Y, **call)
        error, replicas = caught.value, caught.value.replicas
    else:
        replicas = fa.fit_replicas(make, settings, X, Y, **call)
        error = replicas[1].error
        assert [replica.error for replica in replicas] == [None, error, None]
        for i in (0, 2):
            assert replicas[i].net._engine.state() == alone(settings[i], 2)._engine.state()
    assert isinstance(error, kind)
    said = " ".join([str(error), *getattr(error, "__notes__", ())])
    assert "settings[1]" in said
    assert len(replicas) == 3
    assert replicas[1].history.epoch == []


@pytest.mark.parametrize("on_error", ["raise", "record"])
def test_ctrl_c_keeps_what_was_trained(on_error):
    class Press(fa.Callback):
        def on_epoch_end(self, net, epoch, logs):
            if net.seed == 2 and epoch == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        fa.fit_replicas(
            build, [{"seed": s} for s in range(5)], X, Y, epochs=4, n_workers=1, verbose=False,
            on_error=on_error, callbacks=lambda: [Press()],
        )  # fmt: skip
    replicas = caught.value.replicas
    assert [len(replica.history.epoch) for replica in replicas] == [4, 4, 3, 0, 0]
    assert [replica.error is None for replica in replicas] == [True, True, False, False, False]
    assert replicas[4].net is None or replicas[4].net.steps == 0
    replicas[2].net.fit(X, Y, 1, verbose=False)
    assert replicas[2].net._engine.state() == alone({"seed": 2}, 4)._engine.state()


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_while_it_waits_stops_those_that_train():
    """As the interpreter does it: in the main thread, between any two of its lines."""

    class Press(fa.Callback):
        def on_epoch_end(self, net, epoch, logs):
            if epoch == 3 and net.seed == 0:  # once: a second one would interrupt the handling
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        fa.fit_replicas(
            build, [{"seed": s} for s in range(3)], X, Y, epochs=10**6, n_workers=2,
            verbose=False, callbacks=lambda: [Press()],
        )  # fmt: skip
    assert len(caught.value.replicas) == 3
    for replica in caught.value.replicas:
        assert replica.error is caught.value
        assert replica.history.epoch == list(range(1, len(replica.history.epoch) + 1))


def test_what_is_not_of_one_setting_is_refused_before_anything_is_built():
    built = []
    for wrong, words in (
        ({"epoch": 3}, 'fit: expected one of .*, got "epoch"'),
        ({"epochs": -1}, "epochs: expected"),
        ({"batch_size": 0}, "batch_size: expected"),
        ({"shuffle": 1}, "shuffle: expected"),
        ({"on_error": "ignore"}, "on_error"),
        ({"on_error": None}, "on_error"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            fa.fit_replicas(built.append, [{"seed": 0}], X, Y, verbose=False, **wrong)
    assert built == []


@pytest.mark.parametrize("on_error", ["raise", "record"])
@pytest.mark.parametrize("kind", ["object", "checkpoint", "log"])
def test_what_one_network_uses_is_refused_for_another(tmp_path, kind, on_error):
    """Whatever the number of workers: one after the other they would overwrite each other too."""
    shared = fa.EarlyStopping("loss")
    make = {
        "object": lambda: [shared],
        "checkpoint": lambda: [fa.Checkpoint(tmp_path / "net-{epoch}")],
        "log": lambda: [fa.CSVLogger(tmp_path / "log.csv")],
    }[kind]
    call = {"n_workers": 1, "verbose": False, "callbacks": make, "on_error": on_error}
    settings = [{"seed": 0}, {"seed": 1}]
    words = r"settings\[1\], .*callbacks: expected new ones .* serves settings\[0\] already"
    if on_error == "raise":
        with pytest.raises(ValueError, match=words):
            fa.fit_replicas(build, settings, X, Y, **call)
    else:
        replicas = fa.fit_replicas(build, settings, X, Y, **call)
        assert replicas[0].error is None
        assert re.search(words, str(replicas[1].error))


def test_a_path_for_each_network(tmp_path):
    names = (tmp_path / f"net-{i}" for i in range(3))
    replicas = fa.fit_replicas(
        build, SETTINGS[:3], X, Y, verbose=False, callbacks=lambda: [fa.Checkpoint(next(names))]
    )
    for i, replica in enumerate(replicas):
        assert fa.load(tmp_path / f"net-{i}")._engine.state() == replica.net._engine.state()


def test_where_threads_are_refused(monkeypatch):
    """The second thread, needed because the first never ends, cannot start."""
    start, started = threading.Thread.start, []

    def refuse(thread):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    settings = [{"seed": s} for s in range(4)]
    with pytest.raises(RuntimeError, match="can't start new thread") as caught:
        fa.fit_replicas(build, settings, X, Y, n_workers=2, epochs=10**6, verbose=False)
    assert len(caught.value.replicas) == 4

"""fit_replicas: the same networks as one after another, and what happens when one fails."""

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
    with pytest.raises(TypeError, match="callbacks must be a function"):
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
        ([3], build, TypeError, r"settings\[0\] must be a mapping"),
        ([{}], lambda: None, TypeError, "build must return a Sequential"),
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

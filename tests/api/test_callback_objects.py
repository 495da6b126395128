"""One callback object for several networks, at once and one after another; copies; hooks."""

import contextlib
import copy
import functools
import pickle
import threading

import numpy as np
import pytest
import small
from small import assert_same, copies, samples

import fastfa as fa

X, Y = samples(60)


def network(**changes):
    return small.network(**({"rule": "backprop"} | changes))


def built_in(tmp_path):
    return [
        fa.EarlyStopping("loss", patience=3),
        fa.Checkpoint(tmp_path / "net"),
        fa.callbacks.Alignment((X, Y)),
        fa.callbacks.Alignment((X, Y), every=2, unit="step"),
        fa.CSVLogger(tmp_path / "log.csv"),
    ]


class Meet(fa.Callback):
    """Holds a training while another begins."""

    def __init__(self):
        self.began, self.go_on = threading.Event(), threading.Event()

    def on_epoch_end(self, net, epoch, logs):
        self.began.set()
        assert self.go_on.wait(60)


def beside(callbacks, act):
    """What `act` gives while another network trains with these callbacks."""
    meet, net = Meet(), network()
    thread = threading.Thread(
        target=net.fit, args=(X, Y, 2), kwargs={"callbacks": [*callbacks, meet], "verbose": False}
    )
    thread.start()
    assert meet.began.wait(60)
    try:
        return act()
    finally:
        meet.go_on.set()
        thread.join()
        assert len(net.history.epoch) == 2


@pytest.mark.parametrize("which", range(5))
def test_an_object_in_two_fits_at_once_is_refused(tmp_path, which):
    one = built_in(tmp_path)[which]
    net, words = network(), r"callbacks\[0\]: .* is in use by another fit that is running"

    def second():
        with pytest.raises(RuntimeError, match=words):
            net.fit(X, Y, callbacks=[one], verbose=False)

    beside([one], second)
    assert (net.steps, net.history) == (0, None)
    net.fit(X, Y, callbacks=[one], verbose=False)  # afterwards it may


@pytest.mark.parametrize("kind", [fa.Checkpoint, fa.CSVLogger])
def test_one_file_for_two_fits_at_once_is_refused(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def second():
        with pytest.raises(RuntimeError, match=r"the file .* is in use by another fit"):
            network().fit(X, Y, callbacks=[kind("file")], verbose=False)
        network().fit(X, Y, callbacks=[kind("other")], verbose=False)

    beside([kind(tmp_path / "file")], second)
    network().fit(X, Y, callbacks=[kind("file")], verbose=False)


def test_callbacks_of_ones_own_may_be_shared():
    class Counter(fa.Callback):
        n = 0

        def on_epoch_end(self, net, epoch, logs):
            self.n += 1

    counter = Counter()
    beside([counter], lambda: network().fit(X, Y, 3, callbacks=[counter, counter], verbose=False))
    assert counter.n == 2 + 6


def test_what_comes_twice_in_a_list_is_refused(tmp_path):
    stopping = fa.EarlyStopping("loss")
    twice = [stopping, stopping], [fa.Checkpoint(tmp_path / "a"), fa.CSVLogger(tmp_path / "a")]
    net = network()
    for callbacks in twice:
        with pytest.raises(ValueError, match=r"callbacks\[1\]: expected .* once, got it twice"):
            net.fit(X, Y, callbacks=callbacks, verbose=False)
    assert net.steps == 0


@pytest.mark.parametrize("end", [None, KeyboardInterrupt])
def test_an_object_is_free_after_any_end(tmp_path, end):
    class End(fa.Callback):
        def on_epoch_end(self, net, epoch, logs):
            if end:
                raise end

    for one in built_in(tmp_path):
        net = network()
        with contextlib.suppress(KeyboardInterrupt):
            net.fit(X, Y, callbacks=[one, End()], verbose=False)
        network().fit(X, Y, callbacks=[one], verbose=False)


# ---- one after another


def test_early_stopping_serves_one_network_after_another():
    stopping = fa.EarlyStopping("loss", patience=2)
    for seed in (1, 2, 3):
        net, alone = network(rng=seed), network(rng=seed)
        net.fit(X, Y, 6, callbacks=[stopping], verbose=False)
        own = fa.EarlyStopping("loss", patience=2)
        alone.fit(X, Y, 6, callbacks=[own], verbose=False)
        assert_same(copies(net), copies(alone))
        assert (stopping.best, stopping.best_epoch) == (own.best, own.best_epoch)
        assert_same(stopping.best_weights, own.best_weights)


def test_alignment_begins_a_new_record_for_another_network(tmp_path):
    watch, narrow = fa.callbacks.Alignment((X, Y)), [fa.Dense(4, "tanh"), fa.Dense(3)]
    first = network()
    first.fit(X, Y, 2, callbacks=[watch], verbose=False)
    record = watch.history
    assert [len(row["delta_angle"]) for row in record.values()] == [3, 3]
    for second in (network(layers=narrow, rng=8), network(layers=narrow, rng=7)):
        second.fit(X, Y, 1, callbacks=[watch], verbose=False)
        assert watch.step == [0, 2]
        assert [len(row["delta_angle"]) for row in watch.history.values()] == [2]
    assert [len(row["delta_angle"]) for row in record.values()] == [3, 3]  # what was taken stays


def test_alignment_goes_on_with_its_network_and_with_a_loaded_one(tmp_path):
    watch, net = fa.callbacks.Alignment((X, Y)), network()
    net.fit(X, Y, 1, callbacks=[watch], verbose=False)
    net.fit(X, Y, 1, callbacks=[watch], verbose=False)
    net.save(tmp_path / "net")
    fa.load(tmp_path / "net").fit(X, Y, 1, callbacks=[watch], verbose=False)
    assert watch.step == [0, 2, 4, 6]
    net.reset()
    net.fit(X, Y, 1, callbacks=[watch], verbose=False)
    assert watch.step == [0, 2]


def test_alignment_that_could_not_measure_may_be_used_again():
    watch, narrow = fa.callbacks.Alignment((X, Y)), network(input_shape=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="shape"):
            narrow.fit(X[:, :2], Y, callbacks=[watch], verbose=False)
    network().fit(X, Y, callbacks=[watch], verbose=False)
    assert watch.step == [0, 2]


# ---- copies


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda callback: pickle.loads(pickle.dumps(callback))]
)
def test_a_copy_has_a_record_of_its_own(tmp_path, way):
    for one in built_in(tmp_path):
        network().fit(X, Y, 2, callbacks=[one], verbose=False)
        other = way(one)
        assert repr(other) == repr(one)
        keys = [key for key in vars(one) if key not in ("batch", "_watch", "on_batch_end")]
        before = {key: repr(vars(one)[key]) for key in keys}
        assert {key: repr(vars(other)[key]) for key in keys} == before
        network(rng=8).fit(X, Y, 3, callbacks=[other], verbose=False)
        assert {key: repr(vars(one)[key]) for key in keys} == before


def test_a_copy_of_alignment_shares_the_batch():
    watch = fa.callbacks.Alignment((X, Y))
    assert copy.copy(watch).batch is watch.batch


# ---- hooks that would do nothing


async def nothing(net, epoch, logs):
    pass


def generator(self, net, epoch, logs):
    yield


class Waits(fa.Callback):
    async def on_epoch_end(self, net, epoch, logs):
        pass


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Waits, r"callbacks\[0\]: Waits.on_epoch_end: expected a plain function, got a coroutine"),
        (lambda: type("C", (fa.Callback,), {"on_epoch_end": generator})(), "a generator function"),
        (lambda: with_hook("on_train_end", None), "on_train_end: expected a function, got None"),
        (lambda: with_hook("on_epoch_end", nothing), "got a coroutine function"),
        (lambda: with_hook("on_epoch_end", functools.partial(nothing)), "got a coroutine function"),
        (
            lambda: with_hook("on_epoch_start", print),
            'hook of callbacks.*: expected one of .*, got "on_epoch_start"',
        ),
        (
            lambda: with_hook("on_epoch_end", lambda: 0),
            r"on_epoch_end: expected arguments \(net, epoch, logs\)",
        ),
    ],
)
def test_hooks_that_would_never_run_are_refused(make, words):
    net = network()
    with pytest.raises((TypeError, ValueError), match=words):
        net.fit(X, Y, callbacks=[make()], verbose=False)
    assert (net.steps, net.history) == (0, None)


def with_hook(name, hook):
    callback = fa.Callback()
    setattr(callback, name, hook)
    return callback


@pytest.mark.parametrize("hook", ["on_train_begin", "on_batch_end", "on_epoch_end", "on_train_end"])
def test_what_a_hook_leaves_to_be_run_is_refused(hook):
    def waits(self, *args):
        return nothing(None, None, None)

    net = network()
    callback = type("C", (fa.Callback,), {hook: waits})()
    with pytest.raises(TypeError, match=rf"C.{hook}: expected work when it is called"):
        net.fit(X, Y, callbacks=[callback], verbose=False)


# ---- saving while it trains


def test_callbacks_save_at_every_place(tmp_path):
    class Save(fa.Callback):
        def on_train_begin(self, net):
            net.save(tmp_path / "begin")

        def on_batch_end(self, net, step, logs):
            net.save(tmp_path / f"step-{step}")

        def on_epoch_end(self, net, epoch, logs):
            net.save(tmp_path / f"epoch-{epoch}")
            copy.deepcopy(net)

        def on_train_end(self, net):
            net.save(tmp_path / "end")

    net = network()
    net.fit(X, Y, 2, 30, callbacks=[Save()], verbose=False)
    for name, steps in (("begin", 0), ("step-3", 3), ("epoch-1", 2), ("epoch-2", 4), ("end", 4)):
        loaded = fa.load(tmp_path / name)
        assert loaded.steps == steps
        np.testing.assert_array_equal(
            loaded.parameters["0.weight"] == net.parameters["0.weight"], steps == 4
        )

"""Logs that callbacks add, hooks that are functions, and callbacks that hand the logs on."""

import copy
import math
import pickle
import sys

import pytest
import small
from processes import run_python
from small import samples

import fastfa as fa

X, Y = samples(60)
QUIET = {"verbose": False}


def network(**changes):
    return small.network(**({"rule": "backprop"} | changes))


class Adds(fa.Callback):
    """Adds the value of a function of the epoch, or nothing where it has none."""

    def __init__(self, name="score", value=float):
        self.adds, self.name, self.value = [name], name, value

    def on_epoch_end(self, net, epoch, logs):
        value = self.value(epoch)
        if value is not None:
            logs[self.name] = value


# ---- the rate


def test_the_history_has_the_rate_of_the_last_step():
    net = network(optimizer=fa.SGD(lambda step: 1.0 / (step + 1)))
    history = net.fit(X, Y, 3, 15, **QUIET)  # four steps an epoch
    assert history.history["lr"] == [1 / 4, 1 / 8, 1 / 12]

    def halve(net, *_):
        net.lr /= 2

    plain = network(optimizer=fa.SGD(0.4))
    history = plain.fit(X, Y, 2, 15, callbacks=[fa.Callback(on_batch_end=halve)], **QUIET)
    assert history.history["lr"] == pytest.approx([0.4 / 2**3, 0.4 / 2**7])
    history = plain.fit(X, Y, 2, 15, callbacks=[fa.Callback(on_epoch_end=halve)], **QUIET)
    assert history.history["lr"] == pytest.approx([0.4 / 2**8, 0.4 / 2**9])


# ---- hooks


def test_functions_are_hooks_and_epochs_have_a_beginning():
    calls = []
    names = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")

    def note(name):
        return lambda net, *numbers: calls.append((name, net.epochs, *numbers[:1]))

    net = network()
    net.fit(X, Y, 1, **QUIET)
    net.fit(X, Y, 2, callbacks=[fa.Callback(**{name: note(name) for name in names})], **QUIET)
    assert calls == [
        ("on_train_begin", 1),
        ("on_epoch_begin", 1, 2),
        ("on_epoch_end", 2, 2),
        ("on_epoch_begin", 2, 3),
        ("on_epoch_end", 3, 3),
        ("on_train_end", 3),
    ]


def test_a_stop_before_an_epoch_keeps_it_from_beginning():
    ended = []
    stop = fa.Callback(
        on_epoch_begin=lambda net, epoch: net.stop() if epoch == 3 else None,
        on_epoch_end=lambda net, epoch, logs: ended.append(epoch),
    )
    net = network()
    assert net.fit(X, Y, 9, callbacks=[stop], **QUIET).epoch == ended == [1, 2]
    assert (net.epochs, net.steps) == (2, 4)


def test_hooks_that_are_no_functions_are_refused_before_the_first_step():
    net = network()
    for hooks, words in (
        ({"on_epoch_begin": 3}, "on_epoch_begin: expected a function, got 3"),
        ({"on_epoch_begin": lambda net: None}, r"expected arguments \(net, epoch\)"),
    ):
        with pytest.raises(TypeError, match=words):
            net.fit(X, Y, callbacks=[fa.Callback(**hooks)], **QUIET)
    assert net.steps == 0
    with pytest.raises(TypeError, match="on_epoch_start"):
        fa.Callback(on_epoch_start=print)


def test_epochs_that_begin_change_no_bit():
    one, other = network(), network()
    one.fit(X, Y, 3, **QUIET)
    other.fit(X, Y, 3, callbacks=[fa.Callback(on_epoch_begin=lambda *_: None)], **QUIET)
    small.assert_same(small.copies(one), small.copies(other))


# ---- logs


def test_added_logs_reach_history_bar_and_the_callbacks_behind(tmp_path, capsys):
    seen = []
    stop = fa.EarlyStopping("score", patience=2, mode="min")
    log = fa.CSVLogger(tmp_path / "log.csv")
    keep = fa.Checkpoint(tmp_path / "best", monitor="score", mode="min", save_best_only=True)
    own = fa.Callback(on_epoch_end=lambda net, epoch, logs: seen.append(logs["score"]))
    scores = {1: 3.0, 2: 1.0, 3: 2.0, 4: 5.0}
    history = network().fit(X, Y, 9, callbacks=[Adds(value=scores.get), stop, log, keep, own])
    assert history.history["score"] == seen == [3.0, 1.0, 2.0, 5.0]
    assert (stop.best, stop.best_epoch, keep.best) == (1.0, 2, 1.0)
    header, *lines = (tmp_path / "log.csv").read_text().splitlines()
    assert header == "epoch,loss,accuracy,lr,time,score"
    assert [line.split(",")[-1] for line in lines] == ["3.0", "1.0", "2.0", "5.0"]
    assert "score=5.0000" in capsys.readouterr().err
    assert list(history.history) == header.split(",")[1:]


def test_an_epoch_without_the_added_log_has_nan():
    history = network().fit(
        X, Y, 3, callbacks=[Adds(value=lambda n: n if n == 2 else None)], **QUIET
    )
    first, second, third = history.history["score"]
    assert (math.isnan(first), second, math.isnan(third)) == (True, 2.0, True)


def test_the_history_stays_even_after_an_error_between_added_logs():
    class End(fa.Callback):
        def on_epoch_end(self, net, epoch, logs):
            if epoch == 2:
                raise OSError("mine")

    net = network()
    with pytest.raises(OSError, match="mine"):
        net.fit(X, Y, 3, callbacks=[Adds("a"), End(), Adds("b")], **QUIET)
    log = net.history.history
    assert (net.history.epoch, log["a"], log["b"][0]) == ([1, 2], [1.0, 2.0], 1.0)
    assert math.isnan(log["b"][1])
    assert {len(values) for values in log.values()} == {2}


def test_a_callback_may_read_what_it_cannot_change():
    def spoil(net, epoch, logs):
        logs["loss"] = 0.0
        del logs["accuracy"]

    net, plain = network(), network()
    history = net.fit(X, Y, 2, callbacks=[fa.Callback(on_epoch_end=spoil)], **QUIET).history
    expected = plain.fit(X, Y, 2, **QUIET).history
    assert (history["loss"], history["accuracy"]) == (expected["loss"], expected["accuracy"])


@pytest.mark.parametrize(
    ("adds", "kind", "words"),
    [
        ("score", TypeError, "Adds.adds: expected a list of names of logs, got 'score'"),
        ([3], TypeError, "Adds.adds: expected a list of names of logs, got 3"),
        (["loss"], ValueError, 'expected names that no other log has, got "loss"'),
        (["epoch"], ValueError, 'expected names that no other log has, got "epoch"'),
        (["a", "a"], ValueError, 'expected names that no other log has, got "a"'),
    ],
)
def test_names_of_added_logs_are_checked_before_the_first_step(adds, kind, words):
    callback, net = Adds(), network()
    callback.adds = adds
    with pytest.raises(kind, match=words):
        net.fit(X, Y, callbacks=[callback], **QUIET)
    twice = [Adds(), Adds()]
    with pytest.raises(ValueError, match=r'callbacks\[1\].*no other log has, got "score"'):
        net.fit(X, Y, callbacks=twice, **QUIET)
    with pytest.raises(ValueError, match=r'expected one of the logs, .*, got "score"'):
        net.fit(X, Y, callbacks=[fa.EarlyStopping("score"), Adds()], **QUIET)
    assert net.steps == 0


def test_what_is_added_is_a_number_under_a_name_that_was_said():
    with pytest.raises(TypeError, match="logs added by Adds: score: expected a number, got 'high'"):
        network().fit(X, Y, callbacks=[Adds(value=lambda _: "high")], **QUIET)
    callback = Adds()
    callback.name = "other"
    words = r"logs added by Adds: expected one of its adds, \[score\], got 'other'; name it"
    with pytest.raises(ValueError, match=words):
        network().fit(X, Y, callbacks=[callback], **QUIET)


# ---- handing the logs on


def test_log_calls_a_function_as_trackers_want_it():
    calls = []

    def track(logs, step=None, commit=True):  # the arguments of wandb.log
        calls.append((step, logs))

    history = network().fit(X, Y, 5, callbacks=[Adds(), fa.callbacks.Log(track, 2)], **QUIET)
    assert [step for step, _ in calls] == [2, 4]
    for step, logs in calls:
        assert logs == {key: values[step - 1] for key, values in history.history.items()}


def test_log_hands_over_single_steps():
    calls = []
    log = fa.callbacks.Log(lambda logs, step: calls.append((step, sorted(logs))), unit="step")
    network().fit(X, Y, 2, 30, callbacks=[log], **QUIET)
    assert calls == [(n, ["accuracy", "loss"]) for n in (1, 2, 3, 4)]


def test_log_is_described_copied_and_checked():
    log = fa.callbacks.Log(print, 3, "step")
    assert repr(log) == "Log(print, every=3, unit='step')"
    for other in (copy.copy(log), pickle.loads(pickle.dumps(log))):
        assert (other.function, other.every, other.unit) == (print, 3, "step")
    with pytest.raises(TypeError, match=r"function: expected a function \(logs, step\), got 3"):
        fa.callbacks.Log(3)
    with pytest.raises(AttributeError, match=r"Log\.every is fixed when it is made"):
        log.every = 2


# ---- TensorBoard


def scalars(folder):
    """The scalars in the event files of a folder: (tag, step, value), read record by record."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:  # length (8 bytes), its checksum (4), the event, its checksum (4)
            size = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
    return found


def test_tensorboard_gets_two_runs_with_the_same_tags(tmp_path):
    pytest.importorskip("tensorboardX")
    board, net = fa.callbacks.TensorBoard(tmp_path / "logs"), network()
    fit = {"validation_data": (X, Y), "callbacks": [Adds(), board], **QUIET}
    first = net.fit(X, Y, 2, **fit).history
    second = net.fit(X, Y, 1, **fit).history
    written = scalars(tmp_path / "logs" / "train")
    assert {tag for tag, _, _ in written} == {"loss", "accuracy", "lr", "time", "score"}
    for tag in ("loss", "score"):
        values = {step: value for name, step, value in written if name == tag}
        expected = dict(enumerate(first[tag] + second[tag], 1))
        assert values == pytest.approx(expected, rel=1e-6)
    held_out = scalars(tmp_path / "logs" / "validation")
    assert {tag for tag, _, _ in held_out} == {"loss", "accuracy"}
    values = [value for tag, _, value in held_out if tag == "loss"]
    assert values == pytest.approx(first["val_loss"] + second["val_loss"], rel=1e-6)


def test_tensorboard_has_the_epochs_before_an_error(tmp_path):
    pytest.importorskip("tensorboardX")

    def end(net, epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    board = fa.callbacks.TensorBoard(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        network().fit(X, Y, 3, callbacks=[board, fa.Callback(on_epoch_end=end)], **QUIET)
    assert [step for tag, step, _ in scalars(tmp_path / "train") if tag == "loss"] == [1, 2]


def test_tensorboard_is_checked_described_and_copied(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    board = fa.callbacks.TensorBoard(tmp_path / "logs")
    assert repr(board) == f"TensorBoard({str(tmp_path / 'logs')!r})"
    assert pickle.loads(pickle.dumps(board)).folder == board.folder
    (tmp_path / "file").write_text("")
    net = network()
    with pytest.raises(OSError, match="exists"):
        net.fit(X, Y, callbacks=[fa.callbacks.TensorBoard(tmp_path / "file")], **QUIET)
    assert net.steps == 0
    with pytest.raises(TypeError, match="folder: expected a str or a path, got 3"):
        fa.callbacks.TensorBoard(3)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        fa.callbacks.TensorBoard(tmp_path)


def test_tensorboard_is_imported_when_it_is_used():
    assert run_python("import sys, fastfa; print('tensorboardX' in sys.modules)") == "False"

"""Bars, logs and results that cannot be written end no training."""

import contextlib
import errno
import fcntl
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
import warnings

import numpy as np
import pytest
from processes import environment, run_python
from small import assert_same, copies, network, samples

import fastfa as fa
from fastfa.__main__ import main
from fastfa._internal import progress, text_files
from fastfa.experiments.runs import Run, Store

X, Y = samples(60)


class Failing(io.StringIO):
    """A stream whose every write fails; it says that it is a terminal."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def isatty(self):
        return True

    def write(self, text):
        raise self.error


class Bare:
    """The least that is a stream."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def broken_pipe():
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "w", closefd=False)


BROKEN = [
    lambda: Failing(OSError(errno.ENOSPC, "no space")),
    lambda: Failing(BrokenPipeError()),
    lambda: Failing(UnicodeEncodeError("ascii", "x", 0, 1, "no")),
    lambda: Failing(RuntimeError("mine")),
    closed,
    broken_pipe,
]


def build(rng):
    return network(rng=rng)


def many_epochs():
    replicas = fa.fit_replicas(build, [{"rng": n} for n in range(4)], X, Y, epochs=2)
    return [len(replica.history.epoch) for replica in replicas]


@pytest.mark.parametrize("make", BROKEN)
@pytest.mark.parametrize("many", [False, True])
def test_a_bar_that_cannot_be_written_ends_no_training(monkeypatch, make, many):
    monkeypatch.setattr(sys, "stderr", make())
    with pytest.warns(RuntimeWarning, match=r"bar stops, as stderr cannot be written") as warned:
        epochs = many_epochs() if many else network().fit(X, Y, 30, 10).epoch
    assert epochs == ([2] * 4 if many else list(range(1, 31)))
    assert len(warned) == 1


def test_a_filter_that_raises_ends_no_training_either(monkeypatch):
    monkeypatch.setattr(sys, "stderr", closed())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert network().fit(X, Y, 3).epoch == [1, 2, 3]


@pytest.mark.parametrize("how", ["sys.stderr.close()", "sys.stderr = None", "sys.stderr = Odd()"])
def test_warnings_that_cannot_be_shown_end_no_training(how):
    """In a process of its own: pytest would take the warnings."""
    script = f"""
import sys
import numpy as np
import fastfa as fa
class Odd:
    def write(self, text): raise RuntimeError("mine")
{how}
X, y = np.ones((30, 6), np.float32), np.arange(30) % 3
layers, feedback = [fa.Dense(4, "tanh"), fa.Dense(3)], fa.Feedback(np.zeros((3, 4)))
net = fa.Sequential(layers, input_shape=6, rule=fa.DFA(feedback), rng=0)
print(len(net.fit(X, y, 6, callbacks=[fa.callbacks.Alignment((X, y))]).epoch))
sys.stderr = sys.__stderr__  # which is flushed at the end
"""
    assert run_python(script) == "6"


def test_an_ascii_terminal_gets_a_bar(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    network().fit(X, Y, 2)
    stream.flush()
    assert b"epoch 2/2" in stream.buffer.getvalue()


@pytest.mark.parametrize(
    "call",
    [
        lambda: network().fit(X, Y, -1),
        lambda: network().fit(X, Y, callbacks=[fa.EarlyStopping()]),
        lambda: network().fit(X, Y, callbacks=[fa.Checkpoint("/no such folder/net")]),
        lambda: network().fit(X, Y, callbacks=[fa.CSVLogger("/no such folder/log")]),
        lambda: fa.fit_replicas(build, [{"rng": -1}], X, Y),
        lambda: fa.fit_replicas(build, [{"rng": 1}], X[:3], Y),
        lambda: fa.fit_replicas(build, [{"rng": 1}], X, Y, epochs=-1),
        lambda: main(["demo", "--lr", "-1"]) and 1 / 0,
        lambda: main(["demo", "--momentum", "7"]) and 1 / 0,
    ],
)
def test_no_bar_before_the_arguments_are_checked(capsys, call):
    with pytest.raises((ValueError, OSError, ZeroDivisionError)):
        call()
    assert "|" not in capsys.readouterr().err


def test_bars_can_be_switched_off_for_the_process(capsys):
    fa.set_verbose(False)
    try:
        network().fit(X, Y)
        fa.fit_replicas(build, [{"rng": 1}], X, Y)
        assert capsys.readouterr().err == ""
        network().fit(X, Y, verbose=True)
        assert "epoch 1/1" in capsys.readouterr().err
    finally:
        fa.set_verbose(True)
    network().fit(X, Y)
    assert "epoch 1/1" in capsys.readouterr().err
    with pytest.raises(TypeError, match="on: expected True or False, got 0"):
        fa.set_verbose(0)
    with pytest.raises(TypeError, match="verbose: expected True or False, got 'no'"):
        network().fit(X, Y, verbose="no")


def test_the_variable_of_tqdm_switches_bars_off():
    script = "from small import *; network().fit(*samples(60), verbose=True)"
    for variables, shown in (({}, True), ({"TQDM_DISABLE": "1"}, False)):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment(**variables), capture_output=True
        )
        assert done.returncode == 0
        assert (b"epoch 1/1" in done.stderr) == shown


# ---- 80 columns


@pytest.mark.parametrize("columns", [200, 80, 60])
def test_the_numbers_fit_into_the_line(monkeypatch, columns):
    ours, terminal_end = pty.openpty()
    fcntl.ioctl(terminal_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(terminal_end, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        network().fit(X, Y, 60, validation_data=(X, Y))
    text = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := os.read(ours, 10_000):
            text += part
    os.close(ours)
    last = text.decode().rstrip("\r\n").split("\r")[-1]
    assert len(last) < columns
    words = ["epoch 60/60", "loss=", "accuracy="]
    words += ["val_loss=", "val_accuracy="] if columns >= 80 else [" val "]
    words += ["120/120"] if columns == 200 else []
    assert all(word in last for word in words), last


def test_numbers_with_braces_are_shown_as_they_are():
    assert "{x}" in progress._short({"loss": 0.1, "{x}": 1e-9}, 40)


# ---- logs


def rows_of(path):
    return [line.split(",")[0] for line in path.read_text().splitlines()]


class Between(fa.Callback):
    """Changes the file while the network trains."""

    def __init__(self, **acts):
        self.acts = acts

    def on_epoch_end(self, net, epoch, logs):
        self.acts.get(f"at_{epoch}", lambda: None)()


def test_a_log_that_cannot_be_written_for_a_while_has_all_lines_in_the_end(tmp_path):
    path, kept = tmp_path / "log.csv", tmp_path / "kept"

    def away():
        os.rename(path, kept)
        os.mkdir(path)

    def back():
        os.rmdir(path)
        os.rename(kept, path)

    callbacks = [fa.CSVLogger(path), Between(at_2=away, at_4=back)]
    net = network()
    with pytest.warns(RuntimeWarning, match="lines are kept and tried again") as warned:
        assert len(net.fit(X, Y, 6, callbacks=callbacks, verbose=False).epoch) == 6
    assert len(warned) == 1
    assert rows_of(path) == ["epoch", "1", "2", "3", "4", "5", "6"]


def test_a_log_that_is_taken_away_begins_again(tmp_path):
    path = tmp_path / "log.csv"
    callbacks = [fa.CSVLogger(path), Between(at_2=path.unlink)]
    network().fit(X, Y, 4, callbacks=callbacks, verbose=False)
    assert rows_of(path) == ["epoch", "3", "4"]


def test_a_full_disk_is_found_before_the_first_step():
    net = network()
    with pytest.raises(OSError, match="No space left"):
        net.fit(X, Y, callbacks=[fa.CSVLogger("/dev/full")], verbose=False)
    assert net.steps == 0


def test_a_line_is_written_whole_or_not_at_all(tmp_path):
    """A process that may not write beyond 100 bytes of a file."""
    script = """
import resource, signal, sys
from fastfa._internal.text_files import append_lines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
append_lines(sys.argv[1], "a" * 80 + "\\n")
try:
    append_lines(sys.argv[1], "b" * 80 + "\\n")
except OSError as error:
    print("refused", error.errno)
append_lines(sys.argv[1], "c" * 10 + "\\n")
"""
    path = tmp_path / "lines"
    assert run_python(script, path) == f"refused {errno.EFBIG}"
    assert path.read_text() == "a" * 80 + "\n" + "c" * 10 + "\n"


@pytest.mark.parametrize("torn", ["2,0.5", "2", "2,0.5,0.25", ""])
def test_a_log_that_a_kill_tore_goes_on(tmp_path, torn):
    path, net = tmp_path / "log.csv", network()
    net.fit(X, Y, 1, callbacks=[fa.CSVLogger(path)], verbose=False)
    with path.open("a") as file:
        file.write(torn)
    net.fit(X, Y, 2, callbacks=[fa.CSVLogger(path, append=True)], verbose=False)
    assert rows_of(path) == ["epoch", "1", "2", "3"]


@pytest.mark.parametrize("there", ["", "epo", "epoch,loss,accuracy,lr", "1,2,3,4\n", "epoch\n"])
def test_a_log_goes_on_only_under_its_own_columns(tmp_path, there):
    path, net = tmp_path / "log.csv", network()
    path.write_text(there)
    log = fa.CSVLogger(path, append=True)
    if there.endswith("\n"):
        with pytest.raises(ValueError, match=r"expected the columns epoch, loss, .*, got"):
            net.fit(X, Y, callbacks=[log], verbose=False)
        assert net.steps == 0
        assert path.read_text() == there
    else:
        net.fit(X, Y, callbacks=[log], verbose=False)
        assert rows_of(path) == ["epoch", "1"]


def test_long_lines_are_found(tmp_path):
    path = tmp_path / "lines"
    path.write_text("x" * 200_000 + "\n" + "y" * 150_000)
    text_files.append_lines(path, "z\n", lambda line: False)
    assert path.read_text() == "x" * 200_000 + "\nz\n"
    path.write_text("x" * 200_000)
    text_files.append_lines(path, "z\n")
    assert path.read_text() == "x" * 200_000 + "\nz\n"


# ---- results


def run_of(seed):
    run = Run("toy", "fa", seed, 1)
    run.log(3, 0.5)
    return run


@pytest.mark.parametrize("cut", [1, 20, -2, -1])
def test_results_whose_last_line_was_cut_go_on(tmp_path, cut):
    store = Store(tmp_path / "runs.jsonl")
    store.add(run_of(0))
    store.add(run_of(1))
    first, second = store.path.read_text().splitlines(keepends=True)
    store.path.write_text(first + second[:cut])
    whole = [run.seed for run in store.of("toy", 1)]
    assert whole == ([0, 1] if cut == -1 else [0])  # only the line break is missing
    store.add(run_of(2))
    assert [run.seed for run in store.of("toy", 1)] == [*whole, 2]
    assert all(json.loads(line) for line in store.path.read_text().splitlines())


def test_results_that_are_wrong_in_the_middle_are_refused(tmp_path):
    store = Store(tmp_path / "runs.jsonl")
    store.path.write_text('{"torn\n')
    store.add(run_of(0))
    with pytest.raises(ValueError, match="line 1: not a run"):
        store.of("toy", 1)


@pytest.mark.parametrize("arguments", [["linear", "--epochs", "1"], ["page"]])
def test_a_command_that_would_write_nothing_says_so(tmp_path, capsys, arguments):
    assert main(["reproduce", *arguments, "--page", str(tmp_path / "page.md")]) == 2
    assert "nothing" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def run_command(*arguments, **streams):
    command = [sys.executable, "-m", "fastfa", *arguments]
    return subprocess.run(command, timeout=120, check=False, **streams)


def test_a_page_is_written_and_printed_where_nothing_is_utf_8(tmp_path):
    page = tmp_path / "page.md"
    env = os.environ | {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "en_US.ISO-8859-1"}
    env |= {"PYTHONUTF8": "0"}
    done = run_command(
        "reproduce", "linear", "--page", page, env=env, stdout=subprocess.PIPE, stderr=-1
    )
    assert done.returncode == 0, done.stderr
    assert b"2 of 2 in band" in done.stdout
    assert "±0.01" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_command_ends_its_work_where_nobody_reads(tmp_path, stream):
    page = tmp_path / "page.md"
    read, write = os.pipe()
    os.close(read)
    other = {"stdout": "stderr", "stderr": "stdout"}[stream]
    done = run_command(
        "reproduce", "linear", "--page", page, **{stream: write, other: subprocess.PIPE}
    )
    os.close(write)
    assert "2 of 2 in band" in page.read_text(encoding="utf-8")
    if stream == "stdout":
        assert b"Traceback" not in done.stderr
        assert done.returncode == 2
    else:
        assert b"2 of 2 in band" in done.stdout
        assert done.returncode == 0


# ---- going on


class Cut(Exception):
    """Stands in for a crash."""


class AtStep(fa.Callback):
    def __init__(self, step):
        self.step = step

    def on_batch_end(self, net, step, logs):
        if step == self.step:
            raise Cut


@pytest.mark.parametrize("step", [3, 4, 5, 7, 8, 10**9])
def test_the_documented_lines_go_on_from_wherever_a_run_was_cut(tmp_path, step):
    """Two steps an epoch: in the middle of one, at its end, after the last."""
    path, net, whole = tmp_path / "net", network(), network()
    whole.fit(X, Y, 4, 30, verbose=False)
    callbacks = [fa.Checkpoint(path), AtStep(step)]
    with contextlib.suppress(Cut):
        net.fit(X, Y, 4, 30, callbacks=callbacks, verbose=False)
    net = fa.load(path)
    net.fit(X, Y, 4 - net.epochs, 30, callbacks=[fa.Checkpoint(path)], verbose=False)
    for each in (net, fa.load(path)):
        assert_same(copies(each), copies(whole))
        assert each.epochs == 4


def test_a_killed_script_that_is_started_again_ends_as_if_nothing_had_been(tmp_path):
    script = """
import os, sys
import fastfa as fa
from small import network, samples
path, log, epochs = sys.argv[1], sys.argv[2], 60
net = fa.load(path) if os.path.exists(path) else network()
callbacks = [fa.CSVLogger(log, append=os.path.exists(log)), fa.Checkpoint(path)]
net.fit(*samples(60), epochs=epochs - net.epochs, callbacks=callbacks, verbose=False)
"""
    path, log = tmp_path / "net", tmp_path / "log.csv"
    command = [sys.executable, "-c", script, path, log]
    for _ in range(3):
        with subprocess.Popen(command, env=environment()) as child:
            before = rows_of(log)[-1:] if log.exists() else []
            while child.poll() is None and (rows_of(log)[-1:] if log.exists() else []) == before:
                time.sleep(0.001)  # on few cores a busy loop would take the child's time
            child.kill()
    assert child.returncode == -signal.SIGKILL
    for _ in range(2):  # the second finds a run that is finished
        subprocess.run(command, env=environment(), check=True)
    whole = network()
    whole.fit(*samples(60), epochs=60, verbose=False)
    assert_same(copies(fa.load(path)), copies(whole))
    assert set(rows_of(log)[1:]) == {str(n) for n in range(1, 61)}
    cells = {len(line.split(",")) for line in log.read_text().splitlines()}
    assert cells == {5}
    assert np.isfinite(np.loadtxt(log, delimiter=",", skiprows=1)).all()


def test_bars_in_several_threads_and_children():
    """Each of a child's threads draws, whatever the threads of its parent were doing."""
    script = """
import os, signal, threading
import fastfa as fa
from small import network, samples
X, y = samples(60)
class Fork(fa.Callback):
    def on_epoch_end(self, net, epoch, logs):
        if epoch % 20 == 0 and os.getpid() == parent:
            pids.append(os.fork())
            if pids[-1] == 0:
                signal.alarm(60)
parent, pids, other = os.getpid(), [], network()
thread = threading.Thread(target=other.fit, args=(X, y, 10**6))
thread.start()
mine = network()
mine.fit(X, y, 400, callbacks=[Fork()])
network().fit(X, y, 2)
if os.getpid() != parent:
    os._exit(7)
other.stop()
thread.join()
print({os.waitpid(pid, 0)[1] >> 8 for pid in pids})
"""
    assert run_python(script) == "{7}"

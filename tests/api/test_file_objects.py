"""Files that are no paths, paths that are no files, and words of strangers."""

import gzip
import io
import json
import os
import socket
import struct
import threading
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import fastfa as fa
from fastfa._internal.checks import plain, show

ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b\u202e"


def build(rule="dfa", **settings):
    return fa.Sequential(
        [fa.Dense(3, "tanh"), fa.Dense(2)], input_shape=2, rule=rule, rng=0, **settings
    )


NET = build()
DATA = NET.to_bytes()


def same(net):
    return net.to_bytes() == DATA


# ------------------------------------------------------------------------------- file objects


def test_a_buffer_holds_several_networks():
    buffer = io.BytesIO()
    NET.save(buffer)
    build(optimizer=fa.SGD(1e-3)).save(buffer)
    assert buffer.getvalue()[: len(DATA)] == DATA
    buffer.seek(0)
    assert same(fa.load(buffer))
    assert buffer.tell() == len(DATA)
    assert isinstance(fa.load(buffer).optimizer, fa.SGD)
    with pytest.raises(ValueError, match="network: expected more bytes, got only 0 bytes"):
        fa.load(buffer)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes(kind):
    assert same(fa.load(kind(DATA)))
    with pytest.raises(ValueError, match="bytes: not a fastfa network"):
        fa.load(kind(b"\0" * 100))
    with pytest.raises(ValueError, match=r"bytes: expected .* bytes of tensors"):
        fa.load(kind(DATA[:-1]))


@pytest.mark.parametrize("how", ["open", "unbuffered", "gzip"])
def test_open_files(tmp_path, how):
    opener = {
        "open": open,
        "unbuffered": partial(open, buffering=0),
        "gzip": gzip.open,
    }[how]
    with opener(tmp_path / "net", "wb") as file:
        NET.save(file)
        assert not file.closed
    with opener(tmp_path / "net", "rb") as file:
        assert same(fa.load(file))
        assert not file.closed


def test_member_of_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, archive.open("net", "w") as file:
        NET.save(file)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("net") as file:
        assert same(fa.load(file))


def test_what_the_caller_opened_may_be_a_pipe_or_a_socket():
    """Neither ends, so not one byte more than the network's may be asked for."""
    ends = socket.socketpair()
    with ends[0], ends[1], ends[0].makefile("wb") as to, ends[1].makefile("rb") as source:
        NET.save(to)
        to.flush()
        assert same(fa.load(source))
    numbers = os.pipe()
    with open(numbers[0], "rb", buffering=0) as source, open(numbers[1], "wb") as to:
        writer = threading.Thread(target=NET.save, args=(to,))
        writer.start()
        writer.join()
        to.flush()
        assert same(fa.load(source))


class Drops:
    """Reads and writes one to three bytes at a time."""

    def __init__(self, data=b""):
        self.data, self.turn = bytearray(data), 0

    def write(self, data):
        self.turn += 1
        self.data += bytes(data[: self.turn % 3 + 1])
        return min(len(data), self.turn % 3 + 1)

    def read(self, n):
        self.turn += 1
        n = min(n, self.turn % 3 + 1)
        piece, self.data = bytes(self.data[:n]), self.data[n:]
        return piece


def test_short_reads_and_writes():
    file = Drops()
    NET.save(file)
    assert file.data == DATA
    assert same(fa.load(file))
    assert same(fa.load(Drops(DATA + b"more")))


class Keeps:
    """Says nothing of how much it took, and keeps what it was given."""

    def __init__(self):
        self.kept = []

    def write(self, data):
        self.kept.append(data)


def test_a_writer_that_says_nothing_and_keeps_its_pieces():
    file = Keeps()
    net = build()
    net.save(file)
    net.parameters["0.weight"] = np.zeros((2, 3))
    assert b"".join(file.kept) == DATA


class Fails:
    def __init__(self, what):
        self.what = what

    def write(self, data):
        raise self.what

    def read(self, n):
        raise self.what


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt(), ZeroDivisionError()])
def test_what_a_file_raises_comes_out(error):
    net = build()
    with pytest.raises(type(error)) as caught:
        net.save(Fails(error))
    assert caught.value is error
    with pytest.raises(type(error)) as caught:
        fa.load(Fails(error))
    assert caught.value is error
    assert same(net)


@pytest.mark.parametrize("given", [None, 3, "text", b"x" * 100, -1])
def test_a_read_that_gives_something_else(given):
    class Odd:
        def read(self, n):
            return given

    message = r"binary mode|expected at most|nothing to read"
    with pytest.raises((TypeError, BlockingIOError), match=message):
        fa.load(Odd())


@pytest.mark.parametrize("said", [0, -1, 10**9, "all", 1.5])
def test_a_write_that_says_something_else(said):
    class Odd:
        def write(self, data):
            return said

    with pytest.raises(OSError, match=r"file\.write: expected a number of bytes"):
        NET.save(Odd())


def test_text_files_are_refused(tmp_path):
    with open(tmp_path / "net", "w") as file, pytest.raises(TypeError, match='"wb"'):
        NET.save(file)
    with open(tmp_path / "net") as file, pytest.raises(TypeError, match='"rb"'):
        fa.load(file)
    with pytest.raises(TypeError, match='"rb"'):
        fa.load(io.StringIO("text"))


def test_every_length_of_a_stream():
    for n in range(len(DATA)):
        with pytest.raises(ValueError, match=r"ends after|not a fastfa network|got only"):
            fa.load(io.BytesIO(DATA[:n]))


class Endless:
    taken = 0

    def read(self, n):
        self.taken += n
        return b"\0" * n


def test_an_endless_stream_is_refused_after_a_few_bytes():
    file = Endless()
    with pytest.raises(ValueError, match="not a fastfa network"):
        fa.load(file)
    assert file.taken < 100


def test_a_path_that_reads_is_a_path(tmp_path):
    class Local:
        def __fspath__(self):
            return str(tmp_path / "net")

        def read(self):
            raise AssertionError

        write = read

    NET.save(Local())
    assert same(fa.load(Local()))


def test_home_is_a_name_like_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    NET.save("~")
    assert os.listdir() == ["~"]
    assert same(fa.load("~"))


# ------------------------------------------------------------------------------- no files


@pytest.mark.parametrize("load", [fa.load, fa.check_file])
def test_devices_pipes_folders_and_sockets_are_refused(tmp_path, load):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for path in ("/dev/zero", "/dev/null", tmp_path / "fifo", tmp_path / "socket"):
            with pytest.raises(OSError, match=r"cannot read") as caught:
                load(path)
            assert caught.value.filename == str(path)
    with pytest.raises(IsADirectoryError):
        load(tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")


def test_large_files_of_others_are_refused_by_their_first_bytes(tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.write(b"PK\3\4 not ours")
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="large: not a fastfa network"):
        fa.load(tmp_path / "large")
    with open(tmp_path / "large", "wb") as file:
        file.write(DATA)
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"large: expected .* bytes of tensors"):
        fa.load(tmp_path / "large")


def test_check_file(tmp_path):
    NET.save(tmp_path / "net")
    assert fa.check_file(tmp_path / "net") is True
    assert fa.check_file(os.fsencode(tmp_path / "net")) is True
    (tmp_path / "old").write_bytes(changed(lambda header: None))
    assert fa.check_file(tmp_path / "old") is False
    damaged = bytearray(DATA)
    damaged[-1] ^= 1
    (tmp_path / "net").write_bytes(damaged)
    for how in (fa.check_file, fa.load):
        with pytest.raises(ValueError, match="net: damaged: its checksum is"):
            how(tmp_path / "net")
    with pytest.raises(TypeError, match="path: expected"):
        fa.check_file(3)


# ------------------------------------------------------------------------------- words of strangers


def changed(edit):
    """The file with another header, and so without the checksum."""
    (size,) = struct.unpack("<Q", DATA[:8])
    header = json.loads(DATA[8 : 8 + size])
    del header["__metadata__"]["fastfa.crc32c"]
    network = json.loads(header["__metadata__"]["fastfa.network"])
    header["network"] = network
    edit(header)
    header["__metadata__"]["fastfa.network"] = json.dumps(header.pop("network"))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + DATA[8 + size :]


def noted(note, **network):
    def edit(header):
        header["__metadata__"]["fastfa.note"] = note
        header["network"] |= network

    return changed(edit)


EDITS = {
    "field": lambda header: header["network"].update({ESCAPES: 1}),
    "activation": lambda header: header["network"]["layers"][0].update(activation=ESCAPES),
    "type": lambda header: header["network"]["layers"][0].update(type=ESCAPES),
    "loss": lambda header: header["network"].update(loss=ESCAPES),
    "rule": lambda header: header["network"]["rule"].update(name=ESCAPES),
    "inject": lambda header: header["network"]["rule"].update(inject=ESCAPES),
    "feedback": lambda header: header["network"]["rule"]["feedback"].update(name=ESCAPES),
    "optimizer": lambda header: header["network"]["optimizer"].update(name=ESCAPES),
    "dtype": lambda header: header["network"].update(dtype=ESCAPES),
    "init": lambda header: header["network"]["layers"][0]["bias_init"].update(name=ESCAPES),
    "tensor": lambda header: header.update({ESCAPES: header.pop("0.weight")}),
    "format": lambda header: header["__metadata__"].update({"fastfa.format": ESCAPES}),
    "version": lambda header: (
        header["__metadata__"].update({"fastfa.version": ESCAPES}),
        header["network"].update(loss="x"),
    ),
    "type of a tensor": lambda header: header["0.weight"].update(dtype=ESCAPES),
    "checksum": lambda header: header["__metadata__"].update({"fastfa.crc32c": ESCAPES}),
}


@pytest.mark.parametrize("what", EDITS)
def test_words_of_a_file_do_not_reach_the_terminal_raw(what):
    with pytest.raises(ValueError, match="bytes: ") as caught:
        fa.load(changed(EDITS[what]))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "note",
    [
        json.dumps({"fastfa": {"rules": {"-1": ESCAPES}}}),
        json.dumps({"fastfa": {"lr": {"function": ESCAPES, "in force": True}}}),
    ],
)
def test_words_of_a_note_do_not_reach_the_terminal_raw(note):
    custom = {"rule": {"name": "custom", "feedback": {"name": "uniform", "scale": 1}}}
    for data in (noted(note), noted(note, **custom)):
        for given in ({}, {"rule": Silent()}, {"rule": "dfa"}):
            try:
                fa.load(data, **given)  # rules of the engine ask for no object
            except (TypeError, ValueError) as error:
                assert str(error).isprintable()  # noqa: PT017


class Silent(fa.Rule):
    def signal(self, ctx):
        return np.zeros((len(ctx.error), ctx.units))


Evil = type(ESCAPES, (Silent,), {})


class Odd:
    def __repr__(self):
        return ESCAPES


def test_words_of_a_caller_do_not_reach_the_terminal_raw(tmp_path):
    net = build(Evil())
    evil = lambda step: 0.1  # noqa: E731
    evil.__name__ = ESCAPES
    texts = [repr(net), *net.summary().splitlines(), repr(build(optimizer=fa.SGD(evil)))]
    for call in (
        lambda: fa.Dense(3, ESCAPES),
        lambda: fa.Dense(Odd()),
        lambda: build(ESCAPES),
        lambda: build(optimizer=ESCAPES),
        lambda: fa.load(tmp_path / ESCAPES),
        lambda: fa.load(b"\0" + DATA[1:], rule=Odd()),
        lambda: net.save(tmp_path / ESCAPES / "net"),
        lambda: net.parameters[ESCAPES],
        lambda: fa.load(Fails(ValueError("x")), lr=Odd()),
        lambda: net.fit([[0.0, 0.0]], [0], callbacks=[Odd()], verbose=False),
    ):
        with pytest.raises((TypeError, ValueError, OSError, KeyError)) as caught:
            call()
        texts.append(str(caught.value))
    (tmp_path / ESCAPES).write_bytes(b"no network at all")
    with pytest.raises(ValueError, match="not a fastfa network") as caught:
        fa.load(tmp_path / ESCAPES)
    texts.append(str(caught.value))
    assert [text for text in texts if not text.isprintable()] == []


def test_plain():
    assert plain("Größe, 網路 ok") == "Größe, 網路 ok"
    assert plain("\x1b[1m\n\x9b\u202e\udcff") == r"\x1b[1m\n\x9b\u202e\udcff"
    assert show(Odd()).isprintable()


NOTES = [
    "", "x", "[]", "{}", "null", "1", '{"fastfa":{}}', '{"fastfa":1}', '{"fastfa":[]}',
    '{"fastfa":null}', '{"fastfa":{"lr":1}}', '{"fastfa":{"lr":"x"}}', '{"fastfa":{"lr":[]}}',
    '{"fastfa":{"lr":{}}}', '{"fastfa":{"lr":{"function":7,"in force":true}}}',
    '{"fastfa":{"lr":{"function":"f","in force":5}}}', '{"fastfa":{"rules":1}}',
    '{"fastfa":{"rules":[]}}', '{"fastfa":{"rules":{"-1":[1]}}}', '{"fastfa":{"rules":{"-1":{}}}}',
    "[" * 100000, "9" * 10000, '{"a":NaN,"fastfa":{}}',
]  # fmt: skip


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note[:40])
def test_odd_notes_give_a_network_or_a_value_error(note):
    custom = {"rule": {"name": "custom", "feedback": {"name": "uniform", "scale": 1}}}
    for data in (noted(note), noted(note, **custom)):
        for given in (
            {},
            {"rule": Silent()},
            {"rule": {"Silent": Silent()}},
            {"lr": lambda step: 0.1},
            {"rule": Silent(), "lr": lambda step: 0.1},
        ):
            try:
                net = fa.load(data, **given)
            except ValueError as error:
                assert str(error).isprintable()  # noqa: PT017
            else:
                assert net.summary()
                assert fa.load(net.to_bytes(), **given).to_bytes() == net.to_bytes()


# ------------------------------------------------------------------------------- the note, others


def test_note_is_read_while_other_threads_replace_it():
    """The getter copies under the network's lock; what it gives is one of the two, whole."""
    engine = build()._engine
    texts = ["a" * 200_000, "b" * 300_000]
    engine.note = texts[0]
    stop, odd = threading.Event(), []

    def replace():
        for i in range(400):
            engine.note = texts[i % 2]
        stop.set()

    def read():
        while not stop.is_set():
            note = engine.note
            if note not in texts:
                odd.append(note[:20])

    threads = [threading.Thread(target=f) for f in (replace, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert odd == []


def test_summary_goes_over_the_parameters_as_often_for_many_layers():
    def passes(n):
        layers = [fa.Dense(1, "tanh") for _ in range(n)] + [fa.Dense(2)]
        net = fa.Sequential(layers, input_shape=1, rule="dfa", rng=0)
        count = 0

        class Counting(type(net.parameters)):
            __slots__ = ()

            def __iter__(self):
                nonlocal count
                count += 1
                return super().__iter__()

        net.parameters.__class__ = Counting
        assert net.summary()
        return count

    assert passes(2) == passes(40)


def test_states_are_checked_as_files_are():
    net = build()
    engine = net._engine
    good = engine.state()
    for steps, epochs, lr in (
        (2**62 + 1, 0, 0.1), (2**63, 0, 0.1), (2**64 - 1, 2**64 - 1, 0.1), (0, 2**63, 0.1),
        (0, 0, float("nan")), (0, 0, -1.0), (0, 0, float("inf")),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="state: "):
            engine.restore(struct.pack("<QQd", steps, epochs, lr) + good[24:])
        assert engine.state() == good
    engine.restore(struct.pack("<QQd", 2**62, 0, 0.1) + good[24:])
    with pytest.raises(RuntimeError, match=r"2\^62"):
        net.train_batch(np.ones((2, 2), np.float32), np.array([0, 1]))
    assert fa.load(net.to_bytes()).steps == 2**62


def test_golden_paths_take_pathlike_objects(tmp_path):
    NET.save(Path(tmp_path, "net"))
    assert same(fa.load(Path(tmp_path, "net")))

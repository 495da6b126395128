"""Networks and their files: what `Sequential.save`, `load` and pickle share.

The engine's file has everything but Python objects. What stands for those, the names of rules
written in Python and whether the learning rate is a function, goes into the file's note, and so do
the names of the columns of tables that the network was trained on.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..layers import Dense
from ..rules import Rule, is_custom
from .checks import plain, show
from .validation import Columns

if TYPE_CHECKING:
    from .._core import Network
    from ..sequential import Sequential

    Rules = Callable[[int, str | None], Rule]
    Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

__all__ = ["check_file", "load"]


class Readable(Protocol):
    """A binary file, or whatever reads like one."""

    def read(self, n: int, /) -> bytes | None: ...


class Writable(Protocol):
    """A binary file, or whatever writes like one."""

    def write(self, data: bytes, /) -> object: ...


MAX_NOTE = 1 << 20  # bytes, FA_MAX_NOTE in C


def load(
    file: Path | Readable | bytes | bytearray | memoryview,
    *,
    rule: Rule | Mapping[Any, Rule] | None = None,
    lr: Callable[[int], float] | None = None,
) -> Sequential:
    """A network from a file that ``net.save`` or the C library's ``fa_save`` wrote.

    It goes on bit for bit where the saved one stopped: parameters, feedback, optimizer state,
    dropout and shuffle alike. ``reset()`` starts it over from its seed, as it would have the other.

    Parameters
    ----------
    file : path-like, binary file or bytes
        The path of a plain file, taken as it is ("~" too). Or an object with ``read``, such as
        ``io.BytesIO``, a gzip file or a pipe opened by the caller: it is asked for the bytes of one
        network, from where it stands, and not for one more. Or what ``net.to_bytes()`` gave.
    rule : Rule or mapping of str or int to Rule, optional
        Only for networks with rules written in Python, which a file cannot hold: the object, or
        where they are several one for each class name. Where one class has several objects, one
        for each layer's index; -1 is the network's.
    lr : callable, optional
        Only for networks whose learning rate is a function of the step: that function.

    Returns
    -------
    Sequential

    Raises
    ------
    OSError
        The file cannot be read, or its path leads to a device, a pipe or a folder.
    ValueError
        It is no network, is damaged or comes from a newer version; or what a file cannot hold was
        not given.

    Examples
    --------
    >>> import fastfa as fa
    >>> net = fa.Sequential([fa.Dense(10)], input_shape=64, rng=0)
    >>> net.save("net.safetensors")  # doctest: +SKIP
    >>> net = fa.load("net.safetensors")  # doctest: +SKIP
    """
    from ..sequential import Sequential

    if lr is not None and not callable(lr):
        raise TypeError(f"lr must be a function lr(step) -> float, got {show(lr)}")
    name, engine = _opened(file)
    net = Sequential.__new__(Sequential)
    try:
        restore(net, engine, rule, lr)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return net


def check_file(path: Path) -> bool:
    """Whether a saved file is whole, without making a network of it.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    bool
        True: every bit is as it was written, which its checksum says. False: it has no checksum,
        as files of the first versions and of other programs; its parts fit together.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is damaged, cut or no network.
    """
    from .. import _core

    name = file_name(path)
    try:
        return _core.check_file(os.fsencode(name))
    except ValueError as error:
        raise ValueError(f"{plain(os.fsdecode(name))}: {error}") from None


def _opened(file: Any) -> tuple[str, Callable[[Rules], Network]]:
    """The name of the file for messages, and the source of its bytes for the engine."""
    from .._core import Network

    if isinstance(file, (bytearray, memoryview)) or (isinstance(file, bytes) and b"\0" in file):
        data = bytes(file)  # the bytes of every network have zeros, a path has none
        return "bytes", lambda rules: Network.load(data, rules)
    if not is_path(file) and hasattr(file, "read"):
        return show(file), lambda rules: Network.load_from(_reading(file), rules)
    name = file_name(file)
    return plain(os.fsdecode(name)), lambda rules: Network.load_path(os.fsencode(name), rules)


def _reading(file: Any) -> Callable[[int], bytes]:
    """A function that gives the next 1 to n bytes of a file."""
    taken = 0

    def read(n: int) -> bytes:
        nonlocal taken
        piece = None if isinstance(file, io.TextIOBase) else file.read(n)
        if isinstance(piece, str) or isinstance(file, io.TextIOBase):
            raise TypeError('file must be open in binary mode, "rb", got a text file')
        if piece is None:
            raise BlockingIOError(f"file: nothing to read yet after {taken} bytes; make it block")
        if not isinstance(piece, (bytes, bytearray, memoryview)) or len(piece) > n:
            raise TypeError(f"file: read({n}) must give at most {n} bytes, got {show(piece)}")
        if not piece:
            raise ValueError(f"expected the bytes of a network, got only {taken} bytes")
        taken += len(piece)
        return bytes(piece)

    return read


def write(file: Any, data: bytes) -> None:
    """All of `data` into a file that may take it in pieces."""
    if isinstance(file, io.TextIOBase):
        raise TypeError('file must be open in binary mode, "wb", got a text file')
    left: Any = data
    while left:
        n = file.write(left)
        if n is None and isinstance(file, io.RawIOBase):
            raise BlockingIOError(
                f"file: took {len(data) - len(left)} of {len(data)} bytes; make it block"
            )
        if n is None:  # many file-like objects return nothing
            return
        if not isinstance(n, int) or not 0 < n <= len(left):
            raise OSError(
                f"file: write must return how many of {len(left)} bytes it took, got {show(n)}"
            )
        left = memoryview(left)[n:]


def is_path(file: object) -> bool:
    """Whether `file` is a path."""
    return isinstance(file, (str, bytes)) or hasattr(file, "__fspath__")


def file_name(path: object) -> str | bytes:
    """`path` as the operating system takes it."""
    try:
        name: str | bytes = os.fspath(path)  # type: ignore[call-overload]
    except TypeError:
        raise TypeError(f"path must be a str or a path, got {show(path)}") from None
    if not name:
        raise ValueError(f"path must not be empty, got {show(path)}")
    if (b"\0" if isinstance(name, bytes) else "\0") in name:  # type: ignore[operator]
        raise ValueError(f"path must not contain a zero byte, got {show(path)}")
    return name


def check_folder(path: str | bytes | os.PathLike[str]) -> None:
    """Refuse a file to be written whose folder does not exist."""
    folder = os.path.dirname(os.fsdecode(path))
    try:
        os.stat(os.path.join(folder, "."))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            error.errno, f"no directory {folder!r}, make it first", os.fsdecode(path)
        ) from None


def restore(
    net: Sequential,
    engine_of: Callable[[Rules], Network],
    rule: Rule | Mapping[Any, Rule] | None,
    lr: Callable[[int], float] | None,
) -> None:
    """Make the empty object `net` the network that a file describes."""
    rules = _Rules(rule)
    engine = engine_of(rules)
    if rule and not rules.asked:
        raise ValueError("rule: it has no rule that is written in Python; give none")
    rates = _read_note(engine.note).get("lr")
    if rates is not None and lr is None:
        raise ValueError(
            f"lr: its learning rate is a function of the step, {plain(rates['function'])}, which a "
            "file cannot hold; give the function: load(path, lr=...)"
        )
    if rates is None and lr is not None:
        raise ValueError("lr: its learning rate is a number; set net.lr after loading")
    net._restore(engine, lr)
    columns = _columns_of(_read_note(engine.note))
    net._door.columns = columns.that_fit(engine.n_in, engine.n_out)
    if rates is not None and not rates["in force"]:
        net._schedule = None


class _Rules:
    """Finds the object for each rule that is written in Python."""

    def __init__(self, given: Rule | Mapping[Any, Rule] | None) -> None:
        self.given = given
        self.asked = False

    def __call__(self, layer: int, note: str | None) -> Rule:
        """Of a layer, or -1: of the network."""
        self.asked = True
        names = _read_note(note).get("rules", {})
        name = names.get(str(layer), names.get("-1", "its class is unknown"))
        shown = plain(name)
        given = self.given
        if isinstance(given, Mapping):
            rule = given.get(layer if str(layer) in names else -1, given.get(name))
        else:
            rule = given
        if rule is None:
            raise ValueError(
                f"rule: one of its rules is written in Python ({shown}), which a file cannot hold; "
                "give the object: load(path, rule=...), or one for each class name"
            )
        if not isinstance(rule, Rule) or not is_custom(rule):
            raise TypeError(f"rule must be an object of the class {shown}, got {show(rule)}")
        if rule is given and names and type(rule).__name__ != name:
            raise ValueError(f"rule must be an object of the class {shown}, got {show(rule)}")
        return rule


# ---- the note ----------------------------------------------------------------------------------


def write_note(net: Sequential) -> None:
    """Put into the engine's note what its file cannot say.

    A note that another program wrote stays, unless the network could not be loaded without ours.
    """
    before = net._engine.note
    mine = _note_of(net)
    needed = mine.keys() - {"columns"}
    if before and not _read_note(before):
        if not needed:
            return
    elif not mine and not before:
        return
    note = json.dumps({"fastfa": mine})
    if len(note) > MAX_NOTE:  # of long names of columns
        note = json.dumps({"fastfa": {key: mine[key] for key in needed}})
    net._engine.note = note if mine else None


def _note_of(net: Sequential) -> dict[str, Any]:
    rates = {"function": show(net.optimizer.lr), "in force": net._schedule is not None}
    python = {
        "rules": {str(layer): type(each).__name__ for layer, each in _places(net)},
        "lr": rates if callable(net.optimizer.lr) else None,
        "columns": net._door.columns if any(net._door.columns) else None,
    }
    return {key: value for key, value in python.items() if value}


def _columns_of(note: Mapping[str, Any]) -> Columns:
    """Names of columns that a note holds; none where it holds something else."""
    columns = note.get("columns")
    if not isinstance(columns, list) or len(columns) != 2:
        return Columns()
    x, y = (
        tuple(each) if isinstance(each, list) and set(map(type, each)) <= {str, int} else None
        for each in columns
    )
    return Columns(x, y)


def custom_rules(net: Sequential) -> dict[int, Rule]:
    """The rules of a network that are written in Python, by layer; -1: the network's."""
    return dict(_places(net))


def _places(net: Sequential) -> list[tuple[int, Rule]]:
    rules = [(i, layer.rule) for i, layer in enumerate(net.layers) if isinstance(layer, Dense)]
    return [(i, each) for i, each in [(-1, net.rule), *rules]
            if isinstance(each, Rule) and is_custom(each)]  # fmt: skip


def _read_note(note: str | None) -> dict[str, Any]:
    """What `_note_of` wrote, {} for no note or another program's; ValueError for a bad one."""
    try:
        python = json.loads(note or "{}")["fastfa"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    names, rates = _part(python, "rules") or {}, _part(python, "lr")
    if not all(isinstance(name, str) for name in names.values()):
        raise ValueError("note: expected the names of classes at 'rules', got something else")
    if rates is not None:
        how = rates.get("function"), rates.get("in force")
        if not isinstance(how[0], str) or not isinstance(how[1], bool):
            raise ValueError(f"note: expected a name and a flag at 'lr', got {show(rates)}")
    columns = python.get("columns") if isinstance(python, dict) else None
    return {"rules": names, "lr": rates, "columns": columns}


def _part(python: object, key: str) -> dict[str, Any] | None:
    part = python.get(key) if isinstance(python, dict) else python
    if part is not None and not isinstance(part, dict):
        raise ValueError(f"note: expected an object at 'fastfa', {key!r}, got {show(part)}")
    return part

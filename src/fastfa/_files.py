"""Networks and their files: what `Sequential.save`, `load` and pickle share.

The engine's file has everything but Python objects. What stands for those, the names of rules
written in Python and whether the learning rate is a function, goes into the file's note, and so do
the names of the columns of tables that the network was trained on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ._checks import show
from ._data import Columns
from .layers import Dense
from .rules import Rule, is_custom

if TYPE_CHECKING:
    from .sequential import Sequential

__all__ = ["load"]

MAX_NOTE = 1 << 20  # bytes, FA_MAX_NOTE in C


def load(
    path: str | os.PathLike[str],
    *,
    rule: Rule | Mapping[Any, Rule] | None = None,
    lr: Callable[[int], float] | None = None,
) -> Sequential:
    """A network from a file that ``net.save`` or the C library's ``fa_save`` wrote.

    It goes on bit for bit where the saved one stopped: parameters, feedback, optimizer state,
    dropout and shuffle alike. ``reset()`` starts it over from its seed, as it would have the other.

    Parameters
    ----------
    path : path-like
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
        The file cannot be read.
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
    from .sequential import Sequential

    name = file_name(path)
    if lr is not None and not callable(lr):
        raise TypeError(f"lr must be a function lr(step) -> float, got {show(lr)}")
    with open(name, "rb") as file:
        data = file.read()
    net = Sequential.__new__(Sequential)
    try:
        restore(net, data, rule, lr)
    except ValueError as error:
        raise ValueError(f"{os.fsdecode(name)}: {error}") from None
    return net


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
    data: bytes,
    rule: Rule | Mapping[Any, Rule] | None,
    lr: Callable[[int], float] | None,
) -> None:
    """Make the empty object `net` the network that `data`, the bytes of a file, describes."""
    from ._core import Network

    rules = _Rules(rule)
    engine = Network.load(data, rules)
    if rule and not rules.asked:
        raise ValueError("rule: it has no rule that is written in Python; give none")
    rates = _read_note(engine.note).get("lr")
    if rates is not None and lr is None:
        raise ValueError(
            f"lr: its learning rate is a function of the step, {rates.get('function')}, which a "
            "file cannot hold; give the function: load(path, lr=...)"
        )
    if rates is None and lr is not None:
        raise ValueError("lr: its learning rate is a number; set net.lr after loading")
    net._restore(engine, lr)
    net._door.columns = _columns_of(_read_note(engine.note))
    if rates is not None and not rates.get("in force"):
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
        given = self.given
        if isinstance(given, Mapping):
            rule = given.get(layer if str(layer) in names else -1, given.get(name))
        else:
            rule = given
        if rule is None:
            raise ValueError(
                f"rule: one of its rules is written in Python ({name}), which a file cannot hold; "
                "give the object: load(path, rule=...), or one for each class name"
            )
        if not isinstance(rule, Rule) or not is_custom(rule):
            raise TypeError(f"rule must be an object of the class {name}, got {show(rule)}")
        if rule is given and names and type(rule).__name__ != name:
            raise ValueError(f"rule must be an object of the class {name}, got {show(rule)}")
        return rule


# ---- the note ----------------------------------------------------------------------------------


def write_note(net: Sequential) -> None:
    """Put into the engine's note what its file cannot say.

    Somebody else's note stays, unless the network could not be loaded without ours.
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
    try:
        python = json.loads(note or "{}")["fastfa"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}  # none, or a note of somebody else's
    return python if isinstance(python, dict) else {}

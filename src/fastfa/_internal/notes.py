"""What the file of a network says beyond the engine's data, in its note.

The engine's file has everything but Python objects. The note says which rules are written in
Python, whether the loss or the learning rate is a function, or which schedule the rate follows, the
names of the columns of the tables that the network was trained on, and whether images are given
with their channels first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..layers import WeightedLayer
from ..losses import CUSTOM, loss_name
from ..rules import Rule
from ..rules.base import is_custom
from ..schedules import Plateau, PlateauRecord, Schedule, schedule_from
from .checks import show
from .own_loss import name_of
from .samples import Columns

if TYPE_CHECKING:
    from .model import Model

LAST = "channels_last"  # the format of images that is not noted
MAX_NOTE = 1 << 20  # bytes, FA_MAX_NOTE in C


def write_note(net: Model) -> None:
    """Write the note of a network's file.

    A note of another program stays, unless the network could not be loaded without ours.
    """
    import json  # here and below: most programs that import fastfa read and write no file

    before = net._engine.note
    ours = _note_of(net)
    needed = ours.keys() - {"columns"}
    if before and not read_note(before):
        if not needed:
            return
    elif not ours and not before:
        return
    note = json.dumps({"fastfa": ours})
    if len(note) > MAX_NOTE:  # because of long column names
        note = json.dumps({"fastfa": {key: ours[key] for key in needed}})
    net._engine.note = note if ours else None


def _note_of(net: Model) -> dict[str, Any]:
    python = {
        "rules": {str(layer): type(each).__name__ for layer, each in _places(net)},
        **_rates_of(net),
        "loss": name_of(net.loss) if loss_name(net.loss) == CUSTOM else None,
        "columns": net._validator.columns if any(net._validator.columns) else None,
        "data_format": None if net.data_format == LAST else net.data_format,
    }
    return {key: value for key, value in python.items() if value or key == "in force"}


def _rates_of(net: Model) -> dict[str, Any]:
    """The learning rate, where it is not a number: a function by its name, or plain data."""
    lr, force = net.optimizer.lr, net._schedule is not None or net._plateau is not None
    if isinstance(lr, (Schedule, Plateau)):
        record = {} if net._plateau is None else {"record": net._plateau.as_list()}
        return {"schedule": lr.describe(), "in force": force, **record}
    return {"lr": {"function": show(lr), "in force": force}} if callable(lr) else {}


def columns_of(note: Mapping[str, Any]) -> Columns:
    """The names of columns in a note; none if the note has something else there."""
    columns = note.get("columns")
    if not isinstance(columns, list) or len(columns) != 2:
        return Columns()
    x, y = (
        tuple(each) if isinstance(each, list) and set(map(type, each)) <= {str, int} else None
        for each in columns
    )
    return Columns(x, y)


def data_format_of(note: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    """Where the images of a network have their channels; of rows of numbers nothing is noted."""
    return note.get("data_format", LAST) if "input_shape" in description else LAST


def custom_rules(net: Model) -> dict[int, Rule]:
    """The rules of a network that are written in Python, by layer; -1 for the network's rule."""
    return dict(_places(net))


def _places(net: Model) -> list[tuple[int, Rule]]:
    rules = [
        (i, layer.rule) for i, layer in enumerate(net.layers) if isinstance(layer, WeightedLayer)
    ]
    return [(i, each) for i, each in [(-1, net.rule), *rules]
            if isinstance(each, Rule) and is_custom(each)]  # fmt: skip


def read_note(note: str | None) -> dict[str, Any]:
    """The content of a note: {} without one of fastfa; ValueError if it is malformed."""
    import json

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
    loss = python.get("loss") if isinstance(python, dict) else None
    if not isinstance(loss, (str, type(None))):
        raise ValueError(f"note: expected a name at 'loss', got {show(loss)}")
    form = (isinstance(python, dict) and python.get("data_format")) or LAST
    if form not in (LAST, "channels_first"):
        raise ValueError(f"note: expected channels_first at 'data_format', got {show(form)}")
    found = {"rules": names, "lr": rates, "columns": columns, "loss": loss, "data_format": form}
    return found | _read_schedule(python)


def _read_schedule(python: object) -> dict[str, Any]:
    """The schedule of a note, whether it is in force, and the record of a `Plateau`."""
    if not isinstance(python, dict) or "schedule" not in python:
        return {}
    force, record = python.get("in force"), python.get("record", [None, 0, 0])
    try:
        schedule = schedule_from(python["schedule"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"note: expected a schedule, got another object; {error}") from None
    kept = isinstance(record, list) and len(record) == 3 and all(
        each is None or (isinstance(each, (int, float)) and math.isfinite(each)) for each in record
    )  # fmt: skip
    if not isinstance(force, bool) or not kept:
        raise ValueError(f"note: expected a flag and three numbers, got {show([force, record])}")
    found = PlateauRecord(schedule, record) if isinstance(schedule, Plateau) else None
    return {"schedule": schedule, "in force": force, "record": found}


def _part(python: object, key: str) -> dict[str, Any] | None:
    part = python.get(key) if isinstance(python, dict) else python
    if part is not None and not isinstance(part, dict):
        raise ValueError(f"note: expected an object at 'fastfa', {key!r}, got {show(part)}")
    return part

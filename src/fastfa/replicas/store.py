"""The file in which a sweep keeps what is finished, one line of JSON for each network."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from .._internal.checks import Described, mismatch, show
from .._internal.paths import check_folder, file_name
from .._internal.text_files import append_lines, is_json
from ..callbacks import History
from .jobs import Job
from .results import Replica

__all__ = ["Finished"]

FIT = ("epochs", "batch_size", "shuffle", "class_weight", "validation_split", "augment")
KEYS = ("setting", "fit", "epoch", "history", "result")


class Finished:
    """The finished networks of a file, by setting.

    Parameters
    ----------
    path : path-like
    fit : mapping
        The arguments of ``fit``: a network that was trained with others is none of these.
    """

    def __init__(self, path: object, fit: Mapping[str, Any]) -> None:
        self.path = os.fsdecode(file_name(path))
        check_folder(self.path)
        own = {key: fit[key] for key in FIT if fit.get(key) is not None}
        self.fit = json.loads(_text("fit", {"epochs": 1, "batch_size": 32, "shuffle": True} | own))
        self.rows: dict[str, list[dict[str, Any]]] = {}
        for row in self._read():
            if row["fit"] == self.fit:
                self.rows.setdefault(_text("setting", row["setting"]), []).append(row)

    def _read(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        with suppress(FileNotFoundError), open(self.path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith("\n") and not is_json(line):
                    break  # of a process that was killed
                try:
                    row = json.loads(line)
                    if not isinstance(row, dict) or not {*KEYS} <= {*row}:
                        raise ValueError
                except ValueError:
                    raise ValueError(
                        f"path: expected lines that fit_replicas wrote, got line {number} of "
                        f"{show(self.path)}; choose another file"
                    ) from None
                rows.append(row)
        return rows

    def take(self, job: Job) -> bool:
        """Give a job what the file has of its setting; False if it has nothing."""
        rows = self.rows.get(_text(job.name, job.setting))
        if not rows:
            return False
        row, history = rows.pop(0), History()
        history.epoch, history.history = row["epoch"], row["history"]
        replica = Replica(job.setting, None, history)  # type: ignore[arg-type]
        replica.result = row["result"]
        job.take(replica)
        return True

    def add(self, job: Job) -> None:
        """Append a finished job."""
        row = {
            "setting": json.loads(_text(job.name, job.setting)),
            "fit": self.fit,
            "epoch": job.history.epoch,
            "history": job.history.history,
            "result": json.loads(_text("result", job.result, False)),
        }
        append_lines(self.path, json.dumps(row) + "\n", is_json)


def _text(name: str, value: object, sort_keys: bool = True) -> str:
    try:
        return json.dumps(value, sort_keys=sort_keys, default=_plain)
    except (TypeError, ValueError) as error:
        raise TypeError(
            mismatch(name, "numbers, texts, lists and mappings with path=", show(value), str(error))
        ) from None


def _plain(value: object) -> object:
    """What JSON can hold in place of a value: NumPy's numbers, and descriptions as their calls."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Described) and "<" not in repr(value):
        return repr(value)
    raise TypeError(mismatch("JSON", "a value that it can hold", show(value)))

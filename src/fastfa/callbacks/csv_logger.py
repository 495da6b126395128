"""Writing the logs of each epoch into a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._internal.checks import flag, show
from .._internal.paths import check_folder, file_name
from .._internal.progress import warn
from .._internal.text_files import append_lines, first_line
from .base import RecordingCallback, file_key

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from .._internal.model import Model


class CSVLogger(RecordingCallback):
    """Write one line of comma-separated values for each epoch: its number, then its logs.

    The file is complete after every epoch, so that an interrupted training leaves all its epochs.
    If the file cannot be written, for example on a full disk, there is a warning, training
    continues, and the lines are written as soon as that is possible.

    Parameters
    ----------
    path : path-like
        The first ``fit`` with this object replaces the file; later ones append to it.
    append : bool, default False
        Append to a file that exists. If a killed training left the last line incomplete, that line
        is removed.

    Raises
    ------
    OSError
        From ``fit``, before its first step: the file cannot be written.
    ValueError
        From ``fit``, before its first step: the file has other columns.
    """

    _SETTINGS = ("path",)

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path = os.fsdecode(file_name(path))
        self.append = flag("append", append)
        self._columns: list[str] = []
        self._rows: list[list[float]] = []  # not in the file yet
        self._warned = False

    def __repr__(self) -> str:
        return f"CSVLogger({self.path!r})"

    def _resources(self) -> dict[Hashable, str]:
        return super()._resources() | file_key(self.path)

    def _check_logs(self, logs: Mapping[str, float]) -> None:
        check_folder(self.path)
        self._columns = ["epoch", *logs]
        found = first_line(self.path) if self.append else ""
        if not _line(self._columns).startswith(found):  # it may be incomplete
            raise ValueError(
                f"{self.path}: expected the columns {', '.join(self._columns)}, "
                f"got {show(', '.join(found.rstrip().split(',')))[1:-1]}"
            )

    def on_train_begin(self, net: Model) -> None:
        """Start the file; an error comes now, not after the first epoch."""
        self._warned = False
        if not self.append:
            with open(self.path, "wb"):
                self.append = True
        self._write()

    def on_epoch_end(self, net: Model, epoch: int, logs: Mapping[str, float]) -> None:
        """Write the epoch's line."""
        self._rows = [*self._rows, [epoch, *logs.values()]]
        try:
            self._write()
        except OSError as error:
            if not self._warned:
                self._warned = True
                warn(
                    f"CSVLogger: {self.path!r} cannot be written, its lines are kept and tried "
                    f"again after each epoch; training goes on: {error}"
                )

    def _write(self) -> None:
        """Write all rows that the file does not have yet, or none."""
        head = "" if first_line(self.path).endswith("\n") else _line(self._columns)
        append_lines(self.path, head + "".join(map(_line, self._rows)), self._is_whole)
        self._rows = []

    def _is_whole(self, line: str) -> bool:
        return line.count(",") == len(self._columns) - 1 and line != _line(self._columns)[:-1]


def _line(cells: Sequence[object]) -> str:
    import csv  # here, so that importing fastfa imports little but NumPy
    from io import StringIO

    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()

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

    The file is complete after every epoch, so that a training that dies leaves what it did. Should
    it become impossible to write, on a full disk for example, a warning says so, training goes on,
    and the lines follow as soon as they can.

    Parameters
    ----------
    path : path-like
        Started anew by the first ``fit`` that this object sees; later ones go on.
    append : bool, default False
        Go on in a file that is there already. A last line that a killed training left incomplete is
        taken away.

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
        self._rows: list[list[float]] = []  # that are not in the file
        self._warned = False

    def __repr__(self) -> str:
        return f"CSVLogger({self.path!r})"

    def _holds(self) -> dict[Hashable, str]:
        return super()._holds() | file_key(self.path)

    def _expect(self, logs: Mapping[str, float]) -> None:
        check_folder(self.path)
        self._columns = ["epoch", *logs]
        found = first_line(self.path) if self.append else ""
        if not _line(self._columns).startswith(found):  # it may be torn
            raise ValueError(
                f"{self.path}: expected the columns {', '.join(self._columns)}, "
                f"got {show(', '.join(found.rstrip().split(',')))[1:-1]}"
            )

    def on_train_begin(self, net: Model) -> None:
        """Start the file, before hours of work that could not be written."""
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
        """All rows that the file does not have yet, or none."""
        head = "" if first_line(self.path).endswith("\n") else _line(self._columns)
        append_lines(self.path, head + "".join(map(_line, self._rows)), self._is_whole)
        self._rows = []

    def _is_whole(self, line: str) -> bool:
        return line.count(",") == len(self._columns) - 1 and line != _line(self._columns)[:-1]


def _line(cells: Sequence[object]) -> str:
    import csv  # here, so that importing fastfa imports NumPy and little else
    from io import StringIO

    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()

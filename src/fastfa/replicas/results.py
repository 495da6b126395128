"""What `fit_replicas` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .._internal.checks import kind, show
from ..callbacks import History
from ..sequential import Sequential

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Replica", "Replicas"]

MAX_SHOWN = 50  # rows of the table that a notebook shows


class _Fields(NamedTuple):
    setting: Mapping[str, Any]
    net: Sequential
    history: History


class Replica(_Fields):
    """One of the networks that `fit_replicas` trained: ``setting, net, history = replica``.

    Attributes
    ----------
    setting : mapping
        The arguments of `build`.
    net : Sequential
        None if it was not built, if ``result`` was given, if an earlier call trained it, or if it
        diverged in a worker of an executor.
    history : History
        The complete epochs.
    result : object
        What the function ``result`` returned for it; else None.
    error : BaseException or None
        The exception that ended its training early; None: it finished.
    """

    result: Any = None
    error: BaseException | None = None

    def __repr__(self) -> str:
        failed = "" if self.error is None else f", error={self.error!r}"
        return f"{super().__repr__()[:-1]}{failed})"


class Replicas(list[Replica]):
    """The list that `fit_replicas` returns; a notebook shows it as a table.

    The table has a row for each network: its setting, epochs, last logs and error.
    """

    def to_frame(self) -> pd.DataFrame:
        """A row for each network: its setting, epochs, last logs, result and error.

        Returns
        -------
        pandas.DataFrame
            A result that is a mapping has a column for each key.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas") from error
        return pd.DataFrame(_rows(self))

    def _repr_html_(self) -> str:
        from .._internal.html import html_table  # here, so that the import of fastfa stays short

        rows = _rows(self[:MAX_SHOWN])
        names = list(rows[0]) if rows else []
        numbers = [i for i, name in enumerate(names, 1) if all(_is_number(r[name]) for r in rows)]
        shown = [[str(i), *(_cell(*each) for each in row.items())] for i, row in enumerate(rows)]
        more = len(self) - len(rows)
        return html_table(["#", *map(str, names)], shown, [0, *numbers]) + (
            f"<p>{more} more</p>" if more else ""
        )


def _rows(replicas: Sequence[Replica]) -> list[dict[str, Any]]:
    """The values of all replicas, by the names of the columns; None where one has no such value."""
    parts = [_parts(each) for each in replicas]
    names = dict.fromkeys(
        name for group in zip(*parts, strict=True) for part in group for name in part
    )
    return [{name: _first(part, name) for name in names} for part in parts]


def _parts(replica: Replica) -> tuple[Mapping[str, Any], ...]:
    """Setting, epochs, last logs, result and error, each by the names of its columns."""
    setting = replica.setting if isinstance(replica.setting, Mapping) else {}
    logs = {key: values[-1] for key, values in replica.history.history.items() if values}
    result = replica.result if isinstance(replica.result, Mapping) else {"result": replica.result}
    error = {} if replica.error is None else {"error": f"{kind(replica.error)}: {replica.error}"}
    epochs = {"epochs": len(replica.history.epoch)}
    return setting, epochs, logs, {} if replica.result is None else result, error


def _first(parts: Sequence[Mapping[str, Any]], name: str) -> object:
    return next((part[name] for part in parts if name in part), None)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _cell(name: str, value: object) -> str:
    """A value for the table of a notebook."""
    if value is None:
        return ""
    if name == "error":
        return str(value)
    return f"{value:.4g}" if isinstance(value, float) else show(value)

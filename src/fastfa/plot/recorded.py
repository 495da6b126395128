"""What histories and records of callbacks hold, as arrays by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._internal.checks import entries, show

if TYPE_CHECKING:
    from numpy.typing import NDArray


def by_name(argument: str, value: object, kind: type) -> dict[str, list[Any]]:
    """Lists of one or several of a kind, by name."""
    if not isinstance(value, Mapping):
        hint = '; name them: {"a name": [...]}' if isinstance(value, Sequence) else ""
        raise TypeError(
            f"{argument}: expected one {kind.__name__} or a mapping of names to them, "
            f"got {show(value)}{hint}"
        )
    named = {}
    expected = f"one {kind.__name__} or a list of them"
    for name, of in value.items():
        where = f"{argument}[{show(name)}]"
        named[name] = entries(where, of, expected) if isinstance(of, Sequence) else [of]
        if not named[name] or not all(isinstance(one, kind) for one in named[name]):
            raise TypeError(f"{where}: expected {expected}, got {show(of)}")
    return named


def stack(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Rows of different lengths (early stopping) as one array; short ones end in nan."""
    array = np.full((len(rows), max(map(len, rows))), math.nan)
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return array

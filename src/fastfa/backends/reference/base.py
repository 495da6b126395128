"""Types of the oracle, and the one way it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Maybe = Array | None
Spec = dict[str, Any]  # a part of the description


def pick(a: Maybe, rows: Array) -> Maybe:
    """Some rows of an array that may not be there."""
    return None if a is None else a[rows]


def require(ok: Any, argument: str, expected: str, got: Any) -> None:
    """Raise the ValueError that names argument, expected and got."""
    if not ok:
        raise ValueError(f"{argument}: expected {expected}, got {got}")

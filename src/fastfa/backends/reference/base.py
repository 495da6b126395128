"""Types that the modules of the oracle share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Maybe = Array | None
Spec = dict[str, Any]  # a part of the description


def rows_of(a: Maybe, rows: Array) -> Maybe:
    """Some rows of an array that may not be there."""
    return None if a is None else a[rows]

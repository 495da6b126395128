"""What the products of a network round their operands to."""

from __future__ import annotations

from typing import Any

from .._core import build_info
from .checks import warn

__all__ = ["describe_compute", "warn_of_compute"]

_warned = False


def describe_compute(compute: str) -> dict[str, Any]:
    """The part of a description that says so: nothing for float32."""
    return {} if compute == "float32" else {"compute": compute}


def warn_of_compute(compute: str) -> None:
    """Say once that bfloat16 saves no time on this processor."""
    global _warned
    if compute == "float32" or _warned or build_info()["bfloat16"] != "portable":
        return
    _warned = True
    warn(
        'compute="bfloat16": this processor has no instructions for it (AVX512_BF16 or AMX), so '
        "training takes longer than in float32; the numbers are rounded alike"
    )

"""Options of rules, layers and optimizers, checked by the table that the library has of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

from .._core import options
from .checks import Described, flag, integer, number, text

if TYPE_CHECKING:
    from .._core import Option


def check_options(
    of: Described, kind: str, name: str, hints: Mapping[str, str] | None = None
) -> None:
    """Store the checked values of those fields that are options of the library.

    Parameters
    ----------
    of : Described
        A rule, layer or optimizer whose fields have their values.
    kind : {"rule", "layer", "optimizer"}
    name : str
        Its name in the library.
    hints : mapping of str to str, optional
        What to do instead, by the name of the option with the wrong value.
    """
    defaults = {each.name: each.default for each in fields(of)}  # type: ignore[arg-type]
    for option in options(kind, name):
        field = option["name"]
        if field in defaults:
            hint = (hints or {}).get(field, "")
            value = _checked(option, getattr(of, field), defaults[field], hint)
            of._set(**{field: value})


def _checked(option: Option, value: object, default: object, hint: str) -> object:
    """The value if it is within the bounds of the option.

    A field whose default is None has None for the default of the library. A default that is the
    lowest value stands for a choice of the library and is no value in Python.
    """
    name, low, high = option["name"], option["low"], option["high"]
    if value is None and default is None:
        return None
    if option["kind"] == "flag":
        return flag(name, value)
    if option["kind"] == "integer":
        least = int(low) + (default is None and option["default"] == low)
        return integer(name, value, least, None if math.isinf(high) else int(high), hint)
    if option["kind"] == "text":
        return text(name, value)
    bounds = {
        "above" if option["low_excluded"] else "low": low,
        "below" if option["high_excluded"] else "high": high,
    }
    return number(name, value, hint=hint, **bounds)

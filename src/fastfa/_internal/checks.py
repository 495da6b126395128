"""Checks of single arguments, and the printed form of the small objects that describe a network.

Every message names the argument, what was expected and what came: ``TypeError`` for the wrong kind
of thing, ``ValueError`` for a wrong value. What arrays hold is for `arrays` and `validation`.
"""

from __future__ import annotations

import math
import operator
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields

import numpy as np

INT64_MAX = 2**63 - 1
_TOO_LARGE = "an int that no float can hold"
MAX_NAME = 100  # characters of a wrong name that are compared with the right ones
# What other libraries call things, for hints.
_OTHER_NAMES = {
    "xavier": "glorot",
    "kaiming": "he",
    "gaussian": "normal",
    "bce": "sigmoid_cross_entropy",
}


class Described:
    """Base of the immutable descriptions: prints as the call that makes it, defaults left out."""

    def __repr__(self) -> str:
        shown = []
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            if field.default is MISSING:
                shown.append(show(value))
            elif isinstance(value, np.ndarray) or value != field.default:
                shown.append(f"{field.name}={show(value)}")
        return f"{kind(self)}({', '.join(shown)})"

    def _set(self, **values: object) -> None:
        """Store checked values: the only place that writes to a frozen object."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def show(value: object) -> str:
    """Repr of an argument, short enough for one line; an array shows its shape."""
    if isinstance(value, np.ndarray):
        return f"<array {'x'.join(map(str, value.shape))}>"
    try:
        named = callable(value) and hasattr(value, "__name__")
        text = plain(str(value.__name__) if named else repr(value))  # type: ignore[attr-defined]
    except Exception:  # an error in its repr would hide ours
        text = f"<{kind(value)}>"
    return text if len(text) <= 80 else text[:77] + "..."


def quote(text: str) -> str:
    """Text of a caller's in a message, in double quotes."""
    return f'"{show(str.__str__(text))[1:-1]}"'


def plain(text: str) -> str:
    """`text` for a terminal: what that would obey or hide is written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def kind(value: object) -> str:
    """Name of the class of a value, as `plain`."""
    return plain(type(value).__name__)


def integer(name: str, value: object, low: int, high: int | None = None, why: str = "") -> int:
    """`value` as an int in low..high (both included)."""
    expected = f"an integer >= {low}" if high is None else f"an integer from {low} to {high}"
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be {expected}, got {show(value)}")
    try:
        result = int.__pos__(operator.index(value))  # what derives from int may compare otherwise
    except TypeError:  # an array has __index__, but only a 0-d one of integers can use it
        raise TypeError(f"{name} must be {expected}, got {show(value)}") from None
    if result < low or result > (INT64_MAX if high is None else high):
        if high is None and result > low:
            expected = f"an integer from {low} to {INT64_MAX}"
        got = result if abs(result) < 10**30 else "an int of more than 30 digits"
        raise ValueError(f"{name} must be {expected}, got {got}{why}")
    return result


def number(
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """`value` as a finite float with value >= low, value > above and value < below."""
    is_number = not isinstance(value, bool) and isinstance(
        value, (int, float, np.integer, np.floating)
    )
    if is_number:
        try:
            result = float(value)  # type: ignore[arg-type]
        except OverflowError:  # printing it could fail too
            result, value = math.inf, None
        except (TypeError, ValueError):  # of a class that derives from float
            result = math.nan
        if math.isfinite(result) and low <= result and above < result < below:
            return result
    bounds = [
        f"{sign} {bound:g}"
        for sign, bound in ((">=", low), (">", above), ("<", below))
        if math.isfinite(bound)
    ]
    expected = " ".join(["a finite number", " and ".join(bounds)]).strip()
    if not is_number:
        raise TypeError(f"{name} must be {expected}, got {show(value)}")
    got = show(value) if isinstance(value, int) else result if value is not None else _TOO_LARGE
    raise ValueError(f"{name} must be {expected}, got {got}")


def flag(name: str, value: object) -> bool:
    """`value` as True or False; nothing else passes."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {show(value)}")
    return bool(value)


def choice(name: str, value: object, valid: Iterable[str]) -> str:
    """`value` if it is one of `valid`; otherwise an error with the nearest valid name."""
    names = list(valid)
    if isinstance(value, str) and value in names:
        return names[names.index(value)]  # a plain str, whatever derives from it came
    expected = ", ".join(f'"{each}"' for each in names)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {expected}, got {show(value)}")
    close = nearest(value, names)
    raise ValueError(f"unknown {name} {quote(value)}{close}; expected one of {expected}")


def nearest(value: str, names: Sequence[str], cutoff: float = 0.55) -> str:
    """The one of `names` that may have been meant, as a question, or nothing."""
    from difflib import get_close_matches  # only a failing call pays for this import

    asked = value[:MAX_NAME].lower()
    for elsewhere, here in _OTHER_NAMES.items():
        asked = asked.replace(elsewhere, here)
    close = get_close_matches(asked, names, n=1, cutoff=cutoff)
    return f' (did you mean "{close[0]}"?)' if close else ""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and point to the line that called this package."""
    frame, level = sys._getframe(1), 2
    inside = (__name__.partition(".")[0], "numpy")  # which wraps functions under `errstate`
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in inside:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)

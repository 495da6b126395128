"""Checks of single arguments, and the printed form of the small objects that describe a network.

Every message has the grammar of `mismatch`. A wrong type is a ``TypeError``, a wrong value a
``ValueError``. The contents of arrays are checked in `arrays` and
`validation`.
"""

from __future__ import annotations

import math
import operator
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from typing import TypeVar

import numpy as np

T = TypeVar("T")
INT64_MAX = 2**63 - 1
_TOO_LARGE = "an int that no float can hold"
MAX_NAME = 100  # characters of an unknown name that are compared with the known ones


def mismatch(name: str, expected: str, got: object, hint: str = "") -> str:
    """The message for a wrong argument; `hint` says what to do or why."""
    return f"{name}: expected {expected}, got {got}" + (f"; {hint}" if hint else "")


class Described:
    """Base of the immutable descriptions: equal values make equal objects, with one hash.

    The repr is the call that makes it, without defaults.
    """

    def _values(self) -> tuple[object, ...]:
        """What makes two objects of one class equal."""
        return tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not type(self):
            return NotImplemented
        pairs = zip(self._values(), other._values(), strict=True)
        return all(_equal(mine, its) for mine, its in pairs)

    def __hash__(self) -> int:
        return hash((type(self), *map(_hashable, self._values())))

    def __repr__(self) -> str:
        shown = []
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            if field.default is MISSING:
                shown.append(show(value))
            elif not _equal(value, field.default):
                shown.append(f"{field.name}={show(value)}")
        return f"{kind(self)}({', '.join(shown)})"

    def _set(self, **values: object) -> None:
        """Store checked values; nothing else writes to a frozen object."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _equal(first: object, second: object) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.array_equal(first, second)
    arrays = isinstance(first, np.ndarray) or isinstance(second, np.ndarray)
    return not arrays and bool(first == second)


def _hashable(value: object) -> object:
    """`value`, or the contents of an array; 0.0 makes one of both zeros, which are equal."""
    return (value.shape, (value + 0.0).tobytes()) if isinstance(value, np.ndarray) else value


def show(value: object) -> str:
    """The repr of an argument, short enough for one line; of an array its shape."""
    if isinstance(value, np.ndarray):
        return f"<array {'x'.join(map(str, value.shape))}>"
    try:
        named = callable(value) and hasattr(value, "__name__")
        text = plain(str(value.__name__) if named else repr(value))  # type: ignore[attr-defined]
    except Exception:  # an error in its repr would hide the error to report
        text = f"<{kind(value)}>"
    return text if len(text) <= 80 else text[:77] + "..."


def counted(n: int, what: str) -> str:
    """A number of things: "1 layer", "2 layers"."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def quote(text: str) -> str:
    """Text from the caller for a message, in double quotes."""
    return f'"{show(str.__str__(text))[1:-1]}"'


def plain(text: str) -> str:
    """`text` for a terminal: control and invisible characters are written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def kind(value: object) -> str:
    """The name of the class of a value, in `plain` text."""
    return plain(type(value).__name__)


def integer(name: str, value: object, low: int, high: int | None = None, why: str = "") -> int:
    """`value` as an int in low..high (both included)."""
    expected = f"an integer >= {low}" if high is None else f"an integer from {low} to {high}"
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(mismatch(name, expected, show(value)))
    try:
        result = int.__pos__(operator.index(value))  # a subclass of int may compare differently
    except TypeError:  # arrays have __index__, but it works for 0-d integers only
        raise TypeError(mismatch(name, expected, show(value))) from None
    if result < low or result > (INT64_MAX if high is None else high):
        if high is None and result > low:
            expected = f"an integer from {low} to {INT64_MAX}"
        got = result if abs(result) < 10**30 else "an int of more than 30 digits"
        raise ValueError(mismatch(name, expected, got, why))
    return result


def number(
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    above: float = -math.inf,
    high: float = math.inf,
    below: float = math.inf,
    hint: str = "",
) -> float:
    """`value` as a finite float within the bounds; `low` and `high` are values themselves."""
    is_number = not isinstance(value, bool) and isinstance(
        value, (int, float, np.integer, np.floating)
    )
    if is_number:
        try:
            result = float(value)  # type: ignore[arg-type]
        except OverflowError:  # its repr could fail too
            result, value = math.inf, None
        except (TypeError, ValueError):  # from a subclass of float
            result = math.nan
        if math.isfinite(result) and low <= result <= high and above < result < below:
            return result
    bounds = [
        f"{sign} {bound:g}"
        for sign, bound in ((">=", low), (">", above), ("<=", high), ("<", below))
        if math.isfinite(bound)
    ]
    expected = " ".join(["a finite number", " and ".join(bounds)]).strip()
    if not is_number:
        raise TypeError(mismatch(name, expected, show(value)))
    got = show(value) if isinstance(value, int) else result if value is not None else _TOO_LARGE
    raise ValueError(mismatch(name, expected, got, hint))


def flag(name: str, value: object) -> bool:
    """`value` as True or False; anything else is an error."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(mismatch(name, "True or False", show(value)))
    return bool(value)


def text(name: str, value: object) -> str:
    """`value` as a plain str; anything else is an error."""
    if not isinstance(value, str):
        raise TypeError(mismatch(name, "a text", show(value)))
    return str.__str__(value)


def entries(name: str, values: Iterable[T], expected: str) -> list[T]:
    """The entries of a list or the like; `expected` says of what.

    Some types cannot be read although they claim to be sequences, such as a memoryview with two
    axes. What an iterator raises is its own, as in a loop over it.
    """
    if isinstance(values, Iterator):
        return list(values)
    try:
        return list(values)
    except Exception as error:
        raise TypeError(
            mismatch(name, expected, show(values), f"it cannot be read: {error}")
        ) from error


def choice(name: str, value: object, valid: Iterable[str]) -> str:
    """`value` if it is one of `valid`; otherwise an error that suggests the nearest name."""
    names = list(valid)
    if isinstance(value, str) and value in names:
        return names[names.index(value)]  # a plain str, even for a subclass
    expected = "one of " + ", ".join(f'"{each}"' for each in names)
    if not isinstance(value, str):
        raise TypeError(mismatch(name, expected, show(value)))
    raise ValueError(mismatch(name, expected, quote(value), nearest(value, names)))


def nearest(value: str, names: Sequence[str], cutoff: float = 0.55) -> str:
    """A question that suggests the name in `names` most like `value`, or ""."""
    from difflib import get_close_matches  # here, because only failing calls need it

    from .other_names import of_value, with_our_words

    asked = value[:MAX_NAME].lower()
    other = of_value(asked, names)
    close = [other] if other else get_close_matches(with_our_words(asked), names, 1, cutoff)
    return f'did you mean "{close[0]}"?' if close else ""


def check_keywords(name: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse keyword arguments that a function does not have, with the name that it has."""
    for each in given:
        if each not in known:
            from .other_names import of_argument

            other = of_argument(each, known)
            hint = f'did you mean "{other}"?' if other else nearest(each, known, 0.6)
            expected = "keyword arguments " + ", ".join(known)
            raise TypeError(mismatch(name, expected, quote(each), hint))


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called this package."""
    frame, level = sys._getframe(1), 2
    # NumPy wraps functions under `errstate`, scikit-learn the methods of estimators
    inside = (__name__.partition(".")[0], "numpy", "sklearn")
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in inside:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)

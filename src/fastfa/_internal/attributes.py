"""Which attributes may be assigned; an assignment that would have no effect is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

from .checks import nearest, quote

NEAR = 0.8  # similarity from which a name counts as a misspelling of another
OTHER_NAMES = {"learning_rate": "lr", "num_threads": "n_threads", "weights": "parameters"}


def refuse_unknown(of: object, name: str, known: Iterable[str], instead: str = "") -> None:
    """Raise for an attribute that nothing reads."""
    names = sorted(each for each in known if not each.startswith("_"))
    other = OTHER_NAMES.get(name)
    close = f'did you mean "{other}"?' if other in names else nearest(name, names)
    close = f" ({close})" if close else ""
    raise AttributeError(f"{type(of).__name__} has no attribute {quote(name)}{close}{instead}")


def refuse_fixed(of: object, name: str, hints: Mapping[str, str]) -> None:
    """Raise for an attribute that is read only when the object is made."""
    raise AttributeError(f"{type(of).__name__}.{name} is fixed when it is made; {hints[name]}")


def fix(*classes: type) -> None:
    """Make assignments to objects of frozen classes raise errors that say what to do instead.

    Subclasses that users write may have more attributes.
    """
    for each in classes:
        each.__setattr__ = _set  # type: ignore[method-assign, assignment]
        each.__delattr__ = _delete  # type: ignore[method-assign, assignment]


def _set(self: Any, name: str, value: object) -> None:
    _check_described(self, name)
    object.__setattr__(self, name, value)


def _delete(self: Any, name: str) -> None:
    _check_described(self, name)
    object.__delattr__(self, name)


def _check_described(of: Any, name: str) -> None:
    own = [each.name for each in fields(of)] if is_dataclass(of) else []
    if name in own:
        rate = "; the learning rate of a network is net.lr" if name == "lr" else ""
        raise FrozenInstanceError(
            f"{type(of).__name__}.{name} is fixed when it is made; make another one, "
            f"dataclasses.replace(old, {name}=...), and a network with it{rate}"
        )
    if type(of).__module__.partition(".")[0] == __name__.partition(".")[0]:
        refuse_unknown(of, name, own)


def check_callback(of: object, name: str, settings: Sequence[str]) -> None:
    """Refuse to change a setting of a built-in callback, and names that misspell one."""
    if name in settings and name in vars(of):
        raise AttributeError(
            f"{type(of).__name__}.{name} is fixed when it is made; make another {type(of).__name__}"
        )
    known = name in settings or name in vars(of) or hasattr(type(of), name)
    built_in = type(of).__module__.partition(".")[0] == __name__.partition(".")[0]
    if built_in and settings and not known and nearest(name, settings, NEAR):
        refuse_unknown(of, name, settings)

"""Which attributes may be assigned; an assignment that would have no effect is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import FrozenInstanceError, fields, is_dataclass
from functools import wraps
from typing import Any, TypeVar, cast

from .checks import check_keywords, nearest, quote

NEAR = 0.8  # similarity from which a name counts as a misspelling of another


def refuse_unknown(of: object, name: str, known: Iterable[str], instead: str = "") -> None:
    """Raise for an attribute that nothing reads."""
    from .other_names import of_argument  # here, because only failing calls need it

    names = sorted(each for each in known if not each.startswith("_"))
    other = of_argument(name, names)
    close = f'did you mean "{other}"?' if other else nearest(name, names)
    close = f" ({close})" if close else ""
    raise AttributeError(f"{type(of).__name__} has no attribute {quote(name)}{close}{instead}")


def refuse_fixed(of: object, name: str, hints: Mapping[str, str]) -> None:
    """Raise for an attribute that is read only when the object is made."""
    raise AttributeError(f"{type(of).__name__}.{name} is fixed when it is made; {hints[name]}")


F = TypeVar("F", bound=Callable[..., Any])


def hints_keywords(name: str) -> Callable[[F], F]:
    """A decorator of methods: an unknown keyword gets an error that says what it is called here."""

    def decorated(method: F) -> F:
        code = method.__code__
        known = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]  # without `self`

        @wraps(method)
        def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
            if not keywords.keys() <= known_set:
                check_keywords(name, keywords, known)
            return method(self, *arguments, **keywords)

        known_set = frozenset(known)
        return cast("F", call)

    return decorated


def fix(*classes: type) -> None:
    """Make errors say what to do: of assignments to frozen objects, and of unknown arguments.

    Subclasses that users write may have more attributes.
    """
    for each in classes:
        if "__init__" in vars(each) and is_dataclass(each):
            each.__init__ = hints_keywords(each.__name__)(each.__init__)  # type: ignore[method-assign]
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

"""All rules by name, and rules from names, objects and descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from .._core import NAMES, options
from .._internal.attributes import fix
from .._internal.checks import choice, kind, show
from ..feedback import Feedback
from . import (
    broadcast,
    chain,
    indirect,
    learned_feedback,
    local_head,
    noise,
    pepita,
    sign_symmetry,
    synthetic,
    targets,
)
from .base import Rule, is_custom

__all__ = ["RULES"]

_FAMILIES = (
    broadcast,
    chain,
    indirect,
    learned_feedback,
    local_head,
    noise,
    pepita,
    sign_symmetry,
    synthetic,
    targets,
)
_CLASSES: dict[str, type[Rule]] = {
    each.name: each
    for family in _FAMILIES
    for each in vars(family).values()
    if isinstance(each, type) and issubclass(each, Rule) and "name" in vars(each)
}
# In the order of the library, which has one more: the rules that users write.
RULES = {name: _CLASSES[name] for name in NAMES["rule"] if name != "custom"}
fix(Rule, *RULES.values())


def as_rule(name: str, value: object) -> Rule:
    """The rule that `value`, a rule or its name, stands for; `name` is the argument's."""
    if isinstance(value, Rule) and (type(value) in RULES.values() or is_custom(value)):
        return value
    if isinstance(value, str):
        return RULES[choice(name, value, RULES)]()
    hint = ""
    if isinstance(value, type) and issubclass(value, Rule):
        hint = f"; did you mean {show(value)}()?"
    elif isinstance(value, Rule):
        hint = f"; a rule of your own needs a method signal(ctx), and {kind(value)} has none"
    raise TypeError(
        f'{name}: expected a name or a rule such as "dfa" or DFA(), got {show(value)}{hint}'
    )


def rule_from(how: Mapping[str, Any]) -> Rule:
    """The rule that a description stands for."""
    if how["name"] == "custom":
        rule: Rule = how["custom"]
        return rule
    kind: Any = RULES[how["name"]]
    values: dict[str, Any] = {}
    for each in fields(kind):
        if each.name == "feedback":
            values["feedback"] = _feedback_from(how["feedback"])
        elif each.name == "scale":
            values["scale"] = how["feedback"]["scale"]
        elif each.default is None and how[each.name] == _default(kind.name, each.name):
            values[each.name] = None
        else:
            values[each.name] = how[each.name]
    result: Rule = kind(**values)
    return result


def _default(rule: str, option: str) -> object:
    """The default of the library, for which a field may have None."""
    return next(row["default"] for row in options("rule", rule) if row["name"] == option)


def _feedback_from(how: Mapping[str, Any]) -> Feedback:
    """The feedback of a description."""
    return Feedback(
        how.get("values", how.get("distribution")),
        scale=how["scale"],
        sparsity=how["sparsity"],
        rank=how["rank"],
        shared=how["shared"],
    )

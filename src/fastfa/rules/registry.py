"""All rules by name, and rules from names, objects and descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from .._internal.attributes import fix
from .._internal.checks import choice, kind, show
from ..feedback import Feedback
from .base import Rule, is_custom
from .broadcast import DFA, DRTP, SDFA, BroadcastRule, Ternary
from .chain import FA, Backprop, Frozen
from .indirect import IFA
from .learned_feedback import DKP, KP, LDFA
from .local_head import Local
from .pepita import PEPITA
from .sign_symmetry import BRSF, FRSF, USF

__all__ = ["RULES"]

_ALL = (
    Backprop, FA, DFA, SDFA, DRTP, USF, FRSF, BRSF, KP, DKP, Ternary, IFA, LDFA, Local, PEPITA,
    Frozen,
)  # fmt: skip
RULES: dict[str, type[Rule]] = {rule.name: rule for rule in _ALL}
fix(Rule, *_ALL)


def can_inject_before(rule: Rule) -> bool:
    """Whether the rule has the option ``inject="pre"``."""
    return isinstance(rule, BroadcastRule)


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
    values = {}
    for each in fields(kind):
        if each.name == "feedback":
            values["feedback"] = _feedback_from(how["feedback"])
        elif each.name == "scale":
            values["scale"] = how["feedback"]["scale"]
        else:
            values[each.name] = how[each.name]
    result: Rule = kind(**values)
    return result


def _feedback_from(how: Mapping[str, Any]) -> Feedback:
    """The feedback of a description."""
    return Feedback(
        how.get("values", how.get("distribution")),
        scale=how["scale"],
        sparsity=how["sparsity"],
        rank=how["rank"],
        shared=how["shared"],
    )

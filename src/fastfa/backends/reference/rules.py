"""All learning rules by name. A rule is a class, in the module of its family."""

from __future__ import annotations

from . import (
    rules_broadcast,
    rules_chain,
    rules_custom,
    rules_learned,
    rules_local,
    rules_noise,
    rules_pepita,
    rules_sign,
    rules_synthetic,
    rules_target,
)
from .base import Spec
from .rule import Rule

_FAMILIES = (
    rules_broadcast,
    rules_chain,
    rules_custom,
    rules_learned,
    rules_local,
    rules_noise,
    rules_pepita,
    rules_sign,
    rules_synthetic,
    rules_target,
)
# The name of a rule is that of its class in lower case.
RULES: dict[str, type[Rule]] = {
    each.__name__.lower(): each
    for family in _FAMILIES
    for each in vars(family).values()
    if isinstance(each, type) and issubclass(each, Rule) and each.__module__ == family.__name__
}


def rule_of(spec: Spec, ordinal: int) -> Rule:
    """The rule that a description gives to Dense layer number `ordinal`."""
    return RULES[spec["name"]](spec).at(ordinal)

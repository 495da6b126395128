"""The table of learning rules, by name. A rule is a class, in the module of its family."""

from __future__ import annotations

from .base import Spec
from .rule import Rule
from .rules_broadcast import DFA, DRTP, IFA, SDFA, Ternary
from .rules_chain import FA, Backprop, Frozen
from .rules_custom import Custom
from .rules_learned import DKP, KP, LDFA
from .rules_local import Local
from .rules_pepita import Pepita
from .rules_sign import BRSF, FRSF, USF

RULES: dict[str, type[Rule]] = {
    "backprop": Backprop,
    "fa": FA,
    "dfa": DFA,
    "sdfa": SDFA,
    "drtp": DRTP,
    "frozen": Frozen,
    "usf": USF,
    "frsf": FRSF,
    "brsf": BRSF,
    "kp": KP,
    "dkp": DKP,
    "ternary": Ternary,
    "ifa": IFA,
    "ldfa": LDFA,
    "local": Local,
    "pepita": Pepita,
    "custom": Custom,
}


def rule_of(spec: Spec, ordinal: int) -> Rule:
    """The rule that a description gives to Dense layer number `ordinal`."""
    return RULES[spec["name"]](spec).at(ordinal)

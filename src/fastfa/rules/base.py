"""The base of all rules, and the checks that several rules share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from .._internal.checks import Described, choice, show
from .._internal.options import check_options
from ..feedback import Feedback

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._internal.rule_context import RuleContext

__all__ = ["Rule", "RuleWarning"]

DEFAULT_FEEDBACK = Feedback()
PLACES = ("post", "before_pool", "pre")  # of `inject`


class RuleWarning(UserWarning):
    """A rule diverges or learns badly with the loss, optimizer or activation of its network."""


@dataclass(frozen=True, eq=False, repr=False)
class Rule(Described):
    """Base of all rules; use one of its subclasses, or a name.

    Rules with equal options are equal; one that is written in Python is equal only to itself,
    unless its class defines ``__eq__``.

    Attributes
    ----------
    name : str
        The name that `Sequential` and `Dense` accept for this rule with its defaults.
    source : str
        Where the signal comes from: "above" (the delta of the next weighted layer), "error",
        "target", "head" (a prediction head of the layer), "input" (a second pass), or "" (the layer
        has no signal of its own).
    """

    name: ClassVar[str] = "custom"
    source: ClassVar[str] = "error"
    _hints: ClassVar[Mapping[str, str]] = {}  # what to do instead of a wrong value of an option

    def signal(self, ctx: RuleContext) -> ArrayLike:
        """The signal S_l (m, n_l) of one hidden layer, for each sample; for custom rules.

        Derive from `Rule`, implement this method, and pass an object of the class as ``rule=``. In
        each step it is called for every hidden layer under the rule, from the top down, after the
        forward pass of all rows; the engine applies f', dropout masks, gradients and optimizer. An
        attribute ``feedback = Feedback(...)`` asks for a stored matrix (n_L, n_l), and ``inject``
        may be "post", "before_pool" or "pre".

        Parameters
        ----------
        ctx : RuleContext
            The step, as read-only arrays that you may keep.
        """
        raise NotImplementedError

    def _values(self) -> tuple[object, ...]:
        return (id(self),) if is_custom(self) else super()._values()  # its class may have more

    def describe(self) -> dict[str, Any]:
        """The description for a backend: name, inject, feedback, and every other field."""
        if is_custom(self):
            own = getattr(self, "feedback", None)
            row = {"name": "custom", "inject": getattr(self, "inject", "post"), "custom": self}
            return row if own is None else row | {"feedback": own.describe()}
        feedback: Feedback = getattr(self, "feedback", DEFAULT_FEEDBACK)
        row = {
            "name": self.name,
            "inject": getattr(self, "inject", "post"),
            "feedback": feedback.describe(),
        }
        options = [each.name for each in fields(self) if each.name not in row]
        return row | {name: getattr(self, name) for name in options}

    def _check_options(self) -> None:
        """Check the fields that are options of the rule in the library."""
        check_options(self, "rule", self.name, self._hints)


def is_custom(rule: Rule) -> bool:
    """Whether a rule's signal is written in Python."""
    return type(rule).signal is not Rule.signal


def check_feedback(value: object) -> None:
    """Raise an error if a feedback is not a `Feedback`."""
    if not isinstance(value, Feedback):
        hint = "" if value is None else f"; did you mean Feedback({show(value)})?"
        raise TypeError(f"feedback: expected a Feedback, got {show(value)}{hint}")


def check_chain_inject(rule: str, inject: object) -> None:
    """Raise an error if a chain rule does not inject "post"."""
    if choice("inject", inject, PLACES) != "post":
        where = "the activation" if inject == "pre" else "a pool"
        raise ValueError(
            f'inject: expected "post" for the chain rule "{rule}", got "{inject}"; '
            f"only rules that broadcast (such as dfa, drtp) can inject before {where}"
        )

"""What the suite compares: a rule in space, and on sequences a way back through time."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..._internal.checks import choice, mismatch, quote
from ...layers.recurrent import TIMES
from ...rules import RULES, Rule
from . import tasks
from .tasks import TASKS, Task

__all__ = ["Entry"]

BACKPROP, FROZEN = "backprop", "frozen"
FLOORS = (BACKPROP, FROZEN)  # without them no gap can be measured
EXACT = "bptt"


class Entry(NamedTuple):
    """A rule, and the value of ``time=`` for recurrent layers.

    Attributes
    ----------
    text : str
        As it is given and shown: "dfa", "time=leak", "dfa,time=leak", "module:Class".
    rule : str
        The name of a rule, or module:Class of one.
    time : str
        "bptt", which is exact, unless the text says another.
    """

    text: str
    rule: str = BACKPROP
    time: str = EXACT

    @classmethod
    def of(cls, text: str) -> Entry:
        """The entry that a text stands for."""
        rule, time = BACKPROP, EXACT
        for part in text.split(","):
            key, is_time, value = part.partition("time=")
            if is_time and not key:
                time = choice("--rule: time", value, TIMES)
            elif ":" in part:
                rule = part
                _class(part, "--rule", Rule)
            else:
                rule = choice("--rule", part, RULES)
        return cls(text, rule, time)

    @property
    def in_time(self) -> bool:
        """Whether it is for sequences only."""
        return "time=" in self.text

    def make_rule(self) -> str | Rule:
        """What `Sequential` takes as its rule."""
        return _class(self.rule, "--rule", Rule)() if ":" in self.rule else self.rule


def default_entries(task: type[Task]) -> list[Entry]:
    """All rules; on sequences every ``time=`` too, and direct feedback alignment with "leak"."""
    texts = [*RULES]
    if task.sequences:
        times = [f"time={time}" for time in TIMES if time not in (EXACT, FROZEN)]
        texts += [*times, "time=frozen", "dfa,time=leak"]
    return [Entry.of(text) for text in texts]


def entries_of(task: type[Task], texts: Sequence[str]) -> list[Entry]:
    """The entries of a task: those asked for that fit it, or all, and always the floors."""
    asked = [Entry.of(text) for text in texts] or default_entries(task)
    floors = [Entry.of(text) for text in FLOORS]
    fitting = [each for each in asked if task.sequences or not each.in_time]
    return list(dict.fromkeys([*floors[:1], *fitting, *floors[1:]]))


def find_task(text: str) -> type[Task]:
    """The task of that name, or the class ``module:Class``."""
    if ":" in text:
        return tasks.check(_class(text, "--task", Task))
    return TASKS[choice("--task", text, TASKS)]


def _class(text: str, name: str, base: type) -> Any:
    module, _, wanted = text.partition(":")
    try:
        kind = getattr(importlib.import_module(module), wanted)
    except (ImportError, AttributeError, ValueError) as error:
        hint = f"write module:Class of a module that Python finds ({error})"
        raise ValueError(mismatch(name, "a class", quote(text), hint)) from None
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise TypeError(mismatch(name, f"a class that derives from {base.__name__}", quote(text)))
    return kind

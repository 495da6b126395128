"""The suite: learning rules on tasks in space and time, with equal budgets and the same seeds.

``python -m fastfa suite`` runs it; ``docs/SUITE.md`` is its page. A task or a rule of your own is a
class: derive from `Task` or `fastfa.Rule`, and name it as ``module:Class``.
"""

from .entries import Entry
from .running import TIERS, Tier, run
from .summaries import Summary, summarize
from .tasks import TASKS, Split, Task
from .writing import command, write

__all__ = [
    "TASKS",
    "TIERS",
    "Entry",
    "Split",
    "Summary",
    "Task",
    "Tier",
    "command",
    "run",
    "summarize",
    "write",
]

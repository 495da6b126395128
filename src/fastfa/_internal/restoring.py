"""Networks from files, with the Python objects that a file cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..backends import choose_or_warn
from ..losses import CUSTOM
from ..rules import Rule
from ..rules.base import is_custom
from .checks import mismatch, plain, show
from .exclusive import Holder
from .notes import columns_of, data_format_of, read_note
from .samples import Columns

if TYPE_CHECKING:
    from ..backends.protocol import Backend, Engine, FindRule
    from .model import Model


def restore(
    net: Model,
    backend: Backend,
    engine_of: Callable[[FindRule], Engine],
    rule: Rule | Mapping[Any, Rule] | None,
    lr: Callable[[int], float] | None,
    loss: object = None,
    needs_lr: bool = True,
    needs_loss: bool = True,
) -> None:
    """Make the empty object `net` the network that a file describes, on the device of `backend`.

    Without `needs_lr` its rate will be replaced, so that the function of a file may be missing;
    without `needs_loss` its loss.
    """
    rules = RuleResolver(rule)
    engine = engine_of(rules)
    gives_none = rule is None or (isinstance(rule, Mapping) and len(rule) == 0)
    if not gives_none and not rules.asked:
        raise ValueError(
            mismatch("rule", "none", show(rule), "no rule of the file is in Python, so give none")
        )
    note = read_note(engine.note)
    rates, schedule = note.get("lr"), note.get("schedule")
    if rates is not None and lr is None and needs_lr:
        raise ValueError(
            f"lr: expected the function {plain(rates['function'])}, got None; a file cannot hold "
            "it, so give it: load(path, lr=...)"
        )
    if rates is None and lr is not None:
        what = "a number" if schedule is None else show(schedule)
        raise ValueError(
            mismatch("lr", "none", show(lr), f"its rate is {what}: set net.lr after loading")
        )
    _give_loss(engine, loss, needs_loss)
    net.data_format = data_format_of(note, engine.description)
    net._restore(backend, engine, lr if schedule is None else schedule)
    net._validator.columns = columns_of(note).that_fit(engine.n_in, engine.n_out)
    if schedule is not None:
        net._plateau = note["record"]
    if not (note if rates is None else rates).get("in force", True):
        net._schedule = net._plateau = None


def set_state(net: Model, state: dict[str, Any]) -> None:
    """Make `net`, which may be a network already, that of its `__getstate__`, or change nothing."""
    holder, fresh = Holder(), object.__new__(type(net))
    try:
        if not holder.take(id(net)):
            raise RuntimeError("fit is running on this network; wait for it or stop() it")
        backend = choose_or_warn(state.get("device", "cpu"))
        load = partial(backend.load, state["file"])
        restore(fresh, backend, load, state["rules"], state["lr"], state.get("loss"))
        fresh._validator.columns = Columns(*state.get("columns", ()))
        vars(net).clear()  # last, when nothing can fail
        vars(net).update(vars(fresh), **state["more"])
    finally:
        holder.release()


def _give_loss(engine: Engine, loss: object, needed: bool) -> None:
    """Give a loss in Python to the network of a file, which has its name alone."""
    if engine.description["loss"] != CUSTOM:
        return
    if loss is None and needed:
        name = plain(read_note(engine.note).get("loss") or "that it was trained with")
        raise ValueError(
            f"loss: expected the function {name}, got None; a file cannot hold it, so give it: "
            "load(path, loss=...)"
        )
    engine.set_loss(loss if callable(loss) else replaced)


def replaced(logits: object, y: object) -> None:
    """Stand for the loss of a file until it is replaced."""
    raise RuntimeError("loss: expected to be replaced before it is used")


class RuleResolver:
    """Finds the object for each rule of a file that is written in Python."""

    def __init__(self, given: Rule | Mapping[Any, Rule] | None) -> None:
        self.given = given
        self.asked = False

    def __call__(self, layer: int, note: str | None) -> Rule:
        """The rule of a layer; layer -1 stands for the rule of the network."""
        self.asked = True
        names = read_note(note).get("rules", {})
        name = names.get(str(layer), names.get("-1", "its class is unknown"))
        shown = plain(name)
        given = self.given
        if isinstance(given, Mapping):
            rule = given.get(layer if str(layer) in names else -1, given.get(name))
        else:
            rule = given
        if rule is None:
            raise ValueError(
                f"rule: expected an object of the class {shown}, got {show(given)}; it is written "
                "in Python, which a file cannot hold, so give it: load(path, rule=...), or one for "
                "each class name"
            )
        if not isinstance(rule, Rule) or not is_custom(rule):
            raise TypeError(f"rule: expected an object of the class {shown}, got {show(rule)}")
        if rule is given and names and type(rule).__name__ != name:
            raise ValueError(f"rule: expected an object of the class {shown}, got {show(rule)}")
        return rule

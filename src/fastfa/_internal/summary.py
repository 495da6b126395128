"""A network as text. Rule and feedback are what the engine reports, not what was asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ..layers import Layer, WeightedLayer
from ..losses import Loss
from ..rules import Rule
from .network_checks import input_shape_of
from .own_loss import name_of

if TYPE_CHECKING:
    from .model import Model

HEADER = ("#", "layer", "output", "parameters", "trained", "rule", "feedback")
NUMBERS = (0, 2, 3)  # the columns that hold numbers


class Text(str):
    """A string that a prompt shows with its line breaks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def one_line(net: Model) -> str:
    """The network as ``repr`` shows it."""
    hidden = {fact["index"]: fact for fact in _layer_facts(net)[:-1]}
    chain = [_shape(input_shape_of(net._engine.description))]
    for index, layer in enumerate(net.layers):
        how = f" [{_how(hidden[index])}]" if index in hidden else ""
        chain.append(_name(layer) + how)
    return (
        f"Sequential({' -> '.join(chain)}; {_loss(net)}, {net.optimizer!r}, "
        f"{net.dtype}, {'' if net.compute == 'float32' else 'bfloat16 products, '}"
        f"seed={net.seed})"
    )


def _loss(net: Model) -> str:
    if isinstance(net.loss, str):
        return net.loss
    return repr(net.loss) if isinstance(net.loss, Loss) else f"the function {name_of(net.loss)}"


def table(net: Model) -> Text:
    """The network as ``summary`` shows it: a row for each layer, then totals and settings."""
    rows = [HEADER, *_rows(net)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = ["  ".join(map(_cell, row, widths, range(len(row)))).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    facts = _facts(net)
    width = max(len(name) for name, _ in facts)
    lines += ["", *(f"{name:<{width}}  {value}" for name, value in facts)]
    return Text("\n".join(lines))


def html(net: Model) -> str:
    """The same table for a notebook."""
    from .html import html_table  # here, so that the import of fastfa stays short

    return html_table(HEADER, _rows(net), NUMBERS) + html_table((), _facts(net))


def _cell(text: str, width: int, column: int) -> str:
    return text.rjust(width) if column in NUMBERS else text.ljust(width)


def _name(layer: Layer) -> str:
    """The repr of a layer without its rule, which has a column of its own."""
    if isinstance(layer, WeightedLayer) and layer.rule is not None:
        return repr(replace(cast("Any", layer), rule=None))
    return repr(layer)


def _layer_facts(net: Model) -> list[dict[str, Any]]:
    """What the engine reports of each weighted layer, with the options of its feedback."""
    facts = []
    for fact, place in zip(net._engine.layers, net._weighted, strict=True):
        options = _options(place.rule) if fact["feedback"] else ""
        facts.append(fact | {"feedback": fact["feedback"] + options})
    return facts


def _options(rule: Rule | None) -> str:
    """The options of a feedback matrix besides its distribution."""
    feedback = getattr(rule, "feedback", None)
    scale = getattr(rule, "scale", getattr(feedback, "scale", 1.0))
    sparsity, rank = getattr(feedback, "sparsity", 0.0), getattr(feedback, "rank", None)
    words = [
        f"scale {scale:g}" if scale != 1.0 else "",
        f"sparsity {sparsity:g}" if sparsity else "",
        f"rank {rank}" if rank else "",
        "shared" if getattr(feedback, "shared", False) else "",
    ]
    return "".join(f", {word}" for word in words if word)


def _trains(fact: dict[str, Any]) -> bool:
    return bool(fact["trainable"]) and fact["rule"] != "frozen"


def _follower_trains(net: Model, index: int) -> bool:
    """Whether the parameters of a layer without weights learn: as those of its block may."""
    below = [fact for fact in net._engine.layers if fact["index"] < index]
    frozen = not below or below[-1]["rule"] == "frozen"
    return not frozen and bool(getattr(net.layers[index], "trainable", False))


def _how(fact: dict[str, Any]) -> str:
    """The rule and feedback of a layer in a few words."""
    return " ".join(filter(None, (fact["rule"], fact["feedback"]))) + _inject(fact)


def _inject(fact: dict[str, Any]) -> str:
    return "" if fact["inject"] == "post" else f", inject {fact['inject']}"


def _rows(net: Model) -> list[tuple[str, ...]]:
    facts = {fact["index"]: fact for fact in _layer_facts(net)}
    keys = _keys(net)
    rows: list[tuple[str, ...]] = []
    shape = input_shape_of(net._engine.description)
    for index, layer in enumerate(net.layers):
        name, shape = _name(layer), layer.output_shape(shape) or ()
        width = _shape(shape)
        size = sum(net.parameters[key].size for key in keys.get(index, ()))
        if not isinstance(layer, WeightedLayer):
            trained = ("yes" if _follower_trains(net, index) else "no") if size else ""
            rows.append((str(index), name, width, f"{size:,}", trained, "", ""))
            continue
        fact = facts[index]
        trained = "yes" if _trains(fact) else "no"
        if index + 1 == len(net.layers):
            rule, feedback = "exact error", ""
        else:
            rule = fact["rule"] + _inject(fact)
            feedback = fact["feedback"] or "-"
        rows.append((str(index), name, width, f"{size:,}", trained, rule, feedback))
    return rows


def _shape(shape: tuple[int, ...]) -> str:
    """28x28x1, or one number."""
    return "x".join(map(str, shape))


def _work(net: Model) -> float:
    """Floating-point operations of a forward pass of one sample, two for each multiply-add."""
    work, shape = 0.0, input_shape_of(net._engine.description)
    for layer in net.layers:
        below, shape = shape, layer.output_shape(shape) or ()
        if isinstance(layer, WeightedLayer):
            places = math.prod(shape[:-1])  # 1 for a Dense
            work += 2.0 * places * math.prod(layer.weight_shape(below))
    return work


def _keys(net: Model) -> dict[int, list[str]]:
    """The keys of the parameters of each layer."""
    keys: dict[int, list[str]] = {}
    for key in net.parameters:
        keys.setdefault(int(key.partition(".")[0]), []).append(key)
    return keys


def _trained_keys(net: Model) -> list[str]:
    keys, trained = _keys(net), []
    for fact, place in zip(net._engine.layers, net._weighted, strict=True):
        heads = getattr(place.rule, "train_head", True)
        own = keys[fact["index"]] if _trains(fact) else []
        trained += [key for key in own if heads or ".head." not in key]
    weighted = {fact["index"] for fact in net._engine.layers}
    for index, own in keys.items():
        trained += own if index not in weighted and _follower_trains(net, index) else []
    return trained


def _facts(net: Model) -> list[tuple[str, str]]:
    trained = sum(net.parameters[key].size for key in _trained_keys(net))
    total = sum(value.size for value in net.parameters.values())
    feedback = sum(value.size for value in net.feedback.values())
    given = input_shape_of(net._engine.description)
    return [
        ("parameters", f"{total:,} ({trained:,} trained), feedback {feedback:,}"),
        ("input", f"{_shape(given)} values{_format(net)}, {_scale(net.input_scale)}"),
        *([("forward", f"{_work(net) / 1e6:.3g} MFLOP a sample")] if len(given) > 1 else []),
        ("loss", _loss(net)),
        ("optimizer", _optimizer(net)),
        ("dtype, seed", f"{net.dtype}, {net.seed}"),
        *([] if net.compute == "float32" else [("compute", _compute(net))]),
        ("threads", str(net._engine.n_threads)),
        *([] if net.device == "cpu" else [("device", net.device)]),
        *(("note", text) for text in _linear_stacks(net)),
    ]


def _compute(net: Model) -> str:
    """Which layers round the operands of their products, and which do not."""
    facts = net._engine.layers
    rounded, exact = (
        ", ".join(str(fact["index"]) for fact in facts if fact["bfloat16"] is wanted) or "none"
        for wanted in (True, False)
    )
    return f"bfloat16 in layers {rounded}; float32 in layers {exact}"


def _format(net: Model) -> str:
    """Says so where X has its channels first."""
    return ", given with channels first" if net.data_format == "channels_first" else ""


def _linear_stacks(net: Model) -> Iterator[str]:
    """Says which layers in a row could be one, as nothing between them is non-linear."""
    first = None
    tops = [place.index for place in net._weighted[1:]]
    for place, top in zip(net._weighted, [*tops, None], strict=True):
        if first is None:
            first = place.index
        followers = net.layers[place.index + 1 : top]
        linear = place.layer.activation == "linear" and all(x.is_linear for x in followers)
        if not linear or top is None:
            if first != place.index:
                yield f"no non-linearity between layers {first} and {place.index}"
            first = None


def _optimizer(net: Model) -> str:
    """The optimizer as given, and the current rate if it differs."""
    now = "" if net.lr == net.optimizer.lr or callable(net.optimizer.lr) else f", lr now {net.lr:g}"
    return repr(net.optimizer) + now


def _scale(input_scale: str | float) -> str:
    if input_scale == "auto":
        return 'input_scale="auto": uint8 divided by 255, other dtypes as they are'
    return f"input_scale={input_scale:g}: multiplied by {input_scale:g}"

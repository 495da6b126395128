"""`write_c`: a trained network as one C99 file that needs no library but the mathematical one.

The file is composed from the functions of `c_functions`: arrays of the values first, then
functions that are called for each layer, then the public ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core import options, version
from .._internal.checks import choice, flag, mismatch, show
from .._internal.loss_kinds import SIDES, VALUES
from .._internal.paths import check_folder, file_name
from .c_functions import ACTIVATIONS, DERIVATIVES, FUNCTIONS, LOSSES, MEANINGS, NEEDS_SUM
from .weighted_layers import OPTION_OF, WeightedLayer, input_factor, weighted_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..backends.protocol import Engine

__all__ = ["c_source", "write_c"]

WIDTH = 100
MOST_ENTRIES = 2**31 - 1  # of one tensor: indices are C's int
FEEDBACK_RULES = ("fa", "dfa", "sdfa", "drtp", "ternary")
RULES = ("backprop", *FEEDBACK_RULES, "frozen", "output")
_WORDS_OF_C = """
auto break case char const continue default do double else enum extern float for goto if inline
int long main register restrict return short signed sizeof static struct switch typedef union
unsigned void volatile while
"""
KEYWORDS = frozenset(_WORDS_OF_C.split())


def write_c(
    engine: Engine, path: str | os.PathLike[str], learn: bool, name: str | None, weights: str
) -> None:
    """Write the file; see `Sequential.to_c`."""
    to = os.fsdecode(file_name(path))
    check_folder(to)
    if name is None:
        name = re.sub(r"\W", "_", os.path.splitext(os.path.basename(to))[0], flags=re.A)
        name = f"net_{name}" if name[:1].isdigit() or name in KEYWORDS else name
    text = c_source(engine, learn, name, weights)
    with open(to, "w", encoding="ascii") as file:
        file.write(text)


def c_source(engine: Engine, learn: bool, name: str, weights: str) -> str:
    """The text of the file; see `Sequential.to_c`."""
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[A-Za-z]\w*", name, re.A)
        or name in KEYWORDS
    ):
        raise ValueError(mismatch("name", "a name that C allows, such as digits", show(name)))
    int8 = choice("weights", weights, ("float32", "int8")) == "int8"
    learn = flag("learn", learn)
    layers = weighted_layers(engine)
    if learn:
        _check_learning(engine, layers, int8)
    for layer in layers:
        if layer.weight.size > MOST_ENTRIES:
            raise ValueError(
                mismatch(
                    f"{layer.index}.weight", f"at most {MOST_ENTRIES} entries", layer.weight.size
                )
            )
    return _File(engine, layers, name, learn, int8).text()


def _check_learning(engine: Engine, layers: Sequence[WeightedLayer], int8: bool) -> None:
    """Raise an error for a network whose step the C file cannot take."""
    how = engine.description
    optimizer = how["optimizer"]
    if int8:
        raise ValueError(
            mismatch(
                "weights",
                '"float32" with learn=True',
                '"int8"',
                "steps are smaller than the distance of two such weights",
            )
        )
    more = any(optimizer.get(key) for key in ("momentum", "clip_norm", "l1"))
    if optimizer["name"] != "sgd" or more:
        raise ValueError(
            mismatch(
                "learn",
                "a network with plain SGD",
                show(_optimizer_text(optimizer)),
                "other optimizers keep more values for each weight; net.set_optimizer(fa.SGD(lr)) "
                "first, or write it with learn=False",
            )
        )
    if how["loss"] not in LOSSES:
        raise ValueError(
            mismatch("loss", "one of fastfa's own with learn=True", "a function in Python")
        )
    if any(layer["type"] == "dropout" and layer["rate"] for layer in how["layers"]):
        raise ValueError(
            mismatch(
                "learn",
                "a network without Dropout",
                "one with Dropout",
                "the C file has no generator for its masks",
            )
        )
    for layer in layers:
        if layer.rule not in RULES:
            known = ", ".join(rule for rule in RULES if rule != "output")
            raise ValueError(
                mismatch(
                    f"layer {layer.index}: rule",
                    f"one of {known} with learn=True",
                    f'"{layer.rule}"',
                )
            )


def _optimizer_text(how: dict[str, Any]) -> str:
    parts = [str(how["name"])]
    parts += [f"{key}={how[key]:g}" for key in ("momentum", "clip_norm", "l1") if how.get(key)]
    return " with ".join([parts[0], ", ".join(parts[1:])]) if parts[1:] else parts[0]


@dataclass
class _File:
    """The parts of a file, and what they need."""

    engine: Engine
    layers: Sequence[WeightedLayer]
    name: str
    learn: bool
    int8: bool
    arrays: list[str] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)  # names in FUNCTIONS
    activations: set[str] = field(default_factory=set)
    derivatives: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        double = self.engine.description["dtype"] == "float64"
        self.real, self.suffix = ("double", "") if double else ("float", "f")
        self.loss: str = self.engine.description["loss"]
        self.factor = input_factor(self.engine)
        self.last = len(self.layers) - 1

    # ---- text

    def text(self) -> str:
        """The whole file; the bodies are made first, since they say which functions they call."""
        for i, layer in enumerate(self.layers):
            self._values(i, layer)
        bodies = [self._predict(), *([*self._learning()] if self.learn else ())]
        return "\n".join(
            [self._head(), *self.arrays, *self._called(), *bodies, f"#endif /* {self._guard} */\n"]
        )

    @property
    def _guard(self) -> str:
        return f"{self.name.upper()}_DECLARATIONS"

    @property
    def _labels(self) -> bool:
        """Whether a target may be a label."""
        return self.loss not in VALUES or self.layers[-1].n_out > 1

    def _prototypes(self) -> list[str]:
        real, n, upper = self.real, self.name, self.name.upper()
        lines = [
            f"/* {self._meaning()} */",
            f"void {n}_predict(const {real} x[{upper}_INPUTS], {real} out[{upper}_OUTPUTS]);",
        ]
        if self.learn:
            lines += [
                "",
                "/* The learning rate of the next step. */",
                f"extern {real} {n}_lr;",
                "",
                "/* One step on a sample with the targets y. Returns the loss before it; if that is"
                " not finite,\n * nothing has changed. */",
                f"{real} {n}_learn_one(const {real} x[{upper}_INPUTS], const {real} "
                f"y[{upper}_OUTPUTS]);",
            ]
        if self.learn and self._labels:
            most = "0 or 1" if self.layers[-1].n_out == 1 else f"0 to {self.layers[-1].n_out - 1}"
            lines += [
                "",
                f"/* The same for a label, {most}. Another one changes nothing and returns -1. */",
                f"{real} {n}_learn_label(const {real} x[{upper}_INPUTS], int label);",
            ]
        return lines

    def _meaning(self) -> str:
        link = MEANINGS.get(self.loss, "values")
        scale = self.engine.description["input_scale"]
        pixels = "; divide bytes by 255 first" if scale == "auto" else ""
        return f"out: {link}{pixels}."

    def _head(self) -> str:
        widths = "-".join(map(str, [self.layers[0].n_in, *(x.n_out for x in self.layers)]))
        what = f"{self._rule_text()}, {self.loss}" if self.learn else self.loss
        upper = self.name.upper()
        lines = [
            f"/* A network of {widths} units ({what}), written by fastfa {version()}.",
            " *",
            " * C99; needs only math.h. Compile this file, and include it where it is used with",
            f" * {self._guard} defined: then it has declarations alone.",
        ]
        if self.learn:
            lines.append(
                " * The network is one for the program: two threads may not use it at once."
            )
        lines += [
            " */",
            f"#ifndef {upper}_H",
            f"#define {upper}_H",
            "",
            f"enum {{ {upper}_INPUTS = {self.layers[0].n_in}, "
            f"{upper}_OUTPUTS = {self.layers[-1].n_out} }};",
            "",
            *self._prototypes(),
            "",
            f"#endif /* {upper}_H */",
            f"#ifndef {self._guard}",
            "",
            "#include <math.h>",
            "#include <stddef.h>",
            "",
        ]
        return "\n".join(lines)

    def _rule_text(self) -> str:
        rules = dict.fromkeys(layer.rule for layer in self.layers[:-1])
        return " and ".join(rules) or "one layer"

    def _loss_options(self) -> dict[str, str]:
        given = self.engine.description.get("loss_options") or {}
        rows = options("loss", self.loss)
        return {
            row["name"]: _number(given.get(row["name"], row["default"]), self.suffix)
            for row in rows
        }

    def _called(self) -> list[str]:
        """The functions that the bodies call."""
        fill = {"real": self.real, "f": self.suffix, **self._loss_options()}
        texts = [text for name, text in FUNCTIONS.items() if name in self.functions]
        if self.learn:
            smoothed = ", smoothed" if float((fill.get("smoothing") or "0").rstrip("f")) else ""
            texts.append(LOSSES[self.loss + smoothed])
        texts = [text.format(**fill) for text in texts]
        for name, formula in ACTIVATIONS.items():
            if name in self.activations:
                texts.append(self._map(name, formula.format(**fill)))
        for name, formula in DERIVATIVES.items():
            if name in self.derivatives:
                texts.append(self._multiply(name, formula.format(**fill)))
        return texts

    def _option(self, activation: str) -> str:
        """The last parameter of the functions of an activation that has an option."""
        option = OPTION_OF.get(activation)
        return f", {self.real} {option}" if option else ""

    def _map(self, activation: str, formula: str) -> str:
        return (
            f"static void {activation}_of({self.real} *out, const {self.real} *from, "
            f"int n{self._option(activation)})\n{{\n"
            f"    for (int i = 0; i < n; i++) {{\n"
            f"        const {self.real} a = from[i];\n"
            f"        out[i] = {formula};\n    }}\n}}\n"
        )

    def _multiply(self, activation: str, formula: str) -> str:
        return (
            f"static void {activation}_back({self.real} *d, const {self.real} *from, "
            f"int n{self._option(activation)})\n{{\n"
            f"    for (int i = 0; i < n; i++) {{\n"
            f"        const {self.real} h = from[i];\n"
            f"        d[i] *= {formula};\n    }}\n}}\n"
        )

    # ---- arrays

    def _values(self, i: int, layer: WeightedLayer) -> None:
        changes = self.learn and layer.trainable and layer.rule != "frozen"
        const = "" if changes else "const "
        if self.int8:
            scale = np.abs(layer.weight).max(axis=0, initial=0) / 127
            scale = np.where(scale > 0, scale, 1).astype(layer.weight.dtype)
            q = np.clip(np.rint(layer.weight / scale), -127, 127).astype(np.int8)
            self._array(f"static const signed char w{i}", q)
            self._array(f"static const {self.real} scale{i}", scale)
        else:
            self._array(f"static {const}{self.real} w{i}", layer.weight)
        if layer.bias is not None:
            self._array(f"static {const}{self.real} b{i}", layer.bias)
        if self.learn and layer.needs_delta and layer.rule in FEEDBACK_RULES:
            matrix = self.engine.feedback_matrix(layer.index)
            self._array(f"static const {self.real} feedback{i}", matrix)

    def _array(self, declaration: str, values: NDArray[Any]) -> None:
        numbers = _numbers(values.ravel(), self.suffix)
        self.arrays.append(f"{declaration}[{values.size}] = {{\n{_lines(numbers)}}};\n")

    # ---- forward

    def _bias(self, i: int) -> str:
        return "NULL" if self.layers[i].bias is None else f"b{i}"

    def _dense(self, i: int, source: str, to: str) -> str:
        layer = self.layers[i]
        kind, values = ("dense_int8", f"w{i}, scale{i}") if self.int8 else ("dense", f"w{i}")
        self.functions.add(kind)
        return f"{kind}({source}, {layer.n_in}, {values}, {self._bias(i)}, {to}, {layer.n_out});"

    def _value(self, layer: WeightedLayer) -> str:
        """The argument for `_option`."""
        return f", {_number(layer.option, self.suffix)}" if layer.activation in OPTION_OF else ""

    def _activate(self, i: int, to: str, source: str) -> list[str]:
        layer = self.layers[i]
        if layer.activation == "linear":
            return []
        self.activations.add(layer.activation)
        return [f"{layer.activation}_of({to}, {source}, {layer.n_out}{self._value(layer)});"]

    def _inputs(self, to: str) -> list[str]:
        if self.factor == 1:
            return []
        self.functions.add("scaled")
        return [f"scaled({to}, x, {_number(self.factor, self.suffix)}, {self.layers[0].n_in});"]

    def _link(self, of: str) -> list[str]:
        """What turns the values of the last layer into those that predict returns."""
        n = self.layers[-1].n_out
        if self.loss == "softmax_cross_entropy":
            self.functions.add("softmax")
            return [f"softmax({of}, {n});"]
        if self.loss in SIDES:
            self.activations.add("sigmoid")
            return [f"sigmoid_of({of}, {of}, {n});"]
        if self.loss == "poisson":
            self.functions.add("exponential")
            return [f"exponential({of}, {n});"]
        return []

    def _predict(self) -> str:
        if self.learn:
            forward, n = self._forward(), self.layers[-1].n_out
            self.functions.add("scaled")
            lines = ["forward(x);", f"scaled(out, h{self.last}, 1, {n});", *self._link("out")]
            return forward + "\n" + self._function("predict", "out", lines)
        hidden = max((layer.n_out for layer in self.layers[:-1]), default=0)
        lines = []
        if hidden:
            buffers = ["even", "odd"] if self.last > 1 else ["even"]
            lines.append(f"{self.real} " + ", ".join(f"{b}[{hidden}]" for b in buffers) + ";")
        source = "x"
        if self.factor != 1:
            lines.append(f"{self.real} inputs[{self.layers[0].n_in}];")
            source = "inputs"
        lines += self._inputs("inputs")
        for i in range(len(self.layers)):
            to = "out" if i == self.last else ("even", "odd")[i % 2]
            lines += [self._dense(i, source, to), *self._activate(i, to, to)]
            source = to
        return self._function("predict", "out", [*lines, *self._link("out")])

    def _function(self, name: str, second: str, lines: Iterable[str]) -> str:
        upper, const = self.name.upper(), "const " if second == "y" else ""
        kind = "void" if second == "out" else self.real
        head = (
            f"{kind} {self.name}_{name}(const {self.real} x[{upper}_INPUTS], "
            f"{const}{self.real} {second}[{upper}_OUTPUTS])"
        )
        return head + "\n{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"

    def _forward(self) -> str:
        """`forward`, which leaves the outputs of all layers in h0, h1, ..."""
        buffers, lines = [], self._inputs("inputs")
        source = "inputs" if self.factor != 1 else "x"
        if self.factor != 1:
            buffers.append(f"inputs[{self.layers[0].n_in}]")
        for i, layer in enumerate(self.layers):
            apart = layer.activation in NEEDS_SUM
            buffers += [f"h{i}[{layer.n_out}]"] + [f"a{i}[{layer.n_out}]"] * apart
            to = f"a{i}" if apart else f"h{i}"
            lines += [self._dense(i, source, to), *self._activate(i, f"h{i}", to)]
            source = f"h{i}"
        body = "".join(f"    {line}\n" for line in lines)
        return (
            f"/* of the last sample: outputs of the layers, and sums where f' needs them */\n"
            f"static {self.real} {', '.join(buffers)};\n\n"
            f"static void forward(const {self.real} *x)\n{{\n{body}}}\n"
        )

    # ---- learning

    def _learning(self) -> Iterable[str]:
        deltas = [
            f"d{i}[{layer.n_out}]"
            for i, layer in enumerate(self.layers)
            if layer.needs_delta or i == self.last
        ]
        yield f"static {self.real} {', '.join(deltas)};\n"
        lr = self.engine.lr
        yield f"{self.real} {self.name}_lr = {_number(lr, self.suffix)};\n"
        n = self.layers[-1].n_out
        lines = [
            "forward(x);",
            f"const {self.real} loss = loss_and_error(h{self.last}, y, d{self.last}, {n});",
            "if (!(loss - loss == 0)) return loss;",
            *self._derivative(self.last),
        ]
        for i in range(self.last - 1, -1, -1):
            if self.layers[i].needs_delta:
                lines += self._signal(i)
        for i, layer in enumerate(self.layers):
            if layer.trainable and layer.rule != "frozen":
                lines += self._update(i)
        yield self._function("learn_one", "y", [*lines, "return loss;"])
        if self._labels:
            yield self._learn_label()

    def _derivative(self, i: int) -> list[str]:
        layer = self.layers[i]
        if layer.activation == "linear":
            return []
        self.derivatives.add(layer.activation)
        of = "a" if layer.activation in NEEDS_SUM else "h"
        return [f"{layer.activation}_back(d{i}, {of}{i}, {layer.n_out}{self._value(layer)});"]

    def _signal(self, i: int) -> list[str]:
        """The delta of a hidden layer."""
        layer, above, last = self.layers[i], self.layers[i + 1], self.layers[-1]
        lines = []
        if layer.rule in ("backprop", "frozen"):
            self.functions.add("through_weights")
            source = f"w{i + 1}, d{i + 1}, {above.n_out}"
            lines.append(f"through_weights(d{i}, {layer.n_out}, {source});")
        else:
            self.functions.add("through_feedback")
            source, rows = {"fa": (f"d{i + 1}", above.n_out), "drtp": ("y", last.n_out)}.get(
                layer.rule, (f"d{self.last}", last.n_out)
            )
            if layer.rule in ("sdfa", "ternary"):
                self.functions.add("sign_of")
                threshold = _number(layer.threshold, self.suffix)
                lines += [
                    f"{self.real} sign{i}[{rows}];",
                    f"sign_of(sign{i}, {source}, {threshold}, {rows});",
                ]
                source = f"sign{i}"
            lines.append(f"through_feedback(d{i}, {layer.n_out}, feedback{i}, {source}, {rows});")
        return lines + (self._derivative(i) if layer.inject != "pre" else [])

    def _update(self, i: int) -> list[str]:
        layer, optimizer = self.layers[i], self.engine.description["optimizer"]
        self.functions.add("update")
        source = f"h{i - 1}" if i else "inputs" if self.factor != 1 else "x"
        decay = optimizer["weight_decay"]
        lines = [
            f"update(w{i}, {source}, {layer.n_in}, d{i}, {layer.n_out}, "
            f"{self._rate(layer.weight_lr_scale)}, {_number(decay, self.suffix)});"
        ]
        if layer.bias is not None:
            decay = decay if optimizer["decay_bias"] else 0.0
            lines += [
                f"const {self.real} one{i} = 1;",
                f"update(b{i}, &one{i}, 1, d{i}, {layer.n_out}, "
                f"{self._rate(layer.bias_lr_scale)}, {_number(decay, self.suffix)});",
            ]
        return lines

    def _rate(self, scale: float) -> str:
        return f"{self.name}_lr" + ("" if scale == 1 else f" * {_number(scale, self.suffix)}")

    def _learn_label(self) -> str:
        n = self.layers[-1].n_out
        upper, real = self.name.upper(), self.real
        most, row = (1, "y[0] = label;") if n == 1 else (n - 1, "y[label] = 1;")
        return (
            f"{real} {self.name}_learn_label(const {real} x[{upper}_INPUTS], int label)\n{{\n"
            f"    {real} y[{upper}_OUTPUTS] = {{0}};\n"
            f"    if (label < 0 || label > {most}) return -1;\n"
            f"    {row.replace('= label', f'= ({real})label')}\n"
            f"    return {self.name}_learn_one(x, y);\n}}\n"
        )


def _number(value: float, suffix: str) -> str:
    return f"{value!r}{suffix}" if suffix == "" else f"{np.float32(value)!s}{suffix}"


def _numbers(values: NDArray[Any], suffix: str) -> list[str]:
    """Decimal numbers from which a C compiler makes the same values."""
    if values.dtype == np.int8:
        return [str(v) for v in values.tolist()]
    if values.dtype == np.float64:
        return [repr(v) for v in values.tolist()]
    return [f"{v!s}{suffix}" for v in values]  # the shortest digits of a float32


def _lines(words: Iterable[str]) -> str:
    """The words with commas between them, in lines that fit."""
    lines, line = [], "   "
    for word in words:
        if len(line) + len(word) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {word},"
    return "\n".join([*lines, line]) + "\n"

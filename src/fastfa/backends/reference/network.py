"""A network over its description: one step in order, and everything that can be asked of it."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._internal.sparse import SparseRows
from .base import Array, Doubles, Maybe, Spec, rows_of
from .bfloat16 import pays, round_operand
from .draws import SHUFFLE, Stream, permutation
from .functions import (
    LINKS,
    OPTIMIZERS,
    activation,
    angle,
    correct,
    dense_targets,
    loss_of,
    norm,
    slot_count,
)  # fmt: skip
from .images import Pass, augmented
from .layers import delta_order, landed, read_layers
from .recurrent import Recurrent, Traces
from .rule import Layer
from .rules_chain import Backprop
from .sequences import flat_rows
from .step import Step, Trace


class Network:
    """A network over its plain-data description, the backend protocol in NumPy.

    Descriptions and data are trusted: the library has checked them. Arguments of all calls on data:
    x (m, n_in), network dtype or uint8; one of labels (m,) int64 and y (m, n_L), the other None;
    weights (m,) float64 or None. Sequences: x (m, T, n_in); labels (m,) or y (m, n_L) for the last
    step, or (m, T) and (m, T, n_L) for every step, -1 or nan where there is no target.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description
        self.dtype = np.dtype(description["dtype"])
        self.n_in = int(description["n_in"])
        self.n_threads = int(description["n_threads"]) or 1  # accepted, not used
        self.dense = read_layers(description)
        self.hidden = self.dense[:-1]
        self.n_out = self.dense[-1].n_out
        self.lr = float(description["optimizer"]["lr"])
        self.steps = self.epochs = 0
        self.traces: dict[int, Traces] = {}  # of a stream, by layer
        self._training = False  # inside a training step, whose products are counted
        self.counts = {"forward": 0, "transport": 0, "feedback": 0, "outer": 0}
        self.parameters = {k: a.astype(self.dtype) for k, a in self._first_parameters().items()}
        self.feedback = {k: a.astype(self.dtype) for k, a in self._first_feedback().items()}
        slots = range(slot_count(description["optimizer"]))
        self.slots = {
            key: [np.zeros_like(self._value(key)) for _ in slots]
            for key in self.trained
            if slots and key not in self.apart
        }

    def _first_parameters(self) -> dict[str, Array]:
        first: dict[str, Array] = {}
        for layer in self.dense:
            for follower in layer.followers:
                first |= follower.first_parameters()
            first |= layer.first_parameters(self.description["seed"])
        for layer in self.hidden:
            first |= layer.rule.first_parameters(self, layer)
        return first

    def _first_feedback(self) -> dict[str, Array]:
        first: dict[str, Array] = {}
        for layer in self.hidden:
            first |= layer.rule.first_feedback(self, layer)
        for layer in self.dense:
            first |= layer.first_feedback(self.description["seed"])
        return first

    @property
    def trained(self) -> list[str]:
        """Keys of all that learns: of the layers, then of the rules, feedback first."""
        own: list[str] = []
        for layer in self.dense:
            own += layer.keys if layer.trains else []
            own += [key for follower in layer.learners for key in follower.keys]
        rules = [key for x in self.hidden if x.learns_feedback for key in x.rule.trained(x)]
        return own + sorted(rules, key=lambda key: key in self.parameters)

    @property
    def apart(self) -> set[str]:
        """Keys of feedback that learns without the optimizer."""
        return {key for layer in self.hidden for key in layer.rule.apart(layer)}

    def _value(self, key: str) -> Array:
        """The live array of a key."""
        return self.parameters[key] if key in self.parameters else self.feedback[key]

    # --------------------------------------------------------------------------------- forward

    def product(self, purpose: str, a: Array, b: Array, owner: Layer | None) -> Array:
        """A B, counted under its purpose while training; `owner` is the layer of the matrix.

        Without one the operands are never rounded.
        """
        self.counts[purpose] += self._training
        rows, cols = (len(a), b.shape[1]) if purpose == "outer" else b.shape
        if owner and self._rounds(owner, rows, cols):
            a, b = round_operand(a), round_operand(b)
        return np.asarray(a @ b)

    def _rounds(self, owner: Layer, rows: int, cols: int) -> bool:
        """Whether products with a matrix of this size and layer round their operands."""
        return "compute" in self.description and owner.spec["type"] == "dense" and pays(rows, cols)

    def scaled(self, x: Array | SparseRows) -> Array:
        """H_0: the inputs in the network's type, dense, after input scaling."""
        if isinstance(x, SparseRows):
            x = x.toarray()
        scale = self.description["input_scale"]
        if scale == "auto":
            return x.astype(self.dtype) / 255 if x.dtype == np.uint8 else x
        return np.asarray(x.astype(self.dtype) * scale)

    def forward(self, h: Array, training: bool, times: int = 1) -> Trace:
        """A_l = H_{l-1} W_l + b_l, H_l = f(A_l), with this step's dropout masks if training."""
        trace = Trace()
        of = Pass(self.description["seed"], self.steps, training, self.parameters, trace.rows)
        for layer in self.dense:
            trace.back.append([])
            trace.outputs.append([h])
            for follower in layer.followers:
                h, back = follower.forward(h, of)
                trace.back[-1].append(back)
                trace.outputs[-1].append(h)
            trace.inputs.append(h)
            if isinstance(layer, Recurrent):
                a, f, h, trace.before[layer.ordinal] = layer.run(self, h, times)
            else:
                weight = self.parameters[layer.key("weight")].reshape(-1, layer.columns)
                a = self.product("forward", layer.rows_in(h), weight, layer)
                if layer.spec["use_bias"]:
                    a = a + self.parameters[layer.key("bias")]
                a = a.reshape(len(h), -1)
                h = f = activation(layer.spec)[0](a).astype(self.dtype)
            trace.a.append(a)
            trace.f.append(f)
            trace.h.append(h)
        return trace

    def loss_of(self, trace: Trace, target: Doubles) -> tuple[Doubles, Array]:
        """The loss of each sample (m,) and the error e = dloss_i/dA_L (m, n_L)."""
        row_loss, error = loss_of(self.description)(trace.h[-1].astype(np.float64), target)
        return row_loss, (error * self._slope(self.dense[-1], trace)).astype(self.dtype)

    def _slope(self, layer: Layer, trace: Trace) -> Array:
        """f'(A_l)."""
        derivative = activation(layer.spec)[1]
        return derivative(trace.a[layer.ordinal], trace.f[layer.ordinal])

    # --------------------------------------------------------------------------- one step, in order

    def _begin_step(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> Step:
        """Forward, loss and error."""
        given = flat_rows(x, labels, y, weights)
        target = dense_targets(given.labels, given.y, self.n_out)
        trace = self.forward(self.scaled(given.x), training=True, times=given.times)
        row_loss, error = self.loss_of(trace, target)
        error, target = given.only(error), given.only(target)
        count = int(given.has_target.sum())
        loss = float((given.weights * given.only(row_loss)).sum() / max(count, 1))
        if not math.isfinite(loss):
            raise FloatingPointError(f"loss is not finite ({loss}); nothing was updated")
        right = correct(self.description["loss"], trace.h[-1], target, labels is not None)
        return Step(
            trace, error, target.astype(self.dtype), given.labels, given.weights, loss,
            float(given.only(right).sum()), max(count, 1), given.times,
        )  # fmt: skip

    def _compute_step(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> Step:
        """Forward, loss, error, and the deltas of each layer by its own rule."""
        step = self._begin_step(x, labels, y, weights)
        two_passes = [layer.rule for layer in self.hidden if layer.rule.two_passes]
        last = two_passes[0].second_pass(self, x, step) if two_passes else step.error
        self._form_deltas(step, self.dense, last)
        return step

    def _form_deltas(self, step: Step, layers: list[Layer], last: Array) -> None:
        """d_l from the output's down, then D_l = w * d_l; None where not needed."""
        step.deltas = [None] * len(layers)
        step.deltas[-1] = last
        for layer in delta_order(layers):
            if layer.needs_delta:
                s = step.deltas[layer.ordinal] = layer.rule.delta(self, layer, step)
                if isinstance(layer, Recurrent):
                    slope = layer.slope(step.trace.a[layer.ordinal], step.trace.f[layer.ordinal])
                    step.deltas[layer.ordinal] = layer.back(self, s, slope, step.times)
        w = step.weights[:, None]
        step.weighted = [None if d is None else (d * w).astype(self.dtype) for d in step.deltas]

    def local_vjp(self, layer: Layer, trace: Trace, s: Array) -> Array:
        """d_l from S_l: back through the block's layers and f, or only 0/1 masks if "pre"."""
        exact = layer.inject != "pre"
        for back in reversed(trace.back[layer.ordinal + 1][: layer.landing]):
            s = back(s, exact)
        if isinstance(layer, Recurrent):  # the way back through time has f'
            return s
        return (s * self._slope(layer, trace)).astype(self.dtype) if exact else s

    def _gradient(self, layer: Layer, trace: Trace, delta: Array, m: int) -> dict[str, Array]:
        """gW_l = H_{l-1}^T D_l / m, gU_l = (h before)^T D_l / m, gb_l = sum of D_l / m."""
        right = layer.rows_out(delta)
        left = layer.rows_in(trace.inputs[layer.ordinal]).T
        g_weight = self.product("outer", left, right, layer) / m
        grads = {layer.key("weight"): g_weight.reshape(layer.weight_shape)}
        if layer.ordinal in trace.before:
            before = trace.before[layer.ordinal]
            grads[layer.key("recurrent")] = self.product("outer", before.T, right, layer) / m
        if layer.spec["use_bias"]:
            grads[layer.key("bias")] = right.sum(axis=0) / m
        return grads

    def _gradients(self, step: Step) -> dict[str, Array]:
        """The gradients of all that learns, by key, in the order of `trained`."""
        grads: dict[str, Array] = {}
        for layer, delta in zip(self.dense, step.weighted, strict=True):
            if layer.trains and delta is not None:
                grads |= self._gradient(layer, step.last, delta, step.count)
            for key in (key for follower in layer.learners for key in follower.keys):
                grads[key] = step.weigh(step.trace.rows[key]).sum(axis=0) / step.count
        for layer in self.hidden:
            if layer.learns_feedback:
                grads |= layer.rule.gradients(self, layer, step)
        return {key: grads[key] for key in self.trained}

    def _clip_factor(self, grads: dict[str, Array]) -> float:
        """Factor that brings the norm of all gradients together down to `clip_norm`, at most 1."""
        counted = (g for key, g in grads.items() if key not in self.apart)
        total = math.sqrt(sum(norm(g) ** 2 for g in counted))
        if not math.isfinite(total):
            raise FloatingPointError(f"gradient norm is not finite ({total}); nothing was updated")
        return min(1.0, float(self.description["optimizer"]["clip_norm"]) / (total + 1e-6))

    def _update(self, grads: dict[str, Array], lr: float) -> None:
        """Clip by the global norm, then one optimizer step on all that learns."""
        clip = self._clip_factor(grads) if self.description["optimizer"]["clip_norm"] else 1.0
        grads = {
            key: g if key in self.apart else g * clip + self._l1(key) for key, g in grads.items()
        }
        self.steps += 1
        for layer in self.dense:
            if layer.trains:
                self._update_layer(layer, grads, lr * layer.spec["lr_scale"])
            for follower in layer.learners:
                for key in follower.keys:
                    rate, decay = lr * follower.spec["lr_scale"], self.weight_decay(is_bias=True)
                    self.optimize(key, grads[key], rate, decay)
        for layer in self.hidden:
            if layer.learns_feedback:
                layer.rule.update(self, layer, grads, lr)

    def _update_layer(self, layer: Layer, grads: dict[str, Array], lr: float) -> None:
        """W_l, with the feedback that is coupled to it, and b_l."""
        weight, bias = layer.key("weight"), layer.key("bias")
        before = self.parameters[weight].copy()
        self.optimize(weight, grads[weight], lr, self.weight_decay())
        if layer.ordinal > 0:
            below = self.dense[layer.ordinal - 1]
            below.rule.couple(self, below, self.parameters[weight], before)
        if isinstance(layer, Recurrent):
            before = self.parameters[layer.key("recurrent")].copy()
            self.optimize(
                layer.key("recurrent"), grads[layer.key("recurrent")], lr, self.weight_decay()
            )
            layer.couple(self, before)
        if bias in grads:
            rate = lr * layer.spec["bias_lr_scale"]
            self.optimize(bias, grads[bias], rate, self.weight_decay(is_bias=True))

    def _l1(self, key: str) -> Array | float:
        """What the optimizer's l1 adds to a gradient: nothing to that of feedback."""
        o = self.description["optimizer"]
        is_row = key.endswith(("bias", "scale", "shift"))
        spared = key not in self.parameters or (is_row and not o["decay_bias"])
        return 0.0 if spared else float(o.get("l1", 0.0)) * np.sign(self.parameters[key])

    def weight_decay(self, is_bias: bool = False) -> float:
        """The optimizer's weight decay for a weight or a bias."""
        o = self.description["optimizer"]
        return 0.0 if is_bias and not o["decay_bias"] else float(o["weight_decay"])

    def optimize(self, key: str, gradient: Array, lr: float, decay: float = 0.0) -> None:
        """One optimizer step on the array of a key, in place."""
        o, slots = self.description["optimizer"], self.slots.get(key, [])
        OPTIMIZERS[o["name"]](self._value(key), gradient, slots, o, lr, decay, self.steps)

    @np.errstate(all="ignore")
    def _train_step(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe, lr: float) -> Step:
        """One step. Nothing changes if it raises."""
        self._training = True
        try:
            step = self._compute_step(x, labels, y, weights)
            self._update(self._gradients(step), lr)
        finally:
            self._training = False
        return step

    # --------------------------------------------------------------------------------- the protocol

    def train_batch(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> float:
        """One step; the mean loss before the update. FloatingPointError where it is not finite."""
        return self._train_step(x, labels, y, weights, self.lr).loss

    def train_steps(
        self,
        x: Array,
        labels: Maybe,
        y: Maybe,
        weights: Maybe,
        order: Maybe,
        batch_size: int,
        first: int,
        count: int,
        lrs: Maybe = None,
        poll: Callable[[int], Any] | None = None,
        *,
        augment: tuple[bool, int] | None = None,
    ) -> tuple[float, float, int, int]:
        """Batches first..first+count-1 of an epoch: (sum of loss * m, correct, rows, steps)."""
        order = np.arange(len(x)) if order is None else order
        loss_sum, n_correct, rows, steps = 0.0, 0.0, 0, 0
        for b in range(first, first + count):
            batch = order[b * batch_size : (b + 1) * batch_size]
            lr = self.lr if lrs is None else float(lrs[steps])
            labels_b, y_b, weights_b = (rows_of(a, batch) for a in (labels, y, weights))
            x_b = x[batch]
            if augment is not None:
                image = self.description["input_shape"]
                x_b = augmented(x_b, image, augment, self.description["seed"], self.steps)
            step = self._train_step(x_b, labels_b, y_b, weights_b, lr)
            loss_sum, n_correct = loss_sum + step.loss * step.count, n_correct + step.correct
            rows, steps = rows + step.count, steps + 1
            if poll is not None and poll(b + 1):
                break
        return loss_sum, n_correct, rows, steps

    def shuffle(self, n: int) -> npt.NDArray[np.int64]:
        """The order (n,) of the next epoch; advances `epochs`."""
        self.epochs += 1
        return permutation(Stream(self.description["seed"], SHUFFLE, 0, self.epochs - 1), n)

    def trim(self) -> None:
        """Give back memory that training has kept: none here."""

    @np.errstate(all="ignore")
    def predict(self, x: Array, logits: bool = False) -> Array:
        """Yhat (m, n_L): probabilities, or the logits behind them; values for mse."""
        given = flat_rows(x, None, None, None)
        z = self.forward(self.scaled(given.x), training=False, times=given.times).h[-1]
        z = z.reshape(*x.shape[:-1], self.n_out) if len(x.shape) == 3 else z
        if logits:
            return z
        if len(x.shape) == 3:
            flat = z.reshape(-1, self.n_out).astype(np.float64)
            return LINKS[self.description["loss"]](flat).astype(self.dtype).reshape(z.shape)
        return LINKS[self.description["loss"]](z.astype(np.float64)).astype(self.dtype)

    @np.errstate(all="ignore")
    def evaluate(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> tuple[float, float]:
        """Without dropout: (1/m) sum w_i loss_i, and the plain accuracy or nan where undefined."""
        given = flat_rows(x, labels, y, weights)
        trace = self.forward(self.scaled(given.x), training=False, times=given.times)
        target = dense_targets(given.labels, given.y, self.n_out)
        row_loss, _ = self.loss_of(trace, target)
        right = correct(self.description["loss"], trace.h[-1], target, labels is not None)
        count = max(int(given.has_target.sum()), 1)
        loss = float((given.weights * given.only(row_loss)).sum() / count)
        return loss, float(given.only(right).sum() / count)

    @np.errstate(all="ignore")
    def gradients(
        self, x: Array, labels: Maybe, y: Maybe, weights: Maybe, feedback: bool = False
    ) -> tuple[float, dict[str, Array]]:
        """Mean loss, and the gradients before clipping: of parameters, and feedback if asked."""
        step = self._compute_step(x, labels, y, weights)
        grads = self._gradients(step)
        return step.loss, {k: g for k, g in grads.items() if feedback or k in self.parameters}

    @np.errstate(all="ignore")
    def apply_gradients(self, gradients: dict[str, Array]) -> None:
        """One step on given gradients; feedback without one stays as it is."""
        self._update(gradients, self.lr)

    @np.errstate(all="ignore")
    def deltas(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> list[Maybe]:
        """D_l (m, n_l) of every Dense in the next step, None where not needed."""
        found = self._compute_step(x, labels, y, weights).weighted
        return [
            None if d is None else d.reshape(*x.shape[:-1], *layer.output)
            for layer, d in zip(self.dense, found, strict=True)
        ]

    @np.errstate(all="ignore")
    def alignment(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> list[dict[str, Any]]:
        """Each hidden layer's D_l and gW_l against those of backprop with the same masks.

        docs/MATH.md, "Alignment".
        """
        backprop = Backprop({"name": "backprop"})
        exact = [
            replace(layer, rule=backprop, needs_delta=True, spec=layer.spec | {"time": "bptt"})
            for layer in self.dense
        ]
        for i, above in enumerate(self.dense[1:]):
            exact[i] = landed(exact[i], above.followers)
        step = self._compute_step(x, labels, y, weights)
        true = replace(step, second=None)
        self._form_deltas(true, exact, step.error)
        return [self._alignment(layer, step, true) for layer in self.hidden]

    def _alignment(self, layer: Layer, step: Step, true: Step) -> Spec:
        """Angles in degrees; nan where the rule forms no D_l (frozen) or backprop's is zero."""
        row: Spec = dict.fromkeys(("delta_angle", "gradient_angle", "norm_ratio"), math.nan)
        d_rule, d_true = step.weighted[layer.ordinal], true.weighted[layer.ordinal]
        if layer.rule.learns and d_rule is not None and d_true is not None:
            key = layer.key("weight")
            g_rule = self._gradient(layer, step.last, d_rule, step.count)[key]
            g_true = self._gradient(layer, true.last, d_true, step.count)[key]
            row["delta_angle"], row["gradient_angle"] = angle(d_rule, d_true), angle(g_rule, g_true)
            row["norm_ratio"] = norm(d_rule) / norm(d_true) if norm(d_true) else math.nan
        weight_angle = layer.rule.weight_angle(self, layer)
        return {"layer": layer.index, "weight_angle": weight_angle, **row}

    def has_feedback_matrix(self, index: int) -> bool:
        """Whether a matrix carries the source to layer `index`."""
        hidden = {x.index: x for x in self.hidden}
        return index in hidden and hidden[index].rule.matrix(self, hidden[index]) is not None

    def feedback_matrix(self, index: int) -> Array:
        """A copy of the matrix (n_source, n_l) that carries the source to hidden layer `index`."""
        layer = next(x for x in self.hidden if x.index == index)
        return np.array(layer.rule.matrix(self, layer), order="C")

    @property
    def layers(self) -> list[dict[str, Any]]:
        """The rule of each Dense; the output layer, which follows no rule, is called "output"."""
        rows = [
            {
                "index": layer.index,
                "rule": layer.rule.name,
                "inject": layer.inject,
                "source": layer.rule.source,
                "feedback": layer.rule.feedback_text(self, layer),
                "trainable": layer.trains,
                "needed": layer.needs_delta,
                "bfloat16": self._rounds(layer, *layer.fans),
            }
            for layer in self.dense
        ]
        rows[-1] |= {"rule": "output", "source": "error"}
        return rows

    def write(self, key: str, values: Array) -> None:
        """Copy values into a parameter or feedback tensor."""
        np.copyto(self._value(key), values)

    def reset(self) -> None:
        """Start over: draw from the seed again, zero optimizer slots and counters, first lr."""
        for key, value in (self._first_parameters() | self._first_feedback()).items():
            self._value(key)[...] = value
        for slot in (s for slots in self.slots.values() for s in slots):
            slot[...] = 0
        self.steps = self.epochs = 0
        self.lr = float(self.description["optimizer"]["lr"])

    def _arrays(self) -> list[Array]:
        slots = [s for slots in self.slots.values() for s in slots]
        return [*self.parameters.values(), *self.feedback.values(), *slots]

    def state(self) -> bytes:
        """A copy of what changes: counters, lr, parameters, feedback, optimizer slots."""
        head = struct.pack("=qqd", self.steps, self.epochs, self.lr)
        return head + b"".join(a.tobytes() for a in self._arrays())

    def restore(self, state: bytes) -> None:
        """Copy the bytes of `state` back; the live arrays stay the same objects."""
        self.steps, self.epochs, self.lr = struct.unpack_from("=qqd", state)
        start = struct.calcsize("=qqd")
        for a in self._arrays():
            a[...] = np.frombuffer(state, a.dtype, a.size, start).reshape(a.shape)
            start += a.nbytes

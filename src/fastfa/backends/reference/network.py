"""A network over its description: one step in order, and everything that can be asked of it."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import Array, Doubles, Maybe, Spec, pick, require
from .draws import (
    BIAS,
    DROPOUT,
    FEEDBACK,
    PROJECTION,
    SHUFFLE,
    WEIGHT,
    Stream,
    draw,
    draw_feedback,
    initial,
    initial_feedback,
    keep_mask,
    orthogonal,
    permutation,
)  # fmt: skip
from .functions import (
    ACTIVATIONS,
    LINKS,
    LOSSES,
    OPTIMIZERS,
    angle,
    dense_targets,
    hits,
    norm,
    slot_count,
)  # fmt: skip
from .layers import Layer, read_layers, taught_order
from .rules import DERIVED, RULES, STORED_FEEDBACK, Teacher, carrier


@dataclass
class Trace:
    """What a forward pass leaves behind, one entry a Dense layer."""

    inputs: list[Array]  # H_{l-1} after the dropouts before layer l
    keep: list[Array]  # the 0/1 mask of those dropouts
    gain: list[float]  # their 1 / (1 - rate)
    a: list[Array]
    h: list[Array]


class Network:
    """A network over its plain-data description, the backend protocol in NumPy.

    Arguments of all calls on data: x (m, n_in), network dtype or uint8; one of labels (m,) int64
    and y (m, n_L), the other None; weights (m,) float64 or None.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description
        self.dtype = np.dtype(description["dtype"])
        self.n_in = int(description["n_in"])
        self.n_threads = int(description["n_threads"]) or 1  # accepted, not used
        self.dense = read_layers(description)
        self.n_out = self.dense[-1].n_out
        self.lr = float(description["optimizer"]["lr"])
        self.steps = self.epochs = 0
        self.trace: Trace | None = None  # of the last training pass
        self.side: dict[
            str, Array
        ] = {}  # "0.head": e_l, "0.low": d_{l+1} P; weighted as deltas are
        self.residuals: dict[str, Array] = {}  # d_{l+1} P P^T - d_{l+1} where P learns
        self.second: Trace | None = None  # of its second pass, where the rule makes one
        self._training = False  # inside a training step, whose products are counted
        self.counts = {"forward": 0, "transport": 0, "feedback": 0, "outer": 0}
        self.parameters = {k: a.astype(self.dtype) for k, a in self._first_parameters().items()}
        self.feedback = {k: a.astype(self.dtype) for k, a in self._first_feedback().items()}
        trained = [key for layer in self.dense if layer.trains for key in self._keys(layer)]
        trained += [key for _, key in self._learned()]
        trained += [key for layer in self._trained_heads() for key in self._head_keys(layer)]
        slots = range(slot_count(description["optimizer"]))
        self.slots = {
            k: [np.zeros_like((self.parameters | self.feedback)[k]) for _ in slots]
            for k in trained
            if slots
        }

    def _keys(self, layer: Layer) -> list[str]:
        return [layer.key("weight"), layer.key("bias")][: 1 + layer.spec["use_bias"]]

    def _head_keys(self, layer: Layer) -> list[str]:
        return [layer.key("head.weight"), layer.key("head.bias")]

    def _trained_heads(self) -> list[Layer]:
        heads = (x for x in self.dense[:-1] if x.rule["name"] == "local" and x.trains)
        return [layer for layer in heads if layer.rule.get("train_head", True)]

    def _learned(self) -> list[tuple[Layer, str]]:
        """The hidden layers whose feedback has a gradient of its own, and its key."""
        learned: list[tuple[Layer, str]] = []
        for layer in (x for x in self.dense[:-1] if x.trains):
            parts = {"dkp": ["feedback"], "ldfa": ["feedback.Q"]}.get(layer.rule["name"], [])
            parts = parts + (["feedback.P"] if layer.rule.get("oja") else [])
            learned += [(layer, layer.key(part)) for part in parts]
        return learned

    def _first_parameters(self) -> dict[str, Array]:
        seed, first = self.description["seed"], {}
        for layer in self.dense:
            fans = layer.n_in, layer.n_out
            for part, purpose, shape in (("weight", WEIGHT, fans), ("bias", BIAS, fans[1:])):
                if layer.key(part) in self._keys(layer):
                    stream = Stream(seed, purpose, layer.ordinal)
                    init = layer.spec[f"{part}_init"]
                    first[layer.key(part)] = initial(init, stream, shape, fans)
        for layer in self.dense[:-1]:
            if layer.rule["name"] == "local":  # M_l^T as a B_l would be drawn
                weight, bias = self._head_keys(layer)
                first |= {weight: self._first_matrix(layer).T.copy(), bias: np.zeros(self.n_out)}
        return first

    def _first_feedback(self) -> dict[str, Array]:
        first: dict[str, Array] = {}
        if self._two_passes:
            first["input.feedback"] = self._first_modulation()
        for layer in self.dense[:-1]:
            if layer.rule["name"] == "ldfa":
                first |= self._first_factors(layer)
            lowest = layer.rule["name"] == "ifa" and layer.ordinal == 0
            if layer.rule["name"] in STORED_FEEDBACK or lowest or self._hosted_feedback(layer):
                first[layer.key("feedback")] = self._first_matrix(layer)
        return first

    @property
    def _two_passes(self) -> bool:
        return any(layer.rule["name"] == "pepita" for layer in self.dense[:-1])

    def _first_modulation(self) -> Array:
        """F (n_0, n_L): drawn as B^T would be, with n_0 units to reach."""
        spec, stream = (
            self.description["rule"]["feedback"],
            Stream(self.description["seed"], FEEDBACK),
        )
        shape = self.n_in, self.n_out
        if "values" in spec:
            return initial_feedback(spec, stream, shape)
        return draw_feedback(spec, stream, shape[::-1], None).reshape(shape)

    def _first_matrix(self, layer: Layer) -> Array:
        """B (n_source, n_l) of a hidden layer, or the first n_l columns of the shared one."""
        spec, ordinal, cols = layer.rule["feedback"], layer.ordinal, layer.n_out
        above = self.dense[layer.ordinal + 1 if layer.source == "above" else -1]
        if spec.get("distribution") == "copy":
            weight = self._first_weight(above).astype(self.dtype).T
            return np.asarray(self.dtype.type(spec["scale"]) * weight)
        if spec.get("shared"):
            sharing = [x for x in self.dense[:-1] if x.rule.get("feedback", {}).get("shared")]
            ordinal, cols = 0, max(x.n_out for x in sharing)
        stream = Stream(self.description["seed"], FEEDBACK, ordinal)
        forward = above.spec["weight_init"]
        shape = self._source_width(layer), cols
        return initial_feedback(spec, stream, shape, forward)[:, : layer.n_out]

    def _first_weight(self, layer: Layer) -> Array:
        stream = Stream(self.description["seed"], WEIGHT, layer.ordinal)
        fans = layer.n_in, layer.n_out
        return initial(layer.spec["weight_init"], stream, fans, fans)

    def _hosted_feedback(self, layer: Layer) -> bool:
        return layer.rule["name"] == "custom" and bool(layer.rule.get("feedback"))

    def _first_factors(self, layer: Layer) -> dict[str, Array]:
        """P (n_{l+1}, r), orthonormal columns, and Q (r, n_l) as a stored matrix would be."""
        above, seed = self.dense[layer.ordinal + 1].n_out, self.description["seed"]
        most = min(above, layer.n_out)
        rank = layer.rule.get("rank") or min(self.n_out, most)
        require(1 <= rank <= most, f"rank of layer {layer.index}", f"1 to {most}", rank)
        stream = Stream(seed, PROJECTION, layer.ordinal)
        p = orthogonal(draw("normal", 1.0, stream, (above, rank)))
        stream = Stream(seed, FEEDBACK, layer.ordinal)
        forward = self.dense[layer.ordinal + 1].spec["weight_init"]
        q = initial_feedback(layer.rule["feedback"], stream, (rank, layer.n_out), forward)
        return {layer.key("feedback.P"): p, layer.key("feedback.Q"): q}

    def _source_width(self, layer: Layer) -> int:
        """Columns of what teaches a hidden layer: n_{l+1}, n_{l-1} or n_L."""
        if layer.source == "below":
            return layer.n_in
        return self.dense[layer.ordinal + 1].n_out if layer.source == "above" else self.n_out

    # --------------------------------------------------------------------------- one step, in order

    def product(self, kind: str, a: Array, b: Array) -> Array:
        """A B, counted under its kind while training."""
        self.counts[kind] += self._training
        return np.asarray(a @ b)

    def _input(self, x: Array) -> Array:
        scale = self.description["input_scale"]
        if scale == "auto":
            return x.astype(self.dtype) / 255 if x.dtype == np.uint8 else x
        return np.asarray(x.astype(self.dtype) * scale)

    def _forward(self, x: Array, training: bool) -> Trace:
        """A_l = H_{l-1} W_l + b_l, H_l = f(A_l), with this step's dropout masks if training."""
        return self._pass(self._input(x), training)

    def _pass(self, h: Array, training: bool) -> Trace:
        trace = Trace([], [], [], [], [])
        for layer in self.dense:
            h, keep, gain = self._dropout(layer.dropouts if training else (), h)
            a = self.product("forward", h, self.parameters[layer.key("weight")])
            if layer.spec["use_bias"]:
                a = a + self.parameters[layer.key("bias")]
            trace.inputs.append(h)
            trace.keep.append(keep)
            trace.gain.append(gain)
            trace.a.append(a)
            h = ACTIVATIONS[layer.spec["activation"]][0](a).astype(self.dtype)
            trace.h.append(h)
        return trace

    def _dropout(
        self, dropouts: tuple[tuple[int, float], ...], h: Array
    ) -> tuple[Array, Array, float]:
        """Inverted dropout (Srivastava et al. 2014): dropped, else divided by 1 - rate."""
        mask, gain = np.ones(h.shape, bool), 1.0
        for index, rate in dropouts:
            stream = Stream(self.description["seed"], DROPOUT, index, self.steps)
            keep = keep_mask(stream, len(h), h.shape[1], rate)
            h = np.where(keep, h * (1 / (1 - rate)), 0)
            mask, gain = mask & keep, gain / (1 - rate)
        return h, mask, gain

    def _loss(self, trace: Trace, target: Doubles) -> tuple[Doubles, Array]:
        """The loss of each sample (m,) and the error e = dloss_i/dA_L (m, n_L)."""
        row_loss, error = LOSSES[self.description["loss"]](trace.h[-1].astype(np.float64), target)
        return row_loss, (error * self._slope(self.dense[-1], trace)).astype(self.dtype)

    def _slope(self, layer: Layer, trace: Trace) -> Array:
        """f'(A_l)."""
        derivative = ACTIVATIONS[layer.spec["activation"]][1]
        return derivative(trace.a[layer.ordinal], trace.h[layer.ordinal])

    def _second_pass(self, x: Array, error: Array, target: Doubles) -> Array:
        """X' = X + e F^T through the network with the same masks; e' (m, n_L) of what comes out."""
        fed = self.product("feedback", error, self.feedback["input.feedback"].T)
        self.second = self._pass(self._input(x) + fed, training=True)
        row_loss, error = self._loss(self.second, target)
        if not np.isfinite(row_loss).all():
            raise FloatingPointError("loss of the second pass is not finite; nothing was updated")
        return error

    def _local_vjp(self, layer: Layer, trace: Trace, s: Array) -> Array:
        """d_l from S_l: back through the block's dropouts and f, or only the 0/1 mask if "pre"."""
        s = np.where(trace.keep[layer.ordinal + 1], s, 0)
        if layer.inject == "pre":
            return s
        return (s * trace.gain[layer.ordinal + 1] * self._slope(layer, trace)).astype(self.dtype)

    def _deltas(
        self, layers: list[Layer], trace: Trace, teacher: Teacher, last: Array
    ) -> list[Maybe]:
        """d_l of each layer by its own rule, from the output down; None where not needed."""
        deltas: list[Maybe] = [None] * len(layers)
        deltas[-1] = last
        for layer in taught_order(layers):
            if layer.needed:
                i = layer.ordinal
                teacher = teacher._replace(above=deltas[i + 1], below=deltas[i - 1] if i else None)
                s = RULES[layer.rule["name"]].signal(self, layer, teacher)
                deltas[i] = s if layer.source == "input" else self._local_vjp(layer, trace, s)
        return deltas

    def _backward(
        self, x: Array, labels: Maybe, y: Maybe, weights: Maybe, *rules: list[Layer]
    ) -> tuple[float, float, Trace, list[list[Maybe]]]:
        """One training pass: mean loss, sum of hits, trace, and all D_l under each of `rules`."""
        w = np.ones(len(x)) if weights is None else weights
        target = dense_targets(labels, y, self.n_out)
        trace = self.trace = self._forward(x, training=True)
        row_loss, error = self._loss(trace, target)
        loss = float((w * row_loss).sum() / len(x))
        if not math.isfinite(loss):
            raise FloatingPointError(f"loss is not finite ({loss}); nothing was updated")
        teacher = Teacher(error, None, error, target.astype(self.dtype), labels)
        last = self._second_pass(x, error, target) if self._two_passes else error
        deltas = [  # of the rules, then, where alignment asks, of backprop from the first pass
            [None if d is None else (d * w[:, None]).astype(self.dtype) for d in column]
            for column in (
                self._deltas(layers, trace, teacher, top)
                for layers, top in zip(rules, (last, error), strict=False)
            )
        ]
        for rows in self.side.values():
            rows *= w[:, None].astype(self.dtype)
        hit = hits(self.description["loss"], trace.h[-1], target, labels is not None)
        return loss, float(hit.sum()), trace, deltas

    def _gradient(self, layer: Layer, trace: Trace, delta: Array) -> dict[str, Array]:
        """gW_l = H_{l-1}^T D_l / m and gb_l = sum over rows of D_l / m."""
        g_weight = self.product("outer", trace.inputs[layer.ordinal].T, delta) / len(delta)
        g_bias = delta.sum(axis=0) / len(delta)
        return dict(zip(self._keys(layer), (g_weight, g_bias), strict=False))

    def _gradients(self, trace: Trace, deltas: list[Maybe]) -> dict[str, Array]:
        grads: dict[str, Array] = {}
        for layer, delta in zip(self.dense, deltas, strict=True):
            if layer.trains and delta is not None:
                grads |= self._gradient(layer, self.second or trace, delta)
        for layer, key in self._learned():
            source, h = deltas[-1], trace.inputs[layer.ordinal + 1]
            if key.endswith("Q"):
                source = self.side[layer.key("low")]
            elif key.endswith("P"):  # Oja: the residual, and d P
                source, h = self.residuals[key], self.side[layer.key("low")]
            assert source is not None
            grads[key] = self.product("outer", source.T, h) / len(h)
        for layer in self._trained_heads():
            h, error = trace.inputs[layer.ordinal + 1], self.side[layer.key("head")]
            weight, bias = self._head_keys(layer)
            grads[weight] = self.product("outer", h.T, error) / len(h)
            grads[bias] = error.sum(axis=0) / len(h)
        return grads

    def _clip_factor(self, grads: dict[str, Array]) -> float:
        """Factor that brings the norm of all gradients together down to `clip_norm`, at most 1."""
        total = math.sqrt(sum(norm(g) ** 2 for g in grads.values()))
        if not math.isfinite(total):
            raise FloatingPointError(f"gradient norm is not finite ({total}); nothing was updated")
        return min(1.0, float(self.description["optimizer"]["clip_norm"]) / (total + 1e-6))

    def _update(self, grads: dict[str, Array], lr: float) -> None:
        """Clip by the global norm, then one optimizer step on every trainable parameter."""
        o, step = self.description["optimizer"], OPTIMIZERS[self.description["optimizer"]["name"]]
        clip = self._clip_factor(grads) if o["clip_norm"] else 1.0
        self.steps += 1
        for layer in self.dense:
            for key in (k for k in self._keys(layer) if k in grads):
                bias = key == layer.key("bias")
                scale = layer.spec["lr_scale"] * (layer.spec["bias_lr_scale"] if bias else 1.0)
                decay = 0.0 if bias and not o["decay_bias"] else o["weight_decay"]
                w, g, slots = self.parameters[key], grads[key] * clip, self.slots.get(key, [])
                before = w.copy()
                step(w, g, slots, o, lr * scale, decay, self.steps)
                if not bias and layer.ordinal > 0:
                    self._lead(self.dense[layer.ordinal - 1], w, before)
        for layer in self._trained_heads():
            for key, decays in zip(self._head_keys(layer), (True, o["decay_bias"]), strict=True):
                w, g, slots = self.parameters[key], grads[key] * clip, self.slots.get(key, [])
                decay = o["weight_decay"] if decays else 0.0
                step(w, g, slots, o, lr * layer.rule.get("lr_scale", 1.0), decay, self.steps)
        for layer, key in self._learned():
            how = layer.rule
            self.feedback[key] *= 1 - (0.0 if key.endswith("P") else how.get("decay", 0.0))
            g, slots = grads[key] * clip, self.slots.get(key, [])
            rate = lr * (how["oja"] if key.endswith("P") else how.get("lr_scale", 1.0))
            step(self.feedback[key], g, slots, o, rate, 0.0, self.steps)

    def _lead(self, below: Layer, w: Array, before: Array) -> None:
        """Kolen-Pollack: B_l receives the step of W_{l+1} transposed, and both forget a share."""
        if below.rule["name"] != "kp":
            return
        keep, taken = 1 - below.rule.get("decay", 0.0), w - before
        matrix = self.feedback[below.key("feedback")]
        matrix[...] = keep * matrix + taken.T
        if keep != 1:
            w[...] = keep * before + taken

    @np.errstate(all="ignore")
    def _learn(
        self, x: Array, labels: Maybe, y: Maybe, weights: Maybe, lr: float
    ) -> tuple[float, float]:
        """One step: mean loss before the update, sum of hits. Nothing changes if it raises."""
        self._training = True
        try:
            loss, hit_sum, trace, deltas = self._backward(x, labels, y, weights, self.dense)
            self._update(self._gradients(trace, deltas[0]), lr)
        finally:
            self._training = False
        return loss, hit_sum

    # --------------------------------------------------------------------------------- the protocol

    def train_batch(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> float:
        """One step; the mean loss before the update. FloatingPointError where it is not finite."""
        return self._learn(x, labels, y, weights, self.lr)[0]

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
    ) -> tuple[float, float, int, int]:
        """Batches first..first+count-1 of an epoch: (sum of loss * m, hits, rows, steps done)."""
        order = np.arange(len(x)) if order is None else order
        loss_sum, hit_sum, rows, steps = 0.0, 0.0, 0, 0
        for b in range(first, first + count):
            batch = order[b * batch_size : (b + 1) * batch_size]
            lr = self.lr if lrs is None else float(lrs[steps])
            labels_b, y_b, weights_b = (pick(a, batch) for a in (labels, y, weights))
            loss, hit = self._learn(x[batch], labels_b, y_b, weights_b, lr)
            loss_sum, hit_sum = loss_sum + loss * len(batch), hit_sum + hit
            rows, steps = rows + len(batch), steps + 1
            if poll is not None and poll(b + 1):
                break
        return loss_sum, hit_sum, rows, steps

    def shuffle(self, n: int) -> npt.NDArray[np.int64]:
        """The order (n,) of the next epoch; advances `epochs`."""
        self.epochs += 1
        return permutation(Stream(self.description["seed"], SHUFFLE, 0, self.epochs - 1), n)

    def trim(self) -> None:
        """Give memory back that training has kept: none here."""

    @np.errstate(all="ignore")
    def predict(self, x: Array, logits: bool = False) -> Array:
        """Yhat (m, n_L): probabilities (or with `logits` what they are made of); values for mse."""
        z = self._forward(x, training=False).h[-1]
        if logits:
            return z
        return LINKS[self.description["loss"]](z.astype(np.float64)).astype(self.dtype)

    @np.errstate(all="ignore")
    def evaluate(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> tuple[float, float]:
        """Without dropout: (1/m) sum w_i loss_i, and the plain accuracy or nan where undefined."""
        w = np.ones(len(x)) if weights is None else weights
        trace, target = self._forward(x, training=False), dense_targets(labels, y, self.n_out)
        row_loss, _ = self._loss(trace, target)
        hit = hits(self.description["loss"], trace.h[-1], target, labels is not None)
        return float((w * row_loss).mean()), float(hit.mean())

    @np.errstate(all="ignore")
    def gradients(
        self, x: Array, labels: Maybe, y: Maybe, weights: Maybe
    ) -> tuple[float, dict[str, Array]]:
        """Mean loss and what the next step would hand to the optimizer, for what trains."""
        loss, _, trace, deltas = self._backward(x, labels, y, weights, self.dense)
        grads = self._gradients(trace, deltas[0])
        return loss, {key: g for key, g in grads.items() if key in self.parameters}

    @np.errstate(all="ignore")
    def deltas(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> list[Maybe]:
        """D_l (m, n_l) of every Dense in the next step, None where not needed."""
        return self._backward(x, labels, y, weights, self.dense)[3][0]

    @np.errstate(all="ignore")
    def alignment(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> list[dict[str, Any]]:
        """Each hidden layer's D_l and gW_l against those of backprop with the same masks."""
        exact = [replace(layer, rule={"name": "backprop"}, needed=True) for layer in self.dense]
        trace, deltas = self._backward(x, labels, y, weights, self.dense, exact)[2:]
        triples = zip(self.dense[:-1], *deltas, strict=False)
        return [self._alignment(layer, trace, mine, true) for layer, mine, true in triples]

    def _alignment(self, layer: Layer, trace: Trace, mine: Maybe, true: Maybe) -> Spec:
        """Angles in degrees; nan where the rule teaches no D_l (frozen) or backprop's is zero."""
        row: Spec = dict.fromkeys(("delta_angle", "gradient_angle", "norm_ratio"), math.nan)
        if layer.rule["name"] != "frozen" and mine is not None and true is not None:
            key = layer.key("weight")
            g_mine = self._gradient(layer, self.second or trace, mine)[key]
            g_true = self._gradient(layer, trace, true)[key]
            row["delta_angle"], row["gradient_angle"] = angle(mine, true), angle(g_mine, g_true)
            row["norm_ratio"] = norm(mine) / norm(true) if norm(true) else math.nan
        return {"layer": layer.index, "weight_angle": self._weight_angle(layer), **row}

    def _weight_angle(self, layer: Layer) -> float | None:
        """Chain: B_l to W_{l+1}^T; error: B_l to (W_{l+1} .. W_L)^T; None without a meaning."""
        source = layer.source
        if layer.rule["name"] == "backprop" or source not in ("above", "error"):
            return 0.0 if source == "above" else None
        above = self.dense[layer.ordinal + 1 :][: 1 if source == "above" else None]
        path = np.eye(layer.n_out)
        for upper in above:
            path = path @ self.parameters[upper.key("weight")]
        return angle(carrier(self, layer), path.T)

    def feedback_matrix(self, index: int) -> Array:
        """A copy of the matrix (n_source, n_l) that carries the source to hidden layer `index`."""
        none = "frozen", "pepita"
        hidden = {x.index: x for x in self.dense[:-1] if x.rule["name"] not in none}
        require(index in hidden, "index", f"a hidden layer with a matrix, of {list(hidden)}", index)
        return np.array(carrier(self, hidden[index]), order="C")

    @property
    def layers(self) -> list[dict[str, Any]]:
        """What teaches each Dense; the output layer, which follows no rule, is called "output"."""
        rows = [
            {
                "index": layer.index,
                "rule": layer.rule["name"],
                "inject": layer.inject,
                "source": layer.source,
                "feedback": self._feedback_text(layer),
                "trainable": layer.trains,
                "needed": layer.needed,
            }
            for layer in self.dense
        ]
        rows[-1] |= {"rule": "output", "source": "error"}
        return rows

    def _feedback_text(self, layer: Layer) -> str:
        rows, cols = self._source_width(layer) if layer is not self.dense[-1] else 0, layer.n_out
        if layer.source == "input":
            spec = self.description["rule"]["feedback"]
            return f"{spec.get('distribution', 'values')} {self.n_in}x{self.n_out}"
        if layer.key("feedback.P") in self.feedback:
            rank = self.feedback[layer.key("feedback.P")].shape[1]
            return f"{layer.rule['feedback']['distribution']} {rows}x{cols} rank {rank}"
        if layer.key("feedback") not in self.feedback and layer.source != "head":
            return f"signs {rows}x{cols}" if layer.rule["name"] in DERIVED else ""
        return f"{layer.rule['feedback'].get('distribution', 'values')} {rows}x{cols}"

    def check(self, x: Array, labels: Maybe, y: Maybe, weights: Maybe) -> None:
        """Raise ValueError, naming argument, expected and got, where data does not fit."""
        m, loss = len(x), self.description["loss"]
        require(m > 0 and x.shape == (m, self.n_in), "x", f"shape (m, {self.n_in})", x.shape)
        require(np.isfinite(x).all(), "x", "finite numbers", "NaN or Inf")
        require((labels is None) != (y is None), "labels, y", "exactly one", "both or none")
        if labels is not None:
            require(labels.shape == (m,), "labels", f"shape ({m},)", labels.shape)
            low, high = labels.min(), labels.max()
            top = 1 if self.n_out == 1 and loss != "softmax_cross_entropy" else self.n_out - 1
            require(low >= 0 and high <= top, "labels", f"0 to {top}", f"{low} to {high}")
        if y is not None:
            require(y.shape == (m, self.n_out), "y", f"shape ({m}, {self.n_out})", y.shape)
            require(np.isfinite(y).all(), "y", "finite numbers", "NaN or Inf")
            require(loss == "mse" or ((y >= 0) & (y <= 1)).all(), "y", "numbers in 0..1", "others")
            ones = loss != "softmax_cross_entropy" or (np.abs(y.sum(axis=1) - 1) <= 1e-3).all()
            require(ones, "y", "rows that sum to 1", "others")
        if weights is not None:
            require(weights.shape == (m,), "weights", f"shape ({m},)", weights.shape)
            fine = np.isfinite(weights).all() and (weights >= 0).all()
            require(fine, "weights", "finite numbers >= 0", "others")

    def write(self, key: str, values: Array) -> None:
        """Copy values into a parameter or feedback tensor."""
        np.copyto(self.parameters[key] if key in self.parameters else self.feedback[key], values)

    def reset(self) -> None:
        """Start over: draw from the seed again, zero optimizer slots and counters, first lr."""
        now = self.parameters | self.feedback
        for key, value in (self._first_parameters() | self._first_feedback()).items():
            now[key][...] = value
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
        """Put back what `state` gave; the live arrays stay the same objects."""
        at = struct.calcsize("=qqd")
        expected = at + sum(a.nbytes for a in self._arrays())
        require(len(state) == expected, "state", f"{expected} bytes", len(state))
        self.steps, self.epochs, self.lr = struct.unpack_from("=qqd", state)
        for a in self._arrays():
            a[...] = np.frombuffer(state, a.dtype, a.size, at).reshape(a.shape)
            at += a.nbytes

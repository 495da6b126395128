"""Networks for tests of the GPU kernels: sets of choices in which every pair of them occurs."""

import itertools
import random
from dataclasses import dataclass

import numpy as np
from networks import dense, description, dropout, optimizer, rule

SGD = optimizer("sgd", lr=0.05)
OPTIMIZERS = {
    "sgd": SGD,
    "sgd decay": SGD | {"weight_decay": 0.01, "decay_bias": False},
    "momentum": SGD | {"momentum": 0.9},
    "nesterov": SGD | {"momentum": 0.8, "nesterov": True, "weight_decay": 0.02},
    "rmsprop": optimizer("rmsprop", lr=0.002),
    "rmsprop momentum": optimizer("rmsprop", lr=0.001, momentum=0.5, weight_decay=0.01),
    "adam": optimizer("adam", lr=0.01),
    "adam decay": optimizer("adam", lr=0.01, weight_decay=0.05, decay_bias=False),
    "adamw": optimizer("adamw", lr=0.01, weight_decay=0.1),
}
# Those whose kernels differ from the ones above in nothing but the formula: `LONG` of test_bits.py.
MORE_OPTIMIZERS = {
    "rmsprop centered": optimizer("rmsprop", lr=0.001, centered=True, momentum=0.5),
    "adagrad": optimizer("adagrad", lr=0.01, weight_decay=0.01),
    "nadam": optimizer("nadam", lr=0.002),
    "radam": optimizer("radam", lr=0.01, beta2=0.9),
    "lion": optimizer("lion", lr=0.001, weight_decay=0.1),
}
CLIPPED = {
    "sgd clip": SGD | {"clip_norm": 0.5, "weight_decay": 0.01},
    "nesterov clip": SGD | {"momentum": 0.8, "nesterov": True, "clip_norm": 0.01},
    "adamw clip": optimizer("adamw", lr=0.01, weight_decay=0.1, clip_norm=0.1),
    "rmsprop unclipped": optimizer("rmsprop", lr=0.001, momentum=0.5, clip_norm=1e6),
}

# Loss, outputs, activation of the output, whether targets are rows
LOSSES = {
    "softmax": ("softmax_cross_entropy", 5, "linear", False),
    "softmax rows": ("softmax_cross_entropy", 17, "linear", True),
    "softmax wide": ("softmax_cross_entropy", 70, "linear", False),
    "sigmoid one": ("sigmoid_cross_entropy", 1, "linear", False),
    "sigmoid": ("sigmoid_cross_entropy", 4, "linear", False),
    "sigmoid rows wide": ("sigmoid_cross_entropy", 65, "linear", True),
    "mse": ("mse", 3, "linear", True),
    "mse labels": ("mse", 33, "tanh", False),
    "mse preact": ("mse", 2, "gelu", True),
    "mse preact wide": ("mse", 66, "softplus", True),
}

# The rule of the network, and those that layers have of their own
TAUGHT = {
    "backprop": ("backprop", {}),
    "fa": ("fa", {}),
    "dfa": ("dfa", {}),
    "dfa pre": (rule("dfa", "pre"), {}),
    "sdfa": ("sdfa", {}),
    "drtp": ("drtp", {}),
    "drtp pre": (rule("drtp", "pre"), {}),
    "ternary": ("ternary", {}),
    "frozen": ("frozen", {}),
    "mixed": ("dfa", {0: "fa", 1: "backprop"}),
    "frozen below": ("backprop", {0: "drtp", 1: "frozen"}),
    "sparse": (rule("dfa") | {"feedback": {"distribution": "uniform", "sparsity": 0.8}}, {}),
    "direct below": ("fa", {0: "ternary", 1: "sdfa"}),
}
# Rules with feedback that learns or changes, with heads, with two passes, upwards
LEARNED = {
    "usf": ("usf", {}),
    "frsf": ("frsf", {}),
    "brsf": ("brsf", {}),
    "kp": ("kp", {}),
    "kp undecayed": (rule("kp") | {"decay": 0.0}, {}),
    "dkp": ("dkp", {}),
    "dkp pre": (rule("dkp", "pre"), {}),
    "ldfa": ("ldfa", {}),
    "ldfa fixed": (rule("ldfa") | {"oja": 0.0, "rank": 1}, {}),
    "ifa": ("ifa", {}),
    "local": ("local", {}),
    "local fixed": (rule("local", "pre") | {"train_head": False}, {}),
    "pepita": ("pepita", {}),
    "kp below dkp": ("dkp", {0: "kp", 1: "ldfa"}),
    "local below": ("backprop", {0: "local", 1: "brsf"}),
}

# Hidden layers: units and activation
LAYERS = {
    "none": (),
    "tile": ((16, "tanh"), (32, "relu")),
    "tile - 1": ((15, "sigmoid"), (31, "tanh")),
    "tile + 1": ((33, "relu"), (17, "gelu"), (65, "tanh")),
    "primes": ((7, "softplus"), (37, "leaky_relu"), (3, "linear")),
    "one": ((1, "tanh"),),
    "steps": ((19, "sign"), (23, "threshold")),  # need inject="pre"
}
WIDE = {"several tiles": ((300, "tanh"), (40, "relu"))}  # of the norm of a gradient

# Dropouts: in front of the first layer, behind each hidden layer
DROPS = {
    "no": ((), ()),
    "hidden": ((), (0.3,)),
    "input": ((0.2,), ()),
    "twice": ((0.1, 0.0), (0.4, 0.2)),
}

FACTORS = {
    "taught": tuple(TAUGHT),
    "optimizer": tuple(OPTIMIZERS),
    "loss": tuple(LOSSES),
    "layers": tuple(LAYERS),
    "drops": tuple(DROPS),
    "samples": ("numbers", "bytes", "scaled", "scaled bytes"),
    "weighted": (False, True),
    "m": (1, 2, 16, 17, 33),
    "odd": (False, True),  # unequal learning rates, a layer without bias, one that does not learn
    "order": ("forward", "reverse", "random"),
}
# For rules with feedback that learns: fewer choices of the rest
FEW = {
    "taught": tuple(LEARNED),
    "optimizer": ("sgd", "momentum", "adamw", "sgd clip", "nesterov clip"),
    "loss": ("softmax", "sigmoid rows wide", "mse preact"),
    "layers": ("tile + 1", "primes", "one"),
    "drops": ("no", "hidden", "twice"),
    "samples": ("numbers", "scaled bytes"),
    "weighted": (False, True),
    "m": (1, 17),
    "odd": (False, True),
    "order": FACTORS["order"],
}


@dataclass(frozen=True)
class Case:
    """One set of choices; `words` is the name of its test."""

    taught: str = "backprop"
    optimizer: str = "sgd"
    loss: str = "softmax"
    layers: str = "tile + 1"
    drops: str = "no"
    samples: str = "numbers"
    weighted: bool = False
    m: int = 17
    odd: bool = False
    order: str = "random"
    dtype: str = "float32"
    tile: str = "16x32"

    @property
    def words(self):
        chosen = [getattr(self, name) for name in (*FACTORS, "dtype", "tile")]
        return "-".join(str(choice).replace(" ", "_") for choice in chosen)

    @property
    def possible(self):
        """Whether the engine takes it: units that step, feedback without an empty column."""
        steps = self.layers == "steps" and not self.taught.endswith("pre")
        return not steps and (self.taught != "sparse" or LOSSES[self.loss][1] >= 5)

    def description(self):
        loss, n_out, out_activation, _ = LOSSES[self.loss]
        before, behind = DROPS[self.drops]
        common, own = (TAUGHT | LEARNED)[self.taught]
        layers = [dropout(rate) for rate in before]
        units_of = (LAYERS | WIDE)[self.layers]
        for i, (units, activation) in enumerate(units_of):
            odd = {"lr_scale": 0.5 + i, "bias_lr_scale": 2.0} if self.odd else {}
            odd |= {"use_bias": i != 0, "trainable": i != 1} if self.odd else {}
            last = i == len(units_of) - 1
            rule_of_layer = None if last or i not in own else rule(own[i])
            layers.append(dense(units, activation, rule=rule_of_layer, **odd))
            layers += [dropout(rate) for rate in behind]
        layers.append(dense(n_out, out_activation))
        scale = 0.7 if "scaled" in self.samples else "auto"
        chosen = (OPTIMIZERS | MORE_OPTIMIZERS | CLIPPED)[self.optimizer]
        return description(
            layers, 29, common, loss=loss, dtype=self.dtype, optimizer=dict(chosen),
            input_scale=scale,
        )  # fmt: skip

    def data(self, seed=0):
        """x, labels, y, weights and an order, of three batches of which the last is short."""
        loss, n_out, _, rows = LOSSES[self.loss]
        rng = np.random.default_rng(seed)
        n = 3 * self.m - self.m // 2
        if "bytes" in self.samples:
            x = rng.integers(0, 256, (n, 29), dtype=np.uint8)
        else:
            x = rng.standard_normal((n, 29)).astype(self.dtype)
        labels, y = rng.integers(0, max(n_out, 2), n), None
        if rows:
            y = rng.uniform(0.05, 1, (n, n_out))
            if loss == "softmax_cross_entropy":
                y[:, 0] = 0
                y /= y.sum(axis=1, keepdims=True)
            labels, y = None, y.astype(self.dtype)
        weights = rng.uniform(0, 2, n) if self.weighted else None
        return x, labels, y, weights, rng.permutation(n)


def covering(factors, possible, tries=20):
    """Few sets of choices in which every possible pair of choices occurs at least once."""
    rng = random.Random(0)
    names = list(factors)
    wanted = {
        pair
        for a, b in itertools.combinations(names, 2)
        for pair in itertools.product(((a, x) for x in factors[a]), ((b, y) for y in factors[b]))
    }
    found, misses = [], 0
    while wanted and misses < 50:
        left = sorted(wanted, key=repr)
        best, most = None, set()
        for _ in range(tries):
            start = dict(rng.choice(left))
            choices = {name: start.get(name, rng.choice(factors[name])) for name in names}
            if possible(choices):
                new = wanted.intersection(itertools.combinations(choices.items(), 2))
                if len(new) > len(most):
                    best, most = choices, new
        misses = 0 if most else misses + 1
        wanted -= most
        found += [best] * bool(most)
    return found

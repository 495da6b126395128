"""The `Sequential` that stands for the parameters of an estimator, and its initial values."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core import NAMES
from .._internal.checks import choice, counted, integer, mismatch, number, show
from ..feedback import Feedback
from ..initializers import Init
from ..layers import Dense, Dropout, Layer
from ..optimizers import SGD, Adam, Optimizer
from ..rules import Rule
from ..rules.registry import as_rule
from ..sequential import Sequential

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["Live", "build", "dense_keys", "draw", "hidden_sizes"]

ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid"}  # scikit-learn's names, and ours


def hidden_sizes(value: object) -> tuple[int, ...]:
    """The widths of the hidden layers."""
    name = "hidden_layer_sizes"
    sizes = value if np.iterable(value) and not isinstance(value, str) else [value]
    return tuple(integer(name, size, 1) for size in sizes)


def build(
    estimator: Any, n_in: int, n_out: int, loss: str, dtype: DTypeLike, decay: float, seed: int
) -> Sequential:
    """A network by the parameters of an estimator; `draw` has the values for it."""
    sizes = hidden_sizes(estimator.hidden_layer_sizes)
    activations = _activations(estimator.activation, len(sizes))
    rules = _rules(estimator, len(sizes))
    rates = _for_each_layer("dropout", estimator.dropout, len(sizes))
    bounds = _bounds(estimator, n_in, n_out)
    layers: list[Layer] = []
    for size, activation, rule, rate, bound in zip(
        sizes, activations, rules, rates, bounds, strict=False
    ):
        layers.append(Dense(size, activation, **_inits(bound), rule=rule))
        if number("dropout", rate, low=0.0, below=1.0) > 0:
            layers.append(Dropout(rate))
    layers.append(Dense(n_out, **_inits(bounds[-1])))
    return Sequential(
        layers,
        input_shape=n_in,
        loss=loss,
        rule=_rule(estimator, estimator.rule) if _is_one(estimator.rule) else "backprop",
        optimizer=_optimizer(estimator, decay),
        dtype=dtype,
        rng=seed,
        n_threads=estimator.n_threads,
        input_scale=1.0,
    )


def draw(estimator: Any, n_in: int, n_out: int) -> list[NDArray[Any]]:
    """Weights and biases of each layer in turn, drawn as scikit-learn draws them.

    Both are uniform within sqrt(6 / (n_in + n_out)), or 2 in place of 6 for layers of sigmoids;
    the output layer goes by the activation of the last hidden one.
    """
    widths = [n_in, *hidden_sizes(estimator.hidden_layer_sizes), n_out]
    values = []
    for shape, bound in zip(pairwise(widths), _bounds(estimator, n_in, n_out), strict=True):
        values.append(estimator._random_state.uniform(-bound, bound, shape))
        values.append(estimator._random_state.uniform(-bound, bound, shape[1]))
    return values


def _bounds(estimator: Any, n_in: int, n_out: int) -> list[float]:
    """The largest initial value of each layer, the output included."""
    sizes = hidden_sizes(estimator.hidden_layer_sizes)
    activations = _activations(estimator.activation, len(sizes))
    activations.append(activations[-1] if activations else _sole_activation(estimator))
    return [
        float(np.sqrt((2.0 if activation == "sigmoid" else 6.0) / sum(widths)))
        for widths, activation in zip(pairwise([n_in, *sizes, n_out]), activations, strict=True)
    ]


def dense_keys(net: Sequential) -> list[int]:
    """Indices of the layers that have weights."""
    return [i for i, layer in enumerate(net.layers) if isinstance(layer, Dense)]


def _inits(bound: float) -> dict[str, Any]:
    """Initialisers with the distributions of `draw`, from which `Sequential.reset` draws."""
    return {"weight_init": Init("uniform", bound), "bias_init": Init("uniform", bound)}


def _is_one(value: object) -> bool:
    """Whether a parameter holds one value for all layers and not a list with one for each."""
    return not isinstance(value, (list, tuple))


def _for_each_layer(name: str, value: Any, n_layers: int) -> list[Any]:
    if _is_one(value):
        return [value] * n_layers
    if len(value) != n_layers:
        raise ValueError(
            mismatch(
                name,
                "one value, or one for each hidden layer",
                f"{counted(len(value), 'value')} for {counted(n_layers, 'hidden layer')}",
            )
        )
    return list(value)


def _activations(value: object, n_layers: int) -> list[str]:
    """The activations of the hidden layers, by fastfa's names."""
    return [_activation(each) for each in _for_each_layer("activation", value, n_layers)]


def _activation(name: object) -> str:
    known = choice("activation", name, [*ACTIVATIONS, *NAMES["activation"]])
    return ACTIVATIONS.get(known, known)


def _sole_activation(estimator: Any) -> str:
    """The activation that a network without hidden layers goes by, although it has none."""
    value = estimator.activation
    return _activation(value) if _is_one(value) else "linear"


def _rules(estimator: Any, n_layers: int) -> list[Rule | None]:
    """The rules of the hidden layers; None: that of the network."""
    if _is_one(estimator.rule):
        return [None] * n_layers
    rules = [_rule(estimator, each) for each in estimator.rule]
    return _for_each_layer("rule", rules, n_layers)


def _rule(estimator: Any, value: object) -> Rule:
    """A rule with the `feedback` and `inject` of the estimator, where they are given."""
    rule: Any = as_rule("rule", value)
    given = {"feedback": _feedback(estimator.feedback), "inject": estimator.inject}
    given = {name: each for name, each in given.items() if each is not None}
    known = {field.name for field in fields(rule)}
    for name, each in given.items():
        if name not in known:
            hint = f'rule "{rule.name}" has no such option'
            raise ValueError(mismatch(name, "None", show(each), hint))
    changed: Rule = replace(rule, **given) if given else rule
    return changed


def _feedback(value: Any) -> Feedback | None:
    return value if value is None or isinstance(value, Feedback) else Feedback(value)


def _optimizer(estimator: Any, decay: float) -> Optimizer:
    """The optimizer, with L2 that spares the biases as in scikit-learn."""
    common: dict[str, Any] = {
        "lr": number("learning_rate_init", estimator.learning_rate_init, above=0.0),
        "weight_decay": decay,
        "decay_bias": False,
    }
    if estimator.solver == "sgd":
        momentum = number("momentum", estimator.momentum, low=0.0, below=1.0)
        nesterov = bool(estimator.nesterovs_momentum) and momentum > 0
        return SGD(momentum=momentum, nesterov=nesterov, **common)
    return Adam(
        beta1=number("beta_1", estimator.beta_1, low=0.0, below=1.0),
        beta2=number("beta_2", estimator.beta_2, low=0.0, below=1.0),
        eps=number("epsilon", estimator.epsilon, above=0.0),
        **common,
    )


class Live(list["NDArray[Any]"]):
    """Arrays of a network; assigning to an entry copies values into the network."""

    def __setitem__(self, index: Any, values: Any) -> None:
        one = not isinstance(index, slice)
        arrays, values = ([self[index]], [values]) if one else (self[index], list(values))
        shapes, given = [each.shape for each in arrays], [np.shape(each) for each in values]
        if shapes != given:
            raise ValueError(mismatch("coefs_ or intercepts_", f"shapes {shapes}", given))
        for array, each in zip(arrays, values, strict=True):
            array[...] = each

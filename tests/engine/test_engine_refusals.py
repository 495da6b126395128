"""Descriptions and data that the engine refuses; the oracle trusts its arguments."""

import re

import numpy as np
import pytest
from networks import (
    ACTIVATIONS,
    BROADCAST,
    DIFFERENTIABLE,
    PER_LAYER,
    RULES,
    dense,
    description,
    dropout,
    rule,
    samples,
)

import fastfa as fa
from fastfa import _core
from fastfa.backends import reference as _ref


def test_the_engine_accepts_what_rules_and_activations_say():
    """The lists of `networks` hold what the engine accepts: a wrong refusal would shorten them."""

    def takes_pre(name):
        try:
            fa.rules.RULES[name](inject="pre")
        except (TypeError, ValueError):
            return False
        return True

    def has_slope(name):
        f, derivative = _ref.ACTIVATIONS[name]
        return derivative(a, f(a)).any()

    a = np.linspace(-3, 3, 8)
    assert set(_ref.RULES) == {*RULES, "custom"}
    assert tuple(filter(takes_pre, RULES)) == BROADCAST
    assert tuple(name for name in RULES if not _ref.RULES[name].two_passes) == PER_LAYER
    assert tuple(filter(has_slope, ACTIVATIONS)) == DIFFERENTIABLE


def test_empty_batches_are_refused():
    net = _core.Network(description([dense(3, "tanh"), dense(2)], 4))
    for method in ("train_batch", "evaluate", "gradients", "check"):
        with pytest.raises(ValueError, match=r"X.*at least one sample"):
            getattr(net, method)(np.empty((0, 4)), np.empty(0, np.int64), None, None)
    with pytest.raises(ValueError, match="at least one sample"):
        net.predict(np.empty((0, 4)))


@pytest.mark.parametrize(
    ("layers", "changes", "message"),
    [
        ([dense(3), dropout(0.1)], {}, "layer 1: .*dense.*dropout"),
        ([dense(3, rule=rule("dfa"))], {}, "layer 0: rule: .*dfa"),
        ([dense(3, "tanh")], {}, "layer 0: activation: .*'linear'.*'tanh'"),
        ([dense(3, "sign")], {"loss": "mse"}, "layer 0: activation: .*zero derivative.*'sign'"),
        ([dense(4, "sign"), dense(3)], {"teaching": "fa"}, "layer 0: activation.*zero derivative"),
        ([dense(4), dense(3)], {"teaching": rule("fa", "pre")}, "layer 0: inject='pre'"),
        ([dense(3, weight_init={"values": np.ones((3, 5))})], {}, r"expected.*\(5, 3\), got"),
        ([dense(4), dense(3)], {"teaching": rule("dfa", values=np.ones((4, 3)))},
         r"layer 0: feedback: expected.*\(3, 4\), got \(4, 3\)"),
    ],
)  # fmt: skip
def test_descriptions_without_a_meaning_are_refused(layers, changes, message):
    with pytest.raises(ValueError, match=message):
        _core.Network(description(layers, 5, **changes))


def test_the_refusal_of_inject_before_names_the_rules_that_take_it():
    def refused(name):
        try:
            _core.Network(description([dense(4), dense(3)], 5, teaching=rule(name, "pre")))
        except ValueError as error:
            return str(error)

    message = refused("fa")
    named = re.search(r"expected one of the rules (.*), got 'fa'$", message)[1].split(", ")
    assert {name for name in RULES if not refused(name)} == set(named) - {"custom"}
    sign = description([dense(4, "sign"), dense(3)], 5, teaching="fa")
    with pytest.raises(ValueError, match=re.escape(f"take one of the rules {', '.join(named)} ")):
        _core.Network(sign)


@pytest.mark.parametrize("name", ["sign", "threshold"])
def test_a_zero_derivative_is_refused(name):
    for layers in ([dense(4, name), dense(2)], [dense(4), dense(2, name)]):
        desc = description(layers, 3, "dfa", loss="mse")
        with pytest.raises(ValueError, match=name):
            _core.Network(desc)


def test_data_that_does_not_fit_is_refused():
    desc = description([dense(6, "tanh"), dense(3)], 5)
    net, (x, labels, _, _) = _core.Network(desc), samples(desc, 7)
    y, w = np.eye(3)[labels], np.ones(7)
    net.check(x, labels, None, w)
    net.check(x, None, y, None)
    bad = x.copy()
    bad[2, 2] = np.nan
    for data, message in [
        ((x[:, :4], labels, None, None), r"x: expected.*\(7, 5\).*got.*\(7, 4\)"),
        ((bad, labels, None, None), "X: expected finite.*row 2, column 2"),
        ((x, labels, y, None), "either labels or rows.*both"),
        ((x, labels[:6], None, None), r"labels: expected.*\(7,\).*\(6,\)"),
        ((x, labels + 1, None, None), r"y: expected.*0\.\.2, got 3"),
        ((x, labels - 3, None, None), r"y: expected.*0\.\.2, got -"),
        ((x, None, y[:, :2].copy(), None), r"y: expected.*\(7, 3\).*\(7, 2\)"),
        ((x, None, y + np.inf, None), "y: expected finite.*row 0, column 0"),
        ((x, None, y - 1, None), "y: .*sum to 1.*row 0"),
        ((x, None, y / 2, None), "y: .*sum to 1.*row 0"),
        ((x, labels, None, w[:3]), r"weights: expected.*\(7,\).*\(3,\)"),
        ((x, labels, None, -w), "weight: expected finite numbers >= 0, got -1 at index 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            net.check(*data)

"""Descriptions with equal values are equal and have one hash."""

import copy
import pickle
from dataclasses import dataclass

import numpy as np
import pytest

import fastfa as fa

VALUES = np.arange(6.0).reshape(2, 3)


def schedule(step):
    return 0.1


PAIRS = {  # makes equal ones, and one that is not
    "SGD": (lambda: fa.SGD(0.1), lambda: fa.SGD(0.2)),
    "SGD by function": (lambda: fa.SGD(schedule), lambda: fa.SGD(lambda step: 0.1)),
    "Adam": (fa.Adam, lambda: fa.Adam(beta2=0.99)),
    "AdamW": (lambda: fa.AdamW(weight_decay=0.0), lambda: fa.Adam(weight_decay=0.0)),
    "Dense": (lambda: fa.Dense(3, "relu"), lambda: fa.Dense(3)),
    "Dense with values": (
        lambda: fa.Dense(3, weight_init=VALUES),
        lambda: fa.Dense(3, weight_init=VALUES + 1),
    ),
    "Dense with a rule": (lambda: fa.Dense(3, rule=fa.DFA()), lambda: fa.Dense(3, rule="fa")),
    "Dense with an option": (
        lambda: fa.Dense(3, "elu", alpha=0.5),
        lambda: fa.Dense(3, "elu"),
    ),
    "SoftmaxCrossEntropy": (
        lambda: fa.SoftmaxCrossEntropy(0.1),
        fa.SoftmaxCrossEntropy,
    ),
    "Huber": (lambda: fa.Huber(2), fa.Huber),
    "Pinball": (lambda: fa.Pinball(0.9), fa.Pinball),
    "Focal": (lambda: fa.Focal(1), fa.Focal),
    "Dropout": (lambda: fa.Dropout(0.5), lambda: fa.Dropout(0.4)),
    "Init": (lambda: fa.Init("normal", 0.1), lambda: fa.Init("normal")),
    "Feedback": (lambda: fa.Feedback("normal", 2), lambda: fa.Feedback("normal")),
    "Feedback with values": (lambda: fa.Feedback(VALUES), lambda: fa.Feedback(VALUES[:1])),
    "Feedback by function": (lambda: fa.Feedback(np.outer), lambda: fa.Feedback(np.add)),
    "DFA": (lambda: fa.DFA(fa.Feedback(VALUES)), lambda: fa.DFA(inject="pre")),
    "SDFA": (fa.SDFA, fa.DFA),
    "LDFA": (lambda: fa.LDFA(rank=2), lambda: fa.LDFA(rank=3)),
    "Local": (fa.Local, lambda: fa.Local(train_head=False)),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_equal_values_make_equal_objects_with_one_hash(kind):
    make, other = PAIRS[kind]
    assert make() == make()
    assert hash(make()) == hash(make())
    assert make() != other()
    assert len({make(), make(), other()}) == 2
    assert make() != "dfa"
    for again in (copy.copy(make()), copy.deepcopy(make())):
        assert again == make()
    if "function" not in kind:
        assert pickle.loads(pickle.dumps(make())) == make()


def test_numbers_and_zeros_that_are_equal_have_one_hash():
    assert fa.SGD(1) == fa.SGD(1.0)
    assert hash(fa.SGD(1)) == hash(fa.SGD(1.0))
    zero, minus = fa.Feedback(np.zeros((1, 2))), fa.Feedback(-np.zeros((1, 2)))
    assert zero == minus
    assert hash(zero) == hash(minus)


def test_a_name_is_equal_to_what_it_stands_for():
    assert fa.Dense(3, rule="dfa") == fa.Dense(3, rule=fa.DFA())
    assert fa.Dense(3, weight_init="normal") == fa.Dense(3, weight_init=fa.Init("normal", 0.05))
    assert hash(fa.Dense(3, rule="dfa")) == hash(fa.Dense(3, rule=fa.DFA()))


class Own(fa.Rule):
    def __init__(self, share):
        object.__setattr__(self, "share", share)

    def signal(self, ctx):
        return ctx.error @ np.ones((3, 4))


class ByShare(Own):
    def __eq__(self, other):
        return type(other) is ByShare and other.share == self.share

    def __hash__(self):
        return hash(self.share)


@dataclass(frozen=True)
class ByFields(fa.Rule):
    share: float

    signal = Own.signal


def test_rules_written_in_python_are_equal_to_themselves_unless_they_say_so():
    one = Own(1)
    assert fa.Dense(4, rule=one).rule == one
    assert one != Own(1)
    assert fa.Dense(4, rule=one) == fa.Dense(4, rule=one)
    assert fa.Dense(4, rule=one) != fa.Dense(4, rule=Own(1))
    for kind in (ByShare, ByFields):
        assert kind(1) == kind(1)
        assert kind(1) != kind(2)
        assert hash(fa.Dense(4, rule=kind(1))) == hash(fa.Dense(4, rule=kind(1)))


@pytest.mark.parametrize("rule", ["dfa", "kp", "usf", "ldfa", "pepita", "local", "ternary"])
def test_a_network_from_a_file_has_an_equal_description(rule):
    layers = [fa.Dense(4, "tanh", bias_init="normal"), fa.Dropout(0.1), fa.Dense(3, rule=None)]
    net = fa.Sequential(layers, input_shape=5, rule=rule, optimizer=fa.SGD(0.1), rng=0)
    again = fa.load(net.to_bytes())
    assert (again.layers, again.rule, again.optimizer) == (net.layers, net.rule, net.optimizer)

"""The options of Python's objects are those of the library: names, defaults, bounds, kinds."""

import math
from dataclasses import fields

import numpy as np
import pytest
from networks import dense, description, rule

import fastfa as fa
from fastfa import _core
from fastfa.optimizers import OPTIMIZERS
from fastfa.rules import RULES

# Fields that all objects of a kind share.
COMMON = {
    "rule": {"feedback", "inject", "scale"},
    "optimizer": {"lr", "weight_decay", "clip_norm", "decay_bias", "l1"},
    "layer": {
        "units", "activation", "use_bias", "weight_init", "bias_init", "rule", "trainable",
        "lr_scale", "bias_lr_scale",
    },
}  # fmt: skip
CLASSES = [("rule", each) for each in RULES.values()]
CLASSES += [("optimizer", each) for each in OPTIMIZERS.values()]
CLASSES += [("layer", fa.Dropout), ("layer", fa.Dense)]
NAMES = {fa.Dropout: "dropout", fa.Dense: "dense"}
ACTIVATION_WITH = {"slope": "leaky_relu", "alpha": "elu"}
OPTIONS = [
    (kind, cls, row)
    for kind, cls in CLASSES
    for row in _core.options(kind, NAMES.get(cls) or cls.name)
]
IDS = [f"{cls.__name__}-{row['name']}" for _, cls, row in OPTIONS]


def make(cls, row, value):
    """The object with one value; SGD needs a rate, and Nesterov's form momentum."""
    more = {"lr": 0.1} if cls is fa.SGD else {}
    more |= {"momentum": 0.5} if row["name"] == "nesterov" else {}
    if cls is fa.Dense:
        more = {"units": 5, "activation": ACTIVATION_WITH[row["name"]]}
    return cls(**{row["name"]: value}, **more)


def field_of(cls, row):
    return next(each for each in fields(cls) if each.name == row["name"])


def stands_for_none(cls, row, value):
    """Whether the value is written None in Python."""
    return field_of(cls, row).default is None and value == row["default"]


@pytest.mark.parametrize(("kind", "cls"), CLASSES, ids=[cls.__name__ for _, cls in CLASSES])
def test_fields_are_the_options_of_the_library(kind, cls):
    own = {each.name for each in fields(cls)} - COMMON[kind]
    assert own == {row["name"] for _, other, row in OPTIONS if other is cls}


@pytest.mark.parametrize(("kind", "cls", "row"), OPTIONS, ids=IDS)
def test_defaults_are_those_of_the_library(kind, cls, row):
    default = field_of(cls, row).default
    if row["is_field"]:
        return  # it has to be given
    if default is None:
        assert row["default"] == 0  # which stands for a choice
    else:
        assert default == row["default"]
        assert type(default) is type(row["default"])


def values(row):
    """Values around the bounds, and whether they are good."""
    step = 1 if row["kind"] == "integer" else None
    for end, excluded, out in (
        (row["low"], row["low_excluded"], -math.inf),
        (row["high"], row["high_excluded"], math.inf),
    ):
        if math.isfinite(end):
            sign = int(math.copysign(1, out))
            outside = int(end) + sign if step else math.nextafter(end, out)
            inside = int(end) - sign if step else math.nextafter(end, -out)
            yield from ((int(end) if step else end, not excluded), (outside, False), (inside, True))


@pytest.mark.parametrize(("kind", "cls", "row"), OPTIONS, ids=IDS)
def test_bounds_are_those_of_the_library(kind, cls, row):
    if row["kind"] == "flag":
        for value in (True, False, np.True_):
            assert getattr(make(cls, row, value), row["name"]) is bool(value)
        with pytest.raises(TypeError, match=f"{row['name']}: expected True or False, got 1"):
            make(cls, row, 1)
        return
    if row["kind"] == "text":
        assert getattr(make(cls, row, "gelu"), row["name"]) == "gelu"
        for value in ("nonsense", 0.5, None):
            with pytest.raises((TypeError, ValueError), match=f"^{row['name']}: expected .*, got "):
                make(cls, row, value)
        return
    for value, good in values(row):
        if good and not stands_for_none(cls, row, value):
            assert getattr(make(cls, row, value), row["name"]) == value
        else:
            with pytest.raises(ValueError, match=f"^{row['name']}: expected .*, got "):
                make(cls, row, value)
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises((TypeError, ValueError), match=f"^{row['name']}: expected .*, got "):
            make(cls, row, value)
    with pytest.raises(TypeError, match=f"^{row['name']}: expected "):
        make(cls, row, "0.5")


@pytest.mark.parametrize(("kind", "cls", "row"), OPTIONS, ids=IDS)
def test_values_go_through_networks_and_files(kind, cls, row):
    kinds = {"flag": not row["default"], "integer": 2, "text": "gelu"}
    value = kinds.get(row["kind"], 0.375)
    one = make(cls, row, value)
    layers = [fa.Dense(5, "tanh"), fa.Dropout(0.5), fa.Dense(4, "tanh"), fa.Dense(3)]
    settings = {"rule": "backprop", "optimizer": fa.SGD(1e-3)}
    if kind == "layer":
        layers[1] = one
    else:
        settings[kind] = one
    net = fa.Sequential(layers, input_shape=6, rng=0, **settings)
    again = fa.load(net.to_bytes())
    for each in (net, again):
        found = each.layers[1] if kind == "layer" else getattr(each, kind)
        assert repr(found) == repr(one)
        assert getattr(found, row["name"]) == value
        assert type(getattr(found, row["name"])) is type(value)
    described = again._engine.description
    how = described["layers"][1] if kind == "layer" else described[kind]
    assert how[row["name"]] == value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": rule("fa") | {"oja": 0.1}}, r"^rule 'fa': option: expected none, got 'oja'$"),
        ({"rule": rule("kp") | {"decay": 2}}, r"rule 'kp': decay: expected a finite .*, got 2$"),
        ({"rule": rule("kp") | {"decay": "2"}}, r"rule 'kp': decay: expected a finite .*, got '2'"),
        ({"loss_options": {"delta": 1.0}}, r"loss 'softmax_cross_entropy': option: .* 'delta'"),
        ({"layers": [dense(3, strides=2)]}, r"layer 0: type 'dense': option: .* 'strides'"),
    ],
)
def test_options_that_there_are_not_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        _core.Network(description([dense(4, "tanh"), dense(3)], 5) | changes)


def test_the_list_of_the_library():
    with pytest.raises(ValueError, match=r"expected one of backprop, .*, got 'adam'"):
        _core.options("rule", "adam")
    assert _core.options("rule", "fa") == ()
    (row,) = _core.options("rule", "kp")
    assert row == {
        "name": "decay", "kind": "number", "default": 0.0, "low": 0.0, "high": 1.0,
        "low_excluded": False, "high_excluded": True, "is_field": False,
        "meaning": "share of the feedback and of the weights above that is lost in a step",
    }  # fmt: skip


@pytest.mark.parametrize(("option", "activation"), ACTIVATION_WITH.items())
def test_an_option_of_another_activation_is_refused(option, activation):
    message = (
        rf"{option} with activation 'tanh': expected .* the default, got 0.5; only {activation} has"
    )
    with pytest.raises(ValueError, match=message):
        fa.Dense(5, "tanh", **{option: 0.5})
    assert repr(fa.Dense(5, activation, **{option: 0.5})).endswith(f"{option}=0.5)")
    default = getattr(fa.Dense, option)
    assert repr(fa.Dense(5, "tanh", **{option: default})) == "Dense(5, activation='tanh')"

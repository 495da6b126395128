"""Another optimizer, another loss, layers that are frozen: weights stay, training goes on."""

import warnings

import numpy as np
import pytest
from small import assert_same, copies, network, same_state, samples

import fastfa as fa

X, Y = samples(60)
QUIET = {"verbose": False}


def trained(**changes):
    net = network(**changes)
    net.fit(X, Y, 2, **QUIET)
    return net


def feedback_of(net):
    return {key: value.copy() for key, value in net.feedback.items()}


def by_hand(net, optimizer, **changes):
    """A new network with the weights of another."""
    other = network(**({"optimizer": optimizer} | changes))
    for key, value in net.parameters.items():
        other.parameters[key] = value
    for key, value in net.feedback.items():
        other.feedback[key] = value
    return other


@pytest.mark.parametrize("rule", ["dfa", "kp", "backprop", "local", "pepita", "usf"])
@pytest.mark.parametrize("optimizer", ["adam", fa.SGD(0.05, momentum=0.5), fa.RMSprop(0.01)])
def test_another_optimizer_begins_on_the_same_weights(rule, optimizer):
    net = trained(rule=rule)
    before, feedback = copies(net), feedback_of(net)
    expected = by_hand(net, optimizer, rule=rule)
    net.set_optimizer(optimizer)
    assert_same(copies(net), before)
    assert_same(feedback_of(net), feedback)
    assert (net.steps, net.epochs) == (0, 0)
    assert net.optimizer == expected.optimizer
    assert net.lr == expected.lr
    for each in (net, expected):
        each.fit(X, Y, 2, **QUIET)
    assert same_state(net, expected)


def test_what_is_not_the_optimizers_stays():
    net = network(n_threads=2, input_scale=0.5)
    history = net.fit(X, Y, 2, **QUIET)
    net.n_threads = 1
    net.set_optimizer("adam")
    assert (net.n_threads, net.input_scale, net.seed, net.history) == (1, 0.5, 7, history)
    assert net.layers == network().layers
    again = fa.load(net.to_bytes())
    assert again.optimizer == fa.Adam()
    assert same_state(again, net)


def test_columns_of_tables_stay():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=list("abcdef"))
    net = network()
    net.fit(table, Y, **QUIET)
    net.set_optimizer(fa.SGD(1e-3))
    with pytest.raises(ValueError, match="columns"):
        net.predict(table[list("bacdef")])


def test_schedules_are_replaced_and_come():
    net = network(optimizer=fa.SGD(lambda step: 0.1))
    net.set_optimizer(fa.SGD(0.2))
    assert net.lr == 0.2
    net.set_optimizer(fa.Adam(lambda step: 0.5 / (step + 1)))
    net.train_batch(X, Y)
    assert net.lr == 0.25


class Custom(fa.Rule):
    feedback = fa.Feedback("normal")

    def signal(self, ctx):
        return ctx.error @ ctx.feedback


def test_rules_in_python_stay():
    rule = Custom()
    net = trained(rule=rule)
    net.set_optimizer(fa.SGD(1e-3))
    assert net.rule is rule
    net.fit(X, Y, **QUIET)


def test_wrong_optimizers_change_nothing():
    net = trained()
    before = net._engine.state()
    for wrong in (None, 3, fa.SGD, "adamm"):
        with pytest.raises((TypeError, ValueError), match="optimizer: expected"):
            net.set_optimizer(wrong)
    with pytest.raises(AttributeError, match=r"net\.set_optimizer\(\.\.\.\) replaces it"):
        net.optimizer = fa.SGD(0.1)
    assert net._engine.state() == before


def test_not_while_it_trains():
    errors = []

    def change(net, *_):
        with pytest.raises(RuntimeError, match="fit is running on this network"):
            net.set_optimizer(fa.SGD(1e-3))
        errors.append(1)

    network().fit(X, Y, callbacks=[fa.Callback(on_epoch_end=change)], **QUIET)
    assert errors == [1]


def test_a_file_is_loaded_with_another_optimizer_and_loss():
    net = trained()
    data = net.to_bytes()
    tuned = fa.load(data, optimizer=fa.SGD(0.01))
    expected = by_hand(net, fa.SGD(0.01))
    assert (tuned.loss, tuned.steps) == ("softmax_cross_entropy", 0)
    for each in (tuned, expected):
        each.fit(X, Y, **QUIET)
    assert same_state(tuned, expected)

    tuned = fa.load(data, loss="mse")
    expected = by_hand(net, net.optimizer, loss="mse")
    assert (tuned.loss, tuned.optimizer, tuned.steps) == ("mse", net.optimizer, 0)
    rows = np.eye(3)[Y]
    for each in (tuned, expected):
        each.fit(X, rows, **QUIET)
    assert same_state(tuned, expected)


def test_a_file_with_a_schedule_needs_no_function_where_it_is_replaced():
    data = network(optimizer=fa.SGD(lambda step: 0.1)).to_bytes()
    with pytest.raises(ValueError, match="lr: expected the function"):
        fa.load(data, loss="mse")
    assert fa.load(data, optimizer="adam").lr == 1e-3


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"optimizer": "adamm"}, 'optimizer: expected one of .*, got "adamm"'),
        ({"loss": "bce"}, 'loss: .*got "bce"; did you mean "sigmoid_cross_entropy"'),
    ],
)
def test_wrong_changes_of_a_file_are_refused(how, words):
    with pytest.raises(ValueError, match=words):
        fa.load(network().to_bytes(), **how)


def test_a_loss_that_does_not_fit_the_output_is_refused():
    net = network(layers=[fa.Dense(4, "tanh"), fa.Dense(3, "tanh")], loss="mse")
    with pytest.raises(
        ValueError, match="expected 'linear' on the last layer, got 'tanh'; softmax"
    ):
        fa.load(net.to_bytes(), loss="softmax_cross_entropy")


def test_a_new_optimizer_warns_as_a_new_network_does():
    layers = [fa.Dense(6, "relu"), fa.Dense(3)]
    net = network(layers=layers, rule="sdfa", optimizer=fa.SGD(0.01))
    with pytest.warns(fa.rules.RuleWarning, match="as under Adam"):
        net.set_optimizer("adam")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.set_optimizer(fa.SGD(0.1))


# ---- layers that train, or not


@pytest.mark.parametrize("rule", ["dfa", "kp", "dkp", "ldfa", "backprop", "local", "pepita", "usf"])
@pytest.mark.parametrize("optimizer", ["adam", fa.SGD(0.05, momentum=0.5), fa.SGD(0.05)])
def test_frozen_layers_stay_and_the_others_go_on(rule, optimizer):
    net = trained(rule=rule, optimizer=optimizer)
    before, steps = copies(net), net.steps
    counters = net.steps, net.epochs, net.lr
    net.freeze(0)
    assert (net.steps, net.epochs, net.lr) == counters
    assert [layer.trainable for layer in net.layers if isinstance(layer, fa.Dense)] == [0, 1, 1]
    assert_same(copies(net), before)
    net.fit(X, Y, 2, **QUIET)
    assert net.steps == steps + 4
    for key, value in copies(net).items():
        assert np.array_equal(value, before[key]) == key.startswith("0."), key


@pytest.mark.parametrize("optimizer", ["adam", fa.SGD(0.05, momentum=0.5), fa.RMSprop(0.01)])
def test_other_layers_keep_the_state_of_the_optimizer(optimizer):
    """The next step of a layer above does not depend on whether one below trains."""
    frozen, free = (trained(rule="backprop", optimizer=optimizer) for _ in range(2))
    frozen.freeze(0)
    for net in (frozen, free):
        net.train_batch(X, Y)
    for key in ("2.weight", "2.bias", "3.weight", "3.bias"):
        np.testing.assert_array_equal(frozen.parameters[key], free.parameters[key], err_msg=key)


def test_frozen_from_the_start_is_the_same():
    layers = [fa.Dense(8, "tanh", trainable=False), fa.Dense(3)]
    made, frozen = network(layers=layers), network(layers=[fa.Dense(8, "tanh"), fa.Dense(3)])
    frozen.freeze(0)
    assert frozen.layers == made.layers
    for net in (made, frozen):
        net.fit(X, Y, 2, **QUIET)
    assert same_state(made, frozen)
    for net in (made, frozen):
        net.unfreeze()
        net.fit(X, Y, 1, **QUIET)
    assert same_state(made, frozen)
    assert all(layer.trainable for layer in frozen.layers)


def test_freezing_and_unfreezing_at_once_loses_the_state_of_that_layer_alone():
    net, other = trained(), trained()
    net.freeze(0, 2)
    net.unfreeze(0, 2)
    assert_same(copies(net), copies(other))
    net.train_batch(X, Y)
    other.train_batch(X, Y)
    same = [np.array_equal(net.parameters[k], other.parameters[k]) for k in sorted(net.parameters)]
    assert same == [False, False, False, False, True, True]  # momentum begins anew in 0 and 2


def test_what_belongs_to_the_object_stays():
    net = network(rule=Custom(), optimizer=fa.SGD(lambda step: 0.1), n_threads=1)
    history = net.fit(X, Y, **QUIET)
    rule = net.rule
    net.freeze(2)
    assert (net.rule, net.history, net.n_threads) == (rule, history, 1)
    assert net.lr == 0.1
    view = net.parameters["0.weight"]
    net.freeze(2)  # changes nothing: arrays stay live
    assert np.shares_memory(view, net.parameters["0.weight"])
    assert fa.load(net.to_bytes(), rule=rule, lr=lambda step: 0.1).layers == net.layers


@pytest.mark.parametrize("name", ["freeze", "unfreeze"])
def test_layers_that_are_none_are_refused(name):
    net = trained()
    before = net._engine.state()
    for wrong, kind, words in (
        (1, ValueError, rf"{name}: layer: expected one of \[0, 2, 3\], got 1"),
        (9, ValueError, rf"{name}: layer: expected one of \[0, 2, 3\], got 9"),
        (-1, ValueError, f"{name}: layer: expected an integer >= 0, got -1"),
        ("0", TypeError, f"{name}: layer: expected an integer >= 0, got '0'"),
    ):
        with pytest.raises(kind, match=words):
            getattr(net, name)(0, wrong)
    assert net._engine.state() == before
    assert all(layer.trainable for layer in net.layers if isinstance(layer, fa.Dense))
    with pytest.raises(TypeError, match="freeze: expected at least one layer, got none"):
        net.freeze()


def test_a_layer_that_cannot_train_is_refused():
    net = network(layers=[fa.Dense(8, "sign", trainable=False), fa.Dense(3)], rule="backprop")
    with pytest.raises(ValueError, match="expected one without zero derivative"):
        net.unfreeze(0)
    assert not net.layers[0].trainable


def test_layers_are_not_frozen_while_it_trains():
    errors = []

    def change(net, *_):
        with pytest.raises(RuntimeError, match="fit is running on this network"):
            net.freeze(0)
        errors.append(net.layers[0].trainable)

    network().fit(X, Y, callbacks=[fa.Callback(on_epoch_end=change)], **QUIET)
    assert errors == [True]


def test_the_number_of_threads_and_the_look_at_bytes_stay():
    net = network()
    net.n_threads = 2
    net._validator.bytes_checked = True
    net.freeze(0)
    assert net.n_threads == 2
    net.set_optimizer(fa.SGD(1e-3))
    assert net.n_threads == 2
    assert net._validator.bytes_checked

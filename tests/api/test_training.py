"""Training through the API: the same bits by any path, history, sample weights, learning rates."""

import numpy as np
import pytest
from small import N_OUT, assert_same, copies, network, samples

import fastfa as fa
from fastfa.rules import RULES


@pytest.mark.parametrize("rule", sorted(RULES))
def test_train_batch_gives_the_bits_of_fit(rule):
    X, y = samples()
    fitted, stepped, twin = network(rule=rule), network(rule=rule), network(rule=rule)
    history = fitted.fit(X, y, epochs=2, batch_size=16, verbose=False)
    for epoch in range(2):
        order = twin._engine.shuffle(len(X))
        batches = [order[i : i + 16] for i in range(0, len(X), 16)]
        assert len(batches[-1]) == 2  # the short last batch is part of the test
        losses = [stepped.train_batch(X[b], y[b]) for b in batches]
        mean = np.average(losses, weights=[len(b) for b in batches])
        assert history.history["loss"][epoch] == pytest.approx(mean, rel=1e-12)
    assert fitted.steps == stepped.steps == 8
    assert_same(copies(fitted), copies(stepped))


def test_fit_again_goes_on():
    X, y = samples()
    once, twice = network(), network()
    once.fit(X, y, epochs=3, batch_size=16, verbose=False)
    first = twice.fit(X, y, epochs=1, batch_size=16, verbose=False)
    second = twice.fit(X, y, epochs=2, batch_size=16, verbose=False)
    assert first.epoch == [1]
    assert second.epoch == [2, 3]
    assert twice.epochs == 3
    assert_same(copies(once), copies(twice))


def test_reset_starts_over():
    X, y = samples()
    net = network()
    start = copies(net)
    net.fit(X, y, epochs=2, verbose=False)
    end = copies(net)
    net.lr = 5.0
    net.reset()
    assert_same(start, copies(net))
    assert (net.steps, net.epochs, net.lr) == (0, 0, 0.1)
    net.fit(X, y, epochs=2, verbose=False)
    assert_same(end, copies(net))


def test_a_batch_larger_than_X_is_one_short_batch():
    X, y = samples()
    large, exact = network(), network()
    large.fit(X, y, epochs=2, batch_size=10_000, verbose=False)
    exact.fit(X, y, epochs=2, batch_size=len(X), verbose=False)
    assert large.steps == 2
    assert_same(copies(large), copies(exact))


def test_without_shuffle_batches_come_in_order():
    X, y = samples()
    fitted, stepped = network(), network()
    fitted.fit(X, y, epochs=1, batch_size=20, shuffle=False, verbose=False)
    for i in range(0, len(X), 20):
        stepped.train_batch(X[i : i + 20], y[i : i + 20])
    assert_same(copies(fitted), copies(stepped))


def test_shuffle_takes_another_order_each_epoch():
    X, y = samples()
    shuffled, plain = network(), network()
    shuffled.fit(X, y, epochs=1, batch_size=20, verbose=False)
    plain.fit(X, y, epochs=1, batch_size=20, shuffle=False, verbose=False)
    assert (shuffled.parameters["0.weight"] != plain.parameters["0.weight"]).any()


def test_batches_of_one_train():
    X, y = samples(5)
    net = network(layers=[fa.Dense(1, "tanh"), fa.Dense(N_OUT)])
    history = net.fit(X, y, epochs=30, batch_size=1, verbose=False)
    assert net.steps == 150
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_history_has_one_entry_an_epoch():
    X, y = samples()
    history = network().fit(X, y, epochs=3, validation_data=(X, y), verbose=False)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy", "lr", "time"}
    assert all(len(values) == 3 for values in history.history.values())
    assert all(seconds > 0 for seconds in history.history["time"])
    assert repr(history).startswith("History(3 epochs; last: loss ")


def test_validation_is_evaluate_at_the_end_of_the_epoch():
    X, y = samples()
    w = np.linspace(0, 1, len(X))
    net = network()
    history = net.fit(X, y, epochs=1, validation_data=(X, y, w), verbose=False)
    expected = net.evaluate(X, y, sample_weight=w)
    assert history.history["val_loss"] == [expected["loss"]]
    assert history.history["val_accuracy"] == [expected["accuracy"]]


def test_training_learns_the_problem():
    X, y = samples(300)
    net = network(layers=[fa.Dense(16, "tanh"), fa.Dense(N_OUT)])
    net.fit(X, y, epochs=40, verbose=False)
    assert net.evaluate(X, y)["accuracy"] > 0.95


def test_sample_weight_two_counts_as_two_rows():
    X, y = samples(20, np.float64)
    net = network(layers=[fa.Dense(4, "tanh"), fa.Dense(N_OUT)], dtype="float64")
    weights = np.ones(20)
    weights[:5] = 2
    twice = np.r_[np.arange(20), np.arange(5)]
    weighted, repeated = net.gradients(X, y, weights), net.gradients(X[twice], y[twice])
    for key, gradient in weighted.items():
        np.testing.assert_allclose(gradient * 20, repeated[key] * 25, atol=1e-12, err_msg=key)
    assert net.evaluate(X, y, weights)["loss"] * 20 == pytest.approx(
        net.evaluate(X[twice], y[twice])["loss"] * 25
    )


def test_sample_weights_of_one_change_nothing():
    X, y = samples()
    plain, weighted = network(), network()
    plain.fit(X, y, epochs=2, verbose=False)
    weighted.fit(X, y, epochs=2, sample_weight=[1] * len(X), verbose=False)
    for key, value in plain.parameters.items():
        np.testing.assert_allclose(weighted.parameters[key], value, rtol=1e-5, atol=1e-6)


def test_sample_weights_follow_their_samples_through_the_shuffle():
    X, y = samples()
    w = np.linspace(0.5, 2, len(X))
    fitted, stepped, twin = network(), network(), network()
    fitted.fit(X, y, epochs=1, batch_size=20, sample_weight=w, verbose=False)
    order = twin._engine.shuffle(len(X))
    for i in range(0, len(X), 20):
        b = order[i : i + 20]
        stepped.train_batch(X[b], y[b], sample_weight=w[b])
    assert_same(copies(fitted), copies(stepped))


def test_loss_of_train_batch_is_the_one_before_the_update():
    X, y = samples()
    net = network(layers=[fa.Dense(4, "tanh"), fa.Dense(N_OUT)])
    before = net.evaluate(X, y)["loss"]
    assert net.train_batch(X, y) == pytest.approx(before, rel=1e-5)
    assert net.evaluate(X, y)["loss"] < before


# -------------------------------------------------------------------------------- learning rate


def test_a_schedule_is_asked_for_each_step():
    X, y = samples()
    asked = []

    def lr(step):
        asked.append(step)
        return 0.1 / (1 + step)

    scheduled, by_hand = network(optimizer=fa.SGD(lr)), network(optimizer=fa.SGD(0.1))
    asked.clear()
    scheduled.fit(X, y, epochs=2, batch_size=25, shuffle=False, verbose=False)
    assert asked == [0, 1, 2, 3]
    for step in range(4):
        by_hand.lr = 0.1 / (1 + step)
        rows = slice(0, 25) if step % 2 == 0 else slice(25, 50)
        by_hand.train_batch(X[rows], y[rows])
    assert_same(copies(scheduled), copies(by_hand))
    assert scheduled.lr == 0.1 / 5


def test_train_batch_follows_the_schedule():
    X, y = samples()
    fitted, stepped = (network(optimizer=fa.Adam(lambda step: 0.01 * 0.5**step)) for _ in range(2))
    fitted.fit(X, y, epochs=4, batch_size=len(X), shuffle=False, verbose=False)
    for _ in range(4):
        stepped.train_batch(X, y)
    assert_same(copies(fitted), copies(stepped))


def test_writing_lr_replaces_the_schedule_until_reset():
    net = network(optimizer=fa.SGD(lambda step: 0.5))
    assert net.lr == 0.5
    net.lr = 0.25
    net.train_batch(*samples())
    assert net.lr == 0.25
    net.reset()
    assert net.lr == 0.5


def test_lr_zero_changes_nothing():
    net = network(optimizer=fa.SGD(0.0, momentum=0.9))
    start = copies(net)
    net.fit(*samples(), epochs=1, verbose=False)
    assert_same(start, copies(net))

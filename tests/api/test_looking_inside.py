"""Gradients, live parameters and feedback, alignment and summary of a network."""

import threading

import numpy as np
import pytest
from small import N_IN, N_OUT, assert_same, copies, network, samples

import fastfa as fa


def test_predict_probabilities_logits_and_values():
    X, _ = samples()
    net = network()
    logits = net.predict(X, output="logits")
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(net.predict(X), e / e.sum(axis=1, keepdims=True), rtol=1e-5)
    sigmoid = network(loss="sigmoid_cross_entropy")
    expected = 1 / (1 + np.exp(-sigmoid.predict(X, output="logits")))
    np.testing.assert_allclose(sigmoid.predict(X), expected, rtol=1e-5)
    values = network(layers=[fa.Dense(2, "tanh")], loss="mse")
    expected = np.tanh(X @ values.parameters["0.weight"] + values.parameters["0.bias"])
    for output in ("probabilities", "logits"):  # values are values
        np.testing.assert_allclose(values.predict(X, output), expected, rtol=1e-5, atol=1e-6)


def test_predict_and_evaluate_take_any_number_of_samples():
    X, y = samples(3001)
    net = network()
    whole = net.predict(X)
    assert whole.shape == (3001, N_OUT)
    np.testing.assert_allclose(whole[1234:1235], net.predict(X[1234:1235]), rtol=1e-5)
    losses = [net.evaluate(X[i : i + 1000], y[i : i + 1000])["loss"] for i in (0, 1000, 2000)]
    first = np.average(
        [*losses, net.evaluate(X[3000:], y[3000:])["loss"]], weights=[1000] * 3 + [1]
    )
    assert net.evaluate(X, y)["loss"] == pytest.approx(first, rel=1e-6)


def test_gradients_are_what_sgd_subtracts_and_change_nothing():
    X, y = samples()
    net = network(optimizer=fa.SGD(0.5), dtype="float64")
    start = copies(net)
    gradients = net.gradients(X, y)
    assert_same(start, copies(net))
    assert net.steps == 0
    net.train_batch(X, y)
    assert gradients.keys() == start.keys()
    for key, gradient in gradients.items():
        np.testing.assert_allclose(net.parameters[key], start[key] - 0.5 * gradient, atol=1e-12)


def test_gradients_leave_out_what_does_not_train():
    X, y = samples()
    layers = [fa.Dense(4, "tanh"), fa.Dense(4, "tanh", trainable=False), fa.Dense(N_OUT)]
    assert list(network(layers=layers).gradients(X, y)) == [
        "0.weight", "0.bias", "2.weight", "2.bias",
    ]  # fmt: skip
    assert list(network(rule="frozen").gradients(X, y)) == ["3.weight", "3.bias"]


def test_parameters_are_live_writable_views():
    X, y = samples()
    net = network()
    assert list(net.parameters) == [
        "0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias",
    ]  # fmt: skip
    assert net.parameters["0.weight"].shape == (N_IN, 8)
    assert net.parameters["0.bias"].shape == (8,)
    view, before = net.parameters["3.weight"], net.parameters["3.weight"].copy()
    net.train_batch(X, y)
    assert (view != before).any()
    view[...] = 0
    net.parameters["3.bias"] = np.log([0.2, 0.3, 0.5])
    np.testing.assert_allclose(net.predict(X), np.tile([0.2, 0.3, 0.5], (len(X), 1)), rtol=1e-5)


def test_views_outlive_the_network():
    net = network()
    view, expected = net.parameters["0.weight"], net.parameters["0.weight"].copy()
    del net
    np.testing.assert_array_equal(view, expected)


def test_assignment_reads_overlapping_views_rightly():
    net = network(layers=[fa.Dense(N_IN, "tanh"), fa.Dense(N_OUT)])
    expected = net.parameters["0.weight"].T.copy()
    net.parameters["0.weight"] = net.parameters["0.weight"].T
    np.testing.assert_array_equal(net.parameters["0.weight"], expected)


def test_feedback_is_live_and_used():
    X, y = samples()
    net = network(rule=fa.FA())
    assert {key: a.shape for key, a in net.feedback.items()} == {
        "0.feedback": (5, 8),
        "2.feedback": (N_OUT, 5),
    }
    for key, upper in (("0.feedback", "2.weight"), ("2.feedback", "3.weight")):
        net.feedback[key] = net.parameters[upper].T
    exact = network(rule="backprop")
    for key, gradient in exact.gradients(X, y).items():
        np.testing.assert_allclose(net.gradients(X, y)[key], gradient, rtol=1e-4, atol=1e-6)


def test_feedback_given_as_an_array():
    B = np.arange(N_OUT * 8, dtype=np.float64).reshape(N_OUT, 8)
    layers = [fa.Dense(8, "tanh", rule=fa.DFA(fa.Feedback(B, scale=0.5))), fa.Dense(N_OUT)]
    net = network(layers=layers, rule="backprop")
    np.testing.assert_array_equal(net.feedback["0.feedback"], 0.5 * B)
    np.testing.assert_array_equal(net.feedback_matrix(0), 0.5 * B)


@pytest.mark.parametrize(
    ("rule", "sources"),
    [("backprop", (5, 3)), ("fa", (5, 3)), ("dfa", (3, 3)), ("sdfa", (3, 3)), ("drtp", (3, 3))],
)
def test_feedback_matrix_for_any_rule(rule, sources):
    net = network(rule=rule)
    for index, n_source, units in ((0, sources[0], 8), (2, sources[1], 5)):
        matrix = net.feedback_matrix(index)
        assert matrix.shape == (n_source, units)
        if rule == "backprop":
            upper = {0: "2.weight", 2: "3.weight"}[index]
            np.testing.assert_array_equal(matrix, net.parameters[upper].T)
        else:
            np.testing.assert_array_equal(matrix, net.feedback[f"{index}.feedback"])
        matrix[:] = 99  # a copy: this must reach nothing
        assert not (net.feedback_matrix(index) == 99).any()


def test_alignment():
    X, y = samples()
    exact = network(rule="backprop").alignment(X, y)
    assert [row.layer for row in exact] == [0, 2]
    for row in exact:
        assert row.delta_angle == pytest.approx(0, abs=1e-3)
        assert row.gradient_angle == pytest.approx(0, abs=1e-3)
        assert row.norm_ratio == pytest.approx(1, rel=1e-5)
    for row in network(rule="dfa").alignment(X, y):
        assert 0 < row.delta_angle < 180
        assert 0 < row.weight_angle < 180
    for row in network(rule="frozen").alignment(X, y):
        assert np.isnan(row.delta_angle)
        assert row.weight_angle is None
    assert all(row.weight_angle is None for row in network(rule="drtp").alignment(X, y))


def test_summary_and_repr_show_which_rule_runs():
    layers = [
        fa.Dense(8, "tanh", rule=fa.FA(fa.Feedback("normal"))),
        fa.Dropout(0.1),
        fa.Dense(5, "sign", rule=fa.DFA(inject="pre")),
        fa.Dense(4, "relu", trainable=False),
        fa.Dense(N_OUT),
    ]
    net = network(layers=layers, rule="drtp")
    text = net.summary()
    assert repr(text) == str(text)  # a prompt shows the line breaks
    rows = [line.split() for line in text.splitlines()[2:7]]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4"]
    assert "fa" in rows[0]
    assert rows[0][-2:] == ["normal", "5x8"]
    assert rows[2][-5:] == ["dfa,", "inject", "pre", "uniform", "3x5"]
    assert "no" in rows[3]
    assert "drtp" in rows[3]
    assert rows[4][-2:] == ["exact", "error"]
    total = sum(a.size for a in net.parameters.values())
    assert f"{total:,} ({total - 24} trained)" in text
    for fact in ("softmax_cross_entropy", "SGD(0.1, momentum=0.9)", "float32, 7", "threads"):
        assert fact in text
    line = repr(net)
    assert "\n" not in line
    for fact in ("fa normal 5x8", "dfa uniform 3x5, inject pre", "drtp uniform 3x4", "seed=7"):
        assert fact in line


def test_summary_shows_the_scale_of_the_feedback():
    net = network(rule=fa.DFA(fa.Feedback("normal", scale=0.25)))
    assert "normal 3x8, scale 0.25" in net.summary()
    assert "[dfa normal 3x8, scale 0.25]" in repr(net)


@pytest.mark.parametrize(
    ("activations", "notes"),
    [
        (["linear", "linear"], ["0 and 2"]),
        (["tanh", "linear"], ["1 and 2"]),
        (["linear", "relu"], ["0 and 1"]),
        (["linear", "relu", "linear", "linear"], ["0 and 1", "2 and 4"]),
        (["tanh", "relu"], []),
        ([], []),
    ],
)
def test_summary_says_where_no_non_linearity_is_between_layers(activations, notes):
    layers = [*(fa.Dense(5, each) for each in activations), fa.Dense(3)]
    net = fa.Sequential(layers, input_shape=4, rng=0)
    lines = [line for line in net.summary().splitlines() if line.startswith("note")]
    assert lines == [f"note         no non-linearity between layers {each}" for each in notes]
    assert net._repr_html_().count("no non-linearity between layers") == len(notes)


def test_summary_counts_layers_as_the_list_does():
    layers = [fa.Dense(5), fa.Dropout(0.5), fa.Dense(3)]
    text = fa.Sequential(layers, input_shape=4, rng=0).summary()
    assert text.endswith("note         no non-linearity between layers 0 and 2")


def test_summary_of_frozen_layers_says_so():
    text = network(rule="frozen").summary()
    rows = [line.split() for line in text.splitlines()[2:6]]
    assert "frozen" in rows[0]
    assert "no" in rows[0]
    assert "frozen" in rows[2]


def test_two_networks_in_two_threads_do_not_disturb_each_other():
    X, y = samples(200)
    expected = network()
    expected.fit(X, y, epochs=5, verbose=False)
    nets = [network(), network()]
    runs = [
        threading.Thread(target=net.fit, args=(X, y, 5), kwargs={"verbose": False}) for net in nets
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    for net in nets:
        assert_same(copies(expected), copies(net))

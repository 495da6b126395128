"""`MLPClassifier` and `MLPRegressor` against scikit-learn's: the same weights, losses and epochs.

Both start from the same random state, so they draw the same values, splits and orders of samples.
In float64 only the rounding of sums differs. Adam has an epsilon near 0 here, since scikit-learn
adds it before the correction of bias and fastfa after it.
"""

import warnings

import numpy as np
import pytest
from sk_tables import fit, largest_difference, pair, table
from sklearn.exceptions import ConvergenceWarning

TOLERANCE = 1e-10
FITTED = ("n_features_in_", "n_outputs_", "n_layers_", "n_iter_", "t_", "out_activation_")
SGD = {"solver": "sgd", "learning_rate_init": 0.05}
ADAM = {"epsilon": 1e-100}
SETTINGS = {
    "sgd": {**SGD, "momentum": 0.0},
    "momentum": {**SGD, "nesterovs_momentum": False},
    "nesterov": {**SGD, "momentum": 0.8},
    "invscaling": {**SGD, "learning_rate": "invscaling", "power_t": 0.3},
    "adaptive": {**SGD, "learning_rate": "adaptive", "tol": 0.01, "n_iter_no_change": 2},
    "adam": ADAM,
    "adam, betas": {**ADAM, "beta_1": 0.7, "beta_2": 0.95, "learning_rate_init": 0.01},
    "logistic": {**ADAM, "activation": "logistic"},
    "tanh, two layers": {**ADAM, "activation": "tanh", "hidden_layer_sizes": (9, 4)},
    "identity": {**ADAM, "activation": "identity"},
    "linear": {**ADAM, "hidden_layer_sizes": ()},
    "in order": {**ADAM, "shuffle": False},
    "batches of 7": {**SGD, "batch_size": 7, "alpha": 0.0},
}


def fitted_pair(kind, X, y, **parameters):
    common = {"hidden_layer_sizes": (8,), "max_iter": 40, "random_state": 3}
    return [fit(each, X, y) for each in pair(kind, **(common | parameters))]


def assert_alike(theirs, ours, X, tolerance=TOLERANCE):
    assert [getattr(ours, name) for name in FITTED] == [getattr(theirs, name) for name in FITTED]
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=0, atol=tolerance)
    assert largest_difference(ours.coefs_, theirs.coefs_) < tolerance
    assert largest_difference(ours.intercepts_, theirs.intercepts_) < tolerance
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_the_same_training(kind, name):
    X, labels, values = table(210)
    y = labels if kind == "MLPClassifier" else values
    theirs, ours = fitted_pair(kind, X[:200], y[:200], **SETTINGS[name])
    assert_alike(theirs, ours, X)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("solver", [SGD, ADAM])
def test_the_penalty(solver, alpha):
    """One batch an epoch: the loss is exact, penalty included."""
    X, y, _ = table(100)
    assert_alike(*fitted_pair("MLPClassifier", X, y, alpha=alpha, **solver), X)


def test_the_penalty_of_several_batches():
    """The weights are exact; the loss takes the squares within an epoch from a straight line."""
    X, y, _ = table(100)
    theirs, ours = fitted_pair("MLPClassifier", X, y, alpha=0.5, batch_size=20, **SGD)
    assert largest_difference(ours.coefs_, theirs.coefs_) < TOLERANCE
    exact = np.subtract(theirs.loss_curve_, ours.loss_curve_)
    assert 0 < np.abs(exact).max() < 2e-3
    without = fit(ours.set_params(alpha=0.0), X, y)
    assert np.abs(np.subtract(theirs.loss_curve_, without.loss_curve_)).max() > 1e-2


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_and_score(classes):
    X, y, _ = table(120, classes=classes)
    theirs, ours = fitted_pair("MLPClassifier", X, y, **ADAM)
    for method in ("predict_proba", "predict_log_proba"):
        np.testing.assert_allclose(getattr(ours, method)(X), getattr(theirs, method)(X), atol=1e-9)
    assert ours.score(X, y) == theirs.score(X, y)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


def test_several_labels():
    X, y, _ = table(120)
    rows = np.stack([y > 0, y < 2, X[:, 0] > 0], axis=1).astype(int)
    theirs, ours = fitted_pair("MLPClassifier", X, rows, **ADAM)
    assert_alike(theirs, ours, X)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


def test_several_outputs():
    """scikit-learn averages the loss over the outputs, and not the gradient."""
    X, _, y = table(120)
    theirs, ours = fitted_pair("MLPRegressor", X, np.stack([y, X[:, 0]], axis=1), **ADAM)
    assert_alike(theirs, ours, X)


def early_stopping(kind, y, X, **more):
    return fitted_pair(kind, X, y, early_stopping=True, max_iter=300, **(ADAM | more))


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_early_stopping(kind):
    """Two classes or values: scikit-learn stratifies no others."""
    X, labels, values = table(120, classes=2)
    y = labels if kind == "MLPClassifier" else values
    theirs, ours = early_stopping(kind, y, X, tol=1e-2, learning_rate_init=0.03)
    assert ours.n_iter_ < 300
    assert ours.n_iter_ != int(np.argmax(ours.validation_scores_)) + 1  # the best ones are back
    assert_alike(theirs, ours, X)
    scores = theirs.validation_scores_
    np.testing.assert_allclose(ours.validation_scores_, scores, atol=TOLERANCE)
    assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
    assert ours.best_loss_ is theirs.best_loss_ is None


def test_without_early_stopping():
    X, y, _ = table(100)
    theirs, ours = fitted_pair("MLPClassifier", X, y, tol=1e-3, max_iter=2000, **ADAM)
    assert ours.n_iter_ < 2000
    assert_alike(theirs, ours, X)
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_, abs=TOLERANCE)
    assert ours.validation_scores_ is theirs.validation_scores_ is None
    assert ours.best_validation_score_ is theirs.best_validation_score_ is None


def test_the_same_words_in_the_same_places(capsys):
    X, y, _ = table(100, classes=2)
    lines = []
    for each in pair("MLPClassifier", max_iter=3, random_state=0, verbose=True):
        fit(each.set_params(early_stopping=True), X, y)
        lines.append([line.split()[0] for line in capsys.readouterr().out.splitlines()])
    assert lines[0] == lines[1]
    assert lines[0][:2] == ["Iteration", "Validation"]


def test_weights_that_are_copied_in():
    """The same start and the same order, whatever was drawn."""
    X, y, _ = table(100)
    settings = {**SGD, "momentum": 0.0, "warm_start": True, "n_iter_no_change": 100}
    theirs, ours = fitted_pair("MLPClassifier", X, y, max_iter=1, **settings)
    rng = np.random.default_rng(1)
    for i in range(2):
        theirs.coefs_[i] = rng.normal(size=ours.coefs_[i].shape)
        theirs.intercepts_[i] = rng.normal(size=ours.intercepts_[i].shape)
    ours.coefs_, ours.intercepts_[0] = theirs.coefs_, theirs.intercepts_[0]
    ours.intercepts_[1][:] = theirs.intercepts_[1]
    for each in (theirs, ours):
        fit(each.set_params(max_iter=20, shuffle=False), X, y)
    assert_alike(theirs, ours, X)


def test_epsilon_of_adam_is_the_one_difference():
    X, y, _ = table(100)
    theirs, ours = fitted_pair("MLPClassifier", X, y)
    assert largest_difference(theirs.coefs_, ours.coefs_) > TOLERANCE
    assert_alike(theirs, ours, X, tolerance=1e-3)


def test_reaching_max_iter_is_a_warning():
    X, y, _ = table()
    for each in pair("MLPClassifier", max_iter=2):
        with pytest.warns(ConvergenceWarning):
            each.fit(X, y)


def test_the_warning_points_to_the_caller():
    _, ours = pair("MLPClassifier", max_iter=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours.fit(*table()[:2])
    assert [each.filename for each in caught] == [__file__]

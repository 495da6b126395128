"""Programs in the manner of scikit-learn's examples of MLPs: only the import differs."""

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.datasets import load_digits, make_circles, make_friedman1, make_moons
from sklearn.inspection import partial_dependence
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler

import fastfa.sklearn

MODULES = (sklearn.neural_network, fastfa.sklearn)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def digits(module):
    """The weights of a network that reads images, after a few epochs."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.7, random_state=0)
    model = module.MLPClassifier(
        hidden_layer_sizes=(40,),
        max_iter=8,
        alpha=1e-4,
        solver="sgd",
        random_state=1,
        learning_rate_init=0.2,
    )
    model.fit(X_train, y_train)
    low, high = model.coefs_[0].min(), model.coefs_[0].max()
    images = [column.reshape(8, 8) for column in model.coefs_[0].T]
    assert len(images) == 40
    return [low, high, model.score(X_train, y_train), model.score(X_test, y_test)]


def compare_alphas(module):
    """Decision regions for several strengths of the penalty."""
    results = []
    for X, y in (make_moons(noise=0.3, random_state=0), make_circles(noise=0.2, random_state=1)):
        X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=42)
        for alpha in np.logspace(-1, 1, 3):
            model = make_pipeline(
                StandardScaler(),
                module.MLPClassifier(
                    solver="adam",
                    alpha=alpha,
                    random_state=1,
                    max_iter=300,
                    early_stopping=True,
                    hidden_layer_sizes=[10, 10],
                ),
            )
            model.fit(X_train, y_train)
            results.append(model.score(X_test, y_test))
            results += list(model.predict_proba(X_test[:5])[:, 1])
    return results


def training_curves(module):
    """Loss curves by learning rate and momentum."""
    X, y = load_digits(return_X_y=True)
    X = MinMaxScaler().fit_transform(X)[:600]
    results = []
    for parameters in (
        {"solver": "sgd", "learning_rate": "constant", "momentum": 0.9},
        {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0, "learning_rate_init": 0.2},
        {"solver": "sgd", "learning_rate": "adaptive", "nesterovs_momentum": False},
    ):
        model = module.MLPClassifier(random_state=0, max_iter=10, **parameters)
        results += model.fit(X, y[:600]).loss_curve_
    return results


def regression(module):
    """A regressor with a nested pipeline, and its partial dependence."""
    X, y = make_friedman1(600, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.1, random_state=0)
    model = make_pipeline(
        QuantileTransformer(n_quantiles=100),
        module.MLPRegressor(
            hidden_layer_sizes=(30, 15),
            learning_rate_init=0.01,
            early_stopping=True,
            random_state=0,
        ),
    )
    model.fit(X_train, y_train)
    curves = partial_dependence(model, X_train, [0, (0, 1)][0:1], grid_resolution=8)
    return [model.score(X_test, y_test), *curves["average"][0]]


@pytest.mark.parametrize("example", [digits, compare_alphas, training_curves, regression])
def test_the_results_are_scikit_learns(example):
    """But for Adam's epsilon and the penalty in the last, shorter batch."""
    theirs, ours = (example(module) for module in MODULES)
    tolerance = {"regression": 0.05, "digits": 1e-3}.get(example.__name__, 1e-2)
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)

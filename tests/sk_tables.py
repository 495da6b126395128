"""Small tables and pairs of estimators: what the tests of `fastfa.sklearn` share."""

import warnings

import numpy as np
import sklearn.neural_network
from sklearn.exceptions import ConvergenceWarning

import fastfa.sklearn


def table(m=60, n=5, classes=3, seed=0):
    """X, classes that depend on it, and one value for each sample."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(m, n))
    z = X @ rng.normal(size=(n, classes))
    return X, z.argmax(axis=1), z[:, 0]


def fit(estimator, *data, **more):
    """Fit without the warning that an estimator has not converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*data, **more)


def pair(kind, **parameters):
    """scikit-learn's estimator and ours, with the same parameters."""
    return [getattr(m, kind)(**parameters) for m in (sklearn.neural_network, fastfa.sklearn)]


def largest_difference(first, second):
    return max(np.abs(np.subtract(a, b)).max() for a, b in zip(first, second, strict=True))

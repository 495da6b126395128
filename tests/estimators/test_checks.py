"""The checks that scikit-learn has for all estimators, for both pairs and for several rules."""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

import fastfa as fa
from fastfa.sklearn import FAClassifier, FARegressor, MLPClassifier, MLPRegressor

ESTIMATORS = [MLPClassifier(), MLPRegressor(), FAClassifier(), FARegressor()]
ESTIMATORS += [FAClassifier(rule=rule) for rule in ("dfa", "kp", "local")]
ESTIMATORS += [FARegressor(rule=rule) for rule in ("dfa", "kp", "local")]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("estimator", "check"),
    [pair for each in ESTIMATORS for pair in estimator_checks_generator(each)],
    ids=lambda value: getattr(getattr(value, "func", None), "__name__", None) or repr(value),
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_the_module_is_imported_when_it_is_used():
    assert fa.sklearn.MLPClassifier is MLPClassifier


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_every_parameter_of_scikit_learns_class_is_there_with_its_default(kind):
    import sklearn.neural_network

    theirs = getattr(sklearn.neural_network, kind.__name__)().get_params()
    ours = kind().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    assert len(theirs) >= 23

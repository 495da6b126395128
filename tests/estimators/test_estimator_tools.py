"""Estimators inside scikit-learn's tools, and as objects: pickles, copies, callbacks."""

import copy
import pickle
import sys

import joblib
import numpy as np
import pytest
import sklearn
from processes import run_python
from sk_tables import fit, table
from sklearn import base, calibration, ensemble, inspection
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from small import refuses

import fastfa as fa
from fastfa.sklearn import FAClassifier, FARegressor, MLPClassifier, MLPRegressor

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 30, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classifier(**parameters):
    return MLPClassifier(**(SMALL | parameters))


@pytest.mark.parametrize("copied", [
    lambda model: pickle.loads(pickle.dumps(model)),
    copy.deepcopy,
], ids=["pickle", "deepcopy"])  # fmt: skip
@pytest.mark.parametrize("rule", ["kp", "dfa"])
def test_copies_go_on_with_the_same_bits(copied, rule):
    X, y, _ = table()
    model = fit(classifier(rule=rule, warm_start=True), X, y)
    other = copied(model)
    assert other.network_.to_bytes() == model.network_.to_bytes()
    for each in (model, other):
        fit(each, X, y)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert other.loss_curve_ == model.loss_curve_


def test_a_pickle_holds_the_bytes_of_the_file():
    X, y, _ = table()
    model = fit(classifier(), X, y)
    assert model.network_.to_bytes() in pickle.dumps(model)


def test_clone_and_repr():
    model = classifier(rule=fa.DFA(inject="pre"), activation=["tanh"])
    assert base.clone(model).get_params()["rule"] is not None
    assert "rule=DFA(inject='pre')" in repr(model)
    assert "MLPClassifier" in model._repr_html_()


def test_attributes_before_fit():
    for name in ("coefs_", "intercepts_", "network_", "classes_"):
        assert not hasattr(classifier(), name)
    with pytest.raises(NotFittedError):
        classifier().predict(np.ones((2, 5)))


def test_weights_are_live():
    X, y, _ = table()
    model = fit(classifier(), X, y)
    model.coefs_[0][:] = 0
    assert not model.network_.parameters["0.weight"].any()
    model.intercepts_[0] = np.ones(8)
    assert (model.network_.parameters["0.bias"] == 1).all()
    wrong = lambda: setattr(model, "coefs_", [np.ones((5, 8)), np.ones((8, 9))])  # noqa: E731
    refuses(ValueError, wrong, "expected shapes", "(8, 3)", "(8, 9)")


def test_search_in_a_pipeline():
    X, y, _ = table(150)
    steps = make_pipeline(StandardScaler(), classifier())
    grid = {
        "mlpclassifier__rule": ["backprop", "dfa"],
        "mlpclassifier__learning_rate_init": [1e-4, 0.1],
    }
    search = GridSearchCV(steps, grid, cv=3).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.score(X, y) > 0.8


def test_workers():
    X, y, _ = table(90)
    alone, together = (cross_val_score(classifier(rule="kp"), X, y, cv=3, n_jobs=n) for n in (1, 2))
    np.testing.assert_array_equal(alone, together)


def test_ensembles():
    X, y, _ = table(150)
    for model in (
        ensemble.BaggingClassifier(classifier(), n_estimators=2, random_state=0),
        ensemble.AdaBoostClassifier(classifier(), n_estimators=2, random_state=0),
        ensemble.VotingClassifier(
            [("a", classifier()), ("b", classifier(rule="fa"))], voting="soft"
        ),
        calibration.CalibratedClassifierCV(classifier(), cv=2),
    ):
        assert 0.3 < model.fit(X, y).score(X, y) <= 1


def test_inspection():
    X, _, v = table(100)
    model = fit(MLPRegressor(**SMALL), X, v)
    result = inspection.permutation_importance(model, X, v, n_repeats=2, random_state=0)
    assert result.importances_mean.shape == (5,)
    curve = inspection.partial_dependence(model, X, [0], grid_resolution=5)
    assert curve["average"].shape == (1, 5)


def test_memory(tmp_path):
    assert joblib.hash(classifier(rule="dfa")) == joblib.hash(classifier(rule="dfa"))
    X, y, _ = table()
    cached = joblib.Memory(tmp_path, verbose=0).cache(lambda seed: fit(classifier(), X, y))
    np.testing.assert_array_equal(cached(0).predict(X), cached(0).predict(X))


def test_metadata_routing():
    X, y, _ = table(90)
    weights = np.arange(90.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = classifier().set_fit_request(sample_weight=True, X_val=True, y_val=True)
        steps = Pipeline([("model", model)])
        steps.fit(X, y, sample_weight=weights, X_val=X, y_val=y)
    np.testing.assert_array_equal(
        steps["model"].coefs_[0], fit(classifier(), X, y, weights).coefs_[0]
    )
    assert len(steps["model"].validation_scores_) == 30


def test_import():
    """Only `fastfa.sklearn` imports scikit-learn, and says what to install where it is missing."""
    assert run_python("import sys, fastfa; print('sklearn' in sys.modules)") == "False"
    code = (
        "import sys, fastfa\n"
        "sys.modules['sklearn'] = None\n"
        "try:\n    import fastfa.sklearn\n"
        "except ImportError as error: print(error)"
    )
    assert 'pip install scikit-learn, or ".[sklearn]"' in run_python(code)


def test_a_scikit_learn_that_is_too_old(monkeypatch):
    from fastfa.sklearn import _versions

    monkeypatch.setattr(sklearn, "__version__", "1.5.2")
    refuses(ImportError, _versions.require, "expected scikit-learn 1.6 or later, got 1.5.2")


# ---- scikit-learn's callbacks, from 1.9 on

HAS_CALLBACKS = hasattr(MLPClassifier, "set_callbacks")


class Recorder:
    """A callback by scikit-learn's protocol that keeps what it is told."""

    def __init__(self, stop_at=None):
        self.stop_at, self.calls, self.scores = stop_at, [], []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.calls.append(f"end {context.task_name}")
        self.scores.append((fitted_estimator, fitted_estimator.score(X, y)))
        return context.task_id + 1 == self.stop_at and context.task_name == "epoch"


@pytest.mark.skipif(not HAS_CALLBACKS, reason="scikit-learn before 1.9 has none")
@pytest.mark.parametrize("kind", [FAClassifier, FARegressor])
def test_callbacks(kind):
    X, y, _ = table()
    recorder = Recorder()
    model = (
        kind(**SMALL | {"max_iter": 3, "learning_rate_init": 0.1}).set_callbacks(recorder).fit(X, y)
    )
    epoch = ["begin epoch", "end epoch"]
    assert recorder.calls == ["setup", "begin fit", *epoch * 3, "end fit", "teardown"]
    scores = [score for _, score in recorder.scores]
    assert [each.score(X, y) for each, _ in recorder.scores] == scores  # copies stay as they were
    assert scores[-1] == model.score(X, y)
    assert len(set(scores)) > 1


@pytest.mark.skipif(not HAS_CALLBACKS, reason="scikit-learn before 1.9 has none")
def test_a_callback_may_stop():
    X, y, _ = table()
    recorder = Recorder(stop_at=2)
    assert classifier().set_callbacks(recorder).fit(X, y).n_iter_ == 2
    assert recorder.calls[-1] == "teardown"


@pytest.mark.skipif(not HAS_CALLBACKS, reason="scikit-learn before 1.9 has none")
def test_callbacks_of_scikit_learn():
    from sklearn.callback import ScoringMonitor

    X, y, _ = table()
    monitor = ScoringMonitor(scoring="accuracy")
    steps = make_pipeline(StandardScaler(), classifier(max_iter=4))
    steps[-1].set_callbacks(monitor)
    steps.fit(X, y)
    assert sys.getsizeof(monitor) > 0

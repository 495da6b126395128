"""What X, y and the weights of an estimator may be."""

import numpy as np
import pandas
import pytest
import scipy.sparse
from sk_tables import fit, table
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from small import refuses

from fastfa.sklearn import FAClassifier, FARegressor, MLPClassifier, MLPRegressor

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 30, "random_state": 0}


def classifier(**parameters):
    return MLPClassifier(**(SMALL | parameters))


def regressor(**parameters):
    return MLPRegressor(**(SMALL | parameters))


@pytest.mark.parametrize(
    "names",
    [np.array(["no", "perhaps", "yes"]), np.array([7, -1, 3]), np.array(list("abc"), object)],
    ids=["text", "numbers", "objects"],
)
def test_classes_of_any_type(names):
    """They are sorted, so the network sees other numbers where their order is another."""
    X, y, _ = table()
    model = fit(classifier(max_iter=300, learning_rate_init=0.03), X, names[y])
    np.testing.assert_array_equal(model.classes_, np.unique(names))
    assert model.predict(X).dtype == model.classes_.dtype
    assert model.score(X, names[y]) > 0.9
    best = model.classes_[model.predict_proba(X).argmax(axis=1)]
    np.testing.assert_array_equal(best, model.predict(X))


def test_two_classes_have_one_output():
    X, y, _ = table(classes=2)
    model = fit(classifier(), X, np.array(["b", "a"])[y])
    assert (model.n_outputs_, model.out_activation_) == (1, "logistic")
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict_proba(X)[:, 1] > 0.5, model.predict(X) == "b")


def test_one_class_is_always_predicted():
    X, _, _ = table()
    model = fit(classifier(), X, ["only"] * len(X))
    assert set(model.predict(X)) == {"only"}


def test_logarithms_of_probabilities_that_round_to_zero():
    X, y, _ = table()
    model = fit(classifier(), X, y)
    model.coefs_[-1] = model.coefs_[-1] * 1e4
    assert (model.predict_proba(X) == 0).any()
    assert np.isfinite(model.predict_log_proba(X)).all()


@pytest.mark.parametrize("kind", [classifier, regressor])
def test_dtype_follows_x(kind, dtype):
    X, y, _ = table()
    model = fit(kind(), X.astype(dtype), y)
    assert model.network_.dtype == dtype
    assert model.coefs_[0].dtype == dtype
    if kind is regressor:
        assert model.predict(X).dtype == dtype
    assert fit(kind(dtype="float32"), X.astype(dtype), y).network_.dtype == "float32"


def test_whole_numbers_are_not_scaled():
    """Bytes too: a prediction does not depend on the dtype that a pipeline hands on."""
    X, y, _ = table()
    X = (X * 20 + 100).astype(np.uint8)
    model, other = (fit(classifier(), each, y) for each in (X, X.astype(np.float64)))
    assert model.network_.dtype == "float64"
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X.astype(float)))


def test_values_of_one_or_several_outputs():
    X, _, y = table()
    assert fit(regressor(), X, y).predict(X).shape == (60,)
    assert fit(regressor(), X, np.stack([y, y], 1)).predict(X).shape == (60, 2)
    with pytest.warns(UserWarning, match="column-vector"):
        model = fit(regressor(), X, y[:, None])
    assert model.predict(X).shape == (60,)


def test_normalized_targets():
    """Far from 0 and large: the network learns them as if they were not."""
    X, _, y = table(200)
    plain, far = (fit(regressor(normalize_y=True, max_iter=200), X, v) for v in (y, 1e4 + 100 * y))
    np.testing.assert_allclose(far.predict(X), 1e4 + 100 * plain.predict(X), rtol=1e-9)
    rows = np.stack([y, np.full(200, 5.0)], axis=1)  # a column without variance
    model = fit(regressor(normalize_y=True, learning_rate_init=0.03, max_iter=100), X, rows)
    np.testing.assert_allclose(model.predict(X)[:, 1], 5, atol=0.2)


def test_sample_weights_are_those_of_repeated_samples():
    X, y, v = table()
    counts = np.arange(60) % 3
    repeated = np.repeat(np.arange(60), counts)
    for model, target in ((classifier(), y), (regressor(normalize_y=True), v)):
        weighted = fit(model, X, target, counts).coefs_[0].copy()
        fit(model, X[repeated], target[repeated])
        np.testing.assert_allclose(weighted, model.coefs_[0], rtol=0, atol=1e-10)


def test_the_scale_of_weights_matters_for_the_penalty_alone():
    X, y, _ = table()
    weights = 1.0 + np.arange(60) % 3
    first, second = (
        fit(classifier(alpha=0.0), X, y, scale * weights).coefs_[0] for scale in (1, 1000)
    )
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-12)
    assert not np.array_equal(
        fit(classifier(alpha=1.0), X, y, weights).coefs_[0],
        fit(classifier(alpha=1.0), X, y, 9 * weights).coefs_[0],
    )


def test_class_weights():
    X, y, _ = table(classes=2)
    balanced = len(y) / (2 * np.bincount(y))
    expected = fit(classifier(), X, y, balanced[y])
    for given in ("balanced", {0: balanced[0], 1: balanced[1]}):
        model = fit(classifier(class_weight=given), X, y)
        np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], atol=1e-12)
    both = fit(classifier(class_weight="balanced"), X, y, np.arange(60.0))
    expected = fit(classifier(), X, y, balanced[y] * np.arange(60))
    np.testing.assert_allclose(both.coefs_[0], expected.coefs_[0], atol=1e-12)


def test_names_of_columns():
    X, y, _ = table()
    frame = pandas.DataFrame(X, columns=list("abcde"))
    model = fit(classifier(), frame, y)
    assert list(model.feature_names_in_) == list("abcde")
    np.testing.assert_array_equal(model.predict(frame), fit(classifier(), X, y).predict(X))
    refuses(ValueError, lambda: model.predict(frame[list("bacde")]), "order")
    refuses(ValueError, lambda: model.predict(frame.rename(columns={"a": "z"})), "z")
    refuses(ValueError, lambda: model.network_.predict(frame[list("bacde")]), "order of training")


def test_x_is_scanned_once(monkeypatch):
    """By scikit-learn; fastfa takes what it has checked."""
    from sklearn.utils import validation

    finite, seen = validation._assert_all_finite, []
    monkeypatch.setattr(
        validation,
        "_assert_all_finite",
        lambda X, *args, **more: seen.append(np.shape(X)) or finite(X, *args, **more),
    )
    refuse = lambda *_: pytest.fail("scanned again")  # noqa: E731
    monkeypatch.setattr("fastfa._internal.validation.InputValidator.read_inputs", refuse)
    X, y, _ = table()
    model = fit(classifier(early_stopping=True), X, y)
    assert seen.count(X.shape) == 1
    model.predict(X)
    assert seen.count(X.shape) == 2


@pytest.mark.parametrize("kind", [FAClassifier, FARegressor, MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("form", [scipy.sparse.csr_matrix, scipy.sparse.csc_array])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_sparse_x_has_the_bits_of_an_array(kind, form, early_stopping):
    X, y, v = table(90)
    X[X < 0.5] = 0
    target = y if kind in (FAClassifier, MLPClassifier) else v
    settings = SMALL | {"early_stopping": early_stopping, "dropout": [0.1], "rule": "dfa"}
    models = [fit(kind(**settings), x, target) for x in (form(X), X)]
    for a, b in zip(*(each.coefs_ for each in models), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(models[0].predict(form(X)), models[1].predict(X))
    assert models[0].loss_curve_ == models[1].loss_curve_
    assert models[0].validation_scores_ == models[1].validation_scores_
    given = fit(kind(**settings), form(X), target, X_val=form(X[:30]), y_val=target[:30])
    same = fit(kind(**settings), X, target, X_val=X[:30], y_val=target[:30])
    assert given.validation_scores_ == same.validation_scores_


def test_a_sparse_x_part_by_part_in_a_pipeline_and_in_float32():
    X, y, _ = table(90)
    X[X < 0.5] = 0
    models = [classifier() for _ in range(2)]
    for start in range(0, 90, 30):
        part = slice(start, start + 30)
        models[0].partial_fit(scipy.sparse.coo_array(X[part]), y[part], classes=[0, 1, 2])
        models[1].partial_fit(X[part], y[part], classes=[0, 1, 2])
    np.testing.assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])
    single = fit(classifier(), scipy.sparse.csr_array(X.astype(np.float32)), y)
    assert single.network_.dtype == "float32"
    assert single.predict_proba(scipy.sparse.csr_array(X)).dtype == np.float32
    names = pandas.DataFrame({"of": np.array(list("abc"))[y]})
    encoded = make_pipeline(OneHotEncoder(), classifier(max_iter=200))
    assert fit(encoded, names, y).score(names, y) == 1


def test_what_of_a_sparse_x_is_refused():
    X, y, _ = table()
    x = scipy.sparse.csr_array(X)
    x.data[7] = np.nan
    refuses(ValueError, lambda: classifier().fit(x, y), "NaN")
    model = fit(classifier(), X, y)
    refuses(ValueError, lambda: model.predict(scipy.sparse.csr_array(X[:, :3])), "3 features")


@pytest.mark.parametrize("dispatch", [False, True])
def test_arrays_of_the_array_api(dispatch):
    sklearn, xp = pytest.importorskip("sklearn"), pytest.importorskip("array_api_strict")
    X, y, v = table()
    foreign = [xp.asarray(each) for each in (X, y, v)]
    with sklearn.config_context(array_api_dispatch=dispatch):
        model = fit(classifier(), foreign[0], foreign[1], xp.ones(60))
        outputs = [model.predict(foreign[0]), model.predict_proba(foreign[0])]
        values = fit(regressor(), foreign[0], foreign[2])
        outputs.append(values.predict(foreign[0]))
    assert all(hasattr(each, "__array_namespace__") for each in outputs)
    assert {type(each) is np.ndarray for each in outputs} == {not dispatch}
    same = fit(classifier(), X, y)
    np.testing.assert_array_equal(np.from_dlpack(outputs[0]), same.predict(X))
    np.testing.assert_array_equal(np.from_dlpack(outputs[1]), same.predict_proba(X))
    np.testing.assert_array_equal(np.from_dlpack(outputs[2]), fit(regressor(), X, v).predict(X))


def test_targets_that_are_refused():
    X, y, v = table()
    rows = np.stack([y, y], axis=1)
    refuses(ValueError, lambda: classifier().fit(X, rows), "y: expected one class", "multiclass")
    refuses(ValueError, lambda: classifier().fit(X, v), "continuous")
    refuses(ValueError, lambda: classifier().fit(X, y, -v), "sample_weight: expected weights >= 0")
    refuses(ValueError, lambda: classifier().fit(X, y, v[:9]), "sample_weight: expected shape (60")
    refuses(ValueError, lambda: classifier().fit(X, y, 0 * v), "sample_weight: expected a weight")


def test_a_refused_fit_changes_nothing():
    X, y, _ = table()
    model = fit(classifier(), X, y)
    before, state = model.predict_proba(X), dict(vars(model))
    for parameters in ({"rule": "dfb"}, {"class_weight": "equal"}, {"dropout": 1.0}):
        other = classifier(**parameters)
        vars(model).update(other.get_params())
        with pytest.raises(ValueError, match=next(iter(parameters))):
            model.fit(X[:, :3], np.array(list("ab"))[y % 2])
        vars(model).update(SMALL, **classifier().get_params())
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert vars(model).keys() == state.keys()
    assert model.n_features_in_ == 5


BAD = {
    "hidden_layer_sizes": (0, [8, -1], 2.5, "8"),
    "activation": ("rely", ["relu", "tanh"]),
    "solver": ("adamax",),
    "alpha": (-1.0, "1"),
    "batch_size": (0, "all"),
    "learning_rate": ("falling",),
    "learning_rate_init": (0.0, -1),
    "power_t": (-0.5,),
    "max_iter": (0, 1.5),
    "shuffle": ("yes",),
    "tol": (-1e-3,),
    "momentum": (1.0, -0.1),
    "early_stopping": ("always", 1),
    "validation_fraction": (1.0, -0.1),
    "beta_1": (1.0,),
    "beta_2": (-0.1,),
    "epsilon": (0.0,),
    "n_iter_no_change": (0,),
    "rule": ("dfb", ["dfa", "fa"]),
    "inject": ("before",),
    "dropout": (1.0, [0.1, 0.2]),
    "dtype": ("float16",),
    "n_threads": (-1,),
}


@pytest.mark.parametrize("name", BAD)
def test_parameters_that_are_refused_by_name(name):
    X, y, _ = table()
    solver = "sgd" if name == "momentum" else "adam"
    for value in BAD[name]:
        model = classifier(**{"solver": solver, name: value})
        if name == "inject":
            model.set_params(rule="dfa")
        with pytest.raises((TypeError, ValueError), match=f"^{name}: expected "):
            model.fit(X, y)


def test_what_scikit_learn_has_and_fastfa_has_not():
    X, y, v = table()
    refuses(ValueError, lambda: classifier(solver="lbfgs").fit(X, y), "solver", "lbfgs", "gradient")
    refuses(
        ValueError, lambda: regressor(loss="poisson").fit(X, v), "loss", "poisson", "Sequential"
    )


@pytest.mark.parametrize("weight", [-1.0, np.inf, np.nan, "2"])
def test_class_weights_that_are_no_weights_are_refused(weight):
    X, y, _ = table()
    with pytest.raises((TypeError, ValueError), match=r"class_weight\[1\]: expected a finite nu"):
        fit(classifier(class_weight={0: 1.0, 1: weight, 2: 1.0}), X, y)


@pytest.mark.parametrize("weight", [1e-200, 1e200, 1e308])
def test_the_size_of_sample_weights_does_not_matter(weight):
    """They are taken relative to their mean, also where their sum is infinite."""
    X, y, _ = table()
    expected = fit(classifier(alpha=0.0), X, y)
    model = fit(classifier(alpha=0.0), X, y, np.full(len(X), weight))
    np.testing.assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-10)
    assert model.loss_curve_[0] > 0


def test_weights_too_small_for_the_penalty_are_refused():
    X, y, _ = table()
    with pytest.raises(ValueError, match="sample_weight: expected weights of 1e-300 or more"):
        fit(classifier(alpha=1.0), X, y, np.full(len(X), 1e-320))


def test_targets_that_the_dtype_does_not_hold_are_named():
    X, _, _ = table()
    with pytest.raises(ValueError, match="y: expected"):
        MLPRegressor(dtype="float32", max_iter=2).fit(X, np.full(len(X), 1e300))

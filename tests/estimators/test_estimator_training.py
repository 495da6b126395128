"""How estimators train: options of fastfa, early stopping, going on, interruptions."""

import numpy as np
import pytest
from sk_tables import fit, table
from sklearn.metrics import accuracy_score, r2_score
from small import refuses

import fastfa as fa
from fastfa.sklearn import FAClassifier, FARegressor, MLPClassifier, MLPRegressor
from fastfa.sklearn._scores import accuracy, r2

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 30, "random_state": 0}


def classifier(**parameters):
    return MLPClassifier(**(SMALL | parameters))


def weights_of(model):
    return {key: value.copy() for key, value in model.network_.parameters.items()}


# ---- what fastfa adds


@pytest.mark.parametrize("rule", [name for name in fa._core.NAMES["rule"] if name != "custom"])
def test_every_rule(rule):
    X, y, _ = table(200)
    model = fit(classifier(hidden_layer_sizes=(16, 8), rule=rule), X, y)
    assert model.network_.rule.name == rule
    assert np.isfinite(model.loss_curve_).all()
    if rule != "drtp":
        assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_layers_of_their_own():
    X, y, _ = table()
    model = classifier(
        hidden_layer_sizes=(7, 6),
        activation=["logistic", "elu" if "elu" in fa._core.NAMES["activation"] else "tanh"],
        rule=[fa.KP(), "dfa"],
        dropout=[0.0, 0.5],
    )
    first, second, dropout, output = fit(model, X, y).network_.layers
    assert (first.activation, second.units, dropout.rate, output.units) == ("sigmoid", 6, 0.5, 3)
    assert (first.rule.name, second.rule.name) == ("kp", "dfa")
    assert [each.shape for each in model.coefs_] == [(5, 7), (7, 6), (6, 3)]
    assert model.n_layers_ == 4


def test_initial_values_by_layer():
    """Sigmoids have the factor 2, all others 6; biases have the bound of their weights."""
    X, y, _ = table()
    model = classifier(
        hidden_layer_sizes=(300, 200), activation=["sigmoid", "tanh"], learning_rate_init=1e-12
    )
    fit(model.set_params(max_iter=1), X, y)
    factors, widths = (2, 6, 6), (5, 300, 200, 3)
    for i, factor in enumerate(factors):
        bound = np.sqrt(factor / (widths[i] + widths[i + 1]))
        assert 0.97 * bound < np.abs(model.coefs_[i]).max() <= bound + 1e-9
        assert 0.4 * bound < np.abs(model.intercepts_[i]).max() <= bound + 1e-9
    net = model.network_
    net.reset()
    assert 0.97 * bound < np.abs(net.parameters["2.weight"]).max() <= bound


def test_feedback_and_inject():
    X, y, _ = table()
    given = np.ones((3, 8))
    model = fit(classifier(rule="dfa", feedback=given, inject="pre"), X, y)
    np.testing.assert_array_equal(model.network_.feedback_matrix(0), given)
    assert model.network_.rule.inject == "pre"
    signs = fit(classifier(rule=fa.DFA(inject="pre"), feedback="sign"), X, y).network_
    assert len(np.unique(np.abs(signs.feedback_matrix(0)))) == 1
    assert signs.rule.inject == "pre"
    exact = classifier(feedback="sign")
    refuses(ValueError, lambda: exact.fit(X, y), "feedback: expected None", "backprop")


def test_any_number_of_threads_gives_the_same_bits():
    X, y, _ = table(400, n=40)
    one, two = (fit(classifier(n_threads=n, rule="dfa", dropout=0.2), X, y) for n in (1, 2))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert one.loss_curve_ == two.loss_curve_


def test_random_state():
    X, y, _ = table()
    first, second, other = (
        fit(classifier(random_state=seed, rule="dfa", dropout=0.3), X, y) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert not np.array_equal(first.predict_proba(X), other.predict_proba(X))
    state = np.random.RandomState(1)
    third = fit(classifier(random_state=state, rule="dfa", dropout=0.3), X, y)
    np.testing.assert_array_equal(first.predict_proba(X), third.predict_proba(X))
    assert not np.array_equal(fit(third, X, y).predict_proba(X), first.predict_proba(X))


# ---- scores and stopping


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_scikit_learns(rng, weighted):
    weights = rng.random(50) if weighted else None
    labels = rng.integers(0, 3, 50)
    outputs = rng.random((50, 3))
    expected = accuracy_score(labels, outputs.argmax(axis=1), sample_weight=weights)
    assert accuracy(outputs, labels, weights) == pytest.approx(expected, abs=1e-14)
    several = rng.integers(0, 2, (50, 3))
    expected = accuracy_score(several, (outputs > 0.5).astype(int), sample_weight=weights)
    assert accuracy(outputs, several, weights) == pytest.approx(expected, abs=1e-14)
    for y in (rng.random((50, 1)), rng.random((50, 3)), np.ones((50, 1))):
        expected = r2_score(y, outputs[:, : y.shape[1]], sample_weight=weights)
        assert r2(outputs[:, : y.shape[1]], y, weights) == pytest.approx(expected, abs=1e-12)
    assert r2(np.ones((9, 1)), np.ones((9, 1)), None) == 1.0


def test_validation_samples_of_ones_own():
    X, y, _ = table(200)
    model = classifier(max_iter=400, early_stopping=True, tol=1e-2, n_iter_no_change=5)
    fit(model, X[:150], y[:150], X_val=X[150:], y_val=y[150:])
    assert model.n_iter_ < 400
    assert model.t_ == 150 * model.n_iter_  # none is held out
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_
    assert model.score(X[150:], y[150:]) == model.best_validation_score_
    assert model.best_validation_score_ == max(model.validation_scores_)
    p = model.predict_proba(X[150:])
    best = int(np.argmax(model.validation_scores_))
    loss = -np.log(p[np.arange(50), y[150:]]).mean()
    assert model.validation_loss_curve_[best] == pytest.approx(loss, abs=1e-12)


def test_validation_without_stopping():
    X, y, _ = table()
    model = fit(classifier(), X, y, X_val=X, y_val=y)
    np.testing.assert_array_equal(model.coefs_[0], fit(classifier(), X, y).coefs_[0])
    assert len(fit(model, X, y, X_val=X, y_val=y).validation_scores_) == 30
    assert model.best_validation_score_ is None
    refuses(ValueError, lambda: model.fit(X, y, X_val=X), "y_val: expected both")


def test_held_out_classes_have_their_shares():
    X, _, _ = table(200)
    y = np.repeat([0, 1, 2], (160, 20, 20))
    model = classifier(early_stopping=True, max_iter=1)
    seen = {}
    model._scorer = lambda held_out: seen.update(y=held_out.y) or (lambda outputs: 0.0)
    fit(model, X, y)
    assert np.bincount(seen["y"]).tolist() == [16, 2, 2]
    assert model.t_ == 180


def test_stopping_where_nothing_can_be_held_out():
    """By training loss with "auto"; True takes what it can, as scikit-learn does."""
    X, y, v = table()
    few = np.where(np.arange(60) == 0, 2, y % 2)  # one sample of class 2
    model = fit(FAClassifier(**SMALL), X, few)
    assert model.validation_scores_ is None
    assert model.t_ == 60 * model.n_iter_
    assert fit(FARegressor(**SMALL), X[:50], v[:50]).validation_scores_ is None  # 5 samples
    assert len(fit(FARegressor(**(SMALL | {"max_iter": 3})), *table(100)[::2]).validation_scores_)
    model = fit(classifier(early_stopping=True), X, few)
    assert len(model.validation_scores_) == model.n_iter_
    small = classifier(early_stopping=True, validation_fraction=0.01)
    refuses(ValueError, lambda: small.fit(X, y), "validation_fraction: expected at least 2")


def test_the_loss_decides_between_equal_scores():
    """With "auto": few samples have few scores, and the first of the best epochs is untrained."""
    X, y, _ = table(300)
    fixed = {"X_val": X[200:], "y_val": y[200:]}
    exact, auto = (
        fit(classifier(early_stopping=stops, learning_rate_init=0.01), X[:200], y[:200], **fixed)
        for stops in (True, "auto")
    )
    scores, losses = map(np.array, (auto.validation_scores_, auto.validation_loss_curve_))
    n = min(exact.n_iter_, auto.n_iter_)
    np.testing.assert_array_equal(scores[:n], exact.validation_scores_[:n])
    assert auto.best_validation_score_ == scores.max()
    best = scores == scores.max()
    assert best.sum() > 1
    p = auto.predict_proba(X[200:])[np.arange(100), y[200:]]
    assert -np.log(p).mean() == pytest.approx(losses[best].min(), abs=1e-12)
    p = exact.predict_proba(X[200:])[np.arange(100), y[200:]]
    first = int(np.argmax(exact.validation_scores_))
    assert -np.log(p).mean() == pytest.approx(exact.validation_loss_curve_[first], abs=1e-12)


def test_the_defaults_learn():
    X, y, v = table(600)
    assert fit(FAClassifier(random_state=0), X[:500], y[:500]).score(X[500:], y[500:]) > 0.95
    model = fit(FARegressor(random_state=0), X[:500], 100 + 50 * v[:500])
    assert model.score(X[500:], 100 + 50 * v[500:]) > 0.97
    assert model.n_iter_ < 200


# ---- going on


def test_partial_fit_is_an_epoch():
    X, y, _ = table()
    model, whole = classifier(shuffle=False), fit(classifier(max_iter=3, shuffle=False), X, y)
    for _ in range(3):
        model.partial_fit(X, y, classes=[0, 1, 2])
        assert model.n_iter_ == 1
    np.testing.assert_array_equal(model.coefs_[0], whole.coefs_[0])
    assert model.loss_curve_ == whole.loss_curve_
    assert model.t_ == 180


def test_partial_fit_with_classes_that_come_later():
    X, y, _ = table()
    names = np.array(["a", "b", "c"])[y]
    first = y < 2
    refuses(ValueError, lambda: classifier().partial_fit(X, y), "classes: expected all classes")
    model = classifier().partial_fit(X[first], names[first], classes=["c", "b", "a"])
    assert list(model.classes_) == ["a", "b", "c"]
    model.partial_fit(X, names)
    again = lambda: model.partial_fit(X, names, classes=["a", "b"])  # noqa: E731
    refuses(ValueError, again, "classes: expected those of the first call")
    refuses(ValueError, lambda: model.partial_fit(X, ["d"] * 60), "y: expected classes among", "d")
    refuses(
        ValueError,
        lambda: classifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2]),
        "class_weight", "partial_fit",
    )  # fmt: skip
    stops = classifier(early_stopping=True)
    refuses(ValueError, lambda: stops.partial_fit(X, y, classes=[0, 1, 2]), "early_stopping")


def test_partial_fit_of_labels_and_values():
    X, y, v = table()
    rows = np.stack([y > 0, y < 2], axis=1).astype(int)
    assert classifier().partial_fit(X, rows).predict(X).shape == (60, 2)
    model = MLPRegressor(**SMALL, normalize_y=True).partial_fit(X, v)
    model.partial_fit(X, v + 100)
    assert model._y_mean == pytest.approx(v.mean())


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_warm_start_goes_on_with_the_optimizer(solver):
    """Twice ten epochs are twenty, bit for bit; scikit-learn forgets Adam's averages."""
    X, y, _ = table()
    common = {"solver": solver, "n_iter_no_change": 100, "shuffle": False}
    model = classifier(warm_start=True, max_iter=10, **common)
    fit(fit(model, X, y), X, y)
    whole = fit(classifier(max_iter=20, **common), X, y)
    np.testing.assert_array_equal(model.coefs_[0], whole.coefs_[0])
    assert model.loss_curve_ == whole.loss_curve_
    assert (model.n_iter_, model.t_) == (10, whole.t_)


def test_warm_start_holds_out_the_same_samples():
    X, y, _ = table(200)
    model = classifier(warm_start=True, early_stopping=True, max_iter=1)
    seen = []
    model._scorer = lambda held_out: seen.append(held_out.x) or (lambda outputs: 0.0)
    for _ in range(3):
        fit(model, X, y)
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])


def test_warm_start_needs_the_same_classes_and_columns():
    X, y, _ = table()
    model = fit(classifier(warm_start=True), X, y)
    refuses(ValueError, lambda: model.fit(X, np.minimum(y, 1)), "y: expected all classes")
    refuses(ValueError, lambda: model.fit(X[:, :4], y), "features")
    refuses(
        ValueError,
        lambda: model.set_params(hidden_layer_sizes=(9,)).fit(X, y),
        "hidden_layer_sizes: expected (8,)", "(9,)",
    )  # fmt: skip


def test_the_rate_starts_again_with_warm_start():
    X, y, _ = table()
    sgd = {"solver": "sgd", "learning_rate": "invscaling", "warm_start": True}
    model = fit(classifier(**sgd, max_iter=2), X, y)
    assert model.network_.lr == pytest.approx(1e-3 / 121**0.5)
    fit(model.set_params(learning_rate="constant", learning_rate_init=0.5), X, y)
    assert model.network_.lr == 0.5


# ---- endings


def test_divergence_is_a_value_error():
    X, _, v = table()
    model = MLPRegressor(**SMALL, solver="sgd", learning_rate_init=1e9)
    refuses(ValueError, lambda: fit(model, X, v), "learning_rate_init: expected", "1000000000")


def test_ctrl_c_keeps_what_was_learnt(monkeypatch):
    X, y, _ = table()
    from fastfa.sklearn import _training

    begin = _training.Monitor.begin_epoch

    def interrupt(self):
        begin(self)
        if self.estimator.n_iter_ == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(_training.Monitor, "begin_epoch", interrupt)
    model = classifier()
    with pytest.warns(UserWarning, match="Ctrl-C"):
        model.fit(X, y)
    assert model.n_iter_ == 5
    expected = fit(classifier(max_iter=5, tol=0.0), X, y)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


def test_no_limit_of_epochs_without_change():
    X, y, _ = table()
    model = fit(classifier(tol=10.0, n_iter_no_change=np.inf), X, y)
    assert model.n_iter_ == 30
    assert fit(classifier(tol=10.0, n_iter_no_change=4), X, y).n_iter_ == 6


def test_verbose_says_why_it_ends(capsys):
    X, y, _ = table()
    sgd = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 1e-5}
    fit(classifier(tol=10.0, n_iter_no_change=1, verbose=True, **sgd), X, y)
    lines = [line for line in capsys.readouterr().out.splitlines() if "Iteration" not in line]
    assert "The learning rate is now 0.000002" in lines[0]
    assert lines[-1].endswith("Training ends.")
    assert weights_of(fit(classifier(), X, y)).keys() == {
        "0.weight", "0.bias", "1.weight", "1.bias"
    }  # fmt: skip


def test_messages_about_validation_targets_name_them():
    X, y, _ = table()
    names = np.array(["a", "b", "c"])[y % 3]
    model = classifier()
    refuses(
        ValueError, lambda: model.fit(X, names, X_val=X, y_val=np.where(names == "a", "z", names)),
        "y_val: expected classes among ['a', 'b', 'c'], got ['z']",
    )  # fmt: skip
    with pytest.raises(ValueError, match="features") as caught:
        model.fit(X, y, X_val=X[:, :2], y_val=y)
    assert caught.value.__notes__ == ["this is about X_val and y_val"]
    two = np.column_stack([y, y]).astype(float)
    refuses(
        ValueError, lambda: FARegressor().fit(X, y, X_val=X, y_val=two),
        "y_val: expected 1 value for each sample, got 2",
    )  # fmt: skip


def test_one_layer_is_not_many():
    X, y, _ = table()
    refuses(
        ValueError, lambda: classifier(activation=["relu", "tanh"]).fit(X, y),
        "activation: expected one value, or one for each hidden layer, got 2 values for 1 hidden "
        "layer",
    )  # fmt: skip

"""Metrics by name and of one's own, class weights, and the split that validates."""

import math

import numpy as np
import pytest
from small import assert_same, copies, same_state, samples, shallow

import fastfa as fa

score = pytest.importorskip("sklearn.metrics")
QUIET = {"verbose": False}
M = 90
X, LABELS = samples(M)


def case(kind):
    """A network, targets, and the predictions' counterparts for scikit-learn."""
    rng = np.random.default_rng(1)
    hidden = fa.Dense(8, "tanh")
    settings = {
        "labels": ("softmax_cross_entropy", 3, LABELS),
        "probabilities": ("softmax_cross_entropy", 3, rng.dirichlet(np.ones(3), M)),
        "binary": ("sigmoid_cross_entropy", 1, LABELS > 1),
        "independent": ("sigmoid_cross_entropy", 4, rng.integers(0, 2, (M, 4))),
        "one-hot": ("sigmoid_cross_entropy", 3, LABELS),
        "mse labels": ("mse", 3, LABELS),
        "values": ("mse", 1, rng.normal(size=M)),
        "rows": ("mse", 4, rng.normal(size=(M, 4))),
    }
    loss, n_out, y = settings[kind]
    net = fa.Sequential([hidden, fa.Dense(n_out)], input_shape=6, loss=loss, rng=3)
    net.fit(X, y, 3, **QUIET)
    return net, y


def macro_auc(truth, prediction):
    return np.mean([score.roc_auc_score(t, p) for t, p in zip(truth.T, prediction.T, strict=True)])


def of_classes(kind, y, prediction):
    if kind == "binary":
        return score.f1_score(y, prediction > 0.5), score.roc_auc_score(y, prediction)
    if kind == "independent":
        f1 = score.f1_score(y, prediction > 0.5, average="macro", zero_division=0)
        return f1, score.roc_auc_score(y, prediction)
    labels = np.argmax(y, axis=1) if kind == "probabilities" else y
    f1 = score.f1_score(labels, np.argmax(prediction, axis=1), average="macro", zero_division=0)
    return f1, macro_auc(labels[:, None] == np.arange(3), prediction)


@pytest.mark.parametrize(
    "kind", ["labels", "probabilities", "binary", "independent", "one-hot", "mse labels"]
)
def test_f1_and_auc_are_those_of_scikit_learn(kind):
    net, y = case(kind)
    found = net.evaluate(X, y, metrics=["f1", "auc"])
    prediction = net.predict(X)
    expected = of_classes(kind, y, prediction.ravel() if kind == "binary" else prediction)
    assert (found["f1"], found["auc"]) == pytest.approx(expected, rel=1e-12)


def test_auc_of_softmax_is_the_one_against_the_rest_of_scikit_learn():
    net, y = case("labels")
    expected = score.roc_auc_score(y, net.predict(X).astype(float), multi_class="ovr")
    assert net.evaluate(X, y, metrics=["auc"])["auc"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["values", "rows"])
def test_rmse_mae_and_r2_are_those_of_scikit_learn(kind):
    net, y = case(kind)
    y32 = y.astype(np.float32).astype(float)  # as the network sees it
    prediction = net.predict(X).astype(float).reshape(y.shape)
    found = net.evaluate(X, y, metrics=["rmse", "mae", "r2"])
    expected = {
        "rmse": score.root_mean_squared_error(y32, prediction),
        "mae": score.mean_absolute_error(y32, prediction),
        "r2": score.r2_score(y32, prediction),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-9)


def test_equal_scores_share_their_ranks_and_missing_classes_do_not_count():
    from fastfa._internal.metrics import auc, f1, r2

    truth, scores = np.array([1, 0, 1, 0, 1], bool), np.array([0.5, 0.5, 0.2, 0.2, 0.9])
    expected = score.roc_auc_score(truth, scores)
    assert auc(truth[:, None], scores[:, None]) == pytest.approx(expected, rel=1e-15)
    both = np.c_[truth, np.zeros(5, bool)]
    assert auc(both, np.c_[scores, scores]) == pytest.approx(expected, rel=1e-15)
    assert f1(both, both) == 1.0
    assert math.isnan(auc(both[:, 1:], np.c_[scores]))
    assert math.isnan(f1(both[:, 1:], both[:, 1:]))
    constant = np.ones((4, 1))
    for prediction in (constant, constant + 1):
        assert r2(constant, prediction) == score.r2_score(constant, prediction)


def test_a_function_gets_labels_or_rows_and_what_predict_returns():
    seen = []

    def own(y, prediction):
        seen.append((y, prediction))
        return len(seen)

    for kind in ("labels", "rows", "values", "binary"):
        net, y = case(kind)
        assert net.evaluate(X, y, metrics={"own": own})["own"] == len(seen)
        got, prediction = seen[-1]
        np.testing.assert_allclose(got, y, rtol=1e-6)
        expected = net.predict(X)
        one = kind in ("values", "binary")
        np.testing.assert_array_equal(prediction, expected.ravel() if one else expected)
        assert got.shape == y.shape


def test_metrics_of_more_rows_than_are_predicted_at_once():
    x = np.tile(X, (100, 1))
    net, y = case("values")
    seen = []
    net.evaluate(x, np.tile(y, 100), metrics={"own": lambda _, p: seen.append(p.copy()) or 0})
    np.testing.assert_array_equal(seen[0], net.predict(x).ravel())


# ---- in fit


def test_validation_data_alone_are_measured_unless_asked():
    fit = {"metrics": ["f1"], **QUIET}
    net, y = case("labels")
    validation = (X[:30], y[:30])
    history = net.fit(X, y, 2, validation_data=validation, **fit).history
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy", "val_f1", "lr", "time"]
    assert history["val_f1"][-1] == net.evaluate(*validation, metrics=["f1"])["f1"]
    history = net.fit(X, y, 2, **fit).history
    assert list(history) == ["loss", "accuracy", "f1", "lr", "time"]
    assert history["f1"][-1] == net.evaluate(X, y, metrics=["f1"])["f1"]
    history = net.fit(X, y, 1, validation_data=validation, train_metrics=True, **fit).history
    assert [key for key in history if "f1" in key] == ["f1", "val_f1"]
    history = net.fit(X, y, 1, train_metrics=False, **fit).history
    assert "f1" not in history


def test_metrics_change_no_bit():
    plain, measured = shallow(), shallow()
    plain.fit(X, LABELS, 4, **QUIET)
    measured.fit(X, LABELS, 4, metrics=["f1", "auc"], **QUIET)
    assert same_state(plain, measured)


def test_early_stopping_checkpoint_csv_and_bar_have_them(tmp_path, capsys):
    stop = fa.EarlyStopping("val_f1", patience=3)
    keep = fa.Checkpoint(tmp_path / "{own:.0f}", monitor="f1", save_best_only=True)
    log = fa.CSVLogger(tmp_path / "log.csv")
    net = shallow()
    history = net.fit(
        X, LABELS, 9, validation_split=0.3, callbacks=[stop, keep, log], train_metrics=True,
        metrics={"f1": "f1", "own": lambda y, p: len(y)},
    )  # fmt: skip
    assert (stop.mode, keep.mode) == ("max", "max")
    assert stop.best == max(history.history["val_f1"])
    assert keep.best == max(history.history["f1"])
    assert keep.saved == str(tmp_path / "63")
    assert "val_f1" in (tmp_path / "log.csv").read_text().splitlines()[0]
    assert "val_own=27" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("metrics", "kind", "words"),
    [
        ("f1", TypeError, r"metrics: expected a list of names.*got 'f1'; did you mean \['f1'\]\?"),
        (3, TypeError, "metrics: expected a list of names"),
        (["f2"], ValueError, r'metrics\[0\]: expected one of .*, got "f2"'),
        ({"a": 3}, TypeError, r"metrics\['a'\]: expected one of "),
        ({"loss": max}, ValueError, 'metrics: expected names that no other log has.*got "loss"'),
        ({"val_f": max}, ValueError, 'names that no other log has, and without "val_"'),
        ({3: max}, TypeError, "got the name 3"),
        (["r2"], ValueError, r'metrics\["r2"\]: expected one of "f1", "auc" or a function'),
    ],
)
def test_wrong_metrics_are_refused_before_the_first_step(metrics, kind, words):
    net = shallow()
    with pytest.raises(kind, match=words):
        net.fit(X, LABELS, metrics=metrics, **QUIET)
    with pytest.raises(kind, match=words):
        net.evaluate(X, LABELS, metrics=metrics)
    assert net.steps == 0


def test_what_metrics_return_and_other_arguments_are_checked():
    net, y = case("values")
    before = net.steps
    with pytest.raises(ValueError, match=r'expected one of "rmse", "mae", "r2" or a function for'):
        net.fit(X, y, metrics=["auc"], **QUIET)
    with pytest.raises(ValueError, match="train_metrics: expected None, got True; metrics names"):
        net.fit(X, y, train_metrics=True, **QUIET)
    assert net.steps == before
    with pytest.raises(TypeError, match=r'metrics\["a"\]: expected a function that returns a n'):
        net.fit(X, y, metrics={"a": lambda *_: "good"}, **QUIET)


# ---- class weights


@pytest.mark.parametrize("kind", ["labels", "binary"])
def test_class_weights_are_sample_weights(kind):
    for of_class in ({0: 2.0, 1: 0.5}, {1: 3}, "balanced"):
        one, y = case(kind)
        other, _ = case(kind)
        labels = y.astype(int)
        counts = np.bincount(labels)
        if of_class == "balanced":
            expected = (M / (len(counts) * counts))[labels]
        else:
            expected = np.array([float(of_class.get(label, 1)) for label in labels])
        own = np.linspace(0.5, 1, M)
        one.fit(X, y, 3, class_weight=of_class, sample_weight=own, **QUIET)
        other.fit(X, y, 3, sample_weight=own * expected, **QUIET)
        assert same_state(one, other)


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_sample_weight

    one, y = case("labels")
    other, _ = case("labels")
    one.fit(X, y, class_weight="balanced", **QUIET)
    other.fit(X, y, sample_weight=compute_sample_weight("balanced", y), **QUIET)
    for key, value in copies(one).items():
        np.testing.assert_allclose(value, other.parameters[key], rtol=1e-5, err_msg=key)


def test_class_weights_do_not_weigh_validation_data():
    net, y = case("labels")
    history = net.fit(X, y, class_weight={0: 9}, validation_data=(X, y), **QUIET).history
    assert history["val_loss"][-1] == net.evaluate(X, y)["loss"]


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (
            "balance",
            ValueError,
            'expected a mapping .*, or "balanced", got "balance"',
        ),
        ([1, 2, 3], TypeError, "class_weight: expected a mapping of labels to numbers"),
        ({3: 1}, ValueError, "class_weight: label: expected an integer from 0 to 2, got 3"),
        ({0: -1}, ValueError, r"class_weight\[0\]: expected a finite number >= 0, got -1"),
        ({0: 0, 1: 0, 2: 0}, ValueError, "a weight above 0 for a class that trains, got only zero"),
    ],
)
def test_wrong_class_weights_are_refused(value, kind, words):
    net = shallow()
    with pytest.raises(kind, match=words):
        net.fit(X, LABELS, class_weight=value, **QUIET)
    assert net.steps == 0
    for targets in ("rows", "independent", "probabilities"):
        other, y = case(targets)
        with pytest.raises(ValueError, match="class_weight: expected None for y without labels"):
            other.fit(X, y, class_weight="balanced", **QUIET)


# ---- the split


def held_out(net, x, y, share, **fit):
    """Rows that do not train: the loss of training does not depend on them."""
    from fastfa._internal.subsets import split

    batch = net._validator.read(net._validator.unread(x, y, None))
    return split(share, batch, net.loss, net.seed)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("size", [7, 10, 1000])
def test_a_split_trains_on_some_rows_and_validates_on_the_others(shuffle, each, size):
    net, alone = shallow(), shallow()
    rows, others = held_out(net, X, LABELS, 0.3)
    assert sorted([*rows, *others]) == list(range(M))
    callbacks = [fa.Callback(on_batch_end=lambda *_: None)] if each else []
    fit = {"shuffle": shuffle, "callbacks": callbacks, **QUIET}
    history = net.fit(X, LABELS, 3, size, validation_split=0.3, **fit).history
    data = (X[others], LABELS[others])
    expected = alone.fit(X[rows], LABELS[rows], 3, size, validation_data=data, **fit).history
    assert same_state(net, alone)
    for key in expected.keys() - {"time"}:
        assert history[key] == pytest.approx(expected[key], rel=1e-12)


def test_a_split_of_what_is_converted_in_pieces_and_weighted(monkeypatch):
    from fastfa._internal import validation

    monkeypatch.setattr(validation, "LARGE", 1)
    net, alone = shallow(), shallow()
    rows, others = held_out(net, X, LABELS, 0.25)
    x, weights = X.astype(float), np.linspace(0, 1, M)
    net.fit(x, LABELS, 3, 8, sample_weight=weights, validation_split=0.25, **QUIET)
    data = (X[others], LABELS[others], weights[others])
    alone.fit(
        X[rows], LABELS[rows], 3, 8, sample_weight=weights[rows], validation_data=data, **QUIET
    )
    assert_same(copies(net), copies(alone))
    assert net.history.history["val_loss"] == alone.history.history["val_loss"]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["labels", "binary", "rows"])
def test_each_class_gives_its_share(share, kind):
    net, y = case(kind)
    _, others = held_out(net, X, y, share)
    assert len(others) == round(share * M)
    if kind != "rows":
        counts, chosen = np.bincount(y.astype(int)), np.bincount(y[others].astype(int))
        assert (np.abs(chosen - share * counts) < 1).all()
    again = held_out(net, X, y, share)
    np.testing.assert_array_equal(again[1], others)
    other = fa.Sequential([fa.Dense(net._engine.n_out)], input_shape=6, loss=net.loss, rng=4)
    assert (held_out(other, X, y, share)[1] != others).any()
    assert (np.diff(others) != 1).any()  # not the last rows


def test_the_rows_of_a_split_are_pinned():
    """Other rows would change results that users compare."""
    net = fa.Sequential([fa.Dense(3)], input_shape=6, rng=3)
    assert held_out(net, X[:20], LABELS[:20], 0.25)[1].tolist() == [1, 6, 13, 18, 19]


def test_a_class_of_one_sample_trains():
    y = np.zeros(20, int)
    y[3], y[5:9] = 1, 2
    rows, others = held_out(shallow(), X[:20], y, 0.5)
    assert 3 in rows
    assert np.bincount(y[others], minlength=3).tolist() == [8, 0, 2]


def test_wrong_splits_are_refused():
    net = shallow()
    for share, words in (
        (0, "validation_split: expected a finite number > 0 and < 1, got 0"),
        (1.0, "validation_split: expected a finite number > 0 and < 1, got 1"),
    ):
        with pytest.raises(ValueError, match=words):
            net.fit(X, LABELS, validation_split=share, **QUIET)
    with pytest.raises(ValueError, match="validation_split: expected None with validation_data"):
        net.fit(X, LABELS, validation_split=0.1, validation_data=(X, LABELS), **QUIET)
    with pytest.raises(ValueError, match=r"expected samples for both parts, got 0\.5 of 1 samples"):
        net.fit(X[:1], LABELS[:1], validation_split=0.5, **QUIET)
    assert net.steps == 0


def test_sweeps_take_them_all():
    replicas = fa.fit_replicas(
        lambda rng: shallow(rng=rng), [{"rng": 1}], X, LABELS, metrics=["f1"], train_metrics=True,
        class_weight="balanced", validation_split=0.2, **QUIET,
    )  # fmt: skip
    assert {"f1", "val_f1"} <= set(replicas[0].history.history)

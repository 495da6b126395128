"""`MLPClassifier`, the drop-in, and `FAClassifier`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from .._internal.checks import mismatch, number, show
from ._base import Perceptron, Samples, as_numpy, keep, like
from ._scores import accuracy, classes_of
from ._versions import with_callbacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["FAClassifier", "MLPClassifier"]


class _Classifier(ClassifierMixin, Perceptron):  # type: ignore[misc]
    """Classes as the targets."""

    @with_callbacks
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None
    ) -> Any:
        """Train on samples and their classes.

        Parameters
        ----------
        X : array_like or sparse matrix of shape (n_samples, n_features)
            A sparse one stays so; other formats than CSR are converted.
        y : array_like of shape (n_samples,), or (n_samples, n_labels) of 0 and 1
            Classes of any type, or an indicator matrix for several labels of each sample.
        sample_weight : array_like of shape (n_samples,), optional
            Factors >= 0 on the losses. Their scale matters for ``alpha`` alone: the penalty is
            divided by the weight of a batch.
        X_val, y_val : array_like, optional
            Samples to validate with, after each epoch: `validation_scores_` and
            `validation_loss_curve_`. ``early_stopping`` then takes them in place of a part of X.

        Returns
        -------
        self : object
        """
        return self._fit(X, y, sample_weight, (X_val, y_val))

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """Train for one epoch on the given samples.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like of shape (n_classes,), optional
            All classes that any call will have; needed in the first call, unless y is an
            indicator matrix.

        Returns
        -------
        self : object
        """
        self._first_classes = self._announced(as_numpy("y", y), classes)
        try:
            return self._fit(X, y, sample_weight, incremental=True)
        finally:
            del self._first_classes

    def _announced(self, y: Any, classes: Any) -> NDArray[Any] | None:
        """The classes given to `partial_fit`: in its first call, or the same again."""
        known = getattr(self, "classes_", None) if hasattr(self, "network_") else None
        if classes is None:
            if known is None and type_of_target(y) != "multilabel-indicator":
                raise ValueError(
                    "classes: expected all classes in the first call of partial_fit, got None"
                )
            return None
        unique = np.unique(as_numpy("classes", classes))
        if known is not None and not np.array_equal(unique, known):
            raise ValueError(
                f"classes: expected those of the first call, {show(known.tolist())}, got "
                f"{show(unique.tolist())}"
            )
        return unique

    def _validated(self, X: Any, y: Any, fresh: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        X, y = self._checked(X, y, fresh, multi_output=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return X, y

    def _targets(self, y: NDArray[Any], fresh: bool, weights: Any, name: str = "y") -> NDArray[Any]:
        """Class numbers (m,), or rows of labels; `name` is that of y in errors."""
        if y.ndim == 2:
            return self._label_rows(y, fresh, name)
        if fresh:
            self._several = False
            announced = getattr(self, "_first_classes", None)
            self.classes_ = np.unique(y) if announced is None else announced
            n_classes = len(self.classes_)
            self.n_outputs_ = n_classes if n_classes > 2 else 1
            self.out_activation_ = "softmax" if n_classes > 2 else "logistic"
        numbers = np.searchsorted(self.classes_, y)
        numbers[numbers == len(self.classes_)] = 0
        unknown = self.classes_[numbers] != y
        if self._several or unknown.any():
            got = show(np.unique(y[unknown]).tolist()) if unknown.any() else "one class each"
            known = f"classes among {show(self.classes_.tolist())}"
            raise ValueError(mismatch(name, "rows of labels" if self._several else known, got))
        if self.warm_start and not fresh and not hasattr(self, "_first_classes"):
            self._refuse_missing(y)
        return numbers

    def _refuse_missing(self, y: NDArray[Any]) -> None:
        missing = np.setdiff1d(self.classes_, y)
        if missing.size:
            raise ValueError(
                f"y: expected all classes of the first fit with warm_start, "
                f"{show(self.classes_.tolist())}, got none of {show(missing.tolist())}"
            )

    def _label_rows(self, y: NDArray[Any], fresh: bool, name: str) -> NDArray[Any]:
        if type_of_target(y) != "multilabel-indicator":
            raise ValueError(
                f"{name}: expected one class for each sample, or rows of 0 and 1 for several "
                f"labels, got {type_of_target(y)}; train one estimator for each column"
            )
        if fresh:
            self._several = True
            self.n_outputs_ = y.shape[1]
            self.classes_ = np.arange(y.shape[1])
            self.out_activation_ = "logistic"
        if not self._several or y.shape[1] != self.n_outputs_:
            known = f"rows of {self.n_outputs_} labels" if self._several else "one class each"
            raise ValueError(mismatch(name, known, f"rows of {y.shape[1]}"))
        return y

    def _net_loss(self) -> str:
        softmax = self.out_activation_ == "softmax"
        return "softmax_cross_entropy" if softmax else "sigmoid_cross_entropy"

    def _class_weights(self, y: NDArray[Any], weights: Any) -> NDArray[np.float64] | None:
        """Sample weights with those of the classes."""
        if self.class_weight is None:
            return weights  # type: ignore[no-any-return]
        if hasattr(self, "_first_classes") and self.class_weight == "balanced":
            raise ValueError(
                "class_weight: expected a dict or None with partial_fit, got 'balanced'; a part "
                "of the samples does not tell how frequent the classes are"
            )
        if isinstance(self.class_weight, Mapping):
            for label, weight in self.class_weight.items():
                number(f"class_weight[{show(label)}]", weight, low=0.0)
        of_classes: NDArray[np.float64] = compute_sample_weight(self.class_weight, y)
        return of_classes if weights is None else of_classes * weights

    def _strata(self, data: Samples, n_test: int) -> NDArray[Any] | bool | None:
        if data.y.ndim == 2:
            return None
        counts = np.bincount(data.y)
        counts = counts[counts > 0]
        fits = counts.min() >= 2 and len(counts) <= min(n_test, len(data.y) - n_test)
        return data.y if fits else False

    def _scorer(self, held_out: Samples) -> Callable[[NDArray[Any]], float]:
        return lambda outputs: accuracy(outputs, held_out.y, held_out.weights)

    # -------------------------------------------------------------------------------- using

    def predict(self, X: Any) -> Any:
        """The classes of samples.

        Parameters
        ----------
        X : array_like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_labels) of 0 and 1
        """
        outputs = self._outputs(X)
        if self._several:
            return like((outputs > 0.5).astype(int), X)
        numbers = np.minimum(classes_of(outputs), len(self.classes_) - 1)
        return like(self.classes_[numbers], X)

    def predict_proba(self, X: Any) -> Any:
        """The probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        X : array_like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        p = self._outputs(X)
        return like(p if self._is_complete() else np.hstack([1 - p, p]), X)

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithms of the probabilities, also of those that round to 0.

        Parameters
        ----------
        X : array_like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        z = self._outputs(X, logits=True)
        zero = z.dtype.type(0)
        if self.out_activation_ == "softmax":
            logs = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
        elif self._several:
            logs = -np.logaddexp(zero, -z)
        else:
            logs = -np.hstack([np.logaddexp(zero, z), np.logaddexp(zero, -z)])
        return like(logs, X)

    def _is_complete(self) -> bool:
        """Whether the network has an output for each class; of two classes it has one."""
        return self._several or len(self.classes_) > 2

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPClassifier(_Classifier):
    """Classifier with the parameters, attributes and meaning of scikit-learn's MLPClassifier.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
        Widths of the hidden layers; () is a linear model.
    activation : str or sequence of str, default "relu"
        "identity", "logistic", "tanh", "relu", or any activation of `fastfa.Dense`; a list has one
        for each hidden layer.
    solver : {"adam", "sgd"}
        "lbfgs" is refused.
    alpha : float >= 0, default 1e-4
        L2 penalty alpha / 2 times the squares of the weights, divided by the rows of a batch (by
        their weight, if samples are weighted); biases are spared. The last, shorter batch of an
        epoch counts as a whole one.
    batch_size : int or "auto", default "auto"
        "auto": 200, or all samples if they are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}
        For "sgd". "invscaling": learning_rate_init / (samples seen so far + 1)^power_t, set after
        each epoch. "adaptive": divided by 5 where training would otherwise stop, until it is 1e-6.
    learning_rate_init : float > 0, default 1e-3
    power_t : float >= 0, default 0.5
    max_iter : int >= 1, default 200
        The most epochs; reaching it without convergence is a ConvergenceWarning.
    shuffle : bool, default True
    random_state : int, RandomState or None
        Draws initial values, the validation split and the order of samples as scikit-learn does,
        so that the same number starts from the same weights. Feedback and dropout are drawn from a
        seed that it gives.
    tol : float >= 0, default 1e-4
        An epoch that improves by less counts as one without improvement.
    verbose : bool or int, default False
        Print a line for each epoch.
    warm_start : bool, default False
        `fit` goes on from the last one, with the state of the optimizer and the same validation
        split; the learning rate starts again.
    momentum : float in [0, 1), default 0.9
    nesterovs_momentum : bool, default True
    early_stopping : bool or "auto", default False
        True: hold out `validation_fraction` of the samples, with the classes in their shares where
        there are enough of each, stop when their score has not improved, and restore the best
        weights. "auto": as True where at least 10 samples are held out, with each class among
        them, and their loss decides between equal scores; otherwise the loss of training decides.
    validation_fraction : float in [0, 1), default 0.1
    beta_1, beta_2 : float in [0, 1), default 0.9, 0.999
    epsilon : float > 0, default 1e-8
        Adam adds it to the root of the corrected mean square, as in its paper; scikit-learn adds it
        before the correction.
    n_iter_no_change : int >= 1 or inf, default 10
        Training stops after more epochs than this without improvement.
    max_fun : int
        For "lbfgs"; not used.
    rule : str, Rule or sequence of them, default "backprop"
        How the error reaches the hidden layers: any rule of `fastfa.Sequential`, such as "dfa"; a
        list has one for each hidden layer.
    feedback : Feedback, str or array_like, optional
        How the rule's feedback is drawn, as ``Feedback(feedback)``; None: the rule's own.
    inject : {"post", "pre"}, optional
        Where the rule's signal enters; None: the rule's own.
    dropout : float in [0, 1) or sequence of them, default 0.0
        Share of units that are dropped behind each hidden layer; a list has one for each.
    class_weight : dict, "balanced" or None
        Factors on the losses of classes; with "balanced" all classes count the same.
    dtype : {"float32", "float64"} or None
        Of the network; None: that of X, where whole numbers become float64.
    n_threads : int, optional
        The most threads; None: `fastfa.get_num_threads`. No result depends on it.

    Attributes
    ----------
    classes_ : ndarray
    network_ : Sequential
        The network. Its `save`, `alignment` and so on work as ever.
    coefs_, intercepts_ : list of ndarray
        Weights (n_in, n_out) and biases (n_out,) of the layers, live.
    n_features_in_, n_outputs_, n_layers_ : int
    feature_names_in_ : ndarray of str
        If X had names of columns.
    out_activation_ : str
    n_iter_, t_ : int
        Epochs of the last call; samples seen in all calls.
    loss_ : float
        Of the last epoch, with the L2 penalty.
    loss_curve_ : list of float
    best_loss_ : float or None
        The smallest of them; None if the validation score decides.
    validation_scores_ : list of float or None
    best_validation_score_ : float or None
    validation_loss_curve_ : list of float or None
        With `X_val`: the losses without penalty.

    Examples
    --------
    >>> from fastfa.sklearn import MLPClassifier
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_wine(return_X_y=True)
    >>> X = StandardScaler().fit_transform(X)
    >>> MLPClassifier(rule="dfa", max_iter=500, random_state=0).fit(X, y).score(X, y)
    1.0
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool | str = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        rule: Any = "backprop",
        feedback: Any = None,
        inject: str | None = None,
        dropout: Any = 0.0,
        class_weight: Any = None,
        dtype: Any = None,
        n_threads: int | None = None,
    ) -> None:
        keep(locals())


class FAClassifier(_Classifier):
    """Classifier with defaults for good results on tables.

    It has the parameters and attributes of `MLPClassifier` but ``max_fun``. Two defaults differ:
    ``batch_size=32`` and ``early_stopping="auto"``. Standardise the inputs.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, \
power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, \
nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon, \
n_iter_no_change, rule, feedback, inject, dropout, class_weight, dtype, n_threads
        As for `MLPClassifier`.

    Examples
    --------
    >>> from fastfa.sklearn import FAClassifier
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
    >>> FAClassifier(random_state=0).fit(X_train, y_train).score(X_test, y_test) > 0.95
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = 32,
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        rule: Any = "backprop",
        feedback: Any = None,
        inject: str | None = None,
        dropout: Any = 0.0,
        class_weight: Any = None,
        dtype: Any = None,
        n_threads: int | None = None,
    ) -> None:
        keep(locals())

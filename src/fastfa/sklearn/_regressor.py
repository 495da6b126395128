"""`MLPRegressor`, the drop-in, and `FARegressor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d

from .._internal.checks import choice, counted, flag, mismatch
from ._base import Perceptron, Samples, keep, like
from ._scores import r2
from ._versions import with_callbacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["FARegressor", "MLPRegressor"]


class _Regressor(RegressorMixin, Perceptron):  # type: ignore[misc]
    """Numbers as the targets."""

    @with_callbacks
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None
    ) -> Any:
        """Train on samples and their values.

        Parameters
        ----------
        X : array_like or sparse matrix of shape (n_samples, n_features)
            A sparse one stays so; other formats than CSR are converted.
        y : array_like of shape (n_samples,) or (n_samples, n_outputs)
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

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train for one epoch on the given samples.

        With ``normalize_y`` the mean and the scale of the first call's y hold for all later ones.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        self : object
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        flag("normalize_y", self.normalize_y)
        loss = getattr(self, "loss", "squared_error")
        if loss == "poisson":
            hint = 'the estimator has it not yet; fa.Sequential(..., loss="poisson") has'
            raise ValueError(mismatch("loss", '"squared_error"', '"poisson"', hint))
        choice("loss", loss, ("squared_error",))

    def _validated(self, X: Any, y: Any, fresh: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        X, y = self._checked(X, y, fresh, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _targets(self, y: NDArray[Any], fresh: bool, weights: Any, name: str = "y") -> NDArray[Any]:
        """The rows (m, n_outputs_) that the network learns; `name` is that of y in errors."""
        rows = y.astype(np.float64, copy=False).reshape(len(y), -1)
        if fresh:
            self.n_outputs_ = rows.shape[1]
            self.out_activation_ = "identity"
            self._several = y.ndim == 2
            self._y_mean: Any = 0.0
            self._y_scale: Any = 1.0
            if self.normalize_y:
                self._y_mean = np.average(rows, axis=0, weights=weights)
                variance = np.average((rows - self._y_mean) ** 2, axis=0, weights=weights)
                self._y_scale = np.sqrt(np.where(variance > 0, variance, 1.0))
        if rows.shape[1] != self.n_outputs_:
            expected = f"{counted(self.n_outputs_, 'value')} for each sample"
            raise ValueError(mismatch(name, expected, rows.shape[1]))
        return (rows - self._y_mean) / self._y_scale if self.normalize_y else rows

    def _net_loss(self) -> str:
        return "mse"

    def _class_weights(self, y: NDArray[Any], weights: Any) -> NDArray[np.float64] | None:
        return weights  # type: ignore[no-any-return]

    def _scorer(self, held_out: Samples) -> Callable[[NDArray[Any]], float]:
        return lambda outputs: r2(outputs, held_out.y, held_out.weights)

    def predict(self, X: Any) -> Any:
        """The values of samples.

        Parameters
        ----------
        X : array_like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        outputs = self._outputs(X)
        if self.normalize_y:
            outputs = (outputs * self._y_scale + self._y_mean).astype(outputs.dtype, copy=False)
        return like(outputs if self._several else outputs.ravel(), X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class MLPRegressor(_Regressor):
    """Regressor with the parameters, attributes and meaning of scikit-learn's MLPRegressor.

    Parameters
    ----------
    loss : {"squared_error"}
        "poisson" is refused.
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
        True: hold out `validation_fraction` of the samples, stop when their score has not
        improved, and restore the best weights. "auto": as True where at least 10 samples are held
        out, and their loss decides between equal scores; otherwise the loss of training decides.
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
    normalize_y : bool, default False
        Train on targets of mean 0 and variance 1. Predictions have the scale of y; losses, and
        what `network_` predicts, that of the training.
    dtype : {"float32", "float64"} or None
        Of the network; None: that of X, where whole numbers become float64.
    n_threads : int, optional
        The most threads; None: `fastfa.get_num_threads`. No result depends on it.

    Attributes
    ----------
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
    >>> from fastfa.sklearn import MLPRegressor
    >>> from sklearn.datasets import make_friedman1
    >>> X, y = make_friedman1(500, random_state=0)
    >>> model = MLPRegressor(normalize_y=True, max_iter=1000, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """

    def __init__(
        self,
        loss: str = "squared_error",
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
        normalize_y: bool = False,
        dtype: Any = None,
        n_threads: int | None = None,
    ) -> None:
        keep(locals())


class FARegressor(_Regressor):
    """Regressor with defaults for good results on tables.

    It has the parameters and attributes of `MLPRegressor` but ``loss`` and ``max_fun``. Three
    defaults differ: ``batch_size=32``, ``early_stopping="auto"`` and ``normalize_y=True``.
    Standardise the inputs.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, \
power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, \
nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon, \
n_iter_no_change, rule, feedback, inject, dropout, normalize_y, dtype, n_threads
        As for `MLPRegressor`.

    Examples
    --------
    >>> from fastfa.sklearn import FARegressor
    >>> from sklearn.datasets import make_friedman1
    >>> X, y = make_friedman1(500, random_state=0)
    >>> FARegressor(random_state=0).fit(X, y).score(X, y) > 0.9
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
        normalize_y: bool = True,
        dtype: Any = None,
        n_threads: int | None = None,
    ) -> None:
        keep(locals())

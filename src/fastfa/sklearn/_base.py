"""What the classifiers and regressors share: parameters, ``fit``, ``partial_fit``, attributes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from math import ceil, inf, isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .._internal.arguments import dtype_name
from .._internal.arrays import as_array
from .._internal.checks import choice, flag, integer, mismatch, number, show
from .._internal.samples import Batch
from .._internal.sparse import is_sparse, sparse_rows
from . import _networks
from ._training import Settings, Validation, train
from ._versions import CallbackSupport

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from ..sequential import Sequential

__all__ = ["Perceptron", "keep"]

FEWEST_HELD_OUT = 10  # samples whose score may end a training, with early_stopping="auto"
MOST_ROWS = 200  # of a batch, with batch_size="auto"
LBFGS = (
    "L-BFGS searches along the exact gradient of all samples, which no rule but backprop has; for "
    "small data FAClassifier and FARegressor take small batches"
)


class Samples(NamedTuple):
    """Samples of one training or validation, converted."""

    x: Any  # an ndarray, or CSR of SciPy
    y: NDArray[Any]  # class numbers (m,), or rows (m, n_out)
    weights: NDArray[np.float64] | None


def keep(values: dict[str, Any]) -> None:
    """Store the parameters of a constructor, given its ``locals()``, as scikit-learn wants them."""
    estimator = values.pop("self")
    values.pop("__class__", None)
    vars(estimator).update(values)


class Perceptron(CallbackSupport, BaseEstimator):  # type: ignore[misc]
    """Base of the estimators; they derive from it and say what their targets are."""

    network_: Sequential
    # ---- what a classifier and a regressor define
    _net_loss: Callable[[], str]
    _validated: Callable[..., tuple[NDArray[Any], NDArray[Any]]]
    _targets: Callable[..., NDArray[Any]]
    _class_weights: Callable[..., NDArray[np.float64] | None]
    _scorer: Callable[[Samples], Callable[[NDArray[Any]], float]]

    # -------------------------------------------------------------------------------- training

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any] = (None, None),
        incremental: bool = False,
    ) -> Perceptron:
        """What ``fit`` and ``partial_fit`` do with their arguments."""
        self._check_parameters()
        attributes: dict[str, Any] = self.__dict__
        before = dict(attributes)
        try:
            prepared = self._prepare(X, y, sample_weight, validation, incremental)
        except BaseException:  # an estimator whose arguments are refused is as it was
            attributes.clear()
            attributes.update(before)
            raise
        self._train(*prepared, incremental, (X, y, sample_weight))
        return self

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any], incremental: bool
    ) -> tuple[Samples, Samples | None, bool]:
        """The arguments, checked and converted, and a network for them."""
        fresh = not hasattr(self, "network_") or not (self.warm_start or incremental)
        if not fresh:
            self._check_widths()
        X, y = self._validated(X, y, fresh)
        weights = self._class_weights(y, checked_weights(sample_weight, X.shape[0]))
        data = Samples(X, self._targets(y, fresh, weights), weights)
        fixed = self._given_validation(*validation)
        values: list[NDArray[Any]] = []
        if fresh:  # the order of draws is that of scikit-learn
            self._random_state = check_random_state(self.random_state)
            values = _networks.draw(self, X.shape[1], self.n_outputs_)
            self._split_state = copy.deepcopy(self._random_state)
            self.t_ = 0
        data, held_out, on_score = self._split(data, fixed, fresh, incremental)
        if fresh:
            self._make(data, values)
        self._begin(fresh, on_score, fixed is not None)
        return data, held_out, on_score

    def _make(self, data: Samples, values: list[NDArray[Any]]) -> None:
        """A new network with the values that were drawn, and the attributes of its shape."""
        weight = 1.0
        if data.weights is not None and data.weights.any():
            largest = data.weights.max()  # or else the sum of large weights is infinite
            weight = float(largest * (data.weights / largest).mean())
        decay = float(self.alpha) / (self._batch_rows(len(data.y)) * weight)
        if not isfinite(decay):  # alpha counts next to the loss, which such weights make nothing
            raise ValueError(mismatch("sample_weight", "weights of 1e-300 or more", f"{weight:g}"))
        n_in, n_out = data.x.shape[1], self.n_outputs_
        seed = int(copy.deepcopy(self._split_state).randint(0, 2**63 - 1, dtype=np.int64))
        self.network_ = _networks.build(
            self, n_in, n_out, self._net_loss(), data.x.dtype, decay, seed
        )
        self.n_layers_ = len(_networks.dense_keys(self.network_)) + 1
        self.coefs_, self.intercepts_ = values[::2], values[1::2]

    def _begin(self, fresh: bool, on_score: bool, own_validation: bool) -> None:
        """The records of training: new ones, or those of the last call."""
        if fresh:
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            self._least_validation_loss = inf  # of epochs with the best score
            self.best_loss_: float | None = None
            self.best_validation_score_: float | None = None
            self.validation_scores_: list[float] | None = None
            self.validation_loss_curve_: list[float] | None = None
        if on_score:
            self.best_loss_ = None
            if self.best_validation_score_ is None:
                self.best_validation_score_ = -inf
        else:
            self.best_validation_score_ = None
            if self.best_loss_ is None:
                self.best_loss_ = inf
        if (on_score or own_validation) and self.validation_scores_ is None:
            self.validation_scores_ = []
        if own_validation and self.validation_loss_curve_ is None:
            self.validation_loss_curve_ = []
        self.n_iter_ = 0

    def _train(
        self,
        data: Samples,
        held_out: Samples | None,
        on_score: bool,
        incremental: bool,
        given: tuple[Any, Any, Any],
    ) -> None:
        net = self.network_
        validation = None
        if held_out is not None:
            validation = Validation(self._batch(held_out), self._scorer(held_out))
        X, y, sample_weight = given
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        context = None
        if hasattr(self, "_skl_callbacks") and not incremental:
            context = self._init_callback_context(max_subtasks=self.max_iter)
            context.call_on_fit_task_begin(estimator=self, X=X, y=y, metadata=metadata)
        settings = Settings(
            epochs=1 if incremental else self.max_iter,
            batch_size=self._batch_rows(len(data.y)),
            stop_on_score=on_score,
            validation=validation,
            loss_factor=1.0 if net.loss != "mse" else 1.0 / self.n_outputs_,
            decay=net.optimizer.describe()["weight_decay"],
            incremental=incremental,
            context=context,
            data=(X, y, metadata),
        )
        train(self, net, self._batch(data), settings)
        if context is not None:
            context.call_on_fit_task_end(
                estimator=self,
                X=X,
                y=y,
                metadata=metadata,
                reconstruction_attributes=self._fitted_attributes,
            )

    def _fitted_attributes(self) -> dict[str, Any]:
        """What scikit-learn's callbacks need for a copy that stays as it is now."""
        return {"network_": copy.deepcopy(self.network_)}

    def _batch(self, data: Samples) -> Batch:
        """The samples as the engine takes them; scikit-learn has checked the values of X."""
        net, weights = self.network_, data.weights
        if weights is not None:
            if not weights.any():
                raise ValueError(
                    "sample_weight: expected weights above 0 in the parts to train on and to "
                    "validate with, got only zeros in one"
                )
            weights = weights / weights.max()  # or else a sum of large weights is infinite
            weights = np.require(weights * (len(weights) / weights.sum()), np.float64, ("C", "A"))
        x = _for_engine(data.x, net.dtype)
        if net.loss == "softmax_cross_entropy":
            batch = Batch(x, np.require(data.y, np.int64, ("C", "A")), None, weights)
        else:
            with np.errstate(over="ignore"):  # the engine refuses what becomes infinite
                rows = np.require(data.y.reshape(-1, self.n_outputs_), net.dtype, ("C", "A", "E"))
            batch = Batch(x, None, rows, weights)
        net._engine.check_targets(len(x), *batch[1:])
        return batch

    def _split(
        self, data: Samples, fixed: Samples | None, fresh: bool, incremental: bool
    ) -> tuple[Samples, Samples | None, bool]:
        """Samples to train on, samples to validate with, and whether their score decides."""
        auto = isinstance(self.early_stopping, str)
        stops = auto or bool(self.early_stopping)
        if incremental:
            if stops and not auto:
                raise ValueError(
                    "early_stopping: expected False or 'auto' with partial_fit, got True; one "
                    "call is one epoch"
                )
            return data, fixed, False
        if not stops or fixed is not None:
            return data, fixed, stops
        n_test = ceil(self.validation_fraction * len(data.y))
        stratify = self._strata(data, n_test)
        if auto and (n_test < FEWEST_HELD_OUT or stratify is False):
            return data, None, False
        if n_test < 2 or n_test >= len(data.y):
            raise ValueError(
                f"validation_fraction: expected at least 2 samples of {len(data.y)} to validate "
                f"with and one to train on, got {n_test}; another fraction, or more samples"
            )
        state = self._random_state if fresh else copy.deepcopy(self._split_state)
        arrays = [each for each in data if each is not None]
        parts = train_test_split(
            *arrays,
            test_size=self.validation_fraction,
            random_state=state,
            stratify=None if stratify is False else stratify,
        )
        train_part, test_part = parts[::2], parts[1::2]
        weights = [None] * (3 - len(arrays))
        return Samples(*train_part, *weights), Samples(*test_part, *weights), True

    def _strata(self, data: Samples, n_test: int) -> NDArray[Any] | bool | None:
        """What to stratify by: None if there are no classes, False if there are too few of one."""
        return None

    def _given_validation(self, X: Any, y: Any) -> Samples | None:
        """``X_val`` and ``y_val``."""
        if X is None and y is None:
            return None
        if X is None or y is None:
            missing = "X_val" if X is None else "y_val"
            raise ValueError(f"{missing}: expected both of X_val and y_val or none, got None")
        try:
            X, y = self._validated(X, y, False)
        except ValueError as error:
            error.add_note("this is about X_val and y_val")  # scikit-learn calls them X and y
            raise
        return Samples(X, self._targets(y, False, None, "y_val"), None)

    def _batch_rows(self, n: int) -> int:
        return int(min(MOST_ROWS if isinstance(self.batch_size, str) else self.batch_size, n))

    # -------------------------------------------------------------------------------- arguments

    def _check_parameters(self) -> None:
        """Refuse parameters that are wrong whatever the data."""
        if self.solver == "lbfgs":
            raise ValueError(mismatch("solver", '"adam" or "sgd"', '"lbfgs"', LBFGS))
        choice("solver", self.solver, ("adam", "sgd"))
        choice("learning_rate", self.learning_rate, ("constant", "invscaling", "adaptive"))
        _networks.hidden_sizes(self.hidden_layer_sizes)
        if self.batch_size != "auto":
            integer("batch_size", self.batch_size, 1)
        integer("max_iter", self.max_iter, 1)
        if self.n_iter_no_change != inf:
            integer("n_iter_no_change", self.n_iter_no_change, 1)
        for name in ("alpha", "power_t", "tol"):
            number(name, getattr(self, name), low=0.0)
        number("learning_rate_init", self.learning_rate_init, above=0.0)
        number("validation_fraction", self.validation_fraction, low=0.0, below=1.0)
        for name in ("shuffle", "warm_start", "nesterovs_momentum"):
            flag(name, getattr(self, name))
        if not isinstance(self.early_stopping, (bool, np.bool_)) and self.early_stopping != "auto":
            got = show(self.early_stopping)
            raise ValueError(mismatch("early_stopping", "True, False or 'auto'", got))

    def _check_widths(self) -> None:
        """Refuse other hidden layers than those of the network that is trained further."""
        net = self.network_
        known = tuple(net.parameters[f"{i}.bias"].size for i in _networks.dense_keys(net)[:-1])
        given = _networks.hidden_sizes(self.hidden_layer_sizes)
        if given != known:
            hint = "the network goes on learning; fit without warm_start makes another"
            raise ValueError(mismatch("hidden_layer_sizes", str(known), given, hint))

    def _dtypes(self) -> list[DTypeLike]:
        """The dtypes that X may have; another one is converted to the first."""
        if hasattr(self, "network_"):
            return [self.network_.dtype]
        return [np.float64, np.float32]

    def _checked(self, X: Any, y: Any = "no_validation", fresh: bool = False, **checks: Any) -> Any:
        """X, or X and y, checked by scikit-learn and as arrays of NumPy."""
        dtypes: Any = self._dtypes()
        if fresh:
            dtypes = [np.float64, np.float32] if self.dtype is None else [dtype_name(self.dtype)]
        X = as_numpy("X", X)
        y = y if isinstance(y, str) else as_numpy("y", y)
        checks |= {"accept_sparse": "csr", "order": "C", "dtype": dtypes}
        return validate_data(self, X, y, reset=fresh, **checks)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # -------------------------------------------------------------------------------- using

    def _outputs(self, X: Any, logits: bool = False) -> NDArray[Any]:
        """Outputs (m, n_outputs_) of the network."""
        check_is_fitted(self)
        x = _for_engine(self._checked(X), self.network_.dtype)
        outputs: NDArray[Any] = self.network_._engine.predict(x, logits)
        return outputs

    @property
    def coefs_(self) -> list[Any]:
        """The weight matrices, live: ``coefs_[0][:] = a`` and ``coefs_[0] = a`` change them."""
        return self._live("weight")

    @coefs_.setter
    def coefs_(self, values: list[Any]) -> None:
        self._live("weight")[:] = values

    @property
    def intercepts_(self) -> list[Any]:
        """The biases, live as `coefs_`."""
        return self._live("bias")

    @intercepts_.setter
    def intercepts_(self, values: list[Any]) -> None:
        self._live("bias")[:] = values

    def _live(self, what: str) -> _networks.Live:
        net = vars(self).get("network_")
        if net is None:
            raise AttributeError(f"{type(self).__name__} is not fitted yet; call fit first")
        return _networks.Live(net.parameters[f"{i}.{what}"] for i in _networks.dense_keys(net))


def _for_engine(x: Any, dtype: DTypeLike) -> Any:
    """X, checked by scikit-learn, as the engine takes it."""
    if is_sparse(x):
        return sparse_rows(x, "X").astype(dtype)
    return np.require(x, dtype, ("C", "A", "E"))


def as_numpy(name: str, value: Any) -> Any:
    """An array of another library (the array API) as one of NumPy; all else as it is."""
    return as_array(name, value) if _is_foreign(value) else value


def like(outputs: NDArray[Any], X: Any) -> Any:
    """Predictions in the library of X, if scikit-learn's array_api_dispatch is on."""
    if not (_is_foreign(X) and get_config()["array_api_dispatch"]) or outputs.dtype.kind in "OUS":
        return outputs
    return X.__array_namespace__().asarray(outputs)


def _is_foreign(value: Any) -> bool:
    return hasattr(value, "__array_namespace__") and not isinstance(value, (np.ndarray, np.generic))


def checked_weights(weights: Any, m: int) -> NDArray[np.float64] | None:
    """Sample weights as an array (m,), or None."""
    if weights is None:
        return None
    if isinstance(weights, Real):
        return np.full(m, number("sample_weight", weights, above=0.0))
    array: NDArray[np.float64] = check_array(
        as_numpy("sample_weight", weights),
        ensure_2d=False,
        dtype=np.float64,
        input_name="sample_weight",
    )
    if array.shape != (m,):
        raise ValueError(f"sample_weight: expected shape ({m},), got shape {array.shape}")
    if (array < 0).any():
        raise ValueError(f"sample_weight: expected weights >= 0, got {array.min():g}")
    if not array.any():
        raise ValueError("sample_weight: expected a weight above 0, got only zeros")
    return array

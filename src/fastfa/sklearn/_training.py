"""Training as scikit-learn's MLP does it, by the engine of `Sequential`.

The engine runs whole epochs. Between them `Monitor` records what the attributes of the estimator
hold, changes the learning rate and decides when to stop.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._internal.checks import warn
from .._internal.exclusive import Holder
from .._internal.samples import Batch, Columns
from .._internal.training import Task, Training
from ..callbacks import Callback
from ._networks import dense_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ..sequential import Sequential

__all__ = ["Settings", "Validation", "train"]

LEAST_RATE = 1e-6  # of learning_rate="adaptive": below it training ends


class Validation(NamedTuple):
    """Samples that are not trained on, and the score of outputs for them."""

    batch: Batch
    score: Callable[[NDArray[Any]], float]


class Settings(NamedTuple):
    """How one call of ``fit`` or ``partial_fit`` trains."""

    epochs: int
    batch_size: int
    stop_on_score: bool
    validation: Validation | None
    loss_factor: float  # from the engine's loss to scikit-learn's
    decay: float  # factor of half the squares of the weights in the loss of a full batch
    incremental: bool
    context: Any = None  # of scikit-learn's callbacks
    data: tuple[Any, ...] = ()  # X, y and metadata for them


def train(estimator: Any, net: Sequential, batch: Batch, settings: Settings) -> None:
    """Train the network of an estimator and set the attributes that tell how it went."""
    task = Task(
        data=batch,
        columns=Columns(_column_names(estimator)),
        metric=None,
        validation=None,
        validation_metric=None,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        shuffle=bool(estimator.shuffle),
    )
    holder = Holder()
    if not holder.take(id(net)):
        raise RuntimeError("fit is already running on this estimator; wait for it")
    monitor = Monitor(estimator, net, len(batch.x), settings)
    if not settings.incremental:
        monitor.set_rate(estimator.learning_rate_init)
    net._stopping = False
    try:
        _Epochs(net, task, monitor).run(holder, verbose=False)
    except KeyboardInterrupt:
        warn("Ctrl-C ended the training; the estimator has the weights reached so far")
    except FloatingPointError as error:
        raise ValueError(
            f"learning_rate_init: expected a rate at which training converges, got "
            f"{estimator.learning_rate_init}: {error}; or scale the inputs"
        ) from error
    finally:
        monitor.restore_best()
        net._engine.trim()
        holder.release()
    if not all(np.isfinite(each).all() for each in net.parameters.values()):
        raise ValueError(
            f"learning_rate_init: expected a rate at which training converges, got "
            f"{estimator.learning_rate_init}: weights are NaN or infinite; or scale the inputs"
        )


def _column_names(estimator: Any) -> tuple[str, ...] | None:
    """The names that ``network_.predict`` wants tables to have."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))


class _Epochs(Training):
    """A training in which the estimator's random state draws the order of the samples."""

    def __init__(self, net: Sequential, task: Task, monitor: Monitor) -> None:
        super().__init__(
            net, net._engine, task, [monitor], lambda count: None, lambda: net._stopping
        )
        self.monitor = monitor
        self.indices = np.arange(len(task.data.x))

    def _order(self) -> NDArray[np.int64] | None:
        self.monitor.begin_epoch()
        self.engine.shuffle(1)  # counts the epoch
        if not self.task.shuffle:
            return None
        chosen = np.arange(len(self.indices))
        self.monitor.estimator._random_state.shuffle(chosen)
        self.indices = self.indices[chosen]  # as scikit-learn: the last order is shuffled again
        return self.indices


class Monitor(Callback):
    """Does what scikit-learn's MLP does at the end of each epoch."""

    def __init__(self, estimator: Any, net: Sequential, rows: int, settings: Settings) -> None:
        self.estimator = estimator
        self.net = net
        self.rows = rows
        self.settings = settings
        self.steps = math.ceil(rows / settings.batch_size)
        self.weights = [net.parameters[f"{i}.weight"] for i in dense_keys(net)]
        self.squares = self._sum_of_squares()
        self.best: dict[str, NDArray[Any]] | None = None
        self.outputs: NDArray[Any] | None = None
        self.task: Any = None  # of scikit-learn's callbacks, for this epoch
        if settings.stop_on_score:
            self._keep_best()

    def begin_epoch(self) -> None:
        """Tell scikit-learn's callbacks."""
        if self.settings.context is not None:
            self.task = self.settings.context.subcontext(task_name="epoch")
            self.task.call_on_fit_task_begin(estimator=self.estimator, **self._callback_data())

    def on_epoch_end(self, net: Sequential, epoch: int, logs: Mapping[str, float]) -> None:
        """Record the epoch, change the learning rate, stop if it is time."""
        e, settings = self.estimator, self.settings
        e.n_iter_ += 1
        e.loss_ = logs["loss"] * settings.loss_factor + self._penalty()
        e.t_ += self.rows
        e.loss_curve_.append(e.loss_)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
        self._evaluate()
        e._no_improvement_count = 0 if self._improved() else e._no_improvement_count + 1
        if e.solver == "sgd" and e.learning_rate == "invscaling":
            self.set_rate(e.learning_rate_init / (e.t_ + 1) ** e.power_t)
        stops = e._no_improvement_count > e.n_iter_no_change and self._stops()
        if self._callbacks_stop() or stops:
            net.stop()
        elif e.n_iter_ == settings.epochs and not settings.incremental:
            warn(
                f"max_iter={e.n_iter_} epochs are over, and training has not converged yet",
                ConvergenceWarning,
            )

    def _evaluate(self) -> None:
        """Score and loss of the validation data."""
        e, validation = self.estimator, self.settings.validation
        if validation is None:
            return
        self.outputs = self.net._engine.predict(validation.batch.x, False, self.outputs)
        e.validation_scores_.append(validation.score(self.outputs))
        if e.validation_loss_curve_ is not None:
            e.validation_loss_curve_.append(self._validation_loss(validation))
        if e.verbose:
            print(f"Validation score: {e.validation_scores_[-1]:f}")

    def _validation_loss(self, validation: Validation) -> float:
        loss, _ = self.net._engine.evaluate(*validation.batch)
        return loss * self.settings.loss_factor

    def _improved(self) -> bool:
        """Whether this epoch is better than the best before by ``tol``; keeps the best values."""
        e = self.estimator
        if self.settings.stop_on_score:
            score = e.validation_scores_[-1]
            if e.early_stopping == "auto" and self.settings.validation is not None:
                return self._improved_also_by_loss(score, self.settings.validation)
            better = not score < e.best_validation_score_ + e.tol
            if score > e.best_validation_score_:
                e.best_validation_score_ = score
                self._keep_best()
            return better
        better = not e.loss_ > e.best_loss_ - e.tol
        e.best_loss_ = min(e.best_loss_, e.loss_)
        return better

    def _improved_also_by_loss(self, score: float, validation: Validation) -> bool:
        """As `_improved`; of epochs with one score the validation loss says which is better.

        Few samples have few scores: the first epoch with the best one is hardly trained.
        """
        e = self.estimator
        best, least = e.best_validation_score_, e._least_validation_loss
        if not score >= best:
            return False
        loss = self._validation_loss(validation)
        if score > best or loss < least:
            e.best_validation_score_, e._least_validation_loss = score, loss
            self._keep_best()
        return bool(score > best + e.tol or loss < least - e.tol)

    def _stops(self) -> bool:
        """Whether training ends for want of improvement; "adaptive" lowers the rate first."""
        e = self.estimator
        what = "validation score" if self.settings.stop_on_score else "training loss"
        text = f"The {what} has not improved by tol={e.tol:f} for {e.n_iter_no_change} epochs."
        adaptive = e.solver == "sgd" and e.learning_rate == "adaptive"
        if adaptive and self.net.lr > LEAST_RATE:
            e._no_improvement_count = 0
            self.set_rate(self.net.lr / 5)
            text = f"{text} The learning rate is now {self.net.lr:f}."
        else:
            adaptive = False
            text = f"{text} Training ends."
        if e.verbose:
            print(text)
        return not adaptive

    def set_rate(self, lr: float) -> None:
        """Set the learning rate. The step of momentum keeps its size, as in scikit-learn.

        There the velocity is a sum of steps, here of gradients, which each step multiplies by lr.
        """
        if lr == self.net.lr:
            return
        if self.estimator.solver == "sgd" and lr > 0:
            engine: Any = self.net._engine
            for slot in chain.from_iterable(engine.slots.values()):
                slot *= self.net.lr / lr
        self.net.lr = lr

    def _penalty(self) -> float:
        """The mean over the samples of alpha / 2 times the squares of the weights by batch.

        Exact where an epoch is one batch. Of several batches only the first and the last squares
        are known, and those between are taken from a straight line.
        """
        if self.settings.decay == 0:
            return 0.0
        first, self.squares = self.squares, self._sum_of_squares()
        mean = first + (self.squares - first) * (self.steps - 1) / (2 * self.steps)
        per_sample = self.settings.decay * self.settings.batch_size / self.rows
        return float(0.5 * per_sample * mean * self.steps)

    def _sum_of_squares(self) -> float:
        # not BLAS, whose sums depend on the number of threads
        return sum(float(np.einsum("ij,ij->", each, each)) for each in self.weights)

    def _keep_best(self) -> None:
        live = {**self.net.parameters, **self.net.feedback}
        if self.best is None:
            self.best = {key: value.copy() for key, value in live.items()}
        for key, value in live.items():
            np.copyto(self.best[key], value)

    def restore_best(self) -> None:
        """Put the best weights back, if the validation score decides."""
        for key, value in (self.best or {}).items():
            of = self.net.parameters if key in self.net.parameters else self.net.feedback
            of[key] = value

    # ---- scikit-learn's callbacks

    def _callback_data(self) -> dict[str, Any]:
        X, y, metadata = self.settings.data
        return {
            "X": X,
            "y": y,
            "metadata": metadata,
            "reconstruction_attributes": self.estimator._fitted_attributes,
        }

    def _callbacks_stop(self) -> bool:
        task, self.task = self.task, None
        if task is None:
            return False
        return bool(task.call_on_fit_task_end(estimator=self.estimator, **self._callback_data()))

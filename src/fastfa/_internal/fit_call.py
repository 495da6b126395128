"""The arguments of ``fit``: which belong together, and the training that they ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..losses import loss_name
from .batches import AGAIN, NO_SAMPLES, Batches, BatchTraining
from .checks import flag, integer, mismatch, show, warn
from .fit_options import FitOptions, checked_augment
from .fit_task import checked, fit_task, unread_validation
from .samples import Columns
from .training import Task, Training

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..callbacks import Callback
    from .model import Model

__all__ = ["FitCall"]

BATCH_SIZE = 32
ENOUGH_STEPS = 1000  # of an epoch: with fewer, one epoch is hardly what the user wants
_hinted = [False]


class FitCall(NamedTuple):
    """The arguments of one call of ``fit``, as `Sequential.fit` has them."""

    X: Any
    y: Any
    epochs: Any
    batch_size: Any
    validation_data: Any
    sample_weight: Any
    shuffle: Any
    metrics: Any
    train_metrics: Any
    class_weight: Any
    validation_split: Any
    batches: Any
    steps_per_epoch: Any
    augment: Any

    def training(
        self, net: Model, hooks: Sequence[Callback], stopped: Callable[[], bool]
    ) -> Training:
        """The training on X and y, or on batches; everything is checked, and nothing changed."""
        options = FitOptions(
            loss_name(net.loss), net._engine.n_out, self.metrics, self.train_metrics,
            self.class_weight, self.validation_split, self.validation_data,
        )  # fmt: skip
        augment = checked_augment(self.augment, net)
        if self.batches is not None:
            return self._on_batches(net, hooks, stopped, options, augment)
        for name in ("X", "y"):
            if getattr(self, name) is None:
                hint = "or give batches=, each with both"
                raise TypeError(mismatch(name, "real numbers", "None", hint))
        if self.steps_per_epoch is not None:
            hint = "batch_size divides X and y"
            got = show(self.steps_per_epoch)
            raise TypeError(mismatch("steps_per_epoch", "None without batches=", got, hint))
        task = fit_task(
            net._validator, net._engine, self.X, self.y, self.sample_weight, self.validation_data,
            1 if self.epochs is None else self.epochs, self.batch_size, self.shuffle,
        )  # fmt: skip
        task = options.applied_to(task, net.seed, net.dtype)._replace(augment=augment)
        if self.epochs is None and net.epochs == 0 and task.steps < ENOUGH_STEPS:
            _hint_at_epochs(task.steps)
        backend, engine = net._backend, net._engine
        placed = task._replace(
            data=backend.placed(engine, task.data),
            validation=task.validation and backend.placed(engine, task.validation),
            measured=(task.data, task.validation),
        )
        return Training(net, engine, placed, hooks, net._rates, stopped)

    def _on_batches(
        self,
        net: Model,
        hooks: Sequence[Callback],
        stopped: Callable[[], bool],
        options: FitOptions,
        augment: tuple[bool, int] | None,
    ) -> Training:
        self._refuse_arrays(options)
        epochs = 1 if self.epochs is None else integer("epochs", self.epochs, 0)
        steps = self.steps_per_epoch
        steps = None if steps is None else integer("steps_per_epoch", steps, 1)
        batches = Batches(self.batches, steps, net._validator)
        if epochs > 1 and steps is None and not batches.starts_again:
            expected = f"an iterable that can start again for {epochs} epochs"
            raise ValueError(mismatch("batches", expected, show(self.batches), AGAIN))
        columns: Columns = net._validator.columns
        if epochs > 0 or batches.starts_again:
            columns = batches.peek(net.epochs + 1)
        given = unread_validation(net._validator, self.validation_data, columns)
        validation = None if given is None else checked(net._validator, net._engine, given)
        if validation is not None:
            options.metrics.check(validation.labels is not None)
        task = Task(
            data=NO_SAMPLES,
            columns=columns,
            metric=batches.metric,
            validation=validation and net._backend.placed(net._engine, validation),
            validation_metric=None if validation is None else net._validator.metric(validation),
            epochs=epochs,
            batch_size=1,
            shuffle=False,
            metrics=options.metrics,
            measured=(NO_SAMPLES, validation),
            augment=augment,
        )
        training = BatchTraining(net, net._engine, task, hooks, net._rates, stopped)
        training.batches = batches
        return training

    def _refuse_arrays(self, options: FitOptions) -> None:
        """Refuse the arguments that are for X and y, and what needs all samples at once."""
        third = "weights are the third entry of a batch, (x, y, sample_weight)"
        for name, hint in (
            ("X", "give the one or the other"),
            ("y", "each batch has its own"),
            ("sample_weight", third),
            ("class_weight", third),
            ("validation_split", "give validation_data"),
        ):
            value = getattr(self, name)
            if value is not None:
                raise TypeError(mismatch(name, "None with batches=", show(value), hint))
        flag("shuffle", self.shuffle)
        if integer("batch_size", self.batch_size, 1) != BATCH_SIZE:
            hint = "each batch has its own size"
            got = show(self.batch_size)
            raise TypeError(mismatch("batch_size", "no value with batches=", got, hint))
        if options.train_metrics:
            hint = "they would need all batches once more"
            raise ValueError(mismatch("train_metrics", "None with batches=", "True", hint))
        if options.metrics and self.validation_data is None:
            hint = "metrics are measured on it"
            raise ValueError(
                mismatch("validation_data", "some for metrics with batches=", "None", hint)
            )


def _hint_at_epochs(steps: int) -> None:
    """Say once that one epoch is hardly a training; a caller that gives `epochs` knows."""
    if not _hinted[0]:
        _hinted[0] = True
        warn(
            f"epochs: not given, so fit trains for 1 epoch of {steps} steps, after which few "
            "networks are trained; give epochs=, such as epochs=50, perhaps with "
            "fa.EarlyStopping(). This is said once"
        )

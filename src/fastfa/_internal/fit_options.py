"""The arguments of ``fit`` that choose samples, weigh classes and name metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..augment import Augment
from ..layers import Recurrent
from .checks import flag, mismatch, show
from .metrics import Metrics
from .network_checks import input_shape_of
from .subsets import check_class_weight, check_split, rows_of, split, with_class_weights

if TYPE_CHECKING:
    from .model import Model
    from .training import Task


def checked_augment(value: object, net: Model) -> tuple[bool, int] | None:
    """The argument ``augment``, for the engine."""
    if value is None:
        return None
    if not isinstance(value, Augment):
        expected = "an Augment, such as fa.Augment(flip=True, crop=4)"
        raise TypeError(mismatch("augment", expected, show(value)))
    image = input_shape_of(net._engine.description)
    recurrent = any(isinstance(layer, Recurrent) for layer in net.layers)
    if len(image) != 3 or recurrent or net.device != "cpu":
        expected = "None for samples that are not images, (height, width, channels)"
        if recurrent or net.device != "cpu":
            expected = "None for sequences and on a GPU"
        raise ValueError(mismatch("augment", expected, show(value)))
    if value.crop >= min(image[:2]):
        expected = f"a crop below {min(image[:2])} for images of {image[0]} x {image[1]}"
        raise ValueError(mismatch("augment", expected, show(value)))
    return value.flip, value.crop


class FitOptions:
    """These arguments, checked without a look at the samples.

    Parameters
    ----------
    loss : str
    n_out : int
    metrics, train_metrics, class_weight, validation_split
        As for `Sequential.fit`.
    validation_data : object
        Excludes a split.
    """

    def __init__(
        self,
        loss: str,
        n_out: int,
        metrics: object,
        train_metrics: object,
        class_weight: object,
        validation_split: object,
        validation_data: object,
    ) -> None:
        self.loss = loss
        self.metrics = Metrics(metrics, loss, n_out)
        self.train_metrics = None if train_metrics is None else flag("train_metrics", train_metrics)
        if self.train_metrics and not self.metrics:
            hint = "metrics names none"
            raise ValueError(mismatch("train_metrics", "None", show(train_metrics), hint))
        self.class_weight = check_class_weight(class_weight, n_out)
        self.share = check_split(validation_split)
        if self.share is not None and validation_data is not None:
            raise ValueError(
                mismatch("validation_split", "None with validation_data", f"{self.share:g}")
            )

    def applied_to(self, task: Task, seed: int, dtype: str) -> Task:
        """The task of ``fit`` with these options."""
        data = task.data
        if self.metrics:
            self.metrics.check(data.labels is not None)
            if task.validation is not None:
                self.metrics.check(task.validation.labels is not None)
        if self.share is not None:
            rows, held_out = split(self.share, data, self.loss, seed)
            if data.weights is not None:
                for part, which in ((rows, "trains"), (held_out, "validates")):
                    if not data.weights[part].any():
                        expected = f"a weight above 0 for a sample that {which}"
                        raise ValueError(mismatch("sample_weight", expected, "only zeros"))
            task = task._replace(
                rows=rows,
                batch_size=min(task.batch_size, len(rows)),
                validation=rows_of(data, held_out),
                validation_metric=task.metric,
            )
        train = self.train_metrics
        return task._replace(
            data=with_class_weights(data, self.class_weight, self.loss, dtype, task.rows),
            metrics=self.metrics,
            train_metrics=task.validation is None if train is None else train,
        )

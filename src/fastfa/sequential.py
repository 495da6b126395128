"""`Sequential`: a stack of layers, its rule, loss and optimizer, and the engine that runs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ._internal import arguments
from ._internal.attributes import hints_keywords, refuse_fixed, refuse_unknown
from ._internal.checks import choice, flag, integer, number
from ._internal.compute import describe_compute, warn_of_compute
from ._internal.engines import moved, remade
from ._internal.exclusive import Holder
from ._internal.history import History
from ._internal.network_attributes import FIXED, OWN, SETTABLE
from ._internal.network_checks import (
    check_network,
    describe_structure,
    input_shape_of,
    warn_of_depth,
    warn_of_rules,
)
from ._internal.notes import custom_rules, write_note
from ._internal.paths import check_folder, file_name, is_path
from ._internal.progress import shows_bar
from ._internal.restoring import set_state
from ._internal.samples import Batch, Columns, UnreadBatch
from ._internal.sequences import SequenceValidator
from ._internal.streaming import Streaming
from ._internal.streams import write
from ._internal.summary import Text, html, one_line, table
from ._internal.tensors import Tensors
from ._internal.validation import STEP_NAMES
from .alignment import Alignment, field_names, measure
from .backends import choose
from .callbacks import Callback
from .callbacks.hooks import callback_list
from .layers import Layer, Recurrent
from .layers.registry import layer_from
from .losses import CUSTOM, Function, Loss, as_loss, describe_loss, loss_from, loss_name
from .optimizers import Optimizer, as_optimizer, optimizer_from, rates_at
from .rules import Frozen, Rule
from .rules.registry import as_rule, rule_from
from .schedules import Plateau, PlateauRecord, Rates, Schedule, first_rate, rate_at

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from ._internal.metrics import Metric
    from ._internal.streams import Writable
    from .augment import Augment
    from .backends.protocol import Backend, Engine

__all__ = ["Alignment", "Sequential"]

T = TypeVar("T")
MAX_THREADS = 64


def nothing(*_: object) -> None:
    """Stand for a direct call of the engine that never applies."""


class Sequential(Streaming):
    """A network that is a stack of layers, trained by the rule of your choice.

    The attributes ``lr`` and ``n_threads`` may be set. Assigning to another one, or to an unknown
    name, is an error that says what to do instead; subclasses may have more attributes.

    Parameters
    ----------
    layers : sequence of Layer
        `Dense`, `Conv2D`, `MaxPool2D`, `AvgPool2D`, `GlobalAvgPool2D`, `Flatten`, `Recurrent`,
        `Activation`, `Dropout`, `Dropout2D`, `LayerNorm`, `RMSNorm`, `GroupNorm`, from the input
        up; the last one is a `Dense`, the output.
    input_shape : int or tuple of ints
        Number of inputs n_in; for images (height, width, channels), or (height, width) with one
        channel. With a `Recurrent` layer that of a step; (None, n_in) and (T, n_in) mean the same
        there.
    loss : str, Loss or callable, default "softmax_cross_entropy"
        "softmax_cross_entropy", "sigmoid_cross_entropy" and "mse" take logits, sum over the outputs
        and average over the samples; mse has a factor 1/2.
        So the error of a sample is Yhat - Y for these three. PyTorch's mean reduction averages mse
        and binary cross-entropy over all entries instead: with n_out outputs, a learning rate of
        PyTorch corresponds here to 2 / n_out of it for mse, and to 1 / n_out of it for binary
        cross-entropy. Others are "huber", "mae", "pinball", "poisson" and "focal", or an object
        with options, such as ``Huber(delta=0.5)`` or ``SoftmaxCrossEntropy(smoothing=0.1)``: see
        ``help(fastfa.losses)``.
        A function ``f(logits, y) -> (losses, errors)`` is a loss of your own. It gets the outputs
        of some rows (m, n_out) and their targets, labels (m,) or rows (m, n_out), and returns the
        loss of each row (m,) and dloss/dlogits (m, n_out); a row's values must not depend on other
        rows. Its exceptions are raised, and the network stays as it was. A file keeps its name:
        give it to `load`.
    rule : str or Rule, default "backprop"
        How the error reaches the hidden layers: "backprop", "fa", "dfa", "sdfa", "drtp", "usf",
        "frsf", "brsf", "kp", "dkp", "ternary", "ifa", "ldfa", "pfa", "fdfa", "wm", "cdni",
        "dtp", "local", "pepita", "frozen", or an object such as ``DFA(Feedback("normal"))``.
        ``help(fastfa.rules)`` has a table of them. A layer's own rule takes precedence.
    optimizer : str or Optimizer, default "adam"
        "rmsprop", "adam", "adamw", "adagrad", "nadam", "radam" with PyTorch's defaults, "lion", or
        an object such as ``SGD(0.1, momentum=0.9)``, which needs a learning rate.
    dtype : {"float32", "float64"}
    rng : int, numpy.random.Generator or None
        Seed in 0..2**64-1 of all random draws; a Generator draws the seed; None takes a random
        seed. ``net.seed`` has it. The same seed gives the same bits for any number of threads.
    n_threads : int, optional
        Number of threads; None or 0: ``get_num_threads()`` of them, or one if that is as fast,
        which is measured during training. No result depends on it.
    input_scale : "auto" or float
        "auto" divides uint8 inputs by 255 and does not change other dtypes; a number multiplies all
        inputs. It holds for training and prediction. A warning is given once for bytes that seem
        not to be pixels, because none of them is above 63.
    data_format : {"channels_last", "channels_first"}
        How images are given. With "channels_first" X is (m, channels, height, width), or rows of
        these numbers, and input_shape (channels, height, width), as in PyTorch; it is turned when
        it is converted. Everything else has channels last: parameters, feedback, `Flatten`.
    device : str, default "cpu"
        "cpu"; or "cuda", the current GPU of CuPy, or its number as in "cuda:1". What runs there is
        in ``docs/DEVICES.md``.
    compute : {"float32", "bfloat16"}
        "bfloat16" rounds the operands of products with large weights and feedback to 8 significant
        bits, for float32 networks on the CPU; sums, parameters, losses and updates stay float32.
        Large networks train faster where the processor has instructions for it (AVX512_BF16 or
        AMX); elsewhere it saves no time, and a warning says so once. ``net.summary()`` names the
        layers; ``docs/MATH.md`` has the numbers.

    Attributes
    ----------
    layers : tuple of Layer
    loss : str, Loss or callable
        As given.
    dtype, device, compute : str
    rule : Rule
    optimizer : Optimizer
        As given; the current learning rate is ``lr``.
    seed : int
    input_scale : "auto" or float
    data_format : str
    parameters, feedback : mapping of str to ndarray
        Live writable views by key: "0.weight" (n_in, units), "0.bias" (units,), "0.feedback"
        (n_source, units), where 0 is the index in the layer list. ``net.parameters[key] = a``
        checks the values and copies them. On a GPU they are CuPy arrays.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or value; the message names the argument or layer, the
        expected value and the given one. Or something that does not run on the GPU yet.
    ImportError, RuntimeError
        CuPy is not installed, or there is no GPU or no driver for it.
    MemoryError
        The network does not fit into memory.

    Examples
    --------
    >>> import fastfa as fa
    >>> net = fa.Sequential([fa.Dense(32, "tanh"), fa.Dense(10)], input_shape=64, rule="dfa", rng=0)
    >>> net.parameters["0.weight"].shape
    (64, 32)
    """

    _schedule: Rates | None  # the rate by step or epoch, unless it was set since
    _plateau: PlateauRecord | None  # the rate by the logs, likewise

    @hints_keywords("Sequential")
    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        input_shape: int | tuple[int | None, ...],
        loss: str | Loss | Function = "softmax_cross_entropy",
        rule: str | Rule = "backprop",
        optimizer: str | Optimizer = "adam",
        dtype: DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
        n_threads: int | None = None,
        input_scale: str | float = "auto",
        data_format: str = "channels_last",
        device: str = "cpu",
        compute: str = "float32",
    ) -> None:
        if "_engine" in vars(self):
            raise TypeError("a network is made once: make another, or reset() this one")
        self.layers = arguments.layer_tuple(layers)
        sequences = any(isinstance(x, Recurrent) for x in self.layers)
        given = arguments.shape(input_shape, sequences, data_format)
        self.loss = as_loss("loss", loss)
        self.rule = as_rule("rule", rule)
        self.optimizer = as_optimizer("optimizer", optimizer)
        self.dtype = arguments.dtype_name(dtype)
        self.compute = arguments.compute_name(compute, self.dtype)
        self.seed = arguments.seed(rng)
        self.input_scale, self.data_format = arguments.scale(input_scale), data_format
        self._threads = 0 if n_threads is None else integer("n_threads", n_threads, 0, MAX_THREADS)
        self._weighted = check_network(self.layers, given, self.rule)
        backend = choose(device)
        self._attach(
            backend,
            backend.create(
                {
                    **describe_structure(given, self.layers, self._weighted, self.rule),
                    "dtype": self.dtype,
                    "seed": self.seed,
                    **describe_loss(self.loss),
                    "input_scale": self.input_scale,
                    "n_threads": self._threads,
                    "optimizer": self.optimizer.describe(),
                    **describe_compute(self.compute),
                }
            ),
        )
        warn_of_rules(self._weighted, loss_name(self.loss), self.optimizer.name)
        warn_of_depth(self._weighted)
        warn_of_compute(self.compute)

    if not TYPE_CHECKING:  # or else type checkers would allow any assignment

        def __setattr__(self, name: str, value: object) -> None:
            """Refuse an assignment that would have no effect; subclasses may add attributes."""
            self._check_attribute(name)
            object.__setattr__(self, name, value)

        def __delattr__(self, name: str) -> None:
            if name not in vars(self) or name in FIXED:
                self._check_attribute(name)
            object.__delattr__(self, name)

    def _check_attribute(self, name: str) -> None:
        if name.startswith("_") or "_engine" not in vars(self) or name in SETTABLE:
            return
        if name in FIXED:
            refuse_fixed(self, name, FIXED)
        if type(self) is Sequential and name not in vars(self) and not hasattr(Sequential, name):
            refuse_unknown(self, name, dir(self), "; a class derived from Sequential keeps its own")

    def _attach(self, backend: Backend, engine: Engine) -> None:
        """Set the attributes that depend on the engine; those of the description are set."""
        self._backend, self._engine = backend, engine
        self._train_batch_direct: Callable[[object, object], float | None] | None
        self._train_batch_direct = None  # until `train_batch` knows that bytes need no check
        first = self.data_format == "channels_first"  # such samples need conversion
        self._learn_one_direct = nothing if first else engine.learn_one_direct
        self._predict_one_direct = nothing if first else engine.predict_one_direct
        self._begin_rates()
        given = input_shape_of(engine.description)
        self._recurrent = any(isinstance(x, Recurrent) for x in self.layers)
        make = SequenceValidator if self._recurrent else backend.validator
        self._validator = make(
            given, engine.n_out, loss_name(self.loss), self.dtype, self.input_scale
        )
        self._validator.channels_first = first
        write, on_host = engine.write, backend.on_host
        self._parameters = Tensors(engine.parameters, "parameters", write, on_host)
        self._feedback = Tensors(engine.feedback, "feedback", write, on_host)
        self._stopping = False
        self._history: History | None = None

    def _restore(self, backend: Backend, engine: Engine, schedule: Rates | Plateau | None) -> None:
        """Become the network of an engine that was made from a file."""
        how = engine.description
        self.layers = tuple(layer_from(each) for each in how["layers"])
        self.loss, self.dtype, self.seed = loss_from(how), how["dtype"], how["seed"]
        self.rule = rule_from(how["rule"])
        self.optimizer = optimizer_from(how["optimizer"], schedule)
        self.input_scale, self._threads = how["input_scale"], how["n_threads"]
        self.compute = how.get("compute", "float32")
        self._weighted = check_network(self.layers, input_shape_of(how), self.rule)
        self._attach(backend, engine)

    def _remake(self, optimizer: Optimizer, loss: str | Loss | Function) -> None:
        """Go on with another optimizer or loss, on an engine of its own; or change nothing."""
        changes = {"optimizer": optimizer.describe(), "n_threads": self._threads}
        changes |= describe_loss(loss)
        engine = remade(self._engine, self._backend, changes)
        warn_of_rules(self._weighted, loss_name(loss), optimizer.name)
        before, history = self._validator, self._history
        vars(self).update(optimizer=optimizer, loss=loss)  # last: nothing can fail from here on
        self._attach(self._backend, engine)
        self._validator.columns, self._history = before.columns, history
        self._validator.bytes_checked = before.bytes_checked

    # ------------------------------------------------------------------------------- training

    @hints_keywords("fit")
    def fit(
        self,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        *,
        validation_data: tuple[ArrayLike, ...] | None = None,
        sample_weight: ArrayLike | None = None,
        shuffle: bool = True,
        callbacks: Sequence[Callback] = (),
        verbose: bool | None = None,
        metrics: Sequence[str] | Mapping[str, str | Metric] | None = None,
        train_metrics: bool | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        validation_split: float | None = None,
        batches: Iterable[Sequence[ArrayLike]] | None = None,
        steps_per_epoch: int | None = None,
        augment: Augment | None = None,
    ) -> History:
        """Train for some epochs; called again, it continues where it stopped.

        Ctrl-C raises KeyboardInterrupt and leaves the network in the state after the last complete
        step; ``net.history`` has the complete epochs, as after any other end.
        Other threads may predict, evaluate and save at the same time: they wait for a step, not for
        an epoch, and never see half a step.
        Memory beyond what `train_batch` needs for a batch is freed at the end.

        Parameters
        ----------
        X : array_like of shape (m, n_in)
            With a `Recurrent` layer sequences (m, T, n_in), or (m, T, height, width, channels) of
            images; T may differ between calls. Otherwise (m, h, w) is accepted if h w = n_in. Other
            dtypes and layouts are converted, large arrays (above 8 MiB; above 256 MiB if columns
            are contiguous) piece by piece in each epoch, so that a memory map is not copied as a
            whole. uint8 is scaled by ``input_scale``. A C-contiguous array of the network's dtype
            is used in place, also one of PyTorch, JAX or another library that supports DLPack, the
            buffer protocol or ``__array_interface__``. Arrays on a GPU are for networks on that
            GPU, which copy arrays in the memory of the CPU once a call; y and sample_weight may be
            anywhere. Tables (pandas, Polars, PyArrow) must have columns of numbers or booleans
            without missing values; all later tables must have the same names of columns in the same
            order. Arrays go by position. A sparse matrix or array of SciPy stays sparse and gives
            the bits of the same X as an array; other formats than CSR are converted. Not for a
            network on a GPU or with a `Recurrent` layer.
        y : array_like of shape (m,) or (m, n_out)
            Integer labels or rows, see Notes. For sequences those of the last step, or (m, T) and
            (m, T, n_out) for every step, -1 or NaN where there is no target; the loss is the mean
            over all targets of a batch.
        epochs : int >= 0, optional
            Default: 1, which is rarely enough; a warning says so once. 0 trains nothing:
            ``10 - net.epochs`` continues to the tenth epoch.
        batch_size : int >= 1, default 32
            The last batch may be smaller, and so is a batch larger than X.
        validation_data : tuple, optional
            (X, y) or (X, y, sample_weight), evaluated after each epoch.
        sample_weight : array_like of shape (m,), optional
            Factor >= 0 on the loss and gradient of each sample; the mean still divides by the
            number of samples. A sequence has one for all its steps.
        shuffle : bool, default True
            A new order in each epoch, drawn from the network's seed.
        callbacks : sequence of Callback
        verbose : bool, optional
            Show one progress bar over all steps, in a terminal on stderr; by default if
            `set_verbose` did not switch bars off.
        metrics : sequence of str, or mapping of str to str or callable, optional
            More entries of the logs, by name: "rmse", "mae", "r2" where y are values; "f1", "auc"
            where they are classes (means over outputs or classes, see Notes). Or functions,
            ``{"cost": f}``: ``f(y, prediction)`` returns a number. y are the labels (m,) or rows,
            prediction is what `predict` returns, and both are (m,) for one output. For sequences
            they are those of the last step, or of all steps that have a target. `EarlyStopping`
            and `Checkpoint` can monitor them; of names of your own tell them whether more is
            better: ``mode="max"`` or ``"min"``. Functions may read their arrays, not write.
        train_metrics : bool, optional
            Measure the metrics on the training data too, after each epoch. That costs one more
            forward pass over it. By default only if there are no validation data.
        class_weight : mapping of int to float, or "balanced", optional
            Factor on the loss and gradient of each training sample by its label, besides
            `sample_weight`; labels that are missing have 1. "balanced": all classes count the same,
            m / (classes * samples of the class). Not for labels of every step.
        validation_split : float in (0, 1), optional
            Share of the samples that validate instead of training. They are drawn from the
            network's seed, so that a second ``fit`` on the same data holds out the same ones; of
            labels each class gives its share, but for labels of every step. X is not copied, only
            what is held out. Not for a network on a GPU.
        batches : iterable of (x, y) or (x, y, sample_weight), optional
            Instead of X and y: a generator, a DataLoader of PyTorch, a list, an object with
            ``__iter__``. Each batch is what `train_batch` takes, of any size and dtype, and is
            converted when its turn comes; none is kept, so the memory does not grow with the data.
            They train in their order. An iterable begins again in each epoch. The first batch is
            read before the first hook of the callbacks. What needs all samples at once is refused:
            `class_weight`, `validation_split`, and metrics of the training data.
        steps_per_epoch : int >= 1, optional
            Batches of an epoch. The next epoch goes on after them, and an iterable starts again at
            its end. Default: an epoch is all of them. An iterator, such as a generator, cannot
            start again: it needs this for more than one epoch.
        augment : Augment, optional
            Shift and flip the images of each batch at random. For networks whose samples are
            images, (height, width, channels); sparse ones are refused.

        Returns
        -------
        History
            The history of this call.

        Raises
        ------
        TypeError, ValueError
            Arrays or settings that do not fit; nothing has changed. Of `batches` the one that does
            not fit is named by its number, and the network is as it was before that one.
        FloatingPointError
            The loss of a batch is not finite; the network is as it was before that batch, or has
            the best weights of an `EarlyStopping`. Or an update overflowed: the message names the
            parameter and a remedy.
        RuntimeError
            Another ``fit`` of this network is running, or one with the same `EarlyStopping`,
            `Checkpoint` or the like.

        Notes
        -----
        What y may be depends on the loss and the number of outputs c, never on its values:

        =====================  ===================================  ========================
        loss                   y                                    metric
        =====================  ===================================  ========================
        softmax_cross_entropy  labels (m,)                          accuracy
        ..                     rows (m, c) of probabilities         accuracy, by argmax
        sigmoid_cross_entropy  c = 1: 0 or 1 as (m,) or (m, 1)      accuracy
        ..                     c > 1: labels (m,), taken one-hot    accuracy
        ..                     c > 1: rows (m, c) within 0..1       binary_accuracy, at 0.5
        mse                    c = 1: values as (m,) or (m, 1)      none
        ..                     c > 1: rows (m, c)                   none
        ..                     c > 1: labels (m,), taken one-hot    accuracy
        =====================  ===================================  ========================

        The metrics by name are those of scikit-learn: "rmse" and "r2" are means over the outputs,
        "f1" is the macro mean over the classes that occur in y or the predictions (at 0.5 where
        outputs are independent), "auc" that of each class against the others.
        """
        from ._internal.fit_call import FitCall  # here, so that importing fastfa stays short

        holder = Holder()
        try:
            if not holder.take(id(self)):
                raise RuntimeError(
                    "fit is already running on this network; wait for it or stop() it"
                )
            self._stopping = False
            hooks = callback_list(callbacks)
            show_bar = shows_bar(verbose)
            call = FitCall(
                X, y, epochs, batch_size, validation_data, sample_weight, shuffle, metrics,
                train_metrics, class_weight, validation_split, batches, steps_per_epoch, augment,
            )  # fmt: skip
            training = call.training(self, hooks, lambda: self._stopping)
            try:
                return training.run(holder, show_bar)
            finally:
                self._engine.trim()
        finally:
            holder.release()

    def train_batch(
        self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """One step on one batch: the step that ``fit`` takes, bit for bit.

        The memory for a batch of this size is kept for the next call.

        Parameters
        ----------
        x : array_like of shape (m, n_in)
        y : array_like of shape (m,) or (m, n_out)
        sample_weight : array_like of shape (m,), optional

        Returns
        -------
        float
            The mean loss before the update.

        Raises
        ------
        TypeError, ValueError
            Arrays that do not fit; nothing has changed.
        FloatingPointError
            The loss is not finite; nothing has changed. Or this update or the one before
            overflowed: the message names the parameter and a remedy.
        """
        if self._schedule is not None:
            self._set_rate()
        if sample_weight is None and self._train_batch_direct is not None:
            loss = self._train_batch_direct(x, y)
            if loss is not None:
                return loss
        checked = getattr(x, "dtype", None) != np.uint8 or self._validator.bytes_checked
        if checked and not self._validator.channels_first:
            self._train_batch_direct = self._engine.train_batch_direct
        loss = self._on_batch(lambda batch: self._engine.train_batch(*batch), x, y, sample_weight)
        self._validator.columns = self._validator.columns_with(x, y)
        return loss

    @property
    def n_threads(self) -> int:
        """The most threads that this network uses; 0 sets the default. No result depends on it."""
        return self._engine.n_threads

    @n_threads.setter
    def n_threads(self, n: int) -> None:
        self._threads = integer("n_threads", n, 0, MAX_THREADS)
        self._engine.n_threads = self._threads

    def stop(self) -> None:
        """End a running ``fit`` after the current step.

        May be called from a callback, another thread or a signal handler. An incomplete epoch does
        not enter the history. Without a running ``fit`` it has no effect.
        """
        self._stopping = True  # no lock: a signal handler may run while `fit` writes it

    def reset(self) -> None:
        """Start over: parameters and feedback of the seed, empty optimizer state, step 0.

        The names of the columns of training are removed too.
        """
        self._engine.reset()
        self._validator.columns = Columns()
        self._begin_rates()
        if self._schedule is None:
            self._engine.lr = first_rate(self.optimizer.lr)

    def set_optimizer(self, optimizer: str | Optimizer) -> None:
        """Replace the optimizer; parameters and feedback stay as they are.

        This begins a new training, such as fine-tuning: the state of the optimizer is new, steps
        and epochs count from 0, and the learning rate is that of the new optimizer. Arrays that
        were taken from ``net.parameters`` or ``net.feedback`` before no longer belong to it.

        Parameters
        ----------
        optimizer : str or Optimizer
            As for `Sequential`.

        Raises
        ------
        RuntimeError
            ``fit`` is running on this network.
        """
        holder = Holder()
        try:
            if not holder.take(id(self)):
                raise RuntimeError("fit is running on this network; wait for it or stop() it")
            self._remake(as_optimizer("optimizer", optimizer), self.loss)
        finally:
            holder.release()

    def freeze(self, *layers: int) -> None:
        """Keep layers from training: their weights, biases and feedback stay as they are.

        Training goes on otherwise: other layers keep their optimizer state, and the counters go on.
        Error still passes through frozen layers to those below. Arrays that were taken from
        ``net.parameters`` or ``net.feedback`` before no longer belong to the network.

        Parameters
        ----------
        *layers : int
            Places of `Dense` in the list of layers.

        Raises
        ------
        TypeError, ValueError
            No such layer; nothing has changed.
        RuntimeError
            ``fit`` is running on this network.
        """
        if not layers:
            raise TypeError("freeze: expected at least one layer, got none")
        from ._internal.trainable import set_trainable  # here, as in `fit`

        set_trainable(self, layers, "freeze", False)

    def unfreeze(self, *layers: int) -> None:
        """Let layers train that were frozen, or made with ``trainable=False``; without any, all.

        Their optimizer state begins with zeros.

        Parameters
        ----------
        *layers : int
            As for `freeze`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As `freeze`, or a layer cannot train, such as units of zero derivative.
        """
        from ._internal.trainable import set_trainable  # here, as in `fit`

        set_trainable(self, layers, "unfreeze", True)

    @property
    def lr(self) -> float:
        """Learning rate of the next step; setting it replaces a schedule from now on."""
        if self._schedule is not None:
            return rate_at(self._schedule, self._engine.steps, self._engine.epochs)
        return self._engine.lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._engine.lr = number("lr", value, low=0.0)
        self._schedule = self._plateau = None

    @property
    def history(self) -> History | None:
        """What the last ``fit`` recorded, also if an exception or Ctrl-C ended it; None before.

        It has the complete epochs; in callbacks those up to now. It belongs to this object: files,
        pickles and copies of the network have none. A ``fit`` that was refused does not change it.
        """
        return self._history

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self._engine.steps

    @property
    def epochs(self) -> int:
        """Epochs begun so far by ``fit``."""
        return self._engine.epochs

    # ---------------------------------------------------------------------------------- moving

    @property
    def device(self) -> str:
        """Where the network is: "cpu", or a GPU by its number, "cuda:0"."""
        return self._backend.device

    def to(self, device: str) -> Sequential:
        """Move the network to another device, in place.

        Parameters, feedback, optimizer state, counters, learning rate and history move along, so
        that training goes on with the bits that it would have had. Arrays that were taken from
        ``net.parameters`` and ``net.feedback`` before belong to the network no more.

        Parameters
        ----------
        device : str
            "cpu", "cuda" (the current GPU of CuPy) or "cuda:1".

        Returns
        -------
        Sequential
            This network.

        Raises
        ------
        TypeError, ValueError
            No such device, or something in the network that does not run on a GPU yet.
        ImportError, RuntimeError
            CuPy is not installed, there is no GPU or no driver for it, or ``fit`` is running.
        MemoryError
            The device has too little memory. As for the other errors, nothing has changed.
        """
        backend = choose(device)
        if backend.device == self.device:
            return self
        holder = Holder()
        try:
            if not holder.take(id(self)):
                raise RuntimeError("fit is running on this network; wait for it or stop() it")
            engine = moved(self._engine, backend, self._threads)
            before, rates = self._validator, (self._schedule, self._plateau)
            history = self._history
            self._attach(backend, engine)
            self._validator.columns = before.columns
            self._validator.bytes_checked = before.bytes_checked
            (self._schedule, self._plateau), self._history = rates, history
        finally:
            holder.release()
        return self

    # ---------------------------------------------------------------------------------- keeping

    def save(self, file: str | bytes | os.PathLike[str] | os.PathLike[bytes] | Writable) -> None:
        """Write the network to a file, from which `load` makes one that continues bit for bit.

        The file is in the safetensors format and has parameters, feedback, optimizer state,
        counters and the complete description (docs/FILES.md). It replaces an old file atomically:
        if writing fails or the process is killed, the old file is still there and complete.
        Only if files cannot be renamed (a folder without write permission, a single file mounted
        into a container), the old file is overwritten, and lost if that is interrupted.
        Callbacks and other threads may save. A signal handler that runs during ``fit`` should call
        `stop` instead, and the code after ``fit`` save.

        Parameters
        ----------
        file : path-like or binary file
            A path, taken literally ("~" too). Or an object with ``write``, such as ``io.BytesIO``,
            a gzip file or a pipe: the same bytes are written at its current position, and it is
            neither flushed nor closed. Its exceptions are raised; then its content is incomplete.

        Raises
        ------
        OSError
            The file cannot be written.
        FloatingPointError
            A parameter or slot is not finite: nothing is written.
        """
        if not is_path(file) and hasattr(file, "write"):
            return write(file, self.to_bytes())
        name = os.fsencode(file_name(file))
        check_folder(name)
        write_note(self)
        self._engine.save(name)
        return None

    def to_bytes(self) -> bytes:
        """The bytes that `save` writes and `load` reads.

        Returns
        -------
        bytes
        """
        write_note(self)
        return self._engine.dumps()

    def to_c(
        self,
        path: str | os.PathLike[str],
        learn: bool = False,
        *,
        name: str | None = None,
        weights: str = "float32",
    ) -> None:
        """Write the network as one C99 file with its weights in it, for programs without fastfa.

        The file needs the mathematical library alone: no heap, no other file. It has
        ``void NAME_predict(const float x[], float out[])``, which gives the values of `predict`
        but for rounding. For a network of dtype float64 it computes in double. Compile it, and
        include it with NAME_DECLARATIONS (upper case) defined where it is used.

        Parameters
        ----------
        path : path-like
            An old file is overwritten.
        learn : bool, default False
            True adds ``float NAME_learn_one(const float x[], const float y[])``, the step of
            `learn_one`, its variant ``NAME_learn_label(x, label)``, and the variable ``NAME_lr``.
            For plain SGD (with weight decay), without Dropout, under the rules backprop, fa, dfa,
            sdfa, drtp, ternary and frozen.
        name : str, optional
            The first part of all public names; None takes it from the file's name.
        weights : {"float32", "int8"}
            "int8" rounds each weight to one of 255 multiples of a factor that its unit has, which
            takes a quarter of the memory; biases and activations stay as they are.

        Raises
        ------
        ValueError
            With learn=True: an optimizer, rule or layer whose step the file cannot take.
        FloatingPointError
            A parameter is not finite: nothing is written.
        OSError
            The file cannot be written.
        """
        from .export.c_source import write_c  # here: few programs need it

        write_c(self._backend.inspected(self._engine), path, learn, name, weights)

    def to_onnx(
        self,
        path: str | os.PathLike[str],
        output: str = "probabilities",
        *,
        dtype: str | None = None,
    ) -> None:
        """Write the network as an ONNX model, for other runtimes.

        It computes what `predict` does, from the input "x" (m, n_in) to the output "y" (m, n_out),
        in opset 13. Bytes must be divided by 255 first where ``input_scale`` is "auto". Needs the
        package onnx.

        Parameters
        ----------
        path : path-like
            An old file is overwritten.
        output : {"probabilities", "logits"}
            As for `predict`.
        dtype : {"float32", "float64"}, optional
            Of the model; None: the network's. onnxruntime runs some models of float64 only in part:
            it lacks leaky_relu, softplus, gelu, elu, selu, mish, hard_sigmoid and softsign for
            that type.

        Raises
        ------
        ImportError
            The package onnx is not installed.
        FloatingPointError
            A parameter is not finite: nothing is written.
        OSError
            The file cannot be written.
        """
        from .export.onnx_model import write_onnx  # here: few programs need it

        write_onnx(self._backend.inspected(self._engine), path, output, dtype)

    def to_torch(self) -> Any:
        """The network as a torch.nn.Sequential of Linear, Conv2d and so on, in mode ``eval()``.

        It computes the logits from float inputs, on the CPU, in the network's dtype and within
        rounding of ``predict(X, "logits")``. Images go in as (m, channels, height, width),
        whatever `data_format` is; weights are turned, also those of the `Dense` behind `Flatten`.
        Inputs are those of the first layer: X times ``input_scale``, bytes divided by 255 with
        "auto". A layer that does not train needs no gradient. `from_torch` is the way back.

        Returns
        -------
        torch.nn.Sequential

        Raises
        ------
        ImportError
            PyTorch is not installed.
        ValueError
            A layer or an activation that torch.nn does not have: `Recurrent`, sign, threshold.
        FloatingPointError
            A parameter is not finite.
        """
        from .export.torch_module import torch_module  # here: few programs need it

        return torch_module(self._backend.inspected(self._engine))

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: the bytes of a file, and the objects that a file cannot hold."""
        return {
            "file": self.to_bytes(),
            "rules": custom_rules(self),
            "lr": None if isinstance(self.optimizer.lr, Schedule) else self.optimizer.schedule,
            "loss": self.loss if loss_name(self.loss) == CUSTOM else None,
            "columns": tuple(self._validator.columns),
            "device": self.device,
            "more": {key: value for key, value in vars(self).items() if key not in OWN},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        set_state(self, state)

    # ---------------------------------------------------------------------------------- using

    def predict(
        self, X: ArrayLike, output: str = "probabilities", *, last: bool = False
    ) -> NDArray[Any]:
        """Outputs for any number of samples, without dropout.

        Memory is kept for the next call only if it is no more than a training batch needed, or the
        network itself needs. `predict_one` keeps its own.

        Parameters
        ----------
        X : array_like of shape (m, n_in)
        output : {"probabilities", "logits"}
            "probabilities": Yhat, the softmax or sigmoid of the logits; "logits": the logits. For
            mse both are the values of the output layer.
        last : bool, default False
            Of sequences X (m, T, n_in): the outputs of the last step alone.

        Returns
        -------
        ndarray of shape (m, n_out)
            (m, T, n_out) for sequences, without `last`. In the network's dtype; a CuPy array if X
            is on a GPU.
        """
        logits = choice("output", output, ("probabilities", "logits")) == "logits"
        given = UnreadBatch(self._validator.unread_inputs(X))
        # first: too many rows for the memory are refused before their values are read
        out = self._validator.outputs(given.x)
        if flag("last", last):
            out = self._last_outputs(out)
        samples = self._validator.read_inputs(given.x)
        with self._validator.naming(given):
            return self._engine.predict(samples, logits, out)

    def evaluate(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        metrics: Sequence[str] | Mapping[str, str | Metric] | None = None,
    ) -> dict[str, float]:
        """Mean loss and accuracy, without dropout; memory is kept as by `predict`.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`. Weights enter the loss, not the accuracy and not the metrics.
        metrics
            As for `fit`.

        Returns
        -------
        dict
            "loss", and "accuracy" or (several independent 0/1 outputs) "binary_accuracy" where
            loss and targets define one, and the metrics.
        """
        from ._internal.metrics import Metrics  # here, so that importing fastfa stays short

        more = Metrics(metrics, loss_name(self.loss), self._engine.n_out)
        given = self._validator.unread(X, y, sample_weight)
        batch = self._validator.read(given)
        more.check(batch.labels is not None)
        with self._validator.naming(given):
            loss, accuracy = self._engine.evaluate(*batch)
        metric = self._validator.metric(batch)
        logs = {"loss": loss} if metric is None else {"loss": loss, metric: accuracy}
        return logs | more.measure(self._engine, batch)

    # -------------------------------------------------------------------------- looking inside

    @property
    def parameters(self) -> Tensors:
        """Weights and biases by key: live writable views; assignment checks and copies values."""
        return self._parameters

    @property
    def feedback(self) -> Tensors:
        """Stored feedback tensors by key, like `parameters`; rules without any have no entry."""
        return self._feedback

    def feedback_matrix(self, index: int) -> NDArray[Any]:
        """A dense copy of what carries the source to a hidden layer.

        Parameters
        ----------
        index : int
            Of the layer in the layer list.

        Returns
        -------
        ndarray of shape (n_source, n_l)
            W_{l+1}^T under backprop (n_source = n_{l+1}); under ifa W_l itself, except in the
            lowest layer that gets a signal; the signs of the sign rules; the product of the
            two factors of ldfa and pfa; the head of local; otherwise the stored B.

        Raises
        ------
        ValueError
            There is no such matrix: the layer is frozen or the output, or its rule is pepita or a
            custom rule that stores none.
        """
        carried = [
            place.index
            for place in self._weighted[:-1]
            if place.rule is not None and not isinstance(place.rule, Frozen)
        ]
        checked = integer("index", index, 0)
        if checked not in carried:
            raise ValueError(
                f"index: expected that of a hidden Dense with a signal, one of {carried}, "
                f"got {checked}"
            )
        return self._engine.feedback_matrix(checked)

    def gradients(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        feedback: bool = False,
    ) -> dict[str, NDArray[Any]]:
        """The gradients that the next ``train_batch(x, y)`` would give to the optimizer.

        Nothing changes. `apply_gradients` takes them.

        Parameters
        ----------
        x, y, sample_weight
            As for `train_batch`.
        feedback : bool, default False
            True: also those of feedback that learns by a gradient of its own (rules "dkp", "ldfa",
            "pfa", "fdfa", "wm", "cdni", "dtp").

        Returns
        -------
        dict of str to ndarray
            By parameter key, for every parameter that is trained, before clipping and weight decay;
            CuPy arrays if the network is on a GPU.
        """
        learned = flag("feedback", feedback)
        return self._on_batch(
            lambda batch: self._engine.gradients(*batch, feedback=learned), x, y, sample_weight
        )[1]

    def apply_gradients(self, grads: Mapping[str, ArrayLike]) -> None:
        """The optimizer's step on gradients that you give.

        ``net.apply_gradients(net.gradients(x, y))`` is ``net.train_batch(x, y)``; in between, sum
        them over machines or batches, or change them. It has the same bits, but for plain SGD,
        which `train_batch` rounds once less. The step counts, its learning rate, clipping, weight
        decay and state of the optimizer are those of every step.

        Parameters
        ----------
        grads : mapping of str to array_like
            The keys and shapes of `gradients`: all weights and biases that train. Feedback that
            learns by a gradient of its own ("dkp", "ldfa", "pfa", "fdfa", "wm", "cdni",
            "dtp") takes a step where its key is given (``gradients(..., feedback=True)``) and else
            stays as it is. That of rule "kp" takes the steps of its weight, as in every step. On a
            GPU the step is computed on the CPU.

        Raises
        ------
        TypeError, ValueError
            A key is missing or unknown or does not train, a shape is wrong, or a number is not
            finite; nothing has changed.
        FloatingPointError
            The norm of all gradients is not finite (with ``clip_norm``); nothing has changed. Or
            this update overflowed, as in `train_batch`.
        """
        from ._internal.given_gradients import given_gradients  # here, as in `fit`

        checked_grads = given_gradients(self._engine, grads, self._backend.on_host)
        self._set_rate()
        self._engine.apply_gradients(checked_grads)

    def alignment(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        fields: Sequence[str] | None = None,
    ) -> list[Alignment]:
        """How close each hidden layer's signal is to backpropagation's on this batch.

        Parameters
        ----------
        x, y, sample_weight
            As for `train_batch`.
        fields : sequence of str, optional
            Names of the fields of `Alignment` to measure; others are nan. Default: all of them.
            "effective_rank" takes most of the time: eigenvalues of a matrix as wide as the layer,
            by NumPy, whose BLAS may use threads of its own.

        Returns
        -------
        list of Alignment
            One for each hidden `Dense`, lowest first.
        """
        names = field_names(fields)
        on_host, inspected = self._backend.on_host, self._backend.inspected(self._engine)
        return self._on_batch(
            lambda batch: measure(inspected, batch._replace(x=on_host("x", batch.x)), names),
            x, y, sample_weight,
        )  # fmt: skip

    def summary(self) -> Text:
        """The network as a table, with the rule and feedback of each layer as the engine runs them.

        Returns
        -------
        str
            A prompt shows it with its line breaks.
        """
        return table(self)

    def __repr__(self) -> str:
        return one_line(self)

    def _repr_html_(self) -> str:
        return html(self)

    # ---------------------------------------------------------------------------------- helpers

    def _on_batch(
        self,
        call: Callable[[Batch], T],
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
    ) -> T:
        """The result of the engine's call on one batch, whose values the engine checks."""
        given = self._validator.unread(x, y, sample_weight, STEP_NAMES)
        batch = self._validator.read(given, whole=True)
        with self._validator.naming(given):
            return call(batch)

    def _set_rate(self) -> None:
        """Give the engine the rate of the next step, where a schedule has it."""
        if self._schedule is not None:
            self._engine.lr = rate_at(self._schedule, self._engine.steps, self._engine.epochs)

    def _begin_rates(self) -> None:
        """The optimizer's own rates, from their beginning."""
        plateau = self.optimizer.plateau
        self._schedule = self.optimizer.schedule
        self._plateau = None if plateau is None else PlateauRecord(plateau)

    def _rates(self, count: int) -> NDArray[np.float64] | None:
        """Learning rates of the next `count` steps, or None if the rate is a number."""
        return rates_at(self._schedule, self._engine.steps, count, self._engine.epochs)

"""Sample by sample: single samples, and streams for networks with recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .checks import mismatch, show
from .fit_task import checked
from .samples import UnreadBatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from ..backends.protocol import Engine, StreamEngine

__all__ = ["Streaming"]


class Streaming:
    """The part of `Sequential` that takes samples one by one."""

    _engine: Engine
    _validator: Any  # a SequenceValidator where there are sequences
    _schedule: object | None
    _learn_one_direct: Callable[[object, object], float | None]
    _predict_one_direct: Callable[[object], NDArray[Any] | None]
    _recurrent: bool
    input_scale: str | float

    if TYPE_CHECKING:  # of Sequential

        def train_batch(
            self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
        ) -> float: ...
        def _set_rate(self) -> None: ...
        def _rates(self, count: int) -> NDArray[np.float64] | None: ...

    def learn_one(self, x: ArrayLike, y: ArrayLike | None = None) -> float | None:
        """One step on one sample, as soon as it comes: `train_batch` with a batch of one.

        With recurrent layers x is the next step of a stream: `step_one` without its answer.

        Parameters
        ----------
        x : array_like of shape (n_in,)
        y : int, or array_like of shape (n_out,)
            None, with recurrent layers: no target; the state moves, nothing is learnt.

        Returns
        -------
        float or None
            The loss before the update; None without y.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `train_batch`.
        """
        if self._schedule is None:
            loss = self._learn_one_direct(x, y)
            if loss is not None:
                return loss
        if self._recurrent:
            return self._stream_step(x, y)[1]
        if y is None:
            raise ValueError(mismatch("y", "a target", "None", "only streams have steps without"))
        loss = self.train_batch(self._validator.sample(x), self._validator.target(y))
        self._validator.columns = self._validator.columns_with(x, y, one=True)
        return loss

    def learn_many(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """One step on each sample of a stream, in order.

        It has the bits of calling `learn_one` for each, and takes less time: under plain SGD the
        update for one sample and the forward pass of the next read the weights together.

        Parameters
        ----------
        X : array_like of shape (m, n_in)
        y : array_like of shape (m,) or (m, n_out)
        sample_weight : array_like of shape (m,), optional

        Returns
        -------
        float
            Mean of the losses, each before its update.

        Raises
        ------
        TypeError, ValueError
            Arrays that do not fit; nothing has changed.
        FloatingPointError
            The loss of a sample is not finite; the samples before it have been learnt. Or an
            update overflowed, as in `train_batch`.
        """
        self._refuse_sequences("learn_many", "call learn_one for each step of a stream")
        given = self._validator.unread(X, y, sample_weight)
        batch = checked(self._validator, self._engine, given)
        m = len(batch.x)
        loss, *_ = self._engine.train_steps(*batch, None, 1, 0, m, self._rates(m), checked=True)
        self._validator.columns = self._validator.columns_with(X, y)
        return loss / m

    def predict_one(self, x: ArrayLike) -> NDArray[Any]:
        """Outputs for one sample, in a fraction of the time of `predict`.

        With recurrent layers: for the next step of a stream, whose state does not move.

        Parameters
        ----------
        x : array_like of shape (n_in,)

        Returns
        -------
        ndarray of shape (n_out,)
            The row that ``predict(x[None])`` has, bit for bit, without recurrent layers.

        Raises
        ------
        TypeError, ValueError
            As `predict`.
        FloatingPointError
            An output is not finite because a parameter is not; NaN in a weight or bias always
            leads to that. `predict` raises it also if an infinite parameter leaves the outputs
            finite, since relu(-inf) is 0, tanh(inf) is 1, and softmax and sigmoid are such
            functions too. This method does not notice that.
        """
        out = self._predict_one_direct(x)
        if out is not None:
            return out
        if self._recurrent:
            return self._peek(x)
        given = UnreadBatch(self._validator.unread_inputs(self._validator.sample(x), "x"))
        samples = self._validator.read_inputs(given.x)
        with self._validator.naming(given):
            outputs = self._engine.predict(samples)
        row: NDArray[Any] = outputs[0]
        return row

    def step_one(self, x: ArrayLike, y: ArrayLike | None = None) -> NDArray[Any]:
        """The next step of a stream: the answer to x, made before y is learnt.

        For networks with `Recurrent` layers. The state moves; where there is a target y, the
        network learns from it, if the layers' ``time`` needs no later step. Nothing is allocated
        but the answer, and no history is kept.

        Parameters
        ----------
        x : array_like of shape (n_in,)
        y : int, or array_like of shape (n_out,), optional
            None: no target in this step.

        Returns
        -------
        ndarray of shape (n_out,)

        Raises
        ------
        TypeError, ValueError
            Arrays that do not fit, or a layer whose ``time`` cannot learn from a stream; nothing
            has changed.
        FloatingPointError
            The loss is not finite: nothing has changed. Or an update overflowed.
        """
        return self._stream_step(x, y)[0]

    def reset_state(self) -> None:
        """Forget the stream: states and traces are zero, as in a new network."""
        if self._recurrent:
            self._stream_engine.reset_stream()

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """What recurrent layers remember of a stream, copies by key; assign it to go back there.

        "0.state" (n,) is the last output, "0.trace.weight", "0.trace.recurrent" and "0.trace.bias"
        what the parameters have led to so far. Files have it too. Empty without recurrent layers.
        """
        if not self._recurrent:
            return {}
        return {key: values.copy() for key, values in self._stream_engine.stream.items()}

    @state.setter
    def state(self, values: Mapping[str, ArrayLike]) -> None:
        self._needs_stream("state")
        known = self._stream_engine.stream
        if not isinstance(values, Mapping) or values.keys() != known.keys():
            got = sorted(values) if isinstance(values, Mapping) else show(values)
            raise ValueError(mismatch("state", f"arrays for {sorted(known)}", got))
        arrays = {
            key: np.array(value, known[key].dtype, order="C") for key, value in values.items()
        }
        for key, array in arrays.items():
            expected = f"finite values of shape {known[key].shape}"
            if array.shape != known[key].shape:
                raise ValueError(mismatch(f"state[{key!r}]", expected, f"shape {array.shape}"))
            if not np.isfinite(array).all():
                raise ValueError(mismatch(f"state[{key!r}]", expected, "inf or nan"))
        for key, array in arrays.items():
            self._engine.write(key, array)

    # ---------------------------------------------------------------------------------- helpers

    @property
    def _stream_engine(self) -> StreamEngine:
        return cast("StreamEngine", self._engine)

    def _needs_stream(self, name: str) -> None:
        if not self._recurrent:
            expected = "a network with a Recurrent layer"
            raise ValueError(mismatch(name, expected, "one without", "only these have a state"))

    def _refuse_sequences(self, name: str, hint: str) -> None:
        if self._recurrent:
            expected = "a network without recurrent layers"
            raise ValueError(mismatch(name, expected, "one with", hint))

    def _last_outputs(self, out: NDArray[Any] | None) -> NDArray[Any]:
        """Where the outputs of the last step go, in place of those of every step."""
        self._needs_stream("last")
        assert out is not None
        return np.empty((len(out), out.shape[-1]), out.dtype)

    def _stream_step(self, x: ArrayLike, y: ArrayLike | None) -> tuple[NDArray[Any], float | None]:
        """The outputs, and the loss or None."""
        self._needs_stream("step_one")
        if y is not None:
            self._set_rate()
        direct = not self._validator.channels_first
        done = self._stream_engine.step_direct(x, y) if direct else None
        if done is not None:
            return done
        row = self._row(x)
        if y is None:
            return self._stream_engine.stream_step(row, -1, None)
        labels, rows = self._validator.one_target(y)
        if labels is not None:
            return self._stream_engine.stream_step(row, int(labels[0]), None)
        return self._stream_engine.stream_step(row, -1, rows[0])

    def _row(self, x: ArrayLike) -> NDArray[Any]:
        """x as the engine takes it: scaled bytes become numbers of the network's dtype."""
        row = self._validator.channels_last(self._validator.sample(x)).reshape(1, -1)
        if row.dtype == np.uint8:
            row = row / 255 if self.input_scale == "auto" else row
        return np.ascontiguousarray(row[0], self._validator.dtype)

    def _peek(self, x: ArrayLike) -> NDArray[Any]:
        """The outputs of the next step, whose arguments need conversion."""
        row = self._row(x)
        out = self._engine.predict_one_direct(row)
        if out is None:  # not finite: the step would say why
            raise FloatingPointError("predict_one: an input, output or parameter is not finite")
        return out

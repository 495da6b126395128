# Forward passes: predict and evaluate. Part of _core.pyx.
import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals

SLICE_WORK = 1 << 31  # multiply-accumulate of predict and evaluate between looks at signals


cdef class _NetworkPrediction(_NetworkTraining):
    """The part of `Network` that predicts."""

    def predict(self, x, logits=False, out=None):
        if out is None:
            out = np.empty((*x.shape[: len(x.shape) - 1], self.n_out), self.dtype)
        for rows in self._slices(len(x)):
            for part in self._parts(rows, x, None):
                self._predict(out[part], x[part], logits)
        return out

    def _predict(self, out, x, int logits):
        cdef fa_samples s = self._samples(x, None, None, None)
        s.every_step = self.recurrent and out.ndim == 3
        cdef void *data = _matrix(_as_rows(out), out.size // self.n_out, self.n_out, self.typenum, "out")
        cdef fa_status status
        with nogil:
            status = fa_predict(data, self.n_out, self.net, &s, logits)
        check(status)

    def predict_one_direct(self, x):
        """Outputs of one plain sample, or None: take the other way, also where its values are refused.

        And where outputs are not finite: `predict` looks whether the weights are.
        """
        if not self._is_plain_sample(x):
            return None
        cdef cnp.npy_intp n_out = self.n_out
        cdef void *data = cnp.PyArray_DATA(x)
        cdef fa_samples s = fa_samples_of(data, self.n_in, self.c_dtype(), 1)
        s.time_steps = self.recurrent
        cdef fa_predictor *predictor = self.handle.idle
        self.handle.idle = NULL  # another thread that comes meanwhile makes its own
        if predictor == NULL:
            check(fa_predictor_create(&predictor, self.net, self.c_dtype(), False))
        cdef object out = cnp.PyArray_EMPTY(1, &n_out, self.typenum, 0)
        cdef void *to = cnp.PyArray_DATA(out)
        cdef fa_status status
        with nogil:
            status = fa_check(self.net, &s)
            if status == FA_OK:
                status = fa_predict_one(to, predictor, data)
        if self.handle.idle == NULL:
            self.handle.idle = predictor
        else:
            fa_predictor_free(predictor)
        if status == FA_E_VALUE or (status == FA_OK and not _all_finite(to, n_out, self.typenum)):
            return None
        check(status)
        return out

    def evaluate(self, x, labels, y, weights, *, bint checked=False):
        cdef fa_metrics metrics
        loss, hits, n = 0.0, 0.0, 0
        for rows in self._slices(len(x)):
            metrics.loss, metrics.hits, metrics.rows, metrics.steps = 0, 0, 0, 0
            for part in self._parts(rows, x, y):
                self._evaluate(&metrics, _rows_of((x, labels, y, weights), part), checked)
            loss, hits, n = loss + metrics.loss, hits + metrics.hits, n + metrics.rows
        return loss / n, hits / n

    cdef int _evaluate(self, fa_metrics *metrics, data, bint checked) except -1:
        """Add the sums over samples to `metrics`."""
        x, labels, y, weights = data
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef fa_status status
        s.accumulate, s.checked = True, checked
        with nogil:
            status = fa_evaluate(metrics, self.net, &s)
        check_call(status, self.customs)
        return 0

    def _parts(self, rows, x, y):
        """The slice itself, or as many smaller ones as it takes to convert x and y piece by piece."""
        if _is_plain(x, y):
            yield rows
            return
        stop, size = min(rows.stop, len(x)), self._rows_at_once(x, y)
        for start in range(rows.start, stop, size):
            PyErr_CheckSignals()
            yield slice(start, min(start + size, stop))

    def _slices(self, n):
        """Slices of n rows between which Ctrl-C is heard; their size depends on the network alone."""
        rows = max(64, SLICE_WORK // sum(a.size for a in self.parameters.values()) // 64 * 64)
        for start in range(0, max(n, 1), rows):  # an empty one too, for C to refuse
            PyErr_CheckSignals()
            yield slice(start, start + rows)

# Steps of training. Part of _core.pyx.
from time import perf_counter

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

POLL_SECONDS = 0.01  # between looks at signals and at net.stop() while C trains
CHECK_BYTES = 1 << 26  # of samples that are checked between looks at signals


cdef struct _Target:  # of a step of a stream: a row, or a label; -1: none
    const void *row
    int64_t label
    float single  # what the row may be
    double double_


cdef class _NetworkTraining(_NetworkState):
    """The part of `Network` that trains."""

    def check(self, x, labels, y, weights):
        """Refuse values that the network does not take; targets first, because there are fewer of them."""
        self.check_targets(len(x), labels, y, weights)
        self.check_inputs(x)

    def check_targets(self, n, labels, y, weights):
        """The targets and weights of n samples alone."""
        cdef fa_samples s
        targets = labels if y is None else y
        for rows in self._slices_to_check(n, targets, 1 if y is None else self.n_out):
            s = fa_samples_of(NULL, self.n_in, self.c_dtype(), min(rows.stop, n) - rows.start)
            part = _rows_of((labels, y, weights), rows)
            if self.recurrent:  # of the last step: as if it were the only one
                s.time_steps = targets.shape[1] if targets.ndim == (3 if labels is None else 2) else 1
            self._add_targets(&s, part[0], part[1], part[2])
            self._check_values(&s)

    def check_inputs(self, x):
        """The inputs alone."""
        cdef fa_samples s
        for rows in self._slices_to_check(len(x), x, self.n_in):
            inputs = x[rows]
            s = self._samples(inputs, None, None, None)
            self._check_values(&s)

    cdef int _check_values(self, const fa_samples *s) except -1:
        cdef fa_status status
        with nogil:
            status = fa_check(self.net, s)
        return check(status)

    def _slices_to_check(self, n, array, width):
        """Slices of n rows between which Ctrl-C is heard; smaller ones where they are converted."""
        size = CHECK_BYTES if _is_plain(array, None) else PART_BYTES
        rows = max(1, size // (width * self.dtype.itemsize))
        for start in range(0, max(n, 1), rows):  # an empty one too, for C to refuse
            PyErr_CheckSignals()
            yield slice(start, start + rows)

    def train_batch_direct(self, x, y):
        """One step on plain arrays that need no conversion, or None: take the other way.

        None too where C refuses the values, so that there is one wording for what is wrong.
        """
        if not (cnp.PyArray_CheckExact(x) and cnp.PyArray_CheckExact(y)):  # what feedback_tasks may hide values
            return None
        cdef int type_x = cnp.PyArray_TYPE(x)
        if not (
            cnp.PyArray_ISCARRAY_RO(x) and (type_x == self.typenum or type_x == cnp.NPY_UINT8)
            and cnp.PyArray_NDIM(x) == 2 and cnp.PyArray_DIM(x, 1) == self.n_in
            and cnp.PyArray_ISCARRAY_RO(y) and cnp.PyArray_TYPE(y) == cnp.NPY_INT64
            and cnp.PyArray_NDIM(y) == 1 and cnp.PyArray_DIM(y, 0) == cnp.PyArray_DIM(x, 0)
            and self.n_out > 1
        ):
            return None
        cdef fa_dtype of_x = FA_U8 if type_x == cnp.NPY_UINT8 else self.c_dtype()
        cdef fa_samples s = fa_samples_of(cnp.PyArray_DATA(x), self.n_in, of_x, cnp.PyArray_DIM(x, 0))
        s.labels = <const int64_t *>cnp.PyArray_DATA(y)
        cdef double loss = 0
        cdef fa_status status
        with nogil:
            status = fa_train_batch(&loss, self.net, &s)
        if status == FA_E_VALUE:
            return None
        check_call(status, self.customs)
        return loss

    def learn_one_direct(self, x, y):
        """One step on one plain sample and its label, or None: take the other way."""
        if self.recurrent:
            return self._learn_step(x, y)
        if not (
            self._is_plain_sample(x) and isinstance(y, (int, np.integer)) and 0 <= y < self.n_out and self.n_out > 1
        ):
            return None
        cdef const void *data = cnp.PyArray_DATA(x)
        cdef int64_t label = y
        cdef double loss = 0
        cdef fa_status status
        with nogil:
            status = fa_learn_one(&loss, self.net, data, label, NULL)
        if status == FA_E_VALUE:
            return None
        check_call(status, self.customs)
        return loss

    def stream_step(self, x, label, y):
        """One step of a stream: the outputs, and the loss or None. x (n_in,); y (n_out,), or label, -1 for none."""
        cdef cnp.npy_intp n_out = self.n_out
        cdef const void *data = _vector(x, self.n_in, self.typenum, "x")
        cdef const void *target = _vector(y, self.n_out, self.typenum, "y")
        cdef int64_t number = label
        cdef object out = cnp.PyArray_EMPTY(1, &n_out, self.typenum, 0)
        cdef void *to = cnp.PyArray_DATA(out)
        cdef double loss = 0
        cdef fa_status status
        with nogil:
            status = fa_stream_step(to, &loss, self.net, data, number, target)
        check_call(status, self.customs)
        return out, None if target == NULL and number == -1 else loss

    cdef bint _plain_target(self, y, _Target *target) noexcept:
        """Whether y needs no conversion: a label, a number, a plain row, or None."""
        target.row, target.label = NULL, -1
        if y is None:
            return True
        if cnp.PyArray_CheckExact(y):
            target.row = cnp.PyArray_DATA(y)
            return (
                cnp.PyArray_ISCARRAY_RO(y) and cnp.PyArray_TYPE(y) == self.typenum and cnp.PyArray_NDIM(y) == 1
                and cnp.PyArray_DIM(y, 0) == self.n_out
            )
        if self.n_out > 1:
            if not isinstance(y, (int, np.integer)) or not 0 <= y < self.n_out:
                return False
            target.label = y
            return True
        if self.loss != "mse" or not isinstance(y, float):  # others have rules about y
            return False
        target.single, target.double_ = y, y
        target.row = <const void *>&target.double_ if self.typenum == cnp.NPY_FLOAT64 else <const void *>&target.single
        return True

    def step_direct(self, x, y):
        """`stream_step` on a plain sample with a label, a plain row or None; or None: take the other way."""
        cdef cnp.npy_intp n_out = self.n_out
        cdef _Target target
        cdef double loss = 0
        cdef fa_status status
        if not self._is_plain_sample(x) or not self._plain_target(y, &target):
            return None
        cdef const void *data = cnp.PyArray_DATA(x)
        cdef object out = cnp.PyArray_EMPTY(1, &n_out, self.typenum, 0)
        cdef void *to = cnp.PyArray_DATA(out)
        with nogil:
            status = fa_stream_step(to, &loss, self.net, data, target.label, target.row)
        if status == FA_E_VALUE:
            return None
        check_call(status, self.customs)
        return out, None if y is None else loss

    cdef object _learn_step(self, x, y):
        cdef _Target target
        cdef double loss = 0
        cdef fa_status status
        if not self._is_plain_sample(x) or y is None or not self._plain_target(y, &target):
            return None
        cdef const void *data = cnp.PyArray_DATA(x)
        with nogil:
            status = fa_stream_step(NULL, &loss, self.net, data, target.label, target.row)
        if status == FA_E_VALUE:
            return None
        check_call(status, self.customs)
        return loss

    def reset_stream(self):
        cdef fa_status status
        with nogil:
            status = fa_stream_reset(self.net)
        check(status)

    def train_batch(self, x, labels, y, weights):
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef double loss = 0
        cdef fa_status status
        with nogil:
            status = fa_train_batch(&loss, self.net, &s)
        check_call(status, self.customs)
        return loss

    @property
    def trained(self):
        """Keys of what the optimizer changes: weights, biases, feedback that learns."""
        return [
            fa_net_tensor(self.net, i).key.decode() for i in range(fa_net_n_tensors(self.net))
            if fa_net_tensor(self.net, i).trainable and fa_net_tensor(self.net, i).kind != FA_SLOT
        ]

    def apply_gradients(self, gradients):
        cdef int64_t i
        cdef fa_tensor tensor
        cdef bytes name
        cdef fa_status status
        cdef const void **pointers = <const void **>calloc(fa_net_n_tensors(self.net), sizeof(void *))
        if pointers == NULL:
            raise MemoryError("out of memory for gradients")
        try:
            for key, values in gradients.items():
                name = key.encode()
                i = fa_net_find(self.net, name)
                if i < 0:
                    raise KeyError(key)
                tensor = fa_net_tensor(self.net, i)
                if values.size != tensor.rows * tensor.cols:
                    raise ValueError(f"gradients: {key}: expected {tensor.rows} x {tensor.cols}, got {values.shape}")
                pointers[i] = _matrix(
                    values.reshape(tensor.rows, -1), tensor.rows, tensor.cols, self.typenum, f"gradients: {key}"
                )
            with nogil:
                status = fa_apply_gradients(self.net, pointers)
            check(status)
        finally:
            free(pointers)

    def shuffle(self, int64_t n):
        order = np.empty(n, np.int64)
        cdef int64_t *data = <int64_t *>cnp.PyArray_DATA(order)
        cdef fa_status status
        with nogil:
            status = fa_shuffle(data, self.net, n)
        check(status)
        return order

    def train_steps(self, x, labels, y, weights, order, batch_size, first, count, lrs=None, poll=None,
                    double poll_seconds=POLL_SECONDS, *, bint checked=False, augment=None):
        cdef _Poll context = _Poll(poll)
        cdef fa_metrics metrics
        metrics.loss, metrics.hits, metrics.rows, metrics.steps = 0, 0, 0, 0
        if _is_plain(x, y):
            self._train_steps(&metrics, (x, labels, y, weights), order, batch_size, first, count, lrs, context,
                              poll_seconds, checked, augment)
            return metrics.loss, metrics.hits, metrics.rows, metrics.steps
        steps, looked = max(1, self._rows_at_once(x, y) // batch_size), perf_counter()
        for done in range(0, count, steps):
            rows = slice((first + done) * batch_size, (first + min(done + steps, count)) * batch_size)
            part = _rows_of((x, labels, y, weights), rows if order is None else order[rows])
            lrs_of_part = None if lrs is None else lrs[done : done + steps]
            n = min(steps, count - done)
            if self._train_steps(&metrics, part, None, batch_size, 0, n, lrs_of_part, context, poll_seconds,
                                 checked, augment):
                break
            if perf_counter() - looked >= poll_seconds:  # parts are short: C may never come to look
                looked = perf_counter()
                if _poll(<void *>context, self.steps):
                    break
        if context.error is not None:
            raise context.error
        return metrics.loss, metrics.hits, metrics.rows, metrics.steps

    cdef int _train_steps(self, fa_metrics *metrics, data, order, batch_size, first, count, lrs, _Poll context,
                          double poll_seconds, bint checked, augment) except -1:
        """Train and add to `metrics`; return whether training was stopped."""
        x, labels, y, weights = data
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef const int64_t *indices = <const int64_t *>_vector(order, s.n, cnp.NPY_INT64, "order")
        cdef fa_epoch epoch = fa_epoch_of(indices, batch_size, count)
        cdef fa_status status
        s.accumulate, s.checked = True, checked
        epoch.first = first
        if augment is not None:
            epoch.flip, epoch.crop = augment
        epoch.lrs = <const double *>_vector(lrs, count, cnp.NPY_FLOAT64, "lrs")
        epoch.poll, epoch.user, epoch.poll_seconds = _poll, <void *>context, poll_seconds
        with nogil:
            status = fa_train_steps(metrics, self.net, &s, &epoch)
        if context.error is not None:
            raise context.error
        if status != FA_E_STOPPED:
            check_call(status, self.customs)
        return status == FA_E_STOPPED

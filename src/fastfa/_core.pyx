"""The C engine for Python: a client of fastfa.h like any other.

Every method does the same few things: look at shapes, point a fa_samples at the arrays, call C with
the GIL released, turn a status into an exception. No arithmetic here, and no second copy of a check
that C makes.
"""

import os
from time import perf_counter

import numpy as np

cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_INCREF
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from fastfa cimport *

cnp.import_array()

POLL_SECONDS = 0.01  # between looks at signals and at net.stop() while C trains
PART_BYTES = 1 << 19  # of samples that are converted at once
SLICE_WORK = 1 << 31  # multiply-accumulate of predict and evaluate between looks at signals

cdef int check(fa_status status) except -1:
    """The one place where a status becomes an exception."""
    if status == FA_OK:
        return 0
    message = fa_last_error().decode(errors="replace")  # long names are cut, also in the middle of a character
    if status == FA_E_VALUE or status == FA_E_FORMAT:
        raise ValueError(message)
    if status == FA_E_MEMORY:
        raise MemoryError(message)
    if status == FA_E_NONFINITE:
        raise FloatingPointError(message)
    raise RuntimeError(message)


include "_core_library.pxi"      # the library: its names, build, threads, memory
include "_core_description.pxi"  # dictionaries to fa_net_desc, and back
include "_core_callbacks.pxi"    # what C calls: poll functions, rules in Python, writers of files


# ---- a network ---------------------------------------------------------------------------------


cdef fa_block_info block_info(const fa_net *net, int64_t b) except *:
    cdef fa_block_info info
    info.struct_size = sizeof(info)
    check(fa_net_block(&info, net, b))
    return info


cdef class _Handle:
    """Owns the C network. The views into it hold this object, so they keep the memory alive."""

    cdef fa_net *net
    cdef fa_predictor *idle  # of predict_one; taken and put back with the GIL held

    def __cinit__(self, _Description description=None):
        cdef fa_status status
        if description is None:  # whoever made it sets the network
            return
        with nogil:
            status = fa_net_create(&self.net, &description.desc)
        check(status)

    def __dealloc__(self):
        fa_predictor_free(self.idle)
        fa_net_free(self.net)

    cdef object view(self, fa_tensor tensor, int typenum):
        cdef cnp.npy_intp shape[2]
        shape[0], shape[1] = tensor.rows, tensor.cols
        array = cnp.PyArray_SimpleNewFromData(2, shape, typenum, tensor.data)
        Py_INCREF(self)
        cnp.PyArray_SetBaseObject(array, self)
        return array


cdef object _view(fa_view at, int typenum):
    cdef cnp.npy_intp shape[2]
    cdef cnp.npy_intp strides[2]
    cdef cnp.npy_intp size = 8 if typenum == cnp.NPY_FLOAT64 else 4
    shape[0], shape[1] = at.rows, at.cols
    strides[0], strides[1] = at.ld * size, size
    return cnp.PyArray_New(cnp.ndarray, 2, shape, typenum, strides, at.data, 0, cnp.NPY_ARRAY_WRITEABLE, None)


cdef class Network:
    """A network in C behind the backend protocol; see `backends.reference.Network` for the same in NumPy."""

    cdef _Handle handle
    cdef list customs
    cdef fa_net *net
    cdef int typenum
    cdef readonly object description, dtype, parameters, feedback, slots
    cdef readonly int64_t n_in, n_out

    def __init__(self, description):
        plain = _Description(description)
        self._take(_Handle(plain), (<_Description>plain).customs, description)

    cdef int _take(self, _Handle handle, list customs, description) except -1:
        cdef _CustomRule custom
        self.handle, self.customs = handle, customs
        for custom in self.customs:
            custom.net = self
        self.net = self.handle.net
        self.description = description
        self.dtype = np.dtype(description["dtype"])
        self.typenum = cnp.NPY_FLOAT64 if self.dtype == np.float64 else cnp.NPY_FLOAT32
        self.n_in = description["n_in"]
        self.n_out = block_info(self.net, fa_net_n_blocks(self.net) - 1).n_out
        self.parameters, self.feedback, self.slots = {}, {}, {}
        for i in range(fa_net_n_tensors(self.net)):
            self._add_view(fa_net_tensor(self.net, i))
        return 0

    cdef int _add_view(self, fa_tensor tensor) except -1:
        if tensor.data == NULL:
            return 0
        key = tensor.key.decode()
        view = self.handle.view(tensor, self.typenum)
        if key.endswith(".bias"):
            view = view[0]
        if tensor.kind == FA_SLOT:
            self.slots.setdefault(key, []).append(view)
        elif tensor.kind == FA_FEEDBACK:
            self.feedback[key] = view
        else:
            self.parameters[key] = view
        return 0

    # ---- rules in Python

    cdef int _check(self, fa_status status) except -1:
        """As `check`, but what a rule in Python raised comes out as it was."""
        cdef _CustomRule custom
        for custom in self.customs if status == FA_E_STATE else ():
            error = custom.errors.pop(PyThread_get_thread_ident(), None)
            if error is not None:
                raise error
        return check(status)

    cdef int teach(self, rule, const fa_rule_context *t) except -1:
        from types import MappingProxyType

        from ._internal.checks import kind, show
        from ._internal.rule_context import RuleContext

        cdef fa_block_info info = block_info(self.net, t.block)
        cdef _Step step = _Step()
        out = _view(t.signal, self.typenum)
        step.t, step.typenum = t, self.typenum
        try:
            given = rule.signal(RuleContext(
                layer=info.layer, units=info.n_out, step=t.step, parameters=MappingProxyType(self.parameters),
                feedback=self.feedback.get(f"{info.layer}.feedback"), product=self.product,
                _read=step.read, _blocks={block_info(self.net, b).layer: b for b in range(fa_net_n_blocks(self.net))},
            ))
            signal, name = np.asarray(given), f"layer {info.layer}: signal of {kind(rule)}"
        finally:
            step.t = NULL
        if signal.shape != out.shape or signal.dtype.kind not in "biuf":
            got = signal.shape if signal.ndim else show(given)
            raise ValueError(f"{name} must have shape {out.shape} and hold real numbers, got {got}")
        with np.errstate(all="ignore"):
            out[...] = signal
        if not np.isfinite(out).all():
            raise FloatingPointError(f"{name} is not finite")
        return 0

    def product(self, a, b):
        """A B in the network's dtype, by the products of the engine's own rules."""
        with np.errstate(all="ignore"):
            a, b = np.asarray(a, self.dtype), np.ascontiguousarray(b, self.dtype)
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise ValueError(f"product: expected shapes (m, k) and (k, n), got {a.shape} and {b.shape}")
        a = np.ascontiguousarray(a)
        out = np.empty((a.shape[0], b.shape[1]), self.dtype)
        cdef int64_t rows = a.shape[0], k = a.shape[1], cols = b.shape[1]
        check(fa_multiply(cnp.PyArray_DATA(out), self.net, cnp.PyArray_DATA(a), k, cnp.PyArray_DATA(b), cols,
                          rows, k, cols))
        return out

    # ---- training

    def check(self, x, labels, y, weights):
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef fa_status status
        with nogil:
            status = fa_check(self.net, &s)
        check(status)

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
        self._check(status)
        return loss

    def learn_one_direct(self, x, y):
        """One step on one plain sample and its label, or None: take the other way."""
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
        self._check(status)
        return loss

    def train_batch(self, x, labels, y, weights):
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef double loss = 0
        cdef fa_status status
        with nogil:
            status = fa_train_batch(&loss, self.net, &s)
        self._check(status)
        return loss

    def shuffle(self, int64_t n):
        order = np.empty(n, np.int64)
        cdef int64_t *data = <int64_t *>cnp.PyArray_DATA(order)
        cdef fa_status status
        with nogil:
            status = fa_shuffle(data, self.net, n)
        check(status)
        return order

    def train_steps(self, x, labels, y, weights, order, batch_size, first, count, lrs=None, poll=None,
                    double poll_seconds=POLL_SECONDS):
        cdef _Poll context = _Poll(poll)
        cdef fa_metrics metrics
        metrics.loss, metrics.hits, metrics.rows, metrics.steps = 0, 0, 0, 0
        if _is_plain(x, y):
            self._train_steps(&metrics, (x, labels, y, weights), order, batch_size, first, count, lrs, context,
                              poll_seconds)
            return metrics.loss, metrics.hits, metrics.rows, metrics.steps
        steps, looked = max(1, self._rows_at_once(x, y) // batch_size), perf_counter()
        for done in range(0, count, steps):
            rows = slice((first + done) * batch_size, (first + min(done + steps, count)) * batch_size)
            part = _rows_of((x, labels, y, weights), rows if order is None else order[rows])
            lrs_of_part = None if lrs is None else lrs[done : done + steps]
            n = min(steps, count - done)
            if self._train_steps(&metrics, part, None, batch_size, 0, n, lrs_of_part, context, poll_seconds):
                break
            if perf_counter() - looked >= poll_seconds:  # parts are short: C may never come to look
                looked = perf_counter()
                if _poll(<void *>context, self.steps):
                    break
        if context.error is not None:
            raise context.error
        return metrics.loss, metrics.hits, metrics.rows, metrics.steps

    cdef int _train_steps(self, fa_metrics *metrics, data, order, batch_size, first, count, lrs, _Poll context,
                          double poll_seconds) except -1:
        """Train and add to `metrics`; return whether training was stopped."""
        x, labels, y, weights = data
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef const int64_t *indices = <const int64_t *>_vector(order, s.n, cnp.NPY_INT64, "order")
        cdef fa_epoch epoch = fa_epoch_of(indices, batch_size, count)
        cdef fa_status status
        s.accumulate = True
        epoch.first = first
        epoch.lrs = <const double *>_vector(lrs, count, cnp.NPY_FLOAT64, "lrs")
        epoch.poll, epoch.user, epoch.poll_seconds = _poll, <void *>context, poll_seconds
        with nogil:
            status = fa_train_steps(metrics, self.net, &s, &epoch)
        if context.error is not None:
            raise context.error
        if status != FA_E_STOPPED:
            self._check(status)
        return status == FA_E_STOPPED

    def _rows_at_once(self, x, y):
        """The number of rows whose unconverted bytes come to PART_BYTES."""
        return max(1, PART_BYTES // (self.dtype.itemsize * (self.n_in + (0 if y is None else self.n_out))))

    def trim(self):
        """Give back what training beyond the last batch of `train_batch` has set aside."""
        with nogil:
            fa_net_trim(self.net)  # the next call reports the same error

    # ---- using

    def predict(self, x, logits=False, out=None):
        if out is None:
            out = np.empty((len(x), self.n_out), self.dtype)
        for rows in self._slices(len(x)):
            for part in self._parts(rows, x, None):
                self._predict(out[part], x[part], logits)
        return out

    def predict_one_direct(self, x):
        """Outputs of one plain sample, or None: take the other way, also where its values are refused.

        And where outputs are not finite: `predict` looks whether the weights are.
        """
        if not self._is_plain_sample(x):
            return None
        cdef cnp.npy_intp n_out = self.n_out
        cdef void *data = cnp.PyArray_DATA(x)
        cdef fa_samples s = fa_samples_of(data, self.n_in, self.c_dtype(), 1)
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

    cdef bint _is_plain_sample(self, x) noexcept:
        return (
            cnp.PyArray_CheckExact(x) and cnp.PyArray_ISCARRAY_RO(x) and cnp.PyArray_TYPE(x) == self.typenum
            and cnp.PyArray_NDIM(x) == 1 and cnp.PyArray_DIM(x, 0) == self.n_in
        )

    def _predict(self, out, x, int logits):
        cdef fa_samples s = self._samples(x, None, None, None)
        cdef void *data = _matrix(out, s.n, self.n_out, self.typenum, "out")
        cdef fa_status status
        with nogil:
            status = fa_predict(data, self.n_out, self.net, &s, logits)
        check(status)

    def evaluate(self, x, labels, y, weights):
        cdef fa_metrics metrics
        loss, hits = 0.0, 0.0
        for rows in self._slices(len(x)):
            metrics.loss, metrics.hits, metrics.rows, metrics.steps = 0, 0, 0, 0
            for part in self._parts(rows, x, y):
                self._evaluate(&metrics, _rows_of((x, labels, y, weights), part))
            loss, hits = loss + metrics.loss, hits + metrics.hits
        return loss / len(x), hits / len(x)

    cdef int _evaluate(self, fa_metrics *metrics, data) except -1:
        """Add the sums over samples to `metrics`."""
        x, labels, y, weights = data
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef fa_status status
        s.accumulate = True
        with nogil:
            status = fa_evaluate(metrics, self.net, &s)
        check(status)
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

    def gradients(self, x, labels, y, weights):
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef int64_t i, n = fa_net_n_tensors(self.net)
        cdef double loss = 0
        cdef fa_tensor tensor
        cdef fa_status status
        cdef void **pointers = <void **>calloc(n, sizeof(void *))
        if pointers == NULL:
            raise MemoryError("out of memory for gradients")
        try:
            gradients = {}
            for i in range(n):
                tensor = fa_net_tensor(self.net, i)
                key = tensor.key.decode()
                if tensor.trainable and tensor.kind in (FA_WEIGHT, FA_BIAS):
                    gradients[key] = np.empty_like(self.parameters[key])
                    pointers[i] = cnp.PyArray_DATA(gradients[key])
            with nogil:
                status = fa_gradients(&loss, pointers, self.net, &s)
            self._check(status)
        finally:
            free(pointers)
        return loss, gradients

    # ---- looking inside

    def deltas(self, x, labels, y, weights):
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef int64_t b, n = fa_net_n_blocks(self.net)
        cdef fa_status status
        cdef void **pointers = <void **>calloc(n, sizeof(void *))
        if pointers == NULL:
            raise MemoryError("out of memory for deltas")
        try:
            deltas = []
            for b in range(n):
                info = block_info(self.net, b)
                deltas.append(np.empty((s.n, info.n_out), self.dtype) if info.needs_delta else None)
                if info.needs_delta:
                    pointers[b] = cnp.PyArray_DATA(deltas[b])
            with nogil:
                status = fa_deltas(pointers, self.net, &s)
            self._check(status)
            return deltas
        finally:
            free(pointers)

    def alignment(self, x, labels, y, weights):
        cdef fa_samples s = self._samples(x, labels, y, weights)
        cdef int64_t hidden = fa_net_n_blocks(self.net) - 1
        cdef fa_status status
        cdef fa_angles *angles = <fa_angles *>calloc(hidden + 1, sizeof(fa_angles))
        if angles == NULL:
            raise MemoryError("out of memory for alignment")
        try:
            with nogil:
                status = fa_alignment(angles, self.net, &s)
            self._check(status)
            return [
                {
                    "layer": angles[b].layer,
                    "delta_angle": angles[b].delta_angle,
                    "gradient_angle": angles[b].gradient_angle,
                    "weight_angle": angles[b].weight_angle if angles[b].has_weight_angle else None,
                    "norm_ratio": angles[b].norm_ratio,
                }
                for b in range(hidden)
            ]
        finally:
            free(angles)

    @property
    def layers(self):
        rows = []
        for b in range(fa_net_n_blocks(self.net)):
            info = block_info(self.net, b)
            stored = info.feedback[0] != 0
            shape = f"{info.feedback_rows}x{info.n_out}"
            if info.source == b"input":
                shape = f"{self.n_in}x{self.n_out}"
            rank = f" rank {info.feedback_rank}" if info.feedback_rank else ""
            rows.append({
                "index": info.layer,
                "rule": info.rule.decode(),
                "inject": info.inject.decode(),
                "source": info.source.decode(),
                "feedback": f"{info.feedback.decode()} {shape}{rank}" if stored else "",
                "trainable": bool(info.trainable),
                "needed": bool(info.needs_delta),
            })
        return rows

    def feedback_matrix(self, index):
        cdef int64_t b
        for b in range(fa_net_n_blocks(self.net) - 1):
            if block_info(self.net, b).layer == index:
                return self._feedback_matrix(b)
        raise ValueError(f"index must be that of a hidden dense layer, got {index}")

    def has_feedback_matrix(self, index):
        return any(block_info(self.net, b).feedback_rows > 0
                   for b in range(fa_net_n_blocks(self.net) - 1)
                   if block_info(self.net, b).layer == index)

    cdef object _feedback_matrix(self, int64_t b):
        cdef fa_block_info info = block_info(self.net, b)
        out = np.empty((info.feedback_rows, info.n_out), self.dtype)
        cdef void *data = cnp.PyArray_DATA(out)
        cdef fa_status status
        with nogil:
            status = fa_feedback_matrix(data, self.net, b)
        check(status)
        return out

    @property
    def counts(self):
        return dict(fa_net_counts(self.net))

    @property
    def steps(self):
        return fa_net_steps(self.net)

    @property
    def epochs(self):
        return fa_net_epochs(self.net)

    @property
    def n_threads(self):
        return fa_net_threads(self.net) or fa_get_num_threads()

    @n_threads.setter
    def n_threads(self, int n):
        cdef fa_status status
        with nogil:
            status = fa_net_set_threads(self.net, n)
        check(status)

    @property
    def lr(self):
        return fa_net_lr(self.net)

    @lr.setter
    def lr(self, double value):
        cdef fa_status status
        with nogil:
            status = fa_net_set_lr(self.net, value)
        check(status)

    def write(self, key, values):
        """Copy (contiguous, checked) values into a parameter or feedback tensor, between steps."""
        cdef bytes name = key.encode()
        cdef int64_t i = fa_net_find(self.net, name)
        if i < 0:
            raise KeyError(key)
        self._write(i, values)

    cdef int _write(self, int64_t i, values) except -1:
        cdef fa_tensor tensor = fa_net_tensor(self.net, i)
        cdef void *data = _matrix(values.reshape(tensor.rows, -1), tensor.rows, tensor.cols, self.typenum, "values")
        cdef fa_status status
        with nogil:
            status = fa_net_write(self.net, i, data)
        return check(status)

    def reset(self):
        cdef fa_status status
        with nogil:
            status = fa_net_reset(self.net)
        check(status)

    def state(self):
        state = PyBytes_FromStringAndSize(NULL, fa_net_state_size(self.net))
        cdef char *data = PyBytes_AS_STRING(state)
        cdef fa_status status
        with nogil:
            status = fa_net_get_state(data, self.net)
        check(status)
        return state

    def restore(self, bytes state):
        cdef const char *data = PyBytes_AS_STRING(state)
        cdef size_t size = len(state)
        cdef fa_status status
        with nogil:
            status = fa_net_set_state(self.net, data, size)
        check(status)

    # ---- files

    @staticmethod
    def load(const unsigned char[::1] data, rules):
        """A network from the bytes of a file; rules(layer, note) gives the object of a rule in Python."""
        cdef _Finder finder = _Finder(rules)
        cdef _Handle handle = _Handle()
        cdef fa_status status
        cdef const void *bytes = <const void *>"" if len(data) == 0 else &data[0]
        cdef size_t size = len(data)
        with nogil:
            status = fa_load_memory(&handle.net, bytes, size, _custom, <void *>finder)
        return _loaded(handle, finder, status)

    @staticmethod
    def load_path(bytes path, rules):
        """The same from a file of that name."""
        cdef _Finder finder = _Finder(rules)
        cdef _Handle handle = _Handle()
        cdef const char *name = path
        cdef fa_status status
        cdef int reason
        with nogil:
            status = fa_load_with(&handle.net, name, _custom, <void *>finder)
            reason = errno
        if finder.error is None:
            _check_read(status, reason, path)
        return _loaded(handle, finder, status)

    @staticmethod
    def load_from(read, rules):
        """The same from a function: each call of read(n) gives 1 to n bytes."""
        cdef _Reader reader = _Reader(read)
        cdef _Finder finder = _Finder(rules)
        cdef _Handle handle = _Handle()
        cdef fa_status status
        with nogil:
            status = fa_load_from(&handle.net, _read, <void *>reader, _custom, <void *>finder)
        if reader.error is not None:
            raise reader.error
        return _loaded(handle, finder, status)

    def save(self, bytes path):
        cdef const char *name = path
        cdef fa_status status
        cdef int reason
        with nogil:
            status = fa_save(self.net, name)
            reason = errno
        if status == FA_E_IO:  # becomes FileNotFoundError and the like
            raise OSError(reason, fa_last_error().decode(errors="replace"))
        check(status)

    def dumps(self):
        """The bytes that save writes."""
        cdef _Bytes bytes
        cdef fa_status status
        bytes.data, bytes.size, bytes.capacity = NULL, 0, 0
        try:
            with nogil:
                status = fa_save_to(self.net, _append, &bytes)
            if status == FA_E_IO:
                raise MemoryError("out of memory for the bytes of a network")
            check(status)
            return PyBytes_FromStringAndSize(bytes.data, bytes.size)
        finally:
            free(bytes.data)

    @property
    def note(self):
        """Text that goes with the network into files, or None: a copy, since other threads may set it."""
        cdef fa_status status
        cdef size_t size = 0, capacity
        cdef char *data
        while True:
            capacity = size
            text = PyBytes_FromStringAndSize(NULL, capacity)
            data = PyBytes_AS_STRING(text)
            with nogil:
                status = fa_net_copy_note(data, &size, self.net)
            check(status)
            if size == 0:
                return None
            if size <= capacity:
                return text[:size - 1].decode()

    @note.setter
    def note(self, text):
        if text == self.note:
            return
        cdef bytes encoded = b"" if text is None else text.encode()
        cdef const char *note = NULL if text is None else <const char *>encoded
        cdef fa_status status
        with nogil:
            status = fa_net_set_note(self.net, note)
        check(status)

    # ---- arrays to C

    cdef fa_dtype c_dtype(self) noexcept:
        return FA_F64 if self.typenum == cnp.NPY_FLOAT64 else FA_F32

    cdef fa_samples _samples(self, x, labels, y, weights) except *:
        """Points at the arrays; their values are C's to check. The caller's arguments keep them alive."""
        cdef fa_dtype of_x = FA_U8 if x.dtype == np.uint8 else self.c_dtype()
        cdef int typenum = cnp.NPY_UINT8 if of_x == FA_U8 else self.typenum
        cdef fa_samples s = fa_samples_of(_matrix(x, len(x), self.n_in, typenum, "x"), self.n_in, of_x, len(x))
        s.ldy = self.n_out
        s.labels = <const int64_t *>_vector(labels, s.n, cnp.NPY_INT64, "labels")
        s.y = NULL if y is None else _matrix(y, s.n, self.n_out, self.typenum, "y")
        s.weights = <const double *>_vector(weights, s.n, cnp.NPY_FLOAT64, "weights")
        return s


cdef object _loaded(_Handle handle, _Finder finder, fa_status status):
    if finder.error is not None:
        raise finder.error
    check(status)
    cdef Network net = Network.__new__(Network)
    net._take(handle, finder.customs, _describe(fa_net_description(handle.net)))
    return net


cdef int _check_read(fa_status status, int reason, bytes path) except -1:
    """As `check`, for a call that read a file; the caller names the file."""
    shown = path.decode(errors="replace")
    if len(path) > 200:
        shown = "..." + path[len(path) - 200:].decode(errors="replace")
    whole = fa_last_error().decode(errors="replace")
    message = whole.removeprefix(f"{shown}: ")
    if status == FA_E_IO:  # becomes FileNotFoundError and the like; a long path leaves no place for words
        raise OSError(reason, os.strerror(reason) if message == whole else message, os.fsdecode(path))
    if status == FA_E_FORMAT:
        raise ValueError(message)
    return check(status)


def check_file(bytes path):
    """Whether a file that is whole has a checksum that says so."""
    cdef const char *name = path
    cdef int has_checksum = 0, reason
    cdef fa_status status
    with nogil:
        status = fa_check_file(&has_checksum, name)
        reason = errno
    _check_read(status, reason, path)
    return bool(has_checksum)


cdef bint _all_finite(const void *values, int64_t n, int typenum) noexcept nogil:
    """Whether no exponent has all bits set: faster than isfinite, since compilers vectorise it."""
    cdef const uint32_t *single = <const uint32_t *>values
    cdef const uint64_t *double_ = <const uint64_t *>values
    cdef uint32_t bad = 0
    cdef uint64_t bad_double = 0
    cdef int64_t i
    if typenum == cnp.NPY_FLOAT64:
        for i in range(n):
            bad_double |= (double_[i] & 0x7FF0000000000000U) == 0x7FF0000000000000U
        return bad_double == 0
    for i in range(n):
        bad |= (single[i] & 0x7F800000U) == 0x7F800000U
    return bad == 0


cdef bint _is_plain(x, y) noexcept:
    """Whether nothing is left to convert: no `Pieces` of `_internal.validation`."""
    return cnp.PyArray_Check(x) and (y is None or cnp.PyArray_Check(y))


cdef object _rows_of(arrays, rows):
    return [None if a is None else a[rows] for a in arrays]


cdef void *_matrix(array, int64_t rows, int64_t cols, int typenum, str name) except? NULL:
    if not (
        isinstance(array, cnp.ndarray) and cnp.PyArray_ISCARRAY_RO(array)
        and cnp.PyArray_TYPE(array) == typenum and cnp.PyArray_NDIM(array) == 2
        and cnp.PyArray_DIM(array, 0) == rows and cnp.PyArray_DIM(array, 1) == cols
    ):
        expected = f"a C-contiguous ({rows}, {cols}) array of {cnp.PyArray_DescrFromType(typenum)}"
        raise ValueError(f"{name}: expected {expected}, got {array.dtype} {array.shape}")
    return cnp.PyArray_DATA(array)


cdef void *_vector(array, int64_t n, int typenum, str name) except? NULL:
    if array is None:
        return NULL
    if not (
        isinstance(array, cnp.ndarray) and cnp.PyArray_ISCARRAY_RO(array)
        and cnp.PyArray_TYPE(array) == typenum and cnp.PyArray_NDIM(array) == 1
        and cnp.PyArray_DIM(array, 0) == n
    ):
        expected = f"a C-contiguous ({n},) array of {cnp.PyArray_DescrFromType(typenum)}"
        raise ValueError(f"{name}: expected {expected}, got {array.dtype} {array.shape}")
    return cnp.PyArray_DATA(array)

# The C network itself: who frees it, its tensors, settings and state. Part of _core.pyx.
import numpy as np

cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t

PART_BYTES = 1 << 19  # of samples that are converted at once


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


cdef class _NetworkState:
    """The part of `Network` that owns the C network: its tensors, numbers and state."""

    cdef _Handle handle
    cdef list customs
    cdef fa_net *net
    cdef int typenum
    cdef readonly object description, dtype, parameters, feedback, slots, stream
    cdef readonly bint recurrent
    cdef str loss
    cdef readonly int64_t n_in, n_out

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
        self.loss = description["loss"]
        self.n_out = block_info(self.net, fa_net_n_blocks(self.net) - 1).n_out
        self.parameters, self.feedback, self.slots, self.stream = {}, {}, {}, {}
        self.recurrent = any(layer["type"] == "recurrent" for layer in description["layers"])
        for i in range(fa_net_n_tensors(self.net)):
            self._add_view(fa_net_tensor(self.net, i))
        return 0

    def set_loss(self, function):
        """Give the loss "custom" its function."""
        cdef _CustomRule custom = _CustomRule(function)
        custom.net = self
        check(fa_net_set_loss(self.net, _own_loss, <void *>custom))
        self.customs.append(custom)
        self.description = dict(self.description, loss_function=function)

    cdef int _add_view(self, fa_tensor tensor) except -1:
        if tensor.data == NULL:
            return 0
        key = tensor.key.decode()
        view = self.handle.view(tensor, self.typenum)
        if key.endswith((".bias", ".state", ".scale", ".shift")):
            view = view[0]
        elif key.partition(".")[2] == "weight":
            view = self._as_filters(view, int(key.partition(".")[0]))
        if tensor.kind == FA_SLOT:
            self.slots.setdefault(key, []).append(view)
        elif tensor.kind == FA_STATE:
            self.stream[key] = view
        elif tensor.kind == FA_FEEDBACK:
            self.feedback[key] = view
        else:
            self.parameters[key] = view
        return 0

    cdef object _as_filters(self, view, int index):
        """The weights of convolutions, (kernel_h, kernel_w, channels, filters); others as they are."""
        how = self.description["layers"][index]
        return view.reshape(*how["kernel_size"], -1, how["filters"]) if how["type"] == "conv2d" else view

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

    def trim(self):
        """Give back what training beyond the last batch of `train_batch` has set aside."""
        with nogil:
            fa_net_trim(self.net)  # the next call reports the same error

    # ---- arrays to C

    cdef fa_dtype c_dtype(self) noexcept:
        return FA_F64 if self.typenum == cnp.NPY_FLOAT64 else FA_F32

    cdef fa_samples _samples(self, x, labels, y, weights) except *:
        """Points at the arrays; their values are C's to check. The caller's arguments keep them alive."""
        cdef fa_dtype of_x = FA_U8 if x.dtype == np.uint8 else self.c_dtype()
        cdef int typenum = cnp.NPY_UINT8 if of_x == FA_U8 else self.typenum
        cdef int64_t times = x.shape[1] if self.recurrent else 1
        cdef fa_samples s
        if _is_sparse(x):
            s = self._sparse(x, of_x, typenum)
        else:
            s = fa_samples_of(_matrix(_as_rows(x), len(x) * times, self.n_in, typenum, "x"), self.n_in, of_x, len(x))
        s.time_steps = times if self.recurrent else 0
        self._add_targets(&s, labels, y, weights)
        return s

    cdef fa_samples _sparse(self, x, fa_dtype of_x, int typenum) except *:
        indices, indptr = x.indices, x.indptr
        cdef int type_of_indices = cnp.NPY_INT32 if indptr.dtype == np.int32 else cnp.NPY_INT64
        cdef int64_t n = len(x.data)
        if x.shape[1] != self.n_in:
            raise ValueError(f"x: expected {self.n_in} columns, got {x.shape[1]}")
        return fa_csr_of(
            _vector(x.data, n, typenum, "x.data"), of_x, _vector(indices, n, type_of_indices, "x.indices"),
            _vector(indptr, len(x) + 1, type_of_indices, "x.indptr"), indptr.itemsize, n, len(x)
        )

    cdef int _add_targets(self, fa_samples *s, labels, y, weights) except -1:
        cdef int64_t rows = s.n
        s.ldy = self.n_out
        if self.recurrent:
            s.every_step = (labels is not None and labels.ndim == 2) or (y is not None and y.ndim == 3)
            rows = s.n * s.time_steps if s.every_step else s.n
        s.labels = <const int64_t *>_vector(_as_vector(labels), rows, cnp.NPY_INT64, "labels")
        s.y = NULL if y is None else _matrix(_as_rows(y), rows, self.n_out, self.typenum, "y")
        s.weights = <const double *>_vector(weights, s.n, cnp.NPY_FLOAT64, "weights")
        return 0

    cdef bint _is_plain_sample(self, x) noexcept:
        return (
            cnp.PyArray_CheckExact(x) and cnp.PyArray_ISCARRAY_RO(x) and cnp.PyArray_TYPE(x) == self.typenum
            and cnp.PyArray_NDIM(x) == 1 and cnp.PyArray_DIM(x, 0) == self.n_in
        )

    def _rows_at_once(self, x, y):
        """The number of rows whose unconverted bytes come to PART_BYTES."""
        return max(1, PART_BYTES // (self.dtype.itemsize * (self.n_in + (0 if y is None else self.n_out))))

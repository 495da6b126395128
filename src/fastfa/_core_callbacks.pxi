# What C calls while it works, and how an exception from there comes out in the end. Part of _core.pyx.
import numpy as np

cimport numpy as cnp
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy


# ---- between steps, and messages ---------------------------------------------------------------


cdef class _Poll:
    """What C calls between steps, with the exception that must come out in the end."""

    cdef object function
    cdef object error

    def __cinit__(self, function):
        self.function = function


cdef int _poll(void *user, int64_t step) noexcept with gil:
    cdef _Poll poll = <_Poll>user
    try:
        PyErr_CheckSignals()
        return poll.function is not None and bool(poll.function(step))
    except BaseException as error:
        poll.error = error
        return 1


cdef void _log(void *user, const char *message) noexcept with gil:
    """Turn a message of the C library into a warning; C continues, also if warnings are errors."""
    import warnings

    warnings.warn(message.decode(errors="replace"), RuntimeWarning, stacklevel=2)


fa_set_log(_log, NULL)


# ---- rules in Python ---------------------------------------------------------------------------


cdef class _CustomRule:
    """A rule in Python, with the exceptions that must come out in the end; `net` is set later."""

    cdef object rule
    cdef dict errors  # by thread: several may be in calls that only read
    cdef _NetworkState net

    def __cinit__(self, rule):
        self.rule, self.errors = rule, {}


cdef int _signal(void *user, const fa_rule_context *t) noexcept with gil:
    cdef _CustomRule custom = <_CustomRule>user
    try:
        _fill_signal(custom, t)
        return 0
    except BaseException as error:
        custom.errors[PyThread_get_thread_ident()] = error
        return 1


cdef int _fill_signal(_CustomRule custom, const fa_rule_context *t) except -1:
    """Ask a rule in Python for its signal, and copy that to where the engine reads it."""
    from ._internal.checks import kind, show

    cdef _NetworkState net = custom.net
    out = _view(t.signal, net.typenum)
    name = f"layer {block_info(net.net, t.block).layer}: signal of {kind(custom.rule)}"
    given, signal = _ask_for_signal(custom, t)
    if signal.shape != out.shape or signal.dtype.kind not in "biuf":
        got = signal.shape if signal.ndim else show(given)
        raise ValueError(f"{name}: expected shape {out.shape} of real numbers, got {got}")
    with np.errstate(all="ignore"):
        out[...] = signal
    if not np.isfinite(out).all():
        raise FloatingPointError(f"{name} is not finite")
    return 0


cdef tuple _ask_for_signal(_CustomRule custom, const fa_rule_context *t):
    """What the rule returns, and the same as an array."""
    from types import MappingProxyType

    from ._internal.rule_context import RuleContext

    cdef _NetworkState net = custom.net
    cdef fa_block_info info = block_info(net.net, t.block)
    cdef _Step step = _Step(net)
    step.t = t
    try:
        given = custom.rule.signal(RuleContext(
            layer=info.layer, units=info.n_signal, step=t.step, parameters=MappingProxyType(net.parameters),
            feedback=net.feedback.get(f"{info.layer}.feedback"), product=step.product,
            _read=step.read, _blocks={block_info(net.net, b).layer: b for b in range(fa_net_n_blocks(net.net))},
        ))
        return given, np.asarray(given)  # while the step lasts: an object may read it to become an array
    finally:
        step.t = NULL


cdef int _own_loss(void *user, const fa_loss_context *t) noexcept with gil:
    cdef _CustomRule custom = <_CustomRule>user  # its `rule` is the function
    try:
        _fill_losses(custom, t)
        return 0
    except BaseException as error:
        custom.errors[PyThread_get_thread_ident()] = error
        return 1


cdef int _fill_losses(_CustomRule custom, const fa_loss_context *t) except -1:
    """Ask a loss in Python for losses and errors, and copy them to where the engine reads them."""
    from ._internal.own_loss import ask

    cdef int typenum = custom.net.typenum
    cdef int64_t i
    logits = _view(t.output, typenum).copy()  # the engine's memory is its own
    if t.labels != NULL:
        y = np.empty(t.output.rows, np.int64)
        for i in range(t.output.rows):
            y[i] = t.labels[i]
    else:
        y = _view(t.target, typenum).copy()
    losses, errors = ask(custom.rule, logits, y)
    _view(t.error, typenum)[...] = errors
    for i in range(t.output.rows):
        t.losses[i] = losses[i]
    return 0


cdef int check_call(fa_status status, list customs) except -1:
    """As `check`, but what one of these rules in Python raised comes out as it was."""
    cdef _CustomRule custom
    for custom in customs if status == FA_E_STATE else ():
        error = custom.errors.pop(PyThread_get_thread_ident(), None)
        if error is not None:
            raise error
    return check(status)


cdef class _Step:
    """What the context of a rule in Python asks for: products, and copies of arrays of the step.

    It has the arrays until the rule's `signal` returns. Copies, because the engine's memory is its
    own: the next step writes there, a larger batch frees it, and Python cannot be kept from holding
    what it was shown.
    """

    cdef const fa_rule_context *t  # NULL: the step is over
    cdef _NetworkState net

    def __cinit__(self, net):
        self.net = net

    def product(self, a, b):
        """A B in the network's dtype, by the products of the engine's own rules."""
        with np.errstate(all="ignore"):
            a, b = np.asarray(a, self.net.dtype), np.ascontiguousarray(b, self.net.dtype)
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise ValueError(f"product: expected shapes (m, k) and (k, n), got {a.shape} and {b.shape}")
        a = np.ascontiguousarray(a)
        out = np.empty((a.shape[0], b.shape[1]), self.net.dtype)
        cdef int64_t rows = a.shape[0], k = a.shape[1], cols = b.shape[1]
        check(fa_multiply(cnp.PyArray_DATA(out), self.net.net, cnp.PyArray_DATA(a), k, cnp.PyArray_DATA(b), cols,
                          rows, k, cols))
        return out

    def read(self, str what, int64_t block):
        cdef fa_view at = self._find(what, block)
        cdef cnp.npy_intp shape[2]
        cdef int typenum = cnp.NPY_INT64 if what == "labels" else self.net.typenum
        shape[0], shape[1] = at.rows, at.cols
        array = cnp.PyArray_EMPTY(1 if what == "labels" else 2, shape, typenum, 0)
        at = self._find(what, block)  # again: another thread may have run while the array was made
        if at.data == NULL:
            return None
        cdef size_t size = cnp.PyArray_ITEMSIZE(array)
        cdef int64_t row
        for row in range(at.rows):
            memcpy(<char *>cnp.PyArray_DATA(array) + row * at.cols * size, <char *>at.data + row * at.ld * size,
                   at.cols * size)
        cnp.PyArray_CLEARFLAGS(array, cnp.NPY_ARRAY_WRITEABLE)
        return array

    cdef fa_view _find(self, str what, int64_t block) except *:
        cdef fa_view labels
        if self.t == NULL:
            raise RuntimeError(
                "ctx: its step is over; take the arrays that you need in signal, before it returns"
            )
        if what == "error":
            return self.t.error
        if what == "target":
            return self.t.target
        if what == "output":
            return fa_rule_context_output(self.t, block)
        labels.data, labels.ld, labels.rows, labels.cols = <void *>self.t.labels, 1, self.t.error.rows, 1
        return labels


# ---- files -------------------------------------------------------------------------------------


cdef class _Finder:
    """What C asks for rules in Python, with what it found and the exception that must come out."""

    cdef object find, error
    cdef list customs

    def __cinit__(self, find):
        self.find, self.customs = find, []


cdef int _custom(void *user, fa_rule_desc *rule, int64_t layer, const char *note) noexcept with gil:
    cdef _Finder finder = <_Finder>user
    try:
        custom = _CustomRule(finder.find(layer, None if note == NULL else note.decode()))
        finder.customs.append(custom)
        rule.signal, rule.user = _signal, <void *>custom
        return 0
    except BaseException as error:
        finder.error = error
        return 1


cdef class _Reader:
    """Gives C the bytes of a file, and keeps an exception that must be raised after the call."""

    cdef object read, error

    def __cinit__(self, read):
        self.read = read


cdef int _read(void *user, void *data, size_t size) noexcept with gil:
    cdef _Reader reader = <_Reader>user
    cdef Py_ssize_t done = 0, wanted = size  # C asks for what memory holds
    cdef bytes piece
    try:
        while done < wanted:
            PyErr_CheckSignals()
            piece = reader.read(min(wanted - done, 1 << 20))
            if not 0 < len(piece) <= wanted - done:
                raise ValueError(f"read: expected 1 to {wanted - done} bytes, got {len(piece)}")
            memcpy(<char *>data + done, PyBytes_AS_STRING(piece), len(piece))
            done += len(piece)
        return 0
    except BaseException as error:
        reader.error = error
        return 1


cdef struct _Bytes:
    char *data
    size_t size
    size_t capacity


cdef int _append(void *user, const void *data, size_t size) noexcept nogil:
    cdef _Bytes *to = <_Bytes *>user
    cdef size_t capacity = 2 * (to.size + size)
    cdef char *more
    if to.size + size > to.capacity:
        more = <char *>realloc(to.data, capacity)
        if more == NULL:
            return 1
        to.data, to.capacity = more, capacity
    memcpy(to.data + to.size, data, size)
    to.size += size
    return 0

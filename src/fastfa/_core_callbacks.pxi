# What C calls while it works, and how an exception from there comes out in the end. Part of _core.pyx.
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdlib cimport realloc
from libc.string cimport memcpy


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


cdef class _CustomRule:
    """A rule in Python, with the exceptions that must come out in the end; `net` is set later."""

    cdef object rule
    cdef dict errors  # by thread: several may be in calls that only read
    cdef Network net

    def __cinit__(self, rule):
        self.rule, self.errors = rule, {}


cdef int _signal(void *user, const fa_rule_context *t) noexcept with gil:
    cdef _CustomRule custom = <_CustomRule>user
    try:
        custom.net.teach(custom.rule, t)
        return 0
    except BaseException as error:
        custom.errors[PyThread_get_thread_ident()] = error
        return 1


cdef class _Step:
    """Copies arrays of a step for a rule in Python, until its `signal` returns.

    Copies, because the engine's memory is its own: the next step writes there, a larger batch frees
    it, and Python cannot be kept from holding what it was shown.
    """

    cdef const fa_rule_context *t  # NULL: the step is over
    cdef int typenum

    def read(self, str what, int64_t block):
        cdef fa_view at = self._find(what, block)
        cdef cnp.npy_intp shape[2]
        cdef int typenum = cnp.NPY_INT64 if what == "labels" else self.typenum
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
                raise ValueError("expected 1 to n bytes")
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

# What C calls while it works, and how an exception from there comes out in the end. Part of _core.pyx.
from cpython.exc cimport PyErr_CheckSignals
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


cdef class _Host:
    """A rule in Python, with the exception that must come out in the end; `net` is set later."""

    cdef object rule, error
    cdef Network net

    def __cinit__(self, rule):
        self.rule = rule


cdef int _signal(void *user, const fa_teaching *t) noexcept with gil:
    cdef _Host host = <_Host>user
    try:
        host.net.teach(host.rule, t)
        return 0
    except BaseException as error:
        host.error = error
        return 1


cdef class _Finder:
    """What C asks for rules in Python, with what it found and the exception that must come out."""

    cdef object find, error
    cdef list hosts

    def __cinit__(self, find):
        self.find, self.hosts = find, []


cdef int _custom(void *user, fa_rule_desc *rule, int64_t layer, const char *note) noexcept with gil:
    cdef _Finder finder = <_Finder>user
    try:
        host = _Host(finder.find(layer, None if note == NULL else note.decode()))
        finder.hosts.append(host)
        rule.signal, rule.user = _signal, <void *>host
        return 0
    except BaseException as error:
        finder.error = error
        return 1


cdef struct _Bytes:
    char *data
    size_t size
    size_t room


cdef int _append(void *user, const void *data, size_t size) noexcept nogil:
    cdef _Bytes *to = <_Bytes *>user
    cdef size_t room = 2 * (to.size + size)
    cdef char *more
    if to.size + size > to.room:
        more = <char *>realloc(to.data, room)
        if more == NULL:
            return 1
        to.data, to.room = more, room
    memcpy(to.data + to.size, data, size)
    to.size += size
    return 0

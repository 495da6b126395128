# Files: writing and reading networks, and the note that goes with one. Part of _core.pyx.
import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdlib cimport free


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


cdef class _NetworkFiles(_NetworkInspection):
    """The part of `Network` that reads and writes files."""

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


cdef object _loaded(_Handle handle, _Finder finder, fa_status status):
    if finder.error is not None:
        raise finder.error
    check(status)
    cdef Network net = Network.__new__(Network)
    net._take(handle, finder.customs, _describe(fa_net_description(handle.net)))
    return net

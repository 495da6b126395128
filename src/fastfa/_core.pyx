"""The C engine for Python: a client of fastfa.h like any other.

Every method does the same few things: look at shapes, point a fa_samples at the arrays, call C with
the GIL released, turn a status into an exception. No arithmetic here, and no second copy of a check
that C makes.

One file for each topic, all of one module. The class `Network` has a part in each of the last five,
and each part extends the one before, because a class cannot be divided in another way:
_NetworkState, _NetworkTraining, _NetworkPrediction, _NetworkInspection, _NetworkFiles.
"""

cimport numpy as cnp

from fastfa cimport *

cnp.import_array()


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
include "_core_arrays.pxi"       # arrays to pointers, and back
include "_core_description.pxi"  # dictionaries to fa_net_desc, and back
include "_core_callbacks.pxi"    # what C calls: poll functions, rules in Python, writers of files
include "_core_state.pxi"        # the C network: who frees it, its tensors, settings and state
include "_core_training.pxi"     # steps
include "_core_prediction.pxi"   # predict, evaluate
include "_core_inspection.pxi"   # gradients, deltas, angles, feedback
include "_core_files.pxi"        # save, load


cdef class Network(_NetworkFiles):
    """A network in C behind the backend protocol; see `backends.reference.Network` for the same in NumPy."""

    def __init__(self, description):
        plain = _Description(description)
        self._take(_Handle(plain), (<_Description>plain).customs, description)
        if description.get("loss_function") is not None:
            self.set_loss(description["loss_function"])

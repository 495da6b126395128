# What is of the library and not of one network. Part of _core.pyx.
from libc.stdint cimport int64_t


def _names(fa_names kind):
    names, i = [], 0
    while fa_name(kind, i) != NULL:
        names.append(fa_name(kind, i).decode())
        i += 1
    return names


NAMES = {
    "layer": _names(FA_NAMES_LAYER),
    "activation": _names(FA_NAMES_ACTIVATION),
    "loss": _names(FA_NAMES_LOSS),
    "rule": _names(FA_NAMES_RULE),
    "optimizer": _names(FA_NAMES_OPTIMIZER),
    "initializer": _names(FA_NAMES_INITIALIZER),
    "distribution": _names(FA_NAMES_DISTRIBUTION),
}


def default_init(activation):
    """Name of the initialiser that fits the weights in front of an activation."""
    cdef bytes name = activation.encode()
    cdef const char *init = fa_default_init(name)
    if init == NULL:
        raise ValueError(f"activation: expected one of {NAMES['activation']}, got {activation!r}")
    return init.decode()


def version():
    """Version of the C library, without opening BLAS as `build_info` does."""
    return fa_version().decode()


def build_info():
    """What this build is and found: version, isa, blas, gemm, threads, compiler."""
    import json  # here: it would be a tenth of the cost of importing fastfa

    return json.loads(fa_build_info().decode())


def set_num_threads(n):
    """Threads of networks that name no number; 0: by environment and machine."""
    check(fa_set_num_threads(n))


def get_num_threads():
    """Threads that a network without a number of its own uses at most."""
    return fa_get_num_threads()


def memory():
    """Bytes that C holds now, and how often it has allocated."""
    cdef int64_t live, allocations
    fa_memory(&live, &allocations)
    return live, allocations

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


_OWNERS = {
    "layer": FA_NAMES_LAYER, "loss": FA_NAMES_LOSS, "rule": FA_NAMES_RULE, "optimizer": FA_NAMES_OPTIMIZER,
}
_KINDS = {
    FA_OPTION_NUMBER: "number", FA_OPTION_INTEGER: "integer", FA_OPTION_FLAG: "flag", FA_OPTION_TEXT: "text",
}
_KNOWN = {}  # the results of `options`


def options(kind, owner):
    """The options of a rule, layer, loss or optimizer as the library declares them, a dictionary for each."""
    cdef fa_option_desc info
    if (kind, owner) in _KNOWN:
        return _KNOWN[kind, owner]
    cdef bytes name = owner.encode()
    cdef fa_names names = _OWNERS[kind]
    rows = []
    info.struct_size = sizeof(info)
    while True:
        status = fa_option_info(&info, names, name, len(rows))
        if status == FA_E_END:
            break
        check(status)
        rows.append({
            "name": info.name.decode(),
            "kind": _KINDS[info.kind],
            "default": _value_of(info.kind, info.number, info.text),
            "low": info.low,
            "high": info.high,
            "low_excluded": bool(info.low_excluded),
            "high_excluded": bool(info.high_excluded),
            "is_field": bool(info.is_field),
            "meaning": info.meaning.decode(),
        })
    return _KNOWN.setdefault((kind, owner), tuple(rows))


cdef object _value_of(fa_option_kind kind, double number, const char *text):
    if kind == FA_OPTION_TEXT:
        return text.decode()
    if kind == FA_OPTION_FLAG:
        return number != 0
    return int(number) if kind == FA_OPTION_INTEGER else number


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
    """What this build is and found: version, isa, bfloat16, blas, gemm, threads, compiler."""
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

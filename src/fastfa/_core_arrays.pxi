# Arrays of NumPy as the pointers that C takes, and C's memory as arrays. Part of _core.pyx.
cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef bint _is_plain(x, y) noexcept:
    """Whether nothing is left to convert: no `Pieces` of `_internal.samples`."""
    return (cnp.PyArray_Check(x) or _is_sparse(x)) and (y is None or cnp.PyArray_Check(y))


cdef bint _is_sparse(x) noexcept:
    """Whether x is `SparseRows` of `_internal.sparse`."""
    return not cnp.PyArray_Check(x) and hasattr(x, "indptr")


cdef object _rows_of(arrays, rows):
    return [None if a is None else a[rows] for a in arrays]


cdef object _as_rows(array):
    """Sequences (m, T, n) as rows (m T, n), in the same memory."""
    if array.ndim == 3 and array.flags.c_contiguous:
        return array.reshape(-1, array.shape[2])
    return array


cdef object _as_vector(labels):
    """Labels (m, T) of every step as (m T,), in the same memory."""
    if labels is not None and labels.ndim == 2 and labels.flags.c_contiguous:
        return labels.reshape(-1)
    return labels


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


cdef object _view(fa_view at, int typenum):
    cdef cnp.npy_intp shape[2]
    cdef cnp.npy_intp strides[2]
    cdef cnp.npy_intp size = 8 if typenum == cnp.NPY_FLOAT64 else 4
    shape[0], shape[1] = at.rows, at.cols
    strides[0], strides[1] = at.ld * size, size
    return cnp.PyArray_New(cnp.ndarray, 2, shape, typenum, strides, at.data, 0, cnp.NPY_ARRAY_WRITEABLE, None)

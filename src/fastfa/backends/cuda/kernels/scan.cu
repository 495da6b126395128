/* Checks of data that lie on the GPU: each block writes the first index in its part whose value is
 * wrong, or -1; the host takes the smallest.
 *
 * SCAN   SCAN_... */

enum {
    SCAN_finite,  /* numbers that are not finite */
    SCAN_labels,  /* labels that are not in 0 .. most */
    SCAN_weights, /* sample weights that are not in 0 .. most */
    SCAN_unit,    /* target rows with a value outside 0 .. 1 */
    SCAN_shares,  /* target rows with a value outside 0 .. 1 or a sum not within 1e-3 of 1 */
};

enum { SCAN_threads = 256 };

struct scan_arguments {
    const void *values;
    int64_t *first; /* of each block */
    int64_t n;      /* numbers, or rows for SCAN_unit and SCAN_shares */
    int64_t part;   /* of a block: n / blocks, rounded up */
    double most;
    int cols; /* of a target row */
};

/* ==== once for each variant ==== */

FA_INLINE bool KERNEL_row_is_wrong(const scan_arguments &a, const T *row)
{
    double sum = 0;
    bool wrong = false;
    for (int j = 0; j < a.cols; j++) {
        const double y = (double)row[j];
        wrong = wrong || !(y >= 0 && y <= 1);
        sum += y;
    }
    return wrong || (SCAN == SCAN_shares && !(sum - 1 <= 1e-3 && 1 - sum <= 1e-3));
}

FA_INLINE bool KERNEL_is_wrong(const scan_arguments &a, int64_t i)
{
    if (SCAN == SCAN_finite) return !is_finite(((const T *)a.values)[i]);
    if (SCAN == SCAN_labels) {
        const int64_t label = ((const int64_t *)a.values)[i];
        return label < 0 || label > (int64_t)a.most;
    }
    if (SCAN == SCAN_weights) {
        const double weight = ((const double *)a.values)[i];
        return !(weight >= 0 && weight <= a.most);
    }
    return KERNEL_row_is_wrong(a, (const T *)a.values + i * a.cols);
}

extern "C" __global__ void __launch_bounds__(SCAN_threads) KERNEL(scan_arguments a)
{
    __shared__ int64_t found[SCAN_threads];
    const int mine = (int)threadIdx.x;
    const int64_t begin = (int64_t)blockIdx.x * a.part;
    const int64_t end = begin + a.part < a.n ? begin + a.part : a.n;
    found[mine] = -1;
    for (int64_t i = begin + mine; i < end && found[mine] < 0; i += SCAN_threads)
        if (KERNEL_is_wrong(a, i)) found[mine] = i;
    __syncthreads();
    if (mine) return;
    int64_t first = -1;
    for (int t = 0; t < SCAN_threads; t++)
        if (found[t] >= 0 && (first < 0 || found[t] < first)) first = found[t];
    a.first[blockIdx.x] = first;
}

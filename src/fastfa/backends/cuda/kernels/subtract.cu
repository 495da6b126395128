/* D = H - H', where a rule compares two passes. */

enum { SUBTRACT_threads = 128 };

struct subtract_arguments {
    T *out;
    const T *first;
    const T *second;
    int64_t n;
};

/* ==== once for each variant ==== */

extern "C" __global__ void __launch_bounds__(SUBTRACT_threads) KERNEL(subtract_arguments a)
{
    const int64_t at = (int64_t)blockIdx.x * SUBTRACT_threads + threadIdx.x;
    if (at < a.n) a.out[at] = a.first[at] - a.second[at];
}

/* D times the sample weights, for those who ask for deltas. */

enum { WEIGH_threads = 128 };

struct weigh_arguments {
    T *d; /* (m x n), in place */
    const T *row_weight;
    int m;
    int n;
};

/* ==== once for each variant ==== */

extern "C" __global__ void __launch_bounds__(WEIGH_threads) KERNEL(weigh_arguments a)
{
    const int64_t at = (int64_t)blockIdx.x * WEIGH_threads + threadIdx.x;
    if (at < (int64_t)a.m * a.n) a.d[at] *= a.row_weight[at / a.n];
}

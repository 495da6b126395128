/* The sums of an evaluation: losses and hits of some rows are added, in order. One block. */

struct sum_arguments {
    double *sums; /* loss, hits */
    const double *row_loss;
    const double *row_hit;
    int m;
};

/* ==== once for each variant ==== */

extern "C" __global__ void __launch_bounds__(SUM_threads) KERNEL(sum_arguments a)
{
    double sum[2] = {0, 0};
    if (threadIdx.x == 0) sum[0] = a.sums[0], sum[1] = a.sums[1];
    sum_rows(sum, a.row_loss, a.row_hit, a.m);
    if (threadIdx.x == 0) a.sums[0] = sum[0], a.sums[1] = sum[1];
}

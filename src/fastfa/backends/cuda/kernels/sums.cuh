/* Sums over rows, in order. */

enum { SUM_threads = 128 };

/* sum[0] and sum[1] plus all losses and hits, in order: in thread 0. The others fetch the numbers. */
FA_INLINE void sum_rows(double (&sum)[2], const double *row_loss, const double *row_hit, int m)
{
    __shared__ double fetched[2][SUM_threads];
    for (int i0 = 0; i0 < m; i0 += SUM_threads) {
        const int mine = (int)threadIdx.x, n = m - i0 < SUM_threads ? m - i0 : SUM_threads;
        if (mine < n) {
            fetched[0][mine] = row_loss[i0 + mine];
            fetched[1][mine] = row_hit[i0 + mine];
        }
        __syncthreads();
        if (mine == 0)
            for (int i = 0; i < n; i++) {
                sum[0] += fetched[0][i];
                sum[1] += fetched[1][i];
            }
        __syncthreads();
    }
}

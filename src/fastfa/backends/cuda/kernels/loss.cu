/* The losses of rows of any width, or their softmax: a block has some rows.
 *
 * LOSS         LOSS_...
 * ACTIVATIONS  the bit of the output's activation */

enum { LOSS_rows = 4, LOSS_threads = 128 };

struct rows_arguments {
    loss_arguments loss;
    T *z;       /* Z (m x n); sigmoid_cross_entropy overwrites it; LOSS_softmax: may be `error` */
    const T *x; /* what f' of the output is computed from: Z or A */
};

/* ==== once for each variant ==== */

extern "C" __global__ void __launch_bounds__(LOSS_threads, 4) KERNEL(rows_arguments a)
{
    __shared__ loss_row row[LOSS_rows];
    const int i0 = (int)blockIdx.x * LOSS_rows, n = a.loss.n;
    const size_t from = (size_t)i0 * n;
    lose_rows<LOSS_rows, LOSS_threads>(LOSS, ACTIVATIONS, a.loss, row, i0, a.z + from,
                                       a.loss.error + from, a.x + from, n);
}

/* The last layer and the loss: Z = f(X W + b), the error e and the losses of some rows. For outputs
 * that fit the columns of one tile.
 *
 * TILE         the tile of a block
 * ACTIVATIONS  the bit of the layer's activation
 * PREACT       1: f' is computed from A
 * LOSS         LOSS_...
 * SAMPLES, DROPS_INPUT   as in forward.cu, for a network of one layer */

struct head_arguments {
    layer_input in;
    const T *weight; /* W (k x n) */
    const T *bias;   /* or NULL */
    loss_arguments loss;
};

/* ==== once for each variant ==== */

extern "C" __global__ void __launch_bounds__(TILE::threads, TILE::resident) KERNEL(head_arguments a)
{
    __shared__ __align__(16) T shared[TILE::shared];
    __shared__ T z[TILE::rows * TILE::cols], e[TILE::rows * TILE::cols];
    __shared__ T x[TILE::rows * TILE::cols];
    __shared__ loss_row row[TILE::rows];
    const int n = a.loss.n, i0 = (int)blockIdx.x * TILE::rows;
    const layer_left<SAMPLES, DROPS_INPUT> left = {a.in, a.in.kept != NULL};
    const by_column right = {a.weight, n};
    T sum[TILE::high][TILE::wide];
    multiply<TILE>(sum, shared, left, right, i0, 0, a.in.m, n, a.in.k);
    for_each_output<TILE>(sum, shared, i0, 0, a.in.m, n, [&](int i, int j, T value) {
        const int at = (i - i0) * TILE::cols + j;
        if (a.bias) value += a.bias[j];
        if (i == 0 && !is_finite(value)) a.loss.control->suspect = 1;
        z[at] = activate(ACTIVATIONS, 0, value, a.loss.option);
        x[at] = PREACT ? value : z[at];
    });
    __syncthreads();
    lose_rows<TILE::rows, TILE::threads>(LOSS, ACTIVATIONS, a.loss, row, i0, z, e, x, TILE::cols);
}

/* H = f(X W + b) of a dense layer, then the dropouts behind it.
 *
 * TILE         the tile of a block
 * ACTIVATIONS  the bit of the layer's activation
 * SAMPLES      0: X is a matrix; 1, 2: samples, numbers or bytes
 * DROPS_INPUT  0 or 1: dropouts in front of the first layer
 * DROPS        0 or 1: dropouts behind the layer */

struct forward_arguments {
    layer_input in;
    const T *weight; /* W (k x n) */
    const T *bias;   /* or NULL */
    T *preact;       /* A (m x n), or NULL where f' needs H alone */
    T *out;          /* H (m x n) */
    T *dropped;      /* with dropouts: H after them */
    const dropout *dropouts;
    int n_dropouts;
    int n;
    T option; /* of the activation */
};

/* ==== once for each variant ==== */

extern "C" __global__ void __launch_bounds__(TILE::threads, TILE::resident)
    KERNEL(forward_arguments a)
{
    __shared__ __align__(16) T shared[TILE::shared];
    const int across = (a.n + TILE::cols - 1) / TILE::cols;
    const int i0 = (int)blockIdx.x / across * TILE::rows;
    const int j0 = (int)blockIdx.x % across * TILE::cols;
    const layer_left<SAMPLES, DROPS_INPUT> left = {a.in, a.in.kept && j0 == 0};
    const by_column right = {a.weight, a.n};
    control_block *const c = a.in.control;
    T sum[TILE::high][TILE::wide];
    multiply<TILE>(sum, shared, left, right, i0, j0, a.in.m, a.n, a.in.k);
    for_each_output<TILE>(sum, shared, i0, j0, a.in.m, a.n, [&](int i, int j, T x) {
        const unsigned to = at(i, a.n, j);
        if (a.bias) x += a.bias[j];
        if (i == 0 && !is_finite(x)) c->suspect = 1;
        if (a.preact) a.preact[to] = x;
        x = activate(ACTIVATIONS, 0, x, a.option);
        a.out[to] = x;
        if (DROPS) a.dropped[to] = drop(x, a.dropouts, a.n_dropouts, c->step + a.in.ahead, i, j);
    });
}

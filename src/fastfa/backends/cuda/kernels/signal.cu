/* D of hidden layers: the signal S = source x matrix, then what the block's dropouts and activation
 * make of it. One launch has tiles of one or more layers.
 *
 * TILE         the tile of a block
 * SIGNALS      bits of the kinds that occur: 1 << SIGNAL_...
 * ACTIVATIONS  bits of the activations that occur
 * DROPS        0 or 1: whether a layer has dropouts
 * LEARNS       0 or 1: whether feedback of a layer learns */

enum {
    SIGNAL_product,    /* the source as it is: dfa, fa, drtp with target rows */
    SIGNAL_sign,       /* its signs: sdfa */
    SIGNAL_ternary,    /* its signs where it exceeds the threshold: ternary */
    SIGNAL_label,      /* the row of the matrix that the label names: drtp */
    SIGNAL_transposed, /* the matrix is (n x k): the weights above, backprop and frozen */
    SIGNAL_signs,      /* the matrix has the signs of the weights above: usf, frsf, brsf */
    SIGNAL_plus        /* as transposed, and `add` times x is added, before dropouts go forward */
};

struct signal {
    const T *source; /* (m x k): e, Y or the delta above; with SIGNAL_label NULL */
    const T *matrix; /* (k x n), or (n x k); with SIGNAL_signs sizes (k x n), or NULL */
    const T *weight; /* with SIGNAL_signs: the weights above (n x k) */
    const int *label;
    const T *x; /* what f' is computed from: H or A (m x n); with SIGNAL_plus what is added */
    T *delta;   /* D (m x n), without sample weights */
    const dropout *dropouts;
    int n_dropouts;
    int k;
    int n;
    int kind;
    int activation;
    int exact;  /* 0: inject="pre": no f', and of dropouts the masks alone */
    int learns; /* 1: the matrix may become infinite, as weights may */
    T threshold;
    T option; /* of the activation */
    T size;   /* with SIGNAL_signs and no sizes: that of all entries */
    T add;
};

struct signal_arguments {
    control_block *control;
    const signal *layers;
    const tile_of *tiles; /* of each block */
    int m;
    int ahead;
};

/* ==== once for each variant ==== */

struct KERNEL_source {
    const T *of;
    int stride;
    int kind;
    T threshold;
    enum { by_p = 1 };
    __device__ __forceinline__ T operator()(int i, int p) const
    {
        const T x = of[at(i, stride, p)];
        if (SIGNALS >> SIGNAL_sign & 1 && kind == SIGNAL_sign) return fa_sign(x).x;
        if (SIGNALS >> SIGNAL_ternary & 1 && kind == SIGNAL_ternary)
            return (T)((x > threshold) - (x < -threshold));
        return x;
    }
};

/* Feedback with the signs of weights */
struct KERNEL_signs {
    const signal &s;
    enum { by_p = 1 };
    __device__ __forceinline__ T operator()(int j, int p) const
    {
        T size = s.size;
        if (s.matrix) size = s.matrix[at(p, s.n, j)];
        if (s.matrix && size < 0) size = -size;
        return fa_with_sign(size, s.weight[at(j, s.k, p)]).x;
    }
};

extern "C" __global__ void __launch_bounds__(TILE::threads, TILE::resident)
    KERNEL(signal_arguments a)
{
    __shared__ __align__(16) T shared[TILE::shared];
    const tile_of block = a.tiles[blockIdx.x];
    const signal s = a.layers[block.index];
    const int by_rows = SIGNALS & (1 << SIGNAL_transposed | 1 << SIGNAL_plus);
    const int products = SIGNALS & ~by_rows & ~(1 << SIGNAL_label | 1 << SIGNAL_signs);
    const KERNEL_source left = {s.source, s.k, s.kind, s.threshold};
    T sum[TILE::high][TILE::wide];
    if (by_rows >> s.kind & 1) {
        const by_row right = {s.matrix, s.k};
        multiply<TILE>(sum, shared, left, right, block.i0, block.j0, a.m, s.n, s.k);
    } else if (SIGNALS >> SIGNAL_signs & 1 && s.kind == SIGNAL_signs) {
        const KERNEL_signs right = {s};
        multiply<TILE>(sum, shared, left, right, block.i0, block.j0, a.m, s.n, s.k);
    } else if (products && s.kind != SIGNAL_label) {
        const by_column right = {s.matrix, s.n};
        multiply<TILE>(sum, shared, left, right, block.i0, block.j0, a.m, s.n, s.k);
    }
    for_each_output<TILE>(sum, shared, block.i0, block.j0, a.m, s.n, [&](int i, int j, T d) {
        const unsigned to = at(i, s.n, j);
        if (SIGNALS >> SIGNAL_label & 1 && s.kind == SIGNAL_label)
            d = s.matrix[at(s.label[i], s.n, j)];
        if (LEARNS && s.learns && i == 0 && !is_finite(d)) a.control->suspect = 1;
        if (SIGNALS >> SIGNAL_plus & 1 && s.kind == SIGNAL_plus) {
            d += s.add * s.x[to];
            if (DROPS) d = drop(d, s.dropouts, s.n_dropouts, a.control->step + a.ahead, i, j);
            s.delta[to] = d;
            return;
        }
        if (DROPS)
            d = drop_back(d, s.dropouts, s.n_dropouts, s.exact, a.control->step + a.ahead, i, j);
        if (s.exact) d = activate_back(ACTIVATIONS, s.activation, d, s.x[to], s.option);
        s.delta[to] = d;
    });
}

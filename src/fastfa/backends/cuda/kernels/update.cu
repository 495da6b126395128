/* The gradients H^T D of all parameters, and the optimizer's step on them. A block has a tile of a
 * matrix, or some columns of a bias.
 *
 * TILE       the tile of a block
 * OPTIMIZER  OPTIMIZER_...
 * WEIGHTED   0 or 1: whether rows have sample weights
 * LEARNS     0 or 1: whether feedback learns: is among the parameters, or coupled to one */

struct update_arguments {
    control_block *control;
    const parameter *parameters;
    const tile_of *tiles;
    const T *row_weight; /* of each row, or NULL */
    int m;
    int groups; /* factors of a step */
    int ahead;
};

/* ==== once for each variant ==== */

/* A factor of the gradient, (m x stride). weighs: sample weights multiply it. */
struct KERNEL_factor {
    const T *of;
    const T *row_weight;
    int stride;
    int weighs;
    enum { by_p = 0 };
    __device__ __forceinline__ T operator()(int j, int p) const
    {
        const T d = of[at(p, stride, j)];
        return WEIGHTED && weighs ? d * row_weight[p] : d;
    }
};

/* One entry: its gradient is f.mean * sum. A bias adds in another order than a product. */
FA_INLINE void KERNEL_step(const update_arguments &a, const parameter &p, const step_factors &f,
                           int i, int j, T sum, bool bias)
{
    const unsigned to = at(i, p.cols, j);
    if (OPTIMIZER == OPTIMIZER_gradient) {
        p.value[to] = f.mean * sum;
        return;
    }
    if (OPTIMIZER == OPTIMIZER_plain && !(LEARNS && p.coupled)) {
        const T step = f.mean * sum, value = f.keep == 0 ? (T)0 : p.value[to];
        if (f.keep == 0)
            p.value[to] = step;
        else
            p.value[to] = bias ? fma(f.keep, value, step) : fma(f.mean, sum, f.keep * value);
        return;
    }
    step_entry(OPTIMIZER, LEARNS, a.control, a.ahead, p, factors_of(f), i, j, f.mean * sum);
}

/* The sum of column j of D over the rows, in order */
FA_INLINE T KERNEL_column(const update_arguments &a, const KERNEL_factor &right, int j)
{
    T sum = 0;
#pragma unroll 8
    for (int p = 0; p < a.m; p++) sum += right(j, p);
    return sum;
}

extern "C" __global__ void __launch_bounds__(TILE::threads, TILE::resident)
    KERNEL(update_arguments a)
{
    __shared__ __align__(16) T shared[TILE::shared];
    const tile_of block = a.tiles[blockIdx.x];
    const parameter p = a.parameters[block.index];
    const int weighs_left = LEARNS && p.weighs_left;
    const KERNEL_factor right = {p.right, a.row_weight, p.cols, !weighs_left};
    const step_factors &f = a.control->table[(a.control->done + a.ahead) * a.groups + p.group];
    if (stops(a.control, a.ahead)) return;
    if (!p.left) {
        const int j = block.j0 + (int)threadIdx.x;
        if (j < p.cols) KERNEL_step(a, p, f, 0, j, KERNEL_column(a, right, j), true);
        return;
    }
    const KERNEL_factor left = {p.left, a.row_weight, p.rows, weighs_left};
    T sum[TILE::high][TILE::wide];
    multiply<TILE>(sum, shared, left, right, block.i0, block.j0, p.rows, p.cols, a.m);
    for_each_output<TILE>(sum, shared, block.i0, block.j0, p.rows, p.cols,
                          [&](int i, int j, T x) { KERNEL_step(a, p, f, i, j, x, false); });
}

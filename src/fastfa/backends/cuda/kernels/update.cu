/* The gradients H^T D of all parameters, and the optimizer's step on them. A block has a tile of a
 * weight matrix, or some columns of a bias.
 *
 * TILE       the tile of a block
 * OPTIMIZER  OPTIMIZER_...
 * WEIGHTED   0 or 1: whether rows have sample weights */

enum {
    OPTIMIZER_gradient, /* no step: the gradients are what is written */
    OPTIMIZER_plain,    /* sgd without slots */
    OPTIMIZER_sgd,
    OPTIMIZER_rmsprop,
    OPTIMIZER_adam,
    OPTIMIZER_rmsprop_centered,
    OPTIMIZER_adagrad,
    OPTIMIZER_nadam,
    OPTIMIZER_lion
};

struct parameter {
    T *value;       /* (rows x cols) */
    T *slot0;       /* or NULL */
    T *slot1;       /* or NULL */
    T *slot2;       /* or NULL */
    const T *left;  /* H (m x rows); NULL: ones, for a bias */
    const T *right; /* D (m x cols), without sample weights */
    int rows;
    int cols;
    int group; /* of the factors */
    int unused;
};

struct update_arguments {
    control_block *control;
    const parameter *parameters;
    const tile_of *tiles;
    const T *row_weight; /* of each row, or NULL */
    int m;
    int groups; /* factors of a step */
    int ahead;
};

/* The factors of csrc/kernels/optimizer.inc */
FA_INLINE fa_factors factors_of(const step_factors &f)
{
    fa_factors all;
    all.lr = f.lr;
    all.momentum = f.momentum;
    all.alpha = f.alpha;
    all.beta2 = f.beta2;
    all.eps = f.eps;
    all.decay = f.decay;
    all.keep = f.keep;
    all.g_scale = f.g_scale;
    all.one_alpha = f.one_alpha;
    all.one_beta1 = f.one_beta1;
    all.one_beta2 = f.one_beta2;
    all.bias2 = f.bias2;
    all.lr_g = f.lr_g;
    all.nesterov = f.nesterov != 0;
    return all;
}

/* ==== once for each variant ==== */

struct KERNEL_right {
    const T *of;
    const T *row_weight;
    int stride;
    enum { by_p = 0 };
    __device__ __forceinline__ T operator()(int j, int p) const
    {
        const T d = of[at(p, stride, j)];
        return WEIGHTED ? d * row_weight[p] : d;
    }
};

/* One entry: its gradient is f.mean * sum. A bias adds in another order than a product. */
FA_INLINE void KERNEL_step(const update_arguments &a, const parameter &p, const step_factors &f,
                           unsigned to, T sum, bool bias)
{
    if (OPTIMIZER == OPTIMIZER_gradient) {
        p.value[to] = f.mean * sum;
        return;
    }
    if (OPTIMIZER == OPTIMIZER_plain) {
        const T step = f.mean * sum, value = f.keep == 0 ? (T)0 : p.value[to];
        if (f.keep == 0)
            p.value[to] = step;
        else
            p.value[to] = bias ? fma(f.keep, value, step) : fma(f.mean, sum, f.keep * value);
        return;
    }
    const fa_factors factors = factors_of(f);
    fa_entries x = {p.value[to], 0, 0, 0};
    if (p.slot0) x.s0 = p.slot0[to];
    if (p.slot1) x.s1 = p.slot1[to];
    if (OPTIMIZER == OPTIMIZER_rmsprop_centered && p.slot2) x.s2 = p.slot2[to];
    const V g = f.mean * sum;
    if (OPTIMIZER == OPTIMIZER_sgd) fa_sgd_step(&x, g, &factors);
    if (OPTIMIZER == OPTIMIZER_rmsprop) fa_rmsprop_step(&x, g, &factors);
    if (OPTIMIZER == OPTIMIZER_adam) fa_adam_step(&x, g, &factors);
    if (OPTIMIZER == OPTIMIZER_rmsprop_centered) fa_rmsprop_centered_step(&x, g, &factors);
    if (OPTIMIZER == OPTIMIZER_adagrad) fa_adagrad_step(&x, g, &factors);
    if (OPTIMIZER == OPTIMIZER_nadam) fa_nadam_step(&x, g, &factors);
    if (OPTIMIZER == OPTIMIZER_lion) fa_lion_step(&x, g, &factors);
    p.value[to] = x.w.x;
    if (p.slot0) p.slot0[to] = x.s0.x;
    if (p.slot1) p.slot1[to] = x.s1.x;
    if (OPTIMIZER == OPTIMIZER_rmsprop_centered && p.slot2) p.slot2[to] = x.s2.x;
    if (!is_finite(x.w.x) || !is_finite(x.s0.x) || !is_finite(x.s1.x))
        a.control->ruined = (int)(a.control->done + a.ahead + 1);
}

/* The sum of column j of D over the rows, in order */
FA_INLINE T KERNEL_column(const update_arguments &a, const KERNEL_right &right, int j)
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
    const KERNEL_right right = {p.right, a.row_weight, p.cols};
    const step_factors &f = a.control->table[(a.control->done + a.ahead) * a.groups + p.group];
    if (stops(a.control, a.ahead)) return;
    if (!p.left) {
        const int j = block.j0 + (int)threadIdx.x;
        if (j < p.cols) KERNEL_step(a, p, f, j, KERNEL_column(a, right, j), true);
        return;
    }
    const by_column left = {p.left, p.rows};
    T sum[TILE::high][TILE::wide];
    multiply<TILE>(sum, shared, left, right, block.i0, block.j0, p.rows, p.cols, a.m);
    for_each_output<TILE>(sum, shared, block.i0, block.j0, p.rows, p.cols, [&](int i, int j, T x) {
        KERNEL_step(a, p, f, at(i, p.cols, j), x, false);
    });
}

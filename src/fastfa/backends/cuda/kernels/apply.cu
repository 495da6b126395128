/* The optimizer's step where gradients are clipped: they are there, and so is their norm.
 *
 * OPTIMIZER  OPTIMIZER_...
 * LEARNS     0 or 1: whether a parameter is coupled to feedback */

enum { APPLY_rows = 8, APPLY_cols = 128 }; /* entries of a block, which has APPLY_cols threads */

struct clipped {
    parameter of;
    const T *gradient; /* (rows x cols) */
};

struct apply_arguments {
    control_block *control;
    const clipped *parameters;
    const tile_of *tiles;
    int groups; /* factors of a step */
    int ahead;
};

/* ==== once for each variant ==== */

extern "C" __global__ void __launch_bounds__(APPLY_cols, 4) KERNEL(apply_arguments a)
{
    const tile_of block = a.tiles[blockIdx.x];
    const clipped one = a.parameters[block.index];
    const parameter &p = one.of;
    control_block *const c = a.control;
    if (stops(c, a.ahead)) return;
    fa_factors factors = factors_of(c->table[(c->done + a.ahead) * a.groups + p.group]);
    factors.g_scale = c->g_scale;
    const int j = block.j0 + (int)threadIdx.x;
    const int end = block.i0 + APPLY_rows < p.rows ? block.i0 + APPLY_rows : p.rows;
    if (j >= p.cols) return;
    for (int i = block.i0; i < end; i++)
        step_entry(OPTIMIZER, LEARNS, c, a.ahead, p, factors, i, j, one.gradient[at(i, p.cols, j)]);
}

/* The end of a captured graph: the control block moves on by its steps. One thread. */

struct advance_arguments {
    control_block *control;
    int64_t rows;
    int steps;
};

/* ==== once for each variant ==== */

extern "C" __global__ void KERNEL(advance_arguments a)
{
    control_block *c = a.control;
    if (stops(c, a.steps - 1)) return;
    c->row += a.rows;
    c->step += a.steps;
    c->done += a.steps;
}

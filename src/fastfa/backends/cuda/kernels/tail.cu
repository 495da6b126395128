/* The end of a step: its losses are summed in row order. One block. */

struct tail_arguments {
    control_block *control;
    const double *row_loss;
    const double *row_hit;
    int m;
    int ahead;
};

/* ==== once for each variant ==== */

extern "C" __global__ void __launch_bounds__(SUM_threads) KERNEL(tail_arguments a)
{
    double sum[2] = {0, 0};
    sum_rows(sum, a.row_loss, a.row_hit, a.m);
    if (threadIdx.x) return;
    control_block *c = a.control;
    const double loss = sum[0] / a.m;
    if (!stops(c, a.ahead)) {
        c->loss += loss * a.m;
        c->hits += sum[1];
        c->counted++;
    } else if (!c->stopped) {
        c->stopped_loss = loss;
        c->stopped = 1;
    }
}

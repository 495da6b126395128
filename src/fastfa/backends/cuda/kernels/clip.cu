/* The norm of all gradients, from the sums of their tiles in order, and the factor that clips them.
 * One thread. */

struct clip_arguments {
    control_block *control;
    const double *squares; /* of the tiles */
    double most;           /* the norm from which on gradients are clipped */
    int n;
    int ahead;
};

/* ==== once for each variant ==== */

extern "C" __global__ void KERNEL(clip_arguments a)
{
    control_block *c = a.control;
    if (threadIdx.x || stops(c, a.ahead)) return;
    double sum = 0;
#pragma unroll 8
    for (int i = 0; i < a.n; i++) sum += a.squares[i];
    const double norm = sqrt(sum), scale = a.most / (norm + 1e-6);
    c->g_scale = (T)(scale < 1 ? scale : 1);
    if (!(norm - norm == 0)) c->bad_norm = norm != norm ? 2 : 1;
}

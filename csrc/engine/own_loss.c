/* A loss of the user's own: a function that computes losses and errors of rows, on the thread that
 * made the call. */
#include "engine/step.h"

#include <math.h>

static fa_view view(fa_mat m) { return (fa_view){m.p, m.ld, m.rows, m.cols}; }

static bool fill(const fa_run *run, fa_mat e, double *row_loss, fa_mat z, fa_rows rows)
{
    const fa_net *net = run->net;
    if (!net->own_loss || atomic_load(&run->work->loss_failed)) return false;
    const fa_loss_context t = {
        .net = net,
        .output = view(z),
        .labels = run->labels ? run->labels + rows.r0 : NULL,
        .target = run->labels ? (fa_view){0} : view(fa_get(run, FA_TARGET, rows)),
        .losses = row_loss,
        .error = view(e),
    };
    const unsigned ours = fa_fp_pause();
    const int failed = net->own_loss(net->own_loss_user, &t);
    fa_fp_resume(ours);
    return !failed;
}

void fa_ask_own_loss(const fa_run *run, fa_mat e, double *row_loss, double *hit, fa_mat z,
                     fa_rows rows)
{
    const fa_net *net = run->net;
    const int64_t *labels = run->labels ? run->labels + rows.r0 : NULL;
    const fa_mat y = fa_get(run, FA_TARGET, rows);
    if (e.p != z.p) /* hits; its losses and errors are overwritten */
        net->k->mse(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols);
    if (fill(run, e, row_loss, z, rows)) return;
    atomic_store(&run->work->loss_failed, true);
    for (int64_t r = 0; r < e.rows; r++) row_loss[r] = NAN;
}

fa_status fa_own_loss_status(const fa_run *run)
{
    if (!atomic_load(&run->work->loss_failed)) return FA_OK;
    return fa_fail(FA_E_STATE, "loss 'custom': expected %s; nothing was updated",
                   run->net->own_loss ? "a function that succeeds, its call failed"
                                      : "a function from fa_net_set_loss, got none");
}

bool fa_deltas_are_serial(const fa_net *net)
{
    bool heads = net->chunk_rule != NULL;
    for (int b = 0; b < net->n_blocks - 1; b++)
        heads |= (net->blocks[b].rule.sources & FA_FROM_SELF) != 0;
    return heads && fa_has_own_loss(net);
}

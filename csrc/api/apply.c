/* The optimizer's step on gradients that the caller gives. */
#include "api/api.h"

/* A parameter that trains needs its gradient; feedback that learns keeps its values without one. */
static fa_status check_one(const fa_net *net, const fa_param *p, const void *g)
{
    int64_t row, col;
    if (!p->trainable && g)
        return fa_fail(FA_E_VALUE, "gradients: %s: expected none, got one; it does not train",
                       p->key);
    if (p->trainable && !g && p->kind != FA_FEEDBACK)
        return fa_fail(FA_E_VALUE, "gradients: %s: expected a gradient, got none", p->key);
    if (!g || !fa_find_nonfinite(net, g, p->cols, p->rows, p->cols, &row, &col)) return FA_OK;
    return fa_fail(FA_E_VALUE,
                   "gradients: %s: expected finite numbers, got %g at row %lld, column %lld",
                   p->key, fa_value_shown(fa_value_at(net, g, row * p->cols + col)), (long long)row,
                   (long long)col);
}

fa_status fa_apply_gradients(fa_net *net, const void *const *grads)
{
    FA_FIXED_FP(true);
    FA_REQUIRE(net);
    FA_REQUIRE(grads);
    for (int i = 0; i < net->n_params; i++) FA_TRY(check_one(net, &net->params[i], grads[i]));
    fa_call call = {.writes = true, .n_work = 1, .entries = -1};
    FA_TRY(fa_call_begin(&call, net, 1));
    fa_state *state = fa_state_of(net);
    fa_run run = {.net = net,
                  .work = call.work[0],
                  .mode = FA_TRAIN,
                  .m = 1,
                  .count = 1,
                  .step = state->steps,
                  .lr = state->lr};
    fa_status status = fa_check_counts(net, 1, 0);
    if (status == FA_OK) status = fa_check_suspect(net);
    if (status == FA_OK) status = fa_run_apply(&run, (void *const *)grads, call.threads);
    if (status == FA_OK) state->steps++;
    if (status == FA_OK) status = fa_check_suspect(net);
    fa_call_end(&call);
    return status;
}

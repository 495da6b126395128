/* custom: a function of the user computes S_l, once a step, between the forward pass of all rows
 * and their deltas. The engine does the rest: f', masks, gradients, optimizer. */
#include "rules/rules.h"

typedef struct state {
    fa_buf buffer; /* S_l, which the user's function fills */
} state;
static fa_buf signal_buffer(const fa_rule *rule) { return ((const state *)rule->state)->buffer; }

static fa_status plan(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    if (!b->rule.desc.signal)
        return fa_fail(FA_E_VALUE, "layer %d: rule 'custom': signal: expected a function, got NULL",
                       b->first);
    FA_TRY(fa_plan_private(net, &b->rule.state, sizeof(state)));
    ((state *)b->rule.state)->buffer = fa_plan_buffer(net, fa_block_width(net, block), net->esize);
    const fa_init *feedback = &b->rule.desc.feedback;
    return feedback->name || feedback->values ? fa_plan_feedback(net, block, net->n_out) : FA_OK;
}

static void signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                   int worker)
{
    (void)block, (void)worker;
    const fa_mat filled = fa_get(run, signal_buffer(rule), part.rows);
    run->net->k->gather(s.p, s.ld, filled.p, filled.ld, NULL, s.rows, s.cols, 1);
}

static fa_view view(const fa_run *run, fa_buf b)
{ return (fa_view){run->buf[b].p, run->buf[b].ld, run->m, run->buf[b].cols}; }

fa_view fa_rule_context_output(const fa_rule_context *t, int64_t block)
{
    const fa_run *run = t->run;
    if (block < 0 || block >= run->net->n_blocks) return view(run, FA_INPUT);
    return view(run, run->net->layers[run->net->blocks[block].last].out);
}

/* While a callback of this thread runs: its network, and a copy of the packing buffer of its step.
 * A copy, because a callback that leaves by longjmp would leave a pointer to a stack that is
 * gone. */
static _Thread_local struct callback {
    const fa_net *net;
    fa_packed_b packed_b;
} callback;

extern const fa_rule_ops fa_rule_custom;

/* Calls the user's functions for the signals, from the top layer down. */
static fa_status after_forward(fa_run *run)
{
    const fa_net *net = run->net;
    for (int b = net->n_blocks - 2; b >= 0; b--) {
        const fa_rule *rule = &net->blocks[b].rule;
        if (rule->ops != &fa_rule_custom || !net->blocks[b].needs_delta) continue;
        const fa_rule_context t = {
            .net = net,
            .run = run,
            .block = b,
            .step = (int64_t)run->step,
            .labels = run->labels,
            .error = view(run, net->blocks[net->n_blocks - 1].delta),
            .signal = view(run, signal_buffer(rule)),
            .target = run->labels ? (fa_view){0} : view(run, FA_TARGET),
        };
        const struct callback before = callback;
        callback = (struct callback){net, fa_packing_buffer(run, 0)};
        const unsigned ours = fa_fp_pause();
        const int failed = rule->desc.signal(rule->desc.user, &t);
        fa_fp_resume(ours);
        callback = before;
        if (failed)
            return fa_fail(FA_E_STATE,
                           "layer %d: rule 'custom': its function failed (%d); nothing was updated",
                           net->blocks[b].first, failed);
    }
    return FA_OK;
}

fa_status fa_multiply(void *c, const fa_net *net, const void *a, ptrdiff_t lda, const void *b,
                      ptrdiff_t ldb, int64_t rows, int64_t k, int64_t cols)
{
    FA_REQUIRE(c);
    FA_REQUIRE(net);
    FA_REQUIRE(a);
    FA_REQUIRE(b);
    if (rows < 0 || k < 0 || cols < 0)
        return fa_fail(FA_E_VALUE, "rows, k, cols: expected numbers >= 0, got %lld, %lld, %lld",
                       (long long)rows, (long long)k, (long long)cols);
    FA_FIXED_FP(true);
    fa_packed_b packed_b = callback.net == net ? callback.packed_b : (fa_packed_b){0};
    const fa_mat all_c = {c, cols, rows, cols}, all_a = {(char *)a, lda, rows, k};
    /* With BLAS the bits of a row depend on the number of rows: use the chunks of a step. */
    const int64_t chunk = net->blas ? FA_BLAS_CHUNK : rows;
    for (int64_t r = 0; r < rows; r += chunk) {
        const fa_rows part = {r, r + chunk < rows ? r + chunk : rows};
        fa_matmul(&net->linalg, fa_rows_of(all_c, part, net->esize),
                  fa_rows_of(all_a, part, net->esize), (fa_mat){(char *)b, ldb, k, cols}, NULL,
                  &packed_b);
    }
    return FA_OK;
}

const fa_rule_ops fa_rule_custom = {
    .name = "custom",
    .sources = FA_FROM_ERROR,
    .no_sequences = true,
    .plan = plan,
    .signal = signal,
    .after_forward = after_forward,
};

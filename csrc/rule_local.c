/* Local losses: each hidden layer has a prediction head of its own and learns from that head's loss alone
 * ("pred" of Nokland and Eidnes 2019; with a fixed head, learning by a fixed random classifier).
 *   z_l = H_l M_l + c_l,  e_l = dloss_i/dz_l,  S_l = e_l M_l^T        M_l n_l x n_L, H_l the block's output
 * The loss is the network's, on z itself. The head learns like an output layer, from H_l^T e_l. */
#include "internal.h"

#include <math.h>

static size_t panel_size(const fa_net *net)
{ return (fa_matmul_nt_scratch(net, net->n_out) + 63) & ~(size_t)63; }

static fa_status check(const fa_block *b)
{
    const fa_rule_desc *d = &b->rule.desc;
    if (!(d->lr_scale >= 0) || !isfinite(d->lr_scale))
        return fa_fail(FA_E_VALUE,
                       "layer %d: rule 'local': lr_scale: expected a number >= 0, got %g", b->first,
                       d->lr_scale);
    if (!d->feedback.values && !fa_feedback_is_plain(&b->rule))
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: rule 'local' draws its head whole: expected uniform, "
                       "normal, an initialiser or values",
                       b->first);
    return FA_OK;
}

static void learn(fa_net *net, const fa_block *b, fa_param *p, fa_buf left)
{
    p->lr_scale = b->rule.desc.lr_scale == 0 ? 1 : b->rule.desc.lr_scale;
    if (b->layer->desc.trainable && !b->rule.desc.fixed_head)
        fa_plan_trained(net, p, left, b->rule.projected);
}

static fa_status plan(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    const int64_t n = b->layer->n_out, c = net->n_out;
    FA_TRY(check(b));
    FA_TRY(fa_feedback_check(net, block, c, n));
    b->rule.projected = fa_plan_buffer(net, c, net->esize);
    b->rule.head = fa_plan_param(net, "head.weight", b->first, FA_WEIGHT, n, c);
    b->rule.head_bias = fa_plan_param(net, "head.bias", b->first, FA_BIAS, 1, c);
    learn(net, b, b->rule.head, net->layers[b->last].out);
    learn(net, b, b->rule.head_bias, FA_ONES);
    fa_plan_scratch(net, panel_size(net) + 2 * FA_CHUNK * sizeof(double));
    net->has_local_head = true;
    net->work_per_row += 3 * (double)n * (double)c;
    return FA_OK;
}

static fa_mat head_of(const fa_rule *rule)
{ return (fa_mat){rule->head->value, rule->head->cols, rule->head->rows, rule->head->cols}; }

/* e_l of the head, in the buffer that holds it until the update. */
static fa_mat head_error(const fa_rule *rule, const fa_run *run, int block, fa_rows rows,
                         int worker)
{
    const fa_net *net = run->net;
    const fa_mat e = fa_get(run, rule->projected, rows);
    double *loss = (double *)((char *)fa_scratch(run, worker) + panel_size(net));
    const fa_epilogue epilogue = {.bias = rule->head_bias->value,
                                  .nonfinite = fa_nonfinite_flag(run)};
    fa_packed_b right = fa_packing_buffer(run, worker);
    fa_matmul(net, e, fa_get(run, net->layers[net->blocks[block].last].out, rows), head_of(rule),
              &epilogue, &right);
    fa_count(run, &net->count_forward, rows.r0 == 0);
    net->loss->error(net->k, e, loss, loss + FA_CHUNK, e,
                     run->labels ? run->labels + rows.r0 : NULL, fa_get(run, FA_TARGET, rows));
    for (int64_t r = rows.r0; r < rows.r1; r++) /* a head that overflows stops the step */
        if (!isfinite(loss[r - rows.r0])) run->row_loss[r] = loss[r - rows.r0];
    return e;
}

static void signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                   int worker)
{
    const fa_mat e = head_error(rule, run, block, part.rows, worker);
    fa_matmul_nt(run, s, e, head_of(rule), worker);
    fa_count(run, &run->net->count_feedback, fa_is_first(part));
}

static void matrix(const fa_net *net, int block, void *out)
{
    const fa_mat m = head_of(&net->blocks[block].rule);
    net->k->transpose(out, m.rows, m.p, m.ld, m.rows, m.cols);
}

const fa_rule_ops fa_rule_local = {
    .name = "local", .sources = FA_FROM_SELF, .plan = plan, .signal = signal, .matrix = matrix};

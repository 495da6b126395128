/* Indirect feedback alignment (Nokland 2016): the error teaches only the lowest hidden layer; its
 * delta goes up through the forward weights.
 *   ifa    S_1 = e B_1;  S_l = d_{l-1} W_l above it */
#include "rules/rules.h"

static fa_status plan(fa_net *net, int block)
{
    fa_rule *rule = &net->blocks[block].rule;
    if (block == 0) return fa_plan_fixed_feedback(net, block, net->n_out);
    rule->sources = FA_FROM_BELOW;
    return FA_OK;
}

static void signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                   int worker)
{
    if (block == 0) {
        fa_broadcast_signal(rule, run, block, part, s, worker);
        return;
    }
    const fa_param *p = run->net->blocks[block].layer->weight;
    const fa_mat w = {p->value, p->cols, p->rows, p->cols};
    const fa_mat below = fa_get(run, run->net->blocks[block - 1].delta, part.rows);
    const fa_epilogue epilogue = fa_signal_epilogue(run, block, part);
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    fa_matmul(p->linalg, s, below, fa_columns_of(w, part.c0, part.c1, run->net->esize), &epilogue,
              &packed_b);
    fa_count(run, &run->net->count_feedback, fa_is_first(part));
}

static int64_t matrix_rows(const fa_net *net, int block)
{ return block == 0 ? 0 : net->blocks[block].layer->n_in; }

static void matrix(const fa_net *net, int block, void *out)
{
    const fa_param *w = net->blocks[block].layer->weight;
    net->k->gather(out, w->cols, w->value, w->cols, NULL, w->rows, w->cols, 1);
}

const fa_rule_ops fa_rule_ifa = {.name = "ifa",
                                 .sources = FA_FROM_ERROR,
                                 .no_sequences = true,
                                 .no_pre = true,
                                 .dense_only =
                                     "it sends deltas upwards, and has no form for patches",
                                 .columns = true,
                                 .product = true,
                                 .plan = plan,
                                 .signal = signal,
                                 .rows = matrix_rows,
                                 .matrix = matrix};

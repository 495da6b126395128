/* Chain rules: S_l = d_{l+1} times a transport matrix.
 *   backprop   exact W_{l+1}^T                       (Rumelhart, Hinton and Williams 1986)
 *   fa         fixed random B_l, n_{l+1} x n_l       (Lillicrap et al. 2016)
 *   frozen     no update; a chain rule below gets the signal as under backprop */
#include "rules/rules.h"

#include <stddef.h>

static fa_mat delta_above(const fa_run *run, int block, fa_rows rows)
{ return fa_get(run, run->net->blocks[block + 1].delta, rows); }

static void exact_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                         int worker)
{
    (void)rule;
    const fa_layer *above = run->net->blocks[block + 1].layer;
    above->ops->transport(above, run, part, delta_above(run, block, part.rows), s, worker);
}

static int64_t exact_rows(const fa_net *net, int block)
{ return fa_weight_above(net, block)->cols; }

static void exact_matrix(const fa_net *net, int block, void *out)
{
    const fa_param *w = fa_weight_above(net, block);
    net->k->transpose(out, w->rows, w->value, w->cols, w->rows, w->cols);
}

static fa_status fa_plan(fa_net *net, int block)
{
    if (net->blocks[block + 1].layer->ops->carry) /* it takes the matrix with its zeros */
        return fa_plan_feedback(net, block, fa_weight_above(net, block)->cols);
    return fa_plan_fixed_feedback(net, block, fa_weight_above(net, block)->cols);
}

void fa_chain_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                     int worker)
{
    (void)rule;
    const fa_layer *above = run->net->blocks[block + 1].layer;
    const fa_mat d = delta_above(run, block, part.rows);
    if (!above->ops->carry) {
        fa_feedback_product(run, block, part, d, s, worker);
        return;
    }
    above->ops->carry(above, run, d, fa_feedback_of(run, block), s, worker);
    fa_count(run, &run->net->count_feedback, fa_is_first(part));
}

const fa_rule_ops fa_rule_backprop = {.name = "backprop",
                                      .sources = FA_FROM_ABOVE,
                                      .columns = true,
                                      .signal = exact_signal,
                                      .rows = exact_rows,
                                      .matrix = exact_matrix};
const fa_rule_ops fa_rule_fa = {.name = "fa",
                                .sources = FA_FROM_ABOVE,
                                .columns = true,
                                .plan = fa_plan,
                                .product = true,
                                .signal = fa_chain_signal};
const fa_rule_ops fa_rule_frozen = {.name = "frozen",
                                    .sources = FA_FROM_ABOVE | FA_NO_UPDATE,
                                    .columns = true,
                                    .signal = exact_signal};

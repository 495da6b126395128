/* Sign symmetry: chain rules whose B_l (n_{l+1} x n_l) has the signs of W_{l+1}^T, taken again in
 * each step, sign(0) = 0 (Liao, Leibo and Poggio 2016; the three forms and s as in BioTorch, Sanfiz
 * and Akrout 2021).
 *   usf    B_l = s sign(W^T), s = scale sqrt(2 / (n_l + n_{l+1}))    uniform
 *   frsf   B_l = |R| sign(W^T), R drawn once                         fixed random magnitudes
 *   brsf   B_l = |R_t| sign(W^T), R_t drawn in every step            batchwise random magnitudes */
#include "rules/rules.h"

#include <math.h>

static const fa_layer *above(const fa_net *net, int block) { return net->blocks[block + 1].layer; }

static fa_status plan_drawn(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    b->rule.step_rows = fa_weight_above(net, block)->cols;
    if (b->rule.desc.feedback.values)
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: expected no values, got some; rule '%s' draws its "
                       "magnitudes itself",
                       b->first, b->rule.ops->name);
    if (!fa_feedback_is_plain(&b->rule))
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: expected uniform, normal or an initialiser, whole, got "
                       "other options; rule '%s' draws in every step",
                       b->first, b->rule.ops->name);
    return fa_feedback_check(net, block, b->rule.step_rows, fa_feedback_cols(net, block));
}

static fa_status plan_stored(fa_net *net, int block)
{
    net->blocks[block].rule.step_rows = fa_weight_above(net, block)->cols;
    return fa_plan_feedback(net, block, fa_weight_above(net, block)->cols);
}

/* out = rows of |magnitude| * sign(W^T), or of s * sign(W^T) without magnitudes */
static void take_signs(const fa_net *net, int block, fa_rows rows, fa_mat out,
                       const fa_mat *magnitude, double s)
{
    const fa_param *w = fa_weight_above(net, block);
    net->k->take_signs(
        out.p, out.ld, magnitude ? magnitude->p : NULL, magnitude ? magnitude->ld : 0,
        (const char *)w->value + (size_t)rows.r0 * net->esize, w->cols, out.rows, out.cols, s);
}

static void usf_step_feedback(const fa_rule *rule, const fa_net *net, int block, uint64_t step,
                              fa_rows rows, fa_mat out)
{
    (void)step;
    const fa_layer *layer = above(net, block);
    take_signs(net, block, rows, out, NULL,
               rule->desc.feedback.scale * sqrt(2.0 / (double)(layer->fan_in + layer->fan_out)));
}

static void frsf_step_feedback(const fa_rule *rule, const fa_net *net, int block, uint64_t step,
                               fa_rows rows, fa_mat out)
{
    (void)step;
    const fa_param *b = rule->feedback;
    const fa_mat magnitude = fa_rows_of(fa_param_matrix(b), rows, net->esize);
    take_signs(net, block, rows, out, &magnitude, 0);
}

static void brsf_step_feedback(const fa_rule *rule, const fa_net *net, int block, uint64_t step,
                               fa_rows rows, fa_mat out)
{
    (void)rule;
    fa_draw_feedback_rows(net, block, step, net->blocks[block].rule.step_rows, rows, out);
    take_signs(net, block, rows, out, &out, 0);
}

static int64_t matrix_rows(const fa_net *net, int block)
{ return net->blocks[block].rule.step_rows; }

/* The matrix of the next step. */
static void matrix(const fa_net *net, int block, void *out)
{
    const fa_rule *rule = &net->blocks[block].rule;
    const int64_t rows = rule->step_rows, cols = fa_feedback_cols(net, block);
    rule->ops->step_feedback(rule, net, block, fa_state_of(net)->steps, (fa_rows){0, rows},
                             (fa_mat){out, cols, rows, cols});
}

const fa_rule_ops fa_rule_usf = {.name = "usf",
                                 .sources = FA_FROM_ABOVE,
                                 .columns = true,
                                 .plan = plan_drawn,
                                 .product = true,
                                 .signal = fa_chain_signal,
                                 .rows = matrix_rows,
                                 .matrix = matrix,
                                 .step_feedback = usf_step_feedback};
const fa_rule_ops fa_rule_frsf = {.name = "frsf",
                                  .sources = FA_FROM_ABOVE,
                                  .columns = true,
                                  .plan = plan_stored,
                                  .product = true,
                                  .signal = fa_chain_signal,
                                  .rows = matrix_rows,
                                  .matrix = matrix,
                                  .step_feedback = frsf_step_feedback};
const fa_rule_ops fa_rule_brsf = {.name = "brsf",
                                  .sources = FA_FROM_ABOVE,
                                  .columns = true,
                                  .plan = plan_drawn,
                                  .product = true,
                                  .signal = fa_chain_signal,
                                  .rows = matrix_rows,
                                  .matrix = matrix,
                                  .step_feedback = brsf_step_feedback};

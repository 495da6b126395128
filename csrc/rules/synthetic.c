/* Synthetic gradients that know the targets, cDNI (Jaderberg et al. 2017): a linear model of each
 * hidden layer predicts its signal, and learns from the signal that one exact step down would give.
 *   cdni   S_l = H_l M_l + Y N_l + c_l        M_l n_l x n_l, N_l n_L x n_l, all zero at first
 *          V_l = d_{l+1} W_{l+1}^T, with the d_{l+1} that S_{l+1} gives, or e above the last one
 *          gM_l = H_l^T (S_l - V_l) / m, gN_l = Y^T (S_l - V_l) / m, gc_l the mean of S_l - V_l
 * A layer need not wait for the layers above, but for its own learning it needs the product with
 * W_{l+1}^T, one step later. */
#include "rules/rules.h"

#include <string.h>

enum { DECAY, LR_SCALE };
static const fa_option_row cdni_options[] = {
    [DECAY] = {.name = "decay",
               FA_HALF_OPEN(0, 1),
               .meaning = "share of the model that is lost in a step"},
    [LR_SCALE] = {.name = "lr_scale",
                  .number = 1,
                  FA_MORE_THAN(0),
                  .meaning = "factor on the learning rate of the model"},
    {0}};

typedef struct state {
    fa_param *of_output, *of_target, *bias; /* M_l, N_l, c_l */
    fa_buf target;                          /* Y, with labels as rows of zeros and a one */
} state;
static const state *state_of(const fa_rule *rule) { return rule->state; }

/* A delta is computed where the layer trains, or where the block below reads it; there the model
 * learns. Lower blocks are planned first. */
static bool has_delta(const fa_net *net, int block)
{
    const fa_block *b = &net->blocks[block];
    if (fa_trains(b)) return true;
    return block > 0 && b[-1].rule.sources & FA_FROM_ABOVE && has_delta(net, block - 1);
}

static fa_param *part(fa_net *net, const fa_block *b, const char *name, int64_t rows, int64_t cols,
                      fa_buf left)
{
    fa_param *p = fa_plan_param(net, name, b->first, FA_FEEDBACK, rows, cols);
    p->feedback_decay = fa_option_number(&b->rule, DECAY);
    p->lr_scale = fa_option_number(&b->rule, LR_SCALE);
    fa_plan_learned(b, p, left, b->rule.weighted);
    return p;
}

static fa_status plan(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    const int64_t n = fa_block_width(net, block);
    FA_TRY(fa_plan_private(net, &b->rule.state, sizeof(state)));
    state *own = b->rule.state;
    own->target = fa_plan_buffer(net, net->n_out, net->esize);
    b->rule.weighted = fa_plan_buffer(net, n, net->esize); /* S_l - V_l */
    own->of_output = part(net, b, "feedback.M", n, n, net->layers[b->signal_at].out);
    own->of_target = part(net, b, "feedback.N", net->n_out, n, own->target);
    own->of_target->linalg = &net->linalg; /* adds to a product: float32 */
    own->bias = part(net, b, "feedback.c", 1, n, FA_ONES);
    fa_param *const model[] = {own->of_output, own->of_target, own->bias};
    for (int i = 0; i < 3; i++) model[i]->trainable = has_delta(net, block);
    net->work_per_row += 2 * (double)n * (double)(n + net->n_out);
    return FA_OK;
}

/* Y of rows, as a matrix */
static fa_mat targets(const fa_rule *rule, const fa_run *run, fa_rows rows)
{
    const fa_net *net = run->net;
    const fa_mat y = fa_get(run, state_of(rule)->target, rows);
    if (!run->labels || net->n_out == 1) {
        const fa_mat given = fa_get(run, FA_TARGET, rows);
        net->k->gather(y.p, y.ld, given.p, given.ld, NULL, y.rows, y.cols, 1);
        return y;
    }
    for (int64_t i = 0; i < y.rows; i++) {
        char *const row = y.p + (size_t)(i * y.ld) * net->esize;
        memset(row, 0, (size_t)y.cols * net->esize);
        if (net->dtype == FA_F64)
            ((double *)row)[run->labels[rows.r0 + i]] = 1;
        else
            ((float *)row)[run->labels[rows.r0 + i]] = 1;
    }
    return y;
}

static void predict(const fa_rule *rule, const fa_run *run, int block, fa_rows rows, fa_mat s,
                    int worker)
{
    const fa_net *net = run->net;
    const state *own = state_of(rule);
    const fa_epilogue bias = {.bias = own->bias->value, .nonfinite = fa_nonfinite_flag(run)};
    const fa_epilogue none = {.nonfinite = fa_nonfinite_flag(run)};
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    fa_matmul(own->of_output->linalg, s,
              fa_get(run, net->layers[net->blocks[block].signal_at].out, rows),
              fa_param_matrix(own->of_output), &bias, &packed_b);
    fa_count(run, &net->count_feedback, rows.r0 == 0);
    packed_b = fa_packing_buffer(run, worker);
    fa_matmul_add(&net->linalg, s, targets(rule, run, rows), fa_param_matrix(own->of_target), &none,
                  &packed_b);
    fa_count(run, &net->count_feedback, rows.r0 == 0);
}

static void signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                   int worker)
{
    predict(rule, run, block, part.rows, s, worker);
    if (!state_of(rule)->bias->trainable || (run->mode != FA_TRAIN && run->mode != FA_GRADIENTS))
        return;
    const fa_block *above = &run->net->blocks[block + 1];
    const fa_mat r = fa_get(run, rule->weighted, part.rows);
    above->layer->ops->transport(above->layer, run, part, fa_get(run, above->delta, part.rows), r,
                                 worker);
    run->net->k->add_scaled(r.p, r.ld, s.p, s.ld, r.p, r.ld, r.rows, r.cols, -1);
}

const fa_rule_ops fa_rule_cdni = {.name = "cdni",
                                  .options = cdni_options,
                                  .sources = FA_FROM_ABOVE,
                                  .no_sequences = true,
                                  .plan = plan,
                                  .signal = signal};

/* Difference target propagation (Lee et al. 2015): targets instead of errors go down, through
 * inverses of the layers that learn.
 *   dtp   g_l(H) = f_l(H Q_l + q_l), Q_l n_{l+1} x n_l: an inverse of layer l+1
 *         T_l = H_l - g_l(H_{l+1}) + g_l(T_{l+1}),  S_l = H_l - T_l
 *         T_{l+1} = H_{l+1} - step * d_{l+1} where the layer above is the last or has another rule
 *         Q_l learns to undo the layer above near H_l: with C = H_l + noise,
 *         half of |g_l(f_{l+1}(C W_{l+1} + b_{l+1})) - C|^2, mean over the batch
 * With fixed Q_l it is fixed-weight difference target propagation (Shibuya et al. 2023). */
#include "rules/rules.h"

#include <math.h>

extern const fa_rule_ops fa_rule_dtp;

enum { STEP, NOISE, LR_SCALE, TRAIN };
static const fa_option_row dtp_options[] = {
    [STEP] = {.name = "step",
              .number = 1,
              FA_MORE_THAN(0),
              .meaning = "how far the target of the last layer is from its output, in errors"},
    [NOISE] = {.name = "noise",
               .number = 0.1,
               FA_AT_LEAST(0),
               .meaning = "deviation of the noise around which the inverses learn"},
    [LR_SCALE] = {.name = "lr_scale",
                  .number = 1,
                  FA_MORE_THAN(0),
                  .meaning = "factor on the learning rate of the inverses"},
    [TRAIN] = {.name = "train_feedback",
               .kind = FA_OPTION_FLAG,
               .number = 1,
               FA_CLOSED(0, 1),
               .meaning = "0: the inverses keep their first values"},
    {0}};

typedef struct state {
    fa_param *bias;                 /* q_l */
    fa_buf target, above, residual; /* T_l; f_{l+1} of C; (g_l - C) * f_l' */
} state;
static const state *state_of(const fa_rule *rule) { return rule->state; }

/* ---- the plan ---- */

/* Scratch for a chunk, four matrices as wide as the wider of both layers */
enum { UP, PREACT, INVERSE, CORRUPTED, N_SCRATCH };
static int64_t scratch_width(const fa_net *net, int block)
{
    const int64_t below = fa_block_width(net, block), above = net->blocks[block + 1].layer->n_out;
    return below > above ? below : above;
}

static fa_mat scratch(const fa_run *run, int block, int which, fa_rows rows, int64_t cols,
                      int worker)
{
    const size_t one = FA_CHUNK * (size_t)scratch_width(run->net, block) * run->net->esize;
    char *const p = (char *)fa_scratch(run, worker) + (size_t)which * one;
    return (fa_mat){p, cols, rows.r1 - rows.r0, cols};
}

static fa_status plan(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    const int64_t above = fa_weight_above(net, block)->cols, below = fa_block_width(net, block);
    FA_TRY(fa_check_masks(net, block, block + 1, block + 2));
    FA_TRY(fa_plan_feedback(net, block, above));
    FA_TRY(fa_plan_private(net, &b->rule.state, sizeof(state)));
    state *own = b->rule.state;
    own->bias = fa_plan_param(net, "feedback.q", b->first, FA_FEEDBACK, 1, below);
    own->target = fa_plan_buffer(net, below, net->esize);
    own->above = fa_plan_buffer(net, above, net->esize);
    own->residual = fa_plan_buffer(net, below, net->esize);
    fa_plan_scratch(net, N_SCRATCH * FA_CHUNK * (size_t)scratch_width(net, block) * net->esize);
    fa_param *const inverse[] = {b->rule.feedback, own->bias};
    for (int i = 0; i < 2 && fa_option_number(&b->rule, TRAIN) != 0; i++) {
        inverse[i]->lr_scale = fa_option_number(&b->rule, LR_SCALE);
        fa_plan_learned(b, inverse[i], i ? FA_ONES : own->above, own->residual);
    }
    return FA_OK;
}

/* ---- the step ---- */

/* a = H Q_l + q_l */
static void through_inverse(const fa_rule *rule, const fa_run *run, fa_mat a, fa_mat h, bool first,
                            int worker)
{
    const fa_epilogue bias = {.bias = state_of(rule)->bias->value,
                              .nonfinite = fa_nonfinite_flag(run)};
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    fa_matmul(rule->feedback->linalg, a, h, fa_param_matrix(rule->feedback), &bias, &packed_b);
    fa_count(run, &run->net->count_feedback, first);
}

static void activate(const fa_run *run, const fa_layer *layer, fa_mat h, fa_mat a)
{ run->net->k->act[layer->activation](h.p, h.ld, a.p, a.ld, h.rows, h.cols, layer->f_option); }

/* T_{l+1} */
static fa_mat target_above(const fa_rule *rule, const fa_run *run, int block, fa_rows rows,
                           fa_mat h, int worker)
{
    const fa_block *above = &run->net->blocks[block + 1];
    if (above->rule.ops == &fa_rule_dtp) return fa_get(run, state_of(&above->rule)->target, rows);
    const fa_mat t = scratch(run, block, UP, rows, h.cols, worker),
                 d = fa_get(run, above->delta, rows);
    run->net->k->add_scaled(t.p, t.ld, h.p, h.ld, d.p, d.ld, h.rows, h.cols,
                            -fa_option_number(rule, STEP));
    return t;
}

/* The output of layer l+1 for C in place of H_l, with the masks behind it */
static void forward_above(const fa_run *run, int block, fa_rows rows, fa_mat out, fa_mat c,
                          int worker)
{
    const fa_block *above = &run->net->blocks[block + 1];
    const fa_epilogue bias = {.bias = above->layer->bias ? above->layer->bias->value : NULL};
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    fa_matmul(above->layer->weight->linalg, out, c, fa_param_matrix(above->layer->weight), &bias,
              &packed_b);
    fa_count(run, &run->net->count_forward, rows.r0 == 0);
    activate(run, above->layer, out, out);
    for (int i = above->first + 1; i <= above->last; i++) {
        const fa_layer *layer = &run->net->layers[i];
        layer->ops->backward(layer, run, fa_all_columns(rows, out.cols), out, true, worker);
    }
}

/* What the inverse learns from: its input and the residual at its pre-activation. */
static void learn_inverse(const fa_rule *rule, const fa_run *run, int block, fa_rows rows, fa_mat h,
                          int worker)
{
    const fa_kernels *k = run->net->k;
    const fa_layer *layer = run->net->blocks[block].layer;
    const fa_mat c = scratch(run, block, CORRUPTED, rows, h.cols, worker),
                 a = scratch(run, block, PREACT, rows, h.cols, worker),
                 g = scratch(run, block, INVERSE, rows, h.cols, worker);
    const fa_mat up = fa_get(run, state_of(rule)->above, rows),
                 r = fa_get(run, state_of(rule)->residual, rows);
    fa_draw_noise(run, block, rows, c, sqrt(3) * fa_option_number(rule, NOISE));
    k->add_scaled(c.p, c.ld, h.p, h.ld, c.p, c.ld, c.rows, c.cols, 1);
    forward_above(run, block, rows, up, c, worker);
    through_inverse(rule, run, a, up, rows.r0 == 0, worker);
    activate(run, layer, g, a);
    k->add_scaled(r.p, r.ld, g.p, g.ld, c.p, c.ld, r.rows, r.cols, -1);
    const fa_mat x = fa_activation_flags(layer->activation) & FA_NEEDS_PREACT ? a : g;
    k->dact[layer->activation](r.p, r.ld, x.p, x.ld, r.rows, r.cols, layer->f_option);
}

static void signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                   int worker)
{
    const fa_net *net = run->net;
    const fa_rows rows = part.rows;
    const fa_layer *layer = net->blocks[block].layer;
    const fa_mat h = fa_get(run, net->layers[net->blocks[block].last].out, rows),
                 up = fa_get(run, net->layers[net->blocks[block + 1].last].out, rows);
    const fa_mat target = target_above(rule, run, block, rows, up, worker);
    const fa_mat a = scratch(run, block, PREACT, rows, h.cols, worker),
                 own_target = fa_get(run, state_of(rule)->target, rows);
    through_inverse(rule, run, a, up, rows.r0 == 0, worker);
    activate(run, layer, s, a);
    through_inverse(rule, run, a, target, rows.r0 == 0, worker);
    activate(run, layer, a, a);
    net->k->add_scaled(s.p, s.ld, s.p, s.ld, a.p, a.ld, s.rows, s.cols, -1);
    net->k->add_scaled(own_target.p, own_target.ld, h.p, h.ld, s.p, s.ld, s.rows, s.cols, -1);
    if (fa_learns_from_noise(run, block)) learn_inverse(rule, run, block, rows, h, worker);
}

const fa_rule_ops fa_rule_dtp = {.name = "dtp",
                                 .options = dtp_options,
                                 .sources = FA_FROM_ABOVE,
                                 .no_sequences = true,
                                 .dense_only = "its inverses have no form for the patches of the "
                                               "layer above",
                                 .plan = plan,
                                 .signal = signal};

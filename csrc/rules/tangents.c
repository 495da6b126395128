/* Forward direct feedback alignment (Bacho and Chu 2022): the matrices of dfa learn the Jacobian of
 * the outputs, from tangents that go forward beside the activations.
 *   fdfa   S_l = e B_l,  B_l n_L x n_l
 *          P_l noise of mean 0 and variance 1, m x n_l, at the output of block l
 *          T_1 = P_1,  T_l = (T_{l-1} W_l) * f'(A_l) + P_l,  J = T_{L-1} W_L
 *          gB_l = B_l - J^T P_l / m,  whose mean is B_l - the mean of dA_L/dH_l
 * Tangents begin at the lowest layer that has the rule and trains. */
#include "rules/rules.h"

extern const fa_rule_ops fa_rule_fdfa;

enum { SHARE, LR_SCALE, NORMAL_NOISE };
static const fa_option_row fdfa_options[] = {
    [SHARE] = {.name = "share",
               .number = 0.02,
               FA_CLOSED(0, 1),
               .meaning = "how much of the difference to the newest estimate B takes in a step; 0: "
                          "the optimizer trains B on the difference"},
    [LR_SCALE] = {.name = "lr_scale",
                  .number = 1,
                  FA_MORE_THAN(0),
                  .meaning = "with share 0: factor on the learning rate of B"},
    [NORMAL_NOISE] = {.name = "normal",
                      .kind = FA_OPTION_FLAG,
                      FA_CLOSED(0, 1),
                      .meaning = "the noise is 0: -1 or 1; 1: normal"},
    {0}};

typedef struct state {
    fa_buf noise, jacobian; /* P_l; J, the same buffer in all blocks */
} state;
static const state *state_of(const fa_rule *rule) { return rule->state; }
static bool is_fdfa(const fa_block *b) { return b->rule.ops == &fa_rule_fdfa; }

/* ---- the plan ---- */

/* The buffer of the first block that has one, or a new one */
static fa_buf jacobian_buffer(fa_net *net, int block)
{
    for (int b = 0; b < block; b++)
        if (is_fdfa(&net->blocks[b])) return state_of(&net->blocks[b].rule)->jacobian;
    return fa_plan_buffer(net, net->n_out, net->esize);
}

/* A tangent of one chunk, and the next one. */
static size_t tangent_size(const fa_net *net)
{
    int64_t widest = 0;
    for (int b = 0; b < net->n_blocks - 1; b++)
        if (net->blocks[b].layer->n_out > widest) widest = net->blocks[b].layer->n_out;
    return (size_t)FA_CHUNK * (size_t)widest * net->esize;
}

static fa_status plan(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    FA_TRY(fa_check_masks(net, block, block, net->n_blocks - 1));
    FA_TRY(fa_plan_feedback(net, block, net->n_out));
    FA_TRY(fa_plan_private(net, &b->rule.state, sizeof(state)));
    state *own = b->rule.state;
    own->noise = fa_plan_buffer(net, fa_block_width(net, block), net->esize);
    own->jacobian = jacobian_buffer(net, block);
    fa_plan_scratch(net, 2 * tangent_size(net));
    fa_param *p = b->rule.feedback;
    p->pull = 1, p->gain = -1;
    p->share = fa_option_number(&b->rule, SHARE);
    p->lr_scale = fa_option_number(&b->rule, LR_SCALE);
    fa_plan_learned(b, p, own->jacobian, own->noise);
    return FA_OK;
}

/* ---- the step ---- */

static void draw(const fa_run *run, int block, fa_rows rows, fa_mat noise)
{
    if (fa_option_number(&run->net->blocks[block].rule, NORMAL_NOISE) != 0) {
        fa_draw_normal_noise(run, block, rows, noise);
        return;
    }
    fa_draw_noise(run, block, rows, noise, 1);
    run->net->k->act[FA_ACT_sign](noise.p, noise.ld, noise.p, noise.ld, noise.rows, noise.cols, 0);
}

/* From the pre-activations of a block to its output: f' and masks, as for signals. */
static void through_block(const fa_run *run, int block, fa_rows rows, fa_mat t, int worker)
{
    const fa_block *b = &run->net->blocks[block];
    for (int i = b->first; i <= b->last; i++) {
        const fa_layer *layer = &run->net->layers[i];
        layer->ops->backward(layer, run, fa_all_columns(rows, t.cols), t, true, worker);
    }
}

/* out = T_{l-1} W_l */
static void through_weights(const fa_run *run, int block, fa_mat out, fa_mat below, int worker)
{
    const fa_param *w = run->net->blocks[block].layer->weight;
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    fa_matmul(w->linalg, out, below, fa_param_matrix(w), NULL, &packed_b);
}

static void tangents(const fa_run *run, int lowest, fa_rows rows, int worker)
{
    const fa_net *net = run->net;
    char *const halves[] = {fa_scratch(run, worker),
                            (char *)fa_scratch(run, worker) + tangent_size(net)};
    const int top = net->n_blocks - 1;
    const int64_t n = rows.r1 - rows.r0;
    fa_mat below = {0};
    for (int b = lowest; b < top; b++) {
        const int64_t width = net->blocks[b].layer->n_out;
        fa_mat t = {halves[b % 2], width, n, width};
        if (b > lowest) {
            through_weights(run, b, t, below, worker);
            through_block(run, b, rows, t, worker);
            fa_count(run, &net->count_forward, rows.r0 == 0);
        }
        if (is_fdfa(&net->blocks[b]) && fa_learns_from_noise(run, b)) {
            const fa_mat noise = fa_get(run, state_of(&net->blocks[b].rule)->noise, rows);
            draw(run, b, rows, noise);
            if (b > lowest)
                net->k->add_scaled(t.p, t.ld, t.p, t.ld, noise.p, noise.ld, n, width, 1);
            else
                t = noise;
        }
        below = t;
    }
    through_weights(run, top, fa_get(run, state_of(&net->blocks[lowest].rule)->jacobian, rows),
                    below, worker);
    fa_count(run, &net->count_forward, rows.r0 == 0);
}

static void signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                   int worker)
{
    fa_broadcast_signal(rule, run, block, part, s, worker);
    if (!fa_learns_from_noise(run, block)) return;
    for (int b = 0; b < block; b++)
        if (is_fdfa(&run->net->blocks[b]) && fa_learns_from_noise(run, b)) return;
    tangents(run, block, part.rows, worker);
}

const fa_rule_ops fa_rule_fdfa = {.name = "fdfa",
                                  .options = fdfa_options,
                                  .sources = FA_FROM_ERROR,
                                  .no_sequences = true,
                                  .no_pre = true,
                                  .dense_only = "its tangents have no form for patches",
                                  .plan = plan,
                                  .product = true,
                                  .signal = signal};

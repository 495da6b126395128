/* The weight mirror (Akrout et al. 2019): the matrix of fa learns the weights above from noise that
 * this layer sends through them.
 *   wm   S_l = d_{l+1} B_l,  B_l n_{l+1} x n_l
 *        N noise, uniform within +-s, m x n_l
 *        normalised: gB_l = B_l - (N W_{l+1})^T N / (m s^2 / 3),  whose mean is B_l - W_{l+1}^T
 *        published:  gB_l = -Z^T N,  Z = f(N W_{l+1} + b_{l+1}); of the last layer as it predicts
 * A step of B_l is rate * gB_l, without the optimizer. */
#include "rules/rules.h"

enum { RATE, NOISE, NORMALIZE };
static const fa_option_row wm_options[] = {
    [RATE] = {.name = "rate",
              .number = 0.02,
              FA_CLOSED(0, 1),
              .low_excluded = true,
              .meaning = "factor on the step of B"},
    [NOISE] = {.name = "noise",
               .number = 0.05,
               FA_CLOSED(1e-6, 1e6),
               .meaning = "the noise is uniform within +- this number"},
    [NORMALIZE] = {.name = "normalize",
                   .kind = FA_OPTION_FLAG,
                   .number = 1,
                   FA_CLOSED(0, 1),
                   .meaning = "0: the published step, in which B only grows"},
    {0}};

typedef struct state {
    fa_buf noise, answer; /* N; N W_{l+1}, or Z */
    bool normalizes;
} state;
static const state *state_of(const fa_rule *rule) { return rule->state; }

static fa_status plan(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    const int64_t above = fa_weight_above(net, block)->cols;
    FA_TRY(fa_plan_feedback(net, block, above));
    FA_TRY(fa_plan_private(net, &b->rule.state, sizeof(state)));
    state *own = b->rule.state;
    own->noise = fa_plan_buffer(net, fa_block_width(net, block), net->esize);
    own->answer = fa_plan_buffer(net, above, net->esize);
    own->normalizes = fa_option_number(&b->rule, NORMALIZE) != 0;
    const double s = fa_option_number(&b->rule, NOISE);
    fa_param *p = b->rule.feedback;
    p->pull = own->normalizes;
    p->gain = own->normalizes ? -3 / (s * s) : -1;
    p->sums = !own->normalizes;
    p->share = fa_option_number(&b->rule, RATE);
    fa_plan_learned(b, p, own->answer, own->noise);
    return FA_OK;
}

/* What the layer above puts out where it gets noise; the last one as it predicts. */
static void activate(const fa_run *run, int block, fa_mat z)
{
    const fa_net *net = run->net;
    const fa_layer *above = net->blocks[block + 1].layer;
    net->k->act[above->activation](z.p, z.ld, z.p, z.ld, z.rows, z.cols, above->f_option);
    if (block + 1 == net->n_blocks - 1 && net->loss->link) net->loss->link(net->k, z);
}

static void mirror(const fa_rule *rule, const fa_run *run, int block, fa_rows rows, int worker)
{
    const fa_net *net = run->net;
    const state *own = state_of(rule);
    const fa_layer *above = net->blocks[block + 1].layer;
    const fa_mat noise = fa_get(run, own->noise, rows), z = fa_get(run, own->answer, rows);
    const fa_epilogue bias = {.bias = above->bias ? above->bias->value : NULL};
    fa_draw_noise(run, block, rows, noise, fa_option_number(rule, NOISE));
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    fa_matmul(above->weight->linalg, z, noise, fa_param_matrix(above->weight),
              own->normalizes ? NULL : &bias, &packed_b);
    fa_count(run, &net->count_forward, rows.r0 == 0);
    if (!own->normalizes) activate(run, block, z);
}

static void signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                   int worker)
{
    fa_chain_signal(rule, run, block, part, s, worker);
    if (fa_learns_from_noise(run, block)) mirror(rule, run, block, part.rows, worker);
}

const fa_rule_ops fa_rule_wm = {.name = "wm",
                                .options = wm_options,
                                .sources = FA_FROM_ABOVE,
                                .no_sequences = true,
                                .dense_only = "its noise has no form for the patches of the "
                                              "layer above",
                                .plan = plan,
                                .product = true,
                                .signal = signal};

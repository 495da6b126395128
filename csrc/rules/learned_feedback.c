/* Rules whose feedback learns along with the weights.
 *   kp    fa; B_l receives each step of W_{l+1}, transposed, and both decay
 *         (Kolen and Pollack 1994; Akrout et al. 2019)
 *   dkp   dfa; B_l learns from its own outer product e^T H_l     (Webster, Choi and Ahn 2021)
 *   ldfa  S_l = d_{l+1} P Q of low rank; Q learns from (d_{l+1} P)^T H_l
 *         (Hanut and Kadmon 2025); P is fixed, or learns the principal directions of d_{l+1} by
 *         Oja's subspace rule
 *   pfa   S_l = d_{l+1} P R, R learns as Q does; P is fixed, P P^T = 1, and any rank is allowed
 *         (Li and Benna 2024) */
#include "rules/rules.h"

/* Shares of feedback (and with kp of the weights coupled to it) that a step takes away, and factors
 * on learning rates */
#define DECAY(meaning_) {.name = "decay", FA_HALF_OPEN(0, 1), .meaning = meaning_}
#define LR_SCALE(meaning_) {.name = "lr_scale", .number = 1, FA_MORE_THAN(0), .meaning = meaning_}
enum { KP_DECAY };
static const fa_option_row kp_options[] = {
    [KP_DECAY] = DECAY("share of the feedback and of the weights above that is lost in a step"),
    {0}};
enum { DKP_DECAY, DKP_LR_SCALE };
static const fa_option_row dkp_options[] = {
    [DKP_DECAY] = DECAY("share of the feedback that is lost in a step"),
    [DKP_LR_SCALE] = LR_SCALE("factor on the learning rate of the feedback"),
    {0}};
enum { LDFA_RANK, LDFA_DECAY, LDFA_LR_SCALE, LDFA_OJA };
static const fa_option_row ldfa_options[] = {
    [LDFA_RANK] = {.name = "rank",
                   .kind = FA_OPTION_INTEGER,
                   FA_CLOSED(0, INT32_MAX),
                   .meaning =
                       "width between the factors; 0: that of the output, or the narrower of "
                       "the two layers if that is less"},
    [LDFA_DECAY] = DECAY("share of Q that is lost in a step"),
    [LDFA_LR_SCALE] = LR_SCALE("factor on the learning rate of Q"),
    [LDFA_OJA] = {.name = "oja",
                  .number = 0.1,
                  FA_AT_LEAST(0),
                  .zero_if_absent = true,
                  .meaning = "factor on the learning rate of P, which learns by Oja's rule; 0: P "
                             "stays as drawn"},
    {0}};

enum { PFA_RANK, PFA_DECAY, PFA_LR_SCALE };
static const fa_option_row pfa_options[] = {
    [PFA_RANK] = {.name = "rank",
                  .kind = FA_OPTION_INTEGER,
                  FA_CLOSED(0, 65536),
                  .meaning = "width between the factors; 0: that of the layer above"},
    [PFA_DECAY] = DECAY("share of R that is lost in a step"),
    [PFA_LR_SCALE] = LR_SCALE("factor on the learning rate of R"),
    {0}};

typedef struct state { /* of ldfa and pfa, whose R is Q here */
    fa_param *p;       /* P; Q is rule->feedback, T = d P is rule->weighted */
    fa_buf residual;   /* d P P^T - d, if P learns; else FA_NO_BUF */
} state;
static const state *state_of(const fa_rule *rule) { return rule->state; }

/* Makes the network's optimizer train feedback on left^T right. */
static void learn(const fa_block *b, fa_param *p, fa_buf left, fa_buf right, double decay,
                  double lr_scale)
{
    p->feedback_decay = decay;
    p->lr_scale = lr_scale;
    fa_plan_learned(b, p, left, right);
}

static fa_status plan_kp(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    fa_param *above = net->blocks[block + 1].layer->weight;
    FA_TRY(fa_plan_feedback(net, block, above->cols));
    b->rule.feedback->feedback_decay = fa_option_number(&b->rule, KP_DECAY);
    above->coupled = b->rule.feedback;
    return FA_OK;
}

/* Left: the error of each sample, which sample weights have multiplied before the update. Right:
 * the block's output. With one hidden layer this is the transposed gradient of W_L. */
static fa_status plan_dkp(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    FA_TRY(fa_plan_feedback(net, block, net->n_out));
    learn(b, b->rule.feedback, net->blocks[net->n_blocks - 1].delta, net->layers[b->signal_at].out,
          fa_option_number(&b->rule, DKP_DECAY), fa_option_number(&b->rule, DKP_LR_SCALE));
    return FA_OK;
}

/* The width between the factors, if it fits. */
static fa_status ldfa_rank(int64_t *rank, const fa_net *net, int block)
{
    const fa_block *b = &net->blocks[block];
    const fa_layer *above = net->blocks[block + 1].layer;
    const int64_t most = fa_smaller(above->n_out, fa_block_width(net, block));
    *rank = (int64_t)fa_option_number(&b->rule, LDFA_RANK);
    if (*rank == 0) *rank = fa_smaller(net->n_out, most);
    if (*rank <= most) return FA_OK;
    return fa_fail(FA_E_VALUE,
                   "layer %d: rule 'ldfa': rank: expected 1 to %lld, the narrower of layers %d "
                   "and %d, got %lld",
                   b->first, (long long)most, b->first, above->index, (long long)*rank);
}

/* Both factors; `name` is that of the one that learns. */
static fa_status plan_factors(fa_net *net, int block, int64_t rank, const char *name)
{
    fa_block *b = &net->blocks[block];
    const int64_t above = net->blocks[block + 1].layer->n_out, below = fa_block_width(net, block);
    if (!fa_feedback_is_plain(&b->rule))
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: expected uniform, normal or an initialiser, whole, got "
                       "other options; rule '%s' draws its factors",
                       b->first, b->rule.ops->name);
    FA_TRY(fa_feedback_check(net, block, rank, below));
    FA_TRY(fa_plan_private(net, &b->rule.state, sizeof(state)));
    state *own = b->rule.state;
    own->p = fa_plan_param(net, "feedback.P", b->first, FA_FEEDBACK, above, rank);
    own->residual = FA_NO_BUF;
    b->rule.feedback = fa_plan_param(net, name, b->first, FA_FEEDBACK, rank, below);
    b->rule.weighted = fa_plan_buffer(net, rank, net->esize);
    return FA_OK;
}

static fa_status plan_ldfa(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    const double oja = fa_option_number(&b->rule, LDFA_OJA);
    int64_t rank;
    FA_TRY(ldfa_rank(&rank, net, block));
    FA_TRY(plan_factors(net, block, rank, "feedback.Q"));
    learn(b, b->rule.feedback, b->rule.weighted, net->layers[b->last].out,
          fa_option_number(&b->rule, LDFA_DECAY), fa_option_number(&b->rule, LDFA_LR_SCALE));
    if (oja == 0) return FA_OK;
    state *own = b->rule.state;
    own->residual = fa_plan_buffer(net, net->blocks[block + 1].layer->n_out, net->esize);
    fa_plan_scratch(net, fa_matmul_nt_scratch(&net->linalg, rank));
    learn(b, own->p, own->residual, b->rule.weighted, 0, oja);
    return FA_OK;
}

static fa_status plan_pfa(fa_net *net, int block)
{
    const fa_block *b = &net->blocks[block];
    int64_t rank = (int64_t)fa_option_number(&b->rule, PFA_RANK);
    if (rank == 0) rank = net->blocks[block + 1].layer->n_out;
    FA_TRY(plan_factors(net, block, rank, "feedback.R"));
    learn(b, b->rule.feedback, b->rule.weighted, net->layers[b->last].out,
          fa_option_number(&b->rule, PFA_DECAY), fa_option_number(&b->rule, PFA_LR_SCALE));
    return FA_OK;
}

static size_t ldfa_sampling(const fa_rule *rule)
{ return (size_t)state_of(rule)->p->rows * (size_t)state_of(rule)->p->cols; }

/* P has orthonormal columns: d P P^T is a projection, never larger than d. With more columns than
 * rows its rows are orthonormal: d P P^T is d. */
static void ldfa_draw(const fa_net *net, int block)
{
    const int ordinal = net->blocks[block].layer->ordinal;
    fa_draw_orthonormal(net, state_of(&net->blocks[block].rule)->p,
                        fa_rng_stream(net->seed, FA_RNG_PROJECTION, ordinal, 0));
}

static int64_t ldfa_rows(const fa_net *net, int block)
{ return state_of(&net->blocks[block].rule)->p->rows; }

/* Oja residual r = d P P^T - d, with T = d P; the gradient of P is r^T T. */
static void oja_residual(const fa_rule *rule, const fa_run *run, fa_rows rows, fa_mat d, fa_mat t,
                         int worker)
{
    const fa_net *net = run->net;
    const fa_mat r = fa_get(run, state_of(rule)->residual, rows);
    fa_run_matmul_nt(run, r, t, fa_param_matrix(state_of(rule)->p), state_of(rule)->p->linalg,
                     worker);
    fa_count(run, &net->count_feedback, rows.r0 == 0);
    net->k->add_scaled(r.p, r.ld, r.p, r.ld, d.p, d.ld, r.rows, r.cols, -1);
}

static void ldfa_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                        int worker)
{
    const fa_rows rows = part.rows;
    const fa_mat t = fa_get(run, rule->weighted, rows);
    const fa_mat d = fa_get(run, run->net->blocks[block + 1].delta, rows);
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    fa_matmul(state_of(rule)->p->linalg, t, d, fa_param_matrix(state_of(rule)->p),
              &(fa_epilogue){.nonfinite = fa_nonfinite_flag(run)}, &packed_b);
    if (state_of(rule)->residual != FA_NO_BUF) oja_residual(rule, run, rows, d, t, worker);
    fa_count(run, &run->net->count_feedback, rows.r0 == 0);
    fa_epilogue epilogue = fa_signal_epilogue(run, block, part);
    epilogue.nonfinite = fa_nonfinite_flag(run);
    packed_b = fa_packing_buffer(run, worker);
    fa_matmul(rule->feedback->linalg, s, t, fa_param_matrix(rule->feedback), &epilogue, &packed_b);
    fa_count(run, &run->net->count_feedback, rows.r0 == 0);
}

static void ldfa_matrix(const fa_net *net, int block, void *out)
{
    const fa_rule *rule = &net->blocks[block].rule;
    const int64_t rows = state_of(rule)->p->rows, cols = rule->feedback->cols;
    /* Outside of a run there is no packing buffer: this product takes longer. */
    fa_matmul(&net->linalg, (fa_mat){out, cols, rows, cols}, fa_param_matrix(state_of(rule)->p),
              fa_param_matrix(rule->feedback), NULL, NULL);
}

const fa_rule_ops fa_rule_kp = {.name = "kp",
                                .options = kp_options,
                                .sources = FA_FROM_ABOVE,
                                .columns = true,
                                .plan = plan_kp,
                                .product = true,
                                .signal = fa_chain_signal};
const fa_rule_ops fa_rule_dkp = {.name = "dkp",
                                 .options = dkp_options,
                                 .sources = FA_FROM_ERROR,
                                 .columns = true,
                                 .plan = plan_dkp,
                                 .product = true,
                                 .signal = fa_broadcast_signal};
const fa_rule_ops fa_rule_ldfa = {.name = "ldfa",
                                  .options = ldfa_options,
                                  .sources = FA_FROM_ABOVE,
                                  .dense_only = "its factors have no form for the patches of "
                                                "the layer above",
                                  .plan = plan_ldfa,
                                  .product = true,
                                  .signal = ldfa_signal,
                                  .draw = ldfa_draw,
                                  .sampling = ldfa_sampling,
                                  .rows = ldfa_rows,
                                  .matrix = ldfa_matrix};
const fa_rule_ops fa_rule_pfa = {.name = "pfa",
                                 .options = pfa_options,
                                 .sources = FA_FROM_ABOVE,
                                 .dense_only = "its factors have no form for the patches of "
                                               "the layer above",
                                 .plan = plan_pfa,
                                 .product = true,
                                 .signal = ldfa_signal,
                                 .draw = ldfa_draw,
                                 .sampling = ldfa_sampling,
                                 .rows = ldfa_rows,
                                 .matrix = ldfa_matrix};

/* Local losses: each hidden layer has its own prediction head and learns only from the loss of this
 * head ("pred" of Nokland and Eidnes 2019; with a fixed head, learning by a fixed random
 * classifier).
 *   z_l = H_l M_l + c_l,  e_l = dloss_i/dz_l,  S_l = e_l M_l^T     M_l n_l x n_L, H_l where S_l
 * lands
 * The loss is the network's, of z_l. The head learns like an output layer, from H_l^T e_l. */
#include "rules/rules.h"

#include <math.h>

enum { LOCAL_TRAIN_HEAD, LOCAL_LR_SCALE };
static const fa_option_row local_options[] = {
    [LOCAL_TRAIN_HEAD] = {.name = "train_head",
                          .kind = FA_OPTION_FLAG,
                          .number = 1,
                          FA_CLOSED(0, 1),
                          .meaning = "0: the heads keep their first values"},
    [LOCAL_LR_SCALE] = {.name = "lr_scale",
                        .number = 1,
                        FA_MORE_THAN(0),
                        .meaning = "factor on the learning rate of the heads"},
    {0}};

typedef struct state {
    fa_param *weight, *bias; /* of the head: M_l, c_l */
} state;
static const state *state_of(const fa_rule *rule) { return rule->state; }

static size_t panel_size(const fa_net *net)
{ return (fa_matmul_nt_scratch(&net->linalg, net->n_out) + 63) & ~(size_t)63; }

static fa_status check(const fa_block *b)
{
    const fa_rule_desc *d = &b->rule.desc;
    if (!d->feedback.values && !fa_feedback_is_plain(&b->rule))
        return fa_fail(
            FA_E_VALUE,
            "layer %d: feedback: expected uniform, normal, an initialiser or values, got "
            "other options; rule 'local' draws its head whole",
            b->first);
    return FA_OK;
}

static void learn(fa_net *net, const fa_block *b, fa_param *p, fa_buf left)
{
    p->lr_scale = fa_option_number(&b->rule, LOCAL_LR_SCALE);
    if (b->layer->desc.trainable && fa_option_number(&b->rule, LOCAL_TRAIN_HEAD) != 0)
        fa_plan_trained(net, p, left, b->rule.weighted);
}

static fa_status plan(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    const int64_t n = fa_block_width(net, block), c = net->n_out;
    FA_TRY(check(b));
    FA_TRY(fa_feedback_check(net, block, c, n));
    b->rule.weighted = fa_plan_buffer(net, c, net->esize);
    FA_TRY(fa_plan_private(net, &b->rule.state, sizeof(state)));
    state *head = b->rule.state;
    head->weight = fa_plan_param(net, "head.weight", b->first, FA_WEIGHT, n, c);
    head->bias = fa_plan_param(net, "head.bias", b->first, FA_BIAS, 1, c);
    learn(net, b, head->weight, net->layers[b->signal_at].out);
    learn(net, b, head->bias, FA_ONES);
    fa_plan_scratch(net, panel_size(net) + 2 * FA_CHUNK * sizeof(double));
    net->work_per_row += 3 * (double)n * (double)c;
    return FA_OK;
}

static fa_mat head_of(const fa_rule *rule) { return fa_param_matrix(state_of(rule)->weight); }

static size_t sampling(const fa_rule *rule)
{ return (size_t)head_of(rule).rows * (size_t)head_of(rule).cols; }

/* M is the transpose of a drawn or given feedback matrix. */
static void draw(const fa_net *net, int block)
{
    const fa_rule *rule = &net->blocks[block].rule;
    const fa_init *init = &rule->desc.feedback;
    const fa_mat m = head_of(rule);
    const fa_mat b = {(char *)net->sampling_workspace, m.rows, m.cols, m.rows};
    if (init->values)
        net->k->gather(b.p, b.ld, init->values, b.cols, NULL, b.rows, b.cols, init->scale);
    else
        fa_draw_feedback_rows(net, block, 0, b.rows, (fa_rows){0, b.rows}, b);
    net->k->transpose(m.p, m.ld, b.p, b.ld, b.rows, b.cols);
}

static int64_t matrix_rows(const fa_net *net, int block)
{ return head_of(&net->blocks[block].rule).cols; }

/* Computes e_l of the head, in the buffer that keeps it until the update. */
static fa_mat head_error(const fa_rule *rule, const fa_run *run, int block, fa_rows rows,
                         int worker)
{
    const fa_net *net = run->net;
    const fa_mat e = fa_get(run, rule->weighted, rows);
    double *loss = (double *)((char *)fa_scratch(run, worker) + panel_size(net));
    const fa_epilogue epilogue = {.bias = state_of(rule)->bias->value,
                                  .nonfinite = fa_nonfinite_flag(run)};
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    fa_matmul(state_of(rule)->weight->linalg, e,
              fa_get(run, net->layers[net->blocks[block].signal_at].out, rows), head_of(rule),
              &epilogue, &packed_b);
    fa_count(run, &net->count_forward, rows.r0 == 0);
    fa_loss_of_rows(run, e, loss, loss + FA_CHUNK, e, rows);
    for (int64_t r = rows.r0; r < rows.r1; r++) /* if a head overflows, the step stops */
        if (!isfinite(loss[r - rows.r0])) run->row_loss[r] = loss[r - rows.r0];
    return e;
}

static void signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                   int worker)
{
    const fa_mat e = head_error(rule, run, block, part.rows, worker);
    fa_run_matmul_nt(run, s, e, head_of(rule), state_of(rule)->weight->linalg, worker);
    fa_count(run, &run->net->count_feedback, fa_is_first(part));
}

static void matrix(const fa_net *net, int block, void *out)
{
    const fa_mat m = head_of(&net->blocks[block].rule);
    net->k->transpose(out, m.rows, m.p, m.ld, m.rows, m.cols);
}

const fa_rule_ops fa_rule_local = {
    .name = "local",
    .options = local_options,
    .sources = FA_FROM_SELF,
    .no_sequences = true,
    .plan = plan,
    .draw = draw,
    .sampling = sampling,
    .signal = signal,
    .rows = matrix_rows,
    .matrix = matrix,
};

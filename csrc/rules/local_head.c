/* Local losses: each hidden layer has its own prediction head and learns only from the loss of this
 * head ("pred" of Nokland and Eidnes 2019; with a fixed head, learning by a fixed random
 * classifier).
 *   z_l = H_l M_l + c_l,  e_l = dloss_i/dz_l,  S_l = e_l M_l^T     M_l n_l x n_L, H_l where S_l lands
 * The loss is the network's, of z_l. The head learns like an output layer, from H_l^T e_l. Without
 * c_l and with trained heads it is Mono-Forward (Gong et al. 2025).
 *   square   z_l = (H_l * H_l) M_l + c_l,  S_l = 2 H_l * (e_l M_l^T)
 *   blocks   M_l is fixed: 1 where the unit is in the output's block, else 0; no c_l. With square it
 *            is a forward-forward network of grouped goodness (channel-wise: Papachristodoulou et
 *            al. 2024), in one pass without negatives. */
#include "rules/rules.h"

#include <math.h>

enum { LOCAL_TRAIN_HEAD, LOCAL_LR_SCALE, LOCAL_BIAS, LOCAL_SQUARE, LOCAL_BLOCKS };
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
    [LOCAL_BIAS] = {.name = "bias",
                    .kind = FA_OPTION_FLAG,
                    .number = 1,
                    FA_CLOSED(0, 1),
                    .meaning = "0: the heads have no bias"},
    [LOCAL_SQUARE] = {.name = "square",
                      .kind = FA_OPTION_FLAG,
                      FA_CLOSED(0, 1),
                      .meaning = "1: the heads read the squares of the layer's outputs"},
    [LOCAL_BLOCKS] = {.name = "blocks",
                      .kind = FA_OPTION_FLAG,
                      FA_CLOSED(0, 1),
                      .meaning =
                          "1: the heads are fixed, and sum a block of units for each output"},
    {0}};

typedef struct state {
    fa_param *weight, *bias; /* of the head: M_l, c_l or NULL */
    fa_buf input;            /* H_l, or its squares */
    bool squares, blocks;
} state;
static const state *state_of(const fa_rule *rule) { return rule->state; }

static size_t panel_size(const fa_net *net)
{ return (fa_matmul_nt_scratch(&net->linalg, net->n_out) + 63) & ~(size_t)63; }

static fa_status check(const fa_block *b, int64_t units, int64_t outputs)
{
    const fa_rule_desc *d = &b->rule.desc;
    if (fa_option_number(&b->rule, LOCAL_BLOCKS) != 0 && (units < outputs || d->feedback.values))
        return fa_fail(FA_E_VALUE, "layer %d: rule 'local': blocks: expected %s, got %lld units%s",
                       b->first,
                       d->feedback.values ? "no values of heads" : "a unit for each output",
                       (long long)units, d->feedback.values ? " and values" : "");
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
    if (b->layer->desc.trainable && fa_option_number(&b->rule, LOCAL_TRAIN_HEAD) != 0 &&
        fa_option_number(&b->rule, LOCAL_BLOCKS) == 0)
        fa_plan_trained(net, p, left, b->rule.weighted);
}

static fa_status plan(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    const int64_t n = fa_block_width(net, block), c = net->n_out;
    FA_TRY(check(b, n, c));
    FA_TRY(fa_feedback_check(net, block, c, n));
    b->rule.weighted = fa_plan_buffer(net, c, net->esize);
    FA_TRY(fa_plan_private(net, &b->rule.state, sizeof(state)));
    state *head = b->rule.state;
    head->weight = fa_plan_param(net, "head.weight", b->first, FA_WEIGHT, n, c);
    head->blocks = fa_option_number(&b->rule, LOCAL_BLOCKS) != 0;
    head->squares = fa_option_number(&b->rule, LOCAL_SQUARE) != 0;
    head->input =
        head->squares ? fa_plan_buffer(net, n, net->esize) : net->layers[b->signal_at].out;
    learn(net, b, head->weight, head->input);
    if (fa_option_number(&b->rule, LOCAL_BIAS) != 0 && !head->blocks) {
        head->bias = fa_plan_param(net, "head.bias", b->first, FA_BIAS, 1, c);
        learn(net, b, head->bias, FA_ONES);
    }
    fa_plan_scratch(net, panel_size(net) + 2 * FA_CHUNK * sizeof(double));
    net->work_per_row += 3 * (double)n * (double)c;
    return FA_OK;
}

static fa_mat head_of(const fa_rule *rule) { return fa_param_matrix(state_of(rule)->weight); }

static size_t sampling(const fa_rule *rule)
{ return (size_t)head_of(rule).rows * (size_t)head_of(rule).cols; }

/* M: unit j adds to output floor(j c / n). */
static void set_blocks(const fa_net *net, fa_mat m, double value)
{
    for (int64_t j = 0; j < m.rows; j++) {
        const int64_t at = j * m.ld + j * m.cols / m.rows;
        if (net->dtype == FA_F64)
            ((double *)m.p)[at] = value;
        else
            ((float *)m.p)[at] = (float)value;
    }
}

/* M is the transpose of a drawn or given feedback matrix. */
static void draw(const fa_net *net, int block)
{
    const fa_rule *rule = &net->blocks[block].rule;
    const fa_init *init = &rule->desc.feedback;
    const fa_mat m = head_of(rule);
    const fa_mat b = {(char *)net->sampling_workspace, m.rows, m.cols, m.rows};
    if (state_of(rule)->blocks) {
        set_blocks(net, m, init->scale);
        return;
    }
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
    const state *head = state_of(rule);
    const fa_mat input = fa_get(run, head->input, rows);
    if (head->squares) {
        const fa_mat h = fa_get(run, net->layers[net->blocks[block].signal_at].out, rows);
        net->k->multiply(input.p, input.ld, h.p, h.ld, h.p, h.ld, h.rows, h.cols, 1);
    }
    const fa_mat e = fa_get(run, rule->weighted, rows);
    double *loss = (double *)((char *)fa_scratch(run, worker) + panel_size(net));
    const fa_epilogue epilogue = {.bias = head->bias ? head->bias->value : NULL,
                                  .nonfinite = fa_nonfinite_flag(run)};
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    fa_matmul(head->weight->linalg, e, input, head_of(rule), &epilogue, &packed_b);
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
    if (!state_of(rule)->squares) return;
    const fa_mat h =
        fa_get(run, run->net->layers[run->net->blocks[block].signal_at].out, part.rows);
    run->net->k->multiply(s.p, s.ld, s.p, s.ld, h.p, h.ld, h.rows, h.cols, 2);
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

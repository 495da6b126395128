/* PEPITA: the error is added to the input of a second forward pass, and each layer learns from the
 * change of its output (Dellaferrera and Kreiman 2022; the output layer as in their code).
 *   X' = X + e F^T, F n_0 x n_L fixed        H'_l: the same batch and masks, from X'
 *   D_l = H_l - H'_l, D_L = e'               gW_l = H'_{l-1}^T D_l / m
 * H_l is the output of the block, after dropout. There is no f' anywhere. */
#include "engine/sparse.h"
#include "rules/rules.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

extern const fa_rule_ops fa_rule_pepita;

typedef struct state { /* belongs to the first block with this rule; the other blocks share it */
    int block;
    fa_param *f;
    int n;          /* number of row buffers when the rule was planned */
    fa_buf *second; /* the second-pass buffer of each; the same buffer if both passes share it */
} state;

/* The memory of this rule in a workspace */
typedef struct second_pass {
    fa_mat *buf;
    double *row_loss, *row_hit;
} second_pass;

static const state *state_of(const fa_net *net)
{
    int b = 0;
    while (net->blocks[b].rule.ops != &fa_rule_pepita) b++;
    return net->blocks[b].rule.state;
}

/* The row buffers of the second pass: of everything that depends on the input. */
static fa_status plan_second(fa_net *net, state *own)
{
    own->n = net->n_buffers;
    own->second = fa_net_alloc(net, own->n, sizeof *own->second);
    if (!own->second) return fa_fail(FA_E_MEMORY, "out of memory for the plan");
    for (int b = 0; b < own->n; b++) own->second[b] = b;
    own->second[FA_INPUT] = fa_plan_buffer(net, net->n_in, net->esize);
    for (int i = 0; i < net->n_layers; i++) {
        fa_layer *layer = &net->layers[i];
        layer->gradient_in = own->second[layer->in];
        if (layer->out == layer->in) continue; /* Flatten */
        own->second[layer->out] = fa_plan_buffer(net, layer->n_out, net->esize);
        if (layer->preact != FA_NO_BUF)
            own->second[layer->preact] = fa_plan_buffer(net, layer->n_out, net->esize);
    }
    return FA_OK;
}

static fa_status plan_first(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    const char *name = b->rule.desc.feedback.name;
    if (!b->rule.desc.feedback.values &&
        (!fa_feedback_is_plain(&b->rule) || (name && !strcmp(name, "forward"))))
        return fa_fail(
            FA_E_VALUE,
            "layer %d: feedback: expected uniform, normal, an initialiser or values, got "
            "other options; rule 'pepita' draws F (inputs x outputs) whole",
            b->first);
    FA_TRY(fa_feedback_check(net, block, net->n_in, net->n_out));
    FA_TRY(fa_plan_private(net, &b->rule.state, sizeof(state)));
    state *own = b->rule.state;
    own->block = block;
    own->f = fa_plan_param(net, "feedback", b->first, FA_FEEDBACK, net->n_in, net->n_out);
    snprintf(own->f->key, sizeof own->f->key, "input.feedback");
    fa_plan_scratch(net, fa_matmul_nt_scratch(&net->linalg, net->n_out));
    return plan_second(net, own);
}

static fa_status plan(fa_net *net, int block)
{
    const fa_block *first = NULL; /* there is one F for all layers */
    for (int b = 0; b < block && !first; b++)
        if (net->blocks[b].rule.ops == &fa_rule_pepita) first = &net->blocks[b];
    if (!first) return plan_first(net, block);
    net->blocks[block].rule.state = first->rule.state;
    net->blocks[block].rule.desc.feedback = first->rule.desc.feedback;
    return FA_OK;
}

/* Draws F (n_0 x n_L). Its sources are its columns: X' = X + e F^T. */
static void draw(const fa_net *net, int block)
{
    const state *own = state_of(net);
    const fa_param *f = own->f;
    const fa_init *init = &net->blocks[block].rule.desc.feedback;
    if (block != own->block) return;
    if (init->values)
        net->k->gather(f->value, f->cols, init->values, f->cols, NULL, f->rows, f->cols,
                       init->scale);
    else
        fa_draw_plain(net, block, f, f->cols, f->rows,
                      fa_rng_stream(net->seed, FA_RNG_FEEDBACK, 0, 0));
}

/* ---- the step ---- */

static size_t workspace(const fa_net *net, int64_t rows)
{
    return sizeof(second_pass) + (size_t)net->n_buffers * sizeof(fa_mat) +
           2 * (size_t)rows * sizeof(double);
}

static void bind(const fa_run *run)
{
    const fa_net *net = run->net;
    const state *own = state_of(net);
    second_pass *second = (second_pass *)run->work->rule;
    second->buf = (fa_mat *)(second + 1);
    second->row_loss = (double *)(second->buf + net->n_buffers);
    second->row_hit = second->row_loss + run->work->rows;
    for (int b = 0; b < net->n_buffers; b++)
        second->buf[b] = run->buf[b < own->n ? own->second[b] : b];
}

static void modulate(const fa_run *run, fa_rows rows, fa_mat x, int worker)
{
    const fa_net *net = run->net;
    const fa_param *f = state_of(net)->f;
    const fa_mat e = fa_get(run, net->blocks[net->n_blocks - 1].delta, rows);
    fa_run_matmul_nt(run, x, e, fa_param_matrix(f), f->linalg, worker);
    fa_count(run, &net->count_feedback, rows.r0 == 0);
    if (run->csr) {
        fa_csr_add(run, rows, x);
        return;
    }
    const fa_mat first = fa_get(run, FA_INPUT, rows);
    net->k->add_scaled(x.p, x.ld, first.p, first.ld, x.p, x.ld, x.rows, x.cols, 1);
}

/* Computes H'_l in the second-pass buffers, and e' in place of e. */
static void before_deltas(const fa_run *run, fa_rows rows, int worker)
{
    fa_run second = *run;
    second.csr = NULL; /* X' is dense */
    const second_pass *own = (const second_pass *)run->work->rule;
    second.buf = own->buf;
    second.row_loss = own->row_loss;
    second.row_hit = own->row_hit;
    modulate(run, rows, fa_get(&second, FA_INPUT, rows), worker);
    fa_forward_layers(&second, rows, worker);
    fa_output_error(&second, rows);
    for (int64_t r = rows.r0; r < rows.r1; r++) /* an overflow stops the step here too */
        if (!isfinite(second.row_loss[r])) run->row_loss[r] = second.row_loss[r];
}

static void delta(const fa_run *run, int block, fa_rows rows, fa_mat d, int worker)
{
    (void)worker;
    const fa_net *net = run->net;
    const fa_buf out = net->layers[net->blocks[block].last].out;
    const fa_mat first = fa_get(run, out, rows),
                 second = fa_get(run, state_of(net)->second[out], rows);
    net->k->add_scaled(d.p, d.ld, first.p, first.ld, second.p, second.ld, d.rows, d.cols, -1);
}

const fa_rule_ops fa_rule_pepita = {
    .name = "pepita",
    .sources = FA_FROM_INPUT,
    .no_sequences = true,
    .no_pre = true,
    .dense_only = "its second pass is not built for images",
    .plan = plan,
    .draw = draw,
    .delta = delta,
    .before_deltas = before_deltas,
    .workspace = workspace,
    .bind = bind,
};

/* PEPITA: the error goes into the input of a second forward pass, and each layer learns from how its
 * output changes (Dellaferrera and Kreiman 2022; the output layer as in their code).
 *   X' = X + e F^T, F n_0 x n_L fixed        H'_l: the same batch and masks, from X'
 *   D_l = H_l - H'_l, D_L = e'               gW_l = H'_{l-1}^T D_l / m
 * A block's output is what the layer above sees, dropout included. No f' anywhere. */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Row buffers of the second pass: everything that depends on the input. */
static void plan_second(fa_net *net)
{
    net->second[FA_INPUT] = fa_plan_buffer(net, net->n_in, net->esize);
    for (int i = 0; i < net->n_layers; i++) {
        const fa_layer *layer = &net->layers[i];
        net->second[layer->out] = fa_plan_buffer(net, layer->n_out, net->esize);
        if (layer->preact != FA_NO_BUF)
            net->second[layer->preact] = fa_plan_buffer(net, layer->n_out, net->esize);
    }
}

static fa_status plan(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    const char *name = b->rule.desc.feedback.name;
    if (net->modulation) { /* one F, whichever layer asks */
        b->rule.desc.feedback = net->blocks[net->modulator].rule.desc.feedback;
        return FA_OK;
    }
    if (!b->rule.desc.feedback.values &&
        (!fa_feedback_is_plain(&b->rule) || (name && !strcmp(name, "forward"))))
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: rule 'pepita' draws F (inputs x outputs) whole: "
                       "expected uniform, normal, an initialiser or values",
                       b->first);
    FA_TRY(fa_feedback_check(net, block, net->n_in, net->n_out));
    net->modulator = block;
    net->modulation = fa_plan_param(net, "feedback", b->first, FA_FEEDBACK, net->n_in, net->n_out);
    snprintf(net->modulation->key, sizeof net->modulation->key, "input.feedback");
    fa_plan_scratch(net, fa_matmul_nt_scratch(net, net->n_out));
    plan_second(net);
    return FA_OK;
}

static void modulate(const fa_run *run, fa_rows rows, fa_mat x, int worker)
{
    const fa_net *net = run->net;
    const fa_param *f = net->modulation;
    const fa_mat first = fa_get(run, FA_INPUT, rows);
    const fa_mat e = fa_get(run, net->blocks[net->n_blocks - 1].delta, rows);
    fa_matmul_nt(run, x, e, (fa_mat){f->value, f->cols, f->rows, f->cols}, worker);
    fa_count(run, &net->count_feedback, rows.r0 == 0);
    net->k->add_scaled(x.p, x.ld, first.p, first.ld, x.p, x.ld, x.rows, x.cols, 1);
}

/* Leaves H'_l in the second buffers and e' where e was. */
void fa_second_pass(const fa_run *run, fa_rows rows, int worker)
{
    fa_run second = *run;
    second.buf = run->work->second;
    second.row_loss = run->work->second_loss;
    second.row_hit = run->work->second_hit;
    modulate(run, rows, fa_get(&second, FA_INPUT, rows), worker);
    fa_forward_layers(&second, rows, worker);
    fa_output_error(&second, rows);
    for (int64_t r = rows.r0; r < rows.r1; r++) /* one that overflows stops the step too */
        if (!isfinite(second.row_loss[r])) run->row_loss[r] = second.row_loss[r];
}

static void delta(const fa_run *run, int block, fa_rows rows, fa_mat d)
{
    const fa_net *net = run->net;
    const fa_buf out = net->layers[net->blocks[block].last].out;
    const fa_mat first = fa_get(run, out, rows), second = fa_get(run, net->second[out], rows);
    net->k->add_scaled(d.p, d.ld, first.p, first.ld, second.p, second.ld, d.rows, d.cols, -1);
}

const fa_rule_ops fa_rule_pepita = {
    .name = "pepita", .sources = FA_FROM_INPUT, .no_pre = true, .plan = plan, .delta = delta};

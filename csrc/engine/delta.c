/* The deltas of rows: the error of the output, then the delta of each hidden block by its rule. */
#include "engine/sparse.h"
#include "engine/step.h"

#include <math.h>

void fa_loss_of_rows(const fa_run *run, fa_mat e, double *row_loss, double *hit, fa_mat z,
                     fa_rows rows)
{
    const fa_net *net = run->net;
    if (fa_has_own_loss(net)) {
        fa_ask_own_loss(run, e, row_loss, hit, z, rows);
        return;
    }
    net->loss->error(net->k, net->desc.loss_options, e, row_loss, hit, z,
                     run->labels ? run->labels + rows.r0 : NULL, fa_get(run, FA_TARGET, rows));
}

void fa_output_error(const fa_run *run, fa_rows rows)
{
    const fa_net *net = run->net;
    const fa_block *top = &net->blocks[net->n_blocks - 1];
    const fa_mat e = fa_get(run, top->delta, rows);
    if (net->recurrent)
        fa_sequence_error(run, rows);
    else
        fa_loss_of_rows(run, e, run->row_loss + rows.r0, run->row_hit + rows.r0,
                        fa_get(run, top->layer->out, rows), rows);
    if (run->mode < FA_PREDICT && top->layer->activation != FA_ACT_linear)
        top->layer->ops->backward(top->layer, run, fa_all_columns(rows, net->n_out), e, true, 0);
}

/* Through a layer that changes the width: the signal goes from its own buffer to that of the layer
 * below. Such a block is never divided by columns. */
static fa_mat to_layer_below(const fa_layer *layer, const fa_run *run, fa_part *part, fa_mat d)
{
    const fa_mat below = fa_get(run, (layer - 1)->signal, part->rows);
    layer->ops->backward_to(layer, run, part->rows, d, below);
    *part = fa_all_columns(part->rows, below.cols);
    return below;
}

/* Sequences have more rows than a chunk: a rule's scratch is for FA_CHUNK of them. */
static void signal_by_chunks(const fa_rule *rule, const fa_run *run, int b, fa_part part,
                             int worker)
{
    const fa_block *block = &run->net->blocks[b];
    const fa_layer *layer = &run->net->layers[run->exact ? block->last : block->signal_at];
    for (fa_part p = part; p.rows.r0 < part.rows.r1; p.rows.r0 += FA_CHUNK) {
        p.rows.r1 = fa_smaller(p.rows.r0 + FA_CHUNK, part.rows.r1);
        rule->ops->signal(rule, run, b, p, fa_get_part(run, layer->signal, p), worker);
    }
}

/* The rule writes S_l into the signal buffer of the layer where it lands: that of D_l, unless a
 * layer between them changes the width. The layers of the block turn it into D_l, unless the rule's
 * product has fused f'. */
void fa_compute_delta(const fa_run *run, int b, fa_part part, int worker)
{
    static const fa_rule exact = {.ops = &fa_rule_backprop};
    const fa_net *net = run->net;
    const fa_block *block = &net->blocks[b];
    const fa_rule *rule = run->exact ? &exact : &block->rule;
    const int at = run->exact ? block->last : block->signal_at;
    const fa_layer *layer = &net->layers[at];
    if (layer->signal != block->delta) part = fa_all_columns(part.rows, layer->n_out);
    fa_mat d = fa_get_part(run, layer->signal, part);
    if (rule->ops->delta) {
        rule->ops->delta(run, b, part.rows, d);
        return;
    }
    if (part.rows.r1 - part.rows.r0 <= FA_CHUNK)
        rule->ops->signal(rule, run, b, part, d, worker);
    else
        signal_by_chunks(rule, run, b, part, worker);
    if (rule->fuses_relu_backward) return;
    for (int i = at; i >= block->first; i--) {
        layer = &net->layers[i];
        if (layer->ops->backward_to)
            d = to_layer_below(layer, run, &part, d);
        else
            layer->ops->backward(layer, run, part, d, rule->inject != FA_INJECT_PRE, worker);
    }
}

bool fa_needs_delta(const fa_run *run, int b)
{ return run->exact || run->net->blocks[b].needs_delta; }

/* The rows whose sums are the gradients of layers without weights. */
static void weight_row_gradients(const fa_run *run, fa_rows rows)
{
    for (int i = 0; i < run->net->n_layers; i++)
        for (int k = 0; k < FA_ROW_PARAMS; k++) {
            const fa_layer *layer = &run->net->layers[i];
            if (!layer->row_param[k] || !layer->row_param[k]->trainable) continue;
            const fa_mat g = fa_get(run, layer->row_gradient[k], rows);
            run->net->k->scale_rows(g.p, g.ld, run->weights + rows.r0, g.rows, g.cols);
        }
}

void fa_weight_rows(const fa_run *run, fa_rows rows)
{
    if (run->net->has_row_params) weight_row_gradients(run, rows);
    for (int b = 0; b < run->net->n_blocks; b++) {
        if (!fa_needs_delta(run, b)) continue;
        const fa_mat d = fa_get(run, run->net->blocks[b].delta, rows);
        run->net->k->scale_rows(d.p, d.ld, run->weights + rows.r0, d.rows, d.cols);
        const fa_buf weighted = run->net->blocks[b].rule.weighted;
        if (weighted == FA_NO_BUF || run->exact) continue;
        const fa_mat t = fa_get(run, weighted, rows);
        run->net->k->scale_rows(t.p, t.ld, run->weights + rows.r0, t.rows, t.cols);
    }
}

/* A unit that saturates hides an infinite input from the loss, but not from the gradient. */
static bool finite_input(const fa_run *run, fa_rows rows)
{
    if (run->csr) return fa_csr_finite(run, rows);
    const fa_mat x = fa_get(run, FA_INPUT, rows);
    return run->net->k->all_finite(x.p, x.ld, x.rows, x.cols);
}

void fa_loss_and_error(const fa_run *run, fa_rows rows)
{
    fa_output_error(run, rows);
    if (run->x_unchecked && !finite_input(run, rows)) run->row_loss[rows.r0] = NAN;
}

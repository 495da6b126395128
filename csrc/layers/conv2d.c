/* Conv2D: A = the patches of H times W + b, H = f(A); the same W at every position of the map. A
 * patch is kernel_h x kernel_w x channels numbers in this order, K in all; W is K x filters. */
#include "layers/layers.h"

static const fa_option_row conv2d_options[] = {FA_OPTIONS_OF_ACTIVATIONS, {0}};

enum { AT_ONCE = 8 }; /* samples that a kernel takes at a time: it copies images that are padded */

static const fa_window *window(const fa_layer *layer) { return layer->state; }
static int64_t positions(const fa_window *g) { return g->out_h * g->out_w; }

/* Sizes of the weights, and of the patches of an image */
static fa_status plan_sizes(fa_net *net, fa_layer *layer, int64_t *patch)
{
    FA_TRY(fa_plan_private(net, &layer->state, sizeof(fa_window)));
    fa_window *g = layer->state;
    FA_TRY(fa_plan_window(g, net, layer, "kernel_size"));
    FA_TRY(fa_plan_map(layer, g->out_h, g->out_w, layer->desc.units));
    const double entries = (double)g->kernel_h * (double)g->kernel_w * (double)g->channels;
    if (entries * (double)positions(g) > INT32_MAX ||
        entries * (double)layer->desc.units > INT32_MAX)
        return fa_fail(FA_E_VALUE,
                       "layer %d: kernel_size: expected at most %d numbers in all patches of an "
                       "image and in the weights, got %.0f x %lld and x %lld",
                       layer->index, INT32_MAX, entries, (long long)positions(g),
                       (long long)layer->desc.units);
    *patch = g->kernel_h * g->kernel_w * g->channels;
    layer->fan_in = *patch, layer->fan_out = g->kernel_h * g->kernel_w * layer->desc.units;
    layer->work = (double)positions(g) * entries * (double)layer->desc.units;
    return FA_OK;
}

static fa_status plan(fa_net *net, fa_layer *layer)
{
    const int64_t filters = layer->desc.units;
    int64_t patch = 0;
    FA_TRY(fa_check_weighted(layer, "filters"));
    FA_TRY(plan_sizes(net, layer, &patch));
    FA_TRY(fa_plan_weighted(net, layer, patch, fa_plan_tight_buffer));
    fa_plan_window_scratch(net, net->k->conv_scratch_bytes(window(layer), filters, AT_ONCE));
    fa_plan_scratch(net, (size_t)(patch * filters) * net->esize); /* W^T */
    return FA_OK;
}

/* Rows i .. i + AT_ONCE - 1 of a batch, or fewer at its end */
static fa_mat some_rows(fa_mat a, int64_t i, size_t esize)
{ return fa_rows_of(a, (fa_rows){i, fa_smaller(i + AT_ONCE, a.rows)}, esize); }

static void forward(const fa_layer *layer, const fa_run *run, fa_part part, int worker)
{
    const fa_net *net = run->net;
    const fa_mat h = fa_get(run, layer->out, part.rows), x = fa_get(run, layer->in, part.rows);
    const fa_mat all = layer->preact == FA_NO_BUF ? h : fa_get(run, layer->preact, part.rows);
    const fa_param *w = layer->weight;
    const bool fuses_relu = layer->activation == FA_ACT_relu;
    const fa_epilogue epilogue = {.bias = layer->bias ? layer->bias->value : NULL,
                                  .nonfinite = fa_nonfinite_flag(run),
                                  .relu = fuses_relu};
    for (int64_t i = 0; i < x.rows; i += AT_ONCE) {
        const fa_mat a = some_rows(all, i, net->esize), from = some_rows(x, i, net->esize);
        net->k->conv(a.p, a.ld, from.p, from.ld, w->value, w->cols, window(layer), w->cols, a.rows,
                     &epilogue, fa_window_scratch(run, worker));
    }
    fa_count(run, &net->count_forward, fa_is_first(part));
    if (layer->activation != FA_ACT_linear && !fuses_relu)
        net->k->act[layer->activation](h.p, h.ld, all.p, all.ld, h.rows, h.cols, layer->f_option);
}

static void carry(const fa_layer *layer, const fa_run *run, fa_mat d, fa_mat b, fa_mat out,
                  int worker)
{
    run->net->k->conv_back(out.p, out.ld, d.p, d.ld, b.p, b.ld, window(layer), b.rows, d.rows,
                           fa_window_scratch(run, worker));
}

static void transport(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d, fa_mat out,
                      int worker)
{
    const fa_mat w = fa_param_matrix(layer->weight);
    const fa_mat transposed = {fa_scratch(run, worker), w.rows, w.cols, w.rows};
    run->net->k->transpose(transposed.p, transposed.ld, w.p, w.ld, w.rows, w.cols);
    carry(layer, run, d, transposed, out, worker);
    fa_count(run, &run->net->count_transport, fa_is_first(part));
}

/* The sum goes into g whole; so the optimizer never adds it to the weights itself (plan.c). */
static void gradient(const fa_layer *layer, const fa_run *run, fa_pair pair, fa_tile t, fa_mat g,
                     double alpha, int worker)
{
    const fa_net *net = run->net;
    const int64_t filters = layer->weight->cols;
    const fa_mat d = run->buf[pair.right];
    const size_t column = (size_t)t.j0 * net->esize;
    if (pair.left == FA_ONES) { /* rows of d are not padded: positions follow each other */
        net->k->colsum(g.p, d.p + column, filters, run->m * positions(window(layer)), t.j1 - t.j0,
                       alpha, 0);
        return;
    }
    const fa_mat x = run->buf[pair.left];
    for (int64_t i = 0; i < run->m; i += AT_ONCE) {
        const fa_mat left = some_rows(x, i, net->esize), right = some_rows(d, i, net->esize);
        net->k->conv_gradient(g.p, g.ld, NULL, left.p, left.ld, right.p + column, right.ld,
                              window(layer), filters, left.rows, t.i0, t.i1 - t.i0, t.j1 - t.j0,
                              i > 0, fa_window_scratch(run, worker));
    }
    for (int64_t i = 0; i < g.rows; i++)
        net->k->scale_rows(g.p + (size_t)(i * g.ld) * net->esize, g.ld, &alpha, 1, g.cols);
}

const fa_layer_ops fa_layer_conv2d = {.name = "conv2d",
                                      .flags = FA_WEIGHTED,
                                      .options = conv2d_options,
                                      .plan = plan,
                                      .forward = forward,
                                      .backward = fa_weighted_backward,
                                      .transport = transport,
                                      .carry = carry,
                                      .gradient = gradient};

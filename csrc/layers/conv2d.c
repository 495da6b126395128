/* Conv2D: A = the patches of H times W + b, H = f(A); the same W at every position of the map. A
 * patch is kernel_h x kernel_w x channels numbers in this order, K in all; W is K x filters. */
#include "layers/layers.h"

#include <math.h>

static fa_status check(const fa_layer *layer)
{
    const fa_layer_desc *d = &layer->desc;
    const int i = layer->index;
    if (d->units < 1 || d->units > INT32_MAX)
        return fa_fail(FA_E_VALUE, "layer %d: filters: expected 1 to %d, got %lld", i, INT32_MAX,
                       (long long)d->units);
    if (!(d->lr_scale >= 0 && d->bias_lr_scale >= 0) || !isfinite(d->lr_scale) ||
        !isfinite(d->bias_lr_scale))
        return fa_fail(
            FA_E_VALUE,
            "layer %d: lr_scale, bias_lr_scale: expected finite numbers >= 0, got %g, %g", i,
            d->lr_scale, d->bias_lr_scale);
    return FA_OK;
}

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
    const fa_layer_desc *d = &layer->desc;
    int64_t patch = 0;
    FA_TRY(check(layer));
    FA_TRY(plan_sizes(net, layer, &patch));
    FA_TRY(fa_init_check(&d->weight_init, "weight_init", layer->index, patch, d->units));
    FA_TRY(fa_init_check(&d->bias_init, "bias_init", layer->index, 1, d->units));

    layer->out = fa_plan_tight_buffer(net, layer->n_out, net->esize);
    if (fa_activation_flags(layer->activation) & FA_NEEDS_PREACT)
        layer->preact = fa_plan_tight_buffer(net, layer->n_out, net->esize);
    layer->weight = fa_plan_param(net, "weight", layer->index, FA_WEIGHT, patch, d->units);
    layer->weight->lr_scale = d->lr_scale;
    if (d->use_bias) {
        layer->bias = fa_plan_param(net, "bias", layer->index, FA_BIAS, 1, d->units);
        layer->bias->lr_scale = d->lr_scale * d->bias_lr_scale;
    }
    fa_plan_window_scratch(net, (size_t)(positions(window(layer)) * patch) * net->esize);
    fa_plan_scratch(net, fa_matmul_nt_scratch(&net->linalg, d->units));
    return FA_OK;
}

/* One row of a map as a matrix: a row for each position */
static fa_mat map_of(fa_mat rows, int64_t row, int64_t n, int64_t channels, size_t esize)
{ return (fa_mat){rows.p + (size_t)(row * rows.ld) * esize, channels, n, channels}; }

static char *image_of(fa_mat rows, int64_t row, size_t esize)
{ return rows.p + (size_t)(row * rows.ld) * esize; }

static fa_mat patches(const fa_layer *layer, const fa_run *run, int worker)
{
    const int64_t k = layer->weight->rows;
    return (fa_mat){fa_window_scratch(run, worker), k, positions(window(layer)), k};
}

static void forward(const fa_layer *layer, const fa_run *run, fa_part part, int worker)
{
    const fa_net *net = run->net;
    const fa_window *g = window(layer);
    const fa_mat h = fa_get(run, layer->out, part.rows), x = fa_get(run, layer->in, part.rows);
    const fa_mat a = layer->preact == FA_NO_BUF ? h : fa_get(run, layer->preact, part.rows);
    const fa_mat w = fa_param_matrix(layer->weight), rows = patches(layer, run, worker);
    const bool fuses_relu = layer->activation == FA_ACT_relu;
    const fa_epilogue epilogue = {.bias = layer->bias ? layer->bias->value : NULL,
                                  .nonfinite = fa_nonfinite_flag(run),
                                  .relu = fuses_relu};
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    packed_b.remote = run->shared;
    for (int64_t i = 0; i < x.rows; i++) {
        net->k->im2row(rows.p, image_of(x, i, net->esize), g);
        fa_matmul(&net->linalg, map_of(a, i, positions(g), w.cols, net->esize), rows, w, &epilogue,
                  &packed_b);
    }
    fa_count(run, &net->count_forward, fa_is_first(part));
    if (layer->activation != FA_ACT_linear && !fuses_relu)
        net->k->act[layer->activation](h.p, h.ld, a.p, a.ld, h.rows, h.cols);
}

static void backward(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d, bool exact)
{
    if (!exact) return;
    const fa_mat x =
        fa_get(run, layer->preact == FA_NO_BUF ? layer->out : layer->preact, part.rows);
    run->net->k->dact[layer->activation](d.p, d.ld, x.p, x.ld, d.rows, d.cols);
}

static void transport(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d, fa_mat out,
                      int worker)
{
    const fa_net *net = run->net;
    const fa_window *g = window(layer);
    const fa_mat w = fa_param_matrix(layer->weight), rows = patches(layer, run, worker);
    for (int64_t i = 0; i < d.rows; i++) {
        fa_run_matmul_nt(run, rows, map_of(d, i, positions(g), w.cols, net->esize), w, worker);
        net->k->col2im(image_of(out, i, net->esize), rows.p, g);
    }
    fa_count(run, &net->count_transport, fa_is_first(part));
}

static void carry(const fa_layer *layer, const fa_run *run, fa_rows part, fa_mat d, fa_mat b,
                  fa_mat out, int worker)
{
    (void)part;
    const fa_net *net = run->net;
    const fa_window *g = window(layer);
    const fa_mat rows = patches(layer, run, worker);
    const fa_epilogue epilogue = {.nonfinite = fa_nonfinite_flag(run)};
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    for (int64_t i = 0; i < d.rows; i++) {
        fa_matmul(&net->linalg, rows, map_of(d, i, positions(g), b.rows, net->esize), b, &epilogue,
                  &packed_b);
        net->k->col2im(image_of(out, i, net->esize), rows.p, g);
    }
}

static void gradient(const fa_layer *layer, const fa_run *run, fa_pair pair, fa_tile t, fa_mat g,
                     double alpha, double beta)
{
    const fa_net *net = run->net;
    const fa_window *windows = window(layer);
    const int64_t n = positions(windows), filters = layer->weight->cols;
    const fa_mat d = run->buf[pair.right];
    const char *first = d.p + (size_t)t.j0 * net->esize;
    if (pair.left == FA_ONES) { /* rows of d are not padded: positions follow each other */
        net->k->colsum(g.p, first, filters, run->m * n, t.j1 - t.j0, alpha, beta);
        return;
    }
    const fa_mat x = run->buf[pair.left];
    net->k->patch_gradient(g.p, g.ld, x.p, x.ld, first, d.ld, filters, windows, run->m, t.i0, t.i1,
                           t.j1 - t.j0, alpha, beta);
}

const fa_layer_ops fa_layer_conv2d = {.name = "conv2d",
                                      .flags = FA_WEIGHTED,
                                      .plan = plan,
                                      .forward = forward,
                                      .backward = backward,
                                      .transport = transport,
                                      .carry = carry,
                                      .gradient = gradient};

/* Images: their shapes, and the windows that a layer lays over them. */
#include "model/declare.h"

#include <math.h>
#include <string.h>

enum { MOST = INT32_MAX };

fa_status fa_plan_input(fa_shape *shape, const fa_net_desc *desc)
{
    const int64_t h = desc->input_h, w = desc->input_w, c = desc->input_c;
    *shape = (fa_shape){0, 0, desc->n_in};
    if (!h && !w && !c) return FA_OK;
    if (h < 1 || w < 1 || c < 1)
        return fa_fail(
            FA_E_VALUE,
            "input_h, input_w, input_c: expected three numbers >= 1, or zeros, got %lld, "
            "%lld, %lld",
            (long long)h, (long long)w, (long long)c);
    if ((double)h * (double)w * (double)c != (double)desc->n_in)
        return fa_fail(FA_E_VALUE,
                       "n_in: expected the numbers of an image of %lld x %lld x %lld, got %lld",
                       (long long)h, (long long)w, (long long)c, (long long)desc->n_in);
    *shape = (fa_shape){h, w, c};
    return FA_OK;
}

fa_status fa_expect_map(const fa_layer *layer)
{
    if (layer->in_shape.h) return FA_OK;
    const int64_t n = layer->n_in, side = (int64_t)sqrt((double)n);
    if (layer->index || side * side != n)
        return fa_fail(FA_E_VALUE,
                       "layer %d: %s: expected images of shape (height, width, channels), got rows "
                       "of %lld numbers",
                       layer->index, layer->ops->name, (long long)n);
    return fa_fail(FA_E_VALUE,
                   "layer %d: %s: expected images of shape (height, width, channels), got rows of "
                   "%lld numbers; give the shape of the input, such as (%lld, %lld, 1)",
                   layer->index, layer->ops->name, (long long)n, (long long)side, (long long)side);
}

fa_status fa_expect_flat(const fa_layer *layer)
{
    const fa_shape s = layer->in_shape;
    if (!s.h) return FA_OK;
    return fa_fail(
        FA_E_VALUE,
        "layer %d: %s: expected rows of numbers, got images of shape (%lld, %lld, %lld); "
        "put a Flatten layer before it",
        layer->index, layer->ops->name, (long long)s.h, (long long)s.w, (long long)s.c);
}

fa_status fa_plan_map(fa_layer *layer, int64_t h, int64_t w, int64_t c)
{
    if ((double)h * (double)w * (double)c > MOST)
        return fa_fail(FA_E_VALUE,
                       "layer %d: output: expected at most %d numbers a sample, got %lld x %lld x "
                       "%lld",
                       layer->index, MOST, (long long)h, (long long)w, (long long)c);
    layer->out_shape = (fa_shape){h, w, c};
    layer->n_out = h * w * c;
    return FA_OK;
}

static fa_status expect_sizes(const fa_layer *layer, const char *what, int64_t h, int64_t w,
                              int64_t least)
{
    if (h >= least && w >= least && h <= MOST && w <= MOST) return FA_OK;
    return fa_fail(FA_E_VALUE, "layer %d: %s: expected %lld to %d, got (%lld, %lld)", layer->index,
                   what, (long long)least, MOST, (long long)h, (long long)w);
}

/* Along one axis: as many positions as the image has at this stride, with the zeros that they need,
 * an odd one at the end. */
static void pad_same(int64_t *out, int64_t *before, int64_t *after, int64_t in, int64_t kernel,
                     int64_t stride)
{
    *out = fa_ceil_div(in, stride);
    const int64_t zeros = (*out - 1) * stride + kernel - in;
    *before = zeros > 0 ? zeros / 2 : 0;
    *after = zeros > 0 ? zeros - *before : 0;
}

static fa_status pad_evenly(fa_window *g, const fa_layer *layer, const char *what)
{
    const fa_layer_desc *d = &layer->desc;
    FA_TRY(expect_sizes(layer, "padding", d->pad_h, d->pad_w, 0));
    g->pad_top = g->pad_bottom = d->pad_h;
    g->pad_left = g->pad_right = d->pad_w;
    const int64_t h = g->in_h + 2 * d->pad_h, w = g->in_w + 2 * d->pad_w;
    if (g->kernel_h > h || g->kernel_w > w)
        return fa_fail(
            FA_E_VALUE,
            "layer %d: %s: expected at most (%lld, %lld), the size of the image with its "
            "padding, got (%lld, %lld)",
            layer->index, what, (long long)h, (long long)w, (long long)g->kernel_h,
            (long long)g->kernel_w);
    g->out_h = (h - g->kernel_h) / g->stride_h + 1;
    g->out_w = (w - g->kernel_w) / g->stride_w + 1;
    return FA_OK;
}

/* Kernels count the numbers of a padded image in 32 bits. */
static fa_status check_padded(const fa_window *g, const fa_layer *layer)
{
    const int64_t h = g->pad_top + g->in_h + g->pad_bottom,
                  w = g->pad_left + g->in_w + g->pad_right;
    if ((double)h * (double)w * (double)g->channels <= MOST) return FA_OK;
    return fa_fail(
        FA_E_VALUE,
        "layer %d: padding: expected at most %d numbers in an image with its padding, got "
        "%lld x %lld x %lld",
        layer->index, MOST, (long long)h, (long long)w, (long long)g->channels);
}

fa_status fa_plan_window(fa_window *g, fa_net *net, const fa_layer *layer, const char *what)
{
    const fa_layer_desc *d = &layer->desc;
    const fa_shape in = layer->in_shape;
    const char *padding = d->padding ? d->padding : "valid";
    const bool same = !strcmp(padding, "same");
    FA_TRY(fa_expect_map(layer));
    FA_TRY(expect_sizes(layer, what, d->kernel_h, d->kernel_w, 1));
    FA_TRY(expect_sizes(layer, "strides", d->stride_h, d->stride_w, 0));
    if (!same && strcmp(padding, "valid"))
        return fa_fail(FA_E_VALUE, "layer %d: padding: expected 'valid' or 'same', got '%s'",
                       layer->index, padding);
    if (d->padding && (d->pad_h || d->pad_w))
        return fa_fail(FA_E_VALUE,
                       "layer %d: pad_h, pad_w: expected zeros where padding is given, got %lld, "
                       "%lld",
                       layer->index, (long long)d->pad_h, (long long)d->pad_w);
    *g = (fa_window){.in_h = in.h, .in_w = in.w, .channels = in.c};
    g->kernel_h = d->kernel_h, g->kernel_w = d->kernel_w;
    const bool pools = !(layer->ops->flags & FA_WEIGHTED);
    g->stride_h = d->stride_h ? d->stride_h : pools ? d->kernel_h : 1;
    g->stride_w = d->stride_w ? d->stride_w : pools ? d->kernel_w : 1;
    net->has_windows = true;
    if (!same) {
        FA_TRY(pad_evenly(g, layer, what));
        return check_padded(g, layer);
    }
    pad_same(&g->out_h, &g->pad_top, &g->pad_bottom, in.h, g->kernel_h, g->stride_h);
    pad_same(&g->out_w, &g->pad_left, &g->pad_right, in.w, g->kernel_w, g->stride_w);
    return check_padded(g, layer);
}

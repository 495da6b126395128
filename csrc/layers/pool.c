/* Pools: max_pool2d and avg_pool2d take the largest number of each window of a map, or the average;
 * global_avg_pool2d averages the whole map. Each channel by itself. */
#include "layers/layers.h"

enum { MOST_PLACES = 256 }; /* of a window of max_pool2d: a byte says which place has the largest */

typedef struct state {
    fa_window window;
    fa_buf which; /* bytes: the place in its window of each largest number; or FA_NO_BUF */
} state;

static const fa_window *window(const fa_layer *layer)
{ return &((const state *)layer->state)->window; }
static fa_buf which(const fa_layer *layer) { return ((const state *)layer->state)->which; }

static fa_status plan_state(fa_net *net, fa_layer *layer, state **own)
{
    FA_TRY(fa_plan_private(net, &layer->state, sizeof(state)));
    *own = layer->state;
    (*own)->which = FA_NO_BUF;
    return FA_OK;
}

/* The output has a width of its own, and so has its signal. Below the first layer with weights
 * there is no signal. */
static void plan_buffers(fa_net *net, fa_layer *layer)
{
    layer->out = fa_plan_buffer(net, layer->n_out, net->esize);
    if (net->n_blocks) layer->signal = fa_plan_buffer(net, layer->n_out, net->esize);
}

/* Each window must have a place in the image: those of the padding do not count. */
static fa_status plan_windows(fa_net *net, fa_layer *layer)
{
    const fa_layer_desc *d = &layer->desc;
    state *own;
    FA_TRY(plan_state(net, layer, &own));
    const fa_window *g = &own->window;
    FA_TRY(fa_plan_window(&own->window, net, layer, "pool_size"));
    if (d->pad_h >= d->kernel_h || d->pad_w >= d->kernel_w)
        return fa_fail(FA_E_VALUE,
                       "layer %d: padding: expected less than pool_size (%lld, %lld), got (%lld, "
                       "%lld)",
                       layer->index, (long long)d->kernel_h, (long long)d->kernel_w,
                       (long long)d->pad_h, (long long)d->pad_w);
    FA_TRY(fa_plan_map(layer, g->out_h, g->out_w, g->channels));
    plan_buffers(net, layer);
    return FA_OK;
}

static fa_status plan_max(fa_net *net, fa_layer *layer)
{
    const fa_layer_desc *d = &layer->desc;
    FA_TRY(plan_windows(net, layer));
    if ((double)d->kernel_h * (double)d->kernel_w > MOST_PLACES)
        return fa_fail(FA_E_VALUE,
                       "layer %d: pool_size: expected at most %d positions in a window, got %lld x "
                       "%lld",
                       layer->index, MOST_PLACES, (long long)d->kernel_h, (long long)d->kernel_w);
    const fa_buf places = fa_plan_buffer(net, layer->n_out, 1);
    net->buffers[places].predicts = true; /* the kernel always writes them */
    ((state *)layer->state)->which = places;
    return FA_OK;
}

/* One window as large as the map; the output is a row of numbers. */
static fa_status plan_global(fa_net *net, fa_layer *layer)
{
    const fa_shape in = layer->in_shape;
    state *own;
    FA_TRY(fa_expect_map(layer));
    FA_TRY(plan_state(net, layer, &own));
    own->window = (fa_window){.in_h = in.h,
                              .in_w = in.w,
                              .channels = in.c,
                              .kernel_h = in.h,
                              .kernel_w = in.w,
                              .stride_h = in.h,
                              .stride_w = in.w,
                              .out_h = 1,
                              .out_w = 1};
    net->has_windows = true;
    layer->out_shape = (fa_shape){0, 0, in.c};
    layer->n_out = in.c;
    plan_buffers(net, layer);
    return FA_OK;
}

static void forward_max(const fa_layer *layer, const fa_run *run, fa_part part, int worker)
{
    (void)worker;
    const fa_mat x = fa_get(run, layer->in, part.rows), y = fa_get(run, layer->out, part.rows);
    const fa_mat places = fa_get(run, which(layer), part.rows);
    run->net->k->max_pool(y.p, y.ld, (uint8_t *)places.p, places.ld, x.p, x.ld, window(layer),
                          x.rows);
}

static void backward_max(const fa_layer *layer, const fa_run *run, fa_rows rows, fa_mat d,
                         fa_mat below)
{
    const fa_mat places = fa_get(run, which(layer), rows);
    run->net->k->max_pool_back(below.p, below.ld, d.p, d.ld, (const uint8_t *)places.p, places.ld,
                               window(layer), d.rows);
}

static void forward_average(const fa_layer *layer, const fa_run *run, fa_part part, int worker)
{
    (void)worker;
    const fa_mat x = fa_get(run, layer->in, part.rows), y = fa_get(run, layer->out, part.rows);
    run->net->k->average_pool(y.p, y.ld, x.p, x.ld, window(layer), x.rows);
}

static void backward_average(const fa_layer *layer, const fa_run *run, fa_rows rows, fa_mat d,
                             fa_mat below)
{
    (void)rows;
    run->net->k->average_pool_back(below.p, below.ld, d.p, d.ld, window(layer), d.rows);
}

const fa_layer_ops fa_layer_max_pool2d = {
    .name = "max_pool2d", .plan = plan_max, .forward = forward_max, .backward_to = backward_max};
const fa_layer_ops fa_layer_avg_pool2d = {.name = "avg_pool2d",
                                          .plan = plan_windows,
                                          .forward = forward_average,
                                          .backward_to = backward_average};
const fa_layer_ops fa_layer_global_avg_pool2d = {.name = "global_avg_pool2d",
                                                 .plan = plan_global,
                                                 .forward = forward_average,
                                                 .backward_to = backward_average};

/* Dropout2D (Tompson et al. 2015): dropout of whole channels of a map, inverted. The mask is that of
 * Dropout on a row of the channels: a function of (seed, step, layer, row, channel). */
#include "layers/layers.h"

typedef struct state {
    fa_buf mask; /* bytes: 1 where a channel is kept */
} state;

static const fa_option_row dropout2d_options[] = {
    {.name = "rate",
     FA_HALF_OPEN(0, 1),
     .field = offsetof(fa_layer_desc, rate),
     .meaning = "probability that a channel is dropped"},
    {0}};

static fa_buf mask_of(const fa_layer *layer) { return ((const state *)layer->state)->mask; }

static fa_status plan(fa_net *net, fa_layer *layer)
{
    FA_TRY(fa_expect_map(layer));
    layer->out = fa_plan_buffer(net, layer->n_out, net->esize);
    FA_TRY(fa_plan_private(net, &layer->state, sizeof(state)));
    ((state *)layer->state)->mask = fa_plan_buffer(net, layer->out_shape.c, 1);
    net->has_windows = true; /* its masks are for whole rows */
    return FA_OK;
}

/* Row i of a map as its positions x channels */
static fa_mat map_of(const fa_net *net, const fa_layer *layer, fa_mat a, int64_t i)
{
    const fa_shape s = layer->out_shape;
    return (fa_mat){a.p + (size_t)(i * a.ld) * net->esize, s.c, s.h * s.w, s.c};
}

static void forward(const fa_layer *layer, const fa_run *run, fa_part part, int worker)
{
    (void)worker;
    const fa_net *net = run->net;
    const fa_mat x = fa_get(run, layer->in, part.rows), y = fa_get(run, layer->out, part.rows);
    const fa_mat mask = fa_get(run, mask_of(layer), part.rows);
    const fa_stream s = fa_rng_stream(net->seed, FA_RNG_DROPOUT, layer->index, run->step);
    const double rate = layer->desc.rate, scale = 1 / (1 - rate);
    for (int64_t i = 0; i < y.rows; i++) {
        const fa_mat from = map_of(net, layer, x, i), to = map_of(net, layer, y, i);
        uint8_t *const keep = (uint8_t *)mask.p + i * mask.ld;
        net->k->dropout(to.p, to.ld, keep, mask.ld, from.p, from.ld, 1, to.cols,
                        (uint32_t)(rate * 4294967296.0), scale, part.rows.r0 + i, s.key[0],
                        s.key[1], s.c2, s.c3);
        net->k->gather(to.p, to.ld, from.p, from.ld, NULL, to.rows, to.cols, 1);
        net->k->ddropout(to.p, to.ld, keep, 0, to.rows, to.cols, scale);
    }
}

static void backward(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d, bool exact,
                     int worker)
{
    (void)worker;
    const fa_mat mask = fa_get(run, mask_of(layer), part.rows);
    for (int64_t i = 0; i < d.rows; i++) {
        const fa_mat map = map_of(run->net, layer, d, i);
        run->net->k->ddropout(map.p, map.ld, (const uint8_t *)mask.p + i * mask.ld, 0, map.rows,
                              map.cols, exact ? 1 / (1 - layer->desc.rate) : 1);
    }
}

const fa_layer_ops fa_layer_dropout2d = {.name = "dropout2d",
                                         .flags = FA_TRAIN_ONLY,
                                         .options = dropout2d_options,
                                         .plan = plan,
                                         .forward = forward,
                                         .backward = backward};

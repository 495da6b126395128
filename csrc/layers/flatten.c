/* Flatten: a map as a row of numbers. Rows of maps are contiguous, so only the shape changes. */
#include "layers/layers.h"

static fa_status plan(fa_net *net, fa_layer *layer)
{
    (void)net;
    layer->out = layer->in;
    layer->out_shape = (fa_shape){0, 0, layer->n_in};
    return FA_OK;
}

static void forward(const fa_layer *layer, const fa_run *run, fa_part part, int worker)
{ (void)layer, (void)run, (void)part, (void)worker; }

static void backward(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d, bool exact,
                     int worker)
{ (void)layer, (void)run, (void)part, (void)d, (void)exact, (void)worker; }

const fa_layer_ops fa_layer_flatten = {
    .name = "flatten", .plan = plan, .forward = forward, .backward = backward};

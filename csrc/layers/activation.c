/* Activation: H = f(H below), number by number; for networks where something stands between the sums
 * of a layer and its f, such as a normalisation. */
#include "layers/layers.h"

static const fa_option_row activation_options[] = {FA_OPTIONS_OF_ACTIVATIONS, {0}};

static fa_status plan(fa_net *net, fa_layer *layer)
{
    layer->out = fa_plan_buffer(net, layer->n_out, net->esize);
    return FA_OK;
}

static void forward(const fa_layer *layer, const fa_run *run, fa_part part, int worker)
{
    (void)worker;
    const fa_mat x = fa_get_part(run, layer->in, part), y = fa_get_part(run, layer->out, part);
    run->net->k->act[layer->activation](y.p, y.ld, x.p, x.ld, y.rows, y.cols, layer->f_option);
}

static void backward(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d, bool exact,
                     int worker)
{
    (void)worker;
    if (!exact) return;
    const bool of_input = fa_activation_flags(layer->activation) & FA_NEEDS_PREACT;
    const fa_mat x = fa_get_part(run, of_input ? layer->in : layer->out, part);
    run->net->k->dact[layer->activation](d.p, d.ld, x.p, x.ld, d.rows, d.cols, layer->f_option);
}

const fa_layer_ops fa_layer_activation = {.name = "activation",
                                          .flags = FA_ACTIVATES,
                                          .options = activation_options,
                                          .plan = plan,
                                          .columns = true,
                                          .forward = forward,
                                          .backward = backward};

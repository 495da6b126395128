/* What layers with weights have in common: the checks of their description, W, b and outputs. */
#include "layers/layers.h"

#include <math.h>

fa_status fa_check_weighted(const fa_layer *layer, const char *columns)
{
    const fa_layer_desc *d = &layer->desc;
    const int i = layer->index;
    if (d->units < 1 || d->units > INT32_MAX)
        return fa_fail(FA_E_VALUE, "layer %d: %s: expected 1 to %d, got %lld", i, columns,
                       INT32_MAX, (long long)d->units);
    if (!(d->lr_scale >= 0 && d->bias_lr_scale >= 0) || !isfinite(d->lr_scale) ||
        !isfinite(d->bias_lr_scale))
        return fa_fail(
            FA_E_VALUE,
            "layer %d: lr_scale, bias_lr_scale: expected finite numbers >= 0, got %g, %g", i,
            d->lr_scale, d->bias_lr_scale);
    return FA_OK;
}

fa_status fa_plan_weighted(fa_net *net, fa_layer *layer, int64_t rows,
                           fa_plan_buffer_fn *plan_buffer)
{
    const fa_layer_desc *d = &layer->desc;
    const int i = layer->index;
    FA_TRY(fa_init_check(&d->weight_init, "weight_init", i, rows, d->units));
    FA_TRY(fa_init_check(&d->bias_init, "bias_init", i, 1, d->units));
    layer->out = plan_buffer(net, layer->n_out, net->esize);
    if (fa_activation_flags(layer->activation) & FA_NEEDS_PREACT)
        layer->preact = plan_buffer(net, layer->n_out, net->esize);
    layer->weight = fa_plan_param(net, "weight", i, FA_WEIGHT, rows, d->units);
    layer->weight->lr_scale = d->lr_scale;
    if (d->use_bias) {
        layer->bias = fa_plan_param(net, "bias", i, FA_BIAS, 1, d->units);
        layer->bias->lr_scale = d->lr_scale * d->bias_lr_scale;
    }
    return FA_OK;
}

void fa_weighted_backward(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d,
                          bool exact, int worker)
{
    (void)worker;
    if (!exact) return;
    const bool from_a = fa_activation_flags(layer->activation) & FA_NEEDS_PREACT;
    const fa_mat x = fa_get_part(run, from_a ? layer->preact : layer->out, part);
    run->net->k->dact[layer->activation](d.p, d.ld, x.p, x.ld, d.rows, d.cols, layer->f_option);
}

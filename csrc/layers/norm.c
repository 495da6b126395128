/* Normalisations of each sample by itself: u = (x - mean) / sqrt(variance + eps) over groups of its
 * numbers, y = u scale + shift with a scale and a shift for each feature or channel.
 *   layer_norm   a group is a row of features, or the channels of a position (Ba et al. 2016)
 *   rms_norm     the same groups; no mean, and the mean square for the variance (Zhang and Sennrich
 *                2019)
 *   group_norm   a group is some features, or some channels at all positions (Wu and He 2018) */
#include "layers/layers.h"

#include <math.h>
#include <string.h>

enum { EPS, SCALE, SHIFT, GROUPS };
#define OPTIONS_OF_NORMS                                                                           \
    [EPS] = {.name = "eps",                                                                        \
             .number = 1e-5,                                                                       \
             FA_MORE_THAN(0),                                                                      \
             .meaning = "is added to the variance"},                                               \
    [SCALE] = {.name = "scale",                                                                    \
               .kind = FA_OPTION_FLAG,                                                             \
               .number = 1,                                                                        \
               FA_CLOSED(0, 1),                                                                    \
               .meaning = "1: a factor for each feature or channel, ones at first"},               \
    [SHIFT] = {.name = "shift",                                                                    \
               .kind = FA_OPTION_FLAG,                                                             \
               .number = 1,                                                                        \
               FA_CLOSED(0, 1),                                                                    \
               .meaning = "1: a number that is added to each, zeros at first"}
static const fa_option_row norm_options[] = {OPTIONS_OF_NORMS, {0}};
static const fa_option_row group_options[] = {
    OPTIONS_OF_NORMS,
    [GROUPS] = {.name = "groups",
                .kind = FA_OPTION_INTEGER,
                .number = 1,
                FA_CLOSED(1, INT32_MAX),
                .meaning = "parts of the features or channels, each normalised by itself"},
    {0}};

typedef struct state {
    fa_buf unit, factor; /* u; 1 / sqrt(variance + eps) of each group, in double */
    /* Groups of a sample; the numbers of one, as rows that are `channels` numbers apart; from a group
     * to the next. */
    int64_t groups, rows, cols, step;
    int64_t channels;          /* of a position, or features */
    bool centred, of_channels; /* of_channels: groups have channels of their own */
    double eps;
} state;
static const state *state_of(const fa_layer *layer) { return layer->state; }

static fa_status check(const fa_net *net, const fa_layer *layer)
{
    const fa_layer_desc *d = &layer->desc;
    const bool learns =
        fa_layer_option(layer, SCALE)->number + fa_layer_option(layer, SHIFT)->number;
    if (!(d->lr_scale >= 0) || !isfinite(d->lr_scale))
        return fa_fail(FA_E_VALUE, "layer %d: lr_scale: expected a finite number >= 0, got %g",
                       layer->index, d->lr_scale);
    if (net->n_blocks || !d->trainable || !learns) return FA_OK;
    return fa_fail(FA_E_VALUE,
                   "layer %d: %s: expected one without a scale and shift that train before the "
                   "first layer with weights, got one with them; no signal reaches it there: set "
                   "trainable to false",
                   layer->index, layer->ops->name);
}

static void plan_params(fa_net *net, fa_layer *layer)
{
    static const char *const names[] = {"scale", "shift"};
    const int64_t channels = state_of(layer)->channels;
    for (int i = 0; i < FA_ROW_PARAMS; i++) {
        if (fa_layer_option(layer, SCALE + i)->number == 0) continue;
        fa_param *p = fa_plan_param(net, names[i], layer->index, FA_BIAS, 1, channels);
        p->lr_scale = layer->desc.lr_scale;
        layer->row_param[i] = p;
        net->has_row_params = true;
        layer->row_gradient[i] = fa_plan_buffer(net, channels, net->esize);
    }
}

/* The groups are set. */
static fa_status plan_norm(fa_net *net, fa_layer *layer, state *own)
{
    FA_TRY(check(net, layer));
    own->eps = fa_layer_option(layer, EPS)->number;
    layer->out = fa_plan_buffer(net, layer->n_out, net->esize);
    own->unit = fa_plan_buffer(net, layer->n_out, net->esize);
    own->factor = fa_plan_buffer(net, own->groups, sizeof(double));
    plan_params(net, layer);
    return FA_OK;
}

static fa_status plan_state(fa_net *net, fa_layer *layer, state **own)
{
    const fa_shape s = layer->in_shape;
    FA_TRY(fa_plan_private(net, &layer->state, sizeof(state)));
    *own = layer->state;
    (*own)->channels = (*own)->cols = s.c;
    (*own)->groups = s.h ? s.h * s.w : 1;
    (*own)->rows = 1, (*own)->step = s.c;
    (*own)->centred = true;
    return FA_OK;
}

static fa_status plan_layer_norm(fa_net *net, fa_layer *layer)
{
    state *own;
    FA_TRY(plan_state(net, layer, &own));
    return plan_norm(net, layer, own);
}

static fa_status plan_rms_norm(fa_net *net, fa_layer *layer)
{
    state *own;
    FA_TRY(plan_state(net, layer, &own));
    own->centred = false;
    return plan_norm(net, layer, own);
}

static fa_status plan_group_norm(fa_net *net, fa_layer *layer)
{
    state *own;
    FA_TRY(plan_state(net, layer, &own));
    const int64_t groups = (int64_t)fa_layer_option(layer, GROUPS)->number;
    if (own->channels % groups)
        return fa_fail(FA_E_VALUE,
                       "layer %d: type 'group_norm': groups: expected a divisor of %lld, the "
                       "number of features or "
                       "channels, got %lld",
                       layer->index, (long long)own->channels, (long long)groups);
    own->rows = own->groups; /* all positions */
    own->groups = groups, own->of_channels = true;
    own->cols = own->step = own->channels / groups;
    return plan_norm(net, layer, own);
}

static void draw(const fa_net *net, const fa_layer *layer)
{
    const fa_param *scale = layer->row_param[0];
    for (int64_t j = 0; scale && j < scale->cols; j++) {
        if (net->dtype == FA_F64)
            ((double *)scale->value)[j] = 1;
        else
            ((float *)scale->value)[j] = 1;
    }
}

/* Number `first` of a row, or NULL */
static char *from_number(const fa_net *net, void *row, int64_t first)
{ return row ? (char *)row + (size_t)first * net->esize : NULL; }

static void *value_of(const fa_param *p) { return p ? p->value : NULL; }

static void forward(const fa_layer *layer, const fa_run *run, fa_part part, int worker)
{
    (void)worker;
    const fa_net *net = run->net;
    const state *own = state_of(layer);
    const bool keeps = run->mode < FA_PREDICT;
    const fa_mat x = fa_get(run, layer->in, part.rows), y = fa_get(run, layer->out, part.rows);
    const fa_mat unit = fa_get(run, own->unit, part.rows), f = fa_get(run, own->factor, part.rows);
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t g = 0; g < own->groups; g++) {
            const int64_t at = g * own->step, channel = own->of_channels ? at : 0;
            const double factor = net->k->normalise(
                from_number(net, y.p, i * y.ld + at), own->channels,
                keeps ? from_number(net, unit.p, i * unit.ld + at) : NULL, own->channels,
                from_number(net, x.p, i * x.ld + at), own->channels,
                from_number(net, value_of(layer->row_param[0]), channel),
                from_number(net, value_of(layer->row_param[1]), channel), own->rows, own->cols,
                own->eps, own->centred);
            if (keeps) ((double *)f.p)[i * f.ld + g] = factor;
        }
}

/* The row of a parameter's gradient, zeroed; NULL without the parameter */
static char *gradient_row(const fa_layer *layer, const fa_run *run, int which, int64_t row)
{
    if (!layer->row_param[which]) return NULL;
    const fa_mat g = fa_get(run, layer->row_gradient[which], (fa_rows){row, row + 1});
    memset(g.p, 0, (size_t)g.cols * run->net->esize);
    return g.p;
}

static void backward(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d, bool exact,
                     int worker)
{
    (void)worker;
    if (!exact) return;
    const fa_net *net = run->net;
    const state *own = state_of(layer);
    const fa_mat unit = fa_get(run, own->unit, part.rows), f = fa_get(run, own->factor, part.rows);
    for (int64_t i = 0; i < d.rows; i++) {
        char *const d_scale = gradient_row(layer, run, 0, part.rows.r0 + i);
        char *const d_shift = gradient_row(layer, run, 1, part.rows.r0 + i);
        for (int64_t g = 0; g < own->groups; g++) {
            const int64_t at = g * own->step, channel = own->of_channels ? at : 0;
            net->k->normalise_back(
                from_number(net, d.p, i * d.ld + at), own->channels,
                from_number(net, d_scale, channel), from_number(net, d_shift, channel),
                from_number(net, unit.p, i * unit.ld + at), own->channels,
                from_number(net, value_of(layer->row_param[0]), channel), own->rows, own->cols,
                ((const double *)f.p)[i * f.ld + g], own->centred);
        }
    }
}

const fa_layer_ops fa_layer_layer_norm = {.name = "layer_norm",
                                          .flags = FA_WHOLE_ROWS,
                                          .options = norm_options,
                                          .plan = plan_layer_norm,
                                          .forward = forward,
                                          .backward = backward,
                                          .draw = draw};
const fa_layer_ops fa_layer_rms_norm = {.name = "rms_norm",
                                        .flags = FA_WHOLE_ROWS,
                                        .options = norm_options,
                                        .plan = plan_rms_norm,
                                        .forward = forward,
                                        .backward = backward,
                                        .draw = draw};
const fa_layer_ops fa_layer_group_norm = {.name = "group_norm",
                                          .flags = FA_WHOLE_ROWS,
                                          .options = group_options,
                                          .plan = plan_group_norm,
                                          .forward = forward,
                                          .backward = backward,
                                          .draw = draw};

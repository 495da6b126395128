/* Initial values of parameters: the table of initialisers, checks, and drawing. */
#include "model/declare.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Uniform in +-size or normal with standard deviation size, where size = scale * sqrt(gain / (in *
 * fan_in + out * fan_out)), or size = scale for those without fans. */
typedef struct fa_initialiser {
    const char *name;
    bool normal;
    double gain, in, out;
    double scale; /* the default, if the description names no initialiser */
} fa_initialiser;

static const fa_initialiser initialisers[] = {
    {"zeros", false, 0, 1, 0, 1},
    {"normal", true, 0, 0, 0, 0.05},
    {"uniform", false, 0, 0, 0, 0.05},
    {"glorot_uniform", false, 6, 1, 1, 1}, /* Glorot and Bengio 2010 */
    {"glorot_normal", true, 2, 1, 1, 1},
    {"he_uniform", false, 6, 1, 0, 1}, /* He et al. 2015 */
    {"he_normal", true, 2, 1, 0, 1},
    {"lecun_uniform", false, 3, 1, 0, 1}, /* LeCun et al. 1998 */
    {"lecun_normal", true, 1, 1, 0, 1},
};
enum { N_INITIALISERS = sizeof initialisers / sizeof *initialisers };

const char *fa_init_name(int i)
{ return i >= 0 && i < N_INITIALISERS ? initialisers[i].name : NULL; }

static const fa_initialiser *find(const char *name)
{
    for (int i = 0; i < N_INITIALISERS; i++)
        if (!strcmp(initialisers[i].name, name)) return &initialisers[i];
    return NULL;
}

const char *fa_init_intern(const char *name) { return name ? find(name)->name : NULL; }
static fa_status check_values(const fa_init *init, const char *what, int layer, int64_t rows,
                              int64_t cols)
{
    if (init->rows != rows || init->cols != cols)
        return fa_fail(FA_E_VALUE,
                       "layer %d: %s: expected values of shape (%lld, %lld), got (%lld, %lld)",
                       layer, what, (long long)rows, (long long)cols, (long long)init->rows,
                       (long long)init->cols);
    return FA_OK;
}

fa_status fa_init_check(const fa_init *init, const char *what, int layer, int64_t rows,
                        int64_t cols)
{
    if (init->values) return check_values(init, what, layer, rows, cols);
    if (init->name && !find(init->name))
        return fa_fail(FA_E_VALUE, "layer %d: %s: expected the name of an initialiser, got '%s'",
                       layer, what, init->name);
    if (!(init->scale >= 0 && init->scale <= FLT_MAX))
        return fa_fail(FA_E_VALUE,
                       "layer %d: %s: expected a scale >= 0 that a float can hold, got %g", layer,
                       what, init->scale);
    return FA_OK;
}

double fa_init_size(bool *normal, const char *name, double scale, int64_t n_in, int64_t n_out)
{
    const fa_initialiser *row = find(name);
    const double fans = row->in * (double)n_in + row->out * (double)n_out;
    *normal = row->normal;
    return fans > 0 ? scale * sqrt(row->gain / fans) : scale;
}

void fa_draw_param(const fa_net *net, fa_param *p, const fa_init *init, const char *fallback,
                   const fa_layer *layer, int purpose)
{
    const int64_t n = p->rows * p->cols;
    if (init->values) {
        memcpy(p->value, init->values, (size_t)n * net->esize);
        return;
    }
    const char *name = init->name ? init->name : fallback;
    bool normal;
    const double size =
        fa_init_size(&normal, name, init->name ? init->scale : find(name)->scale,
                     p == layer->recurrent ? p->rows : layer->fan_in, layer->fan_out);
    if (size == 0) return; /* the memory is zeroed; half of the draws times 0 would be -0 */
    (normal ? fa_rng_normal : fa_rng_uniform)(p->value, net->dtype, 0, n, size,
                                              fa_rng_stream(net->seed, purpose, layer->ordinal, 0));
}

void fa_draw_state(fa_net *net)
{
    fa_state *state = fa_state_of(net); /* readers take no lock: each number is one atomic store */
    state->steps = state->epochs = 0;
    state->lr = net->optim.desc.lr;
    memset(net->state + sizeof *state, 0, net->state_size - sizeof *state);
    for (int b = 0; b < net->n_blocks; b++) {
        const fa_layer *layer = net->blocks[b].layer;
        fa_draw_param(net, layer->weight, &layer->desc.weight_init,
                      fa_default_init(layer->desc.activation), layer, FA_RNG_WEIGHT);
        if (layer->bias)
            fa_draw_param(net, layer->bias, &layer->desc.bias_init, "zeros", layer, FA_RNG_BIAS);
        if (layer->ops->draw) layer->ops->draw(net, layer);
    }
    for (int i = 0; i < net->n_layers && net->has_row_params; i++) {
        const fa_layer *layer = &net->layers[i];
        if (layer->row_param[0] || layer->row_param[1]) layer->ops->draw(net, layer);
    }
    for (int b = 0; b < net->n_blocks - 1; b++)
        fa_draw_feedback(net, b); /* after all weights: it may be a copy of them */
}

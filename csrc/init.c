/* Initial values of parameters and feedback: the table of initialisers, checks, and drawing. */
#include "internal.h"

#include <math.h>
#include <string.h>

/* Uniform in +-size or normal with standard deviation size, where
 * size = scale * sqrt(gain / (in * fan_in + out * fan_out)), or scale alone without fans. */
typedef struct fa_initialiser {
    const char *name;
    bool normal;
    double gain, in, out;
    double scale; /* when the description leaves it 0 */
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

static const char *const distributions[] = {"uniform", "normal"};

const char *fa_init_name(int i) { return i >= 0 && i < N_INITIALISERS ? initialisers[i].name : NULL; }
const char *fa_distribution_name(int i) { return i >= 0 && i < 2 ? distributions[i] : NULL; }

static const fa_initialiser *find(const char *name)
{
    for (int i = 0; i < N_INITIALISERS; i++)
        if (!strcmp(initialisers[i].name, name)) return &initialisers[i];
    return NULL;
}

const char *fa_init_intern(const char *name) { return name ? find(name)->name : NULL; }
const char *fa_distribution_intern(const char *name)
{
    return distributions[name && !strcmp(name, distributions[1])];
}

static fa_status check_values(const fa_init *init, const char *what, int layer, int64_t rows, int64_t cols)
{
    if (init->rows != rows || init->cols != cols)
        return fa_fail(FA_E_VALUE, "layer %d: %s: expected values of shape (%lld, %lld), got (%lld, %lld)", layer, what,
                       (long long)rows, (long long)cols, (long long)init->rows, (long long)init->cols);
    return FA_OK;
}

fa_status fa_init_check(const fa_init *init, const char *what, int layer, int64_t rows, int64_t cols)
{
    if (init->values) return check_values(init, what, layer, rows, cols);
    if (init->name && !find(init->name))
        return fa_fail(FA_E_VALUE, "layer %d: %s: expected the name of an initialiser, got '%s'", layer, what, init->name);
    if (!isfinite(init->scale) || init->scale < 0)
        return fa_fail(FA_E_VALUE, "layer %d: %s: expected a scale >= 0, got %g", layer, what, init->scale);
    return FA_OK;
}

fa_status fa_feedback_check(const fa_init *init, int layer, int64_t rows, int64_t cols)
{
    if (!isfinite(init->scale))
        return fa_fail(FA_E_VALUE, "layer %d: feedback: expected a finite scale, got %g", layer, init->scale);
    if (init->values) return check_values(init, "feedback", layer, rows, cols);
    if (init->name && strcmp(init->name, distributions[0]) && strcmp(init->name, distributions[1]))
        return fa_fail(FA_E_VALUE, "layer %d: feedback: expected 'uniform', 'normal' or values, got '%s'", layer, init->name);
    return FA_OK;
}

static void draw(const fa_net *net, fa_param *p, const fa_init *init, const char *fallback, const fa_layer *layer)
{
    const int64_t n = p->rows * p->cols;
    if (init->values) {
        memcpy(p->value, init->values, (size_t)n * net->esize);
        return;
    }
    const fa_initialiser *how = find(init->name ? init->name : fallback);
    const double scale = init->name ? init->scale : how->scale;
    const double fans = how->in * (double)layer->n_in + how->out * (double)layer->n_out;
    const double size = fans > 0 ? scale * sqrt(how->gain / fans) : scale;
    const int purpose = p->kind == FA_WEIGHT ? FA_RNG_WEIGHT : FA_RNG_BIAS;
    (how->normal ? fa_rng_normal : fa_rng_uniform)(p->value, net->dtype, 0, n, size,
                                                   fa_rng_stream(net->seed, purpose, layer->ordinal, 0));
}

/* Feedback of either distribution has standard deviation scale / sqrt(3 n_l). */
void fa_draw_feedback_rows(const fa_net *net, int block, uint64_t step, fa_rows rows, fa_mat out)
{
    const fa_layer *layer = net->blocks[block].layer;
    const fa_init *init = &net->blocks[block].rule.desc.feedback;
    const bool normal = init->name && !strcmp(init->name, "normal");
    const double size = init->scale / sqrt((normal ? 3.0 : 1.0) * (double)layer->n_out);
    (normal ? fa_rng_normal : fa_rng_uniform)(out.p, net->dtype, rows.r0 * layer->n_out, out.rows * out.cols, size,
                                              fa_rng_stream(net->seed, FA_RNG_FEEDBACK, layer->ordinal, step));
}

static void draw_feedback(const fa_net *net, int block)
{
    const fa_param *b = net->blocks[block].rule.feedback;
    const fa_init *init = &net->blocks[block].rule.desc.feedback;
    if (init->values)
        net->k->gather(b->value, b->cols, init->values, b->cols, NULL, b->rows, b->cols, init->scale);
    else
        fa_draw_feedback_rows(net, block, 0, (fa_rows){0, b->rows}, (fa_mat){b->value, b->cols, b->rows, b->cols});
}

/* The left factor P, n_source x r, of variance 1/r: P Q has the variance of Q's draw. */
static void draw_projection(const fa_net *net, int block)
{
    const fa_param *p = net->blocks[block].rule.project;
    fa_rng_normal(p->value, net->dtype, 0, p->rows * p->cols, 1 / sqrt((double)p->cols),
                  fa_rng_stream(net->seed, FA_RNG_PROJECTION, net->blocks[block].layer->ordinal, 0));
}

void fa_draw_state(fa_net *net)
{
    memset(net->state, 0, net->state_size);
    ((fa_state *)net->state)->lr = net->optim.desc.lr;
    for (int b = 0; b < net->n_blocks; b++) {
        const fa_layer *layer = net->blocks[b].layer;
        draw(net, layer->weight, &layer->desc.weight_init, fa_default_init(layer->desc.activation), layer);
        if (layer->bias) draw(net, layer->bias, &layer->desc.bias_init, "zeros", layer);
        if (net->blocks[b].rule.feedback) draw_feedback(net, b);
        if (net->blocks[b].rule.project) draw_projection(net, b);
    }
}

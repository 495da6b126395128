/* What the tests of images share: a network with two convolutions, and images for it. */
#ifndef IMAGES_H
#define IMAGES_H

#include "check.h"

enum { IMAGE_H = 6, IMAGE_W = 5, IMAGE_C = 2, N_PIXELS = IMAGE_H * IMAGE_W * IMAGE_C };
enum { N_CLASSES = 3, MOST_IMAGES = 40 };
enum { CONV_1, CONV_2, FLATTEN, HIDDEN, TOP, N_PLAIN }; /* layers of `recipe_images` */

typedef struct {
    fa_layer_desc layers[N_PLAIN + 1];
    fa_rule_desc rule;
    fa_optimizer_desc optimizer;
    fa_net_desc desc;
} image_recipe;

/* 6 x 5 x 2 -> 6 x 5 x 4 -> 3 x 3 x 3 -> 27 -> 7 -> 3; smooth, so that derivatives exist. */
static UNUSED void recipe_images(image_recipe *r, const char *rule, fa_dtype dtype)
{
    r->layers[CONV_1] = fa_conv2d(4, 3, "tanh");
    r->layers[CONV_1].padding = "same";
    r->layers[CONV_2] = fa_conv2d(3, 2, "softplus");
    r->layers[CONV_2].kernel_w = 3, r->layers[CONV_2].stride_h = 2;
    r->layers[FLATTEN] = fa_flatten();
    r->layers[HIDDEN] = fa_dense(7, "tanh");
    r->layers[TOP] = fa_dense(N_CLASSES, "linear");
    r->rule = fa_rule_of(rule);
    r->optimizer = fa_optimizer_of("sgd", 0.1);
    r->desc = fa_net_defaults();
    r->desc.rule = &r->rule, r->desc.optimizer = &r->optimizer;
    r->desc.dtype = dtype, r->desc.seed = 11, r->desc.n_threads = 1;
    r->desc.layers = r->layers, r->desc.n_layers = N_PLAIN;
    r->desc.n_in = N_PIXELS;
    r->desc.input_h = IMAGE_H, r->desc.input_w = IMAGE_W, r->desc.input_c = IMAGE_C;
}

/* The same with dropout between the second map and Flatten. */
static UNUSED void add_dropout(image_recipe *r)
{
    memmove(&r->layers[FLATTEN + 1], &r->layers[FLATTEN], 3 * sizeof r->layers[0]);
    r->layers[FLATTEN] = fa_dropout(0.25);
    r->desc.n_layers = N_PLAIN + 1;
}

/* Whether a rule takes images and has its formula in these tests. */
static UNUSED bool takes_images(const char *rule)
{
    static const char *const without[] = {"ifa", "ldfa", "pfa",  "pepita",
                                          "wm",  "fdfa", "cdni", "dtp"};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        if (!strcmp(rule, without[i])) return false;
    return true;
}

typedef struct {
    int64_t n_in;
    double x[MOST_IMAGES * N_PIXELS]; /* values that a float holds exactly */
    float narrow[MOST_IMAGES * N_PIXELS];
    int64_t labels[MOST_IMAGES];
    double weights[MOST_IMAGES];
} images;

static UNUSED void images_fill(images *d, int64_t n_in)
{
    random_state = 2024;
    d->n_in = n_in;
    for (int i = 0; i < MOST_IMAGES * N_PIXELS; i++)
        d->x[i] = d->narrow[i] = (float)(2 * random_unit() - 1);
    for (int i = 0; i < MOST_IMAGES; i++) {
        d->labels[i] = random_below(N_CLASSES);
        d->weights[i] = 0.5 + random_unit();
    }
}

static UNUSED fa_samples images_of(const images *d, fa_dtype dtype, int64_t first, int64_t n)
{
    const void *x = dtype == FA_F64 ? (const void *)d->x : d->narrow;
    fa_samples s = fa_samples_of(rows_at(x, dtype, first, d->n_in), d->n_in, dtype, n);
    s.labels = d->labels + first;
    s.weights = d->weights + first;
    return s;
}

#endif

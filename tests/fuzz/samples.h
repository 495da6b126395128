/* Samples out of decisions: in blocks that end where they end, mostly right, now and then wrong in
 * one place. */
#ifndef SAMPLES_H
#define SAMPLES_H

#include "describe.h"

/* What all three networks have in common. */
static struct {
    int64_t n_in, n_out;
    fa_dtype dtype;
    size_t esize;
    const char *loss;
} shape;

typedef struct {
    fa_samples s;
    int64_t rows; /* that are there, whatever s.n says */
    void *x, *y;
    int64_t *labels;
    double *weights;
} samples;

static void drop_samples(samples *d) { free(d->x), free(d->y), free(d->labels), free(d->weights); }

static void make_inputs(samples *d)
{
    const fa_dtype type = take(3) ? shape.dtype : FA_U8;
    const ptrdiff_t ldx = shape.n_in + (take(3) ? 0 : take(5));
    const size_t n = (size_t)((d->rows - 1) * ldx + shape.n_in);
    d->x = malloc(n * size_of(type));
    fill(d->x, type, n, once_in(16) ? 1e20 : 1, once_in(12) ? 2 : 0);
    d->s = fa_samples_of(d->x, ldx, type, d->rows);
}

/* Probabilities, or one of a row where the loss wants that. */
static double target_at(size_t i, size_t ldy)
{
    const size_t right = i / ldy % (size_t)shape.n_out;
    if (!strcmp(shape.loss, "softmax_cross_entropy")) return i % ldy == right;
    const double p = random_unit();
    return shape.n_out == 1 && strcmp(shape.loss, "mse") ? p > 0.5 : p;
}

static void make_rows(samples *d)
{
    const ptrdiff_t ldy = shape.n_out + (take(3) ? 0 : take(3));
    const size_t n = (size_t)((d->rows - 1) * ldy + shape.n_out);
    d->y = malloc(n * shape.esize);
    for (size_t i = 0; i < n; i++) put(d->y, shape.dtype, i, target_at(i, (size_t)ldy));
    if (once_in(12)) put(d->y, shape.dtype, random_bits() % n, odd_number());
    d->s.y = d->y, d->s.ldy = ldy;
}

static void make_labels(samples *d)
{
    const int64_t classes = shape.n_out > 1 ? shape.n_out : 2;
    const int64_t odd[] = {-1, INT64_MIN, INT64_MAX, 4096, classes};
    d->labels = malloc((size_t)d->rows * sizeof *d->labels);
    for (int64_t i = 0; i < d->rows; i++) d->labels[i] = random_below((uint32_t)classes);
    if (once_in(12)) d->labels[random_below((uint32_t)d->rows)] = odd[take(5)];
    d->s.labels = d->labels;
}

static void make_weights(samples *d)
{
    static const double odd[] = {-1, NAN, INFINITY, 1e300, 1e-300, 1e30};
    d->weights = malloc((size_t)d->rows * sizeof *d->weights);
    for (int64_t i = 0; i < d->rows; i++) d->weights[i] = take(8) ? random_unit() : 0;
    if (once_in(8)) d->weights[random_below((uint32_t)d->rows)] = odd[take(6)];
    d->s.weights = d->weights;
}

static samples make_samples(int64_t rows, bool targets)
{
    samples d = {.rows = rows};
    make_inputs(&d);
    if (targets) {
        const bool by_rows = take(2);
        if (by_rows) make_rows(&d);
        if (!by_rows || once_in(60)) make_labels(&d);
        if (!take(3)) make_weights(&d);
    }
    if (!once_in(20)) return d;
    switch (take(4)) {
    case 0: d.s.x_dtype = d.s.x_dtype == FA_U8 ? (fa_dtype)9 : (fa_dtype)(1 - shape.dtype); break;
    case 1: d.s.ldx = shape.n_in - 1; break;
    case 2: d.s.n = -(int64_t)take(3); break;
    case 3: d.s.struct_size = take(2) ? 4096 : take((uint32_t)sizeof d.s); break;
    }
    return d;
}

static int64_t any_rows(void) { return take(8) == 7 ? 1 + take(150) : 1 + take(12); }

/* Rows order[first], ... (order NULL: first, ...), n of them, side by side. */
static samples gather(const samples *from, const int64_t *order, int64_t first, int64_t n)
{
    const fa_samples *s = &from->s;
    const size_t x_size = size_of(s->x_dtype);
    const size_t x_row = (size_t)shape.n_in * x_size, y_row = (size_t)shape.n_out * shape.esize;
    samples d = {.rows = n,
                 .x = malloc((size_t)n * x_row),
                 .y = malloc((size_t)n * y_row),
                 .labels = malloc((size_t)n * sizeof *d.labels),
                 .weights = malloc((size_t)n * sizeof *d.weights)};
    for (int64_t i = 0; i < n; i++) {
        const int64_t r = order ? order[first + i] : first + i;
        memcpy((char *)d.x + (size_t)i * x_row, (const char *)s->x + (size_t)(r * s->ldx) * x_size,
               x_row);
        if (s->y)
            memcpy((char *)d.y + (size_t)i * y_row,
                   (const char *)s->y + (size_t)(r * s->ldy) * shape.esize, y_row);
        if (s->labels) d.labels[i] = s->labels[r];
        if (s->weights) d.weights[i] = s->weights[r];
    }
    d.s = fa_samples_of(d.x, shape.n_in, s->x_dtype, n);
    if (s->y) d.s.y = d.y, d.s.ldy = shape.n_out;
    if (s->labels) d.s.labels = d.labels;
    if (s->weights) d.s.weights = d.weights;
    return d;
}

#endif

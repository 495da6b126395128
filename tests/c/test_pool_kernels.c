/* Pooling kernels of every instruction set here, against loops, bit by bit. */
#include "matrices.h"

static int64_t places_of(const fa_window *g) { return g->out_h * g->out_w; }
static int64_t image_of(const fa_window *g) { return g->in_h * g->in_w * g->channels; }

/* Where number k of the window at a place lies in the image's row, for channel c; -1: outside */
static int64_t column_of(const fa_window *g, int64_t place, int64_t k, int64_t c)
{
    const int64_t y = place / g->out_w * g->stride_h - g->pad_top + k / g->kernel_w,
                  x = place % g->out_w * g->stride_w - g->pad_left + k % g->kernel_w;
    if (y < 0 || y >= g->in_h || x < 0 || x >= g->in_w) return -1;
    return (y * g->in_w + x) * g->channels + c;
}

/* Which number of the window is the largest: the first of equals, the last NaN */
static int64_t largest(const matrix *x, int64_t s, const fa_window *g, int64_t place, int64_t c)
{
    int64_t best = -1;
    double top = 0;
    for (int64_t k = 0; k < g->kernel_h * g->kernel_w; k++) {
        const int64_t column = column_of(g, place, k, c);
        if (column < 0) continue;
        const double one = at(x, s, column);
        if (best < 0 || one > top || isnan(one)) best = k, top = one;
    }
    return best;
}

static bool identical(double a, double b)
{ return (isnan(a) && isnan(b)) || (a == b && signbit(a) == signbit(b)); }

static void check_equal(const char *what, const matrix *got, const matrix *expected)
{
    for (int64_t i = 0; i < got->rows; i++)
        for (int64_t j = 0; j < got->cols; j++)
            if (!identical(at(got, i, j), at(expected, i, j)))
                problem(what, i, j, at(got, i, j), at(expected, i, j));
}

/* The gradient of d, each number shared among the places that `share` names */
typedef struct {
    const fa_window *g;
    uint8_t *which; /* of max pooling, or NULL */
    int64_t ldi;
} pooled;

static void expect_back(const matrix *dx, const matrix *d, const pooled *p)
{
    const fa_window *g = p->g;
    const int64_t window = g->kernel_h * g->kernel_w;
    fill(dx, 0);
    for (int64_t s = 0; s < d->rows; s++)
        for (int64_t place = 0; place < places_of(g); place++)
            for (int64_t c = 0; c < g->channels; c++) {
                int64_t inside = 0;
                for (int64_t k = 0; k < window; k++) inside += column_of(g, place, k, c) >= 0;
                const int64_t column = place * g->channels + c;
                for (int64_t k = 0; k < window; k++) {
                    const int64_t to = column_of(g, place, k, c);
                    if (to < 0 || (p->which && p->which[s * p->ldi + column] != k)) continue;
                    const double all = at(d, s, column),
                                 one = p->which ? all : rounded(all / (double)inside);
                    put(dx, s, to, rounded(at(dx, s, to) + one));
                }
            }
}

static void check_max(const fa_window *g, int64_t samples, double special)
{
    enum { GAP = 3 };
    const int64_t n = places_of(g) * g->channels, ldi = n + GAP;
    matrix x = bare(drawn(samples, image_of(g), 2)), out = empty(samples, n, 1);
    uint8_t *which = malloc((size_t)(samples * ldi));
    memset(which, 0x5a, (size_t)(samples * ldi));
    for (int64_t i = 0; i < image_of(g); i += 3) put(&x, i % samples, i, special);
    kernels->max_pool(out.p, out.ld, which, ldi, x.p, x.ld, g, samples);
    for (int64_t s = 0; s < samples; s++) {
        for (int64_t j = 0; j < n; j++) {
            const int64_t place = j / g->channels, c = j % g->channels,
                          k = largest(&x, s, g, place, c);
            equal("max_pool: which", s, j, which[s * ldi + j], (double)k);
            if (!identical(at(&out, s, j), at(&x, s, column_of(g, place, k, c))))
                problem("max_pool", s, j, at(&out, s, j), at(&x, s, column_of(g, place, k, c)));
        }
        for (int64_t j = n; j < ldi; j++)
            equal("max_pool: outside", s, j, which[s * ldi + j], 0x5a);
    }
    matrix d = bare(drawn(samples, n, 1)), dx = drawn(samples, image_of(g), 2), dx2 = copy(&dx);
    expect_back(&dx2, &d, &(pooled){g, which, ldi});
    kernels->max_pool_back(dx.p, dx.ld, d.p, d.ld, which, ldi, g, samples);
    check_equal("max_pool_back", &dx, &dx2);
    finish_output(&out), finish_output(&dx);
    free(x.memory), free(d.memory), free(dx2.memory), free(which);
}

static void check_average(const fa_window *g, int64_t samples)
{
    const int64_t n = places_of(g) * g->channels;
    matrix x = bare(drawn(samples, image_of(g), 2)), out = empty(samples, n, 1),
           d = bare(drawn(samples, n, 1)), dx = drawn(samples, image_of(g), 2), dx2 = copy(&dx);
    kernels->average_pool(out.p, out.ld, x.p, x.ld, g, samples);
    for (int64_t s = 0; s < samples; s++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0, inside = 0;
            for (int64_t k = 0; k < g->kernel_h * g->kernel_w; k++) {
                const int64_t column = column_of(g, j / g->channels, k, j % g->channels);
                if (column >= 0) sum = rounded(sum + at(&x, s, column)), inside++;
            }
            equal("average_pool", s, j, at(&out, s, j), rounded(sum / inside));
        }
    expect_back(&dx2, &d, &(pooled){g, NULL, 0});
    kernels->average_pool_back(dx.p, dx.ld, d.p, d.ld, g, samples);
    check_equal("average_pool_back", &dx, &dx2);
    finish_output(&out), finish_output(&dx);
    free(x.memory), free(d.memory), free(dx2.memory);
}

/* ---- cases ---- */

static const fa_window windows[] = {
    /* in_h, in_w, channels, kernel, strides, top, bottom, left, right, the map */
    {4, 6, 0, 2, 2, 2, 2, 0, 0, 0, 0, 2, 3},
    {7, 5, 0, 2, 2, 2, 2, 0, 0, 0, 0, 3, 2},     /* a row and a column are left over */
    {7, 7, 0, 3, 3, 2, 2, 0, 0, 0, 0, 3, 3},     /* windows overlap */
    {6, 5, 0, 3, 3, 2, 2, 1, 1, 1, 1, 3, 3},     /* with padding */
    {5, 4, 0, 3, 2, 1, 1, 1, 1, 0, 1, 5, 4},     /* the same size */
    {5, 5, 0, 1, 1, 2, 3, 0, 0, 0, 0, 3, 2},     /* places that no window covers */
    {4, 3, 0, 4, 3, 4, 3, 0, 0, 0, 0, 1, 1},     /* the whole image */
    {16, 16, 0, 16, 16, 1, 1, 0, 0, 0, 0, 1, 1}, /* as many places as a byte can count */
};
static const int64_t channels[] = {1, 3, 4, 6, 8, 9, 16, 17, 33, 40};

enum {
    N_WINDOWS = sizeof windows / sizeof *windows,
    N_CHANNELS = sizeof channels / sizeof *channels
};

static void test(void)
{
    const double specials[] = {0.25, NAN, -INFINITY, -0.0, INFINITY};
    for (int i = 0; i < N_WINDOWS; i++)
        for (int j = 0; j < N_CHANNELS; j++) {
            fa_window g = windows[i];
            g.channels = channels[j];
            check_max(&g, 1 + (i + j) % 3, specials[(i + j) % 5]);
        }
    verdict("max pooling: ties, NaN, infinities, negative zeros");
    for (int i = 0; i < N_WINDOWS; i++)
        for (int j = 0; j < N_CHANNELS; j++) {
            fa_window g = windows[i];
            g.channels = channels[j];
            check_average(&g, 1 + (i + j) % 3);
        }
    verdict("average pooling");
}

int main(void) { return on_every_flavour(test); }

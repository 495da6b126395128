/* Convolutions of every instruction set here, against loops: in double to a tolerance, and bit by
 * bit against the same chains of multiply-adds. */
#include "matrices.h"

/* ---- the definitions ---- */

/* A case: a window, filters, samples; the reference has the numbers of x and its padding alike */
typedef struct {
    fa_window g;
    int64_t filters, samples;
} conv_case;

static int64_t patch_of(const fa_window *g) { return g->kernel_h * g->kernel_w * g->channels; }
static int64_t places_of(const fa_window *g) { return g->out_h * g->out_w; }

/* The number of an image, or the zero of the padding, at place (y, x) of the map and index p of the
 * patch; `column` is where it is in the row of x, or -1 */
static int64_t column_of(const fa_window *g, int64_t place, int64_t p)
{
    const int64_t c = p % g->channels, kx = p / g->channels % g->kernel_w,
                  ky = p / g->channels / g->kernel_w;
    const int64_t y = place / g->out_w * g->stride_h - g->pad_top + ky,
                  x = place % g->out_w * g->stride_w - g->pad_left + kx;
    if (y < 0 || y >= g->in_h || x < 0 || x >= g->in_w) return -1;
    return (y * g->in_w + x) * g->channels + c;
}

static double number_at(const matrix *x, int64_t s, const fa_window *g, int64_t place, int64_t p)
{
    const int64_t column = column_of(g, place, p);
    return column < 0 ? 0 : at(x, s, column);
}

static void *scratch_for(const conv_case *t)
{
    const size_t bytes = kernels->conv_scratch_bytes(&t->g, t->filters, t->samples);
    void *scratch = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!scratch) abort();
    memset(scratch, 0xff, bytes); /* NaN: nothing may depend on what it holds */
    return scratch;
}

/* ---- forward ---- */

static void check_forward(const conv_case *t, bool bias, bool relu)
{
    const fa_window *g = &t->g;
    const int64_t k = patch_of(g), places = places_of(g), f = t->filters;
    matrix x = bare(drawn(t->samples, g->in_h * g->in_w * g->channels, 3)),
           w = bare(drawn(k, f, t->samples % 2)), b = bare(drawn(1, f, 0)),
           out = empty(t->samples, places * f, 5);
    void *scratch = scratch_for(t);
    atomic_bool nonfinite = false;
    const fa_epilogue e = {.bias = bias ? b.p : NULL, .relu = relu, .nonfinite = &nonfinite};
    kernels->conv(out.p, out.ld, x.p, x.ld, w.p, w.ld, g, f, t->samples,
                  bias || relu || k % 2 ? &e : NULL, scratch);
    if (nonfinite) problem("conv: finite", 0, 0, 1, 0);
    for (int64_t s = 0; s < t->samples; s++)
        for (int64_t place = 0; place < places; place++)
            for (int64_t j = 0; j < f; j++) {
                double chain = 0, sum = 0, magnitude = 1;
                for (int64_t p = 0; p < k; p++) {
                    const double a = number_at(&x, s, g, place, p), c = at(&w, p, j);
                    chain = multiply_add(a, c, chain);
                    sum += a * c, magnitude += fabs(a * c);
                }
                if (bias) chain = rounded(chain + at(&b, 0, j)), sum += at(&b, 0, j);
                if (relu) chain = chain > 0 ? chain : 0, sum = sum > 0 ? sum : 0;
                const double got = at(&out, s, place * f + j);
                equal("conv: the chain", s, place * f + j, got, chain);
                close_to("conv", s, place * f + j, got, sum,
                         epsilon() * (double)(k + 2) * magnitude);
            }
    finish_output(&out);
    free(x.memory), free(w.memory), free(b.memory), free(scratch);
}

/* ---- the gradient ---- */

/* The sums of d over the places of one sample, eight side by side */
static double sum_of_places(const matrix *d, int64_t s, int64_t places, int64_t f, int64_t j)
{
    double sum[8] = {0};
    for (int64_t p = 0; p < places; p++) sum[p % 8] = rounded(sum[p % 8] + at(d, s, p * f + j));
    for (int step = 1; step < 8; step *= 2)
        for (int i = 0; i < 8; i += 2 * step) sum[i] = rounded(sum[i] + sum[i + step]);
    return sum[0];
}

/* Some rows and columns of the gradient: all of them every other time. */
static void check_gradient(const conv_case *t, bool adds, bool whole)
{
    const fa_window *g = &t->g;
    const int64_t k = patch_of(g), places = places_of(g), f = t->filters;
    const int64_t first = whole ? 0 : k / 3, rows = k - first, j0 = whole ? 0 : f / 2,
                  cols = f - j0;
    matrix x = bare(drawn(t->samples, g->in_h * g->in_w * g->channels, 1)),
           d = bare(drawn(t->samples, places * f, 2)), gw = drawn(rows, cols, 1),
           before = copy(&gw), gb = drawn(1, cols, 0), b = copy(&gb);
    void *scratch = scratch_for(t);
    kernels->conv_gradient(gw.p, gw.ld, k % 3 ? gb.p : NULL, x.p, x.ld, address(&d, 0, j0), d.ld, g,
                           f, t->samples, first, rows, cols, adds, scratch);
    for (int64_t p = 0; p < rows; p++)
        for (int64_t j = 0; j < cols; j++) {
            double chain = adds ? at(&before, p, j) : 0, sum = chain, magnitude = fabs(sum);
            for (int64_t s = 0; s < t->samples; s++)
                for (int64_t place = 0; place < places; place++) {
                    const double a = number_at(&x, s, g, place, first + p),
                                 c = at(&d, s, place * f + j0 + j);
                    chain = multiply_add(a, c, chain);
                    sum += a * c, magnitude += fabs(a * c);
                }
            equal("gradient: the chain", p, j, at(&gw, p, j), chain);
            close_to("gradient", p, j, at(&gw, p, j), sum,
                     epsilon() * (double)(places * t->samples + 2) * magnitude);
        }
    for (int64_t j = 0; k % 3 && j < cols; j++) {
        double sum = adds ? at(&b, 0, j) : 0;
        for (int64_t s = 0; s < t->samples; s++)
            sum = rounded(sum + sum_of_places(&d, s, places, f, j0 + j));
        equal("gradient: bias", 0, j, at(&gb, 0, j), sum);
    }
    finish_output(&gw), finish_output(&gb);
    free(x.memory), free(d.memory), free(before.memory), free(b.memory), free(scratch);
}

/* ---- back to the image ---- */

static void check_back(const conv_case *t)
{
    const fa_window *g = &t->g;
    const int64_t k = patch_of(g), places = places_of(g), f = t->filters,
                  image = g->in_h * g->in_w * g->channels;
    matrix d = bare(drawn(t->samples, places * f, 2)), wt = bare(drawn(f, k, 1)),
           dx = drawn(t->samples, image, 3), sum = empty(t->samples, image, 0),
           magnitude = empty(t->samples, image, 0);
    matrix exact = {NULL, NULL, t->samples, image, image};
    exact.p = exact.memory = calloc((size_t)(t->samples * image), sizeof(double));
    fill(&sum, 0), fill(&magnitude, 1);
    void *scratch = scratch_for(t);
    kernels->conv_back(dx.p, dx.ld, d.p, d.ld, wt.p, wt.ld, g, f, t->samples, scratch);
    for (int64_t s = 0; s < t->samples; s++)
        for (int64_t place = 0; place < places; place++)
            for (int64_t p = 0; p < k; p++) {
                const int64_t column = column_of(g, place, p);
                if (column < 0) continue;
                double chain = 0, size_ = 0, double_sum = 0;
                for (int64_t j = 0; j < f; j++) {
                    const double a = at(&d, s, place * f + j), b = at(&wt, j, p);
                    chain = multiply_add(a, b, chain);
                    double_sum += a * b, size_ += fabs(a * b);
                }
                put(&sum, s, column, rounded(at(&sum, s, column) + chain));
                put(&magnitude, s, column, at(&magnitude, s, column) + size_);
                ((double *)exact.p)[s * image + column] += double_sum;
            }
    for (int64_t s = 0; s < t->samples; s++)
        for (int64_t i = 0; i < image; i++) {
            equal("back: the sum", s, i, at(&dx, s, i), at(&sum, s, i));
            close_to("back", s, i, at(&dx, s, i), ((double *)exact.p)[s * image + i],
                     epsilon() * (double)(f + k) * at(&magnitude, s, i));
        }
    finish_output(&dx);
    free(d.memory), free(wt.memory), free(sum.memory), free(magnitude.memory), free(exact.memory),
        free(scratch);
}

/* ---- cases ---- */

typedef struct {
    int64_t in_h, in_w, kernel_h, kernel_w, stride_h, stride_w, top, bottom, left, right;
} shape;

static const shape shapes[] = {
    {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, /* a dense layer */
    {5, 5, 5, 5, 1, 1, 0, 0, 0, 0}, /* a window as large as the image */
    {1, 9, 1, 3, 1, 1, 0, 0, 0, 0}, /* one row */
    {9, 1, 3, 1, 1, 1, 0, 0, 0, 0}, /* one column */
    {6, 6, 3, 3, 1, 1, 0, 0, 0, 0}, /* maps of 4, 7, 8, 9, 24 columns */
    {4, 9, 3, 3, 1, 1, 0, 0, 0, 0},
    {4, 9, 2, 2, 1, 1, 0, 0, 0, 0},
    {12, 13, 5, 5, 1, 1, 0, 0, 0, 0},
    {5, 28, 5, 5, 1, 1, 0, 0, 0, 0},
    {7, 7, 3, 3, 1, 1, 1, 1, 1, 1}, /* the same size */
    {6, 7, 2, 4, 1, 1, 0, 1, 1, 2}, /* the same size, even windows */
    {7, 8, 3, 3, 2, 2, 0, 1, 0, 1}, /* strides */
    {9, 10, 3, 2, 2, 3, 1, 0, 2, 1},
    {8, 8, 1, 1, 2, 2, 0, 0, 0, 0}, /* places that no window covers */
    {7, 11, 2, 3, 3, 4, 0, 0, 0, 0},
    {2, 3, 5, 7, 1, 1, 3, 3, 3, 3}, /* a window larger than the image */
    {3, 3, 2, 2, 1, 1, 3, 2, 0, 3}, /* windows wholly in the padding */
    {10, 9, 7, 5, 1, 2, 3, 3, 2, 2},
    {44, 44, 3, 3, 1, 1, 0, 0, 0, 0}, /* the gradient of a few places at a time */
};

static const struct {
    int64_t channels, filters, samples;
} widths[] = {
    {1, 1, 3},  {1, 6, 2},   {3, 8, 1},   {3, 16, 2}, {6, 16, 1}, {8, 9, 2},
    {1, 32, 2}, {16, 17, 1}, {17, 33, 2}, {9, 48, 1}, {33, 3, 2}, {2, 50, 3},
    {4, 64, 1}, {5, 100, 1}, {1, 12, 2},  {17, 1, 2}, {1, 2, 1},
};

enum { N_SHAPES = sizeof shapes / sizeof *shapes, N_WIDTHS = sizeof widths / sizeof *widths };

/* All combinations with one channel, a fifth of the others */
static void each_case(void (*check)(const conv_case *t, int turn))
{
    int turn = 0;
    for (int i = 0; i < N_SHAPES; i++)
        for (int j = 0; j < N_WIDTHS; j++, turn++) {
            const shape *s = &shapes[i];
            if (widths[j].channels > 1 && (i + 2 * j) % 5) continue;
            const fa_window g = {
                .in_h = s->in_h,
                .in_w = s->in_w,
                .channels = widths[j].channels,
                .kernel_h = s->kernel_h,
                .kernel_w = s->kernel_w,
                .stride_h = s->stride_h,
                .stride_w = s->stride_w,
                .pad_top = s->top,
                .pad_bottom = s->bottom,
                .pad_left = s->left,
                .pad_right = s->right,
                .out_h = (s->top + s->in_h + s->bottom - s->kernel_h) / s->stride_h + 1,
                .out_w = (s->left + s->in_w + s->right - s->kernel_w) / s->stride_w + 1};
            check(&(conv_case){g, widths[j].filters, widths[j].samples}, turn);
        }
}

static void forward_case(const conv_case *t, int turn)
{ check_forward(t, turn % 4 != 0, turn % 2 != 0); }
static void gradient_case(const conv_case *t, int turn)
{ check_gradient(t, turn % 2 != 0, turn % 4 < 2); }
static void back_case(const conv_case *t, int turn) { (void)turn, check_back(t); }

static void test(void)
{
    each_case(forward_case);
    verdict("convolutions");
    each_case(gradient_case);
    verdict("gradients of convolutions");
    each_case(back_case);
    verdict("convolutions back to the image");
}

int main(void) { return on_every_flavour(test); }

/* Kernels of normalisations of every instruction set here, against sums written out. */
#include "matrices.h"

static void expect(double *y, double *u, double *f, const matrix *x, const matrix *params,
                   double eps, bool centred)
{
    const double n = (double)(x->rows * x->cols);
    double mean = 0, square = 0;
    for (int64_t i = 0; i < x->rows; i++)
        for (int64_t j = 0; j < x->cols; j++) mean += centred ? at(x, i, j) / n : 0;
    for (int64_t i = 0; i < x->rows; i++)
        for (int64_t j = 0; j < x->cols; j++) square += pow(at(x, i, j) - mean, 2) / n;
    *f = 1 / sqrt(square + eps);
    for (int64_t i = 0; i < x->rows; i++)
        for (int64_t j = 0; j < x->cols; j++) {
            const int64_t k = i * x->cols + j;
            u[k] = (at(x, i, j) - mean) * *f;
            y[k] = u[k] * (params ? at(params, 0, j) : 1) + (params ? at(params, 1, j) : 0);
        }
}

static void near_to(const char *what, const matrix *got, const double *expected)
{
    const double tolerance = type == F32 ? 3e-5 : 1e-12;
    for (int64_t i = 0; i < got->rows; i++)
        for (int64_t j = 0; j < got->cols; j++) {
            const double want = expected[i * got->cols + j];
            if (!(fabs(at(got, i, j) - want) <= tolerance * (1 + fabs(want))))
                problem(what, i, j, at(got, i, j), want);
        }
}

static void check_norm(int64_t rows, int64_t cols, bool centred, bool has_params)
{
    enum { MOST = 5 * 70 };
    matrix x = drawn(rows, cols, 2), y = empty(rows, cols, 1), u = empty(rows, cols, 3);
    matrix params = bare(drawn(2, cols, 1)), d = drawn(rows, cols, 2), sums = drawn(2, cols, 1);
    matrix before = copy(&sums);
    const void *scale = has_params ? params.p : NULL;
    const void *shift = has_params ? address(&params, 1, 0) : NULL;
    double want_y[MOST], want_u[MOST], want_f, g[MOST], mean = 0, along = 0;
    expect(want_y, want_u, &want_f, &x, has_params ? &params : NULL, 0.01, centred);
    const double f = kernels->normalise(y.p, y.ld, u.p, u.ld, x.p, x.ld, scale, shift, rows, cols,
                                        0.01, centred);
    if (!(fabs(f - want_f) < 1e-12 * f)) problem("factor", rows, cols, f, want_f);
    near_to("normalise", &y, want_y), near_to("normalise: u", &u, want_u);
    double want_sums[2 * 70];
    for (int64_t j = 0; j < cols; j++) {
        want_sums[j] = at(&before, 0, j), want_sums[cols + j] = at(&before, 1, j);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t k = i * cols + j;
            want_sums[j] += at(&d, i, j) * want_u[k], want_sums[cols + j] += at(&d, i, j);
            g[k] = at(&d, i, j) * (has_params ? at(&params, 0, j) : 1);
            mean += centred ? g[k] / (double)(rows * cols) : 0;
            along += g[k] * want_u[k] / (double)(rows * cols);
        }
    }
    for (int64_t k = 0; k < rows * cols; k++) g[k] = want_f * (g[k] - mean - want_u[k] * along);
    kernels->normalise_back(d.p, d.ld, sums.p, address(&sums, 1, 0), u.p, u.ld, scale, rows, cols,
                            f, centred);
    near_to("normalise_back", &d, g), near_to("normalise_back: sums", &sums, want_sums);
    matrix same = empty(rows, cols, 1); /* what nobody keeps is not written */
    kernels->normalise(same.p, same.ld, NULL, 0, x.p, x.ld, scale, shift, rows, cols, 0.01,
                       centred);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) equal("without u", i, j, at(&same, i, j), at(&y, i, j));
    finish_output(&y), finish_output(&u), finish_output(&same), finish_output(&sums);
    free(params.memory), free(before.memory), free(x.memory), free(d.memory);
}

static void test(void)
{
    static const int64_t sizes[] = {1, 2, 7, 8, 9, 15, 16, 17, 33, 64, 70};
    for (int i = 0; i < (int)(sizeof sizes / sizeof *sizes); i++)
        for (int k = 0; k < 8; k++) check_norm(k & 1 ? 5 : 1, sizes[i], k & 2, k & 4);
    verdict("normalise, normalise_back");
}

int main(void) { return on_every_flavour(test); }

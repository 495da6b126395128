/* Row kernels and optimizers of every instruction set here, against naive loops. Column sums are
 * compared bit by bit with one chain of multiply-adds, as products are (test_products.c). */
#include "matrices.h"

/* ---- rows ---- */

/* One pass over w against two products. */
static void test_update_forward(void)
{
    static const int64_t rows[] = {0, 1, 2, 13},
                         cols[] = {1, 3, 7, 8, 15, 16, 17, 33, 64, 127, 128, 129, 200};
    static const double betas[] = {1, 0.75};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
            const int64_t m = rows[r], n = cols[c];
            const double alpha = -0.1, beta = betas[c % 2];
            matrix w = drawn(m, n, (int64_t)(c % 4)), x = drawn(1, m, 0), h = drawn(1, m, 0),
                   d = drawn(1, n, 0);
            matrix bias = drawn(1, n, 0), a = empty(1, n, 0), a2 = copy(&a), w2 = copy(&w);
            const void *add = r % 2 ? bias.p : NULL;
            equal("update_forward: finite", m, n,
                  kernels->update_forward(a.p, w.p, w.ld, x.p, add, h.p, d.p, m, n, alpha, beta),
                  1);
            kernels->gemm(w2.p, w2.ld, h.p, 1, m, d.p, n, m, n, 1, alpha, beta, NULL, NULL);
            kernels->gemm(a2.p, n, x.p, m, 1, w2.p, w2.ld, 1, n, m, 1, 0,
                          &(fa_epilogue){.bias = add}, NULL);
            if (!same(&w, &w2)) problem("update_forward: w", m, n, 0, 1);
            if (!same(&a, &a2)) problem("update_forward: a", m, n, 0, 1);
            if (m > 0) {
                put(&w, m - 1, n - 1, -INFINITY);
                equal(
                    "update_forward: not finite", m, n,
                    kernels->update_forward(a.p, w.p, w.ld, x.p, add, h.p, d.p, m, n, alpha, beta),
                    0);
            }
            finish_output(&w), finish_output(&a);
            free(x.memory), free(h.memory), free(d.memory), free(bias.memory), free(a2.memory),
                free(w2.memory);
        }
    verdict("update_forward: the bits of two products");
}

/* A product of m x k and k x n with one entry of B or of the bias that is not finite: the first row
 * shows it, even if ReLU and its derivative hide the value. `transposed`: A is stored by
 * columns. */
static void check_watch(int64_t m, int64_t n, int64_t k, bool transposed)
{
    matrix a = drawn(transposed ? k : m, transposed ? m : k, 1), b = drawn(k, n, 2),
           bias = drawn(1, n, 0);
    matrix c = empty(m, n, 0), c2 = copy(&c), h = drawn(m, n, 0);
    const ptrdiff_t rsa = transposed ? 1 : a.ld, csa = transposed ? a.ld : 1;
    for (int64_t p = 0; p < k; p += 2) put(&a, transposed ? p : 0, transposed ? 0 : p, 0);
    for (int kind = 0; kind < 8; kind++) {
        atomic_bool nonfinite = false;
        fa_epilogue e = {
            .bias = kind & 1 ? bias.p : NULL, .relu = kind & 2, .h = kind & 4 ? h.p : NULL};
        kernels->gemm(c.p, c.ld, a.p, rsa, csa, b.p, b.ld, m, n, k, 1, 0, &e, NULL);
        e.nonfinite = &nonfinite;
        kernels->gemm(c2.p, c2.ld, a.p, rsa, csa, b.p, b.ld, m, n, k, 1, 0, &e, NULL);
        if (!same(&c, &c2)) problem("watch: other bits", m, n, 0, 1);
        equal("watch: finite", m, n, nonfinite, 0);
        for (int64_t i = 0; i < 4; i++) {
            const int64_t p = i % 2 ? k - 1 : 0, j = i / 2 ? n - 1 : n / 2;
            matrix *const bad = kind & 1 && i == 3 ? &bias : &b;
            const int64_t row = bad == &bias ? 0 : p;
            const double before = at(bad, row, j);
            put(bad, row, j, i == 2 ? NAN : -INFINITY);
            nonfinite = false;
            kernels->gemm(c2.p, c2.ld, a.p, rsa, csa, b.p, b.ld, m, n, k, 1, 0, &e, NULL);
            equal("watch: not finite", i, kind, nonfinite, 1);
            put(bad, row, j, before);
        }
    }
    finish_output(&c), finish_output(&c2);
    free(a.memory), free(b.memory), free(bias.memory), free(h.memory);
}

static void test_watch(void)
{
    static const int64_t rows[] = {1, 2, 5, 16, 37}, cols[] = {1, 3, 8, 10, 12, 17, 40, 129},
                         depths[] = {1, 2, 9, 70};
    const bool slow = fa_l2_is_slow;
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 8; j++)
            for (int p = 0; p < 4; p++) check_watch(rows[i], cols[j], depths[p], (i + j + p) % 2);
    for (int i = 0; i < 4; i++) { /* by panels, and where L2 is slow */
        fa_l2_is_slow = i / 2;
        check_watch(130, 300, 700, i % 2);
        check_watch(130, 300, 300, i % 2);
    }
    fa_l2_is_slow = slow;
    verdict("products tell of what is not finite");
}

static void test_transpose(void)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 48, 53};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            matrix in = drawn(sizes[i], sizes[j], (int64_t)j % 3),
                   out = empty(sizes[j], sizes[i], (int64_t)i % 4);
            kernels->transpose(out.p, out.ld, in.p, in.ld, in.rows, in.cols);
            for (int64_t r = 0; r < in.rows; r++)
                for (int64_t c = 0; c < in.cols; c++)
                    equal("transpose", r, c, at(&out, c, r), at(&in, r, c));
            finish_output(&out);
            free(in.memory);
        }
    verdict("transpose");
}

static void test_colsum(void)
{
    static const int64_t rows[] = {0, 1, 2, 13, 130},
                         cols[] = {0, 1, 3, 7, 8, 10, 16, 17, 31, 64, 67, 150};
    static const double alphas[] = {1, 0.125}, betas[] = {0, 1, 0.5};
    int turn = 0;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++, turn++) {
            const double alpha = alphas[turn % 2], beta = betas[turn % 3];
            matrix d = drawn(rows[r], cols[c], turn % 4), out = drawn(1, cols[c], 0);
            if (beta == 0) fill(&out, NAN);
            matrix before = copy(&out);
            kernels->colsum(out.p, d.p, d.ld, d.rows, d.cols, alpha, beta);
            for (int64_t j = 0; j < d.cols; j++) {
                double sum = 0;
                for (int64_t i = 0; i < d.rows; i++) sum = rounded(sum + at(&d, i, j));
                sum = rounded(alpha * sum);
                if (beta != 0) sum = multiply_add(beta, at(&before, 0, j), sum);
                equal("colsum", 0, j, at(&out, 0, j), sum);
            }
            finish_output(&out);
            free(d.memory), free(before.memory);
        }
    verdict("colsum: in row order, NaN in the output");
}

static void test_gather(void)
{
    static const int64_t cols[] = {0, 1, 7, 16, 17, 53, 131};
    const int64_t index[] = {4, 0, 4, 2, 3, 1, 0};
    for (int turn = 0; turn < 28; turn++) {
        const int64_t n = cols[turn % 7], *order = turn & 1 ? index : NULL;
        const double scale = turn & 2 ? 0.3 : 1, divisor = turn & 2 ? 255 : 3;
        const int64_t rows = order ? 7 : 5;
        matrix x = drawn(5, n, turn % 3), out = empty(rows, n, turn % 4),
               bytes_out = empty(rows, n, 1);
        uint8_t *bytes = malloc(5 * (size_t)(n + 2));
        if (!bytes) abort();
        for (int64_t i = 0; i < 5 * (n + 2); i++) bytes[i] = (uint8_t)(i * 37 + turn);
        kernels->gather(out.p, out.ld, x.p, x.ld, order, rows, n, scale);
        kernels->gather_u8(bytes_out.p, bytes_out.ld, bytes, n + 2, order, rows, n, divisor);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < n; j++) {
                const int64_t from = order ? order[i] : i;
                equal("gather", i, j, at(&out, i, j), rounded(rounded(scale) * at(&x, from, j)));
                equal("gather_u8", i, j, at(&bytes_out, i, j),
                      rounded(bytes[from * (n + 2) + j] / divisor));
            }
        finish_output(&out), finish_output(&bytes_out);
        free(x.memory), free(bytes);
    }
    verdict("gather, gather_u8");
}

/* Every byte over divisors of every mantissa's kind and beyond what a reciprocal serves: the bits
 * of a division */
static void test_bytes_divided(void)
{
    static const double special[] = {255,      -255,         1 / (1 / 255.), 1,
                                     3,        0x1.fffffep0, 0x1p-99,        0x1p99,
                                     0x1p-101, 0x1p101,      0x1p126,        0x1.fffffffffffffp0,
                                     0x1p-126, 0x1p-149,     1e38,           -1e-38};
    enum { N_SPECIAL = sizeof special / sizeof *special };
    uint8_t bytes[256];
    for (int i = 0; i < 256; i++) bytes[i] = (uint8_t)i;
    for (int turn = 0; turn < 2000; turn++) {
        const double divisor =
            turn < N_SPECIAL ? special[turn] : ldexp(1.5 + draw() / 2, turn % 190 - 95);
        matrix out = empty(1, 256, 0);
        kernels->gather_u8(out.p, out.ld, bytes, 256, NULL, 1, 256, divisor);
        for (int j = 0; j < 256; j++) {
            const double want = type == F32 ? (double)((float)j / (float)divisor) : j / divisor;
            equal("gather_u8", turn, j, at(&out, 0, j), want);
            equal("gather_u8, sign", turn, j, signbit(at(&out, 0, j)) != 0, signbit(want) != 0);
        }
        finish_output(&out);
    }
    verdict("gather_u8: the bits of a division");
}

/* A matrix with `k` entries in each column (fewer in every third), the rest zero. */
static matrix thin(int64_t rows, int64_t cols, int64_t k)
{
    matrix b = drawn(rows, cols, 1);
    for (int64_t j = 0; j < cols; j++) {
        const int64_t kept = j % 3 == 2 ? k / 2 : k,
                      first = rows > kept ? j % (rows - kept + 1) : 0;
        for (int64_t i = 0; i < rows; i++)
            if (i < first || i >= first + kept) put(&b, i, j, 0);
    }
    return b;
}

static void compare_picked(const matrix *e, const matrix *b, int64_t k)
{
    matrix s = empty(e->rows, b->cols, 2), values = empty(k, b->cols, 0);
    void *places = calloc((size_t)(k * b->cols), size());
    if (!places) abort();
    const int more = kernels->gather_sparse(values.p, places, b->p, b->ld, b->rows, b->cols, k);
    equal("pick: more than k", k, b->cols, more, 0);
    kernels->product_sparse(s.p, s.ld, e->p, e->ld, values.p, places, s.rows, s.cols, k, b->rows);
    for (int64_t i = 0; i < s.rows; i++)
        for (int64_t j = 0; j < s.cols; j++) {
            double chain = 0;
            for (int64_t p = 0; p < b->rows; p++)
                if (at(b, p, j) != 0) chain = multiply_add(at(e, i, p), at(b, p, j), chain);
            equal("product_sparse", i, j, at(&s, i, j), chain);
        }
    if (k > 1 && b->rows >= k) /* one entry fewer does not hold them */
        equal("pick: more than k", k, b->cols,
              kernels->gather_sparse(values.p, places, b->p, b->ld, b->rows, b->cols, k - 1), 1);
    finish_output(&s);
    free(values.memory), free(places);
}

static void test_picked(void)
{
    static const int64_t sources[] = {1, 2, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 70},
                         cols[] = {1, 3, 8, 16, 17, 47, 64, 65, 130}, rows[] = {0, 1, 9};
    for (size_t p = 0; p < sizeof sources / sizeof *sources; p++)
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
            for (int64_t k = 1; k <= 3 && k <= sources[p]; k++) {
                matrix e = drawn(rows[(p + c) % 3], sources[p], (int64_t)c % 3),
                       b = thin(sources[p], cols[c], k);
                compare_picked(&e, &b, k);
                free(e.memory), free(b.memory);
            }
    verdict("pick, product_sparse: the chain of the product without its zeros");
}

static void test_scale_rows(void)
{
    for (int64_t n = 0; n < 40; n += 3) {
        matrix d = drawn(5, n, n % 4), before = copy(&d);
        const double w[] = {0, 1, 0.1, -3, 1e-3};
        kernels->scale_rows(d.p, d.ld, w, 5, n);
        for (int64_t i = 0; i < 5; i++)
            for (int64_t j = 0; j < n; j++)
                equal("scale_rows", i, j, at(&d, i, j), rounded(at(&before, i, j) * rounded(w[i])));
        finish_output(&d);
        free(before.memory);
    }
    verdict("scale_rows");
}

static void test_dot(void)
{
    for (int64_t n = 0; n < 90; n++) {
        matrix a = drawn(1 + n % 7, n, n % 3), b = drawn(1 + n % 7, n, n % 4),
               result = empty(1, 1, 0);
        long double sum = 0;
        double lanes[8] = {0};
        for (int64_t i = 0; i < a.rows; i++)
            for (int64_t j = 0; j < n; j++) {
                sum += (long double)at(&a, i, j) * at(&b, i, j);
                lanes[j % 8] += at(&a, i, j) * at(&b, i, j);
            }
        const double got = kernels->dot(a.p, a.ld, b.p, b.ld, a.rows, n);
        close_to("dot", n, 0, got, (double)sum, DBL_EPSILON * (double)(a.rows * n + 1));
        equal("dot, order", n, 0, got,
              ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
                  ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7])));
        put(&result, 0, 0, got);
        finish_output(&result);
        free(a.memory), free(b.memory);
    }
    verdict("dot: in double, in the promised order");
}

static void test_all_finite(void)
{
    const double odd[] = {NAN, INFINITY, -INFINITY};
    const double largest = type == F32 ? FLT_MAX : DBL_MAX,
                 smallest = type == F32 ? FLT_TRUE_MIN : DBL_TRUE_MIN;
    for (int64_t n = 0; n < 50; n += 7) {
        matrix x = drawn(3, n, 2);
        for (int64_t i = 0; i < 3; i++) put(&x, i, n, NAN); /* outside */
        equal("all_finite", n, 0, kernels->all_finite(x.p, x.ld, 3, n), 1);
        for (int64_t e = 0; e < 3 * n; e++) {
            const int64_t i = e / n, j = e % n;
            put(&x, i, j, odd[e % 3]);
            equal("all_finite", i, j, kernels->all_finite(x.p, x.ld, 3, n), 0);
            put(&x, i, j, e % 2 ? -largest : smallest);
        }
        equal("all_finite, extremes", n, 0, kernels->all_finite(x.p, x.ld, 3, n), 1);
        free(x.memory);
    }
    verdict("all_finite");
}

/* ---- optimizers ---- */

typedef struct {
    long double w, s0, s1, s2;
} entry;

typedef entry reference_fn(entry x, long double g, const fa_hyper *h);

static entry sgd_reference(entry x, long double g, const fa_hyper *h)
{
    g = g * h->g_scale + h->decay * x.w;
    x.s0 = h->momentum * x.s0 + g;
    g = h->nesterov != 0 ? g + h->momentum * x.s0 : x.s0;
    x.w = h->keep * x.w - h->lr * g;
    return x;
}

static entry plain_reference(entry x, long double g, const fa_hyper *h)
{
    x.w = h->keep * x.w + g;
    return x;
}

static entry rmsprop_reference(entry x, long double g, const fa_hyper *h)
{
    g = g * h->g_scale + h->decay * x.w;
    x.s0 = h->alpha * x.s0 + (1 - h->alpha) * g * g;
    x.s1 = h->momentum * x.s1 + g / (sqrtl(x.s0) + h->eps);
    x.w = h->keep * x.w - h->lr * x.s1;
    return x;
}

static entry adam_reference(entry x, long double g, const fa_hyper *h)
{
    g = g * h->g_scale + h->decay * x.w;
    x.s0 += (1 - h->beta1) * (g - x.s0);
    x.s1 = h->beta2 * x.s1 + (1 - h->beta2) * g * g;
    x.w = h->keep * x.w - h->lr / h->bias1 * x.s0 / (sqrtl(x.s1) / sqrtl(h->bias2) + h->eps);
    return x;
}

static entry rmsprop_centered_reference(entry x, long double g, const fa_hyper *h)
{
    g = g * h->g_scale + h->decay * x.w;
    x.s0 = h->alpha * x.s0 + (1 - h->alpha) * g * g;
    x.s1 = h->alpha * x.s1 + (1 - h->alpha) * g;
    x.s2 = h->momentum * x.s2 + g / (sqrtl(fmaxl(x.s0 - x.s1 * x.s1, 0)) + h->eps);
    x.w = h->keep * x.w - h->lr * x.s2;
    return x;
}

static entry adagrad_reference(entry x, long double g, const fa_hyper *h)
{
    g = g * h->g_scale + h->decay * x.w;
    x.s0 += g * g;
    x.w = h->keep * x.w - h->lr * g / (sqrtl(x.s0) + h->eps);
    return x;
}

static entry nadam_reference(entry x, long double g, const fa_hyper *h)
{
    g = g * h->g_scale + h->decay * x.w;
    x.s0 = h->beta1 * x.s0 + (1 - h->beta1) * g;
    x.s1 = h->beta2 * x.s1 + (1 - h->beta2) * g * g;
    x.w = h->keep * x.w -
          h->lr * (h->of_g * g + h->of_mean * x.s0) / (sqrtl(x.s1) / sqrtl(h->bias2) + h->eps);
    return x;
}

static entry lion_reference(entry x, long double g, const fa_hyper *h)
{
    g = g * h->g_scale + h->decay * x.w;
    const long double mix = h->beta1 * x.s0 + (1 - h->beta1) * g;
    x.s0 = h->beta2 * x.s0 + (1 - h->beta2) * g;
    x.w = h->keep * x.w - h->lr * ((mix > 0) - (mix < 0));
    return x;
}

typedef int step_fn(FA_STEP_PARAMETERS);

/* A step with `slots` slots. Coupled feedback b moves by the transposed step, and w and b decay
 * alike. */
typedef struct {
    step_fn *step;
    reference_fn *reference;
    const fa_hyper *h;
    int slots;
    bool leads;
} optimizer;

/* What a step changes. */
typedef struct {
    matrix w, s0, s1, s2, b;
} tile;

static tile copy_tile(const tile *t)
{ return (tile){copy(&t->w), copy(&t->s0), copy(&t->s1), copy(&t->s2), copy(&t->b)}; }
static bool same_tile(const tile *a, const tile *b)
{
    return same(&a->w, &b->w) && same(&a->s0, &b->s0) && same(&a->s1, &b->s1) &&
           same(&a->s2, &b->s2) && same(&a->b, &b->b);
}
static void free_tile(tile *t)
{
    free(t->w.memory), free(t->s0.memory), free(t->s1.memory), free(t->s2.memory);
    free(t->b.memory);
}

/* The step of the rows x cols entries from (i, j) on; 1: all of them are finite. */
static int take_step(optimizer o, const tile *t, const matrix *g, int64_t i, int64_t j,
                     int64_t rows, int64_t cols)
{
    return o.step(address(&t->w, i, j), t->w.ld, o.slots > 0 ? address(&t->s0, i, j) : NULL,
                  o.slots > 1 ? address(&t->s1, i, j) : NULL,
                  o.slots > 2 ? address(&t->s2, i, j) : NULL, o.leads ? address(&t->b, j, i) : NULL,
                  t->b.ld, address(g, i, j), g->ld, rows, cols, o.h);
}

static void close_entry(const char *what, int64_t i, int64_t j, double got, long double expected)
{ close_to(what, i, j, got, (double)expected, 16 * epsilon() * (1 + fabs((double)expected))); }

/* w = keep * w + d and b = keep * b + d', where d is the reference's change of w and keep is below
 * 1 where a leading w forgets; the slots = the reference's. All up to rounding. */
static void check_against_reference(optimizer o, const tile *before, const tile *after,
                                    const matrix *g)
{
    const double keep = o.leads ? 1 - o.h->lambda : 1;
    for (int64_t i = 0; i < g->rows; i++)
        for (int64_t j = 0; j < g->cols; j++) {
            const double w = at(&before->w, i, j), b = at(&before->b, j, i);
            const entry was = {w, o.slots > 0 ? at(&before->s0, i, j) : 0,
                               o.slots > 1 ? at(&before->s1, i, j) : 0,
                               o.slots > 2 ? at(&before->s2, i, j) : 0},
                        x = o.reference(was, at(g, i, j), o.h);
            const long double change = x.w - w;
            close_entry("w", i, j, at(&after->w, i, j), keep * w + change);
            close_entry("b", j, i, at(&after->b, j, i), o.leads ? keep * b + change : b);
            if (o.slots > 0) close_entry("s0", i, j, at(&after->s0, i, j), x.s0);
            if (o.slots > 1) close_entry("s1", i, j, at(&after->s1, i, j), x.s1);
            if (o.slots > 2) close_entry("s2", i, j, at(&after->s2, i, j), x.s2);
        }
}

/* A step of each entry alone = the step of the tile, bit by bit. */
static void check_entry_by_entry(optimizer o, const tile *before, const tile *after,
                                 const matrix *g)
{
    tile t = copy_tile(before);
    for (int64_t i = 0; i < g->rows; i++)
        for (int64_t j = 0; j < g->cols; j++) take_step(o, &t, g, i, j, 1, 1);
    if (!same_tile(&t, after)) problem("entry by entry", g->rows, g->cols, 0, 1);
    free_tile(&t);
}

/* A step tells of one entry that is not finite, the last of w or of a slot. */
static void check_not_finite(optimizer o, const tile *from, const matrix *g)
{
    for (int i = 0; i <= o.slots && g->rows * g->cols > 0; i++) {
        tile t = copy_tile(from);
        matrix *const of[] = {&t.w, &t.s0, &t.s1, &t.s2};
        put(of[i], g->rows - 1, g->cols - 1, INFINITY);
        equal("not finite", i, 0, take_step(o, &t, g, 0, 0, g->rows, g->cols), 0);
        free_tile(&t);
    }
}

static void check_step(step_fn *step, reference_fn *reference, const fa_hyper *h, int slots,
                       bool leads, int64_t rows, int64_t cols)
{
    const optimizer o = {step, reference, h, slots, leads};
    tile t;
    t.w = drawn(rows, cols, 3), t.s0 = drawn(rows, cols, 3), t.s1 = drawn(rows, cols, 3);
    t.s2 = drawn(rows, cols, 3);
    const matrix g = drawn(rows, cols, 1);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) /* some slots hold squares */
            put(&t.s0, i, j, fabs(at(&t.s0, i, j))), put(&t.s1, i, j, fabs(at(&t.s1, i, j)));
    t.b = drawn(cols, rows, 2);
    tile before = copy_tile(&t);
    equal("finite", rows, cols, take_step(o, &t, &g, 0, 0, rows, cols), 1);
    check_against_reference(o, &before, &t, &g);
    check_entry_by_entry(o, &before, &t, &g);
    check_not_finite(o, &t, &g);
    finish_output(&t.w), finish_output(&t.s0), finish_output(&t.s1);
    finish_output(&t.s2), finish_output(&t.b);
    free_tile(&before), free(g.memory);
}

static void test_more_optimizers(const fa_hyper *plain, const fa_hyper *rich, const int64_t *cols,
                                 size_t n_cols)
{
    fa_hyper spread =
        *rich; /* a variance that is not near 0, where rounding would be all there is */
    spread.eps = 0.5;
    for (size_t i = 0; i < n_cols; i++) {
        const int64_t rows = (int64_t)i % 4, n = cols[i];
        check_step(kernels->rmsprop_centered, rmsprop_centered_reference, &spread, 3, false, rows,
                   n);
        check_step(kernels->adagrad, adagrad_reference, plain, 1, false, rows, n);
        check_step(kernels->adagrad, adagrad_reference, rich, 1, false, rows, n);
        check_step(kernels->nadam, nadam_reference, plain, 2, false, rows, n);
        check_step(kernels->nadam, nadam_reference, rich, 2, false, rows, n);
        check_step(kernels->lion, lion_reference, plain, 1, false, rows, n);
        check_step(kernels->lion, lion_reference, rich, 1, false, rows, n);
    }
    verdict("rmsprop centered, adagrad, nadam, lion: plain, decay, keep, clip factor");
}

static void test_optimizers(void)
{
    static const int64_t cols[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 33, 100};
    const fa_hyper plain = {.lr = 0.1,
                            .keep = 1,
                            .g_scale = 1,
                            .alpha = 0.99,
                            .beta1 = 0.9,
                            .beta2 = 0.999,
                            .eps = 1e-8,
                            .bias1 = 1 - 0.729,
                            .bias2 = 1 - 0.997002999,
                            .of_g = 0.6,
                            .of_mean = 1.7};
    fa_hyper rich = plain;
    rich.momentum = 0.9, rich.decay = 0.01, rich.keep = 0.999, rich.g_scale = 0.37;
    fa_hyper nesterov = rich, rmsprop = rich;
    nesterov.nesterov = 1, rmsprop.keep = 1;
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++) {
        const int64_t rows = (int64_t)i % 4, n = cols[i];
        check_step(kernels->sgd, sgd_reference, &plain, 0, false, rows, n);
        check_step(kernels->sgd, sgd_reference, &rich, 1, false, rows, n);
        check_step(kernels->sgd, sgd_reference, &nesterov, 1, false, rows, n);
    }
    verdict("sgd: plain, momentum, nesterov, decay, keep, clip factor");
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++) {
        const int64_t rows = (int64_t)i % 4, n = cols[i];
        check_step(kernels->rmsprop, rmsprop_reference, &plain, 1, false, rows, n);
        check_step(kernels->rmsprop, rmsprop_reference, &rmsprop, 2, false, rows, n);
    }
    verdict("rmsprop: plain, momentum, decay, clip factor");
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++) {
        const int64_t rows = (int64_t)i % 4, n = cols[i];
        check_step(kernels->adam, adam_reference, &plain, 2, false, rows, n);
        check_step(kernels->adam, adam_reference, &rich, 2, false, rows, n);
    }
    verdict("adam: plain, decay, keep, clip factor");
    test_more_optimizers(&plain, &rich, cols, sizeof cols / sizeof *cols);
    fa_hyper forgetful = rich;
    forgetful.lambda = 0.05;
    const fa_hyper *const leading[] = {&rich, &forgetful};
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
        for (size_t j = 0; j < sizeof cols / sizeof *cols; j++) {
            const fa_hyper *h = leading[(i + j) % 2];
            if (quick() && (i + j) % 3) continue;
            check_step(kernels->plain, plain_reference, h, 0, true, cols[i], cols[j]);
            check_step(kernels->sgd, sgd_reference, h, 1, true, cols[i], cols[j]);
            check_step(kernels->rmsprop, rmsprop_reference, h, 2, true, cols[i], cols[j]);
            check_step(kernels->adam, adam_reference, h, 2, true, cols[i], cols[j]);
            if ((i + j) % 4) continue;
            fa_hyper spread = *h; /* as in test_more_optimizers */
            spread.eps = 0.5;
            check_step(kernels->rmsprop_centered, rmsprop_centered_reference, &spread, 3, true,
                       cols[i], cols[j]);
            check_step(kernels->adagrad, adagrad_reference, h, 1, true, cols[i], cols[j]);
            check_step(kernels->nadam, nadam_reference, h, 2, true, cols[i], cols[j]);
            check_step(kernels->lion, lion_reference, h, 1, true, cols[i], cols[j]);
        }
    verdict("a matrix that follows, every optimizer: kept whole, forgetting");
}

static void test_all(void)
{
    test_update_forward();
    test_watch();
    test_transpose();
    test_colsum();
    test_gather();
    test_bytes_divided();
    test_picked();
    test_scale_rows();
    test_dot();
    test_all_finite();
    test_optimizers();
}

int main(void) { return on_every_flavour(test_all); }

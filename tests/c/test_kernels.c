/* Products, row kernels and optimizers of every instruction set here, against naive loops.
 *
 * The product and the column sums are compared bit by bit with one chain of multiply-adds (fused
 * where the instruction set has it): that is their contract, and it makes every split of m and n
 * equal. Inputs depend on the case alone, so the digest of all outputs must be the same for v3
 * and v4.
 *
 * Prints a line per check and "N passed, M failed"; not zero if any failed. */
#include "../../csrc/kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma weak fa_kernels_c_rows
#pragma weak fa_kernels_v2_rows
#pragma weak fa_kernels_v3_rows
#pragma weak fa_kernels_v4_rows

enum { F32, F64, MARGIN = 32 };

/* What is being tested */
static const fa_kernels *kernels;
static const char *isa;
static int type;
static bool fused;
static uint64_t digest;

static int passed, failed, problems;

/* ---- numbers and matrices ---- */

static uint64_t state;

/* In (-1, 1), the same sequence for both types */
static double draw(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(state >> 11) / 4503599627370496.0 - 1;
}

static size_t size(void) { return type == F32 ? 4 : 8; }
static double epsilon(void) { return type == F32 ? FLT_EPSILON : DBL_EPSILON; }
static double rounded(double x) { return type == F32 ? (double)(float)x : x; }

/* A matrix in the middle of memory that must not be touched */
typedef struct {
    char *memory;
    void *p;
    int64_t rows, cols, ld;
} matrix;

static const double guard = -12345.5;

static double *slot64(const matrix *a, int64_t i, int64_t j)
{ return (double *)a->p + i * a->ld + j; }
static float *slot32(const matrix *a, int64_t i, int64_t j)
{ return (float *)a->p + i * a->ld + j; }
static double at(const matrix *a, int64_t i, int64_t j)
{ return type == F32 ? (double)*slot32(a, i, j) : *slot64(a, i, j); }
static void put(const matrix *a, int64_t i, int64_t j, double x)
{
    if (type == F32)
        *slot32(a, i, j) = (float)x;
    else
        *slot64(a, i, j) = x;
}
static void *address(const matrix *a, int64_t i, int64_t j)
{ return (char *)a->p + (size_t)(i * a->ld + j) * size(); }

static size_t elements(const matrix *a) { return (size_t)(a->rows * a->ld) + 2 * MARGIN; }

static matrix empty(int64_t rows, int64_t cols, int64_t gap)
{
    matrix a = {NULL, NULL, rows, cols, cols + gap};
    a.memory = malloc(elements(&a) * size());
    if (!a.memory) abort();
    a.p = a.memory;
    for (size_t i = 0; i < elements(&a); i++) put(&a, 0, (int64_t)i, guard);
    a.p = a.memory + MARGIN * size();
    return a;
}

static void fill(const matrix *a, double x)
{
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t j = 0; j < a->cols; j++) put(a, i, j, x);
}

static matrix drawn(int64_t rows, int64_t cols, int64_t gap)
{
    matrix a = empty(rows, cols, gap);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) put(&a, i, j, draw());
    return a;
}

static matrix copy(const matrix *a)
{
    matrix b = empty(a->rows, a->cols, a->ld - a->cols);
    memcpy(b.memory, a->memory, elements(a) * size());
    return b;
}

static bool same(const matrix *a, const matrix *b)
{ return !memcmp(a->memory, b->memory, elements(a) * size()); }

/* ---- verdicts ---- */

static void problem(const char *what, int64_t i, int64_t j, double got, double expected)
{
    if (problems++ < 3)
        printf("     %s %s: %s: entry (%ld, %ld): got %.17g, expected %.17g\n", isa,
               type ? "double" : "float", what, (long)i, (long)j, got, expected);
}

static void close_to(const char *what, int64_t i, int64_t j, double got, double expected,
                     double tolerance)
{
    if (!(fabs(got - expected) <= tolerance)) problem(what, i, j, got, expected);
}

static void equal(const char *what, int64_t i, int64_t j, double got, double expected)
{
    if (got != expected) problem(what, i, j, got, expected);
}

/* Nothing outside the matrix was written; adds the inside to the digest; frees. */
static void finish_output(matrix *a)
{
    matrix all = *a;
    all.p = a->memory;
    for (int64_t e = 0; e < (int64_t)elements(a); e++) {
        const int64_t inside = e - MARGIN, i = a->ld ? inside / a->ld : 0,
                      j = a->ld ? inside % a->ld : 0;
        const double x = at(&all, 0, e);
        if (inside < 0 || i >= a->rows || j >= a->cols) {
            if (x != guard) problem("write outside", i, j, x, guard);
        } else {
            uint64_t bits;
            memcpy(&bits, &x, sizeof bits);
            digest = (digest ^ bits) * 1099511628211u;
        }
    }
    free(a->memory);
}

static void verdict(const char *check)
{
    printf("%-4s %-2s %-6s %s\n", problems ? "FAIL" : "ok", isa, type ? "double" : "float", check);
    if (problems)
        failed++;
    else
        passed++;
    problems = 0;
}

/* ---- products ---- */

static bool with_room; /* for what a product packs */
static int found_packed;

/* sum + a * b as the instruction set computes it */
static double multiply_add(double a, double b, double sum)
{
    if (type == F64) return fused ? fma(a, b, sum) : a * b + sum;
    if (fused) return (double)fmaf((float)a, (float)b, (float)sum);
    const float product = (float)a * (float)b;
    return (double)(product + (float)sum);
}

/* The rows of a matrix, or its columns, one after another: a naive product reads them again and again */
static double *in_a_row(const matrix *a, bool columns)
{
    double *all = malloc(((size_t)(a->rows * a->cols) + 1) * sizeof *all), *next = all;
    if (!all) abort();
    for (int64_t i = 0; i < (columns ? a->cols : a->rows); i++)
        for (int64_t j = 0; j < (columns ? a->rows : a->cols); j++)
            *next++ = columns ? at(a, j, i) : at(a, i, j);
    return all;
}

typedef struct {
    int64_t m, n, k, gap;
    bool transposed, bias, relu;
    double alpha, beta;
    bool masked;
} product;

/* The product again, with what it packed instead of B. */
static void check_packed(product s, fa_right *right, const matrix *a, const fa_ending *ending,
                         const matrix *before, const matrix *expected)
{
    if (!right->packed) return;
    matrix nothing = empty(s.k, s.n, s.gap), c = copy(before);
    fill(&nothing, NAN);
    kernels->gemm(c.p, c.ld, a->p, 1, a->ld, nothing.p, nothing.ld, s.m, s.n, s.k, s.alpha, s.beta,
                  ending, right);
    if (!right->packed || !same(&c, expected))
        problem("gemm, packed before", 0, 0, at(&c, 0, 0), at(expected, 0, 0));
    found_packed++;
    free(nothing.memory), free(c.memory);
}

static void check_product(product s)
{
    matrix a = s.transposed ? drawn(s.k, s.m, s.gap) : drawn(s.m, s.k, s.gap),
           b = drawn(s.k, s.n, s.gap);
    matrix bias = drawn(1, s.n, 0), c = drawn(s.m, s.n, s.gap), h = drawn(s.m, s.n, s.gap);
    for (int64_t i = 0; i < s.m && s.n; i++) put(&h, i, i % s.n, 0);
    const fa_ending ending = {s.bias ? bias.p : NULL, s.relu, s.masked ? h.p : NULL};
    const ptrdiff_t rsa = s.transposed ? 1 : a.ld, csa = s.transposed ? a.ld : 1;
    if (s.beta == 0) fill(&c, NAN);
    matrix before = copy(&c);
    const size_t panels = ((size_t)s.n * size() + FA_PANEL_BYTES - 1) / FA_PANEL_BYTES,
                 bytes = panels * FA_PANEL_BYTES * (size_t)s.k;
    fa_right of_b = {.foreign = (s.m + s.n) % 2};
    if (with_room) of_b.room = malloc(bytes < FA_ROOM_BYTES ? bytes : FA_ROOM_BYTES);
    kernels->gemm(c.p, c.ld, a.p, rsa, csa, b.p, b.ld, s.m, s.n, s.k, s.alpha, s.beta,
                  s.bias || s.relu || s.masked ? &ending : NULL, &of_b);
    check_packed(s, &of_b, &a, &ending, &before, &c);
    double *left = in_a_row(&a, s.transposed), *right = in_a_row(&b, true);
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) {
            double chain = 0;
            long double sum = 0, magnitude = 0;
            for (int64_t p = 0; p < s.k; p++) {
                const double x = left[i * s.k + p], y = right[j * s.k + p];
                chain = multiply_add(x, y, chain);
                sum += (long double)x * y;
                magnitude += fabsl((long double)x * y);
            }
            sum *= s.alpha;
            if (s.beta != 0)
                chain = multiply_add(s.alpha, chain, rounded(s.beta * at(&before, i, j))),
                sum += s.beta * at(&before, i, j);
            else
                chain = rounded(chain * s.alpha);
            if (s.bias) chain = rounded(chain + at(&bias, 0, j)), sum += at(&bias, 0, j);
            if (s.relu && chain < 0) chain = 0;
            if (s.relu && sum < 0) sum = 0;
            if (s.masked && !(at(&h, i, j) > 0)) chain = sum = 0;
            equal("gemm, one chain", i, j, at(&c, i, j), chain);
            close_to("gemm", i, j, at(&c, i, j), (double)sum,
                     epsilon() * ((double)s.k + 4) * ((double)magnitude + 3));
        }
    finish_output(&c);
    free(a.memory), free(b.memory), free(bias.memory), free(before.memory);
    free(of_b.room);
    free(h.memory), free(left), free(right);
}

/* The same product in one call, and in four that cut m and n anywhere */
static void check_split(int64_t m, int64_t n, int64_t k, int64_t cut_m, int64_t cut_n)
{
    matrix a = drawn(m, k, 1), b = drawn(k, n, 2), c = drawn(m, n, 3), whole = copy(&c);
    kernels->gemm(whole.p, c.ld, a.p, a.ld, 1, b.p, b.ld, m, n, k, -0.3, 1, NULL, NULL);
    for (int part = 0; part < 4; part++) {
        const int64_t i = part & 1 ? cut_m : 0, j = part & 2 ? cut_n : 0;
        kernels->gemm(address(&c, i, j), c.ld, address(&a, i, 0), a.ld, 1, address(&b, 0, j), b.ld,
                      part & 1 ? m - cut_m : cut_m, part & 2 ? n - cut_n : cut_n, k, -0.3, 1, NULL,
                      NULL);
    }
    if (!same(&c, &whole)) problem("gemm, split", cut_m, cut_n, at(&c, 0, 0), at(&whole, 0, 0));
    finish_output(&c);
    free(a.memory), free(b.memory), free(whole.memory);
}

static void test_small_products(void)
{
    static const int64_t ms[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 24, 32, 33};
    static const int64_t ns[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 15,
                                 16, 17, 23, 24, 25, 31, 33, 47, 48, 49, 53, 64, 65, 97};
    static const int64_t ks[] = {0, 1, 2, 5, 17, 67};
    static const double alphas[] = {1, -0.5, 1, 2.5}, betas[] = {0, 1, 0.75};
    int turn = 0;
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
        for (size_t j = 0; j < sizeof ns / sizeof *ns; j++)
            for (size_t p = 0; p < sizeof ks / sizeof *ks; p++, turn++)
                check_product((product){ms[i], ns[j], ks[p], turn % 5, turn & 1, turn / 2 & 1,
                                        turn % 4 == 1, alphas[turn / 3 % 4], betas[turn % 3],
                                        turn % 7 % 2});
    verdict("gemm, small sizes: one chain, strides, guards, NaN in C");
}

static void test_products(void)
{
    const product large[] = {
        {17, 301, 90, 0, false, true, true, 1, 0, false},
        {40, 260, 255, 3, true, false, false, -0.25, 1, true},
        {9, 200, 256, 0, false, false, false, 1, 0, true},
        {33, 129, 257, 1, true, false, false, -2, 0.5, false},
        {130, 100, 300, 0, false, true, true, 1, 0, true},
        {140, 97, 513, 5, false, true, false, 0.5, 0.5, false},
        {139, 50, 770, 0, true, false, false, -0.1, 1, true},
        {5, 1, 40000, 0, false, false, true, 1, 0, true},
        {13, 3, 30000, 2, false, true, false, 1, 1, false},
        {21, 70, 1100, 0, false, false, true, 1, 0, true},
        /* from here on what packs, or what has no room */
        {64, 500, 33, 0, true, false, false, -1, 1, false},
        {77, 150, 129, 7, true, false, false, -1, 1, true},
        {19, 120, 700, 0, true, false, false, -1, 0.5, true},
        {16, 50, 2800, 1, true, false, false, 1, 0, false},
        {16, 97, 1400, 0, true, false, false, 1, 1, true},
        {17, 100, 1000, 1, true, false, false, -1, 1, false},
        {16, 65, 2700, 0, true, false, false, -1, 0, true},
        {16, 130, 801, 0, false, true, true, 1, 0.5, true},
        {260, 60, 401, 2, false, true, true, 1, 0, false},
    };
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) check_product(large[i]);
    verdict("gemm, packed panels and carried sums: one chain, guards, NaN in C");

    for (int64_t cut = 1; cut < 20; cut++) check_split(20, 71, 30, cut, 71 - 3 * cut);
    check_split(150, 110, 300, 77, 31);
    check_split(40, 130, 200, 3, 47);
    verdict("gemm, same bits however m and n are split");
}

/* Packing, as where L2 is slow, without and with room for it: the same bits. */
static void test_packing(void)
{
    const bool here = fa_l2_is_slow;
    const uint64_t drawn = state, before = digest;
    fa_l2_is_slow = false;
    test_products();
    const uint64_t plain = digest;
    fa_l2_is_slow = true;
    for (int i = 0; i < (strcmp(isa, "v4") ? 0 : 2); i++) {
        with_room = i;
        found_packed = 0;
        state = drawn, digest = before;
        test_products();
        if (digest != plain) problem("gemm, packing", i, 0, (double)digest, (double)plain);
        if ((found_packed > 1) != i) problem("gemm, found packed", i, 0, found_packed, 0);
        verdict(i ? "gemm, packing with room: the same bits" : "gemm, packing: the same bits");
    }
    with_room = false;
    fa_l2_is_slow = here;
}

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
            kernels->update_forward(a.p, w.p, w.ld, x.p, add, h.p, d.p, m, n, alpha, beta);
            kernels->gemm(w2.p, w2.ld, h.p, 1, m, d.p, n, m, n, 1, alpha, beta, NULL, NULL);
            kernels->gemm(a2.p, n, x.p, m, 1, w2.p, w2.ld, 1, n, m, 1, 0, &(fa_ending){.bias = add},
                          NULL);
            if (!same(&w, &w2)) problem("update_forward: w", m, n, 0, 1);
            if (!same(&a, &a2)) problem("update_forward: a", m, n, 0, 1);
            finish_output(&w), finish_output(&a);
            free(x.memory), free(h.memory), free(d.memory), free(bias.memory), free(a2.memory),
                free(w2.memory);
        }
    verdict("update_forward: the bits of two products");
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

/* Every byte over divisors of every mantissa's kind and beyond what a reciprocal serves: the bits of a division */
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
    const int more = kernels->pick(values.p, places, b->p, b->ld, b->rows, b->cols, k);
    equal("pick: more than k", k, b->cols, more, 0);
    kernels->product_picked(s.p, s.ld, e->p, e->ld, values.p, places, s.rows, s.cols, k, b->rows);
    for (int64_t i = 0; i < s.rows; i++)
        for (int64_t j = 0; j < s.cols; j++) {
            double chain = 0;
            for (int64_t p = 0; p < b->rows; p++)
                if (at(b, p, j) != 0) chain = multiply_add(at(e, i, p), at(b, p, j), chain);
            equal("product_picked", i, j, at(&s, i, j), chain);
        }
    if (k > 1 && b->rows >= k) /* one entry fewer does not hold them */
        equal("pick: more than k", k, b->cols,
              kernels->pick(values.p, places, b->p, b->ld, b->rows, b->cols, k - 1), 1);
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
    verdict("pick, product_picked: the chain of the product without its zeros");
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
    long double w, s0, s1;
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

typedef void step_fn(void *w, ptrdiff_t ldw, void *s0, void *s1, void *b, ptrdiff_t ldb,
                     const void *g, ptrdiff_t ldg, int64_t rows, int64_t cols, const fa_hyper *h);

/* One step on a tile: against the reference, and the same bits entry by entry as at once. Where w leads, b moves by
 * the transposed step, and both forget. */
static void check_step(step_fn *step, reference_fn *reference, const fa_hyper *h, int slots,
                       bool leads, int64_t rows, int64_t cols)
{
    matrix w = drawn(rows, cols, 3), s0 = drawn(rows, cols, 3), s1 = drawn(rows, cols, 3),
           g = drawn(rows, cols, 1);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) /* some slots hold squares */
            put(&s0, i, j, fabs(at(&s0, i, j))), put(&s1, i, j, fabs(at(&s1, i, j)));
    matrix w1 = copy(&w), s01 = copy(&s0), s11 = copy(&s1), was = copy(&w), was0 = copy(&s0),
           was1 = copy(&s1);
    matrix b = drawn(cols, rows, 2), b1 = copy(&b), was_b = copy(&b);
    const double keep = leads ? 1 - h->lambda : 1;
    step(w.p, w.ld, slots > 0 ? s0.p : NULL, slots > 1 ? s1.p : NULL, leads ? b.p : NULL, b.ld, g.p,
         g.ld, rows, cols, h);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            entry x = {at(&was, i, j), slots > 0 ? at(&was0, i, j) : 0,
                       slots > 1 ? at(&was1, i, j) : 0};
            x = reference(x, at(&g, i, j), h);
            const long double taken = x.w - at(&was, i, j);
            x.w = keep * at(&was, i, j) + taken;
            const double follows =
                leads ? (double)(keep * at(&was_b, j, i) + taken) : at(&was_b, j, i);
            close_to("w", i, j, at(&w, i, j), (double)x.w,
                     16 * epsilon() * (1 + fabs((double)x.w)));
            close_to("b", j, i, at(&b, j, i), follows, 16 * epsilon() * (1 + fabs(follows)));
            if (slots > 0)
                close_to("s0", i, j, at(&s0, i, j), (double)x.s0,
                         16 * epsilon() * (1 + fabs((double)x.s0)));
            if (slots > 1)
                close_to("s1", i, j, at(&s1, i, j), (double)x.s1,
                         16 * epsilon() * (1 + fabs((double)x.s1)));
            step(address(&w1, i, j), w1.ld, slots > 0 ? address(&s01, i, j) : NULL,
                 slots > 1 ? address(&s11, i, j) : NULL, leads ? address(&b1, j, i) : NULL, b1.ld,
                 address(&g, i, j), g.ld, 1, 1, h);
        }
    if (!same(&w, &w1) || !same(&s0, &s01) || !same(&s1, &s11) || !same(&b, &b1))
        problem("entry by entry", rows, cols, 0, 1);
    finish_output(&w), finish_output(&s0), finish_output(&s1), finish_output(&b);
    free(b1.memory), free(was_b.memory);
    free(g.memory), free(w1.memory), free(s01.memory), free(s11.memory);
    free(was.memory), free(was0.memory), free(was1.memory);
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
                            .bias2 = 1 - 0.997002999};
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
    fa_hyper forgetful = rich;
    forgetful.lambda = 0.05;
    const fa_hyper *const leading[] = {&rich, &forgetful};
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
        for (size_t j = 0; j < sizeof cols / sizeof *cols; j++) {
            const fa_hyper *h = leading[(i + j) % 2];
            check_step(kernels->plain, plain_reference, h, 0, true, cols[i], cols[j]);
            check_step(kernels->sgd, sgd_reference, h, 1, true, cols[i], cols[j]);
            check_step(kernels->rmsprop, rmsprop_reference, h, 2, true, cols[i], cols[j]);
            check_step(kernels->adam, adam_reference, h, 2, true, cols[i], cols[j]);
        }
    verdict("a matrix that follows, every optimizer: kept whole, forgetting");
}

/* ---- all of it ---- */

typedef struct {
    const char *name;
    const fa_kernels *rows;
    bool supported, fused;
    uint64_t digest[2];
} flavour;

static void test_flavour(flavour *f)
{
    isa = f->name, fused = f->fused;
    for (type = F32; type <= F64; type++) {
        kernels = &f->rows[type];
        state = 2026, digest = 14695981039346656037u;
        test_small_products();
        test_packing();
        test_update_forward();
        test_transpose();
        test_colsum();
        test_gather();
        test_bytes_divided();
        test_picked();
        test_scale_rows();
        test_dot();
        test_all_finite();
        test_optimizers();
        f->digest[type] = digest;
    }
}

int main(void)
{
#ifdef __x86_64__
    const bool v2 = __builtin_cpu_supports("sse4.2"),
               v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
    const bool v2 = false, v3 = false, v4 = false;
#endif
    flavour flavours[] = {
        {"c", fa_kernels_c_rows, true, false, {0, 0}},
        {"v2", fa_kernels_v2_rows, v2, false, {0, 0}},
        {"v3", fa_kernels_v3_rows, v3, true, {0, 0}},
        {"v4", fa_kernels_v4_rows, v4, true, {0, 0}},
    };
    for (int i = 0; i < 4; i++)
        if (flavours[i].rows && flavours[i].supported)
            test_flavour(&flavours[i]);
        else
            printf("--   %-2s not in this build or not on this CPU\n", flavours[i].name);
    if (flavours[2].digest[0] && flavours[3].digest[0])
        for (type = F32; type <= F64; type++) {
            isa = "v3";
            if (flavours[2].digest[type] != flavours[3].digest[type])
                problem("digest against v4", 0, 0, 0, 1);
            verdict("every output above has the same bits as on v4");
        }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

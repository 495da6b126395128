/* The elementwise kernels of every instruction set this machine has: accuracy of the elementary
 * functions over all floats, NaN and Inf, shapes, Philox and dropout, losses, and v3 and v4 giving
 * the same bits.
 *
 *   test_math           every 2039th float
 *   test_math --full    all 2^32, in about 20 minutes */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum { FLOAT, DOUBLE }; /* rows of a kernel table */
enum { BLOCK = 4096, GUARD = 0x5a };

typedef struct {
    const char *name;
    const fa_kernels *rows;
    bool fused; /* has a fused multiply-add */
} isa;

static isa isas[4];
static int n_isas, n_passed, n_failed;

static const size_t size_of[] = {sizeof(float), sizeof(double)};
static const char *const type_name[] = {"float", "double"};
static const char *const act_name[] = {
#define FA_ACTIVATION(name, flags, init) #name,
#include "activations.def"
#undef FA_ACTIVATION
};

static void find_isas(void)
{
#ifdef FA_X86
    __builtin_cpu_init();
    isas[n_isas++] = (isa){"v2", fa_kernels_v2_rows, false};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        isas[n_isas++] = (isa){"v3", fa_kernels_v3_rows, true};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        isas[n_isas++] = (isa){"v4", fa_kernels_v4_rows, true};
#else
    isas[n_isas++] = (isa){"c", fa_kernels_c_rows, false};
#endif
}

/* One check: a line saying what was checked, and what was measured. */
static void check(bool ok, const char *isa_name, int type, const char *what, double measured)
{
    printf("%s  %-2s %-6s %s (%.3g)\n", ok ? "ok  " : "FAIL", isa_name, type_name[type], what,
           measured);
    if (ok)
        n_passed++;
    else
        n_failed++;
}

static double get(int type, const void *p, int64_t i)
{ return type == FLOAT ? (double)((const float *)p)[i] : ((const double *)p)[i]; }

static void set(int type, void *p, int64_t i, double x)
{
    if (type == FLOAT)
        ((float *)p)[i] = (float)x;
    else
        ((double *)p)[i] = x;
}

/* The larger of two errors; NaN counts as infinite. */
static double larger(double a, double b) { return b <= a ? a : isnan(b) ? INFINITY : b; }

/* A multiplicative generator is random enough for test data. */
static uint64_t random_bits(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state ^ (state >> 29);
}

static double uniform(double low, double high)
{ return low + (high - low) * (double)(random_bits() >> 11) * 0x1p-53; }

static void fill(int type, void *p, int64_t n, double low, double high)
{
    for (int64_t i = 0; i < n; i++) set(type, p, i, uniform(low, high));
}

/* ---- accuracy ---- */

/* What kernels are held against: F is double (S empty) for floats, long double (S l) for doubles */
#define REFERENCES(F, S)                                                                           \
    static F sigmoid##S(F x) { return 1 / (1 + exp##S(-x)); }                                      \
    static F softplus##S(F x) { return fmax##S(x, 0) + log1p##S(exp##S(-fabs##S(x))); }            \
    static F cdf##S(F x) { return erfc##S(-x * (F)0.70710678118654752440084436L) / 2; }            \
    static F gelu##S(F x) { return x * cdf##S(x); }                                                \
    static F dgelu##S(F x)                                                                         \
    { return cdf##S(x) + x * exp##S(-x * x / 2) * (F)0.39894228040143267793994606L; }              \
    static F dtanh##S(F h) { return (1 - h) * (1 + h); }                                           \
    static F dsigmoid##S(F h) { return h * (1 - h); }
REFERENCES(double, )
REFERENCES(long double, l)

/* One function under test: f, or f' for DERIVATIVE. Its error is in ulps, or for ABSOLUTE in units
 * of max(1, |x|), and counts for |x| < range where one is given. FUSED: no claim without an fma. */
enum { DERIVATIVE = 1, ABSOLUTE = 2, FUSED = 4 };

typedef struct {
    const char *name;
    int act, flags;
    double (*reference)(double);
    long double (*referencel)(long double);
    double range, bound[2];
} function;

static const function functions[] = {
    {"tanh, ulp", FA_ACT_tanh, 0, tanh, tanhl, 0, {4, 4}},
    {"sigmoid, ulp", FA_ACT_sigmoid, 0, sigmoid, sigmoidl, 0, {4, 4}},
    {"softplus, ulp", FA_ACT_softplus, 0, softplus, softplusl, 0, {4, 4}},
    {"gelu, absolute", FA_ACT_gelu, ABSOLUTE, gelu, gelul, 0, {2e-7, 5e-16}},
    {"gelu, ulp, |a| < 12.5", FA_ACT_gelu, FUSED, gelu, gelul, 12.5, {8, 8}},
    {"tanh'", FA_ACT_tanh, DERIVATIVE | ABSOLUTE, dtanh, dtanhl, 1, {1e-7, 2e-16}},
    {"sigmoid'", FA_ACT_sigmoid, DERIVATIVE | ABSOLUTE, dsigmoid, dsigmoidl, 1, {2e-7, 4e-16}},
    {"softplus', ulp", FA_ACT_softplus, DERIVATIVE, sigmoid, sigmoidl, 0, {4, 4}},
    {"gelu'", FA_ACT_gelu, DERIVATIVE | ABSOLUTE, dgelu, dgelul, 0, {4e-7, 1e-15}},
};
enum { N_FUNCTIONS = sizeof functions / sizeof functions[0] };

static double error_of(const function *f, int type, double x, long double got, long double want)
{
    static const double smallest[] = {FLT_MIN, DBL_MIN};
    static const int digits[] = {FLT_MANT_DIG, DBL_MANT_DIG};
    if (isnan(want)) return isnan(got) ? 0 : INFINITY;
    if (got == want) return 0;
    if (isinf(got) || isinf(want) || isnan(got)) return INFINITY;
    double error = (double)fabsl(got - want);
    if (f->flags & ABSOLUTE) return error / fmax(1, fabs(x));
    if (fabsl(want) < smallest[type]) return error <= smallest[type] ? 0 : INFINITY;
    int exponent;
    frexp((double)want, &exponent);
    return ldexp(error, digits[type] - exponent);
}

/* The largest error of one function on one block of inputs */
static double error_on(const fa_kernels *kernels, const function *f, int type, const void *x,
                       int64_t n, const long double *want)
{
    static double y[BLOCK];
    double worst = 0;
    for (int64_t i = 0; i < n; i++) set(type, y, i, 1);
    if (f->flags & DERIVATIVE)
        kernels->dact[f->act](y, n, x, n, 1, n);
    else
        kernels->act[f->act](y, n, x, n, 1, n);
    for (int64_t i = 0; i < n; i++) {
        double a = get(type, x, i);
        if (f->range > 0 && !(fabs(a) < f->range)) continue;
        if (isinf(a) && isnan(want[i])) continue; /* inf * 0 in the reference: see test_values */
        worst = larger(worst, error_of(f, type, a, get(type, y, i), want[i]));
    }
    return worst;
}

/* worst[isa][function] is kept */
static void measure_block(int type, const void *x, int64_t n, double (*worst)[N_FUNCTIONS])
{
    static long double want[BLOCK];
    for (int k = 0; k < N_FUNCTIONS; k++) {
        const function *f = &functions[k];
        for (int64_t i = 0; i < n; i++) {
            double a = get(type, x, i);
            want[i] = type == FLOAT ? (long double)f->reference(a) : f->referencel(a);
        }
        for (int s = 0; s < n_isas; s++) {
            double error = error_on(&isas[s].rows[type], f, type, x, n, want);
            worst[s][k] = larger(worst[s][k], error);
        }
    }
}

static void report_accuracy(int type, double (*worst)[N_FUNCTIONS])
{
    for (int s = 0; s < n_isas; s++)
        for (int k = 0; k < N_FUNCTIONS; k++) {
            if (functions[k].flags & FUSED && !isas[s].fused) continue;
            check(worst[s][k] <= functions[k].bound[type], isas[s].name, type, functions[k].name,
                  worst[s][k]);
        }
}

static void test_floats(uint64_t stride)
{
    static float x[BLOCK];
    double worst[4][N_FUNCTIONS] = {{0}};
    for (uint64_t next = 0; next < (uint64_t)1 << 32;) {
        int64_t n = 0;
        for (; n < BLOCK && next < (uint64_t)1 << 32; n++, next += stride) {
            uint32_t bits = (uint32_t)next;
            memcpy(&x[n], &bits, sizeof bits);
        }
        measure_block(FLOAT, x, n, worst);
    }
    report_accuracy(FLOAT, worst);
}

/* Doubles of every magnitude, and as many where the functions bend */
static void test_doubles(int blocks)
{
    static double x[BLOCK];
    double worst[4][N_FUNCTIONS] = {{0}};
    for (int b = 0; b < blocks; b++) {
        static const double width[] = {1, 6, 45, 800};
        for (int i = 0; i < BLOCK; i++) {
            uint64_t bits = random_bits();
            if (b % 5 == 4)
                memcpy(&x[i], &bits, sizeof bits);
            else
                x[i] = uniform(-width[b % 5], width[b % 5]);
        }
        measure_block(DOUBLE, x, BLOCK, worst);
    }
    report_accuracy(DOUBLE, worst);
}

/* ---- exact values, NaN and Inf ---- */

/* f or f' of one number */
static double value_of(const fa_kernels *kernels, int type, int act, bool derivative, double at)
{
    double x, y;
    set(type, &x, 0, at);
    set(type, &y, 0, 1);
    if (derivative)
        kernels->dact[act](&y, 1, &x, 1, 1, 1);
    else
        kernels->act[act](&y, 1, &x, 1, 1, 1);
    return get(type, &y, 0);
}

static void test_values(isa set_, int type)
{
    static const struct {
        int act;
        bool derivative;
        double x, want;
    } cases[] = {
        {FA_ACT_linear, false, -INFINITY, -INFINITY},
        {FA_ACT_linear, true, NAN, 1},
        {FA_ACT_relu, false, -INFINITY, 0},
        {FA_ACT_relu, false, INFINITY, INFINITY},
        {FA_ACT_relu, false, -2, 0},
        {FA_ACT_relu, true, 0, 0},
        {FA_ACT_relu, true, 3, 1},
        {FA_ACT_leaky_relu, false, -INFINITY, -INFINITY},
        {FA_ACT_leaky_relu, false, 5, 5},
        {FA_ACT_leaky_relu, true, 2, 1},
        {FA_ACT_tanh, false, INFINITY, 1},
        {FA_ACT_tanh, false, -INFINITY, -1},
        {FA_ACT_tanh, true, 1, 0},
        {FA_ACT_tanh, true, 0, 1},
        {FA_ACT_sigmoid, false, INFINITY, 1},
        {FA_ACT_sigmoid, false, -INFINITY, 0},
        {FA_ACT_sigmoid, false, 0, 0.5},
        {FA_ACT_softplus, false, INFINITY, INFINITY},
        {FA_ACT_softplus, false, -INFINITY, 0},
        {FA_ACT_softplus, true, INFINITY, 1},
        {FA_ACT_softplus, true, -INFINITY, 0},
        {FA_ACT_gelu, false, INFINITY, INFINITY},
        {FA_ACT_gelu, false, -INFINITY, NAN},
        {FA_ACT_gelu, false, -1e30, 0},
        {FA_ACT_gelu, true, INFINITY, 1},
        {FA_ACT_gelu, true, -INFINITY, 0},
        {FA_ACT_sign, false, -INFINITY, -1},
        {FA_ACT_sign, false, 0, 0},
        {FA_ACT_sign, false, 1e-30, 1},
        {FA_ACT_sign, true, 5, 0},
        {FA_ACT_threshold, false, -INFINITY, 0},
        {FA_ACT_threshold, false, 0, 0},
        {FA_ACT_threshold, false, 1e-30, 1},
        {FA_ACT_threshold, true, 1, 0},
    };
    int n = sizeof cases / sizeof cases[0], bad = 0;
    for (int i = 0; i < n; i++) {
        bool prime = cases[i].derivative;
        double got = value_of(&set_.rows[type], type, cases[i].act, prime, cases[i].x);
        if (isnan(cases[i].want) ? isnan(got) : got == cases[i].want) continue;
        printf("      %s%s(%g) = %g\n", act_name[cases[i].act], prime ? "'" : "", cases[i].x, got);
        bad++;
    }
    check(bad == 0, set_.name, type, "exact values: wrong", bad);
}

/* NaN of either sign and any payload goes through f, and through d *= f' */
static void test_nan(isa set_, int type)
{
    static const uint64_t bits[2][3] = {
        {0x7fc00000, 0xffc00001, 0x7fc00fff},
        {0x7ff8000000000000, 0xfff8000000000001, 0x7ff8000000000fff},
    };
    int bad = 0;
    for (int act = 0; act < FA_N_ACTIVATIONS; act++)
        for (int i = 0; i < 3; i++) {
            double nan = 0, y, half;
            memcpy(&nan, &bits[type][i], size_of[type]); /* little-endian */
            set_.rows[type].act[act](&y, 1, &nan, 1, 1, 1);
            bad += !isnan(get(type, &y, 0));
            set(type, &half, 0, 0.5);
            set_.rows[type].dact[act](&nan, 1, &half, 1, 1, 1);
            bad += !isnan(get(type, &nan, 0));
        }
    check(bad == 0, set_.name, type, "NaN goes through: lost", bad);
}

/* ---- shapes: tails, strides, in place; an element's bits do not depend on where it stands ---- */

static bool untouched(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != GUARD) return false;
    return true;
}

/* act (or dact) on 3 x cols matrices, `gap` guards after each row, against single elements */
static bool shape_agrees(const fa_kernels *kernels, int type, int act, bool derivative,
                         int64_t cols, int64_t gap)
{
    enum { ROWS = 3, ROOM = 64 };
    static unsigned char x[ROWS * ROOM * 8], y[ROWS * ROOM * 8];
    size_t element = size_of[type];
    int64_t ld = cols + gap;
    memset(y, GUARD, sizeof y);
    fill(type, x, ROWS * ld, -4, 4);
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t j = 0; j < cols; j++) set(type, y, i * ld + j, get(type, x, i * ld + j) / 3);
    double one[ROWS * ROOM];
    for (int64_t i = 0; i < ROWS * ld; i++) {
        set(type, one + i, 0, get(type, x, i) / 3);
        if (derivative)
            kernels->dact[act](one + i, 1, x + (size_t)i * element, 1, 1, 1);
        else
            kernels->act[act](one + i, 1, x + (size_t)i * element, 1, 1, 1);
    }
    if (derivative)
        kernels->dact[act](y, ld, x, ld, ROWS, cols);
    else
        kernels->act[act](y, ld, x, ld, ROWS, cols);
    bool ok =
        untouched(y + (size_t)(ROWS * ld) * element, sizeof y - (size_t)(ROWS * ld) * element);
    for (int64_t i = 0; i < ROWS; i++) {
        for (int64_t j = 0; j < cols; j++)
            ok &= !memcmp(y + (size_t)(i * ld + j) * element, one + i * ld + j, element);
        ok &= untouched(y + (size_t)(i * ld + cols) * element, (size_t)gap * element);
    }
    if (derivative) return ok;
    kernels->act[act](x, ld, x, ld, ROWS, cols); /* in place */
    for (int64_t i = 0; i < ROWS; i++)
        ok &= !memcmp(x + (size_t)(i * ld) * element, y + (size_t)(i * ld) * element,
                      (size_t)cols * element);
    return ok;
}

static void test_shapes(isa set_, int type)
{
    int bad = 0;
    for (int act = 0; act < FA_N_ACTIVATIONS; act++)
        for (int64_t cols = 0; cols <= 33; cols++)
            for (int64_t gap = 0; gap <= 3; gap += 3)
                for (int derivative = 0; derivative < 2; derivative++)
                    bad += !shape_agrees(&set_.rows[type], type, act, derivative, cols, gap);
    check(bad == 0, set_.name, type, "activations in every shape: bad", bad);
}

/* ---- Philox and dropout ---- */

static void philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1, c[3] = (uint32_t)p0;
    }
}

static void test_philox(void)
{
    static const struct {
        uint32_t counter, key, want[4];
    } known[] = {
        {0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {~0u, ~0u, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    };
    for (int i = 0; i < 2; i++) {
        uint32_t c[4] = {known[i].counter, known[i].counter, known[i].counter, known[i].counter};
        philox(c, known[i].key, known[i].key);
        check(!memcmp(c, known[i].want, sizeof c), "-", FLOAT, "known answers of Philox4x32-10",
              c[0]);
    }
}

typedef struct {
    int64_t rows, cols, gap, row0;
    uint32_t drop, key0, key1, c2, c3;
} mask_case;

/* keep and y of one call against the scalar generator; guards after each row stay */
static bool mask_agrees(const fa_kernels *kernels, int type, mask_case m)
{
    enum { ROOM = 5 * 80 };
    static double x[ROOM], y[ROOM];
    static uint8_t keep[ROOM];
    const double scale = 1.25;
    int64_t ld = m.cols + m.gap;
    fill(type, x, m.rows * ld, -1, 1);
    memset(y, GUARD, sizeof y);
    memset(keep, GUARD, sizeof keep);
    kernels->dropout(y, ld, keep, ld, x, ld, m.rows, m.cols, m.drop, scale, m.row0, m.key0, m.key1,
                     m.c2, m.c3);
    bool ok = untouched(keep + m.rows * ld, (size_t)(ROOM - m.rows * ld));
    for (int64_t i = 0; i < m.rows; i++) {
        for (int64_t j = 0; j < m.cols; j++) {
            uint32_t c[4] = {(uint32_t)(j / 4), (uint32_t)(m.row0 + i), m.c2, m.c3};
            philox(c, m.key0, m.key1);
            bool kept = c[j % 4] >= m.drop;
            double a = get(type, x, i * ld + j);
            double want = type == FLOAT ? (double)((float)a * (float)scale) : a * scale;
            ok &= keep[i * ld + j] == kept && get(type, y, i * ld + j) == (kept ? want : 0);
        }
        ok &= untouched(keep + i * ld + m.cols, (size_t)m.gap);
        ok &= untouched((unsigned char *)y + (size_t)(i * ld + m.cols) * size_of[type],
                        (size_t)m.gap * size_of[type]);
    }
    kernels->ddropout(x, ld, keep, ld, m.rows, m.cols, scale);
    for (int64_t i = 0; i < m.rows; i++)
        for (int64_t j = 0; j < m.cols; j++)
            ok &= get(type, x, i * ld + j) == get(type, y, i * ld + j);
    return ok;
}

static void test_dropout(isa set_, int type)
{
    const fa_kernels *kernels = &set_.rows[type];
    /* The first known answer through the kernel: a word is kept at its own value, not one above. */
    static const uint32_t word[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    int bad = 0;
    for (int i = 0; i < 8; i++) {
        double x[4] = {0}, y[4];
        uint8_t keep[4];
        kernels->dropout(y, 4, keep, 4, x, 4, 1, 4, word[i / 2] + (uint32_t)(i % 2), 1, 0, 0, 0, 0,
                         0);
        bad += keep[i / 2] != (i % 2 == 0);
    }
    check(bad == 0, set_.name, type, "words of the mask's generator: bad", bad);
    bad = 0;
    for (int64_t cols = 0; cols <= 70; cols++) {
        uint64_t a = random_bits(), b = random_bits(), c = random_bits();
        mask_case m = {3,           cols,
                       cols % 4,    7 * cols,
                       (uint32_t)a, (uint32_t)(a >> 32),
                       (uint32_t)b, (uint32_t)(b >> 32),
                       (uint32_t)c};
        bad += !mask_agrees(kernels, type, m);
    }
    bad += !mask_agrees(kernels, type,
                        (mask_case){2, 33, 0, 0xffffffff, 0x80000000u, ~0u, ~0u, ~0u, ~0u});
    bad += !mask_agrees(kernels, type, (mask_case){2, 33, 0, 0, 0, 1, 2, 3, 4});
    bad += !mask_agrees(kernels, type, (mask_case){2, 33, 0, 0, ~0u, 1, 2, 3, 4});
    check(bad == 0, set_.name, type, "dropout and its derivative in every shape: bad", bad);

    double x[2], y[2];
    uint8_t keep[2];
    set(type, x, 0, NAN), set(type, x, 1, NAN);
    kernels->dropout(y, 2, keep, 2, x, 2, 1, 2, word[0] + 1, 1, 0, 0, 0, 0, 0);
    check(get(type, y, 0) == 0 && isnan(get(type, y, 1)), set_.name, type,
          "dropout lets kept NaN through", 1);
}

/* ---- losses ---- */

typedef enum { SOFTMAX_CE, SIGMOID_CE, MSE, N_LOSSES } loss_kind;
static const char *const loss_name[] = {"softmax_ce", "sigmoid_ce", "mse"};

typedef struct {
    int64_t rows, cols, gap;
    bool labels, in_place;
    double spread; /* logits are uniform in +-spread */
} loss_case;

static void call_loss(const fa_kernels *kernels, loss_kind kind, void *e, int64_t lde,
                      double *row_loss, double *hit, const void *z, const int64_t *labels,
                      const void *y, int64_t ld, int64_t rows, int64_t cols)
{
    if (kind == SOFTMAX_CE)
        kernels->softmax_ce(e, lde, row_loss, hit, z, ld, labels, y, ld, rows, cols);
    if (kind == SIGMOID_CE)
        kernels->sigmoid_ce(e, lde, row_loss, hit, z, ld, labels, y, ld, rows, cols);
    if (kind == MSE) kernels->mse(e, lde, row_loss, hit, z, ld, labels, y, ld, rows, cols);
}

static int64_t argmax(const double *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t j = 1; j < n; j++)
        if (x[j] > x[best]) best = j;
    return best;
}

/* The formulas of kernels.def on one row, nothing clever */
static double plain_loss(loss_kind kind, double *e, const double *z, const double *y, int64_t cols)
{
    long double loss = 0, sum = 0, most = z[argmax(z, cols)];
    for (int64_t j = 0; j < cols; j++) sum += expl(z[j] - most);
    if (kind == SOFTMAX_CE) loss = logl(sum) + most;
    for (int64_t j = 0; j < cols; j++) {
        long double a = z[j], t = y[j];
        if (kind == SOFTMAX_CE) loss -= t * a, e[j] = (double)(expl(a - most) / sum - t);
        if (kind == SIGMOID_CE) loss += softplusl(a) - t * a, e[j] = (double)(sigmoidl(a) - t);
        if (kind == MSE) loss += (a - t) * (a - t) / 2, e[j] = (double)(a - t);
    }
    return (double)loss;
}

static double plain_hit(loss_kind kind, const double *z, const double *y, int64_t cols, bool labels)
{
    if (kind == MSE && !labels) return 0;
    if (kind != SIGMOID_CE || (labels && cols > 1)) return argmax(z, cols) == argmax(y, cols);
    int64_t right = 0;
    for (int64_t j = 0; j < cols; j++) right += (z[j] > 0) == (y[j] > 0.5);
    return (double)right / (double)cols;
}

/* Targets of one row as numbers: what labels mean, or a row of y (a distribution for softmax_ce) */
static void make_target(int type, loss_kind kind, loss_case c, int64_t i, int64_t *labels, void *y,
                        double *plain)
{
    int64_t ld = c.cols + c.gap;
    labels[i] = (int64_t)(random_bits() % (uint64_t)(c.cols > 1 ? c.cols : 2));
    double sum = 0;
    for (int64_t j = 0; j < c.cols; j++) sum += plain[j] = uniform(0, 1);
    for (int64_t j = 0; j < c.cols; j++) {
        if (kind == SOFTMAX_CE) plain[j] /= sum;
        set(type, y, i * ld + j, plain[j]);
        plain[j] = get(type, y, i * ld + j);
        if (c.labels) plain[j] = c.cols == 1 ? (double)labels[i] : j == labels[i];
    }
}

/* The largest error of losses (in units of max(1, loss)) and of e; infinite where a hit is wrong or
 * a guard was written */
static double loss_error(const fa_kernels *kernels, int type, loss_kind kind, loss_case c)
{
    enum { ROOM = 4 * 80 };
    static double z[ROOM], y[ROOM], e[ROOM], plain_z[ROOM], plain_y[ROOM], plain_e[ROOM];
    double row_loss[4], hit[4], worst = 0;
    int64_t labels[4], ld = c.cols + c.gap;
    memset(e, GUARD, sizeof e);
    fill(type, z, c.rows * ld, -c.spread, c.spread);
    for (int64_t i = 0; i < c.rows * ld; i++) plain_z[i] = get(type, z, i);
    for (int64_t i = 0; i < c.rows; i++) make_target(type, kind, c, i, labels, y, plain_y + i * ld);
    void *out = c.in_place ? z : e;
    call_loss(kernels, kind, out, ld, row_loss, hit, z, c.labels ? labels : NULL, y, ld, c.rows,
              c.cols);
    for (int64_t i = 0; i < c.rows; i++) {
        const double *zi = plain_z + i * ld, *yi = plain_y + i * ld;
        double want = plain_loss(kind, plain_e, zi, yi, c.cols);
        double rounding = 1e-15 * c.spread; /* of 1 - sum y, times the largest logit */
        worst = larger(worst, (fabs(row_loss[i] - want) - rounding) / fmax(1, fabs(want)));
        bool ok = hit[i] == plain_hit(kind, zi, yi, c.cols, c.labels);
        for (int64_t j = 0; j < c.cols; j++)
            worst = larger(worst, fabs(get(type, out, i * ld + j) - plain_e[j]) /
                                      fmax(1, fabs(plain_e[j])));
        if (!c.in_place)
            ok &= untouched((unsigned char *)e + (size_t)(i * ld + c.cols) * size_of[type],
                            (size_t)c.gap * size_of[type]);
        if (!ok) worst = INFINITY;
    }
    return worst;
}

static void test_losses(isa set_, int type)
{
    static const double spreads[] = {0.1, 3, 30, 1000, 1e6};
    static const double bound[] = {4e-7, 2e-15};
    for (int kind = 0; kind < N_LOSSES; kind++) {
        double worst = 0;
        for (int64_t cols = 1; cols <= 70; cols++)
            for (int s = 0; s < 5; s++)
                for (int way = 0; way < 8; way++) {
                    loss_case c = {4, cols, way & 1 ? 3 : 0, way & 2, way & 4, spreads[s]};
                    if (kind != SIGMOID_CE && cols == 1 && c.labels)
                        continue; /* nothing to classify */
                    worst = larger(worst, loss_error(&set_.rows[type], type, (loss_kind)kind, c));
                }
        check(worst <= bound[type], set_.name, type, loss_name[kind], worst);
    }
}

/* Row targets that are one-hot mean what labels mean, also where an excluded logit is -inf. */
static void test_loss_edges(isa set_, int type)
{
    const fa_kernels *kernels = &set_.rows[type];
    static const struct {
        double z[3];
        int64_t label;
        bool finite;
        double want;
    } cases[] = {
        {{1e30, -1e30, 0}, 0, true, 0},
        {{0, -INFINITY, 0}, 0, true, 0.69314718055994531},
        {{0, -INFINITY, 0}, 1, false, INFINITY},
        {{INFINITY, 0, 0}, 0, false, NAN},
        {{INFINITY, 0, 0}, 1, false, NAN},
        {{0, NAN, 0}, 0, false, NAN},
        {{NAN, 0, 0}, 1, false, NAN},
        {{-INFINITY, -INFINITY, -INFINITY}, 1, false, NAN},
        {{5, 5, 5}, 0, true, 1.0986122886681098},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double z[3], y[3], e[3], loss[2], hit;
        for (int j = 0; j < 3; j++)
            set(type, z, j, cases[i].z[j]), set(type, y, j, j == cases[i].label);
        kernels->softmax_ce(e, 3, &loss[0], &hit, z, 3, &cases[i].label, NULL, 0, 1, 3);
        kernels->softmax_ce(e, 3, &loss[1], &hit, z, 3, NULL, y, 3, 1, 3);
        for (int way = 0; way < 2; way++) {
            bool ok =
                cases[i].finite ? fabs(loss[way] - cases[i].want) < 1e-15 : !isfinite(loss[way]);
            if (!ok) check(false, set_.name, type, "softmax_ce at the edge", loss[way]);
        }
        if (!cases[i].finite && cases[i].label != 1) {
            kernels->sigmoid_ce(e, 3, &loss[0], &hit, z, 3, &cases[i].label, NULL, 0, 1, 3);
            kernels->mse(e, 3, &loss[1], &hit, z, 3, &cases[i].label, NULL, 0, 1, 3);
            if (isfinite(loss[0]) || isfinite(loss[1]))
                check(false, set_.name, type, "loss of NaN or Inf", loss[0]);
        }
    }
    double tie[2], e[2], loss, hit;
    int64_t first = 0, second = 1;
    set(type, tie, 0, 5), set(type, tie, 1, 5);
    kernels->softmax_ce(e, 2, &loss, &hit, tie, 2, &first, NULL, 0, 1, 2);
    bool ok = hit == 1;
    kernels->softmax_ce(e, 2, &loss, &hit, tie, 2, &second, NULL, 0, 1, 2);
    check(ok && hit == 0, set_.name, type, "argmax takes the first of equals, edges of the losses",
          hit);
}

static void test_softmax(isa set_, int type)
{
    enum { ROOM = 4 * 80 };
    static double z[ROOM], p[ROOM], want[ROOM], none[ROOM];
    double worst = 0;
    for (int64_t cols = 1; cols <= 70; cols++) {
        fill(type, z, 4 * cols, -50, 50);
        set_.rows[type].softmax(p, cols, z, cols, 4, cols);
        for (int64_t i = 0; i < 4; i++) {
            double row[80];
            for (int64_t j = 0; j < cols; j++) row[j] = get(type, z, i * cols + j);
            plain_loss(SOFTMAX_CE, want, row, none, cols);
            for (int64_t j = 0; j < cols; j++) { /* relative: this is exp from 0 to -100 */
                double error = fabs(get(type, p, i * cols + j) - want[j]);
                double below = row[argmax(row, cols)] - row[j]; /* rounded to T before exp */
                if (want[j] < FLT_MIN && error <= FLT_MIN) continue;
                worst = larger(worst, error / want[j] / fmax(1, below));
            }
        }
        set_.rows[type].softmax(z, cols, z, cols, 4, cols);
        if (memcmp(z, p, (size_t)(4 * cols) * size_of[type])) worst = INFINITY;
    }
    check(worst <= (type == FLOAT ? 4e-7 : 2e-15), set_.name, type, "softmax, relative; in place",
          worst);
}

/* ---- v3 and v4 ---- */

static void test_same_bits(isa a, isa b, int type)
{
    enum { ROWS = 5, COLS = 61, N = ROWS * COLS };
    double x[N], y[2][N], loss[2][ROWS], hit[2][ROWS];
    int bad = 0;
    for (int repeat = 0; repeat < 200; repeat++) {
        fill(type, x, N, -100. / (1 + repeat % 20), 100. / (1 + repeat % 20));
        for (int act = 0; act < FA_N_ACTIVATIONS; act++)
            for (int derivative = 0; derivative < 2; derivative++) {
                for (int s = 0; s < 2; s++) {
                    const fa_kernels *kernels = &(s ? b : a).rows[type];
                    memcpy(y[s], x, sizeof x);
                    if (derivative)
                        kernels->dact[act](y[s], COLS, x, COLS, ROWS, COLS);
                    else
                        kernels->act[act](y[s], COLS, x, COLS, ROWS, COLS);
                }
                bad += memcmp(y[0], y[1], N * size_of[type]) != 0;
            }
        for (int kind = 0; kind < N_LOSSES; kind++) {
            int64_t labels[ROWS] = {0, 60, 7, 31, 16};
            memset(y, 0, sizeof y);
            for (int s = 0; s < 2; s++)
                call_loss(&(s ? b : a).rows[type], (loss_kind)kind, y[s], COLS, loss[s], hit[s], x,
                          labels, NULL, COLS, ROWS, COLS);
            bad += memcmp(y[0], y[1], sizeof y[0]) || memcmp(loss[0], loss[1], sizeof loss[0]) ||
                   memcmp(hit[0], hit[1], sizeof hit[0]);
        }
    }
    char what[64];
    snprintf(what, sizeof what, "same bits as %s: different", b.name);
    check(bad == 0, a.name, type, what, bad);
}

int main(int argc, char **argv)
{
    bool full = argc > 1 && !strcmp(argv[1], "--full");
    find_isas();
    test_philox();
    for (int s = 0; s < n_isas; s++)
        for (int type = FLOAT; type <= DOUBLE; type++) {
            test_values(isas[s], type);
            test_nan(isas[s], type);
            test_shapes(isas[s], type);
            test_dropout(isas[s], type);
            test_losses(isas[s], type);
            test_loss_edges(isas[s], type);
            test_softmax(isas[s], type);
        }
    if (n_isas == 3)
        for (int type = FLOAT; type <= DOUBLE; type++) test_same_bits(isas[1], isas[2], type);
    test_floats(full ? 1 : 2039);
    test_doubles(full ? 20000 : 200);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}

/* Activations of every instruction set of this machine: the accuracy of elementary functions over
 * all floats, NaN and Inf, shapes, and the same bits from v3 and v4.
 *
 *   test_math           every 2039th float
 *   test_math --full    all 2^32, in about 20 minutes */
#include "isas.h"

static const char *const act_name[] = {
#define FA_ACTIVATION(name, flags, init) #name,
#include "activations.def"
#undef FA_ACTIVATION
};
static double option_of(int act) { return act == FA_ACT_leaky_relu ? 0.01 : 1; }

/* ---- accuracy ---- */

/* What kernels are held against: F is double (S empty) for floats, long double (S l) for doubles */
#define REFERENCES(F, S)                                                                           \
    static F cdf##S(F x) { return erfc##S(-x * (F)0.70710678118654752440084436L) / 2; }            \
    static F gelu##S(F x) { return x * cdf##S(x); }                                                \
    static F dgelu##S(F x)                                                                         \
    { return cdf##S(x) + x * exp##S(-x * x / 2) * (F)0.39894228040143267793994606L; }              \
    static F dtanh##S(F h) { return (1 - h) * (1 + h); }                                           \
    static F dsigmoid##S(F h) { return h * (1 - h); }                                              \
    static F elu##S(F x) { return x > 0 ? x : expm1##S(x); }                                       \
    static F selu##S(F x)                                                                          \
    {                                                                                              \
        return (F)1.0507009873554804934193349852946L *                                             \
               (x > 0 ? x : (F)1.6732632423543772848170429916717L * expm1##S(x));                  \
    }                                                                                              \
    static F half##S(F x) { return x < 0 ? exp##S(x) / (1 + exp##S(x)) : 1 / (1 + exp##S(-x)); }   \
    static F silu##S(F x) { return x * half##S(x); }                                               \
    static F dsilu##S(F x) { return half##S(x) * (1 + x * half##S(-x)); }                          \
    static F mish##S(F x)                                                                          \
    { return x * tanh##S(x < 0 ? log1p##S(exp##S(x)) : x + log1p##S(exp##S(-x))); }                \
    static F dmish##S(F x)                                                                         \
    {                                                                                              \
        F w = tanh##S(x < 0 ? log1p##S(exp##S(x)) : x + log1p##S(exp##S(-x)));                     \
        return w + x * half##S(x) * (1 - w) * (1 + w);                                             \
    }                                                                                              \
    static F softsign##S(F x) { return x / (1 + fabs##S(x)); }                                     \
    static F dsoftsign##S(F h) { return (1 - fabs##S(h)) * (1 - fabs##S(h)); }                     \
    static F hard##S(F x) { return x > 3 ? 1 : x < -3 ? 0 : (x + 3) / 6; }
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
    {"elu, ulp", FA_ACT_elu, 0, elu, elul, 0, {4, 4}},
    {"selu, ulp, |a| < 1e38", FA_ACT_selu, 0, selu, selul, 1e38, {4, 4}},
    {"silu, absolute", FA_ACT_silu, ABSOLUTE, silu, silul, 0, {4e-7, 1e-15}},
    {"silu, ulp, |a| < 87", FA_ACT_silu, 0, silu, silul, 87, {4, 4}},
    {"mish, absolute", FA_ACT_mish, ABSOLUTE, mish, mishl, 0, {4e-7, 1e-15}},
    {"mish, ulp, |a| < 87", FA_ACT_mish, 0, mish, mishl, 87, {8, 8}},
    {"softsign, ulp", FA_ACT_softsign, 0, softsign, softsignl, 0, {2, 2}},
    {"hard_sigmoid", FA_ACT_hard_sigmoid, ABSOLUTE, hard, hardl, 0, {1e-7, 2e-16}},
    {"silu'", FA_ACT_silu, DERIVATIVE | ABSOLUTE, dsilu, dsilul, 0, {4e-7, 1e-15}},
    {"mish'", FA_ACT_mish, DERIVATIVE | ABSOLUTE, dmish, dmishl, 0, {4e-7, 1e-15}},
    {"softsign'", FA_ACT_softsign, DERIVATIVE | ABSOLUTE, dsoftsign, dsoftsignl, 1, {1e-7, 2e-16}},
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
        kernels->dact[f->act](y, n, x, n, 1, n, option_of(f->act));
    else
        kernels->act[f->act](y, n, x, n, 1, n, option_of(f->act));
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
        kernels->dact[act](&y, 1, &x, 1, 1, 1, option_of(act));
    else
        kernels->act[act](&y, 1, &x, 1, 1, 1, option_of(act));
    return get(type, &y, 0);
}

typedef struct {
    int act;
    bool derivative;
    double x, want;
} value_case;

static const value_case value_cases[] = {
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
    {FA_ACT_elu, false, -INFINITY, -1},
    {FA_ACT_elu, false, INFINITY, INFINITY},
    {FA_ACT_elu, false, 0, 0},
    {FA_ACT_elu, true, 0, 1}, /* alpha */
    {FA_ACT_elu, true, -1, 0},
    {FA_ACT_elu, true, INFINITY, 1},
    {FA_ACT_selu, false, INFINITY, INFINITY},
    {FA_ACT_selu, false, 0, 0},
    {FA_ACT_silu, false, INFINITY, INFINITY},
    {FA_ACT_silu, false, -INFINITY, NAN},
    {FA_ACT_silu, false, 0, 0},
    {FA_ACT_silu, false, -1e30, 0},
    {FA_ACT_silu, true, INFINITY, 1},
    {FA_ACT_silu, true, -INFINITY, 0},
    {FA_ACT_silu, true, 0, 0.5},
    {FA_ACT_mish, false, INFINITY, INFINITY},
    {FA_ACT_mish, false, -INFINITY, NAN},
    {FA_ACT_mish, false, 0, 0},
    {FA_ACT_mish, false, -1e30, 0},
    {FA_ACT_mish, true, INFINITY, 1},
    {FA_ACT_mish, true, -INFINITY, 0},
    {FA_ACT_hardtanh, false, -INFINITY, -1},
    {FA_ACT_hardtanh, false, INFINITY, 1},
    {FA_ACT_hardtanh, false, 0.25, 0.25},
    {FA_ACT_hardtanh, true, 0.25, 1},
    {FA_ACT_hardtanh, true, 1, 0},
    {FA_ACT_hardtanh, true, -1, 0},
    {FA_ACT_hard_sigmoid, false, -INFINITY, 0},
    {FA_ACT_hard_sigmoid, false, INFINITY, 1},
    {FA_ACT_hard_sigmoid, false, 0, 0.5},
    {FA_ACT_hard_sigmoid, false, 3, 1},
    {FA_ACT_hard_sigmoid, false, -3, 0},
    {FA_ACT_hard_sigmoid, true, 0, 0},
    {FA_ACT_hard_sigmoid, true, 1, 0},
    {FA_ACT_softsign, false, -INFINITY, -1},
    {FA_ACT_softsign, false, INFINITY, 1},
    {FA_ACT_softsign, false, 1, 0.5},
    {FA_ACT_softsign, true, 1, 0},
    {FA_ACT_softsign, true, -0.5, 0.25},
};

static void test_values(isa set_, int type)
{
    int n = sizeof value_cases / sizeof value_cases[0], bad = 0;
    for (int i = 0; i < n; i++) {
        const value_case c = value_cases[i];
        double got = value_of(&set_.rows[type], type, c.act, c.derivative, c.x);
        if (isnan(c.want) ? isnan(got) : got == c.want) continue;
        printf("      %s%s(%g) = %g\n", act_name[c.act], c.derivative ? "'" : "", c.x, got);
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
            set_.rows[type].act[act](&y, 1, &nan, 1, 1, 1, option_of(act));
            bad += !isnan(get(type, &y, 0));
            set(type, &half, 0, 0.5);
            set_.rows[type].dact[act](&nan, 1, &half, 1, 1, 1, option_of(act));
            bad += !isnan(get(type, &nan, 0));
        }
    check(bad == 0, set_.name, type, "NaN goes through: lost", bad);
}

/* ---- shapes: tails, strides, in place; an element's bits do not depend on where it stands ---- */

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
            kernels->dact[act](one + i, 1, x + (size_t)i * element, 1, 1, 1, option_of(act));
        else
            kernels->act[act](one + i, 1, x + (size_t)i * element, 1, 1, 1, option_of(act));
    }
    if (derivative)
        kernels->dact[act](y, ld, x, ld, ROWS, cols, option_of(act));
    else
        kernels->act[act](y, ld, x, ld, ROWS, cols, option_of(act));
    bool ok =
        untouched(y + (size_t)(ROWS * ld) * element, sizeof y - (size_t)(ROWS * ld) * element);
    for (int64_t i = 0; i < ROWS; i++) {
        for (int64_t j = 0; j < cols; j++)
            ok &= !memcmp(y + (size_t)(i * ld + j) * element, one + i * ld + j, element);
        ok &= untouched(y + (size_t)(i * ld + cols) * element, (size_t)gap * element);
    }
    if (derivative) return ok;
    kernels->act[act](x, ld, x, ld, ROWS, cols, option_of(act)); /* in place */
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

/* ---- v3 and v4 ---- */

static void test_same_bits(isa a, isa b, int type)
{
    enum { ROWS = 5, COLS = 61, N = ROWS * COLS };
    double x[N], y[2][N];
    int bad = 0;
    for (int repeat = 0; repeat < 200; repeat++) {
        fill(type, x, N, -100. / (1 + repeat % 20), 100. / (1 + repeat % 20));
        for (int act = 0; act < FA_N_ACTIVATIONS; act++)
            for (int derivative = 0; derivative < 2; derivative++) {
                for (int s = 0; s < 2; s++) {
                    const fa_kernels *kernels = &(s ? b : a).rows[type];
                    memcpy(y[s], x, sizeof x);
                    if (derivative)
                        kernels->dact[act](y[s], COLS, x, COLS, ROWS, COLS, option_of(act));
                    else
                        kernels->act[act](y[s], COLS, x, COLS, ROWS, COLS, option_of(act));
                }
                bad += memcmp(y[0], y[1], N * size_of[type]) != 0;
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
    for (int s = 0; s < n_isas; s++)
        for (int type = FLOAT; type <= DOUBLE; type++) {
            test_values(isas[s], type);
            test_nan(isas[s], type);
            test_shapes(isas[s], type);
        }
    if (n_isas == 3)
        for (int type = FLOAT; type <= DOUBLE; type++) test_same_bits(isas[1], isas[2], type);
    test_floats(full ? 1 : quick() ? 20393 : 2039);
    test_doubles(full ? 20000 : quick() ? 20 : 200);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}

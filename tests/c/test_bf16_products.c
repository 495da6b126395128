/* Products in bfloat16 of every kind that this processor has, against plain loops: rounding, the
 * order of every sum, epilogues, and that nothing beyond their memory is touched. Where vdpbf16ps
 * of this processor does not add as its manual says, its sums have a bound. */
#include "check.h"
#include "linalg/linalg.h"

#include <float.h>

enum { GUARD = 64, MOST = 310 * 1910 };

/* ---- the reference ---- */

static float rounded(float x)
{
    int exponent;
    if (isnan(x) || isinf(x)) return x;
    if (fabsf(x) < FLT_MIN) return copysignf(0, x);
    const double m = frexp((double)x, &exponent);
    return (float)ldexp(nearbyint(ldexp(m, 8)), exponent - 8); /* too large: infinite */
}

static float element_a(const fa_bf16_product *t, int64_t i, int64_t p)
{ return rounded(t->a[i * t->rsa + p * t->csa]); }
static float element_b(const fa_bf16_product *t, int64_t p, int64_t j)
{ return rounded(t->b[p * t->rsb + j * t->csb]); }

/* One chain of multiply-adds */
static float chain(const fa_bf16_product *t, int64_t i, int64_t j)
{
    float sum = 0;
    for (int64_t p = 0; p < t->k; p++) sum = fmaf(element_a(t, i, p), element_b(t, p, j), sum);
    return sum;
}

/* AMX: the even and the odd elements of 32 are a chain each; their sum is added. */
static float by_tiles(const fa_bf16_product *t, int64_t i, int64_t j)
{
    float sum = 0;
    for (int64_t first = 0; first < t->k; first += 32) {
        float part[2] = {0, 0};
        for (int64_t p = first; p < first + 32 && p < t->k; p++)
            part[p % 2] = fmaf(element_a(t, i, p), element_b(t, p, j), part[p % 2]);
        sum += part[0] + part[1];
    }
    return sum;
}

static float finished(const fa_bf16_product *t, float sum, float before, int64_t i, int64_t j)
{
    const fa_epilogue *e = t->epilogue;
    float x = t->beta == 0 ? t->alpha * sum
                           : fmaf(t->alpha, sum, t->beta == 1 ? before : t->beta * before);
    if (e->bias) x += ((const float *)e->bias)[j];
    if (e->relu && x < 0) x = 0;
    if (e->h && !(((const float *)e->h)[i * t->ldc + j] > 0)) x = 0;
    return x;
}

/* ---- a product ---- */

typedef struct {
    int64_t m, n, k;
    bool ta, tb;
    float alpha, beta;
    bool bias, relu, h;
} shape;

static float a[MOST], b[MOST], h[MOST], bias[MOST], before[MOST], c[MOST + GUARD];
static bool fused, as_documented;

static void fill(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = (float)(2 * random_unit() - 1);
}

/* The memory that a product asks for, and a guard behind it */
static void run(const fa_bf16_kernels *kind, fa_bf16_product *t)
{
    const size_t bytes = (kind->packing_bytes(t->m, t->n, t->k, t->update) + 63) & ~(size_t)63;
    unsigned char *const memory = aligned_alloc(64, bytes + GUARD);
    memset(memory + bytes, 0x5a, GUARD);
    fa_packed_b cache = {.buffer = memory, .bytes = bytes};
    t->cache = &cache;
    memcpy(c, before, sizeof before);
    kind->product(t);
    for (int again = 0; cache.packed && again < 1; again++) { /* B is still in the buffer */
        memcpy(c, before, sizeof before);
        kind->product(t);
    }
    bool stands = true;
    for (int i = 0; i < GUARD; i++) stands = stands && memory[bytes + (size_t)i] == 0x5a;
    CHECK(stands, "%s, %d x %d x %d: memory behind the packing buffer", kind->name, (int)t->m,
          (int)t->n, (int)t->k);
    free(memory);
}

static void compare(const fa_bf16_kernels *kind, const shape *s)
{
    const ptrdiff_t gap = 3;
    const fa_epilogue e = {.bias = s->bias ? bias : NULL, .relu = s->relu, .h = s->h ? h : NULL};
    fa_bf16_product t = {.c = c,
                         .ldc = s->n + gap,
                         .a = a,
                         .rsa = s->ta ? 1 : s->k + gap,
                         .csa = s->ta ? s->m + gap : 1,
                         .b = b,
                         .rsb = s->tb ? 1 : s->n + gap,
                         .csb = s->tb ? s->k + gap : 1,
                         .m = s->m,
                         .n = s->n,
                         .k = s->k,
                         .alpha = s->alpha,
                         .beta = s->beta,
                         .update = s->ta,
                         .epilogue = &e};
    const bool amx = !strcmp(kind->name, "amx") && s->k >= 32;
    const bool exact = amx || (kind == &fa_bf16_portable ? fused : as_documented);
    run(kind, &t);
    int64_t wrong = 0, touched = 0;
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < t.ldc; j++) {
            const float got = c[i * t.ldc + j], old = before[i * t.ldc + j];
            if (j >= s->n) {
                touched += memcmp(&got, &old, sizeof got) != 0;
                continue;
            }
            const float sum = amx ? by_tiles(&t, i, j) : chain(&t, i, j);
            const float expected = finished(&t, sum, old, i, j);
            const float bound = exact ? 0 : 1e-6f * (float)(s->k + 1);
            wrong += !(fabsf(got - expected) <= bound);
        }
    CHECK(wrong == 0 && touched == 0, "%s, %d x %d x %d, transposed %d %d: %d wrong, %d outside",
          kind->name, (int)s->m, (int)s->n, (int)s->k, s->ta, s->tb, (int)wrong, (int)touched);
}

static const fa_bf16_kernels *kinds[3];
static int n_kinds;

static void find_kinds(void)
{
    const fa_bf16_kernels *best = fa_cpu_bf16();
    kinds[n_kinds++] = &fa_bf16_portable;
#ifdef FA_BF16_KERNELS
    if (best) kinds[n_kinds++] = &fa_bf16_vdpbf16ps;
#endif
    if (best && best != kinds[n_kinds - 1]) kinds[n_kinds++] = best;
    for (int i = 0; i < n_kinds; i++) printf("kind: %s\n", kinds[i]->name);
    fused = strcmp(fa_isa_name(), "v2") && strcmp(fa_isa_name(), "c");
}

/* Whether vdpbf16ps makes one chain of multiply-adds: (2^24 + 1) + 1 is 2^24 then. */
static void ask_processor(void)
{
    static const float x[4] = {0x1p24f, 0, 1, 1}, ones[4] = {1, 1, 1, 1};
    const fa_epilogue none = {0};
    fa_bf16_product t = {.c = c,
                         .ldc = 1,
                         .a = x,
                         .rsa = 4,
                         .csa = 1,
                         .b = ones,
                         .rsb = 1,
                         .csb = 1,
                         .m = 1,
                         .n = 1,
                         .k = 4,
                         .alpha = 1,
                         .epilogue = &none};
    if (n_kinds > 1) run(kinds[1], &t);
    as_documented = n_kinds > 1 && c[0] == 0x1p24f;
    printf("vdpbf16ps adds one product after another: %s\n", as_documented ? "yes" : "no");
}

static void shapes(void)
{
    static const int64_t sizes[][3] = {
        {1, 1, 1},    {1, 48, 7},   {3, 5, 31},    {8, 16, 32},   {9, 17, 33},  {16, 49, 64},
        {17, 33, 65}, {31, 97, 95}, {33, 48, 257}, {40, 32, 513}, {70, 20, 3},  {5, 130, 1},
        {2, 3, 0},    {64, 31, 96}, {130, 7, 34},  {7, 100, 545}, {48, 96, 128}};
    int kind_of_epilogue = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int form = 0; form < 4; form++, kind_of_epilogue++) {
            const int w = kind_of_epilogue % 5;
            const shape s = {sizes[i][0],
                             sizes[i][1],
                             sizes[i][2],
                             form & 1,
                             form >> 1,
                             w > 2 ? 1 : -0.5f,
                             w == 1   ? 1
                             : w == 2 ? 0.75f
                                      : 0,
                             w == 3,
                             w == 3,
                             w == 4};
            for (int q = 0; q < n_kinds; q++) compare(kinds[q], &s);
        }
}

/* More columns and rows than are packed at a time */
static void large(void)
{
    const shape update = {40, 300, 1900, true, false, 1, 1, false, false, false},
                forward = {300, 50, 1900, false, false, 1, 0, true, false, false};
    for (int q = 0; q < n_kinds; q++) {
        compare(kinds[q], &update);
        compare(kinds[q], &forward);
    }
}

static void rounding(void)
{
    static const uint32_t special[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00001,
                                       0x7f800001, 0xffffffff, 0x007fffff, 0x807fffff, 0x00800000,
                                       0x7f7fffff, 0x7f7f7fff, 0x7f7f8000, 0x3f808000, 0x3f818000,
                                       0x3f808001, 0x3f807fff, 0x00008000, 0x80ff8000};
    enum { N = 4096, SPECIAL = sizeof special / sizeof *special };
    static float x[N], y[N + 1];
    for (int i = 0; i < N; i++) {
        const uint32_t bits = i < SPECIAL ? special[i] : (uint32_t)(random_bits() >> 20);
        memcpy(&x[i], &bits, sizeof bits);
    }
    y[N] = 7;
    fa_kernels_for(FA_F32)->round_bf16(y, N, x, N, 1, N);
    int wrong = 0;
    for (int i = 0; i < N; i++) {
        const float expected = rounded(x[i]);
        const bool same = memcmp(&expected, &y[i], sizeof *y) == 0;
        wrong += isnan(expected) ? !isnan(y[i]) : !same;
    }
    CHECK(wrong == 0 && y[N] == 7, "%d of %d roundings", wrong, N);
}

/* The first row of C is reported, whatever its last elements are. */
static void not_finite(void)
{
    for (int q = 0; q < n_kinds; q++)
        for (int bad = 0; bad < 2; bad++) {
            atomic_bool seen = false;
            const fa_epilogue e = {.nonfinite = &seen};
            fa_bf16_product t = {.c = c,
                                 .ldc = 35,
                                 .a = a,
                                 .rsa = 40,
                                 .csa = 1,
                                 .b = b,
                                 .rsb = 35,
                                 .csb = 1,
                                 .m = 20,
                                 .n = 35,
                                 .k = 40,
                                 .alpha = 1,
                                 .epilogue = &e};
            const float good = b[39 * 35 + 34];
            if (bad) b[39 * 35 + 34] = INFINITY;
            run(kinds[q], &t);
            b[39 * 35 + 34] = good;
            CHECK(atomic_load(&seen) == bad, "%s: reported %d", kinds[q]->name, bad);
        }
}

/* ---- networks ---- */

enum { ROWS = 37, IN = 129 };

/* 129-161-131-10: the last layer stays in float32. */
static fa_net *network(const char *compute, const char *rule, int threads, fa_status expected)
{
    recipe r;
    recipe_init(&r, rule, FA_F32);
    r.layers[FIRST].units = 161, r.layers[SECOND].units = 131;
    r.desc.n_in = IN, r.desc.n_threads = threads, r.desc.compute = compute;
    fa_net *net = NULL;
    CHECK(fa_net_create(&net, &r.desc) == expected, "compute %s", compute ? compute : "NULL");
    return net;
}

static fa_net *trained(const char *compute, const char *rule, int threads)
{
    static int64_t labels[ROWS];
    for (int i = 0; i < ROWS; i++) labels[i] = i % N_OUT;
    fa_net *net = network(compute, rule, threads, FA_OK);
    const fa_samples s = SAMPLES(.x = a, .n = ROWS, .ldx = IN, .labels = labels);
    double loss;
    for (int i = 0; i < 2; i++) CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "%s", rule);
    return net;
}

static void same_bits_on_all_threads(void)
{
    static const char *const some[] = {"backprop", "dfa", "fa", "usf"};
    for (int i = 0; i < 4; i++) {
        fa_net *one = trained("bfloat16", some[i], 1), *three = trained("bfloat16", some[i], 3);
        fa_net *plain = trained(NULL, some[i], 1), *named = trained("float32", some[i], 1);
        CHECK(same_state(one, three), "%s: 3 threads differ from 1", some[i]);
        CHECK(same_state(plain, named), "%s: NULL is float32", some[i]);
        CHECK(!same_state(one, plain), "%s: bfloat16 rounds", some[i]);
        fa_layer_info first = {.struct_size = sizeof first}, last = first;
        CHECK(fa_net_layer(&first, one, 0) == FA_OK && first.bf16 == 1, "first layer");
        CHECK(fa_net_layer(&last, one, 3) == FA_OK && last.bf16 == 0, "last layer");
        fa_net_free(one), fa_net_free(three), fa_net_free(plain), fa_net_free(named);
    }
}

static void refusals(void)
{
    CHECK(!network("half", "dfa", 1, FA_E_VALUE), "half");
    CHECK(strstr(fa_last_error(), "compute: expected one of float32, bfloat16, got 'half'"),
          "text");
    recipe r;
    recipe_init(&r, "dfa", FA_F64);
    r.desc.compute = "bfloat16";
    fa_net *net = NULL;
    CHECK(fa_net_create(&net, &r.desc) == FA_E_VALUE, "float64");
    CHECK(strstr(fa_last_error(), "compute: expected NULL or 'float32' for FA_F64"), "text");
}

static void products(void)
{
    FA_FIXED_FP(true);
    find_kinds();
    ask_processor();
    fill(a, MOST), fill(b, MOST), fill(h, MOST), fill(bias, MOST), fill(before, MOST);
    RUN(rounding);
    RUN(shapes);
    RUN(large);
    RUN(not_finite);
}

int main(void)
{
    products();
    RUN(same_bits_on_all_threads);
    RUN(refusals);
    return finish();
}

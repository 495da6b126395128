/* Products of every instruction set here, bit by bit against one chain of multiply-adds (fused
 * where the instruction set has it): that is their contract, and it makes every split of m and n
 * equal. */
#include "matrices.h"

static int room_share; /* percent of what a product packs in that it is given */
static bool bits_only; /* the digest alone tells, the chains were checked */
static int found_packed;

/* The rows of a matrix, or its columns, one after another: a naive product reads them again and
 * again. Of its columns one in `step` counts. */
static double *in_a_row(const matrix *a, bool columns, int64_t step)
{
    const int64_t cols = a->cols / step;
    double *all = malloc(((size_t)(a->rows * cols) + 1) * sizeof *all), *next = all;
    if (!all) abort();
    for (int64_t i = 0; i < (columns ? cols : a->rows); i++)
        for (int64_t j = 0; j < (columns ? a->rows : cols); j++)
            *next++ = columns ? at(a, j, i * step) : at(a, i, j * step);
    return all;
}

typedef struct {
    int64_t m, n, k, gap;
    bool transposed, bias, relu;
    double alpha, beta;
    bool masked, spread; /* spread: no two elements of A are neighbours */
} product;

/* Memory aligned to 64, with a guard behind it that must not be touched */
enum { GUARD = 256 };
static unsigned char *with_guard(size_t bytes)
{
    unsigned char *const memory = aligned_alloc(64, (bytes + GUARD + 63) / 64 * 64);
    if (!memory) abort();
    memset(memory + bytes, 0x5a, GUARD);
    return memory;
}

static bool guard_stands(const unsigned char *memory, size_t bytes)
{
    for (size_t i = 0; i < GUARD; i++)
        if (memory[bytes + i] != 0x5a) return false;
    return true;
}

/* What a product reads and writes. Of A, element (i, p) lies i * rsa + p * csa behind the first. */
typedef struct {
    matrix a, b, bias, h, before, c; /* before: what C held */
    ptrdiff_t rsa, csa;
    fa_epilogue epilogue;
} operands;

/* Where beta is 0, C holds NaN, which must not be read. */
static operands operands_of(product s)
{
    const int64_t step = s.spread ? 2 : 1;
    operands o;
    o.a = bare(s.transposed ? drawn(s.k, s.m * step, s.gap) : drawn(s.m, s.k * step, s.gap));
    o.b = bare(drawn(s.k, s.n, s.gap)), o.bias = bare(drawn(1, s.n, 0));
    o.c = drawn(s.m, s.n, s.gap), o.h = bare(drawn(s.m, s.n, s.gap));
    for (int64_t i = 0; i < s.m && s.n; i++) put(&o.h, i, i % s.n, 0);
    if (s.beta == 0) fill(&o.c, NAN);
    o.before = copy(&o.c);
    o.rsa = s.transposed ? step : o.a.ld, o.csa = s.transposed ? o.a.ld : step;
    o.epilogue = (fa_epilogue){
        .bias = s.bias ? o.bias.p : NULL, .relu = s.relu, .h = s.masked ? o.h.p : NULL};
    return o;
}

static void multiply(product s, const operands *o, const matrix *b, const fa_epilogue *epilogue,
                     const matrix *c, fa_packed_b *right)
{
    kernels->gemm(c->p, c->ld, o->a.p, o->rsa, o->csa, b->p, b->ld, s.m, s.n, s.k, s.alpha, s.beta,
                  epilogue, right);
}

/* C of the B that was packed = C of B, bit by bit. The unpacked B holds NaN, which must not be
 * read. */
static void check_packed(product s, const operands *o, fa_packed_b *right)
{
    if (!right->packed) return;
    matrix nothing = empty(s.k, s.n, s.gap), c = copy(&o->before);
    fill(&nothing, NAN);
    multiply(s, o, &nothing, &o->epilogue, &c, right);
    if (!right->packed || !same(&c, &o->c))
        problem("gemm, packed before", 0, 0, at(&c, 0, 0), at(&o->c, 0, 0));
    found_packed++;
    free(nothing.memory), free(c.memory);
}

/* An entry of C: as the instruction set rounds it, without rounding, and how large its terms
 * are. */
typedef struct {
    double chain;
    long double sum, magnitude;
} entry;

/* x_0 y_0 + x_1 y_1 + ...: one chain of multiply-adds, from 0 */
static entry inner_product(const double *x, const double *y, int64_t k)
{
    entry e = {0};
    for (int64_t p = 0; p < k; p++) {
        e.chain = multiply_add(x[p], y[p], e.chain);
        e.sum += (long double)x[p] * y[p];
        e.magnitude += fabsl((long double)x[p] * y[p]);
    }
    return e;
}

/* alpha * e + beta * c */
static entry scaled(product s, entry e, double c)
{
    const bool adds = s.beta != 0;
    e.chain =
        adds ? multiply_add(s.alpha, e.chain, rounded(s.beta * c)) : rounded(e.chain * s.alpha);
    e.sum = s.alpha * e.sum + (adds ? s.beta * c : 0);
    return e;
}

/* relu(e + bias), or 0 where the mask is not positive */
static entry finished(product s, entry e, double bias, double mask)
{
    if (s.bias) e.chain = rounded(e.chain + bias), e.sum += bias;
    if (s.relu && e.chain < 0) e.chain = 0;
    if (s.relu && e.sum < 0) e.sum = 0;
    if (s.masked && !(mask > 0)) e.chain = e.sum = 0;
    return e;
}

/* c_ij = finished(alpha * sum_p a_ip b_pj + beta * c_ij): bit by bit where the sum is one chain of
 * multiply-adds, and close to it without rounding. */
static void check_chains(product s, const operands *o)
{
    double *rows = in_a_row(&o->a, s.transposed, s.spread ? 2 : 1),
           *columns = in_a_row(&o->b, true, 1);
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) {
            entry e = inner_product(rows + i * s.k, columns + j * s.k, s.k);
            e = scaled(s, e, at(&o->before, i, j));
            e = finished(s, e, at(&o->bias, 0, j), at(&o->h, i, j));
            equal("gemm, one chain", i, j, at(&o->c, i, j), e.chain);
            close_to("gemm", i, j, at(&o->c, i, j), (double)e.sum,
                     epsilon() * ((double)s.k + 4) * ((double)e.magnitude + 3));
        }
    free(rows), free(columns);
}

static void check_product(product s)
{
    operands o = operands_of(s);
    fa_packed_b right = {.remote = (s.m + s.n) % 2};
    right.bytes =
        kernels->gemm_packing_bytes(s.m, s.n, s.k, o.b.ld, s.transposed) * (size_t)room_share / 100;
    unsigned char *const buffer = with_guard(right.bytes);
    right.buffer = right.bytes ? buffer : NULL;
    multiply(s, &o, &o.b, s.bias || s.relu || s.masked ? &o.epilogue : NULL, &o.c, &right);
    check_packed(s, &o, &right);
    if (!guard_stands(buffer, right.bytes))
        problem("gemm, beyond its buffer", s.m, s.n, (double)s.k, 0);
    if (!bits_only) check_chains(s, &o);
    finish_output(&o.c);
    free(o.a.memory), free(o.b.memory), free(o.bias.memory), free(o.h.memory);
    free(o.before.memory), free(buffer);
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
                                        turn % 7 % 2, turn % 8 == 5});
    verdict("gemm, small sizes: one chain, strides, guards, NaN in C");
}

/* Few columns, of which some make lanes of rows: rests of rows, every one of columns and depth,
 * transposed and not */
static void test_narrow_products(void)
{
    static const int64_t ms[] = {8, 15, 16, 35, 48}, ks[] = {7, 8, 13, 16, 24, 35, 50, 97, 195};
    static const double alphas[] = {1, -0.5, 1}, betas[] = {0, 1, 0.75, 0};
    int turn = 0;
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
        for (int64_t n = 1; n <= 18; n++)
            for (size_t p = 0; p < sizeof ks / sizeof *ks; p++)
                for (int transposed = 0; transposed < 2; transposed++, turn++)
                    check_product((product){ms[i], n, ks[p], turn % 7, transposed,
                                            turn / 2 % 3 == 1, turn % 5 == 1, alphas[turn % 3],
                                            betas[turn / 2 % 4], turn % 11 % 2, turn % 13 == 5});
    verdict("gemm, few columns: one chain, strides, guards, NaN in C");
}

static void test_products(void)
{
    const product large[] = {
        {17, 301, 90, 0, false, true, true, 1, 0, false, false},
        {40, 260, 255, 3, true, false, false, -0.25, 1, true, false},
        {9, 200, 256, 0, false, false, false, 1, 0, true, false},
        {33, 129, 257, 1, true, false, false, -2, 0.5, false, false},
        {130, 100, 300, 0, false, true, true, 1, 0, true, false},
        {140, 97, 513, 5, false, true, false, 0.5, 0.5, false, false},
        {139, 50, 770, 0, true, false, false, -0.1, 1, true, false},
        {5, 1, 40000, 0, false, false, true, 1, 0, true, false},
        {13, 3, 30000, 2, false, true, false, 1, 1, false, false},
        {21, 70, 1100, 0, false, false, true, 1, 0, true, false},
        /* from here on products that pack, and products without a buffer */
        {64, 500, 33, 0, true, false, false, -1, 1, false, false},
        {77, 150, 129, 7, true, false, false, -1, 1, true, false},
        {19, 120, 700, 0, true, false, false, -1, 0.5, true, false},
        {16, 50, 2800, 1, true, false, false, 1, 0, false, false},
        {16, 97, 1400, 0, true, false, false, 1, 1, true, false},
        {17, 100, 1000, 1, true, false, false, -1, 1, false, false},
        {16, 65, 2700, 0, true, false, false, -1, 0, true, false},
        {16, 130, 801, 0, false, true, true, 1, 0.5, true, false},
        {260, 60, 401, 2, false, true, true, 1, 0, false, false},
    };
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) check_product(large[i]);
    verdict("gemm, packed panels and carried sums: one chain, guards, NaN in C");

    for (int64_t cut = 1; cut < 20; cut++) check_split(20, 71, 30, cut, 71 - 3 * cut);
    check_split(150, 110, 300, 77, 31);
    check_split(40, 130, 200, 3, 47);
    verdict("gemm, same bits however m and n are split");
}

/* With no packing buffer, one that is too small, one that is enough; and all as where L2 is slow:
 * the same bits. */
static void test_packing(void)
{
    static const int shares[] = {0, 40, 100};
    const bool here = fa_l2_is_slow;
    const uint64_t drawn = state, before = digest;
    uint64_t plain = 0;
    for (int slow = 0; slow < (strcmp(isa, "v4") ? 1 : 2); slow++)
        for (int i = 0; i < 3; i++) {
            fa_l2_is_slow = slow;
            room_share = shares[i];
            bits_only = slow + i > 0;
            found_packed = 0;
            state = drawn, digest = before;
            test_products();
            if (slow + i == 0) plain = digest;
            if (digest != plain) problem("gemm, packing", slow, i, (double)digest, (double)plain);
            if ((found_packed > 1) != (slow && i == 2))
                problem("gemm, found packed", slow, i, found_packed, 0);
            verdict("gemm, packing: the same bits");
        }
    room_share = 0;
    bits_only = false;
    fa_l2_is_slow = here;
}

/* What a product packs in is enough for smaller ones, and none does where the right operand stays
 * in cache. */
static void test_room(void)
{
    static const int64_t ms[] = {1, 8, 9, 15, 16, 63, 64, 200, 256, 700},
                         ns[] = {1, 16, 17, 48, 96, 97, 300, 1024},
                         ks[] = {1,   10,  128, 255,  256,  257,  400,
                                 401, 513, 600, 1200, 2730, 2731, 9000};
    enum { MS = sizeof ms / sizeof *ms, NS = sizeof ns / sizeof *ns, KS = sizeof ks / sizeof *ks };
    const bool here = fa_l2_is_slow;
    for (int way = 0; way < 4; way++)
        for (int i = 0; i < MS; i++)
            for (int j = 0; j < NS; j++)
                for (int p = 0; p < KS; p++) {
                    fa_l2_is_slow = way & 1;
                    const size_t bytes =
                        kernels->gemm_packing_bytes(ms[i], ns[j], ks[p], ns[j], way & 2);
                    if (bytes > FA_PACKED_B_BYTES)
                        problem("gemm_packing_bytes, much", i, j, (double)bytes, 0);
                    if (bytes && ns[j] * ks[p] * (int64_t)size() <= 65536)
                        problem("gemm_packing_bytes, in cache", i, j, (double)bytes, 0);
                    for (int d = 1; d < 8; d++) {
                        const int64_t m = ms[i - (i && d & 1)], n = ns[j - (j && d & 2)],
                                      k = ks[p - (p && d & 4)];
                        if (kernels->gemm_packing_bytes(m, n, k, ns[j], way & 2) > bytes)
                            problem("gemm_packing_bytes, smaller", i, j, (double)d, (double)bytes);
                    }
                }
    fa_l2_is_slow = here;
    verdict("gemm_packing_bytes: enough for smaller products, 0 in cache");
}

static void test_all(void)
{
    test_small_products();
    test_narrow_products();
    test_packing();
    test_room();
}

int main(void) { return on_every_flavour(test_all); }

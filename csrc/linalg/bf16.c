/* Products whose operands are rounded to bfloat16: which kernels compute them, and those for
 * processors without instructions for it. These round copies of the operands and multiply them in
 * float32. The product of two numbers with 8 bits is exact there, so with fused multiply-adds each
 * output is the same chain that vdpbf16ps computes. */
#include "linalg/linalg.h"

#include <assert.h>

enum {
    COLS = FA_SHORT_STRIDE, /* of B rounded at a time */
    LEFT_BYTES = 1 << 20,   /* of A rounded at a time */
    MIN_ROWS = 16,
    MIN_SIDE = 32,       /* smaller matrices are multiplied in float32: */
    MIN_ENTRIES = 16384, /* docs/decisions/021-bfloat16.md */
};

static int64_t most_rows(int64_t m, int64_t k)
{
    const int64_t fit = LEFT_BYTES / (4 * (k ? k : 1));
    return fa_smaller(m, fit > MIN_ROWS ? fit : MIN_ROWS);
}

static size_t packing_bytes(int64_t m, int64_t n, int64_t k, bool update)
{
    (void)n, (void)update;
    const size_t left = fa_larger(LEFT_BYTES, (size_t)(4 * MIN_ROWS * k));
    const size_t all = (size_t)m * (size_t)k * sizeof(float);
    return (all < left ? all : left) + 2 * COLS * (size_t)k * sizeof(float);
}

/* Columns j .. j + cols - 1 of B, rounded, in rows of COLS */
static const float *round_right(const fa_kernels *kernels, const fa_bf16_product *t, float *out,
                                int64_t j, int64_t cols)
{
    const float *b = t->b + j * t->csb;
    if (t->csb == 1) {
        kernels->round_bf16(out, COLS, b, t->rsb, t->k, cols);
        return out;
    }
    float *const along = out + COLS * t->k;
    kernels->round_bf16(along, t->k, b, t->csb, cols, t->k);
    kernels->transpose(out, COLS, along, t->k, cols, t->k);
    return out;
}

static void product(const fa_bf16_product *t)
{
    const fa_kernels *kernels = fa_kernels_for(FA_F32);
    const int64_t most = most_rows(t->m, t->k);
    float *const left = t->cache->buffer, *const right = left + most * t->k;
    assert(t->cache->bytes >= packing_bytes(t->m, t->n, t->k, t->update));
    t->cache->packed = false;
    for (int64_t i = 0, rows; i < t->m; i += rows) {
        rows = fa_smaller(most, t->m - i);
        const float *a = t->a + i * t->rsa;
        const bool along = t->csa == 1;
        kernels->round_bf16(left, along ? t->k : rows, a, along ? t->rsa : t->csa,
                            along ? rows : t->k, along ? t->k : rows);
        for (int64_t j = 0; j < t->n; j += COLS) {
            const int64_t cols = fa_smaller(COLS, t->n - j), at = i * t->ldc + j;
            fa_epilogue e = *t->epilogue;
            if (e.bias) e.bias = (const float *)e.bias + j;
            if (e.h) e.h = (const float *)e.h + at;
            if (i) e.nonfinite = NULL;
            kernels->gemm(t->c + at, t->ldc, left, along ? t->k : 1, along ? 1 : rows,
                          round_right(kernels, t, right, j, cols), COLS, rows, cols, t->k,
                          (double)t->alpha, (double)t->beta, &e, NULL);
        }
    }
}

const fa_bf16_kernels fa_bf16_portable = {"portable", packing_bytes, product};

const fa_bf16_kernels *fa_bf16_get(void)
{
    const fa_bf16_kernels *fast = fa_cpu_bf16();
    return fast ? fast : &fa_bf16_portable;
}

bool fa_bf16_pays(int64_t rows, int64_t cols)
{ return rows >= MIN_SIDE && cols >= MIN_SIDE && (double)rows * (double)cols >= MIN_ENTRIES; }

void fa_bf16_matmul(const fa_linalg *la, bool ta, bool tb, fa_mat c, fa_mat a, fa_mat b,
                    double alpha, double beta, const fa_epilogue *epilogue, fa_packed_b *cache)
{
    static const fa_epilogue none = {0};
    la->bf16->product(&(fa_bf16_product){.c = (float *)c.p,
                                         .ldc = c.ld,
                                         .a = (const float *)a.p,
                                         .rsa = ta ? 1 : a.ld,
                                         .csa = ta ? a.ld : 1,
                                         .b = (const float *)b.p,
                                         .rsb = tb ? 1 : b.ld,
                                         .csb = tb ? b.ld : 1,
                                         .m = c.rows,
                                         .n = c.cols,
                                         .k = ta ? a.rows : a.cols,
                                         .alpha = (float)alpha,
                                         .beta = (float)beta,
                                         .update = ta,
                                         .epilogue = epilogue ? epilogue : &none,
                                         .cache = cache});
}

/* Matrix products: by own kernels, or by BLAS if the network uses it.
 *
 * Own kernels make each output one chain of multiply-adds over k, so results do not depend on how
 * rows and columns are divided. BLAS does not promise this: with it the engine uses the same chunks
 * and tiles for every number of threads. Which of the two runs:
 * docs/decisions/001-own-products-and-blas.md. */
#include "linalg/linalg.h"

#include <string.h>

enum {
    BLAS_MIN_WORK = 32 * 32 * 32,
    NT_ROWS = FA_SHORT_STRIDE, /* rows of A in a panel of D W^T */
    NT_COLS = 64,              /* columns of C computed at a time */
    FEW_ROWS = 8,
};

static fa_status choose(const fa_blas **blas, const char *requested)
{
    if (!requested || !*requested || !strcmp(requested, "auto")) {
        if (!fa_isa_prefers_blas()) return FA_OK;
        *blas = fa_blas_get();
        if (!*blas)
            fa_log("BLAS would be faster on this processor and is not there: %s", fa_blas_reason());
        return FA_OK;
    }
    if (!strcmp(requested, "own")) return FA_OK;
    if (strcmp(requested, "blas"))
        return fa_fail(FA_E_VALUE, "FASTFA_GEMM: expected auto, own or blas, got '%s'", requested);
    *blas = fa_blas_get();
    if (*blas) return FA_OK;
    return fa_fail(FA_E_STATE, "FASTFA_GEMM=blas: no BLAS in this build: %s", fa_blas_reason());
}

fa_status fa_linalg_init(fa_linalg *la, fa_dtype dtype)
{
    *la = (fa_linalg){.k = fa_kernels_for(dtype), .esize = dtype == FA_F64 ? 8 : 4, .dtype = dtype};
    return choose(&la->blas, fa_environment("FASTFA_GEMM"));
}

static bool for_blas(const fa_linalg *la, fa_mat c, int64_t k)
{ return la->blas && (double)c.rows * (double)c.cols * (double)k >= BLAS_MIN_WORK; }

/* Returns true if BLAS has computed it; otherwise does nothing, and own kernels should run. */
static bool blas_product(const fa_linalg *la, bool ta, bool tb, fa_mat c, int64_t k, fa_mat a,
                         fa_mat b, double alpha, double beta)
{
    if (!for_blas(la, c, k)) return false;
    if (la->dtype == FA_F32)
        return la->blas->sgemm(ta, tb, c.rows, c.cols, k, (float)alpha, (const float *)a.p, a.ld,
                               (const float *)b.p, b.ld, (float)beta, (float *)c.p, c.ld);
    return la->blas->dgemm(ta, tb, c.rows, c.cols, k, alpha, (const double *)a.p, a.ld,
                           (const double *)b.p, b.ld, beta, (double *)c.p, c.ld);
}

void fa_matmul(const fa_linalg *la, fa_mat c, fa_mat a, fa_mat b, const fa_epilogue *epilogue,
               fa_packed_b *cache)
{
    static const fa_epilogue none = {0};
    const fa_epilogue *e = epilogue ? epilogue : &none;
    if (la->bf16) {
        fa_bf16_matmul(la, false, false, c, a, b, 1, 0, e, cache);
        return;
    }
    if (e->bias && for_blas(la, c, a.cols)) /* BLAS adds to C, so C starts as the bias */
        for (int64_t i = 0; i < c.rows; i++)
            memcpy(c.p + (size_t)(i * c.ld) * la->esize, e->bias, (size_t)c.cols * la->esize);
    if (!blas_product(la, false, false, c, a.cols, a, b, 1, e->bias ? 1 : 0)) {
        la->k->gemm(c.p, c.ld, a.p, a.ld, 1, b.p, b.ld, c.rows, c.cols, a.cols, 1, 0, e, cache);
        return;
    }
    if (e->nonfinite && !la->k->all_finite(c.p, c.ld, c.rows > 0, c.cols))
        atomic_store(e->nonfinite, true);
    if (e->relu) la->k->act[FA_ACT_relu](c.p, c.ld, c.p, c.ld, c.rows, c.cols, 0);
    if (e->h) la->k->dact[FA_ACT_relu](c.p, c.ld, e->h, c.ld, c.rows, c.cols, 0);
}

void fa_matmul_add(const fa_linalg *la, fa_mat c, fa_mat a, fa_mat b, const fa_epilogue *epilogue,
                   fa_packed_b *cache)
{
    if (!blas_product(la, false, false, c, a.cols, a, b, 1, 1))
        la->k->gemm(c.p, c.ld, a.p, a.ld, 1, b.p, b.ld, c.rows, c.cols, a.cols, 1, 1, epilogue,
                    cache);
    else if (epilogue && epilogue->nonfinite && !la->k->all_finite(c.p, c.ld, 1, c.cols))
        atomic_store(epilogue->nonfinite, true);
}

void fa_matmul_tn(const fa_linalg *la, fa_mat c, fa_mat a, fa_mat b, double alpha, double beta,
                  fa_packed_b *cache)
{
    if (la->bf16) {
        fa_bf16_matmul(la, true, false, c, a, b, alpha, beta, NULL, cache);
        return;
    }
    if (blas_product(la, true, false, c, a.rows, a, b, alpha, beta)) return;
    /* A contiguous column is a row: C^T = B^T A uses whole vectors. */
    if (c.cols == 1 && c.ld == 1)
        la->k->gemm(c.p, c.rows, b.p, 1, b.ld, a.p, a.ld, 1, c.rows, a.rows, alpha, beta, NULL,
                    NULL);
    else
        la->k->gemm(c.p, c.ld, a.p, 1, a.ld, b.p, b.ld, c.rows, c.cols, a.rows, alpha, beta, NULL,
                    cache);
}

size_t fa_matmul_nt_scratch(const fa_linalg *la, int64_t k)
{ return (size_t)(k + NT_COLS) * NT_ROWS * la->esize; }

static fa_mat part(const fa_linalg *la, fa_mat a, int64_t i0, int64_t rows, int64_t j0,
                   int64_t cols)
{
    return (fa_mat){a.p + (size_t)(i0 * a.ld + j0) * la->esize, a.ld,
                    rows < a.rows - i0 ? rows : a.rows - i0,
                    cols < a.cols - j0 ? cols : a.cols - j0};
}

/* C = A B^T with few rows: panels of B, transposed. */
static void transpose_b(const fa_linalg *la, fa_mat c, fa_mat a, fa_mat b, char *scratch,
                        fa_packed_b *cache)
{
    for (int64_t j = 0; j < c.cols; j += NT_ROWS) {
        const fa_mat to = part(la, c, 0, c.rows, j, NT_ROWS),
                     from = part(la, b, j, NT_ROWS, 0, b.cols);
        const fa_mat transposed = {scratch, from.rows, from.cols, from.rows};
        la->k->transpose(transposed.p, transposed.ld, from.p, from.ld, from.rows, from.cols);
        fa_matmul(la, to, a, transposed, NULL, cache);
    }
}

/* C^T = B A^T: transposing A and C costs less than transposing B, which is a matrix of weights. The
 * two factors of each multiply-add are exchanged, which changes no bit. */
static void transpose_a(const fa_linalg *la, fa_mat c, fa_mat a, fa_mat b, char *scratch,
                        fa_packed_b *cache)
{
    for (int64_t i = 0; i < c.rows; i += NT_ROWS) {
        const fa_mat rows = part(la, a, i, NT_ROWS, 0, a.cols);
        const fa_mat transposed = {scratch, rows.rows, rows.cols, rows.rows};
        la->k->transpose(transposed.p, transposed.ld, rows.p, rows.ld, rows.rows, rows.cols);
        char *const product = scratch + (size_t)(transposed.rows * transposed.ld) * la->esize;
        for (int64_t j = 0; j < c.cols; j += NT_COLS) {
            const fa_mat to = part(la, c, i, NT_ROWS, j, NT_COLS);
            const fa_mat ct = {product, to.rows, to.cols, to.rows};
            fa_matmul(la, ct, part(la, b, j, NT_COLS, 0, b.cols), transposed, NULL, cache);
            la->k->transpose(to.p, to.ld, ct.p, ct.ld, ct.rows, ct.cols);
        }
    }
}

void fa_matmul_nt(const fa_linalg *la, fa_mat c, fa_mat a, fa_mat b, char *scratch,
                  fa_packed_b *cache)
{
    if (la->bf16) {
        fa_bf16_matmul(la, false, true, c, a, b, 1, 0, NULL, cache);
        return;
    }
    if (blas_product(la, false, true, c, a.cols, a, b, 1, 0)) return;
    (c.rows < FEW_ROWS ? transpose_b : transpose_a)(la, c, a, b, scratch, cache);
}

/* ---- the packing buffer of a worker ---- */

/* For a product with B, with up to m rows of A */
size_t fa_matmul_packing(const fa_linalg *la, int64_t m, fa_mat b, bool transposed)
{
    if (la->bf16) return la->bf16->packing_bytes(m, b.cols, b.rows, transposed);
    return la->blas ? 0 : la->k->gemm_packing_bytes(m, b.cols, b.rows, b.ld, transposed);
}

/* For C = A B^T with up to m rows of A: the larger of what transpose_a and transpose_b need. */
size_t fa_matmul_nt_packing(const fa_linalg *la, int64_t m, fa_mat b)
{
    if (la->bf16) return la->bf16->packing_bytes(m, b.rows, b.cols, false);
    const int64_t k = b.cols, wide = fa_smaller(m, NT_ROWS), few = fa_smaller(m, FEW_ROWS - 1);
    const fa_mat left = {NULL, NT_COLS, k, wide},
                 right = {NULL, NT_COLS, k, fa_smaller(b.rows, NT_ROWS)};
    return fa_larger(fa_matmul_packing(la, fa_smaller(b.rows, NT_COLS), left, false),
                     fa_matmul_packing(la, few, right, false));
}

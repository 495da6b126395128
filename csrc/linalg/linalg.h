/* linalg: matrices and their products, by own kernels or by BLAS. */
#ifndef FA_LINALG_H
#define FA_LINALG_H

#include "core/core.h"
#include "kernels/bf16.h"

/* ---- blas.c: the single-threaded OpenBLAS of the wheel, opened on first use ---- */

/* C (m x n) = alpha * op(A) op(B) + beta * C, row-major, op(X) = X^T where trans_x is set. Returns
 * false and does nothing if a size or a stride does not fit into BLAS's int. */
typedef struct fa_blas {
    bool (*sgemm)(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                  const float *a, ptrdiff_t lda, const float *b, ptrdiff_t ldb, float beta,
                  float *c, ptrdiff_t ldc);
    bool (*dgemm)(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                  const double *a, ptrdiff_t lda, const double *b, ptrdiff_t ldb, double beta,
                  double *c, ptrdiff_t ldc);
    const char *config;   /* "OpenBLAS 0.3.34 DYNAMIC_ARCH ..." */
    const char *corename; /* "SkylakeX": the processor whose kernels it runs */
    bool loaded;
} fa_blas;

/* The table, or NULL if there is no BLAS; the first call opens the library. Any thread may call
 * it. */
const fa_blas *fa_blas_get(void);
/* Why fa_blas_get() returns NULL; "" if it does not. */
const char *fa_blas_reason(void);

/* ---- matrices ---- */

typedef struct fa_mat { /* rows x cols elements of a network's dtype */
    char *p;
    ptrdiff_t ld;
    int64_t rows, cols;
} fa_mat;
typedef struct fa_rows {
    int64_t r0, r1;
} fa_rows; /* half-open */

static inline fa_mat fa_rows_of(fa_mat a, fa_rows r, size_t esize)
{ return (fa_mat){a.p + (size_t)(r.r0 * a.ld) * esize, a.ld, r.r1 - r.r0, a.cols}; }
static inline fa_mat fa_columns_of(fa_mat a, int64_t c0, int64_t c1, size_t esize)
{ return (fa_mat){a.p + (size_t)c0 * esize, a.ld, a.rows, c1 - c0}; }

/* ---- matmul.c ---- */

/* The products that a network runs, and the type of its numbers. fa_net has the same members. */
typedef struct fa_linalg {
    const fa_kernels *k;
    const fa_blas *blas; /* NULL: own products only */
    size_t esize;        /* bytes of an element */
    fa_dtype dtype;
    const fa_bf16_kernels *bf16; /* not NULL: products of operands rounded to bfloat16 */
} fa_linalg;
/* By FASTFA_GEMM: auto (default), own, blas. */
fa_status fa_linalg_init(fa_linalg *la, fa_dtype dtype);

/* C = A B, then the epilogue, if it is not NULL. `cache` is passed on to the gemm kernel; NULL:
 * nothing is packed. */
void fa_matmul(const fa_linalg *la, fa_mat c, fa_mat a, fa_mat b, const fa_epilogue *epilogue,
               fa_packed_b *cache);
/* C += A B, then the epilogue, if it is not NULL; without its bias */
void fa_matmul_add(const fa_linalg *la, fa_mat c, fa_mat a, fa_mat b, const fa_epilogue *epilogue,
                   fa_packed_b *cache);
/* C = alpha A^T B + beta C */
void fa_matmul_tn(const fa_linalg *la, fa_mat c, fa_mat a, fa_mat b, double alpha, double beta,
                  fa_packed_b *cache);
/* C = A B^T, through transposed panels in scratch, of fa_matmul_nt_scratch bytes for a B of k
 * columns */
void fa_matmul_nt(const fa_linalg *la, fa_mat c, fa_mat a, fa_mat b, char *scratch,
                  fa_packed_b *cache);
size_t fa_matmul_nt_scratch(const fa_linalg *la, int64_t k);

static inline int64_t fa_smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline size_t fa_larger(size_t a, size_t b) { return a > b ? a : b; }

/* The bytes of the packing buffer for A B (transposed: A^T B) and for A B^T, with up to m rows of
 * A; 0 where the products do not pack. */
size_t fa_matmul_packing(const fa_linalg *la, int64_t m, fa_mat b, bool transposed);
size_t fa_matmul_nt_packing(const fa_linalg *la, int64_t m, fa_mat b);

/* ---- bf16.c ---- */

extern const fa_bf16_kernels fa_bf16_portable;
const fa_bf16_kernels *fa_bf16_get(void); /* those of this processor */
/* Whether products with a matrix of this size are faster in bfloat16, whatever the batch. */
bool fa_bf16_pays(int64_t rows, int64_t cols);
/* C = alpha op(A) op(B) + beta C, then the epilogue; op(X) = X^T where tx is set */
void fa_bf16_matmul(const fa_linalg *la, bool ta, bool tb, fa_mat c, fa_mat a, fa_mat b,
                    double alpha, double beta, const fa_epilogue *epilogue, fa_packed_b *cache);

#endif

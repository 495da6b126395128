/* An optional BLAS: the single-threaded OpenBLAS that the wheel carries, opened when first asked
 * for. */
#ifndef FA_BLAS_H
#define FA_BLAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* C (m x n) = alpha * op(A) op(B) + beta * C, row-major, op(X) = X^T where trans_x is set. False,
 * with nothing done, where a size or a stride does not fit into BLAS's int. */
typedef struct fa_blas {
    bool (*sgemm)(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                  const float *a, ptrdiff_t lda, const float *b, ptrdiff_t ldb, float beta,
                  float *c, ptrdiff_t ldc);
    bool (*dgemm)(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                  const double *a, ptrdiff_t lda, const double *b, ptrdiff_t ldb, double beta,
                  double *c, ptrdiff_t ldc);
    const char *config;   /* "OpenBLAS 0.3.34 DYNAMIC_ARCH ..." */
    const char *corename; /* "SkylakeX": whose kernels it runs */
    bool loaded;
} fa_blas;

/* The table, or NULL where there is no BLAS; the first call opens the library. Any thread. */
const fa_blas *fa_blas_get(void);

/* Why fa_blas_get() returns NULL; "" where it does not. */
const char *fa_blas_reason(void);

#endif

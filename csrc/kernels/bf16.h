/* Products whose operands are rounded to bfloat16: the upper 16 bits of a float, to nearest even,
 * subnormals to zero. isa_bf16.c has those of processors with instructions for them, linalg/bf16.c
 * those of all others. The numbers that they compute: docs/MATH.md "Products in bfloat16". */
#ifndef FA_KERNELS_BF16_H
#define FA_KERNELS_BF16_H

#include "kernels/kernels.h"

/* C = alpha * (A B) + beta * C, then the epilogue, as gemm in kernels.def. Element (i, p) of A is
 * a[i * rsa + p * csa], element (p, j) of B is b[p * rsb + j * csb], and of each pair of strides
 * one is 1. `cache` has at least packing_bytes. */
typedef struct fa_bf16_product {
    float *c;
    ptrdiff_t ldc;
    const float *a;
    ptrdiff_t rsa, csa;
    const float *b;
    ptrdiff_t rsb, csb;
    int64_t m, n, k;
    float alpha, beta;
    bool update; /* A is transposed; B is kept in the cache for the next product */
    const fa_epilogue *epilogue;
    fa_packed_b *cache;
} fa_bf16_product;

typedef struct fa_bf16_kernels {
    const char *name;
    size_t (*packing_bytes)(int64_t m, int64_t n, int64_t k, bool update);
    void (*product)(const fa_bf16_product *t);
} fa_bf16_kernels;

/* x86-64, if the build defines FA_BF16_KERNELS */
extern const fa_bf16_kernels fa_bf16_vdpbf16ps, fa_bf16_amx;

#endif

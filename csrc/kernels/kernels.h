/* The kernel table: one row per instruction set and element type. The contract of each kernel is
 * its entry in kernels.def; activations are listed in activations.def. A network holds a pointer to
 * its row; core/cpu.c chooses the row. */
#ifndef FA_KERNELS_H
#define FA_KERNELS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* docs/decisions/007-no-fast-math.md. Compilers without these macros: computes_as_written. */
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) ||     \
    defined(__NO_SIGNED_ZEROS__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "fastfa: compile without -ffast-math, -Ofast and their parts: they change results"
#endif
_Static_assert(sizeof 0.1 == sizeof(double), "fastfa: compile without -fsingle-precision-constant");

enum { FA_NEEDS_PREACT = 1, FA_ZERO_DERIVATIVE = 2 };

enum {
#define FA_ACTIVATION(name, flags, init) FA_ACT_##name,
#include "activations.def"
#undef FA_ACTIVATION
    FA_N_ACTIVATIONS
};

/* The numbers of an optimizer step on one parameter, computed once a step in double. `decay` is
 * weight_decay if it applies to this parameter, else 0; decoupled decay (AdamW) is a factor of
 * `keep`. */
typedef struct fa_hyper {
    double lr;       /* of this parameter: lr * lr_scale */
    double momentum; /* sgd, rmsprop */
    double nesterov; /* 0 or 1 */
    double alpha;    /* rmsprop: decay of the squared gradient */
    double beta1, beta2, eps;
    double bias1, bias2;  /* adam: 1 - beta^t; kernels divide lr by bias1 and take sqrt(bias2) */
    double of_g, of_mean; /* nadam: the factors of lr on the gradient and on its mean */
    double decay;         /* g += decay * w */
    double keep;          /* w *= keep before the step (AdamW: 1 - lr * weight_decay), else 1 */
    double g_scale;       /* g is multiplied by this first: 1, or the clip factor */
    double lambda;        /* with coupled feedback: both are multiplied by 1 - lambda */
} fa_hyper;

/* The operations on C before a product writes it, in this order; all zero: none. h has the shape
 * and stride of C. */
typedef struct fa_epilogue {
    const void *bias; /* a row that is added, or NULL */
    /* Set to true if the first row of C is not finite, or NULL. One row is enough to check B and
     * the bias: 0 times a number that is not finite is NaN, so such an entry makes its column of
     * every row NaN. */
    atomic_bool *nonfinite;
    bool relu;     /* max(0, .) */
    const void *h; /* C becomes 0 where h <= 0 (ReLU's derivative); or NULL */
} fa_epilogue;

/* The packed-B cache: the buffer in which a product packs its right operand, and what the buffer
 * holds */
typedef struct fa_packed_b {
    void *buffer; /* aligned to 64, or NULL; products of less than gemm_packing_bytes are slow */
    size_t bytes;
    bool packed; /* the last product left all of B in the buffer, and B, k and n are the same now */
    bool remote; /* other cores have written much of B since this core read it */
} fa_packed_b;

/* How a window moves over images of in_h x in_w places with `channels` numbers each, and the size of
 * the map that it makes. An image is stored place by place, row by row (NHWC); the places of the
 * padding around it are zero, or are not there (pooling). At the place (y, x) of the map the window
 * covers rows y * stride_h - pad_top + (0 .. kernel_h - 1) and columns alike. */
typedef struct fa_window {
    int64_t in_h, in_w, channels;
    int64_t kernel_h, kernel_w, stride_h, stride_w;
    int64_t pad_top, pad_bottom, pad_left, pad_right;
    int64_t out_h, out_w; /* (pad_top + in_h + pad_bottom - kernel_h) / stride_h + 1, alike out_w */
} fa_window;

/* h = f(a), may work in place; p: the option of FA_WITH_OPTION, else any number */
typedef void fa_act_fn(void *h, ptrdiff_t ldh, const void *a, ptrdiff_t lda, int64_t rows,
                       int64_t cols, double p);
/* d *= f'; where f' of ReLU, hardtanh or hard_sigmoid is 0 the result is 0 for any d; x is H, or A
 * for FA_NEEDS_PREACT */
typedef void fa_dact_fn(void *d, ptrdiff_t ldd, const void *x, ptrdiff_t ldx, int64_t rows,
                        int64_t cols, double p);

/* Whether products pack their right operands and prefetch, which pays if the latency of L2 is high.
 * Set once, when the kernels are chosen (cpu.c); no result depends on it. */
extern bool fa_l2_is_slow;
enum {
    FA_PACKED_B_BYTES = 512 << 10, /* limit of a packing buffer for all of B */
    FA_PANEL_ROW_BYTES = 192,      /* one row of a packed panel */
    FA_SHORT_STRIDE = 96, /* up to this stride rows of B are close enough without packing */
};

#define FA_STEP_PARAMETERS                                                                         \
    void *w, ptrdiff_t ldw, void *s0, void *s1, void *s2, void *b, ptrdiff_t ldb, const void *g,   \
        ptrdiff_t ldg, int64_t rows, int64_t cols, const fa_hyper *h

typedef struct fa_kernels {
#define FA_KERNEL(ret, name, params) ret(*name) params;
#include "kernels.def"
#undef FA_KERNEL
    fa_act_fn *act[FA_N_ACTIVATIONS];
    fa_dact_fn *dact[FA_N_ACTIVATIONS];
} fa_kernels;

/* Rows [0] float, [1] double. x86 builds have v2, v3 and v4, 64-bit ARM has neon, others have c. */
extern const fa_kernels fa_kernels_c_rows[2], fa_kernels_neon_rows[2], fa_kernels_v2_rows[2],
    fa_kernels_v3_rows[2], fa_kernels_v4_rows[2];

#endif

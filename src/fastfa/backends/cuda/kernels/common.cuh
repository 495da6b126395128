/* What all kernels share: the control block of a network, dropout, activations. */

enum {
#define FA_ACTIVATION(name, flags, init) FA_ACT_##name,
#include "activations.def"
#undef FA_ACTIVATION
};

/* The numbers of one step on one group of parameters, rounded once from double on the host. For
 * plain SGD a product is scaled by `mean` (-lr / m) and its parameter by `keep`; for the others
 * `mean` is 1 / m. */
struct step_factors {
    T lr;
    T momentum;
    T alpha;
    T beta2;
    T eps;
    T decay;
    T keep;
    T g_scale;
    T one_alpha;
    T one_beta1;
    T one_beta2;
    T bias2;
    T lr_g;
    T mean;
    T nesterov; /* 0 or 1 */
};

/* One per network, in device memory: what changes from step to step. Kernels of one captured graph
 * are `ahead` steps after `step`; `advance` ends the graph. Host code writes all of it before the
 * first launch. */
struct control_block {
    const void *x;             /* samples: numbers of the network's type, or bytes */
    const int64_t *order;      /* which sample is row r of the epoch, or NULL: sample r */
    const int64_t *labels;     /* of the samples, or NULL */
    const T *y;                /* target rows of the samples, or NULL */
    const double *weights;     /* of the samples, or NULL: ones */
    const step_factors *table; /* of each step of this call: one entry for each group */
    int64_t row;               /* of the epoch: the first of this batch */
    unsigned long long step;   /* steps that the network has taken */
    int64_t done;              /* of these in this call: the first row of `table` */
    int64_t counted;           /* steps whose losses are in `loss` and `hits` */
    double loss;               /* sum of loss times rows */
    double hits;               /* sum of correct rows */
    double stopped_loss;       /* mean loss of the step that was stopped */
    int halt;                  /* 1: a loss is not finite, and no step from there on is made */
    int bad_input;             /* 1: a sample is not finite, so its step is not made either */
    int suspect;               /* 1: a product was not finite; a step waits until the host has */
    int checked;               /*    looked at all tensors and set this */
    int ruined;                /* t + 1: step t of this call has made a parameter not finite */
    int stopped;               /* 1: stopped_loss is set */
    int bad_norm;              /* the norm of the gradient is 1: infinite, 2: NaN */
    T g_scale;                 /* what clipping multiplies the gradients of this step by */
};

/* Whether the step `ahead` may not change anything. */
FA_INLINE bool stops(const control_block *c, int ahead)
{
    const bool waits = c->suspect && !c->checked;
    const bool after_ruin = c->ruined && c->ruined <= c->done + ahead;
    return c->halt || c->bad_input || c->bad_norm || waits || after_ruin;
}

/* Where element (i, j) of a matrix of `cols` columns is: 32 bits, for they need half the registers.
 * plan.py refuses larger matrices. The samples of a call may have more. */
FA_INLINE unsigned at(int i, int cols, int j) { return (unsigned)i * (unsigned)cols + (unsigned)j; }

FA_INLINE bool is_finite(T x) { return x - x == 0; }

/* The sample in row i of the batch */
FA_INLINE int64_t sample_of(const control_block *c, int i, int m, int ahead)
{
    const int64_t row = c->row + (int64_t)ahead * m + i;
    return c->order ? c->order[row] : row;
}

/* The shared memory that a launch asks for, of 8 bytes */
FA_INLINE double *shared_of_launch(void)
{
    extern __shared__ double dynamic[];
    return dynamic;
}

/* What a block computes: a tile of one matrix of a table */
struct tile_of {
    int index;
    int i0;
    int j0;
    int unused;
};

/* ---- dropout ---- */

struct dropout {
    unsigned drop;    /* words below it drop their element */
    unsigned ordinal; /* purpose and layer: upper part of the fourth counter word */
    unsigned key0;
    unsigned key1;
    T scale; /* 1 / (1 - rate) */
};

/* Philox4x32-10, as in csrc/kernels/random.inc */
FA_INLINE void philox(unsigned (&c)[4], unsigned key0, unsigned key1)
{
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const unsigned high0 = __umulhi(0xD2511F53u, c[0]), low0 = 0xD2511F53u * c[0];
        const unsigned high1 = __umulhi(0xCD9E8D57u, c[2]), low1 = 0xCD9E8D57u * c[2];
        c[0] = high1 ^ c[1] ^ key0;
        c[1] = low1;
        c[2] = high0 ^ c[3] ^ key1;
        c[3] = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* Whether a dropout keeps the element of row i, column j in this step */
FA_INLINE bool keeps(const dropout *one, unsigned long long step, int i, int j)
{
    unsigned c[4] = {(unsigned)j / 4, (unsigned)i, (unsigned)step,
                     one->ordinal | (unsigned)(step >> 32 & 0xffff)};
    philox(c, one->key0, one->key1);
    const unsigned low = j & 1 ? c[1] : c[0], high = j & 1 ? c[3] : c[2];
    return (j & 2 ? high : low) >= one->drop;
}

/* x after n dropouts in a row */
FA_INLINE T drop(T x, const dropout *all, int n, unsigned long long step, int i, int j)
{
    for (int t = 0; t < n; t++) x = (keeps(all + t, step, i, j) ? x : (T)0) * all[t].scale;
    return x;
}

/* The signal below n dropouts. exact false (inject="pre"): only the masks apply. */
FA_INLINE T drop_back(T d, const dropout *all, int n, bool exact, unsigned long long step, int i,
                      int j)
{
    for (int t = n - 1; t >= 0; t--)
        d = (keeps(all + t, step, i, j) ? d : (T)0) * (exact ? all[t].scale : (T)1);
    return d;
}

/* ---- activations ---- */

/* `among` is a constant: bit FA_ACT_x is set if x may occur. One alone is not compared. */
#define FA_MAY_BE(name) (among >> FA_ACT_##name & 1)
#define FA_IS(name) (FA_MAY_BE(name) && (among == 1 << FA_ACT_##name || which == FA_ACT_##name))

/* f(a); option: the layer's, for the activations that have one */
FA_INLINE T activate(const int among, int which, T a, T option)
{
#define FA_ACTIVATION(name, flags, init)                                                           \
    if (FA_IS(name)) return fa_##name(a).x;
#define FA_WITH_OPTION(name, flags, init, unused)                                                  \
    if (FA_IS(name)) return fa_##name(a, option).x;
#include "activations.def"
#undef FA_ACTIVATION
    return a;
}

/* d f'; x is f(a), or a where f' is computed from it */
FA_INLINE T activate_back(const int among, int which, T d, T x, T option)
{
#define FA_ACTIVATION(name, flags, init)                                                           \
    if (FA_IS(name)) return fa_##name##_back(d, x).x;
#define FA_WITH_OPTION(name, flags, init, unused)                                                  \
    if (FA_IS(name)) return fa_##name##_back(d, x, option).x;
#include "activations.def"
#undef FA_ACTIVATION
    return d;
}

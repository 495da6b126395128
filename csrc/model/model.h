/* model: a network as data. It is described, checked, planned and initialised here, and not run.
 *
 *   fa_net ─┬─ layers[]   Dense, Dropout, ... in order, each behind fa_layer_ops
 *           ├─ blocks[]   a weighted layer and the layers up to the next one; hidden: a fa_rule
 *           ├─ params[]   everything learnable and all feedback, with optimizer slots
 *           ├─ loss       fa_loss_ops
 *           ├─ optim      fa_optim_ops
 *           ├─ tiles[]    the work items of an update
 *           └─ phases[]   the phases of a step, with a barrier after each
 *
 *   state       one block that never moves: header | parameters and feedback | slots
 *   workspace   one block per call in flight: engine/workspace.c
 *
 * ops.h has the interfaces of layers, rules, losses and optimizers, found by name in registry.c. */
#ifndef FA_MODEL_H
#define FA_MODEL_H

#include "linalg/linalg.h"

enum {
    FA_CHUNK = 256,         /* rows of the batch that a layer or rule handles at a time, at most */
    FA_BLAS_CHUNK = 32,     /* fixed chunk size when BLAS is used */
    FA_TILE_AREA = 16384,   /* entries of a gradient that waits for the optimizer in cache */
    FA_PREDICT_CHUNK = 64,  /* rows of a task that only predicts */
    FA_SEQUENCE_CHUNK = 64, /* sequences that a recurrent layer handles at a time, at most */
    FA_MAX_LAYERS = 4096,
    FA_MAX_NOTE = 1 << 20,
    FA_MAX_NAME = 63,
    FA_MAX_PHASES = 4,
    FA_MAX_SLOTS = 3,  /* of an optimizer: arrays as large as the parameter */
    FA_ROW_PARAMS = 2, /* of a layer without weights: scale and shift */
    FA_SLOTS = 3,      /* idle workspaces that a network keeps: engine/workspace.c */
};
typedef struct fa_part {
    fa_rows rows;
    int64_t c0, c1;
} fa_part; /* rows of the batch, columns of a layer's output */
typedef struct fa_tile {
    int64_t i0, i1, j0, j1;
} fa_tile;              /* of a parameter, half-open */
typedef int32_t fa_buf; /* a row buffer declared while planning; a plan holds ids, never pointers */
enum { FA_NO_BUF = -2, FA_ONES = -1, FA_INPUT = 0, FA_TARGET = 1, FA_MAX_PAIRS = 2 };
typedef struct fa_pair { /* adds left^T right to a gradient */
    fa_buf left, right;
    const struct fa_layer *windows; /* of this layer: the rows are its patches; NULL: plain rows */
} fa_pair;

typedef struct fa_param { /* weights, biases and feedback, learned or not */
    char key[32];
    fa_tensor_kind kind;
    int64_t rows, cols;
    void *value, *slot[FA_MAX_SLOTS]; /* in the state */
    fa_pair grad[FA_MAX_PAIRS];
    int n_slots, n_grad;
    double lr_scale, feedback_decay; /* share lost in a step, apart from the optimizer's decay */
    /* Gradient: pull * value + gain * mean (sums: sum) of left^T right. Step: share * gradient. */
    double pull, gain, share;    /* 0: as of a weight; with a share no optimizer, no clipping */
    bool sums, decays, sparsens; /* decays by weight_decay, sparsens by l1 */
    bool trainable, in_place;    /* the product writes the parameter itself */
    struct fa_param *coupled;    /* feedback that receives every step transposed (Kolen-Pollack) */
    struct fa_param *trace;  /* its gradient in a stream, without the signal; NULL: left^T right */
    fa_buf stream;           /* with a trace: a row of slopes, of kept shares and of signals */
    const fa_linalg *linalg; /* what its products are computed by */
} fa_param;
static inline fa_mat fa_param_matrix(const fa_param *p)
{ return (fa_mat){(char *)p->value, p->cols, p->rows, p->cols}; }

typedef struct fa_shape { /* h x w positions with c channels each; h = w = 0: c numbers */
    int64_t h, w, c;
} fa_shape;

typedef struct fa_layer {
    const struct fa_layer_ops *ops;
    fa_layer_desc desc;
    int index, ordinal; /* in the layer list; among the weighted layers */
    fa_shape in_shape, out_shape;
    int64_t n_in, n_out;     /* numbers of a row */
    int64_t fan_in, fan_out; /* of a weighted layer, for initialisers */
    int activation;
    double f_option;         /* the option that the activation has, if it has one */
    fa_param *weight, *bias; /* NULL if it has none */
    fa_param *recurrent;     /* the weights of its own last output, in buffer `before`; or NULL */
    fa_buf before;
    fa_param *row_param[FA_ROW_PARAMS]; /* of a layer without weights, one row each; or NULL */
    fa_buf row_gradient[FA_ROW_PARAMS]; /* backward fills it: its rows' sum is the gradient */
    bool fixed;                         /* never trains, although its signal passes */
    fa_buf in, out, preact;
    fa_buf gradient_in; /* the left factor of the weight's gradient; `in` unless a rule sets it */
    /* The signal at its output, a delta for a weighted layer. A layer that keeps the width changes
     * the signal in place. In front of the first weighted layer: FA_NO_BUF. */
    fa_buf signal;
    double work; /* multiply-adds of a row, forward */
    void *state; /* the layer's own, allocated while it is planned */
} fa_layer;

typedef enum fa_inject {
    FA_INJECT_POST,       /* at the output of the block: f' and masks apply exactly */
    FA_INJECT_PRE,        /* before the activation, of pools too: only 0/1 masks apply */
    FA_INJECT_BEFORE_POOL /* in front of the block's first pool: f' and masks apply exactly */
} fa_inject;
typedef struct fa_rule {
    const struct fa_rule_ops *ops;
    fa_rule_desc desc;
    unsigned sources;         /* those of ops, unless its plan sets them */
    fa_inject inject;         /* where the signal lands */
    bool fuses_relu_backward; /* the product of signal also multiplies by f', so that S is D_l */
    fa_param *feedback;       /* NULL without a stored matrix */
    int64_t step_rows; /* rows of the matrix (n_l columns) that ops->step_feedback makes; or 0 */
    int64_t nnz;       /* non-zero entries of each feedback column, if few enough to gather; or 0 */
    fa_buf weighted;   /* a row buffer that sample weights multiply as they multiply the delta */
    void *state;       /* the rule's own, allocated while it is planned */
} fa_rule;

typedef struct fa_block { /* layers[first] is weighted, first + 1 .. last come after it */
    int first, last;
    fa_layer *layer;
    fa_rule rule;
    fa_buf delta;  /* of layers[first] */
    int signal_at; /* the layer at whose output the rule's signal S lands */
    bool needs_delta;
} fa_block;

typedef struct fa_optim {
    const struct fa_optim_ops *ops;
    fa_optimizer_desc desc;
    int n_slots; /* computed once: a step would read a subnormal momentum as 0 */
} fa_optim;

/* ---- work items of a step ---- */

typedef struct fa_tile_task {
    int32_t param;
    fa_tile tile;
} fa_tile_task;
/* Rows of a parameter, and part `part` of `parts` of the columns that a thread has. */
typedef struct fa_column_item {
    int32_t param, part, parts;
    fa_rows rows;
} fa_column_item;
typedef struct fa_feedback_task {
    int32_t block;
    fa_rows rows;
} fa_feedback_task;

typedef struct fa_state {           /* the header of the state */
    _Atomic uint64_t steps, epochs; /* written under the lock, read without */
    _Atomic double lr;
} fa_state;

#endif

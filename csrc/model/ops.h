/* The interfaces of layers, rules, losses and optimizers: one struct each, which registry.c lists;
 * and the functions that they call while a network is planned (declare.c, feedback_init.c). */
#ifndef FA_OPS_H
#define FA_OPS_H

#include "model/network.h"

struct fa_run; /* a call in flight: engine/engine.h */

enum { FA_WEIGHTED = 1, FA_TRAIN_ONLY = 2 /* the identity when predicting */ };
typedef struct fa_layer_ops {
    const char *name;
    unsigned flags;
    /* Checks the description and declares what it needs; layer->n_in and ->in are set, sets n_out,
     * out. */
    fa_status (*plan)(fa_net *net, fa_layer *layer);
    bool columns; /* forward can compute some columns of the output alone */
    void (*forward)(const fa_layer *layer, const struct fa_run *run, fa_part part, int worker);
    /* d: the signal at the layer's output -> at its input, or at its pre-activation (weighted), in
     * place. exact false (inject="pre"): only 0/1 masks apply. */
    void (*backward)(const fa_layer *layer, const struct fa_run *run, fa_part part, fa_mat d,
                     bool exact);
    /* weighted: out = d W^T, a part of the exact signal below */
    void (*transport)(const fa_layer *layer, const struct fa_run *run, fa_part part, fa_mat d,
                      fa_mat out, int worker);
} fa_layer_ops;

enum { /* where a rule's signal comes from */
       FA_FROM_ABOVE = 1,
       FA_FROM_ERROR = 2,
       FA_FROM_TARGET = 4,
       FA_NO_UPDATE = 8,
       FA_FROM_BELOW = 16,
       FA_FROM_INPUT = 32, /* a second pass over changed input */
       FA_FROM_SELF = 64   /* the error of a head of its own */
};
typedef struct fa_rule_ops {
    const char *name;
    unsigned sources; /* order the blocks; FA_NO_UPDATE: the layer does not train */
    bool no_pre;      /* refuses inject="pre" although it does not read from above */
    bool columns;     /* signal can compute some columns of the block alone */
    bool product; /* signal is a product that ends with fa_signal_epilogue, or with nnz gathers */
    /* Declares the feedback of hidden block `block`; NULL where there is none. */
    fa_status (*plan)(fa_net *net, int block);
    /* Draws what it declared apart from rule->feedback; NULL: nothing. sampling: the doubles that
     * this takes. */
    void (*draw)(const fa_net *net, int block);
    size_t (*sampling)(const fa_rule *rule);
    /* A part of S of the block's output for each sample, without 1/m and without sample weights. */
    void (*signal)(const fa_rule *rule, const struct fa_run *run, int block, fa_part part, fa_mat s,
                   int worker);
    /* D_l itself (still without sample weights) in place of S: no f', no masks follow. NULL: as S
     * says. */
    void (*delta)(const struct fa_run *run, int block, fa_rows rows, fa_mat d);
    /* The rows of the matrix that carries the source to the block, if `matrix` makes it; 0, or
     * NULL: it is rule->feedback. */
    int64_t (*rows)(const fa_net *net, int block);
    void (*matrix)(const fa_net *net, int block, void *out);
    /* Rows of the matrix that a rule makes from the weights before each step; NULL: none. */
    void (*step_feedback)(const fa_rule *rule, const fa_net *net, int block, uint64_t step,
                          fa_rows rows, fa_mat out);
    /* Once for each chunk, before its deltas: a second pass. Its memory: bytes of every workspace,
     * and bind, called when a run is bound to one. */
    void (*before_deltas)(const struct fa_run *run, fa_rows rows, int worker);
    size_t (*workspace)(const fa_net *net, int64_t rows);
    void (*bind)(const struct fa_run *run);
    /* Once a step, by one thread, between the forward pass of all rows and the deltas of all
     * rows. */
    fa_status (*after_forward)(struct fa_run *run);
} fa_rule_ops;

typedef struct fa_loss_ops {
    const char *name;
    int min_outputs;
    bool logits;        /* needs a linear output layer */
    bool accuracy_rows; /* row targets have an accuracy too */
    /* The kernel: error into e, row_loss, hit. */
    void (*error)(const fa_kernels *k, fa_mat e, double *row_loss, double *hit, fa_mat z,
                  const int64_t *labels, fa_mat y);
    /* logits to the values that predict returns, in place; NULL: as they are */
    void (*link)(const fa_kernels *k, fa_mat z);
    /* The values expected of a row of targets, if not these extremes and this sum; else NULL. */
    const char *(*check_row)(double low, double high, double sum);
} fa_loss_ops;

typedef int fa_optim_kernel(void *w, ptrdiff_t ldw, void *s0, void *s1, void *b, ptrdiff_t ldb,
                            const void *g, ptrdiff_t ldg, int64_t rows, int64_t cols,
                            const fa_hyper *h);
typedef struct fa_optim_ops {
    const char *name;
    bool decoupled_decay; /* AdamW */
    fa_status (*check)(const fa_optimizer_desc *desc);
    int (*slots)(const fa_optimizer_desc *desc);
    /* t = 1, 2, ...: the fields of h that are the same for every parameter. */
    void (*begin)(const fa_optimizer_desc *desc, uint64_t t, fa_hyper *h);
    fa_optim_kernel *(*kernel)(const fa_kernels *k);
    bool in_place; /* with no slots the product writes W itself: W = keep W - lr g */
} fa_optim_ops;

/* ---- registry.c ---- */

extern const fa_rule_ops fa_rule_backprop; /* the reference of alignment; and through frozen */
const fa_layer_ops *fa_find_layer(const char *name);
const fa_rule_ops *fa_find_rule(const char *name);
const fa_loss_ops *fa_find_loss(const char *name);
const fa_optim_ops *fa_find_optim(const char *name);
int fa_find_activation(const char *name); /* -1 if there is none */
unsigned fa_activation_flags(int activation);
const char *fa_activation_name(int activation);

/* ---- declare.c: called by plan functions ---- */

/* A row buffer of cols elements of `size` bytes. */
fa_buf fa_plan_buffer(fa_net *net, int64_t cols, size_t size);
void fa_plan_buffer_width(fa_net *net, fa_buf b, int64_t cols); /* another width */
fa_param *fa_plan_param(fa_net *net, const char *name, int layer, fa_tensor_kind kind, int64_t rows,
                        int64_t cols);
/* Lets a parameter learn, like a weight, from left^T right. */
void fa_plan_trained(fa_net *net, fa_param *p, fa_buf left, fa_buf right);
void fa_plan_scratch(fa_net *net, size_t bytes); /* at least so much for each worker */
/* The stored feedback of a hidden block, checked: "l.feedback", source x n_l. */
fa_status fa_plan_feedback(fa_net *net, int block, int64_t source);
/* The same where nothing learns it, and fa_feedback_product is all that reads it. */
fa_status fa_plan_fixed_feedback(fa_net *net, int block, int64_t source);
/* The own struct of a layer or rule, zeroed, in *state. */
fa_status fa_plan_private(fa_net *net, void **state, size_t size);
static inline bool fa_trains(const fa_block *block)
{ return block->layer->desc.trainable && !(block->rule.ops && block->rule.sources & FA_NO_UPDATE); }
static inline bool fa_makes_matrix(const fa_net *net, int block) /* by ops->matrix */
{
    const fa_rule_ops *ops = net->blocks[block].rule.ops;
    return ops && ops->rows && ops->rows(net, block) > 0;
}

/* ---- feedback_init.c ---- */

fa_status fa_feedback_check(const fa_net *net, int block, int64_t rows, int64_t cols);
bool fa_feedback_is_plain(const fa_rule *rule);                      /* drawn element by element */
int64_t fa_feedback_nnz(const fa_net *net, int block, int64_t rows); /* see fa_rule */
void fa_draw_feedback(const fa_net *net, int block);
/* Rows of a plain matrix with this many rows in all, as drawn at a step. */
void fa_draw_feedback_rows(const fa_net *net, int block, uint64_t step, int64_t sources,
                           fa_rows rows, fa_mat out);
/* All of p, as a plain matrix of rows x cols of the block's feedback would be drawn. */
void fa_draw_plain(const fa_net *net, int block, const fa_param *p, int64_t rows, int64_t cols,
                   fa_stream stream);
/* p (rows >= cols) with orthonormal columns */
void fa_draw_orthonormal(const fa_net *net, const fa_param *p, fa_stream stream);

#endif

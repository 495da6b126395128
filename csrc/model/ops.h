/* The interfaces (ops) of layers, rules, losses and optimizers, each with its options (NULL: none);
 * registry.c lists them. What they call while a network is planned: declare.h. */
#ifndef FA_OPS_H
#define FA_OPS_H

#include "model/network.h"
#include "model/options.h"

struct fa_run; /* a call in flight: engine/engine.h */

enum {
    FA_WEIGHTED = 1,
    FA_TRAIN_ONLY = 2, /* the identity when predicting */
    FA_OVER_TIME = 4,  /* computes whole sequences, T rows each, or one step of a stream */
    FA_ACTIVATES = 8,  /* has an activation, as weighted layers have too */
    FA_WHOLE_ROWS = 16 /* backward needs all columns at a time */
};
typedef struct fa_layer_ops {
    const char *name;
    unsigned flags;
    const fa_option_row *options;
    /* Checks the description, declares buffers and parameters, sets layer->n_out and ->out. */
    fa_status (*plan)(fa_net *net, fa_layer *layer);
    bool columns; /* forward can compute some of the output's columns */
    bool sparse;  /* forward reads the entries of a sparse X, where it comes first */
    void (*forward)(const fa_layer *layer, const struct fa_run *run, fa_part part, int worker);
    /* Changes d, in place, from the signal at the layer's output to that at its input, or at the
     * pre-activation of a weighted layer. exact false (inject="pre"): only 0/1 masks apply. */
    void (*backward)(const fa_layer *layer, const struct fa_run *run, fa_part part, fa_mat d,
                     bool exact, int worker);
    /* In place of `backward`, for layers that change the width: the signal at the output, d, becomes
     * that at the input, `below`. */
    void (*backward_to)(const fa_layer *layer, const struct fa_run *run, fa_rows rows, fa_mat d,
                        fa_mat below);
    /* weighted layers: out = d W^T, a part of the exact signal for the block below */
    void (*transport)(const fa_layer *layer, const struct fa_run *run, fa_part part, fa_mat d,
                      fa_mat out, int worker);
    /* layers whose weights see patches: the part t of the gradient, g = alpha * sum.
     * NULL: left^T right. */
    void (*gradient)(const fa_layer *layer, const struct fa_run *run, fa_pair pair, fa_tile t,
                     fa_mat g, double alpha, int worker);
    /* The same as transport with another matrix of the shape of W^T, all columns at a time. NULL:
     * out = d b. */
    void (*carry)(const fa_layer *layer, const struct fa_run *run, fa_mat d, fa_mat b, fa_mat out,
                  int worker);
    /* Draws what it has beside weight and bias. */
    void (*draw)(const fa_net *net, const fa_layer *layer);
    /* FA_OVER_TIME: after a step of a stream, keeps its state; FA_E_VALUE where it cannot learn in a
     * stream. */
    void (*keep)(const fa_layer *layer, const struct fa_run *run);
    fa_status (*streams)(const fa_layer *layer);
} fa_layer_ops;

enum { /* where a rule's signal comes from */
       FA_FROM_ABOVE = 1,
       FA_FROM_ERROR = 2,
       FA_FROM_TARGET = 4,
       FA_NO_UPDATE = 8,
       FA_FROM_BELOW = 16,
       FA_FROM_INPUT = 32, /* a second pass over changed input */
       FA_FROM_SELF = 64   /* the error of the block's local head */
};
typedef struct fa_rule_ops {
    const char *name;
    const fa_option_row *options;
    unsigned sources;       /* they order the blocks; FA_NO_UPDATE: the layer does not train */
    bool no_sequences;      /* refuses networks with recurrent layers */
    bool no_pre;            /* refuses inject="pre", although it does not read from above */
    bool columns;           /* signal can compute some of the block's columns */
    const char *dense_only; /* why it refuses networks with windows (a chain rule: windows above) */
    bool product; /* signal is a product that ends with fa_signal_epilogue, or gathers (nnz) */
    /* Declares the feedback and the buffers of hidden block `block`; NULL: it has none. */
    fa_status (*plan)(fa_net *net, int block);
    void (*draw)(const fa_net *net, int block); /* other matrices than rule->feedback */
    size_t (*sampling)(const fa_rule *rule);    /* the doubles of workspace that it needs */
    /* S, the signal at the block's output, or a part of it, without 1/m and sample weights. */
    void (*signal)(const fa_rule *rule, const struct fa_run *run, int block, fa_part part, fa_mat s,
                   int worker);
    /* Computes D_l itself, without sample weights; f' and masks do not follow. NULL: from S. */
    void (*delta)(const struct fa_run *run, int block, fa_rows rows, fa_mat d);
    /* For reports, the matrix that carries the source to the block, and its number of rows. NULL or
     * 0 rows: it is rule->feedback. */
    int64_t (*rows)(const fa_net *net, int block);
    void (*matrix)(const fa_net *net, int block, void *out);
    /* Rows of a matrix that the rule makes from the weights before each step; NULL: none. */
    void (*step_feedback)(const fa_rule *rule, const fa_net *net, int block, uint64_t step,
                          fa_rows rows, fa_mat out);
    /* Once for each chunk, before its deltas: a second pass. workspace: the bytes that it needs in
     * every workspace; bind: sets them up when a run is bound to a workspace. */
    void (*before_deltas)(const struct fa_run *run, fa_rows rows, int worker);
    size_t (*workspace)(const fa_net *net, int64_t rows);
    void (*bind)(const struct fa_run *run);
    /* Once a step, on one thread, between the forward pass and the deltas of all rows. */
    fa_status (*after_forward)(struct fa_run *run);
} fa_rule_ops;

typedef struct fa_loss_ops {
    const char *name;
    const fa_option_row *options;
    int min_outputs;
    bool logits;        /* needs a linear output layer */
    bool accuracy_rows; /* row targets have an accuracy too */
    /* The kernel: error into e, row_loss, hit. options: of all rows. NULL: a function of the user,
     * see engine/own_loss.c */
    void (*error)(const fa_kernels *k, const fa_option *options, fa_mat e, double *row_loss,
                  double *hit, fa_mat z, const int64_t *labels, fa_mat y);
    /* turns logits into the values that predict returns, in place; NULL: they are the same */
    void (*link)(const fa_kernels *k, fa_mat z);
    /* NULL if a row of targets with these extremes and this sum is good; else what is expected. */
    const char *(*check_row)(double low, double high, double sum);
} fa_loss_ops;

static inline bool fa_has_own_loss(const fa_net *net) { return !net->loss->error; }

typedef int fa_optim_kernel(FA_STEP_PARAMETERS);
typedef struct fa_optim_ops {
    const char *name;
    const fa_option_row *options;
    bool decoupled_decay;                              /* AdamW, Lion */
    fa_status (*check)(const fa_optimizer_desc *desc); /* of options together; NULL: nothing */
    int (*slots)(const fa_optimizer_desc *desc);
    /* Sets the fields of h that are the same for every parameter, at step t = 1, 2, ... */
    void (*begin)(const fa_optimizer_desc *desc, uint64_t t, fa_hyper *h);
    fa_optim_kernel *(*kernel)(const fa_kernels *k, const fa_optimizer_desc *desc);
    bool in_place; /* without slots the product writes W itself: W = keep W - lr g */
} fa_optim_ops;

/* ---- registry.c ---- */

extern const fa_rule_ops fa_rule_backprop; /* what alignment compares the other rules with */
const fa_layer_ops *fa_find_layer(const char *name);
const fa_rule_ops *fa_find_rule(const char *name);
const fa_loss_ops *fa_find_loss(const char *name);
const fa_optim_ops *fa_find_optim(const char *name);
int fa_find_activation(const char *name); /* -1: unknown name */
unsigned fa_activation_flags(int activation);
const char *fa_activation_name(int activation);
const char *fa_activation_option(int activation); /* the layer's option that f depends on, or "" */

#endif

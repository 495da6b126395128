/* The network, and the functions that plan it and give it its first values. */
#ifndef FA_NETWORK_H
#define FA_NETWORK_H

#include "model/model.h"

/* One phase of a step: engine/step.c has the task of each kind. */
typedef enum fa_phase {
    FA_PHASE_ROWS,    /* forward pass, loss and deltas of a chunk */
    FA_PHASE_FORWARD, /* forward pass and loss */
    FA_PHASE_DELTAS,  /* after FA_PHASE_FORWARD */
    FA_PHASE_UPDATE,  /* gradient and optimizer step of a tile */
    FA_PHASE_NORM,    /* clipping: gradient and norm of a tile */
    FA_PHASE_APPLY,   /* after FA_PHASE_NORM: the optimizer step of a tile */
} fa_phase;

enum { FA_TUNER_TRIAL = 12 /* steps of each of two trials */ };
typedef struct fa_tuner { /* engine/thread_tuner.c */
    int step;
    bool shared;                        /* steps gain from more threads than one */
    double seconds[2 * FA_TUNER_TRIAL]; /* a row, in the last two trials */
} fa_tuner;

struct fa_net {
    union { /* its linear algebra, by member and as a whole */
        fa_linalg linalg;
        struct {
            const fa_kernels *k;
            const fa_blas *blas;
            size_t esize;
            fa_dtype dtype;
        };
    };
    fa_linalg bf16; /* that of large matrices, with compute "bfloat16" */
    int64_t n_in, n_out;
    uint64_t seed;
    double input_scale;
    atomic_int n_threads;   /* 0: the library's */
    struct fa_owned *owned; /* every block below, freed with the network */
    fa_net_desc desc;       /* a copy: what it points to belongs to the network */
    char *note;

    fa_layer *layers;
    int n_layers;
    fa_block *blocks;
    int n_blocks;
    int *order; /* hidden blocks, each after the blocks whose deltas it reads */
    fa_param *params;
    int n_params;
    const struct fa_loss_ops *loss;
    int (*own_loss)(void *user, const fa_loss_context *t); /* of loss "custom", or NULL */
    void *own_loss_user;
    fa_optim optim;
    /* The rule, if any, that runs before the deltas of a chunk, and between the forward pass and
     * all deltas. */
    const struct fa_rule_ops *chunk_rule, *barrier_rule;

    int n_buffers;
    struct fa_buffer_shape {
        int64_t cols;
        size_t size;
        ptrdiff_t ld;
        bool predicts; /* predicting and evaluating use it too */
    } *buffers;
    fa_tile_task *tiles;
    int64_t n_tiles;
    fa_tile_task *serial_tiles; /* larger ones, for one thread */
    int64_t n_serial_tiles;
    fa_column_item *column_items; /* each thread runs all of them, on its own columns */
    int64_t n_column_items;
    fa_feedback_task *feedback_tasks; /* rows of per-step feedback, made before the batch's rows */
    int64_t n_feedback_tasks;
    fa_phase phases[FA_MAX_PHASES];
    int n_phases;
    size_t scratch_size;            /* bytes that each worker needs */
    int64_t tile_cols;              /* of the widest tile */
    double work_per_row, n_weights; /* multiply-adds of a step; of all layers */
    size_t window_size; /* bytes of patches that each worker needs, when predicting too */
    bool has_windows;   /* layers that take patches of maps: only whole rows are divided */

    int64_t *shuffled, n_shuffled; /* fa_train_epoch: the order of its samples, their number */
    bool recurrent;                /* samples are sequences */
    bool has_row_params;
    bool defers; /* the update may wait for the next forward pass: products write all parameters */
    bool clips;  /* computed once: a step would read a subnormal clip_norm as 0 */
    atomic_bool suspect; /* an optimizer, a file or the caller may have written a number that is not
                            finite */
    double *sampling_workspace; /* for feedback that is not drawn element by element */
    char *state;
    size_t state_size;
    fa_lock lock;
    fa_tuner tuner;
    _Atomic(struct fa_work *) idle_work[FA_SLOTS];
    _Atomic size_t batch_bytes; /* of the workspace of the last fa_train_batch */
    atomic_llong count_forward, count_transport, count_feedback, count_outer;
};

/* ---- network.c ---- */

/* A planned network whose state is all zeros. fits(context, net): called before memory for the
 * state is allocated; NULL: none. fresh: the description comes from no file or network. */
typedef fa_status fa_fits(const void *context, const fa_net *net);
fa_status fa_net_new(fa_net **net, const fa_net_desc *desc, fa_fits *fits, const void *context,
                     bool fresh);
/* Memory that lives as long as the network, zeroed; NULL if there is none left. */
void *fa_net_alloc(fa_net *net, int64_t n, size_t size);
bool fa_net_owns(const fa_net *net, const void *memory); /* an address that fa_net_alloc gave */
fa_status fa_copy_note(char **copy, const char *note);   /* NULL for none */
static inline fa_lock *fa_lock_of(const fa_net *net) { return net ? (fa_lock *)&net->lock : NULL; }
static inline fa_state *fa_state_of(const fa_net *net) { return (fa_state *)net->state; }

/* ---- plan.c ---- */

fa_status fa_plan_network(fa_net *net, const fa_net_desc *desc, fa_fits *fits, const void *context,
                          bool fresh);
fa_status fa_own_values(fa_net *net, fa_init *init); /* `init` points to the network's copy then */

/* ---- state.c ---- */

/* The limit of counters: a file and an int64_t can hold more, and t + 1 is never 0. */
#define FA_MAX_COUNT ((uint64_t)1 << 62)
fa_status fa_check_state(const fa_state *state); /* the counters and lr of a file or a caller */
/* Looks at every parameter, feedback matrix and slot: FA_E_NONFINITE names the first that is not
 * finite. */
fa_status fa_check_tensors(const fa_net *net);
/* Whether a matrix has a number that is not finite, and where the first is. */
bool fa_find_nonfinite(const fa_net *net, const void *p, ptrdiff_t ld, int64_t rows, int64_t cols,
                       int64_t *row, int64_t *col);
double fa_value_at(const fa_net *net, const void *p, int64_t i);
double fa_value_shown(double value);  /* in messages: NaN without its sign */
double fa_largest(const fa_net *net); /* the largest finite number of the network's dtype */
static inline int64_t fa_n_classes(const fa_net *net) { return net->n_out > 1 ? net->n_out : 2; }
static inline bool fa_label_fits(const fa_net *net, int64_t label)
{ return label >= 0 && label < fa_n_classes(net); }

/* ---- init.c, feedback_init.c ---- */

/* Draws p, or copies given values; `fallback` is the initialiser without a name. */
void fa_draw_param(const fa_net *net, fa_param *p, const fa_init *init, const char *fallback,
                   const fa_layer *layer, int purpose);
fa_status fa_init_check(const fa_init *init, const char *what, int layer, int64_t rows,
                        int64_t cols);
void fa_draw_state(fa_net *net);
/* Half the range of an initialiser; or, if it sets *normal, its standard deviation. */
double fa_init_size(bool *normal, const char *name, double scale, int64_t n_in, int64_t n_out);
const char *fa_init_intern(const char *name); /* our copy of a checked name */
const char *fa_init_name(int i);
const char *fa_distribution_name(int i);

#endif

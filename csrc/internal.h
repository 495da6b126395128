/* What the engine's files share. Not installed.
 *
 *   fa_net ─┬─ layers[]   Dense, Dropout, ... in order, each behind fa_layer_ops
 *           ├─ blocks[]   a Dense and its followers; each with the fa_rule that teaches it
 *           ├─ params[]   everything learnable and all feedback, with optimizer slots, in the STATE arena
 *           ├─ loss       fa_loss_ops        ├─ optim      fa_optim_ops
 *           ├─ tiles[]    the update's tasks  └─ phases[]  what a step does, one barrier after each
 *
 *   STATE   one block that never moves: header | parameters and feedback | slots
 *   WORK    one block per call in flight: row buffers | targets, losses | scratch and packing buffer of each worker
 *
 * Layers, losses, rules and optimizers are found by name in the tables of tables.c; the engine knows
 * their ops and nothing else about them. */
#ifndef FA_INTERNAL_H
#define FA_INTERNAL_H

#include "blas.h"
#include "fastfa.h"
#include "kernels/kernels.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* ---- status (status.c) ---- */

/* Records the message and returns the status, for `return fa_fail(FA_E_VALUE, "units: ...")`. */
fa_status fa_fail(fa_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "where: " before the message of a failure. */
fa_status fa_fail_in(fa_status status, const char *where);

/* Tells the caller's log hook, if there is one; on the caller's thread serial_tiles. */
void fa_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Refuses NULL for a pointer that the caller must give, by its name. */
#define FA_REQUIRE(pointer)                                                                        \
    do {                                                                                           \
        if (!(pointer)) return fa_fail(FA_E_VALUE, #pointer ": expected a pointer, got NULL");     \
    } while (0)

#define FA_TRY(call)                                                                               \
    do {                                                                                           \
        fa_status status_ = (call);                                                                \
        if (status_ != FA_OK) return status_;                                                      \
    } while (0)

/* Repeats a system call while signals interrupt it; needs errno.h. The number of tries is limited, so that it ends even
 * if a signal interrupts each of them. */
#define FA_AGAIN(result, call)                                                                     \
    do {                                                                                           \
        int tries_ = 0;                                                                            \
        do (result) = (call);                                                                      \
        while ((result) < 0 && errno == EINTR && ++tries_ < 1000);                                 \
    } while (0)

/* ---- the process (library.c) ---- */

/* Whether the process has more rights than the user who started it (set-uid, capabilities): then that user's
 * environment is ignored. */
bool fa_privileged(void);
/* A variable of the environment, unless privileged; NULL without one. */
const char *fa_environment(const char *name);

/* Lets the calling thread run on every processor of the process, also if the thread that made it was bound to one. */
void fa_use_process_affinity(void);
/* The smallest CPU quota in overflow processors (quota.c); 0: none. The files are /proc/self/cgroup and below
 * /sys/fs/cgroup. */
int fa_quota(const char *groups, const char *mounts);

/* A thread that is cancelled ends after the call of the library: between off and back, callbacks and system calls do
 * not end it. back takes what off returned. A call that holds nothing any more may end it (fa_fp_end, fa_save), so that a
 * loop of calls can be cancelled. */
static inline int fa_cancel_off(void)
{
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}
static inline void fa_cancel_back(int before) { pthread_setcancelstate(before, NULL); }

/* ---- memory (memory.c) ---- */

/* Zeroed, aligned to 64 bytes, large blocks to huge pages; NULL when out. */
void *fa_alloc(size_t size);
void fa_free(void *memory);
/* *bytes += a * b * size rounded up to 64; false on overflow. */
bool fa_add_bytes(size_t *bytes, int64_t a, int64_t b, size_t size);

/* ---- processor (cpu.c) ---- */

fa_status fa_cpu_check(void); /* this processor will do, and so does FASTFA_CPU */
const fa_kernels *fa_kernels_for(fa_dtype dtype);
const char *fa_isa_name(void);
bool fa_isa_prefers_blas(void);
/* Inside a call numbers are rounded to nearest and nothing traps, whatever the caller's mode is; the end of the call
 * restores the caller's mode and flags. flush: denormals count as zero, as kernels need; else they keep their value. */
typedef struct fa_fp {
    unsigned mode; /* the mode that a nested call restores */
    bool outermost, flush;
} fa_fp;
fa_fp fa_fp_begin(bool flush);
void fa_fp_end(const fa_fp *fp);
/* The same until the function returns, by any return: the first line of every call that computes. */
#define FA_FIXED_FP(flush)                                                                         \
    __attribute__((cleanup(fa_fp_end), unused)) const fa_fp fixed_fp_ = fa_fp_begin(flush)
/* Restores the caller's mode before a callback, and ours after it: resume takes what pause returned. Changes that the
 * callback makes to the mode and the flags are kept. */
unsigned fa_fp_pause(void);
void fa_fp_resume(unsigned ours);

/* ---- pool (pool.c) ---- */

typedef void fa_task_fn(void *context, int64_t task, int worker);
/* Runs tasks 0..n_tasks-1 on up to n_threads threads, the caller's being worker 0; returns when all are
 * done. A busy pool, or a call from inside a worker: the caller runs them all itself. */
void fa_parallel_for(int n_threads, int64_t n_tasks, fa_task_fn *task, void *context);
unsigned fa_fork_generation(void); /* how many forks lie between this process and the first */
enum {
    FA_MAX_THREADS = 64,
    FA_CHUNK = 256,        /* batch rows that a layer or rule is given at a time, at most */
    FA_BLAS_CHUNK = 32,    /* always so many, with BLAS */
    FA_TILE_AREA = 16384,  /* entries of a gradient that waits for the optimizer in cache */
    FA_PREDICT_CHUNK = 64, /* of a task that only predicts */
};

/* ---- random numbers (rng.c) ---- */

enum {
    FA_RNG_WEIGHT = 1,
    FA_RNG_BIAS,
    FA_RNG_FEEDBACK,
    FA_RNG_DROPOUT,
    FA_RNG_SHUFFLE,
    FA_RNG_PROJECTION,
    FA_RNG_SPARSITY
};
typedef struct fa_stream {
    uint32_t key[2], c2, c3;
} fa_stream;
fa_stream fa_rng_stream(uint64_t seed, int purpose, int ordinal, uint64_t step);
/* Elements first .. first + n - 1 of a stream; uniform within +-limit. */
void fa_rng_uniform(void *out, fa_dtype dtype, int64_t first, int64_t n, double limit,
                    fa_stream stream);
void fa_rng_normal(void *out, fa_dtype dtype, int64_t first, int64_t n, double std,
                   fa_stream stream);
void fa_rng_permutation(int64_t *order, int64_t n, fa_stream stream);

/* ---- column_items of a network ---- */

typedef struct fa_mat { /* rows x cols elements of the network's dtype */
    char *p;
    ptrdiff_t ld;
    int64_t rows, cols;
} fa_mat;
typedef struct fa_rows {
    int64_t r0, r1;
} fa_rows; /* half-open */
typedef struct fa_part {
    fa_rows rows;
    int64_t c0, c1;
} fa_part; /* rows of the batch, columns of a layer's output */
typedef struct fa_tile {
    int64_t i0, i1, j0, j1;
} fa_tile;
typedef int32_t fa_buf; /* a row buffer declared while planning; a plan holds ids, never pointers */
enum { FA_NO_BUF = -2, FA_ONES = -1, FA_INPUT = 0, FA_TARGET = 1, FA_MAX_PAIRS = 2 };

typedef struct fa_pair {
    fa_buf left, right;
} fa_pair; /* adds left^T right to a gradient */

typedef struct fa_param { /* weights, biases and feedback, learned or not */
    char key[32];
    fa_tensor_kind kind;
    int64_t rows, cols;
    void *value, *slot[2]; /* in the STATE arena */
    fa_pair grad[FA_MAX_PAIRS];
    int n_grad;
    double lr_scale;
    double
        feedback_decay; /* the share of itself lost in a step, apart from the optimizer's decay */
    bool decays, trainable;
    bool in_place;            /* the product writes the parameter itself */
    struct fa_param *coupled; /* receives every step transposed, and forgets as this one does */
} fa_param;

typedef struct fa_layer {
    const struct fa_layer_ops *ops;
    fa_layer_desc desc;
    int index, ordinal; /* in the layer list; of the weighted layers */
    int64_t n_in, n_out;
    int activation;
    fa_param *weight, *bias; /* NULL where it has none */
    fa_buf in, out, preact;
    fa_buf keep; /* dropout: the mask, bytes */
} fa_layer;

typedef struct fa_rule {
    const struct fa_rule_ops *ops;
    fa_rule_desc desc;
    unsigned sources; /* those of ops, unless plan knows better */
    bool pre;
    bool fuses_relu_backward; /* signal gives D_l: its product multiplies by f' too */
    fa_param *feedback;       /* NULL without a stored matrix */
    fa_param *project; /* the left factor where feedback is the right one; NULL: it is overflow */
    /* The source times the left factor, or a head's error: weighted like a delta. */
    fa_buf projected;
    /* local: a prediction from the block's output; its error is `projected`. */
    fa_param *head, *head_bias;
    fa_buf residual;      /* ldfa that learns P: d P P^T - d */
    fa_buf signal_buffer; /* where the caller's function leaves S_l */
    /* Of the n_l columns wide matrix that ops->step_feedback makes each step; 0: none. */
    int64_t step_feedback_rows;
    /* Entries of each column of feedback that are not 0, where so few that a step takes them one by one;
     * 0: feedback is multiplied as it is. */
    int64_t nnz;
} fa_rule;

typedef struct fa_block { /* layers[first] is weighted, first + 1 .. last follow it */
    int first, last;
    fa_layer *layer;
    fa_rule rule;
    fa_buf delta;
    bool needs_delta;
} fa_block;

typedef struct fa_optim {
    const struct fa_optim_ops *ops;
    fa_optimizer_desc desc;
    int n_slots; /* computed once: steps would take a subnormal momentum for 0 */
} fa_optim;

typedef struct fa_tile_task {
    int32_t param;
    fa_tile tile;
} fa_tile_task;
/* Of a parameter: some rows, and of a thread's columns, whichever they are, part `part` of `parts`. */
typedef struct fa_column_item {
    int32_t param, part, parts;
    fa_rows rows;
} fa_column_item;
typedef struct fa_feedback_task {
    int32_t block;
    fa_rows rows;
} fa_feedback_task;

typedef struct fa_state { /* the head of the STATE arena */
    _Atomic uint64_t steps,
        epochs; /* written under the lock, read without: a step can be watched */
    _Atomic double lr;
} fa_state;

/* The limit of counters: well below what a file and an int64_t can hold, and below where t + 1 would be 0. */
#define FA_MAX_COUNT ((uint64_t)1 << 62)
fa_status fa_check_state(const fa_state *state); /* FA_E_VALUE; what files and callers may set */
/* FA_E_STATE if this many more steps or epochs would pass the limit; call it under the lock. */
fa_status fa_check_counts(const fa_net *net, int64_t steps, int64_t epochs);

typedef struct fa_lock {
    pthread_rwlock_t rw; /* held for a step, or to read */
    /* Writers one after the other, as they came: one that makes many steps lets readers in between. */
    atomic_uint tickets, served;
    pthread_mutex_t mutex;
    pthread_cond_t next;
    atomic_int waiting; /* readers */
    _Atomic(pthread_t) writer;
    atomic_uint generation; /* of forks, when rw was made */
    atomic_bool writing, broken;
} fa_lock;

enum { FA_TUNER_TRIAL = 12 /* steps of each of two trials: tuner.c */ };
typedef struct fa_tuner {
    int step;
    bool shared;                        /* steps are worth more threads than one */
    double seconds[2 * FA_TUNER_TRIAL]; /* a row, of the last two trials */
} fa_tuner;

enum { FA_MAX_LAYERS = 4096, FA_MAX_NOTE = 1 << 20 };
enum { FA_MAX_PHASES = 4, FA_SLOTS = 3 /* of idle workspaces: work.c */ };
struct fa_run;

struct fa_net {
    fa_dtype dtype;
    size_t esize; /* bytes of an element */
    const fa_kernels *k;
    const fa_blas *blas; /* NULL: own products only */
    int64_t n_in, n_out;
    uint64_t seed;
    double input_scale;
    atomic_int n_threads;   /* 0: the library's */
    struct fa_owned *owned; /* every block below, freed with the network */
    fa_net_desc desc;       /* as it was given; what it points to is the network's */
    char *note;

    fa_layer *layers;
    int n_layers;
    fa_block *blocks;
    int n_blocks;
    int *order; /* hidden blocks, sources first */
    fa_param *params;
    int n_params;
    fa_param *modulation; /* pepita: "input.feedback", described by the rule of block `modulator` */
    int modulator;
    const struct fa_loss_ops *loss;
    fa_optim optim;

    int n_buffers;
    struct fa_buffer_shape {
        int64_t cols;
        size_t size;
        ptrdiff_t ld;
        bool predicts; /* predicting and evaluating use it too */
    } *buffers;
    fa_buf *second; /* what a buffer is in the second pass; itself where both passes share it */
    fa_tile_task *tiles;
    int64_t n_tiles;
    fa_tile_task *serial_tiles; /* for one thread, which has nobody to share with */
    int64_t n_serial_tiles;
    fa_column_item *column_items; /* for threads that have columns: a tile for each thread */
    int64_t n_column_items;
    /* Rows of matrices that rules make from the weights, before the batch's rows. */
    fa_feedback_task *feedback_tasks;
    int64_t n_feedback_tasks;
    struct fa_phase {
        fa_task_fn *task;
        bool over_rows;
        fa_status (*at_barrier)(struct fa_run *);
    } phases[FA_MAX_PHASES];
    int n_phases;
    size_t scratch_size; /* bytes a worker needs */
    int64_t tile_cols;   /* of the widest tile */
    double work_per_row; /* multiply-adds of a step */
    double n_weights;    /* of all layers */

    int64_t *shuffled; /* fa_train_epoch: the order of its samples, n_shuffled of them */
    int64_t n_shuffled;
    bool defers; /* an update may wait for the next forward: the product writes all that trains */
    bool clips;  /* computed once: steps would take a subnormal clip_norm for 0 */
    bool has_local_head;  /* some rule trains a head */
    bool has_custom_rule; /* some rule is a function of the caller's */
    atomic_bool
        suspect; /* an optimizer, a file or the caller may have written what is not finite */
    double *sampling_workspace; /* for feedback that is not drawn element by element */
    char *state;
    size_t state_size;
    fa_lock lock;
    fa_tuner tuner;
    _Atomic(struct fa_work *) idle_work[FA_SLOTS];
    _Atomic size_t batch_bytes; /* of the workspace of the last fa_train_batch */
    atomic_llong count_forward, count_transport, count_feedback, count_outer;
};

/* ---- a call in flight ---- */

typedef enum fa_mode { FA_TRAIN, FA_GRADIENTS, FA_PROBE, FA_PREDICT, FA_EVALUATE } fa_mode;

typedef struct fa_work { /* one block: this head, then what it points to */
    size_t size;
    bool idle;    /* between two calls, so it is kept after the next one too */
    int64_t rows; /* capacity of each row buffer */
    int copies, threads;
    size_t *offset; /* of each row buffer in a copy */
    char *buffers;
    size_t copy_size;
    fa_mat *buf;    /* copies x n_buffers: what a run in this copy sees */
    fa_mat *second; /* n_buffers: what the second pass sees */
    /* copies x rows: checked as they are read, so that nobody can change them after. */
    int64_t *labels;
    atomic_bool bad_label;
    atomic_bool nonfinite; /* a product with weights, biases or learned feedback was not finite */
    double *weights, *row_loss, *row_hit;
    double *second_loss, *second_hit;
    fa_hyper *hyper; /* one per parameter */
    char *scratch,
        *pack_caches; /* of each worker; pack_caches: fa_pack_cache, if products pack, or NULL */
    size_t pack_cache_size; /* of one of them, and what of it is its packing buffer */
    size_t packing_bytes;
    uint64_t steps; /* so many have begun */
    struct fa_step_feedback {
        fa_mat matrix;   /* of each block, what its rule made of the weights for this step */
        void *row_index; /* or the nnz entries of its feedback: their rows, */
        bool overflow;   /* unless somebody wrote more of them */
    } *step_feedback;
    double *tile_norm; /* clipping: sum of squares of each tile, and the gradients themselves */
    void **grads;
} fa_work;

typedef struct fa_run {
    const fa_net *net;
    fa_work *work;
    fa_mode mode;
    bool exact;             /* teach every hidden block by backprop: the reference of alignment */
    bool skip_finite_check; /* this run does not check whether weights are finite */
    bool
        x_unchecked; /* nobody has looked at the values of X: the first phase does, chunk by chunk */
    fa_samples data;
    const int64_t *index; /* row r of the batch is sample index[r]; NULL: sample r */
    int64_t m, chunk;
    bool shared; /* between threads */
    uint64_t step;
    double lr;
    void *const *grads; /* where gradients go, one per parameter; NULL entries are skipped */
    /* Batch 1: the sample before, whose update is still to be made; forward makes it on its way over W. */
    const struct fa_run *pending;
    uint64_t serial; /* of the steps with this work: what one has packed is not for another */
    /* set by fa_run_bind */
    fa_mat *buf;
    int64_t *labels;       /* of the batch, our copy; NULL with row targets */
    const double *weights; /* likewise; NULL: ones */
    double *row_loss, *row_hit;
    /* results */
    double loss, hits, clip_scale;
} fa_run;

static inline fa_mat fa_rows_of(fa_mat a, fa_rows r, size_t esize)
{ return (fa_mat){a.p + (size_t)(r.r0 * a.ld) * esize, a.ld, r.r1 - r.r0, a.cols}; }
/* Rows r of buffer b of this run. */
static inline fa_mat fa_get(const fa_run *run, fa_buf b, fa_rows r)
{ return fa_rows_of(run->buf[b], r, run->net->buffers[b].size); }
static inline fa_part fa_all_columns(fa_rows rows, int64_t cols)
{ return (fa_part){rows, 0, cols}; }
static inline fa_mat fa_columns_of(fa_mat a, int64_t c0, int64_t c1, size_t esize)
{ return (fa_mat){a.p + (size_t)c0 * esize, a.ld, a.rows, c1 - c0}; }
static inline fa_mat fa_get_part(const fa_run *run, fa_buf b, fa_part part)
{
    const size_t esize = run->net->buffers[b].size;
    return fa_columns_of(fa_get(run, b, part.rows), part.c0, part.c1, esize);
}
static inline bool fa_is_first(fa_part part) { return part.rows.r0 == 0 && part.c0 == 0; }
static inline void *fa_scratch(const fa_run *run, int worker)
{ return run->work->scratch + (size_t)worker * run->net->scratch_size; }

/* Where products with what learns report what is not finite. */
static inline atomic_bool *fa_nonfinite_flag(const fa_run *run)
{ return run->skip_finite_check ? NULL : &run->work->nonfinite; }

/* A worker's packing buffer, and what an update has left in it: columns j0 .. j1 of one of the run's buffers */
typedef struct fa_pack_cache {
    fa_packed_b right;
    uint64_t run;
    int64_t j0, j1;
    fa_buf buf;
    _Alignas(64) char bytes[];
} fa_pack_cache;
static inline fa_pack_cache *fa_pack_cache_of(const fa_run *run, int worker)
{
    const fa_work *work = run->work;
    return work->pack_caches
               ? (fa_pack_cache *)(work->pack_caches + (size_t)worker * work->pack_cache_size)
               : NULL;
}
/* The packing buffer of a worker for one product; its old contents are lost. */
static inline fa_packed_b fa_packing_buffer(const fa_run *run, int worker)
{
    fa_pack_cache *cache = fa_pack_cache_of(run, worker);
    if (!cache) return (fa_packed_b){0};
    cache->buf = FA_NO_BUF;
    return (fa_packed_b){.buffer = cache->bytes, .bytes = run->work->packing_bytes};
}

/* ---- products (product.c): one door to BLAS and to our own kernels ---- */

/* C = A B, then the epilogue, if it is not NULL; `right` is that of gemm: fa_packing_buffer, or NULL, without speed. */
void fa_matmul(const fa_net *net, fa_mat c, fa_mat a, fa_mat b, const fa_epilogue *epilogue,
               fa_packed_b *right);
/* C = alpha A^T B + beta C; `right` likewise. */
void fa_matmul_tn(const fa_net *net, fa_mat c, fa_mat a, fa_mat b, double alpha, double beta,
                  fa_packed_b *right);
/* C = A B^T of a run, through transposed panels of B in the worker's scratch, which fa_matmul_nt_scratch planned. */
void fa_matmul_nt(const fa_run *run, fa_mat c, fa_mat a, fa_mat b, int worker);
size_t fa_matmul_nt_scratch(const fa_net *net, int64_t k);
/* The size of a worker's packing buffer, for batches of this many rows; 0 where products do not pack. */
size_t fa_packing_bytes(const fa_net *net, int64_t rows, bool training);

/* ---- the four interfaces, each one file and one row in tables.c per thing that implements it ---- */

enum { FA_WEIGHTED = 1, FA_TRAIN_ONLY = 2 /* the identity when predicting */ };
typedef struct fa_layer_ops {
    const char *name;
    unsigned flags;
    /* Checks the description and declares what it needs; layer->n_in and ->in are set, sets n_out, out. */
    fa_status (*plan)(fa_net *net, fa_layer *layer);
    bool columns; /* forward can do with some columns of the output */
    void (*forward)(const fa_layer *layer, const fa_run *run, fa_part part, int worker);
    /* d: signal at the layer's output -> at its input (coupled) or pre-activation (weighted), in place.
     * exact false (inject="pre"): only 0/1 masks apply. */
    void (*backward)(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d, bool exact);
    /* weighted: out = d W^T, a part of the exact signal below */
    void (*transport)(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d, fa_mat out,
                      int worker);
} fa_layer_ops;

enum {
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
    bool columns;     /* signal can do with some columns of the block */
    /* signal is a product that ends with fa_signal_epilogue, unless entries are nnz. */
    bool product;
    /* Declares the feedback of hidden block `block`; NULL where there is none. */
    fa_status (*plan)(fa_net *net, int block);
    /* A part of S of the block's output for each sample, without 1/m and without sample weights. */
    void (*signal)(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                   int worker);
    /* D_l itself (still without sample weights) in place of S: no f', no masks follow. NULL: as S says. */
    void (*delta)(const fa_run *run, int block, fa_rows rows, fa_mat d);
    /* out (rows of the source x n_l) = what carries the source to the block; NULL: the stored matrix. */
    void (*matrix)(const fa_net *net, int block, void *out);
    /* Rows of the matrix that a rule makes from the weights before each step; NULL: none. */
    void (*step_feedback)(const fa_rule *rule, const fa_net *net, int block, uint64_t step,
                          fa_rows rows, fa_mat out);
} fa_rule_ops;

typedef struct fa_loss_ops {
    const char *name;
    int min_outputs;
    bool logits;        /* needs a linear output layer */
    bool accuracy_rows; /* row targets have an accuracy too */
    /* The kernel: error into e, row_loss, hit. */
    void (*error)(const fa_kernels *k, fa_mat e, double *row_loss, double *hit, fa_mat z,
                  const int64_t *labels, fa_mat y);
    /* logits to what predict returns, in place; NULL: as they are */
    void (*link)(const fa_kernels *k, fa_mat z);
    /* What a finite row of targets with these extremes and sum should have been; NULL: it is fine. */
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

extern const fa_layer_ops *const fa_layer_table[];
extern const fa_rule_ops *const fa_rule_table[];
extern const fa_loss_ops *const fa_loss_table[];
extern const fa_optim_ops *const fa_optim_table[];
extern const fa_rule_ops
    fa_rule_backprop; /* the reference of alignment, and what passes through frozen */

/* S_l = d_{l+1} B_l with the stored or step_feedback matrix; S_l = e B_l */
void fa_chain_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                     int worker);
void fa_broadcast_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                         int worker);

const fa_layer_ops *fa_find_layer(const char *name);
const fa_rule_ops *fa_find_rule(const char *name);
const fa_loss_ops *fa_find_loss(const char *name);
const fa_optim_ops *fa_find_optim(const char *name);
int fa_find_activation(const char *name); /* -1 if there is none */
unsigned fa_activation_flags(int activation);
const char *fa_activation_name(int activation);

/* ---- planning (plan.c): called by the ops' plan functions while a network is created ---- */

/* A row buffer of cols elements of `size` bytes. */
fa_buf fa_plan_buffer(fa_net *net, int64_t cols, size_t size);
fa_param *fa_plan_param(fa_net *net, const char *name, int layer, fa_tensor_kind kind, int64_t rows,
                        int64_t cols);
/* Lets a parameter learn, like a weight, from left^T right. */
void fa_plan_trained(fa_net *net, fa_param *p, fa_buf left, fa_buf right);
/* The matrix that carries the source is made by ops->matrix, not stored overflow. */
static inline bool fa_makes_matrix(const fa_rule *rule)
{
    return rule->ops && rule->ops->matrix &&
           (!rule->feedback || rule->step_feedback_rows || rule->project);
}
/* The stored feedback of a hidden block, checked: "l.feedback", source x n_l. */
fa_status fa_plan_feedback(fa_net *net, int block, int64_t source);
/* The same where nothing learns it, and fa_feedback_product is all that reads it. */
fa_status fa_plan_fixed_feedback(fa_net *net, int block, int64_t source);
void fa_plan_scratch(fa_net *net, size_t bytes);
/* From a file: only what its tensors give values for. fresh: the description comes from no file or network. */
struct fa_file;
fa_status fa_plan_network(fa_net *net, const fa_net_desc *theirs, const struct fa_file *file,
                          bool fresh);
/* A planned network whose state is all zeros. */
fa_status fa_net_new(fa_net **net, const fa_net_desc *desc, const struct fa_file *file, bool fresh);
bool fa_net_owns(const fa_net *net, const void *memory); /* an address that fa_net_alloc gave */
fa_status fa_choose_matmul(fa_net *net);                 /* product.c: FASTFA_GEMM */
/* Memory that lives as long as the network; NULL when out. */
void *fa_net_alloc(fa_net *net, int64_t n, size_t size);

/* The order of the next epoch, which begins. The caller holds the write lock. */
void fa_next_order(int64_t *order, fa_net *net, int64_t n);

/* ---- initial values (init.c) ---- */

fa_status fa_init_check(const fa_init *init, const char *what, int layer, int64_t rows,
                        int64_t cols);
void fa_draw_state(fa_net *net);
/* Half the range of an initialiser, or where *normal its standard deviation. */
double fa_init_size(bool *normal, const char *name, double scale, int64_t n_in, int64_t n_out);

/* ---- feedback (feedback.c) ---- */

fa_status fa_feedback_check(const fa_net *net, int block, int64_t rows, int64_t cols);
fa_status fa_plan_drawing(fa_net *net);
void fa_draw_feedback(const fa_net *net, int block);
void fa_draw_modulation(const fa_net *net);
/* Entries of a column that a sparse draw keeps, where they are nnz and not multiplied; else 0. */
int64_t fa_feedback_nnz(const fa_net *net, int block, int64_t rows);
bool fa_feedback_is_plain(const fa_rule *rule); /* drawn element by element */
/* Rows of such a matrix, as drawn at a step. */
void fa_draw_feedback_rows(const fa_net *net, int block, uint64_t step, fa_rows rows, fa_mat out);
/* What the last product of a signal ends with: f', where the rule does it at once. */
fa_epilogue fa_signal_epilogue(const fa_run *run, int block, fa_part part);
/* S = source B with the stored or step_feedback matrix of the block; a sparse one is not multiplied but nnz. */
void fa_feedback_product(const fa_run *run, int block, fa_part part, fa_mat source, fa_mat s,
                         int worker);
/* Makes what a step reads of a block's feedback, for rows of it. */
void fa_make_step_feedback(const fa_run *run, int block, fa_rows rows);
const char *fa_init_intern(const char *name); /* our copy of a checked name */
const char *fa_distribution_intern(const char *name);
const char *fa_init_name(int i);
const char *fa_distribution_name(int i);

/* ---- workspaces (work.c) ---- */

/* Slots keep one idle block each: 0 for what needs deltas, 1 for predicting, 2 for the second of two
 * samples in flight. NULL: out of memory. A call that trains keeps its block; another gives back one that it had to
 * make, where that is larger than the workspace of fa_train_batch and than the network's state. */
fa_work *fa_work_acquire(const fa_net *net, int slot, int64_t rows, int copies, int threads,
                         bool trains);
void fa_work_release(const fa_net *net, int slot, fa_work *work, bool trains);
/* A block of the caller's own; training: with what only a step needs. Freed by fa_free. */
fa_work *fa_work_create(const fa_net *net, bool training, int64_t rows, int copies, int threads);
/* Points the run's buffers at copy `copy` of its workspace, or at the user's arrays where they serve. */
void fa_run_bind(fa_run *run, int copy);
/* A bound run that predicts one sample: another sample, another output. */
void fa_run_set_sample(fa_run *run, const void *x, void *out);

/* ---- tuner.c ---- */

double fa_seconds(void); /* seconds */
/* Threads that a call on so many rows may use: those that are worth their hand-overs where these are fast. */
int fa_run_threads(const fa_net *net, int64_t rows);
/* A training step on one thread or on all of them. */
fa_status fa_tuner_step(fa_run *run, int threads, fa_status (*step)(fa_run *run, int threads));

/* ---- run.c ---- */

/* One step through the phases that the run's mode asks for. The run's net, work, mode, data, index, m,
 * step, lr and grads are set. */
fa_status fa_run_step(fa_run *run);
/* One sample up to its deltas, on this thread; its update is left to the next one's forward, or to flush. */
fa_status fa_run_deferred(fa_run *run);
void fa_run_flush(fa_run *run);
/* How a parameter's gradient enters it in place: value = beta * value + alpha * (sum over pairs). */
typedef struct fa_update_scale {
    double alpha, beta;
} fa_update_scale;
fa_update_scale fa_in_place_scale(const fa_run *run, const fa_param *p);
void fa_load_batch(const fa_run *run, fa_rows rows);          /* input, targets and labels */
void fa_forward(const fa_run *run, fa_rows rows, int worker); /* that, and all layers */
void fa_forward_layers(const fa_run *run, fa_rows rows, int worker);
/* rule_pepita.c: the same rows once more, the error fed into the input. */
void fa_second_pass(const fa_run *run, fa_rows rows, int worker);
void fa_output_error(const fa_run *run, fa_rows rows);
void fa_loss_and_error(const fa_run *run,
                       fa_rows rows); /* the error, and whether the input was finite */
bool fa_needs_delta(const fa_run *run, int b);
void fa_compute_delta(const fa_run *run, int b, fa_part part, int worker);
/* Sample weights enter here, once for every rule; 1/m is in the factor of the update. */
void fa_weight_rows(const fa_run *run, fa_rows rows);
fa_rows fa_chunk_of(const fa_run *run, int64_t task);
void fa_count(const fa_run *run, const atomic_llong *counter, bool first);

void fa_update(const fa_run *run, int param, fa_tile t, int worker); /* a tile: gradient and step */
extern fa_task_fn fa_step_feedback_task, fa_rows_task, fa_forward_task, fa_delta_task,
    fa_update_task, fa_norm_task, fa_apply_task;
fa_status fa_check_loss(fa_run *run);
fa_status fa_check_norm(fa_run *run);
fa_status fa_custom_signals(fa_run *run); /* rule_host.c: loss, then the caller's functions */

/* ---- columns.c ---- */

/* Column i of `parts` of about the same width, i = 0 .. parts, on a line of the cache. */
int64_t fa_partition(int64_t cols, int64_t i, int64_t parts);
int64_t fa_partition_width(int64_t cols, int64_t parts); /* at most */
/* Whether threads should have columns of each layer, not rows of the batch; and the rows' phase so. */
bool fa_by_columns(const fa_run *run, int threads);
void fa_run_columns(const fa_run *run, int threads);
void fa_update_columns(const fa_run *run, int threads);

/* ---- locking (lock.c) ---- */

fa_status fa_lock_init(fa_lock *lock);
void fa_lock_destroy(fa_lock *lock);
fa_status fa_lock_read(const fa_net *net);
fa_status fa_lock_write(const fa_net *net);
void fa_unlock_read(const fa_net *net);
void fa_unlock_write(const fa_net *net);
/* A writer between two steps: readers may come in until it resumes, other writers may not. */
bool fa_lock_readers_wait(const fa_net *net);
void fa_lock_pause(const fa_net *net);
void fa_lock_resume(const fa_net *net);

/* The lock of a call that may run callbacks. A callback that uses this network would wait for its own thread; it may
 * fork; and a cancelled thread may not end in it. */
typedef struct fa_call_lock {
    const fa_net *net;
    bool writes;
    int cancel;                       /* the thread's state before */
    const struct fa_call_lock *outer; /* of this thread, on another network */
} fa_call_lock;
fa_status fa_lock_call(fa_call_lock *call, const fa_net *net, bool writes);
void fa_unlock_call(const fa_call_lock *call);
void fa_locks_after_fork(void); /* in a forked child, by its only thread */

/* ---- the frame of a call (call.c) ---- */

typedef struct fa_call { /* what the caller sets says what begin takes and end gives back */
    bool writes;         /* serial_tiles with the network; else beside others that do not write */
    bool
        in_chunks; /* row buffers of FA_PREDICT_CHUNK rows for each thread, not of all rows for all */
    int n_work, slot[2]; /* of the workspaces */
    /* set by fa_call_begin */
    const fa_net *net;
    fa_call_lock held;
    int threads;
    fa_work *work[2];
} fa_call;
/* Lock and workspaces for `rows` rows. On failure nothing is held. */
fa_status fa_call_begin(fa_call *call, const fa_net *net, int64_t rows);
void fa_call_end(fa_call *call);

/* ---- the door (check.c) ---- */

/* Copies a struct of the caller's that begins with its size; what an older, smaller one lacks is zero. least: the
 * size below which it makes no sense. */
fa_status fa_copy_struct(void *mine, size_t size, size_t least, const void *theirs,
                         const char *what);
#define FA_COPY_STRUCT(mine, theirs, last_required, what)                                          \
    fa_copy_struct(mine, sizeof *(mine),                                                           \
                   (size_t)((char *)(&(mine)->last_required + 1) - (char *)(mine)), theirs, what)

/* Adopts samples, and checks sizes, pointers and labels; with values, every number too. */
fa_status fa_validate_samples(fa_samples *mine, const fa_net *net, const fa_samples *theirs,
                              bool targets, bool values);
/* The label of sample i is one of the network's classes. */
bool fa_label_fits(const fa_net *net, int64_t label);
fa_status fa_bad_label(const fa_net *net, const fa_samples *s, int64_t i);
bool fa_has_accuracy(const fa_net *net, const fa_samples *s);
double fa_largest(const fa_net *net); /* the largest finite number of the network's dtype */
/* Looks at every parameter, feedback matrix and slot: FA_E_NONFINITE names the first that is not finite. */
fa_status fa_check_tensors(const fa_net *net);

#endif

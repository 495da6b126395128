/* engine: runs one step of a network, with its workspace and threads. It knows layers and rules
 * only by their ops. */
#ifndef FA_ENGINE_H
#define FA_ENGINE_H

#include "model/declare.h"

/* ---- a call in flight ---- */

typedef enum fa_mode { FA_TRAIN, FA_GRADIENTS, FA_PROBE, FA_PREDICT, FA_EVALUATE } fa_mode;

typedef struct fa_work { /* one block: this header, then the memory that it points to */
    size_t size;
    bool idle;    /* was kept between two calls, and so is kept again */
    int64_t rows; /* capacity of each row buffer */
    int copies, threads;
    int64_t entries;            /* capacity of each batch of a sparse X; 0: X is dense */
    size_t *offset;             /* of each row buffer in a copy */
    char *buffers, *csr;        /* copies of the row buffers; copies of a batch of a sparse X */
    size_t copy_size, csr_size; /* of one copy */
    fa_mat *buf;                /* copies x n_buffers: the row buffers of each copy */
    /* copies x rows: a copy of the labels, each checked as it is read, so that no other thread can
     * change it later. */
    int64_t *labels;
    atomic_bool bad_label, loss_failed; /* loss_failed: the function of a loss "custom" */
    atomic_bool bad_entry; /* a column of a sparse X was out of range or order when it was used */
    atomic_bool nonfinite; /* a product with weights, biases or learned feedback was not finite */
    double *weights, *row_loss, *row_hit;
    fa_hyper *hyper; /* one per parameter */
    char *scratch, *window_scratch,
        *pack_caches;                      /* of each worker; the last: fa_pack_cache, or NULL */
    size_t pack_cache_size, packing_bytes; /* of a pack cache, and of the packing buffer in it */
    uint64_t steps;                        /* steps begun with this workspace */
    /* Of each block: the matrix that its rule made from the weights for this step; or the non-zero
     * entries of its feedback, with their rows. overflow: a column has more than nnz entries, so
     * the matrix is used as it is stored. */
    struct fa_step_feedback {
        fa_mat matrix;
        void *row_index;
        bool overflow;
    } *step_feedback;
    char *rule;        /* the memory of net->chunk_rule */
    double *tile_norm; /* clipping: sum of squares of each tile, and the gradients themselves */
    void **grads;
} fa_work;

typedef struct fa_run {
    const fa_net *net;
    fa_work *work;
    fa_mode mode;
    bool exact;             /* compute every hidden delta by backprop: the reference of alignment */
    bool skip_finite_check; /* of weights */
    bool x_unchecked;       /* the first phase must check X for numbers that are not finite */
    fa_samples data;
    const int64_t *index; /* row r of the batch is sample index[r]; NULL: sample r */
    int64_t m, chunk;
    bool shared; /* between threads */
    uint64_t step;
    double lr;
    void *const *grads; /* where gradients go, one per parameter; NULL entries are skipped */
    /* Batches of 1: the previous sample, whose update is pending; forward makes it while it reads
     * W. */
    const struct fa_run *pending;
    uint64_t serial; /* number of this step in this workspace; packed operands last one step */
    /* set by fa_run_bind */
    fa_mat *buf;
    struct fa_csr *csr;    /* the batch of a sparse X: engine/sparse.h; NULL: X is dense */
    int64_t *labels;       /* of the batch, our copy; NULL with row targets */
    const double *weights; /* of the batch; NULL: ones */
    double *row_loss, *row_hit;
    /* results */
    double loss, hits, clip_scale;
} fa_run;

/* Rows r of buffer b of this run. */
static inline fa_mat fa_get(const fa_run *run, fa_buf b, fa_rows r)
{ return fa_rows_of(run->buf[b], r, run->net->buffers[b].size); }
static inline fa_part fa_all_columns(fa_rows rows, int64_t cols)
{ return (fa_part){rows, 0, cols}; }
static inline fa_mat fa_get_part(const fa_run *run, fa_buf b, fa_part part)
{
    const size_t esize = run->net->buffers[b].size;
    return fa_columns_of(fa_get(run, b, part.rows), part.c0, part.c1, esize);
}
static inline bool fa_is_first(fa_part part) { return part.rows.r0 == 0 && part.c0 == 0; }
static inline void *fa_scratch(const fa_run *run, int worker)
{ return run->work->scratch + (size_t)worker * run->net->scratch_size; }
static inline void *fa_window_scratch(const fa_run *run, int worker)
{ return run->work->window_scratch + (size_t)worker * run->net->window_size; }
/* Products with learned operands set it if a number is not finite. */
static inline atomic_bool *fa_nonfinite_flag(const fa_run *run)
{ return run->skip_finite_check ? NULL : &run->work->nonfinite; }

/* ---- workspace.c ---- */

/* Each slot keeps one idle block: 0 for calls that need deltas, 1 for predicting, 2 for the second
 * of two samples in flight. NULL: out of memory. A call that trains keeps its block. Any other call
 * frees a block that it had to allocate, if that is larger than the workspace of fa_train_batch and
 * than the network's state. */
fa_work *fa_work_acquire(const fa_net *net, int slot, int64_t rows, int64_t entries, int copies,
                         int threads, bool trains);
void fa_work_release(const fa_net *net, int slot, fa_work *work, bool trains);
/* A block that belongs to the caller, who calls fa_free. training: with the memory that only a step
 * needs. */
fa_work *fa_work_create(const fa_net *net, bool training, int64_t rows, int64_t entries, int copies,
                        int threads);
/* Points the run's buffers at copy `copy` of its workspace, or at the user's arrays if they can be
 * used in place. */
void fa_run_bind(fa_run *run, int copy);
/* Gives a bound run that predicts one sample another sample and another output. */
void fa_run_set_sample(fa_run *run, const void *x, void *out);
/* The packing buffer of a worker for one product; its old contents are lost. */
fa_packed_b fa_packing_buffer(const fa_run *run, int worker);
/* C = A B^T, with the worker's scratch, of which fa_matmul_nt_scratch bytes were planned */
void fa_run_matmul_nt(const fa_run *run, fa_mat c, fa_mat a, fa_mat b, int worker);

/* ---- forward.c, delta.c, update.c: parts of a step that rules use ---- */

void fa_forward_layers(const fa_run *run, fa_rows rows, int worker);
/* The losses of rows, and the error in the last delta. */
void fa_output_error(const fa_run *run, fa_rows rows);
/* The same of rows of any outputs z: of a head, for example. e may be z. */
void fa_loss_of_rows(const fa_run *run, fa_mat e, double *row_loss, double *hit, fa_mat z,
                     fa_rows rows);
fa_status fa_own_loss_status(const fa_run *run); /* FA_E_STATE: the user's function failed */
/* The factors of an update in place: value = beta * value + alpha * (sum over pairs of left^T
 * right). */
typedef struct fa_update_scale {
    double alpha, beta;
} fa_update_scale;
fa_update_scale fa_in_place_scale(const fa_run *run, const fa_param *p);
fa_status fa_check_loss(fa_run *run); /* sums losses in row order; FA_E_NONFINITE */
void fa_count(const fa_run *run, const atomic_llong *counter, bool first);

/* ---- feedback_product.c ---- */

/* The epilogue of the last product of a signal: f', where the rule fuses it. */
fa_epilogue fa_signal_epilogue(const fa_run *run, int block, fa_part part);
/* The stored or per-step matrix of the block */
fa_mat fa_feedback_of(const fa_run *run, int block);
/* S = source B with the stored or per-step matrix of the block; only the non-zero entries of a
 * sparse one. */
void fa_feedback_product(const fa_run *run, int block, fa_part part, fa_mat source, fa_mat s,
                         int worker);

#endif

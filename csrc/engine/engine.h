/* engine: runs one step of a network, with its workspace and threads. It knows layers and rules
 * only by their ops. */
#ifndef FA_ENGINE_H
#define FA_ENGINE_H

#include "engine/workspace.h"

/* ---- a call in flight ---- */

typedef enum fa_mode { FA_TRAIN, FA_GRADIENTS, FA_PROBE, FA_PREDICT, FA_EVALUATE } fa_mode;

typedef struct fa_run {
    const fa_net *net;
    fa_work *work;
    fa_mode mode;
    bool exact;             /* compute every hidden delta by backprop: the reference of alignment */
    bool skip_finite_check; /* of weights */
    bool x_unchecked;       /* the first phase must check X for numbers that are not finite */
    fa_samples data;
    const int64_t *index;    /* row r of the batch is sample index[r]; NULL: sample r */
    int64_t m, chunk, times; /* rows of the batch, of a chunk, of a sequence (recurrent layers) */
    bool stream;             /* recurrent layers: the one row is the next step of the stream */
    bool shared;             /* between threads */
    bool augments, flip;     /* images: shifted and flipped at random, see fa_epoch */
    int64_t crop;
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
    uint8_t *has_target;   /* recurrent layers: of each row */
    double *row_loss, *row_hit;
    double count; /* rows with a target: the m of 1/m */
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

/* Points the run's buffers at copy `copy` of its workspace, or at the user's arrays if they can be
 * used in place. */
void fa_run_bind(fa_run *run, int copy);
/* Gives a bound run that predicts one sample another sample and another output. */
void fa_run_set_sample(fa_run *run, const void *x, void *out);
/* The packing buffer of a worker for one product; its old contents are lost. */
fa_packed_b fa_packing_buffer(const fa_run *run, int worker);
/* C = A B^T, with the worker's scratch, of which fa_matmul_nt_scratch bytes were planned */
void fa_run_matmul_nt(const fa_run *run, fa_mat c, fa_mat a, fa_mat b, const fa_linalg *la,
                      int worker);

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

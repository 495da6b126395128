/* The step, and the calls that run one: for engine and api. */
#ifndef FA_STEP_H
#define FA_STEP_H

#include "engine/engine.h"

/* ---- step.c ---- */

/* One step through the phases that the run's mode asks for. The run's net, work, mode, data, index,
 * m, step, lr and grads are set. */
fa_status fa_run_step(fa_run *run);
/* One sample up to its deltas, on this thread; the next sample's forward pass, or flush, makes its
 * update. */
fa_status fa_run_deferred(fa_run *run);
void fa_run_flush(fa_run *run);
/* A step of a stream without a target: the forward pass; traces move, nothing is updated. */
fa_status fa_run_without_target(fa_run *run);
fa_rows fa_chunk_of(const fa_run *run, int64_t task);
/* The update alone, on gradients that the caller has computed. Those of parameters whose entry is
 * NULL are 0 to clipping, and such parameters stay as they are. */
fa_status fa_run_apply(fa_run *run, void *const *grads, int threads);

/* ---- sequences.c: networks with recurrent layers ---- */

bool fa_is_blank(const fa_net *net, const void *row); /* of targets: NaN in all, so it is none */
double fa_count_targets(const fa_run *run);
/* Copies whole sequences of the batch and says which of their rows have a target. */
void fa_load_sequences(const fa_run *run, fa_rows rows);
/* fa_output_error without f': losses and errors are 0 where there is no target. */
void fa_sequence_error(const fa_run *run, fa_rows rows);
/* Rows of a task: whole sequences. */
int64_t fa_sequence_chunk(const fa_net *net, int64_t rows, int64_t times, int threads);

/* ---- forward.c ---- */

void fa_load_batch(const fa_run *run, fa_rows rows);          /* input, targets and labels */
void fa_forward(const fa_run *run, fa_rows rows, int worker); /* the same, then all layers */
bool fa_gathers_input(const fa_run *run);  /* X is copied into a row buffer, not used in place */
double fa_input_factor(const fa_run *run); /* of every input; bytes are divided instead, by: */
double fa_byte_divisor(const fa_net *net);

/* ---- augment.c ---- */

void fa_augment_rows(const fa_run *run, fa_rows rows); /* of images, in the row buffer of X */

/* ---- delta.c ---- */

void fa_loss_and_error(const fa_run *run, fa_rows rows); /* also checks that the input is finite */
/* fa_loss_of_rows by the function of the user. */
void fa_ask_own_loss(const fa_run *run, fa_mat e, double *row_loss, double *hit, fa_mat z,
                     fa_rows rows);
bool fa_deltas_are_serial(const fa_net *net); /* rules call the user's loss while they run */
bool fa_needs_delta(const fa_run *run, int b);
void fa_compute_delta(const fa_run *run, int b, fa_part part, int worker);
/* Sample weights enter here, once for every rule; 1/m is in the factor of the update. */
void fa_weight_rows(const fa_run *run, fa_rows rows);

/* ---- update.c ---- */

void fa_begin_update(fa_run *run);
/* Rows i of g = alpha * left^T right + beta * g, where g begins at the first of them */
void fa_gradient_product(const fa_run *run, const fa_linalg *la, fa_buf left, fa_rows i, fa_mat g,
                         fa_mat right, double alpha, double beta, fa_packed_b *packed);
void fa_update(const fa_run *run, int param, fa_tile t, int worker); /* a tile: gradient and step */
void fa_update_serial(const fa_run *run);
void fa_move_traces(const fa_run *run);
extern fa_task_fn fa_update_task, fa_gradient_task, fa_norm_task, fa_given_norm_task, fa_apply_task;
fa_status fa_check_norm(fa_run *run);

/* ---- feedback_product.c ---- */

extern fa_task_fn fa_step_feedback_task;

/* ---- step_by_columns.c ---- */

/* Whether threads should have columns of each layer and not rows of the batch; the rows phase and
 * the update by columns. */
bool fa_by_columns(const fa_run *run, int threads);
void fa_run_columns(const fa_run *run, int threads);
void fa_update_columns(const fa_run *run, int threads);

/* ---- thread_tuner.c: how many threads a step runs on ---- */

/* Threads that a call on this many rows may use; 1 if even the fastest synchronisation costs more
 * than it gains. */
int fa_run_threads(const fa_net *net, int64_t rows);
/* The threads of the next training step, at most `threads`. *measure: the caller must time the step
 * and call fa_tuner_record. */
int fa_tuner_threads(bool *measure, fa_net *net, int64_t rows, int threads);
void fa_tuner_record(fa_net *net, int64_t rows, double seconds);

/* ---- call.c: the lock and workspaces of a call ---- */

typedef struct fa_call { /* the caller sets: */
    bool writes;   /* excludes other calls on the network; else runs alongside other readers */
    int64_t chunk; /* not 0: each thread has row buffers of this many rows */
    int n_work, slot[2]; /* of the workspaces */
    int64_t entries;     /* by fa_csr_most_entries, for the rows of a workspace; -1: reads no X */
    /* fa_call_begin sets: */
    const fa_net *net;
    fa_call_lock lock;
    int threads;
    fa_work *work[2];
} fa_call;
/* Lock and workspaces for `rows` rows. On failure nothing is held. */
fa_status fa_call_begin(fa_call *call, const fa_net *net, int64_t rows);
void fa_call_end(fa_call *call);

/* ---- workspace.c ---- */

/* A worker's packing buffer, and the columns j0 .. j1 of the row buffer that an update has packed
 * there */
typedef struct fa_pack_cache {
    fa_packed_b b;
    uint64_t run;
    int64_t j0, j1;
    fa_buf buf;
    const fa_linalg *linalg; /* it packs in a way of its own */
    _Alignas(64) char bytes[];
} fa_pack_cache;
/* NULL if products do not pack. */
fa_pack_cache *fa_pack_cache_of(const fa_run *run, int worker);

#endif

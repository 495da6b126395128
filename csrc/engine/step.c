/* One step: its phases, and the check at the barrier after each. Picture: docs/ARCHITECTURE.md.
 *
 *   rows      a chunk of the batch through every layer: forward, loss, error, S_l, D_l
 *             (large layers: some columns of a layer at a time, step_by_columns.c)
 *   barrier   sums the losses in row order; if the sum is not finite, stops before any update
 *   update    a tile of a parameter: H^T D, then the optimizer while the tile is in cache
 *
 * A rule with after_forward splits `rows` into forward and deltas, with a barrier between them.
 * With clipping, update is: norm (gradients into a buffer), barrier (norm in tile order), apply. */
#include "engine/sparse.h"
#include "engine/step.h"

#include <math.h>

void fa_count(const fa_run *run, const atomic_llong *counter, bool first)
{
    if (first && run->mode == FA_TRAIN)
        atomic_fetch_add_explicit((atomic_llong *)counter, 1, memory_order_relaxed);
}

fa_rows fa_chunk_of(const fa_run *run, int64_t task)
{
    const int64_t end = (task + 1) * run->chunk;
    return (fa_rows){task * run->chunk, end < run->m ? end : run->m};
}

static void forward_task(void *context, int64_t task, int worker)
{
    const fa_run *run = context;
    const fa_rows rows = fa_chunk_of(run, task);
    fa_forward(run, rows, worker);
    if (!fa_has_own_loss(run->net)) fa_loss_and_error(run, rows);
}

static void delta_task(void *context, int64_t task, int worker)
{
    const fa_run *run = context;
    const fa_rows rows = fa_chunk_of(run, task);
    const int hidden = run->net->n_blocks - 1;
    const fa_rule_ops *rule = run->net->chunk_rule;
    if (rule && !run->exact) rule->before_deltas(run, rows, worker);
    for (int i = 0; i < hidden; i++) {
        const int b = run->exact ? hidden - 1 - i : run->net->order[i];
        if (fa_needs_delta(run, b))
            fa_compute_delta(run, b, fa_all_columns(rows, run->net->blocks[b].layer->n_out),
                             worker);
    }
    if (run->weights) fa_weight_rows(run, rows);
}

static void rows_task(void *context, int64_t task, int worker)
{
    forward_task(context, task, worker);
    delta_task(context, task, worker);
}

/* Calls of many steps do not check sample weights before: a weight that the network's dtype cannot
 * hold would become infinite. */
static fa_status check_weights(const fa_run *run)
{
    for (int64_t r = 0; r < run->m; r++)
        if (run->weights[r] > fa_largest(run->net))
            return fa_fail(FA_E_NONFINITE,
                           "sample_weight: expected finite numbers that float32 holds, got %g; "
                           "nothing was updated",
                           run->weights[r]);
    return FA_OK;
}

fa_status fa_check_loss(fa_run *run)
{
    if (atomic_load(&run->work->bad_label))
        return fa_fail(FA_E_VALUE, "y: expected labels that do not change in use, got one out of "
                                   "range; nothing was updated");
    FA_TRY(fa_own_loss_status(run));
    if (atomic_load(&run->work->bad_entry))
        return fa_fail(FA_E_VALUE, "X: expected columns of a sparse X that do not change in use, "
                                   "got some out of range or order; nothing was updated");
    if (run->weights) FA_TRY(check_weights(run));
    double loss = 0, hits = 0;
    for (int64_t r = 0; r < run->m; r++) {
        loss += run->weights ? run->weights[r] * run->row_loss[r] : run->row_loss[r];
        hits += run->row_hit[r];
    }
    run->loss = loss / run->count;
    run->hits = hits;
    const bool finite = isfinite(run->loss);
    if (finite && !atomic_load_explicit(&run->work->nonfinite, memory_order_relaxed)) return FA_OK;
    FA_TRY(fa_check_tensors(run->net));
    if (finite) return FA_OK; /* all numbers are in range, only their sum is not */
    return fa_fail(FA_E_NONFINITE, "loss is not finite (%s); nothing was updated",
                   isnan(run->loss) ? "nan" : "inf");
}

/* ---- the step ---- */

/* Rows of a task. With own products any size gives the same bits; with BLAS the size must be
 * fixed. */
static int64_t chunk_rows(const fa_net *net, int64_t m, int64_t times, int threads)
{
    if (net->recurrent) return fa_sequence_chunk(net, m, times, threads);
    if (net->blas) return FA_BLAS_CHUNK;
    const int64_t share = fa_round_up(fa_ceil_div(m, threads), 8);
    return share < FA_CHUNK ? share : FA_CHUNK;
}

static void begin(fa_run *run, int64_t chunk, int threads)
{
    fa_run_bind(run, 0);
    if (run->csr) fa_csr_begin(run);
    run->chunk = chunk;
    run->shared = threads > 1;
    run->count = run->net->recurrent ? fa_count_targets(run) : (double)run->m;
    run->serial = ++run->work->steps;
    atomic_store_explicit(&run->work->nonfinite, false, memory_order_relaxed);
}

/* At the barrier between the forward pass and the deltas, if a rule or the loss asks for one. */
static fa_status after_forward(fa_run *run)
{
    const fa_rule_ops *rule = run->exact ? NULL : run->net->barrier_rule;
    if (fa_has_own_loss(run->net)) fa_loss_and_error(run, (fa_rows){0, run->m});
    FA_TRY(fa_check_loss(run));
    return rule ? rule->after_forward(run) : FA_OK;
}

/* FA_PHASE_DELTAS checks the losses again: those of local heads may not be finite. */
static const struct phase {
    fa_task_fn *task;
    bool over_rows;
    fa_status (*at_barrier)(fa_run *run);
} phases[] = {
    [FA_PHASE_ROWS] = {rows_task, true, fa_check_loss},
    [FA_PHASE_FORWARD] = {forward_task, true, after_forward},
    [FA_PHASE_DELTAS] = {delta_task, true, fa_check_loss},
    [FA_PHASE_UPDATE] = {fa_update_task, false, NULL},
    [FA_PHASE_NORM] = {fa_norm_task, false, fa_check_norm},
    [FA_PHASE_APPLY] = {fa_apply_task, false, NULL},
};

/* The entries of a sparse X by columns, before the first product that reads them. */
static void begin_sparse_gradient(const fa_run *run)
{
    const fa_param *w = run->net->blocks[0].layer->weight;
    if (w->trainable && fa_csr_values(run, w->grad[0].left)) fa_csr_by_columns(run);
}

static fa_status run_phase(fa_run *run, fa_phase kind, int threads, bool by_columns)
{
    const fa_net *net = run->net;
    const struct phase *phase = &phases[kind];
    if (kind == FA_PHASE_DELTAS && fa_deltas_are_serial(net)) threads = 1;
    if (run->csr && (kind == FA_PHASE_UPDATE || kind == FA_PHASE_NORM)) begin_sparse_gradient(run);
    if (kind == FA_PHASE_UPDATE && threads == 1)
        fa_update_serial(run);
    else if (kind == FA_PHASE_ROWS && by_columns)
        fa_run_columns(run, threads);
    else if (kind == FA_PHASE_UPDATE && by_columns)
        fa_update_columns(run, threads);
    else
        fa_parallel_for(threads, phase->over_rows ? fa_ceil_div(run->m, run->chunk) : net->n_tiles,
                        phase->task, run);
    return phase->at_barrier ? phase->at_barrier(run) : FA_OK;
}

static void begin_step(fa_run *run, int threads)
{
    begin(run, chunk_rows(run->net, run->m, run->times, threads), threads);
    if (!run->exact)
        fa_parallel_for(threads, run->net->n_feedback_tasks, fa_step_feedback_task, run);
}

static fa_status training_step(fa_run *run, int threads)
{
    const fa_net *net = run->net;
    begin_step(run, threads);
    const bool by_columns = fa_by_columns(run, threads);
    fa_begin_update(run);
    for (int i = 0; i < net->n_phases; i++)
        FA_TRY(run_phase(run, net->phases[i], threads, by_columns));
    return FA_OK;
}

/* Loss and deltas without an update, and gradients if the mode asks for them. */
static fa_status probing_step(fa_run *run, int threads)
{
    const fa_net *net = run->net;
    begin_step(run, threads);
    if ((net->barrier_rule && !run->exact) || fa_has_own_loss(net)) {
        FA_TRY(run_phase(run, FA_PHASE_FORWARD, threads, false));
        FA_TRY(run_phase(run, FA_PHASE_DELTAS, threads, false));
    } else {
        FA_TRY(run_phase(run, FA_PHASE_ROWS, threads, false));
    }
    if (run->mode != FA_GRADIENTS) return FA_OK;
    if (run->csr) begin_sparse_gradient(run);
    fa_parallel_for(threads, net->n_tiles, fa_gradient_task, run);
    return FA_OK;
}

fa_status fa_run_step(fa_run *run)
{
    fa_net *net = (fa_net *)run->net; /* if it trains, the caller holds its write lock */
    int threads = fa_run_threads(net, run->m);
    if (threads > run->work->threads) threads = run->work->threads;
    if (run->mode != FA_TRAIN) return probing_step(run, threads);
    bool measure;
    const int chosen = fa_tuner_threads(&measure, net, run->m, threads);
    if (!measure) return training_step(run, chosen);
    const double start = fa_seconds();
    const fa_status status = training_step(run, chosen);
    fa_tuner_record(net, run->m, fa_seconds() - start);
    return status;
}

fa_status fa_run_apply(fa_run *run, void *const *grads, int threads)
{
    const fa_net *net = run->net;
    if (threads > run->work->threads) threads = run->work->threads;
    fa_begin_update(run);
    run->grads = grads; /* fa_begin_update has set those of clipping */
    if (net->clips) {
        fa_parallel_for(threads, net->n_tiles, fa_given_norm_task, run);
        FA_TRY(fa_check_norm(run));
    }
    fa_parallel_for(threads, net->n_tiles, fa_apply_task, run);
    return FA_OK;
}

fa_status fa_run_deferred(fa_run *run)
{
    begin(run, run->m, 1);
    fa_begin_update(run);
    rows_task(run, 0, 0);
    return fa_check_loss(run);
}

void fa_run_flush(fa_run *run) { fa_update_serial(run); }

/* Where there is no loss, nothing else shows that the state of a stream leaves the range of its
 * type. */
static fa_status check_states(const fa_run *run)
{
    for (int i = 0; i < run->net->n_layers; i++) {
        const fa_layer *layer = &run->net->layers[i];
        const fa_mat h = run->buf[layer->out];
        if (layer->ops->flags & FA_OVER_TIME && !run->net->k->all_finite(h.p, h.ld, 1, h.cols))
            return fa_fail(FA_E_NONFINITE,
                           "layer %d: the state of the stream is not finite; nothing was updated",
                           layer->index);
    }
    return FA_OK;
}

fa_status fa_run_without_target(fa_run *run)
{
    begin(run, 1, 1);
    fa_forward(run, (fa_rows){0, 1}, 0);
    if (atomic_load_explicit(&run->work->nonfinite, memory_order_relaxed)) {
        FA_TRY(fa_check_tensors(run->net));
        FA_TRY(check_states(run));
    }
    fa_move_traces(run);
    return FA_OK;
}

/* The rows phase and the update by columns: a thread has the same columns of every large layer in
 * every step.
 *
 * Threads that share the rows of a batch each read all weights, and the other threads have just
 * written most of them. By columns, weights stay with their thread, except in the transport of
 * chain rules and where a thread steals tasks. Activations go from core to core instead: they are
 * fewer, but all threads synchronise after each layer. The update's tiles are in the same columns.
 *
 * Layers that are too narrow, and rules that need all columns at a time, are divided by rows. Every
 * output is the same chain of multiply-adds either way, so the bits are the same. */
#include "engine/step.h"

enum {
    SLICES_PER_THREAD = 2, /* tasks by columns, for each thread */
    MIN_WIDTH = 32,        /* columns of a thread; layers with fewer are divided by rows */
    BLOCK = 128, /* rows at a time: they stay in L2 during the products with all columns */
    MIN_WEIGHTS_PER_ROW = 2400, /* weights of a layer for each row of the batch */
    MIN_WORK = 500000, /* multiply-adds of a thread; with fewer, synchronisation costs more */
};
_Static_assert((int)BLOCK <= (int)FA_CHUNK, "rules have scratch for FA_CHUNK rows");

typedef void part_fn(const fa_run *run, int index, fa_part part, int worker);
typedef struct part_job {
    const fa_run *run;
    part_fn *work;
    int index; /* of the layer or block */
    int64_t cols, slices;
} part_job;

static void chunk_task(void *context, int64_t task, int worker)
{
    const part_job *job = context;
    job->work(job->run, job->index, fa_all_columns(fa_chunk_of(job->run, task), job->cols), worker);
}

static void slice_task(void *context, int64_t task, int worker)
{
    const part_job *job = context;
    const int64_t m = job->run->m;
    fa_part part = {.c0 = fa_partition(job->cols, task, job->slices),
                    .c1 = fa_partition(job->cols, task + 1, job->slices)};
    for (int64_t r = 0; r < m; r += BLOCK) {
        part.rows = (fa_rows){r, r + BLOCK < m ? r + BLOCK : m};
        job->work(job->run, job->index, part, worker);
    }
}

/* Runs `work` on slices of columns, or on all columns of chunks of rows, and waits for all of
 * them. */
static void for_all_parts(const fa_run *run, int threads, part_fn *work, int index, int64_t cols,
                          bool slices)
{
    part_job job = {run, work, index, cols, (int64_t)SLICES_PER_THREAD * threads};
    if (slices)
        fa_parallel_for(threads, job.slices, slice_task, &job);
    else
        fa_parallel_for(threads, fa_ceil_div(run->m, run->chunk), chunk_task, &job);
}

static bool is_wide(int64_t cols, int threads) { return cols >= MIN_WIDTH * (int64_t)threads; }

static bool by_slices(const fa_layer *layer, bool able, int threads)
{ return able && is_wide(layer->n_out, threads); }

static void take_batch(const fa_run *run, int index, fa_part part, int worker)
{
    (void)index, (void)worker;
    fa_load_batch(run, part.rows);
}

static void forward(const fa_run *run, int index, fa_part part, int worker)
{
    const fa_layer *layer = &run->net->layers[index];
    layer->ops->forward(layer, run, part, worker);
}

static void loss_and_error(const fa_run *run, int index, fa_part part, int worker)
{
    (void)index, (void)worker;
    fa_loss_and_error(run, part.rows);
}

static void forward_and_loss(const fa_run *run, int index, fa_part part, int worker)
{
    forward(run, index, part, worker);
    loss_and_error(run, index, part, worker);
}

static void weight_rows(const fa_run *run, int index, fa_part part, int worker)
{
    (void)index, (void)worker;
    fa_weight_rows(run, part.rows);
}

bool fa_by_columns(const fa_run *run, int threads)
{
    const fa_net *net = run->net;
    if (threads < 2 || net->n_blocks < 2 || net->has_windows) return false;
    if (run->exact || net->recurrent || net->blas || net->barrier_rule || net->chunk_rule)
        return false;
    if (fa_has_own_loss(net)) return false;
    const double m = (double)run->m, hidden = net->n_blocks - 1;
    return net->n_weights >= MIN_WEIGHTS_PER_ROW * m * hidden &&
           net->work_per_row * m >= MIN_WORK * threads;
}

static bool needs_whole_rows(const fa_net *net, int block)
{
    bool any = false;
    for (int i = net->blocks[block].first; i <= net->blocks[block].last; i++)
        any = any || net->layers[i].ops->flags & FA_WHOLE_ROWS;
    return any;
}

void fa_run_columns(const fa_run *run, int threads)
{
    const fa_net *net = run->net;
    const int top = net->n_layers - 1, hidden = net->n_blocks - 1;
    for_all_parts(run, threads, take_batch, 0, 0, false);
    for (int i = 0; i <= top; i++) {
        const fa_layer *layer = &net->layers[i];
        const bool slices = by_slices(layer, layer->ops->columns, threads);
        part_fn *const work = i == top && !slices ? forward_and_loss : forward;
        for_all_parts(run, threads, work, i, layer->n_out, slices);
        if (i == top && slices) for_all_parts(run, threads, loss_and_error, 0, 0, false);
    }
    for (int i = 0; i < hidden; i++) {
        const int b = net->order[i];
        const fa_rule *rule = &net->blocks[b].rule;
        const fa_layer *layer = net->blocks[b].layer;
        const bool able = rule->ops->columns && !rule->nnz && !needs_whole_rows(net, b);
        if (fa_needs_delta(run, b))
            for_all_parts(run, threads, fa_compute_delta, b, layer->n_out,
                          by_slices(layer, able, threads));
    }
    if (run->weights) for_all_parts(run, threads, weight_rows, 0, 0, false);
}

/* ---- the update ---- */

typedef struct update_job {
    const fa_run *run;
    int threads;
} update_job;

/* Slice i of n of a parameter's columns, in some of its rows. */
static fa_tile column_slice(int64_t cols, fa_rows rows, int64_t i, int64_t n)
{ return (fa_tile){rows.r0, rows.r1, fa_partition(cols, i, n), fa_partition(cols, i + 1, n)}; }

/* A thread's part of a work item: slice `thread * parts + part` of all threads' slices, so that a
 * thread's slices are next to each other. Example: two threads, work items of two parts,
 *
 *   slices of the columns   0: thread 0, part 0   1: thread 0, part 1   2: thread 1, part 0   3: ...
 */
static fa_tile slice_of_thread(int64_t cols, const fa_column_item *item, int64_t thread,
                               int64_t threads)
{ return column_slice(cols, item->rows, thread * item->parts + item->part, threads * item->parts); }

/* Half of a part of a work item in a thread's share of its rows. */
static fa_tile rows_of_thread(int64_t cols, const fa_column_item *item, int64_t thread,
                              int64_t threads, int half)
{
    const int64_t n = item->rows.r1 - item->rows.r0;
    const fa_rows rows = {item->rows.r0 + fa_partition(n, thread, threads),
                          item->rows.r0 + fa_partition(n, thread + 1, threads)};
    return column_slice(cols, rows, 2 * item->part + half, 2 * item->parts);
}

static void update(const fa_run *run, int param, fa_tile t, int worker)
{
    if (t.i0 < t.i1 && t.j0 < t.j1) fa_update(run, param, t, worker);
}

/* What a thread does of a work item: its columns. A parameter too narrow for that is divided by
 * rows, in two halves of the columns, because scratch holds no more. */
static void column_item_task(void *context, int64_t task, int worker)
{
    const update_job *job = context;
    const fa_net *net = job->run->net;
    const fa_column_item *item = &net->column_items[task % net->n_column_items];
    const int64_t thread = task / net->n_column_items, threads = job->threads;
    const int64_t cols = net->params[item->param].cols;
    if (is_wide(cols, job->threads)) {
        update(job->run, item->param, slice_of_thread(cols, item, thread, threads), worker);
        return;
    }
    for (int half = 0; half < 2; half++)
        update(job->run, item->param, rows_of_thread(cols, item, thread, threads, half), worker);
}

void fa_update_columns(const fa_run *run, int threads)
{
    update_job job = {run, threads};
    fa_parallel_for(threads, run->net->n_column_items * threads, column_item_task, &job);
}

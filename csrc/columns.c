/* The rows' phase cut the other way: a thread has the same columns of every large layer in every step.
 *
 * Threads that share the rows of a batch each read all weights, and most of these the others have just
 * written. Here a weight stays with its owner, but for a chain rule's transport and for what idle threads
 * take; what changes hands are activations, which are fewer, with a hand-over after each layer. The
 * update's tiles are those columns. A layer too narrow to share, and a rule that needs all columns at
 * once, are given rows. Each output is the same chain of multiply-adds either way: the bits cannot tell. */
#include "internal.h"

enum {
    LINE = 16,
    STRIPS = 2,          /* of each thread */
    LEAST_WIDTH = 32,    /* units of a thread; fewer: by rows */
    BLOCK = 128,         /* rows at a time, which stay in L2 while columns go by */
    WORTH = 2400,        /* weights of a layer for each row of the batch */
    LEAST_WORK = 500000, /* multiply-adds of a thread; fewer: hand-overs cost more than they save */
};
_Static_assert((int)BLOCK <= (int)FA_CHUNK, "scratch of rules is for so many rows");

int64_t fa_cut(int64_t cols, int64_t i, int64_t parts)
{
    const int64_t cut = (cols * i / parts + LINE / 2) / LINE * LINE;
    return i == parts || cut > cols ? cols : cut;
}

int64_t fa_cut_width(int64_t cols, int64_t parts)
{
    const int64_t width = (cols + parts - 1) / parts + LINE;
    return width < cols ? width : cols;
}

typedef void part_fn(const fa_run *run, int index, fa_part part, int worker);
typedef struct part_job {
    const fa_run *run;
    part_fn *work;
    int index; /* of the layer or block */
    int64_t cols, strips;
} part_job;

static void chunk_task(void *context, int64_t task, int worker)
{
    const part_job *job = context;
    job->work(job->run, job->index, fa_all_columns(fa_chunk_of(job->run, task), job->cols), worker);
}

static void strip_task(void *context, int64_t task, int worker)
{
    const part_job *job = context;
    const int64_t m = job->run->m;
    fa_part part = {.c0 = fa_cut(job->cols, task, job->strips),
                    .c1 = fa_cut(job->cols, task + 1, job->strips)};
    for (int64_t r = 0; r < m; r += BLOCK) {
        part.rows = (fa_rows){r, r + BLOCK < m ? r + BLOCK : m};
        job->work(job->run, job->index, part, worker);
    }
}

/* Strips of so many columns, or all columns of some rows; one thing after the other, each shared. */
static void share(const fa_run *run, int threads, part_fn *work, int index, int64_t cols,
                  bool strips)
{
    part_job job = {run, work, index, cols, (int64_t)STRIPS * threads};
    if (strips)
        fa_pool_run(threads, job.strips, strip_task, &job);
    else
        fa_pool_run(threads, (run->m + run->chunk - 1) / run->chunk, chunk_task, &job);
}

static bool is_wide(int64_t cols, int threads) { return cols >= LEAST_WIDTH * (int64_t)threads; }

static bool in_strips(const fa_layer *layer, bool able, int threads)
{ return able && is_wide(layer->n_out, threads); }

static void take_batch(const fa_run *run, int index, fa_part part, int worker)
{
    (void)index, (void)worker;
    fa_take_batch(run, part.rows);
}

static void forward(const fa_run *run, int index, fa_part part, int worker)
{
    const fa_layer *layer = &run->net->layers[index];
    layer->ops->forward(layer, run, part, worker);
}

static void judge(const fa_run *run, int index, fa_part part, int worker)
{
    (void)index, (void)worker;
    fa_judge(run, part.rows);
}

static void forward_and_judge(const fa_run *run, int index, fa_part part, int worker)
{
    forward(run, index, part, worker);
    judge(run, index, part, worker);
}

static void weigh(const fa_run *run, int index, fa_part part, int worker)
{
    (void)index, (void)worker;
    fa_weight_rows(run, part.rows);
}

bool fa_by_columns(const fa_run *run, int threads)
{
    const fa_net *net = run->net;
    if (threads < 2 || net->n_blocks < 2) return false;
    if (run->exact || net->blas || net->hosted || net->modulation) return false;
    const double m = (double)run->m, hidden = net->n_blocks - 1;
    return net->n_weights >= WORTH * m * hidden && net->work_per_row * m >= LEAST_WORK * threads;
}

void fa_run_columns(const fa_run *run, int threads)
{
    const fa_net *net = run->net;
    const int top = net->n_layers - 1, hidden = net->n_blocks - 1;
    share(run, threads, take_batch, 0, 0, false);
    for (int i = 0; i <= top; i++) {
        const fa_layer *layer = &net->layers[i];
        const bool strips = in_strips(layer, layer->ops->columns, threads);
        part_fn *const work = i == top && !strips ? forward_and_judge : forward;
        share(run, threads, work, i, layer->n_out, strips);
        if (i == top && strips) share(run, threads, judge, 0, 0, false);
    }
    for (int i = 0; i < hidden; i++) {
        const int b = net->order[i];
        const fa_rule *rule = &net->blocks[b].rule;
        const fa_layer *layer = net->blocks[b].layer;
        const bool able = rule->ops->columns && !rule->picked;
        if (fa_is_taught(run, b))
            share(run, threads, fa_teach, b, layer->n_out, in_strips(layer, able, threads));
    }
    if (run->weights) share(run, threads, weigh, 0, 0, false);
}

/* ---- the update ---- */

typedef struct update_job {
    const fa_run *run;
    int threads;
} update_job;

/* Strip i of n of a piece's columns, in some of its rows */
static void update(const fa_run *run, const fa_piece *piece, fa_rows rows, int64_t i, int64_t n,
                   int worker)
{
    const int64_t cols = run->net->params[piece->param].cols;
    const fa_tile t = {rows.r0, rows.r1, fa_cut(cols, i, n), fa_cut(cols, i + 1, n)};
    if (t.i0 < t.i1 && t.j0 < t.j1) fa_update(run, piece->param, t, worker);
}

/* A thread's columns of a piece; or of one too narrow some of the rows, in two halves as scratch is for no more. */
static void piece_task(void *context, int64_t task, int worker)
{
    const update_job *job = context;
    const fa_net *net = job->run->net;
    const fa_piece *piece = &net->pieces[task % net->n_pieces];
    const int64_t thread = task / net->n_pieces, threads = job->threads;
    if (is_wide(net->params[piece->param].cols, job->threads)) {
        update(job->run, piece, piece->rows, thread * piece->parts + piece->part,
               threads * piece->parts, worker);
        return;
    }
    const int64_t n = piece->rows.r1 - piece->rows.r0;
    const fa_rows rows = {piece->rows.r0 + fa_cut(n, thread, threads),
                          piece->rows.r0 + fa_cut(n, thread + 1, threads)};
    for (int half = 0; half < 2; half++)
        update(job->run, piece, rows, 2 * piece->part + half, 2 * piece->parts, worker);
}

void fa_update_columns(const fa_run *run, int threads)
{
    update_job job = {run, threads};
    fa_pool_run(threads, run->net->n_pieces * threads, piece_task, &job);
}

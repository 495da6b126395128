/* The workspace of a call in flight. One block:
 *
 *   fa_work | offsets | mats | memory of a rule | labels weights row_loss row_hit | hyper
 *           | row buffers (copies x rows) | batches of a sparse X (copies) | scratch, packing buffers (threads)
 *           | tile norms and gradients (clipping only) | per-step feedback
 *
 * A network keeps one idle block per slot, so a step allocates nothing once a batch of its size has
 * been seen. Two calls at the same time have a block each. A call that does not train frees a large
 * block when it ends; fa_net_trim frees the idle blocks that are larger than a batch needs. */
#include "engine/sparse.h"
#include "engine/step.h"

#include <string.h>

/* A bump allocator: hands out parts of a block, one after another; with base NULL it only adds up
 * sizes. */
typedef struct fa_layout {
    char *base;
    size_t used;
    bool fits;
} fa_layout;

static void *reserve(fa_layout *c, int64_t a, int64_t b, size_t size)
{
    const size_t at = c->used;
    c->fits = c->fits && fa_add_bytes(&c->used, a, b, size);
    return c->base ? c->base + at : NULL;
}

/* ---- packing ---- */

/* For the gradient of a parameter, in batches of up to `rows` rows. */
static size_t packing_tn(const fa_net *net, const fa_param *p, int64_t rows)
{
    size_t most = 0;
    for (int i = 0; i < p->n_grad; i++) {
        const fa_mat right = {NULL, net->buffers[p->grad[i].right].ld, rows,
                              fa_smaller(p->cols, net->tile_cols)};
        if (p->grad[i].left != FA_ONES && !p->grad[i].windows)
            most = fa_larger(most, fa_matmul_packing(p->linalg, p->rows, right, true));
    }
    return most;
}

/* The largest for any matrix: for A B, A B^T and its gradient, if a rule needs them. Alignment
 * needs all three for weights. */
static size_t packing_bytes(const fa_net *net, int64_t rows, bool training)
{
    const int64_t m = fa_smaller(rows, FA_CHUNK);
    size_t most = 0;
    for (int i = 0; i < net->n_params; i++) {
        const fa_param *p = &net->params[i];
        const fa_mat b = {NULL, p->cols, p->rows, p->cols};
        if (p->kind == FA_BIAS || (!training && p->kind == FA_FEEDBACK)) continue;
        most = fa_larger(most, fa_matmul_packing(p->linalg, m, b, false));
        if (training)
            most = fa_larger(
                most, fa_larger(fa_matmul_nt_packing(p->linalg, m, b), packing_tn(net, p, rows)));
    }
    for (int b = 0; b < net->n_blocks && training; b++) {
        const int64_t cols = fa_feedback_cols(net, b);
        const fa_mat made = {NULL, cols, net->blocks[b].rule.step_rows, cols};
        most = fa_larger(most, fa_matmul_packing(fa_linalg_of_made(net, b), m, made, false));
    }
    return (most + 63) & ~(size_t)63;
}

/* ---- layout ---- */

static void reserve_clipping(const fa_net *net, fa_work *w, fa_layout *c)
{
    w->tile_norm = reserve(c, net->n_tiles, 1, sizeof(double));
    w->grads = reserve(c, net->n_params, 1, sizeof(void *));
    for (int i = 0; i < net->n_params; i++) {
        const fa_param *p = &net->params[i];
        void *g = p->trainable ? reserve(c, p->rows, p->cols, net->esize) : NULL;
        if (w->grads) w->grads[i] = g;
    }
}

static void reserve_step_feedback(const fa_net *net, fa_work *w, fa_layout *c)
{
    w->step_feedback = reserve(c, net->n_blocks, 1, sizeof *w->step_feedback);
    for (int b = 0; b < net->n_blocks; b++) {
        const int64_t nnz = net->blocks[b].rule.nnz, cols = fa_feedback_cols(net, b);
        const int64_t rows = nnz ? nnz : net->blocks[b].rule.step_rows;
        char *p = reserve(c, rows, cols, net->esize);
        void *row_index = reserve(c, nnz, cols, net->esize);
        if (w->step_feedback)
            w->step_feedback[b] =
                (struct fa_step_feedback){{p, cols, rows, cols}, row_index, false};
    }
}

/* Whether a call on a sparse X leaves a row buffer alone: the input, which only rules of the user's
 * read, and what dropout makes of it, which a second pass over changed input needs. */
static bool is_unused(const fa_net *net, const fa_work *w, bool training, fa_buf b)
{
    if (!w->entries || !fa_reads_entries(net) || b == FA_TARGET || b >= net->blocks[0].layer->out)
        return false;
    return !training || !(b == FA_INPUT ? net->barrier_rule : net->chunk_rule);
}

static void reserve_rows(const fa_net *net, fa_work *w, fa_layout *c, bool training)
{
    fa_layout copy = {.fits = true};
    for (int b = 0; b < net->n_buffers; b++) {
        if (w->offset) w->offset[b] = copy.used;
        if ((training || net->buffers[b].predicts) && !is_unused(net, w, training, b))
            reserve(&copy, w->rows, net->buffers[b].ld, net->buffers[b].size);
    }
    c->fits = c->fits && copy.fits;
    w->copy_size = copy.used;
    w->buffers = reserve(c, w->copies, 1, w->copy_size);
    if (!w->entries) return;
    fa_csr_place(NULL, &w->csr_size, net, training, w->rows, w->entries);
    w->csr = reserve(c, w->copies, 1, w->csr_size);
    for (int i = 0; w->csr && i < w->copies; i++)
        fa_csr_place(w->csr + (size_t)i * w->csr_size, NULL, net, training, w->rows, w->entries);
}

static void lay_out(const fa_net *net, fa_work *w, fa_layout *c, bool training)
{
    const bool clipping = training && net->clips;
    reserve(c, 1, 1, sizeof *w);
    w->offset = reserve(c, net->n_buffers, 1, sizeof *w->offset);
    w->buf = reserve(c, w->copies, net->n_buffers, sizeof *w->buf);
    if (training && net->chunk_rule)
        w->rule = reserve(c, 1, 1, net->chunk_rule->workspace(net, w->rows));
    w->labels = reserve(c, w->copies, w->rows, sizeof *w->labels);
    if (net->recurrent) w->has_target = reserve(c, w->copies, w->rows, 1);
    w->weights = reserve(c, w->rows, 1, sizeof *w->weights);
    w->row_loss = reserve(c, w->rows, 1, sizeof *w->row_loss);
    w->row_hit = reserve(c, w->rows, 1, sizeof *w->row_hit);
    w->hyper = reserve(c, net->n_params, 1, sizeof *w->hyper);
    reserve_rows(net, w, c, training);
    if (training) w->scratch = reserve(c, w->threads, 1, net->scratch_size); /* deltas, updates */
    w->window_scratch = reserve(c, w->threads, 1, net->window_size);
    w->packing_bytes = packing_bytes(net, w->rows, training);
    w->pack_cache_size = sizeof(fa_pack_cache) + w->packing_bytes;
    w->pack_caches = w->packing_bytes ? reserve(c, w->threads, 1, w->pack_cache_size) : NULL;
    if (clipping) reserve_clipping(net, w, c);
    if (training && net->n_feedback_tasks) reserve_step_feedback(net, w, c);
}

fa_work *fa_work_create(const fa_net *net, bool training, int64_t rows, int64_t entries, int copies,
                        int threads)
{
    fa_work head = {.rows = rows, .entries = entries, .copies = copies, .threads = threads};
    fa_layout c = {.fits = true};
    lay_out(net, &head, &c, training);
    if (!c.fits) return NULL;
    char *base = fa_alloc(c.used);
    if (!base) return NULL;
    head.size = c.used;
    c = (fa_layout){base, 0, true};
    lay_out(net, &head, &c, training);
    memcpy(base, &head, sizeof head);
    return (fa_work *)base;
}

/* The larger of two idle blocks stays. */
static void keep_idle(const fa_net *net, int slot, fa_work *work)
{
    _Atomic(fa_work *) *spare = &((fa_net *)net)->idle_work[slot];
    fa_work *other = atomic_exchange(spare, NULL);
    const bool smaller = other && other->size > work->size;
    fa_work *const larger = smaller ? other : work;
    fa_free(smaller ? work : other);
    larger->idle = true;
    fa_free(atomic_exchange(spare, larger));
}

static bool holds(const fa_work *w, int64_t rows, int64_t entries, int copies, int threads)
{
    const bool fits = entries < 0 || (w->entries >= entries && !w->entries == !entries);
    return fits && w->rows >= rows && w->copies >= copies && w->threads >= threads;
}

fa_work *fa_work_acquire(const fa_net *net, int slot, int64_t rows, int64_t entries, int copies,
                         int threads, bool trains)
{
    fa_work *w = atomic_exchange(&((fa_net *)net)->idle_work[slot], NULL);
    if (w) {
        atomic_store(&w->bad_label, false);
        atomic_store(&w->bad_entry, false);
        atomic_store(&w->loss_failed, false);
        atomic_store(&w->nonfinite, false);
    }
    if (w && holds(w, rows, entries, copies, threads)) return w;
    if (w && !trains) keep_idle(net, slot, w);
    if (trains) fa_free(w);
    return fa_work_create(net, slot != 1, rows, entries < 0 ? 0 : entries, copies, threads);
}

void fa_work_release(const fa_net *net, int slot, fa_work *work, bool trains)
{
    const bool small = work->size <= net->state_size || work->size <= net->batch_bytes;
    if (trains || work->idle || small)
        keep_idle(net, slot, work);
    else
        fa_free(work);
}

fa_status fa_net_trim(fa_net *net)
{
    FA_TRY(fa_lock_write(fa_lock_of(net)));
    const size_t batch = net->batch_bytes;
    for (int slot = 0; slot < FA_SLOTS; slot++) {
        fa_work *work = atomic_exchange(&net->idle_work[slot], NULL);
        if (work && work->size <= batch)
            keep_idle(net, slot, work);
        else
            fa_free(work);
    }
    fa_free(net->shuffled);
    net->shuffled = NULL;
    net->n_shuffled = 0;
    fa_unlock_write(fa_lock_of(net));
    return FA_OK;
}

/* ---- binding ---- */

static fa_mat user_rows(const void *p, ptrdiff_t ld, int64_t rows, int64_t cols)
{ return (fa_mat){(char *)p, ld, rows, cols}; }

void fa_run_bind(fa_run *run, int copy)
{
    const fa_net *net = run->net;
    fa_work *w = run->work;
    char *base = w->buffers + (size_t)copy * w->copy_size;
    run->buf = w->buf + (int64_t)copy * net->n_buffers;
    for (int b = 0; b < net->n_buffers; b++)
        run->buf[b] =
            (fa_mat){base + w->offset[b], net->buffers[b].ld, run->m, net->buffers[b].cols};

    const fa_samples *d = &run->data;
    run->csr = fa_is_sparse(d) ? (fa_csr *)(w->csr + (size_t)copy * w->csr_size) : NULL;
    if (!run->csr && !fa_gathers_input(run))
        run->buf[FA_INPUT] = user_rows(d->x, d->ldx, run->m, net->n_in);
    if (d->y && !run->index && !net->recurrent)
        run->buf[FA_TARGET] = user_rows(d->y, d->ldy, run->m, net->n_out);
    run->labels = d->labels ? w->labels + copy * w->rows : NULL;
    run->has_target = net->recurrent ? w->has_target + copy * w->rows : NULL;
    run->weights = d->weights && (run->index || net->recurrent) ? w->weights : d->weights;
    run->row_loss = w->row_loss;
    run->row_hit = w->row_hit;
    if (w->rule) net->chunk_rule->bind(run);
    if (run->mode < FA_PREDICT) return;
    for (int i = 0; i < net->n_layers; i++) /* train-only layers are the identity now */
        if (net->layers[i].ops->flags & FA_TRAIN_ONLY)
            run->buf[net->layers[i].out] = run->buf[net->layers[i].in];
}

void fa_run_set_sample(fa_run *run, const void *x, void *out)
{
    const fa_net *net = run->net;
    run->data.x = x;
    run->buf[net->layers[net->n_layers - 1].out].p = out;
    if (fa_gathers_input(run)) return;
    run->buf[FA_INPUT].p = (char *)x;
    for (int i = 0; !(net->layers[i].ops->flags & FA_WEIGHTED); i++) /* they are the identity */
        if (net->layers[i].ops->flags & FA_TRAIN_ONLY)
            run->buf[net->layers[i].out].p = run->buf[net->layers[i].in].p;
}

/* ---- the use of packing buffers ---- */

fa_pack_cache *fa_pack_cache_of(const fa_run *run, int worker)
{
    const fa_work *work = run->work;
    if (!work->pack_caches) return NULL;
    return (fa_pack_cache *)(work->pack_caches + (size_t)worker * work->pack_cache_size);
}

fa_packed_b fa_packing_buffer(const fa_run *run, int worker)
{
    fa_pack_cache *cache = fa_pack_cache_of(run, worker);
    if (!cache) return (fa_packed_b){0};
    cache->buf = FA_NO_BUF;
    return (fa_packed_b){.buffer = cache->bytes, .bytes = run->work->packing_bytes};
}

void fa_run_matmul_nt(const fa_run *run, fa_mat c, fa_mat a, fa_mat b, const fa_linalg *la,
                      int worker)
{
    fa_packed_b cache = fa_packing_buffer(run, worker);
    fa_matmul_nt(la, c, a, b, fa_scratch(run, worker), &cache);
}

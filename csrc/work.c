/* The workspace of a call in flight. One block:
 *
 *   fa_work | offsets | mats | of a second pass: mats, losses | labels weights row_loss row_hit | hyper
 *           | row buffers (copies x rows) | scratch, packing buffers (threads) | tile norms and gradients (clipping
 *           | only)
 *           | derived matrices
 *
 * A network keeps one idle block per slot, so a step allocates nothing once a batch of its size has been
 * seen, and two calls at a time each have their own. What is large and was made for a call that does not train goes
 * back when the call ends; fa_net_trim gives the rest back. */
#include "internal.h"

#include <string.h>

/* Hands out pieces of a block; with base NULL only adds up. */
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
        const int64_t picked = net->blocks[b].rule.nnz, cols = net->blocks[b].layer->n_out;
        const int64_t rows = picked ? picked : net->blocks[b].rule.step_feedback_rows;
        char *p = reserve(c, rows, cols, net->esize);
        void *places = reserve(c, picked, cols, net->esize);
        if (w->step_feedback)
            w->step_feedback[b] = (struct fa_step_feedback){{p, cols, rows, cols}, places, false};
    }
}

static void lay_out(const fa_net *net, fa_work *w, fa_layout *c, bool training)
{
    const bool clipping = training && net->clips;
    reserve(c, 1, 1, sizeof *w);
    w->offset = reserve(c, net->n_buffers, 1, sizeof *w->offset);
    w->buf = reserve(c, w->copies, net->n_buffers, sizeof *w->buf);
    if (training && net->modulation) {
        w->second = reserve(c, net->n_buffers, 1, sizeof *w->second);
        w->second_loss = reserve(c, w->rows, 1, sizeof *w->second_loss);
        w->second_hit = reserve(c, w->rows, 1, sizeof *w->second_hit);
    }
    w->labels = reserve(c, w->copies, w->rows, sizeof *w->labels);
    w->weights = reserve(c, w->rows, 1, sizeof *w->weights);
    w->row_loss = reserve(c, w->rows, 1, sizeof *w->row_loss);
    w->row_hit = reserve(c, w->rows, 1, sizeof *w->row_hit);
    w->hyper = reserve(c, net->n_params, 1, sizeof *w->hyper);
    fa_layout copy = {.fits = true};
    for (int b = 0; b < net->n_buffers; b++) {
        if (w->offset) w->offset[b] = copy.used;
        if (training || net->buffers[b].predicts)
            reserve(&copy, w->rows, net->buffers[b].ld, net->buffers[b].size);
    }
    c->fits = c->fits && copy.fits;
    w->copy_size = copy.used;
    w->buffers = reserve(c, w->copies, 1, w->copy_size);
    if (training) w->scratch = reserve(c, w->threads, 1, net->scratch_size); /* deltas, updates */
    w->packing_bytes = fa_packing_bytes(net, w->rows, training);
    w->pack_cache_size = sizeof(fa_pack_cache) + w->packing_bytes;
    w->pack_caches = w->packing_bytes ? reserve(c, w->threads, 1, w->pack_cache_size) : NULL;
    if (clipping) reserve_clipping(net, w, c);
    if (training && net->n_feedback_tasks) reserve_step_feedback(net, w, c);
}

fa_work *fa_work_create(const fa_net *net, bool training, int64_t rows, int copies, int threads)
{
    fa_work head = {.rows = rows, .copies = copies, .threads = threads};
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

fa_work *fa_work_acquire(const fa_net *net, int slot, int64_t rows, int copies, int threads,
                         bool trains)
{
    fa_work *w = atomic_exchange(&((fa_net *)net)->idle_work[slot], NULL);
    if (w) atomic_store(&w->bad_label, false), atomic_store(&w->nonfinite, false);
    if (w && w->rows >= rows && w->copies >= copies && w->threads >= threads) return w;
    if (w && !trains) keep_idle(net, slot, w);
    if (trains) fa_free(w);
    return fa_work_create(net, slot != 1, rows, copies, threads);
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
    FA_TRY(fa_lock_write(net));
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
    fa_unlock_write(net);
    return FA_OK;
}

/* ---- binding ---- */

static double input_factor(const fa_run *run)
{
    if (run->net->input_scale != 0) return run->net->input_scale;
    return run->data.x_dtype == FA_U8 ? 1.0 / 255 : 1;
}

static bool gathers_input(const fa_run *run)
{ return run->index || run->data.x_dtype == FA_U8 || input_factor(run) != 1; }

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
    if (!gathers_input(run)) run->buf[FA_INPUT] = user_rows(d->x, d->ldx, run->m, net->n_in);
    if (d->y && !run->index) run->buf[FA_TARGET] = user_rows(d->y, d->ldy, run->m, net->n_out);
    run->labels = d->labels ? w->labels + copy * w->rows : NULL;
    run->weights = d->weights && run->index ? w->weights : d->weights;
    run->row_loss = w->row_loss;
    run->row_hit = w->row_hit;
    for (int b = 0; w->second && b < net->n_buffers; b++) w->second[b] = run->buf[net->second[b]];
    if (run->mode < FA_PREDICT) return;
    for (int i = 0; i < net->n_layers; i++) /* what only trains is the identity now */
        if (net->layers[i].ops->flags & FA_TRAIN_ONLY)
            run->buf[net->layers[i].out] = run->buf[net->layers[i].in];
}

void fa_run_set_sample(fa_run *run, const void *x, void *out)
{
    const fa_net *net = run->net;
    run->data.x = x;
    run->buf[net->layers[net->n_layers - 1].out].p = out;
    if (gathers_input(run)) return;
    run->buf[FA_INPUT].p = (char *)x;
    for (int i = 0; net->layers[i].ops->flags & FA_TRAIN_ONLY; i++) /* they pass it on */
        run->buf[net->layers[i].out].p = (char *)x;
}

/* Brings the batch's rows together, scaled and converted, where they cannot be used in place. */
static void gather(const fa_run *run, fa_rows rows)
{
    const fa_net *net = run->net;
    const fa_samples *d = &run->data;
    const int64_t *index = run->index ? run->index + rows.r0 : NULL;
    const int64_t first =
        index ? 0 : rows.r0; /* the user's row that row 0 of this gather starts from */
    if (gathers_input(run)) {
        const fa_mat x = fa_get(run, FA_INPUT, rows);
        if (d->x_dtype == FA_U8)
            net->k->gather_u8(x.p, x.ld, (const uint8_t *)d->x + first * d->ldx, d->ldx, index,
                              x.rows, x.cols, net->input_scale != 0 ? 1 / net->input_scale : 255);
        else
            net->k->gather(x.p, x.ld, (const char *)d->x + (size_t)(first * d->ldx) * net->esize,
                           d->ldx, index, x.rows, x.cols, input_factor(run));
    }
    if (d->y && index) {
        const fa_mat y = fa_get(run, FA_TARGET, rows);
        net->k->gather(y.p, y.ld, d->y, d->ldy, index, y.rows, y.cols, 1);
    }
    for (int64_t r = rows.r0; d->weights && index && r < rows.r1; r++)
        run->work->weights[r] = d->weights[run->index[r]];
}

/* Labels index memory, and another thread may write to the caller's array: what is used is what is checked. */
static void read_labels(const fa_run *run, fa_rows rows)
{
    for (int64_t r = rows.r0; r < rows.r1; r++) {
        const int64_t label = run->data.labels[run->index ? run->index[r] : r];
        const bool fits = fa_label_fits(run->net, label);
        run->labels[r] = fits ? label : 0;
        if (!fits) atomic_store(&run->work->bad_label, true);
    }
}

/* One output column: rules that project the target read it as a number. */
static void label_column(const fa_run *run, fa_rows rows)
{
    const fa_mat y = run->buf[FA_TARGET];
    for (int64_t r = rows.r0; r < rows.r1; r++) {
        if (run->net->dtype == FA_F64)
            ((double *)y.p)[r * y.ld] = (double)run->labels[r];
        else
            ((float *)y.p)[r * y.ld] = (float)run->labels[r];
    }
}

void fa_load_batch(const fa_run *run, fa_rows rows)
{
    gather(run, rows);
    if (run->labels) read_labels(run, rows);
    if (run->labels && run->net->n_out == 1) label_column(run, rows);
}

void fa_forward(const fa_run *run, fa_rows rows, int worker)
{
    fa_load_batch(run, rows);
    fa_forward_layers(run, rows, worker);
}

void fa_forward_layers(const fa_run *run, fa_rows rows, int worker)
{
    const fa_net *net = run->net;
    for (int i = 0; i < net->n_layers; i++) {
        const fa_layer *layer = &net->layers[i];
        if (run->mode >= FA_PREDICT && layer->ops->flags & FA_TRAIN_ONLY) continue;
        layer->ops->forward(layer, run, fa_all_columns(rows, layer->n_out), worker);
    }
}

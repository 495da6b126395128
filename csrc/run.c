/* One step: the phases' tasks and gates. docs/ARCHITECTURE.md has the picture.
 *
 *   rows     a chunk of the batch through every layer: forward, loss, error, S_l, D_l
 *            (large layers: some columns of a layer at a time, columns.c)
 *   gate     losses summed in row order; not finite: stop, nothing has been updated
 *   update   a tile of a parameter: H^T D, optimizer, while the tile is in cache
 *   clipping instead: norm (tiles into a buffer), gate (norm in tile order), apply */
#include "internal.h"

#include <math.h>

void fa_count(const fa_run *run, const atomic_llong *counter, bool first)
{
    if (first && run->mode == FA_TRAIN)
        atomic_fetch_add_explicit((atomic_llong *)counter, 1, memory_order_relaxed);
}

/* ---- rows ---- */

void fa_output_error(const fa_run *run, fa_rows rows)
{
    const fa_net *net = run->net;
    const fa_block *top = &net->blocks[net->n_blocks - 1];
    const fa_mat e = fa_get(run, top->delta, rows);
    net->loss->error(net->k, e, run->row_loss + rows.r0, run->row_hit + rows.r0,
                     fa_get(run, top->layer->out, rows), run->labels ? run->labels + rows.r0 : NULL,
                     fa_get(run, FA_TARGET, rows));
    if (run->mode < FA_PREDICT && top->layer->activation != FA_ACT_linear)
        top->layer->ops->backward(top->layer, run, fa_all_columns(rows, net->n_out), e, true);
}

/* S_l in place of D_l, then D_l through the followers and f', unless it came at once. */
void fa_compute_delta(const fa_run *run, int b, fa_part part, int worker)
{
    static const fa_rule exact = {.ops = &fa_rule_backprop};
    const fa_net *net = run->net;
    const fa_block *block = &net->blocks[b];
    const fa_rule *rule = run->exact ? &exact : &block->rule;
    const fa_mat d = fa_get_part(run, block->delta, part);
    if (rule->ops->delta) {
        rule->ops->delta(run, b, part.rows, d);
        return;
    }
    rule->ops->signal(rule, run, b, part, d, worker);
    if (rule->fuses_relu_backward) return;
    for (int i = block->last; i >= block->first; i--)
        net->layers[i].ops->backward(&net->layers[i], run, part, d, !rule->pre);
}

bool fa_needs_delta(const fa_run *run, int b)
{ return run->exact || run->net->blocks[b].needs_delta; }

void fa_weight_rows(const fa_run *run, fa_rows rows)
{
    for (int b = 0; b < run->net->n_blocks; b++) {
        if (!fa_needs_delta(run, b)) continue;
        const fa_mat d = fa_get(run, run->net->blocks[b].delta, rows);
        run->net->k->scale_rows(d.p, d.ld, run->weights + rows.r0, d.rows, d.cols);
        const fa_buf projected = run->net->blocks[b].rule.projected;
        if (projected == FA_NO_BUF || run->exact) continue;
        const fa_mat t = fa_get(run, projected, rows);
        run->net->k->scale_rows(t.p, t.ld, run->weights + rows.r0, t.rows, t.cols);
    }
}

/* What rules make of the weights, once a step: before the rows, whose tasks all read it. */
void fa_step_feedback_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const fa_run *run = context;
    const fa_feedback_task *work = &run->net->feedback_tasks[task];
    fa_make_step_feedback(run, work->block, work->rows);
}

fa_rows fa_chunk_of(const fa_run *run, int64_t task)
{
    const int64_t end = (task + 1) * run->chunk;
    return (fa_rows){task * run->chunk, end < run->m ? end : run->m};
}

/* A unit that saturates hides an infinite input from the loss, but not from the gradient. */
static bool finite_input(const fa_run *run, fa_rows rows)
{
    const fa_mat x = fa_get(run, FA_INPUT, rows);
    return run->net->k->all_finite(x.p, x.ld, x.rows, x.cols);
}

void fa_loss_and_error(const fa_run *run, fa_rows rows)
{
    fa_output_error(run, rows);
    if (run->x_unchecked && !finite_input(run, rows)) run->row_loss[rows.r0] = NAN;
}

void fa_forward_task(void *context, int64_t task, int worker)
{
    const fa_run *run = context;
    const fa_rows rows = fa_chunk_of(run, task);
    fa_forward(run, rows, worker);
    fa_loss_and_error(run, rows);
}

void fa_delta_task(void *context, int64_t task, int worker)
{
    const fa_run *run = context;
    const fa_rows rows = fa_chunk_of(run, task);
    const int hidden = run->net->n_blocks - 1;
    if (run->net->modulation && !run->exact) fa_second_pass(run, rows, worker);
    for (int i = 0; i < hidden; i++) {
        const int b = run->exact ? hidden - 1 - i : run->net->order[i];
        if (fa_needs_delta(run, b))
            fa_compute_delta(run, b, fa_all_columns(rows, run->net->blocks[b].layer->n_out),
                             worker);
    }
    if (run->weights) fa_weight_rows(run, rows);
}

void fa_rows_task(void *context, int64_t task, int worker)
{
    fa_forward_task(context, task, worker);
    fa_delta_task(context, task, worker);
}

/* Sample weights that no earlier check has seen: one that the network's dtype cannot hold would become infinite. */
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
        return fa_fail(
            FA_E_VALUE,
            "y: a label was changed to one out of range while it was in use; nothing was updated");
    if (run->weights) FA_TRY(check_weights(run));
    double loss = 0, hits = 0;
    for (int64_t r = 0; r < run->m; r++) {
        loss += run->weights ? run->weights[r] * run->row_loss[r] : run->row_loss[r];
        hits += run->row_hit[r];
    }
    run->loss = loss / (double)run->m;
    run->hits = hits;
    const bool finite = isfinite(run->loss);
    if (finite && !atomic_load_explicit(&run->work->nonfinite, memory_order_relaxed)) return FA_OK;
    FA_TRY(fa_check_tensors(run->net));
    if (finite) return FA_OK; /* all numbers are in range, only their sum is not */
    return fa_fail(FA_E_NONFINITE, "loss is not finite (%s); nothing was updated",
                   isnan(run->loss) ? "nan" : "inf");
}

/* ---- tiles ---- */

static fa_mat columns(const fa_run *run, fa_buf b, int64_t j0, int64_t j1)
{
    const fa_mat a = run->buf[b];
    return (fa_mat){a.p + (size_t)j0 * run->net->esize, a.ld, run->m, j1 - j0};
}

/* Where the columns of a tile are packed, if they are: a worker's next tile is the one below, as a rule. */
static fa_packed_b *packed_columns(const fa_run *run, fa_buf buf, fa_tile t, int worker)
{
    fa_pack_cache *cache = fa_pack_cache_of(run, worker);
    if (!cache) return NULL;
    if (cache->run != run->serial || cache->buf != buf || cache->j0 != t.j0 || cache->j1 != t.j1)
        *cache = (fa_pack_cache){.right = {.buffer = cache->bytes,
                                           .bytes = run->work->packing_bytes,
                                           .remote = run->shared},
                                 .run = run->serial,
                                 .j0 = t.j0,
                                 .j1 = t.j1,
                                 .buf = buf};
    return &cache->right;
}

/* g = alpha * sum over pairs of left^T right + beta * g on the tile; g points at the tile's first element. */
static void tile_product(const fa_run *run, const fa_param *p, fa_tile t, fa_mat g, double alpha,
                         double beta, int worker)
{
    const fa_net *net = run->net;
    fa_packed_b in_place = {.remote = run->shared};
    for (int i = 0; i < p->n_grad; i++, beta = 1) {
        const fa_mat right = columns(run, p->grad[i].right, t.j0, t.j1);
        if (p->grad[i].left == FA_ONES) {
            net->k->colsum(g.p, right.p, right.ld, right.rows, right.cols, alpha, beta);
            continue;
        }
        fa_packed_b *const packed = packed_columns(run, p->grad[i].right, t, worker);
        fa_matmul_tn(net, g, columns(run, p->grad[i].left, t.i0, t.i1), right, alpha, beta,
                     packed ? packed : &in_place);
        fa_count(run, &net->count_outer, t.i0 == 0 && t.j0 == 0);
    }
}

static fa_mat tile_of(const fa_net *net, void *matrix, const fa_param *p, fa_tile t)
{
    return (fa_mat){(char *)matrix + (size_t)(t.i0 * p->cols + t.j0) * net->esize, p->cols,
                    t.i1 - t.i0, t.j1 - t.j0};
}

/* One step on a tile, and of the tile across the diagonal of the parameter that follows. */
static void step(const fa_run *run, const fa_param *p, fa_tile t, fa_mat g, fa_optim_kernel *kernel,
                 const fa_hyper *h)
{
    const fa_net *net = run->net;
    const fa_param *f = p->coupled;
    const fa_mat w = tile_of(net, p->value, p, t);
    const fa_mat b = f ? tile_of(net, f->value, f, (fa_tile){t.j0, t.j1, t.i0, t.i1}) : (fa_mat){0};
    void *slot[2];
    for (int s = 0; s < 2; s++) slot[s] = p->slot[s] ? tile_of(net, p->slot[s], p, t).p : NULL;
    if (!kernel(w.p, w.ld, slot[0], slot[1], b.p, b.ld, g.p, g.ld, w.rows, w.cols, h))
        atomic_store(&((fa_net *)net)->suspect, true);
}

static void optimizer_step(const fa_run *run, const fa_param *p, fa_tile t, fa_mat g)
{
    fa_hyper h = run->work->hyper[p - run->net->params];
    h.g_scale = run->clip_scale;
    step(run, p, t, g, run->net->optim.ops->kernel(run->net->k), &h);
}

fa_update_scale fa_in_place_scale(const fa_run *run, const fa_param *p)
{
    const fa_hyper *h = &run->work->hyper[p - run->net->params];
    return (fa_update_scale){-h->lr / (double)run->m, h->keep - h->lr * h->decay};
}

void fa_update(const fa_run *run, int param, fa_tile t, int worker)
{
    const fa_net *net = run->net;
    const fa_param *p = &net->params[param];
    const fa_update_scale blend = fa_in_place_scale(run, p);
    if (p->in_place && !p->coupled) {
        tile_product(run, p, t, tile_of(net, p->value, p, t), blend.alpha, blend.beta, worker);
        return;
    }
    const fa_mat g = {fa_scratch(run, worker), t.j1 - t.j0, t.i1 - t.i0, t.j1 - t.j0};
    tile_product(run, p, t, g, p->in_place ? blend.alpha : 1 / (double)run->m, 0, worker);
    if (!p->in_place) {
        optimizer_step(run, p, t, g);
        return;
    }
    fa_hyper h = run->work->hyper[param];
    h.keep = blend.beta;
    step(run, p, t, g, net->k->plain, &h);
}

void fa_update_task(void *context, int64_t task, int worker)
{
    const fa_run *run = context;
    const fa_net *net = run->net;
    const fa_tile_task *work = &net->tiles[task];
    fa_update(run, work->param, work->tile, worker);
}

/* On one thread: small tasks are for sharing. */
static void update_serial(const fa_run *run)
{
    const fa_net *net = run->net;
    for (int64_t i = 0; i < net->n_serial_tiles; i++)
        fa_update(run, net->serial_tiles[i].param, net->serial_tiles[i].tile, 0);
}

/* The tile of the gradient, into the run's gradient buffers. */
static fa_mat gradient_tile(const fa_run *run, const fa_tile_task *work, int worker)
{
    const fa_param *p = &run->net->params[work->param];
    const fa_mat g = tile_of(run->net, run->grads[work->param], p, work->tile);
    tile_product(run, p, work->tile, g, 1 / (double)run->m, 0, worker);
    return g;
}

static void gradient_task(void *context, int64_t task, int worker)
{
    const fa_run *run = context;
    if (run->grads[run->net->tiles[task].param]) gradient_tile(run, &run->net->tiles[task], worker);
}

void fa_norm_task(void *context, int64_t task, int worker)
{
    const fa_run *run = context;
    const fa_mat g = gradient_tile(run, &run->net->tiles[task], worker);
    run->work->tile_norm[task] = run->net->k->dot(g.p, g.ld, g.p, g.ld, g.rows, g.cols);
}

fa_status fa_check_norm(fa_run *run)
{
    double sum = 0;
    for (int64_t i = 0; i < run->net->n_tiles; i++) sum += run->work->tile_norm[i];
    const double norm = sqrt(sum), scale = run->net->optim.desc.clip_norm / (norm + 1e-6);
    run->clip_scale = scale < 1 ? scale : 1;
    if (isfinite(norm)) return FA_OK;
    return fa_fail(FA_E_NONFINITE, "gradient norm is not finite (%s); nothing was updated",
                   isnan(norm) ? "nan" : "inf");
}

void fa_apply_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const fa_run *run = context;
    const fa_tile_task *work = &run->net->tiles[task];
    const fa_param *p = &run->net->params[work->param];
    optimizer_step(run, p, work->tile, tile_of(run->net, run->grads[work->param], p, work->tile));
}

/* ---- the step ---- */

static void begin_update(fa_run *run)
{
    const fa_optim *optim = &run->net->optim;
    fa_hyper base = {.keep = 1, .g_scale = 1};
    optim->ops->begin(&optim->desc, run->step + 1, &base);
    for (int i = 0; i < run->net->n_params; i++) {
        const fa_param *p = &run->net->params[i];
        fa_hyper *h = &run->work->hyper[i];
        *h = base;
        h->lr = run->lr * p->lr_scale;
        h->keep = 1 - p->feedback_decay;
        h->lambda = p->coupled ? p->coupled->feedback_decay : 0;
        if (!p->decays) continue;
        if (optim->ops->decoupled_decay)
            h->keep -= h->lr * optim->desc.weight_decay;
        else
            h->decay = optim->desc.weight_decay;
    }
    if (run->work->grads) run->grads = run->work->grads;
    run->clip_scale = 1;
}

/* Rows of a task. With own products any split gives the same bits; with BLAS it must not move. */
static int64_t chunk_rows(const fa_net *net, int64_t m, int threads)
{
    if (net->blas) return FA_BLAS_CHUNK;
    const int64_t share = ((m + threads - 1) / threads + 7) / 8 * 8;
    return share < FA_CHUNK ? share : FA_CHUNK;
}

static void begin(fa_run *run, int64_t chunk, int threads)
{
    fa_run_bind(run, 0);
    run->chunk = chunk;
    run->shared = threads > 1;
    run->serial = ++run->work->steps;
    atomic_store_explicit(&run->work->nonfinite, false, memory_order_relaxed);
}

static fa_status step_on(fa_run *run, int threads)
{
    const fa_net *net = run->net;
    begin(run, chunk_rows(net, run->m, threads), threads);
    const int64_t chunks = (run->m + run->chunk - 1) / run->chunk;
    if (!run->exact) fa_parallel_for(threads, net->n_feedback_tasks, fa_step_feedback_task, run);
    if (run->mode != FA_TRAIN) {
        const bool has_custom_rule = net->has_custom_rule && !run->exact;
        fa_parallel_for(threads, chunks, has_custom_rule ? fa_forward_task : fa_rows_task, run);
        FA_TRY(has_custom_rule ? fa_custom_signals(run) : fa_check_loss(run));
        if (has_custom_rule) {
            fa_parallel_for(threads, chunks, fa_delta_task, run);
            FA_TRY(fa_check_loss(run)); /* heads may have found what the output did not */
        }
        if (run->mode == FA_GRADIENTS) fa_parallel_for(threads, net->n_tiles, gradient_task, run);
        return FA_OK;
    }
    const bool by_columns = fa_by_columns(run, threads);
    begin_update(run);
    for (int i = 0; i < net->n_phases; i++) {
        const struct fa_phase *phase = &net->phases[i];
        if (threads == 1 && phase->task == fa_update_task)
            update_serial(run);
        else if (phase->task == fa_rows_task && by_columns)
            fa_run_columns(run, threads);
        else if (phase->task == fa_update_task && by_columns)
            fa_update_columns(run, threads);
        else
            fa_parallel_for(threads, phase->over_rows ? chunks : net->n_tiles, phase->task, run);
        if (phase->at_barrier) FA_TRY(phase->at_barrier(run));
    }
    return FA_OK;
}

fa_status fa_run_step(fa_run *run)
{
    int threads = fa_run_threads(run->net, run->m);
    if (threads > run->work->threads) threads = run->work->threads;
    return run->mode == FA_TRAIN ? fa_tuner_step(run, threads, step_on) : step_on(run, threads);
}

fa_status fa_run_deferred(fa_run *run)
{
    begin(run, run->m, 1);
    begin_update(run);
    fa_rows_task(run, 0, 0);
    return fa_check_loss(run);
}

void fa_run_flush(fa_run *run) { update_serial(run); }

/* The update of a tile: its gradient left^T right, and the optimizer step while the tile is in
 * cache. */
#include "engine/sparse.h"
#include "engine/step.h"

#include <math.h>

static fa_mat columns(const fa_run *run, fa_buf b, int64_t j0, int64_t j1)
{
    const fa_mat a = run->buf[b];
    return (fa_mat){a.p + (size_t)j0 * run->net->esize, a.ld, run->m, j1 - j0};
}

/* The packing buffer for the columns of a tile, or NULL. A worker's next tile is usually the one
 * below, with the same columns. */
static fa_packed_b *packed_columns(const fa_run *run, const fa_linalg *la, fa_buf buf, fa_tile t,
                                   int worker)
{
    fa_pack_cache *cache = fa_pack_cache_of(run, worker);
    if (!cache) return NULL;
    if (cache->run != run->serial || cache->buf != buf || cache->j0 != t.j0 || cache->j1 != t.j1 ||
        cache->linalg != la)
        *cache = (fa_pack_cache){
            .b = {.buffer = cache->bytes, .bytes = run->work->packing_bytes, .remote = run->shared},
            .run = run->serial,
            .j0 = t.j0,
            .j1 = t.j1,
            .buf = buf,
            .linalg = la};
    return &cache->b;
}

/* A tile of a parameter with traces, in a step of a stream: they move, and g is their gradient. No
 * data in g: they move only. */
static void trace_product(const fa_run *run, const fa_param *p, fa_tile t, fa_mat g, double alpha,
                          double beta)
{
    const fa_net *net = run->net;
    const size_t esize = net->esize, row = (size_t)p->cols * esize, first = (size_t)t.j0 * esize;
    const char *const factors = run->buf[p->stream].p + first;
    const fa_buf left = p->grad[0].left;
    char *const e = (char *)p->trace->value + (size_t)t.i0 * row + first;
    net->k->trace(g.p, g.ld, e, p->cols,
                  left == FA_ONES ? NULL : run->buf[left].p + (size_t)t.i0 * esize, factors,
                  factors + row, factors + 2 * row, t.i1 - t.i0, t.j1 - t.j0, alpha, beta);
}

void fa_move_traces(const fa_run *run)
{
    for (int i = 0; i < run->net->n_params; i++) {
        const fa_param *p = &run->net->params[i];
        if (p->trace) trace_product(run, p, (fa_tile){0, p->rows, 0, p->cols}, (fa_mat){0}, 0, 0);
    }
}

void fa_gradient_product(const fa_run *run, const fa_linalg *la, fa_buf left, fa_rows i, fa_mat g,
                         fa_mat right, double alpha, double beta, fa_packed_b *packed)
{
    if (run->csr && fa_csr_values(run, left))
        fa_csr_gradient(run, i, g, right, alpha, beta);
    else
        fa_matmul_tn(la, g, columns(run, left, i.r0, i.r1), right, alpha, beta, packed);
}

/* g = alpha * sum over pairs of left^T right + beta * g on the tile; g points at the tile's first
 * element. */
static void tile_product(const fa_run *run, const fa_param *p, fa_tile t, fa_mat g, double alpha,
                         double beta, int worker)
{
    const fa_net *net = run->net;
    fa_packed_b in_place = {.remote = run->shared};
    if (p->trace && run->stream) {
        trace_product(run, p, t, g, alpha, beta);
        return;
    }
    for (int i = 0; i < p->n_grad; i++, beta = 1) {
        const fa_pair pair = p->grad[i];
        if (pair.windows) {
            pair.windows->ops->gradient(pair.windows, run, pair, t, g, alpha, worker);
            fa_count(run, &net->count_outer, pair.left != FA_ONES && t.i0 == 0 && t.j0 == 0);
            continue;
        }
        const fa_mat right = columns(run, pair.right, t.j0, t.j1);
        if (p->grad[i].left == FA_ONES) {
            net->k->colsum(g.p, right.p, right.ld, right.rows, right.cols, alpha, beta);
            continue;
        }
        fa_packed_b *const packed = packed_columns(run, p->linalg, p->grad[i].right, t, worker);
        fa_gradient_product(run, p->linalg, p->grad[i].left, (fa_rows){t.i0, t.i1}, g, right, alpha,
                            beta, packed ? packed : &in_place);
        fa_count(run, &net->count_outer, t.i0 == 0 && t.j0 == 0);
    }
}

static fa_mat tile_of(const fa_net *net, void *matrix, const fa_param *p, fa_tile t)
{
    return (fa_mat){(char *)matrix + (size_t)(t.i0 * p->cols + t.j0) * net->esize, p->cols,
                    t.i1 - t.i0, t.j1 - t.j0};
}

/* The gradient of a tile; of some feedback it has a term of the values themselves. */
static void tile_gradient(const fa_run *run, const fa_param *p, fa_tile t, fa_mat g, int worker)
{
    if (p->gain == 0) {
        tile_product(run, p, t, g, 1 / run->count, 0, worker);
        return;
    }
    const fa_mat value = tile_of(run->net, p->value, p, t);
    run->net->k->gather(g.p, g.ld, value.p, value.ld, NULL, g.rows, g.cols, p->pull);
    tile_product(run, p, t, g, p->sums ? p->gain : p->gain / run->count, 1, worker);
}

/* One step on a tile, and on the transposed tile of coupled feedback. */
static void step(const fa_run *run, const fa_param *p, fa_tile t, fa_mat g, fa_optim_kernel *kernel,
                 const fa_hyper *h)
{
    const fa_net *net = run->net;
    const fa_param *f = p->coupled;
    const fa_mat w = tile_of(net, p->value, p, t);
    const fa_mat b = f ? tile_of(net, f->value, f, (fa_tile){t.j0, t.j1, t.i0, t.i1}) : (fa_mat){0};
    void *slot[FA_MAX_SLOTS];
    for (int s = 0; s < FA_MAX_SLOTS; s++)
        slot[s] = p->slot[s] ? tile_of(net, p->slot[s], p, t).p : NULL;
    if (!kernel(w.p, w.ld, slot[0], slot[1], slot[2], b.p, b.ld, g.p, g.ld, w.rows, w.cols, h))
        atomic_store(&((fa_net *)net)->suspect, true);
}

/* g + l1 sign(w), in the second half of scratch. Kernels multiply the sum by the clip factor, which
 * the second term is divided by. */
static fa_mat add_l1(const fa_run *run, const fa_param *p, fa_tile t, fa_mat g, int worker)
{
    const fa_net *net = run->net;
    const fa_mat w = tile_of(net, p->value, p, t);
    char *const half = (char *)fa_scratch(run, worker) + net->scratch_size / 2;
    const fa_mat sum = {half, w.cols, w.rows, w.cols};
    net->k->ternary(sum.p, sum.ld, w.p, w.ld, w.rows, w.cols, 0);
    net->k->add_scaled(sum.p, sum.ld, g.p, g.ld, sum.p, sum.ld, w.rows, w.cols,
                       net->optim.desc.l1 / run->clip_scale);
    return sum;
}

static void optimizer_step(const fa_run *run, const fa_param *p, fa_tile t, fa_mat g, int worker)
{
    if (p->share != 0) {
        const fa_hyper own = {.lr = p->share, .keep = 1, .g_scale = 1};
        step(run, p, t, g, run->net->k->sgd, &own);
        return;
    }
    fa_hyper h = run->work->hyper[p - run->net->params];
    h.g_scale = run->clip_scale;
    if (p->sparsens) g = add_l1(run, p, t, g, worker);
    step(run, p, t, g, run->net->optim.ops->kernel(run->net->k, &run->net->optim.desc), &h);
}

fa_update_scale fa_in_place_scale(const fa_run *run, const fa_param *p)
{
    const fa_hyper *h = &run->work->hyper[p - run->net->params];
    return (fa_update_scale){-h->lr / run->count, h->keep - h->lr * h->decay};
}

void fa_update(const fa_run *run, int param, fa_tile t, int worker)
{
    const fa_net *net = run->net;
    const fa_param *p = &net->params[param];
    const fa_update_scale scale = fa_in_place_scale(run, p);
    if (p->in_place && !p->coupled) {
        tile_product(run, p, t, tile_of(net, p->value, p, t), scale.alpha, scale.beta, worker);
        return;
    }
    const fa_mat g = {fa_scratch(run, worker), t.j1 - t.j0, t.i1 - t.i0, t.j1 - t.j0};
    if (!p->in_place) {
        tile_gradient(run, p, t, g, worker);
        optimizer_step(run, p, t, g, worker);
        return;
    }
    tile_product(run, p, t, g, scale.alpha, 0, worker);
    fa_hyper h = run->work->hyper[param];
    h.keep = scale.beta;
    step(run, p, t, g, net->k->plain, &h);
}

void fa_update_task(void *context, int64_t task, int worker)
{
    const fa_run *run = context;
    const fa_net *net = run->net;
    const fa_tile_task *work = &net->tiles[task];
    fa_update(run, work->param, work->tile, worker);
}

/* The update on one thread, in larger tiles. */
void fa_update_serial(const fa_run *run)
{
    const fa_net *net = run->net;
    for (int64_t i = 0; i < net->n_serial_tiles; i++)
        fa_update(run, net->serial_tiles[i].param, net->serial_tiles[i].tile, 0);
}

/* Computes a tile of the gradient in the run's gradient buffers. */
static fa_mat gradient_tile(const fa_run *run, const fa_tile_task *work, int worker)
{
    const fa_param *p = &run->net->params[work->param];
    const fa_mat g = tile_of(run->net, run->grads[work->param], p, work->tile);
    tile_gradient(run, p, work->tile, g, worker);
    return g;
}

void fa_gradient_task(void *context, int64_t task, int worker)
{
    const fa_run *run = context;
    if (run->grads[run->net->tiles[task].param]) gradient_tile(run, &run->net->tiles[task], worker);
}

/* Its part of the norm; feedback that learns without the optimizer has none. */
static double tile_norm(const fa_run *run, int64_t task, fa_mat g)
{
    if (run->net->params[run->net->tiles[task].param].share != 0) return 0;
    return run->net->k->dot(g.p, g.ld, g.p, g.ld, g.rows, g.cols);
}

void fa_norm_task(void *context, int64_t task, int worker)
{
    const fa_run *run = context;
    run->work->tile_norm[task] =
        tile_norm(run, task, gradient_tile(run, &run->net->tiles[task], worker));
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

void fa_given_norm_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const fa_run *run = context;
    const fa_tile_task *work = &run->net->tiles[task];
    void *const all = run->grads[work->param];
    run->work->tile_norm[task] = 0;
    if (!all) return;
    const fa_mat g = tile_of(run->net, all, &run->net->params[work->param], work->tile);
    run->work->tile_norm[task] = tile_norm(run, task, g);
}

void fa_apply_task(void *context, int64_t task, int worker)
{
    const fa_run *run = context;
    const fa_tile_task *work = &run->net->tiles[task];
    const fa_param *p = &run->net->params[work->param];
    if (!run->grads[work->param]) return;
    const fa_mat g = tile_of(run->net, run->grads[work->param], p, work->tile);
    optimizer_step(run, p, work->tile, g, worker);
}

void fa_begin_update(fa_run *run)
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

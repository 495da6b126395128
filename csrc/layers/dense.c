/* Dense: A = H W + b, H = f(A). */
#include "engine/sparse.h"
#include "layers/layers.h"

static const fa_option_row dense_options[] = {FA_OPTIONS_OF_ACTIVATIONS, {0}};

fa_status fa_plan_dense(fa_net *net, fa_layer *layer)
{
    FA_TRY(fa_check_weighted(layer, "units"));
    FA_TRY(fa_expect_flat(layer));
    layer->out_shape = (fa_shape){0, 0, layer->desc.units};
    layer->n_out = layer->desc.units;
    layer->fan_in = layer->n_in, layer->fan_out = layer->n_out;
    layer->work = (double)layer->n_in * (double)layer->n_out;
    FA_TRY(fa_plan_weighted(net, layer, layer->n_in, fa_plan_buffer));
    fa_plan_scratch(net, fa_matmul_nt_scratch(&net->linalg, layer->n_out));
    return FA_OK;
}

static fa_mat weights(const fa_layer *layer)
{ return (fa_mat){layer->weight->value, layer->n_out, layer->n_in, layer->n_out}; }

/* Makes the pending update of the previous sample and computes A of this one, in one pass over
 * W. */
static void update_and_multiply(const fa_layer *layer, const fa_run *run, fa_mat a, fa_mat x)
{
    const fa_run *before = run->pending;
    const fa_param *w = layer->weight, *b = layer->bias;
    const fa_mat h = before->buf[w->grad[0].left], d = before->buf[w->grad[0].right];
    const fa_update_scale scale = fa_in_place_scale(before, w);
    if (b) {
        const fa_update_scale bias = fa_in_place_scale(before, b);
        run->net->k->colsum(b->value, d.p, d.ld, 1, b->cols, bias.alpha, bias.beta);
    }
    if (!run->net->k->update_forward(a.p, w->value, w->cols, x.p, b ? b->value : NULL, h.p, d.p,
                                     w->rows, w->cols, scale.alpha, scale.beta))
        atomic_store(&run->work->nonfinite, true);
    fa_count(run, &run->net->count_outer, true);
}

void fa_dense_product(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat a, bool relu,
                      int worker)
{
    const fa_net *net = run->net;
    const fa_mat x = fa_get(run, layer->in, part.rows);
    const fa_mat w = fa_columns_of(weights(layer), part.c0, part.c1, net->esize);
    const fa_epilogue epilogue = {
        .bias = layer->bias ? (char *)layer->bias->value + (size_t)part.c0 * net->esize : NULL,
        .nonfinite = fa_nonfinite_flag(run),
        .relu = relu};
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    packed_b.remote = run->shared;
    const void *sparse = run->csr ? fa_csr_values(run, layer->in) : NULL;
    if (sparse)
        fa_csr_matmul(run, sparse, part.rows, a, w, &epilogue);
    else if (run->pending && layer->weight->trainable)
        update_and_multiply(layer, run, a, x);
    else
        fa_matmul(layer->weight->linalg, a, x, w, &epilogue, &packed_b);
    fa_count(run, &net->count_forward, fa_is_first(part));
}

static void forward(const fa_layer *layer, const fa_run *run, fa_part part, int worker)
{
    const fa_mat h = fa_get_part(run, layer->out, part);
    const fa_mat a = layer->preact == FA_NO_BUF ? h : fa_get_part(run, layer->preact, part);
    const bool fuses_relu =
        layer->activation == FA_ACT_relu && !run->pending && layer->preact == FA_NO_BUF;
    fa_dense_product(layer, run, part, a, fuses_relu, worker);
    if ((layer->activation != FA_ACT_linear && !fuses_relu) || a.p != h.p)
        run->net->k->act[layer->activation](h.p, h.ld, a.p, a.ld, h.rows, h.cols, layer->f_option);
}

void fa_dense_transport(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d,
                        fa_mat out, int worker)
{
    const fa_mat w = fa_rows_of(weights(layer), (fa_rows){part.c0, part.c1}, run->net->esize);
    fa_run_matmul_nt(run, out, d, w, layer->weight->linalg, worker);
    fa_count(run, &run->net->count_transport, fa_is_first(part));
}

const fa_layer_ops fa_layer_dense = {.name = "dense",
                                     .flags = FA_WEIGHTED,
                                     .options = dense_options,
                                     .plan = fa_plan_dense,
                                     .columns = true,
                                     .sparse = true,
                                     .forward = forward,
                                     .backward = fa_weighted_backward,
                                     .transport = fa_dense_transport};

/* Declarations that layers and rules make while a network is planned. */
#include "model/declare.h"

#include <stdio.h>

/* Rows begin on a cache line where that costs little. Their stride is not a multiple of 1 KiB: rows
 * of a tile would share few cache sets. */
static ptrdiff_t padded(int64_t cols, size_t size)
{
    const int64_t line = 64 / (int64_t)size;
    if (cols < 16 * line) return cols;
    const int64_t lines = fa_ceil_div(cols, line);
    return (lines + (lines % 16 == 0)) * line;
}

fa_buf fa_plan_buffer(fa_net *net, int64_t cols, size_t size)
{
    net->buffers[net->n_buffers].size = size;
    fa_plan_buffer_width(net, net->n_buffers, cols);
    return net->n_buffers++;
}

fa_buf fa_plan_tight_buffer(fa_net *net, int64_t cols, size_t size)
{
    const fa_buf b = fa_plan_buffer(net, cols, size);
    net->buffers[b].ld = cols;
    return b;
}

void fa_plan_buffer_width(fa_net *net, fa_buf b, int64_t cols)
{
    net->buffers[b].cols = cols;
    net->buffers[b].ld = padded(cols, net->buffers[b].size);
}

const fa_linalg *fa_plan_linalg(const fa_net *net, const fa_layer *layer, int64_t rows,
                                int64_t cols)
{
    if (!net->bf16.bf16 || layer->ops->gradient || layer->ops->flags & FA_OVER_TIME)
        return &net->linalg;
    return fa_bf16_pays(rows, cols) ? &net->bf16 : &net->linalg;
}

fa_param *fa_plan_param(fa_net *net, const char *name, int layer, fa_tensor_kind kind, int64_t rows,
                        int64_t cols)
{
    fa_param *p = &net->params[net->n_params++];
    *p = (fa_param){.kind = kind, .rows = rows, .cols = cols};
    p->linalg = fa_plan_linalg(net, &net->layers[layer], rows, cols);
    snprintf(p->key, sizeof p->key, "%d.%s", layer, name);
    return p;
}

fa_status fa_plan_feedback(fa_net *net, int block, int64_t source)
{
    fa_block *b = &net->blocks[block];
    const int64_t cols = fa_feedback_cols(net, block);
    FA_TRY(fa_feedback_check(net, block, source, cols));
    b->rule.feedback = fa_plan_param(net, "feedback", b->layer->index, FA_FEEDBACK, source, cols);
    return FA_OK;
}

fa_status fa_plan_fixed_feedback(fa_net *net, int block, int64_t source)
{
    FA_TRY(fa_plan_feedback(net, block, source));
    net->blocks[block].rule.nnz = fa_feedback_nnz(net, block, source);
    return FA_OK;
}

void fa_plan_scratch(fa_net *net, size_t bytes)
{
    if (bytes > net->scratch_size) net->scratch_size = (bytes + 63) & ~(size_t)63;
}

void fa_plan_window_scratch(fa_net *net, size_t bytes)
{
    if (bytes > net->window_size) net->window_size = (bytes + 63) & ~(size_t)63;
}

void fa_plan_trained(fa_net *net, fa_param *p, fa_buf left, fa_buf right)
{
    const fa_optimizer_desc *d = &net->optim.desc;
    p->trainable = true;
    const bool shrinks = p->kind != FA_BIAS || d->decay_bias;
    p->decays = d->weight_decay != 0 && shrinks;
    p->sparsens = d->l1 != 0 && shrinks;
    p->in_place =
        net->optim.ops->in_place && net->optim.n_slots == 0 && d->clip_norm == 0 && !p->sparsens;
    p->grad[p->n_grad++] = (fa_pair){left, right, NULL};
}

void fa_plan_learned(const fa_block *block, fa_param *p, fa_buf left, fa_buf right)
{
    p->trainable = block->layer->desc.trainable;
    p->grad[p->n_grad++] = (fa_pair){left, right, NULL};
}

fa_status fa_plan_private(fa_net *net, void **state, size_t size)
{
    *state = fa_net_alloc(net, 1, size);
    return *state ? FA_OK : fa_fail(FA_E_MEMORY, "out of memory for the plan");
}

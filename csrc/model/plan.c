/* Planning: makes layers, blocks, parameters, buffers, tiles and phases from a description. It runs
 * once, while a network is created; nothing depends on the batch size. */
#include "model/description.h"
#include "model/declare.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- layers and blocks ---- */

/* `init` belongs to the network's own description and points to the copy from then on. */
fa_status fa_own_values(fa_net *net, fa_init *init)
{
    if (!init->values || fa_net_owns(net, init->values)) return FA_OK;
    void *copy = fa_net_alloc(net, init->rows * init->cols, net->esize);
    if (!copy)
        return fa_fail(FA_E_MEMORY, "out of memory for given values of %lld x %lld",
                       (long long)init->rows, (long long)init->cols);
    memcpy(copy, init->values, (size_t)(init->rows * init->cols) * net->esize);
    init->values = copy;
    return FA_OK;
}

static fa_status own_initial_values(fa_net *net, fa_layer *layer, fa_layer_desc *desc)
{
    FA_TRY(fa_own_values(net, &desc->weight_init));
    FA_TRY(fa_own_values(net, &desc->bias_init));
    if (layer->recurrent) { /* of other layers nobody has checked it, and nobody reads it */
        FA_TRY(fa_own_values(net, &desc->recurrent_init));
        layer->desc.recurrent_init = desc->recurrent_init;
        if (!desc->recurrent_init.values)
            layer->desc.recurrent_init.name = fa_init_intern(desc->recurrent_init.name);
    }
    layer->desc.weight_init = desc->weight_init;
    layer->desc.bias_init = desc->bias_init;
    if (!desc->weight_init.values)
        layer->desc.weight_init.name = fa_init_intern(desc->weight_init.name);
    if (!desc->bias_init.values) layer->desc.bias_init.name = fa_init_intern(desc->bias_init.name);
    return FA_OK;
}

/* Adds a layer without weights to the block below it. */
static void extend_block(fa_net *net, fa_layer *layer)
{
    fa_block *block = &net->blocks[net->n_blocks - 1];
    block->last = block->signal_at = layer->index;
    if (layer->signal == FA_NO_BUF) layer->signal = net->layers[layer->index - 1].signal;
}

static fa_status plan_layer(fa_net *net, fa_layer_desc *desc, int i)
{
    fa_layer *layer = &net->layers[i];
    *layer = (fa_layer){.desc = *desc, .index = i, .preact = FA_NO_BUF, .signal = FA_NO_BUF};
    layer->ops = fa_find_layer(desc->type);
    if (!layer->ops) return fa_unknown_name(i, "type", FA_NAMES_LAYER, desc->type);
    net->recurrent = net->recurrent || layer->ops->flags & FA_OVER_TIME;
    layer->desc.type = layer->ops->name;
    const bool weighted = layer->ops->flags & FA_WEIGHTED;
    if (weighted || layer->ops->flags & FA_ACTIVATES) {
        layer->activation = fa_find_activation(desc->activation);
        if (layer->activation < 0)
            return fa_unknown_name(i, "activation", FA_NAMES_ACTIVATION, desc->activation);
        layer->desc.activation = fa_activation_name(layer->activation);
        const int option =
            fa_find_option(layer->ops->options, fa_activation_option(layer->activation));
        if (option >= 0) layer->f_option = layer->desc.options[option].number;
    }
    if (weighted) layer->ordinal = net->n_blocks;
    if (i)
        layer->in_shape = net->layers[i - 1].out_shape;
    else
        FA_TRY(fa_plan_input(&layer->in_shape, &net->desc));
    layer->out_shape = layer->in_shape;
    layer->n_in = layer->n_out = fa_shape_size(layer->in_shape);
    layer->in = layer->gradient_in = i ? net->layers[i - 1].out : FA_INPUT;
    FA_TRY(layer->ops->plan(net, layer));
    if (!weighted) {
        if (net->n_blocks) extend_block(net, layer);
        return FA_OK;
    }
    FA_TRY(own_initial_values(net, layer, desc));
    layer->signal = layer->ops->gradient ? fa_plan_tight_buffer(net, layer->n_out, net->esize)
                                         : fa_plan_buffer(net, layer->n_out, net->esize);
    net->blocks[net->n_blocks++] = (fa_block){.first = i,
                                              .last = i,
                                              .signal_at = i,
                                              .layer = layer,
                                              .rule.weighted = FA_NO_BUF,
                                              .delta = layer->signal};
    return FA_OK;
}

static fa_status plan_layers(fa_net *net)
{
    fa_layer_desc *layers = (fa_layer_desc *)net->desc.layers; /* the network's own copy */
    for (int i = 0; i < net->n_layers; i++) FA_TRY(plan_layer(net, &layers[i], i));
    const fa_layer *last = &net->layers[net->n_layers - 1];
    if (!(last->ops->flags & FA_WEIGHTED) || last->ops->flags & FA_OVER_TIME || last->out_shape.h)
        return fa_fail(FA_E_VALUE, "layer %d: the last layer: expected dense, got %s", last->index,
                       last->ops->name);
    if (net->loss->logits && last->activation != FA_ACT_linear)
        return fa_fail(FA_E_VALUE,
                       "layer %d: activation: expected 'linear' on the last layer, got '%s'; %s "
                       "takes logits, and predictions are probabilities",
                       last->index, last->desc.activation, net->loss->name);
    if (last->n_out < net->loss->min_outputs)
        return fa_fail(FA_E_VALUE,
                       "layer %d: units: expected at least %lld for %s, got %lld; for one output "
                       "take sigmoid_cross_entropy",
                       last->index, (long long)net->loss->min_outputs, net->loss->name,
                       (long long)last->n_out);
    if (fa_activation_flags(last->activation) & FA_ZERO_DERIVATIVE)
        return fa_fail(FA_E_VALUE,
                       "layer %d: activation: expected one without zero derivative on the last "
                       "layer, got '%s'",
                       last->index, last->desc.activation);
    net->n_out = last->n_out;
    return FA_OK;
}

/* ---- parameters: gradients, slots, state ---- */

static void plan_row_gradients(fa_net *net, const fa_block *block)
{
    for (int i = block->first + 1; i <= block->last; i++) {
        const fa_layer *layer = &net->layers[i];
        for (int k = 0; k < FA_ROW_PARAMS; k++) {
            fa_param *p = layer->row_param[k];
            if (!p) continue;
            fa_plan_trained(net, p, FA_ONES, layer->row_gradient[k]);
            p->trainable = fa_follower_trains(block, layer);
        }
    }
}

static void plan_gradients(fa_net *net)
{
    for (int b = 0; b < net->n_blocks; b++) {
        const fa_block *block = &net->blocks[b];
        const fa_layer *layer = block->layer;
        fa_param *const of_layer[] = {layer->weight, layer->recurrent, layer->bias};
        const fa_buf left[] = {layer->gradient_in, layer->before, FA_ONES};
        for (int i = 0; i < 3; i++) {
            fa_param *p = of_layer[i];
            if (!p) continue;
            fa_plan_trained(net, p, left[i], block->delta);
            if (layer->ops->gradient) p->grad[0].windows = layer, p->in_place = false;
            p->trainable = fa_trains(block);
        }
        if (layer->recurrent) net->work_per_row += 3 * (double)layer->n_out * (double)layer->n_out;
        if (b || net->chunk_rule) /* an upper bound: transport, or a second pass */
            net->work_per_row += layer->work;
        net->work_per_row += 2 * layer->work;
        net->n_weights += (double)layer->weight->rows * (double)layer->weight->cols;
        plan_row_gradients(net, block);
    }
    for (int i = 0; i < net->n_params; i++) {
        fa_param *p = &net->params[i];
        p->n_slots = p->trainable && p->share == 0 ? net->optim.n_slots : 0;
    }
}

static fa_status plan_state(fa_net *net)
{
    size_t size = 0;
    bool fits = fa_add_bytes(&size, 1, 1, sizeof(fa_state));
    for (int i = 0; i < net->n_params; i++) {
        const fa_param *p = &net->params[i];
        for (int s = 0; s <= p->n_slots; s++)
            fits = fits && fa_add_bytes(&size, p->rows, p->cols, net->esize);
    }
    net->state = fits ? fa_net_alloc(net, 1, size) : NULL;
    if (!net->state)
        return fa_fail(FA_E_MEMORY, "out of memory for parameters, optimizer state and feedback%s",
                       fits ? "" : ": too many units");
    net->state_size = size;

    size = 0;
    fa_add_bytes(&size, 1, 1, sizeof(fa_state));
    for (int s = -1; s < net->optim.n_slots; s++) {
        for (int i = 0; i < net->n_params; i++) {
            fa_param *p = &net->params[i];
            if (s >= p->n_slots) continue;
            *(s < 0 ? &p->value : &p->slot[s]) = net->state + size;
            fa_add_bytes(&size, p->rows, p->cols, net->esize);
        }
    }
    return FA_OK;
}

/* Whether the update of one sample can be left to the forward pass of the next sample, which knows
 * the parameters of layers only; and whether it saves anything: a pass over weights that do not
 * train is the same either way, but two workspaces take more cache than one. */
static bool can_defer(const fa_net *net)
{
    int trained = 0, of_layers = 0;
    double entries = 0;
    for (int i = 0; i < net->n_params; i++) {
        const fa_param *p = &net->params[i];
        trained += p->trainable;
        if (p->trainable) entries += (double)p->rows * (double)p->cols;
        if (p->linalg->bf16) return false; /* a pass over float32 weights */
    }
    if (2 * entries < net->n_weights || net->has_windows) return false;
    for (int b = 0; b < net->n_blocks; b++) {
        const fa_param *of_layer[] = {net->blocks[b].layer->weight, net->blocks[b].layer->bias};
        for (int i = 0; i < 2; i++)
            if (of_layer[i] && of_layer[i]->trainable)
                of_layers += of_layer[i]->in_place && !of_layer[i]->coupled;
    }
    return trained == of_layers && !net->recurrent && !net->chunk_rule && !net->barrier_rule &&
           !net->n_feedback_tasks && !fa_has_own_loss(net);
}

static void plan_phases(fa_net *net)
{
    int n = 0;
    net->defers = can_defer(net);
    net->clips = net->optim.desc.clip_norm > 0;
    if (net->barrier_rule || fa_has_own_loss(net)) {
        net->phases[n++] = FA_PHASE_FORWARD;
        net->phases[n++] = FA_PHASE_DELTAS;
    } else {
        net->phases[n++] = FA_PHASE_ROWS;
    }
    if (net->clips) {
        net->phases[n++] = FA_PHASE_NORM;
        net->phases[n++] = FA_PHASE_APPLY;
    } else {
        net->phases[n++] = FA_PHASE_UPDATE;
    }
    net->n_phases = n;
}

/* Marks the buffers that predict and evaluate use. */
static void mark_predicting(fa_net *net)
{
    net->buffers[FA_INPUT].predicts = net->buffers[FA_TARGET].predicts = true;
    net->buffers[net->blocks[net->n_blocks - 1].delta].predicts = true;
    for (int i = 0; i < net->n_layers; i++) {
        net->buffers[net->layers[i].out].predicts = true;
        if (net->layers[i].preact != FA_NO_BUF) net->buffers[net->layers[i].preact].predicts = true;
    }
}

/* ---- the network ---- */

static fa_status check_optimizer(fa_net *net)
{
    fa_optimizer_desc *d = &net->optim.desc;
    *d = *net->desc.optimizer;
    net->optim.ops = fa_find_optim(d->name);
    if (!net->optim.ops) return fa_unknown_name(-1, "optimizer", FA_NAMES_OPTIMIZER, d->name);
    d->name = net->optim.ops->name;
    if (!(d->lr >= 0) || !isfinite(d->lr))
        return fa_fail(FA_E_VALUE, "optimizer: lr: expected a number >= 0, got %g", d->lr);
    if (!(d->weight_decay >= 0) || !isfinite(d->weight_decay))
        return fa_fail(FA_E_VALUE, "optimizer: weight_decay: expected a number >= 0, got %g",
                       d->weight_decay);
    if (!(d->l1 >= 0) || !isfinite(d->l1))
        return fa_fail(FA_E_VALUE, "optimizer: l1: expected a number >= 0, got %g", d->l1);
    if (!(d->clip_norm >= 0) || !isfinite(d->clip_norm))
        return fa_fail(FA_E_VALUE, "optimizer: clip_norm: expected a number >= 0 (0: off), got %g",
                       d->clip_norm);
    if (net->optim.ops->check) FA_TRY(net->optim.ops->check(d));
    net->optim.n_slots = net->optim.ops->slots(d);
    return FA_OK;
}

/* "float32" is kept as NULL: files say nothing of it. */
static fa_status check_compute(fa_net_desc *d)
{
    if (d->compute && !strcmp(d->compute, "float32")) d->compute = NULL;
    if (!d->compute) return FA_OK;
    if (strcmp(d->compute, "bfloat16"))
        return fa_fail(FA_E_VALUE, "compute: expected one of float32, bfloat16, got '%s'",
                       d->compute);
    if (d->dtype == FA_F32) return FA_OK;
    return fa_fail(FA_E_VALUE, "compute: expected NULL or 'float32' for FA_F64, got 'bfloat16', "
                               "which rounds the numbers of FA_F32");
}

static fa_status check_head(fa_net *net, const fa_net_desc *d)
{
    if (d->dtype != FA_F32 && d->dtype != FA_F64)
        return fa_fail(FA_E_VALUE, "dtype: expected FA_F32 or FA_F64, got %d", (int)d->dtype);
    if (d->n_in < 1 || d->n_in > INT32_MAX)
        return fa_fail(FA_E_VALUE, "n_in: expected 1 to %d, got %lld", INT32_MAX,
                       (long long)d->n_in);
    if (!d->layers || d->n_layers < 1 || d->n_layers > FA_MAX_LAYERS)
        return fa_fail(FA_E_VALUE, "layers: expected 1 to %d layers, got %lld", FA_MAX_LAYERS,
                       (long long)d->n_layers);
    if (d->n_threads < 0 || d->n_threads > FA_MAX_THREADS)
        return fa_fail(FA_E_VALUE, "n_threads: expected 0 (default) to %d, got %d", FA_MAX_THREADS,
                       d->n_threads);
    if (!(fabs(d->input_scale) <= FLT_MAX))
        return fa_fail(FA_E_VALUE, "input_scale: expected a number that a float can hold, got %g",
                       d->input_scale);
    net->loss = fa_find_loss(d->loss);
    if (!net->loss) return fa_unknown_name(-1, "loss", FA_NAMES_LOSS, d->loss);
    return FA_OK;
}

fa_status fa_plan_network(fa_net *net, const fa_net_desc *from, fa_fits *fits, const void *context,
                          bool fresh)
{
    const fa_net_desc *desc = &net->desc;
    FA_TRY(FA_COPY_STRUCT(&net->desc, from, loss, "desc"));
    FA_TRY(check_head(net, desc));
    FA_TRY(check_compute(&net->desc));
    FA_TRY(fa_keep_description(net, fresh));
    if (fresh) fa_fill_zeros(&net->desc);
    net->n_in = desc->n_in;
    net->n_layers = (int)desc->n_layers;
    net->seed = desc->seed;
    net->n_threads = desc->n_threads;
    net->input_scale = desc->input_scale;
    FA_TRY(fa_linalg_init(&net->linalg, desc->dtype));
    net->bf16 = net->linalg;
    if (desc->compute) net->bf16.blas = NULL, net->bf16.bf16 = fa_bf16_get();
    FA_TRY(check_optimizer(net));

    net->layers = fa_net_alloc(net, net->n_layers, sizeof *net->layers);
    net->blocks = fa_net_alloc(net, net->n_layers, sizeof *net->blocks);
    net->order = fa_net_alloc(net, net->n_layers, sizeof *net->order);
    /* W, U, b, at most three for feedback, the state and three traces of a stream */
    net->params = fa_net_alloc(net, 10 * net->n_layers, sizeof *net->params);
    const int64_t most = 3 + 9 * (int64_t)net->n_layers; /* row buffers, of two passes */
    net->buffers = fa_net_alloc(net, most, sizeof *net->buffers);
    if (!net->layers || !net->blocks || !net->order || !net->params || !net->buffers)
        return fa_fail(FA_E_MEMORY, "out of memory for the plan");

    fa_plan_buffer(net, net->n_in, net->esize); /* FA_INPUT */
    fa_plan_buffer(net, 1, net->esize);         /* FA_TARGET: its width is set below */
    FA_TRY(plan_layers(net));
    fa_plan_buffer_width(net, FA_TARGET, net->n_out);
    FA_TRY(fa_plan_rules(net));
    /* The layers and rules have checked the fields that they use; the other fields are saved
     * too. */
    FA_TRY(fa_check_fields(&fa_net_fields, &net->desc));
    plan_gradients(net);
    if (fits) FA_TRY(fits(context, net));
    FA_TRY(plan_state(net));
    FA_TRY(fa_plan_sampling(net));
    FA_TRY(fa_plan_tiles(net));
    plan_phases(net);
    mark_predicting(net);
    return FA_OK;
}

/* Planning: from a description to layers, blocks, parameters, buffers, tiles and phases. Everything here
 * happens once, while a network is created; nothing depends on the batch size. */
#include "description.h"
#include "file.h"
#include "internal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- declarations made by layers and rules ---- */

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Rows begin on a cache line where that costs little, but not a multiple of 1 KiB apart: they would share
 * few cache sets when a tile walks down a column. */
static ptrdiff_t padded(int64_t cols, size_t size)
{
    const int64_t line = 64 / (int64_t)size;
    if (cols < 16 * line) return cols;
    const int64_t lines = round_up(cols, line) / line;
    return (lines + (lines % 16 == 0)) * line;
}

fa_buf fa_plan_buffer(fa_net *net, int64_t cols, size_t size)
{
    net->buffers[net->n_buffers] = (struct fa_buffer_shape){cols, size, padded(cols, size), false};
    net->second[net->n_buffers] = net->n_buffers;
    return net->n_buffers++;
}

fa_param *fa_plan_param(fa_net *net, const char *name, int layer, fa_tensor_kind kind, int64_t rows,
                        int64_t cols)
{
    fa_param *p = &net->params[net->n_params++];
    *p = (fa_param){.kind = kind, .rows = rows, .cols = cols};
    snprintf(p->key, sizeof p->key, "%d.%s", layer, name);
    return p;
}

fa_status fa_plan_feedback(fa_net *net, int block, int64_t source)
{
    fa_block *b = &net->blocks[block];
    FA_TRY(fa_feedback_check(net, block, source, b->layer->n_out));
    b->rule.feedback =
        fa_plan_param(net, "feedback", b->layer->index, FA_FEEDBACK, source, b->layer->n_out);
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

/* ---- layers and blocks ---- */

/* Of a description that is the network's: `init` points to the copy from then on. */
static fa_status own_values(fa_net *net, fa_init *init)
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
    FA_TRY(own_values(net, &desc->weight_init));
    FA_TRY(own_values(net, &desc->bias_init));
    layer->desc.weight_init = desc->weight_init;
    layer->desc.bias_init = desc->bias_init;
    if (!desc->weight_init.values)
        layer->desc.weight_init.name = fa_init_intern(desc->weight_init.name);
    if (!desc->bias_init.values) layer->desc.bias_init.name = fa_init_intern(desc->bias_init.name);
    return FA_OK;
}

static fa_status plan_layer(fa_net *net, fa_layer_desc *desc, int i)
{
    fa_layer *layer = &net->layers[i];
    *layer = (fa_layer){.desc = *desc, .index = i, .preact = FA_NO_BUF, .keep = FA_NO_BUF};
    layer->ops = fa_find_layer(desc->type);
    if (!layer->ops)
        return fa_fail(FA_E_VALUE, "layer %d: type: expected 'dense' or 'dropout', got '%s'", i,
                       desc->type ? desc->type : "(null)");
    layer->desc.type = layer->ops->name;
    const bool weighted = layer->ops->flags & FA_WEIGHTED;
    if (weighted) {
        layer->activation = fa_find_activation(desc->activation);
        if (layer->activation < 0)
            return fa_fail(FA_E_VALUE, "layer %d: activation: unknown name '%s'", i,
                           desc->activation ? desc->activation : "(null)");
        layer->desc.activation = fa_activation_name(layer->activation);
        layer->ordinal = net->n_blocks;
    }
    layer->n_in = i ? net->layers[i - 1].n_out : net->n_in;
    layer->in = i ? net->layers[i - 1].out : FA_INPUT;
    FA_TRY(layer->ops->plan(net, layer));
    if (!weighted) {
        if (net->n_blocks) net->blocks[net->n_blocks - 1].last = i;
        return FA_OK;
    }
    FA_TRY(own_initial_values(net, layer, desc));
    net->blocks[net->n_blocks++] =
        (fa_block){.first = i,
                   .last = i,
                   .layer = layer,
                   .rule.projected = FA_NO_BUF,
                   .delta = fa_plan_buffer(net, layer->n_out, net->esize)};
    return FA_OK;
}

static fa_status plan_layers(fa_net *net)
{
    fa_layer_desc *layers = (fa_layer_desc *)net->desc.layers; /* the network's own */
    for (int i = 0; i < net->n_layers; i++) FA_TRY(plan_layer(net, &layers[i], i));
    const fa_layer *last = &net->layers[net->n_layers - 1];
    if (!(last->ops->flags & FA_WEIGHTED))
        return fa_fail(FA_E_VALUE, "layer %d: the last layer: expected dense, got %s", last->index,
                       last->ops->name);
    if (net->loss->logits && last->activation != FA_ACT_linear)
        return fa_fail(FA_E_VALUE,
                       "layer %d: activation: %s takes logits, so expected 'linear' on the last "
                       "layer, got '%s'",
                       last->index, net->loss->name, last->desc.activation);
    if (last->n_out < net->loss->min_outputs)
        return fa_fail(FA_E_VALUE,
                       "layer %d: units: %s of one output is always 1; expected at least 2, or "
                       "sigmoid_cross_entropy",
                       last->index, net->loss->name);
    if (fa_activation_flags(last->activation) & FA_ZERO_DERIVATIVE)
        return fa_fail(
            FA_E_VALUE,
            "layer %d: activation: '%s' has zero derivative and cannot be taught on the last layer",
            last->index, last->desc.activation);
    net->n_out = last->n_out;
    return FA_OK;
}

/* ---- rules ---- */

static fa_status resolve_rule(fa_net *net, int b, fa_rule_desc *desc)
{
    fa_block *block = &net->blocks[b];
    const int i = block->first;
    fa_rule *rule = &block->rule;
    *rule = (fa_rule){.ops = fa_find_rule(desc->name), .desc = *desc, .projected = FA_NO_BUF};
    if (!rule->ops)
        return fa_fail(FA_E_VALUE, "layer %d: rule: unknown name '%s'", i,
                       desc->name ? desc->name : "(null)");
    rule->desc.name = rule->ops->name;
    rule->sources = rule->ops->sources;
    rule->pre = desc->inject && !strcmp(desc->inject, "pre");
    if (desc->inject && !rule->pre && strcmp(desc->inject, "post"))
        return fa_fail(FA_E_VALUE, "layer %d: inject: expected 'post' or 'pre', got '%s'", i,
                       desc->inject);
    if (rule->pre &&
        (rule->ops->no_pre || !(rule->sources & (FA_FROM_ERROR | FA_FROM_TARGET | FA_FROM_SELF))))
        return fa_fail(
            FA_E_VALUE,
            "layer %d: inject='pre': expected a broadcast or target rule (dfa, sdfa, drtp), got %s",
            i, rule->ops->name);
    rule->desc.inject = rule->pre ? "pre" : "post";
    if (rule->ops->plan) FA_TRY(rule->ops->plan(net, b));
    rule->fuses_relu_backward = rule->ops->product && !rule->nnz && !rule->pre &&
                                block->first == block->last &&
                                block->layer->activation == FA_ACT_relu;
    if (!rule->desc.feedback.values)
        rule->desc.feedback.name = fa_distribution_intern(desc->feedback.name);
    const bool keeps = rule->feedback || rule->head || (net->modulation && net->modulator == b);
    if (!keeps) return FA_OK;
    FA_TRY(own_values(net, &desc->feedback));
    rule->desc.feedback.values = desc->feedback.values;
    return FA_OK;
}

/* Values that no layer uses are not checked and are kept as given; the others must be finite. */
static fa_status settle_values(void *context, const char *key, fa_init *init)
{
    const fa_net *net = context;
    if (!fa_net_owns(net, init->values)) init->values = NULL;
    if (!init->values || net->k->all_finite(init->values, init->cols, init->rows, init->cols))
        return FA_OK;
    return fa_fail(FA_E_VALUE, "%s: expected finite values, got NaN or infinity", key);
}

/* A rule of two passes teaches the whole network: layers may only stay out of it. */
static fa_status check_mixture(const fa_net *net, int b, const fa_rule_desc *own,
                               const fa_rule_desc *common)
{
    const fa_rule_ops *mine = fa_find_rule(own->name), *all = fa_find_rule(common->name);
    const int i = net->blocks[b].first;
    if (mine && mine->delta)
        return fa_fail(FA_E_VALUE,
                       "layer %d: rule '%s' teaches the whole network by a second pass: expected "
                       "it as the network's rule, not a layer's",
                       i, mine->name);
    if (mine && all->delta && !(mine->sources & FA_NO_UPDATE))
        return fa_fail(FA_E_VALUE,
                       "layer %d: rule: the network's rule '%s' teaches every layer by a second "
                       "pass: expected 'frozen' or none beside it, got '%s'",
                       i, all->name, mine->name);
    return FA_OK;
}

static bool trains(const fa_block *block)
{ return block->layer->desc.trainable && !(block->rule.ops && block->rule.sources & FA_NO_UPDATE); }

static fa_status check_derivative(const fa_net *net, const fa_block *block)
{
    (void)net;
    if (!block->needs_delta || block->rule.pre || block->rule.ops->delta ||
        !(fa_activation_flags(block->layer->activation) & FA_ZERO_DERIVATIVE))
        return FA_OK;
    return fa_fail(FA_E_VALUE,
                   "layer %d: activation '%s' has zero derivative: rule '%s' with inject='post' "
                   "cannot teach it; "
                   "expected a broadcast or target rule (dfa, sdfa, drtp) with inject='pre'",
                   block->first, block->layer->desc.activation, block->rule.ops->name);
}

/* Whether block b is needed and takes its signal from `source`. */
static bool reads_delta(const fa_net *net, int b, unsigned source)
{
    return b >= 0 && b < net->n_blocks - 1 && net->blocks[b].needs_delta &&
           net->blocks[b].rule.sources & source;
}

/* A delta is needed where a layer trains, and where a needed neighbour reads it. */
static void mark_deltas(fa_net *net)
{
    const int hidden = net->n_blocks - 1;
    for (int b = 0; b < hidden; b++)
        net->blocks[b].needs_delta =
            trains(&net->blocks[b]) || reads_delta(net, b - 1, FA_FROM_ABOVE);
    for (int b = hidden - 1; b >= 0; b--)
        net->blocks[b].needs_delta |= reads_delta(net, b + 1, FA_FROM_BELOW);
}

/* Hidden blocks so that each comes after the delta it reads: runs that read from above go downwards, runs
 * that read from below upwards. Two neighbours that read each other have no order. */
static fa_status order_blocks(fa_net *net)
{
    int n = 0;
    for (int b = net->n_blocks - 2; b >= 0; b--) {
        if (reads_delta(net, b, FA_FROM_BELOW)) continue;
        net->order[n++] = b;
        for (int up = b + 1; reads_delta(net, up, FA_FROM_BELOW); up++) net->order[n++] = up;
        if (reads_delta(net, b, FA_FROM_ABOVE) && reads_delta(net, b + 1, FA_FROM_BELOW))
            return fa_fail(FA_E_VALUE,
                           "layer %d: rule '%s' reads the delta of layer %d, whose rule '%s' reads "
                           "that of layer %d: a cycle",
                           net->blocks[b + 1].first, net->blocks[b + 1].rule.ops->name,
                           net->blocks[b].first, net->blocks[b].rule.ops->name,
                           net->blocks[b + 1].first);
    }
    return FA_OK;
}

static fa_status plan_rules(fa_net *net)
{
    fa_net_desc *desc = &net->desc;
    const int hidden = net->n_blocks - 1;
    const fa_rule_desc *refused = net->blocks[hidden].layer->desc.rule;
    if (refused)
        return fa_fail(
            FA_E_VALUE,
            "layer %d: rule: the last layer always gets the exact error; expected none, got '%s'",
            net->blocks[hidden].first, refused->name ? refused->name : "(null)");
    fa_rule_desc *rule = (fa_rule_desc *)desc->rule; /* the network's */
    if (!fa_find_rule(rule->name))
        return fa_fail(FA_E_VALUE, "rule: unknown name '%s'", rule->name ? rule->name : "(null)");
    for (int b = 0; b < hidden; b++) {
        fa_rule_desc *own = (fa_rule_desc *)net->blocks[b].layer->desc.rule;
        if (own) FA_TRY(check_mixture(net, b, own, rule));
        FA_TRY(resolve_rule(net, b, own ? own : rule));
    }
    FA_TRY(fa_walk_values(desc, settle_values, net));
    mark_deltas(net);
    for (int b = 0; b < hidden; b++) FA_TRY(check_derivative(net, &net->blocks[b]));
    net->blocks[hidden].needs_delta = true;
    return order_blocks(net);
}

/* ---- parameters: gradients, slots, state ---- */

void fa_plan_trained(fa_net *net, fa_param *p, fa_buf left, fa_buf right)
{
    const fa_optimizer_desc *d = &net->optim.desc;
    p->trainable = true;
    p->decays = d->weight_decay != 0 && (p->kind != FA_BIAS || d->decay_bias);
    p->in_place = net->optim.ops->in_place && net->optim.n_slots == 0 && d->clip_norm == 0;
    p->grad[p->n_grad++] = (fa_pair){left, right};
}

static void plan_gradients(fa_net *net)
{
    for (int b = 0; b < net->n_blocks; b++) {
        const fa_block *block = &net->blocks[b];
        const fa_layer *layer = block->layer;
        for (int i = 0; i < 2; i++) {
            fa_param *p = i ? layer->bias : layer->weight;
            if (!p) continue;
            fa_plan_trained(net, p, p->kind == FA_BIAS ? FA_ONES : net->second[layer->in],
                            block->delta);
            p->trainable = trains(block);
        }
        if (b || net->modulation) /* an upper bound: transport, or a second pass */
            net->work_per_row += (double)layer->n_in * (double)layer->n_out;
        net->work_per_row += 2 * (double)layer->n_in * (double)layer->n_out;
        net->n_weights += (double)layer->n_in * (double)layer->n_out;
    }
}

static fa_status plan_state(fa_net *net)
{
    const int slots = net->optim.n_slots;
    size_t size = 0;
    bool fits = fa_add_bytes(&size, 1, 1, sizeof(fa_state));
    for (int i = 0; i < net->n_params; i++)
        for (int s = 0; s <= (net->params[i].trainable ? slots : 0); s++)
            fits =
                fits && fa_add_bytes(&size, net->params[i].rows, net->params[i].cols, net->esize);
    net->state = fits ? fa_net_alloc(net, 1, size) : NULL;
    if (!net->state)
        return fa_fail(FA_E_MEMORY, "out of memory for parameters, optimizer state and feedback%s",
                       fits ? "" : ": too many units");
    net->state_size = size;

    size = 0;
    fa_add_bytes(&size, 1, 1, sizeof(fa_state));
    for (int s = -1; s < slots; s++) {
        for (int i = 0; i < net->n_params; i++) {
            fa_param *p = &net->params[i];
            if (s >= 0 && !p->trainable) continue;
            *(s < 0 ? &p->value : &p->slot[s]) = net->state + size;
            fa_add_bytes(&size, p->rows, p->cols, net->esize);
        }
    }
    return FA_OK;
}

/* ---- the update's tiles ---- */

/* How large tiles are to be: columns, and entries where the product writes the parameter itself or where the
 * gradient waits in cache for the optimizer. */
typedef struct fa_tile_size {
    int64_t cols, direct, waiting;
} fa_tile_size;

enum { TILE_AREA_MIN = 2048 };
static const fa_tile_size shared_size = {256, 32768, FA_TILE_AREA},
                          serial_size = {512, 262144, FA_TILE_AREA};

static bool is_direct(const fa_param *p) { return p->in_place && !p->coupled; }

/* Cuts a parameter into tiles; with tasks NULL only counts. Nothing here knows the number of threads, so the
 * order of sums (clipping) is the same for any. */
static int64_t partition_param(const fa_net *net, int param, fa_tile_size size, fa_tile_task *tasks)
{
    const fa_param *p = &net->params[param];
    if (!p->trainable) return 0;
    const int64_t area = is_direct(p) ? size.direct : size.waiting;
    const int64_t parts = (p->cols + size.cols - 1) / size.cols;
    const int64_t width = (p->cols + parts - 1) / parts;
    /* Rows are columns of what follows: of that, whole lines of the cache. */
    const int64_t unit = p->coupled ? 16 : 8;
    const int64_t height = round_up(area / width > unit ? area / width : unit, unit);
    int64_t n = 0;
    for (int64_t part = 0; part < parts; part++)
        for (int64_t i = 0; i < p->rows; i += height, n++) {
            if (!tasks) continue;
            const fa_tile t = {i, i + height < p->rows ? i + height : p->rows,
                               fa_partition(p->cols, part, parts),
                               fa_partition(p->cols, part + 1, parts)};
            tasks[n] = (fa_tile_task){param, t};
        }
    return n;
}

static fa_status partition_tiles(fa_net *net, fa_tile_size size, fa_tile_task **tiles,
                                 int64_t *n_tiles)
{
    int64_t n = 0;
    for (int i = 0; i < net->n_params; i++) n += partition_param(net, i, size, NULL);
    *tiles = fa_net_alloc(net, n, sizeof **tiles);
    if (!*tiles) return fa_fail(FA_E_MEMORY, "out of memory for the plan");
    for (int i = 0; i < net->n_params; i++)
        *n_tiles += partition_param(net, i, size, *tiles + *n_tiles);
    for (int64_t i = 0; i < n; i++) {
        const fa_tile t = (*tiles)[i].tile;
        if (t.j1 - t.j0 > net->tile_cols) net->tile_cols = t.j1 - t.j0;
        if (!is_direct(&net->params[(*tiles)[i].param])) /* its gradient */
            fa_plan_scratch(net, (size_t)((t.i1 - t.i0) * (t.j1 - t.j0)) * net->esize);
    }
    return FA_OK;
}

/* Cuts a parameter for threads that have columns of it, as if for two: more have narrower columns. With items NULL
 * only counts, and plans the scratch that a tile needs. */
static int64_t partition_by_columns(fa_net *net, int param, fa_column_item *items)
{
    const fa_param *p = &net->params[param];
    if (!p->trainable) return 0;
    const int32_t parts = (int32_t)((p->cols + 2 * shared_size.cols - 1) / (2 * shared_size.cols));
    const int64_t width = fa_partition_width(p->cols, 2 * parts);
    const int64_t area = is_direct(p) ? shared_size.direct : shared_size.waiting;
    const int64_t blocks = (p->rows * width + area - 1) / area;
    const int64_t height = round_up((p->rows + blocks - 1) / blocks, p->coupled ? 16 : 8);
    if (!items && !is_direct(p)) fa_plan_scratch(net, (size_t)(height * width) * net->esize);
    int64_t n = 0;
    for (int32_t part = 0; part < parts; part++)
        for (int64_t r = 0; r < p->rows; r += height, n++) {
            if (!items) continue;
            const fa_rows rows = {r, r + height < p->rows ? r + height : p->rows};
            items[n] = (fa_column_item){param, part, parts, rows};
        }
    return n;
}

static fa_status plan_column_items(fa_net *net)
{
    int64_t n = 0;
    for (int i = 0; i < net->n_params; i++) n += partition_by_columns(net, i, NULL);
    net->column_items = fa_net_alloc(net, n, sizeof *net->column_items);
    if (!net->column_items) return fa_fail(FA_E_MEMORY, "out of memory for the plan");
    for (int i = 0; i < net->n_params; i++)
        net->n_column_items +=
            partition_by_columns(net, i, net->column_items + net->n_column_items);
    return FA_OK;
}

static fa_status plan_tiles(fa_net *net)
{
    double entries = 0;
    for (int i = 0; i < net->n_params; i++)
        entries += (double)net->params[i].rows * (double)net->params[i].cols;
    const double share = fmax(TILE_AREA_MIN, entries / 16);
    const fa_tile_size shared = {shared_size.cols, (int64_t)fmin(share, (double)shared_size.direct),
                                 (int64_t)fmin(share, (double)shared_size.waiting)};
    FA_TRY(partition_tiles(net, shared, &net->tiles, &net->n_tiles));
    /* BLAS promises the same bits for the same tiles alone. */
    FA_TRY(partition_tiles(net, net->blas ? shared : serial_size, &net->serial_tiles,
                           &net->n_serial_tiles));
    return plan_column_items(net);
}

/* Cuts the matrices that rules make each step into rows of about a tile's size. */
static fa_status plan_feedback_tasks(fa_net *net)
{
    for (int pass = 0; pass < 2; pass++) {
        int64_t n = 0;
        for (int b = 0; b < net->n_blocks; b++) {
            const fa_rule *rule = &net->blocks[b].rule;
            const int64_t rows = !net->blocks[b].needs_delta ? 0
                                 : rule->nnz                 ? rule->nnz
                                                             : rule->step_feedback_rows;
            const int64_t height =
                rule->nnz ? rows : round_up(FA_TILE_AREA / net->blocks[b].layer->n_out + 1, 16);
            for (int64_t r = 0; r < rows; r += height, n++)
                if (pass)
                    net->feedback_tasks[n] =
                        (fa_feedback_task){b, {r, r + height < rows ? r + height : rows}};
        }
        if (pass || n == 0) break;
        net->n_feedback_tasks = n;
        net->feedback_tasks = fa_net_alloc(net, n, sizeof *net->feedback_tasks);
        if (!net->feedback_tasks) return fa_fail(FA_E_MEMORY, "out of memory for the plan");
    }
    return FA_OK;
}

static void plan_phases(fa_net *net)
{
    net->defers = !net->has_custom_rule && !net->has_local_head && net->n_feedback_tasks == 0 &&
                  !net->modulation;
    for (int i = 0; i < net->n_params; i++)
        if (net->params[i].trainable)
            net->defers = net->defers && net->params[i].in_place && !net->params[i].coupled &&
                          net->params[i].kind != FA_FEEDBACK;
    if (net->has_custom_rule) {
        net->phases[net->n_phases++] = (struct fa_phase){fa_forward_task, true, fa_custom_signals};
        net->phases[net->n_phases++] = (struct fa_phase){fa_delta_task, true, fa_check_loss};
    } else {
        net->phases[net->n_phases++] = (struct fa_phase){fa_rows_task, true, fa_check_loss};
    }
    net->clips = net->optim.desc.clip_norm > 0;
    if (net->clips) {
        net->phases[net->n_phases++] = (struct fa_phase){fa_norm_task, false, fa_check_norm};
        net->phases[net->n_phases++] = (struct fa_phase){fa_apply_task, false, NULL};
    } else {
        net->phases[net->n_phases++] = (struct fa_phase){fa_update_task, false, NULL};
    }
}

/* Buffers without which nobody predicts, and evaluate's errors */
static void mark_predicting(fa_net *net)
{
    net->buffers[FA_INPUT].predicts = net->buffers[FA_TARGET].predicts = true;
    net->buffers[net->blocks[net->n_blocks - 1].delta].predicts = true;
    for (int i = 0; i < net->n_layers; i++) {
        net->buffers[net->layers[i].out].predicts = true;
        if (net->layers[i].preact != FA_NO_BUF) net->buffers[net->layers[i].preact].predicts = true;
    }
}

/* ---- the whole ---- */

static fa_status check_optimizer(fa_net *net)
{
    fa_optimizer_desc *d = &net->optim.desc;
    *d = *net->desc.optimizer;
    net->optim.ops = fa_find_optim(d->name);
    if (!net->optim.ops)
        return fa_fail(FA_E_VALUE, "optimizer: unknown name '%s'", d->name ? d->name : "(null)");
    d->name = net->optim.ops->name;
    if (!(d->lr >= 0) || !isfinite(d->lr))
        return fa_fail(FA_E_VALUE, "optimizer: lr: expected a number >= 0, got %g", d->lr);
    if (!(d->weight_decay >= 0) || !isfinite(d->weight_decay))
        return fa_fail(FA_E_VALUE, "optimizer: weight_decay: expected a number >= 0, got %g",
                       d->weight_decay);
    if (!(d->clip_norm >= 0) || !isfinite(d->clip_norm))
        return fa_fail(FA_E_VALUE, "optimizer: clip_norm: expected a number >= 0 (0: off), got %g",
                       d->clip_norm);
    FA_TRY(net->optim.ops->check(d));
    net->optim.n_slots = net->optim.ops->slots(d);
    return FA_OK;
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
    if (!net->loss)
        return fa_fail(FA_E_VALUE, "loss: unknown name '%s'", d->loss ? d->loss : "(null)");
    return FA_OK;
}

fa_status fa_plan_network(fa_net *net, const fa_net_desc *from, const fa_file *file, bool fresh)
{
    const fa_net_desc *desc = &net->desc;
    FA_TRY(FA_COPY_STRUCT(&net->desc, from, loss, "desc"));
    FA_TRY(check_head(net, desc));
    FA_TRY(fa_keep_description(net));
    if (fresh) fa_fill_zeros(&net->desc);
    net->dtype = desc->dtype;
    net->esize = desc->dtype == FA_F64 ? 8 : 4;
    net->k = fa_kernels_for(desc->dtype);
    net->n_in = desc->n_in;
    net->n_layers = (int)desc->n_layers;
    net->seed = desc->seed;
    net->n_threads = desc->n_threads;
    net->input_scale = desc->input_scale;
    FA_TRY(fa_choose_matmul(net));
    FA_TRY(check_optimizer(net));

    net->layers = fa_net_alloc(net, net->n_layers, sizeof *net->layers);
    net->blocks = fa_net_alloc(net, net->n_layers, sizeof *net->blocks);
    net->order = fa_net_alloc(net, net->n_layers, sizeof *net->order);
    net->params = fa_net_alloc(net, 4 * net->n_layers,
                               sizeof *net->params);     /* W, b and at most two of feedback */
    const int64_t most = 3 + 7 * (int64_t)net->n_layers; /* row buffers, of two passes */
    net->buffers = fa_net_alloc(net, most, sizeof *net->buffers);
    net->second = fa_net_alloc(net, most, sizeof *net->second);
    if (!net->layers || !net->blocks || !net->order || !net->params || !net->buffers ||
        !net->second)
        return fa_fail(FA_E_MEMORY, "out of memory for the plan");

    fa_plan_buffer(net, net->n_in, net->esize); /* FA_INPUT */
    fa_plan_buffer(net, 1, net->esize);         /* FA_TARGET: its width is known below */
    FA_TRY(plan_layers(net));
    net->buffers[FA_TARGET] =
        (struct fa_buffer_shape){net->n_out, net->esize, padded(net->n_out, net->esize), false};
    FA_TRY(plan_rules(net));
    /* The layers and rules have checked the fields that they use; the other fields are saved too. */
    FA_TRY(fa_check_fields(&fa_net_fields, &net->desc));
    plan_gradients(net);
    if (file) FA_TRY(fa_file_fits(file, net)); /* before what only its size allows */
    FA_TRY(plan_state(net));
    FA_TRY(fa_plan_drawing(net));
    FA_TRY(plan_tiles(net));
    FA_TRY(plan_feedback_tasks(net));
    plan_phases(net);
    mark_predicting(net);
    return FA_OK;
}

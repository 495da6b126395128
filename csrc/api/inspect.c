/* Tensors, blocks, description, note, counters and state of a network. */
#include "api/api.h"

#include <math.h>
#include <string.h>

/* ---- tensors: parameters and feedback, then slots ---- */

static int n_slots(const fa_net *net) { return net->optim.n_slots; }

/* Parameters that have tensors for slots: all except the feedback at the end that does not
 * learn. */
static int64_t n_optimized(const fa_net *net)
{
    int64_t n = net->n_params;
    while (n > 0 && net->params[n - 1].kind == FA_FEEDBACK && !net->params[n - 1].trainable) n--;
    return n;
}

int64_t fa_net_n_tensors(const fa_net *net)
{ return net ? net->n_params + n_optimized(net) * n_slots(net) : 0; }

static fa_tensor param_tensor(const fa_param *p, fa_tensor_kind kind, void *data)
{ return (fa_tensor){p->key, kind, data, p->rows, p->cols, p->trainable}; }

fa_tensor fa_net_tensor(const fa_net *net, int64_t i)
{
    if (i < 0 || i >= fa_net_n_tensors(net)) return (fa_tensor){0};
    if (i < net->n_params)
        return param_tensor(&net->params[i], net->params[i].kind, net->params[i].value);
    i -= net->n_params;
    const fa_param *p = &net->params[i / n_slots(net)]; /* data is NULL where it has no slots */
    return param_tensor(p, FA_SLOT, p->slot[i % n_slots(net)]);
}

int64_t fa_net_find(const fa_net *net, const char *key)
{
    for (int i = 0; net && key && i < net->n_params; i++)
        if (!strcmp(net->params[i].key, key)) return i;
    return -1;
}

static fa_status check_tensor(const fa_net *net, int64_t i, const void *values)
{
    FA_REQUIRE(net);
    if (fa_net_tensor(net, i).data && values) return FA_OK;
    return fa_fail(FA_E_VALUE, "tensor %lld: expected one with data, and values, got no %s",
                   (long long)i, values ? "data" : "values");
}

static size_t tensor_bytes(const fa_net *net, fa_tensor t)
{ return (size_t)(t.rows * t.cols) * net->esize; }

fa_status fa_net_read(void *values, const fa_net *net, int64_t i)
{
    FA_TRY(check_tensor(net, i, values));
    const fa_tensor t = fa_net_tensor(net, i);
    FA_TRY(fa_lock_read(fa_lock_of(net)));
    memcpy(values, t.data, tensor_bytes(net, t));
    fa_unlock_read(fa_lock_of(net));
    return FA_OK;
}

fa_status fa_net_write(fa_net *net, int64_t i, const void *values)
{
    FA_TRY(check_tensor(net, i, values));
    const fa_tensor t = fa_net_tensor(net, i);
    FA_TRY(fa_lock_write(fa_lock_of(net)));
    memmove(t.data, values, tensor_bytes(net, t));
    atomic_store(&net->suspect, true);
    fa_unlock_write(fa_lock_of(net));
    return FA_OK;
}

/* ---- blocks ---- */

int64_t fa_net_n_blocks(const fa_net *net) { return net ? net->n_blocks : 0; }

static const char *source_of(const fa_rule *rule)
{
    if (!rule->ops) return "error";
    if (rule->sources & FA_NO_UPDATE) return "";
    if (rule->sources & FA_FROM_ABOVE) return "above";
    if (rule->sources & FA_FROM_BELOW) return "below";
    if (rule->sources & FA_FROM_INPUT) return "input";
    if (rule->sources & FA_FROM_SELF) return "head";
    return rule->sources & FA_FROM_TARGET ? "target" : "error";
}

static int64_t feedback_rows(const fa_net *net, int64_t b)
{
    const fa_rule *rule = &net->blocks[b].rule;
    if (fa_makes_matrix(net, (int)b)) return rule->ops->rows(net, (int)b);
    return rule->feedback ? rule->feedback->rows : 0;
}

/* The rank of a matrix that is made from a stored right factor; 0: not factored. */
static int64_t feedback_rank(const fa_net *net, int64_t b)
{
    const fa_rule *rule = &net->blocks[b].rule;
    const bool factored = rule->feedback && !rule->step_rows && fa_makes_matrix(net, (int)b);
    return factored ? rule->feedback->rows : 0;
}

static const char *feedback_name(const fa_rule *rule)
{
    if (!rule->feedback && !(rule->sources & (FA_FROM_INPUT | FA_FROM_SELF)))
        return rule->step_rows ? "signs" : "";
    return rule->desc.feedback.values ? "values" : rule->desc.feedback.name;
}

static fa_block_info block_info(const fa_net *net, int64_t b)
{
    const fa_block *block = &net->blocks[b];
    const fa_layer *layer = block->layer;
    const fa_rule *rule = &block->rule;
    const fa_init *feedback = &rule->desc.feedback;
    return (fa_block_info){
        .layer = block->first,
        .n_in = layer->n_in,
        .n_out = layer->n_out,
        .activation = layer->desc.activation,
        .rule = rule->ops ? rule->ops->name : "output",
        .inject = fa_inject_name(rule->inject),
        .source = source_of(rule),
        .feedback = feedback_name(rule),
        .feedback_scale = *feedback_name(rule) ? feedback->scale : 0,
        .feedback_rows = feedback_rows(net, b),
        .feedback_rank = feedback_rank(net, b),
        .trainable = layer->weight->trainable,
        .needs_delta = block->needs_delta,
        .feedback_cols = feedback_rows(net, b) ? fa_feedback_cols(net, (int)b) : 0,
        .n_signal = fa_block_width(net, (int)b),
    };
}

fa_status fa_net_block(fa_block_info *info, const fa_net *net, int64_t b)
{
    FA_REQUIRE(net);
    fa_block_info known;
    FA_TRY(FA_COPY_STRUCT(&known, info, layer, "info"));
    if (b < 0 || b >= net->n_blocks)
        return fa_fail(FA_E_VALUE, "block: expected 0 to %d, got %lld", net->n_blocks - 1,
                       (long long)b);
    const size_t size = info->struct_size;
    known = block_info(net, b);
    memcpy(info, &known, size);
    info->struct_size = size;
    return FA_OK;
}

fa_status fa_net_layer(fa_layer_info *info, const fa_net *net, int64_t i)
{
    FA_REQUIRE(net);
    fa_layer_info known;
    FA_TRY(FA_COPY_STRUCT(&known, info, n_in, "info"));
    if (i < 0 || i >= net->n_layers)
        return fa_fail(FA_E_VALUE, "layer: expected 0 to %d, got %lld", net->n_layers - 1,
                       (long long)i);
    const size_t size = info->struct_size;
    const fa_layer *layer = &net->layers[i];
    const fa_shape out = layer->out_shape;
    const bool bf16 = layer->weight && layer->weight->linalg->bf16;
    known =
        (fa_layer_info){size, layer->n_in, layer->n_out, out.h, out.w, out.c, layer->work, bf16};
    memcpy(info, &known, size);
    return FA_OK;
}

fa_status fa_feedback_matrix(void *out, const fa_net *net, int64_t b)
{
    FA_FIXED_FP(false);
    FA_REQUIRE(out);
    FA_REQUIRE(net);
    if (b < 0 || b >= net->n_blocks - 1)
        return fa_fail(FA_E_VALUE, "block: expected a hidden one, 0 to %d, got %lld",
                       net->n_blocks - 2, (long long)b);
    const fa_rule *rule = &net->blocks[b].rule;
    if (feedback_rows(net, b) == 0)
        return fa_fail(FA_E_VALUE, "layer %d: rule: expected one with a feedback matrix, got '%s'",
                       net->blocks[b].first, rule->ops->name);
    FA_TRY(fa_lock_read(fa_lock_of(net)));
    if (fa_makes_matrix(net, (int)b))
        rule->ops->matrix(net, (int)b, out);
    else
        memcpy(out, rule->feedback->value,
               (size_t)(rule->feedback->rows * rule->feedback->cols) * net->esize);
    fa_unlock_read(fa_lock_of(net));
    return FA_OK;
}

/* ---- description and note ---- */

const fa_net_desc *fa_net_description(const fa_net *net) { return net ? &net->desc : NULL; }
const char *fa_net_note(const fa_net *net) { return net ? net->note : NULL; }

fa_status fa_net_copy_note(char *note, size_t *size, const fa_net *net)
{
    FA_REQUIRE(size);
    FA_TRY(fa_lock_read(fa_lock_of(net)));
    const size_t needed = net->note ? strlen(net->note) + 1 : 0;
    if (needed && note && needed <= *size) memcpy(note, net->note, needed);
    *size = needed;
    fa_unlock_read(fa_lock_of(net));
    return FA_OK;
}

fa_status fa_net_set_note(fa_net *net, const char *note)
{
    FA_REQUIRE(net);
    if (note && strlen(note) > FA_MAX_NOTE)
        return fa_fail(FA_E_VALUE, "note: expected at most %d bytes, got %zu", FA_MAX_NOTE,
                       strlen(note));
    if (note) FA_TRY(fa_check_utf8(note, "note"));
    char *copy;
    FA_TRY(fa_copy_note(&copy, note));
    fa_status status = fa_lock_write(fa_lock_of(net));
    if (status) {
        fa_free(copy);
        return status;
    }
    char *before = net->note;
    net->note = copy;
    status = fa_header_fits(net);
    if (status) {
        net->note = before;
        before = copy;
    }
    fa_unlock_write(fa_lock_of(net));
    fa_free(before);
    return status;
}

/* ---- counters and state ---- */

fa_counts fa_net_counts(const fa_net *net)
{
    if (!net) return (fa_counts){0};
    return (fa_counts){atomic_load(&net->count_forward), atomic_load(&net->count_transport),
                       atomic_load(&net->count_feedback), atomic_load(&net->count_outer)};
}

static fa_state *head(const fa_net *net) { return fa_state_of(net); }

int64_t fa_net_steps(const fa_net *net) { return net ? (int64_t)head(net)->steps : 0; }
int64_t fa_net_epochs(const fa_net *net) { return net ? (int64_t)head(net)->epochs : 0; }
double fa_net_lr(const fa_net *net) { return net ? head(net)->lr : 0; }
int fa_net_threads(const fa_net *net) { return net ? net->n_threads : 0; }

fa_status fa_net_set_threads(fa_net *net, int n)
{
    FA_REQUIRE(net);
    if (n < 0 || n > FA_MAX_THREADS)
        return fa_fail(FA_E_VALUE, "n_threads: expected 0 (default) to %d, got %d", FA_MAX_THREADS,
                       n);
    FA_TRY(fa_lock_write(fa_lock_of(net)));
    net->n_threads = n;
    fa_unlock_write(fa_lock_of(net));
    return FA_OK;
}

fa_status fa_net_set_loss(fa_net *net, int (*loss)(void *user, const fa_loss_context *t),
                          void *user)
{
    FA_REQUIRE(net);
    if (!fa_has_own_loss(net))
        return fa_fail(FA_E_VALUE,
                       "loss: expected 'custom' to have a function of its own, got '%s'",
                       net->loss->name);
    FA_TRY(fa_lock_write(fa_lock_of(net)));
    net->own_loss = loss;
    net->own_loss_user = user;
    fa_unlock_write(fa_lock_of(net));
    return FA_OK;
}

fa_status fa_net_set_lr(fa_net *net, double lr)
{
    FA_FIXED_FP(false);
    if (!(lr >= 0) || !isfinite(lr))
        return fa_fail(FA_E_VALUE, "lr: expected a number >= 0, got %g", lr);
    FA_TRY(fa_lock_write(fa_lock_of(net)));
    head(net)->lr = lr;
    fa_unlock_write(fa_lock_of(net));
    return FA_OK;
}

fa_status fa_check_counts(const fa_net *net, int64_t steps, int64_t epochs)
{
    if (head(net)->steps + (uint64_t)steps <= FA_MAX_COUNT &&
        head(net)->epochs + (uint64_t)epochs <= FA_MAX_COUNT)
        return FA_OK;
    return fa_fail(FA_E_STATE, "network: expected at most 2^62 steps and epochs, this call would "
                               "pass that; nothing was done; fa_net_reset sets them to 0");
}

void fa_next_order(int64_t *order, fa_net *net, int64_t n)
{
    fa_state *state = fa_state_of(net);
    fa_rng_permutation(order, n, fa_rng_stream(net->seed, FA_RNG_SHUFFLE, 0, state->epochs));
    state->epochs++;
}

fa_status fa_shuffle(int64_t *order, fa_net *net, int64_t n)
{
    FA_REQUIRE(order);
    if (n < 1) return fa_fail(FA_E_VALUE, "n: expected at least 1, got %lld", (long long)n);
    FA_TRY(fa_lock_write(fa_lock_of(net)));
    const fa_status status = fa_check_counts(net, 0, 1);
    if (status == FA_OK) fa_next_order(order, net, n);
    fa_unlock_write(fa_lock_of(net));
    return status;
}

size_t fa_net_state_size(const fa_net *net) { return net ? net->state_size : 0; }

fa_status fa_net_get_state(void *state, const fa_net *net)
{
    FA_REQUIRE(state);
    FA_TRY(fa_lock_read(fa_lock_of(net)));
    memcpy(state, net->state, net->state_size);
    fa_unlock_read(fa_lock_of(net));
    return FA_OK;
}

fa_status fa_net_set_state(fa_net *net, const void *state, size_t size)
{
    FA_FIXED_FP(false);
    FA_REQUIRE(net);
    FA_REQUIRE(state);
    if (size != net->state_size)
        return fa_fail(FA_E_VALUE, "state: expected %zu bytes of the same description, got %zu",
                       net->state_size, size);
    fa_state numbers;
    memcpy(&numbers, state, sizeof numbers);
    FA_TRY(fa_check_state(&numbers));
    FA_TRY(fa_lock_write(fa_lock_of(net)));
    head(net)->steps = numbers.steps;
    head(net)->epochs = numbers.epochs;
    head(net)->lr = numbers.lr;
    memcpy(net->state + sizeof numbers, (const char *)state + sizeof numbers,
           size - sizeof numbers);
    atomic_store(&net->suspect, true);
    fa_unlock_write(fa_lock_of(net));
    return FA_OK;
}

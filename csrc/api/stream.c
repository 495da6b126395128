/* Streams: networks with recurrent layers, one step at a time. The state of the stream is in tensors
 * of the network, so files, clones and fa_net_get_state have it. */
#include "api/api.h"

#include <math.h>
#include <string.h>

/* The layers below the first one that learns need no later steps, because they get no delta. */
static fa_status check_learns(const fa_net *net)
{
    for (int b = 0; b < net->n_blocks; b++) {
        const fa_layer *layer = net->blocks[b].layer;
        if (layer->ops->streams && net->blocks[b].needs_delta) FA_TRY(layer->ops->streams(layer));
    }
    return FA_OK;
}

static fa_status validate(fa_samples *s, const fa_net *net, const void *x, int64_t label,
                          const void *y)
{
    if (!net->recurrent)
        return fa_fail(FA_E_VALUE, "network: expected one with a recurrent layer for a stream, got "
                                   "none; take fa_learn_one");
    fa_samples one = fa_samples_of(x, net->n_in, net->dtype, 1);
    one.time_steps = 1, one.y = y, one.ldy = net->n_out;
    one.labels = !y && label != -1 ? &label : NULL;
    const bool target = one.y || one.labels;
    FA_TRY(fa_validate_samples(s, net, &one, target, false));
    FA_TRY(fa_check(net, &one));
    return target ? check_learns(net) : FA_OK;
}

static void keep_states(const fa_run *run)
{
    for (int b = 0; b < run->net->n_blocks; b++) {
        const fa_layer *layer = run->net->blocks[b].layer;
        if (layer->ops->keep) layer->ops->keep(layer, run);
    }
}

/* The outputs are copied before the update: its errors take the place of nothing that is read. */
static void give_output(void *out, const fa_run *run)
{
    const fa_net *net = run->net;
    const fa_mat z = run->buf[net->layers[net->n_layers - 1].out];
    if (!out) return;
    memcpy(out, z.p, (size_t)net->n_out * net->esize);
    if (net->loss->link) net->loss->link(net->k, (fa_mat){out, net->n_out, 1, net->n_out});
}

/* The caller holds the write lock. */
static fa_status step(fa_net *net, fa_run *run)
{
    fa_state *state = fa_state_of(net);
    run->step = state->steps;
    if (run->data.y || run->data.labels) {
        FA_TRY(fa_check_counts(net, 1, 0));
        FA_TRY(fa_run_step(run));
        state->steps++;
    } else {
        FA_TRY(fa_run_without_target(run));
    }
    keep_states(run);
    return FA_OK;
}

fa_status fa_stream_step(void *out, double *loss, fa_net *net, const void *x, int64_t label,
                         const void *y)
{
    FA_FIXED_FP(true);
    FA_REQUIRE(net);
    fa_samples s;
    FA_TRY(validate(&s, net, x, label, y));
    if (s.labels) s.labels = &label;
    fa_call call = {.writes = true, .n_work = 1};
    FA_TRY(fa_call_begin(&call, net, 1));
    fa_run run = {.net = net,
                  .work = call.work[0],
                  .mode = FA_TRAIN,
                  .data = s,
                  .m = 1,
                  .times = 1,
                  .stream = true,
                  .lr = fa_state_of(net)->lr};
    const fa_status status = step(net, &run);
    if (status == FA_OK) give_output(out, &run);
    if (status == FA_OK && loss && (s.y || s.labels)) *loss = run.loss;
    fa_call_end(&call);
    return status;
}

fa_status fa_stream_reset(fa_net *net)
{
    FA_FIXED_FP(false);
    FA_TRY(fa_lock_write(fa_lock_of(net)));
    for (int i = 0; i < net->n_params; i++) {
        const fa_param *p = &net->params[i];
        if (p->kind == FA_STATE) memset(p->value, 0, (size_t)(p->rows * p->cols) * net->esize);
    }
    fa_unlock_write(fa_lock_of(net));
    return FA_OK;
}

/* Training: one batch, or many batches in one call. */
#include "api/api.h"
#include "engine/sparse.h"

#include <math.h>
#include <string.h>

fa_status fa_check_suspect(fa_net *net)
{
    if (!atomic_load_explicit(&net->suspect, memory_order_relaxed)) return FA_OK;
    const fa_status status = fa_check_tensors(net);
    atomic_store(&net->suspect, status != FA_OK);
    return status;
}

/* One step on a bound run. Counts the step even if the update ruins a number: fa_check_suspect finds
 * that later. The caller holds the write lock. */
static fa_status step(fa_net *net, fa_run *run)
{
    fa_state *state = fa_state_of(net);
    FA_TRY(fa_check_suspect(net));
    run->step = state->steps;
    FA_TRY(fa_run_step(run));
    state->steps++;
    return FA_OK;
}

/* Whether the inputs that a step reads may be infinite: values that nobody has looked at, or any
 * that a large scale multiplies afterwards. */
static bool inputs_may_be_infinite(const fa_net *net, const fa_samples *s, bool checked)
{ return fabs(net->input_scale) > 1 || (s->x_dtype != FA_U8 && !checked); }

fa_status fa_train_batch(double *loss, fa_net *net, const fa_samples *batch)
{
    FA_FIXED_FP(true);
    FA_REQUIRE(loss);
    fa_samples s;
    FA_TRY(fa_validate_samples(&s, net, batch, true, true));
    fa_call call = {.writes = true, .n_work = 1};
    call.entries = fa_csr_most_entries(&s, NULL, 0, s.n, s.n);
    FA_TRY(fa_call_begin(&call, net, fa_rows_in(&s)));
    net->batch_bytes = call.work[0]->size;
    fa_run run = {.net = net,
                  .work = call.work[0],
                  .mode = FA_TRAIN,
                  .data = s,
                  .m = fa_rows_in(&s),
                  .times = fa_times(&s),
                  .lr = fa_state_of(net)->lr,
                  .x_unchecked = inputs_may_be_infinite(net, &s, true)};
    fa_status status = fa_check_counts(net, 1, 0);
    if (status == FA_OK) status = step(net, &run);
    if (status == FA_OK) status = fa_check_suspect(net);
    if (status == FA_OK) *loss = run.loss;
    fa_call_end(&call);
    return status;
}

fa_status fa_learn_one(double *loss, fa_net *net, const void *x, int64_t label, const void *y)
{
    FA_REQUIRE(net);
    if (net->recurrent) return fa_stream_step(NULL, loss, net, x, label, y);
    fa_samples one = fa_samples_of(x, net->n_in, net->dtype, 1);
    one.y = y, one.ldy = net->n_out;
    if (!y) one.labels = &label;
    return fa_train_batch(loss, net, &one);
}

/* Rows of a full batch. A batch size larger than the number of samples gives one short batch. */
static int64_t rows_of(const fa_samples *s, const fa_epoch *e)
{ return e->batch_size < s->n ? e->batch_size : s->n; }

/* -1: a step without a target */
static fa_status check_labels_of_steps(const fa_net *net, const fa_samples *s, int64_t sample)
{
    const int64_t each = fa_times(s);
    for (int64_t i = sample * each; i < (sample + 1) * each; i++)
        if (!fa_label_fits(net, s->labels[i]) && s->labels[i] != -1) return fa_bad_label(net, s, i);
    return FA_OK;
}

/* Checks the steps of one call, and only the order and labels that they use: a program that makes a
 * call for each step must not read the whole epoch each time. */
static fa_status check_epoch(const fa_net *net, const fa_samples *s, const fa_epoch *e)
{
    if (e->batch_size < 1)
        return fa_fail(FA_E_VALUE, "batch_size: expected at least 1, got %lld",
                       (long long)e->batch_size);
    const int64_t size = rows_of(s, e), batches = fa_ceil_div(s->n, size);
    if (e->first < 0 || e->count < 0 || e->first > batches || e->count > batches - e->first)
        return fa_fail(FA_E_VALUE,
                       "first, count: expected batches within 0..%lld, got %lld and %lld",
                       (long long)batches, (long long)e->first, (long long)e->count);
    const bool labels = s->labels && !s->every_step, rows = fa_is_sparse(s) && !s->checked;
    const bool weights = s->weights && !s->checked, steps = s->labels && s->every_step;
    const int64_t end = e->first + e->count == batches ? s->n : (e->first + e->count) * size;
    for (int64_t i = e->first * size; i < end; i++) {
        const int64_t sample = e->order ? e->order[i] : i;
        if (sample < 0 || sample >= s->n)
            return fa_fail(FA_E_VALUE, "order: expected indices in 0..%lld, got %lld at %lld",
                           (long long)s->n - 1, (long long)sample, (long long)i);
        if (labels && !fa_label_fits(net, s->labels[sample])) return fa_bad_label(net, s, sample);
        if (steps) FA_TRY(check_labels_of_steps(net, s, sample));
        if (rows) FA_TRY(fa_check_csr_row(net, s, sample));
        if (weights && s->weights[sample] < 0)
            return fa_fail(FA_E_VALUE,
                           "sample_weight: expected finite numbers >= 0, got %g at index %lld",
                           s->weights[sample], (long long)sample);
    }
    for (int64_t i = 0; e->lrs && i < e->count; i++)
        if (!(e->lrs[i] >= 0) || !isfinite(e->lrs[i]))
            return fa_fail(FA_E_VALUE,
                           "lr: expected numbers >= 0, got %g for step %lld of this call",
                           e->lrs[i], (long long)i);
    return FA_OK;
}

/* Only dense images can be shifted and flipped. */
static fa_status check_augment(const fa_net *net, const fa_samples *s, const fa_epoch *e)
{
    if (!e->flip && !e->crop) return FA_OK;
    const int64_t h = net->desc.input_h, w = net->desc.input_w;
    if (!h || net->recurrent || fa_is_sparse(s))
        return fa_fail(FA_E_VALUE,
                       "crop, flip: expected samples that are images (input_h, input_w, input_c), "
                       "got %s",
                       net->recurrent    ? "sequences"
                       : fa_is_sparse(s) ? "a sparse X"
                                         : "rows of numbers");
    if (e->crop < 0 || e->crop >= fa_smaller(h, w))
        return fa_fail(FA_E_VALUE, "crop: expected 0 to %lld for images of %lld x %lld, got %lld",
                       (long long)(fa_smaller(h, w) - 1), (long long)h, (long long)w,
                       (long long)e->crop);
    return FA_OK;
}

/* The samples of batch b: a window into the order, or into the arrays themselves. */
static void select_batch(fa_run *run, const fa_net *net, const fa_samples *s, const fa_epoch *e,
                         int64_t b)
{
    const int64_t size = rows_of(s, e), r0 = b * size, times = fa_times(s);
    const int64_t target = s->every_step ? r0 * times : r0;
    run->m = (s->n - r0 < size ? s->n - r0 : size) * times;
    run->times = times;
    run->index = e->order ? e->order + r0 : NULL;
    if (e->order) return;
    const size_t x_size = s->x_dtype == FA_U8 ? 1 : net->esize;
    if (fa_is_sparse(s))
        run->data.indptr = (const char *)s->indptr + r0 * s->index_bytes;
    else
        run->data.x = (const char *)s->x + (size_t)(r0 * times * s->ldx) * x_size;
    if (s->labels) run->data.labels = s->labels + target;
    if (s->y) run->data.y = (const char *)s->y + (size_t)(target * s->ldy) * net->esize;
    if (s->weights) run->data.weights = s->weights + r0;
}

/* The progress of a call. */
typedef struct fa_progress {
    fa_metrics *metrics;
    const fa_epoch *epoch;
    double polled;  /* the time of the last poll */
    double resumed; /* the time when readers last gave the network back */
    double paused;  /* how long they had it */
} fa_progress;

static fa_run batch_run(fa_net *net, const fa_samples *s, const fa_epoch *e, int64_t i,
                        fa_work *work)
{
    fa_run run = {.net = net,
                  .work = work,
                  .mode = FA_TRAIN,
                  .data = *s,
                  .augments = e->flip || e->crop,
                  .flip = e->flip,
                  .crop = e->crop,
                  .x_unchecked = inputs_may_be_infinite(net, s, s->checked)};
    select_batch(&run, net, s, e, e->first + i);
    run.lr = e->lrs ? e->lrs[i] : fa_state_of(net)->lr;
    return run;
}

static void count_step(fa_progress *progress, const fa_run *run)
{
    fa_metrics *metrics = progress->metrics;
    metrics->loss += run->loss * run->count;
    metrics->hits += run->hits;
    metrics->rows += (int64_t)run->count;
    metrics->steps++;
}

static bool poll_is_due(const fa_progress *progress)
{
    return progress->epoch->poll &&
           fa_seconds() - progress->polled >= progress->epoch->poll_seconds;
}

/* After readers had a turn, training runs at least as long as they did, so it has half of the time
 * under any number of readers. */
static bool readers_turn(const fa_progress *progress, const fa_net *net)
{
    return fa_lock_readers_wait(fa_lock_of(net)) &&
           fa_seconds() - progress->resumed >= progress->paused;
}

static bool pause_is_due(const fa_progress *progress, const fa_net *net)
{ return poll_is_due(progress) || readers_turn(progress, net); }

static fa_status poll(fa_progress *progress, int64_t i)
{
    const fa_epoch *e = progress->epoch;
    const int64_t step = e->first + i + 1;
    const unsigned ours = fa_fp_pause();
    const int stop = e->poll(e->user, step);
    fa_fp_resume(ours);
    progress->polled = fa_seconds();
    return stop ? fa_fail(FA_E_STOPPED, "stopped after step %lld", (long long)step) : FA_OK;
}

static void let_readers_in(fa_progress *progress, const fa_net *net)
{
    const double left = fa_seconds();
    fa_lock_pause(fa_lock_of(net));
    fa_lock_resume(fa_lock_of(net));
    progress->resumed = fa_seconds();
    progress->paused = progress->resumed - left;
}

/* After step i, with no update pending. */
static fa_status pause_steps(fa_progress *progress, const fa_net *net, int64_t i)
{
    if (poll_is_due(progress)) FA_TRY(poll(progress, i));
    if (readers_turn(progress, net)) let_readers_in(progress, net);
    return FA_OK;
}

static fa_status steps(fa_progress *progress, fa_net *net, const fa_samples *s, fa_work *work)
{
    for (int64_t i = 0; i < progress->epoch->count; i++) {
        fa_run run = batch_run(net, s, progress->epoch, i, work);
        FA_TRY(step(net, &run));
        count_step(progress, &run);
        FA_TRY(fa_check_suspect(net));
        if (pause_is_due(progress, net)) FA_TRY(pause_steps(progress, net, i));
    }
    return FA_OK;
}

/* Batches of one sample, plain SGD: each update waits for the forward pass of the next sample. That
 * reads and writes W once for both (docs/decisions/009-one-pass-batch-1.md):
 *
 *   steps      forward 1, update 1,  forward 2, update 2,  forward 3, ...
 *   deferred   forward 1,  update 1 + forward 2,  update 2 + forward 3, ...  flush: the last update
 *
 * The last update is made before anything else can read W. The bits are those of `steps`. */
static bool can_defer(const fa_net *net, const fa_samples *s, int64_t rows, const fa_epoch *e)
{ return rows == 1 && e->count > 1 && net->defers && !net->blas && !fa_is_sparse(s); }

static fa_status deferred_steps(fa_progress *progress, fa_net *net, const fa_samples *s,
                                fa_work *const work[2])
{
    fa_state *state = fa_state_of(net);
    fa_run run[2], *pending = NULL;
    fa_status status = fa_check_suspect(net);
    for (int64_t i = 0; i < progress->epoch->count && status == FA_OK; i++) {
        fa_run *one = &run[i % 2];
        *one = batch_run(net, s, progress->epoch, i, work[i % 2]);
        one->step = state->steps;
        one->pending = pending;
        pending = NULL; /* this forward pass makes its update, whatever its loss is */
        FA_TRY(fa_run_deferred(one));
        pending = one;
        state->steps++;
        count_step(progress, one);
        if (!pause_is_due(progress, net)) continue;
        fa_run_flush(pending);
        pending = NULL;
        status = pause_steps(progress, net, i);
    }
    if (pending) fa_run_flush(pending);
    return status;
}

/* Reserves memory for the order of n samples, kept for the next epoch. */
static bool reserve_order(fa_net *net, int64_t n)
{
    if (net->n_shuffled >= n) return true;
    size_t size = 0;
    int64_t *order = fa_add_bytes(&size, n, 1, sizeof *order) ? fa_alloc(size) : NULL;
    if (!order) return false;
    fa_free(net->shuffled);
    net->shuffled = order;
    net->n_shuffled = n;
    return true;
}

/* The next call finds values that the last update of a call has ruined; after many rows, this call
 * already does. */
static fa_status check_update(const fa_net *net, int64_t rows)
{
    /* With this many rows, checking all tensors takes less than 1 % of their time. */
    enum { MANY_ROWS = 128 };
    return rows < MANY_ROWS ? FA_OK : fa_check_tensors(net);
}

/* Trains on checked samples and steps. shuffle: begins the network's next epoch and uses its
 * order. */
static fa_status train(fa_metrics *metrics, fa_net *net, const fa_samples *s, fa_epoch *e,
                       bool shuffle)
{
    const int64_t rows = rows_of(s, e);
    const bool defer = can_defer(net, s, rows, e);
    const int64_t used = (e->first + e->count) * rows; /* samples up to the last batch */
    fa_call call = {.writes = true, .n_work = 1 + defer, .slot = {0, 2}};
    call.entries = fa_csr_most_entries(s, e->order, shuffle ? 0 : e->first * rows,
                                       fa_smaller(used, s->n), rows);
    FA_TRY(fa_call_begin(&call, net, rows * fa_times(s)));
    fa_status status = fa_check_counts(net, e->count, shuffle);
    if (status) {
        /* nothing was done */
    } else if (shuffle && !reserve_order(net, s->n)) {
        status = fa_fail(FA_E_MEMORY,
                         "out of memory for the order of %lld samples; the network is "
                         "unchanged",
                         (long long)s->n);
    } else {
        if (shuffle) fa_next_order(net->shuffled, net, s->n);
        if (shuffle) e->order = net->shuffled;
        if (!s->accumulate) *metrics = (fa_metrics){0};
        fa_progress progress = {.metrics = metrics, .epoch = e, .polled = fa_seconds()};
        status = defer ? deferred_steps(&progress, net, s, call.work)
                       : steps(&progress, net, s, call.work[0]);
        if (!fa_has_accuracy(net, s)) metrics->hits = NAN;
        if (status == FA_OK) status = check_update(net, metrics->rows);
    }
    fa_call_end(&call);
    return status;
}

fa_status fa_train_steps(fa_metrics *metrics, fa_net *net, const fa_samples *samples,
                         const fa_epoch *epoch)
{
    FA_FIXED_FP(true);
    FA_REQUIRE(metrics);
    fa_samples s;
    fa_epoch e;
    FA_TRY(fa_validate_samples(&s, net, samples, true, false));
    FA_TRY(FA_COPY_STRUCT(&e, epoch, count, "epoch"));
    FA_TRY(check_epoch(net, &s, &e));
    FA_TRY(check_augment(net, &s, &e));
    return train(metrics, net, &s, &e, false);
}

fa_status fa_train_epoch(fa_metrics *metrics, fa_net *net, const fa_samples *samples,
                         int64_t batch_size)
{
    FA_FIXED_FP(true);
    FA_REQUIRE(metrics);
    fa_samples s;
    FA_TRY(fa_validate_samples(&s, net, samples, true, false));
    fa_epoch e = fa_epoch_of(NULL, batch_size, 0);
    if (batch_size > 0) e.count = (s.n + rows_of(&s, &e) - 1) / rows_of(&s, &e);
    FA_TRY(check_epoch(net, &s, &e));
    return train(metrics, net, &s, &e, true);
}

fa_status fa_learn_many(fa_metrics *metrics, fa_net *net, const fa_samples *samples)
{
    FA_FIXED_FP(true);
    FA_REQUIRE(metrics);
    fa_samples s;
    FA_TRY(fa_validate_samples(&s, net, samples, true, false));
    fa_epoch e = fa_epoch_of(NULL, 1, s.n);
    FA_TRY(check_epoch(net, &s, &e));
    return train(metrics, net, &s, &e, false);
}

fa_status fa_gradients(double *loss, void *const *grads, const fa_net *net,
                       const fa_samples *samples)
{
    FA_FIXED_FP(true);
    FA_REQUIRE(loss);
    FA_REQUIRE(grads);
    fa_samples s;
    FA_TRY(fa_validate_samples(&s, net, samples, true, true));
    fa_call call = {.n_work = 1};
    call.entries = fa_csr_most_entries(&s, NULL, 0, s.n, s.n);
    FA_TRY(fa_call_begin(&call, net, fa_rows_in(&s)));
    fa_run run = {.net = net,
                  .work = call.work[0],
                  .mode = FA_GRADIENTS,
                  .data = s,
                  .m = fa_rows_in(&s),
                  .times = fa_times(&s),
                  .step = fa_state_of(net)->steps,
                  .grads = grads};
    const fa_status status = fa_run_step(&run);
    if (status == FA_OK) *loss = run.loss;
    fa_call_end(&call);
    return status;
}

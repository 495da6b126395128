/* Forward passes: predict and evaluate, for any number of rows, in chunks that fit the cache. */
#include "api/api.h"
#include "engine/sparse.h"

#include <math.h>
#include <stdlib.h>

typedef struct fa_forward_job {
    fa_run run;
    void *out; /* predict: n x n_out */
    ptrdiff_t ldo;
    bool logits;
    double *row_loss, *row_hit; /* evaluate: of each row */
    int64_t targets;
    int64_t chunk; /* samples of a task */
} fa_forward_job;

/* Rows r of the samples, as a batch. */
static fa_samples window(const fa_net *net, const fa_samples *s, fa_rows r)
{
    fa_samples part = *s;
    const size_t x_size = s->x_dtype == FA_U8 ? 1 : net->esize;
    const int64_t target = s->every_step ? r.r0 * fa_times(s) : r.r0;
    part.n = r.r1 - r.r0;
    if (fa_is_sparse(s))
        part.indptr = (const char *)s->indptr + r.r0 * s->index_bytes;
    else
        part.x = (const char *)s->x + (size_t)(r.r0 * fa_times(s) * s->ldx) * x_size;
    if (s->labels) part.labels = s->labels + target;
    if (s->y) part.y = (const char *)s->y + (size_t)(target * s->ldy) * net->esize;
    part.weights = NULL;
    return part;
}

/* Of sequences: the outputs that were asked for, of every step or of the last. */
static void copy_outputs(const fa_forward_job *job, const fa_run *part, fa_mat z, int64_t first)
{
    const fa_net *net = part->net;
    const int64_t step = part->data.every_step ? 1 : part->times;
    fa_mat to = {(char *)job->out + (size_t)(first * job->ldo) * net->esize, job->ldo,
                 part->m / step, net->n_out};
    const size_t row = (size_t)z.ld * net->esize;
    net->k->gather(to.p, to.ld, z.p + (size_t)(step - 1) * row, z.ld * step, NULL, to.rows, to.cols,
                   1);
    if (!job->logits && net->loss->link) net->loss->link(net->k, to);
}

static void forward_task(void *context, int64_t task, int worker)
{
    const fa_forward_job *job = context;
    const fa_net *net = job->run.net;
    const int64_t n = job->run.data.n, r0 = task * job->chunk, times = job->run.times;
    const fa_rows rows = {r0, r0 + job->chunk < n ? r0 + job->chunk : n};
    fa_run part = job->run;
    part.data = window(net, &job->run.data, rows);
    part.m = part.data.n * times;
    fa_run_bind(&part, worker);
    if (part.csr) fa_csr_begin(&part);
    const fa_buf last = net->layers[net->n_layers - 1].out;
    if (job->out && !net->recurrent)
        part.buf[last] = (fa_mat){(char *)job->out + (size_t)(r0 * job->ldo) * net->esize, job->ldo,
                                  part.m, net->n_out};
    fa_forward(&part, (fa_rows){0, part.m}, worker);
    if (job->out && net->recurrent) {
        copy_outputs(job, &part, part.buf[last], part.data.every_step ? r0 * times : r0);
        return;
    }
    if (job->out) {
        if (!job->logits && net->loss->link) net->loss->link(net->k, part.buf[last]);
        return;
    }
    part.row_loss = job->row_loss + r0 * times;
    part.row_hit = job->row_hit + r0 * times;
    fa_output_error(&part, (fa_rows){0, part.m});
}

static fa_status run_forward(fa_forward_job *job)
{
    const fa_net *net = job->run.net;
    const int64_t n = job->run.data.n, times = fa_times(&job->run.data);
    job->run.times = times;
    job->chunk =
        net->recurrent ? fa_sequence_chunk(net, n * times, times, 1) / times : FA_PREDICT_CHUNK;
    fa_call call = {.chunk = job->chunk * times, .n_work = 1, .slot = {1}};
    call.entries = fa_csr_most_entries(&job->run.data, NULL, 0, n, job->chunk);
    FA_TRY(fa_call_begin(&call, net, n * times));
    job->run.work = call.work[0];
    const bool serial = !job->out && fa_has_own_loss(net);
    fa_parallel_for(serial ? 1 : call.threads, fa_ceil_div(n, job->chunk), forward_task, job);
    fa_status status = fa_own_loss_status(&job->run);
    if (status == FA_OK && atomic_load(&call.work[0]->bad_label))
        status = fa_fail(FA_E_VALUE,
                         "y: expected labels that do not change in use, got one out of range");
    else if (status == FA_OK && atomic_load(&call.work[0]->bad_entry))
        status = fa_fail(FA_E_VALUE, "X: expected columns of a sparse X that do not change in use, "
                                     "got some out of range or order");
    else if (status == FA_OK && atomic_load(&call.work[0]->nonfinite))
        status = fa_check_tensors(net);
    fa_call_end(&call);
    return status;
}

fa_status fa_predict(void *out, ptrdiff_t ldo, const fa_net *net, const fa_samples *samples,
                     int logits)
{
    FA_FIXED_FP(true);
    fa_samples s;
    FA_TRY(fa_validate_samples(&s, net, samples, false, true));
    FA_REQUIRE(out);
    if (ldo < net->n_out)
        return fa_fail(FA_E_VALUE, "out: expected a row stride of at least %lld, got %lld",
                       (long long)net->n_out, (long long)ldo);
    s.labels = NULL;
    s.y = NULL;
    fa_forward_job job = {.run = {.net = net, .mode = FA_PREDICT, .data = s},
                          .out = out,
                          .ldo = ldo,
                          .logits = logits};
    return run_forward(&job);
}

/* Sample weights count in the loss, as in training, and not in the accuracy. */
static void sum_rows(fa_metrics *metrics, const fa_samples *s, const fa_forward_job *job)
{
    fa_metrics sums = s->accumulate ? *metrics : (fa_metrics){0};
    sums.rows += job->targets;
    for (int64_t i = 0; i < fa_rows_in(s); i++) {
        const double w = s->weights ? s->weights[i / fa_times(s)] : 1;
        sums.loss += w * job->row_loss[i];
        sums.hits += job->row_hit[i];
    }
    *metrics = sums;
}

fa_status fa_evaluate(fa_metrics *metrics, const fa_net *net, const fa_samples *samples)
{
    FA_FIXED_FP(true);
    FA_REQUIRE(metrics);
    fa_samples s;
    FA_TRY(fa_validate_samples(&s, net, samples, true, true));
    const int64_t rows = fa_rows_in(&s);
    fa_forward_job job = {
        .run = {.net = net, .mode = FA_EVALUATE, .data = s, .m = rows, .times = fa_times(&s)}};
    job.targets = net->recurrent ? (int64_t)fa_count_targets(&job.run) : s.n;
    job.row_loss = fa_alloc((size_t)rows * 2 * sizeof(double));
    if (!job.row_loss)
        return fa_fail(FA_E_MEMORY, "out of memory for evaluating %lld rows", (long long)rows);
    job.row_hit = job.row_loss + rows;
    const int cancel = fa_cancel_off(); /* a thread that ended here would not free the sums */
    const fa_status status = run_forward(&job);
    if (status == FA_OK) {
        sum_rows(metrics, &s, &job);
        if (!fa_has_accuracy(net, &s)) metrics->hits = NAN;
    }
    fa_free(job.row_loss);
    fa_cancel_back(cancel);
    return status;
}

/* ---- prepared predictions of one sample ---- */

struct fa_predictor {
    fa_run run;
    bool logits;
};

fa_status fa_predictor_create(fa_predictor **predictor, const fa_net *net, fa_dtype x_dtype,
                              int logits)
{
    FA_FIXED_FP(true);
    FA_REQUIRE(predictor);
    FA_REQUIRE(net);
    if (x_dtype != net->dtype && x_dtype != FA_U8)
        return fa_fail(FA_E_VALUE, "x_dtype: expected the network's dtype (%s) or bytes, got %d",
                       net->dtype == FA_F64 ? "float64" : "float32", (int)x_dtype);
    fa_predictor *p = fa_alloc(sizeof *p);
    fa_work *work = fa_work_create(net, false, 1, 0, 1, 1);
    if (!p || !work) {
        fa_free(p);
        fa_free(work);
        return fa_fail(FA_E_MEMORY, "out of memory for a predictor");
    }
    *p = (fa_predictor){.run = {.net = net,
                                .work = work,
                                .mode = FA_PREDICT,
                                .m = 1,
                                .times = 1,
                                .stream = net->recurrent,
                                .skip_finite_check = true},
                        .logits = logits};
    p->run.data = fa_samples_of(NULL, net->n_in, x_dtype, 1);
    fa_run_bind(&p->run, 0);
    *predictor = p;
    return FA_OK;
}

void fa_predictor_free(fa_predictor *p)
{
    if (!p) return;
    fa_free(p->run.work);
    fa_free(p);
}

fa_status fa_predict_one(void *out, fa_predictor *p, const void *x)
{
    FA_FIXED_FP(true);
    if (!p) return fa_fail(FA_E_VALUE, "predictor: expected a pointer, got NULL");
    fa_run *run = &p->run;
    const fa_net *net = run->net;
    FA_TRY(fa_lock_read(fa_lock_of(net)));
    fa_run_set_sample(run, x, out);
    fa_forward(run, (fa_rows){0, 1}, 0);
    if (!p->logits && net->loss->link)
        net->loss->link(net->k, run->buf[net->layers[net->n_layers - 1].out]);
    fa_unlock_read(fa_lock_of(net));
    return FA_OK;
}

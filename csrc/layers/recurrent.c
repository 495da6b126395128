/* Recurrent: a_t = x_t W + h_{t-1} U + b, h_t = (1 - k) h_{t-1} + k f(a_t).
 *
 * Whole sequences: row i T + t of a buffer is step t of sequence i, so a step is a matrix whose rows
 * are T rows apart. The forward pass multiplies all steps by W at once, and then adds h U step by
 * step. Back through time, from the last step on,
 *
 *     G_t = S_t + c G_{t+1} + K(D_{t+1})      D_t = k f'(a_t) * G_t
 *
 * where `time` chooses c and K (docs/MATH.md, "Recurrent layers"). The gradients of W, U and b are
 * products over all rows then, by the engine.
 *
 * Streams: one row. h_{t-1} is a tensor of the network, and so are the traces of W, U and b, which
 * take the place of that way back where K does not mix units. */
#include "layers/layers.h"

#include "model/options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum fa_carrier { /* K */
                          CARRY_NONE,
                          CARRY_DIAGONAL,
                          CARRY_EXACT,
                          CARRY_SIGN,
                          CARRY_MATRIX /* stored: fixed, or learned by Kolen-Pollack */
} fa_carrier;
typedef enum fa_share { SHARE_NONE, SHARE_LEAK, SHARE_ALL } fa_share; /* c: 0, 1 - k, 1 */

typedef struct fa_time {
    const char *name, *alias[2];
    fa_carrier carrier;
    fa_share share;
    bool streams, learns;
} fa_time;

static const fa_time time_rules[] = {
    {"bptt", {0}, CARRY_EXACT, SHARE_LEAK, false, true},
    {"kp", {0}, CARRY_MATRIX, SHARE_LEAK, false, true},
    {"fa", {0}, CARRY_MATRIX, SHARE_LEAK, false, true},
    {"sign", {0}, CARRY_SIGN, SHARE_LEAK, false, true},
    {"diagonal", {"snap1"}, CARRY_DIAGONAL, SHARE_LEAK, true, true},
    {"leak", {"rflo", "eprop"}, CARRY_NONE, SHARE_LEAK, true, true},
    {"none", {0}, CARRY_NONE, SHARE_NONE, true, true},
    {"broadcast", {0}, CARRY_NONE, SHARE_ALL, false, true},
    {"frozen", {0}, CARRY_NONE, SHARE_NONE, true, false},
};
enum { N_TIMES = sizeof time_rules / sizeof *time_rules };
static const fa_time *const exact_time = &time_rules[0];

enum { LEAK, TIME, TIME_DECAY };
static const fa_option_row recurrent_options[] = {
    [LEAK] = {.name = "leak",
              .number = 1,
              .low = 0,
              .low_excluded = true,
              .high = 1,
              .meaning = "share of the new value in a step; 1: no leak"},
    [TIME] = {.name = "time",
              .kind = FA_OPTION_TEXT,
              .text = "bptt",
              .meaning = "how errors go back in time: bptt, kp, fa, sign, diagonal, leak, none, "
                         "broadcast or frozen"},
    [TIME_DECAY] = {.name = "time_decay",
                    FA_HALF_OPEN(0, 1),
                    .meaning =
                        "share of U and its feedback that is lost in a step under time 'kp'"},
    FA_OPTIONS_OF_ACTIVATIONS,
    {0}};

typedef struct state {
    const fa_time *time;
    double leak;
    fa_param *feedback; /* R, in place of U^T; or NULL */
    fa_param *h;        /* of a stream: the last output */
    fa_buf f;           /* f(a); the output itself where the leak is 1 */
    fa_buf stream;      /* slopes, kept shares, signals; or FA_NO_BUF */
} state;
static const state *state_of(const fa_layer *layer) { return layer->state; }

/* ---- planning ---- */

static fa_status find_time(const fa_time **time, const fa_layer *layer)
{
    char known[128] = "";
    const char *name = fa_layer_option(layer, TIME)->text;
    for (int i = 0; i < N_TIMES; i++) {
        *time = &time_rules[i];
        if (!strcmp(time_rules[i].name, name)) return FA_OK;
        for (int j = 0; j < 2; j++)
            if (time_rules[i].alias[j] && !strcmp(time_rules[i].alias[j], name)) return FA_OK;
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
                 time_rules[i].name);
    }
    return fa_fail(FA_E_VALUE, "layer %d: time: expected one of %s, got '%s'", layer->index, known,
                   name);
}

/* Memory of a stream: h, and the traces of what learns by them. */
static void plan_stream(fa_net *net, fa_layer *layer, state *own)
{
    static const char *const names[] = {"trace.weight", "trace.recurrent", "trace.bias"};
    fa_param *const of_layer[] = {layer->weight, layer->recurrent, layer->bias};
    own->h = fa_plan_param(net, "state", layer->index, FA_STATE, 1, layer->n_out);
    own->stream = FA_NO_BUF;
    if (!own->time->streams || own->time->share == SHARE_NONE || !layer->desc.trainable) return;
    own->stream = fa_plan_buffer(net, 3 * layer->n_out, net->esize);
    for (int i = 0; i < 3; i++) {
        if (!of_layer[i]) continue;
        of_layer[i]->trace = fa_plan_param(net, names[i], layer->index, FA_STATE, of_layer[i]->rows,
                                           of_layer[i]->cols);
        of_layer[i]->stream = own->stream;
    }
}

static fa_status plan(fa_net *net, fa_layer *layer)
{
    const int64_t n = layer->desc.units;
    FA_TRY(fa_plan_private(net, &layer->state, sizeof(state)));
    state *own = layer->state;
    FA_TRY(fa_plan_dense(net, layer));
    FA_TRY(find_time(&own->time, layer));
    FA_TRY(fa_init_check(&layer->desc.recurrent_init, "recurrent_init", layer->index, n, n));
    own->leak = fa_layer_option(layer, LEAK)->number;
    own->f = own->leak == 1 ? layer->out : fa_plan_buffer(net, n, net->esize);
    net->buffers[own->f].predicts = true;
    layer->fixed = !own->time->learns;
    layer->before = fa_plan_buffer(net, n, net->esize);
    layer->recurrent = fa_plan_param(net, "recurrent", layer->index, FA_WEIGHT, n, n);
    layer->recurrent->lr_scale = layer->desc.lr_scale;
    if (own->time->carrier == CARRY_MATRIX)
        own->feedback = fa_plan_param(net, "recurrent_feedback", layer->index, FA_FEEDBACK, n, n);
    if (!strcmp(own->time->name, "kp")) {
        own->feedback->feedback_decay = fa_layer_option(layer, TIME_DECAY)->number;
        layer->recurrent->coupled = own->feedback;
    }
    plan_stream(net, layer, own);
    /* K, and G of the sequences of a chunk */
    fa_plan_scratch(net, (size_t)(n * (n + FA_SEQUENCE_CHUNK)) * net->esize);
    return FA_OK;
}

static void draw(const fa_net *net, const fa_layer *layer)
{
    const state *own = state_of(layer);
    const int64_t n = layer->n_out;
    fa_draw_param(net, layer->recurrent, &layer->desc.recurrent_init, "glorot_uniform", layer,
                  FA_RNG_RECURRENT);
    if (own->feedback)
        fa_rng_uniform(own->feedback->value, net->dtype, 0, n * n, 1 / sqrt((double)n),
                       fa_rng_stream(net->seed, FA_RNG_RECURRENT_FEEDBACK, layer->ordinal, 0));
}

static fa_status streams(const fa_layer *layer)
{
    if (state_of(layer)->time->streams || !layer->desc.trainable) return FA_OK;
    return fa_fail(
        FA_E_VALUE,
        "layer %d: time: expected diagonal, leak, none or frozen to learn from a stream, "
        "got '%s', which needs later steps; train on whole sequences",
        layer->index, state_of(layer)->time->name);
}

/* ---- forward ---- */

/* Step t of the sequences in these rows. */
static fa_mat step_of(const fa_run *run, fa_buf buffer, fa_rows rows, int64_t t)
{
    fa_mat all = fa_get(run, buffer, rows);
    all.p += (size_t)(t * all.ld) * run->net->buffers[buffer].size;
    all.ld *= run->times;
    all.rows /= run->times;
    return all;
}

static void copy(const fa_net *net, fa_mat to, fa_mat from)
{ net->k->gather(to.p, to.ld, from.p, from.ld, NULL, to.rows, to.cols, 1); }

/* From a_t = x_t W + b to h_t; `before` is h_{t-1}, or has no data at the first step. */
static void advance(const fa_layer *layer, const fa_run *run, fa_rows rows, int64_t t,
                    fa_mat before, int worker)
{
    const fa_net *net = run->net;
    const state *own = state_of(layer);
    const fa_mat h = step_of(run, layer->out, rows, t), f = step_of(run, own->f, rows, t);
    const fa_mat a = layer->preact == FA_NO_BUF ? f : step_of(run, layer->preact, rows, t);
    if (before.p) {
        fa_packed_b packed = fa_packing_buffer(run, worker);
        fa_matmul_add(&net->linalg, a, before, fa_param_matrix(layer->recurrent),
                      &(fa_epilogue){.nonfinite = fa_nonfinite_flag(run)}, &packed);
        fa_count(run, &net->count_forward, rows.r0 == 0);
    }
    if (layer->activation != FA_ACT_linear || a.p != f.p)
        net->k->act[layer->activation](f.p, f.ld, a.p, a.ld, f.rows, f.cols, layer->f_option);
    if (own->leak != 1)
        net->k->leak(h.p, h.ld, f.p, f.ld, before.p, before.ld, h.rows, h.cols, own->leak);
}

/* k f'(a) of one row, and the share of a trace that stays. */
static void prepare_traces(const fa_layer *layer, const fa_run *run)
{
    const fa_net *net = run->net;
    const state *own = state_of(layer);
    const int64_t n = layer->n_out;
    const fa_mat x = run->buf[layer->preact == FA_NO_BUF ? own->f : layer->preact];
    char *const slope = run->buf[own->stream].p, *const keep = slope + (size_t)n * net->esize;
    const bool diagonal = own->time->carrier == CARRY_DIAGONAL;
    const ptrdiff_t diagonal_step = n + 1;
    for (int64_t j = 0; j < n; j++) {
        if (net->dtype == FA_F64)
            ((double *)slope)[j] = own->leak, ((double *)keep)[j] = 1 - own->leak;
        else
            ((float *)slope)[j] = (float)own->leak, ((float *)keep)[j] = (float)(1 - own->leak);
    }
    net->k->dact[layer->activation](slope, n, x.p, x.ld, 1, n, layer->f_option);
    const void *u = layer->recurrent->value;
    for (int64_t j = 0; diagonal && j < n; j++) {
        if (net->dtype == FA_F64)
            ((double *)keep)[j] += ((double *)slope)[j] * ((const double *)u)[j * diagonal_step];
        else
            ((float *)keep)[j] += ((float *)slope)[j] * ((const float *)u)[j * diagonal_step];
    }
}

static void forward(const fa_layer *layer, const fa_run *run, fa_part part, int worker)
{
    const fa_net *net = run->net;
    const state *own = state_of(layer);
    const fa_buf buffer = layer->preact == FA_NO_BUF ? own->f : layer->preact;
    for (int64_t r = part.rows.r0; r < part.rows.r1; r += FA_CHUNK) {
        const fa_rows rows = {r, fa_smaller(r + FA_CHUNK, part.rows.r1)};
        fa_dense_product(layer, run, fa_all_columns(rows, layer->n_out), fa_get(run, buffer, rows),
                         false, worker);
    }
    if (run->stream) {
        const fa_mat before = {own->h->value, layer->n_out, 1, layer->n_out};
        advance(layer, run, part.rows, 0, before, worker);
        if (run->mode >= FA_PREDICT) return;
        copy(net, run->buf[layer->before], before);
        if (own->stream != FA_NO_BUF) prepare_traces(layer, run);
        return;
    }
    fa_mat before = {0};
    for (int64_t t = 0; t < run->times; t++) {
        advance(layer, run, part.rows, t, before, worker);
        before = step_of(run, layer->out, part.rows, t);
    }
    if (run->mode >= FA_PREDICT) return;
    const fa_mat first = step_of(run, layer->before, part.rows, 0);
    for (int64_t i = 0; i < first.rows; i++)
        memset(first.p + (size_t)(i * first.ld) * net->esize, 0, (size_t)first.cols * net->esize);
    for (int64_t t = 1; t < run->times; t++)
        copy(net, step_of(run, layer->before, part.rows, t),
             step_of(run, layer->out, part.rows, t - 1));
}

/* ---- back through time ---- */

typedef struct way_back { /* of the sequences in `rows` */
    const fa_layer *layer;
    const fa_run *run;
    const fa_time *time;
    fa_rows rows;
    fa_mat d; /* S, which becomes D */
    fa_mat k, g;
    int worker;
} way_back;

static fa_mat step_of_delta(const way_back *w, int64_t t)
{
    const int64_t times = w->run->times;
    return (fa_mat){w->d.p + (size_t)(t * w->d.ld) * w->run->net->esize, w->d.ld * times,
                    w->d.rows / times, w->d.cols};
}

/* K as a matrix (n x n), or the diagonal of U as a row; in scratch, or where it is stored. */
static fa_mat carrier(const way_back *w, char *scratch)
{
    const fa_net *net = w->run->net;
    const int64_t n = w->layer->n_out;
    const fa_param *u = w->layer->recurrent;
    const fa_mat made = {scratch, n, n, n};
    switch (w->time->carrier) {
    case CARRY_NONE: return (fa_mat){0};
    case CARRY_MATRIX: return fa_param_matrix(state_of(w->layer)->feedback);
    case CARRY_DIAGONAL: net->k->gather(scratch, 1, u->value, n + 1, NULL, n, 1, 1); return made;
    case CARRY_EXACT: net->k->transpose(made.p, n, u->value, n, n, n); return made;
    case CARRY_SIGN:
        net->k->take_signs(made.p, n, NULL, 0, u->value, n, n, n, 1 / sqrt((double)n));
        return made;
    }
    return made;
}

/* D_t = k f'(a_t) * g */
static void delta_of(const way_back *w, int64_t t, fa_mat g)
{
    const fa_net *net = w->run->net;
    const fa_layer *layer = w->layer;
    const state *own = state_of(layer);
    const fa_mat d = step_of_delta(w, t);
    const fa_mat x =
        step_of(w->run, layer->preact == FA_NO_BUF ? own->f : layer->preact, w->rows, t);
    net->k->leak(d.p, d.ld, g.p, g.ld, NULL, 0, d.rows, d.cols, own->leak);
    net->k->dact[layer->activation](d.p, d.ld, x.p, x.ld, d.rows, d.cols, layer->f_option);
}

static void through_time(const way_back *w)
{
    const fa_net *net = w->run->net;
    const double leak = state_of(w->layer)->leak;
    const double c = w->time->share == SHARE_LEAK ? 1 - leak : w->time->share == SHARE_ALL;
    const bool diagonal = w->time->carrier == CARRY_DIAGONAL;
    const fa_mat g = w->g;
    memset(g.p, 0, (size_t)(g.rows * g.cols) * net->esize);
    for (int64_t t = w->run->times; t-- > 0;) {
        const fa_mat s = step_of_delta(w, t),
                     later = t + 1 < w->run->times ? step_of_delta(w, t + 1) : (fa_mat){0};
        net->k->carry(g.p, g.ld, s.p, s.ld, later.p, later.ld, diagonal && later.p ? w->k.p : NULL,
                      g.rows, g.cols, c);
        if (w->k.p && !diagonal && later.p) {
            fa_packed_b packed = fa_packing_buffer(w->run, w->worker);
            fa_matmul_add(&net->linalg, g, later, w->k, NULL, &packed);
            fa_count(w->run,
                     w->time->carrier == CARRY_EXACT ? &net->count_transport : &net->count_feedback,
                     w->rows.r0 == 0);
        }
        delta_of(w, t, g);
    }
}

/* One row: S is kept for the traces. */
static void in_stream(const fa_layer *layer, const fa_run *run, fa_mat d)
{
    const state *own = state_of(layer);
    const way_back w = {.layer = layer, .run = run, .rows = {0, 1}, .d = d};
    if (own->stream != FA_NO_BUF) {
        const int64_t n = layer->n_out;
        fa_mat signal = {run->buf[own->stream].p + (size_t)(2 * n) * run->net->esize, n, 1, n};
        copy(run->net, signal, d);
    }
    delta_of(&w, 0, d);
}

static void backward(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d, bool exact,
                     int worker)
{
    (void)exact; /* inject='pre' is refused */
    if (run->stream) {
        in_stream(layer, run, d);
        return;
    }
    const int64_t n = layer->n_out;
    char *const scratch = fa_scratch(run, worker);
    way_back w = {.layer = layer,
                  .run = run,
                  .time = run->exact ? exact_time : state_of(layer)->time,
                  .rows = part.rows,
                  .d = d,
                  .g = {scratch + (size_t)(n * n) * run->net->esize, n, d.rows / run->times, n},
                  .worker = worker};
    w.k = carrier(&w, scratch);
    through_time(&w);
}

static void keep(const fa_layer *layer, const fa_run *run)
{
    const fa_mat h = {state_of(layer)->h->value, layer->n_out, 1, layer->n_out};
    copy(run->net, h, run->buf[layer->out]);
}

const fa_layer_ops fa_layer_recurrent = {.name = "recurrent",
                                         .flags = FA_WEIGHTED | FA_OVER_TIME,
                                         .options = recurrent_options,
                                         .plan = plan,
                                         .forward = forward,
                                         .backward = backward,
                                         .transport = fa_dense_transport,
                                         .draw = draw,
                                         .keep = keep,
                                         .streams = streams};

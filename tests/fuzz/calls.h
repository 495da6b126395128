/* The calls on one network: a table of what each draws, how many bytes it gives, and how it is
 * made. */
#ifndef CALLS_H
#define CALLS_H

#include "samples.h"

/* ---- a call and what it gave ---- */

typedef struct {
    const struct kind *kind;
    samples data;
    int64_t batch, first, count; /* of steps */
    int64_t *order;
    double *lrs;
    int64_t stop_at,
        number; /* number: of a tensor, a block, ...; also which outputs are left out */
    bool flag;
    double lr;
    void *values;
    const char *note;
} call;

/* Filled with what no call writes, so that a failed call can be seen to have written nothing. */
typedef struct {
    fa_metrics metrics;
    double loss;
    unsigned char *out;
    size_t size;
} result;

enum { UNTOUCHED = 0x5a };
static const fa_metrics no_metrics = {-7, -7, -7, -7};

enum { DATA = 1, TARGETS = 2, TRAINS = 4, STEPS = 8, CHANGES = 16, NUMBERS = 32 };

typedef struct kind {
    const char *name;
    int weight, flags;
    void (*draw)(call *c);
    size_t (*size)(const fa_net *net, const call *c); /* of the output */
    fa_status (*make)(result *r, fa_net *net, const call *c);
} kind;

static size_t numbers_in(const fa_net *net, int64_t tensor)
{
    const fa_tensor t = fa_net_tensor(net, tensor);
    return t.data ? (size_t)(t.rows * t.cols) : 0;
}

/* Bytes of numbers in two runs; NaN equals NaN, whatever its sign and payload. */
static bool same_numbers(const void *a, const void *b, size_t size, fa_dtype type)
{
    if (!size || !memcmp(a, b, size)) return true;
    for (size_t i = 0; i < size / size_of(type); i++) {
        const char *x = (const char *)a + i * size_of(type);
        const char *y = (const char *)b + i * size_of(type);
        if (!memcmp(x, y, size_of(type))) continue;
        if (type == FA_F64 ? !isnan(*(const double *)(const void *)x) ||
                                 !isnan(*(const double *)(const void *)y)
                           : !isnan(*(const float *)(const void *)x) ||
                                 !isnan(*(const float *)(const void *)y))
            return false;
    }
    return true;
}

/* ---- a custom rule ---- */

static enum { TEACHES, FAILS, TEACHES_NAN, CALLS_BACK } own_rule;

static void calls_back(fa_net *net)
{
    fa_net *other = NULL;
    MUST(fa_net_clone(&other, net) == FA_E_STATE && !other);
    MUST(fa_net_set_lr(net, 1) == FA_E_STATE);
    MUST(fa_net_reset(net) == FA_E_STATE);
}

static int signal_of(void *user, const fa_rule_context *t)
{
    (void)user;
    MUST(t->signal.rows == t->error.rows);
    for (int64_t b = -1; b < fa_net_n_blocks(t->net); b++)
        MUST(fa_rule_context_output(t, b).rows == t->error.rows);
    if (own_rule == CALLS_BACK) calls_back((fa_net *)t->net);
    for (int64_t i = 0; i < t->signal.rows; i++)
        for (int64_t j = 0; j < t->signal.cols; j++) {
            const size_t at = (size_t)(i * t->error.ld);
            const double e = shape.dtype == FA_F64 ? ((const double *)t->error.data)[at]
                                                   : ((const float *)t->error.data)[at];
            const double s = own_rule == TEACHES_NAN ? NAN : e * (0.1 + 0.01 * (double)(j % 3));
            put(t->signal.data, shape.dtype, (size_t)(i * t->signal.ld + j), s);
        }
    return own_rule == FAILS;
}

/* ---- training ---- */

static fa_status train_batch(result *r, fa_net *net, const call *c)
{ return fa_train_batch(&r->loss, net, &c->data.s); }

/* It takes no samples, and would not see what is wrong with them. */
static fa_status learn_one(result *r, fa_net *net, const call *c)
{
    const fa_samples *s = &c->data.s;
    if (s->x_dtype != shape.dtype || s->n != 1) return FA_E_VALUE;
    return fa_learn_one(&r->loss, net, s->x, s->labels ? s->labels[0] : 0, s->y);
}

static fa_status learn_many(result *r, fa_net *net, const call *c)
{ return fa_learn_many(&r->metrics, net, &c->data.s); }
static fa_status train_epoch(result *r, fa_net *net, const call *c)
{ return fa_train_epoch(&r->metrics, net, &c->data.s, c->batch); }

typedef struct {
    fa_net *net;
    int64_t stop_at;
} polled;

static int poll_steps(void *user, int64_t step)
{
    const polled *p = user;
    MUST(fa_net_set_lr(p->net, 0.1) == FA_E_STATE);
    return p->stop_at && step >= p->stop_at;
}

static fa_status train_steps(result *r, fa_net *net, const call *c)
{
    polled p = {net, c->stop_at};
    fa_epoch e = fa_epoch_of(c->order, c->batch, c->count);
    e.first = c->first, e.lrs = c->lrs, e.user = &p;
    e.poll = c->flag ? poll_steps : NULL;
    return fa_train_steps(&r->metrics, net, &c->data.s, &e);
}

static void draw_batch(call *c)
{ c->batch = once_in(40) ? (int64_t)take(3) - 1 : 1 + take(3) * take(20); }

static void draw_order(call *c)
{
    const int64_t n = c->data.rows;
    c->order = malloc((size_t)n * sizeof *c->order);
    for (int64_t i = 0; i < n; i++) c->order[i] = random_below((uint32_t)n);
    if (once_in(20)) c->order[random_below((uint32_t)n)] = take(2) ? -1 : n;
}

static void draw_rates(call *c)
{
    const uint32_t n = c->count > 0 ? (uint32_t)c->count : 1;
    c->lrs = malloc(n * sizeof *c->lrs);
    for (uint32_t i = 0; i < n; i++) c->lrs[i] = 0.1 * random_unit();
    if (once_in(20)) c->lrs[random_below(n)] = odd_number();
}

static void draw_steps(call *c)
{
    draw_batch(c);
    const int64_t size = c->batch > 0 ? c->batch : 1, all = (c->data.rows + size - 1) / size;
    c->first = take((uint32_t)all + (once_in(20) ? 2 : 0)), c->count = all - c->first;
    if (!take(3) && c->count > 0) c->count = take((uint32_t)c->count + 1);
    if (once_in(40)) c->count = all + (int64_t)take(5) - 2;
    if (take(2)) draw_order(c);
    if (take(2)) draw_rates(c);
    c->flag = take(2), c->stop_at = take(6);
}

/* ---- using it ---- */

static ptrdiff_t stride_of(const call *c) { return shape.n_out + c->number % 3; }

static size_t size_predict(const fa_net *net, const call *c)
{
    (void)net;
    return (size_t)(c->data.rows * stride_of(c)) * shape.esize;
}

static fa_status predict(result *r, fa_net *net, const call *c)
{
    const ptrdiff_t ld = stride_of(c);
    const fa_status status = fa_predict(r->out, ld, net, &c->data.s, c->flag);
    for (size_t i = 0; i < r->size; i++) /* what lies between rows */
        if ((ptrdiff_t)(i / shape.esize) % ld >= shape.n_out) MUST(r->out[i] == UNTOUCHED);
    return status;
}

static size_t size_row(const fa_net *net, const call *c)
{
    (void)net, (void)c;
    return (size_t)shape.n_out * shape.esize;
}

/* Of one sample: the bits of fa_predict. */
static fa_status prepared(result *r, fa_net *net, const call *c)
{
    fa_predictor *p = NULL;
    const fa_status status = fa_predictor_create(&p, net, c->data.s.x_dtype, c->flag);
    MUST((status == FA_OK) == (p != NULL));
    if (status) return status;
    MUST(fa_predict_one(r->out, p, c->data.x) == FA_OK);
    fa_predictor_free(p);
    unsigned char *plain = malloc(r->size);
    const fa_samples one = fa_samples_of(c->data.x, shape.n_in, c->data.s.x_dtype, 1);
    if (fa_predict(plain, shape.n_out, net, &one, c->flag) == FA_OK)
        MUST(same_numbers(plain, r->out, r->size, shape.dtype));
    free(plain);
    return FA_OK;
}

static fa_status evaluate(result *r, fa_net *net, const call *c)
{ return fa_evaluate(&r->metrics, net, &c->data.s); }
static fa_status check(result *r, fa_net *net, const call *c)
{
    (void)r;
    return fa_check(net, &c->data.s);
}

/* ---- looking inside ---- */

static size_t size_gradient(const fa_net *net, const call *c, int64_t i)
{
    (void)c;
    return fa_net_tensor(net, i).kind == FA_SLOT ? 0 : numbers_in(net, i) * shape.esize;
}
static size_t size_delta(const fa_net *net, const call *c, int64_t b)
{ return (size_t)(c->data.rows * block_of(net, b).n_out) * shape.esize; }

#define SUM_OF(name, each, count)                                                                  \
    static size_t name(const fa_net *net, const call *c)                                           \
    {                                                                                              \
        size_t sum = 0;                                                                            \
        for (int64_t i = 0; i < count(net); i++) sum += each(net, c, i);                           \
        return sum;                                                                                \
    }
SUM_OF(size_gradients, size_gradient, fa_net_n_tensors)
SUM_OF(size_deltas, size_delta, fa_net_n_blocks)
#undef SUM_OF

/* Places for n outputs side by side in r->out; some calls leave each third one out. */
static void **places(result *r, const fa_net *net, const call *c, int64_t n,
                     size_t (*size)(const fa_net *net, const call *c, int64_t i))
{
    void **at = calloc((size_t)n, sizeof *at);
    size_t used = 0;
    for (int64_t i = 0; i < n; i++) {
        const size_t bytes_of = size(net, c, i);
        if (bytes_of && !(c->flag && i % 3 == 2)) at[i] = r->out + used;
        used += bytes_of;
    }
    return at;
}

static fa_status gradients(result *r, fa_net *net, const call *c)
{
    void **at = places(r, net, c, fa_net_n_tensors(net), size_gradient);
    const fa_status status = fa_gradients(&r->loss, at, net, &c->data.s);
    free(at);
    return status;
}

/* A step that takes the parameters for gradients; one of some calls has one too many or too few. */
static fa_status apply_gradients(result *r, fa_net *net, const call *c)
{
    (void)r;
    const int64_t n = fa_net_n_tensors(net);
    const void **at = calloc((size_t)n, sizeof *at);
    for (int64_t i = 0; i < n; i++) {
        const fa_tensor t = fa_net_tensor(net, i);
        const bool given = t.trainable && t.kind != FA_SLOT;
        if (given != (c->flag && i == c->number % n)) at[i] = t.data;
    }
    const fa_status status = fa_apply_gradients(net, at);
    free(at);
    return status;
}

static fa_status deltas(result *r, fa_net *net, const call *c)
{
    void **at = places(r, net, c, fa_net_n_blocks(net), size_delta);
    const fa_status status = fa_deltas(at, net, &c->data.s);
    free(at);
    return status;
}

static size_t size_alignment(const fa_net *net, const call *c)
{
    (void)c;
    return (size_t)(fa_net_n_blocks(net) - 1) * sizeof(fa_angles);
}

/* One field after the other: what lies between them is nobody's. */
static fa_status alignment(result *r, fa_net *net, const call *c)
{
    fa_angles *a = (fa_angles *)(void *)r->out;
    const fa_status status = fa_alignment(a, net, &c->data.s);
    for (size_t i = 0; !status && i < r->size / sizeof *a; i++) {
        const fa_angles given = a[i];
        memset(&a[i], 0, sizeof a[i]);
        a[i].layer = given.layer, a[i].has_weight_angle = given.has_weight_angle;
        a[i].delta_angle = given.delta_angle, a[i].gradient_angle = given.gradient_angle;
        a[i].weight_angle = given.has_weight_angle ? given.weight_angle : 0;
        a[i].norm_ratio = given.norm_ratio;
    }
    return status;
}

static void draw_block(call *c) { c->number = (int64_t)take(8) - 1; }
static size_t size_feedback(const fa_net *net, const call *c)
{
    fa_block_info info = {.struct_size = sizeof info};
    if (fa_net_block(&info, net, c->number)) return 0;
    return (size_t)(info.feedback_rows * info.n_out) * shape.esize;
}
static fa_status feedback(result *r, fa_net *net, const call *c)
{ return r->size ? fa_feedback_matrix(r->out, net, c->number) : FA_OK; }

/* ---- what is in it ---- */

static void draw_tensor(call *c)
{
    c->number = (int64_t)take(40) - 1;
    c->flag = once_in(6);
}
static size_t size_tensor(const fa_net *net, const call *c)
{ return numbers_in(net, c->number) * shape.esize; }
static fa_status read_tensor(result *r, fa_net *net, const call *c)
{ return fa_net_read(r->out, net, c->number); }

/* The same numbers for each of the three: those of a generator that starts where the call says. */
static fa_status write_tensor(result *r, fa_net *net, const call *c)
{
    const size_t n = numbers_in(net, c->number);
    const uint64_t before = generator;
    double *values = malloc((n + 1) * sizeof *values);
    (void)r;
    generator = (uint64_t)c->number + 17;
    for (size_t i = 0; i < n; i++) put(values, shape.dtype, i, 2 * random_unit() - 1);
    if (c->flag && n) put(values, shape.dtype, random_bits() % n, c->lr);
    generator = before;
    const fa_status status = fa_net_write(net, c->number, values);
    free(values);
    return status;
}

static void draw_rate(call *c) { c->lr = take(3) ? 0.2 * random_unit() : odd_number(); }
static void draw_written(call *c) { draw_rate(c), draw_tensor(c); }
static fa_status set_lr(result *r, fa_net *net, const call *c)
{
    (void)r;
    return fa_net_set_lr(net, c->lr);
}

static void draw_note(call *c)
{
    static const char *const notes[] = {
        NULL, "", "x", "\"\\\n\t\x1b", "\xff", "\xc3\xa4\xf0\x9f\x98\x80", "\xed\xa0\x80"};
    c->note = notes[take(7)];
}
static fa_status set_note(result *r, fa_net *net, const call *c)
{
    (void)r;
    return fa_net_set_note(net, c->note);
}

static void draw_length(call *c) { c->number = (int64_t)take(50) - 1; }
static size_t size_order(const fa_net *net, const call *c)
{
    (void)net;
    return (size_t)(c->number > 0 ? c->number : 1) * sizeof(int64_t);
}
static fa_status shuffle(result *r, fa_net *net, const call *c)
{ return fa_shuffle((int64_t *)(void *)r->out, net, c->number); }

static fa_status reset(result *r, fa_net *net, const call *c)
{
    (void)r, (void)c;
    return fa_net_reset(net);
}

static fa_status trim(result *r, fa_net *net, const call *c)
{
    (void)r, (void)c;
    return fa_net_trim(net);
}

/* ---- the table ---- */

static void draw_number(call *c) { c->number = take(256), c->flag = take(2); }

static const kind kinds[] = {
    {"train_batch", 5, DATA | TARGETS | TRAINS, NULL, NULL, train_batch},
    {"learn_one", 3, DATA | TARGETS | TRAINS, NULL, NULL, learn_one},
    {"learn_many", 3, DATA | TARGETS | TRAINS | STEPS, NULL, NULL, learn_many},
    {"train_epoch", 4, DATA | TARGETS | TRAINS | STEPS, draw_batch, NULL, train_epoch},
    {"train_steps", 5, DATA | TARGETS | TRAINS | STEPS, draw_steps, NULL, train_steps},
    {"predict", 2, DATA | NUMBERS, draw_number, size_predict, predict},
    {"prepared", 1, DATA | NUMBERS, draw_number, size_row, prepared},
    {"evaluate", 1, DATA | TARGETS, NULL, NULL, evaluate},
    {"check", 1, DATA | TARGETS, NULL, NULL, check},
    {"gradients", 1, DATA | TARGETS | NUMBERS, draw_number, size_gradients, gradients},
    {"deltas", 1, DATA | TARGETS | NUMBERS, draw_number, size_deltas, deltas},
    {"alignment", 1, DATA | TARGETS, NULL, size_alignment, alignment},
    {"feedback", 1, NUMBERS, draw_block, size_feedback, feedback},
    {"read", 1, NUMBERS, draw_tensor, size_tensor, read_tensor},
    {"write", 1, CHANGES, draw_written, NULL, write_tensor},
    {"set_lr", 1, CHANGES, draw_rate, NULL, set_lr},
    {"set_note", 1, CHANGES, draw_note, NULL, set_note},
    {"shuffle", 1, CHANGES, draw_length, size_order, shuffle},
    {"reset", 1, CHANGES, NULL, NULL, reset},
    {"trim", 1, 0, NULL, NULL, trim},
    {"apply_gradients", 1, TRAINS, draw_number, NULL, apply_gradients},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* ---- drawing and making one ---- */

static call draw_call(const kind *k)
{
    call c = {.kind = k};
    const bool one = k->make == learn_one || k->make == prepared;
    if (k->flags & DATA) c.data = make_samples(one ? 1 : any_rows(), k->flags & TARGETS);
    if (k->draw) k->draw(&c);
    return c;
}

static void drop_call(call *c)
{
    if (c->kind->flags & DATA) drop_samples(&c->data);
    free(c->order), free(c->lrs);
}

static fa_status make_call(result *r, fa_net *net, const call *c)
{
    const size_t size = c->kind->size ? c->kind->size(net, c) : 0;
    *r = (result){no_metrics, -7, malloc(size + 1), size};
    memset(r->out, UNTOUCHED, size + 1);
    const fa_status status = c->kind->make(r, net, c);
    MUST(status <= FA_OK && status >= FA_E_FORMAT);
    MUST(r->out[size] == UNTOUCHED);
    return status;
}

static bool untouched(const result *r)
{
    for (size_t i = 0; i < r->size; i++)
        if (r->out[i] != UNTOUCHED) return false;
    return r->loss == -7 && !memcmp(&r->metrics, &no_metrics, sizeof no_metrics);
}

#endif

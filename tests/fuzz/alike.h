/* One call on three networks that must stay alike, and what must hold of it. */
#ifndef ALIKE_H
#define ALIKE_H

#include "calls.h"

enum { N_NETS = 3, MOST_REPLAYED = 40 };
static fa_net *nets[N_NETS]; /* of 1, 2, 3 threads */

static struct {
    long inputs, refused, calls, failed, no_memory, replayed, forks;
} count;

/* ---- states ---- */

typedef struct {
    void *state;
    bytes note;
    int threads;
    int64_t steps;
} snapshot;

static void *state_of(const fa_net *net)
{
    void *state = malloc(fa_net_state_size(net));
    MUST(fa_net_get_state(state, net) == FA_OK);
    return state;
}

static snapshot snap(const fa_net *net)
{
    snapshot s = {state_of(net), {0}, fa_net_threads(net), fa_net_steps(net)};
    const char *note = fa_net_note(net);
    if (note) append(&s.note, note, strlen(note));
    return s;
}

static void drop_snapshot(snapshot *s) { free(s->state), free(s->note.data); }

static bool unchanged(const fa_net *net, const snapshot *before)
{
    snapshot now = snap(net);
    const bool same = !memcmp(now.state, before->state, fa_net_state_size(net)) &&
                      !now.note.data == !before->note.data && same_bytes(now.note, before->note) &&
                      now.threads == before->threads;
    drop_snapshot(&now);
    return same;
}

static bool same_networks(const fa_net *a, const fa_net *b)
{
    const double lrs[2] = {fa_net_lr(a), fa_net_lr(b)};
    bool same = fa_net_n_tensors(a) == fa_net_n_tensors(b) && fa_net_steps(a) == fa_net_steps(b) &&
                fa_net_epochs(a) == fa_net_epochs(b) &&
                same_numbers(&lrs[0], &lrs[1], sizeof lrs[0], FA_F64);
    for (int64_t i = 0; same && i < fa_net_n_tensors(a); i++)
        same = same_numbers(fa_net_tensor(a, i).data, fa_net_tensor(b, i).data,
                            numbers_in(a, i) * shape.esize, shape.dtype);
    return same;
}

static void must_agree(void)
{
    for (int i = 1; i < N_NETS; i++) MUST(same_networks(nets[0], nets[i]));
}

/* ---- the same steps one by one ---- */

/* The rate of step k, the only one that a plain call does not take from the samples. */
static void train_alike(fa_net *twin, const call *c, int64_t k, const int64_t *order, bool *refused)
{
    const bool one = c->kind->make == learn_one || c->kind->make == learn_many;
    const int64_t n = c->data.rows, batch = one ? 1 : c->batch < n ? c->batch : n;
    const int64_t first = (c->first + k) * batch;
    samples rows = gather(&c->data, order, first, n - first < batch ? n - first : batch);
    double loss;
    if (c->kind->make == learn_one) rows.s.weights = NULL;
    if (c->lrs) MUST(fa_net_set_lr(twin, c->lrs[k]) == FA_OK);
    const int64_t before = fa_net_steps(twin);
    const fa_status status = fa_train_batch(&loss, twin, &rows.s);
    MUST(status == FA_OK || status == FA_E_VALUE || status == FA_E_NONFINITE);
    *refused =
        status == FA_E_VALUE; /* it looks at targets that calls of many steps do not look at */
    MUST(*refused || fa_net_steps(twin) == before + 1); /* the last step may have left the range */
    drop_samples(&rows);
}

static void replay(fa_net *twin, const call *c, int64_t steps)
{
    const double lr = fa_net_lr(twin);
    int64_t *order = c->order;
    bool refused = false;
    if (c->kind->make == train_epoch) {
        order = malloc((size_t)c->data.rows * sizeof *order);
        MUST(fa_shuffle(order, twin, c->data.rows) == FA_OK);
    }
    for (int64_t k = 0; k < steps && !refused; k++) train_alike(twin, c, k, order, &refused);
    if (c->lrs) MUST(fa_net_set_lr(twin, lr) == FA_OK);
    if (order != c->order) free(order);
    if (refused) return;
    MUST(same_networks(twin, nets[0]));
    count.replayed++;
}

/* A network as they are before a call that is to be replayed. */
static fa_net *twin_for(const call *c)
{
    fa_net *twin = NULL;
    const bool steps = c->kind->flags & STEPS || c->kind->make == learn_one;
    if (steps && c->data.s.n == c->data.rows && c->data.rows <= MOST_REPLAYED)
        MUST(fa_net_clone(&twin, nets[1]) == FA_OK);
    return twin;
}

static int64_t steps_done(const call *c, const result *r, fa_status status)
{
    if (c->kind->make == learn_one) return status == FA_E_NONFINITE ? -1 : status == FA_OK;
    return r->metrics.steps == no_metrics.steps ? -1 : r->metrics.steps;
}

/* ---- one call on each of the three ---- */

/* After a failure nothing has changed, except by the complete steps of a call of many, or by a step
 * that left the range of numbers. */
static void check_failed(const fa_net *net, const call *c, const result *r, fa_status status,
                         const snapshot *before)
{
    const bool partly = c->kind->flags & STEPS && status != FA_E_VALUE && status != FA_E_MEMORY;
    if (partly && r->metrics.steps != no_metrics.steps) {
        MUST(fa_net_steps(net) == before->steps + r->metrics.steps);
        return;
    }
    MUST(untouched(r) || (status == FA_E_NONFINITE && c->kind->make == predict));
    if (status == FA_E_NONFINITE && fa_net_steps(net) == before->steps + 1) return;
    MUST(unchanged(net, before));
}

static fa_status make_checked(result *r, fa_net *net, const call *c)
{
    snapshot before = snap(net);
    const fa_status status = make_call(r, net, c);
    if (status)
        check_failed(net, c, r, status, &before);
    else if (!(c->kind->flags & (TRAINS | CHANGES)))
        MUST(unchanged(net, &before));
    drop_snapshot(&before);
    return status;
}

/* With an allocation that fails, then as it should be. */
static fa_status make_without_memory(result *r, fa_net *net, const call *c)
{
    const long at = take(6);
    snapshot before = snap(net);
    fail_allocation(at, take(2));
    fa_status status = make_call(r, net, c);
    allocate_again();
    if (status == FA_E_MEMORY) {
        count.no_memory++;
        check_failed(net, c, r, status, &before);
        free(r->out);
        status = make_checked(r, net, c);
        MUST(status != FA_E_MEMORY);
    } else if (status) {
        check_failed(net, c, r, status, &before);
    }
    drop_snapshot(&before);
    return status;
}

static void same_results(const call *c, const result *a, const result *b)
{
    const bool numbers = c->kind->flags & NUMBERS;
    MUST(a->size == b->size);
    MUST(same_numbers(&a->loss, &b->loss, sizeof a->loss, FA_F64));
    MUST(same_numbers(&a->metrics.loss, &b->metrics.loss, 2 * sizeof(double), FA_F64));
    MUST(a->metrics.rows == b->metrics.rows && a->metrics.steps == b->metrics.steps);
    if (c->kind->make == alignment)
        MUST(same_numbers(a->out, b->out, a->size, FA_F64));
    else
        MUST(numbers ? same_numbers(a->out, b->out, a->size, shape.dtype)
                     : !memcmp(a->out, b->out, a->size));
}

static void make_on_all(const kind *k)
{
    result r[N_NETS];
    fa_status status[N_NETS];
    call c = draw_call(k);
    fa_net *twin = twin_for(&c);
    const bool scarce = !take(3);
    for (int i = 0; i < N_NETS; i++) {
        status[i] = (i == 0 && scarce ? make_without_memory : make_checked)(&r[i], nets[i], &c);
        MUST(status[i] == status[0]);
        same_results(&c, &r[i], &r[0]);
    }
    must_agree();
    count.calls++, count.failed += status[0] != FA_OK;
    const int64_t steps = steps_done(&c, &r[0], status[0]);
    if (twin && steps >= 0) replay(twin, &c, steps);
    for (int i = 0; i < N_NETS; i++) free(r[i].out);
    fa_net_free(twin);
    drop_call(&c);
}

#endif

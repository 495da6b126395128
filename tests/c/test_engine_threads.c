/* Many threads: reading one network while it is trained, training several at once, calls from
 * inside a poll function. The thread sanitizer watches: tests/c/run.sh --tsan. FASTFA_TEST_QUICK
 * says with how many steps it makes do. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { ROWS = 150, N_READERS = 4, N_TRAINERS = 3 };

static dataset data;
static int n_steps = 300, n_long_steps = 5000; /* of each trainer */
static int64_t n_predictions = 1000000;        /* of all threads together */
static int64_t n_many = 2000;                  /* steps of a call that readers come into */

static fa_net *new_net(const char *rule, int threads, double momentum)
{
    recipe r;
    recipe_init(&r, rule, FA_F32);
    r.desc.n_threads = threads;
    r.optimizer.lr = 0.01;
    optimizer_option(&r, "momentum", momentum);
    return make(&r.desc);
}

/* ---- readers during training ---- */

typedef struct {
    fa_net *net;
    int number;
    atomic_bool *stop;
    int64_t calls, failed, different, steps;
} reader;

/* Whatever it sees is one complete state: two predictions in one call agree row by row. */
static void predict_twice(reader *r)
{
    float out[2 * N_OUT];
    float x[2 * N_IN];
    memcpy(x, data.x, N_IN * sizeof *x);
    memcpy(x + N_IN, data.x, N_IN * sizeof *x);
    const fa_samples s = SAMPLES(.x = x, .ldx = N_IN, .x_dtype = FA_F32, .n = 2);
    r->failed += fa_predict(out, N_OUT, r->net, &s, 0) != FA_OK;
    r->different += memcmp(out, out + N_OUT, N_OUT * sizeof *out) != 0;
}

/* Needs no lock: a step in another thread can be watched. */
static int look(reader *r)
{
    const int64_t steps = fa_net_steps(r->net);
    const bool back = steps < r->steps;
    r->steps = steps;
    return back || fa_net_epochs(r->net) || fa_net_lr(r->net) != 0.01 || fa_net_threads(r->net) < 1;
}

static void *read_on(void *context)
{
    reader *r = context;
    const fa_samples s = labelled(&data, 0, ROWS);
    float *all = malloc(ROWS * N_OUT * sizeof *all),
          *gradient = malloc(N_IN * N_HIDDEN_1 * sizeof *gradient);
    void *state = malloc(fa_net_state_size(r->net)), *grads[6] = {gradient};
    while (!atomic_load(r->stop)) {
        double loss;
        fa_metrics m;
        fa_angles angles[2];
        switch ((r->number + r->calls++) % 7) {
        case 0: r->failed += fa_predict(all, N_OUT, r->net, &s, 1) != FA_OK; break;
        case 1: r->failed += fa_evaluate(&m, r->net, &s) != FA_OK; break;
        case 2: r->failed += fa_gradients(&loss, grads, r->net, &s) != FA_OK; break;
        case 3: r->failed += fa_alignment(angles, r->net, &s) != FA_OK; break;
        case 4: r->failed += fa_net_get_state(state, r->net) != FA_OK; break;
        case 5: r->failed += look(r) != 0; break;
        default: predict_twice(r);
        }
    }
    free(all);
    free(gradient);
    free(state);
    return NULL;
}

static void train(fa_net *net, int n)
{
    for (int i = 0; i < n; i++) {
        const fa_samples s = labelled(&data, i % 50, 100);
        double loss;
        CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "train");
    }
}

static void test_readers(void)
{
    for (int threads = 1; threads <= 2; threads++) {
        fa_net *net = new_net("dfa", threads, 0.9), *alone = new_net("dfa", threads, 0.9);
        atomic_bool stop = false;
        pthread_t thread[N_READERS];
        reader r[N_READERS];
        for (int i = 0; i < N_READERS; i++) {
            r[i] = (reader){.net = net, .number = i, .stop = &stop};
            pthread_create(&thread[i], NULL, read_on, &r[i]);
        }
        train(net, n_steps);
        atomic_store(&stop, true);
        for (int i = 0; i < N_READERS; i++) {
            pthread_join(thread[i], NULL);
            CHECK(r[i].failed == 0, "reader %d: %lld of %lld calls failed", i,
                  (long long)r[i].failed, (long long)r[i].calls);
            CHECK(r[i].different == 0, "reader %d: half a step was seen", i);
        }
        train(alone, n_steps);
        CHECK(same_state(net, alone), "readers change nothing");
        fa_net_free(net);
        fa_net_free(alone);
    }
}

/* ---- several trainers ---- */

typedef struct {
    fa_net *net;
    int64_t failed;
} trainer;

static void *train_on(void *context)
{
    trainer *t = context;
    for (int i = 0; i < n_steps; i++) {
        const fa_samples s = labelled(&data, i % 50, 100);
        double loss;
        t->failed += fa_train_batch(&loss, t->net, &s) != FA_OK;
    }
    return NULL;
}

/* A pool that is busy with one network's step leaves the other's to its caller: same bits. */
static void test_trainers(void)
{
    trainer t[N_TRAINERS];
    pthread_t thread[N_TRAINERS];
    for (int i = 0; i < N_TRAINERS; i++) t[i] = (trainer){new_net(rules[i], 2 + i % 2, 0.9), 0};
    for (int i = 0; i < N_TRAINERS; i++) pthread_create(&thread[i], NULL, train_on, &t[i]);
    for (int i = 0; i < N_TRAINERS; i++) {
        pthread_join(thread[i], NULL);
        fa_net *alone = new_net(rules[i], 1, 0.9);
        train(alone, n_steps);
        CHECK(t[i].failed == 0 && same_state(t[i].net, alone),
              "%s: trained beside others differs from alone", rules[i]);
        fa_net_free(alone);
        fa_net_free(t[i].net);
    }
}

/* One network, two trainers: whole steps in some order. */
static void test_two_trainers_of_one(void)
{
    fa_net *net = new_net("fa", 2, 0.9);
    trainer t[2] = {{net, 0}, {net, 0}};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++) pthread_create(&thread[i], NULL, train_on, &t[i]);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    CHECK(t[0].failed + t[1].failed == 0, "all steps succeed");
    CHECK(fa_net_steps(net) == 2 * n_steps, "%lld steps", (long long)fa_net_steps(net));
    fa_net_free(net);
}

/* ---- one network that many predict with, while others train their own ---- */

typedef struct {
    const fa_net *net;
    const float *expected; /* ROWS x N_OUT */
    int64_t n, failed, different;
} predicting;

/* Prepared and batched predictions in turn, of a row at a time. */
static void *predict_on(void *context)
{
    predicting *p = context;
    fa_predictor *prepared;
    if (fa_predictor_create(&prepared, p->net, FA_F32, 0)) {
        p->failed = p->n;
        return NULL;
    }
    for (int64_t i = 0; i < p->n; i++) {
        const int64_t row = i % ROWS;
        float out[N_OUT];
        const fa_samples s = inputs(&data, row, 1);
        p->failed += i % 2 ? fa_predict_one(out, prepared, s.x) != FA_OK
                           : fa_predict(out, N_OUT, p->net, &s, 0) != FA_OK;
        p->different += memcmp(out, p->expected + row * N_OUT, sizeof out) != 0;
    }
    fa_predictor_free(prepared);
    return NULL;
}

static void test_predicting_beside_training(void)
{
    enum { N_PREDICTING = 4, N_TRAINING = 2 };
    static float expected[ROWS * N_OUT];
    fa_net *net = new_net("dfa", 2, 0.9);
    train(net, 10);
    const fa_samples s = inputs(&data, 0, ROWS);
    CHECK(fa_predict(expected, N_OUT, net, &s, 0) == FA_OK, "predict");

    predicting p[N_PREDICTING];
    trainer t[N_TRAINING];
    pthread_t thread[N_PREDICTING + N_TRAINING];
    const int steps = n_steps;
    n_steps = n_long_steps;
    for (int i = 0; i < N_TRAINING; i++) {
        t[i] = (trainer){new_net(rules[i], 1 + i, 0.9), 0};
        pthread_create(&thread[N_PREDICTING + i], NULL, train_on, &t[i]);
    }
    for (int i = 0; i < N_PREDICTING; i++) {
        p[i] = (predicting){.net = net, .expected = expected, .n = n_predictions / N_PREDICTING};
        pthread_create(&thread[i], NULL, predict_on, &p[i]);
    }
    for (int i = 0; i < N_PREDICTING; i++) {
        pthread_join(thread[i], NULL);
        CHECK(p[i].failed == 0, "%lld of %lld predictions failed", (long long)p[i].failed,
              (long long)p[i].n);
        CHECK(p[i].different == 0, "%lld of %lld predictions differ from the serial run",
              (long long)p[i].different, (long long)p[i].n);
    }
    for (int i = 0; i < N_TRAINING; i++) {
        pthread_join(thread[N_PREDICTING + i], NULL);
        fa_net *alone = new_net(rules[i], 1, 0.9);
        train(alone, n_long_steps);
        CHECK(t[i].failed == 0 && same_state(t[i].net, alone),
              "%s: trained beside predictions differs from alone", rules[i]);
        fa_net_free(alone);
        fa_net_free(t[i].net);
    }
    n_steps = steps;
    fa_net_free(net);
}

/* ---- readers and writers during a call of many steps ---- */

enum { WANTED = 5, MOST_SEEN = 400, MOST_CALLS = 1000 };

typedef struct {
    fa_net *net;
    atomic_bool *stop;
    atomic_int inside;                   /* states seen between the steps of a call */
    int64_t steps[MOST_SEEN], n, failed; /* which */
    uint64_t sums[MOST_SEEN];
} witness;

static uint64_t sum_of(const void *state, size_t size)
{
    uint64_t sum = 14695981039346656037u;
    for (size_t i = 0; i < size; i++) sum = (sum ^ ((const uint8_t *)state)[i]) * 1099511628211u;
    return sum;
}

static void *witness_states(void *context)
{
    witness *w = context;
    const size_t size = fa_net_state_size(w->net);
    uint64_t *state = malloc(size);
    while (!atomic_load(w->stop)) {
        w->failed += fa_net_get_state(state, w->net) != FA_OK;
        const int64_t steps = (int64_t)state[0]; /* what a state begins with */
        if (steps % n_many == 0) continue;
        atomic_fetch_add(&w->inside, 1);
        if (w->n == MOST_SEEN || (w->n && w->steps[w->n - 1] == steps)) continue;
        w->steps[w->n] = steps;
        w->sums[w->n++] = sum_of(state, size);
    }
    free(state);
    return NULL;
}

/* Calls of many steps until every witness has seen enough from within one. Returns the steps. */
static int64_t train_before(fa_net *net, witness *w, const fa_samples *s, int64_t batch)
{
    const fa_epoch e = EPOCH(.batch_size = batch, .count = n_many);
    bool enough = false;
    int64_t calls = 0;
    for (; !enough && calls < MOST_CALLS; calls++) {
        fa_metrics m;
        CHECK(fa_train_steps(&m, net, s, &e) == FA_OK && m.steps == n_many, "train");
        enough = true;
        for (int i = 0; i < 2; i++) enough = enough && atomic_load(&w[i].inside) >= WANTED;
    }
    CHECK(enough, "states seen within calls: %d, %d", atomic_load(&w[0].inside),
          atomic_load(&w[1].inside));
    return calls * n_many;
}

/* The same steps by themselves: what was seen is the state after one of them. */
static void check_seen(const fa_net *net, witness *w, const fa_samples *s, int64_t batch,
                       int64_t steps)
{
    fa_net *alone = NULL;
    REQUIRE(fa_net_clone(&alone, net) == FA_OK && fa_net_reset(alone) == FA_OK, "clone");
    const size_t size = fa_net_state_size(net);
    void *state = malloc(size);
    int64_t next[2] = {0};
    for (int64_t i = 0; i < steps; i++) {
        fa_metrics m;
        const fa_epoch one = EPOCH(.batch_size = batch, .first = i % n_many, .count = 1);
        CHECK(fa_train_steps(&m, alone, s, &one) == FA_OK, "train alone");
        for (int k = 0; k < 2; k++) {
            if (next[k] == w[k].n || w[k].steps[next[k]] != i + 1) continue;
            CHECK(fa_net_get_state(state, alone) == FA_OK &&
                      w[k].sums[next[k]] == sum_of(state, size),
                  "a state seen at step %lld is not that after it", (long long)i + 1);
            next[k]++;
        }
    }
    CHECK(next[0] == w[0].n && next[1] == w[1].n, "every state seen is that after some step");
    CHECK(same_state(net, alone), "readers change nothing");
    free(state);
    fa_net_free(alone);
}

static void let_readers_in(int threads, int64_t batch, double momentum)
{
    dataset many = dataset_new(FA_F32, n_many * batch);
    const fa_samples s = labelled(&many, 0, n_many * batch);
    fa_net *net = new_net("dfa", threads, momentum);
    static witness w[2];
    atomic_bool stop = false;
    pthread_t thread[2];
    for (int i = 0; i < 2; i++) {
        w[i] = (witness){.net = net, .stop = &stop};
        pthread_create(&thread[i], NULL, witness_states, &w[i]);
    }
    const int64_t steps = train_before(net, w, &s, batch);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        CHECK(w[i].failed == 0, "%lld states could not be read", (long long)w[i].failed);
    }
    check_seen(net, w, &s, batch, steps);
    fa_net_free(net);
    dataset_free(&many);
}

static void test_readers_within_a_call(void)
{
    let_readers_in(1, 1, 0.9);
    let_readers_in(1, 1, 0); /* whose updates wait for the next sample */
    let_readers_in(2, 8, 0.9);
}

/* Writers come before a call or after it: its steps follow one another. */
typedef struct {
    fa_net *net, *shadow;
    const fa_samples *samples;
    int64_t batch, different;
} shadowed;

static int follow(void *user, int64_t step)
{
    shadowed *h = user;
    fa_samples s = *h->samples;
    s.x = (const float *)s.x + (step - 1) * h->batch * N_IN;
    s.labels += (step - 1) * h->batch;
    s.n = h->batch;
    double loss;
    if (step > 1) h->different += fa_train_batch(&loss, h->shadow, &s) != FA_OK;
    for (int64_t i = 0; i < 6; i++) {
        const fa_tensor t = fa_net_tensor(h->net, i), other = fa_net_tensor(h->shadow, i);
        if (step == 1)
            h->different += fa_net_write(h->shadow, i, t.data) != FA_OK;
        else
            h->different +=
                memcmp(t.data, other.data, (size_t)(t.rows * t.cols) * sizeof(float)) != 0;
    }
    return 0;
}

static void *write_on(void *context)
{
    reader *r = context;
    float bias[N_HIDDEN_1] = {0};
    const fa_samples s = labelled(&data, 0, 20);
    const int64_t place = fa_net_find(r->net, "0.bias");
    do { /* once at least: on a busy machine the others may be done before it begins */
        double loss;
        bias[0] = (float)r->calls++;
        r->failed += fa_net_write(r->net, place, bias) != FA_OK ||
                     fa_train_batch(&loss, r->net, &s) != FA_OK;
    } while (!atomic_load(r->stop));
    return NULL;
}

static void test_writers_beside_calls(void)
{
    recipe r;
    recipe_init(&r, "fa", FA_F32);
    r.layers[DROPOUT].rate = 0; /* which would depend on the number of the step */
    fa_net *net = make(&r.desc), *shadow = make(&r.desc);
    const fa_samples s = labelled(&data, 0, ROWS);
    shadowed h = {.net = net, .shadow = shadow, .samples = &s, .batch = 10};
    const fa_epoch e = EPOCH(.batch_size = 10, .count = ROWS / 10, .poll = follow, .user = &h);
    atomic_bool stop = false;
    reader w[2];
    pthread_t thread[2];
    for (int i = 0; i < 2; i++) {
        w[i] = (reader){.net = net, .stop = &stop};
        pthread_create(&thread[i], NULL, write_on, &w[i]);
    }
    for (int i = 0; i < n_steps / 3; i++) {
        fa_metrics m;
        CHECK(fa_train_steps(&m, net, &s, &e) == FA_OK, "train");
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        CHECK(w[i].failed == 0 && w[i].calls > 0, "%lld of %lld writes failed",
              (long long)w[i].failed, (long long)w[i].calls);
    }
    CHECK(h.different == 0, "%lld times somebody wrote between two steps of a call",
          (long long)h.different);
    fa_net_free(net);
    fa_net_free(shadow);
}

/* Networks come and go while others work. */
static void *come_and_go(void *context)
{
    trainer *t = context;
    for (int i = 0; i < n_steps / 10; i++) {
        recipe r;
        recipe_init(&r, rules[i % n_rules], FA_F32);
        r.desc.n_threads = i % 4; /* 0: the default, which another thread is changing */
        const fa_samples s = labelled(&data, 0, 100);
        fa_net *net = NULL;
        double loss;
        t->failed += fa_net_create(&net, &r.desc) != FA_OK ||
                     fa_train_batch(&loss, net, &s) != FA_OK || fa_net_reset(net) != FA_OK;
        fa_net_free(net);
    }
    return NULL;
}

static void test_coming_and_going(void)
{
    trainer t[N_TRAINERS] = {{0}};
    pthread_t thread[N_TRAINERS];
    for (int i = 0; i < N_TRAINERS; i++) pthread_create(&thread[i], NULL, come_and_go, &t[i]);
    for (int i = 0; i < N_TRAINERS; i++) {
        CHECK(fa_set_num_threads(1 + i) == FA_OK, "set_num_threads");
        pthread_join(thread[i], NULL);
        CHECK(t[i].failed == 0, "%lld failed", (long long)t[i].failed);
    }
    CHECK(fa_set_num_threads(0) == FA_OK, "back to the default");
}

/* ---- numbers that are read without the lock ---- */

enum { N_WATCHERS = 2 };
static const double watched_lr[] = {0.01, 0.02}; /* the description's, and what is set */

typedef struct {
    fa_net *net;
    atomic_bool stop;
    atomic_int odd, looks;
} watched_numbers;

static void *watch_numbers(void *context)
{
    watched_numbers *w = context;
    while (!atomic_load(&w->stop)) {
        const double lr = fa_net_lr(w->net);
        const int64_t steps = fa_net_steps(w->net), epochs = fa_net_epochs(w->net);
        const int threads = fa_net_threads(w->net);
        const fa_counts counts = fa_net_counts(w->net);
        const bool ok = (lr == watched_lr[0] || lr == watched_lr[1]) && steps >= 0 && steps <= 2 &&
                        epochs >= 0 && epochs <= 1 && threads >= 1 && threads <= 2 &&
                        counts.forward >= 0;
        if (!ok) atomic_fetch_add(&w->odd, 1);
        atomic_fetch_add(&w->looks, 1);
    }
    return NULL;
}

/* Everything that changes them. */
static bool change_numbers(fa_net *net, void *state)
{
    double loss;
    int64_t order[8];
    fa_net *copy = NULL;
    const fa_samples s = labelled(&data, 0, 16);
    const bool ok = fa_train_batch(&loss, net, &s) == FA_OK && fa_shuffle(order, net, 8) == FA_OK &&
                    fa_net_set_lr(net, watched_lr[1]) == FA_OK &&
                    fa_net_get_state(state, net) == FA_OK && fa_net_clone(&copy, net) == FA_OK &&
                    fa_net_set_threads(net, 2) == FA_OK &&
                    fa_train_batch(&loss, net, &s) == FA_OK && fa_net_reset(net) == FA_OK &&
                    fa_net_set_state(net, state, fa_net_state_size(net)) == FA_OK &&
                    fa_net_set_threads(net, 1) == FA_OK && fa_net_reset(net) == FA_OK;
    fa_net_free(copy);
    return ok;
}

static void test_numbers_without_the_lock(void)
{
    watched_numbers w = {.net = new_net("dfa", 1, 0.9)};
    pthread_t thread[N_WATCHERS];
    void *state = state_of(w.net);
    int failed = 0;
    for (int i = 0; i < N_WATCHERS; i++) pthread_create(&thread[i], NULL, watch_numbers, &w);
    while (atomic_load(&w.looks) < N_WATCHERS) sched_yield();
    for (int i = 0; i < n_steps; i++) failed += !change_numbers(w.net, state);
    atomic_store(&w.stop, true);
    for (int i = 0; i < N_WATCHERS; i++) pthread_join(thread[i], NULL);
    CHECK(failed == 0, "%d changes failed", failed);
    CHECK(atomic_load(&w.odd) == 0, "%d of %d looks saw numbers that never were",
          atomic_load(&w.odd), atomic_load(&w.looks));
    free(state);
    fa_net_free(w.net);
}

/* Messages are of the thread that failed. */
static void *fail_otherwise(void *ok)
{
    fa_net *net = NULL;
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = -3;
    *(bool *)ok = fa_net_create(&net, &desc) == FA_E_VALUE && strstr(fa_last_error(), "n_in");
    return NULL;
}

static void test_messages(void)
{
    CHECK(fa_set_num_threads(-1) == FA_E_VALUE, "threads");
    pthread_t thread;
    bool ok = false;
    pthread_create(&thread, NULL, fail_otherwise, &ok);
    pthread_join(thread, NULL);
    CHECK(ok, "the other thread's message");
    CHECK(strstr(fa_last_error(), "threads") != NULL, "this thread's message is kept");
}

/* ---- poll ---- */

typedef struct {
    fa_net *net;
    fa_net *other;
    int64_t calls, last_step, stop_at;
    unsigned mode_outside;
    int64_t wrong_mode, wrong_status, other_failed, incomplete;
    fa_net *shadow; /* trained step by step, from outside */
    int64_t batch;
} poller;

static unsigned float_mode(void)
{
#ifdef __x86_64__
    return _mm_getcsr() & 0xffc0; /* all but the sticky flags */
#else
    return 0;
#endif
}

static bool is_refused(fa_status status)
{ return status == FA_E_STATE && strstr(fa_last_error(), "inside"); }

static int call_from_inside(void *user, int64_t step)
{
    poller *p = user;
    const fa_samples s = labelled(&data, 0, 10);
    float out[10 * N_OUT];
    double loss;
    fa_metrics m;
    void *grads[6] = {NULL};
    p->calls++;
    p->last_step = step;
    const fa_samples next =
        labelled(&data, (step - 1) * p->batch,
                 step * p->batch <= ROWS ? p->batch : ROWS - (step - 1) * p->batch);
    p->incomplete += fa_train_batch(&loss, p->shadow, &next) != FA_OK;
    for (int64_t i = 0; i < 6; i++) {
        const fa_tensor mine = fa_net_tensor(p->net, i), other = fa_net_tensor(p->shadow, i);
        p->incomplete +=
            memcmp(mine.data, other.data, (size_t)(mine.rows * mine.cols) * sizeof(float)) != 0;
    }
    p->wrong_mode += float_mode() != p->mode_outside;
    p->wrong_status += !is_refused(fa_predict(out, N_OUT, p->net, &s, 0)) +
                       !is_refused(fa_train_batch(&loss, p->net, &s)) +
                       !is_refused(fa_evaluate(&m, p->net, &s)) +
                       !is_refused(fa_gradients(&loss, grads, p->net, &s)) +
                       !is_refused(fa_net_reset(p->net)) + !is_refused(fa_net_set_lr(p->net, 1));
    p->other_failed += fa_train_batch(&loss, p->other, &s) != FA_OK ||
                       fa_predict(out, N_OUT, p->other, &s, 0) != FA_OK;
    return step == p->stop_at;
}

/* Ten steps of `batch` samples with a poll after each that stops after step `stop_at`. */
static void poll_and_stop(int64_t batch, int64_t stop_at)
{
    const fa_samples s = labelled(&data, 0, 10 * batch < ROWS ? 10 * batch : ROWS);
    fa_net *net = new_net("sdfa", 2, 0), *twin = new_net("sdfa", 2, 0);
    poller p = {.net = net,
                .other = new_net("fa", 2, 0.9),
                .stop_at = stop_at,
                .mode_outside = float_mode(),
                .shadow = new_net("sdfa", 1, 0),
                .batch = batch};
    fa_epoch e = EPOCH(.batch_size = batch, .count = 10, .poll = call_from_inside, .user = &p);
    fa_metrics m, expected;
    const int64_t done = stop_at <= 10 ? stop_at : 10;
    CHECK(fa_train_steps(&m, net, &s, &e) == (stop_at <= 10 ? FA_E_STOPPED : FA_OK), "stop at %lld",
          (long long)stop_at);
    CHECK(m.steps == done && p.calls == done && p.last_step == done, "steps done: %lld",
          (long long)m.steps);
    CHECK(m.rows == (done == 10 ? s.n : done * batch), "rows done: %lld", (long long)m.rows);
    CHECK(p.wrong_status == 0, "calls on the network from inside: FA_E_STATE");
    CHECK(p.other_failed == 0, "another network is free");
    CHECK(p.wrong_mode == 0, "poll sees the caller's floating-point mode");
    CHECK(float_mode() == p.mode_outside, "and so does the caller");
    CHECK(p.incomplete == 0, "poll sees the parameters after the step");
    CHECK(fa_train_steps(&expected, twin, &s, &EPOCH(.batch_size = batch, .count = done)) == FA_OK,
          "twin");
    CHECK(same_state(net, twin), "batch %lld: the last complete step is kept, and no more",
          (long long)batch);
    CHECK(m.loss == expected.loss && m.hits == expected.hits, "metrics of the steps done");
    fa_net_free(net);
    fa_net_free(twin);
    fa_net_free(p.other);
    fa_net_free(p.shadow);
}

static void test_poll(void)
{
    for (int64_t stop_at = 1; stop_at <= 11; stop_at += 5) {
        poll_and_stop(16, stop_at);
        poll_and_stop(1, stop_at);
    }
}

static int count_polls(void *user, int64_t step)
{
    (void)step;
    ++*(int64_t *)user;
    return 0;
}

static void test_poll_seconds(void)
{
    fa_net *net = new_net("dfa", 1, 0.9);
    const fa_samples s = labelled(&data, 0, ROWS);
    int64_t polls = 0;
    fa_metrics m;
    fa_epoch e = EPOCH(.batch_size = 1, .count = ROWS, .poll = count_polls, .user = &polls,
                       .poll_seconds = 1000);
    CHECK(fa_train_steps(&m, net, &s, &e) == FA_OK && polls == 0, "not before its time");
    e.poll_seconds = 1e-9;
    CHECK(fa_train_steps(&m, net, &s, &e) == FA_OK && polls == ROWS, "after each step: %lld",
          (long long)polls);
    fa_net_free(net);
}

/* Whether this machine flushes when asked; valgrind's does not. */
static UNUSED bool can_flush(void)
{
#ifdef __x86_64__
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    volatile float tiny = 1e-39f, twice = tiny * 2;
    _mm_setcsr(before);
    return twice == 0;
#else
    return false;
#endif
}

/* Denormal weights count as zeros inside, on every thread; outside, denormals live. */
static void test_denormals(void)
{
    fa_net *net = new_net("dfa", 3, 0.9);
    static float tiny[N_HIDDEN_2 * N_OUT], out[ROWS * N_OUT];
    for (int i = 0; i < N_HIDDEN_2 * N_OUT; i++) tiny[i] = 1e-39f;
    CHECK(fa_net_write(net, 4, tiny) == FA_OK && !strcmp(fa_net_tensor(net, 4).key, "3.weight"),
          "write");
    const fa_samples s = inputs(&data, 0, ROWS);
    CHECK(fa_predict(out, N_OUT, net, &s, 1) == FA_OK, "predict");
    int64_t alive = 0;
    for (int i = 0; i < ROWS * N_OUT; i++) alive += out[i] != 0;
    if (can_flush()) CHECK(alive == 0, "%lld denormal logits", (long long)alive);
    volatile float outside = 1e-39f;
    CHECK(outside * 0.5f > 0, "denormals live outside");
    fa_net_free(net);
}

int main(void)
{
    const char *steps = getenv("FASTFA_TEST_QUICK");
    if (steps) n_steps = n_long_steps = atoi(steps), n_predictions = 4000, n_many = 500;
    CHECK(n_steps >= 10, "FASTFA_TEST_QUICK: expected at least 10 steps, got %s", steps);
    data = dataset_new(FA_F32, ROWS);
    RUN(test_readers);
    RUN(test_trainers);
    RUN(test_two_trainers_of_one);
    RUN(test_predicting_beside_training);
    RUN(test_readers_within_a_call);
    RUN(test_writers_beside_calls);
    RUN(test_coming_and_going);
    RUN(test_numbers_without_the_lock);
    RUN(test_messages);
    RUN(test_poll);
    RUN(test_poll_seconds);
    RUN(test_denormals);
    dataset_free(&data);
    return finish();
}

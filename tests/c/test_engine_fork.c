/* fork(): children train and predict with networks that the parent used, and get the same bits; a
 * network that another thread was training at that moment says so. Each child has an alarm. */
#include "bytes.h"
#include "check.h"
#include "held_call.h"

#include <sys/wait.h>
#include <unistd.h>

enum { ROWS = 96, N_FORKS = 200, SECONDS = 20 };

static dataset data;

typedef struct {
    fa_net *net;
    void *expected; /* the state after one more step */
} shared_net;

/* The leak checker asks this at exit. In a child it would look for the parent's threads, which do
 * not exist there, and report for each that it "was not suspended". Leaks of this program are
 * looked for when the parent ends. */
static bool exits_in_child;
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return exits_in_child; }

/* Runs child() in a forked process; true if it came back with true in time. */
static bool in_child(bool (*child)(void *context), void *context)
{
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(SECONDS);
        _exit(child(context) ? 0 : 1);
    }
    int status = 0;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

static bool train_once(fa_net *net)
{
    const fa_samples s = labelled(&data, 0, ROWS);
    double loss;
    return fa_train_batch(&loss, net, &s) == FA_OK;
}

static bool predict_once(const fa_net *net)
{
    float out[ROWS * N_OUT];
    const fa_samples s = inputs(&data, 0, ROWS);
    return fa_predict(out, N_OUT, net, &s, 0) == FA_OK;
}

static fa_net *new_net(const char *rule)
{
    recipe r;
    recipe_init(&r, rule, FA_F32);
    r.desc.n_threads = 3;
    r.optimizer.name = "adam";
    return make(&r.desc);
}

/* ---- after use ---- */

static bool goes_on(void *context)
{
    shared_net *s = context;
    return predict_once(s->net) && train_once(s->net) && in_state(s->net, s->expected) &&
           predict_once(s->net);
}

static void test_after_use(void)
{
    int failed = 0;
    for (int i = 0; i < N_FORKS; i++) {
        shared_net s = {new_net(rules[i % n_rules]), NULL};
        fa_net *twin = new_net(rules[i % n_rules]);
        CHECK(train_once(s.net) && train_once(twin) && train_once(twin), "train");
        s.expected = state_of(twin);
        failed += !in_child(goes_on, &s);
        CHECK(train_once(s.net) && in_state(s.net, s.expected), "the parent goes on as well");
        free(s.expected);
        fa_net_free(twin);
        fa_net_free(s.net);
    }
    CHECK(failed == 0, "%d of %d children failed", failed, N_FORKS);
}

static bool grandchild(void *context) { return goes_on(context); }
static bool forks_again(void *context) { return in_child(grandchild, context) && goes_on(context); }

static void test_grandchild(void)
{
    shared_net s = {new_net("dfa"), NULL};
    fa_net *twin = new_net("dfa");
    CHECK(train_once(s.net) && train_once(twin) && train_once(twin), "train");
    s.expected = state_of(twin);
    CHECK(in_child(forks_again, &s), "a child's child, then the child");
    free(s.expected);
    fa_net_free(twin);
    fa_net_free(s.net);
}

/* ---- a child that forks while its threads use networks for the first time ---- */

enum { N_MANY = 2000, N_THREADS = 3, N_GRANDCHILDREN = 60 };

typedef struct {
    fa_net *nets[N_MANY], *last;
    atomic_int begun;
    int delay;
} many_nets;

static void *use_all(void *context)
{
    many_nets *m = context;
    atomic_fetch_add(&m->begun, 1);
    for (int i = 0; i < N_MANY; i++) fa_net_set_lr(m->nets[i], 0.5);
    return NULL;
}

/* Some of them were never in use here, some are, one may be in the middle of it. */
static bool uses_all(void *context)
{
    many_nets *m = context;
    if (fa_net_set_lr(m->last, 0.25)) return false;
    for (int i = 0; i < N_MANY; i++)
        if (fa_net_set_lr(m->nets[i], 0.25) && !strstr(fa_last_error(), "fork")) return false;
    return train_once(m->last);
}

static bool forks_while_used(void *context)
{
    many_nets *m = context;
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) pthread_create(&threads[i], NULL, use_all, m);
    while (!atomic_load(&m->begun)) sched_yield();
    for (volatile int i = 0; i < m->delay; i++) {}
    return in_child(uses_all, m);
}

static void test_grandchild_of_threads(void)
{
    static many_nets m;
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.desc.layers = &r.layers[LAST], r.desc.n_layers = 1;
    for (int i = 0; i < N_MANY; i++) m.nets[i] = make(&r.desc);
    m.last = new_net("dfa");
    CHECK(train_once(m.last), "train");
    int failed = 0;
    for (int i = 0; i < N_GRANDCHILDREN && !failed; i++) {
        m.delay = i * 7919 % 20000;
        failed += !in_child(forks_while_used, &m);
    }
    CHECK(failed == 0, "a grandchild failed");
    for (int i = 0; i < N_MANY; i++) fa_net_free(m.nets[i]);
    fa_net_free(m.last);
}

/* A child that ends through exit() joins its own workers, not its parent's. */
static void test_exit(void)
{
    fa_net *net = new_net("fa");
    CHECK(train_once(net), "train");
    fflush(stdout);
    for (int uses = 0; uses < 2; uses++) {
        const pid_t pid = fork();
        if (pid == 0) {
            alarm(SECONDS);
            exits_in_child = true;
            fclose(stdout); /* nothing buffered here is the child's */
            exit(uses && !train_once(net));
        }
        int status = -1;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status), "the child ended by itself");
    }
    fa_net_free(net);
}

/* ---- while another thread trains ---- */

typedef struct {
    fa_net *net;
    atomic_bool started, stop;
    bool ok;
} trainer;

static int poll_trainer(void *user, int64_t step)
{
    (void)step;
    trainer *t = user;
    atomic_store(&t->started, true);
    return atomic_load(&t->stop);
}

static void *train_until_stopped(void *context)
{
    trainer *t = context;
    const fa_samples s = labelled(&data, 0, ROWS);
    fa_status status = FA_OK;
    while (status == FA_OK) {
        fa_metrics m;
        const fa_epoch e =
            EPOCH(.batch_size = 16, .count = ROWS / 16, .poll = poll_trainer, .user = t);
        status = fa_train_steps(&m, t->net, &s, &e);
    }
    t->ok = status == FA_E_STOPPED;
    return NULL;
}

/* exit() while another thread trains: the process ends, whatever the pool was doing. */
static void test_exit_while_training(void)
{
    int failed = 0;
    for (int i = 0; i < N_FORKS; i++) {
        fflush(stdout);
        const pid_t pid = fork();
        if (pid == 0) {
            alarm(SECONDS);
            exits_in_child = true;
            fclose(stdout);
            static trainer t;
            t.net = new_net("dfa");
            pthread_t thread;
            pthread_create(&thread, NULL, train_until_stopped, &t);
            while (!atomic_load(&t.started)) sched_yield();
            exit(0);
        }
        int status = -1;
        failed += waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }
    CHECK(failed == 0, "%d of %d children did not end well", failed, N_FORKS);
}

/* Whatever moment the fork hit: the network refuses, or it was between two calls and works. */
static bool refuses_or_works(void *context)
{
    fa_net *net = ((trainer *)context)->net, *other = new_net("drtp");
    const bool works = predict_once(net);
    if (works != train_once(net) || works != predict_once(net)) return false;
    if (!works && !strstr(fa_last_error(), "fork")) return false;
    return train_once(other) && predict_once(other);
}

static void test_while_training(void)
{
    trainer t = {.net = new_net("backprop")};
    pthread_t thread;
    pthread_create(&thread, NULL, train_until_stopped, &t);
    while (!atomic_load(&t.started)) sched_yield();
    int failed = 0;
    for (int i = 0; i < N_FORKS; i++) failed += !in_child(refuses_or_works, &t);
    atomic_store(&t.stop, true);
    pthread_join(thread, NULL);
    CHECK(failed == 0, "%d of %d children failed", failed, N_FORKS);
    CHECK(t.ok, "training in the parent went on");
    CHECK(train_once(t.net) && predict_once(t.net), "the parent's network is as usable as before");
    fa_net_free(t.net);
}

/* ---- inside a poll function: surely in the middle of a training call ---- */

static bool is_refused(fa_status status)
{ return status == FA_E_STATE && strstr(fa_last_error(), "fork"); }

static bool every_call_is_refused(void *context)
{
    fa_net *net = ((held_call *)context)->net, *other = new_net("fa");
    const fa_samples s = labelled(&data, 0, ROWS);
    static float out[N_HIDDEN_1 * N_HIDDEN_2 + ROWS * N_OUT];
    void *grads[6] = {NULL}, *state = calloc(1, fa_net_state_size(net));
    double loss;
    fa_metrics m;
    fa_angles angles[2];
    int64_t order[4];
    const bool refused =
        is_refused(fa_predict(out, N_OUT, net, &s, 0)) &&
        is_refused(fa_train_batch(&loss, net, &s)) &&
        is_refused(fa_train_steps(&m, net, &s, &EPOCH(.batch_size = 1, .count = 1))) &&
        is_refused(fa_evaluate(&m, net, &s)) && is_refused(fa_gradients(&loss, grads, net, &s)) &&
        is_refused(fa_alignment(angles, net, &s)) && is_refused(fa_net_reset(net)) &&
        is_refused(fa_shuffle(order, net, 4)) && is_refused(fa_net_set_lr(net, 1)) &&
        is_refused(fa_net_write(net, 0, fa_net_tensor(net, 0).data)) &&
        is_refused(fa_feedback_matrix(out, net, 0)) && is_refused(fa_net_get_state(state, net)) &&
        is_refused(fa_net_set_state(net, state, fa_net_state_size(net)));
    fa_net_free(net); /* still returns its memory */
    return refused && train_once(other) && predict_once(other);
}

/* The system may give a new thread of the child the number that the training thread has in the
 * parent. */
static void *refused_in_a_thread(void *context)
{ return is_refused(fa_net_set_lr(((held_call *)context)->net, 1)) ? context : NULL; }

static bool new_threads_are_refused(void *context)
{
    for (int i = 0; i < N_THREADS; i++) {
        pthread_t thread;
        void *ok = NULL;
        pthread_create(&thread, NULL, refused_in_a_thread, context);
        pthread_join(thread, &ok);
        if (!ok) return false;
    }
    return true;
}

static void test_in_the_middle_of_training(void)
{
    held_call h = {.net = new_net("dfa"), .samples = labelled(&data, 0, ROWS)};
    begin_call(&h);
    CHECK(in_child(every_call_is_refused, &h), "child: FA_E_STATE for this network, others work");
    CHECK(in_child(new_threads_are_refused, &h), "child: so it is for its new threads");
    end_call(&h);
    CHECK(train_once(h.net), "the parent's network works");
    fa_net_free(h.net);
}

/* The poll function itself forks: both processes go on with the same training. */
typedef struct {
    fa_net *net;
    pid_t child;
    bool refused; /* a call on the network from inside, in either process */
} forking_call;

static int fork_in_poll(void *user, int64_t step)
{
    forking_call *f = user;
    if (step != 3) return 0;
    f->child = fork();
    if (f->child == 0) alarm(SECONDS);
    f->refused = !predict_once(f->net) && strstr(fa_last_error(), "inside its own training");
    return 0;
}

static void test_poll_forks(void)
{
    forking_call f = {.net = new_net("backprop")};
    fa_net *twin = new_net("backprop");
    const fa_samples s = labelled(&data, 0, ROWS);
    fa_metrics m;
    fa_epoch e = EPOCH(.batch_size = 16, .count = 6);
    CHECK(fa_train_steps(&m, twin, &s, &e) == FA_OK && train_once(twin), "train");
    e.poll = fork_in_poll, e.user = &f;
    fflush(stdout);
    const fa_status status = fa_train_steps(&m, f.net, &s, &e);
    const bool ok = status == FA_OK && m.steps == 6 && f.refused && train_once(f.net) &&
                    predict_once(f.net) && same_state(f.net, twin);
    if (f.child == 0) _exit(!ok);
    CHECK(ok, "parent");
    int child = -1;
    CHECK(waitpid(f.child, &child, 0) == f.child && WIFEXITED(child) && WEXITSTATUS(child) == 0,
          "child: same bits");
    fa_net_free(f.net);
    fa_net_free(twin);
}

/* ---- a callback forks, and another thread of the child uses the network while the call goes on
 * ---- */

typedef struct {
    fa_net *net;
    pid_t child;
    pthread_t other;
    bool ok;
} beside_call;

static void *train_beside(void *context)
{
    beside_call *b = context;
    b->ok = predict_once(b->net) && train_once(b->net);
    return NULL;
}

static void fork_and_share(beside_call *b)
{
    if (b->child >= 0) return;
    fflush(stdout);
    b->child = fork();
    if (b->child) return;
    alarm(SECONDS);
    pthread_create(&b->other, NULL, train_beside, b);
    usleep(1000); /* so that it may already wait */
}

static int share_in_poll(void *user, int64_t step)
{
    if (step == 3) fork_and_share(user);
    return 0;
}

static int share_in_signal(void *user, const fa_rule_context *t)
{
    silent(NULL, t);
    fork_and_share(user);
    return 0;
}

/* The call's own result must be `expected`, and the network one step further in the child. */
static void end_shared(beside_call *b, bool ok, fa_net *twin)
{
    if (b->child == 0) {
        pthread_join(b->other, NULL);
        _exit(!(ok && b->ok && train_once(twin) && same_state(b->net, twin)));
    }
    int child = -1;
    CHECK(ok && same_state(b->net, twin), "parent");
    CHECK(waitpid(b->child, &child, 0) == b->child && WIFEXITED(child) && WEXITSTATUS(child) == 0,
          "child: the other thread waits for its turn");
}

static void test_callback_forks_and_shares(void)
{
    fa_net *twin = new_net("backprop");
    beside_call b = {.net = new_net("backprop"), .child = -1};
    const fa_samples s = labelled(&data, 0, ROWS);
    fa_metrics m;
    fa_epoch e = EPOCH(.batch_size = 1, .count = ROWS);
    CHECK(fa_train_steps(&m, twin, &s, &e) == FA_OK, "train");
    e.poll = share_in_poll, e.user = &b;
    end_shared(&b, fa_train_steps(&m, b.net, &s, &e) == FA_OK && m.steps == ROWS, twin);
    fa_net_free(b.net);
    fa_net_free(twin);

    recipe r;
    recipe_init(&r, "custom", FA_F32);
    r.rule.signal = share_in_signal, r.rule.user = &b;
    r.desc.n_threads = 3;
    b = (beside_call){.net = make(&r.desc), .child = 1};
    twin = make(&r.desc);
    static float expected[N_IN * N_HIDDEN_1], got[N_IN * N_HIDDEN_1];
    void *grads[16] = {expected};
    double loss;
    CHECK(fa_gradients(&loss, grads, twin, &s) == FA_OK, "gradients");
    b.child = -1, grads[0] = got;
    const bool ok = fa_gradients(&loss, grads, b.net, &s) == FA_OK;
    end_shared(&b, ok && !memcmp(expected, got, sizeof got), twin);
    fa_net_free(b.net);
    fa_net_free(twin);
}

#if defined(__SANITIZE_THREAD__)
#define NO_FORKS
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NO_FORKS
#endif
#endif

int main(void)
{
#ifdef NO_FORKS
    puts("skipped: the thread sanitizer lets no forked child start threads");
    return finish();
#endif
    data = dataset_new(FA_F32, ROWS);
    RUN(test_after_use);
    RUN(test_grandchild);
    RUN(test_grandchild_of_threads);
    RUN(test_exit);
    RUN(test_exit_while_training);
    RUN(test_while_training);
    RUN(test_in_the_middle_of_training);
    RUN(test_poll_forks);
    RUN(test_callback_forks_and_shares);
    dataset_free(&data);
    return finish();
}

/* pthread_cancel() on a thread that is in a call: the call is finished, then the thread ends.
 * Whatever the caller's functions do meanwhile, no lock stays behind, no file, no memory. */
#include "bytes.h"
#include "check.h"
#include "folder.h"
#include "held_call.h"

enum { ROWS = 96, SECONDS = 60 };

/* The address sanitizer does not see that a cancelled thread leaves its frames, and takes what the
 * thread does at its very end, with its signal stack, for an overflow into them. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "use_sigaltstack=0"; }

static dataset data;
static atomic_int calls; /* of callbacks, each a place where a cancelled thread would end */

static void *cancellable_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *memory = NULL;
    pthread_testcancel();
    return posix_memalign(&memory, align, size) ? NULL : memory;
}

static void cancellable_release(void *user, void *memory, size_t size)
{
    (void)user, (void)size;
    pthread_testcancel();
    free(memory);
}

static int cancellable_poll(void *user, int64_t step)
{
    (void)user, (void)step;
    pthread_testcancel();
    atomic_fetch_add(&calls, 1);
    return 0;
}

static int cancellable_signal(void *user, const fa_rule_context *t)
{
    silent(user, t);
    return cancellable_poll(NULL, 0);
}

static int cancellable_write(void *user, const void *piece, size_t size)
{
    (void)user, (void)piece, (void)size;
    return cancellable_poll(NULL, 0);
}

static int cancellable_custom(void *user, fa_rule_desc *rule, int64_t layer, const char *note)
{
    (void)layer, (void)note;
    rule->signal = cancellable_signal, rule->user = user;
    return cancellable_poll(NULL, 0);
}

static fa_net *new_net(const char *rule)
{
    recipe r;
    recipe_init(&r, rule, FA_F32);
    r.rule.signal = strcmp(rule, "custom") ? NULL : cancellable_signal;
    r.desc.n_threads = 3;
    return make(&r.desc);
}

/* ---- a cancellation that waits from before the call ---- */

enum { N_CALLS = 18 };
static bytes saved; /* a network "custom" */

typedef struct {
    fa_net *net, *made;
    int call;
    fa_status status;
    bool cancelled;
} one_call;

static fa_status make_call(one_call *c)
{
    const fa_samples s = labelled(&data, 0, ROWS);
    const fa_epoch e = EPOCH(.batch_size = 8, .count = ROWS / 8, .poll = cancellable_poll);
    static float out[ROWS * N_OUT];
    static fa_angles angles[2];
    static void *none[16];
    double loss;
    fa_metrics m;
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    switch (c->call) {
    case 0: return fa_train_batch(&loss, c->net, &s);
    case 1: return fa_train_steps(&m, c->net, &s, &e);
    case 2: return fa_train_epoch(&m, c->net, &s, 8);
    case 3: return fa_learn_one(&loss, c->net, data.x, 1, NULL);
    case 4: return fa_learn_many(&m, c->net, &s);
    case 5: return fa_predict(out, N_OUT, c->net, &s, 0);
    case 6: return fa_evaluate(&m, c->net, &s);
    case 7: return fa_gradients(&loss, none, c->net, &s);
    case 8: return fa_deltas(none, c->net, &s);
    case 9: return fa_alignment(angles, c->net, &s);
    case 10: return fa_net_clone(&c->made, c->net);
    case 11: return fa_net_set_note(c->net, "a note");
    case 12: return fa_net_reset(c->net);
    case 13: return fa_save_to(c->net, cancellable_write, NULL);
    case 14: return fa_load_memory(&c->made, saved.data, saved.size, cancellable_custom, NULL);
    case 15: return fa_save(c->net, path);
    case 16: return fa_load(&c->made, path);
    default: return fa_net_create(&c->made, &r.desc);
    }
}

static void *call_in_a_thread(void *context)
{
    one_call *c = context;
    if (c->cancelled) pthread_cancel(pthread_self());
    c->status = make_call(c);
    pthread_testcancel();
    return NULL;
}

/* How often the call called us; its thread ended as it should have. */
static int run_call(one_call *c)
{
    void *end = NULL;
    pthread_t thread;
    atomic_store(&calls, 0);
    pthread_create(&thread, NULL, call_in_a_thread, c);
    pthread_join(thread, &end);
    CHECK(end == (c->cancelled ? PTHREAD_CANCELED : NULL), "call %d: the thread's end", c->call);
    return atomic_load(&calls);
}

static void test_call(int call)
{
    const int64_t before = live_bytes();
    const char *rule = call == 15 ? "dfa" : "custom";
    one_call c = {new_net(rule), NULL, call, FA_E_STATE, true},
             twin = {new_net(rule), NULL, call, FA_E_STATE, false};
    const int n = run_call(&c), expected = run_call(&twin);
    CHECK(twin.status == FA_OK, "call %d", call);
    CHECK(n == expected, "call %d: %d calls of ours, not %d", call, n, expected);
    CHECK(fa_net_set_lr(c.net, fa_net_lr(c.net)) == FA_OK && same_state(c.net, twin.net),
          "call %d: it was finished", call);
    CHECK(!c.made == !twin.made && (!c.made || same_state(c.made, twin.made)),
          "call %d: what it made", call);
    fa_net_free(c.made), fa_net_free(twin.made), fa_net_free(c.net), fa_net_free(twin.net);
    CHECK(live_bytes() == before, "call %d: %lld bytes are left", call,
          (long long)(live_bytes() - before));
}

static void test_every_call(void)
{
    static const fa_allocator allocator = {cancellable_alloc, cancellable_release, NULL};
    make_folder();
    CHECK(fa_set_allocator(&allocator) == FA_OK, "allocator");
    fa_net *net = new_net("custom");
    REQUIRE(fa_save_to(net, append, &saved) == FA_OK, "save");
    fa_net_free(net);
    for (int call = 0; call < N_CALLS; call++) test_call(call);
    CHECK(files_in_folder() == 1, "one file");
    CHECK(fa_set_allocator(NULL) == FA_OK, "the C library's");
    free(saved.data), remove_folder();
}

/* ---- at any moment ---- */

typedef struct {
    fa_net *net;
    atomic_int done;
} trainer;

static void *train_for_ever(void *context)
{
    trainer *t = context;
    const fa_samples s = labelled(&data, 0, ROWS);
    for (double loss;; atomic_fetch_add(&t->done, 1)) {
        if (fa_train_batch(&loss, t->net, &s)) return NULL;
    }
}

static void test_at_any_moment(void)
{
    for (int i = 0; i < 20; i++) {
        trainer t = {.net = new_net("dfa")};
        fa_net *twin = new_net("dfa");
        pthread_t thread;
        pthread_create(&thread, NULL, train_for_ever, &t);
        while (atomic_load(&t.done) < i) sched_yield();
        void *end = NULL;
        pthread_cancel(thread);
        pthread_join(thread, &end);
        CHECK(end == PTHREAD_CANCELED, "cancelled");
        const fa_samples s = labelled(&data, 0, ROWS);
        double loss;
        CHECK(fa_train_batch(&loss, t.net, &s) == FA_OK, "the network can be trained");
        while (fa_net_steps(twin) < fa_net_steps(t.net))
            REQUIRE(fa_train_batch(&loss, twin, &s) == FA_OK, "train");
        CHECK(same_state(twin, t.net), "whole steps");
        fa_net_free(t.net), fa_net_free(twin);
    }
}

/* ---- while it waits for its turn ---- */

typedef struct {
    fa_net *net;
    bool changed;
} waiting_call;

static void *cancelled_in_the_queue(void *context)
{
    waiting_call *w = context;
    pthread_cancel(pthread_self());
    w->changed = fa_net_set_lr(w->net, 0.125) == FA_OK;
    pthread_testcancel();
    return NULL;
}

static void test_in_the_queue(void)
{
    held_call h = {.net = new_net("dfa"), .samples = labelled(&data, 0, ROWS)};
    waiting_call w = {.net = h.net};
    pthread_t writer;
    void *end = NULL;
    begin_call(&h);
    pthread_create(&writer, NULL, cancelled_in_the_queue, &w);
    usleep(10000); /* so that it mostly waits; right either way */
    end_call(&h);
    pthread_join(writer, &end);
    CHECK(w.changed && end == PTHREAD_CANCELED, "its turn came before its end");
    CHECK(fa_net_lr(h.net) == 0.125 && fa_net_set_lr(h.net, 0.25) == FA_OK, "and the next one's");
    fa_net_free(h.net);
}

int main(void)
{
    alarm(SECONDS); /* fails instead of hanging */
    data = dataset_new(FA_F32, ROWS);
    RUN(test_every_call);
    RUN(test_at_any_moment);
    RUN(test_in_the_queue);
    dataset_free(&data);
    return finish();
}

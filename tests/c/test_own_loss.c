/* A loss of the user's own, fa_net_set_loss: the bits of mse for its formula, and what happens
 * without a function, or if it fails. */
#include "check.h"

enum { ROWS = 300 };

static dataset data;

/* ---- mse as a function ---- */

typedef struct {
    int calls, fails_at; /* 0: never */
    int64_t rows;
    fa_net *net; /* asked for a step during the call, unless NULL */
    fa_status nested;
} watcher;

static int half_squares(void *user, const fa_loss_context *t)
{
    watcher *w = user;
    w->rows += t->output.rows;
    if (w->net) {
        const fa_samples batch = labelled(&data, 0, ROWS);
        double loss;
        w->nested = fa_train_batch(&loss, w->net, &batch);
    }
    for (int64_t i = 0; i < t->output.rows; i++) {
        const float *z = (const float *)t->output.data + i * t->output.ld;
        float *e = (float *)t->error.data + i * t->error.ld;
        double sum = 0;
        for (int64_t j = 0; j < t->output.cols; j++) {
            e[j] = z[j] - (t->labels ? (float)(t->labels[i] == j)
                                     : ((const float *)t->target.data)[i * t->target.ld + j]);
            sum += (double)e[j] * (double)e[j];
        }
        t->losses[i] = sum / 2;
    }
    return ++w->calls == w->fails_at ? 7 : 0;
}

static fa_net *network(const char *rule, const char *loss, int threads)
{
    recipe r;
    recipe_init(&r, rule, FA_F32);
    r.desc.loss = loss;
    r.desc.n_threads = threads;
    return make(&r.desc);
}

static void check_same_state(const fa_net *a, const fa_net *b, const char *what)
{
    const size_t size = fa_net_state_size(a);
    char *states[2] = {malloc(size), malloc(size)};
    CHECK(size == fa_net_state_size(b) && fa_net_get_state(states[0], a) == FA_OK &&
              fa_net_get_state(states[1], b) == FA_OK && !memcmp(states[0], states[1], size),
          "%s: the same state", what);
    free(states[0]), free(states[1]);
}

static void test_bits_under_every_rule(void)
{
    for (int i = 0; i < n_rules; i++)
        for (int threads = 1; threads <= 3; threads += 2) {
            watcher w = {0};
            fa_net *own = network(rules[i], "custom", threads);
            fa_net *mse = network(rules[i], "mse", 1);
            CHECK(fa_net_set_loss(own, half_squares, &w) == FA_OK, "set");
            const fa_samples batch = labelled(&data, 0, ROWS);
            double losses[2];
            for (int step = 0; step < 3; step++) {
                CHECK(fa_train_batch(&losses[0], own, &batch) == FA_OK, "%s", rules[i]);
                CHECK(fa_train_batch(&losses[1], mse, &batch) == FA_OK, "%s", rules[i]);
                CHECK(losses[0] == losses[1], "%s: loss", rules[i]);
            }
            check_same_state(own, mse, rules[i]);
            fa_metrics m[2];
            CHECK(fa_evaluate(&m[0], own, &batch) == FA_OK, "evaluate");
            CHECK(fa_evaluate(&m[1], mse, &batch) == FA_OK, "evaluate");
            CHECK(m[0].loss == m[1].loss && m[0].hits == m[1].hits, "%s: metrics", rules[i]);
            fa_net *clone = NULL;
            CHECK(fa_net_clone(&clone, own) == FA_OK, "clone");
            CHECK(fa_train_batch(&losses[0], clone, &batch) == FA_OK, "a clone keeps the function");
            fa_net_free(clone), fa_net_free(own), fa_net_free(mse);
        }
}

static void test_failures_change_nothing(void)
{
    static const char *const some[] = {"backprop", "local", "pepita"};
    for (int i = 0; i < 3; i++) {
        watcher w = {.fails_at = 1};
        fa_net *own = network(some[i], "custom", 2), *before = NULL;
        const fa_samples batch = labelled(&data, 0, ROWS);
        double loss = -7;
        fa_metrics m = {.rows = -7};
        float out[N_OUT];
        const fa_samples one = labelled(&data, 0, 1);
        CHECK(fa_train_batch(&loss, own, &batch) == FA_E_STATE && loss == -7, "no function yet");
        CHECK(fa_evaluate(&m, own, &batch) == FA_E_STATE && m.rows == -7, "evaluate");
        CHECK(strstr(fa_last_error(), "fa_net_set_loss"), "message");
        CHECK(fa_predict(out, N_OUT, own, &one, 0) == FA_OK, "it predicts");
        CHECK(fa_net_clone(&before, own) == FA_OK, "clone");
        CHECK(fa_net_set_loss(own, half_squares, &w) == FA_OK, "set");
        CHECK(fa_train_batch(&loss, own, &batch) == FA_E_STATE && loss == -7, "it failed");
        w.fails_at = w.calls + 1;
        CHECK(fa_evaluate(&m, own, &batch) == FA_E_STATE && m.rows == -7, "it failed");
        check_same_state(own, before, some[i]);
        w.fails_at = 0;
        w.net = own;
        CHECK(fa_train_batch(&loss, own, &batch) == FA_OK, "it does not fail");
        CHECK(w.nested == FA_E_STATE, "%s: its own network is in use", some[i]);
        fa_net_free(own), fa_net_free(before);
    }
}

static void test_what_is_refused(void)
{
    fa_net *mse = network("dfa", "mse", 1);
    CHECK(fa_net_set_loss(NULL, half_squares, NULL) == FA_E_VALUE, "no network");
    CHECK(fa_net_set_loss(mse, half_squares, NULL) == FA_E_VALUE, "mse");
    CHECK(strstr(fa_last_error(), "loss: expected 'custom'"), "message");
    fa_net_free(mse);
}

int main(void)
{
    data = dataset_new(FA_F32, ROWS);
    RUN(test_bits_under_every_rule);
    RUN(test_failures_change_nothing);
    RUN(test_what_is_refused);
    dataset_free(&data);
    CHECK(live_bytes() == 0, "all memory returned");
    return finish();
}

/* A network whose numbers left the range of their type says so: at the call that ruined it, or at
 * the next, whichever that is, with words that name the tensor; and it trains again once it was
 * mended. FASTFA_TEST_QUICK: fewer. */
#include "check.h"
#include "api/api.h"

enum { ROWS = 41, N_NEXT = 7 };

static dataset data[2], huge[2]; /* inputs of about 1 and of 1e25 (1e150) */

static bool all_finite(const fa_net *net)
{
    for (int64_t i = 0; i < fa_net_n_tensors(net); i++) {
        const fa_tensor t = fa_net_tensor(net, i);
        for (int64_t j = 0; t.data && j < t.rows * t.cols; j++)
            if (!isfinite(net->dtype == FA_F64 ? ((double *)t.data)[j]
                                               : (double)((float *)t.data)[j]))
                return false;
    }
    return true;
}

static bool says_so(fa_status status)
{
    return status == FA_E_NONFINITE && strstr(fa_last_error(), "not finite") &&
           strstr(fa_last_error(), "reset");
}

static int write_nowhere(void *user, const void *bytes, size_t size)
{
    (void)bytes;
    *(size_t *)user += size;
    return 0;
}

/* Each call that may come next. */
static fa_status next_call(fa_net *net, int i)
{
    const dataset *d = &data[net->dtype == FA_F64];
    const fa_samples all = labelled(d, 0, ROWS);
    static double out[ROWS * N_OUT];
    double loss;
    fa_metrics m;
    size_t written = 0;
    fa_angles angles[2];
    const fa_epoch two = EPOCH(.batch_size = 1, .count = 2);
    switch (i) {
    case 0: return fa_train_batch(&loss, net, &all);
    case 1: return fa_train_epoch(&m, net, &all, 8);
    case 2: return fa_train_steps(&m, net, &all, &two);
    case 3: return fa_learn_one(&loss, net, d->x, 3, NULL);
    case 4: return fa_save_to(net, write_nowhere, &written);
    case 5: return fa_alignment(angles, net, &all);
    default: return i == 6 ? fa_evaluate(&m, net, &all) : fa_predict(out, N_OUT, net, &all, 0);
    }
}

/* Of a ruined network, every call says so and changes nothing; slots hide from what reads
 * only parameters, feedback from what reads only weights. */
static void all_say_so(fa_net *net, const char *what)
{
    void *const state = state_of(net);
    bool weights = true, feedback = true;
    for (int i = 0; i < net->n_params; i++) {
        const fa_param *p = &net->params[i];
        const bool finite = net->k->all_finite(p->value, p->cols, p->rows, p->cols);
        *(p->kind == FA_FEEDBACK ? &feedback : &weights) &= finite;
    }
    for (int i = 0; i <= N_NEXT; i++) {
        const bool blind = weights && (i >= 6 || (feedback && i == 5));
        CHECK(blind || says_so(next_call(net, i)), "%s: call %d afterwards", what, i);
        CHECK(i == 1 || in_state(net, state), "%s: call %d changes nothing", what, i);
        if (i == 1) CHECK(fa_net_set_state(net, state, fa_net_state_size(net)) == FA_OK, "restore");
    }
    free(state);
}

/* One step or more with what is too large, then whatever comes next. */
typedef struct {
    const char *rule, *optimizer;
    fa_dtype dtype;
    double momentum;
    int64_t batch;
    int threads, next;
} scene;

static int n_ruined, n_refused, n_later;

static void ruin(const scene *s)
{
    char what[160];
    snprintf(what, sizeof what, "%s, %s %g, f%d, batch %d, %d threads, call %d", s->rule,
             s->optimizer, s->momentum, s->dtype == FA_F64 ? 64 : 32, (int)s->batch, s->threads,
             s->next);
    recipe r;
    recipe_init(&r, s->rule, s->dtype);
    r.layers[FIRST].activation = r.layers[SECOND].activation = "relu";
    r.optimizer = fa_optimizer_of(s->optimizer, s->dtype == FA_F64 ? 1e30 : 0.1);
    r.desc.loss = s->next % 2 ? "mse" : "softmax_cross_entropy";
    optimizer_option(&r, "momentum", s->momentum);
    rule_option(&r, "oja", 0.5);
    r.desc.n_threads = s->threads;
    fa_net *net = make(&r.desc);
    const fa_samples bad = labelled(&huge[s->dtype == FA_F64], 0, s->batch);
    double loss = 0;
    fa_status status = FA_OK;
    for (int step = 0; step < 3 && status == FA_OK && all_finite(net); step++)
        status = fa_train_batch(&loss, net, &bad);
    if (all_finite(net)) {
        n_refused++;
        CHECK(status == FA_E_NONFINITE ? strstr(fa_last_error(), "nothing was updated") != NULL
                                       : status == FA_OK,
              "%s: a step that was refused", what);
        fa_net_free(net);
        return;
    }
    n_ruined++;
    n_later += status == FA_OK;
    CHECK(status == FA_OK || says_so(status), "%s: the step", what);
    if (status == FA_OK) CHECK(says_so(next_call(net, s->next)), "%s: the next call", what);
    all_say_so(net, what);
    CHECK(fa_net_reset(net) == FA_OK && fa_net_set_lr(net, 1e-6) == FA_OK, "reset");
    for (int i = 0; i <= N_NEXT; i++)
        CHECK(next_call(net, i) == FA_OK, "%s: call %d after reset", what, i);
    fa_net_free(net);
}

static void test_every_rule(void)
{
    static const struct {
        const char *name;
        double momentum;
    } optimizers[] = {{"sgd", 0},       {"sgd", 0.9}, {"rmsprop", 0},
                      {"rmsprop", 0.5}, {"adam", 0},  {"adamw", 0}};
    const int step = quick() ? 5 : 1;
    const char *rule;
    int n = 0;
    for (int i = 0; (rule = fa_name(FA_NAMES_RULE, i)); i++)
        for (int o = 0; o < 6 && strcmp(rule, "custom"); o++)
            for (int type = 0; type < 2; type++)
                for (int batch = 0; batch < 3; batch++, n++) {
                    const scene s = {rule,
                                     optimizers[o].name,
                                     dtypes[type],
                                     optimizers[o].momentum,
                                     batch == 0   ? 1
                                     : batch == 1 ? 9
                                                  : ROWS,
                                     1 + n % 3,
                                     n % (N_NEXT + 1)};
                    if (n % step == 0) ruin(&s);
                }
    CHECK(n_ruined > n / step / 4 && n_later > 0, "%d of %d ruined, %d seen later", n_ruined, n,
          n_later);
    printf("      %d ruined, of these %d seen at the next call; %d refused\n", n_ruined, n_later,
           n_refused);
}

/* A value that is not finite anywhere, written by hand: -inf behind ReLU hides from every loss. */
static void test_every_tensor(void)
{
    static const char *const names[] = {"backprop", "kp", "dkp", "ldfa", "local", "dfa"};
    for (int i = 0; i < 6; i++)
        for (int type = 0; type < 2; type++) {
            recipe r;
            recipe_init(&r, names[i], dtypes[type]);
            r.layers[FIRST].activation = r.layers[SECOND].activation = "relu";
            r.optimizer = fa_optimizer_of(i % 2 ? "adam" : "sgd", 0.01);
            r.desc.n_threads = 1 + i % 2;
            fa_net *net = make(&r.desc);
            const fa_samples all = labelled(&data[type], 0, ROWS);
            double loss;
            CHECK(fa_train_batch(&loss, net, &all) == FA_OK, "a step");
            void *const state = state_of(net);
            for (int p = 0; p < net->n_params; p++)
                for (int k = 0; k < 3; k++) {
                    const fa_param *t = &net->params[p];
                    const int64_t at = k == 0 ? 0 : t->rows * t->cols - 1;
                    put(t->value, dtypes[type], at, k == 2 ? NAN : -INFINITY);
                    const bool learns =
                        t->kind != FA_FEEDBACK || t->trainable || !strcmp(names[i], "kp");
                    for (int64_t batch = 1; batch <= ROWS; batch += ROWS - 1) {
                        const fa_samples some = labelled(&data[type], 0, batch);
                        const fa_status status = fa_train_batch(&loss, net, &some);
                        CHECK(!learns || says_so(status), "%s: %s, batch %d", names[i], t->key,
                              (int)batch);
                        if (learns) CHECK(strstr(fa_last_error(), t->key), "%s is named", t->key);
                        if (!learns)
                            CHECK(fa_net_set_state(net, state, fa_net_state_size(net)) == FA_OK,
                                  "restore");
                    }
                    CHECK(fa_net_set_state(net, state, fa_net_state_size(net)) == FA_OK, "restore");
                    CHECK(fa_train_batch(&loss, net, &all) == FA_OK, "%s: mended", t->key);
                    CHECK(fa_net_set_state(net, state, fa_net_state_size(net)) == FA_OK, "restore");
                }
            free(state);
            fa_net_free(net);
        }
}

/* Updates that wait for the next sample's forward pass, and the last one, which waits for none. */
static void test_streams(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.layers[FIRST].activation = r.layers[SECOND].activation = "relu";
    r.desc.loss = "mse";
    fa_metrics m;
    for (int64_t first = 1; first <= 3; first++) {
        fa_net *net = make(&r.desc);
        dataset d = dataset_new(FA_F32, ROWS);
        for (int64_t j = 0; j < N_IN; j++) put(d.x, FA_F32, first * N_IN + j, 1e25);
        const fa_samples all = labelled(&d, 0, first + 1 + (first < 3 ? 20 : 0));
        const fa_status status = fa_learn_many(&m, net, &all);
        CHECK(!all_finite(net), "sample %d ruins it", (int)first);
        CHECK(first < 3 ? says_so(status) : status == FA_OK && says_so(next_call(net, 6)),
              "sample %d", (int)first);
        CHECK(m.steps == first + 1, "steps before: %lld", (long long)m.steps);
        fa_net_free(net);
        dataset_free(&d);
    }
}

/* The end of an epoch says what its last update did. */
static void test_last_update(void)
{
    enum { N = 200 };
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.layers[FIRST].activation = r.layers[SECOND].activation = "relu";
    r.desc.loss = "mse";
    r.optimizer.lr = 0.001;
    fa_net *net = make(&r.desc);
    dataset d = dataset_new(FA_F32, N);
    for (int64_t j = 0; j < N_IN; j++) put(d.x, FA_F32, (N - 1) * N_IN + j, 1e25);
    const fa_samples all = labelled(&d, 0, N);
    const fa_epoch e = EPOCH(.batch_size = 1, .count = N);
    fa_metrics m;
    const fa_status status = fa_train_steps(&m, net, &all, &e);
    CHECK(!all_finite(net) && says_so(status) && m.steps == N, "%lld steps", (long long)m.steps);
    fa_net_free(net);
    dataset_free(&d);
}

/* Out of range before anything is computed */
static void test_refused(void)
{
    recipe r;
    fa_net *net = NULL;
    static float values[N_IN * N_HIDDEN_1];
    recipe_init(&r, "dfa", FA_F32);
    values[7] = INFINITY;
    r.layers[FIRST].weight_init =
        (fa_init){.values = values, .scale = 1, .rows = N_IN, .cols = N_HIDDEN_1};
    CHECK(fa_net_create(&net, &r.desc) == FA_E_VALUE && strstr(fa_last_error(), "0.weight"),
          "values");
    recipe_init(&r, "dfa", FA_F32);
    r.layers[LAST].weight_init = (fa_init){.name = "normal", .scale = 3e38};
    CHECK(fa_net_create(&net, &r.desc) == FA_E_VALUE && strstr(fa_last_error(), "3.weight"),
          "scale");
    recipe_init(&r, "dfa", FA_F32);
    net = make(&r.desc);
    static double weights[ROWS];
    for (int i = 0; i < ROWS; i++) weights[i] = i == 5 ? 1e300 : 1;
    fa_samples all = labelled(&data[0], 0, ROWS);
    all.weights = weights;
    void *const state = state_of(net);
    double loss;
    fa_metrics m;
    CHECK(fa_train_batch(&loss, net, &all) == FA_E_VALUE &&
              strstr(fa_last_error(), "sample_weight"),
          "batch");
    const fa_epoch e = EPOCH(.batch_size = ROWS, .count = 1);
    CHECK(fa_train_steps(&m, net, &all, &e) == FA_E_NONFINITE &&
              strstr(fa_last_error(), "sample_weight"),
          "steps");
    CHECK(in_state(net, state), "nothing has changed");
    free(state);
    fa_net_free(net);
}

/* A sum that leaves the range, of weights that have not, is no reason to stop. */
static void test_no_false_alarm(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.optimizer.lr = 1e-30;
    fa_net *net = make(&r.desc);
    dataset d = dataset_new(FA_F32, ROWS);
    for (int64_t j = 0; j < ROWS * N_IN; j++) put(d.x, FA_F32, j, j % 2 ? 3e38 : 2e38);
    const fa_samples all = labelled(&d, 0, ROWS);
    static float out[ROWS * N_OUT];
    double loss;
    CHECK(fa_train_batch(&loss, net, &all) == FA_OK, "tanh of an infinite sum is 1");
    CHECK(fa_predict(out, N_OUT, net, &all, 0) == FA_OK && all_finite(net), "and predicts");
    fa_net_free(net);
    dataset_free(&d);
}

int main(void)
{
    for (int type = 0; type < 2; type++) {
        data[type] = dataset_new(dtypes[type], ROWS);
        huge[type] = dataset_new(dtypes[type], ROWS);
        for (int64_t j = 0; j < ROWS * N_IN; j++) {
            const double x = type ? ((double *)data[1].x)[j] : (double)((float *)data[0].x)[j];
            put(huge[type].x, dtypes[type], j, x * (type ? 1e150 : 1e25));
        }
    }
    RUN(test_every_rule);
    RUN(test_every_tensor);
    RUN(test_streams);
    RUN(test_last_update);
    RUN(test_refused);
    RUN(test_no_false_alarm);
    for (int type = 0; type < 2; type++) dataset_free(&data[type]), dataset_free(&huge[type]);
    return finish();
}

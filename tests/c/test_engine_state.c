/* What can be seen of a network and set: state, reset, tensors, blocks, counters,
 * what rules compute and leave alone, permutations, the library's facts. */
#include "check.h"

enum { ROWS = 120 };

static dataset data;

static void train(fa_net *net, int n)
{
    for (int i = 0; i < n; i++) {
        const fa_samples s = i % 2 ? targeted(&data, i, 64) : labelled(&data, i, 50);
        double loss;
        CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "train");
    }
}

static fa_net *new_net(const char *rule, const char *optimizer)
{
    recipe r;
    recipe_init(&r, rule, FA_F32);
    r.optimizer.name = optimizer;
    r.desc.n_threads = 2;
    return make(&r.desc);
}

/* ---- what sets rules apart ---- */

/* Of the first hidden layer: how many rows its feedback matrix has (0: there is none to show) and
 * which tensor holds that matrix ("": it is computed from several). Of a step on two hidden layers:
 * products forward, with the weights above, with feedback, and outer ones. Whether training changes
 * feedback. */
typedef struct {
    const char *rule;
    int64_t feedback_rows;
    const char *tensor;
    int64_t forward, transport, feedback, outer;
    bool learns_feedback;
} rule_facts;

static const rule_facts facts[] = {
    {"backprop", N_HIDDEN_2, "2.weight", 3, 2, 0, 3, false},
    {"fa", N_HIDDEN_2, "0.feedback", 3, 0, 2, 3, false},
    {"dfa", N_OUT, "0.feedback", 3, 0, 2, 3, false},
    {"sdfa", N_OUT, "0.feedback", 3, 0, 2, 3, false},
    {"drtp", N_OUT, "0.feedback", 3, 0, 0, 3, false},
    {"frozen", 0, "", 3, 0, 0, 1, false},
    {"usf", N_HIDDEN_2, "", 3, 0, 2, 3, false},
    {"frsf", N_HIDDEN_2, "", 3, 0, 2, 3, false},
    {"brsf", N_HIDDEN_2, "", 3, 0, 2, 3, false},
    {"kp", N_HIDDEN_2, "0.feedback", 3, 0, 2, 3, true},
    {"dkp", N_OUT, "0.feedback", 3, 0, 2, 5, true},
    {"ternary", N_OUT, "0.feedback", 3, 0, 2, 3, false},
    {"ifa", N_OUT, "0.feedback", 3, 0, 2, 3, false},
    {"ldfa", N_HIDDEN_2, "", 3, 0, 6, 7, true},
    {"pepita", 0, "", 6, 0, 1, 3, false},
    {"local", N_OUT, "0.head.weight", 5, 0, 2, 5, false},
    {"fdfa", N_OUT, "0.feedback", 5, 0, 2, 5, true},
    {"wm", N_HIDDEN_2, "0.feedback", 5, 0, 2, 5, true},
    {"pfa", N_HIDDEN_2, "", 3, 0, 4, 5, true},
    {"cdni", 0, "", 3, 2, 4, 7, true},
    {"dtp", N_HIDDEN_2, "0.feedback", 5, 0, 6, 5, true},
};

/* A rule that the library has and the table has not is a failure. */
static rule_facts facts_of(const char *rule)
{
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (!strcmp(facts[i].rule, rule)) return facts[i];
    REQUIRE(false, "%s: no row in the table of facts", rule);
    return facts[0];
}

/* ---- state ---- */

static void test_round_trip(void)
{
    static const char *const optimizers[] = {"sgd",     "rmsprop", "adam",  "adamw",
                                             "adagrad", "nadam",   "radam", "lion"};
    for (int rule = 0; rule < n_rules; rule++) {
        fa_net *net = new_net(rules[rule], optimizers[rule % 8]),
               *other = new_net(rules[rule], optimizers[rule % 8]);
        int64_t order[10];
        train(net, 3);
        CHECK(fa_shuffle(order, net, 10) == FA_OK && fa_net_set_lr(net, 0.03) == FA_OK,
              "shuffle, set_lr");
        void *middle = state_of(net);
        train(net, 4);
        void *end = state_of(net);
        CHECK(!in_state(net, middle), "training changes the state");
        CHECK(fa_net_set_state(other, middle, fa_net_state_size(net)) == FA_OK, "set_state");
        CHECK(in_state(other, middle), "%s: what was set is there", rules[rule]);
        CHECK(fa_net_steps(other) == 3 && fa_net_epochs(other) == 1 && fa_net_lr(other) == 0.03,
              "counters and lr are part of it");
        train(other, 4);
        CHECK(in_state(other, end), "%s: another network goes on from it with the same bits",
              rules[rule]);
        CHECK(fa_net_set_state(net, middle, fa_net_state_size(net)) == FA_OK, "set_state back");
        train(net, 4);
        CHECK(in_state(net, end), "%s: and so does this one", rules[rule]);
        free(middle);
        free(end);
        fa_net_free(net);
        fa_net_free(other);
    }
}

static void test_reset(void)
{
    for (int rule = 0; rule < n_rules; rule++) {
        fa_net *net = new_net(rules[rule], "adam"), *fresh = new_net(rules[rule], "adam");
        const void *weights = fa_net_tensor(net, 0).data;
        int64_t order[2][20];
        CHECK(fa_shuffle(order[0], net, 20) == FA_OK, "shuffle");
        train(net, 3);
        CHECK(fa_net_set_lr(net, 0.9) == FA_OK, "set_lr");
        CHECK(fa_net_reset(net) == FA_OK && same_state(net, fresh), "%s: reset is fresh",
              rules[rule]);
        CHECK(fa_net_steps(net) == 0 && fa_net_epochs(net) == 0 && fa_net_lr(net) == 0.1,
              "counters and lr");
        CHECK(fa_net_tensor(net, 0).data == weights, "views stay where they were");
        CHECK(fa_shuffle(order[1], net, 20) == FA_OK &&
                  !memcmp(order[0], order[1], sizeof order[0]),
              "epoch 0 again");
        CHECK(fa_shuffle(order[1], fresh, 20) == FA_OK, "shuffle");
        train(net, 3);
        train(fresh, 3);
        CHECK(same_state(net, fresh), "%s: and trains as one", rules[rule]);
        fa_net_free(net);
        fa_net_free(fresh);
    }
}

static void test_seeds(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    fa_net *a = make(&r.desc);
    r.desc.seed = 8;
    fa_net *b = make(&r.desc);
    r.desc.seed = 7 + ((uint64_t)1 << 32);
    fa_net *c = make(&r.desc);
    CHECK(!same_state(a, b) && !same_state(a, c), "every bit of the seed counts");
    r.desc.seed = 7, r.desc.dtype = FA_F64;
    fa_net *d = make(&r.desc);
    const float *single = fa_net_tensor(a, 0).data;
    const double *twice = fa_net_tensor(d, 0).data;
    int64_t different = 0;
    for (int i = 0; i < N_IN * N_HIDDEN_1; i++) different += single[i] != (float)twice[i];
    CHECK(different == 0, "both element types see the same draws");
    fa_net_free(a);
    fa_net_free(b);
    fa_net_free(c);
    fa_net_free(d);
}

/* ---- tensors ---- */

static void expect_tensor(const fa_net *net, int64_t i, const char *key, fa_tensor_kind kind,
                          int64_t rows, int64_t cols)
{
    const fa_tensor t = fa_net_tensor(net, i);
    REQUIRE(t.key != NULL, "tensor %lld", (long long)i);
    CHECK(!strcmp(t.key, key) && t.kind == kind, "tensor %lld: %s, expected %s", (long long)i,
          t.key, key);
    CHECK(t.rows == rows && t.cols == cols, "%s: %lld x %lld", key, (long long)t.rows,
          (long long)t.cols);
    CHECK(t.data && (uintptr_t)t.data % 64 == 0, "%s: aligned to 64 bytes", key);
}

static void test_tensors(void)
{
    recipe r;
    recipe_init(&r, "fa", FA_F32);
    r.layers[SECOND].use_bias = 0;
    r.layers[LAST].trainable = 0;
    optimizer_option(&r, "momentum", 0.5);
    fa_net *net = make(&r.desc);
    CHECK(fa_net_n_tensors(net) == 5 + 2 + 5, "%lld tensors", (long long)fa_net_n_tensors(net));
    expect_tensor(net, 0, "0.weight", FA_WEIGHT, N_IN, N_HIDDEN_1);
    expect_tensor(net, 1, "0.bias", FA_BIAS, 1, N_HIDDEN_1);
    expect_tensor(net, 2, "2.weight", FA_WEIGHT, N_HIDDEN_1, N_HIDDEN_2);
    expect_tensor(net, 3, "3.weight", FA_WEIGHT, N_HIDDEN_2, N_OUT);
    expect_tensor(net, 4, "3.bias", FA_BIAS, 1, N_OUT);
    expect_tensor(net, 5, "0.feedback", FA_FEEDBACK, N_HIDDEN_2, N_HIDDEN_1);
    expect_tensor(net, 6, "2.feedback", FA_FEEDBACK, N_OUT, N_HIDDEN_2);
    expect_tensor(net, 7, "0.weight", FA_SLOT, N_IN, N_HIDDEN_1);
    CHECK(fa_net_tensor(net, 10).data == NULL && !strcmp(fa_net_tensor(net, 10).key, "3.weight"),
          "no slot where nothing trains");
    CHECK(fa_net_tensor(net, 0).trainable && !fa_net_tensor(net, 3).trainable &&
              !fa_net_tensor(net, 5).trainable,
          "trainable");
    fa_net_free(net);
}

static void test_write(void)
{
    fa_net *net = new_net("dfa", "adam");
    void *before = state_of(net);
    float *values = malloc(N_IN * N_HIDDEN_1 * sizeof *values);
    for (int64_t i = 0; i < fa_net_n_tensors(net); i++) {
        const fa_tensor t = fa_net_tensor(net, i);
        for (int64_t j = 0; j < t.rows * t.cols; j++) values[j] = (float)(i + j);
        CHECK(fa_net_write(net, i, values) == FA_OK, "write %s", t.key);
        CHECK(!memcmp(t.data, values, (size_t)(t.rows * t.cols) * sizeof *values),
              "%s: there, row by row", t.key);
    }
    int64_t wrong = 0;
    for (int64_t i = 0; i < fa_net_n_tensors(net); i++)
        wrong += *(float *)fa_net_tensor(net, i).data != (float)i;
    CHECK(wrong == 0, "no tensor overlaps another");
    CHECK(fa_net_write(net, 0, fa_net_tensor(net, 0).data) == FA_OK, "onto itself");
    CHECK(fa_net_set_state(net, before, fa_net_state_size(net)) == FA_OK && in_state(net, before),
          "back");
    free(values);
    free(before);
    fa_net_free(net);
}

/* ---- blocks and feedback ---- */

static void test_blocks(void)
{
    static const fa_rule_desc own =
        RULE(.name = "drtp", .inject = "pre", .feedback = {.name = "normal", .scale = 2});
    recipe r;
    recipe_init(&r, "backprop", FA_F32);
    r.layers[SECOND].rule = &own;
    fa_net *net = make(&r.desc);
    CHECK(fa_net_n_blocks(net) == 3, "three dense layers");
    const fa_block_info b[3] = {block_of(net, 0), block_of(net, 1), block_of(net, 2)};
    CHECK(b[0].layer == FIRST && b[1].layer == SECOND && b[2].layer == LAST,
          "indices in the layer list");
    CHECK(b[0].n_in == N_IN && b[0].n_out == N_HIDDEN_1 && b[1].n_in == N_HIDDEN_1, "sizes");
    CHECK(!strcmp(b[0].rule, "backprop") && !strcmp(b[0].source, "above") &&
              !strcmp(b[0].feedback, ""),
          "backprop");
    CHECK(!strcmp(b[1].rule, "drtp") && !strcmp(b[1].source, "target") &&
              !strcmp(b[1].feedback, "normal"),
          "drtp");
    CHECK(!strcmp(b[1].inject, "pre") && b[1].feedback_scale == 2 && b[1].feedback_rows == N_OUT,
          "its feedback");
    CHECK(b[0].feedback_rows == N_HIDDEN_2 && !strcmp(b[2].rule, "output") &&
              b[2].feedback_rows == 0,
          "rows");
    CHECK(b[0].trainable && b[0].needs_delta && b[1].needs_delta && b[2].needs_delta, "needed");
    fa_net_free(net);
}

/* `matrix` is the tensor, or, of weights, the tensor transposed. */
static bool is_tensor(const float *matrix, int64_t rows, fa_tensor t)
{
    const float *held = t.data;
    int64_t wrong = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < N_HIDDEN_1; j++)
            wrong += matrix[i * N_HIDDEN_1 + j] !=
                     (t.kind == FA_WEIGHT ? held[j * t.cols + i] : held[i * t.cols + j]);
    return wrong == 0;
}

static void test_feedback_matrix(void)
{
    for (int rule = 0; rule < n_rules; rule++) {
        const rule_facts expected = facts_of(rules[rule]);
        fa_net *net = new_net(rules[rule], "sgd");
        train(net, 1);
        float matrix[N_HIDDEN_2 * N_HIDDEN_1];
        const int64_t rows = block_of(net, 0).feedback_rows;
        CHECK(rows == expected.feedback_rows, "%s: %lld rows", rules[rule], (long long)rows);
        CHECK(fa_feedback_matrix(matrix, net, 0) == (rows ? FA_OK : FA_E_VALUE), "%s", rules[rule]);
        if (*expected.tensor)
            CHECK(is_tensor(matrix, rows, fa_net_tensor(net, fa_net_find(net, expected.tensor))),
                  "%s: %s", rules[rule], expected.tensor);
        fa_net_free(net);
    }
}

/* ---- what a rule computes ---- */

static void test_counts(void)
{
    enum { STEPS = 3 };
    for (int rule = 0; rule < n_rules; rule++) {
        const rule_facts expected = facts_of(rules[rule]);
        fa_net *net = new_net(rules[rule], "adam");
        const fa_samples s = labelled(&data, 0, ROWS);
        fa_metrics m;
        CHECK(fa_train_steps(&m, net, &s, &EPOCH(.batch_size = 50, .count = STEPS)) == FA_OK,
              "three steps");
        const fa_counts c = fa_net_counts(net);
        CHECK(c.forward == STEPS * expected.forward, "%s: %lld forward products", rules[rule],
              (long long)c.forward);
        CHECK(c.transport == STEPS * expected.transport, "%s: %lld transports", rules[rule],
              (long long)c.transport);
        CHECK(c.feedback == STEPS * expected.feedback, "%s: %lld feedback products", rules[rule],
              (long long)c.feedback);
        CHECK(c.outer == STEPS * expected.outer, "%s: %lld outer products", rules[rule],
              (long long)c.outer);
        fa_net_free(net);
    }
}

static void test_looking_does_not_count(void)
{
    fa_net *net = new_net("backprop", "sgd");
    void *before = state_of(net);
    const fa_samples s = labelled(&data, 0, ROWS);
    double loss;
    fa_metrics m;
    fa_angles angles[2];
    static float out[ROWS * N_OUT], gradient[N_IN * N_HIDDEN_1];
    void *grads[6] = {gradient};
    CHECK(fa_predict(out, N_OUT, net, &s, 0) == FA_OK && fa_evaluate(&m, net, &s) == FA_OK,
          "predict, evaluate");
    CHECK(fa_gradients(&loss, grads, net, &s) == FA_OK && fa_alignment(angles, net, &s) == FA_OK,
          "gradients, alignment");
    const fa_counts c = fa_net_counts(net);
    CHECK(c.forward + c.transport + c.feedback + c.outer == 0, "only training counts");
    CHECK(in_state(net, before), "looking changes nothing");
    CHECK(angles[0].delta_angle < 1e-3 && angles[1].gradient_angle < 1e-3 &&
              angles[0].norm_ratio == 1,
          "backprop aligns with itself");
    free(before);
    fa_net_free(net);
}

static float *copy_of(const fa_net *net, int64_t i)
{
    const fa_tensor t = fa_net_tensor(net, i);
    const size_t size = (size_t)(t.rows * t.cols) * sizeof(float);
    return memcpy(malloc(size), t.data, size);
}

static bool unchanged(const fa_net *net, int64_t i, const float *copy)
{
    const fa_tensor t = fa_net_tensor(net, i);
    return !memcmp(t.data, copy, (size_t)(t.rows * t.cols) * sizeof(float));
}

/* Which tensors (0.weight, 0.bias, 2.weight, 2.bias, 3.weight, 3.bias) a step may change. Feedback
 * that no rule learns does not change either, nor does any where no layer trains. */
static void expect_changes(const fa_net_desc *desc, const char *changes, const char *what)
{
    fa_net *net = make(desc);
    const int64_t n = fa_net_n_tensors(net);
    const bool fixed = !facts_of(desc->rule->name).learns_feedback || !strchr(changes, '+');
    float *before[MOST_TENSORS];
    for (int64_t i = 0; i < n; i++) before[i] = fa_net_tensor(net, i).data ? copy_of(net, i) : NULL;
    train(net, 5);
    for (int64_t i = 0; i < n; i++) {
        const fa_tensor t = fa_net_tensor(net, i);
        if (i < 6)
            CHECK(unchanged(net, i, before[i]) == (changes[i] == '-'), "%s: %s", what, t.key);
        if (t.kind == FA_FEEDBACK && fixed)
            CHECK(unchanged(net, i, before[i]), "%s: %s", what, t.key);
        free(before[i]);
    }
    fa_net_free(net);
}

static void test_frozen(void)
{
    recipe r;
    recipe_init(&r, "frozen", FA_F32);
    r.optimizer.weight_decay = 0.1; /* decay is an update, too */
    expect_changes(&r.desc, "----++", "frozen");
    r.optimizer.name = "adamw";
    expect_changes(&r.desc, "----++", "frozen, adamw");
    for (int rule = 0; rule < n_rules; rule++) {
        if (!strcmp(rules[rule], "frozen")) continue;
        recipe_init(&r, rules[rule], FA_F32);
        r.optimizer.clip_norm = 1;
        expect_changes(&r.desc, "++++++", rules[rule]);
        r.layers[SECOND].trainable = 0;
        expect_changes(&r.desc, "++--++", rules[rule]);
        r.layers[LAST].trainable = r.layers[FIRST].trainable = 0;
        expect_changes(&r.desc, "------", rules[rule]);
        recipe_init(&r, rules[rule], FA_F32);
        r.layers[SECOND].lr_scale = 0, r.layers[LAST].bias_lr_scale = 0;
        expect_changes(&r.desc, "++--+-", "learning rates of 0");
    }
}

/* The largest entry of before - g - now over all that trains by its gradient. */
static double step_error(const fa_net *net, double *const *before, double *const *g)
{
    double worst = 0;
    for (int64_t i = 0; i < fa_net_n_tensors(net); i++) {
        const fa_tensor t = fa_net_tensor(net, i);
        if (t.kind == FA_FEEDBACK && !t.trainable)
            continue; /* kp moves it as it moves the weights */
        for (int64_t j = 0; j < t.rows * t.cols; j++)
            worst = fmax(worst, fabs(before[i][j] - g[i][j] - ((double *)t.data)[j]));
    }
    return worst;
}

/* A step of plain SGD at learning rate 1 takes away the gradient. */
static void test_gradients_agree_with_a_step(void)
{
    dataset d = dataset_new(FA_F64, ROWS);
    fa_samples s = labelled(&d, 0, ROWS);
    s.weights = d.weights;
    for (int rule = 0; rule < n_rules; rule++) {
        recipe r;
        recipe_init(&r, rules[rule], FA_F64);
        rule_option(&r, "oja", 1); /* as all that learns */
        rule_option(&r, "share", 1);
        rule_option(&r, "rate", 1);
        r.optimizer.lr = 1;
        fa_net *net = make(&r.desc);
        const int64_t n = fa_net_n_tensors(net);
        double *g[MOST_TENSORS], *before[MOST_TENSORS], loss[2];
        for (int64_t i = 0; i < n; i++) {
            const fa_tensor t = fa_net_tensor(net, i);
            const size_t size = (size_t)(t.rows * t.cols) * sizeof(double);
            g[i] = calloc(1, size);
            before[i] = memcpy(malloc(size), t.data, size);
        }
        CHECK(fa_gradients(&loss[0], (void *const *)g, net, &s) == FA_OK &&
                  fa_train_batch(&loss[1], net, &s) == FA_OK,
              "both");
        CHECK(loss[0] == loss[1], "%s: same loss", rules[rule]);
        const double worst = step_error(net, before, g);
        CHECK(worst < 1e-14, "%s: W - g differs from the step by %g", rules[rule], worst);
        for (int64_t i = 0; i < n; i++) free(g[i]), free(before[i]);
        fa_net_free(net);
    }
    dataset_free(&d);
}

/* Gradients, then the step on them, leave the bytes of a training step; what is wrong leaves those
 * of before. */
static void test_apply_gradients(void)
{
    dataset d = dataset_new(FA_F32, ROWS);
    fa_samples s = labelled(&d, 0, ROWS);
    for (int rule = 0; rule < n_rules; rule++) {
        recipe r;
        recipe_init(&r, rules[rule], FA_F32);
        r.optimizer.name = "adam", r.optimizer.clip_norm = rule % 2 ? 0.1 : 0;
        r.desc.n_threads = 2;
        fa_net *net = make(&r.desc), *other = make(&r.desc);
        float *g[MOST_TENSORS] = {NULL};
        for (int64_t i = 0; i < fa_net_n_tensors(net); i++) {
            const fa_tensor t = fa_net_tensor(net, i);
            if (t.trainable && t.kind != FA_SLOT) g[i] = calloc((size_t)(t.rows * t.cols), 4);
        }
        double loss;
        for (int i = 0; i < 3; i++)
            CHECK(fa_train_batch(&loss, net, &s) == FA_OK &&
                      fa_gradients(&loss, (void *const *)g, other, &s) == FA_OK &&
                      fa_apply_gradients(other, (const void *const *)g) == FA_OK,
                  "%s: steps", rules[rule]);
        const size_t size = fa_net_state_size(net);
        char *state[2] = {malloc(size), malloc(size)};
        fa_net_get_state(state[0], net), fa_net_get_state(state[1], other);
        CHECK(!memcmp(state[0], state[1], size), "%s: the bits of a training step", rules[rule]);

        const int64_t last = fa_net_find(other, "3.weight");
        const float first = g[last][0];
        g[last][0] = NAN;
        CHECK(fa_apply_gradients(other, (const void *const *)g) == FA_E_VALUE, "NaN");
        CHECK(strstr(fa_last_error(), "3.weight"), "names it: %s", fa_last_error());
        g[last][0] = first;
        float *const all = g[last];
        g[last] = NULL;
        CHECK(fa_apply_gradients(other, (const void *const *)g) == FA_E_VALUE, "missing");
        g[last] = all;
        for (int64_t i = 0; i < last; i++) {
            if (g[i]) continue;
            g[i] = all;
            CHECK(fa_apply_gradients(other, (const void *const *)g) == FA_E_VALUE, "not trained");
            g[i] = NULL;
        }
        fa_net_get_state(state[1], other);
        CHECK(!memcmp(state[0], state[1], size), "%s: refused, unchanged", rules[rule]);
        for (int i = 0; i < MOST_TENSORS; i++) free(g[i]);
        free(state[0]), free(state[1]);
        fa_net_free(net), fa_net_free(other);
    }
    dataset_free(&d);
}

/* ---- permutations ---- */

static void test_shuffle(void)
{
    fa_net *net = new_net("dfa", "sgd");
    static int64_t order[2][1000];
    bool seen[1000];
    for (int64_t n = 1; n <= 1000; n = n < 10 ? n + 1 : n * 10) {
        memset(seen, 0, sizeof seen);
        CHECK(fa_shuffle(order[0], net, n) == FA_OK, "shuffle of %lld", (long long)n);
        for (int64_t i = 0; i < n; i++) seen[order[0][i]] = true;
        CHECK(memchr(seen, 0, (size_t)n) == NULL, "a permutation of %lld", (long long)n);
    }
    const int64_t epochs = fa_net_epochs(net);
    CHECK(fa_shuffle(order[1], net, 1000) == FA_OK && memcmp(order[0], order[1], sizeof order[0]),
          "another each epoch");
    CHECK(fa_net_epochs(net) == epochs + 1, "counted");
    fa_net_free(net);
}

/* ---- the library ---- */

static void test_library(void)
{
    CHECK(!strcmp(fa_version(), FASTFA_VERSION), "version");
    CHECK(strstr(fa_build_info(), "\"isa\"") && fa_build_info()[0] == '{', "build info: %s",
          fa_build_info());
    CHECK(!strcmp(fa_status_name(FA_E_STOPPED), "stopped") &&
              !strcmp(fa_status_name((fa_status)99), "unknown status"),
          "status names");
    for (int a = FA_E_FORMAT - 1; a <= FA_OK; a++)
        for (int b = FA_E_FORMAT - 1; b < a; b++)
            CHECK(strcmp(fa_status_name((fa_status)a), fa_status_name((fa_status)b)),
                  "%d and %d have names of their own", a, b);
    const int machine = fa_get_num_threads();
    CHECK(machine >= 1 && fa_set_num_threads(3) == FA_OK && fa_get_num_threads() == 3, "threads");
    CHECK(fa_set_num_threads(0) == FA_OK && fa_get_num_threads() == machine, "back to the default");
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.desc.n_threads = 5;
    fa_net *net = make(&r.desc);
    CHECK(fa_net_threads(net) == 5, "a network's own number");
    fa_net_free(net);
}

int main(void)
{
    data = dataset_new(FA_F32, ROWS);
    RUN(test_round_trip);
    RUN(test_reset);
    RUN(test_seeds);
    RUN(test_tensors);
    RUN(test_write);
    RUN(test_blocks);
    RUN(test_feedback_matrix);
    RUN(test_counts);
    RUN(test_looking_does_not_count);
    RUN(test_frozen);
    RUN(test_gradients_agree_with_a_step);
    RUN(test_apply_gradients);
    RUN(test_shuffle);
    RUN(test_library);
    dataset_free(&data);
    return finish();
}

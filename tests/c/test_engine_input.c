/* Bad samples in every call: FA_E_VALUE with the argument's name in the message, nothing changed,
 * nothing leaked; numbers that are not finite. */
#include "check.h"

enum { ROWS = 30 };

static dataset data;

/* A door that takes samples; `values` tells whether it looks at every number. */
typedef fa_status door(fa_net *net, const fa_samples *s);

static float out[ROWS * N_OUT];

static fa_status by_train_batch(fa_net *net, const fa_samples *s)
{
    double loss = -1;
    const fa_status status = fa_train_batch(&loss, net, s);
    CHECK(loss == -1, "loss written");
    return status;
}
static fa_status by_train_steps(fa_net *net, const fa_samples *s)
{
    fa_metrics m = {.rows = -1};
    const fa_status status = fa_train_steps(&m, net, s, &EPOCH(.batch_size = ROWS, .count = 1));
    CHECK(m.rows == -1, "metrics written");
    return status;
}
static fa_status by_predict(fa_net *net, const fa_samples *s)
{
    out[0] = -7;
    const fa_status status = fa_predict(out, N_OUT, net, s, 0);
    CHECK(out[0] == -7, "out written");
    return status;
}
static fa_status by_evaluate(fa_net *net, const fa_samples *s)
{
    fa_metrics m = {.rows = -1};
    const fa_status status = fa_evaluate(&m, net, s);
    CHECK(m.rows == -1, "metrics written");
    return status;
}
static fa_status by_gradients(fa_net *net, const fa_samples *s)
{
    static float g[N_IN * N_HIDDEN_1];
    void *grads[6] = {g};
    double loss = -1;
    g[0] = -7;
    const fa_status status = fa_gradients(&loss, grads, net, s);
    CHECK(loss == -1 && g[0] == -7, "outputs written");
    return status;
}
static fa_status by_alignment(fa_net *net, const fa_samples *s)
{
    fa_angles angles[2] = {{.layer = -1}};
    const fa_status status = fa_alignment(angles, net, s);
    CHECK(angles[0].layer == -1, "angles written");
    return status;
}
static fa_status by_check(fa_net *net, const fa_samples *s) { return fa_check(net, s); }

static const struct {
    const char *name;
    door *call;
    bool targets, values;
} doors[] = {
    {"train_batch", by_train_batch, true, true},
    {"train_steps", by_train_steps, true, false},
    {"predict", by_predict, false, true},
    {"evaluate", by_evaluate, true, true},
    {"gradients", by_gradients, true, true},
    {"alignment", by_alignment, true, true},
    {"check", by_check, true, true},
};
enum { N_DOORS = sizeof doors / sizeof *doors };

/* Every door that looks at such things refuses the samples, naming `name`. */
static void refuse_samples(int line, watched *w, const fa_samples *s, const char *name,
                           bool of_targets, bool of_values)
{
    const int64_t live = live_bytes();
    for (int i = 0; i < N_DOORS; i++) {
        if ((of_targets && !doors[i].targets) || (of_values && !doors[i].values)) continue;
        const fa_status status = doors[i].call(w->net, s);
        CHECK(status == FA_E_VALUE, "line %d: %s: status %s", line, doors[i].name,
              fa_status_name(status));
        CHECK(strstr(fa_last_error(), name) != NULL, "line %d: %s: expected '%s' in the message",
              line, doors[i].name, name);
    }
    CHECK(live_bytes() == live, "line %d: leak", line);
    CHECK(in_state(w->net, w->state), "line %d: changed the network", line);
}

enum { SHAPE = 0, TARGET = 1, VALUE = 2 };
#define REFUSE_SAMPLES(samples, assignment, name, kind)                                            \
    do {                                                                                           \
        fa_samples s = samples;                                                                    \
        assignment;                                                                                \
        refuse_samples(__LINE__, &w, &s, name, ((kind) & TARGET) != 0, ((kind) & VALUE) != 0);     \
    } while (0)

static void test_sample_shapes(void)
{
    watched w = watch("fa", "softmax_cross_entropy");
    const fa_samples fine = labelled(&data, 0, ROWS), rows = targeted(&data, 0, ROWS);
    refuse_samples(__LINE__, &w, NULL, "samples", false, false);
    REFUSE_SAMPLES(fine, s.n = 0, "X", SHAPE);
    REFUSE_SAMPLES(fine, s.n = -5, "X", SHAPE);
    REFUSE_SAMPLES(fine, s.ldx = N_IN - 1, "X", SHAPE);
    REFUSE_SAMPLES(fine, s.ldx = -N_IN, "X", SHAPE);
    REFUSE_SAMPLES(fine, s.x_dtype = FA_F64, "X", SHAPE);
    REFUSE_SAMPLES(fine, s.x_dtype = (fa_dtype)9, "X", SHAPE);
    REFUSE_SAMPLES(rows, s.ldy = N_OUT - 1, "y", TARGET);
    REFUSE_SAMPLES(rows, s.labels = data.labels, "y", TARGET);
    fa_samples no_targets = inputs(&data, 0, ROWS), no_inputs = fine;
    no_inputs.x = NULL;
    for (int i = 0; i < N_DOORS - 1; i++) { /* fa_check takes what there is */
        CHECK(doors[i].call(w.net, &no_inputs) == FA_E_VALUE && strstr(fa_last_error(), "X"),
              "%s: no x", doors[i].name);
        if (doors[i].targets)
            CHECK(doors[i].call(w.net, &no_targets) == FA_E_VALUE && strstr(fa_last_error(), "y"),
                  "%s: no y", doors[i].name);
    }
    unwatch(&w);
}

static void test_labels(void)
{
    watched w = watch("dfa", "softmax_cross_entropy");
    fa_samples s = labelled(&data, 0, ROWS);
    int64_t labels[ROWS];
    s.labels = labels;
    static const int64_t wrong[] = {-1, N_OUT, INT64_MAX, INT64_MIN};
    for (int i = 0; i < 4; i++) {
        memcpy(labels, data.labels, sizeof labels);
        labels[ROWS - 1] = wrong[i];
        refuse_samples(__LINE__, &w, &s, "at index 29", true, false);
    }
    unwatch(&w);
}

static void test_one_output(void)
{
    static const char *const losses[] = {"sigmoid_cross_entropy", "mse"};
    for (int i = 0; i < 2; i++) {
        recipe r;
        recipe_init(&r, "drtp", FA_F32);
        r.desc.loss = losses[i];
        r.layers[LAST].units = 1;
        watched w = {make(&r.desc), NULL};
        w.state = state_of(w.net);
        int64_t labels[3] = {0, 1, 2};
        fa_samples s = inputs(&data, 0, 3);
        s.labels = labels;
        refuse_samples(__LINE__, &w, &s, "0..1", true, false);
        labels[2] = 1;
        CHECK(fa_check(w.net, &s) == FA_OK, "0 and 1 are fine");
        unwatch(&w);
    }
}

static void test_values(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    watched w = watch("sdfa", "softmax_cross_entropy");
    float x[ROWS * N_IN], y[ROWS * N_OUT];
    double weights[ROWS];
    for (int i = 0; i < 3; i++) {
        memcpy(x, data.x, sizeof x), memcpy(y, data.y, sizeof y),
            memcpy(weights, data.weights, sizeof weights);
        x[ROWS * N_IN - 1] = bad[i], y[ROWS * N_OUT - 1] = bad[i], weights[ROWS - 1] = bad[i];
        REFUSE_SAMPLES(targeted(&data, 0, ROWS), s.x = x, "X: expected finite", VALUE);
        REFUSE_SAMPLES(labelled(&data, 0, ROWS), s.x = x, "row 29, column 39", VALUE);
        REFUSE_SAMPLES(targeted(&data, 0, ROWS), s.y = y, "y: expected finite", TARGET | VALUE);
        REFUSE_SAMPLES(labelled(&data, 0, ROWS), s.weights = weights, "sample_weight",
                       TARGET | VALUE);
    }
    memcpy(weights, data.weights, sizeof weights);
    weights[ROWS - 1] = -1;
    REFUSE_SAMPLES(labelled(&data, 0, ROWS), s.weights = weights, "index 29", TARGET | VALUE);
    unwatch(&w);
}

static void test_probabilities(void)
{
    float y[ROWS * N_OUT];
    memcpy(y, data.y, sizeof y);
    watched w = watch("dfa", "softmax_cross_entropy");
    y[ROWS * N_OUT - N_OUT] += 0.01f;
    REFUSE_SAMPLES(targeted(&data, 0, ROWS), s.y = y, "row 29", TARGET | VALUE);
    y[ROWS * N_OUT - N_OUT] = -0.5f, y[ROWS * N_OUT - 1] += 0.5f;
    REFUSE_SAMPLES(targeted(&data, 0, ROWS), s.y = y, "probabilities", TARGET | VALUE);
    unwatch(&w);

    w = watch("dfa", "sigmoid_cross_entropy");
    memcpy(y, data.y, sizeof y);
    y[5] = 1.001f;
    REFUSE_SAMPLES(targeted(&data, 0, ROWS), s.y = y, "0..1", TARGET | VALUE);
    y[5] = -0.001f;
    REFUSE_SAMPLES(targeted(&data, 0, ROWS), s.y = y, "row 0", TARGET | VALUE);
    unwatch(&w);

    w = watch("dfa", "mse");
    const fa_samples s = SAMPLES(.x = data.x, .ldx = N_IN, .y = y, .ldy = N_OUT, .n = ROWS);
    CHECK(fa_check(w.net, &s) == FA_OK, "mse takes any numbers");
    unwatch(&w);
}

/* fa_check looks at the part of the samples that there is. */
static void test_check_of_a_part(void)
{
    watched w = watch("dfa", "softmax_cross_entropy");
    float x[ROWS * N_IN], y[ROWS * N_OUT];
    memcpy(x, data.x, sizeof x), memcpy(y, data.y, sizeof y);
    fa_samples s = SAMPLES(.x = x, .ldx = N_IN, .n = ROWS);
    CHECK(fa_check(w.net, &s) == FA_OK, "x alone");
    x[3] = NAN;
    CHECK(fa_check(w.net, &s) == FA_E_VALUE && strstr(fa_last_error(), "X: "), "x alone, bad");
    s.y = y, s.ldy = N_OUT;
    s.x = NULL;
    CHECK(fa_check(w.net, &s) == FA_OK, "y alone");
    y[3] = -1;
    CHECK(fa_check(w.net, &s) == FA_E_VALUE && strstr(fa_last_error(), "y: "), "y alone, bad");
    s.y = NULL;
    CHECK(fa_check(w.net, &s) == FA_E_VALUE && strstr(fa_last_error(), "X: "), "nothing");
    unwatch(&w);
}

/* An infinite input that no result shows: tanh makes it 1, and its weights do not train. Only a
 * search finds it: none where the caller says that the samples are checked, but in fa_check. */
static void test_checked(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.layers[0].trainable = 0;
    fa_net *net = make(&r.desc);
    float x[ROWS * N_IN];
    memcpy(x, data.x, sizeof x);
    x[20 * N_IN + 5] = INFINITY;
    fa_samples s = labelled(&data, 0, ROWS);
    s.x = x;
    for (s.checked = 0; s.checked < 2; s.checked++) {
        const bool looks = !s.checked;
        double loss;
        fa_metrics m;
        fa_angles angles[2];
        void *grads[MOST_TENSORS] = {NULL};
        const struct {
            const char *name;
            fa_status status, refusal;
        } calls[] = {
            {"train_batch", fa_train_batch(&loss, net, &s), FA_E_VALUE},
            {"train_steps", fa_train_steps(&m, net, &s, &EPOCH(.batch_size = 8, .count = 4)),
             FA_E_NONFINITE},
            {"train_epoch", fa_train_epoch(&m, net, &s, 8), FA_E_NONFINITE},
            {"learn_many", fa_learn_many(&m, net, &s), FA_E_NONFINITE},
            {"predict", fa_predict(out, N_OUT, net, &s, 0), FA_E_VALUE},
            {"evaluate", fa_evaluate(&m, net, &s), FA_E_VALUE},
            {"gradients", fa_gradients(&loss, grads, net, &s), FA_E_VALUE},
            {"alignment", fa_alignment(angles, net, &s), FA_E_VALUE},
        };
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
            CHECK(calls[i].status == (looks ? calls[i].refusal : FA_OK), "%s, checked %d: %s",
                  calls[i].name, s.checked, fa_status_name(calls[i].status));
        CHECK(fa_check(net, &s) == FA_E_VALUE, "fa_check always looks");
    }
    s.checked = 1;
    s.n = 0;
    double loss;
    CHECK(fa_train_batch(&loss, net, &s) == FA_E_VALUE, "shapes are checked always");
    int64_t labels[ROWS] = {N_OUT};
    s = labelled(&data, 0, ROWS);
    s.checked = 1, s.labels = labels;
    CHECK(fa_train_batch(&loss, net, &s) == FA_E_VALUE, "no label reaches beyond its memory");
    fa_net_free(net);
}

/* ---- epochs ---- */

static void test_epochs(void)
{
    watched w = watch("dfa", "softmax_cross_entropy");
    const fa_samples s = labelled(&data, 0, ROWS);
    int64_t order[ROWS];
    for (int i = 0; i < ROWS; i++) order[i] = i;
    order[ROWS - 1] = ROWS;
    const double lrs[4][2] = {{0.1, -1}, {0.1, NAN}, {INFINITY, 0.1}, {-INFINITY, 0}};
    const struct {
        fa_epoch epoch;
        const char *name;
    } wrong[] = {
        {EPOCH(.batch_size = 0, .count = 1), "batch_size"},
        {EPOCH(.batch_size = -8, .count = 1), "batch_size"},
        {EPOCH(.batch_size = 8, .first = -1, .count = 1), "first"},
        {EPOCH(.batch_size = 8, .first = 5, .count = 1), "first"},
        {EPOCH(.batch_size = 8, .first = INT64_MAX, .count = INT64_MAX), "first"},
        {EPOCH(.batch_size = 8, .count = -1), "count"},
        {EPOCH(.batch_size = 8, .count = 5), "count"},
        {EPOCH(.batch_size = 8, .first = 1, .count = INT64_MAX), "count"},
        {EPOCH(.batch_size = 8, .first = 3, .count = 1, .order = order), "order"},
        {EPOCH(.batch_size = 8, .count = 2, .lrs = lrs[0]), "lr"},
        {EPOCH(.batch_size = 8, .count = 2, .lrs = lrs[1]), "lr"},
        {EPOCH(.batch_size = 8, .count = 2, .lrs = lrs[2]), "lr"},
        {EPOCH(.batch_size = 8, .count = 2, .lrs = lrs[3]), "lr"},
    };
    for (int i = 0; i < 13; i++) {
        fa_metrics m = {.rows = -1};
        CHECK(fa_train_steps(&m, w.net, &s, &wrong[i].epoch) == FA_E_VALUE, "epoch %d", i);
        CHECK(strstr(fa_last_error(), wrong[i].name) != NULL,
              "epoch %d: expected '%s' in the message", i, wrong[i].name);
        CHECK(m.rows == -1, "epoch %d: metrics written", i);
    }
    order[ROWS - 1] = -1;
    fa_metrics m;
    CHECK(fa_train_steps(&m, w.net, &s, &wrong[8].epoch) == FA_E_VALUE &&
              strstr(fa_last_error(), "order"),
          "order of -1");
    const fa_epoch before_it = EPOCH(.batch_size = 8, .count = 1, .order = order);
    unwatch(&w);
    w = watch("dfa", "softmax_cross_entropy");
    CHECK(fa_train_steps(&m, w.net, &s, &before_it) == FA_OK, "only the call's own window is read");
    free(w.state);
    fa_net_free(w.net);
}

/* ---- numbers that are not finite ---- */

static void not_finite(fa_net *net, const fa_samples *s, const char *what)
{
    void *before = state_of(net);
    double loss = -1;
    CHECK(fa_train_batch(&loss, net, s) == FA_E_NONFINITE && loss == -1, "%s: train_batch", what);
    CHECK(strstr(fa_last_error(), "not finite"), "%s: message", what);
    CHECK(in_state(net, before), "%s: state unchanged bit for bit", what);
    fa_metrics m;
    CHECK(fa_train_steps(&m, net, s, &EPOCH(.batch_size = 8, .count = 2)) == FA_E_NONFINITE,
          "%s: train_steps", what);
    CHECK(m.steps == 0 && m.rows == 0 && in_state(net, before), "%s: no step was done", what);
    void *grads[MOST_TENSORS] = {NULL};
    CHECK(fa_gradients(&loss, grads, net, s) == FA_E_NONFINITE && loss == -1, "%s: gradients",
          what);
    free(before);
}

static void test_not_finite(void)
{
    static const char *const names[] = {"sgd", "adam"};
    for (int rule = 0; rule < n_rules; rule++)
        for (int kind = 0; kind < 4; kind++) {
            recipe r;
            recipe_init(&r, rules[rule], FA_F32);
            r.optimizer.name = names[kind % 2];
            r.optimizer.clip_norm = kind / 2;
            r.desc.n_threads = 2;
            fa_net *net = make(&r.desc), *twin = make(&r.desc);
            const fa_samples s = labelled(&data, 0, ROWS);
            float *bias = fa_net_tensor(net, 5).data;
            const float fine = bias[3];
            bias[3] = kind % 2 ? NAN : INFINITY;
            not_finite(net, &s, rules[rule]);
            bias[3] = fine;
            double loss[2];
            CHECK(fa_train_batch(&loss[0], net, &s) == FA_OK &&
                      fa_train_batch(&loss[1], twin, &s) == FA_OK,
                  "mended");
            CHECK(same_state(net, twin) && loss[0] == loss[1],
                  "%s: trains on as if nothing had been", rules[rule]);
            fa_net_free(net);
            fa_net_free(twin);
        }
}

/* The loss is finite, the gradient is not: clipping notices before anything is updated. */
static void test_norm_not_finite(void)
{
    fa_layer_desc layers[] = {fa_dense(3, "linear")};
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = 2, desc.layers = layers, desc.n_layers = 1, desc.loss = "mse";
    fa_optimizer_desc clipping = fa_optimizer_of("sgd", 0.1);
    clipping.clip_norm = 1;
    desc.optimizer = &clipping;
    fa_net *net = make(&desc);
    void *before = state_of(net);
    const float x[] = {3e38f, 0}, y[] = {1e19f, 0, 0};
    fa_samples s = SAMPLES(.x = x, .ldx = 2, .y = y, .ldy = 3, .n = 1);
    memset(fa_net_tensor(net, 0).data, 0, 6 * sizeof(float));
    free(before);
    before = state_of(net);
    double loss;
    CHECK(fa_train_batch(&loss, net, &s) == FA_E_NONFINITE && strstr(fa_last_error(), "norm"),
          "gradient of -inf");
    CHECK(in_state(net, before), "state unchanged bit for bit");
    free(before);
    fa_net_free(net);
}

/* Steps before the bad batch count; the bad one does not. */
static void stop_at(float value, const char *optimizer, int64_t batch)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32); /* tanh: an infinite input gives a finite loss */
    r.optimizer.name = optimizer;
    fa_net *net = make(&r.desc), *twin = make(&r.desc);
    float x[ROWS * N_IN];
    memcpy(x, data.x, sizeof x);
    x[20 * N_IN + N_IN - 1] = value;
    fa_samples s = labelled(&data, 0, ROWS);
    fa_metrics m, expected;
    const int64_t good = 20 / batch;
    CHECK(fa_train_steps(&expected, twin, &s, &EPOCH(.batch_size = batch, .count = good)) == FA_OK,
          "twin");
    s.x = x;
    CHECK(fa_train_steps(&m, net, &s, &EPOCH(.batch_size = batch, .count = good + 2)) ==
              FA_E_NONFINITE,
          "bad batch");
    CHECK(m.steps == good && m.rows == good * batch && m.loss == expected.loss,
          "metrics count %lld steps", (long long)good);
    CHECK(same_state(net, twin) && fa_net_steps(net) == good,
          "%g, %s, batch %lld: the state after the good steps", (double)value, optimizer,
          (long long)batch);
    fa_net_free(net);
    fa_net_free(twin);
}

static void test_not_finite_later(void)
{
    const float values[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++)
        for (int64_t batch = 1; batch <= 8; batch += 7) {
            stop_at(values[i], "sgd", batch);
            stop_at(values[i], "rmsprop", batch);
        }
}

int main(void)
{
    data = dataset_new(FA_F32, ROWS);
    RUN(test_sample_shapes);
    RUN(test_labels);
    RUN(test_one_output);
    RUN(test_values);
    RUN(test_probabilities);
    RUN(test_check_of_a_part);
    RUN(test_checked);
    RUN(test_epochs);
    RUN(test_not_finite);
    RUN(test_norm_not_finite);
    RUN(test_not_finite_later);
    dataset_free(&data);
    CHECK(live_bytes() == 0, "all memory returned");
    return finish();
}

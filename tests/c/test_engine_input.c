/* Bad input at every door: FA_E_VALUE with the argument's name in the message, nothing changed,
 * nothing leaked; NULL where a pointer is needed; numbers that are not finite. */
#include "check.h"

enum { ROWS = 30 };

static dataset data;

static int64_t live_bytes(void)
{
    int64_t live, count;
    fa_memory(&live, &count);
    return live;
}

/* ---- descriptions ---- */

/* The description is refused, with `name` in the message; the output stays as it was. */
static void refuse(int line, const fa_net_desc *desc, const char *name)
{
    fa_net *const untouched = (fa_net *)&data;
    fa_net *net = untouched;
    const int64_t live = live_bytes();
    const fa_status status = fa_net_create(&net, desc);
    CHECK(status == FA_E_VALUE, "line %d: status %s", line, fa_status_name(status));
    CHECK(strstr(fa_last_error(), name) != NULL, "line %d: expected '%s' in the message", line,
          name);
    CHECK(net == untouched, "line %d: output written", line);
    CHECK(live_bytes() == live, "line %d: leak", line);
    if (status == FA_OK) fa_net_free(net);
}

/* A fine description with one assignment to it is refused. */
#define REFUSE(assignment, name)                                                                   \
    do {                                                                                           \
        recipe r;                                                                                  \
        recipe_init(&r, "dfa", FA_F32);                                                            \
        assignment;                                                                                \
        refuse(__LINE__, &r.desc, name);                                                           \
    } while (0)

static void test_head(void)
{
    REFUSE(r.desc.struct_size = 0, "desc: struct_size");
    REFUSE(r.desc.struct_size += 8, "newer");
    REFUSE(r.desc.dtype = FA_U8, "dtype");
    REFUSE(r.desc.dtype = (fa_dtype)77, "dtype");
    REFUSE(r.desc.n_in = 0, "n_in");
    REFUSE(r.desc.n_in = -1, "n_in");
    REFUSE(r.desc.n_in = (int64_t)1 << 40, "n_in");
    REFUSE(r.desc.layers = NULL, "layers");
    REFUSE(r.desc.n_layers = 0, "layers");
    REFUSE(r.desc.n_layers = -1, "layers");
    REFUSE(r.desc.n_layers = 5000, "layers");
    REFUSE(r.desc.loss = NULL, "loss");
    REFUSE(r.desc.loss = "hinge", "'hinge'");
    REFUSE(r.desc.n_threads = -1, "n_threads");
    REFUSE(r.desc.n_threads = 1000, "n_threads");
    REFUSE(r.desc.input_scale = NAN, "input_scale");
    REFUSE(r.desc.input_scale = -INFINITY, "input_scale");
}

static void test_layers(void)
{
    REFUSE(r.layers[FIRST].type = NULL, "layer 0: type");
    REFUSE(r.layers[SECOND].type = "conv", "layer 2: type");
    REFUSE(r.layers[FIRST].units = 0, "layer 0: units");
    REFUSE(r.layers[SECOND].units = -7, "layer 2: units");
    REFUSE(r.layers[SECOND].units = (int64_t)1 << 40, "layer 2: units");
    REFUSE(r.layers[FIRST].activation = NULL, "layer 0: activation");
    REFUSE(r.layers[FIRST].activation = "softmax", "layer 0: activation");
    REFUSE(r.layers[FIRST].activation = "", "layer 0: activation");
    REFUSE(r.layers[LAST].activation = "tanh", "layer 3: activation");
    REFUSE(r.layers[LAST].activation = "sign"; r.desc.loss = "mse", "layer 3: activation");
    REFUSE(r.layers[FIRST].activation = "threshold", "layer 0: activation");
    REFUSE(r.layers[SECOND].lr_scale = -1, "layer 2: lr_scale");
    REFUSE(r.layers[SECOND].lr_scale = NAN, "layer 2: lr_scale");
    REFUSE(r.layers[SECOND].lr_scale = INFINITY, "layer 2: lr_scale");
    REFUSE(r.layers[SECOND].bias_lr_scale = -1, "bias_lr_scale");
    REFUSE(r.layers[SECOND].bias_lr_scale = INFINITY, "bias_lr_scale");
    REFUSE(r.layers[DROPOUT].rate = 1, "layer 1: rate");
    REFUSE(r.layers[DROPOUT].rate = -0.1, "layer 1: rate");
    REFUSE(r.layers[DROPOUT].rate = NAN, "layer 1: rate");
    REFUSE(r.desc.n_layers = 2, "layer 1: the last layer");
    REFUSE(r.layers[LAST].units = 1, "layer 3: units");
}

static void test_initial_values(void)
{
    static const float values[N_IN * N_HIDDEN_1];
    REFUSE(r.layers[FIRST].weight_init.name = "xavier", "layer 0: weight_init");
    REFUSE(r.layers[FIRST].weight_init = ((fa_init){.name = "normal", .scale = -1}),
           "layer 0: weight_init");
    REFUSE(r.layers[FIRST].weight_init = ((fa_init){.name = "normal", .scale = NAN}),
           "layer 0: weight_init");
    REFUSE(r.layers[FIRST].weight_init =
               ((fa_init){.values = values, .rows = N_HIDDEN_1, .cols = N_IN}),
           "layer 0: weight_init");
    REFUSE(r.layers[FIRST].weight_init =
               ((fa_init){.values = values, .rows = -N_IN, .cols = -N_HIDDEN_1}),
           "layer 0: weight_init");
    REFUSE(r.layers[LAST].bias_init.name = "", "layer 3: bias_init");
    REFUSE(r.layers[LAST].bias_init = ((fa_init){.name = "uniform", .scale = INFINITY}),
           "layer 3: bias_init");
    REFUSE(r.layers[LAST].bias_init = ((fa_init){.values = values, .rows = N_OUT, .cols = 1}),
           "layer 3: bias_init");
    REFUSE(r.rule.feedback.name = "glorot", "feedback");
    REFUSE(r.rule.feedback.scale = NAN, "feedback");
    REFUSE(r.rule.feedback =
               ((fa_init){.values = values, .scale = 1, .rows = N_OUT, .cols = N_OUT}),
           "layer 0: feedback");
    REFUSE(r.rule.name = "fa";
           r.rule.feedback =
               ((fa_init){.values = values, .scale = 1, .rows = N_OUT, .cols = N_HIDDEN_1}),
           "layer 0: feedback");
}

static void test_rules(void)
{
    static const fa_rule_desc unknown = RULE(.name = "hebb"), none = RULE(.name = NULL),
                              fine = RULE(.name = "fa", .feedback.scale = 1),
                              both = RULE(.name = "dfa", .inject = "both", .feedback.scale = 1);
    REFUSE(r.rule.name = NULL, "rule");
    REFUSE(r.rule.name = "bp", "'bp'");
    REFUSE(r.rule.inject = "mid", "layer 0: inject");
    REFUSE(r.rule.inject = "pre"; r.rule.name = "fa", "layer 0: inject");
    REFUSE(r.rule.inject = "pre"; r.rule.name = "backprop", "layer 0: inject");
    REFUSE(r.layers[SECOND].rule = &unknown, "layer 2: rule");
    REFUSE(r.layers[SECOND].rule = &none, "layer 2: rule");
    REFUSE(r.layers[SECOND].rule = &both, "layer 2: inject");
    REFUSE(r.layers[LAST].rule = &fine, "layer 3: rule");
    REFUSE(r.layers[LAST].rule = &none, "layer 3: rule");
    REFUSE(r.desc.n_layers = 1; r.layers[0] = r.layers[LAST];
           r.rule.name = "nothing", "rule"); /* no layer uses it */
}

static void test_optimizers(void)
{
#define O r.optimizer
    REFUSE(O.name = NULL, "optimizer");
    REFUSE(O.name = "lion", "'lion'");
    REFUSE(O.lr = -1, "lr");
    REFUSE(O.lr = NAN, "lr");
    REFUSE(O.lr = INFINITY, "lr");
    REFUSE(O.momentum = 1, "momentum");
    REFUSE(O.momentum = -0.5, "momentum");
    REFUSE(O.nesterov = 1, "nesterov");
    REFUSE(O.weight_decay = -1, "weight_decay");
    REFUSE(O.weight_decay = NAN, "weight_decay");
    REFUSE(O.clip_norm = -1, "clip_norm");
    REFUSE(O.clip_norm = INFINITY, "clip_norm");
    REFUSE(O.name = "rmsprop"; O.alpha = 1, "alpha");
    REFUSE(O.name = "rmsprop"; O.eps = 0, "eps");
    REFUSE(O.name = "rmsprop"; O.momentum = NAN, "momentum");
    REFUSE(O.name = "adam"; O.beta1 = 1, "beta1");
    REFUSE(O.name = "adam"; O.beta2 = -1, "beta2");
    REFUSE(O.name = "adamw"; O.eps = -1, "eps");
    REFUSE(O.name = "adamw"; O.eps = INFINITY, "eps");
#undef O
}

/* Sizes that no memory holds are refused without trying, and without overflow. */
static void test_too_large(void)
{
    fa_layer_desc layers[] = {fa_dense(INT32_MAX, "tanh"), fa_dense(INT32_MAX, "tanh"),
                              fa_dense(2, "linear")};
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = INT32_MAX, desc.layers = layers, desc.n_layers = 3;
    const int64_t live = live_bytes();
    fa_net *net = NULL;
    CHECK(fa_net_create(&net, &desc) == FA_E_MEMORY && !net, "2^62 weights");
    desc.dtype = FA_F64;
    CHECK(fa_net_create(&net, &desc) == FA_E_MEMORY && !net, "2^62 weights of 8 bytes");
    CHECK(live_bytes() == live, "leak");
}

/* ---- samples ---- */

typedef struct {
    fa_net *net;
    void *state;
} watched;

static watched watch(const char *rule, const char *loss)
{
    recipe r;
    recipe_init(&r, rule, FA_F32);
    r.desc.loss = loss;
    watched w = {make(&r.desc), NULL};
    w.state = state_of(w.net);
    return w;
}

static void unwatch(watched *w)
{
    CHECK(in_state(w->net, w->state), "the network is as it was");
    free(w->state);
    fa_net_free(w->net);
}

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
    REFUSE_SAMPLES(fine, s.x = NULL, "X", SHAPE);
    REFUSE_SAMPLES(fine, s.ldx = N_IN - 1, "X", SHAPE);
    REFUSE_SAMPLES(fine, s.ldx = -N_IN, "X", SHAPE);
    REFUSE_SAMPLES(fine, s.x_dtype = FA_F64, "X", SHAPE);
    REFUSE_SAMPLES(fine, s.x_dtype = (fa_dtype)9, "X", SHAPE);
    REFUSE_SAMPLES(rows, s.ldy = N_OUT - 1, "y", TARGET);
    REFUSE_SAMPLES(rows, s.labels = data.labels, "y", TARGET);
    fa_samples none = inputs(&data, 0, ROWS);
    for (int i = 0; i < N_DOORS - 1; i++) /* fa_check takes samples for predicting, too */
        if (doors[i].targets)
            CHECK(doors[i].call(w.net, &none) == FA_E_VALUE && strstr(fa_last_error(), "y"),
                  "%s: no y", doors[i].name);
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

/* ---- NULL, and indices out of range ---- */

static void is_value_error(int line, fa_status status, const char *name)
{
    CHECK(status == FA_E_VALUE, "line %d: status %s", line, fa_status_name(status));
    CHECK(strstr(fa_last_error(), name) != NULL, "line %d: expected '%s' in the message", line,
          name);
}
#define VALUE_ERROR(call, name) is_value_error(__LINE__, call, name)

static void test_null(void)
{
    watched w = watch("dfa", "softmax_cross_entropy");
    const fa_samples s = labelled(&data, 0, ROWS);
    const fa_epoch e = EPOCH(.batch_size = 8, .count = 1);
    const fa_net_desc desc = fa_net_defaults();
    double loss;
    fa_metrics m;
    fa_angles angles[2];
    void *grads[6] = {NULL};
    int64_t order[ROWS];
    fa_net *net;
    VALUE_ERROR(fa_net_create(NULL, &desc), "net");
    VALUE_ERROR(fa_net_create(&net, NULL), "desc");
    VALUE_ERROR(fa_train_batch(NULL, w.net, &s), "loss");
    VALUE_ERROR(fa_train_batch(&loss, NULL, &s), "net");
    VALUE_ERROR(fa_train_batch(&loss, w.net, NULL), "samples");
    VALUE_ERROR(fa_train_steps(NULL, w.net, &s, &e), "metrics");
    VALUE_ERROR(fa_train_steps(&m, NULL, &s, &e), "net");
    VALUE_ERROR(fa_train_steps(&m, w.net, NULL, &e), "samples");
    VALUE_ERROR(fa_train_steps(&m, w.net, &s, NULL), "epoch");
    VALUE_ERROR(fa_predict(NULL, N_OUT, w.net, &s, 0), "out");
    VALUE_ERROR(fa_predict(out, N_OUT - 1, w.net, &s, 0), "out");
    VALUE_ERROR(fa_predict(out, N_OUT, NULL, &s, 0), "net");
    VALUE_ERROR(fa_evaluate(NULL, w.net, &s), "metrics");
    VALUE_ERROR(fa_evaluate(&m, NULL, &s), "net");
    VALUE_ERROR(fa_gradients(NULL, grads, w.net, &s), "loss");
    VALUE_ERROR(fa_gradients(&loss, NULL, w.net, &s), "grads");
    VALUE_ERROR(fa_gradients(&loss, grads, NULL, &s), "net");
    VALUE_ERROR(fa_deltas(NULL, w.net, &s), "deltas");
    VALUE_ERROR(fa_deltas(grads, NULL, &s), "net");
    VALUE_ERROR(fa_alignment(NULL, w.net, &s), "angles");
    VALUE_ERROR(fa_alignment(angles, NULL, &s), "net");
    VALUE_ERROR(fa_check(NULL, &s), "net");
    VALUE_ERROR(fa_shuffle(NULL, w.net, ROWS), "order");
    VALUE_ERROR(fa_shuffle(order, NULL, ROWS), "net");
    VALUE_ERROR(fa_shuffle(order, w.net, 0), "n:");
    VALUE_ERROR(fa_shuffle(order, w.net, -4), "n:");
    VALUE_ERROR(fa_net_reset(NULL), "net");
    VALUE_ERROR(fa_net_get_state(NULL, w.net), "state");
    VALUE_ERROR(fa_net_get_state(out, NULL), "net");
    VALUE_ERROR(fa_net_set_state(w.net, NULL, fa_net_state_size(w.net)), "state");
    VALUE_ERROR(fa_net_set_state(NULL, out, 8), "net");
    VALUE_ERROR(fa_net_set_state(w.net, w.state, fa_net_state_size(w.net) - 1), "state");
    VALUE_ERROR(fa_net_write(NULL, 0, out), "net");
    VALUE_ERROR(fa_net_write(w.net, 0, NULL), "tensor 0");
    VALUE_ERROR(fa_net_write(w.net, -1, out), "tensor -1");
    VALUE_ERROR(fa_net_write(w.net, fa_net_n_tensors(w.net), out), "tensor");
    VALUE_ERROR(fa_net_set_lr(NULL, 1), "net");
    VALUE_ERROR(fa_net_set_lr(w.net, -1), "lr");
    VALUE_ERROR(fa_net_set_lr(w.net, NAN), "lr");
    VALUE_ERROR(fa_net_set_lr(w.net, INFINITY), "lr");
    VALUE_ERROR(fa_feedback_matrix(NULL, w.net, 0), "out");
    VALUE_ERROR(fa_feedback_matrix(out, NULL, 0), "net");
    VALUE_ERROR(fa_feedback_matrix(out, w.net, -1), "block");
    VALUE_ERROR(fa_feedback_matrix(out, w.net, 2), "block");
    VALUE_ERROR(fa_set_num_threads(-1), "threads");
    VALUE_ERROR(fa_set_num_threads(65), "threads");
    fa_net_free(NULL);
    unwatch(&w);
}

static void test_null_when_looking(void)
{
    CHECK(fa_net_n_tensors(NULL) == 0 && fa_net_tensor(NULL, 0).data == NULL, "tensors");
    CHECK(fa_net_n_blocks(NULL) == 0, "blocks");
    CHECK(fa_net_counts(NULL).forward == 0 && fa_net_steps(NULL) == 0 && fa_net_epochs(NULL) == 0,
          "counters");
    CHECK(fa_net_lr(NULL) == 0 && fa_net_threads(NULL) == 0 && fa_net_state_size(NULL) == 0,
          "sizes");
    CHECK(fa_name(FA_NAMES_RULE, -1) == NULL && fa_name(FA_NAMES_LOSS, 99) == NULL &&
              fa_name((fa_names)50, 0) == NULL,
          "names");
    CHECK(fa_default_init(NULL) == NULL && fa_default_init("softmax") == NULL, "default_init");
    watched w = watch("frozen", "mse");
    CHECK(fa_net_tensor(w.net, -1).key == NULL && fa_net_tensor(w.net, 1000).key == NULL,
          "tensor out of range");
    fa_block_info info = {.struct_size = sizeof info, .layer = -7};
    VALUE_ERROR(fa_net_block(&info, w.net, -1), "block");
    VALUE_ERROR(fa_net_block(&info, w.net, 3), "block");
    VALUE_ERROR(fa_net_block(NULL, w.net, 0), "info");
    CHECK(info.layer == -7, "block out of range");
    VALUE_ERROR(fa_feedback_matrix(out, w.net, 0), "layer 0: rule 'frozen'");
    unwatch(&w);
}

/* Every name that the library lists is taken. */
static void test_names(void)
{
    const char *name;
    for (int i = 0; (name = fa_name(FA_NAMES_RULE, i)); i++) {
        recipe r;
        recipe_init(&r, name, FA_F32);
        if (strcmp(name, "custom"))
            fa_net_free(make(&r.desc));
        else
            refuse(__LINE__, &r.desc, "expected a function"); /* its signal is the caller's */
    }
    for (int i = 0; (name = fa_name(FA_NAMES_ACTIVATION, i)); i++) {
        recipe r;
        recipe_init(&r, "drtp", FA_F32);
        r.rule.inject = "pre";
        r.layers[FIRST].activation = name;
        CHECK(fa_default_init(name) != NULL, "%s: default initialiser", name);
        fa_net_free(make(&r.desc));
    }
    for (int i = 0; (name = fa_name(FA_NAMES_INITIALIZER, i)); i++) {
        recipe r;
        recipe_init(&r, "fa", FA_F32);
        r.layers[FIRST].weight_init = r.layers[FIRST].bias_init =
            (fa_init){.name = name, .scale = 1};
        fa_net_free(make(&r.desc));
    }
    for (int i = 0; (name = fa_name(FA_NAMES_OPTIMIZER, i)); i++) {
        recipe r;
        recipe_init(&r, "fa", FA_F32);
        r.optimizer.name = name;
        fa_net_free(make(&r.desc));
    }
    CHECK(!strcmp(fa_name(FA_NAMES_LAYER, 1), "dropout") &&
              !strcmp(fa_name(FA_NAMES_DISTRIBUTION, 0), "uniform") &&
              !strcmp(fa_name(FA_NAMES_LOSS, 2), "mse"),
          "names in order");
}

/* A description may change or go away after the network was made. */
static void test_description_is_copied(void)
{
    recipe *r = malloc(sizeof *r);
    recipe_init(r, "dfa", FA_F32);
    char *names[4] = {strdup("dfa"), strdup("tanh"), strdup("normal"), strdup("he_normal")};
    float *values = malloc(N_IN * N_HIDDEN_1 * sizeof *values);
    for (int i = 0; i < N_IN * N_HIDDEN_1; i++) values[i] = (float)i / 3000;
    fa_rule_desc *own = malloc(sizeof *own);
    *own = (fa_rule_desc)RULE(.name = names[0], .feedback = {.name = names[2], .scale = 2});
    r->layers[FIRST].activation = names[1];
    r->layers[FIRST].rule = own;
    r->layers[FIRST].weight_init = (fa_init){.values = values, .rows = N_IN, .cols = N_HIDDEN_1};
    r->layers[SECOND].weight_init = (fa_init){.name = names[3], .scale = 0.5};
    fa_net *net = make(&r->desc);
    void *first = state_of(net);
    for (int i = 0; i < 4; i++) free(names[i]);
    free(values);
    free(own);
    free(r);
    CHECK(fa_net_reset(net) == FA_OK && in_state(net, first),
          "reset draws the same without the description");
    const fa_block_info b = block_of(net, 0);
    CHECK(!strcmp(b.rule, "dfa") && !strcmp(b.activation, "tanh") && !strcmp(b.feedback, "normal"),
          "names are the library's");
    free(first);
    fa_net_free(net);
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
    void *grads[6] = {NULL};
    CHECK(fa_gradients(&loss, grads, net, s) == FA_E_NONFINITE && loss == -1, "%s: gradients",
          what);
    free(before);
}

static void test_not_finite(void)
{
    static const char *const names[] = {"sgd", "adam"};
    for (int rule = 0; rule < N_RULES; rule++)
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
    RUN(test_head);
    RUN(test_layers);
    RUN(test_initial_values);
    RUN(test_rules);
    RUN(test_optimizers);
    RUN(test_too_large);
    RUN(test_sample_shapes);
    RUN(test_labels);
    RUN(test_one_output);
    RUN(test_values);
    RUN(test_probabilities);
    RUN(test_epochs);
    RUN(test_null);
    RUN(test_null_when_looking);
    RUN(test_names);
    RUN(test_description_is_copied);
    RUN(test_not_finite);
    RUN(test_norm_not_finite);
    RUN(test_not_finite_later);
    dataset_free(&data);
    CHECK(live_bytes() == 0, "all memory returned");
    return finish();
}

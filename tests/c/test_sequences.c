/* Batches of sequences: recurrent layers against their formulas written out, for every way back
 * through time, and against finite differences; threads; what is refused. Streams:
 * test_recurrent.c. */
#include "check.h"

enum { IN = 4, UNITS = 5, CLASSES = 20, LONG = 600, MOST_STEPS = 3 * LONG };

typedef struct {
    fa_option options[2];
    fa_layer_desc layers[3];
    fa_rule_desc rule;
    fa_net_desc desc;
} sequence_recipe;

static void recipe_sequences(sequence_recipe *r, const char *time, double leak, const char *rule,
                             fa_dtype dtype)
{
    r->options[0] = (fa_option){"leak", leak, NULL};
    r->options[1] = (fa_option){"time", 0, time};
    r->layers[0] = fa_recurrent(UNITS, "tanh");
    r->layers[0].options = r->options, r->layers[0].n_options = 2;
    r->layers[1] = fa_dense(CLASSES, "linear");
    r->rule = fa_rule_of(rule);
    r->desc = fa_net_defaults();
    r->desc.n_in = IN, r->desc.layers = r->layers, r->desc.n_layers = 2, r->desc.rule = &r->rule;
    r->desc.dtype = dtype, r->desc.seed = 5, r->desc.n_threads = 1;
}

static struct {
    double x[MOST_STEPS * IN], weights[MOST_STEPS];
    float narrow[MOST_STEPS * IN];
    int64_t labels[MOST_STEPS];
} data;

/* About a third of the steps have no target. */
static void fill_data(void)
{
    random_state = 77;
    for (int i = 0; i < MOST_STEPS * IN; i++)
        data.x[i] = data.narrow[i] = (float)(2 * random_unit() - 1);
    for (int i = 0; i < MOST_STEPS; i++) {
        data.labels[i] = random_below(3) ? random_below(CLASSES) : -1;
        data.weights[i] = 0.5 + random_unit();
    }
}

/* n sequences of `steps` steps, with a target at every step. */
static fa_samples sequences(fa_dtype dtype, int64_t n, int64_t steps)
{
    const void *x = dtype == FA_F64 ? (const void *)data.x : data.narrow;
    fa_samples s = fa_samples_of(x, IN, dtype, n);
    s.time_steps = steps, s.every_step = 1, s.labels = data.labels, s.weights = data.weights;
    return s;
}

/* ---- formulas ---- */

/* The values of a tensor in double. */
static void read_values(double *to, const fa_net *net, const char *key)
{
    const fa_tensor t = fa_net_tensor(net, fa_net_find(net, key));
    REQUIRE(t.data, "there is a tensor %s", key);
    for (int64_t i = 0; i < t.rows * t.cols; i++)
        to[i] =
            fa_net_description(net)->dtype == FA_F64 ? ((double *)t.data)[i] : ((float *)t.data)[i];
}

typedef struct {
    double w[IN * UNITS], u[UNITS * UNITS], b[UNITS], top[UNITS * CLASSES], c[CLASSES];
    double k[UNITS * UNITS]; /* from D_{t+1} to G_t */
    double share;            /* of G_{t+1} */
    double leak;
    double feedback[CLASSES * UNITS];
    bool of_signs; /* the rule sends signs of errors */
} formula;

static formula formula_of(const fa_net *net, const char *time, double leak)
{
    formula o = {.leak = leak};
    const fa_dtype dtype = fa_net_description(net)->dtype;
    double b[CLASSES * UNITS], r[UNITS * UNITS] = {0};
    read_values(o.w, net, "0.weight"), read_values(o.u, net, "0.recurrent");
    read_values(o.b, net, "0.bias"), read_values(o.top, net, "1.weight");
    read_values(o.c, net, "1.bias");
    REQUIRE(fa_feedback_matrix(b, net, 0) == FA_OK, "feedback");
    for (int i = 0; i < CLASSES * UNITS; i++)
        o.feedback[i] = dtype == FA_F64 ? b[i] : ((float *)b)[i];
    o.of_signs = !strcmp(block_of(net, 0).rule, "sdfa");
    const bool stored = !strcmp(time, "fa") || !strcmp(time, "kp");
    if (stored) read_values(r, net, "0.recurrent_feedback");
    for (int i = 0; i < UNITS; i++)
        for (int j = 0; j < UNITS; j++) {
            const double u = o.u[j * UNITS + i];
            o.k[i * UNITS + j] = stored                      ? r[i * UNITS + j]
                                 : !strcmp(time, "bptt")     ? u
                                 : !strcmp(time, "diagonal") ? (i == j ? u : 0)
                                 : !strcmp(time, "sign")     ? ((u > 0) - (u < 0)) / sqrt(UNITS)
                                                             : 0;
        }
    o.share = !strcmp(time, "broadcast") ? 1 : !strcmp(time, "none") ? 0 : 1 - leak;
    return o;
}

/* The error of one step; zeros without a target. */
static void error_of(double *e, const formula *o, const double *h, int64_t label)
{
    double z[CLASSES], sum = 0;
    for (int k = 0; k < CLASSES; k++) {
        z[k] = o->c[k];
        for (int j = 0; j < UNITS; j++) z[k] += h[j] * o->top[j * CLASSES + k];
        sum += exp(z[k]);
    }
    for (int k = 0; k < CLASSES; k++) e[k] = label < 0 ? 0 : exp(z[k]) / sum - (k == label);
}

/* The deltas of the recurrent layer over one sequence. */
static void expect_deltas(double *d, const formula *o, const double *x, const int64_t *labels,
                          int64_t steps)
{
    static double h[LONG + 1][UNITS], f[LONG][UNITS];
    double g[UNITS] = {0};
    memset(h, 0, sizeof h);
    for (int64_t t = 0; t < steps; t++)
        for (int j = 0; j < UNITS; j++) {
            double a = o->b[j];
            for (int i = 0; i < IN; i++) a += x[t * IN + i] * o->w[i * UNITS + j];
            for (int i = 0; i < UNITS; i++) a += h[t][i] * o->u[i * UNITS + j];
            f[t][j] = tanh(a);
            h[t + 1][j] = (1 - o->leak) * h[t][j] + o->leak * f[t][j];
        }
    for (int64_t t = steps; t-- > 0;) {
        double e[CLASSES];
        error_of(e, o, h[t + 1], labels[t]);
        for (int j = 0; j < UNITS; j++) {
            g[j] *= o->share;
            for (int k = 0; k < CLASSES; k++)
                g[j] += (o->of_signs ? (e[k] > 0) - (e[k] < 0) : e[k]) * o->feedback[k * UNITS + j];
            for (int i = 0; i < UNITS && t + 1 < steps; i++)
                g[j] += d[(t + 1) * UNITS + i] * o->k[i * UNITS + j];
        }
        for (int j = 0; j < UNITS; j++) d[t * UNITS + j] = o->leak * (1 - f[t][j] * f[t][j]) * g[j];
    }
}

static void compare_deltas(const fa_net *net, const char *time, double leak, int64_t n,
                           int64_t steps, const char *what)
{
    static double expected[MOST_STEPS * UNITS], found[MOST_STEPS * UNITS];
    const formula o = formula_of(net, time, leak);
    const fa_dtype dtype = fa_net_description(net)->dtype;
    const fa_samples s = sequences(dtype, n, steps);
    void *deltas[2] = {found, NULL};
    double largest = 1e-3, worst = 0;
    CHECK(fa_deltas(deltas, net, &s) == FA_OK, "%s: deltas", what);
    for (int64_t i = 0; i < n; i++) {
        double *d = expected + i * steps * UNITS;
        expect_deltas(d, &o, data.x + i * steps * IN, data.labels + i * steps, steps);
        for (int64_t j = 0; j < steps * UNITS; j++) {
            const double v = data.weights[i] * d[j];
            const int64_t at = i * steps * UNITS + j;
            const double by = fabs((dtype == FA_F64 ? found[at] : ((float *)found)[at]) - v);
            largest = fmax(largest, fabs(v));
            worst = by <= worst ? worst : by; /* NaN too */
        }
    }
    CHECK(worst <= (dtype == FA_F64 ? 1e-11 : 1e-4) * largest, "%s, %s, leak %g, %d x %d: %g", what,
          time, leak, (int)n, (int)steps, worst / largest);
}

static void train(fa_net *net, int64_t n, int64_t steps)
{
    const fa_samples s = sequences(fa_net_description(net)->dtype, n, steps);
    double loss = NAN;
    CHECK(fa_train_batch(&loss, net, &s) == FA_OK && isfinite(loss), "train_batch");
}

/* Sequences of more steps than the rows that a rule takes at a time, too. */
static void every_way_back_is_its_formula(void)
{
    static const char *const times[] = {"bptt",     "kp",   "fa",   "sign",
                                        "diagonal", "leak", "none", "broadcast"};
    static const char *const of[] = {"backprop", "dfa", "sdfa", "fa", "usf"};
    for (int t = 0; t < 8; t++)
        for (int i = 0; i < 10; i++) {
            sequence_recipe r;
            const double leak = i % 3 ? 0.4 : 1;
            recipe_sequences(&r, times[t], leak, of[i / 2], dtypes[i % 2]);
            fa_net *net = make(&r.desc);
            compare_deltas(net, times[t], leak, 3, 7, of[i / 2]);
            train(net, 3, 7);
            compare_deltas(net, times[t], leak, 1, 1, of[i / 2]);
            if (i % 2 && strcmp(times[t], "broadcast"))
                compare_deltas(net, times[t], leak, 2, LONG, of[i / 2]);
            fa_net_free(net);
        }
}

static void whole_time_is_the_derivative(void)
{
    static double gradients[MOST_TENSORS][UNITS * CLASSES];
    const double step = 1e-5;
    sequence_recipe r;
    void *grads[MOST_TENSORS], *none[MOST_TENSORS] = {NULL};
    double loss, up, down;
    recipe_sequences(&r, "bptt", 0.4, "backprop", FA_F64);
    r.layers[2] = r.layers[1], r.layers[1] = fa_recurrent(4, "softplus"), r.desc.n_layers = 3;
    fa_net *net = make(&r.desc);
    const fa_samples s = sequences(FA_F64, 3, 6);
    for (int i = 0; i < MOST_TENSORS; i++) grads[i] = gradients[i];
    CHECK(fa_gradients(&loss, grads, net, &s) == FA_OK, "gradients");
    for (int64_t t = 0; t < fa_net_n_tensors(net); t++) {
        const fa_tensor p = fa_net_tensor(net, t);
        double *v = p.data;
        for (int64_t i = 0; i < p.rows * p.cols && p.trainable; i++) {
            const double before = v[i];
            v[i] = before + step;
            CHECK(fa_gradients(&up, none, net, &s) == FA_OK, "loss");
            v[i] = before - step;
            CHECK(fa_gradients(&down, none, net, &s) == FA_OK, "loss");
            v[i] = before;
            const double slope = (up - down) / (2 * step);
            CHECK(fabs(gradients[t][i] - slope) < 1e-8 + 1e-6 * fabs(slope), "%s[%d]: %g, slope %g",
                  p.key, (int)i, gradients[t][i], slope);
        }
    }
    fa_net_free(net);
}

static void threads_change_no_bit(void)
{
    static const char *const times[] = {"bptt", "kp", "diagonal", "broadcast"};
    for (int i = 0; i < 8; i++) {
        sequence_recipe r;
        fa_net *nets[3];
        recipe_sequences(&r, times[i / 2], 0.4, i & 1 ? "dfa" : "kp", dtypes[i & 1]);
        for (int n = 0; n < 3; n++) {
            r.desc.n_threads = n + 1;
            nets[n] = make(&r.desc);
            train(nets[n], 40, 9), train(nets[n], 1, 5), train(nets[n], 17, 20);
            if (n) CHECK(same_state(nets[0], nets[n]), "%s: %d threads", times[i / 2], n + 1);
        }
        for (int n = 0; n < 3; n++) fa_net_free(nets[n]);
    }
}

/* ---- calls ---- */

static double value_at(const void *p, fa_dtype dtype, int64_t i)
{ return dtype == FA_F64 ? ((const double *)p)[i] : ((const float *)p)[i]; }

/* Of every step, of the last one, one step after another; and the loss over steps with a target. */
static void check_predictions(const fa_net *net, fa_net *stream, fa_dtype dtype)
{
    enum { N = 13, STEPS = 6, ALL = N * STEPS * CLASSES };
    static char every[ALL * 8], last[ALL * 8];
    double loss = 0, one[CLASSES], low = 1;
    int64_t targets = 0;
    const size_t row = CLASSES * size_of(dtype);
    fa_samples s = sequences(dtype, N, STEPS);
    s.weights = NULL;
    CHECK(fa_predict(every, CLASSES, net, &s, 0) == FA_OK, "predict");
    for (int64_t i = 0; i < N * STEPS; i++) {
        if (i % STEPS == 0) CHECK(fa_stream_reset(stream) == FA_OK, "reset");
        const void *x = (const char *)s.x + (size_t)(i * IN) * size_of(dtype);
        CHECK(fa_stream_step(one, NULL, stream, x, -1, NULL) == FA_OK, "stream");
        for (int k = 0; k < CLASSES; k++) {
            const double p = value_at(every, dtype, i * CLASSES + k);
            CHECK(fabs(value_at(one, dtype, k) - p) < (dtype == FA_F64 ? 1e-14 : 1e-6), "step %d",
                  (int)i);
            low = fmin(low, p);
        }
        if (data.labels[i] < 0) continue;
        loss -= log(value_at(every, dtype, i * CLASSES + data.labels[i])), targets++;
    }
    fa_metrics m;
    CHECK(low > 0 && fa_evaluate(&m, net, &s) == FA_OK && m.rows == targets, "evaluate");
    CHECK(fabs(m.loss - loss) < (dtype == FA_F64 ? 1e-12 : 1e-5) * loss, "%g, %g", m.loss, loss);
    s.every_step = 0;
    CHECK(fa_predict(last, CLASSES, net, &s, 0) == FA_OK, "predict");
    for (int i = 0; i < N; i++)
        CHECK(!memcmp(last + (size_t)i * row, every + (size_t)(i * STEPS + STEPS - 1) * row, row),
              "the last step of sequence %d", i);
}

static void predictions_of_steps_and_streams(void)
{
    static const char *const times[] = {"bptt", "diagonal", "rflo", "none", "frozen"};
    for (int i = 0; i < 10; i++) {
        sequence_recipe r;
        recipe_sequences(&r, times[i / 2], i % 3 ? 0.4 : 1, "dfa", dtypes[i % 2]);
        fa_net *net = make(&r.desc), *copy;
        train(net, 5, 6);
        REQUIRE(fa_net_clone(&copy, net) == FA_OK, "clone");
        check_predictions(net, copy, dtypes[i % 2]);
        fa_net_free(net), fa_net_free(copy);
    }
}

/* Steps of a stream that are too small to matter add up to the gradient of the whole sequence. */
static void a_stream_adds_up_to_the_sequence(void)
{
    static const char *const times[] = {"diagonal", "leak", "none"};
    enum { STEPS = 12 };
    const double lr = 1e-7;
    for (int i = 0; i < 6; i++) {
        static double gradients[MOST_TENSORS][UNITS * CLASSES],
            first[MOST_TENSORS][sizeof *gradients / 8];
        void *grads[MOST_TENSORS];
        sequence_recipe r;
        double loss;
        recipe_sequences(&r, times[i / 2], i % 2 ? 0.3 : 1, "dfa", FA_F64);
        const fa_optimizer_desc slow = fa_optimizer_of("sgd", lr);
        r.desc.optimizer = &slow;
        if (i % 2) r.layers[0].activation = "softplus"; /* f' from a */
        fa_net *net = make(&r.desc);
        fa_samples s = sequences(FA_F64, 1, STEPS);
        s.weights = NULL;
        for (int t = 0; t < MOST_TENSORS; t++) grads[t] = gradients[t];
        CHECK(fa_gradients(&loss, grads, net, &s) == FA_OK, "gradients");
        for (int64_t t = 0; t < fa_net_n_tensors(net); t++)
            CHECK(fa_net_read(first[t], net, t) == FA_OK, "read");
        double targets = 0;
        for (int t = 0; t < STEPS; t++) {
            targets += data.labels[t] >= 0;
            CHECK(fa_stream_step(NULL, &loss, net, data.x + t * IN, data.labels[t], NULL) == FA_OK,
                  "step %d", t);
        }
        for (int64_t t = 0; t < fa_net_n_tensors(net); t++) {
            const fa_tensor p = fa_net_tensor(net, t);
            for (int64_t j = 0; j < p.rows * p.cols && p.trainable; j++) {
                const double fell = (first[t][j] - ((double *)p.data)[j]) / lr;
                CHECK(fabs(fell - targets * gradients[t][j]) < 1e-5, "%s, %s[%d]: %g, %g",
                      times[i / 2], p.key, (int)j, fell, targets * gradients[t][j]);
            }
        }
        fa_net_free(net);
    }
}

/* Rows of targets, NaN without one; bytes; batches of some sequences in another order. */
static void other_samples_of_the_same_numbers(void)
{
    enum { N = 9, STEPS = 5 };
    static double y[N * STEPS * CLASSES], x[N * STEPS * IN], moved[N * STEPS * IN];
    static uint8_t narrow[N * STEPS * IN];
    static int64_t labels[N * STEPS];
    const int64_t order[N] = {4, 0, 8, 2, 7, 1, 3, 6, 5};
    for (int i = 0; i < N * STEPS * IN; i++) x[i] = (narrow[i] = (uint8_t)(i * 37)) / 255.0;
    for (int i = 0; i < N * STEPS; i++)
        for (int k = 0; k < CLASSES; k++)
            y[i * CLASSES + k] = data.labels[i] < 0 ? NAN : k == data.labels[i];
    for (int i = 0; i < N; i++) {
        memcpy(moved + i * STEPS * IN, x + order[i] * STEPS * IN, STEPS * IN * sizeof *x);
        memcpy(labels + i * STEPS, data.labels + order[i] * STEPS, STEPS * sizeof *labels);
    }
    sequence_recipe r;
    double loss[4];
    fa_net *nets[4];
    recipe_sequences(&r, "bptt", 0.4, "backprop", FA_F64);
    for (int i = 0; i < 4; i++) {
        fa_samples s = sequences(FA_F64, N, STEPS);
        s.x = i == 2 ? (const void *)narrow : i == 3 ? moved : x;
        s.x_dtype = i == 2 ? FA_U8 : FA_F64, s.weights = NULL;
        if (i == 1) s.labels = NULL, s.y = y, s.ldy = CLASSES;
        if (i == 3) s.labels = labels;
        nets[i] = make(&r.desc);
        fa_metrics m = {0};
        CHECK(fa_check(nets[i], &s) == FA_OK, "check %d", i);
        const fa_epoch e = EPOCH(.order = i == 3 ? NULL : order, .batch_size = 4, .count = 3);
        CHECK(fa_train_steps(&m, nets[i], &s, &e) == FA_OK && m.steps == 3, "steps %d", i);
        loss[i] = m.loss;
        CHECK(fabs(loss[i] - loss[0]) < 1e-12 * loss[0], "samples %d: %g, %g", i, loss[i], loss[0]);
    }
    CHECK(same_state(nets[0], nets[3]), "an order has the bits of moved rows");
    for (int i = 0; i < 4; i++) fa_net_free(nets[i]);
}

/* ---- what is refused ---- */

static void refuses(int line, const sequence_recipe *r, const char *words)
{
    const int64_t before = live_bytes();
    fa_net *net = NULL;
    CHECK(fa_net_create(&net, &r->desc) == FA_E_VALUE, "line %d", line);
    CHECK(!strcmp(fa_last_error(), words), "line %d: expected: %s", line, words);
    CHECK(!net && live_bytes() == before, "line %d: nothing is kept", line);
}

static void rules_without_a_form_for_sequences(void)
{
    static const char *const of[] = {"drtp", "ifa", "local", "pepita"};
    sequence_recipe r;
    char words[300];
    for (int i = 0; i < 4; i++) {
        recipe_sequences(&r, "bptt", 1, of[i], FA_F32);
        snprintf(
            words, sizeof words,
            "layer 0: rule: expected one that sends errors or deltas step by step in a network "
            "with recurrent layers, such as dfa, fa or backprop, got '%s'",
            of[i]);
        refuses(__LINE__, &r, words);
    }
    recipe_sequences(&r, "bptt", 1, "dfa", FA_F32);
    r.rule.inject = "pre";
    refuses(
        __LINE__, &r,
        "layer 0: inject: expected 'post' in a recurrent layer, got 'pre'; its signal goes back "
        "through time, where f' belongs");
    r.layers[2] = r.layers[1], r.layers[1] = fa_dense(6, "tanh"), r.desc.n_layers = 3;
    r.rule.inject = NULL;
    fa_rule_desc own = fa_rule_of("dfa");
    own.inject = "pre", r.layers[1].rule = &own; /* a Dense layer may */
    fa_net *net = make(&r.desc);
    train(net, 3, 4);
    fa_net_free(net);
}

static void wrong_descriptions(void)
{
    static double values[UNITS * UNITS];
    sequence_recipe r;
    recipe_sequences(&r, "backwards", 1, "dfa", FA_F64);
    refuses(__LINE__, &r,
            "layer 0: time: expected one of bptt, kp, fa, sign, diagonal, leak, none, broadcast, "
            "frozen, got 'backwards'");
    recipe_sequences(&r, "bptt", 1, "dfa", FA_F64);
    r.layers[0].recurrent_init = (fa_init){.values = values, .rows = UNITS, .cols = UNITS - 1};
    refuses(__LINE__, &r, "layer 0: recurrent_init: expected values of shape (5, 5), got (5, 4)");
    r.desc.n_layers = 1;
    r.layers[0].recurrent_init = fa_recurrent(UNITS, "tanh").recurrent_init;
    refuses(__LINE__, &r, "layer 0: the last layer: expected dense, got recurrent");
}

int main(void)
{
    fill_data();
    RUN(every_way_back_is_its_formula);
    RUN(whole_time_is_the_derivative);
    RUN(threads_change_no_bit);
    RUN(predictions_of_steps_and_streams);
    RUN(a_stream_adds_up_to_the_sequence);
    RUN(other_samples_of_the_same_numbers);
    RUN(rules_without_a_form_for_sequences);
    RUN(wrong_descriptions);
    return finish();
}

/* Calls on sequences: orders and batches, bytes, a loss of the user's own, gradients that are
 * applied, steps without a target; what is refused and then changes nothing. */
#include "check.h"

#include "sequences.h"

#define OK(call) REQUIRE((call) == FA_OK, "%s", fa_last_error())

/* ---- the same bits by another way ---- */

static sequences picked(const sequences *d, const int64_t *order, int64_t n)
{
    sequences p = sequences_new(d->dtype, n, d->steps);
    const size_t size = size_of(d->dtype), steps = (size_t)d->steps;
    for (int64_t i = 0; i < n; i++) {
        const size_t from = (size_t)order[i], to = (size_t)i;
        const size_t row = X_COLS * steps * size, y = Z_COLS * size;
        memcpy((char *)p.x + to * row, (char *)d->x + from * row, row);
        memcpy((char *)p.y + to * y, (char *)d->y + from * y, y);
        memcpy((char *)p.y_steps + to * y * steps, (char *)d->y_steps + from * y * steps,
               y * steps);
        memcpy(p.labels_steps + to * steps, d->labels_steps + from * steps,
               steps * sizeof(int64_t));
        p.labels[i] = d->labels[from], p.weights[i] = d->weights[from];
    }
    return p;
}

/* An order, and batches in place, against the sequences of each batch picked by hand. */
static void epochs_are_their_batches(void)
{
    enum { N = 8, BATCH = 3 };
    static const int64_t order[N] = {5, 0, 7, 2, 1, 6, 4, 3}, plain[N] = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int i = 0; i < 4 * N_KINDS; i++) {
        const kind k = (kind)(i % N_KINDS);
        const bool ordered = i / N_KINDS % 2;
        sequences d = sequences_new(dtypes[i / 8], N, 5);
        fa_net *net = stack_net("-rd", "bptt", 0.4, "dfa", d.dtype), *other = NULL;
        OK(fa_net_clone(&other, net));
        const fa_samples s = taught(&d, k, 0, N);
        const fa_epoch e = fa_epoch_of(ordered ? order : NULL, BATCH, 3);
        fa_metrics m, sums = {0};
        OK(fa_train_steps(&m, net, &s, &e));
        for (int64_t r = 0; r < N; r += BATCH) {
            const int64_t n = r + BATCH < N ? BATCH : N - r;
            sequences p = picked(&d, (ordered ? order : plain) + r, n);
            const fa_samples batch = taught(&p, k, 0, n);
            double loss, y[Z_COLS], rows = 0;
            OK(fa_train_batch(&loss, other, &batch));
            for (int64_t j = 0; j < n * 5; j++) rows += ref_target(y, &p, k, j);
            sums.rows += (int64_t)rows, sums.loss += loss * rows;
            sequences_free(&p);
        }
        CHECK(same_state(net, other), "kind %d, ordered %d: state", (int)k, ordered);
        CHECK(m.loss == sums.loss && m.rows == sums.rows && m.steps == 3, "kind %d: sums", (int)k);
        fa_net_free(net), fa_net_free(other);
        sequences_free(&d);
    }
}

static void learn_many_is_batches_of_one(void)
{
    sequences d = sequences_new(FA_F32, 6, 4);
    fa_net *net = stack_net("r", "kp", 0.4, "dfa", FA_F32), *other = NULL;
    OK(fa_net_clone(&other, net));
    const fa_samples s = taught(&d, STEP_ROWS, 0, 6);
    fa_metrics m;
    double loss;
    OK(fa_learn_many(&m, net, &s));
    for (int64_t i = 0; i < 6; i++) {
        const fa_samples one = taught(&d, STEP_ROWS, i, 1);
        OK(fa_train_batch(&loss, other, &one));
    }
    CHECK(m.steps == 6 && same_state(net, other), "state");
    fa_net_free(net), fa_net_free(other);
    sequences_free(&d);
}

static void evaluation_adds_up(void)
{
    sequences d = sequences_new(FA_F64, 300, 2);
    fa_net *net = stack_net("rd", "bptt", 0.4, "dfa", FA_F64);
    for (kind k = LABELS; k < N_KINDS; k++) {
        fa_metrics whole, parts = {0}, threads;
        fa_samples s = taught(&d, k, 0, 300);
        OK(fa_evaluate(&whole, net, &s));
        OK(fa_net_set_threads(net, 3));
        OK(fa_evaluate(&threads, net, &s));
        OK(fa_net_set_threads(net, 1));
        for (int64_t i = 0; i < 300; i += 100) {
            s = taught(&d, k, i, 100);
            s.accumulate = i > 0;
            OK(fa_evaluate(&parts, net, &s));
        }
        CHECK(!memcmp(&whole, &parts, sizeof whole), "kind %d: parts", (int)k);
        CHECK(!memcmp(&whole, &threads, sizeof whole), "kind %d: threads", (int)k);
    }
    fa_net_free(net);
    sequences_free(&d);
}

/* Bytes are divided by 255, in their order and in another; input_scale takes the place of that. */
static void bytes_are_scaled(void)
{
    enum { N = 7, T = 3, ALL = N * T * X_COLS };
    static const int64_t order[N] = {3, 1, 6, 0, 5, 2, 4};
    uint8_t x[ALL];
    sequences d = sequences_new(FA_F64, N, T);
    for (int scaled = 0; scaled < 2; scaled++)
        for (int ordered = 0; ordered < 2; ordered++) {
            stack st;
            stack_init(&st, "r", "leak", 0.4, "dfa", FA_F64);
            fa_net *whole = make(&st.desc);
            st.desc.input_scale = scaled ? 0.01 : 0;
            fa_net *bytes = make(&st.desc);
            for (int64_t i = 0; i < ALL; i++) {
                x[i] = (uint8_t)random_below(256);
                ((double *)d.x)[i] = scaled ? x[i] * 0.01 : x[i] / 255.0;
            }
            const fa_samples s = taught(&d, STEP_LABELS, 0, N);
            fa_samples b = s;
            b.x = x, b.x_dtype = FA_U8;
            const fa_epoch e = fa_epoch_of(ordered ? order : NULL, 2, 4);
            fa_metrics m[2];
            OK(fa_train_steps(&m[0], whole, &s, &e));
            OK(fa_train_steps(&m[1], bytes, &b, &e));
            CHECK(fabs(m[0].loss - m[1].loss) < 1e-13, "%d %d: loss", scaled, ordered);
            double out[2][N * Z_COLS];
            fa_samples of[2] = {s, b};
            for (int i = 0; i < 2; i++) of[i].every_step = 0, of[i].labels = NULL;
            OK(fa_predict(out[0], Z_COLS, whole, &of[0], 0));
            OK(fa_predict(out[1], Z_COLS, bytes, &of[1], 0));
            for (int i = 0; i < N * Z_COLS; i++)
                CHECK(fabs(out[0][i] - out[1][i]) < 1e-12, "%d %d: output", scaled, ordered);
            fa_net_free(whole), fa_net_free(bytes);
        }
    sequences_free(&d);
}

static void gradients_and_then_their_step(void)
{
    for (int t = 0; t < N_TIMES; t++) {
        sequences d = sequences_new(dtypes[t % 2], 70, 5);
        const fa_samples s = taught(&d, (kind)(t % N_KINDS), 0, 70);
        fa_net *net = stack_net("-rdr", times[t], 0.4, "fa", d.dtype), *other = NULL;
        OK(fa_net_clone(&other, net));
        for (int step = 0; step < 2; step++) {
            void *grads[MOST_TENSORS] = {0};
            double losses[2];
            for (int64_t i = 0; i < fa_net_n_tensors(net); i++) {
                const fa_tensor g = fa_net_tensor(net, i);
                if (g.trainable && (g.kind == FA_WEIGHT || g.kind == FA_BIAS))
                    grads[i] = malloc((size_t)(g.rows * g.cols) * size_of(d.dtype));
            }
            OK(fa_gradients(&losses[0], grads, net, &s));
            OK(fa_apply_gradients(net, (const void *const *)grads));
            OK(fa_train_batch(&losses[1], other, &s));
            CHECK(losses[0] == losses[1] && same_state(net, other), "%s: step %d", times[t], step);
            for (int i = 0; i < MOST_TENSORS; i++) free(grads[i]);
        }
        fa_net_free(net), fa_net_free(other);
        sequences_free(&d);
    }
}

/* ---- a loss of the user's own ---- */

typedef struct {
    int64_t rows;
    int fails;
} watcher;

static int half_squares(void *user, const fa_loss_context *t)
{
    watcher *w = user;
    w->rows += t->output.rows;
    for (int64_t i = 0; i < t->output.rows; i++) {
        const double *z = (const double *)t->output.data + i * t->output.ld;
        double *e = (double *)t->error.data + i * t->error.ld, sum = 0;
        for (int64_t j = 0; j < t->output.cols; j++) {
            e[j] = z[j] - (t->labels ? (double)(t->labels[i] == j)
                                     : ((const double *)t->target.data)[i * t->target.ld + j]);
            sum += e[j] * e[j];
        }
        t->losses[i] = sum / 2;
    }
    return w->fails;
}

static void own_losses_see_targets_alone(void)
{
    sequences d = sequences_new(FA_F64, 20, 4);
    for (kind k = LABELS; k < N_KINDS; k++) {
        fa_net *nets[2];
        double losses[2], y[Z_COLS];
        int64_t rows = 0;
        watcher w = {0, 0};
        for (int i = 0; i < 2; i++) {
            stack st;
            stack_init(&st, "-rdr", "bptt", 0.4, "dfa", FA_F64);
            st.desc.loss = i ? "custom" : "mse";
            nets[i] = make(&st.desc);
            OK(fa_net_set_threads(nets[i], 1 + 2 * i));
        }
        OK(fa_net_set_loss(nets[1], half_squares, &w));
        const fa_samples s = taught(&d, k, 0, 20);
        for (int64_t r = 0; r < 80; r++) rows += ref_target(y, &d, k, r);
        for (int step = 0; step < 3; step++)
            for (int i = 0; i < 2; i++) OK(fa_train_batch(&losses[i], nets[i], &s));
        CHECK(losses[0] == losses[1] && same_state(nets[0], nets[1]), "kind %d: bits", (int)k);
        CHECK(w.rows == 3 * rows, "kind %d: %d rows, not 3 x %d", (int)k, (int)w.rows, (int)rows);
        fa_metrics m[2];
        for (int i = 0; i < 2; i++) OK(fa_evaluate(&m[i], nets[i], &s));
        CHECK(m[0].loss == m[1].loss && m[0].rows == rows && w.rows == 4 * rows, "evaluate");
        void *state = state_of(nets[1]);
        w.fails = 1;
        CHECK(fa_train_batch(losses, nets[1], &s) == FA_E_STATE && in_state(nets[1], state),
              "fails");
        free(state);
        fa_net_free(nets[0]), fa_net_free(nets[1]);
    }
    sequences_free(&d);
}

/* ---- steps without a target ---- */

static void batches_without_a_target(void)
{
    sequences d = sequences_new(FA_F64, 6, 4);
    for (int64_t r = 0; r < 24; r++) {
        d.labels_steps[r] = -1;
        for (int j = 0; j < Z_COLS; j++) put(d.y_steps, FA_F64, r * Z_COLS + j, NAN);
    }
    for (kind k = STEP_LABELS; k < N_KINDS; k++) {
        fa_net *net = stack_net("rd", "bptt", 0.4, "backprop", FA_F64);
        const fa_samples s = taught(&d, k, 0, 6);
        double g[MOST_UNITS * MOST_UNITS], loss = -1;
        void *grads[MOST_TENSORS] = {0};
        grads[fa_net_find(net, "0.recurrent")] = g;
        for (int i = 0; i < 36; i++) g[i] = 7;
        OK(fa_gradients(&loss, grads, net, &s));
        CHECK(loss == 0, "loss %g", loss);
        for (int i = 0; i < 36; i++) CHECK(g[i] == 0, "gradient %d: %g", i, g[i]);
        fa_net_free(net);
    }
    sequences_free(&d);
}

/* What an epoch does not check beforehand is no gap: only a whole row of NaN at a step is. */
static void wrong_numbers_are_no_gaps(void)
{
    sequences d = sequences_new(FA_F32, 6, 4);
    fa_net *net = stack_net("rd", "bptt", 0.4, "backprop", FA_F32);
    void *state = state_of(net);
    fa_metrics m = {.rows = -7};
    const fa_epoch e = fa_epoch_of(NULL, 6, 1);
    fa_samples s = taught(&d, STEP_ROWS, 0, 6);
    put(d.y_steps, FA_F32, 0, NAN); /* one of three */
    CHECK(fa_train_steps(&m, net, &s, &e) == FA_E_NONFINITE && m.steps == 0, "one NaN at a step");
    s = taught(&d, ROWS, 0, 6);
    for (int j = 0; j < Z_COLS; j++) put(d.y, FA_F32, Z_COLS + j, NAN);
    CHECK(fa_train_steps(&m, net, &s, &e) == FA_E_NONFINITE && m.steps == 0,
          "NaN at the last step");
    CHECK(in_state(net, state), "nothing was updated");
    double loss = -1;
    for (int every = 0; every < 2; every++) { /* the values are said to be checked */
        s = taught(&d, every ? STEP_LABELS : LABELS, 0, 6), s.checked = 1;
        ((int64_t *)s.labels)[2] = every ? Z_COLS : -1;
        CHECK(fa_train_batch(&loss, net, &s) == FA_E_VALUE && loss == -1 &&
                  strstr(fa_last_error(), "labels that do not change in use"),
              "%d: a label that does not fit", every);
        CHECK(fa_evaluate(&m, net, &s) == FA_E_VALUE, "%d: evaluate", every);
    }
    CHECK(in_state(net, state), "nothing was updated");
    free(state);
    fa_net_free(net);
    sequences_free(&d);
}

/* ---- what is refused ---- */

static sequences wrong; /* 6 x 4, changed and changed back */

static void check_refused(fa_net *net, const fa_samples *s, const char *message)
{
    fa_metrics m = {.rows = -7};
    fa_angles angles[2] = {{.layer = -7}};
    void *none[MOST_TENSORS] = {0}, *state = state_of(net);
    double loss = -7, out[100] = {-7};
    const fa_epoch e = fa_epoch_of(NULL, 2, 1);
    const fa_status got[] = {fa_train_batch(&loss, net, s),
                             fa_train_epoch(&m, net, s, 2),
                             fa_train_steps(&m, net, s, &e),
                             fa_learn_many(&m, net, s),
                             fa_evaluate(&m, net, s),
                             fa_gradients(&loss, none, net, s),
                             fa_deltas(none, net, s),
                             fa_alignment(angles, net, s),
                             fa_predict(out, Z_COLS, net, s, 0),
                             fa_check(net, s)};
    CHECK(strstr(fa_last_error(), message), "expected: %s", message);
    for (size_t i = 0; i < sizeof got / sizeof *got; i++)
        CHECK(got[i] == FA_E_VALUE, "call %d: %s", (int)i, message);
    CHECK(in_state(net, state) && loss == -7 && out[0] == -7 && m.rows == -7 && angles->layer == -7,
          "nothing has changed: %s", message);
    free(state);
}

static void samples_that_do_not_fit(void)
{
    fa_net *net = stack_net("rd", "bptt", 0.4, "dfa", FA_F64);
    stack st;
    stack_init(&st, "dd", "", 1, "dfa", FA_F64);
    fa_net *dense = make(&st.desc);
    const fa_samples good = taught(&wrong, STEP_LABELS, 0, 6);
    const struct {
        fa_net *net;
        int64_t steps, n;
        const char *message;
    } rows[] = {{net, 0, 6, "time_steps: expected 1 to 2147483647"},
                {net, -1, 6, "time_steps: expected 1 to 2147483647"},
                {net, (int64_t)INT32_MAX + 1, 6, "the steps of each sequence, got 2147483648"},
                {dense, 4, 6, "time_steps: expected 0 in a network without a recurrent layer"},
                {dense, -1, 6, "time_steps: expected 0 in a network without a recurrent layer"},
                {net, 4, INT64_MAX / 128, "X: expected fewer sequences, got"},
                {net, INT32_MAX, INT64_MAX, "of 2147483647 steps"},
                {net, 4, 0, "X: expected at least one sample, got 0"},
                {net, 4, -1, "X: expected at least one sample, got -1"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fa_samples s = good;
        s.time_steps = rows[i].steps, s.n = rows[i].n;
        check_refused(rows[i].net, &s, rows[i].message);
    }
    const int64_t columns[1] = {2}, starts[7] = {0, 1, 1, 1, 1, 1, 1};
    fa_samples s = good;
    s.indices = columns, s.indptr = starts, s.index_bytes = 8, s.n_entries = 1;
    check_refused(net, &s, "X: expected a dense array for a network with a recurrent layer");
    fa_net_free(net), fa_net_free(dense);
}

/* Calls that check values: the network is as it was. */
static void refuse_values(fa_net *net, const fa_samples *s, const char *message)
{
    void *state = state_of(net), *none[MOST_TENSORS] = {0};
    fa_metrics m = {.rows = -7};
    double loss = -7;
    CHECK(fa_check(net, s) == FA_E_VALUE && strstr(fa_last_error(), message), "%s", message);
    CHECK(fa_train_batch(&loss, net, s) == FA_E_VALUE, "train: %s", message);
    CHECK(fa_gradients(&loss, none, net, s) == FA_E_VALUE, "gradients: %s", message);
    CHECK(fa_evaluate(&m, net, s) == FA_E_VALUE, "evaluate: %s", message);
    CHECK(in_state(net, state) && loss == -7 && m.rows == -7, "nothing has changed: %s", message);
    free(state);
}

static void values_that_do_not_fit(void)
{
    fa_net *net = stack_net("rd", "bptt", 0.4, "dfa", FA_F64);
    double *const y = wrong.y, *const y_steps = wrong.y_steps, *const x = wrong.x;
    fa_samples s[N_KINDS];
    fa_metrics m;
    for (kind k = LABELS; k < N_KINDS; k++) {
        s[k] = taught(&wrong, k, 0, 6);
        OK(fa_check(net, &s[k]));
    }
    const struct {
        kind k;
        double *at, value;
        const char *message;
    } rows[] = {
        {ROWS, y + 4, NAN, "y: expected finite numbers, got nan at row 1, column 1"},
        {ROWS, y + 4, 2, "y: expected probabilities"},
        {STEP_ROWS, y_steps, NAN, "y: expected finite numbers, got nan at row 0, column 0"},
        {STEP_ROWS, y_steps + 2, INFINITY, "got inf at row 0, column 2"},
        {STEP_ROWS, y_steps + 1, -2, "y: expected probabilities"},
        {STEP_LABELS, x + 23 * X_COLS, NAN, "X: expected finite numbers, got nan at row 23"},
        {LABELS, wrong.weights + 5, -1, "sample_weight: expected finite numbers >= 0"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const double was = *rows[i].at;
        *rows[i].at = rows[i].value;
        refuse_values(net, &s[rows[i].k], rows[i].message);
        *rows[i].at = was;
    }
    for (int every = 0; every < 2; every++)
        for (int64_t bad = every ? -2 : -1; bad <= Z_COLS; bad += every ? Z_COLS + 2 : Z_COLS + 1) {
            int64_t *const label = every ? wrong.labels_steps + 22 : wrong.labels + 4, was = *label;
            const fa_samples *one = &s[every ? STEP_LABELS : LABELS];
            *label = bad;
            refuse_values(net, one, "y: expected labels in 0..2");
            CHECK(fa_train_epoch(&m, net, one, 4) == FA_E_VALUE, "an epoch checks labels");
            *label = was;
        }
    fa_net_free(net);
}

static void descriptions_that_are_refused(void)
{
    static const char *const no_rules[] = {"drtp", "ifa", "local", "pepita", "custom"};
    const double values[36] = {NAN}, leaks[] = {0, -0.1, 1.5, NAN};
    fa_net *net = NULL;
    stack s;
#define REFUSED(message, ...)                                                                      \
    do {                                                                                           \
        stack_init(&s, "rd", "bptt", 0.4, "dfa", FA_F64);                                          \
        __VA_ARGS__;                                                                               \
        CHECK(fa_net_create(&net, &s.desc) == FA_E_VALUE && !net, "created: %s", message);         \
        CHECK(strstr(fa_last_error(), message), "expected: %s", message);                          \
    } while (0)
    for (int i = 0; i < 5; i++)
        REFUSED("layer 0: rule: expected one that sends errors", s.rule.name = no_rules[i]);
    for (int i = 0; i < 5; i++) /* also where only a dense layer has it */
        REFUSED("rule: expected one that", const fa_rule_desc own = fa_rule_of(no_rules[i]);
                s.layers[1].rule = &own);
    for (int i = 0; i < 4; i++)
        REFUSED("layer 0: type 'recurrent': leak: expected a finite number > 0 and <= 1",
                s.options[0].number = leaks[i]);
    REFUSED("layer 0: time: expected one of bptt, kp, fa, sign, diagonal, leak, none, broadcast, "
            "frozen, got 'rtrl'",
            s.options[1].text = "rtrl");
    REFUSED("time_decay: expected", s.options[1] = ((fa_option){"time_decay", 1, NULL}));
    REFUSED("layer 0: inject: expected 'post' in a recurrent layer", s.rule.inject = "pre");
    REFUSED("recurrent_init: expected the name of", s.layers[0].recurrent_init.name = "glorot");
    REFUSED("recurrent_init: expected a scale >= 0", s.layers[0].recurrent_init.scale = -1);
    REFUSED("recurrent_init: expected values of shape (6, 6), got (4, 6)",
            s.layers[0].recurrent_init = ((fa_init){NULL, 1, values, 4, 6}));
    REFUSED("recurrent_init: expected finite values",
            s.layers[0].recurrent_init = ((fa_init){NULL, 1, values, 6, 6}));
    REFUSED("the last layer: expected dense, got recurrent", s.desc.n_layers = 1);
}

int main(void)
{
    wrong = sequences_new(FA_F64, 6, 4);
    wrong.labels_steps[22] = 1;
    RUN(epochs_are_their_batches);
    RUN(learn_many_is_batches_of_one);
    RUN(evaluation_adds_up);
    RUN(bytes_are_scaled);
    RUN(gradients_and_then_their_step);
    RUN(own_losses_see_targets_alone);
    RUN(batches_without_a_target);
    RUN(wrong_numbers_are_no_gaps);
    RUN(samples_that_do_not_fit);
    RUN(values_that_do_not_fit);
    RUN(descriptions_that_are_refused);
    CHECK(live_bytes() == 0, "all memory returned");
    sequences_free(&wrong);
    return finish();
}

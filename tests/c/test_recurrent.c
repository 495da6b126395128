/* Streams of networks with recurrent layers against their sequences; files in mid-stream; no
 * allocation, what is refused. */
#include "check.h"

#include "bytes.h"
#include "sequences.h"

/* ---- streams ---- */

#define OK(call) REQUIRE((call) == FA_OK, "%s", fa_last_error())

static fa_net *network(const char *time, const char *rule_name)
{
    fa_option options[2] = {{"leak", 0.4, NULL}, {"time", 0, time}};
    fa_layer_desc layers[2] = {fa_recurrent(9, "tanh"), fa_dense(3, "linear")};
    layers[0].options = options, layers[0].n_options = 2;
    fa_rule_desc rule = fa_rule_of(rule_name);
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = 4, desc.layers = layers, desc.n_layers = 2, desc.rule = &rule;
    fa_net *net = NULL;
    OK(fa_net_create(&net, &desc));
    return net;
}

static const float step_of_x[4] = {0.5f, -1, 2, 0.1f};

static void test_a_stream_allocates_nothing(void)
{
    int64_t live, before, after;
    double loss = -1;
    float out[3];
    fa_net *net = network("leak", "dfa");
    OK(fa_stream_step(out, &loss, net, step_of_x, 1, NULL));
    fa_memory(&live, &before);
    for (int i = 0; i < 100; i++) OK(fa_stream_step(out, &loss, net, step_of_x, i % 3 - 1, NULL));
    fa_memory(&live, &after);
    CHECK(before == after, "no allocation in a step, got %d", (int)(after - before));
    CHECK(fabsf(out[0] + out[1] + out[2] - 1) < 1e-6f && loss > 0, "probabilities and a loss");
    CHECK(fa_net_steps(net) > 60 && fa_net_steps(net) < 70, "steps with a target count");
    fa_net_free(net);
}

/* ---- against sequences ---- */

static bool streams(const char *time)
{
    return equal(time, "diagonal") || equal(time, "leak") || equal(time, "none") ||
           equal(time, "frozen");
}

static const double tolerance[2] = {1e-5, 1e-13}; /* of dtypes */

/* Without targets every time streams. A prediction of the next step moves nothing. */
static void test_outputs_are_those_of_sequences(void)
{
    enum { T = 6 };
    for (int i = 0; i < 2 * N_TIMES; i++) {
        const fa_dtype dtype = dtypes[i % 2];
        sequences d = sequences_new(dtype, 1, T);
        fa_net *net = stack_net(i % 3 ? "rdr" : "r", times[i / 2], i % 3 ? 0.4 : 1, "dfa", dtype);
        fa_samples s = steps_of(&d, 0, 1);
        fa_predictor *next = NULL;
        double whole[T * Z_COLS], one[Z_COLS], alone[Z_COLS];
        s.every_step = 1;
        OK(fa_predict(whole, Z_COLS, net, &s, 0));
        OK(fa_predictor_create(&next, net, dtype, 0));
        for (int pass = 0; pass < 2; pass++) {
            for (int64_t t = 0; t < T; t++) {
                const void *x = rows_at(d.x, dtype, t, X_COLS);
                void *state = state_of(net);
                OK(fa_predict_one(alone, next, x));
                CHECK(in_state(net, state), "a prediction moves nothing");
                OK(fa_stream_step(one, NULL, net, x, -1, NULL));
                CHECK(!in_state(net, state), "a step moves the state");
                free(state);
                CHECK(!memcmp(one, alone, Z_COLS * size_of(dtype)), "%s: prediction", times[i / 2]);
                for (int j = 0; j < Z_COLS; j++)
                    CHECK(fabs(number_at(one, dtype, j) - number_at(whole, dtype, t * Z_COLS + j)) <
                              tolerance[i % 2],
                          "%s, step %d", times[i / 2], (int)t);
            }
            OK(fa_stream_reset(net)); /* and the second pass is as the first */
        }
        CHECK(fa_net_steps(net) == 0, "no step had a target");
        fa_predictor_free(next);
        fa_net_free(net);
        sequences_free(&d);
    }
}

/* One target, at the last step: its update is that of the sequence. */
static void test_the_last_target_teaches_what_the_sequence_does(void)
{
    static const char *const f[] = {"tanh", "linear", "gelu"};
    for (int i = 0; i < 24 * N_TIMES; i++) {
        const char *time = times[i / 24];
        const int rows = i / 2 % 2;
        const double leak = i / 4 % 2 ? 1 : 0.3;
        if (!streams(time)) continue;
        sequences d = sequences_new(dtypes[i % 2], 1, 5);
        d.weights[0] = 1;
        stack st;
        stack_init(&st, "rd", time, leak, rows ? "dfa" : "backprop", dtypes[i % 2]);
        st.layers[0].activation = f[i / 8 % 3], st.layers[0].use_bias = i / 8 < 3 || i / 4 % 2;
        st.desc.loss = i / 8 % 2 ? "mse" : st.desc.loss;
        st.optimizer = fa_optimizer_of("sgd", 0.5);
        fa_net *net = make(&st.desc), *whole = make(&st.desc);
        const fa_samples s = taught(&d, rows ? ROWS : LABELS, 0, 1);
        double losses[2];
        OK(fa_train_batch(&losses[0], whole, &s));
        for (int64_t t = 0; t < 5; t++)
            OK(fa_stream_step(NULL, &losses[1], net, rows_at(d.x, d.dtype, t, X_COLS),
                              t == 4 && !rows ? d.labels[0] : -1, t == 4 && rows ? d.y : NULL));
        CHECK(fabs(losses[0] - losses[1]) < tolerance[i % 2] && fa_net_steps(net) == 1, "%s: loss",
              time);
        for (int64_t k = 0; k < fa_net_n_tensors(net); k++) {
            const fa_tensor a = fa_net_tensor(net, k), b = fa_net_tensor(whole, k);
            for (int64_t j = 0; a.kind <= FA_BIAS && j < a.rows * a.cols; j++)
                CHECK(fabs(number_at(a.data, d.dtype, j) - number_at(b.data, d.dtype, j)) <
                          tolerance[i % 2],
                      "%s leak %g: %s %d", time, leak, a.key, (int)j);
        }
        fa_net_free(net), fa_net_free(whole);
        sequences_free(&d);
    }
}

/* Many targets, and weights that hardly move: the updates add up to N times the gradient. */
static void test_updates_add_up_to_the_gradient(void)
{
    enum { T = 9 };
    const double lr = 1e-7;
    sequences d = sequences_new(FA_F64, 1, T);
    d.weights[0] = 1;
    const fa_samples s = taught(&d, STEP_LABELS, 0, 1);
    for (int i = 0; i < N_TIMES; i++) {
        if (!streams(times[i]) || equal(times[i], "frozen")) continue;
        stack st;
        stack_init(&st, "r", times[i], 0.4, "dfa", FA_F64);
        st.optimizer = fa_optimizer_of("sgd", lr);
        fa_net *net = make(&st.desc), *start = make(&st.desc);
        static const char *const keys[] = {"0.weight", "0.recurrent", "0.bias", "1.weight"};
        double g[4][64], loss, n = 0;
        void *grads[MOST_TENSORS] = {0};
        for (int k = 0; k < 4; k++) grads[fa_net_find(net, keys[k])] = g[k];
        OK(fa_gradients(&loss, grads, net, &s));
        for (int64_t t = 0; t < T; t++) {
            n += d.labels_steps[t] >= 0;
            OK(fa_learn_one(&loss, net, (double *)d.x + t * X_COLS, d.labels_steps[t], NULL));
        }
        for (int k = 0; k < 4; k++) {
            const fa_tensor a = fa_net_tensor(net, fa_net_find(net, keys[k])),
                            b = fa_net_tensor(start, fa_net_find(net, keys[k]));
            for (int64_t j = 0; j < a.rows * a.cols; j++) {
                const double moved = ((double *)b.data)[j] - ((double *)a.data)[j];
                CHECK(fabs(moved / lr / n - g[k][j]) < 1e-6, "%s: %s %d: %g, not %g", times[i],
                      keys[k], (int)j, moved / lr / n, g[k][j]);
            }
        }
        fa_net_free(net), fa_net_free(start);
    }
    sequences_free(&d);
}

static void test_a_file_in_mid_stream_goes_on(void)
{
    enum { T = 12 };
    for (int i = 0; i < 2 * N_TIMES; i++) {
        if (!streams(times[i / 2])) continue;
        sequences d = sequences_new(dtypes[i % 2], 1, T);
        fa_net *nets[3] = {stack_net("-rd-r", times[i / 2], 0.4, "dfa", d.dtype), NULL, NULL};
        bytes file = {0};
        double losses[3], outs[3][Z_COLS];
        for (int64_t t = 0; t < T; t++) {
            if (t == 5) {
                OK(fa_save_to(nets[0], append, &file));
                OK(fa_load_memory(&nets[1], file.data, file.size, NULL, NULL));
                OK(fa_net_clone(&nets[2], nets[0]));
            }
            for (int n = 0; n < (t < 5 ? 1 : 3); n++) {
                losses[n] = -1, memset(outs[n], 0, sizeof outs[n]);
                OK(fa_stream_step(outs[n], &losses[n], nets[n], rows_at(d.x, d.dtype, t, X_COLS),
                                  d.labels_steps[t], NULL));
                CHECK(losses[n] == losses[0] && !memcmp(outs[n], outs[0], sizeof outs[n]),
                      "%s: step %d", times[i / 2], (int)t);
                CHECK((losses[n] == -1) == (d.labels_steps[t] == -1), "a loss where a target is");
            }
        }
        CHECK(same_state(nets[0], nets[1]) && same_state(nets[0], nets[2]), "%s", times[i / 2]);
        for (int n = 0; n < 3; n++) fa_net_free(nets[n]);
        free(file.data);
        sequences_free(&d);
    }
}

/* ---- what is refused ---- */

static void check_refused(fa_net *net, const void *x, int64_t label, const char *part)
{
    const size_t size = fa_net_state_size(net);
    char *before = malloc(size), *after = malloc(size);
    double loss = -1;
    OK(fa_net_get_state(before, net));
    const fa_status status = fa_stream_step(NULL, &loss, net, x, label, NULL);
    OK(fa_net_get_state(after, net));
    CHECK(status == FA_E_VALUE && strstr(fa_last_error(), part), "refused: %s", fa_last_error());
    CHECK(!memcmp(before, after, size) && loss == -1, "nothing has changed");
    free(before), free(after);
}

static void test_refused_steps(void)
{
    const float bad[4] = {1, NAN, 0, 0};
    fa_net *net = network("leak", "dfa"), *whole = network("bptt", "backprop");
    OK(fa_stream_step(NULL, NULL, net, step_of_x, 1, NULL));
    check_refused(net, bad, 1, "X: expected finite");
    check_refused(net, NULL, 1, "X: expected a pointer");
    check_refused(net, step_of_x, 3, "y: expected labels in 0..2, got 3");
    check_refused(whole, step_of_x, 1, "time: expected diagonal, leak, none or frozen");
    OK(fa_stream_step(NULL, NULL, whole, step_of_x, -1, NULL));
    CHECK(fa_stream_step(NULL, NULL, NULL, step_of_x, 1, NULL) == FA_E_VALUE, "no network");
    CHECK(fa_stream_reset(NULL) == FA_E_VALUE, "no network");
    fa_net_free(net), fa_net_free(whole);
}

static void test_a_sparse_x_is_refused(void)
{
    const int32_t indptr[3] = {0, 1, 1}, indices[1] = {2};
    const int64_t labels[2] = {0, 1};
    const char *message = "X: expected a dense array for a network with a recurrent layer";
    fa_net *net = network("leak", "dfa");
    fa_samples s = fa_csr_of(step_of_x, FA_F32, indices, indptr, 4, 1, 2);
    s.time_steps = 1, s.labels = labels;
    double loss = -1;
    CHECK(fa_train_batch(&loss, net, &s) == FA_E_VALUE && strstr(fa_last_error(), message),
          "train: %s", fa_last_error());
    CHECK(fa_check(net, &s) == FA_E_VALUE && strstr(fa_last_error(), message), "check: %s",
          fa_last_error());
    CHECK(loss == -1 && fa_net_steps(net) == 0, "nothing has changed");
    fa_net_free(net);
}

/* An output that is not finite stops the step, with a target and without. */
static void test_a_step_that_overflows(void)
{
    const double x[X_COLS] = {1e308, 1e308, 1e308, 1e308};
    for (int target = 0; target < 2; target++) {
        stack s;
        stack_init(&s, "r", "leak", 0.4, "dfa", FA_F64);
        s.layers[0].activation = "linear";
        fa_net *net = make(&s.desc);
        double *const w = fa_net_tensor(net, fa_net_find(net, "0.weight")).data;
        for (int i = 0; i < X_COLS; i++) w[6 * i] = 2;
        void *state = state_of(net);
        double loss = -1, out[Z_COLS] = {-7};
        CHECK(fa_stream_step(out, &loss, net, x, target ? 1 : -1, NULL) == FA_E_NONFINITE,
              "target %d: loss %g, out %g", target, loss, out[0]);
        CHECK(in_state(net, state) && loss == -1 && out[0] == -7, "nothing has changed");
        free(state);
        fa_net_free(net);
    }
}

/* In the layer that learns, and in those above it; not below. */
static void test_times_that_need_later_steps(void)
{
    static const double x[X_COLS] = {0.5, -1, 2, 0.1};
    for (int i = 0; i < N_TIMES; i++)
        for (int trains = 0; trains < 2; trains++) {
            stack s;
            stack_init(&s, "dr", times[i], 0.4, "dfa", FA_F64);
            s.layers[1].trainable = trains;
            s.layers[0].trainable = 0;
            fa_net *net = make(&s.desc);
            void *state = state_of(net);
            double loss = -1;
            const fa_status status = fa_stream_step(NULL, &loss, net, x, 1, NULL);
            if (!trains || streams(times[i])) {
                CHECK(status == FA_OK && loss > 0, "%s: it takes a stream", times[i]);
                CHECK(!in_state(net, state), "%s: it moves", times[i]);
            } else {
                CHECK(status == FA_E_VALUE && strstr(fa_last_error(), "layer 1: time: expected"),
                      "%s: refused", times[i]);
                CHECK(in_state(net, state) && loss == -1, "%s: nothing has changed", times[i]);
            }
            free(state);
            fa_net_free(net);
        }
}

static void test_networks_and_targets_that_do_not_fit(void)
{
    const double x[X_COLS] = {0}, blank[Z_COLS] = {NAN, NAN, NAN}, sum[Z_COLS] = {2, 2, 2};
    stack s;
    stack_init(&s, "d", "", 1, "dfa", FA_F64);
    fa_net *dense = make(&s.desc), *net = stack_net("r", "leak", 0.4, "dfa", FA_F64);
    void *state = state_of(net);
    double loss = -1;
    CHECK(fa_stream_step(NULL, &loss, dense, x, 1, NULL) == FA_E_VALUE, "no recurrent layer");
    CHECK(strstr(fa_last_error(), "network: expected one with a recurrent layer"), "message");
    CHECK(fa_stream_step(NULL, &loss, net, x, 0, blank) == FA_E_VALUE, "a target of NaN");
    CHECK(fa_stream_step(NULL, &loss, net, x, 0, sum) == FA_E_VALUE, "no probabilities");
    CHECK(fa_stream_step(NULL, &loss, net, x, -2, NULL) == FA_E_VALUE, "a label of -2");
    CHECK(strstr(fa_last_error(), "y: expected labels in 0..2, got -2"), "message");
    CHECK(in_state(net, state) && loss == -1, "nothing has changed");
    fa_predictor *next = NULL;
    CHECK(fa_predictor_create(&next, net, FA_F32, 0) == FA_E_VALUE && !next, "other numbers");
    free(state);
    fa_net_free(net), fa_net_free(dense);
}

int main(void)
{
    RUN(test_a_stream_allocates_nothing);
    RUN(test_outputs_are_those_of_sequences);
    RUN(test_the_last_target_teaches_what_the_sequence_does);
    RUN(test_updates_add_up_to_the_gradient);
    RUN(test_a_file_in_mid_stream_goes_on);
    RUN(test_refused_steps);
    RUN(test_a_step_that_overflows);
    RUN(test_times_that_need_later_steps);
    RUN(test_networks_and_targets_that_do_not_fit);
    RUN(test_a_sparse_x_is_refused);
    CHECK(live_bytes() == 0, "all memory returned");
    return finish();
}

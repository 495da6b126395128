/* Streams of networks with recurrent layers: no allocation, what is refused. */
#include "check.h"

#include <math.h>

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

/* Each call refuses these samples with these words; NULL: it takes them. */
static void check_samples(fa_net *net, const fa_samples *s, const char *words)
{
    float out[100];
    double loss = -1;
    fa_metrics m = {.rows = -1};
    const int64_t steps = fa_net_steps(net);
    for (int call = 0; call < 4; call++) {
        const fa_status status = call == 0   ? fa_check(net, s)
                                 : call == 1 ? fa_evaluate(&m, net, s)
                                 : call == 2 ? fa_train_batch(&loss, net, s)
                                             : fa_train_epoch(&m, net, s, 2);
        CHECK(words ? status == FA_E_VALUE && strstr(fa_last_error(), words) : status == FA_OK,
              "call %d: %s", call, status ? fa_last_error() : "accepted");
    }
    if (!words) return;
    CHECK(loss == -1 && m.rows == -1 && fa_net_steps(net) == steps, "nothing has changed");
    if (strstr(words, "time_steps") || strstr(words, "X: "))
        CHECK(fa_predict(out, 3, net, s, 0) == FA_E_VALUE && strstr(fa_last_error(), words),
              "predict: %s", fa_last_error());
}

static void test_wrong_sequences(void)
{
    float x[6 * 4], y[6 * 3];
    int64_t labels[6] = {0, 1, 2, -1, 1, -1};
    fa_net *net = network("bptt", "dfa");
    for (int i = 0; i < 24; i++) x[i] = (float)i / 24;
    for (int i = 0; i < 18; i++) y[i] = i / 3 % 2 ? NAN : i % 3 == 0;
    fa_samples s = fa_samples_of(x, 4, FA_F32, 3);
    s.labels = labels;
    check_samples(net, &s,
                  "time_steps: expected 1 to 2147483647, the steps of each sequence, got 0");
    s.time_steps = -2;
    check_samples(net, &s,
                  "time_steps: expected 1 to 2147483647, the steps of each sequence, got -2");
    s.time_steps = INT32_MAX, s.n = INT64_MAX / 1000;
    check_samples(net, &s, "X: expected fewer sequences, got 9223372036854775 of 2147483647 steps");
    s.n = 3, s.time_steps = 2, s.every_step = 1;
    check_samples(net, &s, NULL);
    labels[4] = -2;
    check_samples(net, &s, "y: expected labels in 0..2, got -2");
    labels[4] = 3;
    check_samples(net, &s, "y: expected labels in 0..2, got 3");
    labels[1] = -1, s.every_step = 0; /* the last steps have three labels */
    check_samples(net, &s, "y: expected labels in 0..2, got -1");
    s.labels = NULL, s.y = y, s.ldy = 3, s.every_step = 1;
    check_samples(net, &s, NULL);
    y[4] = 1; /* a row that is not all NaN */
    CHECK(fa_check(net, &s) == FA_E_VALUE && strstr(fa_last_error(), "y: expected finite"), "%s",
          fa_last_error());
    fa_net_free(net);
}

static void test_networks_without_a_stream(void)
{
    fa_layer_desc layer = fa_dense(3, "linear");
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = 4, desc.layers = &layer, desc.n_layers = 1;
    fa_net *net = make(&desc);
    const int64_t labels[1] = {1};
    fa_samples s = fa_samples_of(step_of_x, 4, FA_F32, 1);
    s.labels = labels, s.time_steps = 1;
    check_refused(net, step_of_x, 1, "network: expected one with a recurrent layer for a stream");
    check_samples(net, &s, "time_steps: expected 0 in a network without a recurrent layer, got 1");
    fa_net_free(net);
}

/* fa_learn_one on a recurrent network is a step of its stream; resetting gives the first outputs. */
static void test_a_stream_starts_over(void)
{
    fa_net *net = network("diagonal", "dfa"), *other = network("diagonal", "dfa");
    float first[3], second[3], again[3];
    double loss[2];
    OK(fa_stream_step(first, NULL, net, step_of_x, -1, NULL));
    OK(fa_stream_step(second, NULL, net, step_of_x, -1, NULL));
    CHECK(memcmp(first, second, sizeof first), "the state moves");
    OK(fa_stream_reset(net));
    OK(fa_stream_step(again, NULL, net, step_of_x, -1, NULL));
    CHECK(!memcmp(first, again, sizeof first), "and is forgotten");
    OK(fa_stream_reset(net));
    for (int i = 0; i < 5; i++) {
        OK(fa_learn_one(&loss[0], net, step_of_x, i % 3, NULL));
        OK(fa_stream_step(NULL, &loss[1], other, step_of_x, i % 3, NULL));
        CHECK(loss[0] == loss[1], "loss %d", i);
    }
    CHECK(same_state(net, other), "the same steps");
    fa_net_free(net), fa_net_free(other);
}

int main(void)
{
    RUN(test_a_stream_allocates_nothing);
    RUN(test_refused_steps);
    RUN(test_a_sparse_x_is_refused);
    RUN(test_wrong_sequences);
    RUN(test_networks_without_a_stream);
    RUN(test_a_stream_starts_over);
    return finish();
}

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

int main(void)
{
    RUN(test_a_stream_allocates_nothing);
    RUN(test_refused_steps);
    RUN(test_a_sparse_x_is_refused);
    return finish();
}

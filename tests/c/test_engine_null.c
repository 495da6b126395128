/* NULL where a pointer is needed, indices out of range. */
#include "check.h"

enum { ROWS = 30 };

static dataset data;
static float out[ROWS * N_OUT];

static void is_value_error(int line, fa_status status, const char *name)
{
    CHECK(status == FA_E_VALUE, "line %d: status %s", line, fa_status_name(status));
    CHECK(strstr(fa_last_error(), name) != NULL, "line %d: expected '%s' in the message", line,
          name);
}
#define VALUE_ERROR(call, name) is_value_error(__LINE__, call, name)

static void test_null_in_calls_on_samples(void)
{
    watched w = watch("dfa", "softmax_cross_entropy");
    const fa_samples s = labelled(&data, 0, ROWS);
    const fa_epoch e = EPOCH(.batch_size = 8, .count = 1);
    double loss;
    fa_metrics m;
    fa_angles angles[2];
    void *grads[MOST_TENSORS] = {NULL};
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
    VALUE_ERROR(fa_apply_gradients(NULL, (const void *const *)grads), "net");
    VALUE_ERROR(fa_apply_gradients(w.net, NULL), "grads");
    VALUE_ERROR(fa_apply_gradients(w.net, (const void *const *)grads), "0.weight");
    VALUE_ERROR(fa_deltas(NULL, w.net, &s), "deltas");
    VALUE_ERROR(fa_deltas(grads, NULL, &s), "net");
    VALUE_ERROR(fa_alignment(NULL, w.net, &s), "angles");
    VALUE_ERROR(fa_alignment(angles, NULL, &s), "net");
    VALUE_ERROR(fa_check(NULL, &s), "net");
    unwatch(&w);
}

static void test_null_in_tensors_and_states(void)
{
    watched w = watch("dfa", "softmax_cross_entropy");
    VALUE_ERROR(fa_net_get_state(NULL, w.net), "state");
    VALUE_ERROR(fa_net_get_state(out, NULL), "net");
    VALUE_ERROR(fa_net_set_state(w.net, NULL, fa_net_state_size(w.net)), "state");
    VALUE_ERROR(fa_net_set_state(NULL, out, 8), "net");
    VALUE_ERROR(fa_net_set_state(w.net, w.state, fa_net_state_size(w.net) - 1), "state");
    VALUE_ERROR(fa_net_write(NULL, 0, out), "net");
    VALUE_ERROR(fa_net_write(w.net, 0, NULL), "tensor 0");
    VALUE_ERROR(fa_net_write(w.net, -1, out), "tensor -1");
    VALUE_ERROR(fa_net_write(w.net, fa_net_n_tensors(w.net), out), "tensor");
    VALUE_ERROR(fa_feedback_matrix(NULL, w.net, 0), "out");
    VALUE_ERROR(fa_feedback_matrix(out, NULL, 0), "net");
    VALUE_ERROR(fa_feedback_matrix(out, w.net, -1), "block");
    VALUE_ERROR(fa_feedback_matrix(out, w.net, 2), "block");
    unwatch(&w);
}

static void test_null_in_networks(void)
{
    watched w = watch("dfa", "softmax_cross_entropy");
    const fa_net_desc desc = fa_net_defaults();
    int64_t order[ROWS];
    fa_net *net;
    VALUE_ERROR(fa_net_create(NULL, &desc), "net");
    VALUE_ERROR(fa_net_create(&net, NULL), "desc");
    VALUE_ERROR(fa_shuffle(NULL, w.net, ROWS), "order");
    VALUE_ERROR(fa_shuffle(order, NULL, ROWS), "net");
    VALUE_ERROR(fa_shuffle(order, w.net, 0), "n:");
    VALUE_ERROR(fa_shuffle(order, w.net, -4), "n:");
    VALUE_ERROR(fa_net_reset(NULL), "net");
    VALUE_ERROR(fa_net_set_note(NULL, "note"), "net");
    VALUE_ERROR(fa_net_set_lr(NULL, 0.1), "net");
    VALUE_ERROR(fa_net_set_threads(NULL, 1), "net");
    VALUE_ERROR(fa_net_set_threads(w.net, -1), "n_threads");
    VALUE_ERROR(fa_net_set_threads(w.net, 1000), "n_threads");
    VALUE_ERROR(fa_net_trim(NULL), "net");
    VALUE_ERROR(fa_net_set_lr(NULL, 1), "net");
    VALUE_ERROR(fa_net_set_lr(w.net, -1), "lr");
    VALUE_ERROR(fa_net_set_lr(w.net, NAN), "lr");
    VALUE_ERROR(fa_net_set_lr(w.net, INFINITY), "lr");
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
    CHECK(fa_option_info(NULL, FA_NAMES_RULE, NULL, 0) == FA_E_VALUE, "options");
    CHECK(fa_default_init(NULL) == NULL && fa_default_init("softmax") == NULL, "default_init");
    watched w = watch("frozen", "mse");
    CHECK(fa_net_tensor(w.net, -1).key == NULL && fa_net_tensor(w.net, 1000).key == NULL,
          "tensor out of range");
    fa_block_info info = {.struct_size = sizeof info, .layer = -7};
    VALUE_ERROR(fa_net_block(&info, w.net, -1), "block");
    VALUE_ERROR(fa_net_block(&info, w.net, 3), "block");
    VALUE_ERROR(fa_net_block(NULL, w.net, 0), "info");
    CHECK(info.layer == -7, "block out of range");
    VALUE_ERROR(fa_feedback_matrix(out, w.net, 0), "layer 0: rule: expected one with");
    unwatch(&w);
}

int main(void)
{
    data = dataset_new(FA_F32, ROWS);
    RUN(test_null_in_calls_on_samples);
    RUN(test_null_in_tensors_and_states);
    RUN(test_null_in_networks);
    RUN(test_null_when_looking);
    dataset_free(&data);
    CHECK(live_bytes() == 0, "all memory returned");
    return finish();
}

/* Every allocation of every call fails in turn; steps allocate nothing; the allocator hook. */
#include "check.h"
#include "failing_heap.h"

static int64_t allocations(void)
{
    int64_t live, count;
    fa_memory(&live, &count);
    return count;
}

/* ---- networks that need every kind of memory ---- */

static float values[N_HIDDEN_1 * N_HIDDEN_2]; /* of a weight matrix and of a feedback matrix */

/* Clipping, slots, given weights, given feedback; sdfa wants scratch of its own. */
static void recipe_everything(recipe *r, const char *rule)
{
    static fa_rule_desc own =
        RULE(.name = "drtp",
             .feedback = {.values = values, .scale = 1, .rows = N_OUT, .cols = N_HIDDEN_2});
    for (int i = 0; i < N_HIDDEN_1 * N_HIDDEN_2; i++) values[i] = (float)(i % 17 - 8) / 50;
    recipe_init(r, rule, FA_F32);
    r->layers[SECOND].weight_init =
        (fa_init){.values = values, .rows = N_HIDDEN_1, .cols = N_HIDDEN_2};
    r->layers[SECOND].bias_init = (fa_init){.values = values, .rows = 1, .cols = N_HIDDEN_2};
    r->layers[SECOND].rule = &own;
    r->optimizer.name = "adam";
    r->optimizer.clip_norm = 0.5;
    r->desc.n_threads = 2;
}

static void test_create(void)
{
    recipe r;
    recipe_everything(&r, "drtp");
    int64_t n = 1;
    for (; n < 1000; n++) {
        fa_net *net = (fa_net *)&r;
        fail_at(n);
        const fa_status status = fa_net_create(&net, &r.desc);
        fail_at(0);
        if (status == FA_OK) {
            fa_net_free(net);
            break;
        }
        CHECK(status == FA_E_MEMORY, "create: status %s at allocation %lld", fa_status_name(status),
              (long long)n);
        CHECK(net == (fa_net *)&r, "create: output untouched");
        CHECK(heap.live_blocks == 0 && live_bytes() == 0, "create: %lld blocks leaked",
              (long long)heap.live_blocks);
    }
    CHECK(n > 8 && n < 1000, "create: %lld allocations", (long long)n - 1);
    CHECK(heap.live_blocks == 0 && heap.live_bytes == 0 && live_bytes() == 0, "all returned");
}

/* ---- every call ---- */

enum { ROWS = 150 };
static dataset data;
static int64_t order[ROWS];
static float out[ROWS * N_OUT], matrix[N_HIDDEN_1 * N_HIDDEN_2];
static float *grads[MOST_TENSORS];

static fa_status call_train_batch(fa_net *net)
{
    const fa_samples s = labelled(&data, 0, ROWS);
    double loss = -1;
    const fa_status status = fa_train_batch(&loss, net, &s);
    CHECK((loss == -1) == (status != FA_OK), "train_batch: output written only on success");
    return status;
}

static fa_status call_train_rows(fa_net *net)
{
    fa_samples s = targeted(&data, 0, ROWS);
    s.weights = data.weights;
    double loss;
    return fa_train_batch(&loss, net, &s);
}

static fa_status call_train_steps(fa_net *net)
{
    const fa_samples s = labelled(&data, 0, ROWS);
    const fa_epoch e = EPOCH(.order = order, .batch_size = 64, .count = 3);
    fa_metrics m = {.steps = -1};
    const fa_status status = fa_train_steps(&m, net, &s, &e);
    CHECK((m.steps == -1) == (status != FA_OK), "train_steps: output written only on success");
    return status;
}

static fa_status call_train_one_by_one(fa_net *net)
{
    const fa_samples s = labelled(&data, 0, ROWS);
    fa_metrics m = {.steps = -1};
    const fa_status status =
        fa_train_steps(&m, net, &s, &EPOCH(.order = order, .batch_size = 1, .count = ROWS));
    CHECK((m.steps == -1) == (status != FA_OK), "train_steps: output written only on success");
    return status;
}

static fa_status call_predict(fa_net *net)
{
    const fa_samples s = inputs(&data, 0, ROWS);
    memset(out, 0x7f, sizeof out);
    const fa_status status = fa_predict(out, N_OUT, net, &s, 0);
    unsigned char touched = 0;
    for (size_t i = 0; i < sizeof out; i++) touched |= ((unsigned char *)out)[i] ^ 0x7f;
    CHECK(!touched == (status != FA_OK), "predict: output written only on success");
    return status;
}

static fa_status call_evaluate(fa_net *net)
{
    const fa_samples s = labelled(&data, 0, ROWS);
    fa_metrics m = {.rows = -1};
    const fa_status status = fa_evaluate(&m, net, &s);
    CHECK((m.rows == -1) == (status != FA_OK), "evaluate: output written only on success");
    return status;
}

static fa_status call_gradients(fa_net *net)
{
    const fa_samples s = labelled(&data, 0, ROWS);
    double loss;
    return fa_gradients(&loss, (void *const *)grads, net, &s);
}

static fa_status call_apply_gradients(fa_net *net)
{
    const void *trained[MOST_TENSORS] = {NULL};
    for (int64_t i = 0; i < fa_net_n_tensors(net); i++) {
        const fa_tensor t = fa_net_tensor(net, i);
        if (t.trainable && t.kind != FA_SLOT) trained[i] = grads[i % 6];
    }
    return fa_apply_gradients(net, trained);
}

static fa_status call_alignment(fa_net *net)
{
    const fa_samples s = labelled(&data, 0, ROWS);
    fa_angles angles[2] = {{.layer = -1, .has_weight_angle = -1},
                           {.layer = -1, .has_weight_angle = -1}};
    const fa_status status = fa_alignment(angles, net, &s);
    for (int b = 0; b < 2; b++) {
        CHECK((angles[b].layer == -1) == (status != FA_OK),
              "alignment: layer written only on success");
        CHECK((angles[b].has_weight_angle == -1) == (status != FA_OK),
              "alignment: angle written only on success");
    }
    return status;
}

static fa_status call_train_epoch(fa_net *net)
{
    const fa_samples s = labelled(&data, 0, ROWS);
    fa_metrics m = {.steps = -1};
    const fa_status status = fa_train_epoch(&m, net, &s, 64);
    CHECK((m.steps == -1) == (status != FA_OK), "train_epoch: output written only on success");
    return status;
}

static fa_status call_learn_one(fa_net *net)
{
    double loss = -1;
    const fa_status status = fa_learn_one(&loss, net, data.x, data.labels[0], NULL);
    CHECK((loss == -1) == (status != FA_OK), "learn_one: output written only on success");
    return status;
}

static fa_status call_learn_many(fa_net *net)
{
    const fa_samples s = labelled(&data, 0, ROWS);
    fa_metrics m = {.steps = -1};
    const fa_status status = fa_learn_many(&m, net, &s);
    CHECK((m.steps == -1) == (status != FA_OK), "learn_many: output written only on success");
    return status;
}

static fa_status call_predictor(fa_net *net)
{
    fa_predictor *p = (fa_predictor *)net;
    const fa_status status = fa_predictor_create(&p, net, FA_F32, 0);
    CHECK((p == (fa_predictor *)net) == (status != FA_OK), "predictor: written only on success");
    if (status != FA_OK) return status;
    const int64_t before = heap.calls;
    for (int i = 0; i < ROWS; i++)
        CHECK(fa_predict_one(out, p, rows_at(data.x, FA_F32, i, N_IN)) == FA_OK, "predict_one");
    CHECK(heap.calls == before, "a prepared prediction allocates nothing");
    fa_predictor_free(p);
    return FA_OK;
}

static fa_status call_deltas(fa_net *net)
{
    const fa_samples s = labelled(&data, 0, ROWS);
    static float first[ROWS * N_HIDDEN_1];
    void *deltas[3] = {first, NULL, NULL};
    return fa_deltas(deltas, net, &s);
}

static fa_status call_check(fa_net *net)
{
    const fa_samples s = targeted(&data, 0, ROWS);
    return fa_check(net, &s);
}

static struct {
    size_t size;
    char data[400000];
} file;

static int append(void *user, const void *bytes, size_t size)
{
    (void)user;
    REQUIRE(file.size + size <= sizeof file.data, "the file fits the buffer");
    memcpy(file.data + file.size, bytes, size);
    file.size += size;
    return 0;
}

static fa_status call_save_and_load(fa_net *net)
{
    fa_net *loaded = NULL;
    file.size = 0;
    fa_status status = fa_save_to(net, append, NULL);
    if (status == FA_OK) status = fa_load_memory(&loaded, file.data, file.size, NULL, NULL);
    CHECK(!loaded == (status != FA_OK), "load: output written only on success");
    if (loaded) CHECK(same_state(net, loaded), "load: the same state");
    fa_net_free(loaded);
    return status;
}

static fa_status call_clone(fa_net *net)
{
    fa_net *copy = NULL;
    const fa_status status = fa_net_clone(&copy, net);
    CHECK(!copy == (status != FA_OK), "clone: output written only on success");
    fa_net_free(copy);
    return status;
}

static fa_status call_set_note(fa_net *net)
{
    const char *before = fa_net_note(net);
    const fa_status status = fa_net_set_note(net, "a note");
    CHECK(fa_net_note(net) == before || status == FA_OK, "note: as it was");
    return status;
}

static fa_status call_rest(fa_net *net) /* what never needs memory */
{
    CHECK(fa_net_reset(net) == FA_OK, "reset");
    CHECK(fa_shuffle(order, net, ROWS) == FA_OK, "shuffle");
    CHECK(fa_net_set_lr(net, 0.01) == FA_OK, "set_lr");
    CHECK(fa_net_read(matrix, net, 1) == FA_OK, "read");
    CHECK(fa_net_write(net, 0, fa_net_tensor(net, 0).data) == FA_OK, "write");
    return fa_feedback_matrix(matrix, net, 0);
}

static const struct {
    const char *name;
    fa_status (*call)(fa_net *net);
    int most; /* allocations on a fresh network */
} calls[] = {
    {"train_batch", call_train_batch, 1},
    {"train_batch with rows", call_train_rows, 1},
    {"train_steps", call_train_steps, 1},
    {"predict", call_predict, 1},
    {"evaluate", call_evaluate, 2},
    {"gradients", call_gradients, 1},
    {"alignment", call_alignment, 4},
    {"check", call_check, 0},
    {"the rest", call_rest, 0},
    {"train_steps one by one", call_train_one_by_one, 2},
    {"train_epoch", call_train_epoch, 2},
    {"learn_one", call_learn_one, 1},
    {"learn_many", call_learn_many, 2},
    {"predictor", call_predictor, 2},
    {"deltas", call_deltas, 1},
    {"save and load", call_save_and_load, 90},
    {"clone", call_clone, 70},
    {"set_note", call_set_note, 1},
    {"apply_gradients", call_apply_gradients, 1},
};
enum { N_CALLS = sizeof calls / sizeof *calls };

/* The call after a failed one does what it does on a network where nothing failed. */
static void check_usable(fa_net *net, const fa_net_desc *desc, int call)
{
    fa_net *fresh = make(desc);
    CHECK(calls[call].call(net) == FA_OK, "%s: usable after it failed", calls[call].name);
    CHECK(calls[call].call(fresh) == FA_OK, "%s", calls[call].name);
    CHECK(same_state(net, fresh), "%s: same state as without failure", calls[call].name);
    fa_net_free(fresh);
}

static void fail_each(int call, const fa_net_desc *desc)
{
    int64_t n = 1;
    for (; n < 1000; n++) {
        fa_net *net = make(desc);
        void *before = state_of(net);
        const int64_t live = live_bytes();
        fail_at(n);
        const fa_status status = calls[call].call(net);
        fail_at(0);
        if (status != FA_OK) {
            CHECK(status == FA_E_MEMORY, "%s: status %s", calls[call].name, fa_status_name(status));
            CHECK(strstr(fa_last_error(), "memory"), "%s: message", calls[call].name);
            CHECK(in_state(net, before), "%s: changed by allocation %lld failing", calls[call].name,
                  (long long)n);
            CHECK(live_bytes() <= live + heap.live_bytes && heap.live_blocks > 0,
                  "%s: books balance", calls[call].name);
            check_usable(net, desc, call);
        }
        free(before);
        fa_net_free(net);
        CHECK(heap.live_blocks == 0 && heap.live_bytes == 0 && live_bytes() == 0,
              "%s: %lld blocks leaked after allocation %lld failed", calls[call].name,
              (long long)heap.live_blocks, (long long)n);
        if (status == FA_OK) break;
    }
    CHECK(n - 1 <= calls[call].most, "%s: %lld allocations, expected at most %d", calls[call].name,
          (long long)n - 1, calls[call].most);
}

static void test_calls(void)
{
    static const char *const first_rule[] = {"fa", "sdfa", "backprop"};
    for (int rule = 0; rule < 3; rule++) {
        recipe r;
        recipe_everything(&r, first_rule[rule]);
        for (int plain = 0; plain < 2; plain++) {
            if (plain) r.optimizer = fa_optimizer_of("sgd", 0.1); /* updates in place */
            for (int call = 0; call < N_CALLS; call++)
                if (!quick() || (rule + plain) % 2 == 0) fail_each(call, &r.desc);
        }
    }
}

/* 4 MiB and more take another path: pages of 2 MiB. */
static void test_large_block(void)
{
    fa_layer_desc layers[] = {fa_dense(1100, "relu"), fa_dense(N_OUT, "linear")};
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = 1000, desc.layers = layers, desc.n_layers = 2;
    fa_net *net = make(&desc);
    CHECK((uintptr_t)fa_net_tensor(net, 0).data % 64 == 0, "tensors are aligned to 64 bytes");
    fa_net_free(net);
    CHECK(heap.live_blocks == 0 && heap.live_bytes == 0, "returned");
    CHECK(heap.misaligned == 0,
          "the hook is asked for alignments of 64 and more, and its memory is taken as it is");
}

static void test_hook(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    fa_net *net = make(&r.desc);
    CHECK(fa_set_allocator(NULL) == FA_E_STATE, "no change of allocator under a network");
    fa_net_free(net);
    CHECK(fa_set_allocator(&(fa_allocator){heap_alloc, NULL, &heap}) == FA_E_VALUE,
          "release is missing");
    CHECK(fa_set_allocator(&(fa_allocator){NULL, heap_release, &heap}) == FA_E_VALUE,
          "alloc is missing");
    CHECK(fa_set_allocator(NULL) == FA_OK, "back to the C library's");
    const int64_t before = heap.calls;
    fa_net_free(make(&r.desc));
    CHECK(heap.calls == before, "the hook is not called any more");
}

/* ---- steps allocate nothing ---- */

static void repeat(fa_net *net, const char *what, int call, int64_t expected)
{
    CHECK(calls[call].call(net) == FA_OK, "%s", what);
    const int64_t before = allocations();
    for (int i = 0; i < 10; i++) CHECK(calls[call].call(net) == FA_OK, "%s", what);
    CHECK(allocations() - before == 10 * expected, "%s: %g allocations a call, expected %lld", what,
          (double)(allocations() - before) / 10, (long long)expected);
}

static void train_sizes(fa_net *net, const int64_t *sizes, int n)
{
    for (int i = 0; i < n; i++) {
        const fa_samples s = labelled(&data, 0, sizes[i]);
        double loss;
        CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "batch of %lld", (long long)sizes[i]);
    }
}

static void test_no_allocation_in_a_step(void)
{
    static const char *const optimizers[] = {"sgd", "adam"};
    for (int clip = 0; clip < (quick() ? 1 : 2); clip++)
        for (int rule = 0; rule < (quick() ? 2 : n_rules); rule++) {
            const int threads = rule % 4;
            recipe r;
            recipe_init(&r, rules[rule], FA_F32);
            r.desc.n_threads = threads;
            r.optimizer.name = optimizers[threads % 2];
            r.optimizer.clip_norm = clip;
            fa_net *net = make(&r.desc);
            repeat(net, "train_batch", 0, 0);
            repeat(net, "train_batch with rows and weights", 1, 0);
            repeat(net, "train_steps with a short last batch", 2, 0);
            repeat(net, "train_steps one by one", 9, 0);
            repeat(net, "gradients", 5, 0);
            repeat(net, "predict", 3, 0);
            repeat(net, "evaluate: losses of each row", 4, 1);
            repeat(net, "alignment: second sweep, gradients, weights", 6, 3);
            repeat(net, "check", 7, 0);
            repeat(net, "train_epoch", 10, 0);
            repeat(net, "learn_one", 11, 0);
            repeat(net, "learn_many", 12, 0);
            repeat(net, "predictor: itself and its workspace", 13, 2);
            repeat(net, "deltas", 14, 0);
            repeat(net, "apply_gradients", N_CALLS - 1, 0);
            const fa_samples one = labelled(&data, 0, 1);
            fa_angles angles[2];
            CHECK(fa_alignment(angles, net, &one) == FA_OK, "alignment of one sample");
            const int64_t before = allocations();
            train_sizes(net, (int64_t[]){1, ROWS, 2, 64, 13, ROWS - 1}, 6);
            CHECK(allocations() == before, "other sizes, after other calls");
            fa_net_free(net);
        }
    CHECK(live_bytes() == 0, "all returned");
}

/* ---- what is kept ---- */

enum { LARGE = 3000 };
static dataset large;

/* The larger of what a batch of 32 takes and of the state: as much may stay. */
static int64_t limit_of(fa_net *net, int64_t without)
{
    const int64_t batch = live_bytes() - without, state = (int64_t)fa_net_state_size(net);
    return batch > state ? batch : state;
}

static void large_predict(fa_net *net)
{
    static float to[LARGE * N_OUT];
    const fa_samples s = inputs(&large, 0, LARGE);
    CHECK(fa_predict(to, N_OUT, net, &s, 0) == FA_OK, "predict");
}

static void large_evaluate(fa_net *net)
{
    fa_metrics m;
    const fa_samples s = labelled(&large, 0, LARGE);
    CHECK(fa_evaluate(&m, net, &s) == FA_OK, "evaluate");
}

static void large_gradients(fa_net *net)
{
    double loss;
    const fa_samples s = labelled(&large, 0, LARGE);
    CHECK(fa_gradients(&loss, (void *const *)grads, net, &s) == FA_OK, "gradients");
}

static void large_deltas(fa_net *net)
{
    void *deltas[3] = {NULL};
    const fa_samples s = labelled(&large, 0, LARGE);
    CHECK(fa_deltas(deltas, net, &s) == FA_OK, "deltas");
}

static void large_alignment(fa_net *net)
{
    fa_angles angles[2];
    const fa_samples s = labelled(&large, 0, LARGE);
    CHECK(fa_alignment(angles, net, &s) == FA_OK, "alignment");
}

static const struct {
    const char *name;
    void (*call)(fa_net *net);
} large_calls[] = {{"predict", large_predict},
                   {"evaluate", large_evaluate},
                   {"gradients", large_gradients},
                   {"deltas", large_deltas},
                   {"alignment", large_alignment}};
enum { N_LARGE = sizeof large_calls / sizeof *large_calls };

/* No more than the network has anyway, and the workspace of a step stays where it was. */
static void test_what_is_kept(void)
{
    for (int i = 0; i < N_LARGE; i++)
        for (int trained = quick(); trained < 2; trained++) {
            recipe r;
            recipe_init(&r, "dfa", FA_F32);
            r.desc.n_threads = 8;
            fa_net *net = make(&r.desc);
            const int64_t created = live_bytes();
            if (trained) train_sizes(net, (int64_t[]){32}, 1);
            const int64_t before = live_bytes(), most = limit_of(net, created);
            large_calls[i].call(net);
            large_calls[i].call(net);
            CHECK(live_bytes() - before <= most, "%s keeps %lld bytes, expected at most %lld",
                  large_calls[i].name, (long long)(live_bytes() - before), (long long)most);
            const int64_t count = allocations();
            if (trained) train_sizes(net, (int64_t[]){32, 7}, 2);
            CHECK(allocations() == count, "%s took the workspace of a step", large_calls[i].name);
            fa_net_free(net);
        }
    CHECK(live_bytes() == 0, "all returned");
}

static void train_large(fa_net *net)
{
    fa_metrics m;
    const fa_samples s = labelled(&large, 0, LARGE);
    CHECK(fa_train_epoch(&m, net, &s, LARGE) == FA_OK, "train_epoch");
    const int64_t count = allocations();
    CHECK(fa_train_epoch(&m, net, &s, LARGE) == FA_OK, "train_epoch");
    CHECK(allocations() == count, "a second epoch allocates nothing");
}

/* An epoch in one batch leaves nothing behind, and the workspace of train_batch stays. */
static void test_trim(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    fa_net *net = make(&r.desc);
    const int64_t created = live_bytes();
    train_large(net);
    CHECK(live_bytes() > created + LARGE * 8, "training has set memory aside");
    CHECK(fa_net_trim(net) == FA_OK && live_bytes() == created, "all of it is given back");
    train_sizes(net, (int64_t[]){32}, 1);
    const int64_t batch = live_bytes(), count = allocations();
    CHECK(fa_net_trim(net) == FA_OK && live_bytes() == batch, "a batch of train_batch stays");
    train_sizes(net, (int64_t[]){32}, 1);
    CHECK(allocations() == count, "and serves");
    train_large(net);
    CHECK(fa_net_trim(net) == FA_OK && live_bytes() <= batch, "the epoch's goes");
    CHECK(fa_net_trim(NULL) == FA_E_VALUE, "no network");
    fa_net_free(net);
    CHECK(live_bytes() == 0, "all returned");
}

int main(void)
{
    large = dataset_new(FA_F32, LARGE);
    data = dataset_new(FA_F32, ROWS);
    for (int i = 0; i < ROWS; i++) order[i] = (i * 7 + 3) % ROWS;
    static float gradients[6][N_IN * N_HIDDEN_1]; /* the largest parameter */
    for (int i = 0; i < 6; i++) grads[i] = gradients[i];

    REQUIRE(fa_set_allocator(&failing) == FA_OK, "set_allocator");
    RUN(test_create);
    RUN(test_calls);
    RUN(test_large_block);
    RUN(test_hook);
    RUN(test_no_allocation_in_a_step);
    RUN(test_what_is_kept);
    RUN(test_trim);
    dataset_free(&large);
    dataset_free(&data);
    return finish();
}

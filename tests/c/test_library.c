/* What programs of other people's use: structs that carry their size, whole epochs, one sample at a
 * time, prepared predictions, tensors by name, the log hook. */
#include "bytes.h"
#include "check.h"

#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

enum { ROWS = 150 };

static dataset data;
static dataset doubles;

static const dataset *of(fa_dtype dtype) { return dtype == FA_F64 ? &doubles : &data; }

static fa_net *new_net(const char *rule, fa_dtype dtype, double momentum)
{
    recipe r;
    recipe_init(&r, rule, dtype);
    optimizer_option(&r, "momentum", momentum);
    if (!strcmp(rule, "cdni")) r.optimizer.lr = 0.01; /* it diverges at more */
    return make(&r.desc);
}

/* ---- sizes: a smaller struct is one of an older header, a larger one is refused ---- */

static fa_status create(const recipe *r, fa_net **net) { return fa_net_create(net, &r->desc); }

static void test_sizes_of_descriptions(void)
{
    for (int which = 0; which < 4; which++) {
        recipe r;
        recipe_init(&r, "dfa", FA_F32);
        size_t *const size[] = {&r.desc.struct_size, &r.rule.struct_size, &r.optimizer.struct_size,
                                &r.layers[0].struct_size};
        const char *const name[] = {"desc", "rule", "optimizer", "layers"};
        const size_t right = *size[which];
        fa_net *net = NULL;
        *size[which] = right + 8;
        CHECK(create(&r, &net) == FA_E_VALUE && strstr(fa_last_error(), name[which]) &&
                  strstr(fa_last_error(), "newer"),
              "%s: larger", name[which]);
        *size[which] = 0;
        CHECK(create(&r, &net) == FA_E_VALUE && strstr(fa_last_error(), name[which]) &&
                  strstr(fa_last_error(), "struct_size"),
              "%s: not set", name[which]);
        CHECK(net == NULL, "%s: no network", name[which]);
    }
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.layers[SECOND].struct_size -= 8;
    fa_net *net = NULL;
    CHECK(create(&r, &net) == FA_E_VALUE && strstr(fa_last_error(), "layer 2: struct_size"),
          "layers of different sizes");
}

/* What an older program did not know counts as zero, whatever lies behind its structs. */
static void test_older_descriptions(void)
{
    recipe now, old;
    recipe_init(&now, "dfa", FA_F32);
    recipe_init(&old, "dfa", FA_F32);
    now.layers[FIRST].rate = now.layers[SECOND].rate = 0;
    now.layers[DROPOUT] = fa_dense(20, "relu");
    now.desc.seed = 0, now.desc.n_threads = 0, now.desc.input_scale = 0;
    old.layers[DROPOUT] = now.layers[DROPOUT];

    enum { STRIDE = offsetof(fa_layer_desc, rate) };
    static _Alignas(8) char layers[4 * STRIDE + 8];
    memset(layers, 0x5a, sizeof layers);
    for (int i = 0; i < 4; i++) {
        old.layers[i].struct_size = STRIDE;
        memcpy(layers + i * STRIDE, &old.layers[i], STRIDE);
    }
    old.desc.layers = (const fa_layer_desc *)(const void *)layers;
    old.desc.struct_size = offsetof(fa_net_desc, seed);
    old.desc.seed = 77, old.desc.input_scale = NAN, old.desc.n_threads = -5;
    old.rule.struct_size = offsetof(fa_rule_desc, sparsity);
    old.rule.sparsity = NAN, old.rule.feedback_rank = -1;
    old.optimizer.struct_size = offsetof(fa_optimizer_desc, clip_norm);
    old.optimizer.clip_norm = NAN;
    fa_net *a = make(&now.desc), *b = make(&old.desc);
    CHECK(same_state(a, b), "the same network");
    fa_net_free(a);
    fa_net_free(b);
}

static void test_sizes_of_calls(void)
{
    fa_net *net = new_net("dfa", FA_F32, 0), *twin = new_net("dfa", FA_F32, 0);
    fa_samples s = labelled(&data, 0, ROWS);
    fa_epoch e = EPOCH(.batch_size = 16, .count = 3);
    fa_metrics m;
    double loss;
    s.struct_size += 8;
    CHECK(fa_train_batch(&loss, net, &s) == FA_E_VALUE && strstr(fa_last_error(), "samples"),
          "larger samples");
    s.struct_size = 0;
    CHECK(fa_predict(&loss, N_OUT, net, &s, 0) == FA_E_VALUE && strstr(fa_last_error(), "samples"),
          "samples without a size");
    s.struct_size = sizeof s;
    e.struct_size += 8;
    CHECK(fa_train_steps(&m, net, &s, &e) == FA_E_VALUE && strstr(fa_last_error(), "epoch"),
          "larger epoch");
    CHECK(same_state(net, twin), "nothing happened");
    e.struct_size = sizeof e;
    CHECK(fa_train_steps(&m, twin, &s, &e) == FA_OK, "twin");
    e.struct_size = offsetof(fa_epoch, lrs);
    e.lrs = (const double *)8, e.poll = (int (*)(void *, int64_t))8;
    CHECK(fa_train_steps(&m, net, &s, &e) == FA_OK && same_state(net, twin), "an older epoch");

    fa_block_info info;
    memset(&info, 0x5a, sizeof info);
    info.struct_size = offsetof(fa_block_info, activation);
    CHECK(fa_net_block(&info, net, 1) == FA_OK && info.layer == SECOND &&
              info.n_out == N_HIDDEN_2 && info.struct_size == offsetof(fa_block_info, activation),
          "an older block info");
    CHECK(info.needs_delta == 0x5a5a5a5a, "nothing beyond it is written");
    fa_net_free(net);
    fa_net_free(twin);
}

/* ---- epochs ---- */

static void same_epoch(int64_t n, int64_t batch, fa_dtype dtype)
{
    fa_net *net = new_net("dfa", dtype, 0.5), *twin = new_net("dfa", dtype, 0.5);
    fa_samples s = labelled(of(dtype), 0, n);
    s.weights = data.weights;
    int64_t order[ROWS];
    const int64_t rows = batch < n ? batch : n;
    for (int epoch = 0; epoch < 3; epoch++) {
        fa_metrics m, expected;
        const fa_epoch e =
            EPOCH(.order = order, .batch_size = batch, .count = (n + rows - 1) / rows);
        CHECK(fa_shuffle(order, twin, n) == FA_OK &&
                  fa_train_steps(&expected, twin, &s, &e) == FA_OK,
              "twin");
        CHECK(fa_train_epoch(&m, net, &s, batch) == FA_OK, "epoch");
        CHECK(same_state(net, twin) && !memcmp(&m, &expected, sizeof m),
              "n %lld, batch %lld, epoch %d: fa_shuffle, then fa_train_steps", (long long)n,
              (long long)batch, epoch);
        CHECK(m.rows == n && fa_net_epochs(net) == epoch + 1, "counts");
    }
    fa_net_free(net);
    fa_net_free(twin);
}

static void test_epoch(void)
{
    static const int64_t n[] = {1, 2, 31, ROWS}, batch[] = {1, 7, 64, ROWS + 1};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) same_epoch(n[i], batch[j], dtypes[(i + j) % 2]);
}

static void test_wrong_epoch(void)
{
    fa_net *net = new_net("dfa", FA_F32, 0), *twin = new_net("dfa", FA_F32, 0);
    fa_samples s = labelled(&data, 0, ROWS);
    fa_metrics m = {.rows = -1};
    CHECK(fa_train_epoch(&m, net, &s, 0) == FA_E_VALUE && strstr(fa_last_error(), "batch_size"),
          "batch_size 0");
    CHECK(fa_train_epoch(NULL, net, &s, 8) == FA_E_VALUE, "metrics NULL");
    CHECK(fa_train_epoch(&m, net, NULL, 8) == FA_E_VALUE, "samples NULL");
    int64_t labels[ROWS] = {0};
    labels[ROWS - 1] = N_OUT;
    s.labels = labels;
    CHECK(fa_train_epoch(&m, net, &s, 8) == FA_E_VALUE && strstr(fa_last_error(), "labels"),
          "a bad label");
    CHECK(m.rows == -1 && same_state(net, twin) && fa_net_epochs(net) == 0, "nothing happened");
    fa_net_free(net);
    fa_net_free(twin);
}

/* ---- one sample at a time ---- */

static void learn(const char *rule, fa_dtype dtype, double momentum, bool rows)
{
    const dataset *d = of(dtype);
    fa_net *one = new_net(rule, dtype, momentum), *many = new_net(rule, dtype, momentum),
           *batches = new_net(rule, dtype, momentum);
    const int64_t n = quick() ? ROWS / 8 : ROWS;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const fa_samples s = rows ? targeted(d, i, 1) : labelled(d, i, 1);
        double loss[2] = {-1, -2};
        CHECK(fa_train_batch(&loss[0], batches, &s) == FA_OK, "batch of one");
        CHECK(fa_learn_one(&loss[1], one, s.x, rows ? -7 : d->labels[i], s.y) == FA_OK &&
                  loss[0] == loss[1],
              "%s: learn_one: the loss", rule);
        sum += loss[0];
    }
    CHECK(same_state(one, batches), "%s: learn_one is a batch of one", rule);
    const fa_samples all = rows ? targeted(d, 0, n) : labelled(d, 0, n);
    fa_metrics m;
    CHECK(fa_learn_many(&m, many, &all) == FA_OK && same_state(many, one),
          "%s: learn_many is learn_one for each", rule);
    CHECK(m.loss == sum && m.rows == n && m.steps == n, "%s: its metrics", rule);
    fa_net_free(one);
    fa_net_free(many);
    fa_net_free(batches);
}

static void test_learning(void)
{
    const char *rule;
    for (int i = 0; (rule = fa_name(FA_NAMES_RULE, i)); i++)
        for (int kind = 0; kind < 4 && strcmp(rule, "custom"); kind++)
            learn(rule, dtypes[kind % 2], kind < 2 ? 0 : 0.9,
                  (kind + i) % 2 && strcmp(rule, "drtp"));
}

static void test_wrong_sample(void)
{
    fa_net *net = new_net("dfa", FA_F32, 0), *twin = new_net("dfa", FA_F32, 0);
    float x[N_IN], y[N_OUT] = {1};
    memcpy(x, data.x, sizeof x);
    double loss = -1;
    CHECK(fa_learn_one(&loss, NULL, x, 0, NULL) == FA_E_VALUE, "no network");
    CHECK(fa_learn_one(NULL, net, x, 0, NULL) == FA_E_VALUE && strstr(fa_last_error(), "loss"),
          "no loss");
    CHECK(fa_learn_one(&loss, net, NULL, 0, NULL) == FA_E_VALUE && strstr(fa_last_error(), "X"),
          "no x");
    CHECK(fa_learn_one(&loss, net, x, N_OUT, NULL) == FA_E_VALUE &&
              strstr(fa_last_error(), "labels"),
          "label %d", N_OUT);
    CHECK(fa_learn_one(&loss, net, x, -1, NULL) == FA_E_VALUE, "label -1");
    y[1] = NAN;
    CHECK(fa_learn_one(&loss, net, x, 0, y) == FA_E_VALUE && strstr(fa_last_error(), "y"), "y nan");
    y[1] = 1;
    CHECK(fa_learn_one(&loss, net, x, 0, y) == FA_E_VALUE, "y that sums to two");
    x[N_IN - 1] = INFINITY;
    CHECK(fa_learn_one(&loss, net, x, 0, NULL) == FA_E_VALUE && strstr(fa_last_error(), "X"),
          "x inf");
    ((float *)fa_net_tensor(net, 5).data)[3] = NAN;
    ((float *)fa_net_tensor(twin, 5).data)[3] = NAN;
    CHECK(fa_learn_one(&loss, net, data.x, 0, NULL) == FA_E_NONFINITE, "a loss of nan");
    CHECK(loss == -1, "the loss is not written");
    void *a = state_of(net), *b = state_of(twin);
    CHECK(!memcmp(a, b, fa_net_state_size(net)), "nothing happened");
    free(a), free(b);
    fa_net_free(net);
    fa_net_free(twin);
}

/* ---- prepared predictions ---- */

static void predict_both(const fa_net *net, fa_dtype dtype, fa_dtype x_dtype, const void *x)
{
    for (int logits = 0; logits < 2; logits++) {
        fa_predictor *p;
        REQUIRE(fa_predictor_create(&p, net, x_dtype, logits) == FA_OK, "create");
        double expected[ROWS * N_OUT], got[ROWS * N_OUT]; /* room for either type */
        const fa_samples s = fa_samples_of(x, N_IN, x_dtype, ROWS);
        CHECK(fa_predict(expected, N_OUT, net, &s, logits) == FA_OK, "predict");
        for (int i = 0; i < ROWS; i++)
            CHECK(fa_predict_one(rows_at(got, dtype, i, N_OUT), p, rows_at(x, x_dtype, i, N_IN)) ==
                      FA_OK,
                  "predict_one");
        CHECK(!memcmp(expected, got, ROWS * N_OUT * size_of(dtype)), "the bits of fa_predict");
        fa_predictor_free(p);
    }
}

static void test_predictor(void)
{
    static const char *const losses[] = {"softmax_cross_entropy", "sigmoid_cross_entropy", "mse"};
    static unsigned char pixels[ROWS * N_IN];
    for (int i = 0; i < ROWS * N_IN; i++) pixels[i] = (unsigned char)(i * 37);
    const char *activation;
    for (int i = 0; (activation = fa_name(FA_NAMES_ACTIVATION, i)); i++)
        for (int kind = quick() ? i % 3 : 0; kind < 6; kind += quick() ? 3 : 1) {
            recipe r;
            recipe_init(&r, "frozen", dtypes[i % 2]);
            r.layers[SECOND].activation = activation;
            if (kind % 2) r.layers[FIRST] = fa_dropout(0.5); /* passes the input on */
            r.desc.loss = losses[kind / 2];
            r.desc.input_scale = kind == 5 ? 0.5 : 0;
            fa_net *net = make(&r.desc);
            predict_both(net, dtypes[i % 2], dtypes[i % 2], of(dtypes[i % 2])->x);
            predict_both(net, dtypes[i % 2], FA_U8, pixels);
            fa_net_free(net);
        }
}

/* A predictor sees the weights as they are at each call, on whatever thread. */
static void test_predictor_follows(void)
{
    fa_net *net = new_net("dfa", FA_F32, 0);
    fa_predictor *p;
    float before[N_OUT], out[N_OUT], expected[N_OUT];
    const fa_samples s = labelled(&data, 0, ROWS), first = inputs(&data, 0, 1);
    REQUIRE(fa_predictor_create(&p, net, FA_F32, 0) == FA_OK, "create");
    CHECK(fa_predict_one(before, p, data.x) == FA_OK, "predict");
    for (int64_t n = 1; n <= ROWS; n += 74) { /* workspaces of the network change meanwhile */
        double loss;
        const fa_samples some = labelled(&data, 0, n);
        CHECK(fa_train_batch(&loss, net, &some) == FA_OK, "train");
        CHECK(fa_predict_one(out, p, data.x) == FA_OK &&
                  fa_predict(expected, N_OUT, net, &first, 0) == FA_OK &&
                  !memcmp(out, expected, sizeof out) && memcmp(out, before, sizeof out),
              "after training");
    }
    fa_metrics m;
    CHECK(fa_evaluate(&m, net, &s) == FA_OK && fa_net_reset(net) == FA_OK &&
              fa_predict_one(out, p, data.x) == FA_OK && !memcmp(out, before, sizeof out),
          "after reset");
    float nan[N_IN];
    for (int i = 0; i < N_IN; i++) nan[i] = NAN;
    CHECK(fa_predict_one(out, p, nan) == FA_OK && isnan(out[0]) && isnan(out[N_OUT - 1]),
          "nan in, nan out");
    fa_predictor_free(p);
    CHECK(fa_predictor_create(&p, net, FA_F64, 0) == FA_E_VALUE &&
              strstr(fa_last_error(), "x_dtype"),
          "another dtype");
    CHECK(fa_predictor_create(&p, NULL, FA_F32, 0) == FA_E_VALUE, "no network");
    CHECK(fa_predictor_create(NULL, net, FA_F32, 0) == FA_E_VALUE, "nowhere to put it");
    CHECK(fa_predict_one(out, NULL, data.x) == FA_E_VALUE, "no predictor");
    fa_predictor_free(NULL);
    fa_net_free(net);
}

/* ---- tensors by name ---- */

static void test_names(void)
{
    fa_net *net = new_net("dfa", FA_F32, 0.9);
    static const char *const keys[] = {"0.weight", "0.bias", "2.weight",   "2.bias",
                                       "3.weight", "3.bias", "0.feedback", "2.feedback"};
    for (int i = 0; i < 8; i++) {
        const int64_t at = fa_net_find(net, keys[i]);
        REQUIRE(at >= 0, "%s", keys[i]);
        const fa_tensor t = fa_net_tensor(net, at);
        CHECK(!strcmp(t.key, keys[i]) && t.kind != FA_SLOT, "%s: found %s", keys[i], t.key);
        float *values = malloc((size_t)(t.rows * t.cols) * sizeof *values);
        CHECK(fa_net_read(values, net, at) == FA_OK &&
                  !memcmp(values, t.data, (size_t)(t.rows * t.cols) * sizeof *values),
              "%s: read", keys[i]);
        for (int64_t j = 0; j < t.rows * t.cols; j++) values[j] = (float)j;
        CHECK(fa_net_write(net, at, values) == FA_OK &&
                  !memcmp(values, t.data, (size_t)(t.rows * t.cols) * sizeof *values),
              "%s: write", keys[i]);
        free(values);
    }
    CHECK(fa_net_find(net, "1.weight") == -1 && fa_net_find(net, "") == -1 &&
              fa_net_find(net, NULL) == -1 && fa_net_find(NULL, "0.weight") == -1,
          "no such tensor");
    float value;
    CHECK(fa_net_read(&value, net, -1) == FA_E_VALUE && fa_net_read(NULL, net, 0) == FA_E_VALUE,
          "read nothing");
    fa_net_free(net);
}

/* ---- calls from inside a call ---- */

typedef struct {
    fa_net *net, *other;
    int asked, refused, served;
} insider;

static bool predicts(fa_net *net)
{
    float out[N_OUT];
    const fa_samples one = inputs(&data, 0, 1);
    return fa_predict(out, N_OUT, net, &one, 0) == FA_OK;
}

/* Each of these would wait for the call that it is in. */
static void ask(insider *in)
{
    double loss;
    const fa_samples s = labelled(&data, 0, 8);
    float *one = data.x;
    alarm(60); /* fails instead of hanging */
    in->asked += 4;
    in->refused += fa_net_set_lr(in->net, 1) == FA_E_STATE;
    in->refused += fa_train_batch(&loss, in->net, &s) == FA_E_STATE;
    in->refused += fa_learn_one(&loss, in->net, one, 1, NULL) == FA_E_STATE;
    in->refused += !predicts(in->net);
    in->served += predicts(in->other);
    in->served += fa_train_batch(&loss, in->other, &s) == FA_OK;
    alarm(0);
}

static int teach_and_ask(void *user, const fa_rule_context *t)
{
    ask(user);
    return silent(NULL, t);
}

static int write_and_ask(void *user, const void *piece, size_t size)
{
    (void)piece, (void)size;
    ask(user);
    return 0;
}

static void test_calls_from_inside(void)
{
    recipe r;
    recipe_init(&r, "custom", FA_F32);
    insider in = {.other = new_net("dfa", FA_F32, 0)};
    r.rule.signal = teach_and_ask, r.rule.user = &in;
    in.net = make(&r.desc);
    const fa_samples s = labelled(&data, 0, 32);
    void *none[16] = {0};
    fa_angles angles[2];
    double loss;
    for (int call = 0; call < 5; call++) {
        in.asked = in.refused = in.served = 0;
        const fa_status status = call == 0   ? fa_train_batch(&loss, in.net, &s)
                                 : call == 1 ? fa_gradients(&loss, none, in.net, &s)
                                 : call == 2 ? fa_deltas(none, in.net, &s)
                                 : call == 3 ? fa_alignment(angles, in.net, &s)
                                             : fa_save_to(in.net, write_and_ask, &in);
        CHECK(status == FA_OK, "call %d", call);
        CHECK(in.asked >= 8 && in.refused == in.asked && in.served == in.asked / 2,
              "call %d: of %d calls from inside %d were refused; %d of others served", call,
              in.asked, in.refused, in.served);
        CHECK(predicts(in.net), "call %d: used after it", call);
    }
    fa_net_free(in.net);
    fa_net_free(in.other);
}

/* ---- the log, version ---- */

typedef struct {
    pthread_t thread;
    int messages;
    bool right_thread, names_it;
} listener;

static void listen(void *user, const char *message)
{
    listener *l = user;
    l->messages++;
    l->right_thread = pthread_equal(l->thread, pthread_self());
    l->names_it = strstr(message, "FASTFA_NUM_THREADS") && strstr(message, "'several'");
}

static void test_log(void) /* the first to ask for the number of threads */
{
    listener l = {.thread = pthread_self()};
    char *before = set_variable("FASTFA_NUM_THREADS", "several");
    fa_set_log(listen, &l);
    CHECK(fa_get_num_threads() >= 1, "threads");
    CHECK(l.messages == 1 && l.right_thread && l.names_it, "%d messages", l.messages);
    fa_set_log(NULL, NULL);
    restore_variable("FASTFA_NUM_THREADS", before);
}

static void test_multiply(void)
{
    fa_net *net = new_net("dfa", FA_F32, 0);
    const float a[] = {1, 2}, b[] = {5, 6, 7, 8};
    float c[2] = {-1, -1};
    CHECK(fa_multiply(c, net, a, 2, b, 2, 1, 2, 2) == FA_OK && c[0] == 19 && c[1] == 22,
          "1 2 by 2 2: %g %g", c[0], c[1]);
    CHECK(fa_multiply(c, net, a, 2, b, 2, 1, 0, 2) == FA_OK && c[0] == 0 && c[1] == 0, "nothing");
    for (int which = 0; which < 3; which++)
        CHECK(fa_multiply(c, net, a, 2, b, 2, which == 0 ? -1 : 1, which == 1 ? -1 : 2,
                          which == 2 ? -1 : 2) == FA_E_VALUE,
              "negative size %d", which);
    fa_net_free(net);
}

static void test_version(void)
{
    int major, minor, patch;
    REQUIRE(sscanf(fa_version(), "%d.%d.%d", &major, &minor, &patch) == 3, "%s", fa_version());
    CHECK(!strcmp(fa_version(), FASTFA_VERSION), "header and library");
    CHECK(fa_version_number() == FASTFA_VERSION_NUMBER &&
              fa_version_number() == major * 10000 + minor * 100 + patch,
          "number %d", fa_version_number());
    CHECK(strstr(fa_build_info(), "\"isa\"") && strstr(fa_build_info(), FASTFA_VERSION), "build");
    char *before = set_variable("FASTFA_GEMM", "a\"b\\c");
    CHECK(strstr(fa_build_info(), "\"gemm\": \"a?b?c\","), "still JSON: %s", fa_build_info());
    restore_variable("FASTFA_GEMM", before);
}

int main(void)
{
    RUN(test_log);
    data = dataset_new(FA_F32, ROWS);
    doubles = dataset_new(FA_F64, ROWS);
    RUN(test_sizes_of_descriptions);
    RUN(test_older_descriptions);
    RUN(test_sizes_of_calls);
    RUN(test_epoch);
    RUN(test_wrong_epoch);
    RUN(test_learning);
    RUN(test_wrong_sample);
    RUN(test_predictor);
    RUN(test_predictor_follows);
    RUN(test_calls_from_inside);
    RUN(test_names);
    RUN(test_multiply);
    RUN(test_version);
    dataset_free(&data);
    dataset_free(&doubles);
    return finish();
}

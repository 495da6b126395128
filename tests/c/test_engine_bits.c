/* Same bits: for any number of threads, for steps one at a time or many in a row, for rows
 * predicted together or alone; for every rule, optimizer and element type. FASTFA_TEST_QUICK: fewer
 * of them. */
#include "check.h"
#include "api/api.h"

enum { ROWS = 203, BATCH = 64, N_OPTIMIZERS = 6 };

static dataset data[2]; /* by dtype */
static int64_t order[ROWS];

static const struct {
    const char *label, *name;
    double momentum, clip_norm, weight_decay;
} optimizers[N_OPTIMIZERS] = {
    {"sgd", "sgd", 0, 0, 0.01},         {"momentum", "sgd", 0.9, 0, 0},
    {"clipped sgd", "sgd", 0, 0.05, 0}, {"clipped adam", "adam", 0, 0.05, 0.01},
    {"adamw", "adamw", 0, 0, 0.01},     {"rmsprop", "rmsprop", 0.5, 0, 0},
};

static void with_optimizer(recipe *r, int i)
{
    r->optimizer.name = optimizers[i].name;
    r->optimizer.lr = 0.05;
    optimizer_option(r, "momentum", optimizers[i].momentum);
    r->optimizer.clip_norm = optimizers[i].clip_norm;
    r->optimizer.weight_decay = optimizers[i].weight_decay;
    r->optimizer.l1 = i % 2 ? 1e-3 : 0;
}

/* Batches of many sizes, with labels, target rows and sample weights. */
static void train_a_while(fa_net *net, const dataset *d)
{
    static const int64_t sizes[] = {BATCH, 1, 13, ROWS, 8, BATCH};
    for (int i = 0; i < 6; i++) {
        fa_samples s = i % 2 ? labelled(d, i, sizes[i] - (sizes[i] == ROWS ? i : 0))
                             : targeted(d, i, sizes[i]);
        if (i > 3) s.weights = d->weights;
        double loss;
        CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "step %d", i);
    }
}

static void compare_threads(const char *rule, fa_dtype dtype, int optimizer)
{
    static const int threads[] = {1, 2, 3, 5, 0};
    recipe r;
    recipe_init(&r, rule, dtype);
    with_optimizer(&r, optimizer);
    fa_net *first = NULL;
    for (int t = 0; t < 5; t++) {
        r.desc.n_threads = threads[t];
        fa_net *net = make(&r.desc);
        train_a_while(net, &data[dtype]);
        if (!first) {
            first = net;
            continue;
        }
        CHECK(same_state(net, first), "%s, %s, float%d: %d threads differ from 1", rule,
              optimizers[optimizer].label, dtype == FA_F64 ? 64 : 32, threads[t]);
        fa_net_free(net);
    }
    fa_net_free(first);
}

static void test_threads(void)
{
    const int step = quick() ? 3 : 1;
    for (int rule = 0; rule < n_rules; rule++)
        for (int type = 0; type < 2; type++)
            for (int i = rule % step; i < N_OPTIMIZERS; i += step)
                compare_threads(rules[rule], dtypes[type], i);
}

/* A wide network: several tiles both ways, panels of transport, more rows than one chunk. Products
 * pack as they do where L2 is slow on two threads. */
static void test_threads_wide(void)
{
    for (int rule = 0; rule < n_rules; rule++) {
        recipe r;
        recipe_init(&r, rules[rule], FA_F32);
        r.layers[FIRST].units = 517, r.layers[SECOND].units = 601;
        r.layers[FIRST].activation = "gelu";
        if (rule > 1 && rule < 5) r.rule.inject = "pre";
        r.optimizer.clip_norm = rule % 2;
        fa_net *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            r.desc.n_threads = threads;
            fa_net *net = make(&r.desc);
            const bool here = fa_l2_is_slow;
            fa_l2_is_slow = threads == 2;
            train_a_while(net, &data[FA_F32]);
            fa_l2_is_slow = here;
            if (threads == 1)
                first = net;
            else
                CHECK(same_state(net, first), "%s: %d threads differ from 1", rules[rule], threads);
            if (net != first) fa_net_free(net);
        }
        fa_net_free(first);
    }
}

/* ---- every rule that the library lists ---- */

/* One variant of a rule: as it comes, with feedback of one entry a unit, or on units without
 * derivative. */
static fa_status variant_init(recipe *r, const char *rule, fa_dtype dtype, int variant)
{
    recipe_init(r, rule, dtype);
    rule_option(r, "oja", 0.1);
    rule_option(r, "threshold", 0.1);
    if (variant == 1) r->rule.sparsity = 1 - 1.0 / N_OUT;
    if (variant == 2) {
        r->layers[FIRST].activation = r->layers[SECOND].activation = "sign";
        if (strcmp(rule, "pepita")) r->rule.inject = "pre";
    }
    with_optimizer(r, (variant + (int)dtype) % N_OPTIMIZERS);
    fa_net *net = NULL;
    const fa_status status = fa_net_create(&net, &r->desc);
    fa_net_free(net);
    return status;
}

static void look_at(fa_net *net, const dataset *d)
{
    fa_angles angles[2];
    const fa_samples s = labelled(d, 0, 37);
    CHECK(fa_alignment(angles, net, &s) == FA_OK, "alignment");
}

static void test_every_rule(void)
{
    const char *rule;
    for (int i = 0; (rule = fa_name(FA_NAMES_RULE, i)); i++)
        for (int variant = 0; variant < 3; variant++)
            for (int type = 0; type < 2; type++) {
                recipe r;
                const bool plain = strcmp(rule, "custom") && variant == 0;
                const fa_status status = variant_init(&r, rule, dtypes[type], variant);
                CHECK(status == FA_OK || (status == FA_E_VALUE && !plain), "%s, variant %d", rule,
                      variant);
                if (status) continue;
                fa_net *nets[2];
                for (int t = 0; t < 2; t++) {
                    r.desc.n_threads = 1 + 2 * t;
                    nets[t] = make(&r.desc);
                    train_a_while(nets[t], &data[dtypes[type]]);
                    look_at(nets[t], &data[dtypes[type]]);
                }
                CHECK(same_state(nets[0], nets[1]), "%s, variant %d: 3 threads differ from 1", rule,
                      variant);
                for (int t = 0; t < 2; t++) fa_net_free(nets[t]);
            }
}

/* ReLU without followers: the product of the signal has f' in it, or f' comes after it. */
static void test_derivative_at_once(void)
{
    const char *rule;
    for (int i = 0; (rule = fa_name(FA_NAMES_RULE, i)); i++)
        for (int type = 0; type < 2; type++) {
            recipe r;
            if (variant_init(&r, rule, dtypes[type], 0)) continue; /* custom */
            r.layers[FIRST].activation = r.layers[SECOND].activation = "relu";
            r.layers[DROPOUT] = r.layers[SECOND], r.layers[SECOND] = r.layers[LAST];
            r.desc.n_layers = 3;
            fa_net *nets[2];
            for (int after = 0; after < 2; after++) {
                r.desc.n_threads = 1 + 2 * after;
                nets[after] = make(&r.desc);
                for (int b = 0; b < nets[after]->n_blocks - 1; b++) {
                    fa_rule *taught = &nets[after]->blocks[b].rule;
                    CHECK(taught->fuses_relu_backward == taught->ops->product, "%s: layer %d", rule,
                          b);
                    if (after) taught->fuses_relu_backward = false;
                }
                train_a_while(nets[after], &data[dtypes[type]]);
                const fa_samples s = labelled(&data[dtypes[type]], 0, 37);
                fa_metrics m;
                CHECK(fa_learn_many(&m, nets[after], &s) == FA_OK, "%s: a stream", rule);
            }
            CHECK(same_state(nets[0], nets[1]), "%s: f' at once and afterwards", rule);
            for (int t = 0; t < 2; t++) fa_net_free(nets[t]);
        }
    CHECK(fa_find_rule("dfa")->product, "a rule that has f' at once");
}

/* ---- gradients, evaluation, alignment ---- */

static void look(fa_net *net, const dataset *d, fa_angles angles[2], fa_metrics *metrics,
                 void *gradient)
{
    const fa_samples s = labelled(d, 0, ROWS);
    void *grads[MOST_TENSORS] = {gradient};
    double loss;
    CHECK(fa_gradients(&loss, grads, net, &s) == FA_OK, "gradients");
    CHECK(fa_evaluate(metrics, net, &s) == FA_OK, "evaluate");
    CHECK(fa_alignment(angles, net, &s) == FA_OK, "alignment");
    CHECK(angles[0].layer == FIRST && angles[1].layer == SECOND, "layers of the angles");
}

static bool same_angles(const fa_angles *a, const fa_angles *b)
{
    return !memcmp(&a->delta_angle, &b->delta_angle, 3 * sizeof(double)) &&
           !memcmp(&a->norm_ratio, &b->norm_ratio, sizeof(double));
}

static void test_threads_when_looking(void)
{
    for (int rule = 0; rule < n_rules; rule++) {
        recipe r;
        recipe_init(&r, rules[rule], FA_F64);
        fa_angles angles[2][2];
        fa_metrics metrics[2];
        static double gradients[2][N_IN * N_HIDDEN_1];
        for (int i = 0; i < 2; i++) {
            r.desc.n_threads = 1 + 2 * i;
            fa_net *net = make(&r.desc);
            look(net, &data[FA_F64], angles[i], &metrics[i], gradients[i]);
            fa_net_free(net);
        }
        CHECK(!memcmp(&metrics[0], &metrics[1], sizeof metrics[0]), "%s: evaluate", rules[rule]);
        CHECK(!memcmp(gradients[0], gradients[1], sizeof gradients[0]), "%s: gradients",
              rules[rule]);
        for (int b = 0; b < 2; b++)
            CHECK(same_angles(&angles[0][b], &angles[1][b]), "%s: alignment of hidden layer %d",
                  rules[rule], b);
    }
}

/* ---- many steps in a row are the same steps ---- */

/* Rows order[0..n-1] of d, brought together. */
static dataset gathered(const dataset *d, const int64_t *rows, int64_t n)
{
    dataset g = dataset_new(d->dtype, n);
    for (int64_t i = 0; i < n; i++) {
        memcpy(rows_at(g.x, d->dtype, i, N_IN), rows_at(d->x, d->dtype, rows[i], N_IN),
               N_IN * size_of(d->dtype));
        memcpy(rows_at(g.y, d->dtype, i, N_OUT), rows_at(d->y, d->dtype, rows[i], N_OUT),
               N_OUT * size_of(d->dtype));
        g.labels[i] = d->labels[rows[i]];
        g.weights[i] = d->weights[rows[i]];
    }
    return g;
}

static void one_by_one(fa_metrics *sums, fa_net *net, const dataset *d, int64_t batch, bool rows,
                       bool weights)
{
    for (int64_t first = 0; first < ROWS; first += batch) {
        const int64_t n = ROWS - first < batch ? ROWS - first : batch;
        fa_samples s = rows ? targeted(d, first, n) : labelled(d, first, n);
        if (weights) s.weights = d->weights + first;
        double loss;
        CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "train_batch");
        sums->loss += loss * (double)n;
        sums->rows += n;
        sums->steps++;
    }
}

static void compare_steps(int rule, int optimizer, fa_dtype dtype, int64_t batch, bool shuffled,
                          bool rows)
{
    const int64_t steps = (ROWS + batch - 1) / batch;
    recipe r;
    recipe_init(&r, rules[rule], dtype);
    with_optimizer(&r, optimizer);
    r.desc.n_threads = 2;
    const dataset *d = &data[dtype];
    dataset copy = gathered(d, order, ROWS);
    fa_net *many = make(&r.desc), *single = make(&r.desc);
    fa_samples s = rows ? targeted(d, 0, ROWS) : labelled(d, 0, ROWS);
    s.weights = shuffled ? d->weights : NULL;
    fa_metrics m[2] = {{0}};
    fa_epoch e = EPOCH(.order = shuffled ? order : NULL, .batch_size = batch, .count = steps);
    CHECK(fa_train_steps(&m[0], many, &s, &e) == FA_OK, "train_steps");
    one_by_one(&m[1], single, shuffled ? &copy : d, batch, rows, shuffled);
    CHECK(same_state(many, single),
          "%s, %s, batch %lld, order %d, rows %d: train_steps differs from train_batch",
          rules[rule], optimizers[optimizer].label, (long long)batch, shuffled, rows);
    CHECK(m[0].loss == m[1].loss && m[0].rows == ROWS && m[0].steps == steps, "metrics");
    dataset_free(&copy);
    fa_net_free(many);
    fa_net_free(single);
}

static void test_steps(void)
{
    for (int rule = 0; rule < n_rules; rule++)
        for (int i = 0; i < 4; i++)
            compare_steps(rule, (rule + i) % N_OPTIMIZERS, dtypes[i / 2], BATCH, i % 2,
                          (rule + i / 2) % 2);
}

static void test_steps_of_one_sample(void)
{
    for (int rule = 0; rule < n_rules; rule++)
        for (int i = 0; i < 8;
             i++) /* plain SGD, which may update in place, and each of the others */
            compare_steps(rule, i % 2 ? (rule + i) % N_OPTIMIZERS : 0, dtypes[i / 4], 1, i / 2 % 2,
                          (rule + i / 2) % 2);
}

/* One sample a batch, with what may be odd about a layer: no bias, no training, pre, gelu. */
static void test_odd_layers_one_sample(void)
{
    for (int odd = 0; odd < 8; odd++) {
        recipe r;
        recipe_init(&r, rules[1 + odd % 4], FA_F32);
        r.layers[FIRST].use_bias = odd % 2;
        r.layers[SECOND].trainable = odd / 2 % 2;
        r.layers[LAST].trainable = odd / 4 % 2;
        r.layers[FIRST].activation = odd % 3 ? "gelu" : "softplus"; /* keep A and H */
        r.layers[FIRST].units = odd % 2 ? 1 : 517;
        r.layers[SECOND].lr_scale = 0.5;
        if (odd % 4) r.rule.inject = "pre";
        r.optimizer.weight_decay = 0.01 * (odd % 3);
        fa_net *many = make(&r.desc), *single = make(&r.desc);
        const fa_samples s = labelled(&data[FA_F32], 0, ROWS);
        fa_metrics m[2] = {{0}};
        CHECK(fa_train_steps(&m[0], many, &s, &EPOCH(.batch_size = 1, .count = ROWS)) == FA_OK,
              "train_steps");
        one_by_one(&m[1], single, &data[FA_F32], 1, false, false);
        CHECK(same_state(many, single) && m[0].loss == m[1].loss,
              "odd network %d: train_steps differs from train_batch", odd);
        fa_net_free(many);
        fa_net_free(single);
    }
}

/* An epoch in pieces is the epoch; learning rates of the steps count. */
static void test_pieces(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    fa_net *whole = make(&r.desc), *pieces = make(&r.desc);
    const fa_samples s = labelled(&data[FA_F32], 0, ROWS);
    const double lrs[] = {0.3, 0.2, 0, 0.1};
    fa_metrics m, sum = {0};
    CHECK(fa_train_steps(&m, whole, &s,
                         &EPOCH(.order = order, .batch_size = BATCH, .count = 4, .lrs = lrs)) ==
              FA_OK,
          "whole");
    for (int64_t i = 0; i < 4; i++) {
        fa_metrics part;
        CHECK(fa_net_set_lr(pieces, lrs[i]) == FA_OK, "set_lr");
        CHECK(fa_train_steps(&part, pieces, &s,
                             &EPOCH(.order = order, .batch_size = BATCH, .first = i, .count = 1)) ==
                  FA_OK,
              "piece");
        sum.loss += part.loss, sum.hits += part.hits, sum.rows += part.rows;
    }
    CHECK(fa_net_set_lr(whole, lrs[3]) == FA_OK, "the learning rate is part of the state");
    CHECK(same_state(whole, pieces), "an epoch in pieces differs from the epoch");
    CHECK(sum.loss == m.loss && sum.hits == m.hits && sum.rows == m.rows, "and so do its metrics");
    CHECK(fa_train_steps(&m, whole, &s, &EPOCH(.batch_size = BATCH, .first = 4, .count = 0)) ==
                  FA_OK &&
              m.steps == 0,
          "no steps");
    fa_net_free(whole);
    fa_net_free(pieces);
}

/* A batch larger than the data is one short batch. */
static void test_large_batch(void)
{
    recipe r;
    recipe_init(&r, "fa", FA_F32);
    fa_net *a = make(&r.desc), *b = make(&r.desc);
    const fa_samples s = labelled(&data[FA_F32], 0, 17);
    fa_metrics m;
    double loss;
    CHECK(fa_train_steps(&m, a, &s, &EPOCH(.batch_size = INT64_MAX, .count = 1)) == FA_OK &&
              m.rows == 17,
          "one batch");
    CHECK(fa_train_batch(&loss, b, &s) == FA_OK, "train_batch");
    CHECK(same_state(a, b), "a batch larger than the data");
    fa_net_free(a);
    fa_net_free(b);
}

/* ---- predicting ---- */

/* Together with a wide stride, alone, in pieces; nothing is written between the rows. */
static void compare_rows(const fa_net *net, const fa_samples *s, fa_dtype dtype, int logits)
{
    enum { STRIDE = N_OUT + 3 };
    char *together = malloc(ROWS * STRIDE * size_of(dtype)),
         *alone = malloc(N_OUT * size_of(dtype));
    memset(together, 0x5a, ROWS * STRIDE * size_of(dtype));
    CHECK(fa_predict(together, STRIDE, net, s, logits) == FA_OK, "predict");
    int64_t different = 0, touched = 0;
    for (int64_t i = 0; i < ROWS; i++) {
        fa_samples one = *s;
        one.n = 1;
        one.x = (const char *)s->x + (size_t)(i * s->ldx) * size_of(s->x_dtype);
        CHECK(fa_predict(alone, N_OUT, net, &one, logits) == FA_OK, "predict one row");
        const char *row = together + (size_t)(i * STRIDE) * size_of(dtype);
        different += memcmp(row, alone, N_OUT * size_of(dtype)) != 0;
        for (size_t j = N_OUT * size_of(dtype); j < STRIDE * size_of(dtype); j++)
            touched += row[j] != 0x5a;
    }
    CHECK(different == 0, "%lld rows differ when predicted alone", (long long)different);
    CHECK(touched == 0, "%lld bytes written between the rows", (long long)touched);
    free(together);
    free(alone);
}

static void test_predict(void)
{
    static const char *const losses[] = {"softmax_cross_entropy", "sigmoid_cross_entropy", "mse"};
    static const char *const activations[] = {"tanh",    "gelu", "softplus",
                                              "sigmoid", "relu", "sign"};
    uint8_t *bytes = malloc(ROWS * N_IN);
    for (int64_t i = 0; i < ROWS * N_IN; i++) bytes[i] = (uint8_t)random_bits();
    for (int i = 0; i < 6; i++)
        for (int type = 0; type < 2; type++) {
            recipe r;
            recipe_init(&r, "frozen", dtypes[type]);
            r.layers[FIRST].activation = r.layers[SECOND].activation = activations[i];
            r.desc.loss = losses[i % 3];
            r.desc.n_threads = 1 + i;
            r.desc.input_scale = i % 2 ? 0 : 0.5;
            fa_net *net = make(&r.desc);
            fa_samples s = inputs(&data[dtypes[type]], 0, ROWS);
            compare_rows(net, &s, dtypes[type], i % 2);
            s.x = bytes, s.x_dtype = FA_U8;
            compare_rows(net, &s, dtypes[type], 0);
            fa_net_free(net);
        }
    free(bytes);
}

static bool same_sums(fa_metrics a, fa_metrics b)
{ return a.loss == b.loss && a.hits == b.hits && a.rows == b.rows && a.steps == b.steps; }

/* Samples that come in parts, as from a file that is larger than memory: the sums of one call over
 * all. */
static void test_sums_go_on(void)
{
    enum { PART = 3 * BATCH };
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    const dataset *d = &data[FA_F32];
    fa_net *whole = make(&r.desc), *parts = make(&r.desc);
    fa_samples all = labelled(d, 0, ROWS);
    all.weights = d->weights;
    fa_samples first = all, rest = all;
    first.n = PART;
    rest.n = ROWS - PART;
    rest.x = (const float *)all.x + PART * all.ldx;
    rest.labels += PART, rest.weights += PART;
    rest.accumulate = 1;
    fa_metrics one, two = {.loss = 1e9, .rows = 7};
    const fa_epoch steps = EPOCH(.batch_size = BATCH, .count = 4),
                   three = EPOCH(.batch_size = BATCH, .count = 3),
                   last = EPOCH(.batch_size = BATCH, .count = 1);
    CHECK(fa_train_steps(&one, whole, &all, &steps) == FA_OK, "whole");
    CHECK(fa_train_steps(&two, parts, &first, &three) == FA_OK, "first");
    CHECK(fa_train_steps(&two, parts, &rest, &last) == FA_OK, "rest");
    CHECK(same_sums(one, two) && one.steps == 4 && one.rows == ROWS && same_state(whole, parts),
          "training");
    CHECK(fa_evaluate(&one, whole, &all) == FA_OK, "whole");
    CHECK(fa_evaluate(&two, parts, &first) == FA_OK, "first");
    CHECK(fa_evaluate(&two, parts, &rest) == FA_OK, "rest");
    CHECK(same_sums(one, two) && one.rows == ROWS, "evaluating");
    fa_net_free(whole);
    fa_net_free(parts);
}

/* Rows of X, y and out with strides; labels as rows of zeros and ones; bytes as numbers. */
static void test_same_data_in_other_clothes(void)
{
    enum { STRIDE = N_IN + 7 };
    recipe r;
    recipe_init(&r, "sdfa", FA_F32);
    fa_net *net[4];
    for (int i = 0; i < 4; i++) net[i] = make(&r.desc);
    const dataset *d = &data[FA_F32];
    float *wide = malloc(ROWS * STRIDE * sizeof *wide),
          *one_hot = calloc(ROWS * N_OUT, sizeof *one_hot);
    for (int64_t i = 0; i < ROWS; i++) {
        memcpy(wide + i * STRIDE, (float *)d->x + i * N_IN, N_IN * sizeof *wide);
        for (int j = N_IN; j < STRIDE; j++) wide[i * STRIDE + j] = NAN; /* nobody looks there */
        one_hot[i * N_OUT + d->labels[i]] = 1;
    }
    fa_samples s[3] = {labelled(d, 0, ROWS), labelled(d, 0, ROWS), labelled(d, 0, ROWS)};
    s[1].x = wide, s[1].ldx = STRIDE;
    s[2].labels = NULL, s[2].y = one_hot, s[2].ldy = N_OUT;
    double loss[3];
    for (int i = 0; i < 3; i++) {
        CHECK(fa_train_batch(&loss[i], net[i], &s[i]) == FA_OK, "train %d", i);
        CHECK(loss[i] == loss[0] && same_state(net[i], net[0]), "%s",
              i == 1 ? "strided X" : "one-hot rows");
    }
    fa_metrics m;
    CHECK(fa_train_steps(&m, net[3], &s[1], &EPOCH(.batch_size = ROWS, .count = 1)) == FA_OK,
          "strided steps");
    CHECK(same_state(net[3], net[0]), "strided steps");
    for (int i = 0; i < 4; i++) fa_net_free(net[i]);
    free(wide);
    free(one_hot);
}

/* The chunks and tiles that BLAS gets do not depend on threads either. Where there is a BLAS. */
static void test_blas(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    setenv("FASTFA_GEMM", "blas", 1);
    fa_net *net = NULL;
    const fa_status status = fa_net_create(&net, &r.desc);
    fa_net_free(net);
    if (status == FA_OK) {
        test_threads_wide();
        test_steps();
    } else {
        CHECK(status == FA_E_STATE && strstr(fa_last_error(), "no BLAS"), "refused by name");
    }
    unsetenv("FASTFA_GEMM");
}

int main(void)
{
    for (int i = 0; i < 2; i++) data[dtypes[i]] = dataset_new(dtypes[i], ROWS + 8);
    for (int i = 0; i < ROWS; i++) order[i] = (i * 11 + 5) % ROWS;
    RUN(test_threads);
    RUN(test_threads_wide);
    RUN(test_every_rule);
    RUN(test_derivative_at_once);
    RUN(test_threads_when_looking);
    RUN(test_steps);
    RUN(test_steps_of_one_sample);
    RUN(test_odd_layers_one_sample);
    RUN(test_pieces);
    RUN(test_large_batch);
    RUN(test_blas);
    setenv("FASTFA_GEMM", "own", 1); /* only own products give a row the same bits in any company */
    RUN(test_predict);
    RUN(test_sums_go_on);
    RUN(test_same_data_in_other_clothes);
    for (int i = 0; i < 2; i++) dataset_free(&data[i]);
    return finish();
}

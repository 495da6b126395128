/* Sparse X in compressed rows: the bits of the same X as a dense matrix, for every rule, any number
 * of threads and both widths of indices; what is refused; memory. FASTFA_TEST_QUICK: fewer rules. */
#include "check.h"

enum { ROWS = 90, BATCH = 16, MOST = ROWS * N_IN };

/* A dense X and the same in compressed rows. Some rows are empty; nothing lies behind the arrays. */
typedef struct {
    dataset d;
    void *values, *columns, *starts;
    int64_t n_entries;
    int index_bytes;
} sparse;

static void put_index(void *p, int bytes, int64_t i, int64_t value)
{
    if (bytes == 8)
        ((int64_t *)p)[i] = value;
    else
        ((int32_t *)p)[i] = (int32_t)value;
}

/* Each value of rows that are not empty stays with this probability; `bytes`: of values 1 .. 255. */
static sparse sparse_new(fa_dtype dtype, int index_bytes, double density)
{
    sparse s = {.d = dataset_new(dtype == FA_U8 ? FA_F32 : dtype, ROWS),
                .index_bytes = index_bytes};
    const size_t size = size_of(dtype);
    void *values = malloc(MOST * size), *columns = malloc(MOST * sizeof(int64_t));
    s.starts = malloc((ROWS + 1) * (size_t)index_bytes);
    if (dtype == FA_U8) {
        free(s.d.x);
        s.d.x = malloc(MOST);
        s.d.dtype = FA_U8;
        for (int64_t i = 0; i < MOST; i++) put(s.d.x, FA_U8, i, (double)(1 + random_below(255)));
    }
    put_index(s.starts, index_bytes, 0, 0);
    for (int64_t i = 0; i < ROWS; i++) {
        for (int64_t j = 0; j < N_IN; j++) {
            if (i % 7 == 3 || random_unit() >= density) {
                put(s.d.x, dtype, i * N_IN + j, 0);
                continue;
            }
            memcpy((char *)values + (size_t)s.n_entries * size,
                   (char *)s.d.x + (size_t)(i * N_IN + j) * size, size);
            put_index(columns, index_bytes, s.n_entries++, j);
        }
        put_index(s.starts, index_bytes, i + 1, s.n_entries);
    }
    s.values = malloc((size_t)s.n_entries * size + 1);
    s.columns = malloc((size_t)s.n_entries * (size_t)index_bytes + 1);
    memcpy(s.values, values, (size_t)s.n_entries * size);
    memcpy(s.columns, columns, (size_t)s.n_entries * (size_t)index_bytes);
    free(values), free(columns);
    return s;
}

static void sparse_free(sparse *s)
{
    dataset_free(&s->d);
    free(s->values), free(s->columns), free(s->starts);
}

/* Rows first .. first + n - 1 with labels: dense, or sparse. */
static fa_samples rows_of(const sparse *s, bool dense, int64_t first, int64_t n)
{
    fa_samples x = fa_samples_of(rows_at(s->d.x, s->d.dtype, first, N_IN), N_IN, s->d.dtype, n);
    if (!dense)
        x = fa_csr_of(s->values, s->d.dtype, s->columns, (char *)s->starts + first * s->index_bytes,
                      s->index_bytes, s->n_entries, n);
    x.labels = s->d.labels + first;
    return x;
}

/* Zeros of both signs are the same. */
static bool equal_values(const void *a, const void *b, fa_dtype dtype, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (dtype == FA_F64 ? ((const double *)a)[i] != ((const double *)b)[i]
                            : ((const float *)a)[i] != ((const float *)b)[i])
            return false;
    return true;
}

static void compare_tensors(const fa_net *a, const fa_net *b, const char *what)
{
    for (int64_t i = 0; i < fa_net_n_tensors(a); i++) {
        const fa_tensor t = fa_net_tensor(a, i), u = fa_net_tensor(b, i);
        if (t.data)
            CHECK(equal_values(t.data, u.data, fa_net_description(a)->dtype, t.rows * t.cols),
                  "%s: %s differs", what, t.key);
    }
}

static int echo(void *user, const fa_rule_context *t) /* reads the input, as a dense matrix */
{
    const fa_view x = fa_rule_context_output(t, -1);
    const bool wide = fa_net_description(t->net)->dtype == FA_F64;
    double *sum = user;
    for (int64_t i = 0; i < t->signal.rows; i++)
        for (int64_t j = 0; j < t->signal.cols; j++) {
            const int64_t from = i * x.ld + j % x.cols;
            const double v = wide ? ((double *)x.data)[from] : ((float *)x.data)[from];
            put(t->signal.data, wide ? FA_F64 : FA_F32, i * t->signal.ld + j, v);
            *sum += v;
        }
    return 0;
}

/* ---- the bits of dense samples ---- */

typedef struct {
    fa_net *net;
    double loss, sum;
    fa_metrics metrics, evaluated;
    double out[ROWS * N_OUT], gradient[N_IN * N_HIDDEN_1];
    fa_angles angles[2];
} outcome;

/* Everything that takes samples. */
static void run_all(outcome *o, const sparse *s, bool dense, const fa_net_desc *desc)
{
    void *grads[MOST_TENSORS] = {o->gradient};
    fa_samples all = rows_of(s, dense, 0, ROWS), part = rows_of(s, dense, 5, 31);
    o->net = make(desc);
    CHECK(fa_train_batch(&o->loss, o->net, &part) == FA_OK, "train_batch: %s", fa_last_error());
    all.weights = s->d.weights;
    CHECK(fa_train_epoch(&o->metrics, o->net, &all, BATCH) == FA_OK, "epoch: %s", fa_last_error());
    all.accumulate = 1;
    CHECK(fa_train_steps(&o->metrics, o->net, &all,
                         &EPOCH(.batch_size = 13, .first = 2, .count = 4)) == FA_OK,
          "steps: %s", fa_last_error());
    CHECK(fa_learn_many(&o->metrics, o->net, &part) == FA_OK, "learn_many: %s", fa_last_error());
    CHECK(fa_predict(o->out, N_OUT, o->net, &all, 0) == FA_OK, "predict: %s", fa_last_error());
    CHECK(fa_evaluate(&o->evaluated, o->net, &part) == FA_OK, "evaluate: %s", fa_last_error());
    CHECK(fa_gradients(&o->loss, grads, o->net, &part) == FA_OK, "gradients: %s", fa_last_error());
    CHECK(fa_alignment(o->angles, o->net, &part) == FA_OK, "alignment: %s", fa_last_error());
}

static void compare_with_dense(const sparse *s, recipe *r, const char *what)
{
    static outcome of[2];
    memset(of, 0, sizeof of);
    for (int dense = 0; dense < 2; dense++) {
        r->rule.user = &of[dense].sum;
        run_all(&of[dense], s, dense, &r->desc);
    }
    compare_tensors(of[0].net, of[1].net, what);
    CHECK(of[0].loss == of[1].loss && of[0].sum == of[1].sum, "%s: loss differs", what);
    CHECK(!memcmp(&of[0].metrics, &of[1].metrics, sizeof(fa_metrics)), "%s: metrics differ", what);
    CHECK(!memcmp(&of[0].evaluated, &of[1].evaluated, sizeof(fa_metrics)), "%s: evaluate", what);
    CHECK(equal_values(of[0].out, of[1].out, r->desc.dtype, ROWS * N_OUT), "%s: predict", what);
    CHECK(equal_values(of[0].gradient, of[1].gradient, r->desc.dtype, N_IN * N_HIDDEN_1),
          "%s: gradients differ", what);
    CHECK(!memcmp(of[0].angles, of[1].angles, sizeof of[0].angles), "%s: angles differ", what);
    for (int dense = 0; dense < 2; dense++) fa_net_free(of[dense].net);
}

static const struct {
    const char *name;
    double momentum, clip_norm, weight_decay;
} optimizers[] = {{"sgd", 0, 0, 0}, {"sgd", 0.9, 0, 0}, {"sgd", 0, 0, 0.01}, {"adam", 0, 0.05, 0}};

static void every_rule_and_optimizer(const sparse *s, fa_dtype dtype, int threads)
{
    char what[100];
    for (int i = 0; i <= n_rules; i++)
        for (int o = 0; o < 4; o++) {
            if (quick() && (i + o) % 4) continue;
            recipe r;
            recipe_init(&r, i < n_rules ? rules[i] : "custom", dtype);
            r.rule.signal = i < n_rules ? NULL : echo;
            if (i == n_rules) r.rule.feedback.name = NULL;
            r.optimizer.name = optimizers[o].name;
            r.optimizer.lr = 0.05;
            optimizer_option(&r, "momentum", optimizers[o].momentum);
            r.optimizer.clip_norm = optimizers[o].clip_norm;
            r.optimizer.weight_decay = optimizers[o].weight_decay;
            r.desc.n_threads = threads;
            snprintf(what, sizeof what, "%s, optimizer %d, float%d, %d threads", r.rule.name, o,
                     dtype == FA_F64 ? 64 : 32, threads);
            compare_with_dense(s, &r, what);
        }
}

static void of_all_rules(void)
{
    for (int i = 0; i < 2; i++) {
        sparse s = sparse_new(dtypes[i], i ? 8 : 4, 0.15);
        every_rule_and_optimizer(&s, dtypes[i], 1 + i);
        sparse_free(&s);
    }
}

/* The masks of dropout on the input; two of them, and bytes, and a scale of the inputs. */
static void of_dropout_bytes_and_scales(void)
{
    for (int i = 0; i < 6; i++) {
        static const double scales[] = {0, 0.5, -3};
        sparse s = sparse_new(i % 2 ? FA_U8 : FA_F32, 4, 0.3);
        recipe r;
        recipe_init(&r, i < 3 ? "backprop" : "pepita", FA_F32);
        r.desc.input_scale = scales[i % 3];
        if (r.desc.input_scale < 0 && i % 2) r.desc.input_scale = -1.0 / 100;
        const fa_layer_desc layers[] = {fa_dropout(0.4), fa_dropout(0.1), r.layers[FIRST],
                                        r.layers[SECOND], r.layers[LAST]};
        r.desc.layers = layers, r.desc.n_layers = 5;
        compare_with_dense(&s, &r, i < 3 ? "dropout, backprop" : "dropout, pepita");
        sparse_free(&s);
    }
}

static const int64_t widths[] = {1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 129, 200};

/* Widths around those of vectors; full and nearly empty rows; no entries at all. */
static void of_shapes(void)
{
    static const double densities[] = {0, 0.02, 1};
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 6; j++) {
            sparse s = sparse_new(dtypes[j % 2], j % 2 ? 4 : 8, densities[j / 2]);
            recipe r;
            recipe_init(&r, "dfa", dtypes[j % 2]);
            r.layers[FIRST].units = widths[i];
            r.layers[FIRST].activation = i % 2 ? "relu" : "tanh";
            r.layers[FIRST].use_bias = i % 3 > 0;
            r.optimizer.name = j < 2 ? "adam" : "sgd";
            r.desc.n_threads = 1 + j % 3;
            fa_net *net[2];
            double loss[2];
            char what[50];
            snprintf(what, sizeof what, "%d units, %g", (int)widths[i], densities[j / 2]);
            for (int dense = 0; dense < 2; dense++) {
                const fa_samples x = rows_of(&s, dense, 0, 50);
                net[dense] = make(&r.desc);
                for (int step = 0; step < 3; step++)
                    CHECK(fa_train_batch(&loss[dense], net[dense], &x) == FA_OK, "%s: step", what);
            }
            CHECK(loss[0] == loss[1], "%s: loss differs", what);
            compare_tensors(net[0], net[1], what);
            for (int dense = 0; dense < 2; dense++) fa_net_free(net[dense]);
            sparse_free(&s);
        }
}

/* A layer so wide that its columns are divided among the threads. */
static void of_any_number_of_threads(void)
{
    static const int threads[] = {1, 2, 3, 5};
    sparse s = sparse_new(FA_F32, 4, 0.2);
    recipe r;
    recipe_init(&r, "kp", FA_F32);
    r.layers[FIRST].units = 2000;
    const fa_samples x = rows_of(&s, false, 0, ROWS);
    fa_net *first = NULL;
    for (int i = 0; i < 4; i++) {
        fa_metrics m;
        r.desc.n_threads = threads[i];
        fa_net *net = make(&r.desc);
        for (int e = 0; e < 2; e++)
            CHECK(fa_train_epoch(&m, net, &x, e ? 8 : 40) == FA_OK, "epoch: %s", fa_last_error());
        if (first) CHECK(same_state(net, first), "%d threads differ from 1", threads[i]);
        if (first)
            fa_net_free(net);
        else
            first = net;
    }
    fa_net_free(first);
    sparse_free(&s);
}

/* ---- what is refused ---- */

enum { BAD_ENTRIES = 4 };

/* Each call refuses X with these words, and changes nothing. */
static void refuses(int line, fa_samples s, const char *words)
{
    watched w = watch("dfa", "softmax_cross_entropy");
    double loss;
    fa_metrics m;
    float out[4 * N_OUT];
    static const int64_t labels[4];
    s.labels = labels;
    for (int call = 0; call < 4; call++) {
        const fa_status status =
            call == 0   ? fa_train_batch(&loss, w.net, &s)
            : call == 1 ? fa_train_steps(&m, w.net, &s, &EPOCH(.batch_size = 4, .count = 1))
            : call == 2 ? fa_check(w.net, &s)
                        : fa_predict(out, N_OUT, w.net, &s, 0);
        CHECK(status == FA_E_VALUE && strstr(fa_last_error(), words), "line %d, call %d: %s", line,
              call, status ? fa_last_error() : "accepted");
    }
    unwatch(&w);
}

static void bad_structures(void)
{
    static float x[BAD_ENTRIES] = {1, 2, 3, 4};
#define CSR(columns, starts)                                                                       \
    fa_csr_of(x, FA_F32, (const int32_t[]){columns}, (const int32_t[]){starts}, 4, BAD_ENTRIES, 4)
#define L(...) __VA_ARGS__
    refuses(__LINE__, CSR(L(0, 1, 2, N_IN), L(0, 1, 2, 3, 4)), "got 40 in row 3");
    refuses(__LINE__, CSR(L(0, 1, -1, 2), L(0, 1, 2, 3, 4)), "got -1 in row 2");
    refuses(__LINE__, CSR(L(0, 3, 3, 4), L(0, 1, 4, 4, 4)), "got 3 after 3 in row 1");
    refuses(__LINE__, CSR(L(2, 1, 3, 4), L(0, 4, 4, 4, 4)), "got 1 after 2 in row 0");
    refuses(__LINE__, CSR(L(0, 1, 2, 3), L(0, 2, 1, 3, 4)), "got 2 and 1 for row 1");
    refuses(__LINE__, CSR(L(0, 1, 2, 3), L(0, 1, 2, 3, 5)), "got 3 and 5 for row 3");
    refuses(__LINE__, CSR(L(0, 1, 2, 3), L(-1, 1, 2, 3, 4)), "got -1 and 1 for row 0");
    fa_samples s = CSR(L(0, 1, 2, 3), L(0, 1, 2, 3, 4));
    s.index_bytes = 2;
    refuses(__LINE__, s, "index_bytes: expected 4 or 8, got 2");
    s.index_bytes = 4, s.n_entries = -1;
    refuses(__LINE__, s, "n_entries: expected 0 or more, got -1");
    s.n_entries = BAD_ENTRIES, s.indices = NULL;
    refuses(__LINE__, s, "indices: expected a pointer");
    s = CSR(L(0, 1, 2, 3), L(0, 1, 2, 3, 4));
    s.x = NULL;
    refuses(__LINE__, s, "X: expected a pointer");
}

static void bad_values(void)
{
    float x[BAD_ENTRIES] = {1, 2, NAN, 4};
    const int32_t columns[] = {0, 1, 7, 3}, starts[] = {0, 1, 2, 2, 4};
    const int64_t labels[4] = {0};
    watched w = watch("dfa", "softmax_cross_entropy");
    fa_samples s = fa_csr_of(x, FA_F32, columns, starts, 4, 3, 3);
    const int32_t three[] = {0, 1, 2, 3};
    double loss;
    fa_metrics m;
    s.indptr = three, s.labels = labels;
    CHECK(fa_train_batch(&loss, w.net, &s) == FA_E_VALUE &&
              strstr(fa_last_error(), "got nan at row 2, column 7"),
          "%s", fa_last_error());
    x[2] = INFINITY; /* calls of many steps look at values when they use them */
    CHECK(fa_train_steps(&m, w.net, &s, &EPOCH(.batch_size = 3, .count = 1)) == FA_E_NONFINITE,
          "an infinite input");
    unwatch(&w);
}

/* Weights that are not finite are found where an entry reads them, in any row. */
static void weights_that_are_not_finite(void)
{
    const float x[] = {1};
    const int32_t columns[] = {5}, starts[] = {0, 0, 0, 1};
    const int64_t labels[3] = {0};
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.layers[FIRST].activation = "tanh";
    fa_net *net = make(&r.desc);
    float *w = fa_net_tensor(net, fa_net_find(net, "0.weight")).data, out[3 * N_OUT];
    fa_samples s = fa_csr_of(x, FA_F32, columns, starts, 4, 1, 3);
    s.labels = labels;
    w[5 * N_HIDDEN_1 + 2] = INFINITY;
    double loss;
    CHECK(fa_predict(out, N_OUT, net, &s, 0) == FA_E_NONFINITE, "predict: %s", fa_last_error());
    CHECK(fa_train_batch(&loss, net, &s) == FA_E_NONFINITE, "train: %s", fa_last_error());
    CHECK(strstr(fa_last_error(), "0.weight"), "%s", fa_last_error());
    fa_net_free(net);
}

/* Arrays that change after their check lead to no address outside of the library's memory. */
static void indices_that_change_in_use(void)
{
    float x[BAD_ENTRIES] = {1, 2, 3, 4};
    int32_t columns[] = {0, 1, 2, 3}, starts[] = {0, 1, 2, 3, 4};
    const int64_t labels[4] = {0};
    static const struct {
        bool of_columns;
        int at;
        int32_t value;
    } changes[] = {{true, 1, N_IN}, {true, 3, -7}, {true, 2, 1 << 30}, {false, 2, 1 << 30},
                   {false, 2, -5},  {false, 4, 5}, {false, 1, 4}};
    watched w = watch("dfa", "softmax_cross_entropy");
    for (int i = 0; i < 7; i++) {
        int32_t *const to = (changes[i].of_columns ? columns : starts) + changes[i].at;
        const int32_t before = *to;
        fa_samples s = fa_csr_of(x, FA_F32, columns, starts, 4, BAD_ENTRIES, 4);
        s.labels = labels, s.checked = 1;
        float out[4 * N_OUT];
        double loss;
        *to = changes[i].value;
        const fa_status trained = fa_train_batch(&loss, w.net, &s),
                        predicted = fa_predict(out, N_OUT, w.net, &s, 0);
        *to = before;
        if (changes[i].of_columns)
            CHECK(trained == FA_E_VALUE && predicted == FA_E_VALUE, "change %d", i);
        if (trained == FA_OK) { /* rows that make no sense have no entries */
            fa_net_free(w.net), free(w.state);
            w = watch("dfa", "softmax_cross_entropy");
        }
    }
    unwatch(&w);
}

/* Random indices of all kinds, checked or said to be: a status, and no foreign memory (sanitizers). */
static void random_structures(void)
{
    enum { TRIES = 3000, WIDE = 12, MANY = 6 };
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.desc.n_in = WIDE;
    fa_net *net = make(&r.desc);
    random_state = 4711;
    int accepted = 0;
    for (int i = 0; i < TRIES; i++) {
        const int64_t n = random_below(9), rows = 1 + random_below(MANY);
        const int bytes = random_below(2) ? 4 : 8;
        float *x = malloc((size_t)n * sizeof *x + 1), out[MANY * N_OUT];
        char *columns = malloc((size_t)(n * bytes + 1)),
             *starts = malloc((size_t)((rows + 1) * bytes));
        int64_t labels[MANY] = {0}, last = 0;
        for (int64_t t = 0; t < n; t++) {
            x[t] = (float)random_unit();
            put_index(columns, bytes, t,
                      random_below(40) ? (t * 5 + 1) % WIDE : random_below(1 << 20) - 9);
        }
        put_index(starts, bytes, 0, 0);
        for (int64_t row = 1; row <= rows; row++) {
            last = random_below(30) ? last + random_below(3) : random_below(64) - 32;
            put_index(starts, bytes, row, last < n || !random_below(20) ? last : n);
        }
        fa_samples s = fa_csr_of(x, FA_F32, columns, starts, bytes, n, rows);
        s.labels = labels, s.checked = random_below(2) == 0;
        double loss;
        fa_metrics m;
        const fa_status status[] = {
            fa_predict(out, N_OUT, net, &s, 0), fa_train_batch(&loss, net, &s),
            fa_train_steps(&m, net, &s, &EPOCH(.batch_size = 2, .count = (rows + 1) / 2))};
        for (int j = 0; j < 3; j++) {
            CHECK(status[j] == FA_OK || status[j] == FA_E_VALUE, "try %d: %d", i, status[j]);
            accepted += status[j] == FA_OK;
        }
        free(x), free(columns), free(starts);
    }
    CHECK(accepted > TRIES / 2 && accepted < 3 * TRIES, "%d calls were accepted", accepted);
    fa_net_free(net);
}

/* ---- memory ---- */

static int64_t allocations(void)
{
    int64_t live, count;
    fa_memory(&live, &count);
    return count;
}

/* 100,000 inputs and batches of 2,000 rows: the row buffer of a dense X would take 800 MB. */
static void memory_does_not_grow_with_the_inputs(void)
{
    enum { WIDE = 100000, MANY = 4000, EACH = 3 };
    static float x[MANY * EACH];
    static int32_t columns[MANY * EACH], starts[MANY + 1];
    static int64_t labels[MANY];
    random_state = 99;
    for (int i = 0; i < MANY; i++) {
        labels[i] = random_below(2);
        starts[i + 1] = (i + 1) * EACH;
        for (int j = 0; j < EACH; j++) {
            x[i * EACH + j] = 1;
            columns[i * EACH + j] = (int32_t)(random_below(WIDE / EACH) + j * (WIDE / EACH));
        }
    }
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    const fa_layer_desc layers[] = {fa_dropout(0.1), fa_dense(4, "relu"), fa_dense(2, "linear")};
    r.desc.n_in = WIDE, r.desc.layers = layers, r.desc.n_layers = 3;
    fa_net *net = make(&r.desc);
    fa_samples s = fa_csr_of(x, FA_F32, columns, starts, 4, MANY * EACH, MANY);
    s.labels = labels;
    const int64_t before = live_bytes();
    fa_metrics m;
    CHECK(fa_train_epoch(&m, net, &s, 2000) == FA_OK, "epoch: %s", fa_last_error());
    CHECK(live_bytes() - before < 4 << 20, "workspace of %lld bytes",
          (long long)(live_bytes() - before));
    const int64_t count = allocations();
    for (int i = 0; i < 3; i++)
        CHECK(fa_train_epoch(&m, net, &s, 2000) == FA_OK, "epoch: %s", fa_last_error());
    CHECK(allocations() == count, "an epoch in another order allocates");
    fa_net_free(net);
}

int main(void)
{
    RUN(of_all_rules);
    RUN(of_dropout_bytes_and_scales);
    RUN(of_shapes);
    RUN(of_any_number_of_threads);
    RUN(bad_structures);
    RUN(bad_values);
    RUN(weights_that_are_not_finite);
    RUN(indices_that_change_in_use);
    RUN(random_structures);
    RUN(memory_does_not_grow_with_the_inputs);
    return finish();
}

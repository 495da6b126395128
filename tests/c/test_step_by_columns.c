/* Threads that have columns of each layer instead of rows of the batch (csrc/engine/step_by_columns.c): the same
 * bits as one thread, for every rule, with dropout, sample weights, a wide output, and more rows
 * than go by at a time. */
#include "check.h"
#include "api/api.h"

enum { STEPS = 3, LONGEST = 133, WIDEST = 300 };

static float x32[LONGEST * WIDEST], y32[LONGEST * WIDEST];
static double x64[LONGEST * WIDEST], y64[LONGEST * WIDEST], weights[LONGEST];
static int64_t labels[LONGEST];

/* Inputs, labels, and rows of probabilities. */
static void draw(int64_t n_out)
{
    random_state = 99;
    for (int64_t i = 0; i < LONGEST * WIDEST; i++) x32[i] = (float)(x64[i] = random_unit() - 0.5);
    for (int64_t r = 0; r < LONGEST; r++) {
        labels[r] = random_below(n_out), weights[r] = random_unit() + 0.5;
        const double share = random_unit();
        for (int64_t j = 0; j < n_out; j++) {
            const double value = j == labels[r] ? share : (1 - share) / (double)(n_out - 1);
            y32[r * n_out + j] = (float)(y64[r * n_out + j] = value);
        }
    }
}

static fa_samples batch(const fa_net_desc *d, int64_t m, int64_t n_out, int step)
{
    const bool wide = d->dtype == FA_F64;
    fa_samples s = fa_samples_of(wide ? (void *)x64 : (void *)x32, d->n_in, d->dtype, m);
    if (step == 1)
        s.labels = labels;
    else
        s.y = wide ? (void *)y64 : (void *)y32, s.ldy = n_out;
    if (step == 2) s.weights = weights;
    return s;
}

/* Cuts rise from 0 to the whole, lie on lines, and are never further apart than said. */
static void test_cuts(void)
{
    int64_t wrong = 0;
    for (int64_t cols = 0; cols < 3200; cols += cols < 300 ? 1 : 97)
        for (int64_t parts = 1; parts < 140; parts++) {
            wrong += fa_partition(cols, 0, parts) != 0 || fa_partition(cols, parts, parts) != cols;
            for (int64_t i = 0; i < parts; i++) {
                const int64_t from = fa_partition(cols, i, parts),
                              to = fa_partition(cols, i + 1, parts);
                wrong += from > to || to > cols || to - from > fa_partition_width(cols, parts);
                wrong += from % 16 != 0 && from != cols;
            }
        }
    CHECK(wrong == 0, "%lld wrong cuts", (long long)wrong);
}

static fa_net *trained(fa_net_desc *d, int64_t m, int threads, bool packs)
{
    d->n_threads = threads;
    fa_net *net = make(d);
    const bool here = fa_l2_is_slow;
    fa_l2_is_slow = packs;
    CHECK(fa_by_columns(&(fa_run){.net = net, .m = m}, threads) == (threads > 1),
          "%d threads have columns", threads);
    const int64_t n_out = d->layers[d->n_layers - 1].units;
    for (int step = 0; step < STEPS; step++) {
        const fa_samples s = batch(d, m, n_out, step);
        double loss;
        CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "step %d", step);
    }
    fa_l2_is_slow = here;
    return net;
}

/* What a step did is counted once, however it was shared. */
static bool same_counts(const fa_net *a, const fa_net *b)
{
    return atomic_load(&a->count_forward) == atomic_load(&b->count_forward) &&
           atomic_load(&a->count_transport) == atomic_load(&b->count_transport) &&
           atomic_load(&a->count_feedback) == atomic_load(&b->count_feedback) &&
           atomic_load(&a->count_outer) == atomic_load(&b->count_outer);
}

/* Several threads pack as where L2 is slow, one does not. */
static void compare(fa_net_desc *d, int64_t m, const char *what)
{
    fa_net *alone = trained(d, m, 1, false);
    for (int threads = 2; threads <= 4; threads++) {
        fa_net *net = trained(d, m, threads, true);
        CHECK(same_state(net, alone), "%s, float%d: %d threads differ from 1", what,
              d->dtype == FA_F64 ? 64 : 32, threads);
        CHECK(same_counts(net, alone), "%s: products that %d threads count", what, threads);
        fa_net_free(net);
    }
    fa_net_free(alone);
}

/* 64-517-323-n_out, dropout between, columns that no cut divides */
static void recipe_wide(recipe *r, const char *rule, fa_dtype dtype, int64_t n_out)
{
    recipe_init(r, rule, dtype);
    r->layers[FIRST].units = 517, r->layers[SECOND].units = 323, r->layers[LAST].units = n_out;
    r->desc.n_in = 64;
    r->desc.loss = n_out == 10 ? "softmax_cross_entropy" : "mse";
    rule_option(r, "threshold", 0.1), rule_option(r, "oja", 0.1);
}

static void test_every_rule(void)
{
    const char *rule;
    for (int i = 0; (rule = fa_name(FA_NAMES_RULE, i)); i++) {
        if (!strcmp(rule, "custom") || !strcmp(rule, "pepita")) continue; /* by rows */
        for (int type = 0; type < 2; type++) {
            recipe r;
            recipe_wide(&r, rule, dtypes[type], i % 2 ? 10 : 131);
            draw(r.layers[LAST].units);
            compare(&r.desc, 37, rule);
        }
    }
}

static void test_variants(void)
{
    static const char *const names[] = {"fa", "dfa", "sdfa", "drtp"};
    for (int i = 0; i < 12; i++) {
        recipe r;
        recipe_wide(&r, names[i / 3], FA_F32, 10);
        draw(10);
        if (i % 3 == 2) {
            r.rule.sparsity = 0.95; /* fed back entry by entry: by rows */
        } else {
            r.layers[FIRST].activation = "gelu";
            r.optimizer = fa_optimizer_of("adam", 0.01);
            r.optimizer.clip_norm = i % 3 ? 0.1 : 0;
        }
        compare(&r.desc, 31, i % 3 == 0 ? "adam" : i % 3 == 1 ? "clipped adam" : "sparse");
    }
}

/* A rule by columns next to a rule by rows, in both orders, and a frozen layer. */
static void test_mixtures(void)
{
    static const char *const pairs[][2] = {{"dfa", "local"},
                                           {"local", "backprop"},
                                           {"ldfa", "fa"},
                                           {"frozen", "sdfa"},
                                           {"fa", "frozen"}};
    for (int i = 0; i < 5; i++) {
        recipe r;
        recipe_wide(&r, pairs[i][0], FA_F32, 10);
        const fa_rule_desc second = fa_rule_of(pairs[i][1]);
        r.layers[SECOND].rule = &second;
        draw(10);
        compare(&r.desc, 37, pairs[i][0]);
    }
}

/* More rows than stay in a cache at a time, and a layer too narrow for its threads. */
static void test_long_batches(void)
{
    for (int i = 0; i < 3; i++) {
        fa_layer_desc layers[] = {fa_dense(1037, "relu"), fa_dense(10, "linear")};
        recipe r;
        recipe_init(&r, rules[i], FA_F32);
        r.desc.n_in = WIDEST, r.desc.layers = layers, r.desc.n_layers = 2;
        draw(10);
        compare(&r.desc, 130, rules[i]);
    }
    fa_layer_desc layers[] = {fa_dense(700, "relu"), fa_dense(40, "tanh"), fa_dense(10, "linear")};
    recipe r;
    recipe_init(&r, "backprop", FA_F32);
    r.desc.n_in = WIDEST, r.desc.layers = layers, r.desc.n_layers = 3;
    draw(10);
    compare(&r.desc, 29, "narrow second layer");
}

/* What one layer packed for its update must not serve another of the same width. */
static void test_equal_layers(void)
{
    fa_layer_desc layers[] = {fa_dense(720, "relu"), fa_dense(720, "tanh"), fa_dense(10, "linear")};
    for (int i = 0; i < 3; i++) {
        recipe r;
        recipe_init(&r, rules[i], i ? FA_F32 : FA_F64);
        r.desc.n_in = WIDEST, r.desc.layers = layers, r.desc.n_layers = 3;
        draw(10);
        compare(&r.desc, LONGEST, rules[i]);
    }
}

static void compare_threads(fa_net_desc *d, int64_t m, int threads)
{
    fa_net *alone = trained(d, m, 1, false), *net = trained(d, m, threads, true);
    CHECK(same_state(net, alone), "%d threads differ from 1, last layer of %lld", threads,
          (long long)d->layers[d->n_layers - 1].units);
    fa_net_free(net), fa_net_free(alone);
}

/* So few rows or columns for each thread that some have none. */
static void test_narrow_pieces(void)
{
    static const struct {
        int64_t width, next, m;
        int threads;
    } cases[] = {{1000, 12, 37, 3},
                 {1000, 15, 37, 4},
                 {1000, 30, 37, 5},
                 {1000, 11, 60, 64},
                 {2063, 40, 60, 62}};
    for (int i = 0; i < 5; i++) {
        fa_layer_desc layers[] = {fa_dense(cases[i].width, "relu"), fa_dense(cases[i].next, "tanh"),
                                  fa_dense(10, "linear")};
        recipe r;
        recipe_init(&r, rules[i % 3], i % 2 ? FA_F64 : FA_F32);
        r.optimizer = fa_optimizer_of(i % 2 ? "adam" : "sgd", 0.01);
        r.optimizer.weight_decay = 0.1;
        r.desc.n_in = WIDEST, r.desc.layers = layers, r.desc.n_layers = 3;
        draw(10);
        compare_threads(&r.desc, cases[i].m, cases[i].threads);
    }
}

/* One thread has wider tiles; their columns here are more than the packing buffer holds. */
static void test_packing_alone(void)
{
    for (int i = 0; i < 3; i++) {
        fa_layer_desc layers[] = {fa_dense(505, "relu"), fa_dense(10, "linear")};
        recipe r;
        recipe_init(&r, rules[i], FA_F64);
        r.desc.n_in = WIDEST, r.desc.layers = layers, r.desc.n_layers = 2;
        draw(10);
        fa_net *nets[2];
        for (int packs = 0; packs < 2; packs++) nets[packs] = trained(&r.desc, LONGEST, 1, packs);
        CHECK(same_state(nets[0], nets[1]), "%s: packing changes bits", rules[i]);
        for (int packs = 0; packs < 2; packs++) fa_net_free(nets[packs]);
    }
}

int main(void)
{
    setenv("FASTFA_GEMM", "own", 1); /* BLAS keeps its chunks */
    RUN(test_cuts);
    RUN(test_every_rule);
    RUN(test_variants);
    RUN(test_mixtures);
    RUN(test_long_batches);
    RUN(test_equal_layers);
    RUN(test_narrow_pieces);
    RUN(test_packing_alone);
    return finish();
}

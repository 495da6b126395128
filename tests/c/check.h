/* What the engine's tests share: checks that count, small networks, and data for them. */
#ifndef CHECK_H
#define CHECK_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastfa.h"
#include "quick.h"

#define UNUSED __attribute__((unused))

/* ---- checks ---- */

static int n_passed, n_failed;

enum { MOST_SHOWN = 40 };

/* CHECK(condition, "what should hold, with %d", values...): counts, prints the first failures. */
#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (condition) {                                                                           \
            n_passed++;                                                                            \
        } else if (++n_failed <= MOST_SHOWN) {                                                     \
            printf("FAIL %s:%d: ", __FILE__, __LINE__);                                            \
            printf(__VA_ARGS__);                                                                   \
            printf(" [last error: %s]\n", fa_last_error());                                        \
        }                                                                                          \
    } while (0)

/* The last line of every program; its value is the exit status. */
static int finish(void)
{
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}

/* For what a test cannot go on without. */
#define REQUIRE(condition, ...)                                                                    \
    do {                                                                                           \
        const int failed_before = n_failed;                                                        \
        CHECK(condition, __VA_ARGS__);                                                             \
        if (n_failed > failed_before) exit(finish());                                              \
    } while (0)

#define RUN(test)                                                                                  \
    do {                                                                                           \
        const int passed_ = n_passed, failed_ = n_failed;                                          \
        test();                                                                                    \
        printf("%s  " #test " (%d checks)\n", n_failed > failed_ ? "FAIL" : "ok  ",                \
               n_passed + n_failed - passed_ - failed_);                                           \
        fflush(stdout);                                                                            \
    } while (0)

/* EPOCH(.batch_size = 8, ...), RULE(.name = ...), SAMPLES(.x = ...): these fields, and zeros. */
#define EPOCH(...) ((fa_epoch){.struct_size = sizeof(fa_epoch), __VA_ARGS__})
#define RULE(...) {.struct_size = sizeof(fa_rule_desc), __VA_ARGS__}
#define SAMPLES(...) ((fa_samples){.struct_size = sizeof(fa_samples), __VA_ARGS__})

/* ---- networks ---- */

enum { N_IN = 40, N_HIDDEN_1 = 70, N_HIDDEN_2 = 33, N_OUT = 10 };

/* The n_rules rules that the library names, without "custom", which needs a function to call. */
enum { MOST_RULES = 100 };
static const char *rules[MOST_RULES];
static int n_rules;

UNUSED __attribute__((constructor)) static void ask_for_rules(void)
{
    const char *name;
    for (int i = 0; n_rules < MOST_RULES && (name = fa_name(FA_NAMES_RULE, i)); i++)
        if (strcmp(name, "custom") != 0) rules[n_rules++] = name;
}

static const fa_dtype dtypes[2] UNUSED = {FA_F32, FA_F64};

/* A description and the layers it points to. Stays where it was made. */
enum { MOST_GIVEN = 8 }; /* options of one struct */
typedef struct {
    fa_layer_desc layers[4];
    fa_rule_desc rule;
    fa_optimizer_desc optimizer;
    fa_net_desc desc;
    fa_option of_rule[MOST_GIVEN], of_optimizer[MOST_GIVEN];
} recipe;

enum { FIRST, DROPOUT, SECOND, LAST }; /* layers of a recipe */
enum { MOST_TENSORS = 64 };            /* more than a recipe has */

/* 40-70-33-10 tanh with dropout between: two hidden layers, so that rules differ. */
static UNUSED void recipe_init(recipe *r, const char *rule, fa_dtype dtype)
{
    r->layers[FIRST] = fa_dense(N_HIDDEN_1, "tanh");
    r->layers[DROPOUT] = fa_dropout(0.25);
    r->layers[SECOND] = fa_dense(N_HIDDEN_2, "tanh");
    r->layers[LAST] = fa_dense(N_OUT, "linear");
    r->rule = fa_rule_of(rule);
    r->optimizer = fa_optimizer_of("sgd", 0.1);
    r->desc = fa_net_defaults();
    r->desc.rule = &r->rule;
    r->desc.optimizer = &r->optimizer;
    r->desc.dtype = dtype;
    r->desc.n_in = N_IN;
    r->desc.layers = r->layers;
    r->desc.n_layers = 4;
    r->desc.seed = 7;
    r->desc.n_threads = 1;
}

/* Whether a rule or optimizer of this name has the option. */
static UNUSED bool has_option(fa_names kind, const char *owner, const char *name)
{
    fa_option_desc o = {.struct_size = sizeof o};
    for (int i = 0; fa_option_info(&o, kind, owner, i) == FA_OK; i++)
        if (!o.is_field && !strcmp(o.name, name)) return true;
    return false;
}

/* Gives an option, if the rule or optimizer has it: recipes are made for all of them. */
static UNUSED void rule_option(recipe *r, const char *name, double number)
{
    if (!has_option(FA_NAMES_RULE, r->rule.name, name)) return;
    REQUIRE(r->rule.n_options < MOST_GIVEN, "room for options");
    r->of_rule[r->rule.n_options++] = (fa_option){name, number, NULL};
    r->rule.options = r->of_rule;
}

static UNUSED void optimizer_option(recipe *r, const char *name, double number)
{
    if (!has_option(FA_NAMES_OPTIMIZER, r->optimizer.name, name)) return;
    REQUIRE(r->optimizer.n_options < MOST_GIVEN, "room for options");
    r->of_optimizer[r->optimizer.n_options++] = (fa_option){name, number, NULL};
    r->optimizer.options = r->of_optimizer;
}

static UNUSED fa_net *make(const fa_net_desc *desc)
{
    fa_net *net = NULL;
    REQUIRE(fa_net_create(&net, desc) == FA_OK, "create");
    return net;
}

static UNUSED fa_block_info block_of(const fa_net *net, int64_t b)
{
    fa_block_info info = {.struct_size = sizeof info};
    REQUIRE(fa_net_block(&info, net, b) == FA_OK, "block %lld", (long long)b);
    return info;
}

/* ---- data ---- */

typedef struct {
    fa_dtype dtype;
    int64_t n;
    void *x, *y; /* n x N_IN, n x N_OUT, nothing beyond: a sanitizer sees one step too far */
    int64_t *labels;
    double *weights;
} dataset;

static uint64_t random_state = 1;

/* xorshift64: numbers for data and sizes; not for the library, which draws its own */
static UNUSED uint64_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}
static UNUSED double random_unit(void)
{ return (double)(random_bits() >> 11) / 9007199254740992.0; }
static UNUSED int64_t random_below(int64_t n) { return (int64_t)(random_bits() % (uint64_t)n); }

static UNUSED size_t size_of(fa_dtype dtype)
{ return dtype == FA_F64 ? 8 : dtype == FA_F32 ? 4 : 1; }

static UNUSED void put(void *p, fa_dtype dtype, int64_t i, double value)
{
    if (dtype == FA_F64)
        ((double *)p)[i] = value;
    else if (dtype == FA_F32)
        ((float *)p)[i] = (float)value;
    else
        ((uint8_t *)p)[i] = (uint8_t)value;
}

static UNUSED void *rows_at(const void *p, fa_dtype dtype, int64_t i, int64_t cols)
{ return (char *)p + (size_t)(i * cols) * size_of(dtype); }

/* Labels, and rows of probabilities that belong to other draws. */
static UNUSED dataset dataset_new(fa_dtype dtype, int64_t n)
{
    dataset d = {dtype,
                 n,
                 malloc((size_t)(n * N_IN) * size_of(dtype)),
                 malloc((size_t)(n * N_OUT) * size_of(dtype)),
                 malloc((size_t)n * sizeof(int64_t)),
                 malloc((size_t)n * sizeof(double))};
    random_state = 12345;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < N_IN; j++) put(d.x, dtype, i * N_IN + j, 2 * random_unit() - 1);
        d.labels[i] = random_below(N_OUT);
        d.weights[i] = 0.5 + random_unit();
        const double share = random_unit();
        for (int64_t j = 0; j < N_OUT; j++)
            put(d.y, dtype, i * N_OUT + j, j == 0 ? share : (1 - share) / (N_OUT - 1));
    }
    return d;
}

static UNUSED void dataset_free(dataset *d)
{ free(d->x), free(d->y), free(d->labels), free(d->weights); }

/* Rows first .. first + n - 1 with labels, or with rows of targets, or with neither. */
static UNUSED fa_samples inputs(const dataset *d, int64_t first, int64_t n)
{ return fa_samples_of(rows_at(d->x, d->dtype, first, N_IN), N_IN, d->dtype, n); }
static UNUSED fa_samples labelled(const dataset *d, int64_t first, int64_t n)
{
    fa_samples s = inputs(d, first, n);
    s.labels = d->labels + first;
    return s;
}
static UNUSED fa_samples targeted(const dataset *d, int64_t first, int64_t n)
{
    fa_samples s = inputs(d, first, n);
    s.y = rows_at(d->y, d->dtype, first, N_OUT);
    s.ldy = N_OUT;
    return s;
}

/* ---- states ---- */

static UNUSED void *state_of(const fa_net *net)
{
    void *state = malloc(fa_net_state_size(net));
    REQUIRE(fa_net_get_state(state, net) == FA_OK, "get_state");
    return state;
}

static UNUSED bool in_state(const fa_net *net, const void *state)
{
    void *now = state_of(net);
    const bool same = !memcmp(now, state, fa_net_state_size(net));
    free(now);
    return same;
}

static UNUSED bool same_state(const fa_net *a, const fa_net *b)
{
    void *state = state_of(b);
    const bool same = fa_net_state_size(a) == fa_net_state_size(b) && in_state(a, state);
    free(state);
    return same;
}

/* ---- variables of the environment ---- */

/* A copy of what it was, for restore_variable. */
static UNUSED char *set_variable(const char *name, const char *value)
{
    const char *was = getenv(name);
    char *before = was ? strdup(was) : NULL;
    setenv(name, value, 1);
    return before;
}

static UNUSED void restore_variable(const char *name, char *before)
{
    if (before)
        setenv(name, before, 1);
    else
        unsetenv(name);
    free(before);
}

/* ---- memory and what must not change ---- */

UNUSED static int64_t live_bytes(void)
{
    int64_t live, count;
    fa_memory(&live, &count);
    return live;
}

/* A network, and the state that it must keep. */
typedef struct {
    fa_net *net;
    void *state;
} watched;

UNUSED static watched watch(const char *rule, const char *loss)
{
    recipe r;
    recipe_init(&r, rule, FA_F32);
    r.desc.loss = loss;
    watched w = {make(&r.desc), NULL};
    w.state = state_of(w.net);
    return w;
}

UNUSED static void unwatch(watched *w)
{
    CHECK(in_state(w->net, w->state), "the network is as it was");
    free(w->state);
    fa_net_free(w->net);
}

#endif

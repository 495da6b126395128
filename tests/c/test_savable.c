/* What can be made can be saved, and what is saved can be loaded: every field of every description,
 * with every value that is out of the ordinary; states; notes; the largest headers. */
#include "bytes.h"
#include "check.h"

#include "api/api.h"

#include <float.h>
#include <limits.h>

/* Saves, loads and saves again: the same bytes. */
static void check_saving(const fa_net *net, const char *what)
{
    bytes first = {0}, second = {0};
    fa_net *again = NULL;
    CHECK(fa_save_to(net, append, &first) == FA_OK, "%s: made and cannot be saved", what);
    if (first.data)
        CHECK(fa_load_memory(&again, first.data, first.size, give_silent, NULL) == FA_OK,
              "%s: saved and cannot be loaded", what);
    if (again)
        CHECK(fa_save_to(again, append, &second) == FA_OK && same_bytes(first, second),
              "%s: another network", what);
    fa_net_free(again);
    free(first.data), free(second.data);
}

static bool all_finite(const fa_net *net)
{
    for (int64_t i = 0; i < fa_net_n_tensors(net); i++) {
        const fa_tensor t = fa_net_tensor(net, i);
        for (int64_t k = 0; t.data && k < t.rows * t.cols; k++)
            if (!isfinite(((float *)t.data)[k])) return false;
    }
    return true;
}

static int n_made, n_refused;

static void attempt(const fa_net_desc *desc, const char *what)
{
    fa_net *net = NULL;
    const int64_t live = live_bytes();
    const fa_status status = fa_net_create(&net, desc);
    CHECK(status == FA_OK || status == FA_E_VALUE, "%s: %s", what, fa_status_name(status));
    CHECK((status == FA_OK) == (net != NULL), "%s: output", what);
    if (net) {
        n_made++;
        CHECK(all_finite(net), "%s: made of numbers", what);
        check_saving(net, what);
        fa_net_free(net);
    } else {
        n_refused++;
    }
    CHECK(live_bytes() == live, "%s: leak", what);
}

/* ---- fields ---- */

static const double reals[] = {NAN,   INFINITY, -INFINITY, DBL_MAX, -DBL_MAX, FLT_MAX, 1e300,
                               -1e-3, -0.0,     5e-324,    0,       0.5,      1,       2};
static const int64_t counts[] = {INT64_MIN, INT64_MIN + 1, -1, 0, INT64_MAX, (int64_t)1 << 62};
static const int ints[] = {INT_MIN, -1, 0, 2, INT_MAX};
static const uint64_t seeds[] = {0, (uint64_t)1 << 63, UINT64_MAX};
static char long_name[4096], name_64[65];
static const char *const texts[] = {
    NULL,           "",         "\xff",  "a\xed\xa0\x80", "\x1b[31mred",
    "\"\\\n\t\x7f", "\xc3\xa9", name_64, long_name,       "normal"};
static const fa_dtype types[] = {FA_F32, FA_F64, FA_U8, (fa_dtype)-1, (fa_dtype)77};
#define N_OF(array) (int)(sizeof array / sizeof *array)

typedef struct {
    int field, value, n_fields; /* which to set, counted from 0 */
    int n_values;               /* of that field */
    const char *below;          /* only fields whose path has this */
    char what[160];
} setting;

static fa_status set_field(void *context, const fa_field *f, void *at, const char *path)
{
    setting *s = context;
    if (!strstr(path, s->below) || s->n_fields++ != s->field) return FA_OK;
    snprintf(s->what, sizeof s->what, "%s, value %d", path, s->value);
#define SET(kind, type, values)                                                                    \
    case kind:                                                                                     \
        s->n_values = N_OF(values);                                                                \
        *(type *)at = values[s->value];                                                            \
        break;
    switch (f->kind) {
        SET(FA_FIELD_REAL, double, reals)
        SET(FA_FIELD_I64, int64_t, counts)
        SET(FA_FIELD_INT, int, ints)
        SET(FA_FIELD_FLAG, int, ints)
        SET(FA_FIELD_U64, uint64_t, seeds)
        SET(FA_FIELD_TEXT, const char *, texts)
        SET(FA_FIELD_DTYPE, fa_dtype, types)
    case FA_FIELD_VALUES:
    case FA_FIELD_PART:
    case FA_FIELD_POINTER:
    case FA_FIELD_LIST:
    case FA_FIELD_OPTIONS: /* test_options.c has all their values */
    case FA_FIELD_SIZE:
    case FA_FIELD_UNSAVED: break;
    }
#undef SET
    return FA_OK;
}

enum { TOP, BOTTOM };

/* Every value of every field `below` of a small network, whose first layer may have a rule of its
 * own. */
static void try_every_field(const char *rule, const char *optimizer, bool of_layer,
                            const char *below)
{
    setting s = {.below = below};
    for (s.n_values = 1;; s.value = s.value + 1 < s.n_values ? s.value + 1 : 0) {
        if (s.value == 0 && s.n_fields) s.field++;
        fa_layer_desc layers[] = {fa_dense(5, "tanh"), fa_dropout(0.1), fa_dense(4, "tanh"),
                                  fa_dense(3, "linear")};
        fa_rule_desc common = fa_rule_of(of_layer ? "fa" : rule), own = fa_rule_of(rule),
                     network_rule = fa_rule_of("custom");
        fa_optimizer_desc o = fa_optimizer_of(optimizer, 0.1);
        fa_net_desc d = fa_net_defaults();
        common.signal = own.signal = silent;
        if (of_layer) layers[0].rule = &own, layers[1].rule = &network_rule;
        d.n_in = 4, d.layers = layers, d.n_layers = 4, d.rule = &common, d.optimizer = &o;
        s.n_fields = 0;
        if (s.value == 0) s.n_values = 1;
        REQUIRE(fa_walk(&fa_net_fields, &d, set_field, &s) == FA_OK, "walk");
        if (s.field >= s.n_fields) break;
        char what[256];
        snprintf(what, sizeof what, "%s, %s, %s", rule, optimizer, s.what);
        if (*s.what) attempt(&d, what);
    }
}

static void test_every_field(void)
{
    memset(long_name, 'x', sizeof long_name - 1);
    memset(name_64, '\x01', sizeof name_64 - 1);
    try_every_field("dfa", "sgd", true, "");
    for (int i = 0; fa_name(FA_NAMES_RULE, i); i++)
        for (int of_layer = 0; of_layer < 2; of_layer++)
            try_every_field(fa_name(FA_NAMES_RULE, i), "sgd", of_layer,
                            of_layer ? "layers.0.rule." : "rule.");
    for (int i = 0; fa_name(FA_NAMES_OPTIMIZER, i); i++)
        try_every_field("dfa", fa_name(FA_NAMES_OPTIMIZER, i), false, "optimizer.");
    printf("      %d made, %d refused\n", n_made, n_refused);
    CHECK(n_made > 1000 && n_refused > 1000, "both happen");
}

/* The message says which field, also of one that nothing uses. */
static void test_messages(void)
{
    fa_layer_desc layers[] = {fa_dense(5, "tanh"), fa_dense(3, "linear")};
    fa_rule_desc rule = fa_rule_of("dfa");
    fa_net_desc d = fa_net_defaults();
    d.n_in = 4, d.layers = layers, d.n_layers = 2, d.rule = &rule;
    fa_net *net = NULL;
    layers[1].rate = NAN;
    CHECK(fa_net_create(&net, &d) == FA_E_VALUE &&
              strstr(fa_last_error(), "layers.1.rate: expected a finite number, got"),
          "a rate of a dense layer");
    layers[1].rate = 0, rule.feedback_rank = -1, rule.name = "backprop";
    CHECK(fa_net_create(&net, &d) == FA_E_VALUE &&
              strstr(fa_last_error(), "rule.feedback_rank: expected"),
          "a rank of a rule without feedback");
    rule.feedback_rank = 0, rule.name = "dfa", layers[0].weight_init.scale = FLT_MAX;
    layers[0].weight_init.name = "he_normal";
    CHECK(fa_net_create(&net, &d) == FA_E_VALUE && strstr(fa_last_error(), "0.weight"),
          "a scale whose draws no float holds");
    float values[20] = {[7] = NAN};
    layers[0].weight_init = (fa_init){.values = values, .rows = 4, .cols = 5};
    CHECK(fa_net_create(&net, &d) == FA_E_VALUE &&
              strstr(fa_last_error(), "layers.0.weight_init: expected finite values"),
          "given values");
    CHECK(!net, "nothing was made");
}

/* ---- states ---- */

static fa_net *small(const char *optimizer)
{
    static fa_layer_desc layers[2];
    layers[0] = fa_dense(5, "tanh"), layers[1] = fa_dense(3, "linear");
    fa_optimizer_desc o = fa_optimizer_of(optimizer, 0.1);
    fa_net_desc d = fa_net_defaults();
    d.n_in = 4, d.layers = layers, d.n_layers = 2, d.optimizer = &o;
    return make(&d);
}

static const float x[8] = {1, 2, 3, 4, 1, 0, 1, 0};
static const int64_t y[2] = {0, 1};

static void test_states(void)
{
    const uint64_t most = (uint64_t)1 << 62;
    const struct {
        uint64_t steps, epochs;
        double lr;
        bool good;
    } rows[] = {{most, most, 0, true},
                {0, 0, 1e300, true},
                {most + 1, 0, 0.1, false},
                {0, most + 1, 0.1, false},
                {INT64_MAX, 0, 0.1, false},
                {UINT64_MAX, UINT64_MAX, 0.1, false},
                {0, 0, NAN, false},
                {0, 0, INFINITY, false},
                {0, 0, -INFINITY, false},
                {0, 0, -5e-324, false},
                {(uint64_t)1 << 63, 0, 1, false}};
    for (int i = 0; i < N_OF(rows); i++) {
        fa_net *net = small("adam");
        char *state = state_of(net), *before = state_of(net);
        memcpy(state, &rows[i].steps, 8), memcpy(state + 8, &rows[i].epochs, 8);
        memcpy(state + 16, &rows[i].lr, 8);
        memset(state + 24, 0, 8); /* and some of the tensors */
        const fa_status status = fa_net_set_state(net, state, fa_net_state_size(net));
        CHECK(status == (rows[i].good ? FA_OK : FA_E_VALUE), "row %d: %s", i,
              fa_status_name(status));
        CHECK(in_state(net, rows[i].good ? state : before), "row %d: all of it or nothing", i);
        check_saving(net, "a state");
        free(state), free(before), fa_net_free(net);
    }
}

/* The last step and epoch that the counters can count; then errors, and the network stays what it
 * is. */
static void test_end_of_counting(void)
{
    const uint64_t most = (uint64_t)1 << 62;
    fa_net *net = small("adam");
    char *state = state_of(net);
    fa_samples s = fa_samples_of(x, 4, FA_F32, 2);
    s.labels = y;
    double loss = -1;
    fa_metrics m = {.steps = -1};
    int64_t order[2] = {-1, -1};
    memcpy(state, &(uint64_t){most - 1}, 8), memcpy(state + 8, &(uint64_t){most - 1}, 8);
    REQUIRE(fa_net_set_state(net, state, fa_net_state_size(net)) == FA_OK, "one is left");
    CHECK(fa_learn_many(&m, net, &s) == FA_E_STATE && m.steps == -1, "two are too many");
    CHECK(strstr(fa_last_error(), "2^62"), "message");
    CHECK(in_state(net, state), "as it was");
    CHECK(fa_train_epoch(&m, net, &s, 2) == FA_OK, "the last");
    CHECK(all_finite(net), "numbers");
    free(state), state = state_of(net);
    CHECK(fa_net_steps(net) == (int64_t)most && fa_net_epochs(net) == (int64_t)most, "counted");
    CHECK(fa_train_batch(&loss, net, &s) == FA_E_STATE && loss == -1, "a batch");
    CHECK(fa_learn_one(&loss, net, x, 1, NULL) == FA_E_STATE && loss == -1, "a sample");
    CHECK(fa_train_epoch(&m, net, &s, 2) == FA_E_STATE, "an epoch");
    CHECK(fa_shuffle(order, net, 2) == FA_E_STATE && order[0] == -1, "an order");
    CHECK(in_state(net, state), "as it was");
    check_saving(net, "at the end");
    CHECK(fa_net_reset(net) == FA_OK && fa_train_batch(&loss, net, &s) == FA_OK, "and over again");
    free(state), fa_net_free(net);
}

/* ---- notes and large headers ---- */

static void test_notes(void)
{
    char *note = malloc(FA_MAX_NOTE + 2);
    memset(note, '\x01', FA_MAX_NOTE + 1); /* six bytes each in a file */
    note[FA_MAX_NOTE + 1] = '\0';
    fa_net *net = small("sgd");
    CHECK(fa_net_set_note(net, note) == FA_E_VALUE && !fa_net_note(net), "too long");
    note[FA_MAX_NOTE] = '\0';
    CHECK(fa_net_set_note(net, note) == FA_OK, "the longest");
    check_saving(net, "the longest note");
    fa_net_free(net);
    free(note);
}

/* As many layers as there may be, with the longest names and numbers: too much, or saved. */
static void test_most_layers(void)
{
    char name[FA_MAX_NAME + 1], note[FA_MAX_NOTE + 1];
    memset(name, '\x01', FA_MAX_NAME), name[FA_MAX_NAME] = '\0';
    memset(note, '\x01', FA_MAX_NOTE), note[FA_MAX_NOTE] = '\0';
    fa_layer_desc *layers = calloc(FA_MAX_LAYERS, sizeof *layers);
    fa_rule_desc rule = fa_rule_of("dfa"), own = fa_rule_of(name);
    own.inject = own.feedback.name = name;
    own.feedback.scale = own.sparsity = -1.0 / 3e100;
    fa_optimizer_desc o = fa_optimizer_of("adam", 1.0 / 3);
    fa_net_desc d = fa_net_defaults();
    d.n_in = 1, d.layers = layers, d.n_layers = FA_MAX_LAYERS, d.rule = &rule, d.optimizer = &o;
    for (int named = 0; named < 2; named++) {
        for (int i = 0; i < FA_MAX_LAYERS; i++) {
            layers[i] =
                i + 1 < FA_MAX_LAYERS && (named || i % 2) ? fa_dropout(0.1) : fa_dense(2, "linear");
            if (i + 1 == FA_MAX_LAYERS || !(named || i % 2)) continue;
            layers[i].activation = layers[i].weight_init.name = layers[i].bias_init.name = name;
            layers[i].rule = &own, layers[i].lr_scale = layers[i].weight_init.scale = -1.0 / 3e100;
        }
        fa_net *net = NULL;
        REQUIRE(fa_net_create(&net, &d) == FA_OK, "%d", named);
        check_saving(net, "the most layers");
        const fa_status status = fa_net_set_note(net, note);
        CHECK(status == (named ? FA_E_VALUE : FA_OK), "a note: %s", fa_status_name(status));
        CHECK(!status || strstr(fa_last_error(), "header"), "message");
        CHECK(!status == (fa_net_note(net) != NULL), "set or not");
        check_saving(net, "the most layers and a note");
        fa_net_free(net);
    }
    free(layers);
}

int main(void)
{
    RUN(test_every_field);
    RUN(test_messages);
    RUN(test_states);
    RUN(test_end_of_counting);
    RUN(test_notes);
    RUN(test_most_layers);
    CHECK(live_bytes() == 0, "all memory returned");
    return finish();
}

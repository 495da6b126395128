/* Networks as bytes: the same bits go on after loading, whatever is wrong is an error, nothing is
 * lost. */
#include "bytes.h"
#include "check.h"
#include "folder.h"

#include "api/api.h"

#include <sys/stat.h>

/* ---- bytes ---- */

static bytes saved(const fa_net *net)
{
    bytes b = {0};
    REQUIRE(fa_save_to(net, append, &b) == FA_OK, "save");
    return b;
}

/* A copy that ends where the bytes end, so that a sanitizer sees one step too far. */
static fa_status load_exact(fa_net **net, const char *data, size_t size)
{
    char *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    const fa_status status = fa_load_memory(net, copy, size, NULL, NULL);
    free(copy);
    return status;
}

static fa_net *loaded(const bytes *b)
{
    fa_net *net = NULL;
    REQUIRE(load_exact(&net, b->data, b->size) == FA_OK, "load");
    return net;
}

/* ---- going on ---- */

enum { ROWS = 90, BATCH = 32 };
static dataset sets[2];

static void train(fa_net *net, const dataset *d, int epochs)
{
    int64_t order[ROWS];
    const fa_samples s = labelled(d, 0, ROWS);
    for (int i = 0; i < epochs; i++) {
        fa_metrics m;
        REQUIRE(fa_shuffle(order, net, ROWS) == FA_OK, "shuffle");
        const fa_epoch e = fa_epoch_of(order, BATCH, 3);
        CHECK(fa_train_steps(&m, net, &s, &e) == FA_OK, "train");
    }
}

static bool same_predictions(const fa_net *a, const fa_net *b, const dataset *d)
{
    double out[2][ROWS * N_OUT]; /* room for both types */
    const fa_samples s = inputs(d, 0, ROWS);
    REQUIRE(fa_predict(out[0], N_OUT, a, &s, 0) == FA_OK, "predict");
    REQUIRE(fa_predict(out[1], N_OUT, b, &s, 0) == FA_OK, "predict");
    return !memcmp(out[0], out[1], ROWS * N_OUT * size_of(d->dtype));
}

static int half_error(void *user, const fa_rule_context *t)
{
    ++*(int *)user;
    for (int64_t i = 0; i < t->signal.rows; i++)
        for (int64_t j = 0; j < t->signal.cols; j++)
            ((float *)t->signal.data)[i * t->signal.ld + j] =
                ((const float *)t->error.data)[i * t->error.ld + j % N_OUT] / 2;
    return 0;
}

static const fa_option nesterov[] = {{"momentum", 0.9, NULL}, {"nesterov", 1, NULL}},
                       rmsprop[] = {{"alpha", 0.9, NULL},
                                    {"momentum", 0.5, NULL},
                                    {"centered", 1, NULL}},
                       adamw[] = {{"beta1", 0.8, NULL}, {"beta2", 0.99, NULL}, {"eps", 1e-6, NULL}};
static const fa_optimizer_desc optimizers[] = {
#define SIZED .struct_size = sizeof(fa_optimizer_desc)
    {SIZED, .name = "sgd", .lr = 0.1, .decay_bias = 1},
    {SIZED, .name = "sgd", .lr = 0.1, .weight_decay = 1e-3, .options = nesterov, .n_options = 2},
    {SIZED, .name = "rmsprop", .lr = 0.01, .clip_norm = 0.3, .l1 = 1e-3, .options = rmsprop,
     .n_options = 3},
    {SIZED, .name = "adam", .lr = 0.01},
    {SIZED, .name = "adamw", .lr = 0.01, .weight_decay = 0.1, .options = adamw, .n_options = 3},
#undef SIZED
};
enum { N_OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

/* Two epochs, saved, loaded, cloned, two more: what four in a row give. */
static void check_going_on(const fa_net_desc *desc, const dataset *d)
{
    fa_net *net = make(desc), *copy = NULL;
    train(net, d, 2);
    REQUIRE(fa_net_set_lr(net, 0.015625) == FA_OK, "set_lr");
    const bytes b = saved(net);
    fa_net *again = loaded(&b);
    REQUIRE(fa_net_clone(&copy, again) == FA_OK, "clone");
    const char *what = desc->rule->name;
    CHECK(same_state(net, again) && same_state(net, copy), "%s: the same state", what);
    CHECK(fa_net_steps(again) == 6 && fa_net_epochs(again) == 2 && fa_net_lr(again) == 0.015625,
          "%s: counters and learning rate", what);
    CHECK(same_predictions(net, again, d), "%s: the same predictions", what);
    const bytes second = saved(again), third = saved(copy);
    CHECK(same_bytes(b, second), "%s: the same bytes", what);
    CHECK(same_bytes(b, third), "%s: of a clone", what);
    fa_net *const all[] = {net, again, copy};
    for (int i = 0; i < 3; i++) train(all[i], d, 2);
    CHECK(same_state(net, again), "%s, %s: goes on bit for bit", what, desc->optimizer->name);
    CHECK(same_state(net, copy), "%s, %s: so does a clone", what, desc->optimizer->name);
    fa_net *fresh = make(desc);
    REQUIRE(fa_net_reset(again) == FA_OK, "reset");
    CHECK(same_state(fresh, again), "%s: reset starts over", what);
    fa_net_free(fresh);
    for (int i = 0; i < 3; i++) fa_net_free(all[i]);
    free(b.data), free(second.data), free(third.data);
}

static void test_every_rule_goes_on(void)
{
    for (int r = 0; fa_name(FA_NAMES_RULE, r); r++)
        for (int o = 0; o < N_OPTIMIZERS; o++)
            for (int t = 0; t < 2; t++) {
                recipe one;
                if (!strcmp(fa_name(FA_NAMES_RULE, r), "custom")) continue; /* below */
                recipe_init(&one, fa_name(FA_NAMES_RULE, r), dtypes[t]);
                one.optimizer = optimizers[o];
                rule_option(&one, "decay", 0.01);
                check_going_on(&one.desc, &sets[t]);
            }
}

static void test_given_values_and_rules_of_layers(void)
{
    static float weights[N_HIDDEN_1 * N_HIDDEN_2], bias[N_HIDDEN_2], b1[N_OUT * N_HIDDEN_1];
    for (int i = 0; i < N_HIDDEN_1 * N_HIDDEN_2; i++) weights[i] = (float)(i % 17 - 8) / 50;
    for (int i = 0; i < N_HIDDEN_2; i++) bias[i] = (float)i / 100;
    for (int i = 0; i < N_OUT * N_HIDDEN_1; i++) b1[i] = (float)(i % 5 - 2) / 9;
    fa_rule_desc own = fa_rule_of("drtp");
    own.inject = "pre", own.feedback.name = "orthogonal", own.feedback.scale = 0.5;
    own.sparsity = 0.25;
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.layers[SECOND].weight_init =
        (fa_init){.values = weights, .rows = N_HIDDEN_1, .cols = N_HIDDEN_2};
    r.layers[SECOND].bias_init = (fa_init){.values = bias, .rows = 1, .cols = N_HIDDEN_2};
    r.layers[SECOND].rule = &own;
    r.layers[SECOND].lr_scale = 0.5;
    r.layers[FIRST].weight_init = (fa_init){.name = "he_normal", .scale = 0.7};
    r.rule.feedback = (fa_init){.values = b1, .scale = 2, .rows = N_OUT, .cols = N_HIDDEN_1};
    r.desc.n_threads = 3;
    check_going_on(&r.desc, &sets[0]);

    r.rule = fa_rule_of("dfa");
    r.rule.feedback.name = "ternary", r.rule.shared = 1;
    r.layers[SECOND].rule = NULL;
    check_going_on(&r.desc, &sets[0]);
    r.rule = fa_rule_of("fa");
    r.rule.feedback.name = "normal", r.rule.feedback_rank = 3;
    check_going_on(&r.desc, &sets[0]);
}

/* Values that no layer uses are not kept; nor is their shape, so that what is loaded is written as
 * the same file. */
static void test_unused_values(void)
{
    static const float values[N_HIDDEN_1] = {0};
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.layers[DROPOUT].bias_init = (fa_init){.values = values, .rows = 1, .cols = N_HIDDEN_1};
    fa_net *net = make(&r.desc);
    const bytes first = saved(net);
    fa_net *again = loaded(&first);
    const bytes second = saved(again);
    CHECK(first.size == second.size && !memcmp(first.data, second.data, first.size),
          "written again: %zu bytes, then %zu", first.size, second.size);
    free(first.data), free(second.data);
    fa_net_free(net), fa_net_free(again);
}

static int wanted_layer[4], n_wanted;

static int give_function(void *user, fa_rule_desc *rule, int64_t layer, const char *note)
{
    CHECK(note && !strcmp(note, "halves"), "the note of the file");
    wanted_layer[n_wanted++] = (int)layer;
    rule->signal = half_error;
    rule->user = user;
    return layer == 2 ? 0 : *(int *)user < 0;
}

static void test_custom_rule(void)
{
    int calls = 0;
    fa_rule_desc own = fa_rule_of("custom");
    own.feedback.name = NULL, own.signal = half_error, own.user = &calls;
    recipe r;
    recipe_init(&r, "custom", FA_F32);
    r.rule.signal = half_error, r.rule.user = &calls;
    r.layers[SECOND].rule = &own;
    fa_net *net = make(&r.desc), *again = NULL, *copy = NULL;
    train(net, &sets[0], 1);
    REQUIRE(fa_net_set_note(net, "halves") == FA_OK, "note");
    const bytes b = saved(net);
    CHECK(load_exact(&again, b.data, b.size) == FA_E_FORMAT && !again, "it needs its function");
    CHECK(strstr(fa_last_error(), "custom") && strstr(fa_last_error(), "signal"), "message");
    REQUIRE(fa_load_memory(&again, b.data, b.size, give_function, &calls) == FA_OK,
            "load with functions");
    CHECK(n_wanted == 2 && wanted_layer[0] == -1 && wanted_layer[1] == 2, "asked for both");
    REQUIRE(fa_net_clone(&copy, again) == FA_OK, "clone");
    calls = 0;
    train(net, &sets[0], 1), train(again, &sets[0], 1), train(copy, &sets[0], 1);
    CHECK(calls == 3 * 3 * 2, "each of three networks calls its functions: %d", calls);
    CHECK(same_state(net, again) && same_state(net, copy), "goes on bit for bit");
    calls = -1;
    fa_net *none = NULL;
    CHECK(fa_load_memory(&none, b.data, b.size, give_function, &calls) == FA_E_STOPPED && !none,
          "refused");
    free(b.data);
    fa_net_free(net), fa_net_free(again), fa_net_free(copy);
}

static void test_note_and_clone(void)
{
    recipe r;
    recipe_init(&r, "kp", FA_F64);
    fa_net *net = make(&r.desc), *copy = NULL;
    const char *note =
        "{\"digits\": 10, \"by\": \"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \\ \t\n\x7f\"}";
    CHECK(!fa_net_note(net), "none at first");
    CHECK(fa_net_set_note(net, note) == FA_OK && !strcmp(fa_net_note(net), note), "set");
    const bytes b = saved(net);
    fa_net *again = loaded(&b);
    CHECK(!strcmp(fa_net_note(again), note), "in the file: %s", fa_net_note(again));
    REQUIRE(fa_net_clone(&copy, net) == FA_OK, "clone");
    CHECK(!strcmp(fa_net_note(copy), note) && fa_net_note(copy) != fa_net_note(net),
          "in the clone");
    void *before = state_of(net);
    train(copy, &sets[1], 1);
    CHECK(in_state(net, before), "a clone goes its own way");
    CHECK(fa_net_set_note(net, "abc\xff") == FA_E_VALUE && !strcmp(fa_net_note(net), note),
          "what is not UTF-8");
    CHECK(strstr(fa_last_error(), "note: expected UTF-8, got the byte 0xff"), "message");
    char room[100] = "";
    size_t size = 3;
    CHECK(fa_net_copy_note(room, &size, net) == FA_OK && size == strlen(note) + 1 && !*room,
          "too little room");
    CHECK(fa_net_copy_note(room, &size, net) == FA_OK && !strcmp(room, note), "copied");
    CHECK(fa_net_copy_note(NULL, &size, net) == FA_OK && size == strlen(note) + 1, "asked");
    CHECK(fa_net_copy_note(room, NULL, net) == FA_E_VALUE, "no size");
    CHECK(fa_net_copy_note(room, &size, NULL) == FA_E_VALUE, "no network");
    CHECK(fa_net_set_note(net, NULL) == FA_OK && !fa_net_note(net), "taken away");
    CHECK(fa_net_copy_note(room, &size, net) == FA_OK && size == 0, "none");
    CHECK(fa_net_set_threads(copy, 5) == FA_OK, "threads");
    const bytes five = saved(copy);
    fa_net *with_five = loaded(&five);
    CHECK(fa_net_threads(with_five) == 5, "the number of threads as it is");
    free(before), free(b.data), free(five.data);
    fa_net_free(net), fa_net_free(again), fa_net_free(copy), fa_net_free(with_five);
}

static void test_own_description(void)
{
    char name[] = "fa", loss[] = "mse";
    recipe r;
    recipe_init(&r, name, FA_F32);
    r.desc.loss = loss;
    fa_net *net = make(&r.desc);
    memset(name, 'x', 2), memset(loss, 'x', 3), memset(r.layers, 0x5a, sizeof r.layers);
    const fa_net_desc *d = fa_net_description(net);
    CHECK(!strcmp(d->rule->name, "fa") && !strcmp(d->loss, "mse"), "texts are copies");
    CHECK(d->n_layers == 4 && d->layers[SECOND].units == N_HIDDEN_2 &&
              !strcmp(d->layers[SECOND].activation, "tanh"),
          "so are layers");
    CHECK(!fa_net_description(NULL) && !fa_net_note(NULL), "NULL is fine");
    fa_net_free(net);
}

/* ---- every field ---- */

static fa_status count_rows(void *context, const fa_field *f, void *at, const char *field_path)
{
    (void)f, (void)at, (void)field_path;
    ++*(int *)context;
    return FA_OK;
}

/* A value of its own in every field that is saved. */
static fa_status set_field(void *context, const fa_field *f, void *at, const char *field_path)
{
    static char names[200][48];
    static const float somewhere = 0;
    static char room[8][512];
    int *n = context;
    ++*n;
    switch (f->kind) {
    case FA_FIELD_TEXT:
        snprintf(names[*n % 200], sizeof names[0], "%.40s", field_path);
        *(const char **)at = names[*n % 200];
        break;
    case FA_FIELD_FLAG: *(int *)at = 1; break;
    case FA_FIELD_INT: *(int *)at = -*n; break;
    case FA_FIELD_I64: *(int64_t *)at = INT64_MIN + 1 + *n; break;
    case FA_FIELD_U64: *(uint64_t *)at = UINT64_MAX - (uint64_t)*n; break;
    case FA_FIELD_REAL: *(double *)at = (*n % 2 ? 1e-300 : -3) / (7.0 * *n); break;
    case FA_FIELD_DTYPE: *(fa_dtype *)at = FA_F64; break;
    case FA_FIELD_VALUES: {
        fa_init *init = (fa_init *)((char *)at - f->offset);
        init->values = &somewhere, init->rows = *n, init->cols = 2 * *n;
        break;
    }
    case FA_FIELD_POINTER: *(void **)at = memset(room[*n % 8], 0, sizeof room[0]); break;
    case FA_FIELD_PART:
    case FA_FIELD_LIST:
    case FA_FIELD_OPTIONS: /* test_options.c: the names here have none */
    case FA_FIELD_SIZE:
    case FA_FIELD_UNSAVED: break;
    }
    return FA_OK;
}

/* One line a field. */
static fa_status list_field(void *context, const fa_field *f, void *at, const char *field_path)
{
    char line[256] = "";
    const fa_init *init = (const fa_init *)((char *)at - f->offset);
    switch (f->kind) {
    case FA_FIELD_TEXT: snprintf(line, sizeof line, "%s", *(const char **)at); break;
    case FA_FIELD_INT:
    case FA_FIELD_FLAG: snprintf(line, sizeof line, "%d", *(int *)at); break;
    case FA_FIELD_I64: snprintf(line, sizeof line, "%lld", (long long)*(int64_t *)at); break;
    case FA_FIELD_U64:
        snprintf(line, sizeof line, "%llu", (unsigned long long)*(uint64_t *)at);
        break;
    case FA_FIELD_REAL: snprintf(line, sizeof line, "%a", *(double *)at); break;
    case FA_FIELD_DTYPE: snprintf(line, sizeof line, "%d", (int)*(fa_dtype *)at); break;
    case FA_FIELD_VALUES:
        snprintf(line, sizeof line, "%d %lld %lld", init->values != NULL, (long long)init->rows,
                 (long long)init->cols);
        break;
    case FA_FIELD_POINTER: snprintf(line, sizeof line, "%d", *(void **)at != NULL); break;
    case FA_FIELD_PART:
    case FA_FIELD_LIST:
    case FA_FIELD_OPTIONS: /* test_options.c: the names here have none */
    case FA_FIELD_SIZE:
    case FA_FIELD_UNSAVED: break;
    }
    append(context, field_path, strlen(field_path));
    append(context, " = ", 3);
    append(context, line, strlen(line));
    append(context, "\n", 2);
    ((bytes *)context)->size--;
    return FA_OK;
}

static void test_every_field_is_kept(void)
{
    fa_layer_desc layer = {0};
    fa_net_desc desc = {.struct_size = sizeof desc, .layers = &layer, .n_layers = 1};
    int n = 0, blank = 0;
    fa_walk(&fa_net_fields, &desc, set_field, &n);
    fa_walk(&fa_net_fields, &desc, count_rows, &blank);
    CHECK(n == blank && n > 60, "%d fields", n);

    fa_text t = {0};
    fa_write_fields(&t, &fa_net_fields, &desc);
    REQUIRE(t.status == FA_OK, "write");
    fa_description read;
    REQUIRE(fa_read_description(&read, t.data) == FA_OK, "read");
    bytes before = {0}, after = {0};
    fa_walk(&fa_net_fields, &desc, list_field, &before);
    fa_walk(&fa_net_fields, &read.desc, list_field, &after);
    CHECK(!strcmp(before.data, after.data), "\n%s\n%s", before.data, after.data);
    free(before.data), free(after.data);
    fa_free(read.layers);
    fa_free(t.data);
}

/* Rows cover their struct: between one field and the next lies nothing but what alignment asks
 * for. */
static void check_covered(const fa_table *t)
{
    size_t end = 0;
    for (const fa_field *f = t->fields; f->name; f++) {
        CHECK(f->offset >= end && f->offset - end < 8 && (f->offset == end || f->offset % 8 == 0),
              "%s: a field between row '%s' and the one before has no row in description.c",
              t->name, f->name);
        end = f->offset + f->size;
    }
    CHECK(t->size - end < 8, "%s: the last field has no row in description.c", t->name);
}

static void test_every_field_has_a_row(void)
{
    const fa_table *const tables[] = {&fa_net_fields,       &fa_layer_fields, &fa_rule_fields,
                                      &fa_optimizer_fields, &fa_init_fields,  &fa_state_fields};
    for (int i = 0; i < 6; i++) check_covered(tables[i]);
}

static void test_numbers(void)
{
    static const double values[] = {0.1,
                                    1.0 / 3,
                                    5e-324,
                                    2.2250738585072014e-308,
                                    1e22,
                                    1e23,
                                    -0.0,
                                    123456789012345678.0,
                                    1.7976931348623157e308,
                                    1e-5};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        fa_text t = {0};
        fa_text_real(&t, values[i]);
        fa_json j = {t.data, t.data, t.data + t.size, "number"};
        double back;
        CHECK(fa_json_real(&back, &j) == FA_OK && fa_json_end(&j) == FA_OK &&
                  !memcmp(&back, &values[i], 8),
              "%a through %s", values[i], t.data);
        fa_free(t.data);
    }
    static const char *const bad[] = {"",    "-",   "01",  "1.",    ".5",  "1e",  "1e+",   "+1",
                                      "0x1", "inf", "nan", "1e999", "1 2", "--1", "1.5.2", "1,5"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[16];
        strcpy(text, bad[i]);
        fa_json j = {text, text, text + strlen(text), "number"};
        double back;
        CHECK(fa_json_real(&back, &j) || fa_json_end(&j), "'%s' is no number", bad[i]);
    }
}

/* ---- bad bytes ---- */

static bytes sealed; /* a small network */
static bytes plain;  /* without its checksum, so that other damage is found too */

static bytes without_checksum(const bytes *b)
{
    uint64_t n;
    memcpy(&n, b->data, 8);
    char *at = memmem(b->data, b->size, ",\"fastfa.crc32c\":\"", 18);
    REQUIRE(at, "it has one");
    bytes less = {0};
    const size_t gone = 18 + 8 + 1, before = (size_t)(at - b->data);
    append(&less, b->data, before);
    append(&less, at + gone, b->size - before - gone);
    n -= gone;
    memcpy(less.data, &n, 8);
    return less;
}

static void make_plain(void)
{
    fa_layer_desc layers[] = {fa_dense(3, "tanh"), fa_dense(2, "linear")};
    fa_net_desc desc = fa_net_defaults();
    const fa_rule_desc rule = fa_rule_of("sdfa");
    desc.n_in = 4, desc.layers = layers, desc.n_layers = 2, desc.rule = &rule;
    fa_net *net = make(&desc);
    REQUIRE(fa_net_set_note(net, "note") == FA_OK, "note");
    sealed = saved(net);
    plain = without_checksum(&sealed);
    fa_net_free(net);
}

/* plain with the first `old` of its header replaced, and then as many bytes of data as fit
 * `cut`. */
static bytes changed(const char *old, const char *new, int more)
{
    uint64_t n;
    memcpy(&n, plain.data, 8);
    const char *header = plain.data + 8, *end = header + n;
    const char *at = memmem(header, n, old, strlen(old));
    REQUIRE(at, "'%s' stands in the header", old);
    const uint64_t size = n - strlen(old) + strlen(new);
    bytes b = {0};
    append(&b, &size, 8);
    append(&b, header, (size_t)(at - header));
    append(&b, new, strlen(new));
    append(&b, at + strlen(old), (size_t)(end - at) - strlen(old));
    const size_t data = plain.size - 8 - n;
    append(&b, end, more < 0 ? data + (size_t)more : data);
    for (int i = 0; i < more; i++) append(&b, "", 1);
    return b;
}

static void check_refused(const bytes *b, const char *what, const char *message)
{
    fa_net *net = (fa_net *)&plain;
    const fa_status status = load_exact(&net, b->data, b->size);
    CHECK(status == FA_E_FORMAT, "%s: %s", what, fa_status_name(status));
    CHECK(net == (fa_net *)&plain, "%s: output untouched", what);
    CHECK(strstr(fa_last_error(), message), "%s: expected '%s'", what, message);
}

#define N "\\\"name\\\":\\\"sgd\\\""
#define M "\\\"momentum\\\":"
static const struct {
    const char *old, *new;
    int more;
    const char *message;
} wrong[] = {
    {"{\"__meta", "[\"__meta", 0, "expected a safetensors header"},
    {"\"fastfa.format\":\"2\"", "\"fastfa.format\":\"3\"", 0, "written by fastfa 0.1.0"},
    {"\"fastfa.format\":\"2\",", "", 0, "no fastfa.format"},
    {"\"fastfa.format\":\"2\"", "\"fastfa.format\":2", 0, "a string"},
    {"\"fastfa.format\":\"2\",", "\"fastfa.format\":\"2\",\"fastfa.format\":\"2\",", 0, "twice"},
    {"fastfa.state", "fastfa.stat", 0, "expected fastfa.network and fastfa.state"},
    {"__metadata__", "_metadata__", 0, "dtype, shape"},
    {"\"0.weight\":", "\"__metadata__\":{},\"0.weight\":", 0, "twice"},
    {"\"0.weight\"", "\"0.weigh\"", 0, "'0.weight' is missing"},
    {"\"0.weight\"", "\"0.bias\"", 0, "twice"},
    {"\"0.weight\"", "\"0.weight\":{},\"x\"", 0, "a string"},
    {"\"F32\"", "\"F64\"", 0, "96 bytes apart"},
    {"\"F32\"", "\"BF16\"", 0, "expected F32 or F64, got 'BF16'"},
    {"\"F32\"", "\"f32\"", 0, "expected F32 or F64"},
    {"[4,3]", "[3,4]", 0, "expected shape (4, 3)"},
    {"[4,3]", "[12]", 0, "expected shape (4, 3)"},
    {"[4,3]", "[4,3,1]", 0, "expected shape (4, 3)"},
    {"[4,3]", "[4,-3]", 0, "a dimension of at least 1"},
    {"[4,3]", "[4,0]", 0, "a dimension of at least 1"},
    {"[4,3]", "[4,3.0]", 0, "','"},
    {"[4,3]", "[]", 0, "4 bytes apart"},
    {"[4,3]", "[1,1,1,1,1,1,4,3,1]", 0, "at most 8"},
    {"[4,3]", "[4611686018427387904,4]", 0, "too large"},
    {"[4,3]", "[9223372036854775807,9223372036854775807]", 0, "too large"},
    {"[4,3]", "[9223372036854775808,3]", 0, "fits"},
    {"[4,3]", "[18446744073709551616,3]", 0, "fits"},
    {"[0,48]", "[48,0]", 0, "48 bytes apart"},
    {"[0,48]", "[0,49]", 0, "48 bytes apart"},
    {"[0,48]", "[4,52]", 0, "a hole or an overlap"},
    {"[48,60]", "[44,56]", 0, "a hole or an overlap"},
    {"[48,60]", "[52,64]", 0, "a hole or an overlap"},
    {"[48,60]", "[18446744073709551604,0]", 0, "12 bytes apart"},
    {"[48,60]", "[-48,60]", 0, "an integer"},
    {"note", "note", 1, "bytes of tensors"},
    {"note", "note", -1, "bytes of tensors"},
    {"note\"}", "note\"},", 0, "a string"},
    {"note\"}", "note\"}}", 0, "the end"},
    {"note", "no\xff", 0, "UTF-8"},
    {"note", "\xc0\x80", 0, "UTF-8"},
    {"note", "\xed\xa0\x80", 0, "UTF-8"},
    {"note", "\xf4\x90\x80\x80", 0, "UTF-8"},
    {"note", "a\nb", 0, "UTF-8 without control characters"},
    {"note", "\\u0000", 0, "without zeros"},
    {"note", "\\ud800", 0, "second half"},
    {"note", "\\ud800\\u0041", 0, "second half"},
    {"note", "\\udc00", 0, "first half"},
    {"note", "\\u00g0", 0, "hexadecimal"},
    {"note", "\\x", 0, "an escape"},
    {"\"dtype\":\"F32\",\"shape", "\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape", 0, "each once"},
    {"\"shape\":[4,3],", "", 0, "','"},
    {"[0,48]}", "[0,48],\"x\":1}", 0, "'}'"},
    {"\\\"n_in\\\":4", "\\\"n_in\\\":5", 0, "expected shape (5, 3)"},
    {"\\\"n_in\\\":4", "\\\"n_in\\\":2000000000", 0, "expected shape"},
    {"\\\"n_in\\\":4", "\\\"n_in\\\":-4", 0, "n_in"},
    {"\\\"n_in\\\":4", "\\\"n_in\\\":4,\\\"n_in\\\":4", 0, "twice"},
    {"\\\"n_in\\\":4", "\\\"n_out\\\":4", 0, "unknown field 'n_out'"},
    {"\\\"n_in\\\":4", "\\\"n_in\\\":4e0", 0, "','"},
    {"\\\"n_in\\\":4", "\\\"n_in\\\":\\\"4\\\"", 0, "an integer"},
    {"float32", "float64", 0, "expected dtype F64, got F32"},
    {"float32", "float16", 0, "got 'float16'"},
    {"\\\"units\\\":3", "\\\"units\\\":2147483647", 0, "expected shape"},
    {"\\\"units\\\":3", "\\\"units\\\":9223372036854775807", 0, "units"},
    {"\\\"sdfa\\\"", "\\\"backprop\\\"", 0, "expected 4 tensors by the description, got 5"},
    {"\\\"sdfa\\\"", "\\\"new\\\"", 0, ", got 'new'"},
    {"\\\"sdfa\\\"", "\\\"custom\\\"", 0, "signal"},
    {N, "\\\"name\\\":\\\"adam\\\"", 0, "'0.weight.slot0' is missing"},
    {M "0,", M "0.9,", 0, "'0.weight.slot0' is missing"},
    {M "0,", M "NaN,", 0, "a number"},
    {M "0,", M "1e999,", 0, "a double can hold"},
    {M "0,", M "1,", 0, "optimizer 'sgd': momentum: expected a finite number >= 0 and < 1, got 1"},
    {M "0,", M "\\\"a\\\",", 0, "momentum: expected a finite number >= 0 and < 1, got 'a'"},
    {M "0,", M "false,", 0, "'momentum': expected a number"},
    {M "0,", M "{},", 0, "unknown field 'momentum'"},
    {M "0,", M "0," M "0,", 0, "'momentum' stands twice"},
    {M "0,", "\\\"Momentum\\\":0,", 0, "optimizer: unknown field 'Momentum'"},
    {M "0,", "\\\"options\\\":0,", 0, "optimizer: unknown field 'options'"},
    {"\\\"nesterov\\\":false", "\\\"nesterov\\\":0", 0, "'nesterov': expected true or false"},
    {"\\\"rule\\\":{", "\\\"rule\\\":{\\\"delta\\\":1,", 0, "rule: unknown field 'delta'"},
    {"\\\"n_in\\\":4", "\\\"n_in\\\":4,\\\"delta\\\":4", 0, "network: unknown field 'delta'"},
    {"{\\\"smoothing\\\":0}", "{\\\"delta\\\":4}", 0, "unknown field 'delta'"},
    {"{\\\"smoothing\\\":0}", "4", 0, "'{'"},
    {"\\\"units\\\":3", "\\\"units\\\":3,\\\"delta\\\":4", 0, "layer: unknown field 'delta'"},
    {"\\\"lr\\\":0.1}", "\\\"lr\\\":-0.1}", 0, "lr"},
    {"\\\"lr\\\":0.1}", "\\\"lr\\\":Infinity}", 0, "a number"},
    {"\\\"lr\\\":0.1}", "\\\"steps\\\":9223372036854775808}", 0, "up to 2^62"},
    {"\\\"lr\\\":0.1}", "\\\"steps\\\":4611686018427387905}", 0, "up to 2^62"},
    {"\\\"lr\\\":0.1}", "\\\"epochs\\\":4611686018427387905}", 0, "up to 2^62"},
    {"\\\"lr\\\":0.1}", "\\\"steps\\\":18446744073709551616}", 0, "fits"},
    {"\\\"lr\\\":0.1}", "\\\"steps\\\":-1}", 0, "an integer"},
    {"\\\"lr\\\":0.1}", "\\\"lr\\\":0.1}}", 0, "the end"},
    {"\\\"use_bias\\\":true", "\\\"use_bias\\\":1", 0, "true or false"},
    {"\\\"use_bias\\\":true", "\\\"use_bias\\\":false", 0, "expected 4 tensors"},
    {"\\\"weight_init\\\":{", "\\\"weight_init\\\":{\\\"values\\\":[4,3],", 0,
     "'layers.0.weight_init' is missing"},
    {"\\\"weight_init\\\":{", "\\\"weight_init\\\":{\\\"values\\\":[0,3],", 0, "a shape"},
    {"\\\"weight_init\\\":{", "\\\"weight_init\\\":{\\\"rows\\\":4,", 0, "unknown field 'rows'"},
    {"\\\"rule\\\":{", "\\\"rule\\\":{\\\"signal\\\":1,", 0, "unknown field 'signal'"},
    {"\\\"layers\\\":[", "\\\"layers\\\":[[],", 0, "'{'"},
    {"\\\"layers\\\":[", "\\\"layers\\\":[{},", 0, "type"},
};

static void test_wrong_files(void)
{
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char what[160];
        snprintf(what, sizeof what, "%s -> %s", wrong[i].old, wrong[i].new);
        bytes b = changed(wrong[i].old, wrong[i].new, wrong[i].more);
        check_refused(&b, what, wrong[i].message);
        free(b.data);
    }
    fa_net *net = NULL;
    CHECK(fa_load_memory(&net, NULL, 100, NULL, NULL) == FA_E_VALUE, "no data");
    CHECK(fa_load_memory(NULL, plain.data, plain.size, NULL, NULL) == FA_E_VALUE, "no output");
}

/* Any bit that is flipped is noticed, or changes nothing that the file says. */
static void test_every_bit_under_a_checksum(void)
{
    char *copy = malloc(sealed.size);
    fa_net *net = NULL;
    int harmless = 0;
    for (size_t i = 0; i < sealed.size; i++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(copy, sealed.data, sealed.size);
            copy[i] ^= (char)(1 << bit);
            const fa_status status = load_exact(&net, copy, sealed.size);
            CHECK(status == FA_OK || status == FA_E_FORMAT, "bit %d of byte %zu", bit, i);
            if (status) continue;
            const bytes again = saved(net);
            CHECK(again.size == sealed.size && !memcmp(again.data, sealed.data, sealed.size),
                  "bit %d of byte %zu: another network", bit, i);
            harmless++;
            free(again.data), fa_net_free(net), net = NULL;
        }
    CHECK(harmless < 8 * 20, "%d, in the checksum's own name", harmless);
    free(copy);
}

static void test_checksum(void)
{
    CHECK(fa_crc32c(0, "123456789", 9) == 0xe3069283, "the usual example");
    char text[100];
    for (int i = 0; i < 100; i++) text[i] = (char)(i * 37);
    for (size_t at = 0; at < 20; at++)
        for (size_t n = 0; n + at <= 100; n++) {
            const uint32_t whole = fa_crc32c(7, text + at, n);
            CHECK(whole == fa_crc32c_by_table(7, text + at, n), "%zu bytes from %zu", n, at);
            CHECK(whole == fa_crc32c(fa_crc32c(7, text + at, n / 3), text + at + n / 3, n - n / 3),
                  "in two parts");
        }
    bytes b = {0};
    append(&b, sealed.data, sealed.size);
    b.data[b.size - 1] ^= 1;
    check_refused(&b, "a bit of a weight", "damaged: its checksum is");
    free(b.data);
}

/* Once the header is out, a tensor is written to that is still to come, and not by a call. */
static int writes_beside(void *user, const void *data, size_t size)
{
    (void)data, (void)size;
    *(float *)user += 1;
    return 0;
}

static void test_memory_changed_while_saving(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    fa_net *net = make(&r.desc);
    CHECK(fa_save_to(net, writes_beside, fa_net_tensor(net, 0).data) == FA_E_STATE, "noticed");
    CHECK(strstr(fa_last_error(), "save it again"), "message");
    const bytes b = saved(net);
    fa_net *again = loaded(&b);
    CHECK(same_state(net, again), "and saved again");
    free(b.data), fa_net_free(net), fa_net_free(again);
}

static int64_t most_live;

static void *watched_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *memory = NULL;
    most_live = (int64_t)size > most_live ? (int64_t)size : most_live;
    return posix_memalign(&memory, align, size) ? NULL : memory;
}
static void watched_release(void *user, void *memory, size_t size)
{
    (void)user, (void)size;
    free(memory);
}

/* ---- from a function ---- */

typedef struct {
    const bytes *b;
    size_t at, stop; /* refuses at this byte */
} stream;

static int next_bytes(void *user, void *data, size_t size)
{
    stream *s = user;
    if (s->at + size > s->b->size || s->at + size > s->stop) return 17;
    memcpy(data, s->b->data + s->at, size);
    s->at += size;
    return 0;
}

static void test_load_from(void)
{
    bytes two = {0};
    append(&two, sealed.data, sealed.size);
    append(&two, sealed.data, sealed.size);
    stream s = {&two, 0, SIZE_MAX};
    for (size_t i = 1; i <= 2; i++) {
        fa_net *net = NULL;
        REQUIRE(fa_load_from(&net, next_bytes, &s, NULL, NULL) == FA_OK, "network %zu", i);
        CHECK(s.at == i * sealed.size, "no byte more than its own");
        const bytes again = saved(net);
        CHECK(again.size == sealed.size && !memcmp(again.data, sealed.data, again.size), "same");
        free(again.data), fa_net_free(net);
    }
    fa_net *net = NULL;
    for (size_t stop = 0; stop < sealed.size; stop++) {
        s = (stream){&two, 0, stop};
        CHECK(fa_load_from(&net, next_bytes, &s, NULL, NULL) == FA_E_IO && !net, "%zu", stop);
    }
    CHECK(strstr(fa_last_error(), "17"), "message");
    CHECK(fa_load_from(&net, NULL, NULL, NULL, NULL) == FA_E_VALUE, "no function");
    CHECK(fa_load_from(NULL, next_bytes, &s, NULL, NULL) == FA_E_VALUE, "no output");
    free(two.data);
}

static int zeros(void *user, void *data, size_t size)
{
    *(size_t *)user += size;
    memset(data, 0, size);
    return 0;
}

/* A stream that says 2 GiB and ends early costs what came; one that is no network costs nine
 * bytes. */
static int huge_then_end(void *user, void *data, size_t size)
{
    stream *s = user;
    if (s->at >= (3u << 20)) return 1;
    if (s->at < s->b->size)
        memcpy(data, s->b->data + s->at, size);
    else
        memset(data, 0, size);
    s->at += size;
    return 0;
}

static void test_streams_of_others(void)
{
    fa_net *net = NULL;
    size_t taken = 0;
    CHECK(fa_load_from(&net, zeros, &taken, NULL, NULL) == FA_E_FORMAT && taken == 9, "zeros");
    const char header[] =
        "{\"__metadata__\":{\"fastfa.format\":\"1\"},\"0.weight\":{\"dtype\":\"F32\","
        "\"shape\":[536870912],\"data_offsets\":[0,2147483648]}}";
    const uint64_t n = sizeof header - 1;
    bytes b = {0};
    append(&b, &n, 8), append(&b, header, n);
    const fa_allocator under_watch = {watched_alloc, watched_release, NULL};
    REQUIRE(fa_set_allocator(&under_watch) == FA_OK, "allocator");
    most_live = 0;
    stream s = {&b, 0, 0};
    CHECK(fa_load_from(&net, huge_then_end, &s, NULL, NULL) == FA_E_IO, "ends early");
    CHECK(most_live < 9 << 20, "asked for %lld bytes", (long long)most_live);
    REQUIRE(fa_set_allocator(NULL) == FA_OK, "allocator");
    free(b.data);
}

/* ---- from a path ---- */

static void put_file(const bytes *b, size_t size, off_t end)
{
    FILE *file = fopen(path, "wb");
    REQUIRE(file && fwrite(b->data, 1, size, file) == size && !fclose(file), "write a file");
    REQUIRE(end == 0 || truncate(path, end) == 0, "make it longer");
}

static void test_check_file(void)
{
    int has = -1;
    put_file(&sealed, sealed.size, 0);
    CHECK(fa_check_file(&has, path) == FA_OK && has == 1, "with a checksum");
    CHECK(fa_check_file(NULL, path) == FA_OK, "nobody asks which");
    put_file(&plain, plain.size, 0);
    CHECK(fa_check_file(&has, path) == FA_OK && has == 0, "without");
    sealed.data[sealed.size - 5] ^= 4;
    put_file(&sealed, sealed.size, 0);
    sealed.data[sealed.size - 5] ^= 4;
    has = -1;
    CHECK(fa_check_file(&has, path) == FA_E_FORMAT && has == -1, "a bit");
    CHECK(strstr(fa_last_error(), "damaged") && strstr(fa_last_error(), path), "message");
    put_file(&sealed, sealed.size - 1, 0);
    CHECK(fa_check_file(&has, path) == FA_E_FORMAT, "cut");
    CHECK(fa_check_file(&has, "/nowhere/at/all") == FA_E_IO, "nowhere");
    CHECK(fa_check_file(&has, "/dev/zero") == FA_E_IO, "a device");
    CHECK(fa_check_file(&has, NULL) == FA_E_VALUE, "no path");
}

/* A file with holes that says less than it holds, or nothing: refused by its header. */
static void test_sparse_files(void)
{
    const fa_allocator under_watch = {watched_alloc, watched_release, NULL};
    REQUIRE(fa_set_allocator(&under_watch) == FA_OK, "allocator");
    fa_net *net = NULL;
    const off_t ends[] = {(off_t)1 << 40, (off_t)sealed.size + 1, (off_t)6 << 30};
    for (int i = 0; i < 3; i++) {
        most_live = 0;
        put_file(&sealed, i == 2 ? 5 : sealed.size, ends[i]);
        CHECK(fa_load(&net, path) == FA_E_FORMAT && !net, "%d", i);
        CHECK(most_live < 100 * 1024, "asked for %lld bytes", (long long)most_live);
    }
    unlink(path);
    REQUIRE(fa_set_allocator(NULL) == FA_OK, "allocator");
}

static void test_custom_rule_from_a_path(void)
{
    int calls = 0;
    recipe r;
    recipe_init(&r, "custom", FA_F32);
    r.rule.signal = half_error, r.rule.user = &calls;
    fa_rule_desc own = r.rule;
    r.layers[SECOND].rule = &own;
    fa_net *net = make(&r.desc), *again = NULL;
    REQUIRE(fa_net_set_note(net, "halves") == FA_OK && fa_save(net, path) == FA_OK, "save");
    CHECK(fa_load(&again, path) == FA_E_FORMAT && !again, "it needs its function");
    n_wanted = 0;
    CHECK(fa_load_with(&again, path, give_function, &calls) == FA_OK && n_wanted == 2, "with it");
    train(again, &sets[0], 1), train(net, &sets[0], 1);
    CHECK(calls == 12 && same_state(net, again), "and goes on");
    fa_net_free(net), fa_net_free(again);
    unlink(path);
}

/* ---- text from files and names ---- */

static const char *logged;
static void keep_log(void *user, const char *message)
{
    (void)user;
    static char kept[600];
    logged = strcpy(kept, message);
}

static void test_messages_are_plain(void)
{
    static const char *const evil[] = {"\x1b[31mred",
                                       "\x1b]0;title\x07",
                                       "a\nb",
                                       "\x7f",
                                       "\xc2\x9b"
                                       "31m",
                                       "\xe2\x80\xae"
                                       "abc",
                                       "\xe2\x81\xa6",
                                       "\xff\xfe",
                                       "\xef\xbb\xbf"};
    for (size_t i = 0; i < sizeof evil / sizeof *evil; i++) {
        recipe r;
        recipe_init(&r, "dfa", FA_F32);
        fa_net *net = NULL;
        r.layers[FIRST].activation = evil[i];
        CHECK(fa_net_create(&net, &r.desc) == FA_E_VALUE, "refused");
        CHECK(strstr(fa_last_error(), "expected one of linear, ") &&
                  !strstr(fa_last_error(), evil[i]) &&
                  !strpbrk(fa_last_error(), "\x1b\x07\n\x7f\x9b"),
              "a name");
        CHECK(strstr(fa_last_error(), "?"), "shown");
        CHECK(fa_load(&net, evil[i]) == FA_E_IO && !strstr(fa_last_error(), evil[i]), "a path");
        fa_set_log(keep_log, NULL);
        fa_log("%s: expected a number", evil[i]);
        fa_set_log(NULL, NULL);
        CHECK(!strstr(logged, evil[i]) && strstr(logged, ": expected a number"), "a log line");
    }
    fa_fail(FA_E_VALUE, "'%s'", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 ok");
    CHECK(!strcmp(fa_last_error(), "'\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 ok'"), "words stay");
    char long_path[2000];
    memset(long_path, 'p', sizeof long_path - 1), long_path[sizeof long_path - 1] = '\0';
    fa_fail(FA_E_FORMAT, "what went wrong");
    fa_fail_in(FA_E_FORMAT, long_path);
    CHECK(strstr(fa_last_error(), "ppp: what went wrong"), "behind a long path too");
}

/* What others may write: other orders, white space, escapes, metadata beside ours. */
static void test_other_writers(void)
{
    static const char *const fine[][2] = {
        {"\"0.weight\":{\"dtype\":\"F32\",\"shape\":[4,3]",
         "\"0.weight\" : {\"shape\" : [ 4 ,\t3 ]\n, \"dtype\":\"F32\""},
        {"{\"__metadata__\":{", "{ \"__metadata__\":{\"format\":\"pt\","},
        {"fastfa.network", "fastfa.networ\\u006b"},
        {"note", "\\u00e9\\/\\ud83d\\ude00"},
        {"\\\"lr\\\":0.1}", "\\\"lr\\\":1E-1}"},
    };
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        bytes b = changed(fine[i][0], fine[i][1], 0);
        fa_net *net = NULL;
        CHECK(load_exact(&net, b.data, b.size) == FA_OK, "%s", fine[i][1]);
        fa_net_free(net);
        free(b.data);
    }
    bytes moved = changed("[0,48]", "[12,60]", 0);
    char *bias = memmem(moved.data, moved.size, "[48,60]", 7);
    memcpy(bias, "[0,12] ", 7);
    fa_net *net = NULL;
    CHECK(load_exact(&net, moved.data, moved.size) == FA_OK, "tensors in another order");
    fa_net_free(net);
    free(moved.data);
}

static void test_every_length_and_every_byte(void)
{
    fa_net *net = NULL;
    for (size_t size = 0; size < plain.size; size++) {
        CHECK(load_exact(&net, plain.data, size) == FA_E_FORMAT, "the first %zu bytes", size);
        if (net) fa_net_free(net), net = NULL;
    }
    uint64_t n;
    memcpy(&n, plain.data, 8);
    char *copy = malloc(plain.size);
    int refused = 0;
    for (size_t i = 0; i < 8 + n; i++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(copy, plain.data, plain.size);
            copy[i] ^= (char)(1 << bit);
            const fa_status status = load_exact(&net, copy, plain.size);
            CHECK(status == FA_OK || status == FA_E_FORMAT, "bit %d of byte %zu: %s", bit, i,
                  fa_status_name(status));
            refused += status != FA_OK;
            fa_net_free(net), net = NULL;
        }
    CHECK(refused > 6000, "most changes are noticed: %d of %d", refused, (int)(8 * (8 + n)));
    free(copy);
}

/* No number that stands in a file makes the loader ask for more memory than the file's bytes
 * justify. */
static void test_memory_follows_the_file(void)
{
    const fa_allocator under_watch = {watched_alloc, watched_release, NULL};
    REQUIRE(fa_set_allocator(&under_watch) == FA_OK, "allocator");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bytes b = changed(wrong[i].old, wrong[i].new, wrong[i].more);
        fa_net *net = NULL;
        most_live = 0;
        CHECK(load_exact(&net, b.data, b.size) == FA_E_FORMAT, "refused");
        CHECK(most_live < 100 * 1024, "%s: asked for %lld bytes", wrong[i].new,
              (long long)most_live);
        free(b.data);
    }
    REQUIRE(fa_set_allocator(NULL) == FA_OK, "allocator");
}

static int stop_at; /* the piece that fails */
static int stopping(void *user, const void *data, size_t size)
{
    (void)data, (void)size;
    return ++*(int *)user == stop_at ? 17 : 0;
}

static void test_writing_stops(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    fa_net *net = make(&r.desc);
    void *before = state_of(net);
    for (stop_at = 1;; stop_at++) {
        int pieces = 0;
        const fa_status status = fa_save_to(net, stopping, &pieces);
        if (status == FA_OK) break;
        CHECK(status == FA_E_IO && pieces == stop_at && strstr(fa_last_error(), "17"), "stopped");
    }
    CHECK(stop_at > 9, "a piece for each tensor");
    CHECK(in_state(net, before), "the network is as it was");
    CHECK(fa_save_to(NULL, stopping, NULL) == FA_E_VALUE, "no network");
    CHECK(fa_save_to(net, NULL, NULL) == FA_E_VALUE, "no function");
    free(before);
    fa_net_free(net);
}

int main(void)
{
    for (int t = 0; t < 2; t++) sets[t] = dataset_new(dtypes[t], ROWS);
    make_plain();
    make_folder();
    RUN(test_every_rule_goes_on);
    RUN(test_given_values_and_rules_of_layers);
    RUN(test_unused_values);
    RUN(test_custom_rule);
    RUN(test_note_and_clone);
    RUN(test_own_description);
    RUN(test_every_field_is_kept);
    RUN(test_every_field_has_a_row);
    RUN(test_numbers);
    RUN(test_wrong_files);
    RUN(test_every_bit_under_a_checksum);
    RUN(test_checksum);
    RUN(test_memory_changed_while_saving);
    RUN(test_load_from);
    RUN(test_streams_of_others);
    RUN(test_check_file);
    RUN(test_sparse_files);
    RUN(test_custom_rule_from_a_path);
    RUN(test_messages_are_plain);
    RUN(test_other_writers);
    RUN(test_every_length_and_every_byte);
    RUN(test_memory_follows_the_file);
    RUN(test_writing_stops);
    for (int t = 0; t < 2; t++) dataset_free(&sets[t]);
    remove_folder();
    free(plain.data), free(sealed.data);
    return finish();
}

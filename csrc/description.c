/* What a network is described by, field by field. To add a field: write its row here, nothing else. */
#include "description.h"
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the rows ---- */

#define ROW(type, field, kind, table)                                                              \
    {#field, FA_FIELD_##kind, offsetof(type, field), sizeof((type *)0)->field, table}
#define UP_TO(type, field) (offsetof(type, field) + sizeof((type *)0)->field)
#define END {NULL, FA_FIELD_UNSAVED, 0, 0, NULL}

static const fa_field init_rows[] = {
    ROW(fa_init, name, TEXT, NULL),     ROW(fa_init, scale, REAL, NULL),
    ROW(fa_init, values, VALUES, NULL), ROW(fa_init, rows, UNSAVED, NULL), /* with values */
    ROW(fa_init, cols, UNSAVED, NULL),  END};
const fa_table fa_init_fields = {"init", sizeof(fa_init), UP_TO(fa_init, cols), init_rows};

static const fa_field rule_rows[] = {
    ROW(fa_rule_desc, struct_size, SIZE, NULL),
    ROW(fa_rule_desc, name, TEXT, NULL),
    ROW(fa_rule_desc, inject, TEXT, NULL),
    ROW(fa_rule_desc, feedback, PART, &fa_init_fields),
    ROW(fa_rule_desc, sparsity, REAL, NULL),
    ROW(fa_rule_desc, feedback_rank, I64, NULL),
    ROW(fa_rule_desc, shared, FLAG, NULL),
    ROW(fa_rule_desc, decay, REAL, NULL),
    ROW(fa_rule_desc, lr_scale, REAL, NULL),
    ROW(fa_rule_desc, threshold, REAL, NULL),
    ROW(fa_rule_desc, signal, UNSAVED, NULL), /* a function: fa_load_memory asks for it */
    ROW(fa_rule_desc, user, UNSAVED, NULL),
    ROW(fa_rule_desc, rank, I64, NULL),
    ROW(fa_rule_desc, fixed_head, FLAG, NULL),
    ROW(fa_rule_desc, oja, REAL, NULL),
    END};
const fa_table fa_rule_fields = {"rule", sizeof(fa_rule_desc), UP_TO(fa_rule_desc, feedback),
                                 rule_rows};

static const fa_field layer_rows[] = {ROW(fa_layer_desc, struct_size, SIZE, NULL),
                                      ROW(fa_layer_desc, type, TEXT, NULL),
                                      ROW(fa_layer_desc, units, I64, NULL),
                                      ROW(fa_layer_desc, activation, TEXT, NULL),
                                      ROW(fa_layer_desc, use_bias, FLAG, NULL),
                                      ROW(fa_layer_desc, trainable, FLAG, NULL),
                                      ROW(fa_layer_desc, lr_scale, REAL, NULL),
                                      ROW(fa_layer_desc, bias_lr_scale, REAL, NULL),
                                      ROW(fa_layer_desc, weight_init, PART, &fa_init_fields),
                                      ROW(fa_layer_desc, bias_init, PART, &fa_init_fields),
                                      ROW(fa_layer_desc, rule, OPTION, &fa_rule_fields),
                                      ROW(fa_layer_desc, rate, REAL, NULL),
                                      END};
const fa_table fa_layer_fields = {"layer", sizeof(fa_layer_desc), UP_TO(fa_layer_desc, bias_init),
                                  layer_rows};

static const fa_field optimizer_rows[] = {ROW(fa_optimizer_desc, struct_size, SIZE, NULL),
                                          ROW(fa_optimizer_desc, name, TEXT, NULL),
                                          ROW(fa_optimizer_desc, lr, REAL, NULL),
                                          ROW(fa_optimizer_desc, momentum, REAL, NULL),
                                          ROW(fa_optimizer_desc, nesterov, FLAG, NULL),
                                          ROW(fa_optimizer_desc, alpha, REAL, NULL),
                                          ROW(fa_optimizer_desc, beta1, REAL, NULL),
                                          ROW(fa_optimizer_desc, beta2, REAL, NULL),
                                          ROW(fa_optimizer_desc, eps, REAL, NULL),
                                          ROW(fa_optimizer_desc, weight_decay, REAL, NULL),
                                          ROW(fa_optimizer_desc, decay_bias, FLAG, NULL),
                                          ROW(fa_optimizer_desc, clip_norm, REAL, NULL),
                                          END};
const fa_table fa_optimizer_fields = {"optimizer", sizeof(fa_optimizer_desc),
                                      UP_TO(fa_optimizer_desc, lr), optimizer_rows};

static const fa_field net_rows[] = {ROW(fa_net_desc, struct_size, SIZE, NULL),
                                    ROW(fa_net_desc, dtype, DTYPE, NULL),
                                    ROW(fa_net_desc, n_in, I64, NULL),
                                    ROW(fa_net_desc, layers, LIST, &fa_layer_fields),
                                    ROW(fa_net_desc, n_layers, UNSAVED, NULL), /* with layers */
                                    ROW(fa_net_desc, loss, TEXT, NULL),
                                    ROW(fa_net_desc, rule, OPTION, &fa_rule_fields),
                                    ROW(fa_net_desc, optimizer, OPTION, &fa_optimizer_fields),
                                    ROW(fa_net_desc, seed, U64, NULL),
                                    ROW(fa_net_desc, n_threads, INT, NULL),
                                    ROW(fa_net_desc, input_scale, REAL, NULL),
                                    END};
const fa_table fa_net_fields = {"network", sizeof(fa_net_desc), UP_TO(fa_net_desc, loss), net_rows};

static const fa_field state_rows[] = {ROW(fa_state, steps, U64, NULL),
                                      ROW(fa_state, epochs, U64, NULL),
                                      ROW(fa_state, lr, REAL, NULL), END};
const fa_table fa_state_fields = {"state", sizeof(fa_state), UP_TO(fa_state, lr), state_rows};

#undef UP_TO
#undef ROW
#undef END

/* ---- walking ---- */

enum { LONGEST_PATH = 128 };

static fa_status walk(const fa_table *table, void *base, fa_visit *visit, void *context, char *path,
                      size_t used);

static fa_status walk_list(const fa_field *f, fa_net_desc *desc, fa_visit *visit, void *context,
                           char *path, size_t used)
{
    for (int64_t i = 0; i < desc->n_layers; i++) {
        const int n = snprintf(path + used, LONGEST_PATH - used, ".%lld", (long long)i);
        FA_TRY(walk(f->of, (void *)&desc->layers[i], visit, context, path, used + (size_t)n));
    }
    return FA_OK;
}

static fa_status walk(const fa_table *table, void *base, fa_visit *visit, void *context, char *path,
                      size_t used)
{
    for (const fa_field *f = table->fields; f->name; f++) {
        void *at = (char *)base + f->offset;
        const int n = snprintf(path + used, LONGEST_PATH - used, "%s%s", used ? "." : "", f->name);
        const size_t end = used + (size_t)n;
        FA_TRY(visit(context, f, at, path));
        if (f->kind == FA_FIELD_PART) FA_TRY(walk(f->of, at, visit, context, path, end));
        if (f->kind == FA_FIELD_OPTION && *(void **)at)
            FA_TRY(walk(f->of, *(void **)at, visit, context, path, end));
        if (f->kind == FA_FIELD_LIST) FA_TRY(walk_list(f, base, visit, context, path, end));
    }
    return FA_OK;
}

fa_status fa_walk(const fa_table *table, void *base, fa_visit *visit, void *context)
{
    char path[LONGEST_PATH] = "";
    return walk(table, base, visit, context, path, 0);
}

typedef struct fa_values_visit {
    fa_each_init *each;
    void *context;
} fa_values_visit;

static fa_status visit_values(void *context, const fa_field *f, void *at, const char *path)
{
    const fa_values_visit *v = context;
    fa_init *init = (fa_init *)((char *)at - f->offset);
    if (f->kind != FA_FIELD_VALUES || !init->values) return FA_OK;
    char key[LONGEST_PATH];
    const int n = (int)strlen(path) - (int)strlen(f->name) - 1; /* without ".values" */
    snprintf(key, sizeof key, "%.*s", n, path);
    return v->each(v->context, key, init);
}

fa_status fa_walk_values(fa_net_desc *desc, fa_each_init *each, void *context)
{
    fa_values_visit v = {each, context};
    return fa_walk(&fa_net_fields, desc, visit_values, &v);
}

/* ---- values that no file could hold ---- */

static fa_status check_text(const char *text, const char *path)
{
    if (!text) return FA_OK;
    FA_TRY(fa_check_utf8(text, path));
    if (strlen(text) <= FA_MAX_NAME) return FA_OK;
    return fa_fail(FA_E_VALUE, "%s: expected a name of at most %d bytes, got %zu", path,
                   FA_MAX_NAME, strlen(text));
}

static fa_status check_field(void *context, const fa_field *f, void *at, const char *path)
{
    (void)context;
    if (f->kind == FA_FIELD_TEXT) return check_text(*(const char **)at, path);
    if (f->kind == FA_FIELD_I64 && *(int64_t *)at < 0)
        return fa_fail(FA_E_VALUE, "%s: expected a number >= 0, got %lld", path,
                       (long long)*(int64_t *)at);
    if (f->kind == FA_FIELD_REAL && !isfinite(*(double *)at))
        return fa_fail(FA_E_VALUE, "%s: expected a finite number, got %g", path, *(double *)at);
    return FA_OK;
}

fa_status fa_check_fields(const fa_table *table, void *base)
{ return fa_walk(table, base, check_field, NULL); }

/* ---- a copy of one's own ---- */

static fa_status own_text(fa_net *net, const char **text)
{
    if (!*text) return FA_OK;
    const size_t size = strlen(*text) + 1;
    char *copy = fa_net_alloc(net, 1, size);
    if (!copy) return fa_fail(FA_E_MEMORY, "out of memory for the description");
    *text = memcpy(copy, *text, size);
    return FA_OK;
}

/* n structs that lie as far apart as the first one is large, which an older header may have made smaller. */
static fa_status own_structs(fa_net *net, const void **structs, int64_t n, const fa_table *t,
                             const char *path)
{
    const char *from = *structs;
    char *copy = fa_net_alloc(net, n, t->size);
    if (!copy) return fa_fail(FA_E_MEMORY, "out of memory for the description");
    size_t stride, size;
    memcpy(&stride, from, sizeof stride);
    for (int64_t i = 0; i < n; i++) {
        char *mine = copy + (size_t)i * t->size;
        FA_TRY(fa_copy_struct(mine, t->size, t->least, from + (size_t)i * stride, path));
        memcpy(&size, mine, sizeof size);
        if (size != stride)
            return fa_fail(FA_E_VALUE,
                           "layer %lld: struct_size: expected %zu as in layer 0, got %zu",
                           (long long)i, stride, size);
        memcpy(mine, &t->size, sizeof t->size);
    }
    *structs = copy;
    return FA_OK;
}

static fa_status own_field(void *context, const fa_field *f, void *at, const char *path)
{
    fa_net *net = context;
    switch (f->kind) {
    case FA_FIELD_TEXT: return own_text(net, at);
    case FA_FIELD_LIST: return own_structs(net, at, net->desc.n_layers, f->of, path);
    case FA_FIELD_OPTION: return *(void **)at ? own_structs(net, at, 1, f->of, path) : FA_OK;
    default: return FA_OK;
    }
}

/* ---- structs of zeros ---- */

/* A caller that cannot use the initialisers sets names, sizes and rates, and leaves the rest zero. */
static void fill_layer(fa_layer_desc *d)
{
    const fa_layer_desc usual = fa_dense(d->units, d->activation);
    if (!d->type || strcmp(d->type, "dense") || d->use_bias || d->trainable || d->lr_scale != 0 ||
        d->bias_lr_scale != 0 || d->weight_init.scale != 0 || d->bias_init.scale != 0)
        return;
    d->use_bias = usual.use_bias, d->trainable = usual.trainable;
    d->lr_scale = usual.lr_scale, d->bias_lr_scale = usual.bias_lr_scale;
    d->weight_init.scale = usual.weight_init.scale, d->bias_init.scale = usual.bias_init.scale;
}

static void fill_rule(fa_rule_desc *d)
{
    const fa_rule_desc usual = fa_rule_of(d->name);
    if (d->feedback.scale != 0 || d->lr_scale != 0) return;
    d->feedback.scale = usual.feedback.scale, d->lr_scale = usual.lr_scale;
}

static void fill_optimizer(fa_optimizer_desc *d)
{
    const fa_optimizer_desc usual = fa_optimizer_of(d->name, d->lr);
    if (d->alpha != 0 || d->beta1 != 0 || d->beta2 != 0 || d->eps != 0) return;
    d->alpha = usual.alpha, d->beta1 = usual.beta1, d->beta2 = usual.beta2, d->eps = usual.eps;
}

void fa_fill_zeros(fa_net_desc *desc)
{
    fill_rule((fa_rule_desc *)desc->rule);
    fill_optimizer((fa_optimizer_desc *)desc->optimizer);
    for (int64_t i = 0; i < desc->n_layers; i++) {
        fa_layer_desc *layer = (fa_layer_desc *)&desc->layers[i];
        fill_layer(layer);
        if (layer->rule) fill_rule((fa_rule_desc *)layer->rule);
    }
}

fa_status fa_keep_description(fa_net *net)
{
    const fa_rule_desc rule = fa_rule_of("backprop");
    const fa_optimizer_desc optimizer = fa_optimizer_of("sgd", 0.1);
    fa_net_desc *desc = &net->desc;
    desc->struct_size = sizeof *desc;
    if (!desc->rule) desc->rule = &rule;
    if (!desc->optimizer) desc->optimizer = &optimizer;
    return fa_walk(&fa_net_fields, desc, own_field, net);
}

/* ---- writing ---- */

static bool saved(const fa_field *f)
{ return f->kind != FA_FIELD_SIZE && f->kind != FA_FIELD_UNSAVED; }

/* Of a struct only the fields that would be written count: unused values leave their shape in it. */
static bool blank(const fa_field *f, const char *at)
{
    if (f->kind == FA_FIELD_PART) {
        for (const fa_field *inner = f->of->fields; inner->name; inner++)
            if (saved(inner) && !blank(inner, at + inner->offset)) return false;
        return true;
    }
    for (size_t i = 0; i < f->size; i++)
        if (at[i]) return false;
    return true;
}

static const char *const dtypes[] = {"float32", "float64"}; /* by fa_dtype */

static void write_layers(fa_text *t, const fa_field *f, const fa_net_desc *desc)
{
    fa_text_add(t, "[");
    for (int64_t i = 0; i < desc->n_layers; i++) {
        if (i) fa_text_add(t, ",");
        fa_write_fields(t, f->of, &desc->layers[i]);
    }
    fa_text_add(t, "]");
}

static void write_shape(fa_text *t, const fa_init *init)
{
    fa_text_add(t, "[");
    fa_text_i64(t, init->rows);
    fa_text_add(t, ",");
    fa_text_i64(t, init->cols);
    fa_text_add(t, "]");
}

static void write_value(fa_text *t, const fa_field *f, const void *base)
{
    const char *at = (const char *)base + f->offset;
    switch (f->kind) {
    case FA_FIELD_TEXT: fa_text_string(t, *(const char *const *)at); break;
    case FA_FIELD_FLAG: fa_text_add(t, "true"); break;
    case FA_FIELD_INT: fa_text_i64(t, *(const int *)at); break;
    case FA_FIELD_I64: fa_text_i64(t, *(const int64_t *)at); break;
    case FA_FIELD_U64: fa_text_u64(t, *(const uint64_t *)at); break;
    case FA_FIELD_REAL: fa_text_real(t, *(const double *)at); break;
    case FA_FIELD_DTYPE: fa_text_string(t, dtypes[*(const fa_dtype *)at]); break;
    case FA_FIELD_VALUES: write_shape(t, base); break;
    case FA_FIELD_PART: fa_write_fields(t, f->of, at); break;
    case FA_FIELD_OPTION: fa_write_fields(t, f->of, *(const void *const *)at); break;
    case FA_FIELD_LIST: write_layers(t, f, base); break;
    case FA_FIELD_SIZE:
    case FA_FIELD_UNSAVED: break;
    }
}

void fa_write_fields(fa_text *t, const fa_table *table, const void *base)
{
    const char *comma = "";
    fa_text_add(t, "{");
    for (const fa_field *f = table->fields; f->name; f++) {
        /* a dtype is always written: nobody should have to know which one is 0 */
        if (!saved(f) || (f->kind != FA_FIELD_DTYPE && blank(f, (const char *)base + f->offset)))
            continue;
        fa_text_add(t, comma);
        fa_text_string(t, f->name);
        fa_text_add(t, ":");
        write_value(t, f, base);
        comma = ",";
    }
    fa_text_add(t, "}");
}

/* ---- reading ---- */

typedef struct fa_reading {
    fa_json json;
    fa_description *to; /* NULL where there are no layers */
} fa_reading;

static fa_status read_struct(fa_reading *r, const fa_table *table, char *base);

static fa_status read_dtype(fa_dtype *dtype, fa_json *j)
{
    const char *name;
    FA_TRY(fa_json_text(&name, j));
    for (int i = FA_F32; i <= FA_F64; i++) {
        if (strcmp(name, dtypes[i])) continue;
        *dtype = (fa_dtype)i;
        return FA_OK;
    }
    return fa_fail(FA_E_FORMAT, "%s: dtype: expected float32 or float64, got '%s'", j->what, name);
}

static fa_status read_flag(int *flag, fa_json *j)
{
    bool value;
    FA_TRY(fa_json_flag(&value, j));
    *flag = value;
    return FA_OK;
}

static fa_status read_int(int *to, fa_json *j)
{
    int64_t value;
    FA_TRY(fa_json_i64(&value, j));
    if (value < INT32_MIN || value > INT32_MAX) return fa_json_fail(j, "an integer that fits");
    *to = (int)value;
    return FA_OK;
}

/* Only the shape; the numbers' place is filled in by whoever has the tensors. */
static fa_status read_shape(fa_init *init, fa_json *j)
{
    static const char somewhere = 0;
    init->values = &somewhere;
    FA_TRY(fa_json_expect(j, '['));
    FA_TRY(fa_json_i64(&init->rows, j));
    FA_TRY(fa_json_expect(j, ','));
    FA_TRY(fa_json_i64(&init->cols, j));
    FA_TRY(fa_json_expect(j, ']'));
    return init->rows > 0 && init->cols > 0 ? FA_OK : fa_json_fail(j, "a shape before this");
}

static fa_status read_layers(fa_reading *r, const fa_table *table)
{
    fa_description *d = r->to;
    FA_TRY(fa_json_expect(&r->json, '['));
    for (bool more;;) {
        FA_TRY(fa_json_more(&more, &r->json, ']', d->n_layers));
        if (!more) break;
        if (d->n_layers == d->capacity) return fa_json_fail(&r->json, "no more layers");
        FA_TRY(read_struct(r, table, (char *)&d->layers[d->n_layers++]));
    }
    d->desc.layers = d->layers;
    d->desc.n_layers = d->n_layers;
    return FA_OK;
}

static fa_status read_option(fa_reading *r, const fa_field *f, void **to)
{
    fa_description *d = r->to;
    if (f->of == &fa_optimizer_fields) {
        *to = &d->optimizer;
    } else {
        if (d->n_rules == d->capacity) return fa_json_fail(&r->json, "no more rules");
        *to = &d->rules[d->n_rules++];
    }
    return read_struct(r, f->of, *to);
}

static fa_status read_value(fa_reading *r, const fa_field *f, char *base)
{
    void *at = base + f->offset;
    fa_json *j = &r->json;
    switch (f->kind) {
    case FA_FIELD_TEXT: return fa_json_text(at, j);
    case FA_FIELD_FLAG: return read_flag(at, j);
    case FA_FIELD_INT: return read_int(at, j);
    case FA_FIELD_I64: return fa_json_i64(at, j);
    case FA_FIELD_U64: return fa_json_u64(at, j);
    case FA_FIELD_REAL: return fa_json_real(at, j);
    case FA_FIELD_DTYPE: return read_dtype(at, j);
    case FA_FIELD_VALUES: return read_shape((fa_init *)base, j);
    case FA_FIELD_PART: return read_struct(r, f->of, at);
    case FA_FIELD_OPTION: return read_option(r, f, at);
    case FA_FIELD_LIST: return read_layers(r, f->of);
    case FA_FIELD_SIZE:
    case FA_FIELD_UNSAVED: break;
    }
    return fa_json_fail(j, "a field");
}

static const fa_field *find(const fa_table *table, const char *name)
{
    for (const fa_field *f = table->fields; f->name; f++)
        if (saved(f) && !strcmp(f->name, name)) return f;
    return NULL;
}

/* base holds zeros. */
static fa_status read_struct(fa_reading *r, const fa_table *table, char *base)
{
    uint64_t seen = 0;
    FA_TRY(fa_json_expect(&r->json, '{'));
    for (int64_t n = 0;; n++) {
        bool more;
        const char *name;
        FA_TRY(fa_json_more(&more, &r->json, '}', n));
        if (!more) break;
        FA_TRY(fa_json_key(&name, &r->json));
        const fa_field *f = find(table, name);
        if (!f)
            return fa_fail(FA_E_FORMAT, "%s: %s: unknown field '%s'", r->json.what, table->name,
                           name);
        const uint64_t bit = (uint64_t)1 << (f - table->fields);
        if (seen & bit)
            return fa_fail(FA_E_FORMAT, "%s: %s: '%s' stands twice", r->json.what, table->name,
                           name);
        seen |= bit;
        FA_TRY(read_value(r, f, base));
    }
    for (const fa_field *f = table->fields; f->name; f++)
        if (f->kind == FA_FIELD_SIZE) *(size_t *)(void *)(base + f->offset) = table->size;
    return FA_OK;
}

fa_status fa_read_fields(const fa_table *table, void *base, char *text)
{
    fa_reading r = {{text, text, text + strlen(text), table->name}, NULL};
    FA_TRY(read_struct(&r, table, base));
    return fa_json_end(&r.json);
}

/* Layers, or rules, that a text can hold: the memory follows what is there, not what it says. */
static int64_t most_layers(const char *text)
{
    int64_t most = 1;
    for (; *text && most <= FA_MAX_LAYERS; text++) most += *text == '{';
    return most;
}

fa_status fa_read_description(fa_description *d, char *text)
{
    const int64_t most = most_layers(text);
    *d = (fa_description){.capacity = most};
    d->layers = fa_alloc((size_t)most * (sizeof *d->layers + sizeof *d->rules));
    if (!d->layers) return fa_fail(FA_E_MEMORY, "out of memory for a description");
    d->rules = (fa_rule_desc *)(d->layers + most);
    fa_reading r = {{text, text, text + strlen(text), fa_net_fields.name}, d};
    FA_TRY(read_struct(&r, &fa_net_fields, (char *)&d->desc));
    return fa_json_end(&r.json);
}

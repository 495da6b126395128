/* Descriptions as JSON, by the field tables of model/description.c. */
#include "io/io.h"
#include "model/options.h"

#include <string.h>

/* ---- writing ---- */

/* Options of a struct that has the name of their owner: each is written like a field. The loss has
 * no struct, so its options are an object. */
static bool is_inline(const fa_field *f)
{ return f->kind == FA_FIELD_OPTIONS && !strcmp(f->name, "options"); }

static bool saved(const fa_field *f)
{ return f->kind != FA_FIELD_SIZE && f->kind != FA_FIELD_UNSAVED && !is_inline(f); }

/* A struct is blank if all fields that would be written are: unused values leave only their
 * shape. */
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

/* A list of options, and its length, which is the next field. */
static const fa_option *options_of(int *n, const fa_field *f, const void *base)
{
    const fa_option *options;
    memcpy(&options, (const char *)base + f->offset, sizeof options);
    memcpy(n, (const char *)base + f[1].offset, sizeof *n);
    return options;
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

/* All options of the owner, also zeros: what a file leaves out has its default, which a later version
 * may not change. */
static void write_options(fa_text *t, const fa_field *f, const void *base, const char *comma)
{
    int n;
    const fa_option *options = options_of(&n, f, base);
    const char *owner;
    memcpy(&owner, (const char *)base + f->of->owner_name, sizeof owner);
    const fa_option_row *rows = fa_option_rows(f->of->owner, owner);
    for (int i = 0; i < n; i++) {
        fa_text_add(t, comma);
        comma = ",";
        fa_text_string(t, options[i].name);
        fa_text_add(t, ":");
        switch (rows[i].kind) {
        case FA_OPTION_NUMBER: fa_text_real(t, options[i].number); break;
        case FA_OPTION_INTEGER: fa_text_i64(t, (int64_t)options[i].number); break;
        case FA_OPTION_FLAG: fa_text_add(t, options[i].number != 0 ? "true" : "false"); break;
        case FA_OPTION_TEXT: fa_text_string(t, options[i].text); break;
        }
    }
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
    case FA_FIELD_POINTER: fa_write_fields(t, f->of, *(const void *const *)at); break;
    case FA_FIELD_LIST: write_layers(t, f, base); break;
    case FA_FIELD_OPTIONS:
        fa_text_add(t, "{");
        write_options(t, f, base, "");
        fa_text_add(t, "}");
        break;
    case FA_FIELD_SIZE:
    case FA_FIELD_UNSAVED: break;
    }
}

void fa_write_fields(fa_text *t, const fa_table *table, const void *base)
{
    const char *comma = "";
    fa_text_add(t, "{");
    for (const fa_field *f = table->fields; f->name; f++) {
        int n = 1;
        if (f->kind == FA_FIELD_OPTIONS) options_of(&n, f, base);
        if (is_inline(f)) {
            write_options(t, f, base, comma);
            if (n) comma = ",";
            continue;
        }
        if (n == 0) continue;
        /* a dtype is always written, since no reader should have to know which one is 0 */
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

/* Reads only the shape; the reader of the tensors sets the pointer to the numbers. */
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

static fa_status read_pointer(fa_reading *r, const fa_field *f, void **to)
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
    case FA_FIELD_POINTER: return read_pointer(r, f, at);
    case FA_FIELD_LIST: return read_layers(r, f->of);
    case FA_FIELD_OPTIONS: /* read_members has them */
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

/* ---- reading: options ---- */

/* Options as they are in the text, where the name of their owner may come after them. */
typedef struct fa_read_options {
    fa_option options[FA_MAX_OPTIONS];
    bool is_flag[FA_MAX_OPTIONS];
    int n;
} fa_read_options;

static fa_status unknown_field(const fa_json *j, const fa_table *table, const char *name)
{ return fa_fail(FA_E_FORMAT, "%s: %s: unknown field '%s'", j->what, table->name, name); }

static fa_status twice(const fa_json *j, const fa_table *table, const char *name)
{ return fa_fail(FA_E_FORMAT, "%s: %s: '%s' stands twice", j->what, table->name, name); }

static fa_status read_option(fa_read_options *read, const fa_table *table, const char *name,
                             fa_json *j)
{
    for (int i = 0; i < read->n; i++)
        if (!strcmp(read->options[i].name, name)) return twice(j, table, name);
    if (read->n == FA_MAX_OPTIONS || fa_json_at_list(j)) return unknown_field(j, table, name);
    bool *is_flag = &read->is_flag[read->n];
    fa_option *option = &read->options[read->n++];
    *option = (fa_option){.name = name};
    *is_flag = fa_json_at_flag(j);
    if (fa_json_at_text(j)) return fa_json_text(&option->text, j);
    if (!*is_flag) return fa_json_real(&option->number, j);
    bool value;
    FA_TRY(fa_json_flag(&value, j));
    option->number = value;
    return FA_OK;
}

static fa_status read_option_object(fa_read_options *read, const fa_table *table, fa_json *j)
{
    FA_TRY(fa_json_expect(j, '{'));
    for (int64_t n = 0;; n++) {
        bool more;
        const char *name;
        FA_TRY(fa_json_more(&more, j, '}', n));
        if (!more) return FA_OK;
        FA_TRY(fa_json_key(&name, j));
        FA_TRY(read_option(read, table, name, j));
    }
}

/* The first files have these fields in every rule and optimizer. A name without the option did not
 * read the field. */
static bool is_former_field(const fa_table *table, const char *name)
{
    static const char *const of_rules[] = {"decay",      "lr_scale", "threshold", "rank",
                                           "fixed_head", "oja",      NULL};
    static const char *const of_optimizers[] = {"momentum", "nesterov", "alpha", "beta1",
                                                "beta2",    "eps",      NULL};
    static const char *const nothing[] = {NULL};
    const char *const *names = table->owner == FA_NAMES_RULE        ? of_rules
                               : table->owner == FA_NAMES_OPTIMIZER ? of_optimizers
                                                                    : nothing;
    while (*names && strcmp(*names, name) != 0) names++;
    return *names != NULL;
}

/* In the first files a rule's fixed_head is the opposite of the option train_head. */
static void rename_former_field(const fa_table *table, fa_option *option)
{
    if (table->owner != FA_NAMES_RULE || strcmp(option->name, "fixed_head") != 0) return;
    option->name = "train_head";
    option->number = option->number == 0;
}

/* ... and a rule's lr_scale 0 means 1. */
static bool stands_for_default(const fa_table *table, const fa_option *option)
{
    return table->owner == FA_NAMES_RULE && !strcmp(option->name, "lr_scale") &&
           option->number == 0 && !option->text;
}

/* Gives the struct those of the options that its owner has. */
static fa_status take_options(fa_reading *r, const fa_table *table, char *base,
                              const fa_field *field, fa_read_options *read)
{
    fa_description *d = r->to;
    const char *owner;
    memcpy(&owner, base + table->owner_name, sizeof owner);
    const fa_option_row *rows = fa_option_rows(table->owner, owner);
    const fa_option *first = d->options + d->n_options;
    int n = 0;
    for (int k = 0; rows && k < read->n; k++) { /* who makes the network refuses an unknown owner */
        fa_option *option = &read->options[k];
        const bool is_former = is_former_field(table, option->name);
        const char *const name = option->name;
        rename_former_field(table, option);
        const int i = fa_find_option(rows, option->name);
        if (i < 0 && !is_former) return unknown_field(&r->json, table, name);
        if (i < 0 || stands_for_default(table, option)) continue;
        if (read->is_flag[k] != (rows[i].kind == FA_OPTION_FLAG))
            return fa_fail(FA_E_FORMAT, "%s: %s: '%s': expected %s", r->json.what, table->name,
                           name, read->is_flag[k] ? "a number or a text" : "true or false");
        if (d->n_options == d->most_options) return fa_json_fail(&r->json, "no more options");
        d->options[d->n_options++] = *option;
        n++;
    }
    memcpy(base + field->offset, &first, sizeof first);
    memcpy(base + field[1].offset, &n, sizeof n);
    return FA_OK;
}

/* ---- reading: structs ---- */

/* base holds zeros. */
static fa_status read_members(fa_reading *r, const fa_table *table, char *base,
                              const fa_field *options, fa_read_options *read)
{
    uint64_t seen = 0;
    fa_json *j = &r->json;
    FA_TRY(fa_json_expect(j, '{'));
    for (int64_t n = 0;; n++) {
        bool more;
        const char *name;
        FA_TRY(fa_json_more(&more, j, '}', n));
        if (!more) return FA_OK;
        FA_TRY(fa_json_key(&name, j));
        const fa_field *f = find(table, name);
        if (!f && options && is_inline(options)) {
            FA_TRY(read_option(read, table, name, j));
            continue;
        }
        if (!f) return unknown_field(j, table, name);
        const uint64_t bit = (uint64_t)1 << (f - table->fields);
        if (seen & bit) return twice(j, table, name);
        seen |= bit;
        FA_TRY(f == options ? read_option_object(read, table, j) : read_value(r, f, base));
    }
}

static fa_status read_struct(fa_reading *r, const fa_table *table, char *base)
{
    const fa_field *options = NULL;
    fa_read_options read;
    read.n = 0;
    for (const fa_field *f = table->fields; f->name; f++) {
        if (f->kind == FA_FIELD_SIZE) *(size_t *)(void *)(base + f->offset) = table->size;
        if (f->kind == FA_FIELD_OPTIONS) options = f;
    }
    FA_TRY(read_members(r, table, base, options, &read));
    return options ? take_options(r, table, base, options, &read) : FA_OK;
}

fa_status fa_read_fields(const fa_table *table, void *base, char *text)
{
    fa_reading r = {{text, text, text + strlen(text), table->name}, NULL};
    FA_TRY(read_struct(&r, table, base));
    return fa_json_end(&r.json);
}

static int64_t count(const char *text, char c)
{
    int64_t n = 0;
    for (; *text; text++) n += *text == c;
    return n;
}

/* The most layers, or rules, that a text can hold: memory is allocated by the length of the text,
 * not by a number in it. */
static int64_t most_layers(const char *text)
{ return fa_smaller(1 + count(text, '{'), FA_MAX_LAYERS + 1); }

fa_status fa_read_description(fa_description *d, char *text)
{
    const int64_t most = most_layers(text), most_options = count(text, ':');
    *d = (fa_description){.capacity = most, .most_options = most_options};
    d->layers = fa_alloc((size_t)most * (sizeof *d->layers + sizeof *d->rules) +
                         (size_t)most_options * sizeof *d->options);
    if (!d->layers) return fa_fail(FA_E_MEMORY, "out of memory for a description");
    d->rules = (fa_rule_desc *)(d->layers + most);
    d->options = (fa_option *)(d->rules + most);
    fa_reading r = {{text, text, text + strlen(text), fa_net_fields.name}, d};
    FA_TRY(read_struct(&r, &fa_net_fields, (char *)&d->desc));
    return fa_json_end(&r.json);
}

/* A layer without an initialiser has the default of its activation. Files of format 1 mean that of
 * their time, which for these activations was another one. */
void fa_name_former_defaults(fa_description *d)
{
    static const char *const of_he[] = {"relu", "leaky_relu", "gelu"};
    for (int64_t i = 0; i < d->n_layers; i++) {
        fa_init *init = &d->layers[i].weight_init;
        if (init->name || init->values || !d->layers[i].activation) continue;
        for (size_t k = 0; k < sizeof of_he / sizeof *of_he; k++)
            if (!strcmp(d->layers[i].activation, of_he[k]))
                init->name = "he_uniform", init->scale = 1;
    }
}

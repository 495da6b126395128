/* Descriptions as JSON, by the field tables of model/description.c. */
#include "io/io.h"

#include <string.h>

/* ---- writing ---- */

static bool saved(const fa_field *f)
{ return f->kind != FA_FIELD_SIZE && f->kind != FA_FIELD_UNSAVED; }

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

/* The most layers, or rules, that a text can hold: memory is allocated by the length of the text,
 * not by a number in it. */
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

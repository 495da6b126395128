/* Descriptions out of decisions: a stack of layers, then every field of csrc's own table of fields,
 * by its kind. A new field, rule, loss, ... is drawn as soon as the library's tables have it. */
#ifndef DESCRIBE_H
#define DESCRIBE_H

#include <math.h>

#include "api/api.h"
#include "fuzz.h"
#include "model/options.h"

enum { MOST_LAYERS = 6, MOST_LISTS = 2 * MOST_LAYERS + 3 /* of options */ };

typedef struct {
    fa_layer_desc layers[MOST_LAYERS];
    int64_t rows[MOST_LAYERS], cols[MOST_LAYERS]; /* of the weights */
    fa_rule_desc rules[MOST_LAYERS + 1];
    fa_optimizer_desc optimizer;
    fa_net_desc desc;
    fa_option options[MOST_LISTS][FA_MAX_OPTIONS];
    int n_rules, n_kept, n_lists;
    void *kept[4 * MOST_LAYERS + 1]; /* given values */
} drawn;

static int signal_of(void *user, const fa_rule_context *t); /* calls.h */

/* ---- values ---- */

static double odd_number(void)
{
    static const double odd[] = {0,    -0.0,     1e-40,     1e-310, 1e38, 3.4e38, -1e38, 1e300,
                                 -NAN, INFINITY, -INFINITY, 1,      -1,   255,    1e-8,  0.5};
    return odd[take(16)];
}

static double plain_number(void)
{
    static const double plain[] = {0, 0.001, 0.01, 0.1, 0.5, 0.9};
    const uint32_t i = take(8);
    return i < 6 ? plain[i] : i == 6 ? random_unit() : once_in(8) ? odd_number() : 1;
}

static size_t size_of(fa_dtype dtype) { return dtype == FA_F64 ? 8 : dtype == FA_F32 ? 4 : 1; }

static void put(void *p, fa_dtype dtype, size_t i, double value)
{
    if (dtype == FA_F64) ((double *)p)[i] = value;
    if (dtype == FA_F32) ((float *)p)[i] = (float)value;
    if (dtype == FA_U8) ((uint8_t *)p)[i] = (uint8_t)random_bits();
}

/* n numbers within +-scale, some of them odd. */
static void fill(void *p, fa_dtype dtype, size_t n, double scale, int n_odd)
{
    for (size_t i = 0; i < n; i++) put(p, dtype, i, (2 * random_unit() - 1) * scale);
    for (int k = 0; k < n_odd && n; k++) put(p, dtype, random_bits() % n, odd_number());
}

/* ---- names ---- */

static const char *any_name(fa_names kind)
{
    int n = 0;
    while (fa_name(kind, n)) n++;
    const int i = (int)take((uint32_t)n);
    return once_in(200) ? "nonsense" : fa_name(kind, i);
}

/* The names that a field of text takes; "name" stands in three tables. */
static const char *name_for(const fa_field *f, const char *path)
{
    if (!strcmp(f->name, "type")) return any_name(FA_NAMES_LAYER);
    if (!strcmp(f->name, "activation")) return any_name(FA_NAMES_ACTIVATION);
    if (!strcmp(f->name, "loss")) return any_name(FA_NAMES_LOSS);
    if (!strcmp(f->name, "inject")) return take(2) ? "pre" : "post";
    if (strstr(path, "feedback.")) return any_name(FA_NAMES_DISTRIBUTION);
    if (strstr(path, "_init.")) return any_name(FA_NAMES_INITIALIZER);
    return any_name(strstr(path, "optimizer.") ? FA_NAMES_OPTIMIZER : FA_NAMES_RULE);
}

/* ---- fields ---- */

/* The layer of "layers.3.weight_init.values"; the first where the path names none. */
static int layer_in(const char *path)
{
    int i = 0;
    return sscanf(path, "layers.%d.", &i) == 1 ? i : 0;
}

/* Values of the right shape, mostly. */
static void give_values(drawn *d, fa_init *init, const char *path)
{
    const int i = layer_in(path), next = i + 1 < d->desc.n_layers ? i + 1 : i;
    init->rows = strstr(path, "weight_init") ? d->rows[i]
                 : strstr(path, "bias_init") ? 1
                                             : d->cols[take(2) ? next : d->desc.n_layers - 1];
    init->cols = d->cols[i];
    if (init->rows < 1 || init->cols < 1 || init->rows > 1000 || init->cols > 1000) return;
    const size_t n = (size_t)(init->rows * init->cols);
    void *values = malloc(n * 8);
    fill(values, d->desc.dtype, n, 1, once_in(20));
    if (once_in(40)) init->rows--;
    init->values = d->kept[d->n_kept++] = values;
}

static void *new_rule(drawn *d, const char *path)
{
    const bool last = !strncmp(path, "layers.", 7) && layer_in(path) == d->desc.n_layers - 1;
    if (last ? !once_in(100) : !strncmp(path, "layers.", 7) ? take(5) : once_in(10)) return NULL;
    fa_rule_desc *rule = &d->rules[d->n_rules++];
    *rule = fa_rule_of(any_name(FA_NAMES_RULE));
    rule->feedback.name = take(3) ? any_name(FA_NAMES_DISTRIBUTION) : "uniform";
    if (!strcmp(rule->name, "custom")) {
        rule->signal = signal_of;
        if (take(2)) rule->feedback.name = NULL;
    }
    return rule;
}

static void *new_optimizer(drawn *d)
{
    if (once_in(10)) return NULL;
    d->optimizer = fa_optimizer_of(any_name(FA_NAMES_OPTIMIZER), 0.05);
    return &d->optimizer;
}

/* Some of the options of the struct's name, most with values of their own range; rarely one of
 * another name, one twice, or a value of another kind. */
static void give_options(drawn *d, const fa_field *f, void *at)
{
    const char *base = (const char *)at - f->offset, *owner;
    memcpy(&owner, base + f->of->owner_name, sizeof owner);
    const fa_option_row *rows = fa_option_rows(f->of->owner, owner);
    fa_option *list = d->options[d->n_lists++];
    int n = 0;
    for (int i = 0; rows && rows[i].name && n < FA_MAX_OPTIONS - 1; i++) {
        if (rows[i].field ? !once_in(200) : take(2)) continue;
        list[n] = (fa_option){rows[i].name, take(2) ? rows[i].number : plain_number(), NULL};
        if (rows[i].kind == FA_OPTION_FLAG && once_in(4)) list[n].number = (double)take(2);
        if (rows[i].kind == FA_OPTION_INTEGER) list[n].number = (double)take(5);
        if (once_in(40)) list[n].number = odd_number();
        if (once_in(200)) list[n].text = "nonsense";
        if (once_in(200)) list[n].name = "nonsense";
        n++;
        if (once_in(200)) list[n] = list[n - 1], n++;
    }
    const fa_option *const given = list;
    if (once_in(200)) n = -1;
    memcpy(at, &given, sizeof given);
    memcpy((char *)at + sizeof given, &n, sizeof n);
}

static fa_status draw_field(void *context, const fa_field *f, void *at, const char *path)
{
    drawn *d = context;
    switch (f->kind) {
    case FA_FIELD_TEXT:
        if (once_in(40)) *(const char **)at = name_for(f, path);
        break;
    case FA_FIELD_FLAG:
        if (!take(5)) *(int *)at = (int)take(2);
        break;
    case FA_FIELD_INT:
        if (once_in(20)) *(int *)at = (int)take(70) - 2;
        break;
    case FA_FIELD_I64:
        if (!take(8) && *(int64_t *)at == 0) *(int64_t *)at = take(4);
        if (once_in(100)) *(int64_t *)at = (int64_t)(int32_t)(random_bits() * 2);
        break;
    case FA_FIELD_U64: *(uint64_t *)at = once_in(8) ? ~(uint64_t)0 : random_bits(); break;
    case FA_FIELD_REAL:
        if (!take(8)) *(double *)at = plain_number();
        break;
    case FA_FIELD_DTYPE:
        if (once_in(200)) *(fa_dtype *)at = (fa_dtype)7;
        break;
    case FA_FIELD_VALUES:
        if (!take(12)) give_values(d, (fa_init *)((char *)at - f->offset), path);
        break;
    case FA_FIELD_OPTIONS:
        if (!take(6)) give_options(d, f, at);
        break;
    case FA_FIELD_POINTER:
        *(void **)at = f->of == &fa_optimizer_fields ? new_optimizer(d) : new_rule(d, path);
        break;
    case FA_FIELD_SIZE:
        /* not of layers, which lie that far apart */
        if (!strstr(path, "layers.") || strstr(path, "rule"))
            if (once_in(100)) *(size_t *)at -= 8;
        break;
    case FA_FIELD_PART:
    case FA_FIELD_LIST:
    case FA_FIELD_UNSAVED: break;
    }
    return FA_OK;
}

/* ---- the whole ---- */

static int64_t any_width(void) { return take(12) == 11 ? 20 + take(100) : 1 + take(14); }

static void stack_layers(drawn *d)
{
    const int n = 1 + (int)take(MOST_LAYERS - 1);
    int64_t width = d->desc.n_in;
    for (int i = 0; i < n; i++) {
        const bool last = i == n - 1, dropout = !last && !take(5);
        const char *activation = last && take(24) ? "linear" : any_name(FA_NAMES_ACTIVATION);
        d->rows[i] = width;
        d->layers[i] =
            dropout ? fa_dropout(0.8 * random_unit())
                    : fa_dense(width = last ? 1 + (take(10) + 1) % 10 : any_width(), activation);
        d->cols[i] = width;
        if (dropout || !take(3)) continue;
        d->layers[i].weight_init.name = take(3) ? NULL : any_name(FA_NAMES_INITIALIZER);
        d->layers[i].bias_init.name = take(3) ? NULL : any_name(FA_NAMES_INITIALIZER);
    }
    d->desc.layers = d->layers, d->desc.n_layers = n;
}

static void describe(drawn *d)
{
    memset(d, 0, sizeof *d);
    d->desc = fa_net_defaults();
    d->desc.dtype = (fa_dtype)take(2);
    d->desc.n_in = any_width();
    d->desc.loss = any_name(FA_NAMES_LOSS);
    stack_layers(d);
    MUST(fa_walk(&fa_net_fields, &d->desc, draw_field, d) == FA_OK);
}

/* A network has copied its description: nothing of this one may be read any more. */
static void free_drawn(drawn *d)
{
    for (int i = 0; i < d->n_kept; i++) free(d->kept[i]);
    memset(d, 0xee, sizeof *d);
}

#endif

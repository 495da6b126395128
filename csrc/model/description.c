/* The field tables of descriptions. To add a field, write its row here; nothing else changes. */
#include "model/description.h"

#include "model/options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the rows ---- */

#define ROW(type, field, kind, table)                                                              \
    {#field, FA_FIELD_##kind, offsetof(type, field), sizeof((type *)0)->field, table}
#define UP_TO(type, field) (offsetof(type, field) + sizeof((type *)0)->field)
#define END {NULL, FA_FIELD_UNSAVED, 0, 0, NULL}
#define OWNER(kind, type, field) .owner = FA_NAMES_##kind, .owner_name = offsetof(type, field)
#define TABLE(title, type, last, rows)                                                             \
    .name = title, .size = sizeof(type), .least = UP_TO(type, last), .fields = rows

static const fa_field init_rows[] = {
    ROW(fa_init, name, TEXT, NULL),     ROW(fa_init, scale, REAL, NULL),
    ROW(fa_init, values, VALUES, NULL), ROW(fa_init, rows, UNSAVED, NULL), /* with values */
    ROW(fa_init, cols, UNSAVED, NULL),  END};
const fa_table fa_init_fields = {TABLE("init", fa_init, cols, init_rows)};

static const fa_field rule_rows[] = {
    ROW(fa_rule_desc, struct_size, SIZE, NULL),
    ROW(fa_rule_desc, name, TEXT, NULL),
    ROW(fa_rule_desc, inject, TEXT, NULL),
    ROW(fa_rule_desc, feedback, PART, &fa_init_fields),
    ROW(fa_rule_desc, sparsity, REAL, NULL),
    ROW(fa_rule_desc, feedback_rank, I64, NULL),
    ROW(fa_rule_desc, shared, FLAG, NULL),
    ROW(fa_rule_desc, signal, UNSAVED, NULL), /* a function: fa_load_memory asks for it */
    ROW(fa_rule_desc, user, UNSAVED, NULL),
    ROW(fa_rule_desc, options, OPTIONS, &fa_rule_fields),
    ROW(fa_rule_desc, n_options, UNSAVED, NULL), /* with options */
    END};
const fa_table fa_rule_fields = {TABLE("rule", fa_rule_desc, feedback, rule_rows),
                                 OWNER(RULE, fa_rule_desc, name)};

static const fa_field layer_rows[] = {
    ROW(fa_layer_desc, struct_size, SIZE, NULL),
    ROW(fa_layer_desc, type, TEXT, NULL),
    ROW(fa_layer_desc, units, I64, NULL),
    ROW(fa_layer_desc, activation, TEXT, NULL),
    ROW(fa_layer_desc, use_bias, FLAG, NULL),
    ROW(fa_layer_desc, trainable, FLAG, NULL),
    ROW(fa_layer_desc, lr_scale, REAL, NULL),
    ROW(fa_layer_desc, bias_lr_scale, REAL, NULL),
    ROW(fa_layer_desc, weight_init, PART, &fa_init_fields),
    ROW(fa_layer_desc, bias_init, PART, &fa_init_fields),
    ROW(fa_layer_desc, rule, POINTER, &fa_rule_fields),
    ROW(fa_layer_desc, rate, REAL, NULL),
    ROW(fa_layer_desc, options, OPTIONS, &fa_layer_fields),
    ROW(fa_layer_desc, n_options, UNSAVED, NULL), /* with options */
    ROW(fa_layer_desc, kernel_h, I64, NULL),
    ROW(fa_layer_desc, kernel_w, I64, NULL),
    ROW(fa_layer_desc, stride_h, I64, NULL),
    ROW(fa_layer_desc, stride_w, I64, NULL),
    ROW(fa_layer_desc, padding, TEXT, NULL),
    ROW(fa_layer_desc, pad_h, I64, NULL),
    ROW(fa_layer_desc, pad_w, I64, NULL),
    ROW(fa_layer_desc, recurrent_init, PART, &fa_init_fields),
    END};
const fa_table fa_layer_fields = {TABLE("layer", fa_layer_desc, bias_init, layer_rows),
                                  OWNER(LAYER, fa_layer_desc, type)};

static const fa_field optimizer_rows[] = {
    ROW(fa_optimizer_desc, struct_size, SIZE, NULL),
    ROW(fa_optimizer_desc, name, TEXT, NULL),
    ROW(fa_optimizer_desc, lr, REAL, NULL),
    ROW(fa_optimizer_desc, weight_decay, REAL, NULL),
    ROW(fa_optimizer_desc, decay_bias, FLAG, NULL),
    ROW(fa_optimizer_desc, clip_norm, REAL, NULL),
    ROW(fa_optimizer_desc, options, OPTIONS, &fa_optimizer_fields),
    ROW(fa_optimizer_desc, n_options, UNSAVED, NULL), /* with options */
    ROW(fa_optimizer_desc, l1, REAL, NULL),
    END};
const fa_table fa_optimizer_fields = {TABLE("optimizer", fa_optimizer_desc, lr, optimizer_rows),
                                      OWNER(OPTIMIZER, fa_optimizer_desc, name)};

static const fa_field net_rows[] = {
    ROW(fa_net_desc, struct_size, SIZE, NULL),
    ROW(fa_net_desc, dtype, DTYPE, NULL),
    ROW(fa_net_desc, n_in, I64, NULL),
    ROW(fa_net_desc, layers, LIST, &fa_layer_fields),
    ROW(fa_net_desc, n_layers, UNSAVED, NULL), /* with layers */
    ROW(fa_net_desc, loss, TEXT, NULL),
    ROW(fa_net_desc, rule, POINTER, &fa_rule_fields),
    ROW(fa_net_desc, optimizer, POINTER, &fa_optimizer_fields),
    ROW(fa_net_desc, seed, U64, NULL),
    ROW(fa_net_desc, n_threads, INT, NULL),
    ROW(fa_net_desc, input_scale, REAL, NULL),
    ROW(fa_net_desc, loss_options, OPTIONS, &fa_net_fields),
    ROW(fa_net_desc, n_loss_options, UNSAVED, NULL), /* with loss_options */
    ROW(fa_net_desc, input_h, I64, NULL),
    ROW(fa_net_desc, input_w, I64, NULL),
    ROW(fa_net_desc, input_c, I64, NULL),
    ROW(fa_net_desc, compute, TEXT, NULL),
    END};
const fa_table fa_net_fields = {TABLE("network", fa_net_desc, loss, net_rows),
                                OWNER(LOSS, fa_net_desc, loss)};

static const fa_field state_rows[] = {ROW(fa_state, steps, U64, NULL),
                                      ROW(fa_state, epochs, U64, NULL),
                                      ROW(fa_state, lr, REAL, NULL), END};
const fa_table fa_state_fields = {TABLE("state", fa_state, lr, state_rows)};

#undef TABLE
#undef OWNER
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
        if (f->kind == FA_FIELD_POINTER && *(void **)at)
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

/* ---- values that a file could not hold ---- */

fa_status fa_check_name(const char *text, const char *what)
{
    FA_TRY(fa_check_utf8(text, what));
    if (strlen(text) <= FA_MAX_NAME) return FA_OK;
    return fa_fail(FA_E_VALUE, "%s: expected a name of at most %d bytes, got %zu", what,
                   FA_MAX_NAME, strlen(text));
}

static fa_status check_field(void *context, const fa_field *f, void *at, const char *path)
{
    (void)context;
    const char *text = f->kind == FA_FIELD_TEXT ? *(const char **)at : NULL;
    if (text) return fa_check_name(text, path);
    if (f->kind == FA_FIELD_I64 && *(int64_t *)at < 0)
        return fa_fail(FA_E_VALUE, "%s: expected a number >= 0, got %lld", path,
                       (long long)*(int64_t *)at);
    if (f->kind == FA_FIELD_REAL && !isfinite(*(double *)at))
        return fa_fail(FA_E_VALUE, "%s: expected a finite number, got %g", path, *(double *)at);
    return FA_OK;
}

fa_status fa_check_fields(const fa_table *table, void *base)
{ return fa_walk(table, base, check_field, NULL); }

/* ---- deep copies ---- */

fa_status fa_keep_text(fa_net *net, const char **text)
{
    if (!*text) return FA_OK;
    const size_t size = strlen(*text) + 1;
    char *copy = fa_net_alloc(net, 1, size);
    if (!copy) return fa_fail(FA_E_MEMORY, "out of memory for the description");
    *text = memcpy(copy, *text, size);
    return FA_OK;
}

/* Copies n structs. The distance between them is the size of the first one, which an older header
 * may have made smaller. */
static fa_status copy_structs(fa_net *net, const void **structs, int64_t n, const fa_table *t,
                              const char *path)
{
    const char *from = *structs;
    char *copy = fa_net_alloc(net, n, t->size);
    if (!copy) return fa_fail(FA_E_MEMORY, "out of memory for the description");
    size_t stride, size;
    memcpy(&stride, from, sizeof stride);
    for (int64_t i = 0; i < n; i++) {
        char *to = copy + (size_t)i * t->size;
        FA_TRY(fa_copy_struct(to, t->size, t->least, from + (size_t)i * stride, path));
        memcpy(&size, to, sizeof size);
        if (size != stride)
            return fa_fail(FA_E_VALUE,
                           "layer %lld: struct_size: expected %zu as in layer 0, got %zu",
                           (long long)i, stride, size);
        memcpy(to, &t->size, sizeof t->size);
    }
    *structs = copy;
    return FA_OK;
}

typedef struct fa_copying {
    fa_net *net;
    bool fresh;
} fa_copying;

static fa_status copy_options(const fa_copying *copying, const fa_field *f, void *at,
                              const char *path)
{
    const char *base = (const char *)at - f->offset;
    fa_option_owner owner = {.kind = f->of->owner, .layer = -1, .desc = base};
    memcpy(&owner.name, base + f->of->owner_name, sizeof owner.name);
    if (sscanf(path, "layers.%d.", &owner.layer) != 1) owner.layer = -1;
    const fa_option **options = at;
    return fa_complete_options(copying->net, options, (int *)(void *)(options + 1), &owner,
                               copying->fresh);
}

static fa_status copy_field(void *context, const fa_field *f, void *at, const char *path)
{
    const fa_copying *copying = context;
    fa_net *net = copying->net;
    switch (f->kind) {
    case FA_FIELD_TEXT: return fa_keep_text(net, at);
    case FA_FIELD_LIST: return copy_structs(net, at, net->desc.n_layers, f->of, path);
    case FA_FIELD_POINTER: return *(void **)at ? copy_structs(net, at, 1, f->of, path) : FA_OK;
    case FA_FIELD_OPTIONS: return copy_options(copying, f, at, path);
    default: return FA_OK;
    }
}

/* ---- structs of zeros ---- */

/* A caller that cannot use the initialisers sets names, sizes and rates, and leaves the other
 * fields zero. */
static void fill_layer(fa_layer_desc *d)
{
    const char *end = d->type ? strrchr(d->type, '_') : NULL;
    if (end && !strcmp(end, "_norm") && !d->trainable && d->lr_scale == 0)
        d->trainable = 1, d->lr_scale = 1;
    const fa_layer_desc defaults = fa_recurrent(d->units, d->activation);
    const bool recurrent = d->type && !strcmp(d->type, "recurrent");
    if (recurrent && d->recurrent_init.scale == 0 && !d->recurrent_init.name)
        d->recurrent_init.scale = defaults.recurrent_init.scale;
    if (!d->type || (!recurrent && strcmp(d->type, "dense") && strcmp(d->type, "conv2d")) ||
        d->use_bias || d->trainable || d->lr_scale != 0 || d->bias_lr_scale != 0 ||
        d->weight_init.scale != 0 || d->bias_init.scale != 0)
        return;
    d->use_bias = defaults.use_bias, d->trainable = defaults.trainable;
    d->lr_scale = defaults.lr_scale, d->bias_lr_scale = defaults.bias_lr_scale;
    d->weight_init.scale = defaults.weight_init.scale,
    d->bias_init.scale = defaults.bias_init.scale;
}

static void fill_rule(fa_rule_desc *d)
{
    if (d->feedback.scale == 0 && !d->inject)
        d->feedback.scale = fa_rule_of(d->name).feedback.scale;
}

void fa_fill_zeros(fa_net_desc *desc)
{
    fill_rule((fa_rule_desc *)desc->rule);
    for (int64_t i = 0; i < desc->n_layers; i++) {
        fa_layer_desc *layer = (fa_layer_desc *)&desc->layers[i];
        fill_layer(layer);
        if (layer->rule) fill_rule((fa_rule_desc *)layer->rule);
    }
}

fa_status fa_keep_description(fa_net *net, bool fresh)
{
    const fa_rule_desc rule = fa_rule_of("backprop");
    const fa_optimizer_desc optimizer = fa_optimizer_of("sgd", 0.1);
    fa_net_desc *desc = &net->desc;
    desc->struct_size = sizeof *desc;
    if (!desc->rule) desc->rule = &rule;
    if (!desc->optimizer) desc->optimizer = &optimizer;
    fa_copying copying = {net, fresh};
    return fa_walk(&fa_net_fields, desc, copy_field, &copying);
}

/* ---- names that a message lists ---- */

void fa_list_name(char *list, size_t size, const char *name)
{
    const size_t n = strlen(list);
    snprintf(list + n, size - n, "%s%s", n ? ", " : "", name);
}

fa_status fa_unknown_name(int layer, const char *what, fa_names kind, const char *name)
{
    char where[32] = "", known[256] = "";
    if (layer >= 0) snprintf(where, sizeof where, "layer %d: ", layer);
    for (int i = 0; fa_name(kind, i); i++) fa_list_name(known, sizeof known, fa_name(kind, i));
    return fa_fail(FA_E_VALUE, "%s%s: expected one of %s, got '%s'", where, what, known,
                   name ? name : "(null)");
}

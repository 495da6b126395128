/* Options: found by name, checked by the rows of their owner, completed by defaults. */
#include "model/options.h"

#include "model/description.h"
#include "model/ops.h"

#include <stdio.h>
#include <string.h>

/* ---- rows ---- */

static const fa_option_row none[] = {{0}};

#define ROWS_OF(find)                                                                              \
    do {                                                                                           \
        const void *ops = find(owner);                                                             \
        if (!ops) return NULL;                                                                     \
        return find(owner)->options ? find(owner)->options : none;                                 \
    } while (0)

const fa_option_row *fa_option_rows(fa_names kind, const char *owner)
{
    switch (kind) {
    case FA_NAMES_LAYER: ROWS_OF(fa_find_layer);
    case FA_NAMES_LOSS: ROWS_OF(fa_find_loss);
    case FA_NAMES_RULE: ROWS_OF(fa_find_rule);
    case FA_NAMES_OPTIMIZER: ROWS_OF(fa_find_optim);
    case FA_NAMES_ACTIVATION:
    case FA_NAMES_INITIALIZER:
    case FA_NAMES_DISTRIBUTION: break;
    }
    return NULL;
}
#undef ROWS_OF

int fa_find_option(const fa_option_row *rows, const char *name)
{
    for (int i = 0; rows && rows[i].name && !rows[i].field; i++)
        if (!strcmp(rows[i].name, name)) return i;
    return -1;
}

static int count_entries(const fa_option_row *rows)
{
    int n = 0;
    while (rows[n].name && !rows[n].field) n++;
    return n;
}

/* ---- messages ---- */

/* What has a name of this kind, as the field of the description is called. */
static const char *kind_word(fa_names kind)
{
    return kind == FA_NAMES_LAYER  ? "type"
           : kind == FA_NAMES_LOSS ? "loss"
           : kind == FA_NAMES_RULE ? "rule"
                                   : "optimizer";
}

enum { WHERE = 128 };
/* "layer 2: rule 'kp': " */
static const char *where(char text[WHERE], const fa_option_owner *owner)
{
    int n = 0;
    if (owner->layer >= 0) n = snprintf(text, WHERE, "layer %d: ", owner->layer);
    snprintf(text + n, (size_t)(WHERE - n), "%s '%.*s': ", kind_word(owner->kind), FA_MAX_NAME,
             owner->name);
    return text;
}

/* "a finite number >= 0 and < 1", "an integer from 0 to 5", "0 or 1" */
static void describe_values(char *text, size_t size, const fa_option_row *row)
{
    const bool low = isfinite(row->low), high = isfinite(row->high);
    const bool whole = row->kind == FA_OPTION_INTEGER;
    char least[32] = "", most[32] = "";
    if (low) snprintf(least, sizeof least, " >%s %g", row->low_excluded ? "" : "=", row->low);
    if (high) snprintf(most, sizeof most, " <%s %g", row->high_excluded ? "" : "=", row->high);
    if (row->kind == FA_OPTION_TEXT)
        snprintf(text, size, "a text");
    else if (row->kind == FA_OPTION_FLAG)
        snprintf(text, size, "0 or 1");
    else if (whole && low && high)
        snprintf(text, size, "an integer from %.0f to %.0f", row->low, row->high);
    else
        snprintf(text, size, "%s%s%s%s", whole ? "an integer" : "a finite number", least,
                 low && high ? " and" : "", most);
}

static fa_status fail_value(const fa_option_owner *owner, const fa_option_row *row,
                            const fa_option *option)
{
    char place[WHERE], expected[96];
    describe_values(expected, sizeof expected, row);
    if (option->text)
        return fa_fail(FA_E_VALUE, "%s%s: expected %s, got '%s'", where(place, owner), row->name,
                       expected, option->text);
    return fa_fail(FA_E_VALUE, "%s%s: expected %s, got %.10g", where(place, owner), row->name,
                   expected, fa_value_shown(option->number));
}

static fa_status fail_name(const fa_option_owner *owner, const fa_option_row *rows,
                           const char *name)
{
    char place[WHERE], known[256] = "";
    bool is_field = false;
    for (int i = 0; rows[i].name; i++) {
        is_field = is_field || (rows[i].field && !strcmp(rows[i].name, name));
        if (!rows[i].field) fa_list_name(known, sizeof known, rows[i].name);
    }
    return fa_fail(FA_E_VALUE, "%soption: expected %s%s, got '%s'%s", where(place, owner),
                   *known ? "one of " : "none", known, name,
                   is_field ? "; it is a field of the description" : "");
}

/* ---- checks ---- */

static bool is_within(const fa_option_row *row, double value)
{
    return isfinite(value) && (row->low_excluded ? value > row->low : value >= row->low) &&
           (row->high_excluded ? value < row->high : value <= row->high) &&
           (row->kind == FA_OPTION_NUMBER || value == floor(value));
}

static fa_status check_value(const fa_option_owner *owner, const fa_option_row *row,
                             const fa_option *option)
{
    char place[WHERE + 64];
    const bool is_text = row->kind == FA_OPTION_TEXT;
    if (is_text != (option->text != NULL)) return fail_value(owner, row, option);
    if (!is_text) return is_within(row, option->number) ? FA_OK : fail_value(owner, row, option);
    where(place, owner);
    snprintf(place + strlen(place), sizeof place - strlen(place), "%.63s", row->name);
    return fa_check_name(option->text, place);
}

static fa_status check_fields(const fa_option_owner *owner, const fa_option_row *rows)
{
    for (int i = count_entries(rows); rows[i].name; i++) {
        fa_option option = {.name = rows[i].name};
        memcpy(&option.number, (const char *)owner->desc + rows[i].field, sizeof option.number);
        FA_TRY(check_value(owner, &rows[i], &option));
    }
    return FA_OK;
}

static fa_status check_list(const fa_option_owner *owner, const fa_option *options, int n)
{
    char place[WHERE];
    if (n < 0 || n > FA_MAX_OPTIONS)
        return fa_fail(FA_E_VALUE, "%sn_options: expected 0 to %d, got %d", where(place, owner),
                       FA_MAX_OPTIONS, n);
    if (n && !options)
        return fa_fail(FA_E_VALUE, "%soptions: expected a pointer, got NULL", where(place, owner));
    for (int i = 0; i < n; i++)
        if (!options[i].name)
            return fa_fail(FA_E_VALUE, "%soption: expected a name, got NULL", where(place, owner));
    return FA_OK;
}

/* ---- the whole list ---- */

/* Puts the options that were given into their places. */
static fa_status place_options(fa_option *all, const fa_option_owner *owner,
                               const fa_option_row *rows, const fa_option *given, int n)
{
    char place[WHERE];
    for (int i = 0; i < n; i++) {
        const int at = fa_find_option(rows, given[i].name);
        if (at < 0) return fail_name(owner, rows, given[i].name);
        if (all[at].name)
            return fa_fail(FA_E_VALUE, "%soption: expected '%s' once, got it twice",
                           where(place, owner), rows[at].name);
        all[at] = given[i];
        all[at].name = rows[at].name;
    }
    return FA_OK;
}

fa_status fa_complete_options(fa_net *net, const fa_option **options, int *n,
                              const fa_option_owner *owner, bool fresh)
{
    const fa_option_row *rows = fa_option_rows(owner->kind, owner->name);
    if (!rows && *n == 0) { /* whoever uses the name refuses it */
        *options = NULL;
        return FA_OK;
    }
    if (!rows)
        return fa_unknown_name(owner->layer, kind_word(owner->kind), owner->kind, owner->name);
    FA_TRY(check_list(owner, *options, *n));
    const int count = count_entries(rows);
    fa_option *all = fa_net_alloc(net, count + 1, sizeof *all);
    if (!all) return fa_fail(FA_E_MEMORY, "out of memory for the description");
    FA_TRY(place_options(all, owner, rows, *options, *n));
    for (int i = 0; i < count; i++) {
        const bool zero = !fresh && rows[i].zero_if_absent;
        if (!all[i].name)
            all[i] = (fa_option){rows[i].name, zero ? 0 : rows[i].number, rows[i].text};
        FA_TRY(check_value(owner, &rows[i], &all[i]));
        FA_TRY(fa_keep_text(net, &all[i].text));
    }
    *options = all;
    *n = count;
    return check_fields(owner, rows);
}

/* ---- what programs may ask ---- */

fa_status fa_option_info(fa_option_desc *info, fa_names kind, const char *owner, int i)
{
    fa_option_desc known;
    FA_TRY(FA_COPY_STRUCT(&known, info, name, "info"));
    const fa_option_row *rows = fa_option_rows(kind, owner);
    if (!rows && kind != FA_NAMES_LAYER && kind != FA_NAMES_LOSS && kind != FA_NAMES_RULE &&
        kind != FA_NAMES_OPTIMIZER)
        return fa_fail(FA_E_VALUE,
                       "kind: expected FA_NAMES_LAYER, FA_NAMES_LOSS, FA_NAMES_RULE or "
                       "FA_NAMES_OPTIMIZER, got %d",
                       (int)kind);
    if (!rows) return fa_unknown_name(-1, "owner", kind, owner);
    int n = 0;
    while (rows[n].name) n++;
    if (i < 0) return fa_fail(FA_E_VALUE, "i: expected a number >= 0, got %d", i);
    if (i >= n)
        return fa_fail(FA_E_END,
                       "i: expected a number below %d, the number of options of '%s', "
                       "got %d",
                       n, owner, i);
    const size_t size = info->struct_size;
    known = (fa_option_desc){.struct_size = size,
                             .name = rows[i].name,
                             .kind = rows[i].kind,
                             .number = rows[i].number,
                             .text = rows[i].text,
                             .low = rows[i].low,
                             .high = rows[i].high,
                             .low_excluded = rows[i].low_excluded,
                             .high_excluded = rows[i].high_excluded,
                             .is_field = rows[i].field != 0,
                             .meaning = rows[i].meaning};
    memcpy(info, &known, size);
    return FA_OK;
}

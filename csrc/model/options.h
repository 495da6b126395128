/* Options of rules, layers, losses and optimizers. Each declares its own in its ops, one row each;
 * the check, the copy, files, Cython and fa_option_info follow from the rows. */
#ifndef FA_OPTIONS_H
#define FA_OPTIONS_H

#include "model/model.h"

#include <math.h>

enum { FA_MAX_OPTIONS = 32 }; /* of one owner */

/* A table of rows ends with a row without a name. The engine reads the value of row i as number i:
 * give the rows an enum. */
typedef struct fa_option_row {
    const char *name; /* not that of a field of the same struct, unless it is that field */
    fa_option_kind kind;
    double number;    /* the default; files written before there was such an option mean it too */
    const char *text; /* the default of a text */
    double low, high;
    bool low_excluded, high_excluded;
    bool zero_if_absent; /* but in files that lack it, it means 0: they left zeros out */
    size_t field;        /* the offset of the double that has the value; 0: an entry of `options`.
                            Such rows are the last ones. */
    const char *meaning; /* a sentence without its full stop */
} fa_option_row;

/* Bounds of a row: >= low; > low; low to high; >= low and < high. */
#define FA_AT_LEAST(low_) .low = (low_), .high = INFINITY
#define FA_MORE_THAN(low_) .low = (low_), .low_excluded = true, .high = INFINITY
#define FA_CLOSED(low_, high_) .low = (low_), .high = (high_)
#define FA_HALF_OPEN(low_, high_) .low = (low_), .high = (high_), .high_excluded = true

/* The rows of an owner; NULL if there is no owner of this name. */
const fa_option_row *fa_option_rows(fa_names kind, const char *owner);
/* The number of a row by name, -1 if there is none; of entries of `options` only. */
int fa_find_option(const fa_option_row *rows, const char *name);

/* Whose options a list has, and where the description has them. */
typedef struct fa_option_owner {
    fa_names kind;
    const char *name;
    int layer;        /* -1: of the network */
    const void *desc; /* the struct, for options that are fields */
} fa_option_owner;
/* Checks *n options and replaces them by a list of all options of the owner, one for each row, in
 * memory of the network. fresh false: a file or network gave them. */
fa_status fa_complete_options(fa_net *net, const fa_option **options, int *n,
                              const fa_option_owner *owner, bool fresh);

/* The value of option i of a planned rule. */
static inline double fa_option_number(const fa_rule *rule, int i)
{ return rule->desc.options[i].number; }
/* Option i of a layer. */
static inline const fa_option *fa_layer_option(const fa_layer *layer, int i)
{ return &layer->desc.options[i]; }

#endif

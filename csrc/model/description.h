/* Descriptions as data: a table has a row for each field, by which it is copied, written and
 * read. */
#ifndef FA_DESCRIPTION_H
#define FA_DESCRIPTION_H

#include "model/network.h"

/* The kind of a field decides how it is written. A field whose bytes are all zero is not written,
 * and a field that a file lacks is read as zero. So a new field, whose zero means "as before", does
 * not change old files. */
typedef enum fa_field_kind {
    FA_FIELD_TEXT,    /* const char *, or NULL */
    FA_FIELD_FLAG,    /* int: true where it is not 0 */
    FA_FIELD_INT,     /* int */
    FA_FIELD_I64,     /* int64_t */
    FA_FIELD_U64,     /* uint64_t */
    FA_FIELD_REAL,    /* double */
    FA_FIELD_DTYPE,   /* fa_dtype: "float32", "float64" */
    FA_FIELD_VALUES,  /* of an fa_init: written as [rows, cols]; the numbers are a tensor */
    FA_FIELD_PART,    /* a struct */
    FA_FIELD_POINTER, /* to a struct, or NULL */
    FA_FIELD_LIST,    /* the layers, counted by n_layers */
    FA_FIELD_OPTIONS, /* const fa_option *, counted by the int after it; `of` says whose */
    FA_FIELD_SIZE,    /* the size of the struct itself: not written, set when read */
    FA_FIELD_UNSAVED, /* belongs to another field, or to the process: not written */
} fa_field_kind;

typedef struct fa_field {
    const char *name;
    fa_field_kind kind;
    size_t offset, size;
    const struct fa_table *of; /* of PART, POINTER and LIST; of OPTIONS the table itself */
} fa_field;

typedef struct fa_table {
    const char *name;       /* for messages */
    size_t size, least;     /* in bytes; least: that of the oldest header */
    const fa_field *fields; /* ends with a row without a name */
    fa_names owner;         /* whose options the struct has, if it has some */
    size_t owner_name;      /* the offset of that name, a const char * */
} fa_table;

extern const fa_table fa_net_fields, fa_layer_fields, fa_rule_fields, fa_init_fields,
    fa_optimizer_fields, fa_state_fields;

/* Calls visit for every field of the struct at `base` and then for the fields of the structs that
 * it holds; path is "layers.0.weight_init.scale". If visit replaces a pointer, the walk follows the
 * new one. */
typedef fa_status fa_visit(void *context, const fa_field *field, void *at, const char *path);
fa_status fa_walk(const fa_table *table, void *base, fa_visit *visit, void *context);

/* FA_E_VALUE for a field that could not be saved and loaded again, whether a rule or layer uses it
 * or not: a number that is not finite, a negative count, a text that is not UTF-8 or longer than
 * any name. */
fa_status fa_check_fields(const fa_table *table, void *base);

/* Copies the structs, options and texts that net->desc points to into memory of the network, with
 * the struct sizes of this header. Options are checked, and all options of their owner are there
 * afterwards (options.h). Given values stay where they are: the planner checks them first. fresh:
 * the description comes from no file or network. */
fa_status fa_keep_description(fa_net *net, bool fresh);

/* Gives structs that the caller left all zero the values of their initialisers, in the network's
 * own copy. */
void fa_fill_zeros(fa_net_desc *desc);

/* Calls each for all given values, with their tensor's key, "layers.0.weight_init", and the
 * fa_init. */
typedef fa_status fa_each_init(void *context, const char *key, fa_init *init);
fa_status fa_walk_values(fa_net_desc *desc, fa_each_init *each, void *context);

/* Replaces a text by a copy in memory of the network; NULL stays NULL. */
fa_status fa_keep_text(fa_net *net, const char **text);
/* FA_E_VALUE for a text that no file would hold: not UTF-8, or longer than any name. */
fa_status fa_check_name(const char *text, const char *what);
/* "what: expected one of ..., got 'name'"; layer -1: of the network */
fa_status fa_unknown_name(int layer, const char *what, fa_names kind, const char *name);
void fa_list_name(char *list, size_t size, const char *name); /* appends ", name" to a text */

#endif

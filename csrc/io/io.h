/* io: a network as bytes, and files on the disk. docs/FILES.md describes the contents of a file. */
#ifndef FA_IO_H
#define FA_IO_H

#include "engine/step.h"
#include "model/description.h"

#include <sys/types.h>

/* ---- json.c: the strict subset of JSON that files use, read in place, written to a text ---- */

/* The rest of a text to read. Strings are decoded in place, so the text must be writable and must
 * outlive them. Every failure is FA_E_FORMAT; its message says what was expected, and at which
 * byte. */
typedef struct fa_json {
    char *start, *at, *end;
    const char *what; /* for messages: "header" */
} fa_json;

fa_status fa_json_expect(fa_json *j, char c); /* '{', '[' or ':' */
/* Inside an object or array, after n members: reads the comma before the next one, or `close`. */
fa_status fa_json_more(bool *more, fa_json *j, char close, int64_t n);
fa_status fa_json_text(const char **text, fa_json *j); /* UTF-8 without zeros */
fa_status fa_json_key(const char **key, fa_json *j);   /* a text and the colon */
fa_status fa_json_i64(int64_t *value, fa_json *j);
fa_status fa_json_u64(uint64_t *value, fa_json *j);
fa_status fa_json_real(double *value, fa_json *j); /* finite */
fa_status fa_json_flag(bool *value, fa_json *j);
/* Whether the next token is a string; true or false; an object or array. */
bool fa_json_at_text(fa_json *j), fa_json_at_flag(fa_json *j), fa_json_at_list(fa_json *j);
fa_status fa_json_end(fa_json *j); /* nothing but white space is left */
fa_status fa_json_fail(const fa_json *j, const char *expected);

/* Starts as zeros. It remembers a failure, so that callers need to check only the end. */
typedef struct fa_text {
    char *data; /* ends with a zero byte that size does not count; freed by fa_free */
    size_t size, capacity;
    fa_status status;
} fa_text;

void fa_text_add(fa_text *t, const char *words); /* unchanged */
void fa_text_string(fa_text *t, const char *s);  /* quoted; FA_E_VALUE if it is not UTF-8 */
void fa_text_i64(fa_text *t, int64_t value);
void fa_text_u64(fa_text *t, uint64_t value);
/* The shortest digits that read back as the same bits; FA_E_VALUE if the number is not finite. */
void fa_text_real(fa_text *t, double value);

/* What files say in `fastfa.format`. Those of format 1 have other defaults: see safetensors_read.c. */
#define FA_FILE_FORMAT "2"

/* ---- description_json.c ---- */

void fa_write_fields(fa_text *t, const fa_table *table, const void *base);
/* A description that was read: its strings point into the text, its given values are not set yet.
 * fa_free(layers) frees it. */
typedef struct fa_description {
    fa_net_desc desc;
    fa_optimizer_desc optimizer;
    fa_layer_desc *layers;
    fa_rule_desc *rules; /* in the same block */
    fa_option *options;  /* and these, of all structs */
    int64_t n_layers, n_rules, n_options, capacity, most_options;
} fa_description;
fa_status fa_read_description(fa_description *d, char *text);
/* Names the initialisers that files of format 1 leave out. */
void fa_name_former_defaults(fa_description *d);
/* Reads the fields of a struct that has no layers. */
fa_status fa_read_fields(const fa_table *table, void *base, char *text);

/* ---- checksum.c ---- */

/* CRC-32C of these bytes after others whose sum is `before`, 0 if there are none. */
uint32_t fa_crc32c(uint32_t before, const void *data, size_t size);
/* The same without special instructions, for tests. */
uint32_t fa_crc32c_by_table(uint32_t before, const void *data, size_t size);

/* ---- stored.c: the tensors of a network as they are in its file ---- */

enum { FA_MAX_HEADER = 16 << 20, FA_FORMAT = 1 };
typedef struct fa_stored {
    const char *key;
    void *data; /* NULL before memory is allocated */
    int64_t rows, cols;
    bool flat; /* a bias: its shape is (cols) */
} fa_stored;
typedef fa_status fa_visit_stored(void *context, const fa_stored *tensor);
extern const char *const fa_file_dtypes[]; /* "F32", "F64", by fa_dtype */
size_t fa_stored_bytes(const fa_net *net, const fa_stored *t);
/* Parameters and feedback, each before its optimizer slots. fa_each_tensor: also the given values
 * of the description, which fa_net_reset uses. */
fa_status fa_each_of_state(const fa_net *net, fa_visit_stored *each, void *context);
fa_status fa_each_tensor(const fa_net *net, fa_visit_stored *each, void *context);
/* Parts of the checksum: a text of the metadata; the name, type and shape of a tensor, before its
 * bytes. */
extern const char fa_checksum_key[];
typedef char fa_digits[9]; /* the checksum as it is in the metadata */
uint32_t fa_sum_of_text(const char *key, const char *text);
uint32_t fa_sum_of_head(const char *key, fa_dtype dtype, const int64_t *dims, int rank);
uint32_t fa_sum_of_stored_head(const fa_net *net, const fa_stored *t);
fa_status fa_check_byte_order(void); /* files are little-endian */

/* ---- safetensors_read.c, safetensors_write.c ---- */

typedef struct fa_source {                                  /* a source of the bytes of a file */
    fa_status (*read)(void *user, void *data, size_t size); /* fills data, or fails */
    void *user;
    size_t size; /* of the whole file; SIZE_MAX: unknown, and reading stops after the network */
    const char *memory; /* the whole file in memory, or NULL */
} fa_source;
typedef int fa_custom(void *user, fa_rule_desc *rule, int64_t layer, const char *note);
fa_status fa_load_source(fa_net **net, const fa_source *source, fa_custom *custom, void *user);
fa_status fa_check_source(int *has_checksum, const fa_source *source);
/* FA_E_VALUE if the header of the network's file would be too large to read. */
fa_status fa_header_fits(const fa_net *net);

/* ---- path.c: messages about a path; of a long one they show the end ---- */

/* "PATH: cannot WHAT: reason", then `now`, the present contents of the path; does not change
 * errno. */
fa_status fa_path_fail(const char *path, const char *what, const char *now);
fa_status fa_path_fail_in(fa_status status, const char *path);
/* FA_OK for plain files: nothing else is written or read. */
fa_status fa_check_plain(mode_t mode, const char *path, const char *what);

/* ---- temporary.c: files that replace another when they are complete ---- */

typedef struct fa_temporary {
    int folder, fd;
    char machine[14]; /* part of the names that saves clean up; "": names are random */
    char name[40];    /* "" while it has none */
} fa_temporary;
/* These return false if the system refuses; errno says why. */
/* Makes a new file for writing: nameless if the system can make such files, unless `named`. */
bool fa_temporary_open(fa_temporary *t, int folder, mode_t mode, bool named);
/* Gives it a name, if it has none; fails on systems that make nameless files but cannot name
 * them. */
bool fa_temporary_link(fa_temporary *t);
bool fa_temporary_rename(fa_temporary *t, const char *name); /* replaces a file of its folder */
/* Also removes the file if it was not renamed; does not change errno. */
void fa_temporary_close(fa_temporary *t);

#endif

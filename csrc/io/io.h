/* io: a network as bytes, and the path to the disk. docs/FILES.md says what a file holds. */
#ifndef FA_IO_H
#define FA_IO_H

#include "engine/step.h"
#include "model/description.h"

#include <sys/types.h>

/* ---- json.c: the strict subset of JSON that files use, read in place, written into a growing text
 * ---- */

/* What is left to read. Strings are decoded where they stand, so the text must be writable, and
 * they live as long as it does. Every failure is FA_E_FORMAT and says what was expected at which
 * byte of which text. */
typedef struct fa_json {
    char *start, *at, *end;
    const char *what; /* for messages: "header" */
} fa_json;

fa_status fa_json_expect(fa_json *j, char c); /* '{', '[' or ':' */
/* Inside an object or array of which n members were read: takes the comma before the next, or
 * `close`. */
fa_status fa_json_more(bool *more, fa_json *j, char close, int64_t n);
fa_status fa_json_text(const char **text, fa_json *j); /* UTF-8 without zeros */
fa_status fa_json_key(const char **key, fa_json *j);   /* a text and the colon */
fa_status fa_json_i64(int64_t *value, fa_json *j);
fa_status fa_json_u64(uint64_t *value, fa_json *j);
fa_status fa_json_real(double *value, fa_json *j); /* finite */
fa_status fa_json_flag(bool *value, fa_json *j);
fa_status fa_json_end(fa_json *j); /* nothing but white space is left */
fa_status fa_json_fail(const fa_json *j, const char *expected);

/* Zero to begin with. A failure is remembered, so that only the end need be looked at. */
typedef struct fa_text {
    char *data; /* ends with a zero that size does not count; fa_free it */
    size_t size, capacity;
    fa_status status;
} fa_text;

void fa_text_add(fa_text *t, const char *words); /* as it is */
void fa_text_string(fa_text *t, const char *s);  /* quoted; FA_E_VALUE where it is not UTF-8 */
void fa_text_i64(fa_text *t, int64_t value);
void fa_text_u64(fa_text *t, uint64_t value);
/* The shortest digits that read back as the same bits; FA_E_VALUE where it is not finite. */
void fa_text_real(fa_text *t, double value);

/* ---- description_json.c ---- */

void fa_write_fields(fa_text *t, const fa_table *table, const void *base);
/* A description that was read: texts point into the text; given values point nowhere yet.
 * fa_free(layers) ends it. */
typedef struct fa_description {
    fa_net_desc desc;
    fa_optimizer_desc optimizer;
    fa_layer_desc *layers;
    fa_rule_desc *rules; /* in the same block */
    int64_t n_layers, n_rules, capacity;
} fa_description;
fa_status fa_read_description(fa_description *d, char *text);
/* Fields of a struct without layers. */
fa_status fa_read_fields(const fa_table *table, void *base, char *text);

/* ---- checksum.c ---- */

/* CRC-32C of the bytes before and these; 0 before the first. */
uint32_t fa_crc32c(uint32_t before, const void *data, size_t size);
/* The same on any processor, for tests. */
uint32_t fa_crc32c_by_table(uint32_t before, const void *data, size_t size);

/* ---- stored.c: the tensors of a network as its file has them ---- */

enum { FA_MAX_HEADER = 16 << 20, FA_FORMAT = 1 };
typedef struct fa_stored {
    const char *key;
    void *data; /* NULL before memory was asked for */
    int64_t rows, cols;
    bool flat; /* a bias: its shape is (cols) */
} fa_stored;
typedef fa_status fa_visit_stored(void *context, const fa_stored *tensor);
extern const char *const fa_file_dtypes[]; /* "F32", "F64", by fa_dtype */
size_t fa_stored_bytes(const fa_net *net, const fa_stored *t);
/* Parameters and feedback, each before its optimizer slots; fa_each_tensor: and the values that the
 * description gives for the start, which reset goes back to. */
fa_status fa_each_of_state(const fa_net *net, fa_visit_stored *each, void *context);
fa_status fa_each_tensor(const fa_net *net, fa_visit_stored *each, void *context);
/* Parts of the checksum: a text of the metadata; name, type and shape of a tensor, whose bytes
 * follow. */
extern const char fa_checksum_key[];
typedef char fa_digits[9]; /* a sum as the metadata has it */
uint32_t fa_sum_of_text(const char *key, const char *text);
uint32_t fa_sum_of_head(const char *key, fa_dtype dtype, const int64_t *dims, int rank);
uint32_t fa_sum_of_stored_head(const fa_net *net, const fa_stored *t);
fa_status fa_check_byte_order(void); /* files are little-endian */

/* ---- safetensors_read.c, safetensors_write.c ---- */

typedef struct fa_source { /* where the bytes of a file come from */
    fa_status (*read)(void *user, void *data, size_t size); /* fills data, or fails */
    void *user;
    size_t
        size; /* of the whole file; SIZE_MAX: unknown, and only the bytes of the network are read */
    const char *memory; /* or NULL: the whole file in memory */
} fa_source;
typedef int fa_custom(void *user, fa_rule_desc *rule, int64_t layer, const char *note);
fa_status fa_load_source(fa_net **net, const fa_source *source, fa_custom *custom, void *user);
fa_status fa_check_source(int *has_checksum, const fa_source *source);
/* FA_E_VALUE if the header of the network's file would be too large to be read again. */
fa_status fa_header_fits(const fa_net *net);

/* ---- path.c: messages about a path, of which they show the end if it is long ---- */

/* "PATH: cannot WHAT: reason" and what the path holds now; errno is kept for the caller. */
fa_status fa_path_fail(const char *path, const char *what, const char *now);
fa_status fa_path_fail_in(fa_status status, const char *path);
/* Only plain files are written and read. */
fa_status fa_check_plain(mode_t mode, const char *path, const char *what);

/* ---- temporary.c: files that take the place of another when they are complete ---- */

typedef struct fa_temporary {
    int folder, fd;
    char machine[14]; /* part of the names that saves clean up; "": names are random */
    char name[40];    /* "" while it has none */
} fa_temporary;
/* These give false where the system refuses; errno says why. */
/* A new file for writing: nameless where the system can make such files, unless `named`. */
bool fa_temporary_open(fa_temporary *t, int folder, mode_t mode, bool named);
/* Gives it a name, if it has none; fails on systems that make nameless files but cannot name
 * them. */
bool fa_temporary_link(fa_temporary *t);
bool fa_temporary_rename(fa_temporary *t, const char *name); /* it replaces a file of its folder */
void fa_temporary_close(fa_temporary *t); /* and removes it where it was not renamed; errno stays */

#endif

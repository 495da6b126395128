/* The strict subset of JSON that files use: read in place, written into a growing text. */
#ifndef FA_JSON_H
#define FA_JSON_H

#include "fastfa.h"

#include <stdbool.h>

/* ---- reading ---- */

/* What is left to read. Strings are decoded where they stand, so the text must be writable, and they live as
 * long as it does. Every failure is FA_E_FORMAT and says what was expected at which byte of which text. */
typedef struct fa_json {
    char *start, *at, *end;
    const char *what; /* for messages: "header" */
} fa_json;

fa_status fa_json_expect(fa_json *j, char c); /* '{', '[' or ':' */
/* Inside an object or array of which n members were read: takes the comma before the next, or `close`. */
fa_status fa_json_more(bool *more, fa_json *j, char close, int64_t n);
fa_status fa_json_text(const char **text, fa_json *j); /* UTF-8 without zeros */
fa_status fa_json_key(const char **key, fa_json *j);   /* a text and the colon */
fa_status fa_json_i64(int64_t *value, fa_json *j);
fa_status fa_json_u64(uint64_t *value, fa_json *j);
fa_status fa_json_real(double *value, fa_json *j); /* finite */
fa_status fa_json_flag(bool *value, fa_json *j);
fa_status fa_json_end(fa_json *j); /* nothing but white space is left */
fa_status fa_json_fail(const fa_json *j, const char *expected);

/* ---- writing ---- */

/* Zero to begin with. A failure is remembered, so that only the end need be looked at. */
typedef struct fa_text {
    char *data; /* ends with a zero that size does not count; fa_free it */
    size_t size, capacity;
    fa_status status;
} fa_text;

/* Bytes of the character at `at`, 0 where it is no UTF-8 (RFC 3629): cut off, overlong, a surrogate. */
int fa_utf8_length(const char *at, const char *end);
fa_status fa_check_utf8(const char *s, const char *what); /* FA_E_VALUE where it is not UTF-8 */
void fa_text_add(fa_text *t, const char *words);          /* as it is */
void fa_text_string(fa_text *t, const char *s); /* quoted; FA_E_VALUE where it is not UTF-8 */
void fa_text_i64(fa_text *t, int64_t value);
void fa_text_u64(fa_text *t, uint64_t value);
/* The shortest digits that read back as the same bits; FA_E_VALUE where it is not finite. */
void fa_text_real(fa_text *t, double value);

#endif

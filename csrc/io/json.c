/* JSON: a reader that decodes strings in place, and a writer. Neither depends on the locale. */
#include "io/io.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading: tokens ---- */

fa_status fa_json_fail(const fa_json *j, const char *expected)
{
    return fa_fail(FA_E_FORMAT, "%s: expected %s at byte %lld", j->what, expected,
                   (long long)(j->at - j->start));
}

static void skip_space(fa_json *j)
{
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\n' || *j->at == '\r' || *j->at == '\t'))
        j->at++;
}

static bool take(fa_json *j, char c)
{
    skip_space(j);
    if (j->at == j->end || *j->at != c) return false;
    j->at++;
    return true;
}

fa_status fa_json_expect(fa_json *j, char c)
{
    const char expected[] = {'\'', c, '\'', '\0'};
    return take(j, c) ? FA_OK : fa_json_fail(j, expected);
}

fa_status fa_json_more(bool *more, fa_json *j, char close, int64_t n)
{
    *more = false;
    if (take(j, close)) return FA_OK;
    *more = true;
    return n == 0 ? FA_OK : fa_json_expect(j, ',');
}

fa_status fa_json_end(fa_json *j)
{
    skip_space(j);
    return j->at == j->end ? FA_OK : fa_json_fail(j, "the end");
}

/* ---- reading: strings ---- */

static char *put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    return out;
}

static fa_status hex4(uint32_t *value, fa_json *j)
{
    *value = 0;
    for (int i = 0; i < 4; i++, j->at++) {
        const char c = j->at < j->end ? *j->at : 0;
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) return fa_json_fail(j, "four hexadecimal digits");
        *value = *value << 4 | (uint32_t)digit;
    }
    return FA_OK;
}

/* After "\u": reads one character: two escapes if the first is half of a pair. */
static fa_status unicode_escape(char **out, fa_json *j)
{
    uint32_t c, low;
    FA_TRY(hex4(&c, j));
    if (c >= 0xd800 && c < 0xdc00) {
        if (j->end - j->at < 2 || j->at[0] != '\\' || j->at[1] != 'u')
            return fa_json_fail(j, "the second half of a surrogate pair");
        j->at += 2;
        FA_TRY(hex4(&low, j));
        if (low < 0xdc00 || low > 0xdfff)
            return fa_json_fail(j, "the second half of a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c <= 0xdfff) {
        return fa_json_fail(j, "the first half of a surrogate pair");
    } else if (c == 0) {
        return fa_json_fail(j, "text without zeros");
    }
    *out = put_utf8(*out, c);
    return FA_OK;
}

static fa_status escape(char **out, fa_json *j)
{
    static const char letters[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";
    const char c = j->at < j->end ? *j->at : 0;
    const char *known = c ? strchr(letters, c) : NULL;
    if (!known && c != 'u') return fa_json_fail(j, "an escape");
    j->at++;
    if (!known) return unicode_escape(out, j);
    *(*out)++ = meaning[known - letters];
    return FA_OK;
}

fa_status fa_json_text(const char **text, fa_json *j)
{
    if (!take(j, '"')) return fa_json_fail(j, "a string");
    char *out = j->at;
    *text = out;
    while (j->at < j->end && *j->at != '"') {
        if (*j->at == '\\') {
            j->at++;
            FA_TRY(escape(&out, j));
            continue;
        }
        const int n = (unsigned char)*j->at < 0x20 ? 0 : fa_utf8_length(j->at, j->end);
        if (n == 0) return fa_json_fail(j, "UTF-8 without control characters");
        for (int i = 0; i < n; i++) *out++ = *j->at++;
    }
    if (j->at == j->end) return fa_json_fail(j, "the end of a string");
    j->at++;
    *out = '\0'; /* never beyond the closing quote: decoding does not lengthen the text */
    return FA_OK;
}

fa_status fa_json_key(const char **key, fa_json *j)
{
    FA_TRY(fa_json_text(key, j));
    return fa_json_expect(j, ':');
}

/* ---- reading: numbers ---- */

static bool digits(fa_json *j)
{
    const char *first = j->at;
    while (j->at < j->end && *j->at >= '0' && *j->at <= '9') j->at++;
    return j->at > first;
}

/* The decimal point of the locale; JSON always has a dot. */
static const char *decimal_point(char buffer[16])
{
    const int n = snprintf(buffer, 16, "%.1f", 0.0); /* 0.0 */
    if (n < 3 || n > 15) return ".";
    buffer[n - 1] = '\0';
    return buffer + 1;
}

/* The token as strtod reads it in the C locale. */
static double value_of(const char *token, size_t size)
{
    char buffer[16], copy[96];
    const char *point = decimal_point(buffer);
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        if (token[i] != '.') {
            copy[n++] = token[i];
            continue;
        }
        memcpy(copy + n, point, strlen(point));
        n += strlen(point);
    }
    copy[n] = '\0';
    return strtod(copy, NULL);
}

fa_status fa_json_real(double *value, fa_json *j)
{
    enum { LONGEST = 64 };
    skip_space(j);
    const char *first = j->at;
    if (j->at < j->end && *j->at == '-') j->at++;
    const char *lead = j->at;
    bool good = digits(j) && (*lead != '0' || j->at == lead + 1);
    if (good && j->at < j->end && *j->at == '.') j->at++, good = digits(j);
    if (good && j->at < j->end && (*j->at == 'e' || *j->at == 'E')) {
        j->at++;
        if (j->at < j->end && (*j->at == '+' || *j->at == '-')) j->at++;
        good = digits(j);
    }
    if (!good || j->at - first > LONGEST) return fa_json_fail(j, "a number");
    *value = value_of(first, (size_t)(j->at - first));
    return isfinite(*value) ? FA_OK : fa_json_fail(j, "a number that a double can hold");
}

fa_status fa_json_u64(uint64_t *value, fa_json *j)
{
    skip_space(j);
    const char *first = j->at;
    *value = 0;
    for (; j->at < j->end && *j->at >= '0' && *j->at <= '9'; j->at++)
        if (__builtin_mul_overflow(*value, 10u, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*j->at - '0'), value))
            return fa_json_fail(j, "an integer that fits");
    const bool good = j->at > first && (*first != '0' || j->at == first + 1);
    return good ? FA_OK : fa_json_fail(j, "an integer");
}

fa_status fa_json_i64(int64_t *value, fa_json *j)
{
    const bool negative = take(j, '-');
    uint64_t size;
    if (negative && (j->at == j->end || *j->at < '0')) return fa_json_fail(j, "an integer");
    FA_TRY(fa_json_u64(&size, j));
    if (size > (uint64_t)INT64_MAX) return fa_json_fail(j, "an integer that fits");
    *value = negative ? -(int64_t)size : (int64_t)size;
    return FA_OK;
}

static bool is_at(fa_json *j, const char *one_of)
{
    skip_space(j);
    return j->at < j->end && *j->at && strchr(one_of, *j->at);
}

bool fa_json_at_text(fa_json *j) { return is_at(j, "\""); }
bool fa_json_at_flag(fa_json *j) { return is_at(j, "tf"); }
bool fa_json_at_list(fa_json *j) { return is_at(j, "{["); }

fa_status fa_json_flag(bool *value, fa_json *j)
{
    skip_space(j);
    const size_t left = (size_t)(j->end - j->at);
    *value = left >= 4 && !memcmp(j->at, "true", 4);
    if (!*value && !(left >= 5 && !memcmp(j->at, "false", 5)))
        return fa_json_fail(j, "true or false");
    j->at += *value ? 4 : 5;
    return FA_OK;
}

/* ---- writing ---- */

static void fail(fa_text *t, fa_status status)
{
    if (t->status == FA_OK) t->status = status;
}

static bool reserve(fa_text *t, size_t more)
{
    if (t->status) return false;
    if (t->size + more < t->capacity) return true;
    const size_t buffer = 2 * (t->size + more) + 256;
    char *data = fa_alloc(buffer);
    if (!data) {
        fail(t, fa_fail(FA_E_MEMORY, "out of memory for %zu bytes of text", buffer));
        return false;
    }
    if (t->data) memcpy(data, t->data, t->size);
    fa_free(t->data);
    t->data = data;
    t->capacity = buffer;
    return true;
}

static void append(fa_text *t, const char *bytes, size_t n)
{
    if (!reserve(t, n + 1)) return;
    memcpy(t->data + t->size, bytes, n);
    t->size += n;
    t->data[t->size] = '\0';
}

void fa_text_add(fa_text *t, const char *words) { append(t, words, strlen(words)); }

void fa_text_string(fa_text *t, const char *s)
{
    const fa_status status = fa_check_utf8(s, "text");
    if (status) {
        fail(t, status);
        return;
    }
    append(t, "\"", 1);
    for (const char *end = s + strlen(s); s < end;) {
        const int n = fa_utf8_length(s, end);
        if (*s == '"' || *s == '\\') append(t, "\\", 1);
        if ((unsigned char)*s < 0x20) {
            char code[8];
            snprintf(code, sizeof code, "\\u%04x", (unsigned)*s);
            append(t, code, 6);
        } else {
            append(t, s, (size_t)n);
        }
        s += n;
    }
    append(t, "\"", 1);
}

void fa_text_i64(fa_text *t, int64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRId64, value);
    fa_text_add(t, digits);
}

void fa_text_u64(fa_text *t, uint64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    fa_text_add(t, digits);
}

void fa_text_real(fa_text *t, double value)
{
    if (!isfinite(value)) {
        fail(t, fa_fail(FA_E_VALUE, "expected a finite number, got %g", value));
        return;
    }
    char digits[48], buffer[16];
    for (int n = 15; n <= 17; n++) {
        snprintf(digits, sizeof digits, "%.*g", n, value);
        if (strtod(digits, NULL) == value) break;
    }
    const char *point = decimal_point(buffer);
    char *found = strstr(digits, point);
    if (!found) {
        fa_text_add(t, digits);
        return;
    }
    append(t, digits, (size_t)(found - digits));
    fa_text_add(t, ".");
    fa_text_add(t, found + strlen(point));
}

/* Changes of a saved network that get past the first checks: tokens of the header, and of the JSON
 * texts that stand in its strings, are replaced, moved and doubled; then the header's length and
 * the tensors' places are put right. */
#ifndef CHANGE_FILE_H
#define CHANGE_FILE_H

#include "api/api.h"
#include "fuzz.h"

#ifdef FUZZING
size_t LLVMFuzzerMutate(unsigned char *data, size_t size, size_t capacity);
#else
#define LLVMFuzzerMutate edit_bytes /* alone.h */
#endif

static void add(bytes *b, const char *text) { append(b, text, strlen(text)); }

/* ---- tokens: strings with their quotes, numbers, words, single characters ---- */

enum { MOST_TOKENS = 16384 };

typedef struct {
    const char *p;
    size_t n;
} token;

static bool in_word(char c) { return c && (strchr("-+.0123456789E", c) || (c >= 'a' && c <= 'z')); }

static size_t token_end(const char *s, size_t n, size_t i)
{
    size_t end = i + 1;
    if (s[i] == '"') {
        while (end < n && s[end] != '"') end += s[end] == '\\' ? 2 : 1;
        return end < n ? end + 1 : n;
    }
    while (in_word(s[i]) && end < n && in_word(s[end])) end++;
    return end;
}

static size_t split(token *tokens, const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n && count < MOST_TOKENS;) {
        const size_t end = token_end(s, n, i);
        tokens[count++] = (token){s + i, end - i};
        i = end;
    }
    return count;
}

/* ---- values, of the library's own tables where it has them ---- */

static void add_name(bytes *out)
{
    const fa_names kind = (fa_names)random_below(FA_NAMES_DISTRIBUTION + 1);
    int n = 0;
    while (fa_name(kind, n)) n++;
    add(out, "\"");
    add(out, fa_name(kind, (int)random_below((uint32_t)n)));
    add(out, "\"");
}

static void add_number(bytes *out)
{
    static const char *const numbers[] = {"0",
                                          "1",
                                          "2",
                                          "3",
                                          "4096",
                                          "4097",
                                          "-1",
                                          "2147483647",
                                          "4294967295",
                                          "4294967296",
                                          "1e308",
                                          "-1e308",
                                          "1e-320",
                                          "1e999",
                                          "0.5",
                                          "-0.0",
                                          "1e-8",
                                          "3.5e38",
                                          "2147483648",
                                          "0.999999",
                                          "9223372036854775807",
                                          "9223372036854775808",
                                          "18446744073709551615",
                                          "18446744073709551616"};
    add(out, numbers[random_below(sizeof numbers / sizeof *numbers)]);
}

static void add_odd(bytes *out)
{
    static const char *const odd[] = {"true",
                                      "false",
                                      "null",
                                      "{}",
                                      "[]",
                                      "[1,1]",
                                      "[3,2]",
                                      "[0,0]",
                                      "[4294967296,4294967296]",
                                      "[1,9223372036854775807]",
                                      "\"\"",
                                      "\"F32\"",
                                      "\"F64\"",
                                      "\"float64\"",
                                      "\"pre\"",
                                      "\"\\u0041\"",
                                      "\"\\ud83d\\ude00\"",
                                      "\"\\u0000\"",
                                      "\"\x1b[31m\""};
    add(out, odd[random_below(sizeof odd / sizeof *odd)]);
}

static void add_value(bytes *out)
{
    const uint32_t kind = random_below(3);
    (kind == 0 ? add_name : kind == 1 ? add_number : add_odd)(out);
}

/* A member: a field of a description or of the state, and a value that may suit it. */
static void add_member(bytes *out)
{
    static const fa_table *const tables[] = {&fa_net_fields,   &fa_layer_fields,
                                             &fa_rule_fields,  &fa_init_fields,
                                             &fa_state_fields, &fa_optimizer_fields};
    const fa_field *f = tables[random_below(6)]->fields;
    int n = 0;
    while (f[n].name) n++;
    f += random_below((uint32_t)n);
    add(out, "\"");
    add(out, f->name);
    add(out, "\":");
    if (f->kind == FA_FIELD_TEXT)
        add_name(out);
    else if (f->kind == FA_FIELD_FLAG)
        add(out, random_below(2) ? "true" : "false");
    else
        add_value(out);
}

/* ---- one text ---- */

enum change {
    REPLACE,
    BY_ANOTHER,
    REMOVE,
    DOUBLE,
    INSERT,
    COPY,
    SWAP,
    NEXT_NUMBER,
    SPACE,
    N_CHANGES
};

static void add_tokens(bytes *out, const token *t, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) append(out, t[i].p, t[i].n);
}

static void add_next_number(bytes *out, const token *t)
{
    char text[32];
    const unsigned long long value = strtoull(t->p, NULL, 10);
    snprintf(text, sizeof text, "%lld", (long long)(value + random_below(3) - 1));
    add(out, text);
}

static char kind_of(const token *t)
{
    const char c = *t->p;
    return in_word(c) ? (c >= 'a' && c <= 'z' ? 'w' : '0') : c;
}

/* The place of a token of that kind, from a random place on; n where there is none. */
static size_t find_kind(const token *t, size_t n, char kind)
{
    const size_t start = random_below((uint32_t)n);
    for (size_t i = 0; i < n; i++)
        if (kind_of(&t[(start + i) % n]) == kind) return (start + i) % n;
    return n;
}

static void add_alike(bytes *out, char kind)
{ (kind == '"' ? add_name : kind == '0' ? add_number : add_value)(out); }

/* Tokens a .. a_end are changed, b .. b_end are where others are taken from; what is before and
 * after stays. */
static void change_once(bytes *out, const token *t, size_t n)
{
    const enum change how = (enum change)random_below(N_CHANGES);
    size_t a = random_below((uint32_t)n), b = random_below((uint32_t)n);
    if (how == INSERT) a = find_kind(t, n, '{') + 1;
    if (how == NEXT_NUMBER) a = find_kind(t, n, '0');
    if (a >= n) return add_tokens(out, t, 0, n);
    if (how == BY_ANOTHER || how == SWAP) b = find_kind(t, n, kind_of(&t[a]));
    const size_t run = 1 + random_below(random_below(4) ? 3 : 24);
    const size_t a_end = a + run < n ? a + run : n, b_end = b + run < n ? b + run : n;
    size_t after = a + 1;
    add_tokens(out, t, 0, a);
    switch (how) {
    case REPLACE: random_below(4) ? add_alike(out, kind_of(&t[a])) : add_value(out); break;
    case BY_ANOTHER: add_tokens(out, t, b, b + 1); break;
    case REMOVE: after = a_end; break;
    case DOUBLE: add_tokens(out, t, a, a_end), after = a; break;
    case INSERT: add_member(out), add(out, *t[a].p == '}' ? "" : ","), after = a; break;
    case COPY: add_tokens(out, t, b, b_end), after = a; break;
    case SWAP:
        if (b <= a) {
            after = a;
            break;
        }
        add_tokens(out, t, b, b + 1), add_tokens(out, t, a + 1, b), add_tokens(out, t, a, a + 1);
        after = b + 1;
        break;
    case NEXT_NUMBER: add_next_number(out, &t[a]); break;
    case SPACE: add(out, random_below(2) ? " " : "\n"), after = a; break;
    case N_CHANGES: break;
    }
    add_tokens(out, t, after, n);
}

static bytes change_text(const char *text, size_t size, uint32_t times)
{
    static token tokens[MOST_TOKENS];
    bytes now = {0};
    append(&now, text, size);
    for (; times > 0; times--) {
        bytes next = {0};
        const size_t n = split(tokens, now.data, now.size);
        if (!n) break;
        change_once(&next, tokens, n);
        append(&next, "", 0);
        free(now.data);
        now = next;
    }
    return now;
}

/* ---- a text in a string of the header ---- */

static bytes unescape(const char *s, const char *end)
{
    bytes b = {0};
    for (; s < end; s++) {
        if (*s == '\\' && s + 1 < end) s++;
        append(&b, s, 1);
    }
    append(&b, "", 0);
    return b;
}

static void add_escaped(bytes *out, bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') add(out, "\\");
        append(out, text.data + i, 1);
    }
}

/* Changes the string of that key where it stands; false: there is none. */
static bool change_inner(bytes *out, const char *header, size_t n, const char *key, uint32_t times)
{
    char start[64];
    snprintf(start, sizeof start, "\"%s\":\"", key);
    const char *at = memmem(header, n, start, strlen(start)), *stop = header + n;
    if (!at) return false;
    const char *end = at += strlen(start);
    while (end < stop && *end != '"') end += *end == '\\' ? 2 : 1;
    if (end >= stop) return false;
    bytes plain = unescape(at, end), changed = change_text(plain.data, plain.size, times);
    append(out, header, (size_t)(at - header));
    add_escaped(out, changed);
    append(out, end, (size_t)(stop - end));
    free(plain.data), free(changed.data);
    return true;
}

/* ---- the tensors' places ---- */

/* Bytes of a tensor whose shape begins at *p, which goes on behind it; more than the limit: no such
 * tensor. */
static double tensor_bytes(const char **p, const char *end, bool wide)
{
    double size = wide ? 8 : 4;
    while (*p < end && **p != ']') {
        char *next;
        const double dim = (double)strtoll(*p, &next, 10);
        if (next == *p)
            next++;
        else
            size *= dim;
        *p = next;
    }
    return size;
}

/* Writes the header again with the places that its shapes ask for; returns the size of the data. */
static size_t lay_out(bytes *out, const char *header, size_t n)
{
    static const char shape_key[] = "\"shape\":[", place_key[] = "\"data_offsets\":[";
    const char *p = header, *end = header + n;
    size_t offset = 0;
    for (;;) {
        const char *s = memmem(p, (size_t)(end - p), shape_key, sizeof shape_key - 1);
        if (!s) break;
        const bool wide = memmem(p, (size_t)(s - p), "F64", 3) != NULL;
        s += sizeof shape_key - 1;
        const double size = tensor_bytes(&s, end, wide);
        const char *at = memmem(s, (size_t)(end - s), place_key, sizeof place_key - 1);
        const char *close = at ? memchr(at, ']', (size_t)(end - at)) : NULL;
        if (!close || !(size >= 0 && size < 1 << 16)) break;
        append(out, p, (size_t)(at - p) + sizeof place_key - 1);
        char text[64];
        snprintf(text, sizeof text, "%zu,%zu", offset, offset + (size_t)size);
        offset += (size_t)size;
        add(out, text);
        p = close;
    }
    append(out, p, (size_t)(end - p));
    return offset;
}

/* ---- the file ---- */

/* The header without its checksum, which would refuse every change of the rest before it is looked
 * at. */
static bytes without_checksum(const char *header, size_t n)
{
    static const char start[] = "\"fastfa.crc32c\":\"";
    bytes out = {0};
    const char *at = memmem(header, n, start, sizeof start - 1), *stop = header + n;
    const char *end =
        at ? memchr(at + sizeof start, '"', (size_t)(stop - at) - sizeof start) : NULL;
    if (end && end + 1 < stop && end[1] == ',') end++;
    append(&out, header, end ? (size_t)(at - header) : n);
    if (end && end[0] == '"' && out.data[out.size - 1] == ',') out.size--; /* the last member */
    if (end) append(&out, end + 1, (size_t)(stop - end) - 1);
    return out;
}

static bytes change_header(const char *header, size_t n)
{
    static const char *const inner[8] = {"fastfa.network", "fastfa.network", "fastfa.network",
                                         "fastfa.network", "fastfa.state",   "fastfa.note"};
    const uint32_t times = 1 + random_below(4);
    const char *key = inner[random_below(8)];
    bytes out = {0};
    if (key && change_inner(&out, header, n, key, times)) return out;
    free(out.data);
    return change_text(header, n, times);
}

/* The size of the new file, or 0 where it does not fit: length, header, data as they are and zeros
 * behind. */
static size_t put_together(unsigned char *data, size_t capacity, bytes header, const bytes *tensors,
                           size_t wanted)
{
    const uint64_t n = header.size;
    if (wanted > 1 << 20 || 8 + n + wanted > capacity) return 0;
    const size_t kept = tensors->size < wanted ? tensors->size : wanted;
    memcpy(data, &n, 8);
    memcpy(data + 8, header.data, n);
    if (kept) memcpy(data + 8 + n, tensors->data, kept);
    memset(data + 8 + n + kept, 0, wanted - kept);
    if (wanted && random_below(4) == 0) LLVMFuzzerMutate(data + 8 + n, wanted, wanted);
    return 8 + n + wanted;
}

static size_t change_file(unsigned char *data, size_t size, size_t capacity, unsigned seed)
{
    uint64_t n = 0;
    generator = seed * 2654435761u + 1;
    if (size >= 10) memcpy(&n, data, 8);
    if (n < 2 || n > size - 8 || random_below(12) == 0)
        return LLVMFuzzerMutate(data, size, capacity);
    bytes plain = {0}, header = {0}, tensors = {0};
    if (random_below(8))
        plain = without_checksum((const char *)data + 8, n);
    else
        append(&plain, data + 8, n);
    bytes changed = change_header(plain.data, plain.size);
    append(&tensors, data + 8 + n, size - 8 - n);
    size_t wanted = tensors.size;
    if (random_below(3))
        wanted = lay_out(&header, changed.data, changed.size);
    else
        append(&header, changed.data, changed.size);
    if (random_below(16) == 0) wanted++;
    const size_t made = put_together(data, capacity, header, &tensors, wanted);
    free(plain.data), free(changed.data), free(header.data), free(tensors.data);
    return made ? made : LLVMFuzzerMutate(data, size, capacity);
}

#ifdef FUZZING
size_t LLVMFuzzerCustomMutator(unsigned char *data, size_t size, size_t capacity, unsigned seed);
size_t LLVMFuzzerCustomMutator(unsigned char *data, size_t size, size_t capacity, unsigned seed)
{ return change_file(data, size, capacity, seed); }
#endif

#endif

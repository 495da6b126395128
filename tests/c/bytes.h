/* What the tests and fuzzers of files share: bytes that grow, and a custom rule for the networks
 * that are saved. */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fastfa.h"

typedef struct {
    char *data;
    size_t size, capacity;
} bytes;

/* Also the function that fa_save_to calls. A zero follows the bytes. */
static inline int append(void *user, const void *data, size_t size)
{
    bytes *b = user;
    if (b->size + size + 1 > b->capacity)
        b->data = realloc(b->data, b->capacity = 2 * (b->size + size + 32));
    if (size) memcpy(b->data + b->size, data, size);
    b->size += size;
    b->data[b->size] = 0;
    return 0;
}

static inline bool same_bytes(bytes a, bytes b)
{ return a.size == b.size && (!a.size || !memcmp(a.data, b.data, a.size)); }

/* A custom rule whose signal is zeros. */
static inline int silent(void *user, const fa_rule_context *t)
{
    (void)user;
    const size_t size = fa_net_description(t->net)->dtype == FA_F64 ? 8 : 4;
    for (int64_t i = 0; i < t->signal.rows; i++)
        memset((char *)t->signal.data + (size_t)(i * t->signal.ld) * size, 0,
               (size_t)t->signal.cols * size);
    return 0;
}

/* For fa_load_memory: every custom rule of the bytes is silent. */
static inline int give_silent(void *user, fa_rule_desc *rule, int64_t layer, const char *note)
{
    (void)user, (void)layer, (void)note;
    rule->signal = silent;
    return 0;
}

#endif

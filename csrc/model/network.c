/* Creates and frees a network and the memory that it owns. */
#include "model/ops.h"

#include <string.h>

typedef struct fa_owned { /* the 64 bytes in front of each block that a network owns */
    struct fa_owned *next;
    char padding[64 - sizeof(void *)];
} fa_owned;

void *fa_net_alloc(fa_net *net, int64_t n, size_t size)
{
    size_t bytes = sizeof(fa_owned);
    fa_owned *block = fa_add_bytes(&bytes, n, 1, size) ? fa_alloc(bytes) : NULL;
    if (!block) return NULL;
    block->next = net->owned;
    net->owned = block;
    return block + 1;
}

bool fa_net_owns(const fa_net *net, const void *memory)
{
    for (const fa_owned *block = net->owned; block; block = block->next)
        if (block + 1 == memory) return true;
    return false;
}

void fa_net_free(fa_net *net)
{
    if (!net) return;
    for (int slot = 0; slot < FA_SLOTS; slot++) fa_free(atomic_load(&net->idle_work[slot]));
    fa_free(net->shuffled);
    while (net->owned) {
        fa_owned *block = net->owned;
        net->owned = block->next;
        fa_free(block);
    }
    fa_free(net->note);
    fa_lock_destroy(&net->lock);
    fa_free(net);
}

fa_status fa_net_new(fa_net **out, const fa_net_desc *desc, fa_fits *fits, const void *context,
                     bool fresh)
{
    FA_TRY(fa_cpu_check());
    fa_net *net = fa_alloc(sizeof *net);
    if (!net) return fa_fail(FA_E_MEMORY, "out of memory for a network");
    fa_status status = fa_lock_init(&net->lock);
    if (status) {
        fa_free(net);
        return status;
    }
    status = fa_plan_network(net, desc, fits, context, fresh);
    if (status) {
        fa_net_free(net);
        return status;
    }
    atomic_store(&net->suspect, !fresh); /* fa_net_create checks its draws itself */
    *out = net;
    return FA_OK;
}

fa_status fa_copy_note(char **copy, const char *note)
{
    *copy = note ? fa_alloc(strlen(note) + 1) : NULL;
    if (!note) return FA_OK;
    if (!*copy) return fa_fail(FA_E_MEMORY, "out of memory for a note");
    strcpy(*copy, note);
    return FA_OK;
}

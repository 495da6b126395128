/* An allocator for tests that counts, and fails when told to. */
#ifndef FAILING_HEAP_H
#define FAILING_HEAP_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fastfa.h"

static struct {
    int64_t calls, fail_at; /* fail_at 0: never */
    int64_t live_blocks, live_bytes;
    int64_t misaligned;
} heap;

static void *heap_alloc(void *user, size_t size, size_t align)
{
    if (user != &heap || ++heap.calls == heap.fail_at) return NULL;
    void *memory;
    if (posix_memalign(&memory, align, size)) return NULL;
    memset(memory, 0xa5, size); /* nobody may count on zeros */
    heap.misaligned += (uintptr_t)memory % align != 0 || align < 64;
    heap.live_blocks++;
    heap.live_bytes += (int64_t)size;
    return memory;
}

static void heap_release(void *user, void *memory, size_t size)
{
    heap.live_blocks -= user == &heap;
    heap.live_bytes -= (int64_t)size;
    free(memory);
}

static const fa_allocator failing = {heap_alloc, heap_release, &heap};

static void fail_at(int64_t n)
{
    heap.calls = 0;
    heap.fail_at = n;
}

#endif

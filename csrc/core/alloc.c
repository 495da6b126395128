/* All memory of the library: from the program's allocator or the C library's, with a header in
 * front of each block, and counted. */
#include "core/core.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/*   base                block handed out, aligned to 64
 *   | fa_header | ..... |
 * Blocks of 4 MiB and more start on a 2 MiB page, so that the kernel can back them with huge
 * pages. */
typedef struct fa_header {
    void *base;
    size_t size;
} fa_header;

enum { HEADER_BYTES = 64, HUGE_PAGE = 2 << 20 };

static void *libc_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *memory = NULL;
    return posix_memalign(&memory, align, size) ? NULL : memory;
}

static void libc_release(void *user, void *memory, size_t size)
{
    (void)user, (void)size;
    free(memory);
}

static const fa_allocator libc_allocator = {libc_alloc, libc_release, NULL};
static fa_allocator allocator = {libc_alloc, libc_release, NULL};
static atomic_llong live_blocks, live_bytes, allocations;

fa_status fa_set_allocator(const fa_allocator *a)
{
    if (atomic_load(&live_blocks) != 0)
        return fa_fail(
            FA_E_STATE,
            "allocator: expected to be set before the first network, got %lld blocks in use",
            (long long)atomic_load(&live_blocks));
    if (a && (!a->alloc || !a->release))
        return fa_fail(FA_E_VALUE, "allocator: expected both alloc and release, got NULL");
    allocator = a ? *a : libc_allocator;
    return FA_OK;
}

void fa_memory(int64_t *bytes, int64_t *count)
{
    if (bytes) *bytes = atomic_load(&live_bytes);
    if (count) *count = atomic_load(&allocations);
}

void *fa_alloc(size_t size)
{
    if (size > PTRDIFF_MAX / 2) return NULL;
    const bool huge = size >= 2 * (size_t)HUGE_PAGE;
    const size_t total = size + HEADER_BYTES;
    const int cancel = fa_cancel_off();
    char *base = allocator.alloc(allocator.user, total, huge ? HUGE_PAGE : 64);
    fa_cancel_back(cancel);
    if (!base) return NULL;
    if (huge) madvise(base, total, MADV_HUGEPAGE); /* a hint: failing is fine */
    memset(base, 0, total);
    *(fa_header *)base = (fa_header){base, total};
    atomic_fetch_add(&live_blocks, 1);
    atomic_fetch_add(&allocations, 1);
    atomic_fetch_add(&live_bytes, (long long)total);
    return base + HEADER_BYTES;
}

void fa_free(void *memory)
{
    if (!memory) return;
    const fa_header header = *(fa_header *)((char *)memory - HEADER_BYTES);
    atomic_fetch_sub(&live_blocks, 1);
    atomic_fetch_sub(&live_bytes, (long long)header.size);
    const int cancel = fa_cancel_off();
    allocator.release(allocator.user, header.base, header.size);
    fa_cancel_back(cancel);
}

bool fa_add_bytes(size_t *bytes, int64_t a, int64_t b, size_t size)
{
    size_t n;
    if (a < 0 || b < 0) return false;
    if (__builtin_mul_overflow((size_t)a, (size_t)b, &n) || __builtin_mul_overflow(n, size, &n))
        return false;
    if (__builtin_add_overflow(n, 63, &n) || __builtin_add_overflow(*bytes, n & ~(size_t)63, &n))
        return false;
    if (n > PTRDIFF_MAX / 2) return false;
    *bytes = n;
    return true;
}

/* What the fuzzers share: what must hold, the input as a source of decisions, an allocator that
 * fails. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../c/bytes.h"
#include "fastfa.h"

#define UNUSED __attribute__((unused))

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

/* ---- what must hold ---- */

static const char *doing = "starting"; /* for the message */

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: expected %s [last error: %s]\n", __FILE__, __LINE__,       \
                    doing, #condition, fa_last_error());                                           \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- networks ---- */

/* None of a network that is lost: some number of it is not finite. */
static UNUSED bytes saved_bytes(const fa_net *net)
{
    bytes b = {0};
    const fa_status status = fa_save_to(net, append, &b);
    MUST(status == FA_OK || (status == FA_E_NONFINITE && !b.size));
    return b;
}

static UNUSED fa_block_info block_of(const fa_net *net, int64_t b)
{
    fa_block_info info = {.struct_size = sizeof info};
    MUST(fa_net_block(&info, net, b) == FA_OK);
    return info;
}

/* ---- decisions: of the input as long as it lasts, numbers of a generator that it starts ---- */

static const unsigned char *input;
static size_t input_left;
static uint64_t generator;

static UNUSED uint32_t next_byte(void)
{
    if (!input_left) return 0;
    input_left--;
    return *input++;
}

/* 0 .. n - 1; 0 once the input has ended. */
static UNUSED uint32_t take(uint32_t n)
{
    if (n < 2) return 0;
    uint32_t value = next_byte();
    if (n > 256) value = value << 8 | next_byte();
    return value % n;
}
static UNUSED bool once_in(uint32_t n) { return take(n) == n - 1; }

static UNUSED uint32_t random_bits(void)
{
    generator = generator * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(generator >> 33);
}
static UNUSED uint32_t random_below(uint32_t n) { return random_bits() % n; }
static UNUSED double random_unit(void) { return (double)random_bits() / 2147483648.0; }

/* ---- memory: allocation number `at` fails, or that one and all that follow ---- */

typedef struct {
    long at, count; /* at -1: none fails */
    bool for_good;
    size_t live, most;
} memory;
static memory heap = {.at = -1};

static void *fuzz_alloc(void *user, size_t size, size_t align)
{
    memory *m = user;
    const long n = m->at < 0 ? -1 : m->count++;
    void *p = NULL;
    if (n >= 0 && (m->for_good ? n >= m->at : n == m->at)) return NULL;
    if (size > (size_t)1 << 28 || posix_memalign(&p, align, size)) return NULL;
    m->live += size;
    if (m->live > m->most) m->most = m->live;
    return p;
}
static void fuzz_release(void *user, void *p, size_t size)
{
    ((memory *)user)->live -= size;
    free(p);
}

/* Before the first network, once: memory comes from here, and the program reports at its end. */
static UNUSED void start(void (*report)(void))
{
    static bool started;
    const fa_allocator a = {fuzz_alloc, fuzz_release, &heap};
    if (started) return;
    started = true;
    MUST(fa_set_allocator(&a) == FA_OK);
    atexit(report);
}
static UNUSED void fail_allocation(long at, bool for_good)
{ heap.at = at, heap.count = 0, heap.for_good = for_good; }
static UNUSED void allocate_again(void) { heap.at = -1; }

static UNUSED void nothing_is_left(void)
{
    int64_t live;
    fa_memory(&live, NULL);
    MUST(live == 0 && heap.live == 0);
}

#endif

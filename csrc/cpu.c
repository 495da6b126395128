/* Chooses the kernels for this processor, once; FASTFA_CPU overrides. Denormal flushing. */
#include "internal.h"

#include <string.h>
#if defined(__x86_64__) && !defined(FASTFA_PORTABLE)
#define X86
#include <immintrin.h>
#endif

typedef struct fa_isa {
    const char *name;
    const fa_kernels *rows;
    bool (*usable)(void);
    bool (*blas_is_faster)(void); /* than our products; measured with bench/kernels.c */
} fa_isa;

#ifdef X86
static bool never(void) { return false; }
static bool has_v2(void)
{ return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
static bool has_avx(void) { return __builtin_cpu_supports("avx"); }
static bool has_v3(void)
{
    return has_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
static bool has_v4(void)
{
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}
static const fa_isa isas[] = {
    /* best first */
    {"v4", fa_kernels_v4_rows, has_v4, never},
    {"v3", fa_kernels_v3_rows, has_v3, never},
    {"v2", fa_kernels_v2_rows, has_v2, has_avx}, /* BLAS has AVX kernels, ours are SSE */
};
#else
bool fa_l2_is_slow;
static bool always(void) { return true; }
static const fa_isa isas[] = {{"c", fa_kernels_c_rows, always, always}};
#endif
enum { N_ISAS = sizeof isas / sizeof *isas };

static const fa_isa *chosen;
static const char *refused; /* what FASTFA_CPU asked for in vain */
static bool as_written;     /* the compiler kept the arithmetic of the chosen kernels */

static void pick(void)
{
    const char *wish = fa_environment("FASTFA_CPU");
    if (wish && !*wish) wish = NULL;
    refused = wish;
    for (int i = N_ISAS - 1; i >= 0; i--) {
        if (!isas[i].usable()) continue;
        chosen = &isas[i];
        if (wish && !strcmp(wish, isas[i].name)) {
            refused = NULL;
            return;
        }
    }
}

static void choose(void)
{
#ifdef X86
    __builtin_cpu_init();
    pick();
    fa_l2_is_slow = chosen == &isas[0] && __builtin_cpu_is("intel"); /* docs/decisions/013 */
#else
    pick();
#endif
}

static void check_arithmetic(void)
{
    choose();
    as_written =
        chosen && chosen->rows[0].computes_as_written() && chosen->rows[1].computes_as_written();
}

static const fa_isa *isa(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, check_arithmetic);
    return chosen;
}

fa_status fa_cpu_check(void)
{
    if (!isa())
        return fa_fail(FA_E_STATE,
                       "this processor: expected at least x86-64-v2 (SSE4.2), got less");
    if (refused)
        return fa_fail(FA_E_VALUE,
                       "FASTFA_CPU: expected an instruction set of this processor (v2, v3 or v4; "
                       "best here: %s), got '%s'",
                       chosen->name, refused);
    if (!as_written)
        return fa_fail(FA_E_STATE,
                       "this build: expected IEEE 754 arithmetic, got a compiler that was "
                       "told to change results; build without -ffast-math and its parts");
    return FA_OK;
}

const fa_kernels *fa_kernels_for(fa_dtype dtype) { return &isa()->rows[dtype == FA_F64]; }
const char *fa_isa_name(void) { return isa() ? isa()->name : "none"; }
bool fa_isa_prefers_blas(void) { return isa()->blas_is_faster(); }

#ifdef X86
enum { FLUSH = 0x8040 }; /* MXCSR: flush to zero, denormals are zero */
static _Thread_local unsigned callers;
unsigned fa_fp_begin(void)
{
    const unsigned saved = _mm_getcsr();
    callers = saved;
    if ((saved & FLUSH) != FLUSH) _mm_setcsr(saved | FLUSH);
    return saved;
}
void fa_fp_end(unsigned saved)
{
    if ((saved & FLUSH) != FLUSH) _mm_setcsr(saved);
}
unsigned fa_fp_callers(void) { return callers; }
#else
unsigned fa_fp_callers(void) { return 0; }
unsigned fa_fp_begin(void) { return 0; }
void fa_fp_end(unsigned saved) { (void)saved; }
#endif

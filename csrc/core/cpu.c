/* Chooses the kernels for this processor, once; FASTFA_CPU overrides. The floating-point mode of
 * calls. */
#include "core/core.h"

#include <fenv.h> /* not on x86-64 */
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
    FA_FIXED_FP(false); /* sums that are rounded otherwise would look like another compiler's */
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
                       "this build: expected IEEE 754 arithmetic, got results that a "
                       "compiler flag changes; build without -ffast-math and its parts");
    return FA_OK;
}

const fa_kernels *fa_kernels_for(fa_dtype dtype) { return &isa()->rows[dtype == FA_F64]; }
const char *fa_isa_name(void) { return isa() ? isa()->name : "none"; }
bool fa_isa_prefers_blas(void) { return isa()->blas_is_faster(); }

/* ---- floating point ---- */

/* The caller's floating-point mode, kept while the thread is inside a call. */
static _Thread_local struct {
    bool inside;
#ifdef X86
    unsigned sse;        /* MXCSR: rounding, traps, flags and denormals of vectors */
    uint16_t x87, flags; /* the C library prints and reads numbers as this control word rounds */
#else
    fenv_t all;
#endif
} callers;

#ifdef X86
enum {
    EXACT = 0x1f80,    /* to nearest, nothing traps, no flags; */
    FLUSHING = 0x9fc0, /* denormals count as zero, too */
    X87 = 0x37f,       /* to nearest, nothing traps, 64 bits */
    X87_FLAGS = 0x3f,
};

static uint16_t x87_control(void)
{
    uint16_t word;
    __asm__ volatile("fnstcw %0" : "=m"(word));
    return word;
}

static uint16_t x87_flags(void)
{
    uint16_t word;
    __asm__ volatile("fnstsw %0" : "=a"(word));
    return word & X87_FLAGS;
}

static void set_x87_control(uint16_t word) { __asm__ volatile("fldcw %0" : : "m"(word)); }

static void set_x87_flags(uint16_t flags)
{
    uint16_t all[14]; /* the third has the flags */
    __asm__ volatile("fnstenv %0" : "=m"(all));
    all[2] = (uint16_t)((all[2] & ~X87_FLAGS) | flags);
    __asm__ volatile("fldenv %0" : : "m"(all));
}

static void leave_callers(void)
{
    callers.sse = _mm_getcsr();
    callers.x87 = x87_control();
    callers.flags = x87_flags();
    if (callers.x87 != X87) set_x87_control(X87);
}

static void go_back(void)
{
    if (x87_flags() != callers.flags) set_x87_flags(callers.flags);
    if (callers.x87 != X87) set_x87_control(callers.x87);
    _mm_setcsr(callers.sse);
}

static unsigned mode(void) { return _mm_getcsr(); }
static void set_mode(unsigned mode) { _mm_setcsr(mode); }
#else
enum { EXACT = 1, FLUSHING = 1 }; /* denormals are what they are everywhere */
static void leave_callers(void)
{
    fegetenv(&callers.all);
    fesetenv(FE_DFL_ENV);
}
static void go_back(void) { fesetenv(&callers.all); }
static unsigned mode(void) { return EXACT; }
static void set_mode(unsigned mode) { (void)mode; }
#endif

/* Separate functions, so that the compiler moves no arithmetic of the call across the change of
 * mode. */
__attribute__((noinline)) fa_fp fa_fp_begin(bool flush)
{
    const fa_fp fp = {mode(), !callers.inside, flush};
    if (fp.outermost) leave_callers();
    callers.inside = true;
    set_mode(flush ? FLUSHING : EXACT);
    return fp;
}

__attribute__((noinline)) void fa_fp_end(const fa_fp *fp)
{
    callers.inside = !fp->outermost;
    if (!fp->outermost) {
        set_mode(fp->mode);
        return;
    }
    go_back();
    /* After a call that trained or predicted: nothing is held any more, and the handlers of a
     * thread that is cancelled find its own mode. */
    if (fp->flush) pthread_testcancel();
}

__attribute__((noinline)) unsigned fa_fp_pause(void)
{
    if (!callers.inside) return 0;
    const unsigned ours = mode();
    callers.inside = false;
    go_back();
    return ours;
}

__attribute__((noinline)) void fa_fp_resume(unsigned ours)
{
    if (!ours) return;
    leave_callers();
    callers.inside = true;
    set_mode(ours);
}

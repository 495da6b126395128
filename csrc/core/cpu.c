/* Chooses the kernels for this processor, once, unless FASTFA_CPU names others; and sets the
 * floating-point mode of calls. */
#include "core/core.h"
#include "kernels/bf16.h"

#include <fenv.h> /* not on x86-64 */
#include <string.h>
#if defined(__x86_64__) && !defined(FASTFA_PORTABLE)
#define X86
#include <immintrin.h>
#ifdef FA_BF16_KERNELS
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && !defined(FASTFA_PORTABLE)
#define ARM
#endif

typedef struct fa_isa {
    const char *name;
    const fa_kernels *rows;
    bool (*usable)(void);
    bool (*blas_is_faster)(void); /* than our products; measured with bench/micro/kernels.c */
    const fa_bf16_kernels *bf16;  /* NULL: none */
    const char *kernels;          /* whose kernels `rows` are, where they have another name */
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
#ifdef FA_BF16_KERNELS
/* By numbers, because compilers without these names are in use. Leaf 7.1 eax, 7.0 edx */
static bool has_bit(unsigned leaf, bool edx, int bit)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, leaf, &a, &b, &c, &d) && ((edx ? d : a) >> bit & 1);
}
static bool has_bf16(void) { return has_v4() && has_bit(1, false, 5); }
/* Asks the system about its rights to registers of AMX: a request is for the whole process, and its
 * threads and children inherit it. */
static bool system_allows(int request, uintptr_t argument)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    return syscall(SYS_arch_prctl, request, argument) == 0;
#else
    (void)request, (void)argument;
    return false;
#endif
}
enum { GET_SUPPORTED = 0x1021, REQUEST = 0x1023, TILE_DATA = 18 };
static bool has_amx(void)
{
    unsigned long features = 0;
    return has_bf16() && has_bit(0, true, 22) && has_bit(0, true, 24) &&
           system_allows(GET_SUPPORTED, (uintptr_t)&features) && features >> TILE_DATA & 1;
}
#endif
static const fa_isa isas[] = {
/* best first */
#ifdef FA_BF16_KERNELS
    {"amx", fa_kernels_v4_rows, has_amx, never, &fa_bf16_amx, "v4"},
    {"bf16", fa_kernels_v4_rows, has_bf16, never, &fa_bf16_vdpbf16ps, "v4"},
#endif
    {"v4", fa_kernels_v4_rows, has_v4, never, NULL, NULL},
    {"v3", fa_kernels_v3_rows, has_v3, never, NULL, NULL},
    {"v2", fa_kernels_v2_rows, has_v2, has_avx, NULL, NULL}, /* BLAS has AVX, ours are SSE */
};
#elif defined(ARM)
bool fa_l2_is_slow;
static bool always(void) { return true; }
static bool never(void) { return false; }
static const fa_isa isas[] = {{"neon", fa_kernels_neon_rows, always, never, NULL, NULL}};
#else
bool fa_l2_is_slow;
static bool always(void) { return true; }
static const fa_isa isas[] = {{"c", fa_kernels_c_rows, always, always, NULL, NULL}};
#endif
enum { N_ISAS = sizeof isas / sizeof *isas };

static const fa_isa *chosen;
static const char *refused; /* a value of FASTFA_CPU that this processor cannot run, or NULL */
static bool as_written;     /* no compiler flag changed the arithmetic of the kernels */

static void select_isa(void)
{
    const char *requested = fa_environment("FASTFA_CPU");
    if (requested && !*requested) requested = NULL;
    refused = requested;
    for (int i = N_ISAS - 1; i >= 0; i--) {
        if (!isas[i].usable()) continue;
        chosen = &isas[i];
        if (requested && !strcmp(requested, isas[i].name)) {
            refused = NULL;
            return;
        }
    }
}

static void choose(void)
{
#ifdef X86
    __builtin_cpu_init();
    select_isa();
    fa_l2_is_slow = chosen && chosen->rows == fa_kernels_v4_rows &&
                    __builtin_cpu_is("intel"); /* docs/decisions/013 */
#else
    select_isa();
#endif
}

static void check_arithmetic(void)
{
    FA_FIXED_FP(false); /* another rounding mode would look like a wrong compiler flag */
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
        return fa_fail(
            FA_E_VALUE,
            "FASTFA_CPU: expected an instruction set of this processor (v2, v3, v4, bf16 or amx, "
            "or neon; best here: %s), got '%s'",
            chosen->name, refused);
    if (!as_written)
        return fa_fail(FA_E_STATE,
                       "this build: expected IEEE 754 arithmetic, got results that a "
                       "compiler flag changes; build without -ffast-math and its parts");
    return FA_OK;
}

const fa_kernels *fa_kernels_for(fa_dtype dtype) { return &isa()->rows[dtype == FA_F64]; }
bool fa_isa_prefers_blas(void) { return isa()->blas_is_faster(); }

/* Programs that need no products in bfloat16 do not ask for AMX. */
static const fa_bf16_kernels *bf16;
static void choose_bf16(void)
{
    bf16 = isa()->bf16;
#ifdef FA_BF16_KERNELS
    const bool amx = bf16 == &fa_bf16_amx;
    if (amx && !system_allows(REQUEST, TILE_DATA)) bf16 = &fa_bf16_vdpbf16ps;
#endif
}

const fa_bf16_kernels *fa_cpu_bf16(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose_bf16);
    return bf16;
}

const char *fa_isa_name(void)
{
    if (!isa()) return "none";
    return isa()->kernels ? isa()->kernels : isa()->name;
}

/* ---- floating point ---- */

/* The floating-point mode of the calling program, while the thread is inside a call. */
static _Thread_local struct {
    bool inside;
#ifdef X86
    unsigned sse; /* MXCSR: rounding, traps, flags and denormals of vectors */
    /* x87: the control word by which the C library rounds when it prints and reads numbers */
    uint16_t x87, flags;
#else
    fenv_t all;
#endif
} program_mode;

#ifdef X86
enum {
    EXACT = 0x1f80,    /* to nearest, nothing traps, no flags */
    FLUSHING = 0x9fc0, /* the same, and denormals count as zero */
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

static void leave_program_mode(void)
{
    program_mode.sse = _mm_getcsr();
    program_mode.x87 = x87_control();
    program_mode.flags = x87_flags();
    if (program_mode.x87 != X87) set_x87_control(X87);
}

static void restore_program_mode(void)
{
    if (x87_flags() != program_mode.flags) set_x87_flags(program_mode.flags);
    if (program_mode.x87 != X87) set_x87_control(program_mode.x87);
    _mm_setcsr(program_mode.sse);
}

static unsigned mode(void) { return _mm_getcsr(); }
static void set_mode(unsigned mode) { _mm_setcsr(mode); }
#elif defined(ARM)
enum {
    EXACT = 1 << 30,            /* a bit that FPCR has not: a mode is never 0 */
    FLUSHING = EXACT | 1 << 24, /* FZ: denormals count as zero, before rounding */
};

static unsigned mode(void)
{
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return (unsigned)control | EXACT;
}

static void set_mode(unsigned mode)
{
    const uint64_t control = mode & ~(unsigned)EXACT;
    __asm__ volatile("msr fpcr, %0" : : "r"(control));
}
#else
enum { EXACT = 1, FLUSHING = 1 }; /* here nothing flushes denormals */
static unsigned mode(void) { return EXACT; }
static void set_mode(unsigned mode) { (void)mode; }
#endif
#ifndef X86
static void leave_program_mode(void)
{
    fegetenv(&program_mode.all);
    fesetenv(FE_DFL_ENV);
}
static void restore_program_mode(void) { fesetenv(&program_mode.all); }
#endif

/* Not inlined, so that the compiler moves no arithmetic across the change of mode. */
__attribute__((noinline)) fa_fp fa_fp_begin(bool flush)
{
    const fa_fp fp = {mode(), !program_mode.inside, flush};
    if (fp.outermost) leave_program_mode();
    program_mode.inside = true;
    set_mode(flush ? FLUSHING : EXACT);
    return fp;
}

__attribute__((noinline)) void fa_fp_end(const fa_fp *fp)
{
    program_mode.inside = !fp->outermost;
    if (!fp->outermost) {
        set_mode(fp->mode);
        return;
    }
    restore_program_mode();
    /* A call that trained or predicted holds nothing any more: a cancelled thread may end here, and
     * its cleanup handlers run in the program's mode. */
    if (fp->flush) pthread_testcancel();
}

__attribute__((noinline)) unsigned fa_fp_pause(void)
{
    if (!program_mode.inside) return 0;
    const unsigned ours = mode();
    program_mode.inside = false;
    restore_program_mode();
    return ours;
}

__attribute__((noinline)) void fa_fp_resume(unsigned ours)
{
    if (!ours) return;
    leave_program_mode();
    program_mode.inside = true;
    set_mode(ours);
}

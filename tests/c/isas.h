/* Helpers for tests of elementwise kernels: the instruction sets of this machine, checks, data of
 * both types. */
#ifndef ISAS_H
#define ISAS_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "quick.h"

#define UNUSED __attribute__((unused))

enum { FLOAT, DOUBLE }; /* rows of a kernel table */
enum { BLOCK = 4096, GUARD = 0x5a };

typedef struct {
    const char *name;
    const fa_kernels *rows;
    bool fused; /* has a fused multiply-add */
} isa;

static isa isas[3];
static int n_isas, n_passed, n_failed;

static const size_t size_of[] = {sizeof(float), sizeof(double)};
static const char *const type_name[] = {"float", "double"};

static void find_isas(void)
{
#ifdef FA_X86
    __builtin_cpu_init();
    isas[n_isas++] = (isa){"v2", fa_kernels_v2_rows, false};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        isas[n_isas++] = (isa){"v3", fa_kernels_v3_rows, true};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        isas[n_isas++] = (isa){"v4", fa_kernels_v4_rows, true};
#elif defined(__aarch64__)
    isas[n_isas++] = (isa){"neon", fa_kernels_neon_rows, true};
    isas[n_isas++] = (isa){"c", fa_kernels_c_rows, false};
#else
    isas[n_isas++] = (isa){"c", fa_kernels_c_rows, false};
#endif
}

/* One check: a line saying what was checked, and what was measured. */
static void check(bool ok, const char *isa_name, int type, const char *what, double measured)
{
    printf("%s  %-2s %-6s %s (%.3g)\n", ok ? "ok  " : "FAIL", isa_name, type_name[type], what,
           measured);
    if (ok)
        n_passed++;
    else
        n_failed++;
}

UNUSED static double get(int type, const void *p, int64_t i)
{ return type == FLOAT ? (double)((const float *)p)[i] : ((const double *)p)[i]; }

static void set(int type, void *p, int64_t i, double x)
{
    if (type == FLOAT)
        ((float *)p)[i] = (float)x;
    else
        ((double *)p)[i] = x;
}

/* The larger of two errors; NaN counts as infinite. */
static double larger(double a, double b) { return b <= a ? a : isnan(b) ? INFINITY : b; }

/* A multiplicative generator is random enough for test data. */
static uint64_t random_bits(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state ^ (state >> 29);
}

static double uniform(double low, double high)
{ return low + (high - low) * (double)(random_bits() >> 11) * 0x1p-53; }

static void fill(int type, void *p, int64_t n, double low, double high)
{
    for (int64_t i = 0; i < n; i++) set(type, p, i, uniform(low, high));
}

/* Whether bytes still are what guards were filled with. */
UNUSED static bool untouched(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != GUARD) return false;
    return true;
}

/* What kernels are held against: F is double (S empty) for floats, long double (S l) for doubles */
#define FUNCTIONS(F, S)                                                                            \
    UNUSED static F sigmoid##S(F x) { return 1 / (1 + exp##S(-x)); }                               \
    UNUSED static F softplus##S(F x) { return fmax##S(x, 0) + log1p##S(exp##S(-fabs##S(x))); }
FUNCTIONS(double, )
FUNCTIONS(long double, l)
#undef FUNCTIONS

#endif

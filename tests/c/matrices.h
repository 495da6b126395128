/* Helpers for tests of products and of row kernels: matrices in the middle of memory that must not
 * be touched, checks, and every instruction set that is here.
 *
 * Inputs depend on the case alone, so the digest of all outputs must be the same for v3 and v4.
 * Prints a line per check and "N passed, M failed"; not zero if any failed. */
#ifndef MATRICES_H
#define MATRICES_H

#include "kernels.h"
#include "quick.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNUSED __attribute__((unused))

#pragma weak fa_kernels_c_rows
#pragma weak fa_kernels_neon_rows
#pragma weak fa_kernels_v2_rows
#pragma weak fa_kernels_v3_rows
#pragma weak fa_kernels_v4_rows

enum { F32, F64, MARGIN = 32 };

/* What is being tested */
static const fa_kernels *kernels;
static const char *isa;
static int type;
static bool fused;
static uint64_t digest;

static int passed, failed, problems;

/* ---- numbers and matrices ---- */

static uint64_t state;

/* In (-1, 1), the same sequence for both types */
static double draw(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(state >> 11) / 4503599627370496.0 - 1;
}

static size_t size(void) { return type == F32 ? 4 : 8; }
UNUSED static double epsilon(void) { return type == F32 ? FLT_EPSILON : DBL_EPSILON; }
UNUSED static double rounded(double x) { return type == F32 ? (double)(float)x : x; }

/* sum + a * b as the instruction set computes it */
UNUSED static double multiply_add(double a, double b, double sum)
{
    if (type == F64) return fused ? fma(a, b, sum) : a * b + sum;
    if (fused) return (double)fmaf((float)a, (float)b, (float)sum);
    const float product = (float)a * (float)b;
    return (double)(product + (float)sum);
}

/* A matrix in the middle of memory that must not be touched */
typedef struct {
    char *memory;
    void *p;
    int64_t rows, cols, ld;
} matrix;

static const double guard = -12345.5;

UNUSED static double *slot64(const matrix *a, int64_t i, int64_t j)
{ return (double *)a->p + i * a->ld + j; }
UNUSED static float *slot32(const matrix *a, int64_t i, int64_t j)
{ return (float *)a->p + i * a->ld + j; }
static double at(const matrix *a, int64_t i, int64_t j)
{ return type == F32 ? (double)*slot32(a, i, j) : *slot64(a, i, j); }
static void put(const matrix *a, int64_t i, int64_t j, double x)
{
    if (type == F32)
        *slot32(a, i, j) = (float)x;
    else
        *slot64(a, i, j) = x;
}
UNUSED static void *address(const matrix *a, int64_t i, int64_t j)
{ return (char *)a->p + (size_t)(i * a->ld + j) * size(); }

static size_t elements(const matrix *a) { return (size_t)(a->rows * a->ld) + 2 * MARGIN; }

static matrix empty(int64_t rows, int64_t cols, int64_t gap)
{
    matrix a = {NULL, NULL, rows, cols, cols + gap};
    a.memory = malloc(elements(&a) * size());
    if (!a.memory) abort();
    a.p = a.memory;
    for (size_t i = 0; i < elements(&a); i++) put(&a, 0, (int64_t)i, guard);
    a.p = a.memory + MARGIN * size();
    return a;
}

/* The same in memory that begins and ends with it: sanitizers see who reads beyond. */
UNUSED static matrix bare(matrix a)
{
    const int64_t all = a.rows && a.cols ? (a.rows - 1) * a.ld + a.cols : 0;
    char *const memory = malloc((size_t)all * size());
    if (all && !memory) abort();
    if (all) memcpy(memory, a.p, (size_t)all * size());
    free(a.memory);
    a.p = a.memory = memory;
    return a;
}

UNUSED static void fill(const matrix *a, double x)
{
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t j = 0; j < a->cols; j++) put(a, i, j, x);
}

static matrix drawn(int64_t rows, int64_t cols, int64_t gap)
{
    matrix a = empty(rows, cols, gap);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) put(&a, i, j, draw());
    return a;
}

UNUSED static matrix copy(const matrix *a)
{
    matrix b = empty(a->rows, a->cols, a->ld - a->cols);
    memcpy(b.memory, a->memory, elements(a) * size());
    return b;
}

UNUSED static bool same(const matrix *a, const matrix *b)
{ return !memcmp(a->memory, b->memory, elements(a) * size()); }

/* ---- verdicts ---- */

static void problem(const char *what, int64_t i, int64_t j, double got, double expected)
{
    if (problems++ < 3)
        printf("     %s %s: %s: entry (%ld, %ld): got %.17g, expected %.17g\n", isa,
               type ? "double" : "float", what, (long)i, (long)j, got, expected);
}

UNUSED static void close_to(const char *what, int64_t i, int64_t j, double got, double expected,
                            double tolerance)
{
    if (!(fabs(got - expected) <= tolerance)) problem(what, i, j, got, expected);
}

UNUSED static void equal(const char *what, int64_t i, int64_t j, double got, double expected)
{
    if (got != expected) problem(what, i, j, got, expected);
}

/* Nothing outside the matrix was written; adds the inside to the digest; frees. */
static void finish_output(matrix *a)
{
    matrix all = *a;
    all.p = a->memory;
    for (int64_t e = 0; e < (int64_t)elements(a); e++) {
        const int64_t inside = e - MARGIN, i = a->ld ? inside / a->ld : 0,
                      j = a->ld ? inside % a->ld : 0;
        const double x = at(&all, 0, e);
        if (inside < 0 || i >= a->rows || j >= a->cols) {
            if (x != guard) problem("write outside", i, j, x, guard);
        } else {
            uint64_t bits;
            memcpy(&bits, &x, sizeof bits);
            digest = (digest ^ bits) * 1099511628211u;
        }
    }
    free(a->memory);
}

static void verdict(const char *check)
{
    printf("%-4s %-2s %-6s %s\n", problems ? "FAIL" : "ok", isa, type ? "double" : "float", check);
    if (problems)
        failed++;
    else
        passed++;
    problems = 0;
}

/* ---- every instruction set ---- */

typedef struct {
    const char *name;
    const fa_kernels *rows;
    bool supported, fused;
    uint64_t digest[2];
} flavour;

static void test_flavour(flavour *f, void (*test)(void))
{
    isa = f->name, fused = f->fused;
    for (type = F32; type <= F64; type++) {
        kernels = &f->rows[type];
        state = 2026, digest = 14695981039346656037u;
        test();
        f->digest[type] = digest;
    }
}

/* Runs `test` for both types on every instruction set; what main returns. */
static int on_every_flavour(void (*test)(void))
{
#ifdef __x86_64__
    const bool v2 = __builtin_cpu_supports("sse4.2"),
               v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
    const bool v2 = false, v3 = false, v4 = false;
#endif
    enum { V3 = 3, V4, N };
    flavour flavours[N] = {
        {"c", fa_kernels_c_rows, true, false, {0, 0}},
        {"neon", fa_kernels_neon_rows, true, true, {0, 0}},
        {"v2", fa_kernels_v2_rows, v2, false, {0, 0}},
        {"v3", fa_kernels_v3_rows, v3, true, {0, 0}},
        {"v4", fa_kernels_v4_rows, v4, true, {0, 0}},
    };
    for (int i = 0; i < N; i++)
        if (flavours[i].rows && flavours[i].supported)
            test_flavour(&flavours[i], test);
        else
            printf("--   %-2s not in this build or not on this CPU\n", flavours[i].name);
    if (flavours[V3].digest[0] && flavours[V4].digest[0])
        for (type = F32; type <= F64; type++) {
            isa = "v3";
            if (flavours[V3].digest[type] != flavours[V4].digest[type])
                problem("digest against v4", 0, 0, 0, 1);
            verdict("every output above has the same bits as on v4");
        }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

#endif

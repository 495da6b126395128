/* The rate of fused multiply-adds that no program can pass: PEAK(name, instruction set, vector,
 * set1, step, lanes) defines double name(double seconds), in GF/s, the best round in that time. */
#ifndef FA_BENCH_PEAK_H
#define FA_BENCH_PEAK_H

#include "times.h"
#ifdef __x86_64__
#include <immintrin.h>
#endif

/* Twelve independent chains of x = x * a + b; the statement keeps the compiler from merging
 * rounds. */
#define PEAK(name, isa, V, set1, step, lanes)                                                      \
    __attribute__((target(isa), unused)) static double name(double seconds)                        \
    {                                                                                              \
        enum { CHAINS = 12, ROUNDS = 20000 };                                                      \
        V x[CHAINS], a = set1(0.5), b = set1(1.0);                                                 \
        for (int i = 0; i < CHAINS; i++) x[i] = set1((double)i);                                   \
        double best = 0, end = now() + seconds;                                                    \
        do {                                                                                       \
            const double start = now();                                                            \
            for (int r = 0; r < ROUNDS; r++) {                                                     \
                _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) x[i] = step(x[i], a, b); \
                __asm__ volatile("" : "+v"(a), "+v"(b));                                           \
            }                                                                                      \
            const double rate = 2e-9 * CHAINS * ROUNDS * lanes / (now() - start);                  \
            if (rate > best) best = rate;                                                          \
            for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : "+v"(x[i]));                    \
        } while (now() < end);                                                                     \
        return best;                                                                               \
    }

#ifdef __x86_64__
PEAK(peak_v4_f32, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps, 16)
PEAK(peak_v3_f32, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps, 8)
#endif

#endif

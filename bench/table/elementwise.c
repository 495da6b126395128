/* exp, tanh and sigmoid of floats in cache, in ns an element: medians of many short turns.
 *
 * Compiled once an instruction set, with -DFA_ISA=4 -DFA_FLAVOUR=v4 and the flags of its kernels;
 * the functions are those inside the library's activations and losses. */

#include "flavour.h"
#include "../times.h"

#include <stdio.h>
#include <stdlib.h>

enum { N = 32768, TURNS = 401 };
static float a[N], h[N];

#define FN(name) FA_PASTE3(name, _f32_, FA_FLAVOUR)
#define MAP(name)                                                                                  \
    FA_INLINE vf32 name##_of(vf32 a, vf32 p) { return (void)p, FN(name)(a); }                      \
    static void name##_map(void) { FN(map)(h, N, a, N, 1, N, (vf32){0}, name##_of); }
MAP(exp)
MAP(tanh)
MAP(sigmoid)

static double ns_an_element(void (*map)(void))
{
    double times[TURNS];
    for (int i = 0; i < TURNS; i++) {
        const double start = now();
        map();
        __asm__ volatile("" : : "r"(h) : "memory");
        times[i] = (now() - start) * 1e9 / N;
    }
    return quantile(times, TURNS, 0.5);
}

int main(void)
{
    for (int i = 0; i < N; i++) a[i] = (float)rand() / (float)RAND_MAX * 8 - 4;
    printf("%.4f %.4f %.4f\n", ns_an_element(exp_map), ns_an_element(tanh_map),
           ns_an_element(sigmoid_map));
    return 0;
}

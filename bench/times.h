/* What the C benchmarks share: seconds, and an order statistic of many of them. */
#ifndef FA_BENCH_TIMES_H
#define FA_BENCH_TIMES_H

#include <stdlib.h>
#include <time.h>

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What a share of the n values stays below, 0.5 for the median; sorts them. */
static inline double quantile(double *values, int n, double share)
{
    qsort(values, (size_t)n, sizeof *values, by_size);
    return values[(int)(share * n)];
}

#endif

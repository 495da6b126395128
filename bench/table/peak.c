/* FMA peak of several threads at a time, float32, in GF/s:   peak THREADS SECONDS
 *
 * All threads run the loop of peak.h over the same time; it prints the sum of their best rounds. */
#define _GNU_SOURCE
#include "../peak.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_THREADS = 64 };
static double seconds;
static pthread_barrier_t together;

static void *run(void *rate)
{
    pthread_barrier_wait(&together);
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        *(double *)rate = peak_v4_f32(seconds);
    else if (__builtin_cpu_supports("fma"))
        *(double *)rate = peak_v3_f32(seconds);
#endif
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    const int n = atoi(argv[1]);
    double rates[MAX_THREADS] = {0}, sum = 0;
    pthread_t threads[MAX_THREADS];
    if (n < 1 || n > MAX_THREADS) return 2;
    seconds = atof(argv[2]);
    pthread_barrier_init(&together, NULL, (unsigned)n);
    for (int i = 1; i < n; i++)
        if (pthread_create(&threads[i], NULL, run, &rates[i])) return 1;
    run(&rates[0]);
    for (int i = 1; i < n; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < n; i++) sum += rates[i];
    printf("%.2f\n", sum);
    return 0;
}

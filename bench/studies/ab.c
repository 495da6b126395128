/* The gain of two choices of the engine: threads have columns of large layers instead of rows of
 * the batch (csrc/engine/step_by_columns.c), and products pack for a slow L2 (fa_l2_is_slow,
 * csrc/kernels/gemm_packed.inc).
 *
 *   ab [seconds a turn [turns]]     default 0.05, 9
 *
 * Two equal networks take turns, one without the choice and one with it. The program prints the
 * medians of their steps, the median over turns of the ratio, and the time in which a word goes
 * from one core to the other and back: that time changes on virtual machines, and so does
 * the possible gain. A network that is divided by rows both times shows the noise. The first
 * line is the time of the pool to share a job and to see its end.
 *
 *   tests/c/run.sh --plain bench/studies/ab.c */
#include "api/api.h"
#include "../times.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_TURNS = 99, MOST_STEPS = 100000, TRIPS = 20000 };

static void must(fa_status status)
{
    if (status == FA_OK) return;
    fprintf(stderr, "%s\n", fa_last_error());
    exit(1);
}

/* ---- a word from core to core ---- */

static _Alignas(128) atomic_int there;
static _Alignas(128) atomic_int back;

static void *answer(void *unused)
{
    for (int i = 1; i <= TRIPS; i++) {
        while (atomic_load_explicit(&there, memory_order_acquire) != i) {}
        atomic_store_explicit(&back, i, memory_order_release);
    }
    return unused;
}

/* Nanoseconds of a trip and back. */
static double trip(void)
{
    pthread_t thread;
    atomic_store(&there, 0), atomic_store(&back, 0);
    if (pthread_create(&thread, NULL, answer, NULL)) return 0;
    double start = 0;
    for (int i = 1; i <= TRIPS; i++) {
        atomic_store_explicit(&there, i, memory_order_release);
        while (atomic_load_explicit(&back, memory_order_acquire) != i) {}
        if (i == TRIPS / 2) start = fa_seconds(); /* both are awake by now */
    }
    const double seconds = fa_seconds() - start;
    pthread_join(thread, NULL);
    return 1e9 * seconds / (TRIPS / 2);
}

/* ---- what a job of the pool costs ---- */

/* Some microseconds of work that nobody else has a part in. */
static void chain_task(void *context, int64_t task, int worker)
{
    (void)worker;
    double x = 1 + (double)task;
    for (int i = 0; i < *(const int *)context; i++) x = 0.5 * x + 1;
    if (x == 0) abort(); /* it is not: the chain has to be computed */
}

/* A hundred jobs on one thread and a hundred on two take turns. */
static void show_jobs(void)
{
    static double times[2][TRIPS];
    for (int repeat = 0; repeat < 3; repeat++) {
        int length = 2000;
        const double before = trip();
        for (int i = 0; i < 2 * TRIPS; i++) {
            const int n = 1 + i / 100 % 2;
            const double start = fa_seconds();
            fa_parallel_for(n, n, chain_task, &length);
            times[n - 1][i / 200 * 100 + i % 100] = 1e9 * (fa_seconds() - start);
        }
        const double alone = quantile(times[0], TRIPS, 0.5), both = quantile(times[1], TRIPS, 0.5);
        printf("two tasks on two threads take %4.0f ns more than one of them (%4.0f); trips %4.0f "
               "%4.0f\n",
               both - alone, alone, before, trip());
    }
}

/* ---- steps ---- */

static const struct {
    int widths[6], n, batch;
} cases[] = {
    {{784, 512, 10}, 3, 32},
    {{784, 512, 512, 10}, 4, 8},
    {{784, 512, 512, 10}, 4, 32},
    {{256, 1024, 1024, 10}, 4, 32},
    {{784, 512, 512, 10}, 4, 128},
    {{784, 1000, 1000, 10}, 4, 128},
    {{784, 1024, 1024, 1024, 1024, 10}, 6, 256},
    {{64, 128, 128, 10}, 4, 32},
};

static fa_net *network(int c, const char *rule_name, int threads)
{
    fa_layer_desc layers[5];
    const int n = cases[c].n;
    for (int i = 1; i < n; i++)
        layers[i - 1] = fa_dense(cases[c].widths[i], i < n - 1 ? "relu" : "linear");
    const fa_rule_desc rule = fa_rule_of(rule_name);
    const fa_optimizer_desc sgd = fa_optimizer_of("sgd", 1e-3);
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = cases[c].widths[0], desc.layers = layers, desc.n_layers = n - 1;
    desc.rule = &rule, desc.optimizer = &sgd, desc.n_threads = threads;
    fa_net *net;
    must(fa_net_create(&net, &desc));
    return net;
}

/* The median microseconds of a step in runs of `seconds`. */
static double turn(fa_net *net, const fa_samples *s, double seconds)
{
    static double steps[MOST_STEPS];
    int n = 0;
    for (const double end = fa_seconds() + seconds;
         n < MOST_STEPS && (n < 3 || fa_seconds() < end);) {
        double loss;
        const double start = fa_seconds();
        must(fa_train_batch(&loss, net, s));
        steps[n++] = 1e6 * (fa_seconds() - start);
    }
    return quantile(steps, n, 0.5);
}

typedef enum { COLUMNS, PACKING } choice;

static void compare(choice what, int threads, int c, const char *rule, double seconds, int turns)
{
    const bool here = fa_l2_is_slow;
    const int64_t m = cases[c].batch, n_in = cases[c].widths[0];
    float *x = malloc((size_t)(m * n_in) * sizeof *x);
    int64_t *labels = malloc((size_t)m * sizeof *labels);
    if (!x || !labels) exit(1);
    for (int64_t i = 0; i < m * n_in; i++) x[i] = (float)(i * 31 % 64) / 64;
    for (int64_t i = 0; i < m; i++) labels[i] = i % 10;
    fa_samples s = fa_samples_of(x, n_in, FA_F32, m);
    s.labels = labels;
    fa_net *nets[2] = {network(c, rule, threads), network(c, rule, threads)};
    if (what == COLUMNS) nets[0]->n_weights = 0; /* too few to go by columns */

    double times[2][MOST_TURNS], ratios[MOST_TURNS];
    const double before = trip();
    for (int t = -1; t < turns; t++) { /* the first warms up */
        double step[2];
        for (int with = 0; with < 2; with++) {
            if (what == PACKING) fa_l2_is_slow = with;
            step[with] = turn(nets[with], &s, seconds);
        }
        if (t >= 0) times[0][t] = step[0], times[1][t] = step[1], ratios[t] = step[1] / step[0];
    }
    char name[64];
    int at = 0;
    for (int i = 0; i < cases[c].n; i++)
        at += snprintf(name + at, sizeof name - (size_t)at, i ? "-%d" : "%d", cases[c].widths[i]);
    const bool chosen =
        what == PACKING || fa_by_columns(&(fa_run){.net = nets[1], .m = m}, threads);
    printf("%-30s %4d  %-8s %10.1f %10.1f  %6.3f%s  %4.0f %4.0f\n", name, cases[c].batch, rule,
           quantile(times[0], turns, 0.5), quantile(times[1], turns, 0.5),
           quantile(ratios, turns, 0.5), chosen ? " " : "*", before, trip());
    fflush(stdout);
    fa_l2_is_slow = here;
    for (int i = 0; i < 2; i++) fa_net_free(nets[i]);
    free(x), free(labels);
}

int main(int argc, char **argv)
{
    const double seconds = argc > 1 ? atof(argv[1]) : 0.05;
    int turns = argc > 2 ? atoi(argv[2]) : 9;
    if (turns < 1 || turns > MOST_TURNS) turns = 9;
    puts(fa_build_info());
    printf("here L2 is %s\n\n", fa_l2_is_slow ? "slow" : "not slow");
    show_jobs();
    for (int i = 0; i < 3; i++) {
        const int threads = i == 1 ? 1 : 2;
        printf("\n%d threads; us a step, ns there and back\n%-30s %4s  %-8s %10s %10s  %6s   %s\n",
               threads, "network", "rows", "rule", i ? "plain" : "by rows",
               i ? "packing" : "by columns", "ratio", "trips");
        for (int c = 0; c < (int)(sizeof cases / sizeof *cases); c++)
            for (int r = 0; r < 2; r++)
                compare(i ? PACKING : COLUMNS, threads, c, r ? "dfa" : "backprop", seconds, turns);
        if (!i) puts("* by rows both times");
    }
    return 0;
}

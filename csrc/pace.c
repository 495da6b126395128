/* How many threads a network's calls run on where it names no number.
 *
 * What a second thread gains depends on more than the size: how long a cache line takes from one core to the other,
 * which on a virtual machine changes by ten times from one second to the next, and whether the other core is
 * free. So training looks: now and then it takes a few steps on one thread and a few on all of them, and goes on
 * with the faster. Results are the same bits on any number, so nobody can tell but by the time. */
#include "internal.h"

#include <time.h>

enum { WARM_UP = 5, PERIOD = 1024 };
static const double multiply_adds_to_share = 3e5; /* fewer: not worth the fastest hand-over */
static const double multiply_adds_to_try = 5e8;   /* more: worth the slowest */
static const double gain_to_share = 0.95;

double fa_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double work_of(const fa_net *net, int64_t rows) { return net->work_per_row * (double)rows; }

int fa_run_threads(const fa_net *net, int64_t rows)
{
    if (net->n_threads) return net->n_threads;
    return work_of(net, rows) < multiply_adds_to_share ? 1 : fa_get_num_threads();
}

/* The median step of a trial; in the first ones threads wake up and weights move to their caches. */
static double median(const double *trial)
{
    double sorted[FA_TUNER_TRIAL - WARM_UP];
    int n = 0;
    for (int i = WARM_UP; i < FA_TUNER_TRIAL; i++) {
        int place = n++;
        for (; place > 0 && sorted[place - 1] > trial[i]; place--)
            sorted[place] = sorted[place - 1];
        sorted[place] = trial[i];
    }
    return sorted[n / 2];
}

fa_status fa_tuner_step(fa_run *run, int threads, fa_status (*step)(fa_run *run, int threads))
{
    fa_net *net = (fa_net *)run->net; /* the caller holds its write lock */
    fa_tuner *pace = &net->tuner;
    if (net->n_threads || threads < 2 || work_of(net, run->m) > multiply_adds_to_try)
        return step(run, threads);
    const int i = pace->step;
    pace->step = (i + 1) % PERIOD;
    if (i >= 2 * FA_TUNER_TRIAL) return step(run, pace->shared ? threads : 1);
    const double begin = fa_seconds();
    const fa_status status = step(run, i < FA_TUNER_TRIAL ? 1 : threads);
    pace->seconds[i] = (fa_seconds() - begin) / (double)run->m;
    if (i == 2 * FA_TUNER_TRIAL - 1)
        pace->shared =
            median(pace->seconds + FA_TUNER_TRIAL) < gain_to_share * median(pace->seconds);
    return status;
}

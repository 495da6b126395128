/* The thread tuner: the number of threads for a step, if the network does not set one.
 *
 * The gain of a second thread depends on more than the size of the step: on the time that a cache
 * line takes from one core to another, which on a virtual machine changes tenfold from one second
 * to the next, and on the load of the other core. So training measures: now and then it runs a few
 * steps on one thread and a few on all, and continues with the faster number. Results have the same
 * bits on any number of threads.
 *
 * The tuner answers and records: step.c asks it for the number of threads, times the step if the
 * tuner is measuring, and reports the time. */
#include "engine/step.h"

enum { WARM_UP = 5, PERIOD = 1024 };
static const double multiply_adds_to_share =
    3e5; /* below this, no synchronisation is fast enough */
static const double multiply_adds_to_try =
    5e8; /* above this, threads pay even where synchronisation is slowest */
static const double gain_to_share = 0.95;

static double work_of(const fa_net *net, int64_t rows) { return net->work_per_row * (double)rows; }

int fa_run_threads(const fa_net *net, int64_t rows)
{
    if (net->n_threads) return net->n_threads;
    return work_of(net, rows) < multiply_adds_to_share ? 1 : fa_get_num_threads();
}

/* The median time of a trial. The first steps do not count: threads wake up, and weights move to
 * their caches. */
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

int fa_tuner_threads(bool *measure, fa_net *net, int64_t rows, int threads)
{
    fa_tuner *tuner = &net->tuner;
    *measure = false;
    if (net->n_threads || threads < 2 || work_of(net, rows) > multiply_adds_to_try) return threads;
    const int i = tuner->step;
    tuner->step = (i + 1) % PERIOD;
    if (i >= 2 * FA_TUNER_TRIAL) return tuner->shared ? threads : 1;
    *measure = true;
    return i < FA_TUNER_TRIAL ? 1 : threads;
}

void fa_tuner_record(fa_net *net, int64_t rows, double seconds)
{
    fa_tuner *tuner = &net->tuner;
    double *one = tuner->seconds, *all = tuner->seconds + FA_TUNER_TRIAL;
    one[tuner->step - 1] = seconds / (double)rows;
    if (tuner->step == 2 * FA_TUNER_TRIAL)
        tuner->shared = median(all) < gain_to_share * median(one);
}

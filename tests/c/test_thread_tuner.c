/* The number of threads that the tuner chooses: the one that was faster in its trials. It changes
 * no bit. */
#include "check.h"
#include "api/api.h"

enum { STEPS = 1200, BATCH = 100 };

/* ---- its answers to the times that it is told ---- */

static int seen[STEPS], measured, slow; /* the number of threads that takes long */

static void make_steps(fa_net *net, int n_threads, int64_t rows)
{
    measured = 0;
    for (int i = 0; i < STEPS; i++) {
        bool measure;
        seen[i] = fa_tuner_threads(&measure, net, rows, n_threads);
        if (measure) fa_tuner_record(net, rows, seen[i] == slow ? 2e-3 : 1e-3);
        measured += measure;
    }
}

static int steps_with(int threads, int from, int to)
{
    int n = 0;
    for (int i = from; i < to; i++) n += seen[i] == threads;
    return n;
}

static void test_choice(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.desc.n_threads = 0;
    for (slow = 1; slow <= 3; slow += 2) {
        fa_net *net = make(&r.desc);
        const int faster = 4 - slow, trials = 2 * FA_TUNER_TRIAL, period = 1024;
        make_steps(net, 3, BATCH);
        CHECK(measured == 2 * trials, "it measures its trials: %d", measured);
        CHECK(steps_with(1, 0, FA_TUNER_TRIAL) == FA_TUNER_TRIAL, "first on one thread");
        CHECK(steps_with(3, FA_TUNER_TRIAL, trials) == FA_TUNER_TRIAL, "then on all");
        CHECK(steps_with(faster, trials, period) == period - trials, "then as was faster: %d of %d",
              steps_with(faster, trials, period), period - trials);
        CHECK(steps_with(1, period, period + FA_TUNER_TRIAL) == FA_TUNER_TRIAL,
              "then it tries again");
        fa_net_free(net);
    }
}

/* It keeps away from numbers that were asked for, from one thread, and from steps that are long. */
static void test_no_choice(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    slow = 0;
    for (int asked = 0; asked <= 3; asked += 3) {
        r.desc.n_threads = asked;
        fa_net *net = make(&r.desc);
        make_steps(net, 3, asked ? BATCH : 1000000000);
        CHECK(steps_with(3, 0, STEPS) == STEPS && measured == 0, "n_threads %d", asked);
        make_steps(net, 1, BATCH);
        CHECK(steps_with(1, 0, STEPS) == STEPS, "n_threads %d, one thread", asked);
        fa_net_free(net);
    }
}

/* ---- the bits ---- */

static void test_same_bits(void)
{
    dataset data = dataset_new(FA_F32, BATCH + 50);
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    fa_net *one = make(&r.desc);
    r.desc.n_threads = 0;
    REQUIRE(fa_set_num_threads(3) == FA_OK, "threads");
    fa_net *chosen = make(&r.desc);
    CHECK(fa_run_threads(chosen, BATCH) == 3, "large enough for three");
    for (int i = 0; i < STEPS; i++) {
        const fa_samples s = labelled(&data, i % 50, BATCH);
        double loss[2];
        CHECK(fa_train_batch(&loss[0], one, &s) == FA_OK &&
                  fa_train_batch(&loss[1], chosen, &s) == FA_OK && loss[0] == loss[1],
              "step %d", i);
    }
    CHECK(same_state(one, chosen), "the threads that the engine chooses change no bit");
    fa_net_free(one);
    fa_net_free(chosen);
    dataset_free(&data);
    fa_set_num_threads(0);
}

int main(void)
{
    RUN(test_choice);
    RUN(test_no_choice);
    RUN(test_same_bits);
    return finish();
}

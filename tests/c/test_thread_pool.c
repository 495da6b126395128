/* The thread pool: every task runs exactly once, whatever the sizes; nested and busy calls run
 * inline; workers that sleep wake up. FASTFA_TEST_QUICK makes it shorter. */
#include "check.h"
#include "api/api.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_TASKS = 500, N_CALLERS = 4 };

static int64_t n_jobs = 100000;

static void sleep_ms(long ms) { nanosleep(&(struct timespec){0, ms * 1000000}, NULL); }

/* ---- once each ---- */

typedef struct {
    int n_threads;
    atomic_int runs[MAX_TASKS];
    atomic_int bad_worker;
} job;

static void count_task(void *context, int64_t task, int worker)
{
    job *j = context;
    atomic_fetch_add_explicit(&j->runs[task], 1, memory_order_relaxed);
    if (worker < 0 || worker >= j->n_threads) atomic_store(&j->bad_worker, 1);
}

/* Runs a job and returns how many of its tasks did not run exactly once. */
static int64_t run_job(job *j, int n_threads, int64_t n_tasks)
{
    j->n_threads = n_threads;
    for (int64_t i = 0; i < n_tasks; i++)
        atomic_store_explicit(&j->runs[i], 0, memory_order_relaxed);
    fa_parallel_for(n_threads, n_tasks, count_task, j);
    int64_t wrong = 0;
    for (int64_t i = 0; i < n_tasks; i++)
        wrong += atomic_load_explicit(&j->runs[i], memory_order_relaxed) != 1;
    return wrong;
}

static void test_once_each(void)
{
    static job j;
    int64_t wrong = 0;
    for (int64_t i = 0; i < n_jobs; i++) {
        const int64_t n_tasks = i % 100 ? random_below(20) : random_below(MAX_TASKS);
        wrong += run_job(&j, 1 + (int)random_below(5), n_tasks);
    }
    CHECK(wrong == 0, "%lld tasks did not run exactly once", (long long)wrong);
    CHECK(!atomic_load(&j.bad_worker), "worker numbers lie in 0..n_threads-1");
}

static void test_sizes(void)
{
    static job j;
    const int threads[] = {0, 1, 2, 3, FA_MAX_THREADS, FA_MAX_THREADS + 100};
    for (int t = 0; t < 6; t++)
        for (int64_t n = 0; n < 4; n++)
            CHECK(run_job(&j, threads[t], n) == 0, "%d threads, %lld tasks", threads[t],
                  (long long)n);
    CHECK(run_job(&j, FA_MAX_THREADS, MAX_TASKS) == 0, "%d threads", FA_MAX_THREADS);
}

static void add_task(void *context, int64_t task, int worker)
{
    (void)worker;
    atomic_fetch_add_explicit(&((atomic_uchar *)context)[task], 1, memory_order_relaxed);
}

/* More tasks than a ticket counts: in batches, the last smaller than the number of threads. */
static void test_many(void)
{
    const int64_t n = (INT64_C(1) << 20) + 1;
    atomic_uchar *runs = calloc((size_t)n, sizeof *runs);
    REQUIRE(runs != NULL, "memory");
    for (int threads = 2; threads <= 5; threads += 3) fa_parallel_for(threads, n, add_task, runs);
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) wrong += atomic_load(&runs[i]) != 2;
    CHECK(wrong == 0, "%lld of many tasks did not run once each time", (long long)wrong);
    free(runs);
}

/* ---- sleeping and waking ---- */

static void test_waking(void)
{
    static job j;
    int64_t wrong = 0;
    for (int i = 0; i < 40; i++) {
        sleep_ms(i % 4); /* workers fall asleep after some microseconds; sometimes they just do */
        wrong += run_job(&j, 2 + i % 3, 50);
    }
    CHECK(wrong == 0, "%lld tasks lost over sleeping workers", (long long)wrong);
}

typedef struct {
    atomic_int arrived, met;
} meeting;

static void meet_task(void *context, int64_t task, int worker)
{
    (void)task, (void)worker;
    meeting *m = context;
    atomic_fetch_add(&m->arrived, 1);
    for (int i = 0; i < 5000 && atomic_load(&m->arrived) < 3; i++) sleep_ms(1);
    atomic_fetch_add(&m->met, atomic_load(&m->arrived) == 3);
}

/* Three tasks can only wait for each other on three threads. */
static void test_parallel(void)
{
    for (int i = 0; i < 3; i++) {
        meeting m = {0};
        sleep_ms(20); /* the workers fall asleep */
        fa_parallel_for(3, 3, meet_task, &m);
        CHECK(atomic_load(&m.met) == 3, "%d of 3 tasks met", atomic_load(&m.met));
    }
}

typedef struct {
    atomic_int begun, finished;
} late;

/* The first task waits until a worker has begun another, so that some worker ends last. */
static void late_task(void *context, int64_t task, int worker)
{
    (void)task;
    late *l = context;
    atomic_fetch_add(&l->begun, 1);
    for (int i = 0; i < 5000 && atomic_load(&l->begun) < 2; i++) sleep_ms(1);
    if (worker) sleep_ms(3);
    atomic_fetch_add(&l->finished, 1);
}

/* The caller runs out of tasks, falls asleep over those of a worker and wakes up when they are
 * done. */
static void test_late_workers(void)
{
    int64_t unfinished = 0;
    for (int i = 0; i < 30; i++) {
        late l = {0};
        const int n = 2 + i % 3;
        fa_parallel_for(n, n, late_task, &l);
        unfinished += n - atomic_load(&l.finished);
    }
    CHECK(unfinished == 0, "%lld tasks were not done on return", (long long)unfinished);
}

/* ---- threads that the system refuses ---- */

static int n_refused[4]; /* messages by the thread that they name */

static void count_refused(void *user, const char *message)
{
    (void)user;
    const char *at = strstr(message, "refused thread ");
    if (at) n_refused[(at[15] - '0') & 3]++;
}

static bool set_stack_size(size_t size)
{
    pthread_attr_t a;
    return !pthread_attr_init(&a) && !pthread_attr_setstacksize(&a, size) &&
           !pthread_setattr_default_np(&a);
}

/* No system has a stack of 2^46 bytes. */
static bool refuse_threads(void) { return set_stack_size((size_t)1 << 46); }
static bool allow_threads(void) { return set_stack_size((size_t)1 << 20); }

/* The caller works alone, says so, and asks again the next time. */
static bool works_alone(void)
{
    static job j;
    fa_set_log(count_refused, NULL);
    const bool alone = refuse_threads() && run_job(&j, 3, 50) == 0;
    const bool told = n_refused[2] == 1;
    const bool helped = allow_threads() && run_job(&j, 3, 50) == 0;
    return alone && told && helped && n_refused[2] == 1 && !atomic_load(&j.bad_worker);
}

/* Thread 2 starts, thread 3 is refused: said once, although jobs that do without it come
 * between. */
static bool says_it_once(void)
{
    static job j;
    fa_set_log(count_refused, NULL);
    int64_t wrong = allow_threads() ? run_job(&j, 2, 50) : 1;
    if (!refuse_threads()) return false;
    for (int i = 0; i < 10; i++) wrong += run_job(&j, 2 + i % 3, 50);
    const bool once = n_refused[3] == 1 && n_refused[2] == 0;
    return allow_threads() && run_job(&j, 3, 50) == 0 && wrong == 0 && once && n_refused[3] == 1;
}

/* In children, whose pool has no threads yet; before this process has any. */
static void check_in_child(bool (*holds)(void), const char *what)
{
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) exit(holds() ? 0 : 1); /* which joins its threads */
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "%s", what);
}

static void test_refused(void)
{
    check_in_child(works_alone, "works without threads");
    check_in_child(says_it_once, "says once that a thread was refused");
}

/* ---- signals ---- */

typedef struct {
    atomic_int workers, taking,
        deaf; /* tasks of workers; that take SIGUSR1; that do not take SIGSEGV */
    pthread_t caller;
} listening;

static void listening_task(void *context, int64_t task, int worker)
{
    listening *l = context;
    (void)task, (void)worker;
    usleep(2000);
    if (pthread_equal(pthread_self(), l->caller)) return;
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    atomic_fetch_add(&l->workers, 1);
    atomic_fetch_add(&l->taking, !sigismember(&blocked, SIGUSR1));
    atomic_fetch_add(&l->deaf, sigismember(&blocked, SIGSEGV));
}

/* The program's signals reach its own threads only, whose masks stay. */
static void test_signals(void)
{
    listening l = {.caller = pthread_self()};
    for (int i = 0; i < 20; i++) fa_parallel_for(4, 8, listening_task, &l);
    sigset_t mine;
    pthread_sigmask(SIG_BLOCK, NULL, &mine);
    CHECK(atomic_load(&l.workers) > 0, "no worker had a task");
    CHECK(atomic_load(&l.taking) == 0, "%d tasks would take a signal", atomic_load(&l.taking));
    CHECK(atomic_load(&l.deaf) == 0, "%d tasks would not take a fault", atomic_load(&l.deaf));
    CHECK(!sigismember(&mine, SIGUSR1), "the caller's mask has changed");
}

/* ---- nested and busy ---- */

typedef struct {
    atomic_int inner[8];
    atomic_int remote; /* inner tasks that left the outer task's thread */
} nest;

typedef struct {
    nest *counts;
    pthread_t thread;
} inner_call;

static void inner_task(void *context, int64_t task, int worker)
{
    inner_call *call = context;
    atomic_fetch_add(&call->counts->inner[task], 1);
    if (worker != 0 || !pthread_equal(call->thread, pthread_self()))
        atomic_fetch_add(&call->counts->remote, 1);
}

static void outer_task(void *context, int64_t task, int worker)
{
    (void)task, (void)worker;
    fa_parallel_for(4, 8, inner_task, &(inner_call){context, pthread_self()});
}

static void test_nested(void)
{
    static nest n;
    fa_parallel_for(3, 100, outer_task, &n);
    for (int i = 0; i < 8; i++)
        CHECK(atomic_load(&n.inner[i]) == 100, "inner task %d ran %d times", i,
              atomic_load(&n.inner[i]));
    CHECK(atomic_load(&n.remote) == 0, "nested calls run inline");
}

static void *many_jobs(void *wrong)
{
    job *j = malloc(sizeof *j);
    *j = (job){0};
    for (int64_t i = 0; i < n_jobs / 20; i++)
        *(int64_t *)wrong += run_job(j, 1 + (int)(i % 4), i % 30);
    free(j);
    return NULL;
}

static void test_busy(void)
{
    pthread_t callers[N_CALLERS];
    int64_t wrong[N_CALLERS] = {0};
    for (int i = 0; i < N_CALLERS; i++) pthread_create(&callers[i], NULL, many_jobs, &wrong[i]);
    for (int i = 0; i < N_CALLERS; i++) {
        pthread_join(callers[i], NULL);
        CHECK(wrong[i] == 0, "caller %d: %lld tasks did not run exactly once", i,
              (long long)wrong[i]);
    }
}

/* ---- where they run: the first test, since workers stay ---- */

typedef struct {
    atomic_int seen, processors; /* of the workers: how many, and of the last one */
} where;

static void look_around(void *context, int64_t task, int worker)
{
    (void)task;
    where *w = context;
    cpu_set_t set;
    while (worker == 0 && atomic_load(&w->seen) == 0) sched_yield();
    if (worker == 0) return;
    sched_getaffinity(0, sizeof set, &set);
    atomic_store(&w->processors, CPU_COUNT(&set));
    atomic_fetch_add(&w->seen, 1);
}

static void *start_bound(void *context)
{
    cpu_set_t set, one;
    sched_getaffinity(0, sizeof set, &set);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &set)) CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0, "a thread of one processor");
    fa_parallel_for(2, 2, look_around, context);
    CHECK(fa_get_num_threads() == CPU_COUNT(&set) || getenv("FASTFA_NUM_THREADS") ||
              getenv("OMP_NUM_THREADS") || fa_quota("/proc/self/cgroup", "/sys/fs/cgroup"),
          "%d threads on %d processors", fa_get_num_threads(), CPU_COUNT(&set));
    return NULL;
}

/* A thread that is bound to a processor starts the pool: it is not bound. */
static void test_affinity(void)
{
    cpu_set_t set;
    where w = {0};
    pthread_t thread;
    REQUIRE(sched_getaffinity(getpid(), sizeof set, &set) == 0, "our processors");
    pthread_create(&thread, NULL, start_bound, &w);
    pthread_join(thread, NULL);
    CHECK(atomic_load(&w.processors) == CPU_COUNT(&set), "a worker has %d of %d processors",
          atomic_load(&w.processors), CPU_COUNT(&set));
}

int main(void)
{
    if (quick()) n_jobs = 2000;
    RUN(test_refused); /* first: it forks */
    RUN(test_affinity);
    RUN(test_once_each);
    RUN(test_sizes);
    RUN(test_many);
    RUN(test_waking);
    RUN(test_parallel);
    RUN(test_late_workers);
    RUN(test_signals);
    RUN(test_nested);
    RUN(test_busy);
    return finish();
}

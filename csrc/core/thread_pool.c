/* The thread pool: one for the process, started on first use, and again in a forked child.
 *
 * Every thread has a work range, some of the tasks of a job, published as one 64-bit word:
 *
 *   bit 63   47 .. 40         39 .. 20    19 .. 0
 *   ASLEEP | threads wanted | next task | end
 *
 *   next < end               tasks are left
 *   next == end              none are left; the thread spins
 *   next == end, ASLEEP      the thread sleeps: whoever changes the word must wake it
 *
 * A thread takes tasks from the front of its own range, then steals from the back of other ranges.
 * Both take a task by compare-and-swap on the word, so a task is taken once. The other fields of
 * the range are read after that. They do not change until every thread has counted the tasks that
 * it took, so a stale word that still passes the compare-and-swap is harmless.
 *
 * Ranges are the same in every step, so a core finds its weights in its cache, and no other thread
 * writes to its range while there is enough work. A thread that waits spins briefly, then sleeps,
 * so that other threads get the core. The caller never waits for a worker that has not taken a
 * task. */
#include "core/core.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The range of each worker, the count of pending tasks and the fields that the caller writes lie on
 * separate cache lines (processors fetch them in pairs): with shared lines, synchronisation takes
 * ten times as long. The line of a range has everything that a worker needs to begin. */
#define FA_OWN_LINE _Alignas(128)

typedef struct range {
    FA_OWN_LINE _Atomic uint64_t word; /* ASLEEP | 8 bits threads | 20 next task | 20 end */
    fa_task_fn *task;
    void *context;
    int64_t first; /* task of the published batch */
} range;

static struct {
    range ranges[FA_MAX_THREADS + 1];
    FA_OWN_LINE _Atomic uint64_t pending; /* tasks not yet finished | ASLEEP, the caller */
    FA_OWN_LINE atomic_bool busy;
    int n_workers, refused; /* refused: the thread named in the last log message */
    pthread_t workers[FA_MAX_THREADS + 1];
    FA_OWN_LINE atomic_bool quit;
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER};

static _Thread_local bool inside; /* this thread is running a task */
static unsigned fork_generation;

enum { SPINS = 100, YIELDS = 100, SPINS_OF_CALLER = 3000 };
enum { FIELD = 20, MAX_BATCH = (1 << FIELD) - 1 };
static const uint64_t ASLEEP = UINT64_C(1) << 63;

static void pause_cpu(void)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* waits some 10 ns; yield is no operation on most cores */
#endif
}

static int64_t end_of(uint64_t word) { return (int64_t)(word & MAX_BATCH); }
static int64_t next_of(uint64_t word) { return (int64_t)(word >> FIELD & MAX_BATCH); }
static int threads_of(uint64_t word) { return (int)(word >> 2 * FIELD & 0xff); }

static void wake(pthread_cond_t *sleepers)
{
    pthread_mutex_lock(&pool.mutex);
    pthread_cond_broadcast(sleepers);
    pthread_mutex_unlock(&pool.mutex);
}

/* Takes tasks from one thread's range until none are left, and counts them. */
static void work_on(int owner, int worker)
{
    range *const r = &pool.ranges[owner];
    const bool own = owner == worker;
    uint64_t done = 0, word = atomic_load_explicit(&r->word, memory_order_acquire);
    while (next_of(word) < end_of(word) && worker < threads_of(word)) {
        const uint64_t taken = own ? word + (UINT64_C(1) << FIELD) : word - 1;
        if (!atomic_compare_exchange_weak_explicit(&r->word, &word, taken, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        r->task(r->context, r->first + (own ? next_of(word) : end_of(taken)), worker);
        done++;
        word = atomic_load_explicit(&r->word, memory_order_acquire);
    }
    if (done > 0 && atomic_fetch_sub(&pool.pending, done) == (done | ASLEEP)) wake(&pool.done);
}

/* Takes tasks of the current job until none are left: from its own range, then from those after
 * it. */
static void work(int worker)
{
    inside = true;
    const int threads =
        threads_of(atomic_load_explicit(&pool.ranges[worker].word, memory_order_relaxed));
    for (int i = 0; i < threads; i++) work_on((worker + i) % threads, worker);
    inside = false;
}

static bool has_work(int worker)
{
    const uint64_t word = atomic_load_explicit(&pool.ranges[worker].word, memory_order_acquire);
    return next_of(word) < end_of(word) || atomic_load(&pool.quit);
}

static void wait_for_work(int worker)
{
    _Atomic uint64_t *const word = &pool.ranges[worker].word;
    for (int i = 0; i < SPINS + YIELDS; i++) {
        if (has_work(worker)) return;
        pause_cpu();
        if (i >= SPINS) sched_yield(); /* the caller may be waiting for this very core */
    }
    pthread_mutex_lock(&pool.mutex);
    uint64_t seen = atomic_load(word);
    if (next_of(seen) == end_of(seen) && atomic_compare_exchange_strong(word, &seen, seen | ASLEEP))
        while (atomic_load(word) & ASLEEP && !atomic_load(&pool.quit))
            pthread_cond_wait(&pool.wake, &pool.mutex);
    pthread_mutex_unlock(&pool.mutex);
}

static void *worker_main(void *argument)
{
    const int worker = (int)(intptr_t)argument;
    fa_use_process_affinity();
    /* A new thread inherits the floating-point mode of the thread that made it. */
    fa_fp_begin(true);
    while (!atomic_load(&pool.quit)) {
        wait_for_work(worker);
        work(worker);
    }
    return NULL;
}

static void drop_threads(void) /* in a forked child, which has only the thread that forked */
{
    fork_generation++;
    memset(&pool, 0, sizeof pool);
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pthread_cond_init(&pool.done, NULL);
    fa_locks_after_fork();
}

static void install_fork_handler(void) { pthread_atfork(NULL, NULL, drop_threads); }

unsigned fa_fork_generation(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install_fork_handler);
    return fork_generation;
}

/* A new thread inherits the signal mask of the thread that makes it: workers block the program's
 * signals, but not those that a fault of their own raises. */
static int start_worker(int worker)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    const int failed =
        pthread_create(&pool.workers[worker], NULL, worker_main, (void *)(intptr_t)worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

/* Starts workers 1 .. n-1; false when the system refuses one of them, which only costs speed. */
static bool start_workers(int n)
{
    for (; pool.n_workers < n - 1; pool.n_workers++)
        if (start_worker(pool.n_workers + 1)) return false;
    return true;
}

__attribute__((destructor)) static void stop_workers(void)
{
    if (atomic_exchange(&pool.busy, true))
        return; /* a thread still trains at exit: leave the pool alone */
    atomic_store(&pool.quit, true);
    wake(&pool.wake);
    for (int i = 1; i <= pool.n_workers; i++) pthread_join(pool.workers[i], NULL);
}

/* Spins, then sleeps: a worker in the middle of a task may have lost its core to another thread,
 * and a sleeping caller leaves it this one. */
static void wait_for_others(void)
{
    for (int i = 0; i < SPINS_OF_CALLER; i++) {
        if (atomic_load_explicit(&pool.pending, memory_order_acquire) == 0) return;
        pause_cpu();
    }
    pthread_mutex_lock(&pool.mutex);
    atomic_fetch_or(&pool.pending, ASLEEP);
    while (atomic_load(&pool.pending) != ASLEEP) pthread_cond_wait(&pool.done, &pool.mutex);
    pthread_mutex_unlock(&pool.mutex);
}

/* Publishes the ranges, the caller's last: the others still have to wake up. */
static void run_batch(int n_threads, int64_t first, int64_t n, fa_task_fn *task, void *context)
{
    bool asleep = false;
    atomic_store_explicit(&pool.pending, (uint64_t)n, memory_order_relaxed);
    for (int t = n_threads - 1; t >= 0; t--) {
        const uint64_t next = (uint64_t)(n * t / n_threads),
                       end = (uint64_t)(n * (t + 1) / n_threads);
        range *const r = &pool.ranges[t];
        r->task = task, r->context = context, r->first = first;
        const uint64_t word = (uint64_t)n_threads << 2 * FIELD | next << FIELD | end;
        asleep |= (atomic_exchange(&r->word, word) & ASLEEP) != 0;
    }
    if (asleep) wake(&pool.wake);
    work(0);
    wait_for_others();
}

void fa_parallel_for(int n_threads, int64_t n_tasks, fa_task_fn *task, void *context)
{
    if (n_threads > FA_MAX_THREADS) n_threads = FA_MAX_THREADS;
    if (n_threads > n_tasks) n_threads = (int)n_tasks;
    if (n_threads < 2 || inside || atomic_exchange(&pool.busy, true)) {
        for (int64_t i = 0; i < n_tasks; i++) task(context, i, 0);
        return;
    }
    fa_fork_generation();
    const int refused = start_workers(n_threads) ? 0 : pool.n_workers + 2;
    const bool is_news = refused && refused != pool.refused;
    if (refused || n_threads >= pool.refused) /* a job without that thread says nothing about it */
        pool.refused = refused;
    for (int64_t first = 0, n; first < n_tasks; first += n) {
        n = n_tasks - first < MAX_BATCH ? n_tasks - first : MAX_BATCH;
        run_batch(n_threads, first, n, task, context);
    }
    atomic_store(&pool.busy, false);
    if (is_news) /* last, since the log hook may fork or use the pool */
        fa_log("the system refused thread %d of %d; going on with fewer", refused, n_threads);
}

/* core: errors, memory, threads, locks, random numbers. It knows nothing of networks. */
#ifndef FA_CORE_H
#define FA_CORE_H
#include "fastfa.h"
#include "kernels/kernels.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* ---- status.c ---- */
/* Records the message and returns the status, for `return fa_fail(FA_E_VALUE, "units: ...")`. */
fa_status fa_fail(fa_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
fa_status fa_fail_in(fa_status status, const char *where); /* "where: " before its message */
/* Calls the program's log hook, if there is one; only on the thread that made the call. */
void fa_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Returns an error that names the pointer if it is NULL. */
#define FA_REQUIRE(pointer)                                                                        \
    do {                                                                                           \
        if (!(pointer)) return fa_fail(FA_E_VALUE, #pointer ": expected a pointer, got NULL");     \
    } while (0)
#define FA_TRY(call)                                                                               \
    do {                                                                                           \
        fa_status status_ = (call);                                                                \
        if (status_ != FA_OK) return status_;                                                      \
    } while (0)
/* Repeats a system call that a signal interrupts, up to 1000 times; needs errno.h. */
#define FA_AGAIN(result, call)                                                                     \
    do {                                                                                           \
        int tries_ = 0;                                                                            \
        do (result) = (call);                                                                      \
        while ((result) < 0 && errno == EINTR && ++tries_ < 1000);                                 \
    } while (0)
/* ---- struct_copy.c ---- */
/* Copies a struct that begins with its size, at least `least`; missing fields become zero. */
fa_status fa_copy_struct(void *to, size_t size, size_t least, const void *from, const char *what);
#define FA_COPY_STRUCT(to, from, last_required, what)                                              \
    fa_copy_struct(to, sizeof *(to), (size_t)((char *)(&(to)->last_required + 1) - (char *)(to)),  \
                   from, what)

/* ---- threads.c, quota.c: the process ---- */
bool fa_privileged(void); /* more rights than the user who started it: set-uid, capabilities */
const char *fa_environment(const char *name); /* a variable, or NULL; always NULL if privileged */
/* Lets the calling thread run on every processor of the process, not only its creator's. */
void fa_use_process_affinity(void);
/* The smallest CPU quota in whole processors, or 0: "/proc/self/cgroup", "/sys/fs/cgroup". */
int fa_quota(const char *groups, const char *mounts);

/* Between off and back, neither callbacks nor system calls end a cancelled thread. fa_fp_end and
 * fa_save may end it, when the call holds nothing any more: a loop of calls can be cancelled. */
static inline int fa_cancel_off(void)
{
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}
static inline void fa_cancel_back(int before) { pthread_setcancelstate(before, NULL); }
double fa_seconds(void); /* by a clock that only runs forward */

/* ---- alloc.c ---- */
/* Zeroed, aligned to 64 bytes, large blocks to huge pages; NULL if there is none left. */
void *fa_alloc(size_t size);
void fa_free(void *memory);
/* *bytes += a * b * size, rounded up to 64; false on overflow. */
bool fa_add_bytes(size_t *bytes, int64_t a, int64_t b, size_t size);

/* ---- cpu.c ---- */
/* FA_OK, or why this processor or the value of FASTFA_CPU cannot be used. */
fa_status fa_cpu_check(void);
const fa_kernels *fa_kernels_for(fa_dtype dtype);
const char *fa_isa_name(void);
bool fa_isa_prefers_blas(void);
const struct fa_bf16_kernels *fa_cpu_bf16(void); /* NULL: it has no instructions for them */
/* Inside a call numbers are rounded to nearest and nothing traps; its end restores the program's
 * mode and flags. flush: denormals count as zero, as kernels need. */
typedef struct fa_fp {
    unsigned mode; /* the mode that a nested call restores */
    bool outermost, flush;
} fa_fp;
fa_fp fa_fp_begin(bool flush);
void fa_fp_end(const fa_fp *fp);
/* In effect until the function returns: the first line of every call that computes. */
#define FA_FIXED_FP(flush)                                                                         \
    __attribute__((cleanup(fa_fp_end), unused)) const fa_fp fixed_fp_ = fa_fp_begin(flush)
/* Around a callback: pause restores the program's mode, which the callback may change; resume takes
 * the value that pause returned. */
unsigned fa_fp_pause(void);
void fa_fp_resume(unsigned ours);

/* ---- thread_pool.c ---- */
enum { FA_MAX_THREADS = 64 };
typedef void fa_task_fn(void *context, int64_t task, int worker);
/* Runs tasks 0..n_tasks-1 on up to n_threads threads, of which the caller is worker 0; returns when
 * all are done. If the pool is busy, or inside a worker, the caller runs all tasks. */
void fa_parallel_for(int n_threads, int64_t n_tasks, fa_task_fn *task, void *context);
unsigned fa_fork_generation(void); /* number of forks between the first process and this one */

/* ---- random.c ---- */
typedef struct fa_stream {
    uint32_t key[2], c2, c3;
} fa_stream;
fa_stream fa_rng_stream(uint64_t seed, int purpose, int ordinal, uint64_t step);
/* Elements first .. first + n - 1 of a stream; uniform within +-limit. */
void fa_rng_uniform(void *out, fa_dtype dtype, int64_t first, int64_t n, double limit,
                    fa_stream stream);
void fa_rng_normal(void *out, fa_dtype dtype, int64_t first, int64_t n, double std,
                   fa_stream stream);
void fa_rng_permutation(int64_t *order, int64_t n, fa_stream stream);

/* ---- partition.c, utf8.c ---- */
/* The first column of part i = 0 .. parts, at a cache line; parts have about the same width. */
int64_t fa_partition(int64_t cols, int64_t i, int64_t parts);
int64_t fa_partition_width(int64_t cols, int64_t parts); /* of the widest part, at most */
static inline int64_t fa_ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }
static inline int64_t fa_round_up(int64_t n, int64_t to) { return fa_ceil_div(n, to) * to; }
/* Bytes of the character at `at`; 0: not UTF-8 (RFC 3629), so cut off, overlong or a surrogate. */
int fa_utf8_length(const char *at, const char *end);
fa_status fa_check_utf8(const char *s, const char *what); /* FA_E_VALUE if it is not UTF-8 */

/* ---- rwlock.c: many readers or one writer of a network; an error instead of a deadlock ---- */
typedef struct fa_lock {
    pthread_rwlock_t rw;
    atomic_uint tickets, served; /* writers have their turns in the order of their tickets */
    pthread_mutex_t mutex;
    pthread_cond_t next;
    atomic_int waiting; /* readers */
    _Atomic(pthread_t) writer;
    atomic_uint generation; /* of forks, when rw was made */
    atomic_bool writing, broken;
} fa_lock;
fa_status fa_lock_init(fa_lock *lock);
void fa_lock_destroy(fa_lock *lock);
fa_status fa_lock_read(fa_lock *lock), fa_lock_write(fa_lock *lock);
void fa_unlock_read(fa_lock *lock), fa_unlock_write(fa_lock *lock);
/* Between pause and resume of a writer, readers may take the lock and other writers may not. */
bool fa_lock_readers_wait(const fa_lock *lock);
void fa_lock_pause(fa_lock *lock), fa_lock_resume(fa_lock *lock);
/* The lock of a call that may run callbacks. A callback that locks it again gets an error, may
 * fork, and does not end a cancelled thread. */
typedef struct fa_call_lock {
    fa_lock *lock;
    bool writes;
    int cancel;                       /* the thread's state before */
    const struct fa_call_lock *outer; /* of this thread, of another network */
} fa_call_lock;
fa_status fa_lock_call(fa_call_lock *call, fa_lock *lock, bool writes);
void fa_unlock_call(const fa_call_lock *call);
void fa_locks_after_fork(void); /* in a forked child, by its only thread */

#endif

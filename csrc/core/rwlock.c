/* A network's lock: many readers or one writer, errors instead of deadlocks.
 *
 * A writer first waits for its turn among the writers, then for the readers that hold the lock.
 * Between two steps it may let readers in and keep its turn: nothing else can change the network
 * until its call returns.
 *
 * A forked child cannot take over a lock that threads of its parent held. So the lock records the
 * fork generation in which it was made, and the child makes it again: in the fork handler, and
 * held, if the thread that forked held it; otherwise on first use. If another thread was training
 * the network at the moment of the fork, the child's copy may be half updated, and every later call
 * on it returns an error. A fork during this first use is harmless: its work can be done again.
 *
 *   state in the child                        calls
 *   made in this process                      lock and unlock as usual
 *   made before a fork, not being written     the first call makes the lock again
 *   made before a fork, written by another    "broken": every call returns FA_E_STATE */
#include "core/core.h"

#include <sched.h>

static pthread_mutex_t renewing = PTHREAD_MUTEX_INITIALIZER;

enum { MOST_YIELDS = 1000 };

static int make(fa_lock *lock)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
#ifdef PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    const int failed = pthread_rwlock_init(&lock->rw, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    pthread_mutex_init(&lock->mutex, NULL);
    pthread_cond_init(&lock->next, NULL);
    atomic_store(&lock->waiting, 0);
    atomic_store(&lock->generation, fa_fork_generation());
    return failed;
}

fa_status fa_lock_init(fa_lock *lock)
{ return make(lock) ? fa_fail(FA_E_MEMORY, "out of memory for a lock") : FA_OK; }

void fa_lock_destroy(fa_lock *lock)
{
    pthread_rwlock_destroy(&lock->rw);
    pthread_mutex_destroy(&lock->mutex);
    pthread_cond_destroy(&lock->next);
}

static bool of_this_process(fa_lock *lock)
{ return atomic_load(&lock->generation) == fa_fork_generation(); }

static bool written_by_me(fa_lock *lock)
{ return atomic_load(&lock->writing) && pthread_equal(atomic_load(&lock->writer), pthread_self()); }

static _Thread_local const fa_call_lock *innermost; /* of this thread */

static bool held_by_me(const fa_lock *lock)
{
    for (const fa_call_lock *call = innermost; call; call = call->outer)
        if (call->lock == lock) return true;
    return false;
}

/* held: the calling thread was training when it forked. make() stores the generation last: the lock
 * is ready then. */
static void renew(fa_lock *lock, bool held)
{
    if (atomic_load(&lock->writing) && !held) atomic_store(&lock->broken, true);
    atomic_store(&lock->writing, held);
    atomic_store(&lock->tickets, atomic_load(&lock->served) + held);
    make(lock);
}

static void renew_on_use(fa_lock *lock)
{
    pthread_mutex_lock(&renewing);
    if (!of_this_process(lock)) renew(lock, false);
    pthread_mutex_unlock(&renewing);
}

void fa_locks_after_fork(void)
{
    pthread_mutex_init(&renewing, NULL); /* another thread of the parent may have held it */
    for (const fa_call_lock *call = innermost; call; call = call->outer) {
        fa_lock *lock = call->lock;
        renew(lock, call->writes);
        if (call->writes)
            pthread_rwlock_wrlock(&lock->rw);
        else
            pthread_rwlock_rdlock(&lock->rw);
    }
}

static fa_status enter(fa_lock *lock)
{
    if (!lock) return fa_fail(FA_E_VALUE, "net: expected a pointer, got NULL");
    if (!of_this_process(lock)) renew_on_use(lock);
    if (written_by_me(lock))
        return fa_fail(FA_E_STATE, "network: a call from inside its own training (a poll function "
                                   "or signal handler); use a callback of fit");
    if (held_by_me(lock))
        return fa_fail(FA_E_STATE, "network: a call from a function that one of its own calls has "
                                   "called (of a rule, or one that writes a file)");
    if (atomic_load(&lock->broken))
        return fa_fail(FA_E_STATE, "network: it was being trained by another thread when this "
                                   "process was forked; create or load it again");
    return FA_OK;
}

fa_status fa_lock_read(fa_lock *lock)
{
    FA_TRY(enter(lock));
    if (pthread_rwlock_tryrdlock(&lock->rw)) {
        atomic_fetch_add(&lock->waiting, 1);
        pthread_rwlock_rdlock(&lock->rw);
        atomic_fetch_sub(&lock->waiting, 1);
    }
    return FA_OK;
}

static void take_turn(fa_lock *lock)
{
    const unsigned mine = atomic_fetch_add(&lock->tickets, 1);
    if (atomic_load(&lock->served) == mine) return;
    const int cancel = fa_cancel_off(); /* a thread that ended here would keep its ticket */
    pthread_mutex_lock(&lock->mutex);
    while (atomic_load(&lock->served) != mine) pthread_cond_wait(&lock->next, &lock->mutex);
    pthread_mutex_unlock(&lock->mutex);
    fa_cancel_back(cancel);
}

static void give_turn(fa_lock *lock)
{
    const unsigned next = atomic_fetch_add(&lock->served, 1) + 1;
    if (atomic_load(&lock->tickets) == next) return;
    pthread_mutex_lock(&lock->mutex);
    pthread_cond_broadcast(&lock->next);
    pthread_mutex_unlock(&lock->mutex);
}

fa_status fa_lock_write(fa_lock *lock)
{
    FA_TRY(enter(lock));
    take_turn(lock);
    pthread_rwlock_wrlock(&lock->rw);
    atomic_store(&lock->writer, pthread_self());
    atomic_store(&lock->writing, true);
    return FA_OK;
}

bool fa_lock_readers_wait(const fa_lock *lock)
{ return atomic_load_explicit(&lock->waiting, memory_order_relaxed) > 0; }

void fa_lock_pause(fa_lock *lock) { pthread_rwlock_unlock(&lock->rw); }

void fa_lock_resume(fa_lock *lock)
{
    /* Waiting readers come first, even where the system gives the lock to the next thread that
     * asks. */
    for (int i = 0; i < MOST_YIELDS && atomic_load(&lock->waiting) > 0; i++) sched_yield();
    pthread_rwlock_wrlock(&lock->rw);
}

void fa_unlock_read(fa_lock *lock) { pthread_rwlock_unlock(&lock->rw); }

void fa_unlock_write(fa_lock *lock)
{
    atomic_store(&lock->writing, false);
    if (!of_this_process(lock))
        return; /* a signal handler has forked: the lock is made again on next use */
    pthread_rwlock_unlock(&lock->rw);
    give_turn(lock);
}

fa_status fa_lock_call(fa_call_lock *call, fa_lock *lock, bool writes)
{
    const int cancel = fa_cancel_off();
    const fa_status status = writes ? fa_lock_write(lock) : fa_lock_read(lock);
    if (status) {
        fa_cancel_back(cancel);
        return status;
    }
    *call = (fa_call_lock){lock, writes, cancel, innermost};
    innermost = call;
    return FA_OK;
}

void fa_unlock_call(const fa_call_lock *call)
{
    innermost = call->outer;
    if (call->writes)
        fa_unlock_write(call->lock);
    else
        fa_unlock_read(call->lock);
    fa_cancel_back(call->cancel);
}

/* A network's lock: many readers or one writer, errors instead of deadlocks.
 *
 * A forked child cannot take over a lock that threads of its parent held. The lock remembers in which
 * process it was made and is made anew on first use in a child; a network that was being trained at the
 * moment of the fork may be half updated there, and says so from then on. */
#include "internal.h"

static pthread_mutex_t renewing = PTHREAD_MUTEX_INITIALIZER;

static int make(fa_lock *lock)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
#ifdef PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    const int failed = pthread_rwlock_init(&lock->rw, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    atomic_store(&lock->generation, fa_fork_generation());
    return failed;
}

fa_status fa_lock_init(fa_lock *lock)
{ return make(lock) ? fa_fail(FA_E_MEMORY, "out of memory for a lock") : FA_OK; }

void fa_lock_destroy(fa_lock *lock) { pthread_rwlock_destroy(&lock->rw); }

static bool of_this_process(fa_lock *lock)
{ return atomic_load(&lock->generation) == fa_fork_generation(); }

static bool held_by_me(fa_lock *lock)
{ return atomic_load(&lock->writing) && pthread_equal(atomic_load(&lock->writer), pthread_self()); }

static _Thread_local const fa_reading_call *reading; /* the innermost */

static bool read_by_me(const fa_net *net)
{
    for (const fa_reading_call *call = reading; call; call = call->outer)
        if (call->net == net) return true;
    return false;
}

void fa_reading_begin(fa_reading_call *call, const fa_net *net)
{
    *call = (fa_reading_call){net, reading};
    reading = call;
}

void fa_reading_end(const fa_reading_call *call) { reading = call->outer; }

static void renew(fa_lock *lock)
{
    pthread_mutex_lock(&renewing);
    if (!of_this_process(lock)) {
        if (atomic_load(&lock->writing)) atomic_store(&lock->broken, true);
        atomic_store(&lock->writing, false);
        make(lock);
    }
    pthread_mutex_unlock(&renewing);
}

static fa_status enter(const fa_net *net)
{
    fa_lock *lock = (fa_lock *)&net->lock;
    if (held_by_me(lock)) /* before renewing: a child forked by a poll function goes on training */
        return fa_fail(FA_E_STATE, "network: a call from inside its own training (a poll function "
                                   "or signal handler); use a callback of fit");
    if (read_by_me(net))
        return fa_fail(FA_E_STATE, "network: a call from a function that one of its own calls has "
                                   "called (of a rule, or one that writes a file)");
    if (!of_this_process(lock)) renew(lock);
    if (atomic_load(&lock->broken))
        return fa_fail(FA_E_STATE, "network: it was being trained by another thread when this "
                                   "process was forked; create or load it anew");
    return FA_OK;
}

fa_status fa_lock_read(const fa_net *net)
{
    FA_GIVEN(net);
    fa_lock *lock = (fa_lock *)&net->lock;
    FA_TRY(enter(net));
    pthread_rwlock_rdlock(&lock->rw);
    return FA_OK;
}

fa_status fa_lock_write(const fa_net *net)
{
    FA_GIVEN(net);
    fa_lock *lock = (fa_lock *)&net->lock;
    FA_TRY(enter(net));
    pthread_rwlock_wrlock(&lock->rw);
    atomic_store(&lock->writer, pthread_self());
    atomic_store(&lock->writing, true);
    return FA_OK;
}

void fa_unlock_read(const fa_net *net) { pthread_rwlock_unlock((pthread_rwlock_t *)&net->lock.rw); }

void fa_unlock_write(const fa_net *net)
{
    fa_lock *lock = (fa_lock *)&net->lock;
    atomic_store(&lock->writing, false);
    if (of_this_process(lock)) pthread_rwlock_unlock(&lock->rw); /* else made anew on next use */
}

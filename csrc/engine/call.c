/* The call context: takes the lock and workspaces before the work of a call, and gives them back
 * after it, on success or failure. */
#include "engine/step.h"

void fa_call_end(fa_call *call)
{
    for (int i = call->n_work - 1; i >= 0; i--) /* the first is the larger one */
        if (call->work[i]) fa_work_release(call->net, call->slot[i], call->work[i], call->writes);
    fa_unlock_call(&call->lock);
}

fa_status fa_call_begin(fa_call *call, const fa_net *net, int64_t rows)
{
    if (call->entries > INT32_MAX)
        return fa_fail(FA_E_VALUE,
                       "X: expected at most %d entries in a batch of a sparse X, got up to %lld; "
                       "smaller batches have fewer",
                       INT32_MAX, (long long)call->entries);
    FA_TRY(fa_lock_call(&call->lock, fa_lock_of(net), call->writes));
    call->net = net;
    call->threads = fa_run_threads(net, rows);
    int copies = 1;
    int64_t capacity = rows;
    if (call->chunk) {
        const int64_t chunks = fa_ceil_div(rows, call->chunk);
        if (call->threads > chunks) call->threads = (int)chunks;
        copies = call->threads;
        if (capacity > call->chunk) capacity = call->chunk;
    }
    bool complete = true;
    for (int i = 0; i < call->n_work; i++) {
        call->work[i] = fa_work_acquire(net, call->slot[i], capacity, call->entries, copies,
                                        call->threads, call->writes);
        complete = complete && call->work[i];
    }
    if (!complete) {
        fa_call_end(call);
        return fa_fail(FA_E_MEMORY, "out of memory for %lld rows; the network is unchanged",
                       (long long)rows);
    }
    return FA_OK;
}

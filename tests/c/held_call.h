/* A training call that another thread makes and that stays in its poll function: the network is
 * surely in use. */
#ifndef HELD_CALL_H
#define HELD_CALL_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "check.h"

typedef struct {
    fa_net *net;
    fa_samples samples;
    pthread_t thread;
    atomic_bool inside, leave;
} held_call;

static int hold(void *user, int64_t step)
{
    (void)step;
    held_call *h = user;
    atomic_store(&h->inside, true);
    while (!atomic_load(&h->leave)) sched_yield();
    return 0;
}

static void *train_and_hold(void *context)
{
    held_call *h = context;
    fa_metrics m;
    fa_train_steps(&m, h->net, &h->samples,
                   &EPOCH(.batch_size = h->samples.n, .count = 1, .poll = hold, .user = h));
    return NULL;
}

/* Comes back once the call is held. */
static void begin_call(held_call *h)
{
    REQUIRE(pthread_create(&h->thread, NULL, train_and_hold, h) == 0, "a thread");
    while (!atomic_load(&h->inside)) sched_yield();
}

static void end_call(held_call *h)
{
    atomic_store(&h->leave, true);
    pthread_join(h->thread, NULL);
}

#endif

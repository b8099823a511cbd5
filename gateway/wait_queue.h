/*
 * gateway/wait_queue.h - first come, first served, without allocation: the waiter is embedded in
 * whoever waits.
 *
 * A waiter is in at most one queue and is taken out before it is woken, so inside the call it may
 * queue again or be destroyed. With several event loops a queue that they share is touched inside
 * their lock alone, and to wake means to move to the queue of the waiter's own mailbox (shared.h).
 */
#ifndef DRAGOMAN_GATEWAY_WAIT_QUEUE_H
#define DRAGOMAN_GATEWAY_WAIT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mailbox;
struct wait_queue;

struct waiter {
    struct waiter *prev, *next;
    struct wait_queue *queue; /* NULL = not waiting */
    size_t number;            /* rises by one from waiter to waiter, but where `torn` */
    struct mailbox *home;     /* of the loop that it waits on; NULL = there is only one */
    void (*wake)(struct waiter *);
    /* With several loops, for those who wait for an account: takes what has come free on behalf of
     * the waiter, inside the lock and on any thread; `given` says what. False: it cannot use it,
     * and waits on. */
    bool (*take)(struct waiter *, uint64_t now_ms);
    void *given; /* until it is fetched, or given back */
};

struct wait_queue {
    struct waiter *first, *last;
    size_t n;
    bool torn; /* somebody left from the middle since the numbers were right */
    /* Called when a waiter has left, before it is woken; may be NULL. The queue may be freed there.
     */
    void (*left)(struct wait_queue *);
};

void wait_queue_add(struct wait_queue *, struct waiter *);
/* One that goes on waiting here after it was taken out of another queue. */
void wait_queue_append(struct wait_queue *, struct waiter *);
void wait_queue_add_first(struct wait_queue *, struct waiter *);
/* Nothing for one that does not wait. */
void waiter_leave(struct waiter *);
/* How many are before it in its queue. Cheap, also in a long one: counted anew only when somebody
 * has left from the middle meanwhile. */
size_t waiter_ahead(const struct waiter *);
void wait_queue_wake_first(struct wait_queue *);
/* All that wait now; those who queue again meanwhile wait on. */
void wait_queue_wake_all(struct wait_queue *);

#endif

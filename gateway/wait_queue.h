/*
 * gateway/wait_queue.h - first come, first served, without allocation: the waiter is embedded in
 * whoever waits.
 *
 * A waiter is in at most one queue and is taken out before it is woken, so inside the call it may
 * queue again or be destroyed.
 */
#ifndef DRAGOMAN_GATEWAY_WAIT_QUEUE_H
#define DRAGOMAN_GATEWAY_WAIT_QUEUE_H

#include <stddef.h>

struct wait_queue;

struct waiter {
    struct waiter *prev, *next;
    struct wait_queue *queue; /* NULL = not waiting */
    void (*wake)(struct waiter *);
};

struct wait_queue {
    struct waiter *first, *last;
    size_t n;
    /* Called when a waiter has left, before it is woken; may be NULL. The queue may be freed there.
     */
    void (*left)(struct wait_queue *);
};

void wait_queue_add(struct wait_queue *, struct waiter *);
void wait_queue_add_first(struct wait_queue *, struct waiter *);
/* Nothing for one that does not wait. */
void waiter_leave(struct waiter *);
void wait_queue_wake_first(struct wait_queue *);
/* All that wait now; those who queue again meanwhile wait on. */
void wait_queue_wake_all(struct wait_queue *);

#endif

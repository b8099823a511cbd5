/*
 * gateway/wait_queue.c - see wait_queue.h.
 */
#include "gateway/wait_queue.h"

#include <assert.h>

#include "gateway/shared.h"

void wait_queue_add(struct wait_queue *q, struct waiter *w)
{
    w->home = mailbox_here();
    wait_queue_append(q, w);
}

void wait_queue_append(struct wait_queue *q, struct waiter *w)
{
    assert(!w->queue);
    w->queue = q;
    w->prev = q->last;
    w->next = NULL;
    w->number = q->last ? q->last->number + 1 : 0;
    if (q->last)
        q->last->next = w;
    else
        q->first = w;
    q->last = w;
    q->n++;
}

void wait_queue_add_first(struct wait_queue *q, struct waiter *w)
{
    assert(!w->queue);
    w->home = mailbox_here();
    w->queue = q;
    w->prev = NULL;
    w->next = q->first;
    w->number = q->first ? q->first->number - 1 : 0; /* it may wrap: only differences count */
    if (q->first)
        q->first->prev = w;
    else
        q->last = w;
    q->first = w;
    q->n++;
}

void waiter_leave(struct waiter *w)
{
    struct wait_queue *q = w->queue;
    if (!q)
        return;
    q->torn |= w->prev && w->next;
    if (w->prev)
        w->prev->next = w->next;
    else
        q->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        q->last = w->prev;
    q->n--;
    w->queue = NULL;
    w->prev = w->next = NULL;
    if (q->left)
        q->left(q); /* last: it may free the queue */
}

size_t waiter_ahead(const struct waiter *w)
{
    struct wait_queue *q = w->queue;
    assert(q && q->first);
    if (q->torn) {
        size_t number = 0;
        for (struct waiter *i = q->first; i; i = i->next)
            i->number = number++;
        q->torn = false;
    }
    return w->number - q->first->number;
}

void wait_queue_wake_first(struct wait_queue *q)
{
    struct waiter *w = q->first;
    if (!w)
        return;
    waiter_leave(w);
    if (w->home)
        mailbox_wake(w->home, w);
    else
        w->wake(w);
}

void wait_queue_wake_all(struct wait_queue *q)
{
    struct wait_queue now = *q;
    assert(!q->left); /* the queue of a group is emptied one by one */
    *q = (struct wait_queue){0};
    for (struct waiter *w = now.first; w; w = w->next)
        w->queue = &now;
    while (now.first)
        wait_queue_wake_first(&now);
}

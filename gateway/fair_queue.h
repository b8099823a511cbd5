/*
 * gateway/fair_queue.h - those who wait for one thing, in groups that take turns: first come, first
 * served within a group, so that a batch of ten thousand holds up its own kind only.
 *
 * A group exists while somebody of it waits. Waiters are those of wait_queue.h; waiter_leave takes
 * one out of here as well.
 */
#ifndef DRAGOMAN_GATEWAY_FAIR_QUEUE_H
#define DRAGOMAN_GATEWAY_FAIR_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/wait_queue.h"

struct fair_group;

/* Zeroed = empty. Must not move while somebody waits. */
struct fair_queue {
    struct fair_group *turn; /* whose turn it is; the groups are a ring */
    size_t n, n_groups;      /* all that wait, and in how many groups */
};

/* `front`: before the others of its group, for one whose turn came too early. False when memory is
 * short. */
bool fair_queue_add(struct fair_queue *, uint64_t group, struct waiter *, bool front);
/* The first of the group whose turn it is; then it is the next group's turn. */
void fair_queue_wake_next(struct fair_queue *);
/* Who that would be; NULL = nobody waits. */
struct waiter *fair_queue_next(const struct fair_queue *);
/* It cannot use what is there: it is the next group's turn. */
void fair_queue_pass(struct fair_queue *);
/* All of them; none may queue here again inside the call. */
void fair_queue_wake_all(struct fair_queue *);
/* How many of those who wait in this queue will be woken before it, if nobody leaves or comes. As
 * cheap as there are few groups. */
size_t fair_queue_ahead(const struct fair_queue *, const struct waiter *);

#endif

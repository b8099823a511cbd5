/*
 * gateway/shared.h - what several event loops need to share accounts, limits and books: one lock
 * for all of it, and a mailbox for each loop.
 *
 * With one loop there is neither: every `struct shared *` is NULL, and nothing below does anything.
 *
 * The rules. What loops share is touched between shared_enter and shared_leave; the sections are
 * short, do no I/O and call back into no exchange: somebody of any loop who is to hear of something
 * is told by his own loop's mailbox. Everything else belongs to one loop's thread. Who wants all
 * others to stand still (a reload) sends each a mail that waits (workers.h).
 */
#ifndef DRAGOMAN_GATEWAY_SHARED_H
#define DRAGOMAN_GATEWAY_SHARED_H

#include <uv.h>

#include "base/span.h"

struct mailbox;
struct waiter;

enum { SHARED_LOOPS_MAX = 1024 };

struct shared {
    uv_mutex_t lock; /* recursive */
    struct mailbox *mailboxes[SHARED_LOOPS_MAX];
    size_t n_mailboxes;
    size_t active; /* requests of all loops that are not over */
};

/* NULL when memory is short. */
struct shared *shared_create(void);
/* When every loop has ended. Frees the mailboxes, too. NULL is nothing. */
void shared_destroy(struct shared *);

/* May be nested. */
static inline void shared_enter(struct shared *s)
{
    if (s)
        uv_mutex_lock(&s->lock);
}

static inline void shared_leave(struct shared *s)
{
    if (s)
        uv_mutex_unlock(&s->lock);
}

/* What somebody else may change as soon as the section ends, for the rest of the present callback:
 * a copy, gone with the loop's next turn ({NULL,0} when memory is short). With one loop: `text`. */
struct span shared_lend(struct shared *, struct span text);
/* Was there no memory to lend something to this loop, since the last time that somebody asked? */
bool shared_take_short(void);

/* ---- mailboxes ---- */

/* Part of whatever it brings; the sender's until it is opened. */
struct mail {
    struct mail *next;
    void (*open)(struct mail *); /* on the receiver's loop, outside of the lock */
};

/* A mailbox of that loop, before the loop runs; `owner` is for whoever asks. NULL when memory is
 * short. Keeps the loop alive until it is closed. */
struct mailbox *mailbox_create(struct shared *, uv_loop_t *, void *owner);
/* This thread runs its loop from now on. */
void mailbox_move_in(struct mailbox *);
/* Of the loop that runs on this thread; NULL = there is only one loop. */
struct mailbox *mailbox_here(void);
void *mailbox_owner(const struct mailbox *);

/* From any thread. False: the box is closed, and the mail stays the sender's. */
bool mailbox_post(struct mailbox *, struct mail *);
/* The waiter, which is in no queue, is woken by its own loop. Inside the lock. */
void mailbox_wake(struct mailbox *, struct waiter *);
/* Was it woken, and has not heard of it yet? Inside the lock. */
bool mailbox_holds(const struct waiter *);
/* Something will come, or came, that the loop must not end before. From any thread. */
void mailbox_expect(struct mailbox *);
void mailbox_received(struct mailbox *);
bool mailbox_expects(const struct mailbox *);
/* On its loop, when it expects nothing: opens what is there, and lets the loop end. */
void mailbox_close(struct mailbox *);

#endif
